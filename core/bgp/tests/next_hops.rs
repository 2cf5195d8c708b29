//! Next hops that cannot be reached, or at a cost (RFC 4271 §9.1.2).

mod world;

use bgp::{AddPath, Input, Origin, PathStanding};
use world::{World, addr, name, net, star};

const PREFIX: &str = "10.200.0.0/26";

/// A reflector (node 0) with clients 1 and 2, who both originate the prefix, and 3, who listens.
fn reflector() -> World {
    reflector_tracking(false)
}

fn reflector_tracking(next_hops: bool) -> World {
    let mut configs = star(3);
    configs[0].track_next_hops = next_hops;
    for client in [1, 2] {
        configs[client]
            .origins
            .insert(net(PREFIX), Origin::default());
    }
    let mut world = World::new(configs, 1);
    world.seconds(5);
    world
}

fn tell(world: &mut World, client: usize, cost: Option<u32>) {
    let address = addr(client);
    world.handle(0, Input::NextHop { address, cost });
    world.seconds(1);
}

/// Whose path is best at the reflector, and how the other one stands.
fn standing(world: &mut World) -> (Option<String>, Vec<&'static str>) {
    let paths = world.speaker(0).explain(net(PREFIX)).paths;
    let best = paths
        .iter()
        .find(|path| path.standing == PathStanding::Best);
    let best = best.and_then(|path| Some(path.peer.as_ref()?.to_string()));
    let lost = paths.iter().filter_map(|path| match path.standing {
        PathStanding::Lost(reason) => Some(reason),
        PathStanding::Best => None,
    });
    (best, lost.collect())
}

fn check(world: &mut World, best: Option<usize>, lost: &[&'static str]) {
    let expected = best.map(name);
    assert_eq!(standing(world), (expected, lost.to_vec()));
    let hop = world
        .best(3, PREFIX)
        .and_then(|path| Some(path.next_hop?.address));
    assert_eq!(hop, best.map(addr), "what the listener was told");
    world.check_reports();
}

#[test]
fn an_unreachable_one_keeps_its_paths_out() {
    let mut world = reflector();
    check(&mut world, Some(1), &["router-id"]);
    tell(&mut world, 1, None);
    check(&mut world, Some(2), &["next-hop-unreachable"]);
    assert_eq!(world.status(0, 1).rejected, 1);
    tell(&mut world, 2, None);
    check(&mut world, None, &["next-hop-unreachable"; 2]);
    assert!(!world.nodes[0].routes.contains_key(&net(PREFIX)));
    // What is announced meanwhile is kept out too.
    let mut config = world.speaker(1).config().clone();
    config.origins.insert(
        net(PREFIX),
        Origin {
            med: Some(1),
            ..Origin::default()
        },
    );
    world.configure(1, config);
    world.seconds(1);
    check(&mut world, None, &["next-hop-unreachable"; 2]);
    tell(&mut world, 2, Some(0));
    tell(&mut world, 1, Some(0));
    assert_eq!(world.status(0, 1).rejected, 0);
    check(&mut world, Some(2), &["multi-exit-disc"]);
}

#[test]
fn the_nearer_one_is_better() {
    let mut world = reflector();
    tell(&mut world, 1, Some(20));
    check(&mut world, Some(2), &["next-hop-cost"]);
    tell(&mut world, 2, Some(30));
    check(&mut world, Some(1), &["next-hop-cost"]);
    // Of equal cost both are used again.
    tell(&mut world, 2, Some(20));
    check(&mut world, Some(1), &["router-id"]);
    assert_eq!(world.nodes[0].routes[&net(PREFIX)].next_hops.len(), 2);
    tell(&mut world, 2, Some(21));
    assert_eq!(world.nodes[0].routes[&net(PREFIX)].next_hops.len(), 1);
}

#[test]
fn an_import_filter_still_decides_when_it_is_back() {
    let mut world = reflector();
    tell(&mut world, 1, None);
    let mut config = world.speaker(0).config().clone();
    config.peers[0].import = bgp::Filter::reject_all();
    world.configure(0, config.clone());
    tell(&mut world, 1, Some(0));
    check(&mut world, Some(2), &["import-filter"]);
    config.peers[0].import = bgp::Filter::accept_all();
    world.configure(0, config);
    world.seconds(1);
    check(&mut world, Some(1), &["router-id"]);
}

#[test]
fn with_add_path_unreachable_ones_are_taken_back() {
    let both = AddPath {
        receive: true,
        send: true,
        limit: None,
    };
    let mut configs = star(3);
    configs[0].peers[2].add_path = both;
    configs[3].peers[0].add_path = both;
    for client in [1, 2] {
        configs[client]
            .origins
            .insert(net(PREFIX), Origin::default());
    }
    let mut world = World::new(configs, 1);
    world.seconds(5);
    for (cost, expected) in [(None, 1), (Some(5), 2)] {
        assert_eq!(world.status(3, 0).received, 2, "the control");
        tell(&mut world, 2, cost);
        assert_eq!(world.status(3, 0).received, expected);
        tell(&mut world, 2, Some(0));
    }
}

/// The driver is asked about what paths go through, and only where that is wanted.
#[test]
fn those_in_use_are_asked_for() {
    for tracked in [true, false] {
        let mut world = reflector_tracking(tracked);
        if !tracked {
            assert!(world.nodes[0].next_hops.is_empty(), "the control");
            continue;
        }
        assert_eq!(world.nodes[0].next_hops, [addr(1), addr(2)]);
        tell(&mut world, 1, None);
        check(&mut world, Some(2), &["next-hop-unreachable"]);
        let mut config = world.speaker(1).config().clone();
        let origins = std::mem::take(&mut config.origins);
        world.configure(1, config.clone());
        world.seconds(1);
        assert_eq!(world.nodes[0].next_hops, [addr(2)]);
        // Back again, it is asked for again, and counts until there is an answer.
        config.origins = origins;
        world.configure(1, config);
        world.seconds(1);
        assert_eq!(world.nodes[0].next_hops, [addr(1), addr(2)]);
        check(&mut world, Some(1), &["router-id"]);
    }
}
