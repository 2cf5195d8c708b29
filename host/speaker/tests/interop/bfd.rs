//! BFD (RFC 5880, 5881, 5882, 5883) with BIRD, with FRR's bfdd, and between two of ours.

use crate::Case;
use crate::bird::{self, birdc};
use crate::lab::{Lab, stays, wait};
use liveness::{Report, SessionReport};
use std::process::Command;
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case {
        peer: "bird",
        name: "bird_bfd",
        shows: "single hop, IPv4 and IPv6: timers agreed, link cut, turned off there (RFC 5880, 5881, 5882)",
        run: bird_single_hop,
    },
    Case {
        peer: "bird",
        name: "bird_bfd_multihop",
        shows: "multihop, IPv4 and IPv6 (RFC 5883)",
        run: bird_multihop,
    },
    Case {
        peer: "bird",
        name: "bird_bfd_we_are_killed",
        shows: "kill -9 of us: BIRD's BFD stays up and it keeps our routes; the next one takes the sessions over",
        run: bird_we_are_killed,
    },
    Case {
        peer: "frr",
        name: "frr_bfd",
        shows: "bfdd, single hop and multihop, IPv4 and IPv6: timers agreed, shutdown there, kill -9 (RFC 5880, 5881, 5883)",
        run: frr,
    },
    Case {
        peer: "selvedge",
        name: "selvedge_bfd_node_off",
        shows: "3 x 50 ms, the link is cut: routes gone within 200 ms",
        run: node_off,
    },
    Case {
        peer: "selvedge",
        name: "selvedge_bfd_strict",
        shows: "strict mode: no session before BFD is up (draft-ietf-idr-bgp-bfd-strict-mode)",
        run: strict,
    },
    Case {
        peer: "selvedge",
        name: "selvedge_bfd_hogs",
        shows: "3 x 50 ms with 32 CPU hogs for 20 s (SELVEDGE_HOGS_MINUTES): no false down",
        run: hogs,
    },
];

const QUICK: &str = "{ interval_ms = 50, multiplier = 3 }";

fn neighbor(address: &str, bfd: &str) -> String {
    format!(
        "[[neighbor]]\naddress = \"{address}\"\nas = 64512\nconnect_retry = 1\nerror_wait = [1, 1]\nown_next_hop = \"fd09::1\"\nbfd = {bfd}\n"
    )
}

fn report(lab: &Lab, name: &str) -> Option<Report> {
    liveness::show(&lab.path(&format!("{name}.liveness"))).ok()
}

fn session(lab: &Lab, remote: &str) -> Option<SessionReport> {
    let remote: std::net::IpAddr = remote.parse().expect("an address");
    let sessions = report(lab, "ours")?.sessions;
    sessions.into_iter().find(|s| s.remote == remote)
}

fn is(lab: &Lab, remote: &str, state: &str) -> bool {
    session(lab, remote).is_some_and(|s| s.state == state)
}

fn ip(line: &str) {
    let done = Command::new("ip").args(line.split(' ')).status();
    assert!(done.expect("ip is installed").success(), "ip {line}");
}

/// How long after `cut` began `holds` came true.
fn time_until(cut: impl FnOnce(), holds: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    cut();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "never");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    start.elapsed()
}

/// The link as it was; an interface that was down has lost its IPv6 address.
fn mend() {
    ip("-n them link set c1 up");
    for n in [2, 3, 4] {
        ip(&format!("-n them addr replace fd09::{n}/64 dev c1 nodad"));
    }
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Says median and range, with the machine's load beside it.
fn say(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let (least, greatest) = (times[0], times[times.len() - 1]);
    println!(
        "{what}: median {} ms, {} to {} ms, {} runs, load {}",
        times[times.len() / 2].as_millis(),
        least.as_millis(),
        greatest.as_millis(),
        times.len(),
        load()
    );
    times[times.len() / 2]
}

/// What a busy machine is given beside the figure.
fn slack() -> Duration {
    let millis = std::env::var("SELVEDGE_BFD_SLACK_MS");
    let millis = millis.ok().and_then(|ms| ms.parse().ok());
    Duration::from_millis(millis.unwrap_or(0))
}

const BIRD_BFD: &str = "protocol bfd watch { interface \"c1\" { min rx interval 100 ms; min tx interval 60 ms; multiplier 4; };\n\
     multihop { min rx interval 100 ms; min tx interval 60 ms; multiplier 4; }; }\n\
     protocol static s4 { ipv4; route 10.201.0.0/26 blackhole; }\n";

fn start_bird(lab: &Lab, hops: &str) {
    let second = format!(
        "protocol bgp six {{ local fd09::2 as 64512; neighbor fd09::1 as 64512; strict bind; connect delay time 1; \
         error wait time 1, 2; bfd on; {hops}; ipv6 {{ import all; export none; }}; }}\n"
    );
    bird::start(
        lab,
        2,
        64512,
        &format!("{BIRD_BFD}{second}"),
        &format!("neighbor 10.9.0.1 as 64512; hold time 90; bfd on; graceful restart on; {hops};"),
    );
}

fn with_bird(lab: &Lab, bfd: &str, hops: &str) {
    start_bird(lab, hops);
    let both = neighbor("10.9.0.2", bfd) + &neighbor("fd09::2", bfd);
    lab.ours(
        64512,
        &format!("{both}[[originate]]\nprefix = \"10.200.0.0/26\"\n"),
    );
    wait("both BFD sessions are up", 20, || {
        is(lab, "10.9.0.2", "up") && is(lab, "fd09::2", "up")
    });
    for remote in ["10.9.0.2", "fd09::2"] {
        wait("the timers are agreed", 5, || {
            let session = session(lab, remote).expect("one");
            let timers = (
                session.transmit_interval_us,
                session.receive_interval_us,
                session.detection_time_us,
            );
            timers == (100_000, 60_000, 240_000)
        });
    }
    let shown = birdc(lab, 2, "show bfd sessions");
    assert_eq!(shown.matches(" Up ").count(), 2, "{shown}");
    assert!(shown.contains("0.300"), "3 x 100 ms: {shown}");
}

fn has_route(lab: &Lab) -> bool {
    lab.explain("10.201.0.0/26").contains("best")
}

fn bird_single_hop(lab: &Lab) {
    with_bird(lab, QUICK, "direct");
    wait("BIRD's route is here", 10, || has_route(lab));
    // Turned off there: BGP goes on (RFC 5882 §4.2), and BFD comes back.
    birdc(lab, 2, "disable watch");
    wait("BFD is down", 5, || is(lab, "10.9.0.2", "down"));
    let reason = session(lab, "10.9.0.2").and_then(|s| s.last_reason);
    let reason = reason.expect("a reason");
    println!("bird_bfd: BIRD's `disable` is {reason}");
    birdc(lab, 2, "enable watch");
    wait("BFD is up again", 10, || is(lab, "10.9.0.2", "up"));
    wait("BIRD's route is here again", 20, || has_route(lab));
    let gone = || !has_route(lab);
    let cut = || ip("-n them link set c1 down");
    let time = time_until(cut, gone);
    println!("bird_bfd: route gone {} ms after the cut", time.as_millis());
    assert!(time < Duration::from_millis(290) + slack(), "{time:?}");
    let session = session(lab, "10.9.0.2").expect("one");
    assert_eq!(
        session.last_reason.as_deref(),
        Some("detection-time-expired")
    );
    assert!(
        lab.neighbors().contains("BFD session down"),
        "{}",
        lab.neighbors()
    );
    mend();
    wait("all is well again", 20, || {
        is(lab, "10.9.0.2", "up") && has_route(lab)
    });
}

fn bird_multihop(lab: &Lab) {
    with_bird(
        lab,
        "{ interval_ms = 50, multiplier = 3, multihop = true }",
        "multihop",
    );
    wait("BIRD's route is here", 10, || has_route(lab));
    lab.signal("bird2", "KILL");
    wait("both sessions are down", 5, || {
        is(lab, "10.9.0.2", "down") && is(lab, "fd09::2", "down")
    });
    let reason = session(lab, "10.9.0.2").and_then(|s| s.last_reason);
    assert_eq!(reason.as_deref(), Some("detection-time-expired"));
}

fn bird_we_are_killed(lab: &Lab) {
    with_bird(lab, QUICK, "direct");
    let bird_has = || birdc(lab, 2, "show route 10.200.0.0/26").contains("[ours");
    wait("BIRD has our route", 10, bird_has);
    let before = report(lab, "ours").expect("it runs");
    lab.signal("ours", "KILL");
    stays("BIRD's BFD is up, and it keeps our route", 2, || {
        birdc(lab, 2, "show bfd sessions").matches(" Up ").count() == 2 && bird_has()
    });
    assert!(!report(lab, "ours").expect("it runs on").claimed);
    lab.restart_ours();
    wait("the sessions are taken over", 10, || {
        report(lab, "ours").is_some_and(|report| report.claimed) && has_route(lab)
    });
    let after = report(lab, "ours").expect("it runs");
    assert_eq!(after.pid, before.pid);
    let ups = |report: &Report| -> Vec<u64> { report.sessions.iter().map(|s| s.ups).collect() };
    assert_eq!(ups(&after), ups(&before), "none went down meanwhile");
    assert!(bird_has());
}

/// Where bfdd keeps its files: it becomes another user, who cannot enter the lab's folder.
const BFDD: &str = "/run/frr";

/// FRR's bfdd, with sessions of its own: it needs no BGP for that.
fn start_bfdd(lab: &Lab) {
    std::fs::create_dir_all(BFDD).expect("a folder");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(BFDD, open).expect("it is ours");
    let mut text =
        format!("frr version 8.4.4\nfrr defaults traditional\nlog file {BFDD}/log\nbfd\n");
    for (ours, theirs, hops) in FRR_PATHS {
        text += &format!(
            " peer {ours} {hops} local-address {theirs}\n  detect-multiplier 5\n  receive-interval 80\n  transmit-interval 40\n exit\n"
        );
    }
    let config = format!("{BFDD}/conf");
    std::fs::write(&config, text + "exit\n").expect("written");
    let argv = [
        "/usr/lib/frr/bfdd",
        "-f",
        &config,
        "-i",
        "/run/frr/pid",
        "-z",
        "/run/frr/zserv",
        "--vty_socket",
        BFDD,
        "-P",
        "0",
    ];
    lab.start("them", "bfdd", &argv);
}

/// Ours, theirs, and the word for many hops.
const FRR_PATHS: [(&str, &str, &str); 4] = [
    ("10.9.0.1", "10.9.0.2", ""),
    ("fd09::1", "fd09::2", ""),
    ("10.9.0.1", "10.9.0.3", "multihop"),
    ("fd09::1", "fd09::3", "multihop"),
];

fn vtysh(commands: &[&str]) -> String {
    let mut command = Command::new("vtysh");
    command.args(["--vty_socket", BFDD, "-d", "bfdd"]);
    for line in commands {
        command.args(["-c", line]);
    }
    let output = command.output().expect("vtysh is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn frr(lab: &Lab) {
    let users = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if !users.trim_end().ends_with("4294967295") {
        println!(
            "frr_bfd: skipped: bfdd changes its user, which an ordinary user's namespace does not allow"
        );
        return;
    }
    start_bfdd(lab);
    let text: String = FRR_PATHS
        .iter()
        .map(|(_, theirs, hops)| {
            let multihop = !hops.is_empty();
            neighbor(
                theirs,
                &format!("{{ interval_ms = 50, multiplier = 3, multihop = {multihop} }}"),
            )
        })
        .collect();
    lab.ours(64512, &text);
    for (_, theirs, _) in FRR_PATHS {
        wait("a session is up, with agreed timers", 30, || {
            session(lab, theirs).is_some_and(|s| {
                let timers = (
                    s.transmit_interval_us,
                    s.receive_interval_us,
                    s.detection_time_us,
                );
                s.state == "up" && timers == (80_000, 50_000, 250_000)
            })
        });
    }
    let shown = vtysh(&["show bfd peers"]);
    assert_eq!(shown.matches("Status: up").count(), 4, "{shown}");
    vtysh(&[
        "configure terminal",
        "bfd",
        "peer 10.9.0.1 local-address 10.9.0.2",
        "shutdown",
    ]);
    wait("it is down", 5, || is(lab, "10.9.0.2", "down"));
    let reason = session(lab, "10.9.0.2").and_then(|s| s.last_reason);
    assert_eq!(reason.as_deref(), Some("neighbour-admin-down"));
    vtysh(&[
        "configure terminal",
        "bfd",
        "peer 10.9.0.1 local-address 10.9.0.2",
        "no shutdown",
    ]);
    wait("it is up again", 10, || is(lab, "10.9.0.2", "up"));
    let time = time_until(
        || lab.signal("bfdd", "KILL"),
        || {
            FRR_PATHS
                .iter()
                .all(|(_, theirs, _)| is(lab, theirs, "down"))
        },
    );
    println!(
        "frr_bfd: all down {} ms after its end, detection 250 ms",
        time.as_millis()
    );
    assert!(time < Duration::from_millis(300) + slack(), "{time:?}");
    let reason = session(lab, "fd09::3").and_then(|s| s.last_reason);
    assert_eq!(reason.as_deref(), Some("detection-time-expired"));
}

/// One of ours at 10.9.0.2, beside the one at 10.9.0.1.
fn start_other(lab: &Lab, bfd: &str) {
    let text = format!(
        "[[neighbor]]\naddress = \"10.9.0.1\"\nas = 64512\nconnect_retry = 1\nerror_wait = [1, 1]\n{bfd}\n[[originate]]\nprefix = \"10.201.0.0/26\"\n"
    );
    lab.speaker("them", "other", "10.9.0.2:179", 64512, &text);
}

fn two_of_ours(lab: &Lab) {
    start_other(lab, &format!("bfd = {QUICK}"));
    lab.ours(64512, &neighbor("10.9.0.2", QUICK));
    wait("BFD is up and the route is here", 20, || {
        is(lab, "10.9.0.2", "up") && has_route(lab)
    });
    wait("the timers are agreed", 5, || {
        session(lab, "10.9.0.2").is_some_and(|s| s.detection_time_us == 150_000)
    });
}

fn node_off(lab: &Lab) {
    two_of_ours(lab);
    let mut times = Vec::new();
    for _ in 0..5 {
        let cut = || ip("-n them link set c1 down");
        times.push(time_until(cut, || !has_route(lab)));
        mend();
        wait("all is well again", 20, || {
            is(lab, "10.9.0.2", "up") && has_route(lab)
        });
    }
    let median = say("selvedge_bfd_node_off: routes gone after", times);
    assert!(median < Duration::from_millis(200) + slack(), "{median:?}");
    // Control: without BFD they stay, and so do those of a peer that only restarts.
    lab.signal("other", "KILL");
    stays("the route, for a peer that restarts", 1, || has_route(lab));
}

fn strict(lab: &Lab) {
    start_other(lab, "");
    let bfd = "{ interval_ms = 50, multiplier = 3, strict = true }";
    lab.ours(64512, &neighbor("10.9.0.2", bfd));
    wait("the session waits", 10, || {
        lab.neighbors().contains("OpenConfirm waiting-for-bfd")
    });
    stays("no session", 1, || !lab.neighbors().contains("Established"));
    lab.signal("other", "KILL");
    start_other(lab, &format!("bfd = {QUICK}"));
    wait("there is one when BFD is up", 60, || {
        is(lab, "10.9.0.2", "up") && has_route(lab)
    });
}

/// Processes that do nothing but use the processor.
struct Hogs(Vec<std::process::Child>);

impl Hogs {
    fn start(count: usize) -> Hogs {
        let hog = |_| {
            let hog = Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .spawn();
            hog.expect("a shell")
        };
        Hogs((0..count).map(hog).collect())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}

fn hogs(lab: &Lab) {
    two_of_ours(lab);
    let priority = report(lab, "ours").expect("it runs").priority;
    if priority == "ordinary" {
        println!(
            "selvedge_bfd_hogs: skipped: no real-time or high priority is allowed to this user"
        );
        return;
    }
    let minutes = std::env::var("SELVEDGE_HOGS_MINUTES").ok();
    let minutes: Option<u64> = minutes.and_then(|minutes| minutes.parse().ok());
    let seconds = minutes.map_or(20, |minutes| minutes * 60);
    let hogs = Hogs::start(32);
    stays("both sessions are up", seconds, || {
        ["ours", "other"].iter().all(|name| {
            let report = report(lab, name);
            report.is_some_and(|r| r.sessions.iter().all(|s| s.state == "up" && s.ups == 1))
        })
    });
    println!(
        "selvedge_bfd_hogs: {seconds} s, priority {priority}, load {}",
        load()
    );
    drop(hogs);
    for name in ["ours", "other"] {
        let ups: Vec<u64> = report(lab, name)
            .expect("it runs")
            .sessions
            .iter()
            .map(|s| s.ups)
            .collect();
        assert_eq!(ups, [1], "{name}");
    }
}
