//! Which BGP sessions a node has (calico-compat §6.2, §6.3).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use resource::Selector;
use resource::kinds::WorkloadEndpoint;

use crate::cluster::{BGP_PORT, Cluster, NodeView};
use crate::filter::SessionFilters;
use crate::peer_rule::{PeerRule, Target};
use crate::policies;
use crate::policies::{Imports, PrefixLimit};
use crate::{Reason, Refusal, Resources, SecretKey};

/// Where a session comes from; the first word of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SessionKind {
    /// The node-to-node mesh.
    Mesh,
    /// A BGPPeer that every node has.
    Global,
    /// A BGPPeer for some nodes, or the way back of one.
    Node,
    /// A BGPPeer with workloads of the node.
    LocalWorkload,
}

impl SessionKind {
    fn prefix(self) -> &'static str {
        match self {
            SessionKind::Mesh => "Mesh",
            SessionKind::Global => "Global",
            SessionKind::Node => "Node",
            SessionKind::LocalWorkload => "Local_Workload",
        }
    }
}

/// What next hop the peer is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NextHop {
    /// Own address on eBGP, unchanged on iBGP.
    #[default]
    Auto,
    /// Always the own address.
    SelfAddress,
    /// Always unchanged.
    Keep,
}

/// How a node of the cluster is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodePath {
    /// Its address is in the own LAN.
    OnLink,
    /// Through a router.
    Routed,
}

/// One BGP session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// BIRD's protocol name: `Mesh_10_20_1_81`, `Node_192_0_2_2_port_1790`.
    pub name: String,
    /// Where it comes from.
    pub kind: SessionKind,
    /// The resource it comes from, for people: `node-to-node mesh`, `BGPPeer(tor)`, `BGPPeer(tor), reverse`.
    pub because: String,
    /// The BGPPeer among these; none for the mesh.
    pub bgp_peer: Option<String>,
    /// The peer's address.
    pub address: IpAddr,
    /// The peer's port.
    pub port: u16,
    /// IPv6 routes go over this IPv4 session too, with this next hop of ours; else it carries the family it runs over.
    pub with_ipv6: Option<Ipv6Addr>,
    /// Set when the peer is a node of the cluster.
    pub node: Option<NodePath>,
    /// Our AS.
    pub local_as: u32,
    /// The peer's AS.
    pub remote_as: u32,
    /// Address to bind to.
    pub source: Option<IpAddr>,
    /// Wait for the peer to connect.
    pub passive: bool,
    /// The peer is our reflection client in this cluster.
    pub rr_client: Option<Ipv4Addr>,
    /// Next hop told.
    pub next_hop: NextHop,
    /// Graceful restart time; `None` is the default of 120 s.
    pub restart_time: Option<Duration>,
    /// Keepalive interval; `None` is a third of the hold time.
    pub keepalive: Option<Duration>,
    /// GTSM hops.
    pub ttl_hops: Option<u8>,
    /// How often the own AS may be in a received path.
    pub allow_own_as: u8,
    /// What BGPFilters say, before the rules that every session has.
    pub filters: SessionFilters,
    /// Where its password is.
    pub password: Option<SecretKey>,
    /// The gateway that leads to the peer.
    pub reachable_by: Option<IpAddr>,
    /// What the peer may bring.
    pub imports: Imports,
    /// How many prefixes it may bring.
    pub max_prefixes: Option<PrefixLimit>,
}

/// The sessions of `me`, by address and port.
pub fn sessions(
    resources: &Resources,
    cluster: &Cluster,
    me: &NodeView,
    refusals: &mut Vec<Refusal>,
) -> Vec<Session> {
    let mut rules = Vec::new();
    for peer in resources.bgp_peers.values() {
        match PeerRule::read(peer) {
            Ok(rule) => rules.extend(rule.map(|rule| rule.with_filters(resources, refusals))),
            Err(refusal) => refusals.push(refusal),
        }
    }
    let mut chosen = Chosen::default();
    // Global entries beat a node's own, and explicit ones the way back of others.
    for rule in rules.iter().filter(|r| r.is_global()) {
        chosen.offer_all(explicit(rule, resources, cluster, me, refusals), refusals);
    }
    for rule in rules.iter().filter(|r| !r.is_global() && r.covers(me)) {
        chosen.offer_all(explicit(rule, resources, cluster, me, refusals), refusals);
    }
    for rule in rules.iter().filter(|r| r.reverse && r.targets(me)) {
        for session in reverse(rule, cluster, me) {
            chosen.offer_quietly(session);
        }
    }
    if cluster.mesh && me.cluster_id.is_none() {
        for session in mesh(cluster, me) {
            chosen.offer_quietly(session);
        }
    }
    let mut sessions: Vec<Session> = chosen.0.into_values().collect();
    policies::apply(resources, cluster, me, &mut sessions, refusals);
    sessions
}

#[derive(Default)]
struct Chosen(BTreeMap<(IpAddr, u16), Session>);

impl Chosen {
    /// The first one for an address and port stays; what the user wrote twice is said.
    fn offer_all(&mut self, sessions: Vec<Session>, refusals: &mut Vec<Refusal>) {
        for session in sessions {
            if let Some(first) = self.0.get(&(session.address, session.port)) {
                let what = format!(
                    "{} already has a session with {}",
                    first.because, session.address
                );
                refusals.push(Refusal::new(
                    Reason::SessionDuplicate,
                    &session.because,
                    what,
                ));
            } else {
                self.offer_quietly(session);
            }
        }
    }

    /// For sessions that nobody wrote: they fill what is left.
    fn offer_quietly(&mut self, session: Session) {
        self.0
            .entry((session.address, session.port))
            .or_insert(session);
    }
}

fn explicit(
    rule: &PeerRule<'_>,
    resources: &Resources,
    cluster: &Cluster,
    me: &NodeView,
    refusals: &mut Vec<Refusal>,
) -> Vec<Session> {
    let kind = if rule.is_global() {
        SessionKind::Global
    } else {
        SessionKind::Node
    };
    let because = format!("BGPPeer({})", rule.name);
    match &rule.target {
        Target::Workloads { selector, asn } => workload_addresses(resources, me, selector)
            .into_iter()
            .filter(|address| me.address_like(*address).is_some())
            .map(|address| local_workload(rule, &because, me, address, *asn))
            .collect(),
        Target::Nodes(_) => cluster
            .nodes
            .values()
            .filter(|peer| peer.name != me.name && rule.targets(peer))
            .flat_map(|peer| with_node(rule, kind, &because, me, peer, None))
            .collect(),
        Target::Address { address, port, asn } => {
            if me.addresses().any(|own| own == *address) {
                return Vec::new();
            }
            if me.address_like(*address).is_none() {
                let at = format!("{because} spec.peerIP");
                let what = format!("Node({}) has no address to reach {address} from", me.name);
                refusals.push(Refusal::new(Reason::FamilyWithoutAddress, at, what));
                return Vec::new();
            }
            if let Some(node) = rule.target_node(cluster) {
                return with_node(rule, kind, &because, me, node, Some(*address));
            }
            let port = port.unwrap_or(BGP_PORT);
            vec![session(
                rule,
                kind,
                &because,
                me,
                &Peer {
                    address: *address,
                    port,
                    asn: *asn,
                    node: None,
                    is_nodes: cluster.node_by_address(*address).is_some(),
                },
            )]
        }
    }
}

/// The way back: sessions of `me`, whom the rule's own nodes peer with, to each of these.
fn reverse(rule: &PeerRule<'_>, cluster: &Cluster, me: &NodeView) -> Vec<Session> {
    let because = format!("BGPPeer({}), reverse", rule.name);
    let family = match &rule.target {
        Target::Nodes(_) | Target::Workloads { .. } => None,
        Target::Address { address, .. } => Some(*address),
    };
    cluster
        .nodes
        .values()
        .filter(|peer| peer.name != me.name && rule.covers(peer))
        .flat_map(|peer| {
            let only = match family {
                None => None,
                Some(like) => match peer.address_like(like) {
                    Some(address) => Some(address),
                    None => return Vec::new(),
                },
            };
            with_node(rule, SessionKind::Node, &because, me, peer, only)
        })
        .map(|session| Session {
            // The rule's own AS and route are its nodes', who are the peers here.
            local_as: me.asn,
            remote_as: rule.local_as.unwrap_or(session.remote_as),
            allow_own_as: 0,
            reachable_by: None,
            ..session
        })
        .collect()
}

/// Sessions with a node of ours: one a family that both have, or with one of its addresses only.
fn with_node(
    rule: &PeerRule<'_>,
    kind: SessionKind,
    because: &str,
    me: &NodeView,
    peer: &NodeView,
    only: Option<IpAddr>,
) -> Vec<Session> {
    peer.addresses()
        .filter(|address| only.is_none_or(|only| only == *address))
        .filter(|address| me.address_like(*address).is_some())
        .map(|address| {
            let peer = Peer {
                address,
                port: peer.port,
                asn: peer.asn,
                node: Some(peer),
                is_nodes: true,
            };
            session(rule, kind, because, me, &peer)
        })
        .collect()
}

struct Peer<'a> {
    address: IpAddr,
    port: u16,
    asn: u32,
    node: Option<&'a NodeView>,
    /// Some node has the address, whatever its AS and port.
    is_nodes: bool,
}

fn session(
    rule: &PeerRule<'_>,
    kind: SessionKind,
    because: &str,
    me: &NodeView,
    peer: &Peer<'_>,
) -> Session {
    let own = me.address_like(peer.address);
    let local_as = rule.local_as.unwrap_or(me.asn);
    let ebgp = peer.asn != local_as;
    Session {
        name: name(kind, peer.address, peer.port),
        kind,
        because: because.to_string(),
        bgp_peer: Some(rule.name.to_string()),
        address: peer.address,
        port: peer.port,
        with_ipv6: None,
        node: peer.node.map(|_| me.path_to(peer.address)),
        local_as,
        remote_as: peer.asn,
        source: own.filter(|_| rule.source_node_ip),
        // Calico: only sessions that every node has wait, and only with nodes, so that one side dials.
        passive: kind == SessionKind::Global
            && peer.is_nodes
            && own.is_some_and(|own| greater_as_text(peer.address, own)),
        rr_client: rr_client(me, local_as, peer),
        next_hop: if rule.keep_on_ebgp && ebgp {
            NextHop::Keep
        } else {
            rule.next_hop
        },
        restart_time: rule.restart_time,
        keepalive: rule.keepalive,
        ttl_hops: rule.ttl_hops,
        allow_own_as: rule.allow_own_as,
        filters: rule.filters(peer.address.is_ipv4()),
        password: rule.password.clone(),
        reachable_by: rule.reachable_by,
        imports: Imports::ALL,
        max_prefixes: None,
    }
}

fn mesh(cluster: &Cluster, me: &NodeView) -> Vec<Session> {
    let mut sessions = Vec::new();
    for peer in cluster.nodes.values() {
        if peer.name == me.name || peer.cluster_id.is_some() {
            continue;
        }
        for address in peer.addresses() {
            let Some(own) = me.address_like(address) else {
                continue;
            };
            sessions.push(Session {
                name: name(SessionKind::Mesh, address, peer.port),
                kind: SessionKind::Mesh,
                because: "node-to-node mesh".to_string(),
                bgp_peer: None,
                address,
                port: peer.port,
                with_ipv6: None,
                node: Some(me.path_to(address)),
                local_as: me.asn,
                remote_as: peer.asn,
                source: Some(own),
                passive: greater_as_text(address, own),
                rr_client: None,
                next_hop: NextHop::Auto,
                restart_time: cluster.mesh_restart_time,
                keepalive: None,
                ttl_hops: None,
                allow_own_as: 0,
                filters: SessionFilters::default(),
                password: cluster.mesh_password.clone(),
                reachable_by: None,
                imports: Imports::ALL,
                max_prefixes: None,
            });
        }
    }
    sessions
}

/// The addresses of a node's workloads that match.
fn workload_addresses(resources: &Resources, me: &NodeView, selector: &Selector) -> Vec<IpAddr> {
    let own = |w: &&WorkloadEndpoint| w.spec.node == me.name;
    let endpoints = resources.workload_endpoints.values().filter(own);
    let chosen = endpoints.filter(|w| selector.matches(&w.metadata.labels));
    let networks = chosen.flat_map(|w| &w.spec.ip_networks);
    let addresses = networks.filter_map(|text| crate::parse_address(text));
    addresses.map(|network| network.addr()).collect()
}

/// The workload dials, to whatever address of the node it knows.
fn local_workload(
    rule: &PeerRule<'_>,
    because: &str,
    me: &NodeView,
    address: IpAddr,
    asn: u32,
) -> Session {
    let peer = Peer {
        address,
        port: BGP_PORT,
        asn,
        node: None,
        is_nodes: false,
    };
    Session {
        source: None,
        passive: true,
        ..session(rule, SessionKind::LocalWorkload, because, me, &peer)
    }
}

/// RFC 4456, with Calico's rule for who is a client: an iBGP peer that is not in the reflector's own cluster.
fn rr_client(me: &NodeView, local_as: u32, peer: &Peer<'_>) -> Option<Ipv4Addr> {
    let own = me.cluster_id?;
    let theirs = peer.node.and_then(|node| node.cluster_id);
    (peer.asn == local_as && theirs != Some(own)).then_some(own)
}

/// Calico compares addresses as text, so that `10.0.0.9` is greater than `10.0.0.10`.
fn greater_as_text(peer: IpAddr, own: IpAddr) -> bool {
    peer.to_string() > own.to_string()
}

fn name(kind: SessionKind, address: IpAddr, port: u16) -> String {
    let address = address.to_string().replace(['.', ':'], "_");
    match port {
        BGP_PORT => format!("{}_{address}", kind.prefix()),
        port => format!("{}_{address}_port_{port}", kind.prefix()),
    }
}
