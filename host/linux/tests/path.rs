//! Packets through two nodes: pods, services, refusals, and somebody else's firewall, with real TCP.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use dataplane::{
    Backends, DataplaneInput, Encapsulation, Frontend, Operation, Packet, Payload, Pool, Protocol,
    Workload, desired, nft_text, plan, walk,
};
use linux::Kernel;
use world::{
    attempt, converge, host, in_own_namespaces, lan, nft, on, pod, run, socket, start_on, v4,
};

const SHORT: Duration = Duration::from_millis(700);

/// Two nodes, a pod each, a host that ignores redirects, and a router that sends pods and services to .84.
fn the_lan() {
    lan();
    host("n84", "10.20.1.84/23");
    host("n85", "10.20.1.85/23");
    host("harbor", "10.20.1.222/23");
    host("router", "10.20.0.1/23");
    pod("n84", "pod84", "cali84", "10.200.0.193");
    pod("n85", "pod85", "cali85", "10.200.1.193");
    for node in ["n84", "n85"] {
        run(&format!("ip -n {node} route add default via 10.20.0.1"));
        run(&format!(
            "ip netns exec {node} sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.icmp_ratelimit=0"
        ));
    }
    run("ip netns exec router sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0");
    run(
        "ip netns exec router sysctl -qw net.ipv4.conf.ens192.send_redirects=0 net.ipv4.icmp_ratelimit=0",
    );
    run(
        "ip netns exec harbor sysctl -qw net.ipv4.conf.all.accept_redirects=0 net.ipv4.conf.ens192.accept_redirects=0",
    );
    for host in ["router", "harbor"] {
        run(&format!(
            "ip -n {host} route add 10.200.0.0/23 via 10.20.1.84"
        ));
        run(&format!(
            "ip -n {host} route add 10.210.0.0/24 via 10.20.1.84"
        ));
    }
    for pod in ["pod84", "pod85"] {
        serve(pod);
    }
}

fn input(node: &str) -> DataplaneInput {
    let net = |text: &str| text.parse().expect("a prefix");
    let blocks = [
        ("n84", "10.200.0.192/26", "10.20.1.84/23"),
        ("n85", "10.200.1.192/26", "10.20.1.85/23"),
    ];
    let (own, other) = if node == "n84" {
        (blocks[0], blocks[1])
    } else {
        (blocks[1], blocks[0])
    };
    let (pod, cali) = if node == "n84" {
        ("10.200.0.193", "cali84")
    } else {
        ("10.200.1.193", "cali85")
    };
    let port = |address: &str, protocol, port| Frontend {
        address: v4(address),
        protocol,
        port,
    };
    let to = |endpoints: &[(&str, u16)]| Backends {
        endpoints: endpoints
            .iter()
            .map(|(address, port)| (v4(address), *port))
            .collect(),
        client_ip_affinity: false,
    };
    let both = [("10.200.0.193", 8080), ("10.200.1.193", 8080)];
    DataplaneInput {
        node_addresses: vec![net(own.2)],
        interfaces: BTreeMap::from([("ens192".to_owned(), BTreeSet::from([net(own.2)]))]),
        pools: BTreeMap::from([(
            net("10.200.0.0/23"),
            Pool {
                nat_outgoing: true,
                encapsulation: Encapsulation::IpipCrossSubnet,
            },
        )]),
        blocks: BTreeSet::from([net(own.1)]),
        workloads: BTreeMap::from([(
            v4(pod),
            Workload {
                interface: cali.to_owned(),
                mac: None,
            },
        )]),
        allocated: Some(BTreeSet::from([v4(pod)])),
        loc_rib: BTreeMap::from([(net(other.1), BTreeSet::from([net(other.2).addr()]))]),
        service_ranges: BTreeSet::from([net("10.210.0.0/24")]),
        services: BTreeMap::from([
            (port("10.210.0.10", Protocol::Tcp, 80), to(&both)),
            (
                port("10.210.0.11", Protocol::Tcp, 80),
                Backends {
                    client_ip_affinity: true,
                    ..to(&both)
                },
            ),
            (port("10.210.0.12", Protocol::Tcp, 80), to(&both[..1])),
            (port("10.210.0.13", Protocol::Tcp, 80), to(&[])),
            (
                port("10.210.0.14", Protocol::Tcp, 80),
                to(&[("10.20.1.84", 8080)]),
            ),
            (
                port("10.210.0.53", Protocol::Udp, 53),
                to(&[("10.200.0.193", 5353), ("10.200.1.193", 5353)]),
            ),
        ]),
        ..DataplaneInput::default()
    }
}

fn program(node: &'static str) {
    on(node, move || {
        let mut kernel = Kernel::open().expect("opens");
        converge(&mut kernel, &desired(&input(node)));
    });
}

/// A pod's servers: TCP 8080 says "NAME CLIENT" and echoes; UDP 5353 says the same.
fn serve(name: &'static str) {
    let (ready, is_ready) = mpsc::channel();
    let ready_udp = ready.clone();
    start_on(name, move || {
        let listener = TcpListener::bind("0.0.0.0:8080").expect("binds");
        ready.send(()).expect("heard");
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            std::thread::spawn(move || {
                let client = stream
                    .peer_addr()
                    .map_or_else(|error| error.to_string(), |peer| peer.ip().to_string());
                let mut request = [0; 64];
                let Ok(length) = stream.read(&mut request) else {
                    return;
                };
                let mut answer = format!("{name} {client} ").into_bytes();
                answer.extend(&request[..length]);
                answer.resize(32 * 1024, b'.');
                let _ = stream.write_all(&answer);
            });
        }
    });
    start_on(name, move || {
        let server = UdpSocket::bind("0.0.0.0:5353").expect("binds");
        ready_udp.send(()).expect("heard");
        let mut buffer = [0; 512];
        while let Ok((_, client)) = server.recv_from(&mut buffer) {
            let _ = server.send_to(format!("{name} {}", client.ip()).as_bytes(), client);
        }
    });
    for _ in 0..2 {
        is_ready.recv().expect("listens");
    }
}

/// One connection that carries a request and all of a 32 KiB answer: who answered, and whom it saw.
fn ask(to: &str, patience: Duration) -> Result<(String, String), std::io::Error> {
    let mut stream = TcpStream::connect_timeout(&socket(to), patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.write_all(b"hello")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let mut words = text.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    if answer.len() == 32 * 1024 {
        Ok((word(), word()))
    } else {
        Err(ErrorKind::UnexpectedEof.into())
    }
}

/// Many connections at once from a host.
fn ask_many(
    from: &str,
    to: &'static str,
    count: usize,
) -> Vec<Result<(String, String), std::io::Error>> {
    on(from, move || {
        let all: Vec<_> = (0..count)
            .map(|_| std::thread::spawn(move || ask(to, SHORT)))
            .collect();
        all.into_iter()
            .map(|one| one.join().expect("asked"))
            .collect()
    })
}

fn carried(results: &[Result<(String, String), std::io::Error>]) -> usize {
    results.iter().filter(|result| result.is_ok()).count()
}

#[test]
fn services_answer_pods_nodes_and_hosts_outside() {
    in_own_namespaces("services_answer_pods_nodes_and_hosts_outside", || {
        the_lan();
        // Control: nothing answers before.
        assert_eq!(carried(&ask_many("harbor", "10.200.1.193:8080", 2)), 0);
        assert_eq!(carried(&ask_many("n84", "10.210.0.10:80", 2)), 0);
        program("n84");
        program("n85");
        assert_eq!(carried(&ask_many("harbor", "10.200.0.193:8080", 10)), 10);
        assert_eq!(carried(&ask_many("harbor", "10.200.1.193:8080", 10)), 10);
        assert_eq!(carried(&ask_many("pod84", "10.200.1.193:8080", 10)), 10);

        // Who answers, and what address it sees: the client's own but where the way back would miss the translation.
        let expected = [
            ("harbor", "pod84", "10.20.1.222"),
            ("harbor", "pod85", "10.20.1.84"),
            ("router", "pod84", "10.20.0.1"),
            ("router", "pod85", "10.20.1.84"),
            ("n84", "pod84", "10.20.1.84"),
            ("n84", "pod85", "10.20.1.84"),
            ("n85", "pod84", "10.20.1.85"),
            ("n85", "pod85", "10.20.1.85"),
            ("pod84", "pod85", "10.200.0.193"),
            ("pod85", "pod84", "10.200.1.193"),
            // Through the service to itself.
            ("pod84", "pod84", "10.20.1.84"),
            ("pod85", "pod85", "10.20.1.85"),
        ];
        for from in ["harbor", "router", "n84", "n85", "pod84", "pod85"] {
            let results = ask_many(from, "10.210.0.10:80", 40);
            assert_eq!(carried(&results), 40, "from {from}: {results:?}");
            let seen: BTreeSet<_> = results.into_iter().flatten().collect();
            let wanted: BTreeSet<_> = expected
                .iter()
                .filter(|(client, ..)| *client == from)
                .map(|(_, backend, source)| ((*backend).to_owned(), (*source).to_owned()))
                .collect();
            assert_eq!(seen, wanted, "from {from}");
        }
        // ClientIP: one client, one backend; and the same one through either node.
        let stays: BTreeSet<_> = ask_many("harbor", "10.210.0.11:80", 20)
            .into_iter()
            .map(|one| one.expect("ok").0)
            .collect();
        assert_eq!(stays.len(), 1, "{stays:?}");
        run("ip -n harbor route replace 10.210.0.0/24 via 10.20.1.85");
        let other: BTreeSet<_> = ask_many("harbor", "10.210.0.11:80", 20)
            .into_iter()
            .map(|one| one.expect("ok").0)
            .collect();
        assert_eq!(stays, other);
        for from in ["harbor", "n84", "n85", "pod84", "pod85"] {
            let answers = on(from, udp_answers);
            assert_eq!(answers.len(), 20, "UDP from {from}: {answers:?}");
            assert_eq!(
                answers
                    .iter()
                    .map(|(name, _)| name)
                    .collect::<BTreeSet<_>>()
                    .len(),
                2,
                "{from}: {answers:?}"
            );
            run(&format!("ip netns exec {from} ping -c 1 -W 1 10.210.0.10"));
        }
        // A backend that is a process of a node, as its own name server is; harbor comes by the other node now.
        serve("n84");
        let itself = "10.210.0.14:80";
        for (from, seen) in [
            ("harbor", "10.20.1.85"),
            ("pod84", "10.200.0.193"),
            ("n84", "10.20.1.84"),
        ] {
            let answer = on(from, move || ask(itself, SHORT)).expect("ok");
            assert_eq!(answer, ("n84".to_owned(), seen.to_owned()), "from {from}");
        }
        // natOutgoing: a pod's own connections leave with the node's address.
        serve("harbor");
        assert_eq!(
            on("pod84", || ask("10.20.1.222:8080", SHORT))
                .expect("ok")
                .1,
            "10.20.1.84"
        );
    });
}

/// What the walk through a read-back kernel foretells of one connection, and what the real one does.
#[test]
fn the_walk_foretells_the_kernel() {
    in_own_namespaces("the_walk_foretells_the_kernel", || {
        the_lan();
        program("n84");
        program("n85");
        let state = on("n84", || {
            Kernel::open().expect("opens").read().expect("read")
        });
        let mut backends = BTreeSet::new();
        for port in 40_000..40_040 {
            let payload = Payload::Transport {
                protocol: Protocol::Udp,
                source_port: port,
                destination_port: 53,
            };
            let packet = Packet {
                input: Some("ens192".to_owned()),
                source: v4("10.20.1.222"),
                destination: v4("10.210.0.53"),
                payload,
                ttl: 64,
            };
            let foretold = walk(&packet, &state).packet;
            let answer = on("harbor", move || {
                let client = UdpSocket::bind(("0.0.0.0", port)).expect("binds");
                client.set_read_timeout(Some(SHORT)).expect("set");
                client.send_to(b"?", "10.210.0.53:53").expect("sent");
                let mut buffer = [0; 512];
                let length = client.recv(&mut buffer).expect("an answer");
                String::from_utf8_lossy(&buffer[..length]).into_owned()
            });
            let name = if foretold.destination == v4("10.200.0.193") {
                "pod84"
            } else {
                "pod85"
            };
            assert_eq!(answer, format!("{name} {}", foretold.source), "port {port}");
            backends.insert(name);
        }
        assert_eq!(
            backends.len(),
            2,
            "both are in use, so the agreement is not by chance"
        );
    });
}

/// One question from a client that keeps its port.
fn ask_udp(client: &UdpSocket) -> Option<String> {
    client.send(b"?").ok()?;
    let mut buffer = [0; 512];
    let length = client.recv(&mut buffer).ok()?;
    Some(
        String::from_utf8_lossy(&buffer[..length])
            .split(' ')
            .next()?
            .to_owned(),
    )
}

#[test]
fn a_client_that_keeps_its_port_is_not_left_with_a_backend_that_went() {
    in_own_namespaces(
        "a_client_that_keeps_its_port_is_not_left_with_a_backend_that_went",
        || {
            the_lan();
            program("n84");
            program("n85");
            let client = on("harbor", || {
                let client = UdpSocket::bind("0.0.0.0:0").expect("binds");
                client.set_read_timeout(Some(SHORT)).expect("set");
                client.connect("10.210.0.53:53").expect("a route");
                client
            });
            let first = ask_udp(&client).expect("an answer");
            let (address, other) = if first == "pod84" {
                ("10.200.0.193", "pod85")
            } else {
                ("10.200.1.193", "pod84")
            };
            let mut left = input("n84");
            let dns = Frontend {
                address: v4("10.210.0.53"),
                protocol: Protocol::Udp,
                port: 53,
            };
            left.services
                .get_mut(&dns)
                .expect("there")
                .endpoints
                .retain(|(backend, _)| *backend != v4(address));

            // Control: the same transaction by nft itself leaves the client where it was.
            let wanted = desired(&left);
            let text = on("n84", {
                let wanted = wanted.clone();
                move || {
                    let actual = Kernel::open().expect("opens").read().expect("read");
                    let batches = plan(&wanted, &actual, true);
                    let operations = batches.iter().flat_map(|batch| &batch.operations);
                    operations
                        .map(|operation| match operation {
                            Operation::Nft(changes) => nft_text::transaction(changes),
                            other => panic!("{other}"),
                        })
                        .collect::<String>()
                }
            });
            nft("n84", &text);
            assert_eq!(ask_udp(&client).expect("an answer"), first);
            program("n84");
            // Ours.
            on("n84", move || {
                drop(converge(&mut Kernel::open().expect("opens"), &wanted))
            });
            assert_eq!(ask_udp(&client).expect("an answer"), other);
        },
    );
}

fn udp_answers() -> Vec<(String, IpAddr)> {
    let ask = |_| {
        let client = UdpSocket::bind("0.0.0.0:0").ok()?;
        client.set_read_timeout(Some(SHORT)).ok()?;
        client.send_to(b"?", "10.210.0.53:53").ok()?;
        let mut buffer = [0; 512];
        let (length, from) = client.recv_from(&mut buffer).ok()?;
        assert_eq!(
            from,
            socket("10.210.0.53:53"),
            "the answer comes from the service"
        );
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let (name, seen) = text.split_once(' ')?;
        Some((name.to_owned(), seen.parse().ok()?))
    };
    (0..20).filter_map(ask).collect()
}

#[test]
fn tcp_passes_where_somebody_drops_invalid() {
    in_own_namespaces("tcp_passes_where_somebody_drops_invalid", || {
        the_lan();
        program("n84");
        program("n85");
        nft(
            "n84",
            "table ip theirs { chain forward { type filter hook forward priority 0; ct state invalid counter drop; }\n}",
        );
        assert_eq!(carried(&ask_many("harbor", "10.200.1.193:8080", 20)), 20);
        let dropped = || run("ip netns exec n84 nft list chain ip theirs forward");
        assert!(dropped().contains("packets 0 "), "{}", dropped());

        // Control: the same without our one rule.
        run("ip netns exec n84 nft flush chain ip selvedge raw-prerouting");
        let results = ask_many("harbor", "10.200.1.193:8080", 20);
        assert_eq!(carried(&results), 0, "{results:?}");
        assert!(!dropped().contains("packets 0 "), "{}", dropped());

        // A container behind somebody else's masquerade on the node keeps its tracking.
        program("n84");
        run("ip netns add box");
        run("ip -n n84 link add docker0 type veth peer name eth0 netns box");
        run("ip -n n84 address add 172.17.0.1/16 dev docker0");
        run("ip -n n84 link set docker0 up");
        run("ip -n box address add 172.17.0.2/16 dev eth0");
        run("ip -n box link set eth0 up");
        run("ip -n box route add default via 172.17.0.1");
        nft(
            "n84",
            "table ip docker { chain post { type nat hook postrouting priority 100; ip saddr 172.17.0.0/16 masquerade; }\n}",
        );
        assert_eq!(
            on("box", || ask("10.200.1.193:8080", SHORT)).expect("ok"),
            ("pod85".to_owned(), "10.20.1.84".to_owned())
        );
    });
}

/// What a TCP connection comes to, and how soon.
fn refusal(from: &str, to: &str) -> (Option<i32>, Duration) {
    let to: SocketAddr = socket(to);
    on(from, move || {
        let start = Instant::now();
        let error = TcpStream::connect_timeout(&to, Duration::from_secs(2)).err();
        // A connect_timeout that ran out has no errno.
        (
            error.and_then(|error| error.raw_os_error()),
            start.elapsed(),
        )
    })
}

/// `IpForwDatagrams` of a host.
fn forwarded(host: &str) -> u64 {
    let text = run(&format!("ip netns exec {host} cat /proc/net/snmp"));
    let mut lines = text.lines().filter(|line| line.starts_with("Ip: "));
    let names = lines.next().expect("names").split(' ');
    let values = lines.next().expect("values").split(' ');
    names
        .zip(values)
        .find(|(name, _)| *name == "ForwDatagrams")
        .expect("there")
        .1
        .parse()
        .expect("a number")
}

#[test]
fn what_nobody_has_is_refused_at_once_and_never_loops() {
    in_own_namespaces("what_nobody_has_is_refused_at_once_and_never_loops", || {
        the_lan();
        // A redirect would use up what the kernel grants a client in ICMP errors.
        run(
            "ip netns exec n84 sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.ens192.send_redirects=0",
        );
        // Control: without us one packet goes round between node and router until its TTL ends.
        for address in ["10.200.1.77", "10.210.0.99"] {
            let before = forwarded("n84") + forwarded("router");
            attempt(&format!("ip netns exec harbor ping -c 1 -W 1 {address}"));
            let times = forwarded("n84") + forwarded("router") - before;
            assert!(times > 50, "{address} was forwarded {times} times");
        }
        program("n84");
        program("n85");
        for address in ["10.200.1.77", "10.210.0.99", "10.200.0.200", "10.200.1.200"] {
            let before = forwarded("n84") + forwarded("n85") + forwarded("router");
            let said = attempt(&format!("ip netns exec harbor ping -c 1 -W 2 {address}"));
            let times = forwarded("n84") + forwarded("n85") + forwarded("router") - before;
            assert!(times <= 1, "{address} was forwarded {times} times");
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            assert!(
                said.contains("Destination Host Unreachable"),
                "{address}: {said}"
            );
        }
        let unreachable = &[libc::EHOSTUNREACH][..];
        let refused = &[libc::ECONNREFUSED][..];
        // The kernel's own answer to a local process for a blackhole route.
        let own_blackhole = &[libc::EHOSTUNREACH, libc::EINVAL][..];
        for (from, to, errno) in [
            ("harbor", "10.200.0.200:80", unreachable),
            ("harbor", "10.200.1.200:80", unreachable),
            ("harbor", "10.200.1.77:80", unreachable),
            ("harbor", "10.210.0.99:80", unreachable),
            ("harbor", "10.210.0.10:81", refused),
            ("harbor", "10.210.0.13:80", refused),
            ("router", "10.210.0.10:81", refused),
            ("pod84", "10.200.0.200:80", unreachable),
            ("pod84", "10.200.1.200:80", unreachable),
            ("pod84", "10.200.1.77:80", unreachable),
            ("pod84", "10.210.0.99:80", unreachable),
            ("pod84", "10.210.0.10:81", refused),
            ("pod84", "10.210.0.13:80", refused),
            ("n84", "10.200.0.200:80", own_blackhole),
            ("n84", "10.200.1.200:80", unreachable),
            ("n84", "10.200.1.77:80", unreachable),
            ("n84", "10.210.0.99:80", unreachable),
            ("n84", "10.210.0.10:81", refused),
            ("n84", "10.210.0.13:80", refused),
        ] {
            let (said, took) = refusal(from, to);
            assert!(
                said.is_some_and(|said| errno.contains(&said)),
                "{from} to {to}: {said:?} after {took:?}"
            );
            assert!(
                took < Duration::from_millis(300),
                "{from} to {to}: {said:?} after {took:?}"
            );
        }
        for from in ["harbor", "pod84", "n84"] {
            on(from, move || {
                let client = UdpSocket::bind("0.0.0.0:0").expect("binds");
                client.set_read_timeout(Some(SHORT)).expect("set");
                client.connect("10.210.0.53:54").expect("a route");
                // The kernel tells a sender on the node itself by EPERM, where the packet was refused on its way out.
                let sent = client.send(b"?");
                let error = sent
                    .and_then(|_| client.recv(&mut [0; 16]))
                    .expect_err("nobody answers");
                let kinds = [ErrorKind::ConnectionRefused, ErrorKind::PermissionDenied];
                assert!(kinds.contains(&error.kind()), "{from}: {error}");
                assert!(from == "n84" || error.kind() == kinds[0], "{from}: {error}");
            });
        }
        // The pod itself goes: its address is refused the moment its route is gone, with no help from us.
        run("ip -n n85 link del cali85");
        assert_eq!(
            refusal("harbor", "10.200.1.193:8080").0,
            Some(libc::EHOSTUNREACH)
        );
    });
}
