//! What nodes write of their sessions, for readers anywhere: with two agents and real BIRDs.

mod world;

use std::time::Duration;

use resource::kinds::{
    BgpPassword, BgpPeer, BgpPeerSpec, CalicoNodeStatus, CalicoNodeStatusSpec, NodeSessions,
    NodeSessionsSpec, SessionReport,
};
use resource::{Key, Kind, Metadata, Object, Spec, Store};
use store::block_on;
use world::bird::Bird;
use world::{World, in_own_namespaces, wait_for};

const SECOND: Duration = Duration::from_secs(1);
const PERIOD: [(&str, &str); 1] = [("SELVEDGE_REPORT_PERIOD", "4")];

fn object<S: Spec>(world: &World, kind: Kind, name: &str) -> Option<Object<S>> {
    let entry = block_on(world.store.get(&Key::cluster(kind, name))).expect("read")?;
    Some(Object::from_entry(&entry).expect("an object"))
}

fn said(world: &World, node: &str) -> NodeSessionsSpec {
    let found: Option<NodeSessions> = object(world, Kind::NodeSessions, node);
    found.map(|object| object.spec).unwrap_or_default()
}

fn session(world: &World, node: &str, peer: &str) -> SessionReport {
    let sessions = said(world, node).sessions;
    let found = sessions.into_iter().find(|s| s.peer_ip == peer);
    found.unwrap_or_default()
}

/// Seconds since a node wrote.
fn age(world: &World, node: &str) -> i64 {
    let at: jiff::Timestamp = said(world, node).reported.parse().expect("a time");
    jiff::Timestamp::now().as_second() - at.as_second()
}

#[track_caller]
fn wait_said(world: &World, node: &str, peer: &str, is: impl Fn(&SessionReport) -> bool) {
    wait_for(
        peer,
        30 * SECOND,
        || is(&session(world, node, peer)),
        || format!("{:#?}\n{}", said(world, node), world.log(node)),
    );
}

#[test]
fn what_nodes_say_of_their_sessions() {
    let test = "what_nodes_say_of_their_sessions";
    in_own_namespaces(test, |directory| {
        let mut world = World::new(directory, test);
        for (name, address) in [
            ("n84", "10.20.1.84"),
            ("n85", "10.20.1.85"),
            ("tor", "10.20.1.206"),
            ("odd", "10.20.1.207"),
            ("key", "10.20.1.208"),
            ("wrong", "10.20.1.209"),
        ] {
            world.host(name, &format!("{address}/23"));
        }
        world.pool("pool", "10.200.0.0/23", |_| {});
        let peer = |name: &str, address: &str, asn: u32| {
            let spec = BgpPeerSpec {
                node: "n84".into(),
                peer_ip: address.into(),
                as_number: Some(asn),
                ..BgpPeerSpec::default()
            };
            BgpPeer::new(Metadata::named(name), spec)
        };
        world.apply(peer("tor", "10.20.1.206", 65001));
        // The AS is not the one that it has.
        world.apply(peer("odd", "10.20.1.207", 65099));
        // It asks for a password of which the node knows nothing.
        world.apply(peer("key", "10.20.1.208", 65003));
        // This one's is another than the node's.
        let mut other = peer("other", "10.20.1.209", 65004);
        let text = r#"{"secretKeyRef":{"name":"other","key":"password"}}"#;
        let password: BgpPassword = serde_json::from_str(text).expect("a password");
        other.spec.password = Some(password);
        world.apply(other);
        let secret = world.directory("n84").join("secrets/other");
        std::fs::create_dir_all(&secret).expect("a directory");
        std::fs::write(secret.join("password"), "second word").expect("written");
        let asked = |name: &str, seconds| {
            let spec = CalicoNodeStatusSpec {
                node: "n84".into(),
                classes: ["Agent", "BGP", "Routes"].map(String::from).to_vec(),
                update_period_seconds: Some(seconds),
            };
            CalicoNodeStatus::new(Metadata::named(name), spec)
        };
        world.apply(asked("asked", 1));
        world.apply(asked("not-asked", 0));
        let tor = ["10.200.0.64/26", "172.16.0.0/16"];
        let _tor = Bird::start("tor", "10.20.1.206", 65001, &tor, &["10.20.1.84"]);
        let _odd = Bird::start("odd", "10.20.1.207", 65002, &[], &["10.20.1.84"]);
        let word = "password \"first word\";";
        let _key = Bird::start_with("key", "10.20.1.208", 65003, &[], &["10.20.1.84"], word);
        let _wrong = Bird::start_with("wrong", "10.20.1.209", 65004, &[], &["10.20.1.84"], word);
        for node in ["n84", "n85"] {
            world.spawn(node, &PERIOD);
            world.wait_ready(node);
        }
        world.block("n84", "10.200.0.192/26");

        // Both nodes, and what goes in and out of each session.
        for (node, other) in [("n84", "10.20.1.85"), ("n85", "10.20.1.84")] {
            wait_said(&world, node, other, |s| s.state == "Established");
            let mesh = session(&world, node, other);
            assert_eq!(
                (mesh.peer_type.as_str(), mesh.role.as_str()),
                ("NodeMesh", "internal")
            );
        }
        wait_said(&world, "n84", "10.20.1.206", |s| {
            s.families
                .first()
                .is_some_and(|f| (f.received, f.advertised) == (2, 1))
        });
        let router = session(&world, "n84", "10.20.1.206");
        let shown = (router.peer_type, router.role, router.because, router.state);
        let expected = ["NodePeer", "external", "BGPPeer(tor)", "Established"].map(String::from);
        assert_eq!(<[String; 4]>::from(shown), expected);
        // The mesh is told the router's pod route and the own block, not the route that is nobody's.
        wait_said(&world, "n85", "10.20.1.84", |s| {
            s.families.first().is_some_and(|f| f.received == 2)
        });
        wait_said(&world, "n84", "10.20.1.85", |s| {
            s.families.first().is_some_and(|f| f.advertised == 2)
        });
        // What is wrong has words.
        wait_said(&world, "n84", "10.20.1.207", |s| {
            s.state != "Established" && s.last_error.contains("Bad peer AS; ")
        });
        wait_said(&world, "n84", "10.20.1.208", |s| {
            s.state != "Established" && s.last_error.contains("asks for a password")
        });
        wait_said(&world, "n84", "10.20.1.209", |s| {
            s.state != "Established"
                && s.last_error
                    .contains("the password may be another one on the other side")
        });
        println!("{:#?}", said(&world, "n84"));

        // An agent that is killed writes no more, the other one goes on.
        world.end("n85", rustix::process::Signal::KILL);
        let period = i64::from(said(&world, "n85").period_seconds);
        assert_eq!(period, 4);
        wait_for(
            "stale report",
            15 * SECOND,
            || age(&world, "n85") > period,
            || format!("{}", age(&world, "n85")),
        );
        assert!(age(&world, "n84") <= period, "{}", age(&world, "n84"));

        // Calico's own kind, filled for as long as it asks.
        let status = |name: &str| -> CalicoNodeStatus {
            object(&world, Kind::CalicoNodeStatus, name).expect("it stays")
        };
        let filled = status("asked").status;
        assert_eq!(filled.agent.bird_v4.state, "Ready");
        assert_eq!(filled.bgp.number_established_v4, 1, "{:#?}", filled.bgp);
        let peers = filled.bgp.peers_v4;
        let types: Vec<&str> = peers.iter().map(|p| p.peer_type.as_str()).collect();
        assert_eq!(
            types,
            ["NodeMesh", "NodePeer", "NodePeer", "NodePeer", "NodePeer"]
        );
        let routes = filled.routes.routes_v4;
        let brought = routes.iter().find(|r| r.destination == "172.16.0.0/16");
        let from = &brought.expect("the router's route").learned_from;
        assert_eq!(
            (from.source_type.as_str(), from.peer_ip.as_str()),
            ("BGPPeer", "10.20.1.206")
        );
        assert_eq!(status("not-asked").status.last_updated, None);
        let before = status("asked").status.last_updated;
        wait_for(
            "another status",
            5 * SECOND,
            || status("asked").status.last_updated != before,
            || world.log("n84"),
        );
        world.apply(asked("asked", 0));
        // The node's own reports go on, each two seconds: they tell the time.
        let next_report = || {
            let before = said(&world, "n84").reported;
            wait_for(
                "another report",
                10 * SECOND,
                || said(&world, "n84").reported != before,
                || world.log("n84"),
            );
        };
        next_report();
        let last = status("asked").status.last_updated;
        next_report();
        next_report();
        assert_eq!(status("asked").status.last_updated, last, "no more");
    });
}
