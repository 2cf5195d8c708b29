//! What monitoring (BMP, MRT) sees of a speaker.

use crate::{Chunk, Family, NextHop};
use ipnet::IpNet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Where a walk through the RIBs goes on; the default is their beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RibCursor {
    pub(crate) family: Family,
    pub(crate) net: u32,
}

impl Default for RibCursor {
    fn default() -> Self {
        RibCursor {
            family: Family::Ipv4,
            net: 0,
        }
    }
}

impl RibCursor {
    /// Where to go on behind a part of a family that ended before this net, or at the end.
    pub(crate) fn after(family: Family, net: Option<u32>) -> Option<Self> {
        match (family, net) {
            (family, Some(net)) => Some(RibCursor { family, net }),
            (Family::Ipv4, None) => Some(RibCursor {
                family: Family::Ipv6,
                net: 0,
            }),
            (Family::Ipv6, None) => None,
        }
    }

    /// The family in which it goes on.
    pub fn family(&self) -> Family {
        self.family
    }
}

/// A part of the RIBs as it was at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RibSlice {
    /// Attribute sets, each once.
    pub sets: Vec<RibAttributes>,
    /// Paths; those of a prefix stand together, the best one first.
    pub paths: Vec<RibPath>,
    /// Where to go on; `None` at the end.
    pub next: Option<RibCursor>,
}

/// Attributes with their next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RibAttributes {
    /// Path attributes without NEXT_HOP and MP_REACH_NLRI, in order of their types, AS numbers of
    /// four octets (RFC 4271 §4.3).
    pub octets: Vec<u8>,
    /// The next hop; unspecified for a prefix of ours without one.
    pub next_hop: NextHop,
}

/// A path of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RibPath {
    /// The prefix.
    pub prefix: IpNet,
    /// [`SessionView::number`]; 0 for our own.
    pub peer: u16,
    /// The peer's path identifier (RFC 7911 §3); 0 without.
    pub path_id: u32,
    /// What the peer said: a place in [`RibSlice::sets`].
    pub received: u32,
    /// What the import filter made of it, likewise; `None` for a path that is kept out.
    pub used: Option<u32>,
    /// The chosen one.
    pub best: bool,
    /// Kept for a restarting peer (RFC 4724 §4.2).
    pub stale: bool,
}

/// A peer as monitoring sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Its number in [`RibPath::peer`]; used again for another peer when it has gone.
    pub number: u16,
    /// [`crate::PeerConfig::name`].
    pub name: Arc<str>,
    /// Its address and port.
    pub remote: SocketAddr,
    /// Its AS.
    pub remote_as: u32,
    /// Its BGP Identifier; 0.0.0.0 while there is no session.
    pub remote_id: Ipv4Addr,
    /// While the session is up.
    pub opens: Option<Opens>,
}

/// How a session that is up came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opens {
    /// Our end.
    pub local: SocketAddr,
    /// The AS that we said.
    pub local_as: u32,
    /// Our OPEN, with its header.
    pub sent: Vec<u8>,
    /// The peer's OPEN, with its header.
    pub received: Vec<u8>,
    /// AS_PATH has AS numbers of four octets on this session (RFC 6793).
    pub as4: bool,
    /// Families in which the peer sends path identifiers (RFC 7911).
    pub ids_in: Vec<Family>,
    /// Families of the session.
    pub families: Vec<Family>,
    /// When it came up, since the Unix epoch.
    pub since: Duration,
}

/// What [`Mirrored`] is to tell beside sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    /// [`Mirrored::Update`].
    pub updates: bool,
    /// [`Mirrored::Accepted`].
    pub accepted: bool,
}

/// A view that is told as UPDATEs: first all there is and End-of-RIB, then what changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum View {
    /// What was chosen, with its attributes as they stand in the Loc-RIB (RFC 9069).
    LocRib,
    /// What a peer would be told without an export filter (RFC 8671).
    AdjRibOutPre,
    /// What a peer is told (RFC 8671).
    AdjRibOutPost,
}

/// Names who watches views.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub(crate) u32);

/// UPDATEs of a view.
#[derive(Clone, Debug, PartialEq)]
pub struct Viewed {
    /// Which.
    pub view: View,
    /// [`SessionView::number`] of the peer that is told; 0 for the Loc-RIB.
    pub peer: u16,
    /// Whole messages with their headers, one after the other.
    pub messages: Chunk,
}

/// Paths of peers, after their import filters, that may not be what they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Attribute sets, each once.
    pub sets: Vec<RibAttributes>,
    /// Each once.
    pub paths: Vec<AcceptedPath>,
    /// Peers that said End-of-RIB; after the paths.
    pub ends: Vec<(u16, Family)>,
}

/// What a path is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedPath {
    /// The prefix.
    pub prefix: IpNet,
    /// [`SessionView::number`].
    pub peer: u16,
    /// The peer's path identifier (RFC 7911 §3); 0 without.
    pub path_id: u32,
    /// A place in [`Accepted::sets`]; `None`: there is no such path, or it is kept out.
    pub set: Option<u32>,
}

/// How many paths are held of a peer, of IPv4 and of IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldPrefixes {
    /// [`SessionView::number`].
    pub number: u16,
    /// [`crate::PeerConfig::name`].
    pub name: Arc<str>,
    /// All of them.
    pub held: [u32; 2],
    /// Of these, paths that an import rule or a loop check keeps out.
    pub rejected: [u32; 2],
}

/// What is counted of a session that is up (RFC 7854 §4.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCounts {
    /// [`SessionView::number`].
    pub peer: u16,
    /// Paths of IPv4 and of IPv6 in its Adj-RIB-In.
    pub held: [u32; 2],
    /// [`crate::Counters::treated_as_withdraw`].
    pub treated_as_withdraw: u64,
}

/// What a peer did, as monitoring hears of it; given while [`crate::Speaker::mirror`] is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mirrored {
    /// A session is up; its `since` is not yet that of this session.
    Up(Box<SessionView>),
    /// A session has ended.
    Down {
        /// [`SessionView::number`].
        peer: u16,
        /// How.
        why: Down,
    },
    /// An UPDATE, as it was received.
    Update {
        /// [`SessionView::number`].
        peer: u16,
        /// With its header.
        message: Vec<u8>,
    },
    /// What import filters let through now; after all else that happened.
    Accepted(Accepted),
}

/// How a session ended (RFC 7854 §4.9). NOTIFICATIONs have their header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Down {
    /// By us, with this NOTIFICATION.
    Sent(Vec<u8>),
    /// By us, without.
    Silent,
    /// By the peer, with this NOTIFICATION.
    Received(Vec<u8>),
    /// The connection ended.
    Lost,
}
