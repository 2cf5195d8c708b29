//! `datastore migrate export` as calicoctl has it, and reading it: list after list what Kubernetes' API can hold, without what belongs
//! to the old cluster; `===`, ClusterInformation; `===`, what address management stores.
//!
//! The lists before the nodes are as captured from calicoctl; what follows them is as calico-compat §5.8 tells it. BGPFilters and
//! IPReservations, which calicoctl's list has not, come last, so that they are not lost. The names of the fields in the last part were not
//! seen: they are ours.

use resource::validate::validate;
use resource::{Entry, Key, KeyPrefix, Kind, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::block_on;

use crate::client::{self, Client};
use crate::command::Persona;
use crate::world::{Failure, World};
use crate::{documents, yaml};

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
/// With names of nodes in them.
const NODES: [&str; 3] = ["nodes", "bgpconfigurations", "felixconfigurations"];
/// Not in calicoctl's export, and printed where there are any.
const OURS: [&str; 2] = ["bgpfilters", "ipreservations"];
/// What belongs to the old cluster: Kubernetes makes it anew of its pods and namespaces, or nodes write it.
const LEFT_OUT: [&str; 5] = [
    "workloadendpoints",
    "profiles",
    "ipamconfigurations",
    "caliconodestatuses",
    "nodesessions",
];
const BETWEEN: &str = "===\n";

/// One value of address management.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    key: String,
    value: Value,
}

/// The last part.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IpamPart {
    ipam: Vec<Stored>,
}

/// Prints the lists, ClusterInformation and address management's values. What the form has no place for is named on stderr.
///
/// # Errors
/// The first node that Kubernetes does not know, after the lists before the nodes; the store's.
pub fn export<S: Store + Sync>(
    client: &Client<'_, S>,
    store: &S,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let list = |kind| client.list(kind, None).map_err(Failure::message);
    let (nodes, _) = list(Kind::Node)?;
    let refusal = nodes.iter().find_map(refusal);
    for kind in BEFORE_NODES.into_iter().filter_map(Kind::from_plural) {
        print_list(kind, list(kind)?, world)?;
    }
    if let Some(text) = refusal {
        return Err(Failure::message(text));
    }
    for kind in NODES.into_iter().filter_map(Kind::from_plural) {
        print_list(kind, list(kind)?, world)?;
    }
    for kind in OURS.into_iter().filter_map(Kind::from_plural) {
        let found = list(kind)?;
        if !found.0.is_empty() {
            print_list(kind, found, world)?;
        }
    }
    let mut information = client
        .get(Kind::ClusterInformation, None, "default")
        .map_err(Failure::message)?;
    strip(&mut information);
    world.print(format_args!(
        "{BETWEEN}{}{BETWEEN}",
        yaml::write(&information)
    ))?;
    let listing = block_on(store.list(&KeyPrefix::All)).map_err(Failure::message)?;
    let (resources, ipam): (Vec<Entry>, Vec<Entry>) = listing
        .entries
        .into_iter()
        .filter(|entry| !matches!(entry.key, Key::Lease(_)))
        .partition(|entry| matches!(entry.key, Key::Resource { .. }));
    name_left_out(&resources, world);
    let part = IpamPart {
        ipam: ipam.into_iter().map(stored).collect::<Result<_, _>>()?,
    };
    let text = serde_json::to_string_pretty(&part).expect("texts and numbers are JSON");
    world.print(format_args!("{text}\n"))
}

/// Why a node cannot be moved: Kubernetes knows it not at all, or under another name.
fn refusal(node: &Value) -> Option<String> {
    let name = node["metadata"]["name"].as_str().unwrap_or_default();
    let references = node["spec"]["orchRefs"].as_array();
    let reference = references.and_then(|all| all.iter().find(|r| r["orchestrator"] == "k8s"));
    let Some(reference) = reference else {
        return Some(format!(
            "unable to process metadata for export for Node resource: node {name} missing a 'k8s' orchestrator reference. Unable to export data unless every node has a 'k8s' orchestrator reference"
        ));
    };
    let other = reference["nodeName"]
        .as_str()
        .filter(|other| *other != name)?;
    Some(format!(
        "unable to process metadata for export for Node resource: node {name} is Kubernetes' node {other}, and is not renamed here. Start its agent with NODENAME={other} first"
    ))
}

fn strip(item: &mut Value) {
    if let Some(Value::Object(metadata)) = item.get_mut("metadata") {
        for field in ["uid", "resourceVersion", "creationTimestamp"] {
            metadata.shift_remove(field);
        }
    }
}

fn print_list(
    kind: Kind,
    (mut items, revision): (Vec<Value>, u64),
    world: &mut World<'_>,
) -> Result<(), Failure> {
    items.iter_mut().for_each(strip);
    if kind == Kind::Tier {
        let order = |tier: &Value| tier["spec"]["order"].as_f64().unwrap_or(f64::INFINITY);
        items.sort_by(|a, b| order(a).total_cmp(&order(b)));
    }
    let value = json!({
        "kind": format!("{kind}List"),
        "apiVersion": kind.api_version(),
        "metadata": {"resourceVersion": revision.to_string()},
        "items": items,
    });
    world.print(format_args!("{}---\n", yaml::write(&value)))
}

fn stored(entry: Entry) -> Result<Stored, Failure> {
    // Of old an affinity may be empty, which is a confirmed one.
    let text = match entry.value.trim() {
        "" => "{}",
        text => text,
    };
    let key = entry.key.path();
    let value = serde_json::from_str(text)
        .map_err(|error| Failure::message(format!("{key} cannot be read: {error}")))?;
    Ok(Stored { key, value })
}

/// Says how many objects of which kinds do not come along.
fn name_left_out(resources: &[Entry], world: &mut World<'_>) {
    let of = |kind: Kind| {
        let is = |e: &&Entry| matches!(&e.key, Key::Resource { kind: k, .. } if *k == kind);
        resources.iter().filter(is).count()
    };
    let ours = Kind::ALL
        .iter()
        .copied()
        .filter(|k| k.is_ours() || k.is_kubernetes());
    let mut kinds: Vec<Kind> = LEFT_OUT.into_iter().filter_map(Kind::from_plural).collect();
    kinds.extend(ours.filter(|kind| *kind != Kind::NodeSessions));
    let counts = kinds.into_iter().map(|kind| (kind, of(kind)));
    let named: Vec<String> = counts
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    if !named.is_empty() {
        let _ = writeln!(
            world.stderr,
            "not exported, since calicoctl's form has no place for it: {}",
            named.join(", ")
        );
    }
}

/// Whether a file is of this form.
pub fn is_calicoctl(text: &str) -> bool {
    text.starts_with("apiVersion:") || text.starts_with("===")
}

/// What a file of this form stands for, each resource with a new uid and time.
///
/// # Errors
/// What is wrong with it: a part that is missing, a document that is none, a resource that is not valid.
pub fn read(text: &str, world: &World<'_>) -> Result<Vec<Entry>, String> {
    let parts: Vec<&str> = text.split(&format!("\n{BETWEEN}")).collect();
    let [lists, information, ipam] = parts.as_slice() else {
        return Err(format!(
            "it has {} parts, and three belong between lines of ===: it was cut off",
            parts.len()
        ));
    };
    let mut entries = Vec::new();
    for part in [information, lists] {
        // A list that ends the part leaves an empty document.
        let part = part.trim_end().trim_end_matches("---");
        for document in documents::read_all(part, Persona::Selvedge)? {
            entries.push(entry(&document, world)?);
        }
    }
    let ipam: IpamPart =
        serde_json::from_str(ipam).map_err(|e| format!("the part of address management: {e}"))?;
    for stored in ipam.ipam {
        let key = Key::from_path(&stored.key)
            .filter(|key| !matches!(key, Key::Resource { .. }))
            .ok_or_else(|| format!("this version does not know what {} is", stored.key))?;
        entries.push(Entry {
            key,
            value: stored.value.to_string(),
            revision: 0,
        });
    }
    Ok(entries)
}

fn entry(document: &documents::Document, world: &World<'_>) -> Result<Entry, String> {
    let mut object = client::object(document)??;
    let stamp = client::stamp(world)?;
    let metadata = object.metadata_mut();
    metadata.uid = Some(stamp.uid);
    metadata.creation_timestamp = Some(stamp.now_rfc3339);
    metadata.resource_version = None;
    let key = object.key();
    validate(&object).map_err(|error| format!("{key}: {error}"))?;
    Ok(Entry {
        key,
        value: object.to_stored(),
        revision: 0,
    })
}
