//! What a node's kernel state is computed from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::object::{Mac, Route};

/// Everything that decides what the kernel of one node shall have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataplaneInput {
    /// The node's own addresses with their subnets, one a family (`spec.bgp.ipv4Address`): `10.20.1.84/23`.
    pub node_addresses: Vec<IpNet>,
    /// The node's interfaces that are not workloads', with their addresses; next hops are resolved on them.
    pub interfaces: BTreeMap<String, BTreeSet<IpNet>>,
    /// Foreign routes of table main: a next hop on no interface's subnet is resolved by them. May be empty.
    pub underlay: Vec<Route>,
    /// All IP pools, disabled ones too.
    pub pools: BTreeMap<IpNet, Pool>,
    /// Blocks that are affine to this node.
    pub blocks: BTreeSet<IpNet>,
    /// Live workloads of this node by address.
    pub workloads: BTreeMap<IpAddr, Workload>,
    /// Addresses that IPAM has given to somebody on this node. A route of a cali* device for any other address is stale and goes;
    /// with `None` none goes. (The CNI plugin makes the route before the workload is in the store.)
    pub allocated: Option<BTreeSet<IpAddr>>,
    /// Best routes learnt from peers: prefix to next hops. Own blocks and our own next hops in it are passed over.
    pub loc_rib: BTreeMap<IpNet, BTreeSet<IpAddr>>,
    /// Service ranges (`serviceClusterIPs` or `--service-cluster-ip-range`).
    pub service_ranges: BTreeSet<IpNet>,
    /// Ranges whose routes are kept and passed on and never programmed, besides the service ranges.
    #[serde(default)]
    pub not_programmed: BTreeSet<IpNet>,
    /// BGP peers that only a gateway of their own leads to: peer and gateway.
    #[serde(default)]
    pub reachable_by: BTreeMap<IpAddr, IpAddr>,
    /// Addresses that workloads peer with, by the workload's interface.
    #[serde(default)]
    pub workload_peering: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Service ports with their ready backends; a port without a backend is there with an empty set.
    #[serde(with = "crate::pairs")]
    pub services: BTreeMap<Frontend, Backends>,
    /// The node's address in the tunnel (`ipv4IPIPTunnelAddr`).
    pub tunnel_address: Option<Ipv4Addr>,
    /// The kernel can make IPIP devices (`linux::ipip_possible`).
    pub ipip_possible: bool,
}

/// What matters of an IPPool here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// `natOutgoing`: what leaves for somewhere outside all pools gets the node's address.
    pub nat_outgoing: bool,
    /// `ipipMode` and `vxlanMode` in one.
    pub encapsulation: Encapsulation,
}

/// How packets for a pool's addresses travel between nodes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Encapsulation {
    /// As they are.
    #[default]
    Never,
    /// `ipipMode: Always`.
    IpipAlways,
    /// `ipipMode: CrossSubnet`.
    IpipCrossSubnet,
    /// `vxlanMode: Always`.
    VxlanAlways,
    /// `vxlanMode: CrossSubnet`.
    VxlanCrossSubnet,
}

/// A workload of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// The host's end of its pair: `cali00b03047dbe`.
    pub interface: String,
    /// Its own hardware address; with it the node needs no ARP for it.
    pub mac: Option<Mac>,
}

/// A transport protocol of a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
}

/// Where a service is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Frontend {
    /// The service address (`clusterIP`).
    pub address: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
}

/// Who answers for a service port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backends {
    /// Address and port of each ready endpoint.
    pub endpoints: BTreeSet<(IpAddr, u16)>,
    /// `sessionAffinity: ClientIP`: one client address keeps to one backend while the set of backends stays the same.
    pub client_ip_affinity: bool,
}

impl Protocol {
    /// The lower-case word that nft uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// The number in the IP header (IANA protocol numbers).
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}
