//! A BGPPeer, read once into types.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use resource::Selector;
use resource::kinds::{BgpPeer, BgpPeerSpec, parse_go_duration};

use crate::cluster::{Cluster, NodeView};
use crate::filter::{SessionFilters, session_filters};
use crate::{NextHop, Reason, Refusal, Resources, SecretKey};

/// The nodes that have the peering.
pub enum Scope {
    /// Every node: the peer is global.
    All,
    /// The node of this name.
    Node(String),
    /// The nodes that match.
    Nodes(Selector),
}

/// Whom they peer with.
pub enum Target {
    /// One address; without a port it is the node's own, or 179.
    Address {
        /// The address.
        address: IpAddr,
        /// As written.
        port: Option<u16>,
        /// Its AS.
        asn: u32,
    },
    /// The nodes that match.
    Nodes(Selector),
    /// The workloads of the node that match.
    Workloads {
        /// Of their labels.
        selector: Selector,
        /// Their AS.
        asn: u32,
    },
}

/// One BGPPeer.
pub struct PeerRule<'a> {
    /// Its name.
    pub name: &'a str,
    /// Who has it.
    pub scope: Scope,
    /// With whom.
    pub target: Target,
    /// Auto, Self or Keep.
    pub next_hop: NextHop,
    /// Deprecated form of Keep, for eBGP only.
    pub keep_on_ebgp: bool,
    /// Bind to the node's address.
    pub source_node_ip: bool,
    /// Graceful restart time asked for.
    pub restart_time: Option<Duration>,
    /// Keepalive interval asked for.
    pub keepalive: Option<Duration>,
    /// GTSM hops.
    pub ttl_hops: Option<u8>,
    /// Own AS on this session; only for a peer by address.
    pub local_as: Option<u32>,
    /// How often the own AS may be in a received path; only for a peer by address.
    pub allow_own_as: u8,
    /// Where its password is.
    pub password: Option<SecretKey>,
    /// The gateway to a peer by address.
    pub reachable_by: Option<IpAddr>,
    /// Whether the peer gets a session back without a BGPPeer of its own.
    pub reverse: bool,
    /// What its BGPFilters say, for IPv4 and IPv6.
    filters: [SessionFilters; 2],
}

impl<'a> PeerRule<'a> {
    /// Reads a BGPPeer; `None` when it names no peer at all, which Calico allows.
    pub fn read(peer: &'a BgpPeer) -> Result<Option<PeerRule<'a>>, Refusal> {
        let spec = &peer.spec;
        let name = peer.metadata.name.as_str();
        let selector = |field: &str, text: &str| {
            Selector::parse(text).map_err(|error| {
                let at = format!("BGPPeer({name}) spec.{field}");
                Refusal::new(Reason::SelectorInvalid, at, format!("'{text}': {error}"))
            })
        };
        let target = if !spec.local_workload_selector.is_empty() {
            Target::Workloads {
                selector: selector("localWorkloadSelector", &spec.local_workload_selector)?,
                asn: remote_as(name, spec, "the local workloads")?,
            }
        } else if !spec.peer_selector.is_empty() {
            Target::Nodes(selector("peerSelector", &spec.peer_selector)?)
        } else if !spec.peer_ip.is_empty() {
            address_target(name, spec)?
        } else {
            return Ok(None);
        };
        let by_address = matches!(target, Target::Address { .. });
        // Calico passes over them in a BGPPeer with peerSelector.
        let own_as = !matches!(target, Target::Nodes(_));
        let scope = match (spec.node.as_str(), spec.node_selector.as_str()) {
            ("", "") => Scope::All,
            ("", text) => Scope::Nodes(selector("nodeSelector", text)?),
            (node, _) => Scope::Node(node.to_string()),
        };
        Ok(Some(PeerRule {
            name,
            scope,
            next_hop: match spec.next_hop_mode.as_deref() {
                None | Some("Auto") => NextHop::Auto,
                Some("Self") => NextHop::SelfAddress,
                Some("Keep") => NextHop::Keep,
                Some(other) => return Err(bad_field(name, "nextHopMode", other)),
            },
            keep_on_ebgp: spec.keep_original_next_hop,
            source_node_ip: match spec.source_address.as_deref() {
                None | Some("UseNodeIP") => true,
                Some("None") => false,
                Some(other) => return Err(bad_field(name, "sourceAddress", other)),
            },
            restart_time: duration(name, "maxRestartTime", spec.max_restart_time.as_deref())?,
            keepalive: duration(name, "keepaliveTime", spec.keepalive_time.as_deref())?,
            ttl_hops: spec.ttl_security.filter(|hops| *hops > 0),
            local_as: spec.local_as_number.filter(|asn| own_as && *asn != 0),
            allow_own_as: spec
                .num_allowed_local_as_numbers
                .filter(|_| by_address)
                .map_or(0, |count| u8::try_from(count.max(0)).unwrap_or(u8::MAX)),
            password: SecretKey::read(spec.password.as_ref()).map_err(|what| {
                let at = format!("BGPPeer({name}) spec.password");
                Refusal::new(Reason::PasswordInvalid, at, what)
            })?,
            reachable_by: reachable_by(name, spec, &target)?,
            target,
            reverse: match spec.reverse_peering.as_deref() {
                None | Some("Auto") => true,
                Some("Manual") => false,
                Some(other) => return Err(bad_field(name, "reversePeering", other)),
            },
            filters: Default::default(),
        }))
    }

    /// With the rules of the BGPFilters that it names.
    pub fn with_filters(
        self,
        resources: &'a Resources,
        refusals: &mut Vec<Refusal>,
    ) -> PeerRule<'a> {
        let Some(peer) = resources.bgp_peers.get(self.name) else {
            return self;
        };
        let names = &peer.spec.filters;
        let mut read = |ipv4| session_filters(resources, self.name, names, ipv4, refusals);
        PeerRule {
            filters: [read(true), read(false)],
            ..self
        }
    }

    /// What its BGPFilters say to sessions of a family.
    pub fn filters(&self, ipv4: bool) -> SessionFilters {
        self.filters[usize::from(!ipv4)].clone()
    }

    /// True for a peering that every node has.
    pub fn is_global(&self) -> bool {
        matches!(self.scope, Scope::All)
    }

    /// Whether `node` has this peering.
    pub fn covers(&self, node: &NodeView) -> bool {
        match &self.scope {
            Scope::All => true,
            Scope::Node(name) => *name == node.name,
            Scope::Nodes(selector) => selector.matches(&node.labels),
        }
    }

    /// Whether `node` is one that the others get a session with. By address, its AS and port must agree too.
    pub fn targets(&self, node: &NodeView) -> bool {
        match &self.target {
            Target::Workloads { .. } => false,
            Target::Nodes(selector) => selector.matches(&node.labels),
            Target::Address { address, port, asn } => {
                node.address_like(*address) == Some(*address)
                    && node.asn == *asn
                    && port.is_none_or(|port| port == node.port)
            }
        }
    }

    /// The node behind an address target, if it is one of ours.
    pub fn target_node<'c>(&self, cluster: &'c Cluster) -> Option<&'c NodeView> {
        cluster.nodes.values().find(|node| self.targets(node))
    }
}

fn address_target(name: &str, spec: &BgpPeerSpec) -> Result<Target, Refusal> {
    let text = &spec.peer_ip;
    let parsed = text
        .parse::<IpAddr>()
        .map(|address| (address, None))
        .or_else(|_| {
            text.parse::<SocketAddr>()
                .map(|both| (both.ip(), Some(both.port())))
        });
    let Ok((address, port)) = parsed else {
        let at = format!("BGPPeer({name}) spec.peerIP");
        return Err(Refusal::new(
            Reason::PeerIpInvalid,
            at,
            format!("'{text}' is no address"),
        ));
    };
    let asn = remote_as(name, spec, text)?;
    Ok(Target::Address { address, port, asn })
}

fn remote_as(name: &str, spec: &BgpPeerSpec, peer: &str) -> Result<u32, Refusal> {
    spec.as_number.filter(|asn| *asn != 0).ok_or_else(|| {
        let at = format!("BGPPeer({name}) spec.asNumber");
        let what = format!("no AS for the peer {peer}");
        Refusal::new(Reason::PeerAsMissing, at, what)
    })
}

fn reachable_by(
    name: &str,
    spec: &BgpPeerSpec,
    target: &Target,
) -> Result<Option<IpAddr>, Refusal> {
    let text = &spec.reachable_by;
    if text.is_empty() {
        return Ok(None);
    }
    let gateway = text.parse::<IpAddr>().ok();
    match (target, gateway) {
        (Target::Address { address, .. }, Some(gateway))
            if address.is_ipv4() == gateway.is_ipv4() =>
        {
            Ok(Some(gateway))
        }
        _ => {
            let at = format!("BGPPeer({name}) spec.reachableBy");
            let what = format!("'{text}' is no address of peerIP's family");
            Err(Refusal::new(Reason::PeerFieldInvalid, at, what))
        }
    }
}

fn bad_field(name: &str, field: &str, value: &str) -> Refusal {
    let at = format!("BGPPeer({name}) spec.{field}");
    Refusal::new(
        Reason::PeerFieldInvalid,
        at,
        format!("'{value}' is not known"),
    )
}

/// A Go duration, rounded to whole seconds as Calico does; zero means the default.
pub(crate) fn seconds(text: &str) -> Option<Duration> {
    let value = parse_go_duration(text).ok()?;
    Some(Duration::from_secs(
        value.as_secs() + u64::from(value.subsec_millis() >= 500),
    ))
}

fn duration(name: &str, field: &str, text: Option<&str>) -> Result<Option<Duration>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    match seconds(text) {
        Some(value) => Ok(Some(value).filter(|value| !value.is_zero())),
        None => Err(bad_field(name, field, text)),
    }
}
