//! Sessions, exports and blocks of whole clusters, as Calico's confd renders them and as the how-to shows them.

mod world;

use intent::{
    Community, ExportRule, FilterOperation, FilterRule, Prefixes, Reason, SecretKey,
    SessionFilters, compute,
};
use resource::kinds::{
    BgpConfiguration, BgpConfigurationSpec, BgpFilter, BgpPeerSpec, CidrBlock, NodeBgpSpec,
    WorkloadEndpoint, WorkloadEndpointSpec,
};
use resource::{Key, Metadata};
use world::World;

/// The five nodes behind the captured confd configurations.
fn five() -> World {
    World::default()
        .node("node-1", "10.0.0.1/24", true)
        .node("node-2", "10.0.0.2/24", true)
        .node("node-3", "10.0.0.3/24", false)
        .node("node-4", "10.0.1.4/24", false)
        .node("node-5", "10.0.1.5", false)
        .pool("my-pool", "10.244.0.0/16", |_| {})
        .block("node-3", "10.244.3.0/26", "confirmed")
}

#[test]
fn confd_mesh() {
    let world = five().mesh(true);
    world.check("node-1", &[]);
    world.check(
        "node-3",
        &[
            "Mesh_10_0_1_4 as 64512 source 10.0.0.3 passive",
            "Mesh_10_0_1_5 as 64512 source 10.0.0.3 passive",
        ],
    );
    world.check(
        "node-4",
        &[
            "Mesh_10_0_0_3 as 64512 source 10.0.1.4",
            "Mesh_10_0_1_5 as 64512 source 10.0.1.4 passive",
        ],
    );
}

fn reflectors() -> World {
    five()
        .mesh(false)
        .selectors(
            "peer-with-route-reflectors",
            "!has(route-reflector)",
            "route-reflector == 'true'",
        )
        .selectors("rrs-to-rrs", "has(route-reflector)", "has(route-reflector)")
        .peer("global-tor", |s| {
            s.peer_ip = "192.0.2.1".into();
            s.as_number = Some(65001);
        })
}

#[test]
fn confd_route_reflectors() {
    let world = reflectors();
    world.check(
        "node-1",
        &[
            "Node_10_0_0_2 as 64512 source 10.0.0.1",
            "Node_10_0_0_3 as 64512 source 10.0.0.1 client 244.0.0.1",
            "Node_10_0_1_4 as 64512 source 10.0.0.1 client 244.0.0.1",
            "Node_10_0_1_5 as 64512 source 10.0.0.1 client 244.0.0.1",
            "Global_192_0_2_1 as 65001 source 10.0.0.1",
        ],
    );
    world.check(
        "node-3",
        &[
            "Node_10_0_0_1 as 64512 source 10.0.0.3",
            "Node_10_0_0_2 as 64512 source 10.0.0.3",
            "Global_192_0_2_1 as 65001 source 10.0.0.3",
        ],
    );
    world.check_reasons("node-3", &[]);
}

#[test]
fn confd_export() {
    let intent = reflectors().intent("node-3");
    let block = "10.244.3.0/26".parse().expect("a CIDR");
    let pool = "10.244.0.0/16".parse().expect("a CIDR");
    assert_eq!(
        intent.bgp.export,
        [
            ExportRule::TunnelDevice,
            ExportRule::BpfDevice,
            ExportRule::OwnBlock(block),
            ExportRule::Pool(pool)
        ]
    );
    assert_eq!(intent.bgp.origins, [block].into());
    let other = reflectors().intent("node-1");
    assert_eq!(
        other.bgp.export,
        [
            ExportRule::TunnelDevice,
            ExportRule::BpfDevice,
            ExportRule::Pool(pool)
        ]
    );
    assert!(other.bgp.origins.is_empty());
    assert_eq!(
        other.remote_blocks.get(&block).map(String::as_str),
        Some("node-3")
    );
}

/// The how-to's nodes as its `calicoctl node status` shows them.
#[test]
fn howto_reflectors() {
    let mut world = World::default().mesh(false);
    for host in 81..=85 {
        let name = format!("ip-10-20-1-{host}");
        world = world.node(&name, &format!("10.20.1.{host}/23"), host <= 83);
    }
    let world = world
        .selectors(
            "peer-with-route-reflectors",
            "!has(route-reflector)",
            "route-reflector == 'true'",
        )
        .selectors(
            "rrs-to-rrs",
            "route-reflector == 'true'",
            "route-reflector == 'true'",
        );
    world.check(
        "ip-10-20-1-81",
        &[
            "Node_10_20_1_82 as 64512 source 10.20.1.81",
            "Node_10_20_1_83 as 64512 source 10.20.1.81",
            "Node_10_20_1_84 as 64512 source 10.20.1.81 client 244.0.0.1",
            "Node_10_20_1_85 as 64512 source 10.20.1.81 client 244.0.0.1",
        ],
    );
    world.check(
        "ip-10-20-1-84",
        &[
            "Node_10_20_1_81 as 64512 source 10.20.1.84",
            "Node_10_20_1_82 as 64512 source 10.20.1.84",
            "Node_10_20_1_83 as 64512 source 10.20.1.84",
        ],
    );
}

fn pair() -> World {
    World::default()
        .mesh(false)
        .node("a", "10.0.0.9/24", false)
        .node("b", "10.0.0.10/24", false)
}

#[test]
fn the_greater_text_is_waited_for() {
    // 10.0.0.9 > 10.0.0.10 as text.
    let world = World::default()
        .node("a", "10.0.0.9/24", false)
        .node("b", "10.0.0.10/24", false);
    world.check("a", &["Mesh_10_0_0_10 as 64512 source 10.0.0.9"]);
    world.check("b", &["Mesh_10_0_0_9 as 64512 source 10.0.0.10 passive"]);
}

#[test]
fn a_peer_by_address() {
    let tor = |set: fn(&mut BgpPeerSpec)| {
        pair().peer("tor", |s| {
            s.peer_ip = "192.0.2.2:1790".into();
            s.as_number = Some(65546);
            set(s);
        })
    };
    let world = tor(|s| s.node = "a".into());
    world.check("a", &["Node_192_0_2_2_port_1790 as 65546 source 10.0.0.9"]);
    world.check("b", &[]);
    tor(|_| {}).check(
        "b",
        &["Global_192_0_2_2_port_1790 as 65546 source 10.0.0.10"],
    );
    tor(|s| s.source_address = Some("None".into()))
        .check("b", &["Global_192_0_2_2_port_1790 as 65546"]);
    let session = tor(|s| {
        s.keep_original_next_hop = true;
        s.max_restart_time = Some("1m30s".into());
        s.keepalive_time = Some("20s".into());
        s.ttl_security = Some(1);
    })
    .intent("a")
    .bgp
    .sessions
    .remove(0);
    assert_eq!(session.next_hop, intent::NextHop::Keep);
    assert_eq!(session.restart_time.map(|d| d.as_secs()), Some(90));
    assert_eq!(session.keepalive.map(|d| d.as_secs()), Some(20));
    assert_eq!(session.ttl_hops, Some(1));
}

#[test]
fn a_global_peer_that_is_a_node_gets_the_way_back_and_one_side_waits() {
    let world = pair().peer("b-for-all", |s| {
        s.peer_ip = "10.0.0.10".into();
        s.as_number = Some(64512);
    });
    world.check("a", &["Global_10_0_0_10 as 64512 source 10.0.0.9"]);
    world.check("b", &["Node_10_0_0_9 as 64512 source 10.0.0.10"]);
    let other_as = pair().peer("b-for-all", |s| {
        s.peer_ip = "10.0.0.10".into();
        s.as_number = Some(64999);
    });
    other_as.check("b", &[]);
    let world = pair().peer("a-for-all", |s| {
        s.peer_ip = "10.0.0.9".into();
        s.as_number = Some(64512);
    });
    world.check("b", &["Global_10_0_0_9 as 64512 source 10.0.0.10 passive"]);
}

#[test]
fn reverse_peering_can_be_off() {
    let world = |reverse: Option<&str>| {
        let reverse = reverse.map(String::from);
        pair().peer("a-to-b", |s| {
            s.node = "a".into();
            s.peer_selector = "all()".into();
            s.reverse_peering = reverse;
        })
    };
    world(None).check("b", &["Node_10_0_0_9 as 64512 source 10.0.0.10"]);
    world(Some("Manual")).check("b", &[]);
    world(Some("Manual")).check("a", &["Node_10_0_0_10 as 64512 source 10.0.0.9"]);
}

#[test]
fn different_clusters_are_clients_of_each_other() {
    let world = World::default()
        .mesh(false)
        .node("a", "10.0.0.1/24", true)
        .node_with("b", "10.0.0.2/24", true, |b| {
            b.route_reflector_cluster_id = "244.0.0.2".into()
        })
        .selectors("rrs", "has(route-reflector)", "has(route-reflector)");
    world.check(
        "a",
        &["Node_10_0_0_2 as 64512 source 10.0.0.1 client 244.0.0.1"],
    );
    world.check(
        "b",
        &["Node_10_0_0_1 as 64512 source 10.0.0.2 client 244.0.0.2"],
    );
}

#[test]
fn an_external_peer_in_our_as_is_a_client() {
    let world = reflectors().peer("vm", |s| {
        s.peer_ip = "10.0.0.200".into();
        s.as_number = Some(64512);
        s.node_selector = "has(route-reflector)".into();
    });
    let intent = world.intent("node-1");
    let session = intent
        .bgp
        .sessions
        .iter()
        .find(|s| s.name == "Node_10_0_0_200")
        .expect("a session");
    assert_eq!(session.rr_client, Some([244, 0, 0, 1].into()));
}

#[test]
fn own_as_and_ports_of_nodes() {
    let world = World::default()
        .settings(|s| {
            s.as_number = Some(64600);
            s.listen_port = Some(1179);
        })
        .node("a", "10.0.0.1/24", false)
        .node_with("b", "10.0.0.2/24", false, |b| b.as_number = Some(64700))
        .object(BgpConfiguration::new(
            Metadata::named("node.b"),
            BgpConfigurationSpec {
                listen_port: Some(2179),
                ..Default::default()
            },
        ));
    world.check(
        "a",
        &["Mesh_10_0_0_2_port_2179 as 64700 source 10.0.0.1 passive"],
    );
    world.check("b", &["Mesh_10_0_0_1_port_1179 as 64600 source 10.0.0.2"]);
}

#[test]
fn where_a_node_listens() {
    let listen = |mode: Option<&str>| {
        let mode = mode.map(String::from);
        let world = World::default().settings(|s| s.bind_mode = mode).node_with(
            "a",
            "10.0.0.1/24",
            false,
            |b| b.ipv6_address = "fd00::1/64".into(),
        );
        let listen = world.intent("a").bgp.listen;
        listen.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(listen(None), ["0.0.0.0:179", "[::]:179"]);
    assert_eq!(listen(Some("NodeIP")), ["10.0.0.1:179", "[fd00::1]:179"]);
}

#[test]
fn two_families() {
    let v6 = |address: &'static str| move |b: &mut NodeBgpSpec| b.ipv6_address = address.into();
    let world = World::default()
        .node_with("a", "10.0.0.1/24", false, v6("fd00::1/64"))
        .node_with("b", "10.0.0.2/24", false, v6("fd00::2/64"))
        .node("c", "10.0.0.3/24", false);
    world.check(
        "a",
        &[
            "Mesh_10_0_0_2 as 64512 source 10.0.0.1 passive",
            "Mesh_10_0_0_3 as 64512 source 10.0.0.1 passive",
            "Mesh_fd00__2 as 64512 source fd00::1 passive",
        ],
    );
}

#[test]
fn what_is_refused_has_a_name() {
    pair().check_reasons("z", &[Reason::NodeMissing]);
    let world = reflectors().selectors("twice", "!has(route-reflector)", "has(route-reflector)");
    world.check_reasons(
        "node-3",
        &[Reason::SessionDuplicate, Reason::SessionDuplicate],
    );
    world.check_reasons("node-1", &[]);
    let bad = |set: fn(&mut BgpPeerSpec)| pair().peer("bad", set);
    bad(|s| s.peer_ip = "10.0.0".into()).check_reasons("a", &[Reason::PeerIpInvalid]);
    bad(|s| s.peer_ip = "10.0.0.77".into()).check_reasons("a", &[Reason::PeerAsMissing]);
    bad(|s| s.peer_selector = "has(".into()).check_reasons("a", &[Reason::SelectorInvalid]);
    bad(|s| {
        s.peer_ip = "fd00::7".into();
        s.as_number = Some(1);
    })
    .check_reasons("a", &[Reason::FamilyWithoutAddress]);
    bad(|s| {
        s.peer_selector = "all()".into();
        s.next_hop_mode = Some("Sideways".into());
    })
    .check_reasons("a", &[Reason::PeerFieldInvalid]);
    bad(|s| {
        s.peer_selector = "all()".into();
        s.reachable_by = "10.0.0.9".into();
    })
    .check_reasons("a", &[Reason::PeerFieldInvalid]);
    bad(|s| {
        s.peer_ip = "10.0.0.77".into();
        s.as_number = Some(1);
        s.password = Some(Default::default());
    })
    .check_reasons("a", &[Reason::PasswordInvalid]);
    bad(|s| s.local_workload_selector = "all()".into())
        .check_reasons("a", &[Reason::PeerAsMissing]);
    World::default()
        .node("a", "10.0.0.9/24", false)
        .settings(|s| s.node_mesh_password = Some(Default::default()))
        .check_reasons("a", &[Reason::PasswordInvalid]);
    bad(|s| {
        s.peer_selector = "all()".into();
        s.filters = vec!["f".into()];
    })
    .check_reasons("a", &[Reason::BgpFilterMissing]);
    bad(|_| {}).check_reasons("a", &[]);
    let node = pair().node_with("c", "10.0.0/24", false, |b| {
        b.route_reflector_cluster_id = "one".into()
    });
    node.check_reasons("b", &[Reason::NodeAddressInvalid, Reason::ClusterIdInvalid]);
    let pools = pair()
        .pool("p1", "10.1.0.0/16", |_| {})
        .pool("p2", "10.1.2.0/24", |_| {})
        .pool("p3", "x", |_| {});
    pools.check_reasons("a", &[Reason::PoolCidrInvalid, Reason::PoolOverlap]);
    assert_eq!(pools.intent("a").pools.keys().collect::<Vec<_>>(), ["p1"]);
    let broken = pair().entry(Key::cluster(resource::Kind::IpPool, "p"), "{");
    broken.check_reasons("a", &[Reason::MalformedResource]);
    let symptoms = include_str!("../../../docs/symptoms.md");
    for reason in Reason::ALL {
        let name = reason.as_str();
        assert!(
            symptoms.contains(&format!("\n| `{name}` |")),
            "docs/symptoms.md has no row for {name}"
        );
        assert!(
            name.chars().all(|c| c.is_ascii_lowercase() || c == '-'),
            "{name}"
        );
    }
    let text = compute(&pair().resources(), "z").refusals[0].to_string();
    assert_eq!(
        text,
        "node-missing: Node(z): it is not in the store. Start `selvedge node run` again, or apply a Node of this name."
    );
}

#[test]
fn only_confirmed_blocks_count() {
    let world = |state: &str| {
        pair()
            .pool("p", "10.1.0.0/16", |_| {})
            .block("a", "10.1.0.0/26", state)
    };
    assert_eq!(
        world("confirmed").intent("a").own_blocks.len(),
        1,
        "control"
    );
    world("confirmed").check_reasons("a", &[]);
    for state in ["pending", "pendingDeletion"] {
        let intent = world(state).intent("a");
        assert!(
            intent.own_blocks.is_empty() && intent.bgp.origins.is_empty(),
            "{state}"
        );
        world(state).check_reasons("a", &[Reason::AffinityNotConfirmed]);
        assert!(world(state).intent("b").remote_blocks.is_empty(), "{state}");
    }
    let legacy = pair().entry(
        Key::BlockAffinity {
            host: "a".into(),
            cidr: "10.1.0.0/26".parse().expect("a CIDR"),
        },
        "",
    );
    assert_eq!(
        legacy.intent("a").own_blocks.len(),
        1,
        "an empty value is a confirmed affinity of old"
    );
    let block = |owner: &str| {
        let cidr = "10.1.0.0/26".parse().expect("a CIDR");
        let value = format!(
            r#"{{"cidr":"10.1.0.0/26","affinity":"host:{owner}","allocations":[],"unallocated":[],"attributes":[]}}"#
        );
        world("confirmed").entry(Key::Block(cidr), value)
    };
    assert_eq!(block("a").intent("a").own_blocks.len(), 1, "control");
    assert!(block("b").intent("a").own_blocks.is_empty());
    block("b").check_reasons("a", &[Reason::BlockOfAnother]);
}

#[test]
fn borrowed_addresses_and_service_ranges_are_originated() {
    let world = World::default()
        .settings(|s| {
            s.service_cluster_ips = vec![CidrBlock {
                cidr: "10.210.0.0/24".into(),
            }]
        })
        .node("a", "10.0.0.1/24", false)
        .pool("p", "10.1.0.0/16", |_| {})
        .block("a", "10.1.0.0/26", "confirmed")
        .workload("a", "own", "10.1.0.1/32")
        .workload("a", "borrowed", "10.1.7.1/32")
        .workload("a", "elsewhere", "192.0.2.1/32")
        .workload("b", "other", "10.1.7.2/32");
    let intent = world.intent("a");
    let net = |text: &str| text.parse().expect("a CIDR");
    let origins = [net("10.1.0.0/26"), net("10.1.7.1/32"), net("10.210.0.0/24")];
    assert_eq!(intent.bgp.origins, origins.into());
    assert_eq!(
        intent.bgp.export,
        [
            ExportRule::TunnelDevice,
            ExportRule::BpfDevice,
            ExportRule::OwnBlock(net("10.1.0.0/26")),
            ExportRule::ServiceRoute(net("10.210.0.0/24")),
            ExportRule::Pool(net("10.1.0.0/16")),
        ]
    );
    assert_eq!(intent.workloads.len(), 3);
}

#[test]
fn withheld_pools_come_first() {
    let world = pair()
        .pool("open", "10.1.0.0/16", |_| {})
        .pool("shut", "10.2.0.0/16", |s| s.disable_bgp_export = true);
    let net = |text: &str| text.parse().expect("a CIDR");
    assert_eq!(
        world.intent("a").bgp.export,
        [
            ExportRule::WithheldPool(net("10.2.0.0/16")),
            ExportRule::TunnelDevice,
            ExportRule::BpfDevice,
            ExportRule::Pool(net("10.1.0.0/16"))
        ]
    );
}

#[test]
fn cross_subnet_is_decided_by_the_next_hop() {
    use resource::kinds::EncapMode;
    let world = |address: &str| {
        World::default()
            .node("a", address, false)
            .pool("p", "10.1.0.0/16", |s| {
                s.ipip_mode = Some(EncapMode::CrossSubnet)
            })
    };
    let needs = |address: &str, next_hop: [u8; 4]| {
        let intent = world(address).intent("a");
        intent.pools["p"].needs_ipip(intent.lan(), next_hop.into())
    };
    assert!(!needs("10.20.1.84/23", [10, 20, 0, 7]));
    assert!(needs("10.20.1.84/23", [10, 20, 2, 7]));
    assert!(
        needs("10.20.1.84", [10, 20, 1, 85]),
        "without a length nothing is near"
    );
    let tunnel = world("10.20.1.84/23").intent("a").ipip.expect("a tunnel");
    assert_eq!(
        (tunnel.address, tunnel.pools),
        (None, vec!["p".to_string()])
    );
    assert!(
        pair()
            .pool("p", "10.1.0.0/16", |_| {})
            .intent("a")
            .ipip
            .is_none(),
        "control"
    );
}

/// Filters in the order of the BGPPeer, each list with its own family and direction; the mesh has none.
#[test]
fn bgp_filters_of_a_session() {
    let filter = |name: &str, spec: serde_json::Value| {
        let spec = serde_json::from_value(spec).expect("a BGPFilter's spec");
        BgpFilter::new(Metadata::named(name), spec)
    };
    let world = World::default()
        .node("a", "10.0.0.1/24", false)
        .node("b", "10.0.0.2/24", false)
        .object(filter(
            "first",
            serde_json::json!({
                "importV4": [
                    {"action": "Accept", "cidr": "10.0.0.0/8", "matchOperator": "In", "prefixLength": {"min": 24}},
                    {"action": "Reject", "cidr": "10.0.0.0/8", "matchOperator": "NotEqual", "source": "RemotePeers"},
                ],
                "importV6": [{"action": "Reject"}],
                "exportV4": [{
                    "action": "Accept", "interface": "eth*", "peerType": "eBGP", "priority": 1024,
                    "communities": {"values": ["64512:7"]}, "asPathPrefix": [65001],
                    "operations": [{"addCommunity": {"value": "1:2:3"}}, {"prependASPath": {"prefix": [7]}},
                        {"setPriority": {"value": 512}}],
                }],
            }),
        ))
        .object(filter(
            "second",
            serde_json::json!({"importV4": [{"action": "Sometimes"}]}),
        ))
        .peer("tor", |s| {
            s.peer_ip = "10.0.0.9".into();
            s.as_number = Some(65001);
            s.filters = vec!["first".into(), "second".into()];
        });
    world.check_reasons("a", &[Reason::BgpFilterInvalid]);
    let intent = world.intent("a");
    let filters = |name: &str| {
        let session = intent.bgp.sessions.iter().find(|s| s.name == name);
        session.expect("such a session").filters.clone()
    };
    assert_eq!(filters("Mesh_10_0_0_2"), SessionFilters::default());
    let SessionFilters { import, export } = filters("Global_10_0_0_9");
    let prefixes = |lengths, negate| {
        Some(Prefixes {
            network: "10.0.0.0/8".parse().expect("a CIDR"),
            lengths,
            negate,
        })
    };
    let expected = [
        FilterRule {
            name: "BGPFilter(first) importV4 rule 1".into(),
            prefixes: prefixes(24..=32, false),
            accept: true,
            ..FilterRule::default()
        },
        FilterRule {
            name: "BGPFilter(first) importV4 rule 2".into(),
            prefixes: prefixes(8..=8, true),
            from_peers: true,
            ..FilterRule::default()
        },
        // What cannot be read keeps everything back.
        FilterRule {
            name: "BGPFilter(second) importV4 rule 1".into(),
            ..FilterRule::default()
        },
    ];
    assert_eq!(import, expected);
    let expected = FilterRule {
        name: "BGPFilter(first) exportV4 rule 1".into(),
        interface: Some("eth*".into()),
        ebgp: Some(true),
        community: Some(Community::Standard(64512 << 16 | 7)),
        as_path_prefix: vec![65001],
        local_pref: Some(2_147_482_623),
        accept: true,
        operations: vec![
            FilterOperation::AddCommunity(Community::Large([1, 2, 3])),
            FilterOperation::PrependAsPath(vec![7]),
            FilterOperation::SetLocalPref(2_147_483_135),
        ],
        ..FilterRule::default()
    };
    assert_eq!(export, [expected]);
}

/// Communities of prefixes: values and names, the outer prefixes' too, a node's own in place of the default ones.
#[test]
fn communities_of_prefix_advertisements() {
    let spec = |text: serde_json::Value| -> BgpConfigurationSpec {
        serde_json::from_value(text).expect("a BGPConfiguration's spec")
    };
    let configuration = |name: &str, text| BgpConfiguration::new(Metadata::named(name), spec(text));
    let world = World::default()
        .node("a", "10.0.0.1/24", false)
        .node("b", "10.0.0.2/24", false)
        .object(configuration(
            "default",
            serde_json::json!({
                "communities": [{"name": "blue", "value": "64512:7"}],
                "prefixAdvertisements": [
                    {"cidr": "10.244.0.0/16", "communities": ["blue", "1:2:3"]},
                    {"cidr": "10.244.1.0/24", "communities": ["64512:8"]},
                    {"cidr": "10.9.0.0/16", "communities": ["green"]},
                ],
            }),
        ))
        .object(configuration(
            "node.b",
            serde_json::json!({"prefixAdvertisements": [{"cidr": "10.244.0.0/16", "communities": ["9:9"]}]}),
        ));
    let net = |text: &str| text.parse::<ipnet::IpNet>().expect("a CIDR");
    let standard = |low: u32| Community::Standard(64512 << 16 | low);
    let large = Community::Large([1, 2, 3]);
    assert_eq!(
        world.intent("a").bgp.communities,
        [
            (net("10.244.1.0/24"), vec![standard(7), standard(8), large]),
            (net("10.244.0.0/16"), vec![standard(7), large]),
        ]
    );
    world.check_reasons("a", &[Reason::PrefixAdvertisementInvalid]);
    let own = Community::Standard(9 << 16 | 9);
    assert_eq!(
        world.intent("b").bgp.communities,
        [(net("10.244.0.0/16"), vec![own])]
    );
    world.check_reasons("b", &[]);
}

fn secret(name: &str) -> resource::kinds::BgpPassword {
    let text = format!(r#"{{"secretKeyRef":{{"name":"{name}","key":"password"}}}}"#);
    serde_json::from_str(&text).expect("a password")
}

#[test]
fn passwords_are_names_of_secrets() {
    let world = World::default()
        .settings(|s| s.node_mesh_password = Some(secret("mesh")))
        .node("a", "10.0.0.1/24", false)
        .node("b", "10.0.0.2/24", false)
        .peer("tor", |s| {
            s.peer_ip = "192.0.2.1".into();
            s.as_number = Some(65001);
            s.password = Some(secret("tor"));
        })
        .peer("open", |s| {
            s.peer_ip = "192.0.2.2".into();
            s.as_number = Some(65001);
        });
    let key = |name: &str| {
        Some(SecretKey {
            name: name.into(),
            key: "password".into(),
            optional: false,
        })
    };
    let sessions = world.intent("a").bgp.sessions;
    let passwords: Vec<_> = sessions.into_iter().map(|s| (s.name, s.password)).collect();
    assert_eq!(
        passwords,
        [
            ("Mesh_10_0_0_2".to_string(), key("mesh")),
            ("Global_192_0_2_1".to_string(), key("tor")),
            ("Global_192_0_2_2".to_string(), None),
        ]
    );
    for name in ["../shadow", "", "a/b", ".hidden"] {
        let world = pair().peer("tor", |s| {
            s.peer_ip = "192.0.2.1".into();
            s.as_number = Some(65001);
            s.password = Some(secret(name));
        });
        world.check("a", &[]);
        world.check_reasons("a", &[Reason::PasswordInvalid]);
    }
}

#[test]
fn a_peer_behind_a_gateway_of_its_own() {
    let world = |set: fn(&mut BgpPeerSpec)| {
        pair().peer("tor", |s| {
            s.node = "a".into();
            s.peer_ip = "192.0.2.1".into();
            s.as_number = Some(65001);
            set(s);
        })
    };
    let by = |set| world(set).intent("a").bgp.reachable_by;
    let there = by(|s| s.reachable_by = "10.0.0.254".into());
    assert_eq!(
        there,
        [([192, 0, 2, 1].into(), [10, 0, 0, 254].into())].into()
    );
    assert!(by(|_| {}).is_empty(), "control");
    let wrong = world(|s| s.reachable_by = "fd00::1".into());
    wrong.check("a", &[]);
    wrong.check_reasons("a", &[Reason::PeerFieldInvalid]);
}

#[test]
fn local_workloads_dial_the_node() {
    let workload = |node: &str, name: &str, role: &str, addresses: &[&str]| {
        let spec = WorkloadEndpointSpec {
            node: node.into(),
            interface_name: format!("cali{name}"),
            ip_networks: addresses.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        let mut metadata = Metadata::namespaced("default", name);
        metadata.labels.insert("role".into(), role.into());
        WorkloadEndpoint::new(metadata, spec)
    };
    let world = World::default()
        .node("a", "10.0.0.9/24", false)
        .node("b", "10.0.0.10/24", false)
        .settings(|s| {
            s.node_to_node_mesh_enabled = Some(false);
            s.local_workload_peering_ipv4 = "10.99.99.99".into();
        })
        .object(workload(
            "a",
            "router",
            "router",
            &["10.1.0.1/32", "fd00:1::1/128"],
        ))
        .object(workload("a", "web", "web", &["10.1.0.2/32"]))
        .object(workload("b", "far", "router", &["10.1.7.1/32"]))
        .peer("vms", |s| {
            s.local_workload_selector = "role == 'router'".into();
            s.as_number = Some(65100);
            s.local_as_number = Some(64999);
        });
    // The node has no IPv6 address, so that family has no sessions.
    world.check("a", &["Local_Workload_10_1_0_1 as 65100 passive"]);
    world.check("b", &["Local_Workload_10_1_7_1 as 65100 passive"]);
    let bgp = world.intent("a").bgp;
    assert_eq!(bgp.sessions[0].local_as, 64999);
    let own = [std::net::IpAddr::from([10, 99, 99, 99])];
    assert_eq!(
        bgp.workload_peering,
        [("calirouter".to_string(), own.into())].into()
    );
    world.check_reasons("a", &[]);
}

/// Calico looks only at the address: whoever has the greater one waits, though the AS is no node's.
#[test]
fn one_side_of_a_global_peering_with_a_nodes_address_waits() {
    let world = |address: &'static str| {
        pair().peer("odd", |s| {
            s.peer_ip = address.into();
            s.as_number = Some(64999);
        })
    };
    world("10.0.0.9").check("b", &["Global_10_0_0_9 as 64999 source 10.0.0.10 passive"]);
    world("10.0.0.99").check("b", &["Global_10_0_0_99 as 64999 source 10.0.0.10"]);
}

#[test]
fn an_as_of_a_session_is_the_other_side_s_peer_as() {
    let world = |set: fn(&mut BgpPeerSpec)| {
        pair().peer("a-to-b", |s| {
            s.node = "a".into();
            s.peer_ip = "10.0.0.10".into();
            s.as_number = Some(64512);
            s.local_as_number = Some(65000);
            s.num_allowed_local_as_numbers = Some(2);
            set(s);
        })
    };
    let one = |world: &World, node: &str| world.intent(node).bgp.sessions.remove(0);
    let there = one(&world(|_| {}), "a");
    let ases = |s: &intent::Session| (s.local_as, s.remote_as, s.allow_own_as);
    assert_eq!(ases(&there), (65000, 64512, 2));
    let back = one(&world(|_| {}), "b");
    assert_eq!(ases(&back), (64512, 65000, 0));
    // With peerSelector both fields are passed over.
    let selected = world(|s| {
        s.peer_ip = String::new();
        s.as_number = None;
        s.peer_selector = "all()".into();
    });
    assert_eq!(ases(&one(&selected, "a")), (64512, 64512, 0));
}

/// Two BGPPeers for one peer: the first by name, global ones before a node's own, and the other is named.
#[test]
fn of_two_bgp_peers_the_first_by_name_counts() {
    let world = |first: &str, second: &str, second_is_global: bool| {
        let peer = |hops| {
            move |s: &mut BgpPeerSpec| {
                s.peer_ip = "192.0.2.1".into();
                s.as_number = Some(65001);
                s.ttl_security = Some(hops);
            }
        };
        pair()
            .peer(first, |s| {
                peer(1)(s);
                s.node = "a".into();
            })
            .peer(second, |s| {
                peer(2)(s);
                if !second_is_global {
                    s.node_selector = "all()".into();
                }
            })
    };
    let chosen = |world: World| {
        world.check_reasons("a", &[Reason::SessionDuplicate]);
        world.intent("a").bgp.sessions.remove(0).because
    };
    assert_eq!(chosen(world("x", "y", false)), "BGPPeer(x)");
    assert_eq!(chosen(world("y", "x", false)), "BGPPeer(x)");
    assert_eq!(chosen(world("x", "y", true)), "BGPPeer(y)");
    world("x", "y", true).check_reasons("b", &[]);
}

#[test]
fn a_reflector_passes_on_load_balancer_ranges() {
    let world = |reflector: bool| {
        World::default()
            .settings(|s| {
                s.service_load_balancer_ips = vec![CidrBlock {
                    cidr: "192.0.2.0/24".into(),
                }]
            })
            .node_with("a", "10.0.0.1/24", reflector, |_| {})
    };
    let range = "192.0.2.0/24".parse().expect("a CIDR");
    let has = |reflector| {
        let export = world(reflector).intent("a").bgp.export;
        export.contains(&ExportRule::ReflectedServices(range))
    };
    assert!(has(true) && !has(false));
}

#[test]
fn a_borrowed_tunnel_address_is_originated() {
    let origins = |block: &str| {
        let world = World::default()
            .node_with("a", "10.0.0.1/24", false, |b| {
                b.ipv4_ipip_tunnel_addr = "10.1.0.1".into()
            })
            .pool("p", "10.1.0.0/16", |s| {
                s.ipip_mode = Some(resource::kinds::EncapMode::Always)
            })
            .block("a", block, "confirmed");
        world.intent("a").bgp.origins
    };
    let net = |text: &str| text.parse::<ipnet::IpNet>().expect("a CIDR");
    assert_eq!(
        origins("10.1.7.0/26"),
        [net("10.1.0.1/32"), net("10.1.7.0/26")].into()
    );
    assert_eq!(origins("10.1.0.0/26"), [net("10.1.0.0/26")].into());
}
