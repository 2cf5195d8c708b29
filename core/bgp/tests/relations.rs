//! What neighbours are to each other: roles and ONLY_TO_CUSTOMER (RFC 9234), and policies that
//! must be there (RFC 8212).
#![allow(missing_docs)]

mod script;
mod world;

use bgp::{Action, Config, Family, Filter, Origin, PeerState, Role};
use script::{HOP, NET, ORIGIN, Script, config, keepalive, open, path, update};
use world::{World, net, peer};

const THEIR_AS: u32 = 65001;

fn with_role(role: Role) -> Config {
    config(THEIR_AS, |peer| peer.role = Some(role))
}

/// ONLY_TO_CUSTOMER with this AS.
fn mark(asn: u32) -> Vec<u8> {
    [&[0xc0, 35, 4], &asn.to_be_bytes()[..]].concat()
}

#[test]
fn roles_must_fit() {
    let outcome = |role: Role, theirs: Option<u8>, strict: bool| {
        let mut wanted = with_role(role);
        wanted.peers[0].role_strict = strict;
        let mut script = Script::new(wanted);
        script.accept();
        let capability = theirs.map(|code| [9, 1, code]);
        let capability: Vec<&[u8]> = capability.iter().map(|c| &c[..]).collect();
        script.receive(&open(THEIR_AS, 90, &capability));
        script.receive(&keepalive());
        let refused = script.notified().map(|n| (n.0, n.1));
        (refused, script.state() == PeerState::Established)
    };
    let (up, refused) = ((None, true), (Some((2, 11)), false));
    assert_eq!(outcome(Role::Provider, Some(3), true), up);
    assert_eq!(outcome(Role::Provider, Some(4), false), refused);
    assert_eq!(outcome(Role::Provider, None, false), up);
    assert_eq!(outcome(Role::Provider, None, true), refused);
    assert_eq!(outcome(Role::Peer, Some(4), true), up);
    assert_eq!(outcome(Role::RouteServer, Some(2), true), up);
}

#[test]
fn our_open_says_the_role_to_other_ases_only() {
    let said = |config: Config| {
        let mut script = Script::new(config);
        script.accept();
        script.messages()[0].1.windows(3).any(|w| w == [9, 1, 3])
    };
    assert!(said(with_role(Role::Customer)));
    let ibgp = config(script::AS, |peer| peer.role = Some(Role::Customer));
    assert!(!said(ibgp));
}

#[test]
fn leaks_are_kept_out_by_name() {
    for (role, otc, expected) in [
        (Role::Provider, None, "best"),
        (Role::Provider, Some(7), "route-leak"),
        (Role::RouteServer, Some(7), "route-leak"),
        (Role::Peer, Some(7), "route-leak"),
        (Role::Peer, Some(THEIR_AS), "best"),
        (Role::Customer, Some(7), "best"),
    ] {
        let mut script = Script::up(with_role(role), &open(THEIR_AS, 90, &[]));
        let as_path = path(THEIR_AS);
        let otc = otc.map(mark).unwrap_or_default();
        script.receive(&update(&[ORIGIN, &as_path, HOP, &otc], NET));
        assert_eq!(
            script.standings("10.1.2.0/24"),
            [expected],
            "{role:?} {otc:?}"
        );
    }
}

#[test]
fn a_malformed_mark_is_a_withdrawal() {
    let mut script = Script::up(with_role(Role::Customer), &open(THEIR_AS, 90, &[]));
    let as_path = path(THEIR_AS);
    script.receive(&update(&[ORIGIN, &as_path, HOP], NET));
    assert_eq!(script.standings("10.1.2.0/24"), ["best"], "the control");
    script.receive(&update(&[ORIGIN, &as_path, HOP, &[0xc0, 35, 2, 0, 1]], NET));
    assert!(script.standings("10.1.2.0/24").is_empty());
    assert_eq!(script.state(), PeerState::Established);
}

/// Node 0 between others, each of its own AS and with what node 0 is to it.
fn around(roles: &[Role]) -> World {
    let asn = |node: usize| 65000 + node as u32;
    let mut middle = world::config(0, asn(0));
    let mut configs = Vec::new();
    for (node, role) in roles.iter().enumerate().map(|(i, role)| (i + 1, *role)) {
        let mut entry = peer(0, node, asn(node));
        entry.role = Some(role);
        middle.peers.push(entry);
        let mut own = world::config(node, asn(node));
        let mut entry = peer(node, 0, asn(0));
        entry.role = Some(match role {
            Role::Provider => Role::Customer,
            Role::Customer => Role::Provider,
            Role::Peer | Role::RouteServer | Role::RouteServerClient => role,
        });
        own.peers.push(entry);
        own.origins
            .insert(net(&format!("10.{node}.0.0/16")), Origin::default());
        configs.push(own);
    }
    configs.insert(0, middle);
    let mut world = World::new(configs, 1);
    world.seconds(10);
    world
}

#[test]
fn routes_go_without_valleys() {
    // Towards 1 we are a customer, towards 2 a peer, towards 3 and 4 a provider.
    let roles = [Role::Customer, Role::Peer, Role::Provider, Role::Provider];
    let mut world = around(&roles);
    for from in 1..=4 {
        for to in (1..=4).filter(|to| *to != from) {
            let has = world.best(to, &format!("10.{from}.0.0/16")).is_some();
            let wanted = from >= 3 || to >= 3;
            assert_eq!(has, wanted, "from {from} to {to}");
        }
    }
    assert!(
        world.best(0, "10.1.0.0/16").is_some(),
        "we have all of them"
    );
    // The control: without roles everybody has everything.
    for node in 0..world.nodes.len() {
        let mut config = world.speaker(node).config().clone();
        for peer in &mut config.peers {
            peer.role = None;
        }
        world.configure(node, config);
    }
    world.seconds(20);
    assert!(world.best(1, "10.2.0.0/16").is_some());
}

fn lacking() -> Config {
    config(THEIR_AS, |peer| {
        (peer.lacks_import_policy, peer.lacks_export_policy) = (true, true);
        peer.families = vec![Family::Ipv4];
    })
}

#[test]
fn without_policies_no_routes() {
    let mut wanted = lacking();
    wanted
        .origins
        .insert(net("10.200.0.0/26"), Origin::default());
    let mut script = Script::up(wanted, &open(THEIR_AS, 90, &[]));
    let as_path = path(THEIR_AS);
    script.receive(&update(&[ORIGIN, &as_path, HOP], NET));
    script.wait(1);
    let updates = |script: &Script| script.messages().iter().filter(|m| m.0 == 2).count();
    assert_eq!(script.standings("10.1.2.0/24"), ["no-import-policy"]);
    assert_eq!(updates(&script), 0);
    let notes = script.speaker.peers()[0].notes.clone();
    assert_eq!(notes, ["no-import-policy", "no-export-policy"]);
    // Policies come: no new session.
    script.configure(|config| {
        let peer = &mut config.peers[0];
        (peer.lacks_import_policy, peer.lacks_export_policy) = (false, false);
        peer.import = Filter::accept_all();
    });
    script.wait(1);
    assert_eq!(script.standings("10.1.2.0/24"), ["best"]);
    assert!(updates(&script) > 0);
    assert!(!script.closed && script.speaker.peers()[0].notes.is_empty());
    // And go.
    script.configure(|config| {
        config.peers[0].lacks_import_policy = true;
        config.peers[0].import.otherwise = Action::Reject;
    });
    assert_eq!(script.standings("10.1.2.0/24"), ["no-import-policy"]);
}
