//! What the collector calls garbage, and when; and that clearing it away leaves what is in use.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ipam::collect::{Collector, GRACE_NS, Garbage};
use ipam::lease::Lease;
use ipam::{
    Family, Ipam, LOAD_BALANCER, Owner, PoolChoice, Request, TunnelKind, Use, load_balancer, time,
};
use resource::kinds::{
    Controllers, EncapMode, IpPoolSpec, KubeControllersConfigurationSpec, NodeController, NodeSpec,
    ServiceSpec, WorkloadEndpointSpec,
};
use resource::{Key, KeyPrefix, Kind, MemoryStore, Metadata, Object, Spec, Store};

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a memory store never waits"),
    }
}

const START: u64 = 1_795_386_347_988_257_369;
const MINUTE: u64 = 60_000_000_000;

fn put<S: Spec>(store: &MemoryStore, metadata: Metadata, spec: S) {
    let object = Object::new(metadata, spec);
    now(store.create(&object.key(), &object.to_stored())).unwrap();
}

/// Nodes a and b, and a pool of 16 blocks of four addresses.
fn world() -> MemoryStore {
    let store = MemoryStore::new();
    for node in ["a", "b"] {
        put(&store, Metadata::named(node), NodeSpec::default());
    }
    let spec = IpPoolSpec {
        cidr: "10.0.0.0/26".to_string(),
        block_size: Some(30),
        ipip_mode: Some(EncapMode::Always),
        ..IpPoolSpec::default()
    };
    put(&store, Metadata::named("p"), spec);
    store
}

fn give(
    store: &MemoryStore,
    network: &str,
    container: &str,
    node: &str,
    count: usize,
) -> Vec<IpAddr> {
    let owner = Owner {
        handle: Some(format!("{network}.{container}")),
        attributes: BTreeMap::from([
            ("node".to_string(), node.to_string()),
            ("timestamp".to_string(), time::go_string(START)),
        ]),
    };
    let request = Request {
        count,
        family: Family::V4,
        owner: &owner,
        host: node,
        pools: PoolChoice::Automatic {
            namespace_labels: None,
        },
        intended: Use::Workload,
        max_blocks: None,
        windows: false,
    };
    let given = now(Ipam::new(store).auto_assign(&request, START)).unwrap();
    given.addresses.iter().map(|a| a.address).collect()
}

fn endpoint(node: &str, container: &str) -> Key {
    Key::in_namespace(
        Kind::WorkloadEndpoint,
        "default",
        format!("{node}-cni-{container}-eth0"),
    )
}

fn attach(store: &MemoryStore, container: &str, node: &str, addresses: &[IpAddr]) {
    let spec = WorkloadEndpointSpec {
        orchestrator: "cni".to_string(),
        node: node.to_string(),
        container_id: container.to_string(),
        endpoint: "eth0".to_string(),
        interface_name: format!("cali{container}"),
        ip_networks: addresses.iter().map(|a| format!("{a}/32")).collect(),
        ..WorkloadEndpointSpec::default()
    };
    let name = format!("{node}-cni-{container}-eth0");
    put(store, Metadata::namespaced("default", &name), spec);
}

fn detach(store: &MemoryStore, container: &str, node: &str) {
    now(store.delete(&endpoint(node, container), None)).unwrap();
}

fn collect(store: &MemoryStore, collector: &mut Collector, minutes: u64) -> Vec<String> {
    let cleared = now(Ipam::new(store).collect(collector, START + minutes * MINUTE)).unwrap();
    cleared.iter().map(ToString::to_string).collect()
}

fn is_given(store: &MemoryStore, address: IpAddr) -> bool {
    now(Ipam::new(store).owner_of(address)).unwrap().is_some()
}

#[test]
fn an_address_that_nobody_uses_goes_after_the_grace_period() {
    let store = world();
    let used = give(&store, "net", "c1", "a", 1);
    attach(&store, "c1", "a", &used);
    let leaked = give(&store, "net", "c2", "a", 1);
    let mut collector = Collector::new(GRACE_NS);
    assert_eq!(collect(&store, &mut collector, 0), [""; 0]);
    assert_eq!(collector.candidates(), 1);
    assert_eq!(collect(&store, &mut collector, 14), [""; 0], "too early");
    let text = format!("{} of handle net.c2: no workload has it", leaked[0]);
    assert_eq!(collect(&store, &mut collector, 15), [text]);
    assert!(!is_given(&store, leaked[0]));
    assert!(is_given(&store, used[0]), "the control: one in use stays");
    assert_eq!(
        now(store.list(&KeyPrefix::Handles)).unwrap().entries.len(),
        1
    );
    assert_eq!(collect(&store, &mut collector, 99), [""; 0]);
}

#[test]
fn a_candidate_that_is_used_again_or_given_anew_begins_anew() {
    let store = world();
    let used = give(&store, "net", "c1", "a", 1);
    attach(&store, "c1", "a", &used);
    let other = give(&store, "net", "c2", "a", 1);
    let mut collector = Collector::new(GRACE_NS);
    collect(&store, &mut collector, 0);
    attach(&store, "c2", "a", &other);
    collect(&store, &mut collector, 10);
    detach(&store, "c2", "a");
    assert_eq!(
        collect(&store, &mut collector, 20),
        [""; 0],
        "since 20 only"
    );
    // The same address under the same handle, but another allocation.
    now(Ipam::new(&store).release_by_handle("net.c2")).unwrap();
    let owner = Owner {
        handle: Some("net.c2".to_string()),
        attributes: BTreeMap::from([("node".to_string(), "a".to_string())]),
    };
    now(Ipam::new(&store).assign_ip(other[0], &owner, "a", START)).unwrap();
    assert_eq!(
        collect(&store, &mut collector, 36),
        [""; 0],
        "since 36 only"
    );
    assert_eq!(collect(&store, &mut collector, 51).len(), 1);
}

#[test]
fn of_a_handle_all_addresses_go_or_none() {
    let store = world();
    let two = give(&store, "net", "c1", "a", 2);
    attach(&store, "c1", "a", &two[..1]);
    let mut collector = Collector::new(GRACE_NS);
    for minutes in [0, 20, 40] {
        assert_eq!(collect(&store, &mut collector, minutes), [""; 0]);
    }
    assert!(is_given(&store, two[1]));
    // Somebody of the network must be left, or nothing would tell whether its addresses are used.
    let used = give(&store, "net", "c2", "a", 1);
    attach(&store, "c2", "a", &used);
    detach(&store, "c1", "a");
    collect(&store, &mut collector, 50);
    assert_eq!(collect(&store, &mut collector, 65).len(), 1);
    assert!(!is_given(&store, two[0]) && !is_given(&store, two[1]));
}

#[test]
fn what_a_deleted_node_left_goes_at_once() {
    let store = world();
    let addresses = give(&store, "net", "c1", "b", 5);
    let ipam = Ipam::new(&store);
    let tunnel = now(ipam.ensure_tunnel_address("b", TunnelKind::Ipip, None, START)).unwrap();
    let kept = give(&store, "net", "c2", "a", 1);
    attach(&store, "c2", "a", &kept);
    let borrowed_still_used = give(&store, "net", "c3", "b", 1);
    attach(&store, "c3", "b", &borrowed_still_used);
    now(store.delete(&Key::cluster(Kind::Node, "b"), None)).unwrap();
    let mut collector = Collector::new(GRACE_NS);
    let cleared = collect(&store, &mut collector, 0);
    assert_eq!(cleared.len(), 3, "{cleared:?}");
    assert!(
        cleared
            .iter()
            .any(|c| c == "blocks of node b: the node is gone")
    );
    assert!(
        cleared
            .iter()
            .any(|c| c.ends_with("of handle net.c1: its node is gone"))
    );
    for address in addresses.iter().chain(&tunnel) {
        assert!(!is_given(&store, *address));
    }
    assert!(is_given(&store, kept[0]));
    assert!(
        is_given(&store, borrowed_still_used[0]),
        "a workload says that it lives"
    );
    let claims = now(store.list(&KeyPrefix::HostAffinities("b".to_string()))).unwrap();
    assert_eq!(claims.entries, []);
}

#[test]
fn a_network_of_which_nothing_is_known_is_left_alone() {
    let store = world();
    let foreign = give(&store, "bridge", "c1", "a", 1);
    let mut collector = Collector::new(GRACE_NS);
    for minutes in [0, 20, 40] {
        assert_eq!(collect(&store, &mut collector, minutes), [""; 0]);
    }
    assert!(is_given(&store, foreign[0]));
    // The control: once a workload of that network has an endpoint, the others must have one too.
    let used = give(&store, "bridge", "c2", "a", 1);
    attach(&store, "c2", "a", &used);
    collect(&store, &mut collector, 60);
    assert_eq!(collect(&store, &mut collector, 75).len(), 1);
}

#[test]
fn tunnels_and_services_have_users_of_their_own() {
    let store = world();
    let ipam = Ipam::new(&store);
    let tunnel = now(ipam.ensure_tunnel_address("a", TunnelKind::Ipip, None, START)).unwrap();
    let spec = IpPoolSpec {
        cidr: "10.1.0.0/29".to_string(),
        block_size: Some(30),
        allowed_uses: vec!["LoadBalancer".to_string()],
        ..IpPoolSpec::default()
    };
    put(&store, Metadata::named("lb"), spec);
    let service = Metadata {
        uid: Some("u".to_string()),
        ..Metadata::namespaced("default", "web")
    };
    put(&store, service, ServiceSpec::default());
    for name in ["web", "gone"] {
        let owner = Owner {
            handle: Some(load_balancer::handle(name, "default", "u")),
            attributes: BTreeMap::new(),
        };
        let request = Request {
            count: 1,
            family: Family::V4,
            owner: &owner,
            host: LOAD_BALANCER,
            pools: PoolChoice::Automatic {
                namespace_labels: None,
            },
            intended: Use::LoadBalancer,
            max_blocks: None,
            windows: false,
        };
        assert_eq!(
            now(ipam.auto_assign(&request, START)).unwrap().shortfall,
            None
        );
    }
    let mut collector = Collector::new(GRACE_NS);
    collect(&store, &mut collector, 0);
    let cleared = collect(&store, &mut collector, 15);
    assert_eq!(cleared.len(), 1, "{cleared:?}");
    assert!(cleared[0].contains(&load_balancer::handle("gone", "default", "u")));
    assert!(is_given(&store, tunnel.unwrap()));
}

#[test]
fn empty_blocks_go_when_seen_twice_and_one_is_left() {
    let store = world();
    // Four blocks of a, all empty.
    let full = give(&store, "net", "c1", "a", 16);
    now(Ipam::new(&store).release_by_handle("net.c1")).unwrap();
    assert_eq!(full.len(), 16);
    let blocks = || now(store.list(&KeyPrefix::Blocks)).unwrap().entries.len();
    assert_eq!(blocks(), 4);
    let mut collector = Collector::new(GRACE_NS);
    assert_eq!(
        collect(&store, &mut collector, 0),
        [""; 0],
        "once is not enough"
    );
    // Used in between: that one is not as empty as it was.
    give(&store, "net", "c2", "a", 1);
    now(Ipam::new(&store).release_by_handle("net.c2")).unwrap();
    assert_eq!(collect(&store, &mut collector, 5).len(), 3);
    assert_eq!(blocks(), 1);
    for minutes in [10, 15] {
        assert_eq!(
            collect(&store, &mut collector, minutes),
            [""; 0],
            "the last stays"
        );
    }
    let claims = now(store.list(&KeyPrefix::HostAffinities("a".to_string()))).unwrap();
    assert_eq!(claims.entries.len(), 1);
}

#[test]
fn what_was_left_half_done_is_finished() {
    let store = world();
    let write = |key: &Key, text: &str| now(store.create(key, text)).unwrap();
    let claim = |host: &str, cidr: &str| Key::BlockAffinity {
        host: host.to_string(),
        cidr: cidr.parse().unwrap(),
    };
    // A claim without a block, one on another's block, a handle without addresses, an empty block of nobody's.
    write(
        &claim("a", "10.0.0.0/30"),
        r#"{"state":"pending","deleted":false}"#,
    );
    now(Ipam::new(&store).claim_block("b", "10.0.0.4/30".parse().unwrap(), START)).unwrap();
    write(
        &claim("a", "10.0.0.4/30"),
        r#"{"state":"confirmed","deleted":false}"#,
    );
    let handle = Key::Handle("net.c9".to_string());
    write(&handle, r#"{"block":{"10.0.0.4/30":1},"deleted":false}"#);
    let block = r#"{"cidr":"10.0.0.8/30","affinity":null,"allocations":[null,null,null,null],"unallocated":[0,1,2,3],"attributes":[],"sequenceNumber":7,"sequenceNumberForAllocation":{},"deleted":false}"#;
    write(&Key::Block("10.0.0.8/30".parse().unwrap()), block);
    let mut collector = Collector::new(GRACE_NS);
    assert_eq!(collect(&store, &mut collector, 0), [""; 0]);
    assert_eq!(
        collect(&store, &mut collector, 5),
        [
            "block 10.0.0.8/30: it is empty and nobody's",
            "claim of host:a on 10.0.0.0/30: it was never finished",
            "claim of host:a on 10.0.0.4/30: it was never finished",
        ]
    );
    assert_eq!(
        collect(&store, &mut collector, 15),
        ["handle net.c9: it has no address"]
    );
    let left: Vec<String> = now(store.list(&KeyPrefix::All))
        .unwrap()
        .entries
        .iter()
        .map(|e| e.key.path())
        .filter(|path| path.starts_with("/calico/ipam/"))
        .collect();
    assert_eq!(
        left,
        [
            "/calico/ipam/v2/assignment/ipv4/block/10.0.0.4-30",
            "/calico/ipam/v2/host/b/ipv4/block/10.0.0.4-30"
        ]
    );
}

#[test]
fn a_command_that_looks_once_goes_by_when_an_address_was_given() {
    let store = world();
    let used = give(&store, "net", "c1", "a", 1);
    attach(&store, "c1", "a", &used);
    give(&store, "net", "c2", "a", 1);
    let mut early = Collector::by_timestamp(GRACE_NS);
    assert_eq!(collect(&store, &mut early, 14), [""; 0]);
    let mut late = Collector::by_timestamp(GRACE_NS);
    let garbage = now(Ipam::new(&store).garbage(&mut late, START + 15 * MINUTE)).unwrap();
    assert!(
        matches!(&garbage[..], [Garbage::Addresses { .. }]),
        "{garbage:?}"
    );
    assert_eq!(
        now(Ipam::new(&store).ips_by_handle("net.c2"))
            .unwrap()
            .len(),
        1,
        "only looked at"
    );
    assert_eq!(collect(&store, &mut late, 15).len(), 1);
}

#[test]
fn the_grace_period_is_calico_s_setting() {
    let store = world();
    let ipam = Ipam::new(&store);
    assert_eq!(now(ipam.grace()).unwrap(), Some(15 * MINUTE));
    let key = Key::cluster(Kind::KubeControllersConfiguration, "default");
    for (period, grace) in [("1m30s", Some(90_000_000_000)), ("0s", None)] {
        let spec = KubeControllersConfigurationSpec {
            controllers: Controllers {
                node: Some(NodeController {
                    leak_grace_period: Some(period.to_string()),
                    ..NodeController::default()
                }),
                ..Controllers::default()
            },
            ..KubeControllersConfigurationSpec::default()
        };
        put(&store, Metadata::named("default"), spec);
        assert_eq!(now(ipam.grace()).unwrap(), grace);
        now(store.delete(&key, None)).unwrap();
    }
}

#[test]
fn a_lease_is_held_by_one_and_taken_when_it_is_not_renewed() {
    let store = MemoryStore::new();
    let mut first = Lease::new("x", "a", 10);
    let mut second = Lease::new("x", "b", 10);
    assert!(now(first.hold(&store, 0)).unwrap());
    assert!(!now(second.hold(&store, 5)).unwrap());
    assert!(now(first.hold(&store, 9)).unwrap(), "renewed");
    assert!(
        !now(second.hold(&store, 18)).unwrap(),
        "renewed since it was seen"
    );
    assert!(!now(second.hold(&store, 27)).unwrap());
    assert!(
        now(second.hold(&store, 28)).unwrap(),
        "unchanged for its length"
    );
    assert!(!now(first.hold(&store, 29)).unwrap());
    let text = now(store.get(&Key::Lease("x".to_string())))
        .unwrap()
        .unwrap();
    assert_eq!(text.value, r#"{"holder":"b","renewals":2}"#);
}
