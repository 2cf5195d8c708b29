//! Nodes and cluster-wide settings, read once into types.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use resource::kinds::Node;

use crate::sessions::NodePath;
use crate::{Reason, Refusal, Resources, SecretKey};

/// Calico's AS for nodes that nobody gave one.
pub const DEFAULT_AS: u32 = 64512;
/// RFC 4271 §8: BGP's port.
pub const BGP_PORT: u16 = 179;

/// One node as BGP sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// The Node's name.
    pub name: String,
    /// Address with the prefix length of its LAN.
    pub ipv4: Option<Ipv4Net>,
    /// The same for IPv6.
    pub ipv6: Option<Ipv6Net>,
    /// Its own AS, or the cluster's.
    pub asn: u32,
    /// Where it listens.
    pub port: u16,
    /// Set on a route reflector.
    pub cluster_id: Option<Ipv4Addr>,
    /// Labels, for selectors.
    pub labels: BTreeMap<String, String>,
}

impl NodeView {
    /// The node's address in the family of `like`.
    pub fn address_like(&self, like: IpAddr) -> Option<IpAddr> {
        match like {
            IpAddr::V4(_) => self.ipv4.map(|net| net.addr().into()),
            IpAddr::V6(_) => self.ipv6.map(|net| net.addr().into()),
        }
    }

    /// How it reaches another node's address.
    pub fn path_to(&self, address: IpAddr) -> NodePath {
        let on_link = match address {
            IpAddr::V4(address) => self.ipv4.is_some_and(|net| net.contains(&address)),
            IpAddr::V6(address) => self.ipv6.is_some_and(|net| net.contains(&address)),
        };
        if on_link {
            NodePath::OnLink
        } else {
            NodePath::Routed
        }
    }

    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.ipv4.map(|net| IpAddr::from(net.addr()));
        v4.into_iter()
            .chain(self.ipv6.map(|net| IpAddr::from(net.addr())))
    }
}

/// Settings that hold for all nodes, and the nodes that speak BGP, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Whether every node peers with every other.
    pub mesh: bool,
    /// Graceful restart time of the mesh's sessions.
    pub mesh_restart_time: Option<Duration>,
    /// Where the password of the mesh's sessions is.
    pub mesh_password: Option<SecretKey>,
    /// Listen on the node's own addresses only.
    pub bind_node_ip: bool,
    /// By name.
    pub nodes: BTreeMap<String, NodeView>,
}

impl Cluster {
    /// Reads settings and nodes; what cannot be read is refused and left out.
    pub fn read(resources: &Resources, refusals: &mut Vec<Refusal>) -> Cluster {
        let default = resources.bgp_configurations.get("default").map(|c| &c.spec);
        let default_as = default.and_then(|s| s.as_number).unwrap_or(DEFAULT_AS);
        let mut cluster = Cluster {
            mesh: default
                .and_then(|s| s.node_to_node_mesh_enabled)
                .unwrap_or(true),
            mesh_restart_time: default
                .and_then(|s| s.node_mesh_max_restart_time.as_deref())
                .and_then(crate::peer_rule::seconds)
                .filter(|time| !time.is_zero()),
            bind_node_ip: default.is_some_and(|s| s.bind_mode.as_deref() == Some("NodeIP")),
            mesh_password: None,
            nodes: BTreeMap::new(),
        };
        match SecretKey::read(default.and_then(|s| s.node_mesh_password.as_ref())) {
            Ok(password) => cluster.mesh_password = password,
            Err(what) => {
                let at = "BGPConfiguration(default) spec.nodeMeshPassword";
                let what = format!("{what}, so the mesh is off");
                refusals.push(Refusal::new(Reason::PasswordInvalid, at, what));
                cluster.mesh = false;
            }
        }
        for (name, node) in &resources.nodes {
            let Some(bgp) = &node.spec.bgp else { continue };
            let per_node = resources.bgp_configurations.get(&format!("node.{name}"));
            let port = per_node
                .and_then(|c| c.spec.listen_port)
                .or_else(|| default.and_then(|s| s.listen_port))
                .unwrap_or(BGP_PORT);
            let view = NodeView {
                name: name.clone(),
                ipv4: address(node, "ipv4Address", &bgp.ipv4_address, refusals).and_then(v4),
                ipv6: address(node, "ipv6Address", &bgp.ipv6_address, refusals).and_then(v6),
                asn: bgp.as_number.unwrap_or(default_as),
                port,
                cluster_id: cluster_id(node, &bgp.route_reflector_cluster_id, refusals),
                labels: node.metadata.labels.clone(),
            };
            cluster.nodes.insert(name.clone(), view);
        }
        cluster
    }

    /// The node that has this address.
    pub fn node_by_address(&self, address: IpAddr) -> Option<&NodeView> {
        self.nodes
            .values()
            .find(|node| node.addresses().any(|own| own == address))
    }
}

/// An address with its prefix length; without one it is a host route's.
pub fn parse_address(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn address(node: &Node, field: &str, text: &str, refusals: &mut Vec<Refusal>) -> Option<IpNet> {
    if text.is_empty() {
        return None;
    }
    let parsed =
        parse_address(text).filter(|net| field.starts_with("ipv6") == net.addr().is_ipv6());
    if parsed.is_none() {
        let at = format!("Node({}) spec.bgp.{field}", node.metadata.name);
        refusals.push(Refusal::new(
            Reason::NodeAddressInvalid,
            at,
            format!("'{text}' is no address"),
        ));
    }
    parsed
}

fn v4(net: IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(net) => Some(net),
        IpNet::V6(_) => None,
    }
}

fn v6(net: IpNet) -> Option<Ipv6Net> {
    match net {
        IpNet::V4(_) => None,
        IpNet::V6(net) => Some(net),
    }
}

fn cluster_id(node: &Node, text: &str, refusals: &mut Vec<Refusal>) -> Option<Ipv4Addr> {
    if text.is_empty() {
        return None;
    }
    let parsed = text.parse().ok();
    if parsed.is_none() {
        let at = format!(
            "Node({}) spec.bgp.routeReflectorClusterID",
            node.metadata.name
        );
        let what = format!("'{text}' is no dotted quad");
        refusals.push(Refusal::new(Reason::ClusterIdInvalid, at, what));
    }
    parsed
}
