//! What the process and its owner say to each other: one JSON value a line.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// The version of these messages. Who meets another one ends it and starts its own.
pub const PROTOCOL: u32 = 1;

/// One wanted session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wanted {
    /// The neighbour.
    pub remote: IpAddr,
    /// The interface's index where the neighbour is link-local, else 0.
    #[serde(default)]
    pub scope: u32,
    /// The neighbour may be several hops away (RFC 5883).
    #[serde(default)]
    pub multihop: bool,
    /// The address to send from.
    #[serde(default)]
    pub local: Option<IpAddr>,
    /// Both of our intervals, in milliseconds.
    pub interval_ms: u32,
    /// Detect Mult.
    pub multiplier: u8,
}

impl Wanted {
    /// A single-hop session of 3 times 50 ms.
    pub fn new(remote: IpAddr) -> Self {
        Wanted {
            remote,
            scope: 0,
            multihop: false,
            local: None,
            interval_ms: 50,
            multiplier: 3,
        }
    }

    pub(crate) fn config(&self) -> bfd::SessionConfig {
        let interval = Duration::from_millis(u64::from(self.interval_ms.max(1)));
        bfd::SessionConfig {
            remote: self.remote.to_canonical(),
            scope: self.scope,
            multihop: self.multihop,
            local: self.local,
            desired_min_tx: interval,
            required_min_rx: interval,
            detect_mult: self.multiplier.max(1),
            admin_down: false,
        }
    }
}

/// To the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToLiveness {
    /// Claims the process. Answered with [`FromLiveness::Sessions`], then each change is told. Whoever claimed it before is let
    /// go.
    Want {
        /// The wanted sessions.
        sessions: Vec<Wanted>,
        /// Those that are there and not in the list stay, for an owner that does not know yet who will come.
        keep_others: bool,
    },
    /// Asks for a [`FromLiveness::Report`].
    Show,
    /// Say AdminDown, and end.
    End,
}

/// From the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromLiveness {
    /// The first line of each connection.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The process.
        pid: u32,
    },
    /// Each session as it is.
    Sessions(Vec<SessionReport>),
    /// One session's state changed.
    Change(SessionChange),
    /// Everything, for people.
    Report(Report),
}

/// A session's state changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionChange {
    /// The neighbour.
    pub remote: IpAddr,
    /// As in [`Wanted`].
    pub scope: u32,
    /// As in [`Wanted`].
    pub multihop: bool,
    /// The state it had.
    pub from: String,
    /// The state it has: `admin-down`, `down`, `init`, `up`.
    pub to: String,
    /// Why it went down: `detection-time-expired` and so on.
    pub reason: Option<String>,
    /// Whether packets are taken for lost, or BFD was only turned off.
    pub failure: bool,
    /// Both C bits are set (RFC 5882 §4.3.1).
    pub control_plane_independent: bool,
}

/// A session, as shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// The neighbour.
    pub remote: IpAddr,
    /// As in [`Wanted`].
    pub scope: u32,
    /// As in [`Wanted`].
    pub multihop: bool,
    /// As in [`Wanted`].
    pub local: Option<IpAddr>,
    /// `admin-down`, `down`, `init`, `up`.
    pub state: String,
    /// How long it has had this state, in milliseconds.
    pub state_for_ms: u64,
    /// The neighbour's state, as last heard.
    pub remote_state: String,
    /// Why it last went down.
    pub last_reason: Option<String>,
    /// What we send by, as agreed, in microseconds; 0 when nothing is sent.
    pub transmit_interval_us: u64,
    /// What the neighbour sends by, as agreed, in microseconds.
    pub receive_interval_us: u64,
    /// Silence that takes it down, in microseconds; 0 while nothing was heard.
    pub detection_time_us: u64,
    /// Ours.
    pub multiplier: u8,
    /// The neighbour's.
    pub remote_multiplier: u8,
    /// The neighbour's C bit.
    pub remote_control_plane_independent: bool,
    /// My Discriminator.
    pub local_discriminator: u32,
    /// The neighbour's.
    pub remote_discriminator: u32,
    /// Times that it came up.
    pub ups: u64,
    /// Packets that counted.
    pub packets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Why the last packet could not be sent.
    pub send_error: Option<String>,
}

/// Everything, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The process.
    pub pid: u32,
    /// `real-time`, `high` or `ordinary`.
    pub priority: String,
    /// Somebody has claimed it.
    pub claimed: bool,
    /// What is wrong: ports that cannot be listened on.
    pub refused: Vec<String>,
    /// By neighbour.
    pub sessions: Vec<SessionReport>,
    /// Packets that did not count, by reason.
    pub discarded: BTreeMap<String, u64>,
}
