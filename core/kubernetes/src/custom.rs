//! Calico's and our own kinds as custom resources (calico-compat §3.1).
//!
//! In the group `crd.projectcalico.org/v1` what Calico calls metadata is JSON in an annotation, and the object's own metadata is little
//! more than its name. In `projectcalico.org/v3`, and for our own kinds, the object is what people write.

use resource::{Key, Kind};
use serde_json::{Map, Value, json};

use crate::group::Group;
use crate::json::{text, texts};

/// The annotation that has Calico's metadata; in etcd it has a policy's own name.
const METADATA: &str = "projectcalico.org/metadata";

/// Whether the kind's metadata is in the annotation.
fn wrapped(kind: Kind, group: Group) -> bool {
    group == Group::Crd && !kind.is_ours()
}

/// A policy's own name is beside its metadata, since older versions stored it under another.
fn is_policy(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::GlobalNetworkPolicy
            | Kind::NetworkPolicy
            | Kind::StagedGlobalNetworkPolicy
            | Kind::StagedNetworkPolicy
    )
}

/// Whether the kind's status is a resource of its own, which a write of the object leaves alone.
pub fn has_status_resource(kind: Kind, group: Group) -> bool {
    match kind {
        Kind::KubeControllersConfiguration => true,
        Kind::CalicoNodeStatus | Kind::IpPool | Kind::Tier => group == Group::Native,
        _ => false,
    }
}

/// The uid that Calico shows for a custom resource of the older group: each octet's bits in reverse, but for the two that say which
/// version of UUID it is (captured).
fn shown_uid(uid: &str) -> String {
    let digits: String = uid.chars().filter(|c| *c != '-').collect();
    let octets: Option<Vec<u8>> = (0..16)
        .map(|i| u8::from_str_radix(digits.get(2 * i..2 * i + 2)?, 16).ok())
        .collect();
    let Some(octets) = octets.filter(|_| digits.len() == 32) else {
        return uid.to_string();
    };
    let mut shown = String::new();
    for (i, octet) in octets.into_iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            shown.push('-');
        }
        let octet = if matches!(i, 6 | 8) {
            octet
        } else {
            octet.reverse_bits()
        };
        shown.push_str(&format!("{octet:02x}"));
    }
    shown
}

/// The stored document that a custom resource of a kind stands for, and where it lives.
///
/// # Errors
/// What is wrong with the object.
pub fn read(kind: Kind, group: Group, object: &Value) -> Result<(Key, String), String> {
    let own = &object["metadata"];
    let name = text(own, "name").ok_or("it has no name")?;
    let namespace = text(own, "namespace").map(String::from);
    let mut metadata = Map::new();
    metadata.insert("name".to_string(), json!(name));
    if let Some(namespace) = &namespace {
        metadata.insert("namespace".to_string(), json!(namespace));
    }
    let wrapped = wrapped(kind, group);
    if let Some(uid) = text(own, "uid") {
        let uid = if wrapped {
            shown_uid(uid)
        } else {
            uid.to_string()
        };
        metadata.insert("uid".to_string(), json!(uid));
    }
    let stuffed = match own["annotations"].get(METADATA).and_then(Value::as_str) {
        Some(stuffed) if wrapped => Some(
            serde_json::from_str::<Value>(stuffed)
                .map_err(|e| format!("its annotation {METADATA} is no JSON: {e}"))?,
        ),
        Some(_) | None => None,
    };
    let shown = stuffed.as_ref().unwrap_or(own);
    let created = text(shown, "creationTimestamp").or_else(|| text(own, "creationTimestamp"));
    if let Some(created) = created {
        metadata.insert("creationTimestamp".to_string(), json!(created));
    }
    let mut annotations = texts(&shown["annotations"]);
    // As etcd has it: the name that the policy goes by.
    let policy_name = match &stuffed {
        Some(stuffed) => text(stuffed, "name"),
        None => (!wrapped).then_some(name),
    };
    if let Some(policy_name) = policy_name.filter(|_| is_policy(kind)) {
        annotations.insert(
            METADATA.to_string(),
            json!({ "name": policy_name }).to_string(),
        );
    }
    insert_texts(&mut metadata, "labels", texts(&shown["labels"]));
    insert_texts(&mut metadata, "annotations", annotations);
    if let Some(owners) = own["ownerReferences"].as_array() {
        let owners = owners
            .iter()
            .map(|o| of_group(o, group.api_version(), kind.api_version()));
        metadata.insert("ownerReferences".to_string(), owners.collect());
    }
    if let Some(finalizers) = own.get("finalizers") {
        metadata.insert("finalizers".to_string(), finalizers.clone());
    }
    let mut document = json!({
        "kind": kind.as_str(),
        "apiVersion": kind.api_version(),
        "metadata": metadata,
    });
    for part in ["spec", "status"] {
        if let Some(value) = object.get(part) {
            document[part] = value.clone();
        }
    }
    let key = Key::Resource {
        kind,
        namespace,
        name: name.to_string(),
    };
    Ok((key, document.to_string()))
}

/// The custom resource for a stored document.
///
/// # Errors
/// That the document is none.
pub fn write(kind: Kind, group: Group, document: &str) -> Result<Value, String> {
    let mut document: Value =
        serde_json::from_str(document).map_err(|e| format!("it is no JSON: {e}"))?;
    let given = document["metadata"].take();
    let name = text(&given, "name").ok_or("it has no name")?;
    let wrapped = wrapped(kind, group);
    let mut metadata = Map::new();
    metadata.insert("name".to_string(), json!(name));
    if let Some(namespace) = text(&given, "namespace") {
        metadata.insert("namespace".to_string(), json!(namespace));
    }
    let labels = texts(&given["labels"]);
    let mut annotations = texts(&given["annotations"]);
    // Where etcd has a policy's own name.
    let hidden = annotations.remove(METADATA).filter(|_| is_policy(kind));
    if wrapped {
        let hidden = hidden.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let mut stuffed = Map::new();
        if let Some(own_name) = hidden.as_ref().and_then(|h| text(h, "name")) {
            stuffed.insert("name".to_string(), json!(own_name));
        }
        if let Some(created) = text(&given, "creationTimestamp") {
            stuffed.insert("creationTimestamp".to_string(), json!(created));
        }
        let seen = labels.iter().filter(|(key, _)| is_calicos(key));
        let seen = seen.map(|(k, v)| (k.clone(), v.clone())).collect();
        insert_texts(&mut stuffed, "labels", labels);
        insert_texts(&mut stuffed, "annotations", annotations);
        insert_texts(&mut metadata, "labels", seen);
        let annotation = Value::Object(stuffed).to_string();
        metadata.insert("annotations".to_string(), json!({ METADATA: annotation }));
    } else {
        insert_texts(&mut metadata, "labels", labels);
        insert_texts(&mut metadata, "annotations", annotations);
    }
    if let Some(owners) = given["ownerReferences"].as_array() {
        let owners = owners
            .iter()
            .map(|o| of_group(o, kind.api_version(), group.api_version()));
        metadata.insert("ownerReferences".to_string(), owners.collect());
    }
    if let Some(finalizers) = given.get("finalizers") {
        metadata.insert("finalizers".to_string(), finalizers.clone());
    }
    let api_version = if kind.is_ours() {
        kind.api_version()
    } else {
        group.api_version()
    };
    let mut object = json!({
        "apiVersion": api_version,
        "kind": kind.as_str(),
        "metadata": metadata,
    });
    for part in ["spec", "status"] {
        let value = document[part].take();
        if !value.is_null() {
            object[part] = value;
        }
    }
    Ok(object)
}

/// Labels of Calico's own stay visible on the object, since queries select by them.
fn is_calicos(label: &str) -> bool {
    label.split_once('/').is_some_and(|(prefix, _)| {
        prefix == "projectcalico.org" || prefix.ends_with(".projectcalico.org")
    })
}

fn insert_texts(
    map: &mut Map<String, Value>,
    name: &str,
    texts: std::collections::BTreeMap<String, String>,
) {
    if !texts.is_empty() {
        map.insert(name.to_string(), json!(texts));
    }
}

/// An owner reference with the other group's apiVersion, where it has the one.
fn of_group(owner: &Value, from: &str, to: &str) -> Value {
    let mut owner = owner.clone();
    if owner["apiVersion"] == from {
        owner["apiVersion"] = json!(to);
    }
    owner
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: &str = r#"{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"my-pool","uid":"62487bfd-f0e7-4837-93e6-00f1aed4d483","creationTimestamp":"2026-11-22T22:50:26Z","labels":{"a":"b"},"annotations":{"x":"true"}},"spec":{"cidr":"10.244.0.0/16"}}"#;
    const POLICY: &str = r#"{"kind":"GlobalNetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{"name":"gnp1","creationTimestamp":"2026-11-22T22:50:26Z","labels":{"projectcalico.org/tier":"default"},"annotations":{"projectcalico.org/metadata":"{\"name\":\"gnp1\"}"}},"spec":{"tier":"default"}}"#;

    #[test]
    fn the_captured_metadata() {
        let mut pool = write(Kind::IpPool, Group::Crd, POOL).expect("a pool");
        assert_eq!(
            pool["metadata"],
            json!({"name": "my-pool", "annotations": {METADATA:
                r#"{"creationTimestamp":"2026-11-22T22:50:26Z","labels":{"a":"b"},"annotations":{"x":"true"}}"#}})
        );
        pool["metadata"]["uid"] = json!("4612debf-0fe7-48ec-9367-008f752b2bc1");
        let (key, document) = read(Kind::IpPool, Group::Crd, &pool).expect("a pool");
        assert_eq!(
            (key, document.as_str()),
            (Key::cluster(Kind::IpPool, "my-pool"), POOL)
        );

        let policy = write(Kind::GlobalNetworkPolicy, Group::Crd, POLICY).expect("a policy");
        assert_eq!(
            policy["metadata"],
            json!({"name": "gnp1", "labels": {"projectcalico.org/tier": "default"}, "annotations": {METADATA:
                r#"{"name":"gnp1","creationTimestamp":"2026-11-22T22:50:26Z","labels":{"projectcalico.org/tier":"default"}}"#}})
        );
        let (_, document) = read(Kind::GlobalNetworkPolicy, Group::Crd, &policy).expect("a policy");
        assert_eq!(document, POLICY);
    }

    #[test]
    fn the_newer_group_has_the_object_as_it_is() {
        let mut policy = write(Kind::GlobalNetworkPolicy, Group::Native, POLICY).expect("a policy");
        assert_eq!(
            policy["metadata"],
            json!({"name": "gnp1", "labels": {"projectcalico.org/tier": "default"}})
        );
        policy["metadata"]["creationTimestamp"] = json!("2026-11-22T22:50:26Z");
        let (_, document) =
            read(Kind::GlobalNetworkPolicy, Group::Native, &policy).expect("a policy");
        assert_eq!(document, POLICY);
    }

    #[test]
    fn what_another_tool_wrote_is_read_as_it_stands() {
        let object = json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"cidr": "10.0.0.0/16"}});
        let (_, document) = read(Kind::IpPool, Group::Crd, &object).expect("a pool");
        assert_eq!(
            document,
            r#"{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"p","labels":{"a":"b"}},"spec":{"cidr":"10.0.0.0/16"}}"#
        );
        let broken = json!({"metadata": {"name": "p", "annotations": {METADATA: "{"}}});
        let error = read(Kind::IpPool, Group::Crd, &broken).expect_err("no JSON");
        assert!(
            error.starts_with("its annotation projectcalico.org/metadata is no JSON"),
            "{error}"
        );
    }
}
