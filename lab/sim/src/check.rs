//! What has to hold after quiet. Each checker computes what should be from the store alone, by other means than a node does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bgp::{Family, Speaker};
use dataplane::{PROTOCOL_BIRD, Route, RouteKind, TABLE_MAIN};
use ipnet::IpNet;
use resource::kinds::{
    AffinityState, Block, BlockAffinity, IpPool, IpPoolSpec, Node, NodeSpec, WorkloadEndpoint,
    WorkloadEndpointSpec,
};
use resource::{Key, KeyPrefix, Kind, Object, Spec, Store};

use crate::tasks::now_or_never;
use crate::world::World;

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Violation {
    /// The checker's stable name.
    pub check: &'static str,
    /// What is wrong, and where.
    pub text: String,
}

impl Violation {
    /// A violation found by this checker.
    pub fn new(check: &'static str, text: impl Into<String>) -> Violation {
        Violation {
            check,
            text: text.into(),
        }
    }
}

/// What the store says, read once.
pub struct Truth {
    /// Address of each Node.
    pub nodes: BTreeMap<String, IpAddr>,
    /// Pools' ranges.
    pub pools: Vec<IpNet>,
    /// Blocks and their content.
    pub blocks: BTreeMap<IpNet, Block>,
    /// Whose a block is, where the claim is confirmed by affinity and block alike.
    pub owners: BTreeMap<IpNet, String>,
    /// Node, interface and addresses of each workload.
    pub endpoints: BTreeMap<Key, WorkloadEndpointSpec>,
}

impl Truth {
    /// Reads the store.
    pub fn read(world: &World) -> Truth {
        let objects = |kind| {
            now_or_never(world.store.list(&KeyPrefix::Kind(kind)))
                .map(|l| l.entries)
                .unwrap_or_default()
        };
        fn parsed<S: Spec>(entries: &[resource::Entry]) -> impl Iterator<Item = Object<S>> + '_ {
            entries
                .iter()
                .filter_map(|entry| Object::from_entry(entry).ok())
        }
        let address = |node: Node| {
            let text = node.spec.bgp?.ipv4_address;
            Some((node.metadata.name, text.split('/').next()?.parse().ok()?))
        };
        let nodes = parsed::<NodeSpec>(&objects(Kind::Node))
            .filter_map(address)
            .collect();
        let pools = parsed::<IpPoolSpec>(&objects(Kind::IpPool))
            .filter_map(|pool: IpPool| pool.spec.cidr.parse().ok())
            .collect();
        let endpoints = parsed::<WorkloadEndpointSpec>(&objects(Kind::WorkloadEndpoint))
            .map(|endpoint: WorkloadEndpoint| (endpoint.key(), endpoint.spec))
            .collect();
        let mut truth = Truth {
            nodes,
            pools,
            blocks: BTreeMap::new(),
            owners: BTreeMap::new(),
            endpoints,
        };
        truth.read_blocks(world);
        truth
    }

    fn read_blocks(&mut self, world: &World) {
        let list = |prefix| {
            now_or_never(world.store.list(&prefix))
                .map(|l| l.entries)
                .unwrap_or_default()
        };
        for entry in list(KeyPrefix::Blocks) {
            if let (Key::Block(cidr), Ok(block)) = (entry.key, serde_json::from_str(&entry.value)) {
                self.blocks.insert(cidr, block);
            }
        }
        for entry in list(KeyPrefix::BlockAffinities) {
            let (Key::BlockAffinity { host, cidr }, Ok(claim)) = (
                entry.key,
                serde_json::from_str::<BlockAffinity>(&entry.value),
            ) else {
                continue;
            };
            let said = self
                .blocks
                .get(&cidr)
                .and_then(|block| block.affinity.clone());
            if claim.state == AffinityState::Confirmed && said == Some(format!("host:{host}")) {
                self.owners.insert(cidr, host);
            }
        }
    }

    fn in_pool(&self, net: &IpNet) -> bool {
        self.pools.iter().any(|pool| pool.contains(net))
    }
}

/// All checkers that look at state alone.
pub fn state(world: &World) -> Vec<Violation> {
    let truth = Truth::read(world);
    let mut found = Vec::new();
    found.extend(addresses_owned_once(&truth));
    for name in world.agents().into_iter().map(|(name, _)| name) {
        found.extend(kernel_follows_resources(world, &truth, &name));
        found.extend(redirects_off(world, &name));
        found.extend(own_blocks_only(world, &truth, &name));
        found.extend(reflection_marked(world, &truth, &name));
        found.extend(in_sync(world, &name));
    }
    found
}

/// No address has two owners, and each workload's address is allocated to it.
fn addresses_owned_once(truth: &Truth) -> Vec<Violation> {
    let name = "addresses-owned-once";
    let mut found = Vec::new();
    let mut owners: BTreeMap<IpAddr, &Key> = BTreeMap::new();
    for (key, endpoint) in &truth.endpoints {
        for address in endpoint
            .ip_networks
            .iter()
            .filter_map(|net| net.parse::<IpNet>().ok())
        {
            let address = address.addr();
            if let Some(other) = owners.insert(address, key) {
                found.push(Violation::new(
                    name,
                    format!("{address} belongs to {other} and to {key}"),
                ));
            }
            let allocated = truth
                .blocks
                .iter()
                .find(|(cidr, _)| cidr.contains(&address))
                .and_then(|(_, block)| {
                    let attribute = ipam::block::owner(block, address)?;
                    attribute.handle_id.clone()
                });
            if allocated.is_none_or(|handle| !handle.ends_with(&endpoint.container_id)) {
                found.push(Violation::new(
                    name,
                    format!("{address} of {key} is not allocated to it"),
                ));
            }
        }
    }
    found
}

/// The routes that the store asks of a node, for its own and for others' blocks and workloads.
fn routes_wanted(world: &World, truth: &Truth, name: &str) -> BTreeSet<(IpNet, RouteKind)> {
    let mut wanted = BTreeSet::new();
    for (cidr, owner) in &truth.owners {
        if owner == name {
            wanted.insert((*cidr, RouteKind::Blackhole));
            continue;
        }
        let up = world
            .hosts
            .get(owner)
            .is_some_and(|host| host.process.is_some() && host.powered);
        let gateway = truth
            .nodes
            .get(owner)
            .filter(|_| up && world.joined(name, owner));
        if let Some(gateway) = gateway {
            let oif = world
                .hosts
                .get(name)
                .and_then(|host| host.port_towards(*gateway))
                .unwrap_or_default();
            wanted.insert((
                *cidr,
                RouteKind::Via {
                    gateway: *gateway,
                    oif,
                    onlink: false,
                },
            ));
        }
    }
    for endpoint in truth
        .endpoints
        .values()
        .filter(|endpoint| endpoint.node == name)
    {
        for net in endpoint
            .ip_networks
            .iter()
            .filter_map(|net| net.parse().ok())
        {
            wanted.insert((
                net,
                RouteKind::Device {
                    oif: endpoint.interface_name.clone(),
                },
            ));
        }
    }
    wanted
}

/// Each node's kernel has exactly the routes that the resources ask for, and something beneath each pool.
fn kernel_follows_resources(world: &World, truth: &Truth, name: &str) -> Vec<Violation> {
    let check = "kernel-follows-resources";
    let Some(host) = world.hosts.get(name) else {
        return Vec::new();
    };
    let in_range = |route: &&Route| route.table == TABLE_MAIN && truth.in_pool(&route.dst);
    let present: BTreeSet<(IpNet, RouteKind)> = host
        .kernel
        .routes
        .iter()
        .filter(in_range)
        .filter(|route| route.metric == 0)
        .map(|route| (route.dst, route.kind.clone()))
        .collect();
    let wanted = routes_wanted(world, truth, name);
    let show = |(dst, kind): &(IpNet, RouteKind)| Route::bird(*dst, kind.clone()).to_string();
    let mut found = Vec::new();
    found.extend(
        wanted
            .difference(&present)
            .map(|r| Violation::new(check, format!("{name} lacks {}", show(r)))),
    );
    found.extend(
        present
            .difference(&wanted)
            .map(|r| Violation::new(check, format!("{name} still has {}", show(r)))),
    );
    for pool in &truth.pools {
        let beneath = |route: &Route| {
            route.dst == *pool
                && route.protocol == PROTOCOL_BIRD
                && route.kind == RouteKind::Unreachable
        };
        if !host.kernel.routes.iter().any(beneath) {
            found.push(Violation::new(
                check,
                format!("{name} has nothing beneath {pool}"),
            ));
        }
    }
    found
}

/// No node sends ICMP redirects.
fn redirects_off(world: &World, name: &str) -> Vec<Violation> {
    let Some(host) = world.hosts.get(name) else {
        return Vec::new();
    };
    let interfaces = std::iter::once("all").chain(host.ports.keys().map(String::as_str));
    let on = interfaces.filter(|interface| {
        let path = format!("net/ipv4/conf/{interface}/send_redirects");
        host.kernel
            .sysctls
            .get(&path)
            .is_some_and(|value| value != "0")
    });
    on.map(|interface| {
        Violation::new(
            "redirects-off",
            format!("{name}: send_redirects is on for {interface}"),
        )
    })
    .collect()
}

fn speaker<'a>(world: &'a World, name: &str) -> Option<&'a Speaker> {
    world.hosts.get(name)?.process.as_ref()?.speaker.as_ref()
}

/// A node originates exactly its own blocks (and service ranges, which lie outside the pools).
fn own_blocks_only(world: &World, truth: &Truth, name: &str) -> Vec<Violation> {
    let Some(speaker) = speaker(world, name) else {
        return Vec::new();
    };
    let origins: BTreeSet<IpNet> = speaker
        .config()
        .origins
        .keys()
        .filter(|net| truth.in_pool(net))
        .copied()
        .collect();
    let own: BTreeSet<IpNet> = truth
        .owners
        .iter()
        .filter(|(_, owner)| *owner == name)
        .map(|(cidr, _)| *cidr)
        .collect();
    let wrong = origins.symmetric_difference(&own);
    wrong
        .map(|net| {
            let what = if own.contains(net) {
                "does not originate its block"
            } else {
                "originates a block that is not its own:"
            };
            Violation::new("own-blocks-only", format!("{name} {what} {net}"))
        })
        .collect()
}

/// An iBGP path whose next hop is not the peer that sent it was reflected, and says so (RFC 4456 §8).
fn reflection_marked(world: &World, truth: &Truth, name: &str) -> Vec<Violation> {
    let Some(speaker) = speaker(world, name) else {
        return Vec::new();
    };
    let addresses: BTreeMap<String, IpAddr> = speaker
        .peers()
        .into_iter()
        .map(|peer| (peer.name.to_string(), peer.remote.ip()))
        .collect();
    let mut found = Vec::new();
    for prefix in speaker
        .prefixes(Family::Ipv4)
        .into_iter()
        .filter(|net| truth.in_pool(net))
    {
        for path in speaker.explain(prefix).paths {
            let (Some(peer), Some(hop)) = (&path.peer, path.next_hop) else {
                continue;
            };
            let sender = addresses.get(peer.as_ref());
            if sender != Some(&hop.address) && path.originator_id.is_none() {
                let text = format!(
                    "{name}: {prefix} via {} came from {peer} without ORIGINATOR_ID",
                    hop.address
                );
                found.push(Violation::new("reflection-marked", text));
            }
            let owner = truth
                .owners
                .get(&prefix)
                .and_then(|owner| truth.nodes.get(owner));
            if owner.is_some_and(|owner| *owner != hop.address) {
                let text = format!(
                    "{name}: {prefix} has next hop {}, its owner is elsewhere",
                    hop.address
                );
                found.push(Violation::new("reflection-marked", text));
            }
        }
    }
    found
}

/// After quiet an agent has nothing left to do.
fn in_sync(world: &World, name: &str) -> Vec<Violation> {
    let Some(process) = world.hosts.get(name).and_then(|host| host.process.as_ref()) else {
        return Vec::new();
    };
    let health = process.node.health();
    if health.ready() {
        return Vec::new();
    }
    vec![Violation::new("in-sync", format!("{name}: {health:?}"))]
}
