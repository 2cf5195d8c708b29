//! From an intent to a speaker's configuration.

use std::net::{Ipv4Addr, SocketAddr};

use bgp::{Action, Config, Family, Filter, GracefulRestart, Origin, PeerConfig, PrefixMatch, Rule};
use intent::{ExportRule, Intent, NextHop, Session};

/// LOCAL_PREF of what a node originates: Calico's bridge of kernel metric 1024, 2^31 - 1 - 1024 (calico-compat §6.4 a).
const LOCAL_PREF: u32 = 2_147_482_623;

/// What the speaker shall do. `restarting`: this node forwarded a moment ago.
pub(crate) fn speaker_config(
    intent: &Intent,
    router_id: Option<Ipv4Addr>,
    restarting: bool,
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
    let export = export(&intent.bgp.export);
    config.peers = intent
        .bgp
        .sessions
        .iter()
        .map(|session| peer(session, &export))
        .collect();
    let origin = Origin {
        local_pref: Some(LOCAL_PREF),
        ..Origin::default()
    };
    config.origins = intent
        .bgp
        .origins
        .iter()
        .map(|prefix| (*prefix, origin.clone()))
        .collect();
    config
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
    peer.export = export.clone();
    peer
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
