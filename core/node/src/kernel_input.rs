//! From intent, Loc-RIB and the kernel's own interfaces to the dataplane's input.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dataplane::{
    Actual, Backends, DataplaneInput, Encapsulation, Frontend, Mac, PROTOCOL_BIRD, Protocol, Route,
    RouteKind, TABLE_MAIN, WORKLOAD_PREFIX, Workload,
};
use intent::{Intent, Pool};
use ipnet::IpNet;
use resource::kinds::EncapMode;
use service::{ServiceName, Table};

/// RFC 2003: one IPv4 header.
const IPIP_OVERHEAD: u32 = 20;
/// RFC 7348 over IPv4: Ethernet, VXLAN, UDP and IPv4 headers.
const VXLAN_OVERHEAD: u32 = 50;
/// Names of tunnel devices; next hops are not on them.
const TUNNELS: [&str; 2] = ["tunl0", "vxlan.calico"];

/// Next hops by prefix.
pub(crate) type NextHops = BTreeMap<IpNet, BTreeSet<IpAddr>>;

/// What decides the kernel's state.
pub(crate) fn dataplane_input(
    intent: &Intent,
    table: &Table,
    loc_rib: NextHops,
    actual: &Actual,
    ipip_possible: bool,
    dns_port: u16,
) -> DataplaneInput {
    let node = intent.node.as_ref();
    let ipv4 = node.and_then(|node| node.ipv4).map(IpNet::from);
    let ipv6 = node.and_then(|node| node.ipv6).map(IpNet::from);
    DataplaneInput {
        node_addresses: ipv4.into_iter().chain(ipv6).collect(),
        interfaces: interfaces(actual, &intent.bgp.ignored_interfaces),
        underlay: underlay(actual),
        pools: intent
            .pools
            .values()
            .map(|pool| (pool.cidr, dataplane_pool(pool)))
            .collect(),
        blocks: intent.own_blocks.clone(),
        workloads: workloads(intent),
        allocated: Some(intent.allocated.clone()),
        loc_rib,
        service_ranges: intent.service_ranges.clone(),
        not_programmed: intent.not_programmed.clone(),
        reachable_by: intent.bgp.reachable_by.clone(),
        workload_peering: intent.bgp.workload_peering.clone(),
        services: services(intent, table, dns_port),
        tunnel_address: intent.ipip.as_ref().and_then(|tunnel| tunnel.address),
        ipip_possible,
    }
}

/// The routes of ours that lead to other nodes: what a restart finds, and keeps until peers have spoken.
pub(crate) fn adopt(actual: &Actual) -> NextHops {
    let ours = |route: &&Route| route.table == TABLE_MAIN && route.protocol == PROTOCOL_BIRD;
    let mut adopted = NextHops::new();
    for route in actual.routes.iter().filter(ours) {
        let hops: BTreeSet<IpAddr> = match &route.kind {
            RouteKind::Via { gateway, .. } => [*gateway].into(),
            RouteKind::Multipath { hops } => hops.iter().map(|hop| hop.gateway).collect(),
            RouteKind::Device { .. }
            | RouteKind::Blackhole
            | RouteKind::Unreachable
            | RouteKind::Local { .. }
            | RouteKind::Other { .. } => continue,
        };
        adopted.insert(route.dst, hops);
    }
    adopted
}

/// True when the kernel has routes of ours: this node forwarded before.
pub(crate) fn has_ours(actual: &Actual, intent: &Intent) -> bool {
    actual.routes.iter().any(|route| {
        route.table == TABLE_MAIN
            && route.protocol == PROTOCOL_BIRD
            && intent.pool_of(&route.dst).is_some()
    })
}

/// The greatest packet of the interface that has the node's address, less what encapsulation adds (Felix: `mtu` file).
pub(crate) fn pod_mtu(intent: &Intent, actual: &Actual, ipip_possible: bool) -> Option<u32> {
    let own = intent.node.as_ref()?.addresses().next()?;
    let on = actual.addresses.iter().find(|a| a.address.addr() == own)?;
    let mtu = actual.links.get(&on.interface)?.mtu?;
    let uses =
        |mode: fn(&Pool) -> EncapMode| intent.pools.values().any(|p| mode(p) != EncapMode::Never);
    let overhead = if uses(|pool| pool.vxlan) {
        VXLAN_OVERHEAD
    } else if ipip_possible && uses(|pool| pool.ipip) {
        IPIP_OVERHEAD
    } else {
        0
    };
    mtu.checked_sub(overhead)
}

fn interfaces(actual: &Actual, ignored: &[String]) -> BTreeMap<String, BTreeSet<IpNet>> {
    let is_ignored = |name: &str| {
        let mut patterns = ignored.iter().map(|p| bgp::InterfaceMatch::new(p.as_str()));
        patterns.any(|pattern| pattern.matches(name))
    };
    let mut interfaces: BTreeMap<String, BTreeSet<IpNet>> = BTreeMap::new();
    for address in &actual.addresses {
        let name = address.interface.as_str();
        let up = actual.links.get(name).is_some_and(|link| link.up);
        let is_workloads = name.starts_with(WORKLOAD_PREFIX);
        if up && name != "lo" && !is_workloads && !TUNNELS.contains(&name) && !is_ignored(name) {
            interfaces
                .entry(name.to_string())
                .or_default()
                .insert(address.address);
        }
    }
    interfaces
}

fn underlay(actual: &Actual) -> Vec<Route> {
    let foreign = |route: &&Route| {
        route.table == TABLE_MAIN
            && route.protocol != PROTOCOL_BIRD
            && matches!(
                route.kind,
                RouteKind::Via { .. } | RouteKind::Multipath { .. }
            )
    };
    actual.routes.iter().filter(foreign).cloned().collect()
}

fn dataplane_pool(pool: &Pool) -> dataplane::Pool {
    let encapsulation = match (pool.ipip, pool.vxlan) {
        (EncapMode::Always, _) => Encapsulation::IpipAlways,
        (EncapMode::CrossSubnet, _) => Encapsulation::IpipCrossSubnet,
        (EncapMode::Never, EncapMode::Always) => Encapsulation::VxlanAlways,
        (EncapMode::Never, EncapMode::CrossSubnet) => Encapsulation::VxlanCrossSubnet,
        (EncapMode::Never, EncapMode::Never) => Encapsulation::Never,
    };
    dataplane::Pool {
        nat_outgoing: pool.nat_outgoing,
        encapsulation,
    }
}

fn workloads(intent: &Intent) -> BTreeMap<IpAddr, Workload> {
    let mut workloads = BTreeMap::new();
    for workload in intent.workloads.values() {
        let mac: Option<Mac> = workload.mac.parse().ok();
        for address in &workload.addresses {
            let value = Workload {
                interface: workload.interface.clone(),
                mac,
            };
            workloads.insert(address.addr(), value);
        }
    }
    workloads
}

/// Service ports with their backends; those that the nodes answer lead to the agent's own sockets.
fn services(intent: &Intent, table: &Table, dns_port: u16) -> BTreeMap<Frontend, Backends> {
    let by_nodes: BTreeSet<ServiceName> = intent
        .names
        .dns_services
        .iter()
        .map(|service| ServiceName::new(&service.name.0, &service.name.1))
        .collect();
    let mut services = BTreeMap::new();
    for (frontend, port) in table.frontends() {
        let is_dns = frontend.port == 53 || port.port_name.starts_with("dns");
        let own = intent
            .node
            .as_ref()
            .and_then(|node| node.address_like(frontend.address));
        let backends = match own {
            Some(own) if is_dns && by_nodes.contains(&port.service) => Backends {
                endpoints: [(own, dns_port)].into(),
                client_ip_affinity: false,
            },
            Some(_) | None => Backends {
                endpoints: port.backends.iter().map(|b| (b.address, b.port)).collect(),
                client_ip_affinity: port.affinity != service::Affinity::None,
            },
        };
        let key = Frontend {
            address: frontend.address,
            protocol: match frontend.protocol {
                service::Protocol::Tcp => Protocol::Tcp,
                service::Protocol::Udp => Protocol::Udp,
                service::Protocol::Sctp => Protocol::Sctp,
            },
            port: frontend.port,
        };
        services.insert(key, backends);
    }
    services
}
