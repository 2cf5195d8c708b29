//! A Profile, which is read from a Namespace or a ServiceAccount (calico-compat §3.4).
//!
//! A pod names both: its labels are what policies select namespaces and service accounts by. What no policy is about the namespace's
//! profile lets through.

use std::collections::BTreeMap;

use resource::kinds::{Profile, ProfileSpec, Rule};
use resource::{Key, Metadata};
use serde_json::Value;

use crate::metadata::metadata;

const OF_NAMESPACE: &str = "kns.";
const OF_SERVICE_ACCOUNT: &str = "ksa.";
/// Before the labels that pods have of their namespace.
const NAMESPACE_LABEL: &str = "pcns.";

/// The profile of a namespace's pods, as it would be stored, and its key.
///
/// # Errors
/// What is wrong with the object.
pub fn of_namespace(object: &Value) -> Result<(Key, String), String> {
    let own = metadata(object)?;
    let allow = vec![Rule {
        action: "Allow".to_string(),
        ..Rule::default()
    }];
    let spec = ProfileSpec {
        ingress: allow.clone(),
        egress: allow,
        labels_to_apply: labels(NAMESPACE_LABEL, &own),
    };
    Ok(profile(name_of_namespace(&own.name), own, spec))
}

/// The profile of a service account's pods, as it would be stored, and its key.
///
/// # Errors
/// What is wrong with the object.
pub fn of_service_account(object: &Value) -> Result<(Key, String), String> {
    let own = metadata(object)?;
    let namespace = own.namespace.as_deref().ok_or("it has no namespace")?;
    let name = name_of_service_account(namespace, &own.name);
    let spec = ProfileSpec {
        labels_to_apply: labels("pcsa.", &own),
        ..ProfileSpec::default()
    };
    Ok(profile(name, own, spec))
}

/// What Calico shows as a profile's resourceVersion: the namespace's and the service account's, of which it has one.
pub fn revision_text(name: &str, revision: u64) -> String {
    if name.starts_with(OF_NAMESPACE) {
        format!("{revision}/")
    } else if name.starts_with(OF_SERVICE_ACCOUNT) {
        format!("/{revision}")
    } else {
        revision.to_string()
    }
}

/// The labels of a namespace, as the profile of its pods has them.
pub fn namespace_labels(profile: &Profile) -> BTreeMap<String, String> {
    let labels = profile.spec.labels_to_apply.iter();
    labels
        .filter_map(|(key, value)| Some((key.strip_prefix(NAMESPACE_LABEL)?, value)))
        .map(|(key, value)| (key.to_string(), value.clone()))
        .collect()
}

/// The name of the profile of a namespace's pods.
pub fn name_of_namespace(namespace: &str) -> String {
    format!("{OF_NAMESPACE}{namespace}")
}

pub(crate) fn name_of_service_account(namespace: &str, account: &str) -> String {
    format!("{OF_SERVICE_ACCOUNT}{namespace}.{account}")
}

/// The object's labels, and its name as one, each with the prefix.
fn labels(prefix: &str, own: &Metadata) -> BTreeMap<String, String> {
    let labels = own.labels.iter();
    let mut labels: BTreeMap<String, String> = labels
        .map(|(key, value)| (format!("{prefix}{key}"), value.clone()))
        .collect();
    labels.insert(format!("{prefix}projectcalico.org/name"), own.name.clone());
    labels
}

fn profile(name: String, own: Metadata, spec: ProfileSpec) -> (Key, String) {
    let metadata = Metadata {
        uid: own.uid,
        creation_timestamp: own.creation_timestamp,
        ..Metadata::named(name)
    };
    let profile = Profile::new(metadata, spec);
    (profile.key(), profile.to_stored())
}
