//! What stands in the store after each call, byte for byte as Calico leaves it.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use ipam::{
    Claimant, Family, Ipam, LOAD_BALANCER, Owner, PoolChoice, Refusal, Release, ReleaseRequest,
    Request, TunnelKind, Use, time,
};
use resource::kinds::{
    EncapMode, IpPoolSpec, IpReservationSpec, IpamConfigurationSpec, Node, NodeSpec,
};
use resource::{Key, KeyPrefix, Kind, MemoryStore, Metadata, Object, Spec, Store};

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a memory store never waits"),
    }
}

fn put<S: Spec>(store: &MemoryStore, name: &str, spec: S) {
    let object = Object::new(Metadata::named(name), spec);
    now(store.create(&object.key(), &object.to_stored())).unwrap();
}

fn pool(store: &MemoryStore, name: &str, cidr: &str, change: impl FnOnce(&mut IpPoolSpec)) {
    let mut spec = IpPoolSpec {
        cidr: cidr.to_string(),
        ..IpPoolSpec::default()
    };
    change(&mut spec);
    put(store, name, spec);
}

fn dump(store: &MemoryStore) -> String {
    let listing = now(store.list(&KeyPrefix::All)).unwrap();
    let ours = listing
        .entries
        .iter()
        .filter(|e| e.key.path().starts_with("/calico/ipam/"));
    ours.map(|e| format!("{}\n{}\n", e.key.path(), e.value))
        .collect()
}

const ADDED: u64 = 1_795_386_347_988_257_369;
const CLAIMED: u64 = 1_795_386_348_000_222_491;

fn pod(network: &str, container: &str, node: &str, added: u64) -> Owner {
    Owner {
        handle: Some(format!("{network}.{container}")),
        attributes: BTreeMap::from([
            ("node".to_string(), node.to_string()),
            ("timestamp".to_string(), time::go_string(added)),
        ]),
    }
}

fn request<'a>(owner: &'a Owner, host: &'a str) -> Request<'a> {
    Request {
        count: 1,
        family: Family::V4,
        owner,
        host,
        pools: PoolChoice::Automatic {
            namespace_labels: None,
        },
        intended: Use::Workload,
        max_blocks: None,
        windows: false,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn nulls(n: usize) -> String {
    vec!["null"; n].join(",")
}

fn ordinals(range: std::ops::Range<usize>) -> String {
    range.map(|o| o.to_string()).collect::<Vec<_>>().join(",")
}

/// The transcript: one pod on each of two nodes, the first deleted, then the pool.
#[test]
fn the_transcript() {
    let store = MemoryStore::new();
    put(&store, "node-1", NodeSpec::default());
    put(&store, "node-2", NodeSpec::default());
    pool(&store, "my-pool", "10.244.0.0/16", |_| ());
    let ipam = Ipam::new(&store);

    let first = pod("k8s-pod-network", "c0123456789ab", "node-1", ADDED);
    let given = now(ipam.auto_assign(&request(&first, "node-1"), CLAIMED)).unwrap();
    assert_eq!(given.addresses[0].address, ip("10.244.84.128"));
    assert_eq!(given.addresses[0].block.to_string(), "10.244.84.128/26");
    let after_first = format!(
        "/calico/ipam/v2/assignment/ipv4/block/10.244.84.128-26\n\
         {{\"cidr\":\"10.244.84.128/26\",\"affinity\":\"host:node-1\",\"affinity_claim_time\":\"2026-11-22T22:25:48Z\",\
         \"allocations\":[0,{}],\"unallocated\":[{}],\"attributes\":[{{\"handle_id\":\"k8s-pod-network.c0123456789ab\",\
         \"secondary\":{{\"node\":\"node-1\",\"timestamp\":\"2026-11-22 22:25:47.988257369 +0000 UTC\"}}}}],\
         \"sequenceNumber\":1795386348000222492,\"sequenceNumberForAllocation\":{{\"0\":1795386348000222491}},\"deleted\":false}}\n\
         /calico/ipam/v2/handle/k8s-pod-network.c0123456789ab\n\
         {{\"block\":{{\"10.244.84.128/26\":1}},\"deleted\":false}}\n\
         /calico/ipam/v2/host/node-1/ipv4/block/10.244.84.128-26\n\
         {{\"state\":\"confirmed\",\"deleted\":false}}\n",
        nulls(63),
        ordinals(1..64)
    );
    assert_eq!(dump(&store), after_first);

    let released = now(ipam.release_by_handle("k8s-pod-network.c0123456789ab")).unwrap();
    assert_eq!(released, [ip("10.244.84.128")]);
    assert!(
        now(ipam.release_by_handle("k8s-pod-network.c0123456789ab"))
            .unwrap()
            .is_empty(),
        "twice is no error"
    );
    let after_release = format!(
        "/calico/ipam/v2/assignment/ipv4/block/10.244.84.128-26\n\
         {{\"cidr\":\"10.244.84.128/26\",\"affinity\":\"host:node-1\",\"affinity_claim_time\":\"2026-11-22T22:25:48Z\",\
         \"allocations\":[{}],\"unallocated\":[{},0],\"attributes\":[],\
         \"sequenceNumber\":1795386348000222493,\"sequenceNumberForAllocation\":{{}},\"deleted\":false}}\n\
         /calico/ipam/v2/host/node-1/ipv4/block/10.244.84.128-26\n\
         {{\"state\":\"confirmed\",\"deleted\":false}}\n",
        nulls(64),
        ordinals(1..64)
    );
    assert_eq!(dump(&store), after_release);

    let second = pod(
        "k8s-pod-network",
        "d222222222222",
        "node-2",
        1_795_386_348_574_924_637,
    );
    let given =
        now(ipam.auto_assign(&request(&second, "node-2"), 1_795_386_348_596_212_022)).unwrap();
    assert_eq!(given.addresses[0].address, ip("10.244.247.0"));

    now(ipam.release_pool_affinities("10.244.0.0/16".parse().unwrap())).unwrap();
    let after_pool = format!(
        "/calico/ipam/v2/assignment/ipv4/block/10.244.247.0-26\n\
         {{\"cidr\":\"10.244.247.0/26\",\"affinity\":null,\"allocations\":[0,{}],\"unallocated\":[{}],\
         \"attributes\":[{{\"handle_id\":\"k8s-pod-network.d222222222222\",\
         \"secondary\":{{\"node\":\"node-2\",\"timestamp\":\"2026-11-22 22:25:48.574924637 +0000 UTC\"}}}}],\
         \"sequenceNumber\":1795386348596212024,\"sequenceNumberForAllocation\":{{\"0\":1795386348596212022}},\"deleted\":false}}\n\
         /calico/ipam/v2/handle/k8s-pod-network.d222222222222\n\
         {{\"block\":{{\"10.244.247.0/26\":1}},\"deleted\":false}}\n",
        nulls(63),
        ordinals(1..64)
    );
    assert_eq!(dump(&store), after_pool);
}

/// A block as Calico wrote it (captured), with a handle and an affinity.
fn calico_s_block(store: &MemoryStore) {
    let block = format!(
        "{{\"cidr\":\"10.244.84.128/26\",\"affinity\":\"host:node-1\",\"affinity_claim_time\":\"2026-11-22T22:25:48Z\",\
         \"allocations\":[0,{}],\"unallocated\":[{}],\"attributes\":[{{\"handle_id\":\"k8s-pod-network.c0123456789ab\",\
         \"secondary\":{{\"node\":\"node-1\",\"timestamp\":\"2026-11-22 22:25:47.988257369 +0000 UTC\"}}}}],\
         \"sequenceNumber\":1795386348000222492,\"sequenceNumberForAllocation\":{{\"0\":1795386348000222491}},\"deleted\":false}}",
        nulls(63),
        ordinals(1..64)
    );
    let cidr = "10.244.84.128/26".parse().unwrap();
    let write = |key: &Key, text: &str| now(store.create(key, text)).unwrap();
    write(&Key::Block(cidr), &block);
    let affinity = Key::BlockAffinity {
        host: "node-1".to_string(),
        cidr,
    };
    write(&affinity, "{\"state\":\"confirmed\",\"deleted\":false}");
    let handle = Key::Handle("k8s-pod-network.c0123456789ab".to_string());
    write(
        &handle,
        "{\"block\":{\"10.244.84.128/26\":1},\"deleted\":false}",
    );
}

/// We go on with it as Calico would: from the head of the queue, back to its tail, one number a write.
#[test]
fn a_block_of_calico_s_is_continued() {
    let store = MemoryStore::new();
    put(&store, "node-1", NodeSpec::default());
    pool(&store, "my-pool", "10.244.0.0/16", |_| ());
    calico_s_block(&store);
    let ipam = Ipam::new(&store);
    let second = pod("k8s-pod-network", "e333333333333", "node-1", CLAIMED);
    let two = Request {
        count: 2,
        ..request(&second, "node-1")
    };
    let given = now(ipam.auto_assign(&two, CLAIMED)).unwrap();
    assert_eq!(given.addresses[1].address, ip("10.244.84.130"));
    now(ipam.release_by_handle("k8s-pod-network.c0123456789ab")).unwrap();
    let expected = format!(
        "/calico/ipam/v2/assignment/ipv4/block/10.244.84.128-26\n\
         {{\"cidr\":\"10.244.84.128/26\",\"affinity\":\"host:node-1\",\"affinity_claim_time\":\"2026-11-22T22:25:48Z\",\
         \"allocations\":[null,0,0,{}],\"unallocated\":[{},0],\"attributes\":[{{\"handle_id\":\"k8s-pod-network.e333333333333\",\
         \"secondary\":{{\"node\":\"node-1\",\"timestamp\":\"2026-11-22 22:25:48.000222491 +0000 UTC\"}}}}],\
         \"sequenceNumber\":1795386348000222494,\"sequenceNumberForAllocation\":{{\"1\":1795386348000222492,\"2\":1795386348000222492}},\
         \"deleted\":false}}\n\
         /calico/ipam/v2/handle/k8s-pod-network.e333333333333\n\
         {{\"block\":{{\"10.244.84.128/26\":2}},\"deleted\":false}}\n\
         /calico/ipam/v2/host/node-1/ipv4/block/10.244.84.128-26\n\
         {{\"state\":\"confirmed\",\"deleted\":false}}\n",
        nulls(61),
        ordinals(3..64)
    );
    assert_eq!(dump(&store), expected);
}

/// What newer versions add to an attribute is neither lost nor given away.
#[test]
fn attributes_of_newer_versions_are_kept() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/30", |p| p.block_size = Some(30));
    let block = r#"{"cidr":"10.0.0.0/30","affinity":"host:a","allocations":[0,1,null,null],"unallocated":[2,3],"attributes":[{"handle_id":null,"secondary":null,"releasedAt":"2026-11-22T22:25:48Z"},{"handle_id":"net.x","secondary":{"node":"a"},"alternateOwnerAttrs":{"node":"b"}}],"sequenceNumber":7,"sequenceNumberForAllocation":null,"deleted":false}"#;
    let cidr = "10.0.0.0/30".parse().unwrap();
    now(store.create(&Key::Block(cidr), block)).unwrap();
    let ipam = Ipam::new(&store);
    let owner = pod("net", "c", "a", ADDED);
    let all = Request {
        count: 4,
        ..request(&owner, "a")
    };
    let given = now(ipam.auto_assign(&all, CLAIMED)).unwrap();
    assert_eq!(given.addresses.len(), 2, "what cools down is not free");
    let text = dump(&store);
    assert!(text.contains(r#"{"handle_id":null,"secondary":null,"releasedAt":"2026-11-22T22:25:48Z"},{"handle_id":"net.x","secondary":{"node":"a"},"alternateOwnerAttrs":{"node":"b"}}"#), "{text}");
}

#[test]
fn both_families_and_ipv6_blocks_of_64() {
    let store = MemoryStore::new();
    put(&store, "node-1", NodeSpec::default());
    pool(&store, "four", "10.244.0.0/16", |_| ());
    pool(&store, "six", "fd00:10::/64", |_| ());
    let ipam = Ipam::new(&store);
    let owner = pod("net", "c", "node-1", ADDED);
    for family in [Family::V4, Family::V6] {
        let asked = Request {
            family,
            ..request(&owner, "node-1")
        };
        let given = now(ipam.auto_assign(&asked, CLAIMED)).unwrap();
        assert_eq!(given.shortfall, None);
        assert_eq!(ipam::block::size(&given.addresses[0].block), 64);
    }
    let text = dump(&store);
    let (_, six) = text
        .split_once("/calico/ipam/v2/assignment/ipv6/block/fd00:10::")
        .unwrap();
    assert!(six.split('\n').next().unwrap().ends_with("-122"), "{six}");
    assert!(
        text.contains("/calico/ipam/v2/host/node-1/ipv6/block/fd00:10::"),
        "{text}"
    );
    // One handle names both blocks, in the order of their text.
    let (_, handle) = text.split_once("/calico/ipam/v2/handle/net.c\n").unwrap();
    assert!(
        handle.starts_with("{\"block\":{\"10.244.84.128/26\":1,\"fd00:10::"),
        "{handle}"
    );
    assert_eq!(now(ipam.release_by_handle("net.c")).unwrap().len(), 2);
}

#[test]
fn the_load_balancer_s_blocks_are_no_node_s() {
    let store = MemoryStore::new();
    pool(&store, "pods", "10.244.0.0/16", |_| ());
    let ipam = Ipam::new(&store);
    let owner = Owner {
        handle: Some(ipam::load_balancer::handle("web", "default", "u")),
        attributes: BTreeMap::new(),
    };
    let asked = Request {
        intended: Use::LoadBalancer,
        ..request(&owner, LOAD_BALANCER)
    };
    let refused = now(ipam.auto_assign(&asked, CLAIMED)).unwrap_err();
    assert_eq!(refused, Refusal::NoPoolForUse("LoadBalancer").into());
    pool(&store, "services", "10.9.0.0/24", |p| {
        p.allowed_uses = vec!["LoadBalancer".to_string()]
    });
    let given = now(ipam.auto_assign(&asked, CLAIMED)).unwrap();
    let block = given.addresses[0].block;
    let text = dump(&store);
    assert!(
        text.contains("\"affinity\":\"virtual:load-balancer\""),
        "{text}"
    );
    let segment = block.to_string().replace('/', "-");
    assert!(
        text.contains(&format!(
            "/calico/ipam/v2/virtual/load-balancer/ipv4/block/{segment}\n{{\"state\":\"confirmed\",\"deleted\":false}}"
        )),
        "{text}"
    );
    // A workload gets none of them, and does not count them.
    put(&store, "load-balancer", NodeSpec::default());
    let pod = pod("net", "c", "load-balancer", ADDED);
    let given = now(ipam.auto_assign(&request(&pod, "load-balancer"), CLAIMED)).unwrap();
    assert!(given.addresses[0].block.to_string().starts_with("10.244."));
    let wanted = ip("10.9.0.200");
    let claimant = Claimant::Virtual(LOAD_BALANCER);
    now(ipam.assign_ip(wanted, &owner, claimant, CLAIMED)).unwrap();
    assert_eq!(
        now(ipam.ips_by_handle(owner.handle.as_ref().unwrap()))
            .unwrap()
            .len(),
        2
    );
    now(ipam.release_pool_affinities("10.9.0.0/24".parse().unwrap())).unwrap();
    assert!(!dump(&store).contains("/virtual/"));
}

#[test]
fn windows_keeps_four_addresses_of_a_block() {
    let store = MemoryStore::new();
    put(&store, "w", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/28", |p| p.block_size = Some(29));
    let ipam = Ipam::new(&store);
    let owner = pod("net", "c", "w", ADDED);
    let asked = Request {
        count: 16,
        windows: true,
        ..request(&owner, "w")
    };
    let given = now(ipam.auto_assign(&asked, CLAIMED)).unwrap();
    assert_eq!(given.addresses.len(), 8);
    assert!(given.addresses.iter().all(|a| [3, 4, 5, 6].contains(
        &(u32::from_be_bytes(match a.address {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(_) => panic!("IPv4"),
        }) % 8)
    )));
    assert!(dump(&store).contains("windows-reserved-ipam-handle"));
    // Empty but for them is empty.
    now(ipam.release_by_handle("net.c")).unwrap();
    now(ipam.release_host("w")).unwrap();
    assert_eq!(dump(&store), "");
}

#[test]
fn a_block_of_nobody_goes_with_its_last_address() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/29", |p| p.block_size = Some(30));
    let ipam = Ipam::new(&store);
    for (container, by_address) in [("c1", false), ("c2", true)] {
        let owner = pod("net", container, "a", ADDED);
        let given = now(ipam.auto_assign(&request(&owner, "a"), CLAIMED)).unwrap();
        let block = given.addresses[0].block;
        now(ipam.release_affinity("a", block, Release::Any)).unwrap();
        assert!(dump(&store).contains("\"affinity\":null"));
        if by_address {
            now(ipam.release_ips(&[ReleaseRequest::of(given.addresses[0].address)])).unwrap();
        } else {
            now(ipam.release_by_handle(&format!("net.{container}"))).unwrap();
        }
        assert_eq!(dump(&store), "", "nobody could claim it again");
    }
}

#[test]
fn old_handles_are_compared_without_what_stands_behind_them() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/30", |p| p.block_size = Some(30));
    let ipam = Ipam::new(&store);
    let owner = pod("net", "c\r\neth0", "a", ADDED);
    let address = ip("10.0.0.1");
    now(ipam.assign_ip(address, &owner, "a", CLAIMED)).unwrap();
    let plain = ReleaseRequest {
        handle: Some("net.c".to_string()),
        ..ReleaseRequest::of(address)
    };
    assert_eq!(now(ipam.release_ips(&[plain])).unwrap().released, [address]);
    assert!(!dump(&store).contains("/handle/"), "{}", dump(&store));
}

/// Kubernetes deletes in two phases; who sees the first ends the second.
#[test]
fn what_is_marked_deleted_is_not_there() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/30", |p| p.block_size = Some(30));
    let cidr = "10.0.0.0/30".parse().unwrap();
    let write = |key: &Key, text: &str| now(store.create(key, text)).unwrap();
    write(
        &Key::Block(cidr),
        r#"{"cidr":"10.0.0.0/30","affinity":"host:b","allocations":[null,null,null,null],"unallocated":[2,0,1,3],"attributes":[],"deleted":true}"#,
    );
    let affinity = Key::BlockAffinity {
        host: "a".to_string(),
        cidr,
    };
    write(&affinity, r#"{"state":"confirmed","deleted":true}"#);
    write(
        &Key::Handle("net.c".to_string()),
        r#"{"block":{"10.0.0.0/30":3},"deleted":true}"#,
    );
    let ipam = Ipam::new(&store);
    assert_eq!(now(ipam.all_blocks()).unwrap(), []);
    let owner = pod("net", "c", "a", ADDED);
    let given = now(ipam.auto_assign(&request(&owner, "a"), CLAIMED)).unwrap();
    assert_eq!(given.addresses[0].address, ip("10.0.0.0"), "a new block");
    let text = dump(&store);
    assert!(!text.contains("\"deleted\":true"), "{text}");
    assert!(text.contains("{\"block\":{\"10.0.0.0/30\":1}"), "{text}");
}

/// The resource of that name is for the Kubernetes datastore; here it changes nothing (calico-compat §11 trap 1).
#[test]
fn the_configuration_is_the_key_s() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/29", |p| p.block_size = Some(30));
    let ipam = Ipam::new(&store);
    let resource = IpamConfigurationSpec {
        strict_affinity: true,
        max_blocks_per_host: 7,
        ..IpamConfigurationSpec::default()
    };
    put(&store, "default", resource);
    assert_eq!(now(ipam.config()).unwrap(), ipam::Config::default());
    let newer = r#"{"auto_allocate_blocks":true,"maxBlocksPerHost":1,"ip_cooldown_seconds":5}"#;
    now(store.create(&Key::IpamConfig, newer)).unwrap();
    let owner = pod("net", "c", "a", ADDED);
    let five = Request {
        count: 5,
        ..request(&owner, "a")
    };
    let given = now(ipam.auto_assign(&five, CLAIMED)).unwrap();
    assert_eq!(given.shortfall, Some(Refusal::BlockLimit));
    let config = now(ipam.config()).unwrap();
    now(ipam.set_config(&config)).unwrap();
    let entry = now(store.get(&Key::IpamConfig)).unwrap().unwrap();
    assert_eq!(
        entry.value,
        r#"{"auto_allocate_blocks":true,"maxBlocksPerHost":1,"kubeVirtVMAddressPersistence":"Enabled","ip_cooldown_seconds":5}"#
    );
}

#[test]
fn without_new_blocks_of_its_own_a_node_borrows() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    put(&store, "b", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/28", |p| p.block_size = Some(30));
    let ipam = Ipam::new(&store);
    let none = ipam::Config {
        auto_allocate_blocks: false,
        ..ipam::Config::default()
    };
    now(ipam.set_config(&none)).unwrap();
    let owner = pod("net", "c", "a", ADDED);
    let given = now(ipam.auto_assign(&request(&owner, "a"), CLAIMED)).unwrap();
    assert_eq!(given.shortfall.map(|r| r.name()), Some("exhausted"));
    now(ipam.claim_block("b", "10.0.0.4/30".parse().unwrap(), CLAIMED)).unwrap();
    let given = now(ipam.auto_assign(&request(&owner, "a"), CLAIMED)).unwrap();
    assert_eq!(given.addresses[0].address, ip("10.0.0.4"));
    assert!(!dump(&store).contains("/host/a/"));
}

#[test]
fn a_tunnel_of_wireguard_is_for_nodes_with_a_key() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "four", "10.0.0.0/24", |_| ());
    pool(&store, "six", "fd00::/64", |_| ());
    let ipam = Ipam::new(&store);
    let ensure = |kind| now(ipam.ensure_tunnel_address("a", kind, None, CLAIMED)).unwrap();
    assert_eq!(ensure(TunnelKind::Wireguard), None, "no key");
    let entry = now(store.get(&Key::cluster(Kind::Node, "a")))
        .unwrap()
        .unwrap();
    let mut node = Node::from_entry(&entry).unwrap();
    node.status.wireguard_public_key = "k".to_string();
    node.status.wireguard_public_key_v6 = "k".to_string();
    now(store.update(&entry.key, &node.to_stored(), entry.revision)).unwrap();
    assert!(ensure(TunnelKind::Wireguard).unwrap().is_ipv4());
    assert!(ensure(TunnelKind::WireguardV6).unwrap().is_ipv6());
    for (kind, handle, attribute) in [
        (
            TunnelKind::Wireguard,
            "wireguard-tunnel-addr-a",
            "wireguardTunnelAddress",
        ),
        (
            TunnelKind::WireguardV6,
            "wireguard-v6-tunnel-addr-a",
            "wireguardV6TunnelAddress",
        ),
        (
            TunnelKind::Vxlan,
            "vxlan-tunnel-addr-a",
            "vxlanTunnelAddress",
        ),
        (
            TunnelKind::VxlanV6,
            "vxlan-v6-tunnel-addr-a",
            "vxlanV6TunnelAddress",
        ),
    ] {
        assert_eq!(
            (kind.handle("a").as_str(), kind.attribute()),
            (handle, attribute)
        );
    }
    now(ipam.release_host("a")).unwrap();
    assert_eq!(dump(&store), "");
}

/// What the how-to shows: five nodes, each with its own /26 of 10.200.0.0/23.
#[test]
fn five_nodes_share_the_how_to_s_pool() {
    let store = MemoryStore::new();
    pool(&store, "default-ipv4-ippool", "10.200.0.0/23", |_| ());
    let ipam = Ipam::new(&store);
    let mut blocks = Vec::new();
    for n in 81..86 {
        let host = format!("ip-10-20-1-{n}");
        put(&store, &host, NodeSpec::default());
        let owner = pod("net", &format!("c{n}"), &host, ADDED);
        blocks.push(
            now(ipam.auto_assign(&request(&owner, &host), CLAIMED))
                .unwrap()
                .addresses[0]
                .block,
        );
    }
    blocks.sort();
    blocks.dedup();
    assert_eq!(blocks.len(), 5);
    assert!(blocks.iter().all(|b| b.prefix_len() == 26));
}

#[test]
fn every_refusal_has_its_name_and_calico_s_words() {
    let store = MemoryStore::new();
    let ipam = Ipam::new(&store);
    let owner = pod("net", "c", "n", ADDED);
    let refused = |choice: PoolChoice<'static>, intended: Use| {
        let request = Request {
            pools: choice,
            intended,
            ..request(&owner, "n")
        };
        match now(ipam.auto_assign(&request, CLAIMED)) {
            Err(ipam::IpamError::Refused(refusal)) => (refusal.name(), refusal.to_string()),
            other => panic!("{other:?}"),
        }
    };
    let automatic = PoolChoice::Automatic {
        namespace_labels: None,
    };
    let workload = |choice| refused(choice, Use::Workload);
    assert_eq!(workload(automatic).0, "node-unknown");
    put(&store, "n", NodeSpec::default());
    let none = "cannot find a qualified ippool".to_string();
    assert_eq!(workload(automatic), ("no-pool", none.clone()));
    pool(&store, "off", "10.0.0.0/24", |p| p.disabled = true);
    assert_eq!(workload(automatic), ("pools-disabled", none.clone()));
    pool(&store, "elsewhere", "10.0.1.0/24", |p| {
        p.node_selector = "has(gpu)".to_string()
    });
    pool(&store, "manual", "10.0.3.0/24", |p| {
        p.assignment_mode = Some("Manual".to_string())
    });
    assert_eq!(workload(automatic), ("no-pool-selects-node", none));
    static WANTED: std::sync::LazyLock<Vec<String>> =
        std::sync::LazyLock::new(|| vec!["off".to_string()]);
    let text = "the given pool (off) does not exist, or is not enabled".to_string();
    assert_eq!(
        workload(PoolChoice::Requested(&WANTED)),
        ("requested-pool", text)
    );
    pool(&store, "work", "10.0.2.0/30", |p| {
        p.allowed_uses = vec!["Workload".to_string()];
        p.block_size = Some(31);
    });
    let text =
        "cannot find a qualified ippool, no pools match the required use (Tunnel)".to_string();
    assert_eq!(refused(automatic, Use::Tunnel), ("no-pool-for-use", text));

    // Controls: the same call with a pool gives an address, and so does a pool that is asked for, whatever it selects.
    let four = Request {
        count: 5,
        ..request(&owner, "n")
    };
    let given = now(ipam.auto_assign(&four, CLAIMED)).unwrap();
    assert_eq!(given.addresses.len(), 4);
    assert_eq!(
        given.shortfall.as_ref().map(Refusal::name),
        Some("exhausted")
    );
    let text =
        "Assigned 4 out of 5 requested IPv4 addresses; No IPs available in pools: [10.0.2.0/30]";
    assert_eq!(given.shortfall_text().as_deref(), Some(text));
    static ELSEWHERE: std::sync::LazyLock<Vec<String>> =
        std::sync::LazyLock::new(|| vec!["10.0.1.0/24".to_string()]);
    let asked = Request {
        pools: PoolChoice::Requested(&ELSEWHERE),
        ..request(&owner, "n")
    };
    assert_eq!(
        now(ipam.auto_assign(&asked, CLAIMED)).unwrap().shortfall,
        None
    );
}

#[test]
fn limits_strict_affinity_and_borrowing() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    put(&store, "b", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/29", |p| p.block_size = Some(30));
    let ipam = Ipam::new(&store);
    let owner = pod("net", "c", "a", ADDED);
    let ask = |host: &'static str, count| {
        now(ipam.auto_assign(
            &Request {
                count,
                ..request(&owner, host)
            },
            CLAIMED,
        ))
        .unwrap()
    };
    let given = now(ipam.auto_assign(
        &Request {
            count: 5,
            max_blocks: Some(1),
            ..request(&owner, "a")
        },
        CLAIMED,
    ))
    .unwrap();
    assert_eq!(
        (given.addresses.len(), given.shortfall),
        (4, Some(Refusal::BlockLimit))
    );
    let other = ask("b", 1);
    assert_ne!(other.addresses[0].block, given.addresses[0].block);
    // Both blocks are taken now; a borrows from b's, unless that is forbidden.
    let mut config = now(ipam.config()).unwrap();
    config.strict_affinity = true;
    now(ipam.set_config(&config)).unwrap();
    let strict = ask("a", 1);
    let text = "Assigned 0 out of 1 requested IPv4 addresses; No more free affine blocks and strict affinity enabled";
    assert_eq!(strict.shortfall_text().as_deref(), Some(text));
    let wanted = ipam::block::address(&other.addresses[0].block, 3);
    let refused = now(ipam.assign_ip(wanted, &owner, "a", CLAIMED)).unwrap_err();
    assert_eq!(
        refused,
        Refusal::BlockOfAnother(other.addresses[0].block).into()
    );
    config.strict_affinity = false;
    now(ipam.set_config(&config)).unwrap();
    let borrowed = ask("a", 4);
    assert_eq!(borrowed.addresses.len(), 3);
    assert!(
        borrowed
            .addresses
            .iter()
            .all(|x| x.block == other.addresses[0].block)
    );
    assert_eq!(borrowed.shortfall.map(|r| r.name()), Some("exhausted"));
}

#[test]
fn a_specific_address_is_given_once() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/24", |_| ());
    pool(&store, "off", "10.0.1.0/24", |p| p.disabled = true);
    let ipam = Ipam::new(&store);
    let owner = pod("net", "c", "a", ADDED);
    let given = now(ipam.assign_ip(ip("10.0.0.200"), &owner, "a", CLAIMED)).unwrap();
    assert_eq!(given.block.to_string(), "10.0.0.192/26");
    assert_eq!(
        now(ipam.ips_by_handle("net.c")).unwrap(),
        [ip("10.0.0.200")]
    );
    let again = now(ipam.assign_ip(ip("10.0.0.200"), &owner, "a", CLAIMED));
    assert_eq!(again, Err(Refusal::AddressTaken(ip("10.0.0.200")).into()));
    assert_eq!(
        now(ipam.ips_by_handle("net.c")).unwrap().len(),
        1,
        "the handle was put back"
    );
    for outside in ["10.0.1.1", "10.9.9.9", "fd00::1"] {
        let refused = now(ipam.assign_ip(ip(outside), &owner, "a", CLAIMED));
        assert_eq!(refused, Err(Refusal::AddressNotInPool.into()), "{outside}");
    }
    let mut wrong = ReleaseRequest::of(ip("10.0.0.200"));
    wrong.handle = Some("net.other".to_string());
    assert_eq!(
        now(ipam.release_ips(&[wrong])),
        Err(Refusal::HandleMismatch(ip("10.0.0.200")).into())
    );
    let stale = ReleaseRequest {
        sequence: Some(7),
        ..ReleaseRequest::of(ip("10.0.0.200"))
    };
    assert_eq!(
        now(ipam.release_ips(&[stale])),
        Err(Refusal::SequenceMismatch(ip("10.0.0.200")).into())
    );
    let outcome = now(ipam.release_ips(&[
        ReleaseRequest::of(ip("10.0.0.200")),
        ReleaseRequest::of(ip("10.0.0.1")),
    ]))
    .unwrap();
    assert_eq!(
        (outcome.released, outcome.unallocated),
        (vec![ip("10.0.0.200")], vec![ip("10.0.0.1")])
    );
    assert!(!dump(&store).contains("/handle/"));
}

#[test]
fn a_block_whose_pool_no_longer_selects_the_node_is_given_up_when_empty() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "here", "10.0.0.0/24", |_| ());
    pool(&store, "there", "10.0.1.0/24", |p| {
        p.node_selector = "has(gpu)".to_string()
    });
    let ipam = Ipam::new(&store);
    for (cidr, used) in [("10.0.1.0/26", true), ("10.0.1.64/26", false)] {
        let cidr = cidr.parse().unwrap();
        assert!(now(ipam.claim_block("a", cidr, CLAIMED)).unwrap());
        if used {
            now(ipam.assign_ip(cidr.addr(), &pod("net", "old", "a", ADDED), "a", CLAIMED)).unwrap();
        }
    }
    let given =
        now(ipam.auto_assign(&request(&pod("net", "new", "a", ADDED), "a"), CLAIMED)).unwrap();
    assert!(given.addresses[0].block.to_string().starts_with("10.0.0."));
    let text = dump(&store);
    assert!(text.contains("/host/a/ipv4/block/10.0.1.0-26"), "{text}");
    assert!(!text.contains("10.0.1.64"), "{text}");
}

#[test]
fn an_empty_block_of_another_host_is_taken_over_after_a_minute() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    put(&store, "b", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/26", |_| ());
    let ipam = Ipam::new(&store);
    assert!(now(ipam.claim_block("b", "10.0.0.0/26".parse().unwrap(), CLAIMED)).unwrap());
    let owner = pod("net", "c", "a", ADDED);
    now(ipam.auto_assign(&request(&owner, "a"), CLAIMED + 59_000_000_000)).unwrap();
    assert!(
        dump(&store).contains("\"affinity\":\"host:b\""),
        "too early: the address is borrowed"
    );
    now(ipam.release_by_handle("net.c")).unwrap();
    now(ipam.auto_assign(&request(&owner, "a"), CLAIMED + 61_000_000_000)).unwrap();
    let text = dump(&store);
    assert!(
        text.contains("\"affinity\":\"host:a\"") && !text.contains("/host/b/"),
        "{text}"
    );
}

#[test]
fn a_tunnel_address_is_kept_moved_and_released() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/24", |p| {
        p.ipip_mode = Some(EncapMode::CrossSubnet)
    });
    let ipam = Ipam::new(&store);
    let ensure =
        |kind, current| now(ipam.ensure_tunnel_address("a", kind, current, CLAIMED)).unwrap();
    assert_eq!(ensure(TunnelKind::Vxlan, None), None, "no pool has VXLAN");
    let first = ensure(TunnelKind::Ipip, None);
    assert!(first.is_some());
    assert_eq!(ensure(TunnelKind::Ipip, first), first, "kept");
    let owner = now(ipam.owner_of(first.unwrap())).unwrap().unwrap();
    assert_eq!(owner.handle_id.as_deref(), Some("ipip-tunnel-addr-a"));
    let text = "{\"node\":\"a\",\"type\":\"ipipTunnelAddress\"}";
    assert!(dump(&store).contains(text));
    let moved = ensure(TunnelKind::Ipip, Some(ip("10.0.0.99")));
    assert!(
        moved.is_some() && moved != Some(ip("10.0.0.99")),
        "an address that is not ours is not kept"
    );
    assert_eq!(
        now(ipam.ips_by_handle("ipip-tunnel-addr-a")).unwrap().len(),
        1
    );
    now(ipam.release_host("a")).unwrap();
    assert_eq!(dump(&store), "", "nothing is left of the host");
}

#[test]
fn reserved_addresses_are_not_given_by_chance() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/29", |p| p.block_size = Some(30));
    let reserve = |name: &str, cidrs: &[&str]| {
        let reserved_cidrs = cidrs.iter().map(ToString::to_string).collect();
        put(&store, name, IpReservationSpec { reserved_cidrs });
    };
    // One block wholly, by two reservations; of the other two addresses, one of them bare.
    reserve(
        "r1",
        &["10.0.0.0/31", "10.0.0.4/32", "10.0.0.5", "2001:db8::/64"],
    );
    reserve("r2", &["10.0.0.2/31"]);
    let ipam = Ipam::new(&store);
    let owner = pod("net", "c", "a", ADDED);
    let asked = Request {
        count: 8,
        ..request(&owner, "a")
    };
    let given = now(ipam.auto_assign(&asked, CLAIMED)).unwrap();
    let addresses: Vec<IpAddr> = given.addresses.iter().map(|x| x.address).collect();
    assert_eq!(addresses, [ip("10.0.0.6"), ip("10.0.0.7")]);
    assert!(
        !dump(&store).contains("10.0.0.0-30"),
        "no use in claiming it"
    );
    // Asked for by name, it is given.
    let wanted = ip("10.0.0.1");
    let given = now(ipam.assign_ip(wanted, &owner, "a", CLAIMED)).unwrap();
    assert_eq!(given.address, wanted);
    // The control: without the reservations the rest is given too.
    for name in ["r1", "r2"] {
        now(store.delete(&Key::cluster(Kind::IpReservation, name), None)).unwrap();
    }
    let given = now(ipam.auto_assign(&asked, CLAIMED)).unwrap();
    assert_eq!(given.addresses.len(), 5);
    reserve("r3", &["ten"]);
    let refused = now(ipam.auto_assign(&asked, CLAIMED)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the IPReservation r3 cannot be read: \"ten\" is no CIDR"
    );
}

#[test]
fn blocks_as_older_versions_wrote_them() {
    let store = MemoryStore::new();
    put(&store, "a", NodeSpec::default());
    pool(&store, "p", "10.0.0.0/30", |p| p.block_size = Some(30));
    let block = r#"{"cidr":"10.0.0.0/30","hostAffinity":"a","strictAffinity":false,"allocations":[null,null,null,null],"unallocated":[2,0,1,3],"attributes":[]}"#;
    let cidr = "10.0.0.0/30".parse().unwrap();
    now(store.create(&Key::Block(cidr), block)).unwrap();
    let affinity = Key::BlockAffinity {
        host: "a".to_string(),
        cidr,
    };
    now(store.create(&affinity, "")).unwrap();
    let ipam = Ipam::new(&store);
    let owner = pod("net", "c", "a", ADDED);
    let given = now(ipam.auto_assign(&request(&owner, "a"), CLAIMED)).unwrap();
    assert_eq!(given.addresses[0].address, ip("10.0.0.2"));
    assert_eq!(
        now(ipam.release_affinity("a", cidr, Release::IfEmpty)).unwrap(),
        ipam::Outcome::Kept
    );

    let broken = block.replace("[2,0,1,3]", "[2,0,1,9]");
    let entry = now(store.get(&Key::Block(cidr))).unwrap().unwrap();
    now(store.update(&Key::Block(cidr), &broken, entry.revision)).unwrap();
    let error = now(ipam.auto_assign(&request(&owner, "a"), CLAIMED)).unwrap_err();
    assert!(
        error.to_string().contains("unallocated ordinal 9"),
        "{error}"
    );
}
