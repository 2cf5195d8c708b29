//! Agents as processes, on the real kernel, with each other and with BIRD.

mod world;

use std::time::{Duration, Instant};

use resource::Metadata;
use resource::Store;
use resource::kinds::{
    BgpConfiguration, BgpConfigurationSpec, BgpPeer, BgpPeerSpec, Service, ServicePort, ServiceSpec,
};
use rustix::process::Signal;
use world::bird::Bird;
use world::ping::Ping;
use world::{World, attempt, in_own_namespaces, run, wait_for};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn two_nodes_exchange_blocks() {
    in_own_namespaces("two_nodes_exchange_blocks", |directory| {
        let mut world = World::new(directory, "two_nodes_exchange_blocks");
        world.host("n84", "10.20.1.84/23");
        world.host("n85", "10.20.1.85/23");
        world.pool("pool", "10.200.0.0/23", |_| {});
        // Both at once, on an empty store.
        world.spawn("n84", &[]);
        world.spawn("n85", &[]);
        world.wait_ready("n84");
        world.wait_ready("n85");
        world.block("n84", "10.200.0.192/26");
        world.block("n85", "10.200.1.192/26");
        world.wait_route("n84", "blackhole 10.200.0.192/26 proto bird");
        world.wait_route(
            "n84",
            "10.200.1.192/26 via 10.20.1.85 dev ens192 proto bird",
        );
        world.wait_route(
            "n85",
            "10.200.0.192/26 via 10.20.1.84 dev ens192 proto bird",
        );
        world.pod("n84", "p1", "10.200.0.193");
        world.pod("n85", "p2", "10.200.1.193");
        let reach = || {
            attempt("ip netns exec p1 ping -c 1 -W 1 10.200.1.193")
                .status
                .success()
        };
        wait_for("answer", 10 * SECOND, reach, || {
            world.routes("n84") + &world.log("n84")
        });
        let name =
            std::fs::read_to_string(world.directory("n84").join("lib/nodename")).expect("nodename");
        assert_eq!(name, "n84");
        let mtu = std::fs::read_to_string(world.directory("n84").join("lib/mtu")).expect("mtu");
        assert_eq!(mtu, "1500");
        // The control socket, as calicoctl asks it.
        let socket = world.directory("n84").join("run/bird.ctl");
        let text = ask(&socket, "show protocols\n");
        assert!(
            text.starts_with("0001 ") && text.contains("Mesh_10_20_1_85 BGP"),
            "{text}"
        );
        assert!(text.contains("Established"), "{text}");
        // A second agent for the same node is refused, and the first goes on.
        let second = world.agent_command("n84", &[]).output().expect("an end");
        let said = String::from_utf8_lossy(&second.stderr);
        assert!(
            !second.status.success() && said.contains("node-already-running"),
            "{said}"
        );
        // Another node with this address is refused too.
        let other = world.agent_command(
            "n85",
            &[("NODENAME", "n86"), ("SELVEDGE_TEST_DIRECTORY", "/run/n86")],
        );
        let other = { other }.output().expect("an end");
        let said = String::from_utf8_lossy(&other.stderr);
        assert!(
            !other.status.success() && said.contains("Node(n85) already has 10.20.1.85"),
            "{said}"
        );
        replays(&world, "n85");
    });
}

#[test]
fn reflectors_and_nodes() {
    in_own_namespaces("reflectors_and_nodes", |directory| {
        let mut world = World::new(directory, "reflectors_and_nodes");
        world.pool("pool", "10.200.0.0/23", |_| {});
        let spec = BgpConfigurationSpec {
            node_to_node_mesh_enabled: Some(false),
            ..Default::default()
        };
        world.create(&BgpConfiguration::new(Metadata::named("default"), spec));
        for (name, nodes, peers) in [
            (
                "peer-with-route-reflectors",
                "!has(route-reflector)",
                "route-reflector == 'true'",
            ),
            (
                "rrs-to-rrs",
                "route-reflector == 'true'",
                "route-reflector == 'true'",
            ),
        ] {
            let spec = BgpPeerSpec {
                node_selector: nodes.into(),
                peer_selector: peers.into(),
                ..Default::default()
            };
            world.create(&BgpPeer::new(Metadata::named(name), spec));
        }
        let names = ["n81", "n82", "n83", "n84", "n85"];
        for name in names {
            world.host(name, &format!("10.20.1.{}/23", &name[1..]));
            world.spawn(name, &[]);
        }
        for name in names {
            world.wait_ready(name);
            reflector(&world, name, name <= "n83");
        }
        world.block("n84", "10.200.0.192/26");
        world.block("n85", "10.200.1.192/26");
        world.block("n81", "10.200.1.0/26");
        world.wait_route(
            "n84",
            "10.200.1.192/26 via 10.20.1.85 dev ens192 proto bird",
        );
        world.wait_route("n84", "10.200.1.0/26 via 10.20.1.81 dev ens192 proto bird");
        world.wait_route(
            "n82",
            "10.200.0.192/26 via 10.20.1.84 dev ens192 proto bird",
        );
        let sessions = |name: &str| {
            let text = ask(
                &world.directory(name).join("run/bird.ctl"),
                "show protocols\n",
            );
            text.lines()
                .filter(|line| line.contains("Established"))
                .count()
        };
        for (name, count) in [("n81", 4), ("n84", 3)] {
            wait_for(
                "sessions",
                20 * SECOND,
                || sessions(name) == count,
                || world.log(name),
            );
        }
    });
}

#[test]
fn the_clusters_names_are_answered_by_every_node() {
    in_own_namespaces(
        "the_clusters_names_are_answered_by_every_node",
        |directory| {
            let mut world = World::new(directory, "the_clusters_names_are_answered_by_every_node");
            world.host("n84", "10.20.1.84/23");
            world.host("n85", "10.20.1.85/23");
            world.host("vm", "10.20.1.206/23");
            let dns = service("kube-system", "kube-dns", "10.210.0.10", "UDP", 53);
            let mut dns = dns;
            let tcp = ServicePort {
                name: "dns-tcp".into(),
                protocol: "TCP".into(),
                port: 53,
                target_port: None,
            };
            dns.spec.ports.push(tcp);
            world.create(&dns);
            world.create(&service("default", "nginx", "10.210.0.80", "TCP", 80));
            world.start("n84");
            world.start("n85");
            let ask = |node: &str, question: &str| {
                run(&format!("ip -n vm route replace 10.210.0.0/24 via {node}"));
                let output = attempt(&format!(
                    "ip netns exec vm dig +time=1 +tries=1 @10.210.0.10 {question}"
                ));
                String::from_utf8_lossy(&output.stdout).into_owned()
            };
            let name = "nginx.default.svc.datateam.local";
            assert!(
                !ask("10.20.1.84", name).contains("10.210.0.80"),
                "control: pods were to answer, and there are none"
            );
            // Marked as answered by the nodes, with the cluster's domain.
            let mark = |key: &str, value: &str| (key.to_string(), value.to_string());
            dns.metadata.annotations = [
                mark("selvedge.dev/dns", "true"),
                mark("selvedge.dev/domain", "datateam.local"),
            ]
            .into();
            let entry = store::block_on(world.store.get(&dns.key()))
                .expect("a store")
                .expect("a Service");
            store::block_on(
                world
                    .store
                    .update(&dns.key(), &dns.to_stored(), entry.revision),
            )
            .expect("updated");
            for node in ["10.20.1.84", "10.20.1.85"] {
                for transport in ["+notcp", "+tcp"] {
                    let answered =
                        || ask(node, &format!("{transport} {name}")).contains("10.210.0.80");
                    wait_for("answer", 10 * SECOND, answered, || {
                        ask(node, name) + &world.log("n84")
                    });
                }
                assert!(ask(node, "absent.default.svc.datateam.local").contains("NXDOMAIN"));
            }
        },
    );
}

fn service(namespace: &str, name: &str, address: &str, protocol: &str, port: u16) -> Service {
    let spec = ServiceSpec {
        cluster_ip: address.into(),
        cluster_ips: vec![address.into()],
        ports: vec![ServicePort {
            name: "main".into(),
            protocol: protocol.into(),
            port,
            target_port: None,
        }],
        ..ServiceSpec::default()
    };
    Service::new(Metadata::namespaced(namespace, name), spec)
}

/// What `calicoctl patch` and `label` do to a node.
fn reflector(world: &World, name: &str, is: bool) {
    use resource::kinds::Node;
    use resource::{Key, Kind};
    if !is {
        return;
    }
    let key = Key::cluster(Kind::Node, name);
    loop {
        let entry = store::block_on(world.store.get(&key))
            .expect("a store")
            .expect("a Node");
        let mut node = Node::from_entry(&entry).expect("a Node");
        node.metadata
            .labels
            .insert("route-reflector".into(), "true".into());
        if let Some(bgp) = &mut node.spec.bgp {
            bgp.route_reflector_cluster_id = "244.0.0.1".into();
        }
        match store::block_on(world.store.update(&key, &node.to_stored(), entry.revision)) {
            Ok(_) => return,
            Err(resource::StoreError::Conflict(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn ask(socket: &std::path::Path, command: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("a control socket");
    stream.write_all(command.as_bytes()).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("shut");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

/// The recording of an agent that still runs replays to the same outputs.
fn replays(world: &World, name: &str) {
    let text = std::fs::read_to_string(world.directory(&format!("{name}.recording")))
        .expect("a recording");
    // Its last line may be half written.
    let lines: Vec<node::Line> = text
        .lines()
        .map_while(|line| serde_json::from_str(line).ok())
        .collect();
    let equal = node::replay(&lines).expect("the same outputs");
    assert!(equal > 10, "{equal} outputs in {} lines", lines.len());
}

/// How often each way of restarting is tried; ten each when SELVEDGE_RESTARTS=10.
fn restarts() -> u32 {
    std::env::var("SELVEDGE_RESTARTS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(2)
}

#[test]
fn a_restart_loses_nothing() {
    in_own_namespaces("a_restart_loses_nothing", |directory| {
        let mut world = World::new(directory, "a_restart_loses_nothing");
        for (name, address) in [
            ("n84", "10.20.1.84/23"),
            ("n85", "10.20.1.85/23"),
            ("vm", "10.20.1.206/23"),
        ] {
            world.host(name, address);
        }
        world.pool("pool", "10.200.0.0/23", |_| {});
        let spec = BgpPeerSpec {
            peer_ip: "10.20.1.206".into(),
            as_number: Some(64512),
            ..Default::default()
        };
        world.create(&BgpPeer::new(Metadata::named("vm"), spec));
        world.start("n84");
        world.start("n85");
        world.block("n84", "10.200.0.192/26");
        world.block("n85", "10.200.1.192/26");
        world.pod("n84", "p1", "10.200.0.193");
        world.pod("n85", "p2", "10.200.1.193");
        let bird = Bird::start(
            "vm",
            "10.20.1.206",
            64512,
            &[],
            &["10.20.1.84", "10.20.1.85"],
        );
        for (host, route) in [
            ("vm", "10.200.0.192/26 via 10.20.1.84 dev ens192 proto bird"),
            ("vm", "10.200.1.192/26 via 10.20.1.85 dev ens192 proto bird"),
            (
                "n84",
                "10.200.1.192/26 via 10.20.1.85 dev ens192 proto bird",
            ),
            (
                "n85",
                "10.200.0.192/26 via 10.20.1.84 dev ens192 proto bird",
            ),
        ] {
            world.wait_route(host, route);
        }
        let before = (world.routes("n84"), world.routes("n85"), world.routes("vm"));
        let vm_to_pod = Ping::start("vm", "10.200.0.193");
        let pod_to_pod = Ping::start("p2", "10.200.0.193");
        for signal in [Signal::TERM, Signal::KILL] {
            for _ in 0..restarts() {
                world.end("n84", signal);
                world.start("n84");
                let up = || {
                    let text = ask(
                        &world.directory("n84").join("run/bird.ctl"),
                        "show protocols\n",
                    );
                    text.matches("Established").count() == 2
                };
                wait_for("sessions", 40 * SECOND, up, || world.log("n84"));
            }
        }
        assert_eq!(
            (world.routes("n84"), world.routes("n85"), world.routes("vm")),
            before
        );
        for (what, ping) in [("vm to pod", vm_to_pod), ("pod to pod", pod_to_pod)] {
            let (sent, lost) = ping.stop();
            println!(
                "{what}: {sent} sent, {lost} lost, {} restarts",
                2 * restarts()
            );
            assert!(sent > 100);
            assert_eq!(lost, 0, "{what} of {sent}\n{}", world.log("n84"));
        }
        // Control: when the agent stays away and what it keeps is taken, pings do get lost.
        world.end("n84", Signal::KILL);
        run("ip -n n84 route del 10.200.0.193");
        let control = attempt("ip netns exec vm ping -q -c 5 -i 0.02 -W 1 10.200.0.193");
        assert!(!control.status.success(), "control");
        drop(bird);
    });
}

#[test]
fn drift_of_each_kind_is_mended_within_a_second() {
    in_own_namespaces(
        "drift_of_each_kind_is_mended_within_a_second",
        |directory| {
            let mut world = World::new(directory, "drift_of_each_kind_is_mended_within_a_second");
            world.host("n84", "10.20.1.84/23");
            world.host("n85", "10.20.1.85/23");
            world.pool("pool", "10.200.0.0/23", |pool| pool.nat_outgoing = true);
            world.start("n84");
            world.start("n85");
            world.block("n84", "10.200.0.192/26");
            world.block("n85", "10.200.1.192/26");
            world.pod("n84", "p1", "10.200.0.193");
            world.wait_route(
                "n84",
                "10.200.1.192/26 via 10.20.1.85 dev ens192 proto bird",
            );
            run("ip -n n84 route add 198.51.100.0/24 via 10.20.1.85 proto bird");
            run("ip -n n84 route add 192.0.2.0/24 via 10.20.1.85");
            run("ip -n n84 neigh add 10.20.1.99 lladdr 02:00:00:00:00:99 dev ens192 nud permanent");
            run("ip netns exec n84 nft add table ip foreign");
            let nft = || {
                let listed = attempt("ip netns exec n84 nft list table ip selvedge");
                String::from_utf8_lossy(&listed.stdout).into_owned()
            };
            wait_for(
                "pod in the rules",
                10 * SECOND,
                || nft().contains("10.200.0.193"),
                || nft() + &world.log("n84"),
            );
            let ip = |what: &str| run(&format!("ip -n n84 {what}"));
            let forward = || run("ip netns exec n84 sysctl -n net.ipv4.ip_forward");
            let state = || {
                (
                    ip("route"),
                    ip("neigh show nud permanent"),
                    nft(),
                    forward(),
                )
            };
            let wanted = state();
            let set = set_with(&wanted.2, "10.200.0.193 . 10.200.0.193");
            for change in [
                "ip -n n84 route del 10.200.1.192/26".to_string(),
                "ip -n n84 route del 10.200.0.193".to_string(),
                "ip -n n84 route del blackhole 10.200.0.192/26".to_string(),
                "ip -n n84 route replace 10.200.1.192/26 via 10.20.1.99 proto bird".to_string(),
                "ip -n n84 route add 10.200.1.64/26 via 10.20.1.99 proto bird".to_string(),
                format!(
                    "ip netns exec n84 nft delete element ip selvedge {set} {{ 10.200.0.193 . 10.200.0.193 }}"
                ),
                "ip -n n84 neigh del 10.200.0.193 dev calip1".to_string(),
                "ip netns exec n84 nft flush table ip selvedge".to_string(),
                "ip netns exec n84 nft delete table ip selvedge".to_string(),
                "ip netns exec n84 sysctl -w net.ipv4.ip_forward=0".to_string(),
                "ip netns exec n84 sysctl -w net.ipv4.conf.ens192.send_redirects=1".to_string(),
                "ip netns exec n84 sysctl -w net.ipv4.conf.calip1.proxy_arp=0".to_string(),
            ] {
                let parameters = || {
                    run(
                        "ip netns exec n84 sysctl net.ipv4.conf.ens192.send_redirects net.ipv4.conf.calip1.proxy_arp",
                    )
                };
                let parameters_wanted = parameters();
                let start = Instant::now();
                run(&change);
                let mended = || state() == wanted && parameters() == parameters_wanted;
                wait_for(&format!("mending of {change}"), 5 * SECOND, mended, || {
                    format!(
                        "wanted {wanted:#?}\nhas {:#?}\n{}",
                        state(),
                        world.log("n84")
                    )
                });
                println!("{:>4} ms  {change}", start.elapsed().as_millis());
                assert!(start.elapsed() < limit(), "{change}: {:?}", start.elapsed());
            }
            assert!(ip("route").contains("198.51.100.0/24 via 10.20.1.85 dev ens192 proto bird"));
            assert!(ip("route").contains("192.0.2.0/24 via 10.20.1.85"));
            assert!(
                ip("neigh").contains("10.20.1.99")
                    && attempt("ip netns exec n84 nft list table ip foreign")
                        .status
                        .success()
            );
            // Control: without the agent nothing comes back.
            world.end("n84", Signal::TERM);
            run("ip -n n84 route del 10.200.1.192/26");
            // A second of watching, rather than of waiting.
            attempt("ip netns exec n84 timeout 1 ip monitor route");
            assert!(!ip("route").contains("10.200.1.192/26"), "control");
        },
    );
}

/// A second where the machine is its own; busy ones are given more.
fn limit() -> Duration {
    let millis = std::env::var("SELVEDGE_DRIFT_LIMIT_MS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1000);
    Duration::from_millis(millis)
}

/// The name of the set or map in a listing that has an element.
fn set_with(listing: &str, element: &str) -> String {
    let mut name = String::new();
    for line in listing.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["set" | "map", found, "{"] = words.as_slice() {
            name = (*found).to_string();
        }
        if line.contains(element) {
            return name;
        }
    }
    panic!("no set has {element}:\n{listing}")
}
