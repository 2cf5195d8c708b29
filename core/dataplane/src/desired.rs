//! What one node's kernel shall have, from what the resources and the Loc-RIB say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::input::{DataplaneInput, Encapsulation, Pool};
use crate::object::{
    Address, Desired, Link, LinkKind, METRIC_BENEATH, Neighbour, NextHop, PROTOCOL_BOOT, Route,
    RouteKind, Scope,
};
use crate::reason::{Reason, Refusal};
use crate::rules;

/// The device that Calico uses for IP in IP.
pub const TUNNEL_DEVICE: &str = "tunl0";

/// Computes what the kernel of one node shall have. A pure function of its input; what cannot be had is in
/// [`Desired::refusals`] with a named reason, and the rest stands.
pub fn desired(input: &DataplaneInput) -> Desired {
    let mut desired = Desired {
        ranges: input
            .pools
            .keys()
            .chain(&input.service_ranges)
            .copied()
            .chain(input.reachable_by.keys().copied().map(IpNet::from))
            .collect(),
        allocated: input.allocated.clone(),
        tables: vec![rules::ipv4_table(input)],
        ..Desired::default()
    };
    families(input, &mut desired.refusals);
    beneath(input, &mut desired);
    blocks_and_workloads(input, &mut desired);
    tunnel(input, &mut desired);
    peers(input, &mut desired);
    learnt(input, &mut desired);
    sysctls(input, &mut desired.sysctls);
    desired.refusals.sort();
    desired.refusals.dedup();
    desired
}

/// Those that no other contains.
pub(crate) fn outermost(prefixes: impl Iterator<Item = IpNet>) -> BTreeSet<IpNet> {
    // In order of address and length an outer prefix comes right before what it contains.
    let all: BTreeSet<IpNet> = prefixes.map(|prefix| prefix.trunc()).collect();
    let mut last: Option<IpNet> = None;
    all.into_iter()
        .filter(|prefix| {
            let inner = last.is_some_and(|outer| outer.contains(prefix));
            if !inner {
                last = Some(*prefix);
            }
            !inner
        })
        .collect()
}

/// The interfaces that have one of the node's own addresses.
pub(crate) fn own_interfaces(input: &DataplaneInput) -> BTreeSet<String> {
    let has = |addresses: &BTreeSet<IpNet>| {
        addresses.iter().any(|on| {
            input
                .node_addresses
                .iter()
                .any(|own| own.addr() == on.addr())
        })
    };
    input
        .interfaces
        .iter()
        .filter(|(_, addresses)| has(addresses))
        .map(|(name, _)| name.clone())
        .collect()
}

fn families(input: &DataplaneInput, refusals: &mut Vec<Refusal>) {
    let six = input
        .pools
        .keys()
        .chain(&input.service_ranges)
        .filter(|range| range.addr().is_ipv6());
    for range in six {
        refusals.push(Refusal {
            reason: Reason::FamilyNotProgrammed,
            object: range.to_string(),
            text: "IPv6 pools and services are not programmed yet; IPv4 is not touched by this"
                .to_owned(),
        });
    }
}

/// What lies beneath everything: nothing of a pool or service range ever follows the default route.
fn beneath(input: &DataplaneInput, desired: &mut Desired) {
    for pool in input.pools.keys().filter(|pool| pool.addr().is_ipv4()) {
        let route = Route::bird(pool.trunc(), RouteKind::Unreachable);
        desired.routes.insert(Route {
            metric: METRIC_BENEATH,
            ..route
        });
    }
    // A service range leads to the LAN, so that a local process finds a route before its packet is translated. What is not
    // translated is refused by the rules and never gets there.
    let lan = input
        .node_addresses
        .iter()
        .find(|own| own.addr().is_ipv4())
        .and_then(|own| {
            let name = input
                .interfaces
                .iter()
                .find(|(_, on)| on.iter().any(|a| a.addr() == own.addr()))?
                .0;
            Some((name.clone(), own.addr()))
        });
    for range in input
        .service_ranges
        .iter()
        .filter(|range| range.addr().is_ipv4())
    {
        let route = match &lan {
            Some((oif, source)) => Route {
                source: Some(*source),
                ..Route::bird(range.trunc(), RouteKind::Device { oif: oif.clone() })
            },
            None => Route::bird(range.trunc(), RouteKind::Unreachable),
        };
        desired.routes.insert(Route {
            metric: METRIC_BENEATH,
            ..route
        });
    }
}

fn blocks_and_workloads(input: &DataplaneInput, desired: &mut Desired) {
    for block in input.blocks.iter().filter(|block| block.addr().is_ipv4()) {
        // Calico: a block of one address is the workload itself.
        if block.prefix_len() < block.max_prefix_len() {
            desired
                .routes
                .insert(Route::bird(block.trunc(), RouteKind::Blackhole));
        }
    }
    for (address, workload) in input
        .workloads
        .iter()
        .filter(|(address, _)| address.is_ipv4())
    {
        let kind = RouteKind::Device {
            oif: workload.interface.clone(),
        };
        let route = Route::bird(IpNet::from(*address), kind);
        // As the CNI plugin makes it: `ADDRESS dev caliX scope link`.
        desired.routes.insert(Route {
            protocol: PROTOCOL_BOOT,
            scope: Scope::Link,
            ..route
        });
        if let Some(mac) = workload.mac {
            desired.neighbours.insert(Neighbour {
                interface: workload.interface.clone(),
                address: *address,
                mac,
            });
        }
    }
}

/// Whether any pool wants IPIP.
fn wants_ipip(input: &DataplaneInput) -> Vec<IpNet> {
    let wants = |pool: &Pool| {
        matches!(
            pool.encapsulation,
            Encapsulation::IpipAlways | Encapsulation::IpipCrossSubnet
        )
    };
    input
        .pools
        .iter()
        .filter(|(_, pool)| wants(pool))
        .map(|(cidr, _)| *cidr)
        .collect()
}

fn vxlan(input: &DataplaneInput, refusals: &mut Vec<Refusal>) {
    let wants = |pool: &Pool| {
        matches!(
            pool.encapsulation,
            Encapsulation::VxlanAlways | Encapsulation::VxlanCrossSubnet
        )
    };
    let pools: Vec<_> = input
        .pools
        .iter()
        .filter(|(_, pool)| wants(pool))
        .map(|(cidr, _)| cidr.to_string())
        .collect();
    if !pools.is_empty() {
        refusals.push(Refusal {
            reason: Reason::VxlanNotProgrammed,
            object: pools.join(", "),
            text: "VXLAN is not programmed yet, so packets to nodes in the same subnet travel as they are and nodes in other \
                   subnets are not reached; use ipipMode"
                .to_owned(),
        });
    }
}

fn tunnel(input: &DataplaneInput, desired: &mut Desired) {
    vxlan(input, &mut desired.refusals);
    let pools = wants_ipip(input);
    if pools.is_empty() {
        return;
    }
    if !input.ipip_possible {
        // One warning for the node, however many pools.
        let pools = pools
            .iter()
            .map(IpNet::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        desired.refusals.push(Refusal {
            reason: Reason::IpipNotInKernel,
            object: pools,
            text: "this kernel has no IP in IP device, so packets to nodes in the same subnet travel as they are and nodes in \
                   other subnets are not reached; load the module (modprobe ipip) or set ipipMode: Never"
                .to_owned(),
        });
        return;
    }
    desired.links.insert(
        TUNNEL_DEVICE.to_owned(),
        Link {
            name: TUNNEL_DEVICE.to_owned(),
            kind: LinkKind::Ipip,
            up: true,
            mtu: None,
            mac: None,
        },
    );
    if let Some(address) = input.tunnel_address {
        let address = IpNet::from(IpAddr::V4(address));
        desired.addresses.insert(Address {
            interface: TUNNEL_DEVICE.to_owned(),
            address,
        });
    }
}

/// Ways to peers: a route by the gateway that was named for one, and addresses for those that are workloads here.
fn peers(input: &DataplaneInput, desired: &mut Desired) {
    for (peer, gateway) in input.reachable_by.iter().filter(|(peer, _)| peer.is_ipv4()) {
        match resolve(input, *gateway) {
            Some(kind) => drop(desired.routes.insert(Route::bird(IpNet::from(*peer), kind))),
            None => desired.refusals.push(Refusal {
                reason: Reason::NextHopUnresolved,
                object: IpNet::from(*peer).to_string(),
                text: format!("reachableBy {gateway} is on no subnet of this node; see `ip route get {gateway}`"),
            }),
        }
    }
    for (interface, addresses) in &input.workload_peering {
        for address in addresses.iter().filter(|address| address.is_ipv4()) {
            desired.addresses.insert(Address {
                interface: interface.clone(),
                address: IpNet::from(*address),
            });
        }
    }
}

/// Routes that peers told us.
fn learnt(input: &DataplaneInput, desired: &mut Desired) {
    // A workload here that borrowed its address from another node's block of one address keeps its route.
    let taken: BTreeSet<_> = desired.routes.iter().map(Route::key).collect();
    for (prefix, hops) in &input.loc_rib {
        let prefix = prefix.trunc();
        if prefix.addr().is_ipv6() || input.blocks.contains(&prefix) {
            continue;
        }
        let own = |hop: &IpAddr| {
            input
                .node_addresses
                .iter()
                .any(|address| address.addr() == *hop)
        };
        let hops: BTreeSet<IpAddr> = hops
            .iter()
            .flat_map(|hop| behind(input, prefix, *hop))
            .filter(|hop| !own(hop) && hop.is_ipv4())
            .collect();
        if hops.is_empty() {
            continue;
        }
        match route_to(input, prefix, &hops) {
            Ok(kind) => {
                let route = Route::bird(prefix, kind);
                if !taken.contains(&route.key()) {
                    desired.routes.insert(route);
                }
            }
            Err(refusal) => desired.refusals.push(refusal),
        }
    }
}

/// A next hop that is a pod is reached as the pod is (BIRD: `gateway recursive`): by the node whose block it is in.
fn behind(input: &DataplaneInput, prefix: IpNet, hop: IpAddr) -> BTreeSet<IpAddr> {
    if !lies_in_pool(input, hop) || input.workloads.contains_key(&hop) {
        return [hop].into();
    }
    let routes = input.loc_rib.iter();
    let covering = routes.filter(|(other, _)| other.contains(&hop) && **other != prefix);
    let longest = covering.max_by_key(|(other, _)| other.prefix_len());
    longest.map_or_else(|| [hop].into(), |(_, hops)| hops.clone())
}

/// True for a pod's address: in a pool, and not on a network that the node is on.
fn lies_in_pool(input: &DataplaneInput, hop: IpAddr) -> bool {
    let on_link = |net: &IpNet| net.contains(&hop);
    input.pools.keys().any(|pool| pool.contains(&hop))
        && !input.interfaces.values().flatten().any(on_link)
}

fn route_to(
    input: &DataplaneInput,
    prefix: IpNet,
    hops: &BTreeSet<IpAddr>,
) -> Result<RouteKind, Refusal> {
    let refuse = |reason, text: String| Refusal {
        reason,
        object: prefix.to_string(),
        text,
    };
    if input
        .service_ranges
        .iter()
        .chain(&input.not_programmed)
        .any(|range| range.contains(&prefix))
    {
        return Err(refuse(
            Reason::PrefixInServiceRange,
            "service addresses are translated on each node, so a learnt route for them is not programmed".to_owned(),
        ));
    }
    // Calico: what is neither a pod's nor a service's is programmed as it comes, without encapsulation.
    let pool = input.pools.iter().find(|(cidr, _)| cidr.contains(&prefix));
    let pool = pool.map_or_else(Pool::default, |(_, pool)| *pool);
    let mut resolved = BTreeSet::new();
    let mut first_error = None;
    for hop in hops {
        match next_hop(input, pool, *hop) {
            Ok(kind) => drop(resolved.insert(kind)),
            Err((reason, text)) => drop(first_error.get_or_insert(refuse(reason, text))),
        }
    }
    match (resolved.len(), first_error) {
        (0, Some(error)) => Err(error),
        (1, _) => Ok(resolved.pop_first().expect("one is there")),
        _ => {
            let hops = resolved
                .into_iter()
                .filter_map(|kind| match kind {
                    RouteKind::Via { gateway, oif, .. } => Some(NextHop { gateway, oif }),
                    _ => None,
                })
                .collect();
            Ok(RouteKind::Multipath { hops })
        }
    }
}

/// How one next hop is reached.
fn next_hop(
    input: &DataplaneInput,
    pool: Pool,
    hop: IpAddr,
) -> Result<RouteKind, (Reason, String)> {
    // A workload here may be a peer and tell of what is behind it.
    if let Some(workload) = input.workloads.get(&hop) {
        return Ok(RouteKind::Via {
            gateway: hop,
            oif: workload.interface.clone(),
            onlink: true,
        });
    }
    if lies_in_pool(input, hop) {
        let text =
            format!("its next hop {hop} is in an IP pool, and no route leads to that address");
        return Err((Reason::NextHopUnresolved, text));
    }
    // "Same subnet" is the network of the node's own address, as Calico means it.
    let same_subnet = input.node_addresses.iter().any(|own| own.contains(&hop));
    let tunnelled = |always: bool| always || !same_subnet;
    match pool.encapsulation {
        Encapsulation::IpipAlways | Encapsulation::IpipCrossSubnet
            if tunnelled(pool.encapsulation == Encapsulation::IpipAlways) =>
        {
            if input.ipip_possible {
                return Ok(RouteKind::Via {
                    gateway: hop,
                    oif: TUNNEL_DEVICE.to_owned(),
                    onlink: true,
                });
            }
            if !same_subnet {
                let text = format!(
                    "its node {hop} is in another subnet and this kernel has no IP in IP; load the module (modprobe ipip), or set \
                     ipipMode: Never where the routers between know the pods"
                );
                return Err((Reason::CrossSubnetWithoutIpip, text));
            }
        }
        Encapsulation::VxlanAlways | Encapsulation::VxlanCrossSubnet if !same_subnet => {
            let text = format!(
                "its node {hop} is in another subnet and VXLAN is not programmed yet; use ipipMode"
            );
            return Err((Reason::CrossSubnetWithoutVxlan, text));
        }
        Encapsulation::Never
        | Encapsulation::IpipAlways
        | Encapsulation::IpipCrossSubnet
        | Encapsulation::VxlanAlways
        | Encapsulation::VxlanCrossSubnet => {}
    }
    resolve(input, hop).ok_or_else(|| {
        let text = format!("its next hop {hop} is on no subnet of this node and no route leads to it; see `ip route get {hop}`");
        (Reason::NextHopUnresolved, text)
    })
}

/// The neighbour and interface towards an address: on a subnet, else by the longest foreign route.
fn resolve(input: &DataplaneInput, hop: IpAddr) -> Option<RouteKind> {
    let on_link = |(name, addresses): (&String, &BTreeSet<IpNet>)| {
        let longest = addresses
            .iter()
            .filter(|subnet| subnet.contains(&hop))
            .map(IpNet::prefix_len)
            .max()?;
        Some((longest, name.clone()))
    };
    if let Some((_, oif)) = input.interfaces.iter().filter_map(on_link).max() {
        return Some(RouteKind::Via {
            gateway: hop,
            oif,
            onlink: false,
        });
    }
    let best = input
        .underlay
        .iter()
        .filter(|route| route.dst.contains(&hop))
        .max_by_key(|route| (route.dst.prefix_len(), std::cmp::Reverse(route.metric)))?;
    match &best.kind {
        RouteKind::Via {
            gateway,
            oif,
            onlink,
        } => Some(RouteKind::Via {
            gateway: *gateway,
            oif: oif.clone(),
            onlink: *onlink,
        }),
        RouteKind::Device { oif } => Some(RouteKind::Via {
            gateway: hop,
            oif: oif.clone(),
            onlink: false,
        }),
        RouteKind::Multipath { hops } => {
            let first = hops.first()?;
            Some(RouteKind::Via {
                gateway: first.gateway,
                oif: first.oif.clone(),
                onlink: false,
            })
        }
        RouteKind::Blackhole
        | RouteKind::Unreachable
        | RouteKind::Local { .. }
        | RouteKind::Other { .. } => None,
    }
}

fn sysctls(input: &DataplaneInput, sysctls: &mut BTreeMap<String, String>) {
    let mut set = |path: String, value: &str| drop(sysctls.insert(path, value.to_owned()));
    set("net/ipv4/ip_forward".to_owned(), "1");
    set("net/ipv4/conf/all/send_redirects".to_owned(), "0");
    for interface in own_interfaces(input) {
        set(format!("net/ipv4/conf/{interface}/send_redirects"), "0");
        set(format!("net/ipv4/conf/{interface}/forwarding"), "1");
    }
    let interfaces: BTreeSet<_> = input
        .workloads
        .values()
        .map(|workload| &workload.interface)
        .collect();
    for interface in interfaces {
        for (name, value) in WORKLOAD_SYSCTLS {
            set(format!("net/ipv4/conf/{interface}/{name}"), value);
        }
        set(format!("net/ipv4/neigh/{interface}/proxy_delay"), "0");
    }
}

/// Parameters of a workload's interface. Source: Calico, CNI plugin and Felix.
const WORKLOAD_SYSCTLS: [(&str, &str); 5] = [
    ("forwarding", "1"),
    ("proxy_arp", "1"),
    ("route_localnet", "1"),
    ("rp_filter", "1"),
    ("send_redirects", "0"),
];

/// The parameters that are read back: those that are ours, and those that [`crate::walk`] asks for.
/// `interfaces` are the names of all links.
pub fn owned_sysctls<'a>(interfaces: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut paths = vec!["net/ipv4/ip_forward".to_owned()];
    for interface in std::iter::once("all").chain(interfaces) {
        for (name, _) in WORKLOAD_SYSCTLS {
            paths.push(format!("net/ipv4/conf/{interface}/{name}"));
        }
        if interface.starts_with(rules::WORKLOAD_PREFIX) {
            paths.push(format!("net/ipv4/neigh/{interface}/proxy_delay"));
        }
    }
    paths
}
