//! `datastore migrate export` as calicoctl has it: what Kubernetes' API can hold, list after list, without what belongs to the
//! old cluster.
//!
//! Only the lists before the nodes are known from calicoctl's output; with nodes that are not Kubernetes' it ends there. What
//! follows them is not implemented, and then nothing is printed.

use resource::{Kind, Store};
use serde_json::{Value, json};

use crate::client::Client;
use crate::world::{Failure, World};
use crate::yaml;

/// The lists in calicoctl's order.
const BEFORE_NODES: [&str; 12] = [
    "ippools",
    "bgppeers",
    "tiers",
    "globalnetworkpolicies",
    "stagedglobalnetworkpolicies",
    "globalnetworksets",
    "hostendpoints",
    "kubecontrollersconfigurations",
    "networkpolicies",
    "stagednetworkpolicies",
    "stagedkubernetesnetworkpolicies",
    "networksets",
];

/// Prints the lists, and then why the nodes cannot follow.
///
/// # Errors
/// The first node that Kubernetes does not know; none such, since the rest is not here.
pub fn export<S: Store + Sync>(
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let list = |kind| client.list(kind, None).map_err(Failure::message);
    let (nodes, _) = list(Kind::Node)?;
    let foreign = nodes.iter().find(|node| {
        let references = node["spec"]["orchRefs"].as_array();
        !references.is_some_and(|all| all.iter().any(|r| r["orchestrator"] == "k8s"))
    });
    let Some(node) = foreign else {
        return Err(Failure::message(
            "calicoctl's command \"datastore migrate export\" is not implemented here yet for a cluster of Kubernetes' nodes",
        ));
    };
    for kind in BEFORE_NODES.into_iter().filter_map(Kind::from_plural) {
        let (mut items, revision) = list(kind)?;
        for item in &mut items {
            if let Some(Value::Object(metadata)) = item.get_mut("metadata") {
                for field in ["uid", "resourceVersion", "creationTimestamp"] {
                    metadata.shift_remove(field);
                }
            }
        }
        if kind.plural() == "tiers" {
            let order = |tier: &Value| tier["spec"]["order"].as_f64().unwrap_or(f64::INFINITY);
            items.sort_by(|a, b| order(a).total_cmp(&order(b)));
        }
        let value = json!({
            "kind": format!("{kind}List"),
            "apiVersion": kind.api_version(),
            "metadata": {"resourceVersion": revision.to_string()},
            "items": items,
        });
        world.print(format_args!("{}---\n", yaml::write(&value)))?;
    }
    Err(Failure::message(format!(
        "unable to process metadata for export for Node resource: node {} missing a 'k8s' orchestrator reference. Unable to export data unless every node has a 'k8s' orchestrator reference",
        node["metadata"]["name"].as_str().unwrap_or_default()
    )))
}
