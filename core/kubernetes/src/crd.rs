//! The CustomResourceDefinitions that this datastore needs.
//!
//! They say names and scopes, not schemas: the command and the agent check objects by the rules of `resource`. A cluster that has
//! Calico's own definitions keeps them.

use resource::Kind;
use serde_json::{Value, json};

use crate::custom::has_status_resource;
use crate::group::Group;
use crate::place::Source;

/// One definition for each type that a cluster does not have by itself.
pub fn definitions(group: Group) -> Vec<Value> {
    let custom = Source::all()
        .into_iter()
        .filter(|source| !source.is_built_in());
    custom.map(|source| definition(source, group)).collect()
}

/// Whether objects may have a status. In the older group Calico's definitions take it from two kinds only.
fn has_status(source: Source, group: Group) -> bool {
    match source {
        Source::Custom(Kind::CalicoNodeStatus | Kind::KubeControllersConfiguration) => true,
        Source::Custom(kind) => group == Group::Native || kind.is_ours(),
        _ => false,
    }
}

fn definition(source: Source, group: Group) -> Value {
    let (plural, kind) = (source.plural(group), source.kind(group));
    let api_version = source.api_version(group);
    let (name, version) = api_version.split_once('/').unwrap_or((api_version, ""));
    let subresources = match source {
        Source::Custom(kind) if has_status_resource(kind, group) => json!({"status": {}}),
        _ => json!({}),
    };
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let mut properties = json!({"spec": any});
    if has_status(source, group) {
        properties["status"] = any;
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{name}")},
        "spec": {
            "group": name,
            "names": {
                "kind": kind,
                "listKind": format!("{kind}List"),
                "plural": plural,
                "singular": kind.to_lowercase(),
            },
            "scope": if source.namespaced() { "Namespaced" } else { "Cluster" },
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "subresources": subresources,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}},
            }],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_definition() {
        for (group, config) in [
            (Group::Crd, "ipamconfigs.crd.projectcalico.org"),
            (Group::Native, "ipamconfigurations.projectcalico.org"),
        ] {
            let definitions = definitions(group);
            let names: Vec<&str> = definitions
                .iter()
                .filter_map(|d| d["metadata"]["name"].as_str())
                .collect();
            assert!(names.contains(&config), "{names:?}");
            assert!(names.contains(&"peerpolicies.selvedge.dev"), "{names:?}");
            assert!(!names.iter().any(|n| n.starts_with("nodes.")), "{names:?}");
        }
    }
}
