//! Nodes as a real calicoctl wrote and showed them, and the way there and back.

use std::collections::BTreeMap;

use kubernetes::node::{ignored, network_condition, patch, read};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use resource::kinds::{Node, NodeBgpSpec, NodeInterface, NodeWireguardSpec};
use serde_json::{Value, json};

/// Captured: `kubectl get node node-1 -o yaml`, after an apply, a patch and two labels.
const KUBERNETES: &str = r#"
apiVersion: v1
kind: Node
metadata:
  annotations:
    projectcalico.org/ASNumber: "64513"
    projectcalico.org/IPv4Address: 10.0.0.1/24
    projectcalico.org/RouteReflectorClusterID: 244.0.0.1
    projectcalico.org/labels: '{"rack":"r1","route-reflector":"true"}'
  creationTimestamp: "2026-11-22T22:50:25Z"
  labels:
    zone: a
  name: node-1
  resourceVersion: "152"
  uid: 4e7d4bf8-0bb4-4497-9152-235ca7ae05db
spec:
  podCIDR: 10.244.1.0/24
  podCIDRs:
  - 10.244.1.0/24
  taints:
  - effect: NoSchedule
    key: node.kubernetes.io/not-ready
status:
  addresses:
  - address: 10.0.0.1
    type: InternalIP
  daemonEndpoints:
    kubeletEndpoint:
      Port: 0
"#;

/// Captured: `calicoctl get node node-1 -o yaml`, but for the resourceVersion.
const CALICO: &str = r#"
apiVersion: projectcalico.org/v3
kind: Node
metadata:
  annotations:
    projectcalico.org/kube-labels: '{"zone":"a"}'
  creationTimestamp: "2026-11-22T22:50:25Z"
  labels:
    rack: r1
    route-reflector: "true"
    zone: a
  name: node-1
  uid: 4e7d4bf8-0bb4-4497-9152-235ca7ae05db
spec:
  addresses:
  - address: 10.0.0.1/24
    type: CalicoNodeIP
  - address: 10.0.0.1
    type: InternalIP
  bgp:
    asNumber: 64513
    ipv4Address: 10.0.0.1/24
    routeReflectorClusterID: 244.0.0.1
  orchRefs:
  - nodeName: node-1
    orchestrator: k8s
status:
  podCIDRs:
  - 10.244.1.0/24
"#;

fn yaml(text: &str) -> Value {
    serde_yaml_ng::from_str(text).expect("captured YAML")
}

fn parsed(document: &str) -> Value {
    serde_json::from_str(document).expect("a document")
}

/// A node of Kubernetes before Calico has said anything of it.
fn bare() -> Value {
    let mut node = yaml(KUBERNETES);
    node["metadata"]["annotations"] = json!({"someone.else/note": "kept"});
    node
}

/// A merge patch, as the API server applies it.
fn apply(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let object = target.as_object_mut().expect("just made so");
    for (name, value) in fields {
        if value.is_null() {
            object.remove(name);
        } else {
            apply(object.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

fn written(node: &Value, annotation: &str) -> Option<String> {
    let text = node["metadata"]["annotations"].get(annotation)?;
    Some(text.as_str().expect("a text").to_string())
}

#[test]
fn the_captured_node_reads_as_calicoctl_shows_it() {
    let document = read(&yaml(KUBERNETES)).expect("a node");
    assert_eq!(parsed(&document), yaml(CALICO));
    assert!(ignored(&yaml(KUBERNETES)).is_empty());
    let start = r#"{"kind":"Node","apiVersion":"projectcalico.org/v3","metadata":{"name":"node-1","uid":"4e7d"#;
    assert!(document.starts_with(start), "Calico's order: {document}");
    // Captured too: a node without anything has neither AS nor addresses.
    let plain = read(&json!({"metadata": {"name": "node-2"}})).expect("a node");
    assert_eq!(
        plain,
        r#"{"kind":"Node","apiVersion":"projectcalico.org/v3","metadata":{"name":"node-2"},"spec":{"orchRefs":[{"nodeName":"node-2","orchestrator":"k8s"}]},"status":{}}"#
    );
    assert_eq!(read(&json!({})), Err("it has no name".to_string()));
}

/// The captured order: an apply, a patch, a label of one's own, a label that Kubernetes owns.
#[test]
fn the_captured_changes_leave_the_captured_annotations() {
    let mut node = bare();
    let change = |node: &mut Value, change: fn(&mut Value)| {
        let mut document = parsed(&read(node).expect("a node"));
        change(&mut document);
        let patch = patch(&document.to_string(), node).expect("a patch");
        apply(node, &patch);
        patch
    };
    // What people apply has not the labels that they do not know of.
    change(&mut node, |document| {
        document["metadata"] = json!({"name": "node-1", "labels": {"rack": "r1"}});
        document["spec"] = json!({"bgp": {"ipv4Address": "10.0.0.1/24", "asNumber": 64513}});
    });
    change(&mut node, |document| {
        document["spec"]["bgp"]["routeReflectorClusterID"] = json!("244.0.0.1");
    });
    change(&mut node, |document| {
        document["metadata"]["labels"]["route-reflector"] = json!("true");
    });
    let last = change(&mut node, |document| {
        document["metadata"]["labels"]["zone"] = json!("b");
    });
    assert_eq!(
        last,
        json!({"metadata": {"annotations": {}}}),
        "k8s owns it"
    );
    let mut expected = yaml(KUBERNETES);
    expected["metadata"]["annotations"]["someone.else/note"] = json!("kept");
    assert_eq!(node, expected);
}

#[test]
fn what_is_taken_away_is_a_null() {
    let node = yaml(KUBERNETES);
    let mut document = parsed(&read(&node).expect("a node"));
    document["metadata"]["labels"] = json!({"zone": "a"});
    document["spec"]["bgp"] = json!({"ipv4Address": "10.0.0.1/24"});
    let patch = patch(&document.to_string(), &node).expect("a patch");
    assert_eq!(
        patch,
        json!({"metadata": {"annotations": {
            "projectcalico.org/ASNumber": null,
            "projectcalico.org/RouteReflectorClusterID": null,
            "projectcalico.org/labels": null,
        }}})
    );
}

#[test]
fn annotations_that_are_not_valid_are_named_and_left() {
    let mut node = yaml(KUBERNETES);
    let annotations = &mut node["metadata"]["annotations"];
    *annotations = json!({
        // Without a length nothing would be in the same subnet.
        "projectcalico.org/IPv4Address": "10.0.0.1",
        "projectcalico.org/IPv6Address": "10.0.0.1/24",
        "projectcalico.org/ASNumber": "65536.1",
        "projectcalico.org/VXLANTunnelMACAddr": "66:b3",
        "projectcalico.org/IPv4VXLANTunnelAddr": "10.244.0.0/32",
        "projectcalico.org/Interfaces": "[",
        "projectcalico.org/labels": "a=b",
        "projectcalico.org/IPv6VXLANTunnelAddr": "",
        "projectcalico.org/WireguardPublicKey": "jlkVyQYooZYzI2wFfNhSZez5eWh44yfq1wKVjLvSXgY=",
    });
    let document = parsed(&read(&node).expect("a node"));
    assert_eq!(document["metadata"]["labels"], json!({"zone": "a"}));
    assert_eq!(document["spec"].get("bgp"), None);
    assert_eq!(
        document["status"]["wireguardPublicKey"],
        "jlkVyQYooZYzI2wFfNhSZez5eWh44yfq1wKVjLvSXgY="
    );
    assert_eq!(
        ignored(&node),
        [
            r#"annotation projectcalico.org/labels: "a=b" is not JSON of labels"#,
            r#"annotation projectcalico.org/IPv4Address: "10.0.0.1" is not an IPv4 address with its prefix length"#,
            r#"annotation projectcalico.org/IPv6Address: "10.0.0.1/24" is not an IPv6 address with its prefix length"#,
            r#"annotation projectcalico.org/IPv4VXLANTunnelAddr: "10.244.0.0/32" is not an IPv4 address"#,
            r#"annotation projectcalico.org/VXLANTunnelMACAddr: "66:b3" is not a MAC address"#,
            r#"annotation projectcalico.org/ASNumber: "65536.1" is not an AS number"#,
            r#"annotation projectcalico.org/Interfaces: "[" is not JSON of interfaces"#,
        ]
    );
    // A write that says nothing of them does not take them away.
    let unchanged = patch(&document.to_string(), &node).expect("a patch");
    assert_eq!(unchanged, json!({"metadata": {"annotations": {}}}));
}

#[test]
fn other_forms_mean_the_same() {
    let mut node = bare();
    node["metadata"]["annotations"]["projectcalico.org/ASNumber"] = json!("1.10");
    let mut document = parsed(&read(&node).expect("a node"));
    assert_eq!(document["spec"]["bgp"], json!({"asNumber": 65546}));
    // An address without a length is one address; the annotation must say so to be read at all.
    document["spec"]["bgp"]["ipv4Address"] = json!("10.0.0.1");
    let patch = patch(&document.to_string(), &node).expect("a patch");
    assert_eq!(
        patch["metadata"]["annotations"],
        json!({"projectcalico.org/IPv4Address": "10.0.0.1/32"})
    );
    // Older versions of Kubernetes give one range.
    let old = json!({"metadata": {"name": "n"}, "spec": {"podCIDR": "10.244.1.0/24"}});
    let document = parsed(&read(&old).expect("a node"));
    assert_eq!(document["status"]["podCIDRs"], json!(["10.244.1.0/24"]));
}

#[test]
fn a_document_that_could_not_be_read_back_is_refused() {
    let node = bare();
    let patched = |metadata: Value, spec: Value| {
        let document = json!({"kind": "Node", "apiVersion": "projectcalico.org/v3", "metadata": metadata, "spec": spec});
        patch(&document.to_string(), &node)
    };
    assert_eq!(
        patched(json!({"name": "n"}), json!({"vxlanTunnelMACAddr": "x"})),
        Err(r#"projectcalico.org/VXLANTunnelMACAddr: "x" is not a MAC address"#.to_string())
    );
    let metadata = json!({"name": "n", "annotations": {"projectcalico.org/kube-labels": "{"}});
    let refused = patched(metadata, json!({})).expect_err("no labels");
    assert!(
        refused.starts_with("its annotation projectcalico.org/kube-labels is no JSON of labels: ")
    );
    let refused = patch("{}", &node).expect_err("no document");
    assert!(refused.starts_with("it is no Node: "), "{refused}");
}

#[test]
fn the_condition_is_what_kubernetes_waits_for() {
    let up = network_condition(true, "2026-11-22T22:50:25Z");
    let condition = &up["status"]["conditions"][0];
    assert_eq!(condition["type"], "NetworkUnavailable");
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&json!("False"), &json!("CalicoIsUp"))
    );
    let down = network_condition(false, "2026-11-22T22:50:25Z");
    assert_eq!(down["status"]["conditions"][0]["status"], "True");
}

fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map("[a-c](/[a-c])?", "[a-z<&\"0-9]{0,4}", 0..4)
}

fn one_of(texts: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(texts).prop_map(String::from)
}

fn bgp() -> impl Strategy<Value = Option<NodeBgpSpec>> {
    let fields = (
        option::of(any::<u32>()),
        one_of(&["", "10.0.0.1/24", "10.0.0.2/32"]),
        one_of(&["", "fd00::1/64"]),
        one_of(&["", "10.244.0.1"]),
        one_of(&["", "244.0.0.1"]),
    );
    fields.prop_map(|(as_number, ipv4_address, ipv6_address, ipip, cluster)| {
        let bgp = NodeBgpSpec {
            as_number,
            ipv4_address,
            ipv6_address,
            ipv4_ipip_tunnel_addr: ipip,
            route_reflector_cluster_id: cluster,
        };
        // Calico refuses an empty one.
        Some(bgp).filter(|bgp| *bgp != NodeBgpSpec::default())
    })
}

fn wireguard() -> impl Strategy<Value = Option<NodeWireguardSpec>> {
    let fields = (one_of(&["", "10.244.0.9"]), one_of(&["", "fd00::9"]));
    fields.prop_map(|(interface_ipv4_address, interface_ipv6_address)| {
        let wireguard = NodeWireguardSpec {
            interface_ipv4_address,
            interface_ipv6_address,
        };
        Some(wireguard).filter(|w| *w != NodeWireguardSpec::default())
    })
}

fn interface() -> impl Strategy<Value = NodeInterface> {
    let addresses = vec(one_of(&["10.0.0.1", "fd00::1"]), 0..3);
    ("[a-z]{1,4}", addresses).prop_map(|(name, addresses)| NodeInterface { name, addresses })
}

prop_compose! {
    /// What Calico owns of a node.
    fn owned()(
        (labels, annotations) in (texts(), texts()),
        (bgp, wireguard) in (bgp(), wireguard()),
        interfaces in vec(interface(), 0..3),
        vxlan in one_of(&["", "10.244.0.2"]),
        vxlan_mac in one_of(&["", "66:b3:68:28:39:8e"]),
        vxlan_v6 in one_of(&["", "fd00::2"]),
        vxlan_mac_v6 in one_of(&["", "66:c0:93:2e:56:2c"]),
        keys in (one_of(&["", "a key"]), one_of(&["", "another"])),
    ) -> Node {
        let mut node = Node::from_json(r#"{"kind":"Node","apiVersion":"projectcalico.org/v3"}"#).expect("a node");
        node.metadata.labels = labels;
        node.metadata.annotations = annotations;
        node.spec.bgp = bgp;
        node.spec.wireguard = wireguard;
        node.spec.interfaces = interfaces;
        node.spec.ipv4_vxlan_tunnel_addr = vxlan;
        node.spec.vxlan_tunnel_mac_addr = vxlan_mac;
        node.spec.ipv6_vxlan_tunnel_addr = vxlan_v6;
        node.spec.vxlan_tunnel_mac_addr_v6 = vxlan_mac_v6;
        (node.status.wireguard_public_key, node.status.wireguard_public_key_v6) = keys;
        node
    }
}

/// The document of a node with what is Calico's, as it would be written: Kubernetes' labels are over its own.
fn document_of(node: &Value, owned: &Node) -> Node {
    let mut document = Node::from_json(&read(node).expect("a node")).expect("a document");
    let kubernetes: BTreeMap<String, String> =
        serde_json::from_value(node["metadata"]["labels"].clone()).expect("labels");
    document.metadata.labels = owned.metadata.labels.clone();
    document.metadata.labels.extend(kubernetes.clone());
    document.metadata.annotations = owned.metadata.annotations.clone();
    if !kubernetes.is_empty() {
        let text = json!(kubernetes).to_string();
        let annotations = &mut document.metadata.annotations;
        annotations.insert("projectcalico.org/kube-labels".to_string(), text);
    }
    let (refs, derived) = (document.spec.orch_refs, document.spec.addresses);
    document.spec = owned.spec.clone();
    document.spec.orch_refs = refs;
    let bgp = document.spec.bgp.clone().unwrap_or_default();
    let own = [bgp.ipv4_address, bgp.ipv6_address].into_iter();
    let own = own
        .filter(|a| !a.is_empty())
        .map(|a| resource::kinds::NodeAddress {
            address: a,
            address_type: "CalicoNodeIP".to_string(),
        });
    let others = derived
        .into_iter()
        .filter(|a| a.address_type != "CalicoNodeIP");
    document.spec.addresses = own.chain(others).collect();
    let ranges = document.status.pod_cidrs;
    document.status = owned.status.clone();
    document.status.pod_cidrs = ranges;
    document
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(labels in texts(), first in owned(), second in owned()) {
        let mut node = bare();
        node["metadata"]["labels"] = json!(labels);
        for owned in [&first, &second] {
            let document = document_of(&node, owned).to_stored();
            let change = patch(&document, &node).expect("a patch");
            apply(&mut node, &change);
            prop_assert_eq!(read(&node).expect("a node"), document.clone());
            prop_assert!(ignored(&node).is_empty());
            let again = patch(&document, &node).expect("a patch");
            prop_assert_eq!(again, json!({"metadata": {"annotations": {}}}));
        }
        prop_assert_eq!(&node["metadata"]["labels"], &json!(labels));
        prop_assert_eq!(written(&node, "someone.else/note"), Some("kept".to_string()));
    }
}
