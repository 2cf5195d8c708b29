//! PeerPolicies: imports, limits, families on one session, dynamic neighbours.

mod world;

use intent::{Imports, Over, PrefixLimit, Reason, Session};
use serde_json::json;
use world::World;

fn tor() -> World {
    World::default()
        .node("a", "10.0.0.1/24", false)
        .node("b", "10.0.0.2/24", false)
        .peer("tor", |s| {
            s.peer_ip = "192.0.2.1".into();
            s.as_number = Some(65001);
        })
}

fn session(world: &World, node: &str, name: &str) -> Session {
    let sessions = world.intent(node).bgp.sessions;
    let found = sessions.into_iter().find(|s| s.name == name);
    found.unwrap_or_else(|| panic!("no {name} on {node}"))
}

const TOR: &str = "Global_192_0_2_1";
const MESH: &str = "Mesh_10_0_0_2";

#[test]
fn without_a_policy_it_is_as_with_calico_but_for_a_generous_limit() {
    let world = tor();
    let outside = session(&world, "a", TOR);
    assert_eq!(outside.imports, Imports::ALL);
    assert_eq!(outside.max_prefixes, Some(PrefixLimit::OUTSIDE));
    let node = session(&world, "a", MESH);
    assert_eq!((node.imports, node.max_prefixes), (Imports::ALL, None));
}

#[test]
fn a_policy_is_for_the_sessions_that_it_names() {
    let spec = json!({
        "bgpPeers": ["tor"], "imports": {"defaultRoute": "Deny", "services": "Allow"},
        "maxPrefixes": {"limit": 10, "action": "Restart", "restartTime": "1m"},
    });
    let world = tor().policy("p", spec.clone());
    let with = session(&world, "a", TOR);
    let expected = Imports {
        default_route: false,
        chosen: true,
        ..Imports::ALL
    };
    assert_eq!(with.imports, expected);
    let minute = std::time::Duration::from_secs(60);
    let limit = PrefixLimit {
        limit: 10,
        warning_percent: 80,
        over: Over::Restart(minute),
    };
    assert_eq!(with.max_prefixes, Some(limit));
    assert_eq!(session(&world, "a", MESH).imports, Imports::ALL, "the mesh");
    let change = |field: &str, value: serde_json::Value| {
        let mut spec = spec.clone();
        spec[field] = value;
        session(&tor().policy("p", spec), "a", TOR).imports
    };
    assert_eq!(change("bgpPeers", json!(["*"])), expected);
    assert_eq!(change("bgpPeers", json!(["other"])), Imports::ALL);
    assert_eq!(change("nodeSelector", json!("has(rack)")), Imports::ALL);
    assert_eq!(change("nodeSelector", json!("!has(rack)")), expected);
    let mesh = tor().policy(
        "p",
        json!({"mesh": true, "imports": {"defaultRoute": "Deny"}}),
    );
    assert_eq!(session(&mesh, "a", MESH).imports, expected);
    assert_eq!(session(&mesh, "a", TOR).imports, Imports::ALL);
}

#[test]
fn of_two_policies_the_first_by_name_counts() {
    let of = |action: &str| json!({"bgpPeers": ["tor"], "imports": {"pods": action}});
    let world = tor().policy("one", of("Deny")).policy("two", of("Allow"));
    assert!(!session(&world, "a", TOR).imports.pods);
    world.check_reasons("a", &[Reason::PeerPolicyShadowed]);
    let world = tor().policy("one", of("Allow")).policy("two", of("Deny"));
    assert!(session(&world, "a", TOR).imports.pods);
}

#[test]
fn two_families_on_one_session() {
    let v6 = |address: &'static str| {
        move |b: &mut resource::kinds::NodeBgpSpec| b.ipv6_address = address.into()
    };
    let world = World::default()
        .node_with("a", "10.0.0.1/24", false, v6("fd00::1/64"))
        .node_with("b", "10.0.0.2/24", false, v6("fd00::2/64"))
        .node("c", "10.0.0.3/24", false);
    let separate = [
        "Mesh_10_0_0_2 as 64512 source 10.0.0.1 passive",
        "Mesh_10_0_0_3 as 64512 source 10.0.0.1 passive",
        "Mesh_fd00__2 as 64512 source fd00::1 passive",
    ];
    world.check("a", &separate);
    let together = world
        .clone()
        .policy("p", json!({"mesh": true, "families": "Together"}));
    together.check("a", &separate[..2]);
    let with = |name: &str| session(&together, "a", name).with_ipv6;
    assert_eq!(
        with("Mesh_10_0_0_2"),
        Some("fd00::1".parse().expect("an address"))
    );
    assert_eq!(with("Mesh_10_0_0_3"), None, "it has one family");
    world
        .policy("p", json!({"mesh": true, "families": "Separate"}))
        .check("a", &separate);
}

/// A filter's rules go on meaning their family when both are on one session.
#[test]
fn filters_of_two_families_on_one_session() {
    let v6 = |address: &'static str| {
        move |b: &mut resource::kinds::NodeBgpSpec| b.ipv6_address = address.into()
    };
    let filter = json!({"importV4": [{"action": "Accept"}], "importV6": [{"action": "Reject"}]});
    let filter = serde_json::from_value(filter).expect("a BGPFilter's spec");
    let world = World::default()
        .mesh(false)
        .node_with("a", "10.0.0.1/24", false, v6("fd00::1/64"))
        .node_with("b", "10.0.0.2/24", false, v6("fd00::2/64"))
        .object(resource::kinds::BgpFilter::new(
            resource::Metadata::named("f"),
            filter,
        ))
        .peer("all", |s| {
            s.peer_selector = "all()".into();
            s.filters = vec!["f".into()];
        })
        .policy("p", json!({"bgpPeers": ["all"], "families": "Together"}));
    let one = session(&world, "a", "Global_10_0_0_2");
    let rules: Vec<(String, bool)> = one
        .filters
        .import
        .iter()
        .map(|rule| {
            let prefixes = rule.prefixes.as_ref().expect("prefixes");
            (prefixes.network.to_string(), rule.accept)
        })
        .collect();
    assert_eq!(
        rules,
        [("0.0.0.0/0".to_string(), true), ("::/0".to_string(), false)]
    );
    assert_eq!(world.intent("a").bgp.sessions.len(), 1);
}

#[test]
fn dynamic_neighbours_bring_nothing_of_the_clusters_own() {
    let neighbours = |more: serde_json::Value| {
        let mut spec = json!({"dynamicNeighbors": [
            {"cidr": "10.20.0.0/16", "asNumber": 65010, "limit": 5}, {"cidr": "10.20.4.0/24", "asNumber": 64512}]});
        for (field, value) in more.as_object().expect("an object") {
            spec[field] = value.clone();
        }
        tor().policy("vms", spec)
    };
    let world = neighbours(json!({}));
    let all = world.intent("a").bgp.dynamic;
    let shown: Vec<_> = all
        .iter()
        .map(|one| (one.range.to_string(), one.remote_as, one.limit, one.imports))
        .collect();
    assert_eq!(
        shown,
        [
            ("10.20.4.0/24".to_string(), 64512, 100, Imports::NONE),
            ("10.20.0.0/16".to_string(), 65010, 5, Imports::NONE),
        ]
    );
    assert_eq!(all[0].max_prefixes, PrefixLimit::DYNAMIC);
    let allowed = neighbours(json!({"imports": {"pods": "Allow"}}))
        .intent("a")
        .bgp
        .dynamic;
    let expected = Imports {
        pods: true,
        ..Imports::NONE
    };
    assert_eq!(allowed[0].imports, expected);
    assert!(
        neighbours(json!({"nodeSelector": "has(x)"}))
            .intent("a")
            .bgp
            .dynamic
            .is_empty()
    );
    neighbours(json!({"dynamicNeighbors": [
        {"cidr": "x", "asNumber": 1}, {"cidr": "10.0.0.0/8"}, {"cidr": "fd00::/8", "asNumber": 1}]}))
    .check_reasons(
        "a",
        &[Reason::FamilyWithoutAddress, Reason::PeerPolicyInvalid, Reason::PeerPolicyInvalid],
    );
}
