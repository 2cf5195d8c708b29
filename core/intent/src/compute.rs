//! The intent of one node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use resource::kinds::{AffinityState, EncapMode};

use crate::advertisements::advertisements;
use crate::cluster::Cluster;
use crate::export::export_rules;
use crate::filter::Community;
use crate::pools::pools;
use crate::service_routes::{ServiceRanges, service_routes};
use crate::sessions::{SessionKind, sessions};
use crate::{
    DynamicNeighbours, ExportRule, Names, NodeView, Pool, Reason, Refusal, Resources, Session,
    names, policies,
};

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
    /// Ranges of cluster addresses: each node translates them itself.
    pub service_ranges: BTreeSet<IpNet>,
    /// All ranges of service addresses; what peers tell within them is not for the kernel, on whatever node.
    pub not_programmed: BTreeSet<IpNet>,
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
    /// How much this node says in its log.
    pub log_severity: LogSeverity,
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
    /// Who may connect beside these, the narrowest range first.
    pub dynamic: Vec<DynamicNeighbours>,
    /// Gateways to peers that are not reached otherwise.
    pub reachable_by: BTreeMap<IpAddr, IpAddr>,
    /// Interfaces of local workloads that are peers, and the addresses of ours that they peer with.
    pub workload_peering: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Networks of interfaces that match are not looked at for next hops (`*` stands for any characters).
    pub ignored_interfaces: Vec<String>,
    /// What this node originates.
    pub origins: BTreeSet<IpNet>,
    /// In order; what no rule accepts is not exported.
    pub export: Vec<ExportRule>,
    /// Communities put on what is accepted in a prefix and within it; the first that matches counts.
    pub communities: Vec<(IpNet, Vec<Community>)>,
}

/// The least severe of what is said (`logSeverityScreen`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogSeverity {
    /// Each step; Calico's Trace too.
    Debug,
    /// What people want to know of.
    #[default]
    Info,
    /// What is not as wanted.
    Warning,
    /// What cannot go on; Calico's Fatal too.
    Error,
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

/// What the environment says in place of the resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// In place of `serviceClusterIPs` (Calico: CALICO_ADVERTISE_CLUSTER_IPS).
    pub advertise_cluster_ips: Option<Vec<IpNet>>,
}

/// The intent of `node_name`, as far as the resources allow.
pub fn compute(resources: &Resources, node_name: &str) -> Intent {
    compute_in(resources, node_name, &Environment::default())
}

/// [`compute`], where the environment has a say.
pub fn compute_in(resources: &Resources, node_name: &str, environment: &Environment) -> Intent {
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
    let cluster_ips = environment.advertise_cluster_ips.as_deref();
    let ranges = ServiceRanges::read(resources, cluster_ips, &mut refusals);
    let own_blocks = resources.confirmed_blocks(node_name);
    affinity_refusals(resources, node_name, &mut refusals);
    let workloads = workloads(resources, node_name, &mut refusals);
    let ipip = tunnel(resources, node_name, &pools);
    let bgp = me.map_or_else(BgpIntent::default, |me| {
        let routes = service_routes(resources, me, &ranges);
        let sessions = sessions(resources, &cluster, me, &mut refusals);
        let peering = workload_peering(resources, &sessions, &workloads, &mut refusals);
        BgpIntent {
            listen: listen(&cluster, me, peering.values().flatten()),
            dynamic: policies::dynamic(resources, me, &mut refusals),
            reachable_by: reachable_by(&sessions),
            workload_peering: peering,
            ignored_interfaces: ignored_interfaces(resources),
            export: export_rules(&pools, &own_blocks, &routes, &ranges, me),
            communities: advertisements(resources, node_name, &mut refusals),
            origins: origins(&pools, &own_blocks, &workloads, ipip.as_ref(), &routes),
            sessions,
        }
    });
    let locked = locked(resources, &mut refusals);
    let names = names::names(resources, &mut refusals);
    refusals.sort();
    refusals.dedup();
    Intent {
        ipip,
        node: me.cloned(),
        locked,
        bgp,
        log_severity: log_severity(resources, node_name),
        not_programmed: ranges.all(),
        service_ranges: ranges.cluster,
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

/// With `bindMode: NodeIP` also where local workloads dial.
fn listen<'a>(
    cluster: &Cluster,
    me: &NodeView,
    peering: impl Iterator<Item = &'a IpAddr>,
) -> BTreeSet<SocketAddr> {
    me.addresses()
        .chain(peering.copied())
        .map(|address| match address {
            address if cluster.bind_node_ip => address,
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        })
        .map(|address| SocketAddr::new(address, me.port))
        .collect()
}

/// Calico: a static route to the peer; a peer has one gateway.
fn reachable_by(sessions: &[Session]) -> BTreeMap<IpAddr, IpAddr> {
    let gateways = sessions
        .iter()
        .filter_map(|session| Some((session.address, session.reachable_by?)));
    gateways.collect()
}

/// A node's own configuration comes before the default one.
fn log_severity(resources: &Resources, node: &str) -> LogSeverity {
    let names = [format!("node.{node}"), "default".to_string()];
    let specs = names
        .iter()
        .filter_map(|name| resources.bgp_configurations.get(name));
    let mut words = specs.map(|c| c.spec.log_severity_screen.to_ascii_lowercase());
    match words.find(|word| !word.is_empty()).as_deref() {
        Some("trace" | "debug") => LogSeverity::Debug,
        Some("warning") => LogSeverity::Warning,
        Some("error" | "fatal") => LogSeverity::Error,
        Some(_) | None => LogSeverity::Info,
    }
}

fn ignored_interfaces(resources: &Resources) -> Vec<String> {
    let default = resources.bgp_configurations.get("default");
    default.map_or_else(Vec::new, |c| c.spec.ignored_interfaces.clone())
}

/// Where local workloads are peers, the node has the address that they know it by on their interface.
fn workload_peering(
    resources: &Resources,
    sessions: &[Session],
    workloads: &BTreeMap<(String, String), Workload>,
    refusals: &mut Vec<Refusal>,
) -> BTreeMap<String, BTreeSet<IpAddr>> {
    let Some(default) = resources.bgp_configurations.get("default") else {
        return BTreeMap::new();
    };
    let mut own: Vec<IpAddr> = Vec::new();
    for (field, text) in [
        ("IPV4", &default.spec.local_workload_peering_ipv4),
        ("IPV6", &default.spec.local_workload_peering_ipv6),
    ] {
        match text.parse::<IpAddr>() {
            Ok(address) if address.is_ipv4() == (field == "IPV4") => own.push(address),
            _ if text.is_empty() => {}
            _ => {
                let at = format!("BGPConfiguration(default) spec.localWorkloadPeering{field}");
                let what = format!("'{text}' is no address of that family");
                refusals.push(Refusal::new(Reason::PeerFieldInvalid, at, what));
            }
        }
    }
    let mut peering: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    let local = sessions
        .iter()
        .filter(|session| session.kind == SessionKind::LocalWorkload);
    for session in local {
        let has = |w: &&Workload| w.addresses.contains(&IpNet::from(session.address));
        let Some(workload) = workloads.values().find(has) else {
            continue;
        };
        let same = |address: &&IpAddr| address.is_ipv4() == session.address.is_ipv4();
        for address in own.iter().filter(same) {
            let addresses = peering.entry(workload.interface.clone()).or_default();
            addresses.insert(*address);
        }
    }
    peering
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
    tunnel: Option<&Tunnel>,
    service_routes: &BTreeSet<IpNet>,
) -> BTreeSet<IpNet> {
    let mut origins = service_routes.clone();
    origins.extend(own_blocks);
    // A borrowed address lies in a block of another node, so that only its host route leads here.
    let addresses = workloads.values().flat_map(|w| &w.addresses).copied();
    let tunnel = tunnel.and_then(|tunnel| tunnel.address).map(IpAddr::from);
    let borrowed = addresses.chain(tunnel.map(IpNet::from)).filter(|address| {
        pools.values().any(|pool| pool.cidr.contains(address))
            && !own_blocks.iter().any(|block| block.contains(address))
    });
    origins.extend(borrowed);
    origins
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
