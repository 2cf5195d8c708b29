//! What an object of the API stands for, whatever its type.

use resource::{Key, Kind};
use serde_json::{Map, Value, json};

use crate::group::Group;
use crate::json::text;
use crate::place::{LEASE_LABEL, LEASE_NAMESPACE, Place, Source, lease_name};
use crate::{custom, ipam, node, pod, policy, profile};

/// The annotation that has a lease's text.
const LEASE_TEXT: &str = "selvedge.dev/lease-text";

/// What an object stands for: keys and the texts that etcd would have there; nothing for one that is on its way out, or that is of
/// no interest.
///
/// # Errors
/// What is wrong with the object.
pub fn read(source: Source, group: Group, object: &Value) -> Result<Vec<(Key, String)>, String> {
    Ok(match source {
        Source::Custom(kind) => vec![custom::read(kind, group, object)?],
        Source::Block | Source::Affinity | Source::Handle => {
            ipam::read(source, object)?.into_iter().collect()
        }
        Source::IpamConfig => {
            let (key, document) = custom::read(Kind::IpamConfiguration, group, object)?;
            vec![
                (Key::IpamConfig, ipam::read_config(object)),
                (key, document),
            ]
        }
        Source::Node => {
            let name = text(&object["metadata"], "name").ok_or("it has no name")?;
            vec![(Key::cluster(Kind::Node, name), node::read(object)?)]
        }
        Source::Pod => pod::endpoints(object)?.into_iter().collect(),
        Source::Namespace => vec![profile::of_namespace(object)?],
        Source::ServiceAccount => vec![profile::of_service_account(object)?],
        Source::NetworkPolicy => vec![policy::of_network_policy(object)?],
        Source::Service => vec![as_it_is(Kind::Service, object)?],
        Source::EndpointSlice => vec![as_it_is(Kind::EndpointSlice, object)?],
        Source::Lease => {
            let metadata = &object["metadata"];
            let name = text(metadata, "name").and_then(lease_name);
            let text = metadata["annotations"][LEASE_TEXT].as_str();
            match (name, text) {
                (Some(name), Some(text)) => vec![(Key::Lease(name.to_string()), text.to_string())],
                _ => Vec::new(),
            }
        }
    })
}

/// The keys of what an object stands for or stood for, also when it is on its way out.
pub fn keys(source: Source, group: Group, object: &Value) -> Vec<Key> {
    let mut object = object.clone();
    match source {
        Source::Block | Source::Affinity | Source::Handle => {
            if let Some(spec) = object["spec"].as_object_mut() {
                spec.remove("deleted");
            }
        }
        Source::Pod => return pod::key(&object).into_iter().collect(),
        _ => (),
    }
    let entries = read(source, group, &object).unwrap_or_default();
    entries.into_iter().map(|(key, _)| key).collect()
}

/// Whether an object of IPAM's says that it is on its way out.
pub fn is_deleted(object: &Value) -> bool {
    let deleted = &object["spec"]["deleted"];
    *deleted == json!(true) || *deleted == json!("true")
}

/// An object of Kubernetes' own that is a kind here too, without what the API server alone writes.
fn as_it_is(kind: Kind, object: &Value) -> Result<(Key, String), String> {
    let metadata = &object["metadata"];
    let name = text(metadata, "name").ok_or("it has no name")?;
    let mut document = Map::new();
    // Objects in a list come without these two.
    document.insert("kind".to_string(), json!(kind.as_str()));
    document.insert("apiVersion".to_string(), json!(kind.api_version()));
    for (field, value) in object.as_object().into_iter().flatten() {
        let mut value = value.clone();
        if let ("metadata", Value::Object(metadata)) = (field.as_str(), &mut value) {
            metadata.retain(|f, _| f != "resourceVersion" && f != "managedFields");
        }
        document.insert(field.clone(), value);
    }
    let key = Key::Resource {
        kind,
        namespace: text(metadata, "namespace").map(String::from),
        name: name.to_string(),
    };
    Ok((key, Value::Object(document).to_string()))
}

/// The object that has what etcd would have at a key; `None` for what is not written as an object of its own.
///
/// # Errors
/// What is wrong with the text.
pub fn write(key: &Key, group: Group, value: &str) -> Result<Option<Value>, String> {
    let Some(place) = Place::of(key) else {
        return Ok(None);
    };
    match (place.source, key) {
        (Source::Custom(kind), _) => custom::write(kind, group, value).map(Some),
        (Source::IpamConfig, Key::Resource { kind, .. }) => {
            let mut object = custom::write(*kind, group, value)?;
            object["kind"] = json!(place.source.kind(group));
            Ok(Some(object))
        }
        (Source::Block | Source::Affinity | Source::Handle | Source::IpamConfig, _) => {
            ipam::write(key, group, value, false)
        }
        (Source::Service | Source::EndpointSlice, _) => serde_json::from_str(value)
            .map(Some)
            .map_err(|e| format!("it is no JSON: {e}")),
        (Source::Lease, _) => Ok(Some(json!({
            "apiVersion": place.source.api_version(group),
            "kind": place.source.kind(group),
            "metadata": {
                "name": place.name,
                "namespace": LEASE_NAMESPACE,
                "labels": {LEASE_LABEL: "true"},
                "annotations": {LEASE_TEXT: value},
            },
        }))),
        (
            Source::Node
            | Source::Pod
            | Source::Namespace
            | Source::ServiceAccount
            | Source::NetworkPolicy,
            _,
        ) => Ok(None),
    }
}
