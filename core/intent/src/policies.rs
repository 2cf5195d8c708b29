//! PeerPolicies: what sessions may bring and how many they are, beyond what Calico has words for (docs/howto/peers.md).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;
use resource::Selector;
use resource::kinds::{
    MaxPrefixes, OverLimit, PeerImports, PeerPolicy, Permission, SessionFamilies,
};

use crate::cluster::{Cluster, NodeView};
use crate::filter::{FilterRule, Prefixes};
use crate::peer_rule::seconds;
use crate::sessions::Session;
use crate::{Reason, Refusal, Resources, SecretKey};

/// What a peer may bring of what is the cluster's; all else it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Imports {
    /// Prefixes in pools.
    pub pods: bool,
    /// Prefixes in ranges of service addresses.
    pub services: bool,
    /// Default routes.
    pub default_route: bool,
    /// Somebody said so; else it is how Calico does it.
    pub chosen: bool,
}

impl Imports {
    /// As Calico: everything.
    pub const ALL: Imports = Imports {
        pods: true,
        services: true,
        default_route: true,
        chosen: false,
    };
    /// For who is not named by any BGPPeer.
    pub const NONE: Imports = Imports {
        pods: false,
        services: false,
        default_route: false,
        chosen: true,
    };

    fn with(self, wanted: Option<PeerImports>) -> Imports {
        let Some(wanted) = wanted else { return self };
        let allowed = |wanted: Option<Permission>, otherwise| match wanted {
            Some(Permission::Allow) => true,
            Some(Permission::Deny) => false,
            None => otherwise,
        };
        Imports {
            pods: allowed(wanted.pods, self.pods),
            services: allowed(wanted.services, self.services),
            default_route: allowed(wanted.default_route, self.default_route),
            chosen: true,
        }
    }
}

/// How many prefixes of each family a peer may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixLimit {
    /// So many.
    pub limit: u32,
    /// A warning at so many hundredths; 0 for none.
    pub warning_percent: u8,
    /// What is done when there are more.
    pub over: Over,
}

/// What is done about more prefixes than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Over {
    /// The session stays, and what is more does not count.
    Discard,
    /// The session ends, and is tried again as after any error.
    End,
    /// The session ends, and is tried again after this time.
    Restart(Duration),
}

impl PrefixLimit {
    /// For BGPPeers that are no nodes, where nobody says anything: twice the Internet's table of 2026, a warning at one,
    /// and the session is never ended for it.
    pub const OUTSIDE: PrefixLimit = PrefixLimit {
        limit: 2_000_000,
        warning_percent: 50,
        over: Over::Discard,
    };
    /// For dynamic neighbours.
    pub const DYNAMIC: PrefixLimit = PrefixLimit {
        limit: 10_000,
        warning_percent: 80,
        over: Over::Discard,
    };

    fn read(wanted: &MaxPrefixes) -> PrefixLimit {
        const FIVE_MINUTES: Duration = Duration::from_secs(300);
        let wait = wanted.restart_time.as_deref().and_then(seconds);
        PrefixLimit {
            limit: wanted.limit,
            warning_percent: wanted.warning_percent.unwrap_or(80),
            over: match wanted.action {
                None | Some(OverLimit::Discard) => Over::Discard,
                Some(OverLimit::End) => Over::End,
                Some(OverLimit::Restart) => Over::Restart(wait.unwrap_or(FIVE_MINUTES)),
            },
        }
    }
}

/// Neighbours that need no BGPPeer each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicNeighbours {
    /// The resource, for people: `PeerPolicy(vms)`.
    pub because: String,
    /// Where they connect from.
    pub range: IpNet,
    /// Their AS.
    pub remote_as: u32,
    /// Our AS.
    pub local_as: u32,
    /// How many at a time.
    pub limit: u32,
    /// The address of ours that they connect to.
    pub source: IpAddr,
    /// Those of our AS are reflection clients in this cluster.
    pub rr_client: Option<Ipv4Addr>,
    /// Where the password is.
    pub password: Option<SecretKey>,
    /// What they may bring.
    pub imports: Imports,
    /// How many prefixes.
    pub max_prefixes: PrefixLimit,
}

/// Puts PeerPolicies on the sessions of `me`. Of two for one session the first by name counts.
pub(crate) fn apply(
    resources: &Resources,
    cluster: &Cluster,
    me: &NodeView,
    sessions: &mut Vec<Session>,
    refusals: &mut Vec<Refusal>,
) {
    let policies = of_node(resources, me, refusals);
    let mut together = BTreeSet::new();
    for session in sessions.iter_mut() {
        if session.node.is_none() {
            session.max_prefixes = Some(PrefixLimit::OUTSIDE);
        }
        let mut those = policies.iter().filter(|policy| is_for(policy, session));
        let Some(policy) = those.next() else { continue };
        for other in those {
            let at = format!("PeerPolicy({})", other.metadata.name);
            let what = format!(
                "PeerPolicy({}) is for the session {} too and comes first by name",
                policy.metadata.name, session.name
            );
            refusals.push(Refusal::new(Reason::PeerPolicyShadowed, at, what));
        }
        session.imports = session.imports.with(policy.spec.imports);
        if let Some(limit) = &policy.spec.max_prefixes {
            session.max_prefixes = Some(PrefixLimit::read(limit));
        }
        if policy.spec.families == Some(SessionFamilies::Together) {
            together.insert(session.name.clone());
        }
    }
    join_families(cluster, me, sessions, &together);
}

/// The dynamic neighbours of `me`, by range.
pub(crate) fn dynamic(
    resources: &Resources,
    me: &NodeView,
    refusals: &mut Vec<Refusal>,
) -> Vec<DynamicNeighbours> {
    let mut all: Vec<DynamicNeighbours> = Vec::new();
    for policy in of_node(resources, me, refusals) {
        let because = format!("PeerPolicy({})", policy.metadata.name);
        for (neighbours, number) in policy.spec.dynamic_neighbors.iter().zip(1..) {
            let at = format!("{because} spec.dynamicNeighbors entry {number}");
            let mut refuse = |reason, what: String| refusals.push(Refusal::new(reason, &at, what));
            let Some(range) = crate::parse_address(&neighbours.cidr).map(|net| net.trunc()) else {
                let what = format!("'{}' is no CIDR", neighbours.cidr);
                refuse(Reason::PeerPolicyInvalid, what);
                continue;
            };
            let Some(remote_as) = neighbours.as_number.filter(|asn| *asn != 0) else {
                refuse(Reason::PeerPolicyInvalid, "it has no asNumber".to_string());
                continue;
            };
            let password = match SecretKey::read(neighbours.password.as_ref()) {
                Ok(password) => password,
                Err(what) => {
                    refuse(Reason::PasswordInvalid, what.to_string());
                    continue;
                }
            };
            let Some(source) = me.address_like(range.addr()) else {
                let what = format!("Node({}) has no address of that family", me.name);
                refuse(Reason::FamilyWithoutAddress, what);
                continue;
            };
            if let Some(first) = all.iter().find(|other| other.range == range) {
                let what = format!("{} has {range} already", first.because);
                refuse(Reason::PeerPolicyShadowed, what);
                continue;
            }
            let limit = policy.spec.max_prefixes.as_ref();
            all.push(DynamicNeighbours {
                because: because.clone(),
                range,
                remote_as,
                local_as: me.asn,
                limit: neighbours.limit.unwrap_or(100),
                source,
                rr_client: me.cluster_id.filter(|_| remote_as == me.asn),
                password,
                imports: Imports::NONE.with(policy.spec.imports),
                max_prefixes: limit.map_or(PrefixLimit::DYNAMIC, PrefixLimit::read),
            });
        }
    }
    // The first range that holds an address counts: the narrowest.
    all.sort_by_key(|one| (std::cmp::Reverse(one.range.prefix_len()), one.range));
    all
}

/// The policies for a node, by name.
fn of_node<'r>(
    resources: &'r Resources,
    me: &NodeView,
    refusals: &mut Vec<Refusal>,
) -> Vec<&'r PeerPolicy> {
    let mut policies = Vec::new();
    for policy in resources.peer_policies.values() {
        let text = &policy.spec.node_selector;
        match Selector::parse(text) {
            Ok(selector) if text.is_empty() || selector.matches(&me.labels) => {
                policies.push(policy);
            }
            Ok(_) => {}
            Err(error) => {
                let at = format!("PeerPolicy({}) spec.nodeSelector", policy.metadata.name);
                let what = format!("'{text}': {error}");
                refusals.push(Refusal::new(Reason::SelectorInvalid, at, what));
            }
        }
    }
    policies
}

fn is_for(policy: &PeerPolicy, session: &Session) -> bool {
    match &session.bgp_peer {
        None => policy.spec.mesh,
        Some(name) => policy.spec.bgp_peers.iter().any(|n| n == name || n == "*"),
    }
}

/// Makes one session of two with the same node, where that is wanted of both.
fn join_families(
    cluster: &Cluster,
    me: &NodeView,
    sessions: &mut Vec<Session>,
    together: &BTreeSet<String>,
) {
    let peer_of = |session: &Session| {
        let joined = session.node.is_some() && together.contains(&session.name);
        joined.then(|| cluster.node_by_address(session.address))?
    };
    let Some(own) = me.ipv6.map(|net| net.addr()) else {
        return;
    };
    let mut gone = BTreeSet::new();
    for at in 0..sessions.len() {
        let session = &sessions[at];
        let Some(peer) = peer_of(session).filter(|_| session.address.is_ipv4()) else {
            continue;
        };
        let other = sessions.iter().find(|other| {
            other.address.is_ipv6()
                && other.because == session.because
                && peer_of(other).is_some_and(|same| same.name == peer.name)
        });
        let Some(other) = other else { continue };
        gone.insert(other.name.clone());
        let ipv6 = other.filters.clone();
        let session = &mut sessions[at];
        session.with_ipv6 = Some(own);
        for (rules, more) in [
            (&mut session.filters.import, ipv6.import),
            (&mut session.filters.export, ipv6.export),
        ] {
            let own = std::mem::take(rules)
                .into_iter()
                .map(|rule| of_family(rule, true));
            *rules = own
                .chain(more.into_iter().map(|rule| of_family(rule, false)))
                .collect();
        }
    }
    sessions.retain(|session| !gone.contains(&session.name));
}

/// A rule that matched every prefix of its session's family still does, and no other.
fn of_family(rule: FilterRule, ipv4: bool) -> FilterRule {
    let (network, lengths): (&str, RangeInclusive<u8>) = if ipv4 {
        ("0.0.0.0/0", 0..=32)
    } else {
        ("::/0", 0..=128)
    };
    let whole = || Prefixes {
        network: network.parse().expect("a prefix"),
        lengths,
        negate: false,
    };
    FilterRule {
        prefixes: rule.prefixes.clone().or_else(|| Some(whole())),
        ..rule
    }
}
