//! One node's kernel: applied, read back, left alone, mended.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use dataplane::{
    Backends, DataplaneInput, Desired, Encapsulation, Frontend, Pool, Protocol, Reason, Workload,
    desired, plan,
};
use linux::{Changes, Events, Kernel};
use world::{attempt, converge, eventually, in_own_namespaces, run, v4};

fn node_84() -> DataplaneInput {
    let net = |text: &str| text.parse().expect("a prefix");
    let http = Frontend {
        address: v4("10.210.0.10"),
        protocol: Protocol::Tcp,
        port: 80,
    };
    let dns = Frontend {
        address: v4("10.210.0.53"),
        protocol: Protocol::Udp,
        port: 53,
    };
    DataplaneInput {
        node_addresses: vec![net("10.20.1.84/23")],
        interfaces: BTreeMap::from([("ens192".to_owned(), BTreeSet::from([net("10.20.1.84/23")]))]),
        pools: BTreeMap::from([(
            net("10.200.0.0/23"),
            Pool {
                nat_outgoing: true,
                encapsulation: Encapsulation::IpipCrossSubnet,
            },
        )]),
        blocks: BTreeSet::from([net("10.200.0.192/26")]),
        workloads: BTreeMap::from([(
            v4("10.200.0.193"),
            Workload {
                interface: "cali00b03047dbe".to_owned(),
                mac: Some("02:00:00:00:00:01".parse().expect("mac")),
            },
        )]),
        allocated: Some(BTreeSet::from([v4("10.200.0.193")])),
        loc_rib: ["81", "82", "83"]
            .into_iter()
            .zip(["10.200.1.0/26", "10.200.1.64/26", "10.200.1.128/26"])
            .map(|(node, block)| (net(block), BTreeSet::from([v4(&format!("10.20.1.{node}"))])))
            .chain([(
                net("10.200.1.192/26"),
                BTreeSet::from([v4("10.20.1.85"), v4("10.20.1.86")]),
            )])
            .collect(),
        service_ranges: BTreeSet::from([net("10.210.0.0/24")]),
        services: BTreeMap::from([
            (
                http,
                backends(&[("10.200.0.193", 8080), ("10.200.1.193", 8080)]),
            ),
            (dns, backends(&[("10.200.1.5", 53)])),
        ]),
        ..DataplaneInput::default()
    }
}

fn backends(endpoints: &[(&str, u16)]) -> Backends {
    Backends {
        endpoints: endpoints
            .iter()
            .map(|(address, port)| (v4(address), *port))
            .collect(),
        client_ip_affinity: false,
    }
}

/// The node's links, and things that are not ours.
fn a_node_with_foreign_things() {
    for line in [
        "ip link add ens192 type veth peer name lan",
        "ip address add 10.20.1.84/23 dev ens192",
        "ip link set ens192 up",
        "ip link set lan up",
        "ip link add cali00b03047dbe type veth peer name pod",
        "ip link set cali00b03047dbe up",
        "ip link set pod up",
        "ip route add 10.200.0.193 dev cali00b03047dbe scope link",
        // Foreign, from here on.
        "ip route add default via 10.20.0.1 dev ens192",
        "ip route add 192.168.7.0/24 via 10.20.1.9 dev ens192 proto bird",
        "ip route add 10.200.1.77 via 10.20.1.9 dev ens192 proto static",
        "ip neighbour add 10.20.1.9 lladdr 02:00:00:00:00:09 dev ens192 nud permanent",
        "nft add table ip theirs",
        "nft add chain ip theirs forward { type filter hook forward priority 0 ; }",
        "nft add rule ip theirs forward ip daddr 10.9.9.9 drop",
        "nft add table inet selvedge",
    ] {
        run(line);
    }
}

const FOREIGN: [(&str, &str); 5] = [
    ("ip route show", "default via 10.20.0.1 dev ens192"),
    (
        "ip route show",
        "192.168.7.0/24 via 10.20.1.9 dev ens192 proto bird",
    ),
    (
        "ip route show",
        "10.200.1.77 via 10.20.1.9 dev ens192 proto static",
    ),
    (
        "ip neighbour show",
        "10.20.1.9 dev ens192 lladdr 02:00:00:00:00:09 PERMANENT",
    ),
    ("nft list ruleset", "ip daddr 10.9.9.9 drop"),
];

fn foreign_things_are_there() {
    for (command, line) in FOREIGN {
        let shown = run(command);
        assert!(
            shown.lines().any(|shown| shown.trim() == line),
            "{command} lacks {line}:\n{shown}"
        );
    }
    assert!(run("nft list tables").contains("table inet selvedge"));
}

#[test]
fn what_is_applied_is_read_back_and_nothing_is_left_to_do() {
    in_own_namespaces(
        "what_is_applied_is_read_back_and_nothing_is_left_to_do",
        || {
            a_node_with_foreign_things();
            let wanted = desired(&node_84());
            assert_eq!(
                wanted
                    .refusals
                    .iter()
                    .map(|refusal| refusal.reason)
                    .collect::<Vec<_>>(),
                [Reason::IpipNotInKernel]
            );
            let mut kernel = Kernel::open().expect("opens");
            let actual = converge(&mut kernel, &wanted);
            assert_eq!(actual.tables, wanted.tables);

            let shown = run("ip route show");
            for line in [
                "blackhole 10.200.0.192/26 proto bird",
                "10.200.0.193 dev cali00b03047dbe scope link",
                "10.200.1.0/26 via 10.20.1.81 dev ens192 proto bird",
                "unreachable 10.200.0.0/23 proto bird metric 4294967295",
                "10.210.0.0/24 dev ens192 proto bird scope link src 10.20.1.84 metric 4294967295",
                "10.200.1.192/26 proto bird",
                "nexthop via 10.20.1.85 dev ens192 weight 1",
            ] {
                assert!(
                    shown.lines().any(|shown| shown.trim() == line),
                    "ip route lacks {line}:\n{shown}"
                );
            }
            foreign_things_are_there();
            // nft's own listing can be read and loaded again.
            std::fs::write("/run/listing", run("nft list table ip selvedge")).expect("written");
            run("nft -c -f /run/listing");
            // A rule written for one protocol by nft's own doing shows only here.
            let programs = run("nft --debug=netlink list chain ip selvedge slots-1");
            assert!(!programs.contains("cmp eq"), "{programs}");

            // A fresh reader, with nothing remembered, sees the same.
            let fresh = Kernel::open().expect("opens").read().expect("read");
            assert_eq!(plan(&wanted, &fresh, true), []);

            // Everything goes again, and only ours.
            let nothing = Desired {
                allocated: Some(BTreeSet::new()),
                ..Desired::default()
            };
            let before_in_sync = plan(&nothing, &fresh, false);
            assert_eq!(before_in_sync, [], "nothing is removed before in sync");
            converge(&mut kernel, &nothing);
            let shown = run("ip route show");
            assert!(
                !shown.contains("10.200.0.19") && !shown.contains("10.210"),
                "{shown}"
            );
            assert!(!attempt("nft list table ip selvedge").status.success());
            foreign_things_are_there();
        },
    );
}

#[test]
fn services_come_and_go_by_elements() {
    in_own_namespaces("services_come_and_go_by_elements", || {
        a_node_with_foreign_things();
        let mut input = node_84();
        let mut kernel = Kernel::open().expect("opens");
        converge(&mut kernel, &desired(&input));
        let http = *input.services.keys().next().expect("one");
        for endpoints in [
            &[("10.200.1.193", 8080)][..],
            &[
                ("10.200.0.193", 8080),
                ("10.200.1.193", 8080),
                ("10.200.1.194", 8081),
            ],
            &[],
            &[("10.200.0.193", 8080)],
        ] {
            input.services.insert(http, backends(endpoints));
            let wanted = desired(&input);
            let actual = kernel.read().expect("read");
            let changes = format!("{:?}", plan(&wanted, &actual, true));
            for word in ["Chain(", "AddRule(", "Table(", "Set(", "AddMap(", "Route("] {
                assert!(!changes.contains(word), "only elements change: {changes}");
            }
            converge(&mut kernel, &wanted);
            // Not what we remember of our own transaction, but what is there.
            let fresh = Kernel::open().expect("opens").read().expect("read");
            assert_eq!(fresh.tables, wanted.tables);
        }
        // More backends than there are chains for at the start, and clients that stay.
        let many: Vec<_> = (1..=20)
            .map(|last| (format!("10.200.1.{last}"), 80))
            .collect();
        let many: Vec<_> = many
            .iter()
            .map(|(address, port)| (address.as_str(), *port))
            .collect();
        input.services.insert(
            http,
            Backends {
                client_ip_affinity: true,
                ..backends(&many)
            },
        );
        let wanted = desired(&input);
        converge(&mut kernel, &wanted);
        assert!(run("nft list table ip selvedge").contains("chain client-20"));
        input.services.clear();
        converge(&mut kernel, &desired(&input));
        assert!(!run("nft list table ip selvedge").contains("chain client-20"));
    });
}

#[test]
fn ranges_grow_shrink_and_move() {
    in_own_namespaces("ranges_grow_shrink_and_move", || {
        a_node_with_foreign_things();
        let mut kernel = Kernel::open().expect("opens");
        let mut input = node_84();
        for (pool, services) in [
            ("10.200.0.0/23", "10.210.0.0/24"),
            ("10.200.0.0/16", "10.210.0.0/16"),
            ("10.200.0.0/24", "10.210.0.0/26"),
            ("10.200.0.0/25", "10.210.128.0/17"),
            ("0.0.0.0/1", "10.210.0.10/32"),
            ("10.200.0.0/23", "10.210.0.0/24"),
        ] {
            let (_, kind) = input.pools.pop_first().expect("one");
            input.pools.insert(pool.parse().expect("a prefix"), kind);
            input.service_ranges = BTreeSet::from([services.parse().expect("a prefix")]);
            let wanted = desired(&input);
            converge(&mut kernel, &wanted);
            let fresh = Kernel::open().expect("opens").read().expect("read");
            assert_eq!(fresh.tables, wanted.tables, "{pool} {services}");
            assert_eq!(plan(&wanted, &fresh, true), []);
        }
    });
}

#[test]
fn two_thousand_services() {
    in_own_namespaces("two_thousand_services", || {
        a_node_with_foreign_things();
        let mut input = node_84();
        let service = |index: u32| Frontend {
            address: std::net::Ipv4Addr::from(0x0ad2_0000 + index).into(),
            protocol: Protocol::Tcp,
            port: 80,
        };
        for index in 256..2256 {
            input.services.insert(
                service(index),
                backends(&[("10.200.1.3", 80), ("10.200.1.4", 80)]),
            );
        }
        let mut kernel = Kernel::open().expect("opens");
        let timed = |what: &str, kernel: &mut Kernel, input: &DataplaneInput| {
            let start = Instant::now();
            converge(kernel, &desired(input));
            println!("{what}: {:?}, with two readings", start.elapsed());
        };
        timed("2,000 services with two backends each", &mut kernel, &input);
        input
            .services
            .insert(service(3000), backends(&[("10.200.1.3", 80)]));
        timed("one more", &mut kernel, &input);
        let start = Instant::now();
        let fresh = Kernel::open().expect("opens").read().expect("read");
        println!("read with nothing known: {:?}", start.elapsed());
        assert_eq!(fresh.tables, desired(&input).tables);
    });
}

/// Mends what differs as the agent does: an event, a read of what it names, a plan.
fn mender(stop: Arc<AtomicBool>, wanted: Desired, ready: mpsc::Sender<()>) {
    let mut events = Events::open().expect("opens");
    let mut kernel = Kernel::open().expect("opens");
    let mut actual = converge(&mut kernel, &wanted);
    ready.send(()).expect("heard");
    while !stop.load(Ordering::Relaxed) {
        let changes = events.wait(Duration::from_millis(100)).expect("waits");
        if !changes.any() {
            continue;
        }
        kernel.refresh(&mut actual, changes).expect("read");
        for batch in plan(&wanted, &actual, true) {
            for (operation, result) in batch.operations.iter().zip(kernel.apply(&batch)) {
                result.unwrap_or_else(|error| panic!("{operation}: {error}"));
            }
        }
    }
}

/// What breaks a node, and what `grep`s when it is whole.
const DRIFTS: [(&str, &str, &str); 13] = [
    (
        "sysctl -qw net.ipv4.conf.ens192.forwarding=0",
        "sysctl net.ipv4.conf.ens192.forwarding",
        "= 1",
    ),
    (
        "ip route del 10.200.1.0/26",
        "ip route show",
        "10.200.1.0/26 via 10.20.1.81 dev ens192 proto bird",
    ),
    (
        "ip route replace 10.200.1.0/26 via 10.20.1.99 dev ens192 proto bird",
        "ip route show",
        "10.200.1.0/26 via 10.20.1.81",
    ),
    (
        "ip route del blackhole 10.200.0.192/26",
        "ip route show",
        "blackhole 10.200.0.192/26",
    ),
    (
        "ip route del 10.200.0.193",
        "ip route show",
        "10.200.0.193 dev cali00b03047dbe scope link",
    ),
    (
        "nft delete element ip selvedge backend-addresses { 10.210.0.53 . udp . 53 . 0 }",
        "nft list map ip selvedge backend-addresses",
        "10.210.0.53 . udp . 53 . 0 : 10.200.1.5",
    ),
    (
        "nft flush chain ip selvedge refuse",
        "nft list chain ip selvedge refuse",
        "tcp reset",
    ),
    (
        "nft delete table ip selvedge",
        "nft list ruleset",
        "service-remote-backend",
    ),
    (
        "nft flush ruleset",
        "nft list ruleset",
        "service-remote-backend",
    ),
    (
        "ip neighbour del 10.200.0.193 dev cali00b03047dbe",
        "ip neighbour show",
        "10.200.0.193 dev cali00b03047dbe lladdr 02:00:00:00:00:01 PERMANENT",
    ),
    (
        "sysctl -qw net.ipv4.conf.all.send_redirects=1",
        "sysctl net.ipv4.conf.all.send_redirects",
        "= 0",
    ),
    (
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl net.ipv4.ip_forward",
        "= 1",
    ),
    (
        "sysctl -qw net.ipv4.conf.cali00b03047dbe.proxy_arp=0",
        "sysctl net.ipv4.conf.cali00b03047dbe.proxy_arp",
        "= 1",
    ),
];

#[test]
fn drift_of_each_kind_is_mended_within_a_second() {
    in_own_namespaces("drift_of_each_kind_is_mended_within_a_second", || {
        a_node_with_foreign_things();
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || mender(stop, desired(&node_84()), ready)
        });
        is_ready.recv().expect("ready");
        for (breaks, shows, whole) in DRIFTS {
            assert!(run(shows).contains(whole), "whole before: {shows}");
            run(breaks);
            let took = eventually(breaks, Duration::from_secs(1), || {
                let shown = attempt(shows);
                shown.status.success() && String::from_utf8_lossy(&shown.stdout).contains(whole)
            });
            println!("{took:>10.1?}  {breaks}");
        }
        stop.store(true, Ordering::Relaxed);
        thread.join().expect("mended without an error");

        // Control: with nobody there, nothing comes back.
        run("ip route del 10.200.1.0/26");
        assert!(!run("ip route show").contains("10.200.1.0/26"));
    });
}

#[test]
fn quiet_is_quiet() {
    in_own_namespaces("quiet_is_quiet", || {
        a_node_with_foreign_things();
        let mut kernel = Kernel::open().expect("opens");
        converge(&mut kernel, &desired(&node_84()));
        let mut events = Events::open().expect("opens");
        assert_eq!(
            events.wait(Duration::from_millis(700)).expect("waits"),
            Changes::default()
        );
        // Others' tables and what ARP learns are not our business.
        run("nft add rule ip theirs forward ip daddr 10.9.9.8 drop");
        run("ip neighbour add 10.20.1.10 lladdr 02:00:00:00:00:0a dev ens192 nud reachable");
        assert_eq!(
            events.wait(Duration::from_millis(300)).expect("waits"),
            Changes::default()
        );
        // Control: ours are.
        for (line, changed) in [
            (
                "ip route add 198.51.100.0/24 dev ens192",
                Changes {
                    routes: true,
                    ..Changes::default()
                },
            ),
            (
                "nft add rule ip selvedge refuse accept",
                Changes {
                    rules: true,
                    ..Changes::default()
                },
            ),
            (
                "ip neighbour change 10.200.0.193 lladdr 02:00:00:00:00:0b dev cali00b03047dbe nud reachable",
                Changes {
                    neighbours: true,
                    ..Changes::default()
                },
            ),
        ] {
            run(line);
            let start = Instant::now();
            assert_eq!(
                events.wait(Duration::from_secs(5)).expect("waits"),
                changed,
                "{line}"
            );
            assert!(start.elapsed() < Duration::from_secs(1));
        }
    });
}

#[test]
fn ten_thousand_routes_and_one_that_cannot_be() {
    in_own_namespaces("ten_thousand_routes_and_one_that_cannot_be", || {
        a_node_with_foreign_things();
        let mut input = node_84();
        let pool = "10.128.0.0/10".parse().expect("a prefix");
        input.pools.insert(pool, Pool::default());
        for index in 0u32..10_000 {
            let block = std::net::Ipv4Addr::from(0x0a80_0000 + index * 64);
            input.loc_rib.insert(
                format!("{block}/26").parse().expect("block"),
                BTreeSet::from([v4("10.20.1.81")]),
            );
        }
        let wanted = desired(&input);
        let mut kernel = Kernel::open().expect("opens");
        let start = Instant::now();
        let mut batches = plan(&wanted, &kernel.read().expect("read"), true);
        let planned = start.elapsed();
        // A gateway that is nowhere fails alone, and says so.
        let routes = batches
            .iter_mut()
            .find(|batch| batch.lane == dataplane::Lane::Routes)
            .expect("routes");
        let nowhere = dataplane::Route::bird(
            "10.191.0.0/26".parse().expect("block"),
            dataplane::RouteKind::Via {
                gateway: v4("203.0.113.1"),
                oif: "ens192".to_owned(),
                onlink: false,
            },
        );
        routes
            .operations
            .insert(500, dataplane::Operation::SetRoute(nowhere));
        let start = Instant::now();
        let results = kernel.apply(routes);
        let applied = start.elapsed();
        let failed: Vec<_> = results
            .iter()
            .filter_map(|result| result.as_ref().err())
            .collect();
        let start = Instant::now();
        let actual = kernel.read().expect("read");
        println!(
            "10,000 routes: planned {planned:?}, applied {applied:?}, read {:?}",
            start.elapsed()
        );
        assert_eq!(failed.len(), 1, "{failed:?}");
        let text = failed[0].to_string();
        assert!(
            text.contains("set route 10.191.0.0/26 via 203.0.113.1 dev ens192"),
            "{text}"
        );
        assert!(
            text.contains("Network is unreachable") && text.contains("see `ip address`"),
            "{text}"
        );
        assert!(actual.routes.is_superset(&wanted.routes));
    });
}
