//! What stands in the store after each call, byte for byte as Calico leaves it.

mod common;

use common::{ADDED, CLAIMED, dump, ip, now, pod, pool, put, request};
use ipam::{Family, Ipam, Refusal, Release, Request};
use resource::kinds::{IpamConfigurationSpec, NodeSpec};
use resource::{Key, MemoryStore, Store};

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
