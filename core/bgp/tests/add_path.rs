//! Several paths of a prefix on one session (RFC 7911).

mod world;

use bgp::{AddPath, Filter, Origin, PathInfo, PathStanding};
use std::net::Ipv4Addr;
use world::{World, addr, net, star};

const BOTH: AddPath = AddPath {
    receive: true,
    send: true,
    limit: None,
};

/// A reflector (node 0) and `clients` clients; those in `with` speak add-path with it.
fn reflector(clients: usize, with: &[usize]) -> World {
    let mut configs = star(clients);
    for client in with {
        configs[0].peers[client - 1].add_path = BOTH;
        configs[*client].peers[0].add_path = BOTH;
    }
    World::new(configs, 1)
}

fn originate(world: &mut World, node: usize, prefix: &str, local_pref: u32) {
    let mut config = world.speaker(node).config().clone();
    let origin = Origin {
        local_pref: Some(local_pref),
        ..Origin::default()
    };
    config.origins.insert(net(prefix), origin);
    world.configure(node, config);
}

fn unoriginate(world: &mut World, node: usize, prefix: &str) {
    let mut config = world.speaker(node).config().clone();
    config.origins.remove(&net(prefix));
    world.configure(node, config);
}

fn paths(world: &mut World, node: usize, prefix: &str) -> Vec<PathInfo> {
    world.speaker(node).explain(net(prefix)).paths
}

/// Originators and preferences of the paths that a node has from others, in order.
fn told(world: &mut World, node: usize, prefix: &str) -> Vec<(Ipv4Addr, u32)> {
    let paths = paths(world, node, prefix);
    let mut told: Vec<_> = paths
        .iter()
        .filter_map(|path| Some((path.originator_id?, path.local_pref)))
        .collect();
    told.sort_unstable();
    told
}

fn id(node: usize) -> Ipv4Addr {
    match addr(node) {
        std::net::IpAddr::V4(address) => address,
        std::net::IpAddr::V6(_) => unreachable!("addresses here are IPv4"),
    }
}

#[test]
fn all_paths_are_told_and_taken_back() {
    for prefix in ["10.200.0.0/26", "fd00:200::/64"] {
        let mut world = reflector(4, &[3]);
        for node in [1, 2] {
            originate(&mut world, node, prefix, 100 * node as u32);
        }
        world.seconds(5);
        assert_eq!(told(&mut world, 3, prefix), [(id(1), 100), (id(2), 200)]);
        // The control: without add-path only the best one.
        assert_eq!(told(&mut world, 4, prefix), [(id(2), 200)]);
        let before = paths(&mut world, 3, prefix);
        assert_eq!(before[0].standing, PathStanding::Best);
        assert_eq!(before[1].standing, PathStanding::Lost("local-pref"));
        assert!(before.iter().all(|path| path.path_id.is_some()));
        assert_ne!(before[0].path_id, before[1].path_id);
        // A change of the other one is told too, under the same identifier.
        originate(&mut world, 1, prefix, 150);
        world.seconds(1);
        assert_eq!(told(&mut world, 3, prefix), [(id(1), 150), (id(2), 200)]);
        let after = paths(&mut world, 3, prefix);
        assert_eq!(
            before.iter().map(|p| p.path_id).collect::<Vec<_>>(),
            after.iter().map(|p| p.path_id).collect::<Vec<_>>()
        );
        unoriginate(&mut world, 1, prefix);
        world.seconds(1);
        assert_eq!(told(&mut world, 3, prefix), [(id(2), 200)]);
        unoriginate(&mut world, 2, prefix);
        world.seconds(1);
        assert!(paths(&mut world, 3, prefix).is_empty());
        world.check_reports();
    }
}

#[test]
fn a_source_is_not_told_its_own_path() {
    let mut world = reflector(3, &[1, 2, 3]);
    let prefix = "10.200.0.0/26";
    for node in [1, 2] {
        originate(&mut world, node, prefix, 100);
    }
    world.seconds(5);
    assert_eq!(told(&mut world, 1, prefix), [(id(2), 100)]);
    assert_eq!(told(&mut world, 2, prefix), [(id(1), 100)]);
    assert_eq!(told(&mut world, 3, prefix).len(), 2);
}

#[test]
fn at_most_so_many_and_the_best() {
    let mut world = reflector(5, &[5]);
    let prefix = "10.200.0.0/26";
    for node in 1..=4 {
        originate(&mut world, node, prefix, 100 + node as u32);
    }
    world.seconds(5);
    assert_eq!(told(&mut world, 5, prefix).len(), 4, "the control");
    let mut config = world.speaker(0).config().clone();
    config.peers[4].add_path.limit = Some(2);
    world.configure(0, config.clone());
    world.seconds(1);
    assert_eq!(told(&mut world, 5, prefix), [(id(3), 103), (id(4), 104)]);
    originate(&mut world, 1, prefix, 300);
    world.seconds(1);
    assert_eq!(told(&mut world, 5, prefix), [(id(1), 300), (id(4), 104)]);
    config.peers[4].add_path.limit = Some(3);
    world.configure(0, config);
    world.seconds(1);
    assert_eq!(told(&mut world, 5, prefix).len(), 3);
    assert_eq!(world.status(0, 5).counters.established, 1, "no flap");
}

#[test]
fn an_export_filter_is_for_each_path() {
    let mut world = reflector(3, &[3]);
    let prefix = "10.200.0.0/26";
    for node in [1, 2] {
        originate(&mut world, node, prefix, 100);
    }
    world.seconds(5);
    assert_eq!(told(&mut world, 3, prefix).len(), 2);
    let mut config = world.speaker(0).config().clone();
    config.peers[2].export = Filter::reject_all();
    world.configure(0, config.clone());
    world.seconds(1);
    assert!(paths(&mut world, 3, prefix).is_empty());
    config.peers[2].export = Filter::accept_all();
    world.configure(0, config);
    world.seconds(1);
    assert_eq!(told(&mut world, 3, prefix).len(), 2);
}

/// A changed export policy tells the paths that are different by it, as without add-path.
#[test]
fn a_changed_policy_tells_what_differs() {
    let mut world = reflector(3, &[3]);
    let prefixes: Vec<String> = (0..50).map(|n| format!("10.200.{n}.0/24")).collect();
    for node in [1, 2] {
        let mut config = world.speaker(node).config().clone();
        for prefix in &prefixes {
            config.origins.insert(net(prefix), Origin::default());
        }
        world.configure(node, config);
    }
    world.seconds(5);
    assert_eq!(world.status(3, 0).received, 100);
    let one = bgp::PrefixMatch::exact(net(&prefixes[7]));
    let rule = |action, operations| Filter {
        rules: vec![bgp::Rule {
            operations,
            ..bgp::Rule::of_prefix(one, action)
        }],
        otherwise: bgp::Action::Accept,
    };
    let tag = bgp::Operation::AddCommunity("64512:7".parse().expect("a community"));
    let nowhere = bgp::PrefixMatch::exact(net("11.0.0.0/8"));
    let idle = Filter {
        rules: vec![bgp::Rule::of_prefix(nowhere, bgp::Action::Reject)],
        otherwise: bgp::Action::Accept,
    };
    // What is tagged is one UPDATE for each of the two sources; a withdrawal too, as each source is left out of its own.
    let steps = [
        (idle.clone(), 0, 100),
        (rule(bgp::Action::Accept, vec![tag]), 2, 100),
        (idle, 2, 100),
        (rule(bgp::Action::Reject, Vec::new()), 2, 98),
        (Filter::accept_all(), 2, 100),
    ];
    for (step, (filter, expected, held)) in steps.into_iter().enumerate() {
        let before = world.status(3, 0).counters;
        let mut config = world.speaker(0).config().clone();
        config.peers[2].export = filter;
        world.configure(0, config);
        world.seconds(1);
        let after = world.status(3, 0).counters;
        assert_eq!(
            after.updates_in - before.updates_in,
            expected,
            "step {step}"
        );
        assert_eq!(world.status(3, 0).received, held, "step {step}");
        assert_eq!(told(&mut world, 3, &prefixes[8]).len(), 2);
    }
    // Another limit takes back or adds what it concerns alone.
    for (limit, expected, held) in [(Some(1), 1, 50), (Some(1), 0, 50), (None, 1, 100)] {
        let before = world.status(3, 0).counters;
        let mut config = world.speaker(0).config().clone();
        config.peers[2].add_path.limit = limit;
        world.configure(0, config);
        world.seconds(1);
        let after = world.status(3, 0).counters;
        assert_eq!(after.updates_in - before.updates_in, expected, "{limit:?}");
        assert_eq!(world.status(3, 0).received, held, "{limit:?}");
    }
    assert_eq!(world.status(0, 3).counters.established, 1, "no flap");
}

#[test]
fn a_lost_session_takes_all_its_paths_along() {
    let mut world = reflector(3, &[3]);
    let prefix = "10.200.0.0/26";
    for node in [1, 2] {
        originate(&mut world, node, prefix, 100);
    }
    world.seconds(5);
    assert_eq!(world.status(3, 0).received, 2);
    world.handle(
        0,
        bgp::Input::Stop {
            cease: true,
            text: "",
        },
    );
    world.seconds(1);
    assert_eq!(world.status(3, 0).received, 0);
    assert!(paths(&mut world, 3, prefix).is_empty());
}

const PREFIXES: [&str; 4] = [
    "10.200.0.0/26",
    "10.200.1.0/26",
    "fd00:200::/64",
    "0.0.0.0/0",
];

/// Whatever comes and goes: in the end each client has what the others originate.
#[test]
fn churn_ends_in_what_is_there() {
    for seed in 0..30u64 {
        let clients = 5;
        let mut world = reflector(clients, &[1, 2, 4, 5]);
        world.seconds(5);
        let mut state = seed * 2 + 1;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            (state >> 33) % below
        };
        let mut model = vec![[None; 4]; clients + 1];
        for _ in 0..120 {
            let (node, at) = (1 + random(clients as u64) as usize, random(4) as usize);
            let prefix = PREFIXES[at];
            if random(3) == 0 {
                unoriginate(&mut world, node, prefix);
                model[node][at] = None;
            } else {
                let local_pref = 100 + random(3) as u32;
                originate(&mut world, node, prefix, local_pref);
                model[node][at] = Some(local_pref);
            }
            if random(2) == 0 {
                world.run(std::time::Duration::from_millis(random(30)));
            }
            if random(25) == 0 {
                let peer = world::name(1 + random(clients as u64) as usize);
                world.handle(
                    0,
                    bgp::Input::Reset {
                        peer: &peer,
                        text: "",
                    },
                );
            }
        }
        world.seconds(60);
        for node in [1, 2, 4, 5] {
            for (at, prefix) in PREFIXES.iter().enumerate() {
                let expected: Vec<_> = (1..=clients)
                    .filter(|other| *other != node)
                    .filter_map(|other| Some((id(other), model[other][at]?)))
                    .collect();
                assert_eq!(
                    told(&mut world, node, prefix),
                    expected,
                    "seed {seed}, node {node}, {prefix}"
                );
            }
        }
        world.check_reports();
    }
}
