//! The machine against a kernel made of values.

use std::collections::BTreeSet;
use std::time::Duration;

use dataplane::{Actual, Address, Link, LinkKind, Operation, PROTOCOL_BOOT, Route, RouteKind};
use node::{
    Input, LearntRoute, Line, Node, Notice, Now, Options, Output, Recorded, StoredChange, replay,
};

/// A node, its kernel and its clock.
struct World {
    node: Node,
    kernel: Actual,
    now: Now,
    lines: Vec<Line>,
    outputs: Vec<Output>,
    /// Batches are answered with failures.
    refuse: Option<String>,
}

fn net(text: &str) -> ipnet::IpNet {
    text.parse().expect("a prefix")
}

fn via(dst: &str, gateway: &str) -> Route {
    let gateway = gateway.parse().expect("an address");
    Route::bird(
        net(dst),
        RouteKind::Via {
            gateway,
            oif: "ens192".into(),
            onlink: false,
        },
    )
}

fn kernel() -> Actual {
    let mut actual = Actual::default();
    let link = Link {
        name: "ens192".into(),
        kind: LinkKind::Veth,
        up: true,
        mtu: Some(1500),
        mac: None,
    };
    actual.links.insert("ens192".into(), link);
    actual
        .sysctls
        .insert("net/ipv4/ip_forward".into(), "0".into());
    actual.addresses.insert(Address {
        interface: "ens192".into(),
        address: net("10.20.1.84/23"),
    });
    actual
}

fn put(path: &str, value: &str) -> StoredChange {
    StoredChange {
        path: path.into(),
        value: Some(value.into()),
        revision: 1,
    }
}

fn resource(plural: &str, kind: &str, name: &str, spec: &str) -> StoredChange {
    let path = format!("/calico/resources/v3/projectcalico.org/{plural}/{name}");
    let value = format!(
        r#"{{"kind":"{kind}","apiVersion":"projectcalico.org/v3","metadata":{{"name":"{name}"}},"spec":{spec}}}"#
    );
    put(&path, &value)
}

fn node_object(name: &str, address: &str) -> StoredChange {
    resource(
        "nodes",
        "Node",
        name,
        &format!(r#"{{"bgp":{{"ipv4Address":"{address}"}}}}"#),
    )
}

fn affinity(host: &str, block: &str, state: &str) -> StoredChange {
    let path = format!(
        "/calico/ipam/v2/host/{host}/ipv4/block/{}",
        block.replace('/', "-")
    );
    put(&path, &format!(r#"{{"state":"{state}","deleted":false}}"#))
}

/// Two nodes, a pool, a block each.
fn cluster() -> Vec<StoredChange> {
    vec![
        node_object("a", "10.20.1.84/23"),
        node_object("b", "10.20.1.85/23"),
        resource(
            "ippools",
            "IPPool",
            "pool",
            r#"{"cidr":"10.200.0.0/23","natOutgoing":true}"#,
        ),
        affinity("a", "10.200.0.0/26", "confirmed"),
        affinity("b", "10.200.1.0/26", "confirmed"),
    ]
}

fn learnt(prefix: &str, next_hop: Option<&str>) -> Input {
    let next_hops = next_hop.map(|hop| BTreeSet::from([hop.parse().expect("an address")]));
    Input::Routes(vec![LearntRoute {
        prefix: net(prefix),
        next_hops,
        session: None,
    }])
}

impl World {
    fn new(kernel: Actual) -> World {
        let options = Options::named("a");
        let mut world = World {
            node: Node::new(options.clone()),
            kernel,
            now: Now::default(),
            lines: vec![Line::Start(options)],
            outputs: Vec::new(),
            refuse: None,
        };
        world.give(Input::Timer);
        world
    }

    /// Gives an input and does all that follows from it.
    fn give(&mut self, input: Input) {
        let mut inputs = vec![input];
        while !inputs.is_empty() {
            let input = inputs.remove(0);
            self.lines
                .push(Line::In(Recorded::new(input.clone(), self.now)));
            self.node.handle(input, self.now);
            while let Some(output) = self.node.poll(self.now) {
                self.lines.push(Line::of(&output));
                match &output {
                    Output::ReadKernel => inputs.push(Input::Kernel {
                        actual: Box::new(self.kernel.clone()),
                        ipip_possible: false,
                    }),
                    Output::Apply { id, batch } => {
                        let failures = match &self.refuse {
                            Some(why) => (0..batch.operations.len())
                                .map(|i| (i, why.clone()))
                                .collect(),
                            None => {
                                dataplane::apply(&mut self.kernel, batch);
                                Vec::new()
                            }
                        };
                        inputs.push(Input::Applied { id: *id, failures });
                    }
                    Output::Speaker(_)
                    | Output::Names(_)
                    | Output::TunnelAddress { .. }
                    | Output::PodMtu(_)
                    | Output::LogSeverity(_)
                    | Output::Notice(_) => {}
                }
                self.outputs.push(output);
            }
        }
    }

    /// Lets time pass until nothing is due within `span`.
    fn pass(&mut self, span: Duration) {
        let end = self.now.mono + span;
        while let Some(at) = self.node.next_deadline().filter(|at| *at <= end) {
            self.now.mono = self.now.mono.max(at);
            self.give(Input::Timer);
        }
        self.now.mono = end;
    }

    fn drift(&mut self) {
        self.give(Input::KernelChanged);
        self.pass(Duration::from_secs(1));
    }

    fn routes(&self) -> Vec<String> {
        self.kernel.routes.iter().map(ToString::to_string).collect()
    }

    fn has(&self, route: &str) -> bool {
        self.routes().iter().any(|there| there == route)
    }

    fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.outputs.iter().flat_map(|output| match output {
            Output::Apply { batch, .. } => batch.operations.as_slice(),
            _ => &[],
        })
    }

    fn speaker(&self) -> &bgp::Config {
        let last = self.outputs.iter().rev().find_map(|output| match output {
            Output::Speaker(wanted) => Some(&wanted.config),
            _ => None,
        });
        last.expect("the speaker was configured")
    }

    fn notices(&self) -> Vec<&Notice> {
        let notices = self.outputs.iter().filter_map(|output| match output {
            Output::Notice(notice) => Some(notice),
            _ => None,
        });
        notices.collect()
    }
}

impl Drop for World {
    /// Whatever a test did, doing it again gives the same, also from its written form.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let text: Vec<String> = self
            .lines
            .iter()
            .map(|line| serde_json::to_string(line).expect("JSON"))
            .collect();
        let lines: Vec<Line> = text
            .iter()
            .map(|line| serde_json::from_str(line).expect("a line"))
            .collect();
        let outputs = self
            .lines
            .iter()
            .filter(|line| matches!(line, Line::Out(_)))
            .count();
        assert_eq!(replay(&lines), Ok(outputs));
    }
}

const OWN: &str = "blackhole 10.200.0.0/26 proto bird";
const REMOTE: &str = "10.200.1.0/26 via 10.20.1.85 dev ens192 proto bird";

#[test]
fn blocks_become_routes() {
    let mut world = World::new(kernel());
    world.give(Input::Listing(cluster()));
    assert!(world.has(OWN), "{:#?}", world.routes());
    assert!(!world.has(REMOTE), "control: no peer has spoken");
    let config = world.speaker();
    assert_eq!(config.peers.len(), 1);
    assert_eq!(config.peers[0].name, "Mesh_10_20_1_85");
    assert!(config.origins.contains_key(&net("10.200.0.0/26")));
    assert!(!config.restarting);
    world.give(learnt("10.200.1.0/26", Some("10.20.1.85")));
    assert!(world.has(REMOTE), "{:#?}", world.routes());
    world.give(Input::BgpInSync);
    assert!(
        world.has(REMOTE) && world.node.health().ready(),
        "{:?}",
        world.node.health()
    );
    world.give(learnt("10.200.1.0/26", None));
    assert!(!world.has(REMOTE) && world.has(OWN));
}

#[test]
fn nothing_is_done_before_the_store_has_spoken() {
    let mut kernel = kernel();
    kernel.routes.insert(via("10.200.1.0/26", "10.20.1.85"));
    kernel.routes.insert(via("10.200.1.64/26", "10.20.1.86"));
    let before = kernel.clone();
    let mut world = World::new(kernel);
    world.drift();
    world.give(Input::BgpInSync);
    world.give(Input::Changes(cluster()));
    world.pass(Duration::from_secs(100));
    assert_eq!(world.kernel, before);
    assert_eq!(world.operations().count(), 0);
    world.give(Input::Listing(cluster()));
    assert!(world.has(OWN), "control: now it acts");
    assert!(
        !world.has(REMOTE),
        "and peers, in sync, do not know the route"
    );
}

#[test]
fn adopted_routes_stay_until_peers_have_spoken() {
    let mut kernel = kernel();
    let stale = via("10.200.1.64/26", "10.20.1.86");
    let mut foreign = via("192.0.2.0/24", "10.20.0.1");
    foreign.protocol = PROTOCOL_BOOT;
    let bird_elsewhere = via("198.51.100.0/24", "10.20.0.1");
    for route in [
        via("10.200.1.0/26", "10.20.1.85"),
        stale.clone(),
        foreign.clone(),
        bird_elsewhere.clone(),
    ] {
        kernel.routes.insert(route);
    }
    let mut world = World::new(kernel);
    world.give(Input::Listing(cluster()));
    assert!(world.speaker().restarting);
    assert!(world.has(REMOTE) && world.kernel.routes.contains(&stale));
    world.pass(Duration::from_secs(20));
    world.give(learnt("10.200.1.0/26", Some("10.20.1.85")));
    assert!(world.has(REMOTE) && world.kernel.routes.contains(&stale));
    let touched: Vec<_> = world
        .operations()
        .filter(|o| o.to_string().contains("10.200.1."))
        .collect();
    assert_eq!(
        touched,
        Vec::<&Operation>::new(),
        "what was there and is wanted is not even written again"
    );
    world.give(Input::BgpInSync);
    assert!(
        world.has(REMOTE) && !world.kernel.routes.contains(&stale),
        "control: now it goes"
    );
    assert!(
        world.kernel.routes.contains(&foreign) && world.kernel.routes.contains(&bird_elsewhere)
    );
}

#[test]
fn a_withdrawal_counts_before_peers_are_in_sync() {
    let mut kernel = kernel();
    kernel.routes.insert(via("10.200.1.0/26", "10.20.1.85"));
    let mut world = World::new(kernel);
    world.give(Input::Listing(cluster()));
    assert!(world.has(REMOTE));
    world.give(learnt("10.200.1.0/26", Some("10.20.1.86")));
    assert!(world.has("10.200.1.0/26 via 10.20.1.86 dev ens192 proto bird"));
    world.give(learnt("10.200.1.0/26", None));
    assert!(
        !world
            .routes()
            .iter()
            .any(|route| route.starts_with("10.200.1.0/26 via")),
        "{:?}",
        world.routes()
    );
}

#[test]
fn drift_is_mended_and_what_is_foreign_stays() {
    let mut world = World::new(kernel());
    world.give(Input::Listing(cluster()));
    world.give(learnt("10.200.1.0/26", Some("10.20.1.85")));
    world.give(Input::BgpInSync);
    let wanted = world.kernel.clone();
    assert_eq!(wanted.sysctls["net/ipv4/ip_forward"], "1");
    let remote = via("10.200.1.0/26", "10.20.1.85");
    assert!(world.kernel.routes.remove(&remote));
    world
        .kernel
        .sysctls
        .insert("net/ipv4/ip_forward".into(), "0".into());
    let foreign = via("198.51.100.0/24", "10.20.0.1");
    world.kernel.routes.insert(foreign.clone());
    let ours = via("10.200.1.128/26", "10.20.1.99");
    world.kernel.routes.insert(ours.clone());
    world.kernel.tables.clear();
    world.drift();
    assert!(world.kernel.routes.contains(&remote) && world.kernel.routes.contains(&foreign));
    assert!(!world.kernel.routes.contains(&ours));
    assert_eq!(world.kernel.sysctls, wanted.sysctls);
    assert_eq!(world.kernel.tables, wanted.tables);
    let count = world.operations().count();
    world.drift();
    assert_eq!(world.operations().count(), count, "nothing is done twice");
}

#[test]
fn a_pending_block_is_nobodys() {
    let mut world = World::new(kernel());
    world.give(Input::Listing(cluster()));
    world.give(Input::Changes(vec![affinity(
        "a",
        "10.200.0.64/26",
        "pending",
    )]));
    let blackhole = "blackhole 10.200.0.64/26 proto bird";
    assert!(!world.has(blackhole) && !world.speaker().origins.contains_key(&net("10.200.0.64/26")));
    world.give(Input::Changes(vec![affinity(
        "a",
        "10.200.0.64/26",
        "confirmed",
    )]));
    assert!(world.has(blackhole) && world.speaker().origins.contains_key(&net("10.200.0.64/26")));
    let gone = StoredChange {
        value: None,
        ..affinity("a", "10.200.0.64/26", "")
    };
    world.give(Input::Changes(vec![gone]));
    assert!(!world.has(blackhole) && !world.speaker().origins.contains_key(&net("10.200.0.64/26")));
}

#[test]
fn what_the_kernel_refuses_is_said_once_and_tried_again() {
    let mut world = World::new(kernel());
    world.give(Input::Listing(cluster()));
    world.give(Input::BgpInSync);
    world.refuse = Some("Network is unreachable".into());
    world.give(learnt("10.200.1.0/26", Some("10.20.1.85")));
    world.pass(Duration::from_secs(10));
    let said = |world: &World| {
        let refused =
            |n: &&&Notice| matches!(n, Notice::Refused(text) if text.contains("kernel-refused"));
        world.notices().iter().filter(refused).count()
    };
    assert_eq!(said(&world), 1, "{:#?}", world.notices());
    assert!(!world.node.health().refused.is_empty());
    world.refuse = None;
    world.pass(Duration::from_secs(2));
    assert!(world.has(REMOTE), "{:?}", world.routes());
    assert!(
        world.node.health().refused.is_empty(),
        "{:?}",
        world.node.health()
    );
}

#[test]
fn a_locked_datastore_changes_nothing() {
    let mut world = World::new(kernel());
    world.give(Input::Listing(cluster()));
    let lock = |ready| {
        resource(
            "clusterinformations",
            "ClusterInformation",
            "default",
            &format!(r#"{{"datastoreReady":{ready}}}"#),
        )
    };
    world.give(Input::Changes(vec![lock(false)]));
    let gone = StoredChange {
        value: None,
        ..affinity("a", "10.200.0.0/26", "")
    };
    world.give(Input::Changes(vec![gone]));
    assert!(world.has(OWN));
    assert!(
        world
            .node
            .health()
            .refused
            .iter()
            .any(|text| text.starts_with("datastore-locked"))
    );
    world.give(Input::Changes(vec![lock(true)]));
    assert!(!world.has(OWN), "control: unlocked, the change counts");
}

#[test]
fn the_dns_service_leads_to_the_agents_own_sockets() {
    let mut world = World::new(kernel());
    let service = |annotation: &str| {
        let value = format!(
            r#"{{"kind":"Service","apiVersion":"v1","metadata":{{"name":"kube-dns","namespace":"kube-system","annotations":{{{annotation}}}}},
            "spec":{{"clusterIP":"10.210.0.10","clusterIPs":["10.210.0.10"],"selector":{{"k8s-app":"kube-dns"}},"ports":[
            {{"name":"dns","protocol":"UDP","port":53}},{{"name":"dns-tcp","protocol":"TCP","port":53}},{{"name":"metrics","protocol":"TCP","port":9153}}]}}}}"#
        );
        put("/selvedge/kubernetes/services/kube-system/kube-dns", &value)
    };
    world.give(Input::Listing(cluster()));
    world.give(Input::Changes(vec![service("")]));
    let leads = |world: &World| format!("{:?}", world.kernel.tables).contains("Port(10053)");
    assert!(!leads(&world), "control: pods answer it");
    world.give(Input::Changes(vec![service(
        r#""selvedge.dev/dns":"true","selvedge.dev/domain":"datateam.local""#,
    )]));
    assert!(leads(&world), "{:#?}", world.kernel.tables);
    // The kernel's maps stand in the recording too.
    world.drift();
    let names = world.outputs.iter().rev().find_map(|output| match output {
        Output::Names(names) => Some(names.clone()),
        _ => None,
    });
    let names = names.expect("names");
    assert_eq!(names.domain, "datateam.local");
    assert_eq!(
        names.listen,
        ["10.20.1.84:10053".parse().expect("a socket")].into()
    );
    assert_eq!(
        names.addresses,
        ["10.210.0.10".parse().expect("an address")].into()
    );
}

#[test]
fn a_tunnel_address_is_asked_for_where_a_pool_wants_one() {
    let mut world = World::new(kernel());
    let asked = |world: &World| {
        let last = world.outputs.iter().rev().find_map(|output| match output {
            Output::TunnelAddress { pools, present } => Some((pools.clone(), *present)),
            _ => None,
        });
        last.expect("asked")
    };
    world.give(Input::Listing(cluster()));
    assert_eq!(asked(&world), (Vec::new(), None));
    let spec = r#"{"cidr":"10.200.0.0/23","ipipMode":"CrossSubnet","natOutgoing":true}"#;
    world.give(Input::Changes(vec![resource(
        "ippools", "IPPool", "pool", spec,
    )]));
    assert_eq!(asked(&world), (vec!["pool".to_string()], None));
    let warnings: Vec<_> = world
        .notices()
        .into_iter()
        .filter(|n| matches!(n, Notice::Refused(_)))
        .collect();
    assert_eq!(warnings.len(), 1, "one warning: {warnings:#?}");
    assert!(
        format!("{warnings:?}").contains("ipip-not-in-kernel"),
        "{warnings:#?}"
    );
}

#[test]
fn what_is_programmed_once_is_not_programmed_again() {
    let mut world = World::new(kernel());
    world.give(Input::Listing(cluster()));
    world.give(Input::BgpInSync);
    let ranges = |ranges: &str| {
        let spec = format!(r#"{{"serviceClusterIPs":[{ranges}]}}"#);
        resource("bgpconfigurations", "BGPConfiguration", "default", &spec)
    };
    let service = |ip: &str| {
        let value = format!(
            r#"{{"kind":"Service","apiVersion":"v1","metadata":{{"name":"s","namespace":"default"}},"spec":{{"clusterIP":"{ip}","clusterIPs":["{ip}"],"ports":[{{"protocol":"TCP","port":80}}]}}}}"#
        );
        put("/selvedge/kubernetes/services/default/s", &value)
    };
    let quiet = |world: &mut World, step: &str| {
        let count = world.operations().count();
        world.drift();
        let more: Vec<String> = world
            .operations()
            .skip(count)
            .map(ToString::to_string)
            .collect();
        assert_eq!(more, Vec::<String>::new(), "{step}");
    };
    quiet(&mut world, "start");
    for (step, change) in [
        ("range", ranges(r#"{"cidr":"10.210.0.0/24"}"#)),
        ("service", service("10.210.0.7")),
        ("service moved", service("10.210.0.8")),
        (
            "two ranges",
            ranges(r#"{"cidr":"10.210.0.0/24"},{"cidr":"10.211.0.0/24"}"#),
        ),
        ("no range", ranges("")),
        ("block", affinity("a", "10.200.0.64/26", "confirmed")),
        (
            "pool",
            resource("ippools", "IPPool", "pool", r#"{"cidr":"10.200.0.0/23"}"#),
        ),
    ] {
        let count = world.operations().count();
        world.give(Input::Changes(vec![change]));
        assert!(
            world.operations().count() > count,
            "control: {step} changes something"
        );
        quiet(&mut world, step);
    }
}

#[test]
fn a_node_without_a_router_id_says_so() {
    let world = |spec: &str| {
        let mut world = World::new(kernel());
        world.give(Input::Listing(vec![resource("nodes", "Node", "a", spec)]));
        let refused = world.node.health().refused;
        refused
            .iter()
            .any(|text| text.starts_with("router-id-missing"))
    };
    assert!(world(r#"{"bgp":{"ipv6Address":"fd00::84/64"}}"#));
    assert!(
        !world(r#"{"bgp":{"ipv4Address":"10.20.1.84/23"}}"#),
        "control"
    );
}

fn bgp_configuration(name: &str, spec: &str) -> StoredChange {
    resource("bgpconfigurations", "BGPConfiguration", name, spec)
}

/// The node's own configuration comes before the default one; only what changes is told.
#[test]
fn how_much_is_said() {
    let mut world = World::new(kernel());
    world.give(Input::Listing(cluster()));
    let told = |world: &World| -> Vec<intent::LogSeverity> {
        let outputs = world.outputs.iter();
        let severities = outputs.filter_map(|output| match output {
            Output::LogSeverity(severity) => Some(*severity),
            _ => None,
        });
        severities.collect()
    };
    assert!(told(&world).is_empty(), "the usual is not told");
    let mut set = |name: &str, severity: &str| {
        let spec = format!(r#"{{"logSeverityScreen":"{severity}"}}"#);
        world.give(Input::Changes(vec![bgp_configuration(name, &spec)]));
        told(&world)
    };
    use intent::LogSeverity::{Debug, Info, Warning};
    assert!(set("default", "Info").is_empty());
    assert_eq!(set("default", "debug"), [Debug]);
    assert_eq!(set("node.a", "Warning"), [Debug, Warning]);
    assert_eq!(set("default", "Trace"), [Debug, Warning]);
    assert_eq!(set("node.a", "Info"), [Debug, Warning, Info]);
}

/// IPv6 blocks are told over the IPv6 session, or with the IPv4 one where both go together.
#[test]
fn ipv6_routes_are_told() {
    let node = |name: &str, last: u8| {
        let spec = format!(
            r#"{{"bgp":{{"ipv4Address":"10.20.1.{last}/23","ipv6Address":"fd00:20::{last}/64"}}}}"#
        );
        resource("nodes", "Node", name, &spec)
    };
    let pool = resource("ippools", "IPPool", "six", r#"{"cidr":"fd00:200::/64"}"#);
    let block = put(
        "/calico/ipam/v2/host/a/ipv6/block/fd00:200::40-122",
        r#"{"state":"confirmed","deleted":false}"#,
    );
    let mut world = World::new(kernel());
    world.give(Input::Listing(vec![
        node("a", 84),
        node("b", 85),
        pool,
        block,
    ]));
    let own = net("fd00:200::40/122");
    assert!(world.speaker().origins.contains_key(&own));
    let shown = |world: &World| -> Vec<(String, Vec<bgp::Family>, Option<std::net::IpAddr>)> {
        let peers = world.speaker().peers.iter();
        peers
            .map(|p| (p.name.clone(), p.families.clone(), p.own_next_hop))
            .collect()
    };
    let (four, six) = (bgp::Family::Ipv4, bgp::Family::Ipv6);
    assert_eq!(
        shown(&world),
        [
            ("Mesh_10_20_1_85".to_string(), vec![four], None),
            ("Mesh_fd00_20__85".to_string(), vec![six], None),
        ]
    );
    let accepts = |world: &World, at: usize, prefix: &str| {
        let sample = bgp::Sample {
            prefix: net(prefix),
            source: bgp::Source::Local,
            peer_type: bgp::PeerType::Internal,
            local_pref: None,
            next_hop: "fd00:20::84".parse().expect("an address"),
            interface: None,
        };
        world.speaker().peers[at].export.verdict(&sample).0 == bgp::Action::Accept
    };
    assert!(accepts(&world, 1, "fd00:200::40/122"));
    assert!(
        !accepts(&world, 1, "fd00:200::41/128"),
        "inside the own block"
    );
    assert!(!accepts(&world, 1, "fd00:300::/64"), "outside pools");

    let path = "/selvedge/resources/v1alpha1/peerpolicies/mesh";
    let policy = r#"{"kind":"PeerPolicy","apiVersion":"selvedge.dev/v1alpha1","metadata":{"name":"mesh"},"spec":{"mesh":true,"families":"Together"}}"#;
    world.give(Input::Changes(vec![put(path, policy)]));
    let next_hop = "fd00:20::84".parse().ok();
    assert_eq!(
        shown(&world),
        [("Mesh_10_20_1_85".to_string(), vec![four, six], next_hop)]
    );
    assert!(accepts(&world, 0, "fd00:200::40/122"));
}
