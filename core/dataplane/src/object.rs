//! Kernel objects as values: what is wanted, what was read back, and what an operation carries.
//!
//! The words are the kernel's (rtnetlink(7)). One value is used for all three, so that a difference is `==`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::nft::NftTable;

/// The main routing table. Source: rt_tables(5).
pub const TABLE_MAIN: u32 = 254;
/// The kernel's table of local addresses. Source: rt_tables(5).
pub const TABLE_LOCAL: u32 = 255;
/// Routing protocol of routes that the kernel added. Source: rtnetlink(7), RTPROT_KERNEL.
pub const PROTOCOL_KERNEL: u8 = 2;
/// Routing protocol of routes added at boot or by hand; `ip route` does not print it. Source: rtnetlink(7), RTPROT_BOOT.
pub const PROTOCOL_BOOT: u8 = 3;
/// Our routing protocol, which `ip route` prints as `proto bird`. Source: rtnetlink(7), RTPROT_BIRD; Calico routes carry it.
pub const PROTOCOL_BIRD: u8 = 12;
/// Metric of the routes that lie beneath everything else of their prefix.
pub const METRIC_BENEATH: u32 = u32::MAX;

/// How far away a route's destination is. Source: rtnetlink(7), rtm_scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Behind a router.
    Universe,
    /// On the interface's own link.
    Link,
    /// On this host.
    Host,
}

/// One next hop of a multipath route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NextHop {
    /// The neighbour that takes the packet.
    pub gateway: IpAddr,
    /// The interface it is reached by.
    pub oif: String,
}

/// What happens to a packet that a route matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Sent to a neighbour.
    Via {
        /// The neighbour.
        gateway: IpAddr,
        /// The interface it is reached by.
        oif: String,
        /// The kernel shall not check that the gateway is on the interface's subnet.
        onlink: bool,
    },
    /// The destination itself is on the link.
    Device {
        /// The interface.
        oif: String,
    },
    /// Dropped without an answer; a local process gets EINVAL.
    Blackhole,
    /// Refused with ICMP host unreachable; a local process gets EHOSTUNREACH.
    Unreachable,
    /// Spread over several neighbours by a hash of the flow.
    Multipath {
        /// At least two, in the order of their addresses.
        hops: Vec<NextHop>,
    },
    /// Delivered on this host (table `local`).
    Local {
        /// The interface that has the address.
        oif: String,
    },
    /// A kind that is not ours to write (broadcast, prohibit, throw, nat), by its number in rtnetlink(7).
    Other {
        /// rtm_type.
        number: u8,
    },
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Routing table, usually [`TABLE_MAIN`].
    pub table: u32,
    /// Destination.
    pub dst: IpNet,
    /// Priority: the lowest wins among routes of one prefix. Zero is the default and the best in IPv4.
    pub metric: u32,
    /// Who added it, usually [`PROTOCOL_BIRD`] or [`PROTOCOL_BOOT`].
    pub protocol: u8,
    /// How far away the destination is.
    pub scope: Scope,
    /// What happens to the packet.
    pub kind: RouteKind,
    /// Source address that a local process gets (`src` in `ip route`).
    pub source: Option<IpAddr>,
}

/// What the kernel tells routes apart by: two routes with one key cannot both be there by our hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// Routing table.
    pub table: u32,
    /// Destination.
    pub dst: IpNet,
    /// Priority.
    pub metric: u32,
}

impl Route {
    /// A route of ours in the main table: `proto bird`, metric 0.
    pub fn bird(dst: IpNet, kind: RouteKind) -> Route {
        let scope = match &kind {
            RouteKind::Device { .. } => Scope::Link,
            RouteKind::Local { .. } => Scope::Host,
            RouteKind::Via { .. }
            | RouteKind::Blackhole
            | RouteKind::Unreachable
            | RouteKind::Multipath { .. }
            | RouteKind::Other { .. } => Scope::Universe,
        };
        Route {
            table: TABLE_MAIN,
            dst,
            metric: 0,
            protocol: PROTOCOL_BIRD,
            scope,
            kind,
            source: None,
        }
    }

    /// What the kernel tells it apart by.
    pub fn key(&self) -> RouteKey {
        RouteKey {
            table: self.table,
            dst: self.dst,
            metric: self.metric,
        }
    }

    /// The interfaces that it names.
    pub fn interfaces(&self) -> Vec<&str> {
        match &self.kind {
            RouteKind::Via { oif, .. } | RouteKind::Device { oif } | RouteKind::Local { oif } => {
                vec![oif]
            }
            RouteKind::Multipath { hops } => hops.iter().map(|hop| hop.oif.as_str()).collect(),
            RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Other { .. } => Vec::new(),
        }
    }
}

/// As `ip route` prints it.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            RouteKind::Blackhole => write!(f, "blackhole ")?,
            RouteKind::Unreachable => write!(f, "unreachable ")?,
            RouteKind::Local { .. } => write!(f, "local ")?,
            RouteKind::Other { number } => write!(f, "type-{number} ")?,
            RouteKind::Via { .. } | RouteKind::Device { .. } | RouteKind::Multipath { .. } => {}
        }
        if self.dst.prefix_len() == 0 {
            write!(f, "default")?;
        } else if self.dst.prefix_len() == self.dst.max_prefix_len() {
            write!(f, "{}", self.dst.addr())?;
        } else {
            write!(f, "{}", self.dst)?;
        }
        match &self.kind {
            RouteKind::Via { gateway, oif, .. } => write!(f, " via {gateway} dev {oif}")?,
            RouteKind::Device { oif } | RouteKind::Local { oif } => write!(f, " dev {oif}")?,
            RouteKind::Blackhole
            | RouteKind::Unreachable
            | RouteKind::Multipath { .. }
            | RouteKind::Other { .. } => {}
        }
        match self.protocol {
            PROTOCOL_BOOT => {}
            PROTOCOL_KERNEL => write!(f, " proto kernel")?,
            PROTOCOL_BIRD => write!(f, " proto bird")?,
            other => write!(f, " proto {other}")?,
        }
        match self.scope {
            Scope::Universe => {}
            Scope::Link => write!(f, " scope link")?,
            Scope::Host => write!(f, " scope host")?,
        }
        if let Some(source) = self.source {
            write!(f, " src {source}")?;
        }
        if self.metric != 0 {
            write!(f, " metric {}", self.metric)?;
        }
        if let RouteKind::Multipath { hops } = &self.kind {
            for hop in hops {
                write!(f, " nexthop via {} dev {}", hop.gateway, hop.oif)?;
            }
        }
        match &self.kind {
            RouteKind::Via { onlink: true, .. } => write!(f, " onlink"),
            _ => Ok(()),
        }
    }
}

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::str::FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        let wrong = || {
            format!(
                "\"{text}\" is not a hardware address: write six hexadecimal pairs, 02:42:ac:11:00:02"
            )
        };
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            let part = parts
                .next()
                .filter(|part| part.len() == 2)
                .ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            Err(wrong())
        } else {
            Ok(Mac(mac))
        }
    }
}

/// What kind of device a link is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// IP in IP (RFC 2003); the kernel's own fallback device is `tunl0`.
    Ipip,
    /// One end of a pair.
    Veth,
    /// `lo`.
    Loopback,
    /// Anything else.
    Other,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: LinkKind,
    /// Administratively up (IFF_UP).
    pub up: bool,
    /// Largest packet in bytes; `None` where no particular one is wanted.
    pub mtu: Option<u32>,
    /// Hardware address, where it has one.
    pub mac: Option<Mac>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// The interface.
    pub interface: String,
    /// The address with its subnet's length.
    pub address: IpNet,
}

/// A permanent entry in the neighbour table (NUD_PERMANENT).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Neighbour {
    /// The interface.
    pub interface: String,
    /// The neighbour.
    pub address: IpAddr,
    /// Its hardware address.
    pub mac: Mac,
}

/// A kernel parameter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sysctl {
    /// Path beneath `/proc/sys`, with slashes: `net/ipv4/ip_forward`. (Interface names may contain dots.)
    pub path: String,
    /// What the file reads, without the newline.
    pub value: String,
}

/// What the kernel has, ours and foreign; read back by `host/linux`, kept as it is by the simulated kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actual {
    /// All interfaces by name.
    pub links: BTreeMap<String, Link>,
    /// All addresses.
    pub addresses: BTreeSet<Address>,
    /// Routes of the tables `main` and `local`, ours and foreign. IPv4 broadcast routes are left out.
    pub routes: BTreeSet<Route>,
    /// Permanent neighbours.
    pub neighbours: BTreeSet<Neighbour>,
    /// Values of the parameters that [`crate::owned_sysctls`] names, by path; absent files are absent.
    pub sysctls: BTreeMap<String, String>,
    /// Our tables only, by family. Other tables are nobody's business here.
    pub tables: Vec<NftTable>,
}

/// What the kernel shall have: only ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Links to make or to set up; only tunnels.
    pub links: BTreeMap<String, Link>,
    /// Addresses of tunnels.
    pub addresses: BTreeSet<Address>,
    /// Routes by what the kernel tells them apart by.
    pub routes: BTreeSet<Route>,
    /// Permanent neighbours of workloads.
    pub neighbours: BTreeSet<Neighbour>,
    /// Parameters by path.
    pub sysctls: BTreeMap<String, String>,
    /// Our tables, one a family.
    pub tables: Vec<NftTable>,
    /// Pools and service ranges: a `proto bird` route inside one of them is ours.
    pub ranges: BTreeSet<IpNet>,
    /// Addresses whose route on a cali* device stays though no workload has it yet; `None` keeps all.
    pub allocated: Option<BTreeSet<IpAddr>>,
    /// What was asked for and cannot be had, each with its reason. It is shown, never fatal.
    pub refusals: Vec<crate::Refusal>,
}
