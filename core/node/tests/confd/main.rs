//! The same clusters to Calico's confd and to us: every session and every filter term that it writes is ours too, and the
//! other way round. What filters mean is compared by what they do: each route of a table is run through both.

mod bird;

use std::collections::{BTreeMap, BTreeSet};

use bgp::{
    Action, Authentication, Config, Filter, Operation, PeerConfig, PeerType, Sample, Source,
};
use bird::{Functions, Route, Tokens};
use dataplane::{Actual, Link, LinkKind, PROTOCOL_KERNEL, RouteKind};
use ipnet::IpNet;
use node::{Input, Node, Now, Options, Output, StoredChange};

/// The captured files of one node.
struct Captured {
    main: Tokens,
    aggregation: Tokens,
    functions: Functions,
}

macro_rules! captured {
    ($name:literal) => {
        captured(
            include_str!(concat!("captured/", $name, "-bird.cfg")),
            include_str!(concat!("captured/", $name, "-bird_aggr.cfg")),
            include_str!(concat!("captured/", $name, "-bird_ipam.cfg")),
        )
    };
}

fn captured(main: &str, aggregation: &str, pools: &str) -> Captured {
    // Newer than 3.32.1: Felix writes IPIP routes to the kernel itself, so that BIRD learns them and must not tell of them.
    let newer = r#" || (ifname ~ "tunl0")"#;
    assert!(pools.contains(newer), "the term is not there any more");
    let pools = pools.replace(newer, "");
    let all = Tokens::of(&format!("{main}\n{aggregation}\n{pools}"));
    Captured {
        main: Tokens::of(main),
        aggregation: Tokens::of(aggregation),
        functions: bird::functions(&all),
    }
}

/// A session, in the words of both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Session {
    name: String,
    neighbour: String,
    port: u16,
    remote_as: u32,
    local_as: u32,
    source: Option<String>,
    passive: bool,
    client_of: Option<String>,
    password: bool,
    restart_time_s: Option<u64>,
    add_path: bool,
    /// TTL to send with and least TTL to take.
    ttl: (u8, Option<u8>),
    next_hop: &'static str,
    allow_own_as: u8,
    hold_time_s: u64,
    keepalive_s: Option<u64>,
    connect_retry_s: u64,
    error_wait_s: (u64, u64),
    /// BGPFilters that stand before the built-in terms.
    filters: Vec<String>,
}

impl Captured {
    fn template(&self) -> Vec<Vec<String>> {
        let templates = self.main.blocks(&["template", "bgp"]);
        templates[0].1.statements()
    }

    fn sessions(&self) -> BTreeMap<String, (Session, Tokens)> {
        let template = self.template();
        let blocks = self.main.blocks(&["protocol", "bgp"]);
        let sessions = blocks.into_iter().map(|(head, body)| {
            let mut words = template.clone();
            words.extend(body.statements());
            (head[0].clone(), (session(&head[0], &words), body))
        });
        sessions.collect()
    }

    fn blackholes(&self) -> BTreeSet<String> {
        let templates = self.aggregation.blocks(&["template", "static"]);
        let routes = templates[0].1.statements();
        let route = |words: Vec<String>| {
            assert_eq!((&*words[0], &*words[2]), ("route", "blackhole"));
            words[1].clone()
        };
        routes.into_iter().map(route).collect()
    }
}

/// Reads BIRD's statements; one that is not known here fails the test, so that none is passed over.
fn session(name: &str, statements: &[Vec<String>]) -> Session {
    let mut session = Session {
        name: name.into(),
        neighbour: String::new(),
        port: 179,
        remote_as: 0,
        local_as: 0,
        source: None,
        passive: false,
        client_of: None,
        password: false,
        restart_time_s: None,
        add_path: false,
        ttl: (64, None),
        next_hop: "auto",
        allow_own_as: 0,
        // BIRD's own where nothing is said.
        hold_time_s: 240,
        keepalive_s: None,
        connect_retry_s: 0,
        error_wait_s: (0, 0),
        filters: Vec::new(),
    };
    for words in statements {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let asn = |text: &str| text.parse().expect("an AS");
        match words[..] {
            ["neighbor", address, "as", remote_as] => {
                session.neighbour = address.into();
                session.remote_as = asn(remote_as);
            }
            ["neighbor", address, "port", port, "as", remote_as] => {
                session.neighbour = address.into();
                session.port = port.parse().expect("a port");
                session.remote_as = asn(remote_as);
            }
            ["local", "as", own] => session.local_as = asn(own),
            ["source", "address", address] => session.source = Some(address.into()),
            ["passive", "on"] => session.passive = true,
            // `rr client` comes first.
            ["rr", "client"] => session.client_of = Some(String::new()),
            ["rr", "cluster", "id", cluster] => {
                assert!(session.client_of.is_some(), "{name}");
                session.client_of = Some(cluster.into());
            }
            ["password", _] => session.password = true,
            ["graceful", "restart"] => session.restart_time_s = Some(120),
            ["graceful", "restart", "time", time] => session.restart_time_s = Some(number(time)),
            ["add", "paths", "on"] => session.add_path = true,
            ["ttl", "security", "off"] | ["multihop"] => session.ttl = (64, None),
            ["connect", "retry", "time", time] => session.connect_retry_s = number(time),
            ["error", "wait", "time", first, ",", greatest] => {
                session.error_wait_s = (number(first), number(greatest));
            }
            ["keepalive", "time", time] => session.keepalive_s = Some(number(time)),
            // Said to the log, or how next hops are found: not of the session.
            ["debug", ..] | ["description", ..] | ["gateway", "recursive"] => {}
            // RFC 4271 §8 has no such wait: we dial at once.
            ["connect", "delay", "time", _] => {}
            // What follows the filters' braces.
            _ => panic!("{name}: statement {words:?} is not known"),
        }
    }
    session
}

/// Our own configuration in the same words.
fn ours(peer: &PeerConfig) -> Session {
    let bgp::RemoteAs::Is(remote_as) = peer.remote_as else {
        panic!("{} has no AS", peer.name);
    };
    let names = peer.import.rules.iter().chain(&peer.export.rules);
    let filters = names.filter_map(|rule| rule.name.as_deref());
    Session {
        name: peer.name.clone(),
        neighbour: peer.remote.ip().to_string(),
        port: peer.remote.port(),
        remote_as: remote_as.0,
        local_as: peer.local_as.expect("an AS").0,
        source: peer.source.map(|address| address.to_string()),
        passive: peer.passive,
        client_of: peer.rr_client.map(|cluster| cluster.to_string()),
        password: peer.authentication != Authentication::None,
        restart_time_s: peer.graceful_restart.map(|gr| gr.restart_time.as_secs()),
        add_path: peer.add_path.receive && peer.add_path.send && peer.add_path.limit.is_none(),
        ttl: (peer.ttl, peer.min_ttl),
        next_hop: match peer.next_hop {
            bgp::NextHopMode::Auto => "auto",
            bgp::NextHopMode::SelfAddress => "self",
            bgp::NextHopMode::Keep | bgp::NextHopMode::ThirdParty => "keep",
        },
        allow_own_as: peer.allow_own_as,
        hold_time_s: peer.hold_time.as_secs(),
        keepalive_s: peer.keepalive.map(|time| time.as_secs()),
        connect_retry_s: peer.connect_retry.as_secs(),
        error_wait_s: (peer.error_wait.0.as_secs(), peer.error_wait.1.as_secs()),
        filters: filters.map(String::from).collect(),
    }
}

fn resource(plural: &str, kind: &str, name: &str, rest: &str) -> StoredChange {
    StoredChange {
        path: format!("/calico/resources/v3/projectcalico.org/{plural}/{name}"),
        value: Some(format!(
            r#"{{"kind":"{kind}","apiVersion":"projectcalico.org/v3","metadata":{{"name":"{name}"}},{rest}}}"#
        )),
        revision: 1,
    }
}

fn cluster(mesh: bool) -> Vec<StoredChange> {
    let mut changes = Vec::new();
    for (number, address) in (1..).zip([
        "10.0.0.1/24",
        "10.0.0.2/24",
        "10.0.0.3/24",
        "10.0.1.4/24",
        "10.0.1.5",
    ]) {
        let name = format!("node-{number}");
        let reflector = number <= 2;
        let id = if reflector {
            r#","routeReflectorClusterID":"244.0.0.1""#
        } else {
            ""
        };
        let mut node = resource(
            "nodes",
            "Node",
            &name,
            &format!(r#""spec":{{"bgp":{{"ipv4Address":"{address}"{id}}}}}"#),
        );
        if reflector {
            node.value = node.value.map(|text| {
                text.replace(
                    &format!(r#""name":"{name}""#),
                    &format!(r#""name":"{name}","labels":{{"route-reflector":"true"}}"#),
                )
            });
        }
        changes.push(node);
    }
    changes.push(resource(
        "bgpconfigurations",
        "BGPConfiguration",
        "default",
        &format!(r#""spec":{{"nodeToNodeMeshEnabled":{mesh},"asNumber":64512}}"#),
    ));
    changes.push(resource(
        "ippools",
        "IPPool",
        "my-pool",
        r#""spec":{"cidr":"10.244.0.0/16","ipipMode":"CrossSubnet","natOutgoing":true}"#,
    ));
    let affinity = "/calico/ipam/v2/host/node-3/ipv4/block/10.244.3.0-26";
    changes.push(StoredChange {
        path: affinity.into(),
        value: Some(r#"{"state":"confirmed","deleted":false}"#.into()),
        revision: 1,
    });
    if !mesh {
        for (name, spec) in [
            (
                "peer-with-route-reflectors",
                r#"{"nodeSelector":"!has(route-reflector)","peerSelector":"has(route-reflector)"}"#,
            ),
            (
                "rrs-to-rrs",
                r#"{"nodeSelector":"has(route-reflector)","peerSelector":"has(route-reflector)"}"#,
            ),
            ("tor", r#"{"peerIP":"192.0.2.1","asNumber":65001}"#),
        ] {
            changes.push(resource(
                "bgppeers",
                "BGPPeer",
                name,
                &format!(r#""spec":{spec}"#),
            ));
        }
    }
    changes
}

const DEVICES: [&str; 6] = [
    "eth0",
    "cali0123",
    "vxlan.calico",
    "wireguard.cali",
    "tunl0",
    "bpfout.cali",
];

/// A kernel that has all devices that the terms ask for, and routes of others in the pool.
fn kernel(routes: &[dataplane::Route]) -> Actual {
    let mut actual = Actual::default();
    for name in DEVICES {
        let link = Link {
            name: name.into(),
            kind: LinkKind::Other,
            up: true,
            mtu: Some(1500),
            mac: None,
        };
        actual.links.insert(name.into(), link);
    }
    actual.routes.extend(routes.iter().cloned());
    actual
}

fn config_of(mesh: bool, name: &str, routes: &[dataplane::Route]) -> Config {
    let mut node = Node::new(Options::named(name));
    let now = Now::default();
    node.handle(Input::Listing(cluster(mesh)), now);
    let actual = Box::new(kernel(routes));
    let read = Input::Kernel {
        actual,
        ipip_possible: true,
    };
    node.handle(read, now);
    let mut config = None;
    while let Some(output) = node.poll(now) {
        if let Output::Speaker(wanted) = output {
            config = Some(wanted.config);
        }
    }
    config.expect("a configuration")
}

fn all() -> [(&'static str, Captured, Config); 4] {
    [
        (
            "mesh, node-1",
            captured!("mesh-node-1"),
            config_of(true, "node-1", &[]),
        ),
        (
            "mesh, node-3",
            captured!("mesh-node-3"),
            config_of(true, "node-3", &[]),
        ),
        (
            "reflectors, node-1",
            captured!("rr-node-1"),
            config_of(false, "node-1", &[]),
        ),
        (
            "reflectors, node-3",
            captured!("rr-node-3"),
            config_of(false, "node-3", &[]),
        ),
    ]
}

#[test]
fn sessions_are_the_same() {
    let mut count = 0;
    for (what, captured, config) in all() {
        let theirs: Vec<Session> = captured.sessions().into_values().map(|(s, _)| s).collect();
        let mut own: Vec<Session> = config.peers.iter().map(ours).collect();
        own.sort();
        assert_eq!(own, theirs, "{what}");
        count += own.len();
    }
    assert_eq!(count, 10, "all that were captured");
}

#[test]
fn originated_routes_are_the_same() {
    for (what, captured, config) in all() {
        let own: BTreeSet<String> = config.origins.keys().map(ToString::to_string).collect();
        assert_eq!(own, captured.blackholes(), "{what}");
    }
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

/// Where a route comes from, in the words of both.
#[derive(Clone, Copy, Debug)]
enum From {
    /// The node's own, or learnt from its kernel, with the kernel's metric.
    Kernel(Option<u32>),
    /// A peer's, with its LOCAL_PREF.
    Peer(u32),
}

/// The greatest LOCAL_PREF of Calico's bridge.
const BRIDGE: u32 = 2_147_483_647;

fn table() -> Vec<(IpNet, From, Option<&'static str>)> {
    let prefixes = [
        "10.244.3.0/26",
        "10.244.3.0/27",
        "10.244.3.7/32",
        "10.244.3.64/26",
        "10.244.4.0/26",
        "10.244.4.9/32",
        "10.244.0.0/16",
        "10.244.0.0/15",
        "10.0.0.0/8",
        "192.168.7.0/24",
        "10.96.0.0/16",
        "10.96.0.1/32",
        "0.0.0.0/0",
    ];
    let metrics = [
        None,
        Some(1),
        Some(512),
        Some(1023),
        Some(1024),
        Some(1025),
        Some(4096),
    ];
    let prefs = [
        0,
        100,
        BRIDGE - 4096,
        BRIDGE - 1025,
        BRIDGE - 1024,
        BRIDGE - 1023,
        BRIDGE - 512,
        BRIDGE - 1,
    ];
    let mut rows = Vec::new();
    for prefix in prefixes {
        for interface in [None].into_iter().chain(DEVICES.map(Some)) {
            let kernel = metrics.map(From::Kernel).into_iter();
            for from in kernel.chain(prefs.map(From::Peer)) {
                rows.push((net(prefix), from, interface));
            }
        }
    }
    rows
}

fn bird_route(prefix: IpNet, from: From, interface: Option<&str>) -> Route {
    let (from_bgp, krt_metric, bgp_local_pref) = match from {
        From::Kernel(metric) => (false, metric, None),
        From::Peer(local_pref) => (true, None, Some(local_pref)),
    };
    Route {
        net: prefix,
        from_bgp,
        ifname: interface.map(String::from),
        krt_metric,
        bgp_local_pref,
        preference: 100,
    }
}

/// What we say of a route: accepted or not, with which LOCAL_PREF, and how many other things are changed.
fn verdict(
    filter: &Filter,
    external: bool,
    prefix: IpNet,
    from: From,
    interface: Option<&str>,
) -> Option<(u32, usize)> {
    let (source, local_pref) = match from {
        // As origins are made of the kernel's routes; `metrics_become_local_preference` holds that against the node.
        From::Kernel(metric) => (Source::Local, BRIDGE - metric.unwrap_or(1024)),
        From::Peer(local_pref) => (Source::Peers, local_pref),
    };
    let sample = Sample {
        prefix,
        source,
        peer_type: if external {
            PeerType::External
        } else {
            PeerType::Internal
        },
        local_pref: Some(local_pref),
        next_hop: [10, 0, 0, 9].into(),
        interface,
    };
    match filter.verdict(&sample) {
        (Action::Reject, _) => None,
        (Action::Accept, operations) => {
            let set = operations
                .iter()
                .rev()
                .find_map(|operation| match operation {
                    Operation::SetLocalPref(value) => Some(*value),
                    _ => None,
                });
            Some((set.unwrap_or(local_pref), operations.len()))
        }
    }
}

#[test]
fn export_terms_do_the_same() {
    let mut seen = BTreeMap::new();
    for (what, captured, config) in all() {
        for (name, (session, body)) in captured.sessions() {
            let filters = body.blocks(&["export", "filter"]);
            let peer = config.peers.iter().find(|peer| peer.name == name);
            let peer = peer.expect("the sessions are the same");
            let external = session.remote_as != session.local_as;
            for (prefix, from, interface) in table() {
                let mut route = bird_route(prefix, from, interface);
                let accepts = bird::run(&filters[0].1, &captured.functions, &mut route);
                let theirs =
                    accepts.then(|| (route.bgp_local_pref.expect("the bridge sets it"), 0));
                let own = verdict(&peer.export, external, prefix, from, interface);
                assert_eq!(
                    own, theirs,
                    "{what}: {name}: {prefix} {from:?} by {interface:?}"
                );
                *seen.entry((external, accepts)).or_insert(0) += 1;
            }
        }
    }
    // Each kind of verdict is among them, on both kinds of sessions.
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert_eq!(seen.values().sum::<usize>(), 10 * table().len());
}

#[test]
fn import_terms_do_the_same() {
    let mut preferred = 0;
    for (what, captured, config) in all() {
        for (name, (session, body)) in captured.sessions() {
            let filters = body.blocks(&["import", "filter"]);
            let peer = config.peers.iter().find(|peer| peer.name == name);
            let peer = peer.expect("the sessions are the same");
            let external = session.remote_as != session.local_as;
            for (prefix, from, interface) in table() {
                let From::Peer(local_pref) = from else {
                    continue;
                };
                let mut route = bird_route(prefix, from, interface);
                let accepts = bird::run(&filters[0].1, &captured.functions, &mut route);
                let own = verdict(&peer.import, external, prefix, from, interface);
                assert_eq!(
                    own,
                    accepts.then_some((local_pref, 0)),
                    "{what}: {name}: {prefix}"
                );
                // BIRD's preference stands above LOCAL_PREF only between protocols; between BGP routes both put the greater first.
                assert_eq!(
                    route.preference == 200,
                    local_pref > BRIDGE - 1024,
                    "{name}"
                );
                preferred += usize::from(route.preference == 200);
            }
        }
    }
    assert!(preferred > 0);
}

/// A route of somebody else's in the kernel, in the pool, is told of with LOCAL_PREF of its metric.
#[test]
fn metrics_become_local_preference() {
    let foreign = |dst: &str, metric, protocol| {
        let kind = RouteKind::Via {
            gateway: [10, 0, 0, 9].into(),
            oif: "eth0".into(),
            onlink: false,
        };
        dataplane::Route {
            metric,
            protocol,
            ..dataplane::Route::bird(net(dst), kind)
        }
    };
    let statically = 4;
    let routes = [
        foreign("10.244.9.0/26", 0, statically),
        foreign("10.244.9.64/26", 512, statically),
        foreign("10.244.9.128/26", 4096, statically),
        foreign("192.168.7.0/24", 512, statically),
        foreign("10.244.10.0/26", 0, 12),
        foreign("10.244.11.0/26", 0, PROTOCOL_KERNEL),
    ];
    let config = config_of(false, "node-1", &routes);
    let shown: Vec<(String, Option<u32>)> = config
        .origins
        .iter()
        .map(|(prefix, origin)| (prefix.to_string(), origin.local_pref))
        .collect();
    let captured = captured!("rr-node-1");
    let sessions = captured.sessions();
    let body = &sessions["Node_10_0_0_2"].1;
    let filters = body.blocks(&["export", "filter"]);
    let theirs = |prefix: &str, metric| {
        let mut route = bird_route(net(prefix), From::Kernel(metric), Some("eth0"));
        let accepts = bird::run(&filters[0].1, &captured.functions, &mut route);
        assert!(accepts, "{prefix}");
        (prefix.to_string(), route.bgp_local_pref)
    };
    assert_eq!(
        shown,
        [
            theirs("10.244.9.0/26", None),
            theirs("10.244.9.64/26", Some(512)),
            theirs("10.244.9.128/26", Some(4096)),
        ]
    );
}
