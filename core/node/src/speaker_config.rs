//! From an intent to a speaker's configuration.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bgp::{
    AddPath, Authentication, AuthenticationRefusal, Config, Family, Filter, GracefulRestart,
    LimitAction, Origin, PeerConfig, RangeConfig, Secret,
};
use dataplane::Actual;
use intent::{DynamicNeighbours, Intent, NextHop, NodePath, Over, PrefixLimit, SecretKey, Session};
use ipnet::IpNet;

use crate::Bfd;
use crate::export_filter::{export_filter, tunnel_devices};
use crate::import_filter::{guard, import_filter};
use crate::learned::learned_origins;
use crate::session_filter::filter;

/// LOCAL_PREF of what a node originates: Calico's bridge of kernel metric 1024, 2^31 - 1 - 1024 (calico-compat §6.4 a).
pub(crate) const LOCAL_PREF: u32 = 2_147_482_623;
/// Calico: add-path is on, both ways, on all sessions (calico-compat §6.1).
const ADD_PATH: AddPath = AddPath {
    receive: true,
    send: true,
    limit: None,
};
/// What stands where a password belongs until [`SpeakerConfig::with_passwords`] puts it there: there is no session.
const NO_PASSWORD: Authentication =
    Authentication::Refused(AuthenticationRefusal::PasswordUnavailable);

/// What the speaker shall do, but for passwords: a node knows their names only.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeakerConfig {
    /// Sessions that need a password have none here, and so are not.
    pub config: Config,
    /// Where the passwords are.
    pub passwords: BTreeMap<PasswordFor, SecretKey>,
}

/// Whose password it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PasswordFor {
    /// The peer of this name.
    Peer(String),
    /// Dynamic neighbours.
    Range(IpNet),
}

/// The longest key of TCP-MD5 that the kernel takes, in octets (Linux, TCP_MD5SIG_MAXKEYLEN).
const LONGEST_PASSWORD: usize = 80;

impl SpeakerConfig {
    /// With the passwords that `read` knows. A session whose password it does not know stays without a connection, unless
    /// it may be absent: then the session has none.
    pub fn with_passwords(&self, mut read: impl FnMut(&SecretKey) -> Option<Vec<u8>>) -> Config {
        let mut config = self.config.clone();
        for (whose, key) in &self.passwords {
            let authentication = match read(key) {
                Some(word) if (1..=LONGEST_PASSWORD).contains(&word.len()) => {
                    Authentication::Md5(Secret::new(&word))
                }
                Some(_) => NO_PASSWORD,
                None if key.optional => Authentication::None,
                None => NO_PASSWORD,
            };
            let peer = match whose {
                PasswordFor::Peer(name) => config.peers.iter_mut().find(|p| p.name == *name),
                PasswordFor::Range(range) => {
                    let same = config.ranges.iter_mut().find(|r| r.prefix == *range);
                    same.map(|range| &mut range.template)
                }
            };
            if let Some(peer) = peer {
                peer.authentication = authentication;
            }
        }
        config
    }
}

/// What the speaker shall do. `restarting`: this node forwarded a moment ago.
pub(crate) fn speaker_config(
    intent: &Intent,
    router_id: Option<Ipv4Addr>,
    restarting: bool,
    actual: Option<&Actual>,
) -> SpeakerConfig {
    let node = intent.node.as_ref();
    let own_id = node.and_then(|node| node.ipv4).map(|net| net.addr());
    let id = router_id.or(own_id).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let asn = node.map_or(intent::DEFAULT_AS, |node| node.asn);
    let mut config = Config::new(asn.into(), id);
    config.restarting = restarting;
    let mut passwords = BTreeMap::new();
    if node.is_none() || id.is_unspecified() {
        return SpeakerConfig { config, passwords };
    }
    config.listen = intent.bgp.listen.iter().copied().collect();
    let tunnels = actual.map(tunnel_devices).unwrap_or_default();
    let export = export_filter(&intent.bgp, &tunnels);
    for session in &intent.bgp.sessions {
        config.peers.push(peer(intent, session, &export));
        if let Some(key) = &session.password {
            let name = session.name.clone();
            passwords.insert(PasswordFor::Peer(name), key.clone());
        }
    }
    for neighbours in &intent.bgp.dynamic {
        config.ranges.push(range(intent, neighbours, &export));
        if let Some(key) = &neighbours.password {
            passwords.insert(PasswordFor::Range(neighbours.range), key.clone());
        }
    }
    let origin = |prefix: &IpNet| {
        let origin = Origin {
            local_pref: Some(LOCAL_PREF),
            interface: interface_of(intent, prefix),
            ..Origin::default()
        };
        (*prefix, origin)
    };
    config.origins = intent.bgp.origins.iter().map(origin).collect();
    for (prefix, origin) in actual
        .iter()
        .flat_map(|actual| learned_origins(intent, actual))
    {
        config.origins.entry(prefix).or_insert(origin);
    }
    if asks_interface(intent) || !tunnels.is_empty() {
        let addresses = actual.iter().flat_map(|actual| &actual.addresses);
        config.interfaces = addresses
            .map(|a| (a.address.trunc(), Arc::from(a.interface.as_str())))
            .collect();
    }
    SpeakerConfig { config, passwords }
}

/// Lets BFD watch the paths to the nodes that there are sessions with. Two nodes of one LAN take each other for neighbours;
/// who is behind a router is several hops away (RFC 5883).
pub(crate) fn watch_nodes(config: &mut Config, intent: &Intent, bfd: Bfd) {
    for peer in &mut config.peers {
        let sessions = &intent.bgp.sessions;
        let session = sessions.iter().find(|session| session.name == peer.name);
        let path = session.and_then(|session| session.node);
        peer.bfd = path.map(|path| bgp::Bfd {
            interval: Duration::from_millis(u64::from(bfd.interval_ms)),
            multiplier: bfd.multiplier,
            multihop: path == NodePath::Routed,
            strict: None,
        });
    }
}

/// True when some BGPFilter in use asks for a route's interface.
pub(crate) fn asks_interface(intent: &Intent) -> bool {
    let filters = intent.bgp.sessions.iter().map(|session| &session.filters);
    filters
        .flat_map(|filters| filters.import.iter().chain(&filters.export))
        .any(|rule| rule.interface.is_some())
}

/// Where a borrowed address leads to; blocks and service ranges lead nowhere (Calico: blackhole routes).
fn interface_of(intent: &Intent, prefix: &IpNet) -> Option<Arc<str>> {
    if prefix.prefix_len() < prefix.max_prefix_len() {
        return None;
    }
    let mut workloads = intent.workloads.values();
    let workload = workloads.find(|workload| workload.addresses.contains(prefix))?;
    Some(Arc::from(workload.interface.as_str()))
}

fn peer(intent: &Intent, session: &Session, export: &Filter) -> PeerConfig {
    let mut peer = PeerConfig::new(&session.name, session.address, session.remote_as.into());
    peer.remote = SocketAddr::new(session.address, session.port);
    peer.families = match session.with_ipv6 {
        Some(_) => Family::ALL.to_vec(),
        // As with Calico's two daemons: what a session carries is the family it runs over.
        None => vec![family_of(session.address)],
    };
    peer.own_next_hop = session.with_ipv6.map(Into::into);
    peer.add_path = ADD_PATH;
    if session.password.is_some() {
        peer.authentication = NO_PASSWORD;
    }
    if let Some(limit) = &session.max_prefixes {
        limit_prefixes(&mut peer, limit);
    }
    peer.source = session.source;
    peer.local_as = Some(session.local_as.into());
    peer.allow_own_as = session.allow_own_as;
    peer.passive = session.passive;
    peer.rr_client = session.rr_client;
    peer.keepalive = session.keepalive;
    peer.next_hop = match session.next_hop {
        NextHop::Auto => bgp::NextHopMode::Auto,
        NextHop::SelfAddress => bgp::NextHopMode::SelfAddress,
        NextHop::Keep => bgp::NextHopMode::Keep,
    };
    if let Some(restart_time) = session.restart_time {
        peer.graceful_restart = Some(GracefulRestart {
            restart_time,
            ..GracefulRestart::default()
        });
    }
    if let Some(hops) = session.ttl_hops {
        // RFC 5082 §3: a packet that was forwarded by `hops - 1` routers has lost that much of 255.
        peer.ttl = 255;
        peer.min_ttl = Some(255 - (hops - 1));
    }
    peer.import = import_filter(intent, session.imports, &session.filters.import);
    peer.export = if session.filters.export.is_empty() {
        export.clone()
    } else {
        filter(&session.filters.export, export)
    };
    peer
}

fn family_of(address: std::net::IpAddr) -> Family {
    if address.is_ipv4() {
        Family::Ipv4
    } else {
        Family::Ipv6
    }
}

fn limit_prefixes(peer: &mut PeerConfig, limit: &PrefixLimit) {
    peer.max_prefixes = Some(limit.limit);
    peer.max_prefixes_warning = Some(limit.warning_percent).filter(|percent| *percent > 0);
    peer.max_prefixes_action = match limit.over {
        Over::Discard => LimitAction::Discard,
        Over::End => LimitAction::End,
        Over::Restart(wait) => LimitAction::Restart(wait),
    };
}

/// Calico's name for a session with somebody is `Node_` and the address; the speaker adds the address.
fn range(intent: &Intent, neighbours: &DynamicNeighbours, export: &Filter) -> RangeConfig {
    let network = neighbours.range.network();
    let mut template = PeerConfig::new("Node", network, neighbours.remote_as.into());
    template.families = vec![family_of(network)];
    template.source = Some(neighbours.source);
    template.local_as = Some(neighbours.local_as.into());
    template.rr_client = neighbours.rr_client;
    template.add_path = ADD_PATH;
    if neighbours.password.is_some() {
        template.authentication = NO_PASSWORD;
    }
    limit_prefixes(&mut template, &neighbours.max_prefixes);
    template.import = Filter {
        rules: guard(intent, neighbours.imports),
        ..Filter::accept_all()
    };
    template.export = export.clone();
    RangeConfig {
        prefix: neighbours.range,
        template,
        limit: neighbours.limit,
    }
}
