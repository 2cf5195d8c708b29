//! The typed client: what it writes, what it refuses, what goes with what is deleted.

use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use ipnet::IpNet;
use resource::{
    Allocations, AnyObject, Client, ClientError, Key, KeyPrefix, Kind, MemoryStore, Stamp, Store,
    StoreError, parse_document,
};
use serde_json::{Value, json};

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a future that waits"),
    }
}

fn stamp() -> Stamp {
    Stamp {
        uid: "u-1".to_string(),
        now_rfc3339: "2026-11-22T22:20:03Z".to_string(),
    }
}

fn object(kind: &str, name: &str, spec: Value) -> AnyObject {
    let namespace = if kind == "WorkloadEndpoint" {
        json!("default")
    } else {
        Value::Null
    };
    parse_document(json!({
        "kind": kind, "apiVersion": "projectcalico.org/v3",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    }))
    .unwrap()
}

fn stored(store: &MemoryStore, key: &Key) -> Option<String> {
    now(store.get(key)).unwrap().map(|e| e.value)
}

#[test]
fn what_is_created_is_stored_as_calico_stores_it() {
    let store = MemoryStore::new();
    let client = Client::new(&store);
    let check = |object: AnyObject, expected: &str| {
        let key = object.key();
        let created = now(client.create(object, &stamp())).unwrap();
        assert_eq!(stored(&store, &key).unwrap(), expected);
        assert_eq!(now(client.get(&key)).unwrap(), created);
    };
    check(
        object(
            "IPPool",
            "my-pool",
            json!({"cidr": "10.244.0.0/16", "ipipMode": "CrossSubnet", "natOutgoing": true}),
        ),
        r#"{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"my-pool","uid":"u-1","creationTimestamp":"2026-11-22T22:20:03Z"},"spec":{"cidr":"10.244.0.0/16","vxlanMode":"Never","ipipMode":"CrossSubnet","natOutgoing":true,"blockSize":26,"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic"}}"#,
    );
    check(
        object(
            "BGPConfiguration",
            "default",
            json!({"nodeToNodeMeshEnabled": false, "asNumber": "64512"}),
        ),
        r#"{"kind":"BGPConfiguration","apiVersion":"projectcalico.org/v3","metadata":{"name":"default","uid":"u-1","creationTimestamp":"2026-11-22T22:20:03Z"},"spec":{"logSeverityScreen":"Info","nodeToNodeMeshEnabled":false,"asNumber":64512,"serviceLoadBalancerAggregation":"Enabled"}}"#,
    );
    check(
        object(
            "BGPPeer",
            "node1-tor",
            json!({"node": "node-1", "peerIP": "192.0.2.2:1790", "asNumber": "1.10"}),
        ),
        r#"{"kind":"BGPPeer","apiVersion":"projectcalico.org/v3","metadata":{"name":"node1-tor","uid":"u-1","creationTimestamp":"2026-11-22T22:20:03Z"},"spec":{"node":"node-1","peerIP":"192.0.2.2:1790","asNumber":65546}}"#,
    );
    check(
        object("Node", "node-1", Value::Null),
        r#"{"kind":"Node","apiVersion":"projectcalico.org/v3","metadata":{"name":"node-1","uid":"u-1","creationTimestamp":"2026-11-22T22:20:03Z"},"spec":{},"status":{}}"#,
    );
    check(
        object(
            "WorkloadEndpoint",
            "node--1-cni-c0-eth0",
            json!({"orchestrator": "cni", "node": "node-1", "containerID": "c0", "endpoint": "eth0", "interfaceName": "cali1"}),
        ),
        r#"{"kind":"WorkloadEndpoint","apiVersion":"projectcalico.org/v3","metadata":{"name":"node--1-cni-c0-eth0","namespace":"default","uid":"u-1","creationTimestamp":"2026-11-22T22:20:03Z","labels":{"projectcalico.org/namespace":"default","projectcalico.org/orchestrator":"cni"}},"spec":{"orchestrator":"cni","node":"node-1","containerID":"c0","endpoint":"eth0","interfaceName":"cali1"}}"#,
    );
    let six = object("IPPool", "six", json!({"cidr": "FD00:10::/64"}));
    let AnyObject::IpPool(six) = now(client.create(six, &stamp())).unwrap() else {
        panic!("a pool")
    };
    assert_eq!(
        (six.spec.cidr.as_str(), six.spec.block_size),
        ("fd00:10::/64", Some(122))
    );
}

#[test]
fn an_update_keeps_who_it_is_and_takes_labels_and_spec() {
    let store = MemoryStore::new();
    let client = Client::new(&store);
    let mut first = object("Node", "n", json!({"bgp": {"asNumber": 1}}));
    first
        .metadata_mut()
        .labels
        .insert("a".to_string(), "b".to_string());
    let first = now(client.create(first, &stamp())).unwrap();
    let second = object("Node", "n", json!({"bgp": {"ipv4Address": "10.0.0.1/24"}}));
    let second = now(client.update(second)).unwrap();
    assert_eq!(second.metadata().uid, first.metadata().uid);
    assert_eq!(
        second.metadata().creation_timestamp,
        first.metadata().creation_timestamp
    );
    assert!(second.metadata().labels.is_empty());
    assert_eq!(
        second.to_value()["spec"],
        json!({"bgp": {"ipv4Address": "10.0.0.1/24"}})
    );
    // What was read before the update is stale now.
    assert_eq!(
        now(client.update(first)).unwrap_err().to_string(),
        "update conflict: Node(n)"
    );
    assert_eq!(
        now(client.update(second.clone())).unwrap().to_value()["spec"],
        second.to_value()["spec"]
    );
}

#[test]
fn apply_creates_once_and_then_updates() {
    let store = MemoryStore::new();
    let client = Client::new(&store);
    let pool = |nat: bool| {
        object(
            "IPPool",
            "p",
            json!({"cidr": "10.0.0.0/16", "natOutgoing": nat}),
        )
    };
    now(client.apply(pool(false), &stamp())).unwrap();
    let other = Stamp {
        uid: "u-2".to_string(),
        ..stamp()
    };
    let applied = now(client.apply(pool(true), &other)).unwrap();
    assert_eq!(applied.metadata().uid.as_deref(), Some("u-1"));
    assert_eq!(applied.metadata().resource_version.as_deref(), Some("2"));
    assert_eq!(
        now(client.list(Kind::IpPool, None)).unwrap().items,
        [applied]
    );
    // A block of another size in the range of a pool to be.
    let block = Key::Block("10.1.0.0/27".parse().unwrap());
    now(store.create(&block, "{}")).unwrap();
    let refused = object("IPPool", "q", json!({"cidr": "10.1.0.0/16"}));
    let refused = now(client.apply(refused, &stamp()))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("existing allocations that use a different blockSize"),
        "{refused}"
    );
    let fits = object(
        "IPPool",
        "q",
        json!({"cidr": "10.1.0.0/16", "blockSize": 27}),
    );
    now(client.apply(fits, &stamp())).unwrap();
}

#[test]
fn a_pool_of_services_stays_one() {
    let store = MemoryStore::new();
    let client = Client::new(&store);
    let pool = |name: &str, cidr: &str, uses: Value| {
        let spec = json!({"cidr": cidr, "allowedUses": uses});
        object("IPPool", name, spec)
    };
    let balancer = pool("b", "10.1.0.0/16", json!(["LoadBalancer"]));
    now(client.apply(balancer, &stamp())).unwrap();
    let other = pool("b", "10.1.0.0/16", json!(["Workload", "Tunnel"]));
    assert_eq!(
        now(client.apply(other, &stamp())).unwrap_err().to_string(),
        "error with field IPPool.Spec.AllowedUses = '[Workload Tunnel]' (IPPool AllowedUses cannot be changed away from LoadBalancer)"
    );
    // Those of workloads may change.
    let workloads = pool("w", "10.2.0.0/16", json!(["Workload", "Tunnel"]));
    now(client.apply(workloads, &stamp())).unwrap();
    let narrower = pool("w", "10.2.0.0/16", json!(["Tunnel"]));
    now(client.apply(narrower, &stamp())).unwrap();
}

#[test]
fn cluster_information_is_made_once() {
    let store = MemoryStore::new();
    let client = Client::new(&store);
    now(client.ensure_initialised(
        &std::array::from_fn(|_| stamp()),
        "b2b78322bb654598aee12e9225699cc4",
    ))
    .unwrap();
    now(client.ensure_initialised(&std::array::from_fn(|_| stamp()), "other")).unwrap();
    let key = Key::cluster(Kind::ClusterInformation, "default");
    assert_eq!(
        stored(&store, &key).unwrap(),
        r#"{"kind":"ClusterInformation","apiVersion":"projectcalico.org/v3","metadata":{"name":"default","uid":"u-1","creationTimestamp":"2026-11-22T22:20:03Z"},"spec":{"clusterGUID":"b2b78322bb654598aee12e9225699cc4","datastoreReady":true}}"#
    );
    let object = object(
        "ClusterInformation",
        "default",
        json!({"calicoVersion": "v1"}),
    );
    assert_eq!(
        now(client.apply(object, &stamp())).unwrap_err().to_string(),
        "operation apply is not supported on ClusterInformation: resource is readonly"
    );
}

/// Remembers what it was asked to release.
#[derive(Default)]
struct Ledger(Mutex<Vec<String>>);

impl Allocations for &Ledger {
    async fn release_node(&self, node: &str, addresses: &[IpAddr]) -> Result<(), String> {
        self.0
            .lock()
            .unwrap()
            .push(format!("node {node} {addresses:?}"));
        Ok(())
    }

    async fn release_pool(&self, cidr: IpNet) -> Result<(), String> {
        self.0.lock().unwrap().push(format!("pool {cidr}"));
        Ok(())
    }
}

#[test]
fn a_node_takes_with_it_what_is_its_own_and_nothing_else() {
    let store = MemoryStore::new();
    let ledger = Ledger::default();
    let client = Client::with_allocations(&store, &ledger);
    let endpoint = |node: &str, id: &str, address: &str| {
        let name = format!("{}-cni-{id}-eth0", node.replace('-', "--"));
        object(
            "WorkloadEndpoint",
            &name,
            json!({"orchestrator": "cni", "node": node, "containerID": id,
            "endpoint": "eth0", "interfaceName": "cali1", "ipNetworks": [address]}),
        )
    };
    for object in [
        object(
            "Node",
            "node-1",
            json!({"bgp": {"ipv4Address": "10.0.0.1/24", "ipv4IPIPTunnelAddr": "10.244.0.1"}}),
        ),
        object("Node", "node-2", Value::Null),
        endpoint("node-1", "a", "10.244.0.7/32"),
        endpoint("node-2", "b", "10.244.1.7/32"),
        object(
            "BGPPeer",
            "one",
            json!({"node": "node-1", "peerIP": "10.0.0.9"}),
        ),
        object(
            "BGPPeer",
            "two",
            json!({"node": "node-2", "peerIP": "10.0.0.9"}),
        ),
        object("BGPPeer", "all", json!({"peerIP": "10.0.0.9"})),
        object(
            "BGPConfiguration",
            "node.node-1",
            json!({"logSeverityScreen": "Debug"}),
        ),
        object("BGPConfiguration", "default", Value::Null),
        object(
            "HostEndpoint",
            "one-eth0",
            json!({"node": "node-1", "interfaceName": "eth0"}),
        ),
        object(
            "HostEndpoint",
            "two-eth0",
            json!({"node": "node-2", "interfaceName": "eth0"}),
        ),
        object("FelixConfiguration", "node.node-1", Value::Null),
        object("FelixConfiguration", "default", Value::Null),
    ] {
        now(client.create(object, &stamp())).unwrap();
    }
    now(client.delete(&Key::cluster(Kind::Node, "node-1"), None)).unwrap();
    let left = now(store.list(&KeyPrefix::All)).unwrap().entries;
    let left: Vec<String> = left.iter().map(|e| e.key.to_string()).collect();
    assert_eq!(
        left,
        [
            "BGPConfiguration(default)",
            "BGPPeer(all)",
            "BGPPeer(two)",
            "FelixConfiguration(default)",
            "HostEndpoint(two-eth0)",
            "Node(node-2)",
            "WorkloadEndpoint(default/node--2-cni-b-eth0)",
        ]
    );
    assert_eq!(
        *ledger.0.lock().unwrap(),
        ["node node-1 [10.244.0.1, 10.244.0.7]"]
    );
}

#[test]
fn a_pool_is_disabled_before_its_blocks_go() {
    /// Looks at the pool when it is asked to release it.
    struct Look<'a>(&'a MemoryStore);

    impl Allocations for Look<'_> {
        async fn release_node(&self, _: &str, _: &[IpAddr]) -> Result<(), String> {
            Err("no node is deleted here".to_string())
        }

        async fn release_pool(&self, _: IpNet) -> Result<(), String> {
            let pool = self.0.get(&Key::cluster(Kind::IpPool, "p")).await;
            let pool = pool.unwrap().unwrap().value;
            match pool.contains(r#""disabled":true"#) {
                true => Ok(()),
                false => Err(format!("not disabled: {pool}")),
            }
        }
    }

    let store = MemoryStore::new();
    let client = Client::with_allocations(&store, Look(&store));
    let pool = object("IPPool", "p", json!({"cidr": "10.0.0.0/16"}));
    let key = pool.key();
    now(client.create(pool, &stamp())).unwrap();
    assert_eq!(
        now(client.delete(&key, Some("7"))).unwrap_err(),
        ClientError::Store(StoreError::Conflict(key.clone()))
    );
    now(client.delete(&key, Some("1"))).unwrap();
    assert_eq!(stored(&store, &key), None);
    assert_eq!(
        now(client.delete(&key, None)).unwrap_err().to_string(),
        "resource does not exist: IPPool(p) with error: <nil>"
    );
}

#[test]
fn a_policy_of_an_older_version_is_read_changed_and_deleted_where_it_is() {
    let store = MemoryStore::new();
    let client = Client::new(&store);
    let tier = object("Tier", "default", json!({"order": 1_000_000}));
    now(client.create(tier, &stamp())).unwrap();
    let old = Key::cluster(Kind::GlobalNetworkPolicy, "default.web");
    let value = r#"{"kind":"GlobalNetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{"name":"default.web","uid":"u-0"},"spec":{"tier":"default","types":["Ingress"]}}"#;
    now(store.create(&old, value)).unwrap();
    let key = Key::cluster(Kind::GlobalNetworkPolicy, "web");
    assert_eq!(now(client.get(&key)).unwrap().metadata().name, "web");
    let policy = || object("GlobalNetworkPolicy", "web", json!({"selector": "has(a)"}));
    assert_eq!(
        now(client.create(policy(), &stamp())),
        Err(ClientError::Store(StoreError::Exists(key.clone())))
    );
    now(client.apply(policy(), &stamp())).unwrap();
    assert_eq!(
        stored(&store, &old).unwrap(),
        r#"{"kind":"GlobalNetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{"name":"default.web","uid":"u-0","labels":{"projectcalico.org/tier":"default"},"annotations":{"projectcalico.org/metadata":"{\"name\":\"web\"}"}},"spec":{"tier":"default","selector":"has(a)","types":["Ingress"]}}"#
    );
    assert_eq!(stored(&store, &key), None);
    assert_eq!(now(client.get(&key)).unwrap().metadata().name, "web");
    now(client.delete(&key, None)).unwrap();
    assert_eq!(stored(&store, &old), None);
}

#[test]
fn affinities_are_shown_and_not_written() {
    let store = MemoryStore::new();
    let client = Client::new(&store);
    let cidr: IpNet = "10.244.84.128/26".parse().unwrap();
    let claim = Key::from_path("/calico/ipam/v2/host/node-1/ipv4/block/10.244.84.128-26").unwrap();
    now(store.create(&claim, r#"{"state":"pending","deleted":false}"#)).unwrap();
    let all = now(client.list(Kind::BlockAffinity, None)).unwrap();
    let [AnyObject::BlockAffinity(shown)] = all.items.as_slice() else {
        panic!("{:?}", all.items)
    };
    assert_eq!(shown.metadata.name, "node-1-10-244-84-128-26");
    assert_eq!(shown.spec.cidr, cidr.to_string());
    assert_eq!(shown.spec.state, "pending");
    let key = shown.key();
    assert_eq!(now(client.get(&key)).unwrap(), all.items[0]);
    let refused = now(client.update(all.items[0].clone())).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "operation Update is not supported on BlockAffinity(node-1-10-244-84-128-26)"
    );
    assert!(matches!(
        now(client.delete(&key, None)),
        Err(ClientError::Refused(_))
    ));
}
