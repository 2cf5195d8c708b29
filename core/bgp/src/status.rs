//! What can be asked: peers, counters, and why a path won or lost.

use crate::{Family, NextHop, Now, RemoteAs};
use ipnet::IpNet;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// State of a peer: RFC 4271 §8.2.2, plus the two that people ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerState {
    /// Waiting after an error, or stopped.
    Idle,
    /// Dialling.
    Connect,
    /// Waiting to dial again; incoming connections are welcome.
    Active,
    /// As Active, but never dials.
    Passive,
    /// Our OPEN went out.
    OpenSent,
    /// The peer's OPEN was accepted; its KEEPALIVE is awaited.
    OpenConfirm,
    /// Routes are exchanged.
    Established,
}

impl PeerState {
    /// BIRD's protocol state: `up` or `start`.
    pub fn protocol_state(self) -> &'static str {
        match self {
            PeerState::Established => "up",
            PeerState::Idle
            | PeerState::Connect
            | PeerState::Active
            | PeerState::Passive
            | PeerState::OpenSent
            | PeerState::OpenConfirm => "start",
        }
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerState::Idle => "Idle",
            PeerState::Connect => "Connect",
            PeerState::Active => "Active",
            PeerState::Passive => "Passive",
            PeerState::OpenSent => "OpenSent",
            PeerState::OpenConfirm => "OpenConfirm",
            PeerState::Established => "Established",
        })
    }
}

/// A peer's state changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerEvent {
    /// [`crate::PeerConfig::name`].
    pub peer: Arc<str>,
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// The state it has now.
    pub state: PeerState,
    /// The last error's text, empty when there is none: `Socket: Connection refused`,
    /// `Received: Cease`, `Error: Hold timer expired`.
    pub error: String,
}

/// Something that people should know although no state changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Why, with a stable name.
    pub reason: NoticeReason,
    /// The peer's name ([`crate::PeerConfig::name`]), or that of a range's template.
    pub about: Arc<str>,
    /// Numbers and addresses, for people.
    pub detail: String,
}

/// Why there is a [`Notice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeReason {
    /// A dynamic neighbour was turned away: its range has as many as it may. Said once until
    /// one of them leaves.
    RangeFull,
    /// A peer's prefixes have come near the limit. Said once a session and family.
    MaxPrefixesWarning,
    /// A peer's prefixes over the limit are kept out. Said once a session.
    MaxPrefixes,
}

impl NoticeReason {
    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            NoticeReason::RangeFull => "range-full",
            NoticeReason::MaxPrefixesWarning => "max-prefixes-warning",
            NoticeReason::MaxPrefixes => "max-prefixes",
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.about, self.reason.name(), self.detail)
    }
}

/// Messages and routes counted since the peer was configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// UPDATEs received.
    pub updates_in: u64,
    /// UPDATEs queued to be sent.
    pub updates_out: u64,
    /// Messages of all kinds received.
    pub messages_in: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// UPDATEs treated as withdraw because of a malformed attribute (RFC 7606 §2).
    pub treated_as_withdraw: u64,
    /// Attributes discarded because they were malformed (RFC 7606 §2).
    pub attributes_discarded: u64,
    /// Times that the session was established.
    pub established: u64,
}

/// One peer as shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// [`crate::PeerConfig::name`].
    pub name: Arc<str>,
    /// The peer's address and port.
    pub remote: SocketAddr,
    /// The interface of an unnumbered peer.
    pub interface: Option<Arc<str>>,
    /// Our end while a connection is open.
    pub local: Option<SocketAddr>,
    /// The peer's AS, or while the session is down which one is wanted.
    pub remote_as: RemoteAs,
    /// The peer's BGP Identifier while the session is up.
    pub remote_id: Option<Ipv4Addr>,
    /// The state.
    pub state: PeerState,
    /// When the state was entered.
    pub since: Now,
    /// The last error's text, empty when there is none since the session last came up.
    pub error: String,
    /// It came through a range.
    pub dynamic: bool,
    /// It is our reflection client.
    pub rr_client: bool,
    /// What both sides speak, while the session is up.
    pub families: Vec<Family>,
    /// Negotiated hold time in seconds, while the session is up.
    pub hold_time_s: u16,
    /// Paths held from it, rejected ones too.
    pub received: u32,
    /// Of these, paths that an import rule or a loop check keeps out.
    pub rejected: u32,
    /// Of these, stale ones of a restarting peer.
    pub stale: u32,
    /// Counters.
    pub counters: Counters,
    /// What people should know of it although it may be up, by stable names:
    /// `no-import-policy`, `no-export-policy` (RFC 8212), `max-prefixes-warning`, `max-prefixes`,
    /// `long-lived-stale` (stale routes of it are kept beyond the restart time, RFC 9494).
    pub notes: Vec<&'static str>,
}

impl PeerStatus {
    /// BIRD's info column: `Established`, `Active Socket: Connection refused`,
    /// `Idle Received: Cease`.
    pub fn info(&self) -> String {
        if self.error.is_empty() || self.state == PeerState::Established {
            return self.state.to_string();
        }
        format!("{} {}", self.state, self.error)
    }
}

/// Where a path stands in the decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathStanding {
    /// It is used.
    Best,
    /// It lost, or is kept out, for this reason: a stable lower-case name such as `as-path-length`.
    Lost(&'static str),
}

/// One path of a prefix as shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathInfo {
    /// [`crate::PeerConfig::name`]; `None` for our own.
    pub peer: Option<Arc<str>>,
    /// The next hop; `None` for our own.
    pub next_hop: Option<NextHop>,
    /// AS_PATH in the usual notation, sets in braces.
    pub as_path: String,
    /// `igp`, `egp` or `incomplete`.
    pub origin: &'static str,
    /// LOCAL_PREF, 100 when absent.
    pub local_pref: u32,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// COMMUNITIES as `aa:nn`, EXTENDED COMMUNITIES as `rt:aa:nn`, LARGE_COMMUNITY as `aa:nn:mm`.
    pub communities: Vec<String>,
    /// ORIGINATOR_ID.
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST.
    pub cluster_list: Vec<Ipv4Addr>,
    /// Kept for a restarting peer (RFC 4724 §4.2).
    pub stale: bool,
    /// It counts as long-lived stale, as it has LLGR_STALE: from us, when the restart time was over,
    /// or from the peer (RFC 9494 §4.3).
    pub long_lived_stale: bool,
    /// The path identifier that the peer gave it (RFC 7911), unless 0.
    pub path_id: Option<u32>,
    /// Used, or why not.
    pub standing: PathStanding,
    /// For `import-filter`: the rule that keeps it out.
    pub rule: Option<String>,
}

/// Why a prefix is routed as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The prefix asked for.
    pub prefix: IpNet,
    /// All paths; the best one first. Empty when the prefix is not known.
    pub paths: Vec<PathInfo>,
}
