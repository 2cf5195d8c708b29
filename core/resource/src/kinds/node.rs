//! Node (calico-compat §1.4).

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::validate::FieldError;
use crate::validate::checks::{Checks, is_cidr_v4, is_cidr_v6, is_ipv4, is_ipv6, is_mac};
use crate::{Kind, Object, Spec};

/// A node of the cluster.
pub type Node = Object<NodeSpec>;

/// Addresses and tunnels of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    /// Absent for a node without BGP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp: Option<NodeBgpSpec>,
    /// Address of `vxlan.calico`.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "ipv4VXLANTunnelAddr"
    )]
    pub ipv4_vxlan_tunnel_addr: String,
    /// MAC of `vxlan.calico`.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "vxlanTunnelMACAddr"
    )]
    pub vxlan_tunnel_mac_addr: String,
    /// Address of `vxlan-v6.calico`.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "ipv6VXLANTunnelAddr"
    )]
    pub ipv6_vxlan_tunnel_addr: String,
    /// MAC of `vxlan-v6.calico`.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "vxlanTunnelMACAddrV6"
    )]
    pub vxlan_tunnel_mac_addr_v6: String,
    /// Names that orchestrators know it by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orch_refs: Vec<OrchRef>,
    /// WireGuard's addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wireguard: Option<NodeWireguardSpec>,
    /// Addresses and their types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<NodeAddress>,
    /// Interfaces and their addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<NodeInterface>,
}

impl NodeSpec {
    /// The node's IPv4 address with its network's length, host bits kept; /32 where no length is given.
    ///
    /// `None` without an address or where it is no IPv4 address.
    pub fn ipv4_network(&self) -> Option<Ipv4Net> {
        let text = self.bgp.as_ref()?.ipv4_address.as_str();
        text.parse()
            .ok()
            .or_else(|| text.parse::<Ipv4Addr>().ok().map(Ipv4Net::from))
    }

    /// The same for IPv6; /128 where no length is given.
    pub fn ipv6_network(&self) -> Option<Ipv6Net> {
        let text = self.bgp.as_ref()?.ipv6_address.as_str();
        text.parse()
            .ok()
            .or_else(|| text.parse::<Ipv6Addr>().ok().map(Ipv6Net::from))
    }

    /// Both networks, IPv4 first.
    pub fn networks(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.ipv4_network().map(IpNet::from);
        v4.into_iter().chain(self.ipv6_network().map(IpNet::from))
    }
}

/// The BGP part of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeBgpSpec {
    /// Own AS; absent means the cluster's.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "super::bgp_peer::node_as_number"
    )]
    pub as_number: Option<u32>,
    /// Address with prefix length; host bits kept. Without a length it means /32.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "ipv4Address"
    )]
    pub ipv4_address: String,
    /// The same for IPv6.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "ipv6Address"
    )]
    pub ipv6_address: String,
    /// Address of `tunl0`.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "ipv4IPIPTunnelAddr"
    )]
    pub ipv4_ipip_tunnel_addr: String,
    /// Dotted quad; makes the node a route reflector.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "routeReflectorClusterID"
    )]
    pub route_reflector_cluster_id: String,
}

/// WireGuard's addresses of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeWireguardSpec {
    /// Address of `wireguard.cali`.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "interfaceIPv4Address"
    )]
    pub interface_ipv4_address: String,
    /// Address of `wg-v6.cali`.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "interfaceIPv6Address"
    )]
    pub interface_ipv6_address: String,
}

/// An interface of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeInterface {
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
}

/// A name by which an orchestrator knows the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrchRef {
    /// The name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node_name: String,
    /// `k8s`.
    #[serde(default)]
    pub orchestrator: String,
}

/// An address of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeAddress {
    /// Address, with or without prefix length.
    #[serde(default)]
    pub address: String,
    /// `CalicoNodeIP`, `InternalIP` or `ExternalIP`.
    #[serde(default, skip_serializing_if = "String::is_empty", rename = "type")]
    pub address_type: String,
}

/// What a node says of itself; written as `{}` when empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeStatus {
    /// WireGuard public key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub wireguard_public_key: String,
    /// WireGuard public key of the IPv6 device.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub wireguard_public_key_v6: String,
    /// Ranges that Kubernetes gave the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "podCIDRs")]
    pub pod_cidrs: Vec<String>,
}

impl Spec for NodeSpec {
    const KIND: Kind = Kind::Node;
    type Status = NodeStatus;

    fn validate(node: &Node) -> Vec<FieldError> {
        rules(&node.spec)
    }
}

fn rules(spec: &NodeSpec) -> Vec<FieldError> {
    let mut checks = Checks::default();
    if let Some(bgp) = &spec.bgp {
        checks.tag("IPv4Address", &bgp.ipv4_address, "cidrv4", is_cidr_v4);
        checks.tag("IPv6Address", &bgp.ipv6_address, "cidrv6", is_cidr_v6);
        checks.tag(
            "IPv4IPIPTunnelAddr",
            &bgp.ipv4_ipip_tunnel_addr,
            "ipv4",
            is_ipv4,
        );
        let cluster_id = &bgp.route_reflector_cluster_id;
        checks.tag("RouteReflectorClusterID", cluster_id, "ipv4", is_ipv4);
    }
    checks.tag(
        "IPv4VXLANTunnelAddr",
        &spec.ipv4_vxlan_tunnel_addr,
        "ipv4",
        is_ipv4,
    );
    checks.tag(
        "VXLANTunnelMACAddr",
        &spec.vxlan_tunnel_mac_addr,
        "mac",
        is_mac,
    );
    checks.tag(
        "IPv6VXLANTunnelAddr",
        &spec.ipv6_vxlan_tunnel_addr,
        "ipv6",
        is_ipv6,
    );
    checks.tag(
        "VXLANTunnelMACAddrV6",
        &spec.vxlan_tunnel_mac_addr_v6,
        "mac",
        is_mac,
    );
    if let Some(wireguard) = &spec.wireguard {
        let (v4, v6) = (
            &wireguard.interface_ipv4_address,
            &wireguard.interface_ipv6_address,
        );
        checks.tag("InterfaceIPv4Address", v4, "ipv4", is_ipv4);
        checks.tag("InterfaceIPv6Address", v6, "ipv6", is_ipv6);
    }
    if spec.bgp.as_ref() == Some(&NodeBgpSpec::default()) {
        // The value is Go's picture of a struct without content.
        let value = "&{<nil>    }";
        checks.fields.push(FieldError::new(
            "BGP",
            value,
            "Spec.BGP should not be empty",
        ));
    }
    checks.fields
}
