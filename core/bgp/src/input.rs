//! What a driver tells the machine.

use crate::Config;
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The time of an input, read once by the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Since some fixed point, never going back: all timers run on it.
    pub mono: Duration,
    /// Since 1970-01-01T00:00:00Z: shown to people, never compared.
    pub wall: Duration,
}

/// An autonomous system number, four octets (RFC 6793).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(pub u32);

impl From<u32> for Asn {
    fn from(number: u32) -> Self {
        Asn(number)
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address family of unicast routes (RFC 4760).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// AFI 1, SAFI 1.
    Ipv4,
    /// AFI 2, SAFI 1.
    Ipv6,
}

impl Family {
    /// Both, in the order in which they are announced.
    pub const ALL: [Family; 2] = [Family::Ipv4, Family::Ipv6];
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        })
    }
}

/// Names one TCP connection between driver and machine; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnId {
    /// Asked for by [`crate::Output::Connect`]; the machine chose the number.
    Dialled(u64),
    /// Came in on a listening socket; the driver chose the number.
    Accepted(u64),
}

/// What BFD knows of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathState {
    /// Nothing: no session, not up yet, or turned off on purpose.
    Unknown,
    /// Packets go both ways.
    Up,
    /// It was up, and packets do not arrive any more: sessions end now.
    Lost {
        /// BFD shares no fate with a control plane on either side (RFC 5882 §4.3.1), so it is forwarding that is lost, and
        /// the routes of a restarting peer go too.
        forwarding: bool,
    },
}

/// Who is on the interface of an unnumbered peer, as far as the driver knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Neighbor {
    /// Nobody was heard there yet.
    Awaited,
    /// There is no such interface, or it is down.
    NoInterface,
    /// Nobody can be looked for; who connects is found all the same.
    Refused,
    /// It is there.
    At {
        /// Its link-local address.
        address: Ipv6Addr,
        /// The interface's index.
        scope: u32,
    },
}

impl Neighbor {
    /// The stable name of what keeps the peer waiting, as its state shows it.
    pub fn waits_for(self) -> Option<&'static str> {
        match self {
            Neighbor::Awaited => Some("waiting-for-neighbor"),
            Neighbor::NoInterface => Some("waiting-for-interface"),
            Neighbor::Refused => Some("neighbor-discovery-refused"),
            Neighbor::At { .. } => None,
        }
    }
}

/// What happened, told by the driver.
#[derive(Debug)]
pub enum Input<'a> {
    /// The wanted configuration as a whole; only what differs from the present one is touched.
    Configure(Box<Config>),
    /// A [`crate::Output::Connect`] succeeded.
    Connected {
        /// The connection that was asked for.
        conn: ConnId,
        /// Its own end, which becomes the next hop of routes announced on it.
        local: SocketAddr,
    },
    /// Both ends of a connection are on one link. Right after `Connected` or `Accepted`.
    SharedLink {
        /// The connection.
        conn: ConnId,
        /// Our link-local address there, told with our next hop (RFC 2545 §3).
        link_local: Ipv6Addr,
    },
    /// Both ends of a connection are in one network of ours. Right after `Connected` or `Accepted`.
    SharedNetwork {
        /// The connection.
        conn: ConnId,
        /// The connected network that both addresses are in.
        network: IpNet,
    },
    /// A [`crate::Output::Connect`] failed.
    ConnectFailed {
        /// The connection that was asked for.
        conn: ConnId,
        /// Why, in the operating system's words, such as `Connection refused`.
        error: &'a str,
    },
    /// A connection came in. The machine answers with [`crate::Output::Close`] if it wants none.
    Accepted {
        /// A new [`ConnId::Accepted`].
        conn: ConnId,
        /// Where it came from.
        remote: SocketAddr,
        /// Where it came to.
        local: SocketAddr,
    },
    /// Bytes of one read, in order; the machine keeps what is not a whole message yet.
    Received {
        /// The connection read from.
        conn: ConnId,
        /// At least one byte.
        bytes: &'a [u8],
    },
    /// The connection ended, other than by [`crate::Output::Close`].
    Closed {
        /// The connection.
        conn: ConnId,
        /// `None` for an orderly end by the peer, else the operating system's words.
        error: Option<&'a str>,
    },
    /// Time passed: run what is due.
    Timer,
    /// What the routing table says of a next hop. Until it is said, and with `Some(0)` again, each
    /// is reachable at no cost.
    NextHop {
        /// The address, as peers tell it.
        address: IpAddr,
        /// The interior cost (RFC 4271 §9.1.2.2 e); `None`: it cannot be reached, and paths through
        /// it are kept out.
        cost: Option<u32>,
    },
    /// Who the peer on an interface is, in answer to [`crate::Output::FindNeighbors`]. A session with another one ends.
    Neighbor {
        /// [`crate::PeerConfig::interface`].
        interface: &'a str,
        /// Who.
        neighbor: Neighbor,
    },
    /// Close the session with this peer and let it start again (Cease, administrative reset).
    Reset {
        /// [`crate::PeerConfig::name`].
        peer: &'a str,
        /// What the peer's operator is told, or nothing: at most 255 octets (RFC 9003).
        text: &'a str,
    },
    /// What BFD says of the path to an address.
    Path {
        /// The peer's address.
        remote: IpAddr,
        /// The interface's index where that is link-local, else 0.
        scope: u32,
        /// The path's state.
        state: PathState,
    },
    /// End all sessions and dial no more.
    Stop {
        /// True sends Cease (administrative shutdown) and peers drop our routes; false just
        /// closes, so that peers with graceful restart keep them (RFC 4724 §4.2).
        cease: bool,
        /// What the peers' operators are told with Cease: at most 255 octets (RFC 9003).
        text: &'a str,
    },
}
