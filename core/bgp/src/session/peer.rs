//! One peer: its configuration, its connections, its timers.

use super::stale::{Retention, StaleFamily};
use super::{Negotiated, Random};
use crate::output::Chunk;
use crate::{ConnId, Counters, Family, Now, PeerConfig, PeerState};
use ipnet::IpNet;
use std::collections::VecDeque;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How long an OPEN is waited for (RFC 4271 §8.2.2 suggests four minutes).
const OPEN_WAIT: Duration = Duration::from_secs(240);

/// The least default of the send hold timer (RFC 9687 §6).
const SEND_HOLD: Duration = Duration::from_secs(8 * 60);

/// Keepalive intervals from this on are rounded down to whole seconds.
const KEEPALIVE_ON_SECONDS: Duration = Duration::from_secs(8);

/// How far one connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Connecting,
    /// Connected, and our OPEN waits (DelayOpenTimer, RFC 4271 §8.1.1).
    Delayed,
    OpenSent,
    OpenConfirm,
    Established,
}

/// A connection in OpenConfirm that waits for its path.
pub(crate) struct Waiting {
    pub until: Duration,
    /// The peer's KEEPALIVE is there.
    pub confirmed: bool,
}

/// One TCP connection with a peer. There may be two until one is chosen.
pub(crate) struct Connection {
    pub id: ConnId,
    pub stage: Stage,
    pub local: Option<SocketAddr>,
    /// Our link-local address on the link that we share with the peer.
    pub link_local: Option<Ipv6Addr>,
    /// The network that we share with the peer.
    pub network: Option<IpNet>,
    /// The start of a message that is not whole yet.
    pub buffer: Vec<u8>,
    /// Messages other than routes, which go first.
    pub control: VecDeque<Chunk>,
    /// When the last message arrived, or the stage began.
    pub heard: Duration,
    /// When our OPEN is due that waits.
    pub open_at: Option<Duration>,
    /// When the next KEEPALIVE is due.
    pub keepalive_at: Option<Duration>,
    /// From OpenConfirm on.
    pub agreed: Option<Negotiated>,
    /// [`crate::Output::Send`] was given and not all was pulled yet.
    pub announced: bool,
    /// Strict mode: our KEEPALIVE is held back until the path is up.
    pub waiting: Option<Waiting>,
    /// When the socket last took something, or when something began to wait for it.
    pub progress: Duration,
    /// Our OPEN and the peer's, with their headers: monitoring shows them.
    pub opens: (Box<[u8]>, Box<[u8]>),
}

impl Connection {
    pub fn new(id: ConnId, stage: Stage, now: Duration) -> Self {
        Connection {
            id,
            stage,
            local: None,
            link_local: None,
            network: None,
            buffer: Vec::new(),
            control: VecDeque::new(),
            heard: now,
            open_at: None,
            keepalive_at: None,
            agreed: None,
            announced: false,
            waiting: None,
            progress: now,
            opens: Default::default(),
        }
    }

    /// Notes that there is something to send. True when the driver does not know yet.
    pub fn announce(&mut self, now: Duration) -> bool {
        if self.announced {
            return false;
        }
        self.announced = true;
        self.progress = now;
        true
    }

    /// Sets the time of the next KEEPALIVE: within `interval` from now, earlier by its jitter.
    ///
    /// Long intervals end on whole seconds, which all peers share: a thousand idle sessions then
    /// cost one wake-up a second instead of one for each message.
    pub fn arm_keepalive(&mut self, now: Duration, interval: Duration, random: &mut Random) {
        if interval.is_zero() {
            self.keepalive_at = None;
            return;
        }
        let mut at = now + random.jitter(interval);
        if interval >= KEEPALIVE_ON_SECONDS {
            at = Duration::from_secs(at.as_secs());
        }
        self.keepalive_at = Some(at);
    }

    pub fn say(&mut self, message: Vec<u8>) {
        let end = message.len();
        self.control.push_back(Chunk {
            data: Arc::new(message),
            start: 0,
            end,
        });
    }

    /// When the peer is taken for dead if it stays silent.
    pub fn hold_deadline(&self, connect_retry: Duration) -> Option<Duration> {
        match (self.stage, &self.agreed) {
            (Stage::Connecting, _) => Some(self.heard + connect_retry),
            (Stage::Delayed, _) => None,
            (Stage::OpenSent, _) | (_, None) => Some(self.heard + OPEN_WAIT),
            (_, Some(agreed)) if agreed.hold_time.is_zero() => None,
            (_, Some(agreed)) => Some(self.heard + agreed.hold_time),
        }
    }

    /// When a peer that takes nothing is given up, were there something to send now
    /// (SendHoldTimer, RFC 9687 §4). Until something waits it only says when to look again.
    pub fn send_deadline(&self, wanted: Option<Duration>) -> Option<Duration> {
        let agreed = self.agreed.as_ref()?;
        let hold = wanted.unwrap_or(SEND_HOLD.max(agreed.hold_time * 2));
        (!hold.is_zero()).then(|| self.progress + hold)
    }
}

/// One peer.
pub(crate) struct Peer {
    /// Its number in the RIBs.
    pub number: u16,
    pub name: Arc<str>,
    pub config: PeerConfig,
    pub dynamic: bool,
    pub connections: Vec<Connection>,
    /// IdleHoldTimer: nothing is tried before.
    pub idle_until: Option<Duration>,
    /// While Idle an incoming connection is welcome all the same.
    pub open_while_idle: bool,
    /// ConnectRetryTimer.
    pub connect_at: Option<Duration>,
    /// Protocol errors in a row.
    pub errors: u32,
    pub error: String,
    pub state: PeerState,
    pub since: Now,
    pub counters: Counters,
    /// Families of which stale routes are kept.
    pub stale: Vec<StaleFamily>,
    /// How long its routes of which families are kept when this session is lost.
    pub keeps: Vec<Retention>,
    /// Families of which End-of-RIB is awaited in this session.
    pub awaiting: Vec<Family>,
    /// It has given us all it has, since we started.
    pub synced: bool,
    /// It was said that its prefixes are near the limit, of each family, in this session.
    pub warned: [bool; 2],
    /// It was said that its prefixes over the limit are kept out, in this session.
    pub discards: bool,
    /// The earliest deadline that the machine's table of deadlines has for it.
    pub armed: Option<Duration>,
}

impl Peer {
    pub fn new(number: u16, config: PeerConfig, dynamic: bool, now: Now) -> Self {
        Peer {
            number,
            name: config.name.as_str().into(),
            state: PeerState::Idle,
            config,
            dynamic,
            connections: Vec::new(),
            idle_until: None,
            open_while_idle: false,
            connect_at: None,
            errors: 0,
            error: String::new(),
            since: now,
            counters: Counters::default(),
            stale: Vec::new(),
            keeps: Vec::new(),
            awaiting: Vec::new(),
            synced: false,
            warned: [false; 2],
            discards: false,
            armed: None,
        }
    }

    pub fn connection(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|c| c.id == id)
    }

    pub fn established(&self) -> Option<&Connection> {
        self.connections
            .iter()
            .find(|c| c.stage == Stage::Established)
    }

    /// What the session agreed on, while it is established.
    pub fn session(&self) -> Option<&Negotiated> {
        self.established()?.agreed.as_ref()
    }

    /// The state as people know it: that of the connection that has come furthest.
    pub fn present_state(&self) -> PeerState {
        let furthest = self.connections.iter().max_by_key(|c| c.stage);
        let came_in = furthest.is_some_and(|c| matches!(c.id, ConnId::Accepted(_)));
        match furthest.map(|c| c.stage) {
            Some(Stage::Established) => PeerState::Established,
            Some(Stage::OpenConfirm) => PeerState::OpenConfirm,
            Some(Stage::OpenSent) => PeerState::OpenSent,
            Some(Stage::Delayed) if came_in => PeerState::Active,
            Some(Stage::Connecting | Stage::Delayed) => PeerState::Connect,
            None if self.idle_until.is_some() || self.config.is_awaited() => PeerState::Idle,
            None if self.config.authentication.refusal().is_some() => PeerState::Idle,
            None if self.config.passive => PeerState::Passive,
            None => PeerState::Active,
        }
    }

    /// What people should know of it, by stable names.
    pub fn notes(&self, ebgp: bool) -> Vec<&'static str> {
        let policies = [
            (self.config.lacks_import_policy && ebgp, "no-import-policy"),
            (self.config.lacks_export_policy && ebgp, "no-export-policy"),
            (self.warned.contains(&true), "max-prefixes-warning"),
            (self.discards, "max-prefixes"),
            (
                self.stale.iter().any(StaleFamily::is_long_lived),
                "long-lived-stale",
            ),
        ];
        let held = policies.into_iter().filter(|(holds, _)| *holds);
        held.map(|(_, name)| name).collect()
    }

    /// When something is due.
    pub fn next_deadline(&self) -> Option<Duration> {
        let connections = self.connections.iter().flat_map(|c| {
            [
                c.hold_deadline(self.config.connect_retry),
                c.open_at,
                c.keepalive_at,
                c.send_deadline(self.config.send_hold_time),
                c.waiting.as_ref().map(|waiting| waiting.until),
            ]
        });
        connections
            .chain([self.idle_until, self.connect_at, self.stale_deadline()])
            .flatten()
            .min()
    }

    /// When something is due about stale routes.
    pub fn stale_deadline(&self) -> Option<Duration> {
        self.stale.iter().filter_map(StaleFamily::deadline).min()
    }

    /// Waits before the next attempt, longer with each error.
    pub fn back_off(&mut self, now: Duration, random: &mut Random) {
        let (first, greatest) = self.config.error_wait;
        let wait = first.saturating_mul(1 << self.errors.min(16)).min(greatest);
        self.errors = self.errors.saturating_add(1);
        self.idle_until = Some(now + random.jitter(wait));
        self.connect_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn long_keepalives_come_due_together() {
        let deadlines = |interval_s| {
            let interval = Duration::from_secs(interval_s);
            let mut random = Random::new(1);
            let deadline = |number: u64| {
                let now = Duration::from_millis(100_000 + number);
                let mut connection =
                    Connection::new(ConnId::Accepted(number), Stage::Established, now);
                connection.arm_keepalive(now, interval, &mut random);
                let at = connection.keepalive_at.expect("armed");
                assert!(at > now && at <= now + interval, "{at:?}");
                at
            };
            (0..1000).map(deadline).collect::<BTreeSet<_>>().len()
        };
        assert!(deadlines(30) <= 10, "{}", deadlines(30));
        // The control: short ones are kept as they fall.
        assert!(deadlines(3) > 100, "{}", deadlines(3));
    }
}
