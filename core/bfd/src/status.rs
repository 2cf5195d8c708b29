//! What can be asked of a session, and what is told of it.

use crate::{Reason, SessionConfig, State};
use std::net::IpAddr;
use std::time::Duration;

/// A session's state changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The neighbour.
    pub remote: IpAddr,
    /// [`SessionConfig::scope`].
    pub scope: u32,
    /// [`SessionConfig::multihop`].
    pub multihop: bool,
    /// The state it had.
    pub from: State,
    /// The state it has.
    pub to: State,
    /// Why it went down, when it did.
    pub reason: Option<Reason>,
    /// Neither side's BFD shares the fate of its control plane (both C bits are set), so that a session that is lost
    /// means that packets are (RFC 5882 §4.3.1).
    pub control_plane_independent: bool,
}

/// One session as shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What is wanted.
    pub config: SessionConfig,
    /// Our state.
    pub state: State,
    /// When it was entered.
    pub since: Duration,
    /// The neighbour's state, as last heard.
    pub remote_state: State,
    /// Why it last went down.
    pub reason: Option<Reason>,
    /// My Discriminator.
    pub local_discriminator: u32,
    /// The neighbour's, 0 when it is not known.
    pub remote_discriminator: u32,
    /// What we send by: the greater of our wish and the neighbour's limit, before jitter. Zero: nothing is sent.
    pub transmit_interval: Duration,
    /// What the neighbour sends by, as agreed.
    pub receive_interval: Duration,
    /// Silence that takes the session down; zero while nothing was heard.
    pub detection_time: Duration,
    /// The neighbour's multiplier.
    pub remote_detect_mult: u8,
    /// The neighbour's C bit.
    pub remote_control_plane_independent: bool,
    /// Times that it came up.
    pub ups: u64,
    /// Packets that counted.
    pub packets_in: u64,
    /// Packets sent.
    pub packets_out: u64,
}
