//! Random networks: autonomous systems inside which routes go by a full mesh or by reflectors,
//! and sessions between them.

use crate::random::Random;
use bgp::{Action, Config, Filter, GracefulRestart, NextHopMode, Origin, PeerConfig, PrefixMatch};
use bgp::{Family, LongLived, RangeConfig, Rule, Source};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Where a node is.
pub fn address(node: usize) -> IpAddr {
    IpAddr::from([10, 0, (node / 250) as u8, (node % 250 + 1) as u8])
}

/// The node at an address.
pub fn node_at(ip: IpAddr) -> Option<usize> {
    match ip {
        IpAddr::V4(ip) => {
            let [_, _, high, low] = ip.octets();
            (usize::from(high) * 250 + usize::from(low)).checked_sub(1)
        }
        IpAddr::V6(_) => None,
    }
}

/// The name that peers give a node.
pub fn name(node: usize) -> String {
    format!("n{node}")
}

/// A prefix of the small set that all nodes draw from, so that they compete.
pub fn prefix(random: &mut Random) -> IpNet {
    let i = random.below(16) as u8;
    let text = match i {
        0..=9 => format!("10.{}.0.0/{}", 100 + i / 2, 16 + i),
        10 => "0.0.0.0/0".into(),
        11 => "10.100.7.7/32".into(),
        _ => format!("fd00:{i}::/{}", 40 + i),
    };
    text.parse().expect("a prefix")
}

/// Attributes of an own route.
pub fn origin(random: &mut Random, prefix: IpNet) -> Origin {
    let far = match prefix {
        IpNet::V4(_) => IpAddr::from([10, 99, 0, random.below(3) as u8 + 1]),
        IpNet::V6(_) => IpAddr::from([0xfd99, 0, 0, 0, 0, 0, 0, random.below(3) as u16 + 1]),
    };
    let community = [
        0xffff_ff01,
        0xffff_ff02,
        0xffff_ff03,
        // LLGR_STALE: as if it came from beyond.
        0xffff_0006,
        64512 << 16 | 7,
    ];
    Origin {
        local_pref: random.pick(&[None, None, None, Some(100), Some(50), Some(200)]),
        med: random.pick(&[None, None, Some(0), Some(10), Some(20)]),
        communities: if random.chance(25) {
            vec![random.pick(&community)]
        } else {
            Vec::new()
        },
        large_communities: if random.chance(10) {
            vec![[1, 2, 3]]
        } else {
            Vec::new()
        },
        next_hop: random.chance(15).then_some(far),
        ..Origin::default()
    }
}

/// Long-lived graceful restart, or none.
pub fn long_lived(random: &mut Random) -> Option<LongLived> {
    random.chance(50).then(|| LongLived {
        stale_times: Family::ALL
            .map(|family| (family, Duration::from_secs(random.pick(&[0, 5, 20, 40]))))
            .into(),
        limit: random.chance(20).then_some(Duration::from_secs(10)),
    })
}

/// A filter: mostly none.
pub fn filter(random: &mut Random) -> Filter {
    if random.chance(70) {
        return Filter::accept_all();
    }
    let mut rules = Vec::new();
    for _ in 0..=random.below(2) {
        let chosen = prefix(random);
        let set = if random.chance(50) {
            PrefixMatch::exact(chosen)
        } else {
            PrefixMatch::within(chosen)
        };
        rules.push(Rule {
            prefix: Some(set),
            source: random.pick(&[None, None, Some(Source::Local), Some(Source::Peers)]),
            action: random.pick(&[Action::Accept, Action::Reject, Action::Reject]),
            ..Rule::default()
        });
    }
    Filter {
        rules,
        otherwise: random.pick(&[Action::Accept, Action::Accept, Action::Reject]),
    }
}

fn entry(random: &mut Random, own: usize, other: usize, asn: u32) -> PeerConfig {
    let mut peer = PeerConfig::new(name(other), address(other), asn.into());
    let own_next_hop = IpAddr::from([0xfd01, 0, 0, 0, 0, 0, 0, own as u16 + 1]);
    peer.own_next_hop = random.chance(85).then_some(own_next_hop);
    peer.hold_time = Duration::from_secs(random.pick(&[9, 30, 90, 90]));
    peer.families = match random.below(8) {
        0 => vec![Family::Ipv4],
        1 => vec![Family::Ipv6, Family::Ipv4],
        _ => Family::ALL.to_vec(),
    };
    peer.graceful_restart = random.chance(75).then(|| GracefulRestart {
        restart_time: Duration::from_secs(random.pick(&[5, 20, 60])),
        stale_time: Duration::from_secs(random.pick(&[10, 60])),
    });
    peer.long_lived = long_lived(random);
    peer.long_lived_partial = random.chance(30);
    peer.connect_retry = Duration::from_secs(random.pick(&[1, 5]));
    peer.import = filter(random);
    peer.export = filter(random);
    if random.chance(10) {
        peer.next_hop = random.pick(&[NextHopMode::SelfAddress, NextHopMode::Keep]);
    }
    if random.chance(5) {
        peer.allow_own_as = 1;
    }
    peer
}

/// Adds a session between two nodes; `a` may be a reflector and `b` its client.
fn join(
    random: &mut Random,
    configs: &mut [Config],
    (a, b): (usize, usize),
    client: Option<Ipv4Addr>,
) {
    let have =
        |config: &Config, other| config.peers.iter().any(|p| p.remote.ip() == address(other));
    if a == b || have(&configs[a], b) {
        return;
    }
    let (as_a, as_b) = (configs[a].local_as.0, configs[b].local_as.0);
    let mut at_a = entry(random, a, b, as_b);
    let mut at_b = entry(random, b, a, as_a);
    at_a.rr_client = client;
    match random.below(4) {
        0 => at_a.passive = true,
        1 => at_b.passive = true,
        _ => {}
    }
    configs[a].peers.push(at_a);
    configs[b].peers.push(at_b);
}

/// Inside an AS: a mesh, or one or more reflectors, perhaps with reflectors of their own above.
fn inside(random: &mut Random, configs: &mut [Config], nodes: &[usize]) {
    let pairs = |nodes: &[usize]| -> Vec<(usize, usize)> {
        let of =
            |(i, a): (usize, &usize)| nodes[i + 1..].iter().map(|b| (*a, *b)).collect::<Vec<_>>();
        nodes.iter().enumerate().flat_map(of).collect()
    };
    let reflectors = (1 + random.below(3)).min(nodes.len());
    if nodes.len() < 3 || random.chance(20) {
        for pair in pairs(nodes) {
            join(random, configs, pair, None);
        }
        return;
    }
    let (top, clients) = nodes.split_at(reflectors);
    let shared = Ipv4Addr::new(244, 0, 0, 1);
    let one_cluster = random.chance(50);
    let two_levels = reflectors == 3 && random.chance(60);
    let cluster = |r: usize| {
        if one_cluster {
            shared
        } else {
            Ipv4Addr::new(244, 0, 1, r as u8)
        }
    };
    if two_levels {
        join(random, configs, (top[0], top[1]), Some(cluster(top[0])));
        join(random, configs, (top[0], top[2]), Some(cluster(top[0])));
    } else {
        for pair in pairs(top) {
            join(random, configs, pair, None);
        }
    }
    let serving = if two_levels { &top[1..] } else { top };
    for client in clients {
        let mut mine = serving.to_vec();
        random.shuffle(&mut mine);
        mine.truncate(1 + random.below(2));
        for reflector in mine {
            let role = random.chance(90).then(|| cluster(reflector));
            join(random, configs, (reflector, *client), role);
        }
    }
    if random.chance(30) {
        take_clients_by_range(configs, serving[0], clients);
    }
}

/// One reflector takes its clients by a range instead of by name.
fn take_clients_by_range(configs: &mut [Config], reflector: usize, clients: &[usize]) {
    let is_client = |p: &PeerConfig| clients.iter().any(|c| p.remote.ip() == address(*c));
    let config = &mut configs[reflector];
    let Some(first) = config.peers.iter().find(|p| is_client(p)) else {
        return;
    };
    let mut template = first.clone();
    template.name = "range".into();
    (template.families, template.passive) = (Family::ALL.to_vec(), true);
    config.peers.retain(|p| !is_client(p));
    config.ranges.push(RangeConfig {
        prefix: "10.0.0.0/16".parse().expect("a prefix"),
        template,
        limit: 100,
    });
    for client in clients {
        for peer in &mut configs[*client].peers {
            if peer.remote.ip() == address(reflector) {
                peer.passive = false;
            }
        }
    }
}

/// A network of up to 14 nodes.
pub fn network(random: &mut Random) -> Vec<Config> {
    let systems = 1 + random.below(3);
    let mut members: Vec<Vec<usize>> = Vec::new();
    let mut configs: Vec<Config> = Vec::new();
    for system in 0..systems {
        let size = 1 + random.below(if systems == 1 { 10 } else { 5 });
        let mut nodes = Vec::new();
        for _ in 0..size {
            let node = configs.len();
            nodes.push(node);
            // Identifiers in another order than addresses.
            let id = Ipv4Addr::new(1, random.below(250) as u8, 1, node as u8);
            let mut config = Config::new((65000 + system as u32).into(), id);
            config.listen = vec![SocketAddr::new(address(node), 179)];
            config.selection_deferral = Duration::from_secs(20);
            configs.push(config);
        }
        members.push(nodes);
    }
    for nodes in &members {
        inside(random, &mut configs, nodes);
    }
    for (i, here) in members.iter().enumerate() {
        for there in &members[i + 1..] {
            for _ in 0..=random.below(2) {
                let pair = (random.pick(here), random.pick(there));
                join(random, &mut configs, pair, None);
            }
        }
    }
    for config in &mut configs {
        for _ in 0..random.below(4) {
            let prefix = prefix(random);
            let origin = origin(random, prefix);
            config.origins.insert(prefix, origin);
        }
    }
    configs
}
