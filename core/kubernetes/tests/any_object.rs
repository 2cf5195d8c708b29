//! Objects as somebody else's program may write them: every reading of them ends in a document or in words.

use kubernetes::{Source, ignored, node, pod, policy, profile, request};
use proptest::prelude::*;
use resource::kinds::{NetworkPolicy, Node, Profile, WorkloadEndpoint};
use serde_json::{Map, Value, json};

/// Objects with all that is read of them.
fn whole() -> Vec<Value> {
    let metadata = |annotations: Value| json!({"name": "n", "namespace": "ns", "uid": "u", "labels": {"a": "b"}, "annotations": annotations});
    vec![
        json!({
            "metadata": metadata(json!({
                "projectcalico.org/IPv4Address": "10.0.0.1/24", "projectcalico.org/ASNumber": "1.2",
                "projectcalico.org/labels": "{}", "projectcalico.org/Interfaces": "[]",
            })),
            "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
        }),
        json!({
            "metadata": metadata(json!({
                "cni.projectcalico.org/podIPs": "10.0.0.1/32", "cni.projectcalico.org/floatingIPs": "[\"10.0.0.1\"]",
                "cni.projectcalico.org/ipAddrs": "[\"10.0.0.1\"]", "cni.projectcalico.org/ipv4pools": "[\"a\"]",
                "cni.projectcalico.org/hwAddr": "02:00:00:00:00:01", "qos.projectcalico.org/ingressBandwidth": "1M",
            })),
            "spec": {"nodeName": "node", "serviceAccountName": "sa", "containers": [{"ports": [{"containerPort": 80, "name": "http"}]}]},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
        }),
        json!({
            "metadata": metadata(json!({})),
            "spec": {
                "podSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]},
                "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "ports": [{"port": 80, "endPort": 90}]}],
                "policyTypes": ["Ingress"],
            },
        }),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let texts = prop::sample::select(vec![
        "",
        "-",
        "/",
        "10.0.0.1",
        "10.0.0.0/8",
        "::/0",
        "[]",
        "{}",
        "null",
        "9e9",
        "-1E",
        "é",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        texts.prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{0,3}", inner, 0..3)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// All places within a value, as JSON pointers.
fn places(value: &Value, at: String, all: &mut Vec<String>) {
    let step = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, inner)| places(inner, step(name), all)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(i, inner)| places(inner, step(&i.to_string()), all)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
    }
    all.push(at);
}

proptest! {
    #[test]
    fn reading_ends_in_a_document_or_in_words(
        which in 0..3_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_value()), 1..3),
    ) {
        let mut object = whole().swap_remove(which);
        for (place, value) in changes {
            let mut all = Vec::new();
            places(&object, String::new(), &mut all);
            *object.pointer_mut(&all[place.index(all.len())]).expect("a place") = value;
        }
        if let Ok(document) = node::read(&object) {
            prop_assert!(Node::from_json(&document).is_ok(), "{}", document);
            let unchanged = node::patch(&document, &object).expect("what was read is written");
            prop_assert_eq!(unchanged, json!({"metadata": {"annotations": {}}}));
        }
        if let Ok(Some((key, document))) = pod::endpoints(&object) {
            prop_assert!(WorkloadEndpoint::from_json(&document).is_ok(), "{}", document);
            prop_assert!(pod::pod_of(&key).is_some(), "{}", key);
            prop_assert!(pod::patch(&document).is_ok());
        }
        if let Ok((_, document)) = policy::of_network_policy(&object) {
            prop_assert!(NetworkPolicy::from_json(&document).is_ok(), "{}", document);
        }
        for read in [profile::of_namespace, profile::of_service_account] {
            if let Ok((_, document)) = read(&object) {
                prop_assert!(Profile::from_json(&document).is_ok(), "{}", document);
            }
        }
        for source in Source::all() {
            prop_assert!(ignored(source, &object).iter().all(|text| !text.is_empty()));
        }
        let _ = request::read(&object, &object);
    }
}
