//! Third-party next hops on eBGP (RFC 4271 §5.1.3).

mod world;

use bgp::{AddPath, NextHopMode, Origin};
use std::net::IpAddr;
use world::{AS, World, addr, config, net, peer};

const PREFIX: &str = "10.200.0.0/26";
const NETWORK: Option<&str> = Some("10.0.0.0/24");

/// Node 0 in the middle, each of the others an AS of its own; 1 originates the prefix with a next
/// hop. `shared` is what the driver says of the network.
fn star(mode: NextHopMode, next_hop: IpAddr, shared: Option<&str>) -> World {
    star_with(mode, next_hop, shared, AddPath::default())
}

fn star_with(
    mode: NextHopMode,
    next_hop: IpAddr,
    shared: Option<&str>,
    add_path: AddPath,
) -> World {
    let mut middle = config(0, AS);
    let mut configs = Vec::new();
    for other in 1..=3 {
        let asn = AS + other as u32;
        let mut entry = peer(0, other, asn);
        entry.next_hop = mode;
        entry.add_path = add_path;
        middle.peers.push(entry);
        let mut own = config(other, asn);
        let mut up = peer(other, 0, AS);
        up.add_path = add_path;
        own.peers.push(up);
        configs.push(own);
    }
    let origin = Origin {
        next_hop: Some(next_hop),
        ..Origin::default()
    };
    configs[0].origins.insert(net(PREFIX), origin);
    configs.insert(0, middle);
    let mut world = World::new(configs, 1);
    world.shared = shared.map(net);
    world.seconds(5);
    world
}

fn told(world: &mut World, node: usize) -> Option<IpAddr> {
    let paths = world.speaker(node).explain(net(PREFIX)).paths;
    Some(paths.first()?.next_hop?.address)
}

#[test]
fn kept_within_the_shared_network() {
    let check = |mode, next_hop, shared, expected: IpAddr| {
        let mut world = star(mode, next_hop, shared);
        assert_eq!(told(&mut world, 2), Some(expected), "{mode:?}");
        assert_eq!(told(&mut world, 3), Some(expected), "{mode:?}");
    };
    let third = NextHopMode::ThirdParty;
    let outside = IpAddr::from([192, 0, 2, 7]);
    check(third, addr(1), NETWORK, addr(1));
    check(third, addr(9), NETWORK, addr(9));
    // The controls: as it is by default, outside the network, and where nothing is shared.
    check(NextHopMode::Auto, addr(1), NETWORK, addr(0));
    check(third, outside, NETWORK, addr(0));
    check(third, addr(1), None, addr(0));
}

/// One update group, and yet nobody is told its own address.
#[test]
fn a_peer_is_not_told_its_own_address() {
    let both = AddPath {
        receive: true,
        send: true,
        limit: None,
    };
    for add_path in [AddPath::default(), both] {
        spared(star_with(
            NextHopMode::ThirdParty,
            addr(2),
            NETWORK,
            add_path,
        ));
    }
}

fn spared(mut world: World) {
    assert_eq!(told(&mut world, 2), Some(addr(0)));
    assert_eq!(told(&mut world, 3), Some(addr(2)), "the control");
    // A change of the mode tells it to both sides, as far as it differs.
    for (mode, at_2, at_3) in [
        (NextHopMode::Keep, addr(2), addr(2)),
        (NextHopMode::ThirdParty, addr(0), addr(2)),
        (NextHopMode::Auto, addr(0), addr(0)),
        (NextHopMode::ThirdParty, addr(0), addr(2)),
    ] {
        let mut config = world.speaker(0).config().clone();
        for peer in &mut config.peers {
            peer.next_hop = mode;
        }
        world.configure(0, config);
        world.seconds(1);
        assert_eq!(told(&mut world, 2), Some(at_2), "{mode:?}");
        assert_eq!(told(&mut world, 3), Some(at_3), "{mode:?}");
        assert_eq!(world.status(0, 2).counters.established, 1, "no flap");
    }
    // What is withdrawn is withdrawn from both.
    let mut config = world.speaker(1).config().clone();
    config.origins.clear();
    world.configure(1, config);
    world.seconds(1);
    assert_eq!(told(&mut world, 2), None);
    assert_eq!(told(&mut world, 3), None);
}
