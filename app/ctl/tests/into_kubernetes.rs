//! A whole store is moved into the Kubernetes API, and out of it.

use ctl::Persona;
use kubernetes::Group;
use resource::{Key, KeyPrefix, Kind, Store};
use serde_json::{Value, json};
use store::testing::{Kubernetes, kubernetes_skipped};
use store::{AnyStore, SqliteStore, block_on};

mod on_store;
use on_store::{assign, ok, run};

const DOCUMENTS: &str = "\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.244.0.0/16}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: peer}
spec: {peerIP: 10.0.0.9, asNumber: 64512}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: policy}
spec: {selector: has(a), types: [Ingress]}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n1, labels: {rack: r1}}
spec: {bgp: {ipv4Address: 10.0.0.1/24, routeReflectorClusterID: 244.0.0.1}}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n2}
spec: {bgp: {ipv4Address: 10.0.0.2/24}}
";

/// Without what the API server gives.
fn masked(text: &str) -> Value {
    let mut value: Value = serde_json::from_str(text).unwrap();
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("uid");
        metadata.remove("creationTimestamp");
    }
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, value| name != "status" || *value != json!({}));
    }
    value
}

fn value(store: &AnyStore, key: &Key) -> Option<Value> {
    let entry = block_on(store.get(key)).unwrap();
    entry.map(|e| masked(&e.value))
}

#[test]
fn a_store_is_moved_into_kubernetes_and_out_of_it() {
    if kubernetes_skipped() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let open =
        |name: &str| AnyStore::Sqlite(SqliteStore::open(directory.path().join(name)).unwrap());
    let source = open("source.db");
    ok(&source, "apply -f -", DOCUMENTS);
    assign(&source, "n1", "net.a");
    ok(&source, "datastore migrate lock", "");
    let file = ok(&source, "datastore migrate export", "");

    // One of the two nodes has a kubelet.
    let kubernetes = Kubernetes::start();
    let node = json!({"metadata": {"name": "n1", "labels": {"zone": "z"}}});
    kubernetes.post("/api/v1/nodes", &node);
    let target = AnyStore::Kubernetes(kubernetes.store(Group::Crd));
    let (stdout, stderr, code) = run(
        &target,
        Persona::Selvedge,
        "datastore migrate import -f -",
        &file,
    );
    assert!(code == 1 && stdout.is_empty(), "{stdout}");
    assert!(
        stderr.contains("Node(n2): a node of Kubernetes' is made by its kubelet"),
        "{stderr}"
    );
    assert!(!stderr.contains("n1") && stderr.contains("nothing was written"));
    let pool = Key::cluster(Kind::IpPool, "pool");
    assert_eq!(value(&target, &pool), None);

    let import = "datastore migrate import -f - --leave-out";
    ok(&target, import, &file);
    let there = kubernetes.request("GET", "/api/v1/nodes/n1", None);
    let annotations = &there["metadata"]["annotations"];
    assert_eq!(annotations["projectcalico.org/IPv4Address"], "10.0.0.1/24");
    assert_eq!(
        annotations["projectcalico.org/RouteReflectorClusterID"],
        "244.0.0.1"
    );
    assert_eq!(there["metadata"]["labels"]["zone"], "z");
    let got = ok(&target, "get node n1 -o yaml", "");
    assert!(got.contains("rack: r1"), "{got}");
    let listing = block_on(source.list(&KeyPrefix::All)).unwrap();
    let mut compared = 0;
    for entry in listing.entries {
        let is_node = matches!(
            &entry.key,
            Key::Resource {
                kind: Kind::Node,
                ..
            }
        );
        if !is_node {
            assert_eq!(
                value(&target, &entry.key),
                Some(masked(&entry.value)),
                "{}",
                entry.key
            );
            compared += 1;
        }
    }
    assert!(compared >= 7, "{compared}");

    // Again: what is there already is no hindrance.
    ok(&target, import, &file);

    // And out of it.
    let file = ok(&target, "datastore migrate export", "");
    let back = open("back.db");
    ok(&back, "datastore migrate import -f -", &file);
    assert_eq!(value(&back, &pool), value(&source, &pool));
    let got = ok(&back, "get node n1 -o yaml", "");
    assert!(
        got.contains("rack: r1") && got.contains("244.0.0.1"),
        "{got}"
    );

    // Whatever else is there is a reason to refuse.
    ok(
        &target,
        "apply -f -",
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: other}\nspec: {cidr: 10.1.0.0/16}\n",
    );
    let (_, stderr, code) = run(&target, Persona::Selvedge, import, &file);
    assert!(code == 1 && stderr.contains("IPPool(other)"), "{stderr}");
}
