//! Seeds, faults and planted bugs on three reflectors and two nodes.

use std::time::Duration;

use resource::kinds::{BgpConfigurationSpec, BgpPeerSpec, CidrBlock, NodeSpec};
use resource::{Key, Kind, Metadata, Object, Spec, Store};

use crate::endpoints::Kept;
use crate::tasks::now_or_never;
use crate::{Bug, Outcome, World, check};

const LAN: &str = r#"
title = "three reflectors and two nodes on one LAN"
[[lan]]
name = "lan"
[[host]]
name = "rr-1"
nics = [{ name = "eth0", lan = "lan", address = "192.0.2.1/24" }]
[[host]]
name = "rr-2"
nics = [{ name = "eth0", lan = "lan", address = "192.0.2.2/24" }]
[[host]]
name = "rr-3"
nics = [{ name = "eth0", lan = "lan", address = "192.0.2.3/24" }]
[[host]]
name = "node-4"
nics = [{ name = "eth0", lan = "lan", address = "192.0.2.4/24" }]
[[host]]
name = "node-5"
nics = [{ name = "eth0", lan = "lan", address = "192.0.2.5/24" }]
[[host]]
name = "harbor"
nics = [{ name = "eth0", lan = "lan", address = "192.0.2.22/24" }]
routes = ["10.200.0.0/23 via 192.0.2.1", "10.210.0.0/24 via 192.0.2.1"]
[[daemon]]
name = "selvedge"
on = ["rr-1", "rr-2", "rr-3", "node-4", "node-5"]
run = "selvedge node run"
"#;

fn lan(seed: u64, bug: Option<Bug>) -> World {
    let scenario = scenario::Scenario::parse("lan.toml", LAN).expect("a good scenario");
    World::build(&scenario, seed, bug).expect("nothing that cannot be simulated")
}

fn put<S: Spec>(world: &World, name: &str, spec: S) {
    let object = Object::new(Metadata::named(name), spec);
    let key = object.key();
    let present = now_or_never(world.store.get(&key)).expect("a memory store");
    let written = match present {
        Some(entry) => now_or_never(
            world
                .store
                .update(&key, &object.to_stored(), entry.revision),
        ),
        None => now_or_never(world.store.create(&key, &object.to_stored())),
    };
    written.expect("nobody else writes");
}

/// The how-to's change from mesh to reflectors.
fn reflect(world: &World) {
    let mesh_off = BgpConfigurationSpec {
        node_to_node_mesh_enabled: Some(false),
        as_number: Some(64512),
        service_cluster_ips: vec![CidrBlock {
            cidr: "10.210.0.0/24".to_string(),
        }],
        ..BgpConfigurationSpec::default()
    };
    put(world, "default", mesh_off);
    for name in ["rr-1", "rr-2", "rr-3"] {
        let key = Key::cluster(Kind::Node, name);
        let entry = now_or_never(world.store.get(&key))
            .expect("a memory store")
            .expect("registered");
        let mut node: Object<NodeSpec> = Object::from_entry(&entry).expect("a Node");
        node.metadata
            .labels
            .insert("route-reflector".to_string(), "true".to_string());
        node.spec
            .bgp
            .as_mut()
            .expect("registered with BGP")
            .route_reflector_cluster_id = "244.0.0.1".to_string();
        now_or_never(world.store.update(&key, &node.to_stored(), entry.revision))
            .expect("nobody else writes");
    }
    let peer = |nodes: &str| BgpPeerSpec {
        node_selector: nodes.to_string(),
        peer_selector: "route-reflector == 'true'".to_string(),
        ..BgpPeerSpec::default()
    };
    put(
        world,
        "peer-with-route-reflectors",
        peer("!has(route-reflector)"),
    );
    put(world, "rrs-to-rrs", peer("route-reflector == 'true'"));
}

/// The reflectors' LAN with a pod on each node, after `rounds` faults.
fn ordeal(seed: u64, bug: Option<Bug>, rounds: u32) -> Outcome {
    let mut world = lan(seed, bug);
    world.default_pool("10.200.0.0/23");
    world.run_for(Duration::from_secs(10));
    reflect(&world);
    world.announce_store();
    for node in ["rr-1", "rr-2", "rr-3", "node-4", "node-5"] {
        world.add_pod("default", &format!("pod-{node}"), node, None);
    }
    let address = [10, 210, 0, 20].into();
    world.keep_service(Kept {
        name: "nginx".to_string(),
        address,
        port: 80,
        stem: "pod-".to_string(),
    });
    world.run_for(Duration::from_secs(30));
    world.ordeal(rounds);
    world.outcome(seed)
}

#[test]
fn a_quiet_run_ends_as_the_resources_say() {
    let mut world = lan(1, None);
    world.default_pool("10.200.0.0/23");
    world.run_for(Duration::from_secs(10));
    for node in ["rr-1", "node-4", "node-5"] {
        world.add_pod("default", &format!("pod-{node}"), node, None);
    }
    world.run_for(Duration::from_secs(30));
    let found = check::state(&world);
    assert!(found.is_empty(), "{found:#?}\n{}", world.journal.join("\n"));
    assert_eq!(
        check::Truth::read(&world).owners.len(),
        3,
        "each pod's node took a block"
    );
}

#[test]
fn one_seed_is_one_run_and_another_is_another() {
    let first = ordeal(7, None, 3);
    assert_eq!(first, ordeal(7, None, 3));
    assert_ne!(first.digest, ordeal(8, None, 3).digest);
}

#[test]
fn two_hundred_seeds_with_cuts_kills_and_restarts_hold() {
    let failed: Vec<Outcome> = (0..200)
        .map(|seed| ordeal(seed, None, 6))
        .filter(|outcome| !outcome.violations.is_empty())
        .collect();
    assert!(
        failed.is_empty(),
        "{} of 200 seeds failed, the first: {:#?}",
        failed.len(),
        failed[0]
    );
}

#[test]
fn each_planted_bug_is_found_within_two_hundred_seeds() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        match (0..40).find(|seed| !ordeal(*seed, Some(bug), 6).violations.is_empty()) {
            Some(seed) => println!("{bug}: found with seed {seed}"),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
