//! What the machine asks of its driver.

use crate::{Bfd, ConnId, Keys, ListenSecurity, Notice, PeerConfig, PeerEvent, SocketOptions};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// One thing for the driver to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Listen on exactly these addresses from now on.
    Listen(Vec<SocketAddr>),
    /// Open a TCP connection; answer with `Connected` or `ConnectFailed`.
    Connect {
        /// The name to answer with.
        conn: ConnId,
        /// Where to.
        remote: SocketAddr,
        /// The address to bind to first.
        source: Option<IpAddr>,
        /// What the socket needs before it connects.
        options: SocketOptions,
    },
    /// Options for a connection that was accepted. One that cannot have them, or whose first
    /// packet came with too low a TTL, is closed by the driver, and `Closed` says why.
    Configure {
        /// The connection.
        conn: ConnId,
        /// What the socket needs.
        options: SocketOptions,
    },
    /// What listening sockets need from now on; comes before the first `Listen`.
    Secure(ListenSecurity),
    /// The keys of a connection in use change (RFC 2385 §4.5, RFC 5925 §3.1).
    Rekey {
        /// The connection.
        conn: ConnId,
        /// The new ones, of the kind that it has.
        keys: Keys,
    },
    /// There are bytes to pull with [`crate::Speaker::transmit`].
    Send(ConnId),
    /// Write these last octets, as far as the socket takes them, and close the connection.
    /// Nothing is pulled for it and nothing expected of it any more, not even `Closed`.
    Close {
        /// The connection.
        conn: ConnId,
        /// The end of what was being written and a NOTIFICATION, or nothing.
        last: Vec<Chunk>,
    },
    /// Who is on exactly these interfaces is to be found out from now on, and told by [`crate::Input::Neighbor`]; all that
    /// is known of them is told again.
    FindNeighbors(Vec<Arc<str>>),
    /// BFD is to watch exactly these paths from now on, and [`crate::Input::Path`] to say what it sees.
    WatchPaths(Vec<WatchedPath>),
    /// These are the next hops in use from now on, in order: say with [`crate::Input::NextHop`] what
    /// the routing table says of each, and again when that changes. Only if
    /// [`crate::Config::track_next_hops`]. What was said of those that are not in it any more is
    /// forgotten.
    NextHops(Vec<IpAddr>),
    /// The chosen routes of some prefixes changed. Only if [`crate::Config::report_routes`].
    Routes(Vec<RouteChange>),
    /// A session came up, went down, or changed its state.
    Peer(PeerEvent),
    /// Something that people should know although no state changed.
    Notice(Notice),
    /// Given once after start: each peer has sent all it has (End-of-RIB, RFC 4724 §2) or was
    /// waited for long enough. Until then, absence of a route means nothing.
    InSync,
}

/// A path that BFD watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchedPath {
    /// The peer's address.
    pub remote: IpAddr,
    /// The interface's index where that is link-local, else 0.
    pub scope: u32,
    /// The address to send from, where one is configured.
    pub local: Option<IpAddr>,
    /// How.
    pub bfd: Bfd,
}

impl WatchedPath {
    pub(crate) fn of(config: &PeerConfig) -> Option<Self> {
        if config.is_awaited() {
            return None;
        }
        Some(WatchedPath {
            remote: config.remote.ip().to_canonical(),
            scope: scope(config.remote),
            local: config.source,
            bfd: config.bfd?,
        })
    }

    /// What tells it from others.
    pub(crate) fn key(&self) -> (IpAddr, u32) {
        (self.remote, self.scope)
    }
}

/// The interface's index of a link-local address; 0 of others.
pub(crate) fn scope(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V6(address) => address.scope_id(),
        SocketAddr::V4(_) => 0,
    }
}

/// The present routes of one prefix; replaces what was said of the prefix before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteChange {
    /// The prefix.
    pub prefix: IpNet,
    /// `None`: there is no route any more.
    pub route: Option<Route>,
}

/// The best path of a prefix, with all next hops that are as good (multipath).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Ordered, without repetition; empty for a prefix we originate ourselves.
    pub next_hops: Vec<RouteNextHop>,
    /// [`crate::PeerConfig::name`] of the best path's peer; `None` for our own.
    pub peer: Option<Arc<str>>,
    /// True when the best path came over iBGP.
    pub ibgp: bool,
    /// LOCAL_PREF of the best path; 100 when it had none.
    pub local_pref: u32,
}

/// A next hop of a chosen route, and the link that it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteNextHop {
    /// As [`NextHop::address`].
    pub address: IpAddr,
    /// As [`NextHop::link_local`].
    pub link_local: Option<Ipv6Addr>,
    /// The index of the interface that `link_local` is on, where the session is on that link too; else 0.
    pub scope: u32,
}

/// A BGP next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHop {
    /// The global address.
    pub address: IpAddr,
    /// The link-local address given with it (RFC 2545 §3).
    pub link_local: Option<Ipv6Addr>,
}

impl NextHop {
    /// True when this is one of its addresses.
    pub(crate) fn is_at(&self, address: IpAddr) -> bool {
        self.address == address || self.link_local.is_some_and(|own| own == address)
    }
}

/// Bytes to be written, shared by all connections that send the same.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub(crate) data: Arc<Vec<u8>>,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl PartialEq for Chunk {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }
}
