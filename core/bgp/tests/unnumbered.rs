//! Peers of an interface: found, lost, exchanged for others; links that have the same addresses.
#![allow(missing_docs)]

mod script;

use bgp::{
    Bfd, Config, ConnId, Input, Neighbor, Output, PathState, PeerConfig, PeerState, RemoteAs,
    RouteNextHop,
};
use script::{AS, CONN, ORIGIN, Script, keepalive, message, open, path};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

const THEIR_AS: u32 = 65001;
const THEM: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const OTHER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3);
/// IPv4 prefixes may have an IPv6 next hop.
const EXTENDED: &[u8] = &[5, 6, 0, 1, 0, 1, 0, 2];

fn unnumbered(interface: &str, change: impl FnOnce(&mut PeerConfig)) -> PeerConfig {
    let name = format!("on_{interface}");
    let mut peer = PeerConfig::unnumbered(name, interface, RemoteAs::External);
    peer.graceful_restart = None;
    change(&mut peer);
    peer
}

fn config(interfaces: &[&str]) -> Config {
    let mut config = Config::new(AS.into(), [10, 0, 0, 1].into());
    let peers = interfaces.iter().map(|name| unnumbered(name, |_| {}));
    config.peers = peers.collect();
    config
}

fn at(address: Ipv6Addr, scope: u32) -> Neighbor {
    Neighbor::At { address, scope }
}

fn tell(script: &mut Script, interface: &str, neighbor: Neighbor) {
    script.give(Input::Neighbor {
        interface,
        neighbor,
    });
}

fn accept(script: &mut Script, conn: ConnId, address: Ipv6Addr, scope: u32) {
    script.closed = false;
    let end = |address, port| SocketAddr::V6(SocketAddrV6::new(address, port, 0, scope));
    script.give(Input::Accepted {
        conn,
        remote: end(address, 40000),
        local: end(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 179),
    });
}

fn dialled(script: &mut Script) -> Vec<SocketAddr> {
    let outputs = std::mem::take(&mut script.outputs);
    let remotes = outputs.into_iter().filter_map(|output| match output {
        Output::Connect { remote, .. } => Some(remote),
        _ => None,
    });
    remotes.collect()
}

fn wanted_interfaces(script: &mut Script) -> Vec<Vec<String>> {
    let outputs = std::mem::take(&mut script.outputs);
    let lists = outputs.into_iter().filter_map(|output| match output {
        Output::FindNeighbors(all) => Some(all.iter().map(ToString::to_string).collect()),
        _ => None,
    });
    lists.collect()
}

/// With the session up that the peer at this address opened.
fn bring_up(script: &mut Script, conn: ConnId, address: Ipv6Addr, scope: u32, id: u8) {
    accept(script, conn, address, scope);
    let mut open = open(THEIR_AS, 90, &[EXTENDED]);
    open[27] = id;
    script.receive_on(conn, &open);
    script.receive_on(conn, &keepalive());
}

/// 10.1.2.0/24 by way of a link-local address, told twice as some do.
fn route_by(address: Ipv6Addr) -> Vec<u8> {
    let mut reach = vec![0x80, 14, 41, 0, 1, 1, 32];
    reach.extend_from_slice(&address.octets());
    reach.extend_from_slice(&address.octets());
    reach.extend_from_slice(&[0, 24, 10, 1, 2]);
    let block = [ORIGIN, &path(THEIR_AS), &reach].concat();
    let mut body = vec![0, 0];
    body.extend_from_slice(&(block.len() as u16).to_be_bytes());
    body.extend_from_slice(&block);
    message(2, &body)
}

fn states(script: &Script) -> Vec<(PeerState, String)> {
    let peers = script.speaker.peers();
    peers.into_iter().map(|p| (p.state, p.error)).collect()
}

#[test]
fn a_peer_waits_until_it_is_found() {
    let mut script = Script::new(config(&["c0"]));
    assert_eq!(wanted_interfaces(&mut script), [["c0"]]);
    let waits = |script: &Script| {
        assert_eq!(script.state(), PeerState::Idle);
        script.speaker.peers()[0].info()
    };
    assert_eq!(waits(&script), "Idle waiting-for-neighbor");
    tell(&mut script, "c0", Neighbor::NoInterface);
    assert_eq!(waits(&script), "Idle waiting-for-interface");
    tell(&mut script, "c0", Neighbor::Refused);
    assert_eq!(waits(&script), "Idle neighbor-discovery-refused");
    tell(&mut script, "c0", Neighbor::Awaited);
    script.give(Input::Reset {
        peer: "on_c0",
        text: "",
    });
    script.wait(60);
    assert_eq!(waits(&script), "Idle waiting-for-neighbor");
    assert_eq!(dialled(&mut script), []);
    tell(&mut script, "c1", at(THEM, 7));
    script.wait(60);
    assert_eq!(dialled(&mut script), [], "another interface");
    // The control.
    tell(&mut script, "c0", at(THEM, 7));
    script.wait(1);
    let remote = SocketAddr::V6(SocketAddrV6::new(THEM, 179, 0, 7));
    assert_eq!(dialled(&mut script), [remote]);
    assert_eq!(states(&script), [(PeerState::Connect, String::new())]);
}

#[test]
fn another_neighbor_ends_the_session() {
    let mut script = Script::new(config(&["c0"]));
    tell(&mut script, "c0", at(THEM, 7));
    bring_up(&mut script, CONN, THEM, 7, 2);
    assert_eq!(script.state(), PeerState::Established, "{}", script.error());
    script.receive(&route_by(THEM));
    assert_eq!(script.standings("10.1.2.0/24"), ["best"]);
    // The control: told again, nothing happens.
    tell(&mut script, "c0", at(THEM, 7));
    assert!(!script.closed);
    dialled(&mut script);
    tell(&mut script, "c0", at(OTHER, 7));
    assert!(script.closed);
    assert_eq!(script.notified().map(|n| (n.0, n.1)), Some((6, 6)));
    assert_eq!(script.standings("10.1.2.0/24"), [""; 0]);
    script.wait(1);
    let remote = SocketAddr::V6(SocketAddrV6::new(OTHER, 179, 0, 7));
    assert_eq!(dialled(&mut script), [remote]);
    // The former one is nobody any more.
    accept(&mut script, ConnId::Accepted(2), THEM, 7);
    assert!(script.closed);
    // The interface was made anew: the same neighbour by another index.
    bring_up(&mut script, ConnId::Accepted(3), OTHER, 7, 2);
    assert_eq!(script.state(), PeerState::Established, "{}", script.error());
    tell(&mut script, "c0", Neighbor::NoInterface);
    assert!(script.closed);
    tell(&mut script, "c0", at(OTHER, 9));
    accept(&mut script, ConnId::Accepted(4), OTHER, 7);
    assert!(script.closed, "not by the old index");
    bring_up(&mut script, ConnId::Accepted(5), OTHER, 9, 2);
    assert_eq!(script.state(), PeerState::Established, "{}", script.error());
}

#[test]
fn a_change_of_others_keeps_who_was_found() {
    let mut script = Script::new(config(&["c0"]));
    tell(&mut script, "c0", at(THEM, 7));
    bring_up(&mut script, CONN, THEM, 7, 2);
    script.outputs.clear();
    script.configure(|config| config.peers.push(unnumbered("c1", |_| {})));
    assert_eq!(wanted_interfaces(&mut script), [["c0", "c1"]]);
    script.configure(|config| config.peers[0].keepalive = Some(Duration::from_secs(2)));
    assert_eq!(script.state(), PeerState::Established, "{}", script.error());
    assert!(!script.closed);
    // What needs a new session gets one with the same neighbour, and under another name too.
    script.configure(|config| config.peers[0].ttl = 1);
    assert!(script.closed);
    assert_eq!(wanted_interfaces(&mut script), [["c0", "c1"]], "told anew");
    bring_up(&mut script, ConnId::Accepted(2), THEM, 7, 2);
    assert_eq!(script.state(), PeerState::Established, "{}", script.error());
    script.configure(|config| config.peers[0].name = "renamed".to_owned());
    assert_eq!(wanted_interfaces(&mut script), [["c0", "c1"]], "told anew");
    bring_up(&mut script, ConnId::Accepted(3), THEM, 7, 2);
    assert_eq!(states(&script)[1], (PeerState::Established, String::new()));
    // Another interface has nobody yet.
    script.configure(|config| config.peers[0].interface = Some("c2".into()));
    assert_eq!(wanted_interfaces(&mut script), [["c1", "c2"]]);
    let waiting = (PeerState::Idle, "waiting-for-neighbor".to_owned());
    assert_eq!(states(&script), [waiting.clone(), waiting]);
    script.configure(|config| config.peers.clear());
    assert_eq!(wanted_interfaces(&mut script), [Vec::<String>::new()]);
}

#[test]
fn two_links_may_have_the_same_addresses() {
    let mut script = Script::new(config(&["c0", "c1"]));
    tell(&mut script, "c0", at(THEM, 7));
    tell(&mut script, "c1", at(THEM, 8));
    let second = ConnId::Accepted(2);
    bring_up(&mut script, second, THEM, 8, 3);
    let up = |script: &Script| {
        let states = states(script);
        states
            .iter()
            .map(|s| s.0 == PeerState::Established)
            .collect::<Vec<_>>()
    };
    assert_eq!(up(&script), [false, true]);
    bring_up(&mut script, CONN, THEM, 7, 2);
    assert_eq!(up(&script), [true, true]);
    script.outputs.clear();
    script.receive_on(second, &route_by(THEM));
    script.receive(&route_by(THEM));
    script.wait(1);
    let hops = script.outputs.iter().rev().find_map(|output| match output {
        Output::Routes(changes) => changes[0].route.as_ref().map(|r| r.next_hops.clone()),
        _ => None,
    });
    let hop = |scope| RouteNextHop {
        address: THEM.into(),
        link_local: Some(THEM),
        scope,
    };
    assert_eq!(hops, Some(vec![hop(7), hop(8)]));
}

#[test]
fn any_as_but_ours_or_ours_alone() {
    let outcome = |wanted: RemoteAs, theirs: u32| {
        let mut config = config(&["c0"]);
        config.peers[0].remote_as = wanted;
        let mut script = Script::new(config);
        tell(&mut script, "c0", at(THEM, 7));
        accept(&mut script, CONN, THEM, 7);
        script.receive(&open(theirs, 90, &[]));
        script.receive(&keepalive());
        let peer = script.speaker.peers().remove(0);
        let refused = script.notified().map(|n| (n.0, n.1));
        (refused, peer.remote_as)
    };
    let (external, internal) = (RemoteAs::External, RemoteAs::Internal);
    assert_eq!(outcome(external, 65001), (None, RemoteAs::from(65001)));
    assert_eq!(outcome(external, 65002), (None, RemoteAs::from(65002)));
    assert_eq!(outcome(external, AS), (Some((2, 2)), external));
    assert_eq!(outcome(external, 0), (Some((2, 2)), external));
    assert_eq!(outcome(internal, AS), (None, RemoteAs::from(AS)));
    assert_eq!(outcome(internal, 65001), (Some((2, 2)), internal));
}

#[test]
fn the_path_to_who_was_found_is_watched() {
    let mut config = config(&["c0", "c1"]);
    for peer in &mut config.peers {
        peer.bfd = Some(Bfd {
            interval: Duration::from_millis(50),
            multiplier: 3,
            multihop: false,
            strict: None,
        });
    }
    let mut script = Script::new(config);
    let watched = |script: &Script| {
        let mut told = script.outputs.iter().rev();
        told.find_map(|output| match output {
            Output::WatchPaths(paths) => Some(
                paths
                    .iter()
                    .map(|p| (p.remote, p.scope))
                    .collect::<Vec<_>>(),
            ),
            _ => None,
        })
        .unwrap_or_default()
    };
    assert_eq!(watched(&script), []);
    tell(&mut script, "c0", at(THEM, 7));
    tell(&mut script, "c1", at(THEM, 8));
    assert_eq!(watched(&script), [(THEM.into(), 7), (THEM.into(), 8)]);
    bring_up(&mut script, CONN, THEM, 7, 2);
    let lost = |scope| Input::Path {
        remote: THEM.into(),
        scope,
        state: PathState::Lost { forwarding: true },
    };
    script.give(lost(8));
    assert_eq!(script.state(), PeerState::Established, "another link");
    script.give(lost(7));
    assert!(script.closed);
    tell(&mut script, "c0", Neighbor::NoInterface);
    assert_eq!(watched(&script), [(THEM.into(), 8)]);
}
