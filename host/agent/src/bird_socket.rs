//! What the control socket says: BIRD 1.x's protocol, so that Calico's own tools work (calico-compat §5.7).

use std::net::IpAddr;
use std::time::Duration;

use bgp::PeerStatus;

/// Older than this, a time is shown as a date (BIRD 1.6, `timeformat protocol`).
const RECENT: Duration = Duration::from_secs(20 * 3600);

/// The line that a connection begins with.
pub fn greeting() -> String {
    "0001 BIRD 1.6.8 ready, as selvedge speaks it.\n".to_string()
}

/// One family's view of the speaker.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// All peers.
    pub peers: &'a [PeerStatus],
    /// Only those with IPv6 addresses, else only those with IPv4 ones.
    pub ipv6: bool,
    /// BGP Identifier.
    pub router_id: String,
    /// When the agent started.
    pub started: Duration,
    /// Now, since 1970.
    pub wall: Duration,
}

/// The answer to one line.
pub fn answer(line: &str, view: &View<'_>) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [] => String::new(),
        ["show", "protocols"] | ["show", "protocols", "all"] => protocols(view),
        ["show", "status"] => status(view),
        ["quit" | "exit"] => "0000 \n".to_string(),
        _ => "9001 syntax error: known here are `show protocols` and `show status`\n".to_string(),
    }
}

fn protocols(view: &View<'_>) -> String {
    let mut text = String::from("2002-name     proto    table    state  since       info\n");
    let mut first = true;
    for peer in view
        .peers
        .iter()
        .filter(|p| matches!(p.remote.ip(), IpAddr::V6(_)) == view.ipv6)
    {
        text += if std::mem::take(&mut first) {
            "1002-"
        } else {
            " "
        };
        text += &format!(
            "{:<8} {:<8} {:<8} {:<6} {:<10}  {}\n",
            peer.name,
            "BGP",
            "master",
            peer.state.protocol_state(),
            since(peer.since.wall, view.wall),
            peer.info(),
        );
    }
    text + "0000 \n"
}

fn status(view: &View<'_>) -> String {
    format!(
        "1000-BIRD 1.6.8\n1011-Router ID is {}\n Current server time is {}\n Last reboot on {}\n Last reconfiguration on {}\n0013 Daemon is up and running\n",
        view.router_id,
        full(view.wall),
        full(view.started),
        full(view.started),
    )
}

fn instant(wall: Duration) -> jiff::civil::DateTime {
    let seconds = i64::try_from(wall.as_secs()).unwrap_or_default();
    let timestamp = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    jiff::tz::TimeZone::system().to_datetime(timestamp)
}

pub(crate) fn full(wall: Duration) -> String {
    instant(wall).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

pub(crate) fn since(at: Duration, now: Duration) -> String {
    let form = if now.saturating_sub(at) < RECENT {
        "%H:%M:%S"
    } else {
        "%Y-%m-%d"
    };
    instant(at).strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bgp::{Counters, Now, PeerState};

    fn peer(name: &str, remote: &str, state: PeerState, since: u64, error: &str) -> PeerStatus {
        let wall = Duration::from_secs(since);
        PeerStatus {
            name: name.into(),
            remote: remote.parse().expect("an address"),
            local: None,
            interface: None,
            remote_as: 64512.into(),
            remote_id: None,
            state,
            since: Now {
                mono: Duration::ZERO,
                wall,
            },
            error: error.to_string(),
            dynamic: false,
            rr_client: false,
            families: Vec::new(),
            hold_time_s: 240,
            received: 0,
            rejected: 0,
            stale: 0,
            counters: Counters::default(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn protocols_as_bird_shows_them() {
        let now = 1_795_386_348;
        let peers = [
            peer(
                "Node_10_20_1_81",
                "10.20.1.81:179",
                PeerState::Established,
                now - 60,
                "",
            ),
            peer(
                "Global_192_0_2_1",
                "192.0.2.1:179",
                PeerState::Active,
                now - 100_000,
                "Socket: Connection refused",
            ),
            peer(
                "Mesh_fd00__1",
                "[fd00::1]:179",
                PeerState::Idle,
                now,
                "Received: Cease",
            ),
        ];
        let view = |ipv6| View {
            peers: &peers,
            ipv6,
            router_id: "10.20.1.84".to_string(),
            started: Duration::from_secs(now - 200_000),
            wall: Duration::from_secs(now),
        };
        let text = answer("show protocols\n", &view(false));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "2002-name     proto    table    state  since       info"
        );
        let time = since(Duration::from_secs(now - 60), Duration::from_secs(now));
        assert_eq!(time.len(), 8);
        assert_eq!(
            lines[1],
            format!("1002-Node_10_20_1_81 BGP      master   up     {time}    Established")
        );
        let fields: Vec<&str> = lines[2].split_whitespace().collect();
        assert_eq!(fields[..4], ["Global_192_0_2_1", "BGP", "master", "start"]);
        assert_eq!(fields[4].len(), 10, "a date");
        assert!(
            lines[2].starts_with(' ') && lines[2].ends_with("  Active Socket: Connection refused")
        );
        assert_eq!(lines[3..], ["0000 "]);
        assert!(answer("show protocols", &view(true)).contains("Mesh_fd00__1 BGP"));
        assert!(answer("show status", &view(false)).contains("Router ID is 10.20.1.84"));
        assert!(answer("configure", &view(false)).starts_with("9001 "));
    }
}
