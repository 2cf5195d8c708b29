//! Reflection in several clusters at once, and loops through them (RFC 4456 §7, §8).

mod world;

use bgp::{Filter, Origin, PathStanding};
use std::net::Ipv4Addr;
use world::{AS, World, config, name, net, peer, star};

const PREFIX: &str = "10.200.0.0/26";

fn cluster(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(244, 0, 0, n)
}

/// A client's path is reflected with the cluster that the client is in, whoever hears it.
#[test]
fn one_reflector_of_two_clusters() {
    let mut configs = star(4);
    for (client, of) in [(1, 1), (2, 1), (3, 2), (4, 2)] {
        configs[0].peers[client - 1].rr_client = Some(cluster(of));
    }
    for (client, of) in [(1, 1), (3, 2)] {
        let mut configs = configs.clone();
        configs[client]
            .origins
            .insert(net(PREFIX), Origin::default());
        let mut world = World::new(configs, 1);
        world.seconds(5);
        for other in (1..=4).filter(|other| *other != client) {
            let path = world.best(other, PREFIX).expect("reflected");
            assert_eq!(path.cluster_list, [cluster(of)], "{client} to {other}");
        }
    }
}

/// Three reflectors in a ring, each with the next as its client: the path comes back to the first,
/// and is a loop there by its cluster, amid the list.
#[test]
fn a_ring_of_reflectors() {
    let ring = |same: bool| {
        let mut configs: Vec<_> = (0..4).map(|n| config(n, AS)).collect();
        for at in 0..3 {
            let next = (at + 1) % 3;
            let own = if same { 1 } else { at as u8 + 1 };
            let mut down = peer(at, next, AS);
            down.rr_client = Some(cluster(own));
            configs[at].peers.push(down);
            configs[next].peers.push(peer(next, at, AS));
        }
        // Told directly, the third would have no need of the second.
        let direct = configs[0].peers.iter_mut().find(|p| p.name == name(2));
        direct.expect("in the ring").export = Filter::reject_all();
        let mut entry = peer(0, 3, AS);
        entry.rr_client = Some(cluster(1));
        configs[0].peers.push(entry);
        configs[3].peers.push(peer(3, 0, AS));
        configs[3].origins.insert(net(PREFIX), Origin::default());
        let mut world = World::new(configs, 1);
        world.seconds(20);
        world
    };
    let mut world = ring(false);
    let at_1 = world.best(1, PREFIX).expect("one reflector on");
    assert_eq!(at_1.cluster_list, [cluster(1)]);
    for node in 0..3 {
        let paths = world.speaker(node).explain(net(PREFIX)).paths;
        let best = paths.iter().filter(|p| p.standing == PathStanding::Best);
        assert_eq!(best.count(), 1, "node {node}");
        let came_back = paths
            .iter()
            .filter(|p| p.cluster_list.contains(&cluster(node as u8 + 1)));
        for path in came_back {
            assert_eq!(path.standing, PathStanding::Lost("cluster-list-loop"));
        }
    }
    // It did come back: else nothing was shown of the loop.
    let looped = |world: &mut World| -> usize {
        (0..3)
            .flat_map(|node| world.speaker(node).explain(net(PREFIX)).paths)
            .filter(|p| p.standing == PathStanding::Lost("cluster-list-loop"))
            .count()
    };
    assert!(looped(&mut world) > 0);
    // Of one cluster, nobody takes the path of another reflector.
    let mut world = ring(true);
    assert_eq!(world.holders(0, PREFIX), [name(3)]);
    assert!(world.best(1, PREFIX).is_none() && looped(&mut world) > 0);
}

/// What is held is judged anew when we begin or end to reflect in a cluster: no peer sends it again.
#[test]
fn a_change_of_our_clusters() {
    let prefixes = ["10.200.0.0/26", "10.200.1.0/26"];
    // 1 is a reflector of cluster 2, of which 2 is a client; 3 is a client of ours.
    let mut configs: Vec<_> = (0..4).map(|n| config(n, AS)).collect();
    for (a, b, of_a) in [(0, 1, None), (1, 2, Some(2)), (0, 3, Some(1))] {
        let mut down = peer(a, b, AS);
        down.rr_client = of_a.map(cluster);
        configs[a].peers.push(down);
        configs[b].peers.push(peer(b, a, AS));
    }
    for prefix in prefixes {
        configs[2].origins.insert(net(prefix), Origin::default());
    }
    let reject = |prefix: &str| {
        bgp::Rule::of_prefix(bgp::PrefixMatch::exact(net(prefix)), bgp::Action::Reject)
    };
    configs[0].peers[0].import = Filter {
        rules: vec![reject(prefixes[1])],
        otherwise: bgp::Action::Accept,
    };
    let mut world = World::new(configs, 1);
    world.seconds(5);
    let check = |world: &mut World, expected: [Option<&'static str>; 2]| {
        world.seconds(1);
        for (prefix, lost) in prefixes.iter().zip(expected) {
            let path = world.speaker(0).explain(net(prefix)).paths.remove(0);
            let standing = lost.map_or(PathStanding::Best, PathStanding::Lost);
            assert_eq!(path.standing, standing, "{prefix}");
            let told = world.best(3, prefix).is_some();
            assert_eq!(told, lost.is_none(), "what the client was told of {prefix}");
        }
        let status = world.status(0, 1);
        let rejected = expected.iter().flatten().count();
        assert_eq!(status.rejected as usize, rejected);
        assert_eq!(
            (status.counters.established, status.counters.updates_in),
            (1, 3)
        );
        world.check_reports();
    };
    check(&mut world, [None, Some("import-filter")]);
    let mut own = world.speaker(0).config().clone();
    let mut template = peer(0, 9, AS);
    template.rr_client = Some(cluster(2));
    own.ranges.push(bgp::RangeConfig {
        prefix: net("192.0.2.0/24"),
        template,
        limit: 1,
    });
    world.configure(0, own.clone());
    check(&mut world, [Some("cluster-list-loop"); 2]);
    own.peers[0].import = Filter::accept_all();
    world.configure(0, own.clone());
    check(&mut world, [Some("cluster-list-loop"); 2]);
    own.ranges.clear();
    own.peers[0].import = Filter {
        rules: vec![reject(prefixes[0])],
        otherwise: bgp::Action::Accept,
    };
    world.configure(0, own);
    check(&mut world, [Some("import-filter"), None]);
}
