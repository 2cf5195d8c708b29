//! Node.

use super::FieldError;
use super::checks::{Checks, is_cidr, is_cidr_v4, is_cidr_v6, is_ipv4, is_ipv6, is_mac};
use crate::kinds::{NodeBgpSpec, NodeSpec};

pub(super) fn validate(spec: &NodeSpec) -> Vec<FieldError> {
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
    for address in &spec.addresses {
        checks.tag("Address", &address.address, "net", is_cidr);
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
