//! What speakers tell each other: reflection, moves between clients, restarts, slow readers.

mod world;

use bgp::{Action, Filter, Input, Origin, PathStanding, PeerState, PrefixMatch, Rule};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use world::{AS, World, addr, config, name, net, peer, star};

fn originate(world: &mut World, node: usize, prefix: &str, origin: Origin) {
    let mut config = world.speaker(node).config().clone();
    config.origins.insert(net(prefix), origin);
    world.configure(node, config);
}

fn unoriginate(world: &mut World, node: usize, prefix: &str) {
    let mut config = world.speaker(node).config().clone();
    config.origins.remove(&net(prefix));
    world.configure(node, config);
}

fn preferred(local_pref: u32) -> Origin {
    Origin {
        local_pref: Some(local_pref),
        ..Origin::default()
    }
}

#[test]
fn reflection_sets_originator_and_cluster() {
    let mut world = World::new(star(3), 1);
    originate(&mut world, 1, "10.200.0.0/26", Origin::default());
    originate(&mut world, 0, "10.210.0.0/24", Origin::default());
    world.seconds(5);
    let path = world.best(2, "10.200.0.0/26").expect("reflected");
    assert_eq!(path.originator_id, Some(Ipv4Addr::new(10, 0, 0, 2)));
    assert_eq!(path.cluster_list, vec![Ipv4Addr::new(244, 0, 0, 1)]);
    assert_eq!(path.next_hop.expect("a next hop").address, addr(1), "kept");
    let own = world.best(2, "10.210.0.0/24").expect("the reflector's own");
    assert_eq!((own.originator_id, own.cluster_list.len()), (None, 0));
    assert_eq!(
        world.holders(1, "10.200.0.0/26"),
        ["local"],
        "not back to its source"
    );
}

#[test]
fn without_the_client_flag_nothing_is_reflected() {
    let mut configs = star(3);
    for entry in &mut configs[0].peers {
        entry.rr_client = None;
    }
    let mut world = World::new(configs, 1);
    originate(&mut world, 1, "10.200.0.0/26", Origin::default());
    world.seconds(5);
    assert_eq!(world.holders(0, "10.200.0.0/26"), [name(1)]);
    assert!(world.holders(2, "10.200.0.0/26").is_empty());
}

/// Its queue passes the length at which it is parted from the others of its update group.
#[test]
fn a_client_that_reads_nothing_holds_nobody_up() {
    let mut world = World::new(star(4), 1);
    world.seconds(5);
    world.nodes[3].deaf = true;
    for round in 0..150 {
        let mut config = world.speaker(1).config().clone();
        for i in 0..50u32 {
            let origin = Origin {
                med: Some(round),
                communities: (0..200).map(|n| i << 16 | n).collect(),
                ..Origin::default()
            };
            config
                .origins
                .insert(net(&format!("10.1.{i}.0/24")), origin);
        }
        world.configure(1, config);
        world.seconds(1);
    }
    let path = world.best(2, "10.1.49.0/24").expect("reflected");
    assert_eq!(path.med, Some(149));
}

/// RFC 4271 §6.3: kept out, and nothing else comes of it.
#[test]
fn multicast_prefixes_are_kept_out() {
    let mut world = World::new(star(3), 1);
    let check = |world: &mut World, prefix: &str, expected: PathStanding| {
        let told = expected == PathStanding::Best;
        let paths = world.speaker(0).explain(net(prefix)).paths;
        let standings: Vec<_> = paths.into_iter().map(|path| path.standing).collect();
        assert_eq!(standings, [expected], "{prefix}");
        assert_eq!(!world.holders(2, prefix).is_empty(), told, "{prefix}");
    };
    let out = ["224.0.0.0/4", "239.1.2.0/24", "ff00::/8", "ff0e::1/128"];
    let others = [
        "192.0.0.0/3",
        "223.255.255.0/24",
        "240.0.0.0/24",
        "fe00::/8",
    ];
    for prefix in out.into_iter().chain(others) {
        originate(&mut world, 1, prefix, Origin::default());
    }
    world.seconds(5);
    for prefix in out {
        check(&mut world, prefix, PathStanding::Lost("multicast-prefix"));
    }
    for prefix in others {
        check(&mut world, prefix, PathStanding::Best);
    }
    unoriginate(&mut world, 1, out[0]);
    world.seconds(5);
    assert!(world.speaker(0).explain(net(out[0])).paths.is_empty());
}

/// Two reflectors of one cluster, both with clients 2 and 3.
fn twin(cluster: [Ipv4Addr; 2]) -> World {
    let mut configs: Vec<_> = (0..4).map(|n| config(n, AS)).collect();
    for reflector in 0..2 {
        let other = 1 - reflector;
        let mut entry = peer(reflector, other, AS);
        entry.rr_client = (cluster[0] != cluster[1]).then_some(cluster[reflector]);
        configs[reflector].peers.push(entry);
        for client in 2..4 {
            let mut entry = peer(reflector, client, AS);
            entry.rr_client = Some(cluster[reflector]);
            configs[reflector].peers.push(entry);
            configs[client].peers.push(peer(client, reflector, AS));
        }
    }
    World::new(configs, 3)
}

#[test]
fn cluster_list_stops_loops() {
    let one = Ipv4Addr::new(244, 0, 0, 1);
    let mut world = twin([one, one]);
    originate(&mut world, 2, "10.200.0.0/26", Origin::default());
    world.seconds(8);
    let explained = world.speaker(1).explain(net("10.200.0.0/26"));
    let lost: Vec<_> = explained.paths.iter().map(|p| p.standing.clone()).collect();
    assert_eq!(
        lost,
        [PathStanding::Best, PathStanding::Lost("cluster-list-loop")]
    );
    assert_eq!(
        world.holders(3, "10.200.0.0/26").len(),
        2,
        "from both reflectors"
    );
    // The control: other clusters take each other's paths.
    let mut world = twin([one, Ipv4Addr::new(244, 0, 0, 2)]);
    originate(&mut world, 2, "10.200.0.0/26", Origin::default());
    world.seconds(8);
    let explained = world.speaker(1).explain(net("10.200.0.0/26"));
    let reasons: Vec<_> = explained.paths.iter().map(|p| p.standing.clone()).collect();
    assert_eq!(reasons[1], PathStanding::Lost("cluster-list-length"));
}

/// The trap of shared messages: the new source must be sent a withdrawal of the old path, the
/// old source the new path.
#[test]
fn best_path_moves_between_clients() {
    let mut world = World::new(star(3), 1);
    let prefix = "10.200.0.0/26";
    originate(&mut world, 1, prefix, preferred(200));
    world.seconds(5);
    assert_eq!(world.holders(2, prefix), [name(0)]);
    originate(&mut world, 2, prefix, preferred(300));
    world.seconds(1);
    // Best is client 2's: 1 hears of it, 2 must not hold 1's path from the reflector any more.
    assert_eq!(world.holders(2, prefix), ["local"]);
    assert_eq!(world.holders(1, prefix), ["local", "n0"]);
    assert_eq!(world.best(3, prefix).expect("a path").local_pref, 300);
    unoriginate(&mut world, 2, prefix);
    world.seconds(1);
    assert_eq!(
        world.best(2, prefix).expect("1's path again").local_pref,
        200
    );
    assert_eq!(world.holders(1, prefix), ["local"]);
    unoriginate(&mut world, 1, prefix);
    world.seconds(1);
    for node in 0..4 {
        assert!(world.holders(node, prefix).is_empty(), "node {node}");
    }
    world.check_reports();
}

#[test]
fn equally_good_next_hops_are_reported_together() {
    let one = Ipv4Addr::new(244, 0, 0, 1);
    let mut world = twin([one, one]);
    originate(&mut world, 2, "10.210.0.0/24", Origin::default());
    originate(&mut world, 3, "10.210.0.0/24", Origin::default());
    world.seconds(8);
    let hops = |world: &World| -> Vec<_> {
        world.nodes[0].routes[&net("10.210.0.0/24")]
            .next_hops
            .iter()
            .map(|h| h.address)
            .collect()
    };
    assert_eq!(hops(&world), [addr(2), addr(3)]);
    originate(&mut world, 3, "10.210.0.0/24", preferred(50));
    world.seconds(1);
    assert_eq!(hops(&world), [addr(2)]);
}

#[test]
fn killed_peer_keeps_its_routes_until_it_is_back() {
    let mut configs = star(2);
    let prefix = "10.200.0.0/26";
    configs[1].origins.insert(net(prefix), Origin::default());
    configs[1]
        .origins
        .insert(net("10.200.9.0/26"), Origin::default());
    let mut again = configs[1].clone();
    again.restarting = true;
    again.origins.remove(&net("10.200.9.0/26"));
    let mut world = World::new(configs, 1);
    world.seconds(5);
    let changes = world.nodes[2].changes;
    world.kill(1);
    world.seconds(20);
    assert_eq!(world.holders(2, prefix), [name(0)], "kept");
    assert!(world.best(0, prefix).expect("kept").stale);
    assert_eq!(world.status(0, 1).stale, 2);
    assert_eq!(world.nodes[2].changes, changes, "nobody noticed");
    world.start(1, again, 9);
    world.seconds(20);
    assert!(!world.best(0, prefix).expect("refreshed").stale);
    assert!(
        world.holders(2, "10.200.9.0/26").is_empty(),
        "gone with End-of-RIB"
    );
    assert_eq!(world.status(0, 1).stale, 0);
    world.check_reports();
}

#[test]
fn killed_peer_that_stays_away_loses_its_routes() {
    let mut configs = star(2);
    configs[1]
        .origins
        .insert(net("10.200.0.0/26"), Origin::default());
    let mut world = World::new(configs.clone(), 1);
    world.seconds(5);
    world.kill(1);
    world.seconds(115);
    assert_eq!(world.nodes[2].routes.len(), 1);
    world.seconds(10);
    assert!(world.nodes[2].routes.is_empty());
    // The control: without graceful restart they go at once.
    for config in &mut configs {
        for peer in &mut config.peers {
            peer.graceful_restart = None;
        }
    }
    let mut world = World::new(configs, 1);
    world.seconds(5);
    assert_eq!(world.nodes[2].routes.len(), 1);
    world.kill(1);
    world.seconds(1);
    assert!(world.nodes[2].routes.is_empty());
}

#[test]
fn planned_stop_keeps_routes_and_shutdown_drops_them() {
    for (cease, kept) in [(false, 1), (true, 0)] {
        let mut configs = star(2);
        configs[1]
            .origins
            .insert(net("10.200.0.0/26"), Origin::default());
        let mut world = World::new(configs, 1);
        world.seconds(5);
        world.handle(1, Input::Stop { cease, text: "" });
        world.seconds(3);
        assert_eq!(world.nodes[2].routes.len(), kept, "cease {cease}");
        let error = world.status(0, 1).error;
        let expected = if cease {
            "Received: Administrative shutdown"
        } else {
            "Socket: "
        };
        assert!(error.starts_with(expected), "{error}");
    }
}

/// A reflector that restarts must not say End-of-RIB before it has heard its clients.
#[test]
fn restarting_reflector_loses_nobody() {
    let mut configs = star(4);
    for (client, config) in configs.iter_mut().enumerate().skip(1) {
        let prefix = net(&format!("10.200.{client}.0/26"));
        config.origins.insert(prefix, Origin::default());
    }
    let mut again = configs[0].clone();
    again.restarting = true;
    let mut world = World::new(configs, 1);
    world.seconds(5);
    world.kill(0);
    world.seconds(3);
    world.start(0, again, 5);
    for _ in 0..200 {
        world.run(std::time::Duration::from_millis(100));
        for client in 1..=4 {
            assert_eq!(
                world.nodes[client].routes.len(),
                4,
                "client {client} lost a route"
            );
        }
    }
    assert!(world.nodes[0].in_sync);
    assert_eq!(world.status(1, 0).stale, 0);
}

#[test]
fn ebgp_next_hop_path_and_loops() {
    let mut configs: Vec<_> = (0..3).map(|n| config(n, 65000 + n as u32)).collect();
    for (a, b) in [(0, 1), (1, 2), (2, 0)] {
        configs[a].peers.push(peer(a, b, 65000 + b as u32));
        configs[b].peers.push(peer(b, a, 65000 + a as u32));
    }
    configs[0].origins.insert(
        net("10.200.0.0/26"),
        Origin {
            med: Some(5),
            ..Origin::default()
        },
    );
    let mut world = World::new(configs, 1);
    world.seconds(5);
    let explained = world.speaker(2).explain(net("10.200.0.0/26"));
    assert_eq!(explained.paths[0].as_path, "65000");
    assert_eq!(explained.paths[1].as_path, "65001 65000");
    assert_eq!(
        explained.paths[1].standing,
        PathStanding::Lost("as-path-length")
    );
    assert_eq!(
        (explained.paths[0].med, explained.paths[1].med),
        (Some(5), None)
    );
    assert_eq!(
        explained.paths[1].next_hop.expect("next hop").address,
        addr(1),
        "self"
    );
}

#[test]
fn own_as_in_the_path_is_a_loop() {
    for (allowed, expected) in [
        (0, PathStanding::Lost("as-path-loop")),
        (1, PathStanding::Best),
    ] {
        let mut configs = vec![config(0, 65000), config(1, 65001), config(2, 65000)];
        for (a, b) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
            let asn = configs[b].local_as.0;
            let mut entry = peer(a, b, asn);
            entry.allow_own_as = allowed;
            configs[a].peers.push(entry);
        }
        configs[0]
            .origins
            .insert(net("10.200.0.0/26"), Origin::default());
        let mut world = World::new(configs, 1);
        world.seconds(5);
        let explained = world.speaker(2).explain(net("10.200.0.0/26"));
        assert_eq!(explained.paths[0].as_path, "65001 65000");
        assert_eq!(explained.paths[0].standing, expected);
    }
}

#[test]
fn refresh_by_reset_and_rejoin() {
    let mut configs = star(2);
    configs[1]
        .origins
        .insert(net("10.200.0.0/26"), Origin::default());
    let mut world = World::new(configs, 1);
    world.seconds(5);
    let peer = name(2);
    world.handle(
        0,
        Input::Reset {
            peer: &peer,
            text: "",
        },
    );
    world.settle();
    assert_ne!(world.status(0, 2).state, PeerState::Established);
    world.seconds(30);
    assert_eq!(world.holders(2, "10.200.0.0/26"), [name(0)]);
}

/// One client of many stops reading: the others hear everything, the speaker keeps little for
/// it, and it gets the last state when it reads again.
#[test]
fn slow_reader_costs_nobody() {
    let mut configs = star(4);
    for config in &mut configs {
        for peer in &mut config.peers {
            peer.hold_time = std::time::Duration::from_secs(0);
        }
    }
    let mut world = World::new(configs, 1);
    world.seconds(5);
    world.nodes[4].deaf = true;
    let mut wanted = world.speaker(1).config().clone();
    for round in 0..12u32 {
        for i in 0..40_000u32 {
            let prefix = net(&format!("20.{}.{}.0/24", i >> 8, i & 255));
            wanted.origins.insert(prefix, preferred(1000 + round));
        }
        world.configure(1, wanted.clone());
        world.seconds(1);
        let best = world.best(2, "20.3.4.0/24").expect("told at once");
        assert_eq!(best.local_pref, 1000 + round);
    }
    let kept = 40_000 - world.speaker(4).prefixes(bgp::Family::Ipv4).len();
    assert!(kept > 1000, "it did not read");
    world.nodes[4].deaf = false;
    world.seconds(5);
    assert_eq!(world.speaker(4).prefixes(bgp::Family::Ipv4).len(), 40_000);
    for prefix in ["20.0.0.0/24", "20.3.4.0/24", "20.156.63.0/24"] {
        assert_eq!(
            world.best(4, prefix).expect("told in the end").local_pref,
            1011
        );
    }
}

/// Random origins, cuts, kills and restarts; after quiet, everybody has what a plain model says.
#[test]
fn random_runs_agree_with_a_model() {
    for seed in 1..=60u64 {
        random_run(seed);
    }
}

fn random_run(seed: u64) {
    const CLIENTS: usize = 5;
    let mut state = seed;
    let mut draw = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut configs = star(CLIENTS);
    let mut world = World::new(configs.clone(), seed);
    world.seconds(5);
    let mut alive: BTreeSet<usize> = (1..=CLIENTS).collect();
    // What the reflector's export filters keep from each client.
    let mut barred: BTreeSet<(usize, ipnet::IpNet)> = BTreeSet::new();
    for _ in 0..60 {
        let client = 1 + draw(CLIENTS as u64) as usize;
        match draw(11) {
            10 => {
                let entry = (client, net(&format!("10.200.{}.0/24", draw(6))));
                if !barred.remove(&entry) {
                    barred.insert(entry);
                }
                for (i, peer) in configs[0].peers.iter_mut().enumerate() {
                    let theirs = barred.iter().filter(|(client, _)| *client == i + 1);
                    let reject = |(_, prefix): &(usize, ipnet::IpNet)| {
                        Rule::of_prefix(PrefixMatch::exact(*prefix), Action::Reject)
                    };
                    let rules = theirs.map(reject).collect();
                    peer.export = Filter {
                        rules,
                        otherwise: Action::Accept,
                    };
                }
                let config = configs[0].clone();
                world.configure(0, config);
            }
            0..=5 if alive.contains(&client) => {
                let prefix = net(&format!("10.200.{}.0/24", draw(6)));
                let config = &mut configs[client];
                if config.origins.remove(&prefix).is_none() {
                    // Different values: the best is known without the tie-breaks.
                    let local_pref = 100 + client as u32 + 10 * draw(5) as u32;
                    config.origins.insert(prefix, preferred(local_pref));
                }
                let config = configs[client].clone();
                world.configure(client, config);
            }
            6 if alive.contains(&client) => {
                world.kill(client);
                alive.remove(&client);
            }
            7 if !alive.contains(&client) => {
                world.start(client, configs[client].clone(), seed + 1);
                alive.insert(client);
            }
            8 => {
                let pair = (0, client);
                if !world.cut.remove(&pair) {
                    world.cut.insert(pair);
                }
            }
            _ => world.run(std::time::Duration::from_millis(draw(3000))),
        }
        world.settle();
    }
    world.cut.clear();
    world.seconds(900);
    let mut best: BTreeMap<ipnet::IpNet, (u32, usize)> = BTreeMap::new();
    for client in &alive {
        for (prefix, origin) in &configs[*client].origins {
            let mine = (origin.local_pref.unwrap_or(100), *client);
            let entry = best.entry(*prefix).or_insert(mine);
            if mine.0 > entry.0 {
                *entry = mine;
            }
        }
    }
    for client in &alive {
        for (prefix, (local_pref, owner)) in &best {
            let text = prefix.to_string();
            let own = configs[*client].origins.contains_key(prefix);
            let explained = world.speaker(*client).explain(*prefix);
            let from = explained.paths.iter().find(|p| p.peer.is_some());
            if owner == client || barred.contains(&(*client, *prefix)) {
                assert!(
                    from.is_none(),
                    "seed {seed}: {text} is not for client {client}"
                );
            } else {
                let path = from.unwrap_or_else(|| panic!("seed {seed}: {client} lacks {text}"));
                assert_eq!(
                    path.local_pref, *local_pref,
                    "seed {seed}: {text} at {client}"
                );
                assert_eq!(explained.paths.len(), 1 + usize::from(own));
            }
        }
        let known = world.speaker(*client).prefixes(bgp::Family::Ipv4);
        let strange: Vec<_> = known.iter().filter(|p| !best.contains_key(p)).collect();
        assert!(
            strange.is_empty(),
            "seed {seed}: client {client} still has {strange:?}"
        );
    }
    world.check_reports();
}
