//! BFD and BGP: which paths are watched, what ends and what stays, strict mode.

mod world;

use bgp::{Bfd, Input, Origin, PathState, PeerConfig, RangeConfig, WatchedPath};
use std::time::Duration;
use world::{AS, World, addr, config, name, net, peer};

const LOST: PathState = PathState::Lost { forwarding: true };
const LOST_WITH_CONTROL: PathState = PathState::Lost { forwarding: false };

fn bfd(strict: bool) -> Bfd {
    Bfd {
        interval: Duration::from_millis(50),
        multiplier: 3,
        multihop: false,
        strict: strict.then_some(Duration::from_secs(20)),
    }
}

/// Two nodes; the second one announces a prefix.
fn pair(change: impl Fn(&mut PeerConfig)) -> World {
    let configs = [(0, 1), (1, 0)].map(|(own, other)| {
        let mut config = config(own, AS);
        let mut peer = peer(own, other, AS);
        change(&mut peer);
        config.peers.push(peer);
        config
    });
    let [a, mut b] = configs;
    b.origins.insert(net("10.200.0.64/26"), Origin::default());
    World::new(vec![a, b], 1)
}

fn path(world: &mut World, node: usize, state: PathState) {
    let remote = addr(1 - node);
    world.handle(
        node,
        Input::Path {
            remote,
            scope: 0,
            state,
        },
    );
    world.settle();
}

#[test]
fn paths_are_watched_as_configured() {
    let mut world = pair(|_| {});
    world.seconds(1);
    assert!(world.nodes[0].watched.is_empty(), "control");
    let mut wanted = world.speaker(0).config().clone();
    wanted.peers[0].bfd = Some(bfd(false));
    world.configure(0, wanted.clone());
    world.seconds(1);
    let expected = WatchedPath {
        remote: addr(1),
        scope: 0,
        local: None,
        bfd: bfd(false),
    };
    assert_eq!(world.nodes[0].watched, [expected]);
    let established = world.status(0, 1).counters.established;
    wanted.peers[0].bfd = Some(Bfd {
        multiplier: 5,
        ..bfd(false)
    });
    world.configure(0, wanted.clone());
    world.seconds(1);
    assert_eq!(world.nodes[0].watched[0].bfd.multiplier, 5);
    wanted.peers[0].bfd = None;
    world.configure(0, wanted);
    world.seconds(1);
    assert!(world.nodes[0].watched.is_empty());
    assert_eq!(
        (world.status(0, 1).counters.established, established),
        (1, 1),
        "no change of it ends the session"
    );
}

#[test]
fn a_range_watches_who_is_there() {
    let mut reflector = config(0, AS);
    let mut template = peer(0, 1, AS);
    template.bfd = Some(bfd(false));
    template.graceful_restart = None;
    reflector.ranges.push(RangeConfig {
        prefix: net("10.0.0.0/24"),
        template,
        limit: 10,
    });
    let mut client = config(1, AS);
    client.peers.push(peer(1, 0, AS));
    let again = client.clone();
    let mut world = World::new(vec![reflector, client], 1);
    world.seconds(2);
    assert_eq!(world.nodes[0].watched.len(), 1);
    world.kill(1);
    world.seconds(2);
    assert!(world.nodes[0].watched.is_empty(), "gone with its peer");
    world.start(1, again, 9);
    world.seconds(5);
    assert_eq!(world.nodes[0].watched.len(), 1);
}

#[test]
fn a_lost_path_takes_the_routes_along() {
    for state in [LOST, LOST_WITH_CONTROL] {
        let mut world = pair(|peer| peer.bfd = Some(bfd(false)));
        world.seconds(5);
        assert_eq!(world.nodes[0].routes.len(), 1);
        path(&mut world, 0, PathState::Unknown);
        assert!(world.is_up(0, 1), "turned off there: nothing is lost");
        path(&mut world, 0, state);
        assert!(!world.is_up(0, 1));
        assert!(world.nodes[0].routes.is_empty(), "{state:?}");
        assert_eq!(world.status(0, 1).error, "Error: BFD session down");
    }
}

/// RFC 5882 §4.3: the peer restarts, and its routes are kept. Then the path is lost: when BFD shares the fate of no control
/// plane they go, else that is just the restart.
#[test]
fn a_restart_is_given_up_when_forwarding_is_lost() {
    for (state, kept) in [(LOST, 0), (LOST_WITH_CONTROL, 1)] {
        let mut world = pair(|peer| peer.bfd = Some(bfd(false)));
        world.seconds(5);
        world.kill(1);
        world.seconds(2);
        assert_eq!(world.nodes[0].routes.len(), 1, "kept for the restart");
        path(&mut world, 0, state);
        assert_eq!(world.nodes[0].routes.len(), kept, "{state:?}");
    }
}

#[test]
fn strict_mode_waits_for_the_path() {
    let mut world = pair(|peer| peer.bfd = Some(bfd(true)));
    world.seconds(5);
    for node in [0, 1] {
        let info = world.status(node, 1 - node).info();
        assert_eq!(info, "OpenConfirm waiting-for-bfd");
    }
    path(&mut world, 0, PathState::Up);
    world.seconds(1);
    assert!(!world.is_up(0, 1), "the other end waits still");
    path(&mut world, 1, PathState::Up);
    world.seconds(1);
    assert!(world.is_up(0, 1) && world.is_up(1, 0));
    assert_eq!(world.nodes[0].routes.len(), 1);
    // It is lost, and comes back.
    path(&mut world, 0, LOST);
    world.seconds(10);
    assert!(!world.is_up(0, 1));
    path(&mut world, 0, PathState::Up);
    world.seconds(10);
    assert!(world.is_up(0, 1));
}

/// One side waits, the other one knows nothing of it: held all the same, and given up after the hold time.
#[test]
fn strict_mode_gives_up_after_its_hold_time() {
    let mut world = pair(|peer| {
        if peer.name == name(1) {
            peer.bfd = Some(bfd(true));
        }
    });
    world.seconds(19);
    let status = world.status(0, 1);
    assert_eq!(status.info(), "OpenConfirm waiting-for-bfd");
    world.seconds(3);
    assert_eq!(world.status(0, 1).info(), "Idle Error: BFD session down");
    assert_eq!(world.status(1, 0).error, "Received: BFD session down");
    path(&mut world, 0, PathState::Up);
    world.seconds(60);
    assert!(world.is_up(0, 1));
}
