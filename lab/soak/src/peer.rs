//! One peer: where its session stands, what it has said and heard, and how it may die.

use crate::cast::Player;
use bgpwire::say::Restart;
use bgpwire::tap::{Tap, Told};
use mio::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// How a peer is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// RST.
    Reset,
    /// FIN.
    Fin,
    /// Not a word until the speaker's hold timer ends.
    Silence,
    /// NOTIFICATION: Cease.
    Notification,
    /// Half of an UPDATE, then RST.
    HalfMessage,
}

impl Kill {
    /// All of them, in turn.
    pub const ALL: [Kill; 5] = [
        Kill::Reset,
        Kill::Fin,
        Kill::Silence,
        Kill::Notification,
        Kill::HalfMessage,
    ];

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Kill::Reset => "reset",
            Kill::Fin => "fin",
            Kill::Silence => "silence",
            Kill::Notification => "notification",
            Kill::HalfMessage => "half-message",
        }
    }

    /// Whether the speaker keeps the routes of such a peer for its return (RFC 4724, RFC 8538).
    pub fn keeps(self, restart: Option<Restart>) -> bool {
        restart.is_some_and(|restart| match self {
            Kill::Reset | Kill::Fin | Kill::HalfMessage => true,
            Kill::Silence | Kill::Notification => restart.notification,
        })
    }

    /// Whether all that the peer had said before has certainly been heard.
    pub fn is_orderly(self) -> bool {
        match self {
            Kill::Fin | Kill::Silence | Kill::Notification => true,
            Kill::Reset | Kill::HalfMessage => false,
        }
    }
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Not there; back at that time, or not at all for now.
    Down(Option<Instant>),
    Connecting,
    /// OPEN and KEEPALIVE are said.
    Opening,
    Up,
    /// Killed, and not gone yet; back so long after it has gone.
    Dying(Kill, Duration),
}

/// The speaker still has the routes of a peer that is away.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// For so long.
    pub until: Instant,
    /// They are what the peer said last.
    pub is_certain: bool,
}

/// One peer.
pub struct Peer {
    pub player: Player,
    pub link: Link,
    /// Does not come back for now.
    pub stays: bool,
    /// Has no entry in the speaker's configuration.
    pub absent: bool,
    /// What the speaker has heard of it, once it has read all.
    pub table: Told,
    /// What it heard.
    pub tap: Tap,
    pub kept: Option<Kept>,
    /// Reads nothing until then.
    pub deaf_until: Option<Instant>,
    /// Refreshes that it asked for on this session, of IPv4 and of IPv6.
    pub asked: [u64; 2],
    pub stream: Option<TcpStream>,
    pub listener: Option<TcpListener>,
    /// Not taken by the socket yet.
    pub out: Vec<u8>,
    pub was_up: bool,
    /// When it said something last.
    pub said_at: Instant,
    /// The longest time between two words of this session.
    pub longest_pause: Duration,
}

impl Peer {
    pub fn new(player: Player, now: Instant) -> Self {
        Peer {
            player,
            link: Link::Down(Some(now)),
            stays: false,
            absent: false,
            table: Told::new(),
            tap: Tap::default(),
            kept: None,
            deaf_until: None,
            asked: [0; 2],
            stream: None,
            listener: None,
            out: Vec::new(),
            was_up: false,
            said_at: now,
            longest_pause: Duration::ZERO,
        }
    }

    /// All that it said was taken by the socket.
    pub fn is_drained(&self) -> bool {
        self.out.is_empty()
    }

    /// The speaker has its routes still, though it is away.
    pub fn is_kept(&self, now: Instant) -> bool {
        self.kept.is_some_and(|kept| kept.until > now)
    }

    /// Where it stands, for messages.
    pub fn state(&self) -> String {
        let (tap, waits) = (&self.tap, self.out.len());
        format!(
            "{} is {:?}, absent {}, deaf {}, {waits} octets not taken, End-of-RIB {:?}, refreshed {:?} of {:?}",
            self.player.name(),
            self.link,
            self.absent,
            self.deaf_until.is_some(),
            tap.ended,
            tap.refreshed,
            self.asked
        )
    }

    /// How much longer its routes are kept.
    pub fn kept_until(&self, now: Instant) -> Duration {
        let until = self.kept.map_or(now, |kept| kept.until);
        until.saturating_duration_since(now)
    }

    /// It has been told that this was all, as peers with graceful restart are, and again all that it asked for.
    pub fn has_all(&self) -> bool {
        let families = if self.player.can.ipv6 { 2 } else { 1 };
        let ended = self.tap.ended[..families].iter().all(|ended| *ended);
        (ended || self.player.can.restart.is_none()) && self.tap.refreshed == self.asked
    }
}
