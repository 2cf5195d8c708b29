//! Sessions of nodes that run, with real BIRDs as peers: passwords that come and change, policies, and what does not flap.

mod world;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use resource::Metadata;
use resource::kinds::{BgpConfiguration, BgpFilter, BgpPassword, BgpPeer, BgpPeerSpec, PeerPolicy};
use world::bird::{Bird, birdc};
use world::{World, in_own_namespaces, run, wait_for};

const SECOND: Duration = Duration::from_secs(1);

/// `show protocols` of a node's agent: name, then state, since and info.
fn protocols(world: &World, node: &str) -> BTreeMap<String, String> {
    protocols_of(world, node, "bird.ctl")
}

fn protocols_of(world: &World, node: &str, socket: &str) -> BTreeMap<String, String> {
    let socket = world.directory(node).join("run").join(socket);
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return BTreeMap::new();
    };
    stream.write_all(b"show protocols\n").expect("asked");
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let rows = lines.take_while(|line| !line.starts_with("0000"));
    let row = |line: String| {
        let words: Vec<&str> = line
            .trim_start_matches("1002-")
            .split_whitespace()
            .collect();
        let [name, "BGP", _, rest @ ..] = &words[..] else {
            return None;
        };
        Some(((*name).to_string(), rest.join(" ")))
    };
    rows.filter_map(row).collect()
}

fn is_up(world: &World, node: &str, session: &str) -> bool {
    protocols(world, node)
        .get(session)
        .is_some_and(|s| s.ends_with("Established"))
}

#[track_caller]
fn wait_up(world: &World, node: &str, session: &str) {
    wait_for(
        session,
        20 * SECOND,
        || is_up(world, node, session),
        || format!("{:#?}\n{}", protocols(world, node), world.log(node)),
    );
}

fn peer(name: &str, address: &str, asn: u32, set: impl FnOnce(&mut BgpPeerSpec)) -> BgpPeer {
    let mut spec = BgpPeerSpec {
        node: "n84".into(),
        peer_ip: address.into(),
        as_number: Some(asn),
        ..Default::default()
    };
    set(&mut spec);
    BgpPeer::new(Metadata::named(name), spec)
}

fn secret(name: &str) -> Option<BgpPassword> {
    let text = format!(r#"{{"secretKeyRef":{{"name":"{name}","key":"password"}}}}"#);
    Some(serde_json::from_str(&text).expect("a password"))
}

fn write_secret(world: &World, node: &str, name: &str, word: &str) {
    let directory = world.directory(node).join("secrets").join(name);
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::write(directory.join("password"), word).expect("written");
}

fn configuration(spec: serde_json::Value) -> BgpConfiguration {
    let spec = serde_json::from_value(spec).expect("a BGPConfiguration's spec");
    BgpConfiguration::new(Metadata::named("default"), spec)
}

fn policy(name: &str, spec: serde_json::Value) -> PeerPolicy {
    let spec = serde_json::from_value(spec).expect("a PeerPolicy's spec");
    PeerPolicy::new(Metadata::named(name), spec)
}

fn lan(world: &World, hosts: &[(&str, &str)]) {
    for (name, address) in hosts {
        world.host(name, &format!("{address}/23"));
    }
    world.pool("pool", "10.200.0.0/23", |_| {});
}

#[test]
fn a_missing_password_concerns_its_own_session_only() {
    let test = "a_missing_password_concerns_its_own_session_only";
    in_own_namespaces(test, |directory| {
        let mut world = World::new(directory, test);
        lan(
            &world,
            &[
                ("n84", "10.20.1.84"),
                ("vm", "10.20.1.206"),
                ("open", "10.20.1.207"),
            ],
        );
        world.apply(peer("locked", "10.20.1.206", 65001, |s| {
            s.password = secret("vm")
        }));
        world.apply(peer("open", "10.20.1.207", 65002, |_| {}));
        world.start("n84");
        let word = "password \"first word\";";
        let _vm = Bird::start_with("vm", "10.20.1.206", 65001, &[], &["10.20.1.84"], word);
        let _open = Bird::start("open", "10.20.1.207", 65002, &[], &["10.20.1.84"]);
        let (locked, open) = ("Node_10_20_1_206", "Node_10_20_1_207");
        wait_up(&world, "n84", open);
        let since = protocols(&world, "n84")[open].clone();
        // It has a name where people look, and nothing went out or was let in without the password.
        let state = || protocols(&world, "n84")[locked].clone();
        assert!(state().contains("password-unavailable"), "{}", state());
        let health = || {
            std::fs::read_to_string(world.directory("n84").join("run/health.json"))
                .unwrap_or_default()
        };
        assert!(
            health().contains("password-missing: Node_10_20_1_206"),
            "{}",
            health()
        );
        assert!(
            world.log("n84").contains("vm/password is not there"),
            "{}",
            world.log("n84")
        );

        write_secret(&world, "n84", "vm", "first word\n");
        wait_up(&world, "n84", locked);
        wait_for(
            "health without it",
            5 * SECOND,
            || !health().contains("password-missing"),
            health,
        );
        // Away again: the session ends, and the other stands all the while.
        std::fs::remove_dir_all(world.directory("n84").join("secrets/vm")).expect("removed");
        wait_for(
            "no session",
            20 * SECOND,
            || state().contains("password-unavailable"),
            state,
        );
        assert_eq!(protocols(&world, "n84")[open], since, "a flap");
    });
}

/// Nothing that is said of others, and no filter, policy or password of its own, ends a session.
#[test]
fn a_session_outlives_what_does_not_concern_it() {
    let test = "a_session_outlives_what_does_not_concern_it";
    in_own_namespaces(test, |directory| {
        let mut world = World::new(directory, test);
        lan(
            &world,
            &[
                ("n84", "10.20.1.84"),
                ("n85", "10.20.1.85"),
                ("vm", "10.20.1.206"),
            ],
        );
        let mesh = serde_json::json!({"nodeMeshPassword": {"secretKeyRef": {"name": "mesh", "key": "password"}}});
        world.apply(configuration(mesh.clone()));
        for node in ["n84", "n85"] {
            write_secret(&world, node, "mesh", "old");
        }
        world.apply(peer("vm", "10.20.1.206", 65001, |_| {}));
        world.start("n84");
        world.start("n85");
        let _vm = Bird::start(
            "vm",
            "10.20.1.206",
            65001,
            &["10.200.0.64/26"],
            &["10.20.1.84"],
        );
        let watched = ["Mesh_10_20_1_85", "Node_10_20_1_206"];
        for session in watched {
            wait_up(&world, "n84", session);
        }
        let route = "10.200.0.64/26 via 10.20.1.206 dev ens192 proto bird";
        world.wait_route("n84", route);
        // The agent's own count tells more than the clock's seconds: it is of each time that a session came up.
        let before = protocols(&world, "n84");
        let established = |session: &str| {
            let line = format!("{session} is established");
            world.log("n84").matches(&line).count()
        };
        assert_eq!(watched.map(established), [1, 1]);

        // Another peer comes, changes and goes.
        world.apply(peer("other", "10.20.1.210", 65009, |_| {}));
        wait_for(
            "the other peer",
            10 * SECOND,
            || protocols(&world, "n84").contains_key("Node_10_20_1_210"),
            || world.log("n84"),
        );
        world.apply(peer("other", "10.20.1.210", 65010, |s| {
            s.ttl_security = Some(1)
        }));
        world.delete(&resource::Key::cluster(resource::Kind::BgpPeer, "other"));
        // Filters, communities, policies, a pool.
        let filter = serde_json::json!({"importV4": [{"action": "Reject"}]});
        let filter = serde_json::from_value(filter).expect("a BGPFilter's spec");
        world.apply(BgpFilter::new(Metadata::named("none"), filter));
        world.apply(peer("vm", "10.20.1.206", 65001, |s| {
            s.filters = vec!["none".into()]
        }));
        wait_for(
            "the filter at work",
            10 * SECOND,
            || !world.routes("n84").contains("10.200.0.64/26"),
            || world.log("n84"),
        );
        world.apply(peer("vm", "10.20.1.206", 65001, |s| {
            s.keep_original_next_hop = true
        }));
        world.wait_route("n84", route);
        let refuse = serde_json::json!({"bgpPeers": ["vm"], "imports": {"pods": "Deny"}, "maxPrefixes": {"limit": 5}});
        world.apply(policy("vm", refuse));
        wait_for(
            "the policy at work",
            10 * SECOND,
            || !world.routes("n84").contains("10.200.0.64/26"),
            || world.log("n84"),
        );
        world.pool("second", "10.201.0.0/24", |_| {});
        // The mesh's password changes under the sessions: the two sides do so a moment apart.
        for node in ["n84", "n85"] {
            write_secret(&world, node, "mesh", "new");
        }
        // What is told over the mesh from now on is signed with it.
        world.block("n85", "10.200.1.192/26");
        world.wait_route(
            "n84",
            "10.200.1.192/26 via 10.20.1.85 dev ens192 proto bird",
        );
        let after = protocols(&world, "n84");
        for session in watched {
            assert_eq!(after[session], before[session]);
            assert_eq!(established(session), 1, "{session}:\n{}", world.log("n84"));
        }
        // The control: its own AS is said in OPEN, so that it is another session.
        world.apply(peer("vm", "10.20.1.206", 65001, |s| {
            s.local_as_number = Some(64999)
        }));
        wait_for(
            "the session's end",
            10 * SECOND,
            || !is_up(&world, "n84", watched[1]),
            || format!("{:#?}", protocols(&world, "n84")),
        );
        assert_eq!(protocols(&world, "n84")[watched[0]], before[watched[0]]);
    });
}

/// A router with a BGPPeer brings what it likes, which is said; who is let in by a range brings nothing of the cluster's.
#[test]
fn who_brings_pod_and_default_routes() {
    let test = "who_brings_pod_and_default_routes";
    in_own_namespaces(test, |directory| {
        let mut world = World::new(directory, test);
        let hosts = [
            ("n84", "10.20.1.84"),
            ("tor", "10.20.1.206"),
            ("vm", "10.20.0.7"),
            ("out", "10.20.1.9"),
        ];
        lan(&world, &hosts);
        world.apply(peer("tor", "10.20.1.206", 65001, |_| {}));
        let vms =
            serde_json::json!({"dynamicNeighbors": [{"cidr": "10.20.0.0/24", "asNumber": 65010}]});
        world.apply(policy("vms", vms.clone()));
        world.start("n84");
        world.block("n84", "10.200.0.192/26");
        let claims = |own, other| [own, "0.0.0.0/0", other];
        let _tor = Bird::start(
            "tor",
            "10.20.1.206",
            65001,
            &claims("10.200.0.64/26", "172.16.0.0/16"),
            &["10.20.1.84"],
        );
        let _vm = Bird::start(
            "vm",
            "10.20.0.7",
            65010,
            &claims("10.200.1.64/26", "172.17.0.0/16"),
            &["10.20.1.84"],
        );
        let _out = Bird::start("out", "10.20.1.9", 65010, &[], &["10.20.1.84"]);
        wait_up(&world, "n84", "Node_10_20_1_206");
        wait_up(&world, "n84", "Node_10.20.0.7");
        world.wait_route(
            "n84",
            "10.200.0.64/26 via 10.20.1.206 dev ens192 proto bird",
        );
        let log = || world.log("n84");
        for (what, field) in [
            ("pod routes such as 10.200.0.64/26", "pods"),
            ("default routes such as 0.0.0.0/0", "defaultRoute"),
        ] {
            let text = format!(
                "import-unguarded: BGPPeer(tor): Node_10_20_1_206 brings {what}, as Calico allows. A PeerPolicy with imports.{field}: Deny"
            );
            wait_for(&text, 5 * SECOND, || log().contains(&text), log);
        }
        // What is nobody's is written to the kernel, whoever brings it; the default route is taken already, which is said.
        world.wait_route("n84", "172.16.0.0/16 via 10.20.1.206 dev ens192 proto bird");
        world.wait_route("n84", "172.17.0.0/16 via 10.20.0.7 dev ens192 proto bird");
        let taken = "route-key-taken: default via 10.20.1.206";
        wait_for(taken, 5 * SECOND, || log().contains(taken), log);
        // The router's pod route goes to the neighbour, the neighbour's to nobody.
        let shows = |host: &str, prefix: &str| birdc(host, &format!("show route {prefix} all"));
        let told_vm = || shows("vm", "10.200.0.64/26");
        wait_for(
            "the router's pod route",
            10 * SECOND,
            || told_vm().contains("BGP.as_path: 64512 65001"),
            || told_vm() + &log(),
        );
        let told_tor = || shows("tor", "10.200.0.192/26");
        wait_for(
            "the node's own block",
            10 * SECOND,
            || told_tor().contains("BGP.as_path: 64512\n"),
            told_tor,
        );
        assert!(
            !shows("tor", "10.200.1.64/26").contains("BGP.as_path"),
            "refused from the neighbour"
        );
        assert!(
            !world.routes("n84").contains("10.200.1.64/26"),
            "{}",
            world.routes("n84")
        );
        assert!(!is_up(&world, "n84", "Node_10.20.1.9"), "outside the range");

        // The control: with leave it brings pods. And the router's are refused.
        let mut allowed = vms;
        allowed["imports"] = serde_json::json!({"pods": "Allow"});
        world.apply(policy("vms", allowed));
        world.apply(policy("tor", serde_json::json!({"bgpPeers": ["tor"], "imports": {"pods": "Deny", "defaultRoute": "Deny"}})));
        world.wait_route("n84", "10.200.1.64/26 via 10.20.0.7 dev ens192 proto bird");
        wait_for(
            "refused",
            5 * SECOND,
            || !world.routes("n84").contains("10.200.0.64/26"),
            log,
        );
        wait_for(
            "no more warnings",
            5 * SECOND,
            || log().contains("no longer: import-unguarded"),
            log,
        );
    });
}

/// The gateway that a BGPPeer names is a route of ours, and goes with it.
#[test]
fn a_peer_behind_a_gateway() {
    let test = "a_peer_behind_a_gateway";
    in_own_namespaces(test, |directory| {
        let mut world = World::new(directory, test);
        lan(&world, &[("n84", "10.20.1.84"), ("gw", "10.20.1.9")]);
        run("ip netns exec gw sysctl -qw net.ipv4.ip_forward=1");
        run("ip -n gw address add 192.0.2.9/32 dev lo");
        run("ip -n n84 route del default");
        world.start("n84");
        let _far = Bird::start_with(
            "gw",
            "192.0.2.9",
            65001,
            &[],
            &["10.20.1.84"],
            "source address 192.0.2.9;",
        );
        let route = "192.0.2.9 via 10.20.1.9 dev ens192 proto bird";
        assert!(!world.routes("n84").contains("192.0.2.9"));
        world.apply(peer("far", "192.0.2.9", 65001, |s| {
            s.reachable_by = "10.20.1.9".into()
        }));
        world.wait_route("n84", route);
        wait_up(&world, "n84", "Node_192_0_2_9");
        world.delete(&resource::Key::cluster(resource::Kind::BgpPeer, "far"));
        wait_for(
            "no route",
            10 * SECOND,
            || !world.routes("n84").contains("192.0.2.9"),
            || world.routes("n84") + &world.log("n84"),
        );
    });
}

/// A router in a pod peers with its node, by an address that the node has on the pod's interface alone.
#[test]
fn a_local_workload_as_a_peer() {
    let test = "a_local_workload_as_a_peer";
    in_own_namespaces(test, |directory| {
        let mut world = World::new(directory, test);
        lan(&world, &[("n84", "10.20.1.84"), ("n85", "10.20.1.85")]);
        world.apply(configuration(
            serde_json::json!({"localWorkloadPeeringIPV4": "10.99.99.99"}),
        ));
        world.start("n84");
        world.start("n85");
        world.block("n84", "10.200.0.192/26");
        world.pod("n84", "p1", "10.200.0.193");
        let spec = BgpPeerSpec {
            local_workload_selector: "projectcalico.org/orchestrator == 'vm'".into(),
            as_number: Some(65100),
            ..Default::default()
        };
        world.apply(BgpPeer::new(Metadata::named("vms"), spec.clone()));
        // The pod has not that label yet: the control.
        let _router = Bird::start_with(
            "p1",
            "10.200.0.193",
            65100,
            &["10.200.0.128/26"],
            &["10.99.99.99"],
            "source address 10.200.0.193;",
        );
        assert!(!protocols(&world, "n84").contains_key("Local_Workload_10_200_0_193"));
        let selector = BgpPeerSpec {
            local_workload_selector: "all()".into(),
            ..spec
        };
        world.apply(BgpPeer::new(Metadata::named("vms"), selector));
        wait_up(&world, "n84", "Local_Workload_10_200_0_193");
        let addresses = run("ip -n n84 address show dev calip1");
        assert!(addresses.contains("inet 10.99.99.99/32"), "{addresses}");
        // What is behind it is routed to it, here and from the other node.
        world.wait_route(
            "n84",
            "10.200.0.128/26 via 10.200.0.193 dev calip1 proto bird onlink",
        );
        world.wait_route(
            "n85",
            "10.200.0.128/26 via 10.20.1.84 dev ens192 proto bird",
        );
        world.delete(&resource::Key::cluster(resource::Kind::BgpPeer, "vms"));
        wait_for(
            "the address is gone",
            10 * SECOND,
            || !run("ip -n n84 address show dev calip1").contains("10.99.99.99"),
            || world.log("n84"),
        );
        assert!(!world.routes("n84").contains("10.200.0.128/26"));
    });
}

/// One session for both families, and back to two, with IPv6 blocks told on either.
#[test]
fn two_families_on_one_session() {
    let test = "two_families_on_one_session";
    in_own_namespaces(test, |directory| {
        let mut world = World::new(directory, test);
        lan(&world, &[("n84", "10.20.1.84"), ("n85", "10.20.1.85")]);
        world.pool("six", "fd00:200::/64", |s| s.block_size = Some(122));
        for (node, address) in [("n84", "fd00:20::84"), ("n85", "fd00:20::85")] {
            run(&format!(
                "ip -n {node} address add {address}/64 dev ens192 nodad"
            ));
            world.spawn(node, &[("IP6", &format!("{address}/64"))]);
        }
        for node in ["n84", "n85"] {
            world.wait_ready(node);
        }
        world.block("n85", "10.200.1.192/26");
        world.block("n85", "fd00:200::40/122");
        let six = |node: &str| protocols_of(&world, node, "bird6.ctl");
        // IPv6 is not written to the kernel, so what came is looked for in the recording.
        let came_by = |session: &str| {
            let file = world.directory("n84.recording");
            let recorded = std::fs::read_to_string(file).unwrap_or_default();
            recorded.contains(&format!(
                r#""prefix":"fd00:200::40/122","next_hops":["fd00:20::85"],"session":"{session}""#
            ))
        };
        wait_up(&world, "n84", "Mesh_10_20_1_85");
        wait_for(
            "the IPv6 session",
            20 * SECOND,
            || {
                six("n84")
                    .get("Mesh_fd00_20__85")
                    .is_some_and(|s| s.ends_with("Established"))
            },
            || format!("{:?}\n{}", six("n84"), world.log("n84")),
        );
        let log = || world.log("n84");
        wait_for(
            "the IPv6 block",
            10 * SECOND,
            || came_by("Mesh_fd00_20__85"),
            log,
        );
        assert!(!came_by("Mesh_10_20_1_85"), "the control");
        world.apply(policy(
            "mesh",
            serde_json::json!({"mesh": true, "families": "Together"}),
        ));
        wait_for(
            "one session",
            20 * SECOND,
            || six("n84").is_empty() && six("n85").is_empty(),
            || format!("{:?}\n{}", six("n84"), world.log("n84")),
        );
        wait_up(&world, "n84", "Mesh_10_20_1_85");
        world.wait_route(
            "n84",
            "10.200.1.192/26 via 10.20.1.85 dev ens192 proto bird",
        );
        wait_for(
            "the same by IPv4",
            10 * SECOND,
            || came_by("Mesh_10_20_1_85"),
            log,
        );
    });
}
