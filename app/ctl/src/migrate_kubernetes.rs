//! `datastore migrate export` as calicoctl has it, and reading it: list after list what Kubernetes' API can hold, without what belongs
//! to the old cluster; `===`, ClusterInformation; `===`, what address management stores. As captured from calicoctl 3.32.1.
//!
//! A node that Kubernetes knows under another name is renamed, and with it what address management has of it.

use std::collections::BTreeMap;

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
/// With names of nodes in their own names, and what follows them.
const NODES_AND_AFTER: [&str; 5] = [
    "nodes",
    "bgpconfigurations",
    "felixconfigurations",
    "ipreservations",
    "bgpfilters",
];
/// What belongs to the old cluster: Kubernetes makes it anew of its pods and namespaces, or nodes write it.
const LEFT_OUT: [&str; 5] = [
    "workloadendpoints",
    "profiles",
    "ipamconfigurations",
    "caliconodestatuses",
    "nodesessions",
];
const BETWEEN: &str = "===\n";
/// Between the kind of a tunnel and the node whose address it is, in the name of a handle.
const TUNNEL: &str = "-tunnel-addr-";

/// One value of address management.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Stored {
    key: String,
    value: Value,
    #[serde(rename = "TTL")]
    ttl: u64,
}

/// The last part.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IpamPart {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    block_affinities: Vec<Stored>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    blocks: Vec<Stored>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    handles: Vec<Stored>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<Stored>,
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
    let names = new_names(&list(Kind::Node)?.0);
    for kind in BEFORE_NODES.into_iter().filter_map(Kind::from_plural) {
        print_list(kind, list(kind)?, &BTreeMap::new(), world)?;
    }
    let names = names.map_err(Failure::message)?;
    for kind in NODES_AND_AFTER.into_iter().filter_map(Kind::from_plural) {
        print_list(kind, list(kind)?, &names, world)?;
    }
    let information = client
        .get(Kind::ClusterInformation, None, "default")
        .map_err(Failure::message)?;
    let listing = block_on(store.list(&KeyPrefix::All)).map_err(Failure::message)?;
    name_left_out(&listing.entries, world);
    world.print(format_args!(
        "{BETWEEN}{}\n{BETWEEN}{}\n",
        pretty(&information),
        pretty(&ipam_part(&listing.entries, &names)?)
    ))
}

fn pretty<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).expect("texts and numbers are JSON")
}

/// The names that nodes have in Kubernetes, where these are others.
///
/// # Errors
/// A node that Kubernetes does not know.
fn new_names(nodes: &[Value]) -> Result<BTreeMap<String, String>, String> {
    let mut names = BTreeMap::new();
    for node in nodes {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        let references = node["spec"]["orchRefs"].as_array();
        let reference = references.and_then(|all| all.iter().find(|r| r["orchestrator"] == "k8s"));
        let Some(reference) = reference else {
            return Err(format!(
                "unable to process metadata for export for Node resource: node {name} missing a 'k8s' orchestrator reference. Unable to export data unless every node has a 'k8s' orchestrator reference"
            ));
        };
        let other = reference["nodeName"].as_str().unwrap_or_default();
        if other != name {
            names.insert(name.to_string(), other.to_string());
        }
    }
    Ok(names)
}

/// The new name of a node, or of a node's configuration.
fn renamed(kind: Kind, name: &str, names: &BTreeMap<String, String>) -> Option<String> {
    match kind {
        Kind::Node => names.get(name).cloned(),
        Kind::BgpConfiguration | Kind::FelixConfiguration => {
            let new = names.get(name.strip_prefix("node.")?)?;
            Some(format!("node.{new}"))
        }
        _ => None,
    }
}

/// What address management stores, with the nodes' new names.
fn ipam_part(entries: &[Entry], names: &BTreeMap<String, String>) -> Result<IpamPart, Failure> {
    let mut part = IpamPart::default();
    for entry in entries {
        match &entry.key {
            Key::BlockAffinity { host, cidr } => {
                let key = Key::BlockAffinity {
                    host: names.get(host).unwrap_or(host).clone(),
                    cidr: *cidr,
                };
                part.block_affinities.push(stored(&key, entry)?);
            }
            Key::Block(_) => {
                let mut block = stored(&entry.key, entry)?;
                rename_in_block(&mut block.value, names);
                part.blocks.push(block);
            }
            Key::Handle(handle) => {
                let key = Key::Handle(handle_of(handle, names));
                part.handles.push(stored(&key, entry)?);
            }
            Key::IpamConfig => part.config = Some(stored(&entry.key, entry)?),
            Key::Resource { .. } | Key::VirtualAffinity { .. } | Key::Lease(_) => {}
        }
    }
    Ok(part)
}

fn rename_in_block(block: &mut Value, names: &BTreeMap<String, String>) {
    let host = block["affinity"]
        .as_str()
        .and_then(|a| a.strip_prefix("host:"));
    if let Some(new) = host.and_then(|host| names.get(host)) {
        block["affinity"] = format!("host:{new}").into();
    }
    let attributes = block.get_mut("attributes").and_then(Value::as_array_mut);
    for attribute in attributes.into_iter().flatten() {
        if let Some(handle) = attribute["handle_id"].as_str() {
            attribute["handle_id"] = handle_of(handle, names).into();
        }
        let node = attribute["secondary"]["node"].as_str();
        if let Some(new) = node.and_then(|node| names.get(node)) {
            attribute["secondary"]["node"] = new.clone().into();
        }
    }
}

/// A handle's name; that of a node's tunnel has the node's name in it.
fn handle_of(handle: &str, names: &BTreeMap<String, String>) -> String {
    let tunnel = handle.split_once(TUNNEL);
    let new = tunnel.and_then(|(kind, node)| Some((kind, names.get(node)?)));
    new.map_or(handle.to_string(), |(kind, node)| {
        format!("{kind}{TUNNEL}{node}")
    })
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
    names: &BTreeMap<String, String>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    for item in &mut items {
        strip(item);
        let name = item["metadata"]["name"].as_str().unwrap_or_default();
        let new = renamed(kind, name, names);
        if let Some(new) = new {
            item["metadata"]["name"] = new.into();
        }
    }
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

fn stored(key: &Key, entry: &Entry) -> Result<Stored, Failure> {
    let key = key.path();
    // Of old an affinity may be empty.
    let value = match entry.value.trim() {
        "" => json!({"state": "", "deleted": false}),
        text => serde_json::from_str(text)
            .map_err(|error| Failure::message(format!("{key} cannot be read: {error}")))?,
    };
    Ok(Stored { key, value, ttl: 0 })
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
    let is_claim = |e: &&Entry| matches!(e.key, Key::VirtualAffinity { .. });
    let claims = resources.iter().filter(is_claim).count();
    let named: Vec<String> = counts
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{count} {kind}"))
        .chain((claims > 0).then(|| format!("{claims} claim(s) of blocks by what is no node")))
        .collect();
    if !named.is_empty() {
        let _ = writeln!(
            world.stderr,
            "not exported, since calicoctl's form has no place for it: {}",
            named.join(", ")
        );
    }
}

/// Makes of each node what is to be written over Kubernetes' own, whose name and labels it keeps. A node that Kubernetes does not have is
/// taken out; what calicoctl says of each is returned.
pub fn onto_nodes<S: Store>(
    store: &S,
    entries: &mut Vec<Entry>,
    there: &BTreeMap<String, Entry>,
) -> Vec<String> {
    let mut skipped = Vec::new();
    entries.retain_mut(|entry| {
        let is_information = matches!(&entry.key, Key::Resource { kind: Kind::ClusterInformation, .. });
        if is_information && store.is_kubernetes() {
            // As calicoctl makes it there.
            let mut information: Value = serde_json::from_str(&entry.value).unwrap_or_default();
            information["spec"]["clusterType"] = "kdd".into();
            entry.value = information.to_string();
        }
        let is_node = matches!(&entry.key, Key::Resource { kind: Kind::Node, .. });
        if !is_node || store.cannot_hold(entry).is_none() {
            return true;
        }
        let Some(old) = there.get(&entry.key.path()) else {
            skipped.push(format!(
                "[WARNING] Attempted to import node {} from etcd that references a nonexistent Kubernetes node. Skipping that node. Non-Kubernetes nodes are not supported in the Kubernetes datastore and will be skipped.",
                entry.key
            ));
            return false;
        };
        let mut node: Value = serde_json::from_str(&old.value).unwrap_or_default();
        let new: Value = serde_json::from_str(&entry.value).unwrap_or_default();
        node["spec"] = new["spec"].clone();
        for (name, value) in new["metadata"]["labels"].as_object().into_iter().flatten() {
            node["metadata"]["labels"][name.as_str()] = value.clone();
        }
        entry.value = node.to_string();
        true
    });
    skipped
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
    let lists = [ipam.block_affinities, ipam.blocks, ipam.handles];
    for stored in lists.into_iter().flatten().chain(ipam.config) {
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
