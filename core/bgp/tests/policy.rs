//! Filters that look at attributes and change them, and filters that change while routes stand.
#![allow(missing_docs)]

mod world;

use bgp::{
    Action, AsPathMatch, Community, CommunityKind, CommunityMatch, Filter, InterfaceMatch,
    NextHopMode, Operation, Origin, PathStanding, PeerType, PrefixList, PrefixMatch, Rule,
};
use std::net::IpAddr;
use std::sync::Arc;
use world::{AS, World, addr, config, net, peer};

const MANY: u32 = 10_000;

fn nth(i: u32) -> ipnet::IpNet {
    net(&format!("10.{}.{}.0/24", i / 250, i % 250))
}

fn community(text: &str) -> Community {
    text.parse().expect("a community")
}

fn pattern(text: &str) -> CommunityMatch {
    text.parse().expect("a pattern")
}

fn rules(rules: Vec<Rule>) -> Filter {
    Filter {
        rules,
        otherwise: Action::Accept,
    }
}

fn reject(prefix: ipnet::IpNet) -> Rule {
    Rule::of_prefix(PrefixMatch::exact(prefix), Action::Reject)
}

/// A line of speakers, each in an AS of its own: 64512, 64513 and so on.
fn line(count: usize) -> World {
    let mut configs: Vec<bgp::Config> = (0..count).map(|n| config(n, AS + n as u32)).collect();
    for left in 0..count - 1 {
        let (a, b) = (left, left + 1);
        configs[a].peers.push(peer(a, b, AS + b as u32));
        configs[b].peers.push(peer(b, a, AS + a as u32));
    }
    World::new(configs, 7)
}

fn change(world: &mut World, node: usize, edit: impl FnOnce(&mut bgp::Config)) {
    let mut config = world.speaker(node).config().clone();
    edit(&mut config);
    world.configure(node, config);
    world.seconds(2);
}

fn updates(world: &mut World, node: usize, from: usize) -> u64 {
    world.status(node, from).counters.updates_in
}

/// A filter that concerns one of ten thousand routes sends one route, whatever it does to it.
#[test]
fn only_what_differs_is_told() {
    let mut world = line(3);
    change(&mut world, 0, |config| {
        for i in 0..MANY {
            config.origins.insert(nth(i), Origin::default());
        }
    });
    world.seconds(5);
    assert_eq!(world.nodes[2].routes.len(), MANY as usize);
    let mut counts = (updates(&mut world, 1, 0), updates(&mut world, 2, 1));
    assert!(counts.0 > 1, "the control: the counter counts");
    let one = nth(4711);
    let tagged = Rule {
        operations: vec![Operation::AddCommunity(community("64512:7"))],
        ..Rule::of_prefix(PrefixMatch::exact(one), Action::Accept)
    };
    let other_tag = Rule {
        operations: vec![Operation::AddCommunity(community("64512:8"))],
        ..tagged.clone()
    };
    let idle = Rule {
        communities: vec![pattern("1:2:3")],
        action: Action::Reject,
        ..Rule::default()
    };
    let steps: [(Filter, u64, usize); 6] = [
        (rules(vec![reject(one)]), 1, 1),
        (rules(vec![tagged.clone()]), 1, 0),
        (rules(vec![idle.clone(), tagged]), 0, 0),
        (rules(vec![idle, other_tag]), 1, 0),
        (Filter::accept_all(), 1, 0),
        (rules(vec![reject(net("11.0.0.0/8"))]), 0, 0),
    ];
    // On export, seen by the peer; then on import, seen by the peer behind.
    for (at, next) in [(0, 1), (1, 2)] {
        for (step, (filter, expected, missing)) in steps.iter().enumerate() {
            let since = world.status(next, at).since;
            change(&mut world, at, |config| {
                if at == 0 {
                    config.peers[0].export = filter.clone();
                } else {
                    config.peers[0].import = filter.clone();
                }
            });
            let now = (updates(&mut world, 1, 0), updates(&mut world, 2, 1));
            let sent = if at == 0 {
                now.0 - counts.0
            } else {
                now.1 - counts.1
            };
            assert_eq!(sent, *expected, "node {at}, step {step}");
            counts = now;
            assert_eq!(world.nodes[2].routes.len(), MANY as usize - missing);
            assert_eq!(world.status(next, at).since, since, "no flap");
        }
    }
    // Import changed nothing between nodes 0 and 1: nobody was asked to send again.
    assert_eq!(updates(&mut world, 1, 0), counts.0);
    world.check_reports();
}

/// What import made of a route is undone without the peer.
#[test]
fn import_changes_and_keeps_what_was_received() {
    let mut world = line(2);
    change(&mut world, 0, |config| {
        let origin = Origin {
            communities: vec![AS << 16 | 1, AS << 16 | 2],
            med: Some(5),
            ..Origin::default()
        };
        config.origins.insert(net("10.200.0.0/26"), origin);
    });
    world.seconds(5);
    let before = world.best(1, "10.200.0.0/26").expect("a path");
    let sent = updates(&mut world, 1, 0);
    let operations = vec![
        Operation::ClearCommunities(CommunityKind::Standard),
        Operation::AddCommunity(community("64513:9")),
        Operation::AddCommunity(community("64513:9:9")),
        Operation::AddCommunity(community("rt:64513:9")),
        Operation::SetLocalPref(200),
        Operation::SetMed(50),
        Operation::PrependAsPath(vec![65001, 65002]),
        Operation::SetNextHop(IpAddr::from([10, 0, 0, 99])),
    ];
    let rule = Rule {
        communities: vec![pattern("64512:2")],
        operations,
        ..Rule::default()
    };
    for _ in 0..2 {
        change(&mut world, 1, |config| {
            config.peers[0].import = rules(vec![rule.clone()]);
        });
        let changed = world.best(1, "10.200.0.0/26").expect("a path");
        assert_eq!(changed.communities, ["64513:9", "rt:64513:9", "64513:9:9"]);
        assert_eq!((changed.local_pref, changed.med), (200, Some(50)));
        assert_eq!(changed.as_path, "65001 65002 64512");
        let hop = changed.next_hop.map(|hop| hop.address);
        assert_eq!(hop, Some(IpAddr::from([10, 0, 0, 99])));
        change(&mut world, 1, |config| {
            config.peers[0].import = Filter::accept_all();
        });
        assert_eq!(world.best(1, "10.200.0.0/26").expect("a path"), before);
    }
    assert_eq!(updates(&mut world, 1, 0), sent, "the peer was not asked");
    world.check_reports();
}

/// Conditions on what came, and on the session, at import.
#[test]
fn import_conditions_and_the_rule_that_rejects() {
    let mut world = line(3);
    change(&mut world, 0, |config| {
        for (prefix, value) in [("10.200.0.0/26", 1), ("10.200.0.64/26", 2)] {
            let origin = Origin {
                communities: vec![AS << 16 | value],
                ..Origin::default()
            };
            config.origins.insert(net(prefix), origin);
        }
    });
    world.seconds(5);
    let mut check = |rule: Rule, first: bool, second: bool| {
        change(&mut world, 2, |config| {
            let never = reject(net("0.0.0.0/0"));
            config.peers[0].import = rules(vec![never, rule.clone()]);
        });
        for (prefix, expected) in [("10.200.0.0/26", first), ("10.200.0.64/26", second)] {
            let path = world.speaker(2).explain(net(prefix)).paths.remove(0);
            assert_eq!(
                path.standing == PathStanding::Best,
                expected,
                "{prefix} {rule:?}"
            );
            if !expected {
                assert_eq!(path.standing, PathStanding::Lost("import-filter"));
                assert_eq!(path.rule.as_deref(), Some("rule 2"));
            }
        }
    };
    let rejects = || Rule {
        action: Action::Reject,
        ..Rule::default()
    };
    let with_path = |as_path| Rule {
        as_path: Some(as_path),
        ..rejects()
    };
    check(
        Rule {
            communities: vec![pattern("64512:1")],
            ..rejects()
        },
        false,
        true,
    );
    for (prefix, passes) in [(vec![64513, 64512], false), (vec![64512], true)] {
        let as_path = AsPathMatch {
            prefix,
            ..AsPathMatch::default()
        };
        check(with_path(as_path), passes, passes);
    }
    for (most, passes) in [(2, false), (1, true)] {
        let as_path = AsPathMatch {
            max_length: Some(most),
            ..AsPathMatch::default()
        };
        check(with_path(as_path), passes, passes);
    }
    for (kind, passes) in [(PeerType::External, false), (PeerType::Internal, true)] {
        check(
            Rule {
                peer_type: Some(kind),
                ..rejects()
            },
            passes,
            passes,
        );
    }
}

/// The interface of the next hop, and what follows when the driver says another one.
#[test]
fn interfaces_count_and_may_change() {
    let mut world = line(2);
    change(&mut world, 0, |config| {
        let local = |name: &str| Origin {
            interface: Some(name.into()),
            ..Origin::default()
        };
        config.origins.insert(net("10.200.0.1/32"), local("cali1"));
        config.origins.insert(net("10.200.0.2/32"), local("eth0"));
        config.peers[0].export = rules(vec![Rule {
            interface: Some(InterfaceMatch::new("cali*")),
            action: Action::Reject,
            ..Rule::default()
        }]);
    });
    world.seconds(5);
    let prefixes = |world: &World| world.nodes[1].routes.keys().copied().collect::<Vec<_>>();
    assert_eq!(prefixes(&world), [net("10.200.0.2/32")]);
    change(&mut world, 0, |config| {
        for origin in config.origins.values_mut() {
            origin.interface = Some("cali2".into());
        }
    });
    assert!(prefixes(&world).is_empty());
    change(&mut world, 0, |config| {
        config.peers[0].export = Filter::accept_all();
    });
    assert_eq!(prefixes(&world).len(), 2);
    // On import: the interface that leads to the peer.
    let rule = Rule {
        interface: Some(InterfaceMatch::new("eth1")),
        action: Action::Reject,
        ..Rule::default()
    };
    for (name, count) in [("eth1", 0), ("eth0", 2), ("eth1", 0)] {
        change(&mut world, 1, |config| {
            config.peers[0].import = rules(vec![rule.clone()]);
            let network = ipnet::IpNet::new(addr(0), 24).expect("a length").trunc();
            config.interfaces.insert(network, name.into());
        });
        assert_eq!(prefixes(&world).len(), count, "{name}");
    }
    world.check_reports();
}

/// On export: before the AS that eBGP prepends, and MED that eBGP would leave out.
#[test]
fn export_changes_are_seen_by_the_peer() {
    let mut world = line(3);
    change(&mut world, 0, |config| {
        config
            .origins
            .insert(net("10.200.0.0/26"), Origin::default());
    });
    change(&mut world, 1, |config| {
        let rule = Rule {
            as_path: Some(AsPathMatch {
                prefix: vec![64512],
                ..AsPathMatch::default()
            }),
            operations: vec![
                Operation::PrependAsPath(vec![65001, 65001]),
                Operation::SetMed(7),
                Operation::SetNextHop(IpAddr::from([10, 0, 0, 77])),
                Operation::AddCommunity(community("no-export")),
            ],
            ..Rule::default()
        };
        config.peers[1].export = rules(vec![rule]);
    });
    world.seconds(5);
    let path = world.best(2, "10.200.0.0/26").expect("a path");
    assert_eq!(path.as_path, "64513 65001 65001 64512");
    assert_eq!(path.med, Some(7));
    assert_eq!(path.communities, ["65535:65281"]);
    let hop = path.next_hop.map(|hop| hop.address);
    assert_eq!(hop, Some(IpAddr::from([10, 0, 0, 77])));
    change(&mut world, 1, |config| {
        config.peers[1].export = Filter::accept_all();
    });
    let path = world.best(2, "10.200.0.0/26").expect("a path");
    assert_eq!(path.as_path, "64513 64512");
    assert_eq!(path.med, None, "the control");
    assert!(path.communities.is_empty());
}

/// A peer that reads nothing for a while, told half of a table under one policy, then of another and
/// of other routes: in the end it has what it should have.
#[test]
fn changes_amid_a_dump() {
    const COUNT: u32 = 120_000;
    let prefix = |i: u32| {
        net(&format!(
            "{}.{}.{}.0/24",
            20 + i / 62_500,
            i / 250 % 250,
            i % 250
        ))
    };
    // Each has its own attributes, so that the queue is long.
    let origin = |i: u32| Origin {
        communities: vec![i, i + 1, i + 2, i + 3],
        ..Origin::default()
    };
    let filter = |rejected: &[u32]| {
        let list = rejected.iter().map(|i| PrefixMatch::exact(prefix(*i)));
        let reject = Rule {
            prefix_list: Some(Arc::new(PrefixList::new(list))),
            action: Action::Reject,
            ..Rule::default()
        };
        let tag = Rule {
            operations: vec![Operation::AddCommunity(community("3:3"))],
            ..Rule::default()
        };
        rules(vec![reject, tag])
    };
    let mut world = line(2);
    let mut config = world.speaker(0).config().clone();
    config
        .origins
        .extend((0..COUNT).map(|i| (prefix(i), origin(i))));
    world.configure(0, config.clone());
    world.seconds(5);
    world.nodes[1].deaf = true;
    // The second and the third filter say the same of nearly all routes, but half of them were told
    // under none of the three.
    let gone: Vec<u32> = (9..COUNT).step_by(4_999).collect();
    for (step, rejected) in [&[][..], &[4711], &gone].iter().enumerate() {
        config.peers[0].export = filter(rejected);
        // Some go, some come, some change.
        for i in (step as u32..COUNT).step_by(5_003) {
            config.origins.remove(&prefix(i));
            config.origins.insert(prefix(COUNT + i), origin(i));
            config.origins.insert(prefix(COUNT - 1 - i), origin(7));
        }
        world.configure(0, config.clone());
        world.seconds(1);
    }
    // What the last filter rejects goes before anybody was told that it is rejected.
    for i in &gone {
        config.origins.remove(&prefix(*i));
    }
    world.configure(0, config.clone());
    world.seconds(1);
    let sent = world.status(0, 1).counters.bytes_out;
    world.nodes[1].deaf = false;
    world.seconds(20);
    let more = world.status(0, 1).counters.bytes_out - sent;
    assert!(more > 4 << 20, "the control: dumps were cut short, {more}");
    assert_eq!(world.nodes[1].routes.len(), config.origins.len());
    for i in (0..2 * COUNT).step_by(97).chain(gone) {
        let path = world.best(1, &prefix(i).to_string());
        let wanted = config.origins.contains_key(&prefix(i));
        assert_eq!(path.is_some(), wanted, "{i}");
        let tagged = |path: bgp::PathInfo| path.communities.contains(&"3:3".to_owned());
        assert!(path.is_none_or(tagged), "{i}");
    }
    world.check_reports();
}

fn random_rule(draw: &mut impl FnMut(u64) -> u64) -> Rule {
    let mut rule = Rule::default();
    match draw(4) {
        0 => rule.prefix = Some(PrefixMatch::exact(net(&format!("10.200.{}.0/24", draw(8))))),
        1 => rule.prefix = Some(PrefixMatch::within(net("10.200.0.0/22"))),
        _ => {}
    }
    match draw(5) {
        0 => rule.communities = vec![pattern(&format!("64512:{}", draw(3)))],
        1 => rule.local_pref = Some(100 + draw(3) as u32),
        2 => {
            rule.as_path = Some(AsPathMatch {
                contains: Some(65000 + draw(3) as u32),
                ..AsPathMatch::default()
            });
        }
        _ => {}
    }
    if draw(3) == 0 {
        rule.action = Action::Reject;
        return rule;
    }
    for _ in 0..draw(3) {
        rule.operations.push(match draw(5) {
            0 => Operation::AddCommunity(community(&format!("64512:{}", draw(3)))),
            1 => Operation::RemoveCommunities(pattern("64512:*")),
            2 => Operation::SetLocalPref(100 + draw(3) as u32),
            3 => Operation::PrependAsPath(vec![65000 + draw(3) as u32]),
            _ => Operation::SetMed(draw(3) as u32),
        });
    }
    rule
}

/// Whatever filters were there before, in whatever order things happened: in the end each node
/// holds what it would hold had all sessions begun under the last configuration.
#[test]
fn changed_filters_end_where_a_fresh_start_does() {
    for seed in 1..=40u64 {
        let mut state = seed;
        let mut draw = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        // Two clients with routes, a reflector, two clients that listen.
        let mut configs = world::star(4);
        let mut live = World::new(configs.clone(), seed);
        live.seconds(5);
        for _ in 0..40 {
            match draw(6) {
                0..=2 => {
                    let client = 1 + draw(2) as usize;
                    let prefix = net(&format!("10.200.{}.0/24", draw(8)));
                    let origin = Origin {
                        local_pref: Some(100 + client as u32),
                        communities: vec![AS << 16 | draw(3) as u32],
                        ..Origin::default()
                    };
                    if draw(3) == 0 {
                        configs[client].origins.remove(&prefix);
                    } else {
                        configs[client].origins.insert(prefix, origin);
                    }
                    live.configure(client, configs[client].clone());
                }
                3 | 4 => {
                    let count = draw(4);
                    let filter = rules((0..count).map(|_| random_rule(&mut draw)).collect());
                    let peer = &mut configs[0].peers[draw(4) as usize];
                    if draw(2) == 0 {
                        peer.import = filter;
                    } else {
                        peer.export = filter;
                    }
                    if draw(4) == 0 {
                        peer.next_hop = NextHopMode::SelfAddress;
                    }
                    live.configure(0, configs[0].clone());
                }
                _ => live.run(std::time::Duration::from_millis(draw(200))),
            }
            if draw(2) == 0 {
                live.settle();
            }
        }
        live.seconds(10);
        let mut fresh = World::new(configs, seed);
        fresh.seconds(20);
        for node in 0..5 {
            for prefix in (0..8).map(|n| format!("10.200.{n}.0/24")) {
                let paths = |world: &mut World| {
                    let mut paths = world.speaker(node).explain(net(&prefix)).paths;
                    paths.sort_by_key(|path| path.peer.clone());
                    paths
                };
                let (is, expected) = (paths(&mut live), paths(&mut fresh));
                assert_eq!(is, expected, "seed {seed}, node {node}, {prefix}");
            }
        }
        live.check_reports();
    }
}
