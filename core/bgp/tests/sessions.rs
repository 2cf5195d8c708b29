//! Sessions between machines: coming up, going down, collisions, errors, reconfiguration.

mod world;

use bgp::{Action, Filter, Input, Origin, PathState, PeerState, PrefixMatch, Rule};
use std::time::Duration;
use world::{AS, World, addr, config, name, net, peer, star};

fn pair(change: impl FnOnce(&mut bgp::Config, &mut bgp::Config)) -> World {
    let (mut a, mut b) = (config(0, AS), config(1, AS));
    a.peers.push(peer(0, 1, AS));
    b.peers.push(peer(1, 0, AS));
    change(&mut a, &mut b);
    World::new(vec![a, b], 1)
}

#[test]
fn routes_both_ways_in_both_families() {
    let mut world = pair(|a, b| {
        a.origins.insert(net("10.200.0.0/26"), Origin::default());
        a.origins.insert(
            net("fd00:200::/64"),
            Origin {
                med: Some(7),
                ..Origin::default()
            },
        );
        b.origins.insert(net("10.200.0.64/26"), Origin::default());
    });
    world.seconds(5);
    assert!(world.is_up(0, 1) && world.is_up(1, 0));
    assert!(world.nodes[0].in_sync && world.nodes[1].in_sync);
    let hop = |world: &World, node: usize, prefix| {
        world.nodes[node].routes[&net(prefix)].next_hops[0].address
    };
    assert_eq!(hop(&world, 1, "10.200.0.0/26"), addr(0));
    assert_eq!(hop(&world, 0, "10.200.0.64/26"), addr(1));
    assert_eq!(hop(&world, 1, "fd00:200::/64").to_string(), "fd00::1");
    let path = world.best(1, "fd00:200::/64").expect("a path");
    assert_eq!(
        (path.med, path.local_pref, path.origin),
        (Some(7), 100, "igp")
    );
    // Withdrawn again.
    let mut less = world.speaker(0).config().clone();
    less.origins.clear();
    world.configure(0, less);
    world.seconds(1);
    assert_eq!(world.nodes[1].routes.len(), 1, "its own one is left");
    assert_eq!(world.status(0, 1).counters.established, 1);
    world.check_reports();
}

#[test]
fn both_dial_and_one_connection_stays() {
    for seed in 0..50 {
        let (mut a, mut b) = (config(0, AS), config(1, AS));
        a.peers.push(peer(0, 1, AS));
        b.peers.push(peer(1, 0, AS));
        let mut world = World::new(vec![a, b], seed);
        // Connections take so long that both sides have dialled by then: a true collision.
        world.latency = Duration::from_secs(1);
        world.tracing = true;
        world.seconds(10);
        let dialled = world
            .trace
            .iter()
            .filter(|line| line.contains("Connect {"))
            .count();
        assert!(dialled >= 2, "seed {seed}: no collision");
        assert!(world.is_up(0, 1) && world.is_up(1, 0), "seed {seed}");
        let before = world.now;
        world.seconds(600);
        assert!(
            world.status(0, 1).since.mono <= before,
            "seed {seed}: it flapped"
        );
        assert_eq!(world.status(0, 1).counters.established, 1, "seed {seed}");
    }
}

#[test]
fn octet_by_octet_is_the_same() {
    let mut world = pair(|a, _| {
        a.origins.insert(net("10.200.0.0/26"), Origin::default());
    });
    world.read = 1;
    world.seconds(5);
    assert_eq!(world.holders(1, "10.200.0.0/26"), vec![name(0)]);
}

#[test]
fn wrong_as_is_refused_with_2_2() {
    let mut world = pair(|_, b| b.peers[0].remote_as = 64999.into());
    world.seconds(3);
    assert_eq!(world.status(1, 0).info(), "Idle Error: Bad peer AS");
    // The control: with the right number it comes up (`routes_both_ways_in_both_families`).
    assert!(
        world.nodes[0]
            .states
            .iter()
            .any(|(_, _, e)| e == "Received: Bad peer AS")
    );
}

#[test]
fn errors_back_off_and_double() {
    let mut world = pair(|_, b| b.peers[0].remote_as = 64999.into());
    world.seconds(200);
    let idles = |world: &World| {
        let idle = |s: &&(String, PeerState, String)| s.1 == PeerState::Idle && !s.2.is_empty();
        world.nodes[1].states.iter().filter(idle).count()
    };
    let early = idles(&world);
    // 5, 10, 20, 30, 30 ... seconds: about eight in 200.
    assert!((4..=12).contains(&early), "{early}");
    world.seconds(300);
    assert!(idles(&world) - early <= 16);
}

#[test]
fn refused_connection_is_tried_again() {
    let mut world = pair(|_, b| b.listen.clear());
    world.cut.insert((0, 1));
    world.seconds(2);
    assert_eq!(
        world.status(0, 1).info(),
        "Active Socket: Connection refused"
    );
    world.cut.clear();
    world.seconds(12);
    assert!(world.is_up(0, 1), "the other side dialled");
    assert_eq!(world.status(0, 1).info(), "Established");
}

#[test]
fn silence_ends_the_session() {
    let mut world = pair(|a, b| {
        b.origins.insert(net("10.200.0.64/26"), Origin::default());
        for config in [a, b] {
            config.peers[0].hold_time = Duration::from_secs(9);
            config.peers[0].graceful_restart = None;
        }
    });
    world.seconds(60);
    assert!(world.is_up(0, 1), "keepalives hold it");
    world.cut.insert((0, 1));
    world.seconds(5);
    assert!(world.is_up(0, 1));
    world.seconds(5);
    let status = world.status(0, 1);
    assert_ne!(status.state, PeerState::Established);
    assert_eq!(status.error, "Error: Hold timer expired");
    assert!(world.nodes[0].routes.is_empty());
    world.cut.clear();
    world.seconds(60);
    assert!(world.is_up(0, 1), "and it comes back");
}

#[test]
fn passive_sides_wait() {
    let mut world = pair(|a, b| {
        a.peers[0].passive = true;
        b.peers[0].passive = true;
    });
    world.seconds(60);
    assert_eq!(world.status(0, 1).info(), "Passive");
    let mut active = world.speaker(1).config().clone();
    active.peers[0].passive = false;
    world.configure(1, active);
    world.seconds(2);
    assert!(world.is_up(0, 1));
}

#[test]
fn bfd_says_down() {
    let mut world = pair(|_, b| {
        b.origins.insert(net("10.200.0.64/26"), Origin::default());
    });
    world.seconds(5);
    world.cut.insert((0, 1));
    world.handle(
        0,
        Input::Path {
            scope: 0,
            remote: addr(1),
            state: PathState::Lost { forwarding: true },
        },
    );
    world.settle();
    assert!(!world.is_up(0, 1));
    assert!(
        world.nodes[0].routes.is_empty(),
        "not kept as those of a restarting peer"
    );
}

#[test]
fn equal_configuration_changes_nothing() {
    let mut world = World::new(star(3), 1);
    world.seconds(5);
    let before: Vec<_> = (1..=3).map(|n| world.status(0, n)).collect();
    let same = world.speaker(0).config().clone();
    world.configure(0, same);
    world.seconds(1);
    let after: Vec<_> = (1..=3).map(|n| world.status(0, n)).collect();
    assert_eq!(before, after);
}

#[test]
fn peers_come_and_go_without_hurting_others() {
    let configs = star(3);
    let mut few = configs.clone();
    let third = few[0].peers.pop().expect("three");
    let mut world = World::new(few, 1);
    world.seconds(5);
    let since = world.status(0, 1).since;
    let mut more = world.speaker(0).config().clone();
    more.peers.push(third);
    world.configure(0, more);
    world.seconds(30);
    assert!(world.is_up(0, 3));
    let mut less = world.speaker(0).config().clone();
    less.peers.remove(1);
    world.configure(0, less);
    world.seconds(1);
    assert_eq!(world.status(0, 1).since, since, "untouched");
    assert_eq!(
        world.status(2, 0).info(),
        "Idle Received: Peer de-configured (hard reset)"
    );
    assert!(!world.speaker(0).peers().iter().any(|p| *p.name == *name(2)));
}

#[test]
fn export_filter_changes_in_place() {
    let mut world = pair(|a, _| {
        for prefix in ["10.200.0.0/26", "10.200.0.64/26", "10.201.0.0/26"] {
            a.origins.insert(net(prefix), Origin::default());
        }
    });
    world.seconds(5);
    assert_eq!(world.nodes[1].routes.len(), 3);
    let since = world.status(1, 0).since;
    let mut only = world.speaker(0).config().clone();
    let set = PrefixMatch::within(net("10.200.0.0/24"));
    only.peers[0].export = Filter {
        rules: vec![Rule::of_prefix(set, Action::Accept)],
        otherwise: Action::Reject,
    };
    world.configure(0, only.clone());
    world.seconds(1);
    assert_eq!(world.nodes[1].routes.len(), 2);
    only.peers[0].export = Filter::accept_all();
    world.configure(0, only);
    world.seconds(1);
    assert_eq!(world.nodes[1].routes.len(), 3);
    assert_eq!(world.status(1, 0).since, since, "no flap");
    world.check_reports();
}

#[test]
fn import_filter_changes_in_place() {
    let mut world = pair(|a, _| {
        a.origins.insert(net("10.200.0.0/26"), Origin::default());
        a.origins.insert(net("0.0.0.0/0"), Origin::default());
    });
    world.seconds(5);
    assert_eq!(world.nodes[1].routes.len(), 2);
    let mut picky = world.speaker(1).config().clone();
    let rule = Rule::of_prefix(PrefixMatch::exact(net("0.0.0.0/0")), Action::Reject);
    picky.peers[0].import = Filter {
        rules: vec![rule],
        otherwise: Action::Accept,
    };
    world.configure(1, picky);
    world.seconds(1);
    assert_eq!(world.nodes[1].routes.len(), 1);
    let explained = world.speaker(1).explain(net("0.0.0.0/0"));
    assert_eq!(
        explained.paths[0].standing,
        bgp::PathStanding::Lost("import-filter")
    );
    assert_eq!(world.status(1, 0).rejected, 1);
    world.check_reports();
}

#[test]
fn too_many_prefixes_end_the_session() {
    let mut world = pair(|a, b| {
        for i in 0..5u8 {
            a.origins
                .insert(net(&format!("10.200.{i}.0/24")), Origin::default());
        }
        b.peers[0].max_prefixes = Some(5);
    });
    world.seconds(5);
    assert!(world.is_up(1, 0), "the limit itself is fine");
    let mut more = world.speaker(0).config().clone();
    more.origins
        .insert(net("10.200.99.0/24"), Origin::default());
    world.configure(0, more);
    world.seconds(1);
    assert_eq!(
        world.status(0, 1).error,
        "Received: Maximum number of prefixes reached (hard reset)"
    );
    assert!(world.nodes[1].routes.is_empty());
}

#[test]
fn anyone_in_a_range_up_to_a_limit() {
    let mut reflector = config(0, AS);
    let mut template = peer(0, 0, AS);
    template.name = "range".into();
    template.rr_client = Some([244, 0, 0, 1].into());
    reflector.ranges.push(bgp::RangeConfig {
        prefix: net("10.0.0.0/24"),
        template,
        limit: 2,
    });
    let mut configs = vec![reflector];
    for client in 1..=3 {
        let mut own = config(client, AS);
        own.peers.push(peer(client, 0, AS));
        own.origins
            .insert(net(&format!("10.200.{client}.0/26")), Origin::default());
        configs.push(own);
    }
    let mut world = World::new(configs, 1);
    world.seconds(10);
    let peers = world.speaker(0).peers();
    assert_eq!(peers.len(), 2);
    assert!(peers.iter().all(|p| p.dynamic && p.rr_client));
    let up: Vec<usize> = (1..=3).filter(|n| world.is_up(*n, 0)).collect();
    assert_eq!(up.len(), 2);
    assert_eq!(
        world.nodes[up[0]].routes.len(),
        2,
        "its own and the other's"
    );
    // One leaves for good: room for the third.
    world.handle(
        up[0],
        Input::Stop {
            cease: true,
            text: "",
        },
    );
    world.seconds(30);
    assert_eq!(world.speaker(0).peers().len(), 2);
    let still: Vec<usize> = (1..=3).filter(|n| world.is_up(*n, 0)).collect();
    assert!(still.len() == 2 && !still.contains(&up[0]));
}

#[test]
fn equal_seeds_give_equal_runs() {
    let run = |seed| {
        let mut world = World::new(star(4), seed);
        world.tracing = true;
        world.seconds(30);
        world.kill(2);
        world.seconds(30);
        world.trace
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
