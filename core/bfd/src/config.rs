//! What a session is wanted to be.

use std::net::IpAddr;
use std::time::Duration;

/// One wanted session. Its neighbour's address, scope and number of hops are what it is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// The neighbour.
    pub remote: IpAddr,
    /// The interface's index where `remote` is link-local, else 0.
    pub scope: u32,
    /// The neighbour may be several hops away (RFC 5883).
    pub multihop: bool,
    /// The address to send from; `None` leaves it to the routing table.
    pub local: Option<IpAddr>,
    /// bfd.DesiredMinTxInterval once the session is up; a second at least until then.
    pub desired_min_tx: Duration,
    /// bfd.RequiredMinRxInterval.
    pub required_min_rx: Duration,
    /// bfd.DetectMult, not 0.
    pub detect_mult: u8,
    /// Held down on purpose (RFC 5880 §6.8.16).
    pub admin_down: bool,
}

impl SessionConfig {
    /// A single-hop session of 3 times 50 ms.
    pub fn new(remote: IpAddr) -> Self {
        SessionConfig {
            remote,
            scope: 0,
            multihop: false,
            local: None,
            desired_min_tx: Duration::from_millis(50),
            required_min_rx: Duration::from_millis(50),
            detect_mult: 3,
            admin_down: false,
        }
    }
}
