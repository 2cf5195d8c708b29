//! The intent of one node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use resource::kinds::{AffinityState, EncapMode};

use crate::advertisements::advertisements;
use crate::cluster::Cluster;
use crate::filter::Community;
use crate::pools::pools;
use crate::sessions::sessions;
use crate::{Names, NodeView, Pool, Reason, Refusal, Resources, Session, names};

/// Nodes with this label do not tell peers of service ranges (calico-compat §6.6).
const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// What one node has to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// The node itself; `None` when the store does not know it, or it has no BGP section.
    pub node: Option<NodeView>,
    /// The datastore is locked: nothing is to be changed until it is not.
    pub locked: bool,
    /// What the speaker has to do.
    pub bgp: BgpIntent,
    /// By name; none overlap.
    pub pools: BTreeMap<String, Pool>,
    /// Service ranges: told to peers, never learnt from them.
    pub service_ranges: BTreeSet<IpNet>,
    /// This node's blocks.
    pub own_blocks: BTreeSet<IpNet>,
    /// The other nodes' blocks.
    pub remote_blocks: BTreeMap<IpNet, String>,
    /// This node's workloads, by namespace and name.
    pub workloads: BTreeMap<(String, String), Workload>,
    /// Addresses that IPAM has given to somebody on this node, workloads that are still being made among them.
    pub allocated: BTreeSet<IpAddr>,
    /// Tunnel address for IP-in-IP, if a pool asks for one.
    pub ipip: Option<Tunnel>,
    /// The cluster's domain and the services that answer for it.
    pub names: Names,
    /// What is not done, in order and each once.
    pub refusals: Vec<Refusal>,
}

/// The part for the speaker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BgpIntent {
    /// Where to listen.
    pub listen: BTreeSet<SocketAddr>,
    /// In order of address and port.
    pub sessions: Vec<Session>,
    /// What this node originates.
    pub origins: BTreeSet<IpNet>,
    /// In order; what no rule accepts is not exported.
    pub export: Vec<ExportRule>,
    /// Communities put on what these rules accept in a prefix and within it; the first that matches counts.
    pub communities: Vec<(IpNet, Vec<Community>)>,
}

/// One rule of what is told to peers (calico-compat §6.4); the first that matches decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExportRule {
    /// Nothing in this pool: `disableBGPExport`.
    WithheldPool(IpNet),
    /// This block itself, and nothing inside it.
    OwnBlock(IpNet),
    /// Exactly this service range.
    ServiceRange(IpNet),
    /// Everything in this pool: other nodes' blocks, and borrowed addresses.
    Pool(IpNet),
}

/// A workload of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The host's end.
    pub interface: String,
    /// Host prefixes.
    pub addresses: BTreeSet<IpNet>,
    /// The workload's MAC, as written.
    pub mac: String,
}

/// A tunnel that needs an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// What the Node says it has.
    pub address: Option<Ipv4Addr>,
    /// The pools that may give one, by name; empty when devices are needed but this node gets no address.
    pub pools: Vec<String>,
}

impl Intent {
    /// The pool that an address or prefix lies in.
    pub fn pool_of(&self, prefix: &IpNet) -> Option<&Pool> {
        self.pools.values().find(|pool| pool.cidr.contains(prefix))
    }

    /// The node's LAN, from the prefix length of its address.
    pub fn lan(&self) -> Option<Ipv4Net> {
        self.node.as_ref().and_then(|node| node.ipv4)
    }
}

/// The intent of `node_name`, as far as the resources allow.
pub fn compute(resources: &Resources, node_name: &str) -> Intent {
    let mut refusals = Vec::new();
    for (key, reason) in &resources.malformed {
        refusals.push(Refusal::new(Reason::MalformedResource, key, reason));
    }
    let cluster = Cluster::read(resources, &mut refusals);
    let me = cluster.nodes.get(node_name);
    if me.is_none() {
        refusals.push(absent_node(resources, node_name));
    }
    let pools = pools(resources, me, &mut refusals);
    let service_ranges = service_ranges(resources, &mut refusals);
    let own_blocks = resources.confirmed_blocks(node_name);
    affinity_refusals(resources, node_name, &mut refusals);
    let workloads = workloads(resources, node_name, &mut refusals);
    let bgp = me.map_or_else(BgpIntent::default, |me| {
        let announces = me.labels.get(EXCLUDE_LABEL).is_none_or(|v| v != "true");
        let ranges = if announces {
            service_ranges.clone()
        } else {
            BTreeSet::new()
        };
        BgpIntent {
            listen: listen(&cluster, me),
            sessions: sessions(resources, &cluster, me, &mut refusals),
            export: export(&pools, &own_blocks, &ranges),
            communities: advertisements(resources, node_name, &mut refusals),
            origins: origins(&pools, &own_blocks, &workloads, ranges),
        }
    });
    let locked = locked(resources, &mut refusals);
    let names = names::names(resources, &mut refusals);
    refusals.sort();
    refusals.dedup();
    Intent {
        ipip: tunnel(resources, node_name, &pools),
        node: me.cloned(),
        locked,
        bgp,
        service_ranges,
        remote_blocks: remote_blocks(resources, node_name),
        allocated: allocated(resources, node_name, &own_blocks),
        own_blocks,
        pools,
        workloads,
        names,
        refusals,
    }
}

fn absent_node(resources: &Resources, name: &str) -> Refusal {
    let at = format!("Node({name})");
    if resources.nodes.contains_key(name) {
        Refusal::new(Reason::NodeWithoutBgp, at, "spec.bgp is absent")
    } else {
        Refusal::new(Reason::NodeMissing, at, "it is not in the store")
    }
}

fn listen(cluster: &Cluster, me: &NodeView) -> BTreeSet<SocketAddr> {
    me.addresses()
        .map(|address| match address {
            address if cluster.bind_node_ip => address,
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        })
        .map(|address| SocketAddr::new(address, me.port))
        .collect()
}

fn service_ranges(resources: &Resources, refusals: &mut Vec<Refusal>) -> BTreeSet<IpNet> {
    let Some(default) = resources.bgp_configurations.get("default") else {
        return BTreeSet::new();
    };
    let mut ranges = BTreeSet::new();
    for block in &default.spec.service_cluster_ips {
        match block.cidr.parse::<IpNet>() {
            Ok(range) => drop(ranges.insert(range.trunc())),
            Err(_) => refusals.push(Refusal::new(
                Reason::ServiceRangeInvalid,
                "BGPConfiguration(default) spec.serviceClusterIPs",
                format!("'{}' is no CIDR", block.cidr),
            )),
        }
    }
    ranges
}

fn affinity_refusals(resources: &Resources, node: &str, refusals: &mut Vec<Refusal>) {
    for ((host, cidr), affinity) in resources.affinities.iter().filter(|((h, _), _)| h == node) {
        let at = format!("affinity of {cidr} to {host}");
        if affinity.state != AffinityState::Confirmed || affinity.deleted {
            let state = if affinity.deleted {
                "deleted".to_string()
            } else {
                format!("{:?}", affinity.state)
            };
            refusals.push(Refusal::new(
                Reason::AffinityNotConfirmed,
                at,
                format!("it is {state}"),
            ));
        } else if !resources.stands(host, cidr, affinity) {
            let owner = resources
                .blocks
                .get(cidr)
                .and_then(|b| b.affinity.as_deref())
                .unwrap_or("nobody");
            refusals.push(Refusal::new(
                Reason::BlockOfAnother,
                at,
                format!("the block says {owner}"),
            ));
        }
    }
}

fn remote_blocks(resources: &Resources, node: &str) -> BTreeMap<IpNet, String> {
    resources
        .affinities
        .iter()
        .filter(|((host, cidr), affinity)| host != node && resources.stands(host, cidr, affinity))
        .map(|((host, cidr), _)| (*cidr, host.clone()))
        .collect()
}

fn allocated(resources: &Resources, node: &str, own_blocks: &BTreeSet<IpNet>) -> BTreeSet<IpAddr> {
    let mut addresses = BTreeSet::new();
    for (cidr, block) in &resources.blocks {
        let own = own_blocks.contains(cidr);
        for (ordinal, index) in block.allocations.iter().enumerate() {
            let Some(index) = index else { continue };
            let attribute = block
                .attributes
                .get(*index)
                .and_then(|a| a.secondary.as_ref());
            let holder = attribute.and_then(|secondary| secondary.get("node"));
            if holder.map_or(own, |holder| holder == node) {
                addresses.extend(nth_address(cidr, ordinal));
            }
        }
    }
    addresses
}

fn nth_address(block: &IpNet, ordinal: usize) -> Option<IpAddr> {
    match block {
        IpNet::V4(net) => {
            let offset = u32::try_from(ordinal).ok()?;
            Some(Ipv4Addr::from_bits(net.network().to_bits().checked_add(offset)?).into())
        }
        IpNet::V6(net) => {
            let offset = u128::try_from(ordinal).ok()?;
            Some(Ipv6Addr::from_bits(net.network().to_bits().checked_add(offset)?).into())
        }
    }
}

fn workloads(
    resources: &Resources,
    node: &str,
    refusals: &mut Vec<Refusal>,
) -> BTreeMap<(String, String), Workload> {
    let mut workloads = BTreeMap::new();
    for (key, object) in resources
        .workload_endpoints
        .iter()
        .filter(|(_, w)| w.spec.node == node)
    {
        let at = format!("WorkloadEndpoint({}/{})", key.0, key.1);
        let name = &object.spec.interface_name;
        if name.is_empty() || name.len() > 15 || name.contains(['/', ' ']) {
            let what = format!("'{name}' is no interface name");
            refusals.push(Refusal::new(Reason::WorkloadInvalid, at, what));
            continue;
        }
        let mut addresses = BTreeSet::new();
        for text in &object.spec.ip_networks {
            match crate::parse_address(text).filter(|net| net.prefix_len() == net.max_prefix_len())
            {
                Some(net) => drop(addresses.insert(net)),
                None => {
                    let what = format!("'{text}' is no host address");
                    refusals.push(Refusal::new(Reason::WorkloadInvalid, &at, what));
                }
            }
        }
        let mac = object.spec.mac.clone();
        workloads.insert(
            key.clone(),
            Workload {
                interface: name.clone(),
                addresses,
                mac,
            },
        );
    }
    workloads
}

fn origins(
    pools: &BTreeMap<String, Pool>,
    own_blocks: &BTreeSet<IpNet>,
    workloads: &BTreeMap<(String, String), Workload>,
    service_ranges: BTreeSet<IpNet>,
) -> BTreeSet<IpNet> {
    let mut origins = service_ranges;
    origins.extend(own_blocks);
    // A borrowed address lies in a block of another node, so that only its host route leads here.
    let borrowed = workloads
        .values()
        .flat_map(|w| &w.addresses)
        .filter(|address| {
            pools.values().any(|pool| pool.cidr.contains(*address))
                && !own_blocks.iter().any(|block| block.contains(*address))
        });
    origins.extend(borrowed);
    origins
}

fn export(
    pools: &BTreeMap<String, Pool>,
    own_blocks: &BTreeSet<IpNet>,
    service_ranges: &BTreeSet<IpNet>,
) -> Vec<ExportRule> {
    let withheld = pools.values().filter(|pool| pool.disable_bgp_export);
    let told = pools.values().filter(|pool| !pool.disable_bgp_export);
    withheld
        .map(|pool| ExportRule::WithheldPool(pool.cidr))
        .chain(own_blocks.iter().copied().map(ExportRule::OwnBlock))
        .chain(service_ranges.iter().copied().map(ExportRule::ServiceRange))
        .chain(told.map(|pool| ExportRule::Pool(pool.cidr)))
        .collect()
}

fn tunnel(resources: &Resources, node: &str, pools: &BTreeMap<String, Pool>) -> Option<Tunnel> {
    let uses_ipip = |pool: &&Pool| pool.ipip != EncapMode::Never && pool.cidr.addr().is_ipv4();
    pools.values().find(uses_ipip)?;
    let bgp = resources.nodes.get(node)?.spec.bgp.as_ref()?;
    let address = crate::parse_address(&bgp.ipv4_ipip_tunnel_addr).map(|net| net.addr());
    Some(Tunnel {
        address: match address {
            Some(IpAddr::V4(address)) => Some(address),
            Some(IpAddr::V6(_)) | None => None,
        },
        pools: pools
            .values()
            .filter(uses_ipip)
            .filter(|pool| !pool.disabled && pool.selects_node && pool.for_tunnels)
            .map(|pool| pool.name.clone())
            .collect(),
    })
}

fn locked(resources: &Resources, refusals: &mut Vec<Refusal>) -> bool {
    let information = resources.cluster_informations.get("default");
    let locked = information.is_some_and(|i| i.spec.datastore_ready == Some(false));
    if locked {
        let at = "ClusterInformation(default) spec.datastoreReady";
        refusals.push(Refusal::new(Reason::DatastoreLocked, at, "it is false"));
    }
    locked
}
