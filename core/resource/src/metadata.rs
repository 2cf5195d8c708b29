//! What every object says of itself.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

/// Object metadata, in the order in which Calico writes it to etcd (calico-compat: common object rules).
///
/// Reading is strict. The fields of Kubernetes' ObjectMeta that Calico never stores (`selfLink`, `generation`,
/// `managedFields`, ...) are read and forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "Wire")]
pub struct Metadata {
    /// DNS-1123 subdomain; unique in its kind and namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// A prefix from which a name is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generate_name: Option<String>,
    /// Only for namespaced kinds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Random UUIDv4, set at creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The store's revision in which the object was last written; never stored, filled in on reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// RFC 3339, whole seconds, UTC; set at creation. `null` (as `--export` prints it) reads as absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<String>,
    /// Labels that selectors match.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Free text by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Kubernetes' owner references, as they came.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<serde_json::Value>,
    /// Kubernetes' finalizers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
}

/// What a document may say.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[derive(Default)]
struct Wire {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    creation_timestamp: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<serde_json::Value>>,
    finalizers: Option<Vec<String>>,
    #[serde(rename = "selfLink")]
    _self_link: Option<IgnoredAny>,
    #[serde(rename = "generation")]
    _generation: Option<IgnoredAny>,
    #[serde(rename = "deletionTimestamp")]
    _deletion_timestamp: Option<IgnoredAny>,
    #[serde(rename = "deletionGracePeriodSeconds")]
    _deletion_grace_period_seconds: Option<IgnoredAny>,
    #[serde(rename = "managedFields")]
    _managed_fields: Option<IgnoredAny>,
}

impl From<Wire> for Metadata {
    fn from(wire: Wire) -> Metadata {
        let some = |text: Option<String>| text.filter(|t| !t.is_empty());
        Metadata {
            name: wire.name.unwrap_or_default(),
            generate_name: some(wire.generate_name),
            namespace: some(wire.namespace),
            uid: some(wire.uid),
            resource_version: some(wire.resource_version),
            creation_timestamp: some(wire.creation_timestamp),
            labels: wire.labels.unwrap_or_default(),
            annotations: wire.annotations.unwrap_or_default(),
            owner_references: wire.owner_references.unwrap_or_default(),
            finalizers: wire.finalizers.unwrap_or_default(),
        }
    }
}

impl Metadata {
    /// Metadata with only a name.
    pub fn named(name: impl Into<String>) -> Metadata {
        Metadata {
            name: name.into(),
            ..Metadata::default()
        }
    }

    /// Metadata with a name in a namespace.
    pub fn namespaced(namespace: impl Into<String>, name: impl Into<String>) -> Metadata {
        Metadata {
            name: name.into(),
            namespace: Some(namespace.into()),
            ..Metadata::default()
        }
    }
}
