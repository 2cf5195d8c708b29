//! From an intent to a speaker's configuration.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bgp::{
    Action, Config, Family, Filter, GracefulRestart, Operation, Origin, PeerConfig, PrefixList,
    PrefixMatch, Rule,
};
use dataplane::Actual;
use intent::{ExportRule, Intent, NextHop, NodePath, Session};
use ipnet::IpNet;

use crate::Bfd;
use crate::session_filter::{community, filter};

/// LOCAL_PREF of what a node originates: Calico's bridge of kernel metric 1024, 2^31 - 1 - 1024 (calico-compat §6.4 a).
const LOCAL_PREF: u32 = 2_147_482_623;

/// What the speaker shall do. `restarting`: this node forwarded a moment ago.
pub(crate) fn speaker_config(
    intent: &Intent,
    router_id: Option<Ipv4Addr>,
    restarting: bool,
    actual: Option<&Actual>,
) -> Config {
    let node = intent.node.as_ref();
    let own_id = node.and_then(|node| node.ipv4).map(|net| net.addr());
    let id = router_id.or(own_id).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let asn = node.map_or(intent::DEFAULT_AS, |node| node.asn);
    let mut config = Config::new(asn.into(), id);
    config.restarting = restarting;
    if node.is_none() || id.is_unspecified() {
        return config;
    }
    config.listen = intent.bgp.listen.iter().copied().collect();
    let export = with_communities(export(&intent.bgp.export), &intent.bgp.communities);
    config.peers = intent
        .bgp
        .sessions
        .iter()
        .map(|session| peer(session, &export))
        .collect();
    let origin = |prefix: &IpNet| {
        let origin = Origin {
            local_pref: Some(LOCAL_PREF),
            interface: interface_of(intent, prefix),
            ..Origin::default()
        };
        (*prefix, origin)
    };
    config.origins = intent.bgp.origins.iter().map(origin).collect();
    if asks_interface(intent) {
        let addresses = actual.iter().flat_map(|actual| &actual.addresses);
        config.interfaces = addresses
            .map(|a| (a.address.trunc(), Arc::from(a.interface.as_str())))
            .collect();
    }
    config
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

fn peer(session: &Session, export: &Filter) -> PeerConfig {
    let mut peer = PeerConfig::new(&session.name, session.address, session.remote_as.into());
    peer.remote = SocketAddr::new(session.address, session.port);
    // As with Calico's two daemons: what a session carries is the family it runs over.
    peer.families = vec![if session.address.is_ipv4() {
        Family::Ipv4
    } else {
        Family::Ipv6
    }];
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
    if !session.filters.import.is_empty() {
        peer.import = filter(&session.filters.import, &Filter::accept_all());
    }
    peer.export = if session.filters.export.is_empty() {
        export.clone()
    } else {
        filter(&session.filters.export, export)
    };
    peer
}

/// Rules that accept also put communities on what lies in certain prefixes (calico-compat §6.4 f).
fn with_communities(filter: Filter, communities: &[(IpNet, Vec<intent::Community>)]) -> Filter {
    let within = |rule: &Rule| {
        let mut rules: Vec<Rule> = Vec::new();
        for (prefix, list) in communities {
            let apart =
                |set: PrefixMatch| !set.prefix.contains(prefix) && !prefix.contains(&set.prefix);
            if rule.action == Action::Accept && !rule.prefix.is_some_and(apart) {
                let set = PrefixList::new([PrefixMatch::within(*prefix)]);
                let add = list.iter().map(|c| Operation::AddCommunity(community(*c)));
                rules.push(Rule {
                    prefix_list: Some(Arc::new(set)),
                    operations: add.collect(),
                    ..rule.clone()
                });
            }
        }
        rules.push(rule.clone());
        rules
    };
    Filter {
        rules: filter.rules.iter().flat_map(within).collect(),
        ..filter
    }
}

fn export(rules: &[ExportRule]) -> Filter {
    let rule = Rule::of_prefix;
    let rules = rules.iter().flat_map(|wanted| match wanted {
        ExportRule::WithheldPool(pool) => vec![rule(PrefixMatch::within(*pool), Action::Reject)],
        ExportRule::OwnBlock(block) => vec![
            rule(PrefixMatch::exact(*block), Action::Accept),
            rule(PrefixMatch::within(*block), Action::Reject),
        ],
        ExportRule::ServiceRange(range) => vec![rule(PrefixMatch::exact(*range), Action::Accept)],
        ExportRule::Pool(pool) => vec![rule(PrefixMatch::within(*pool), Action::Accept)],
    });
    Filter {
        rules: rules.collect(),
        otherwise: Action::Reject,
    }
}
