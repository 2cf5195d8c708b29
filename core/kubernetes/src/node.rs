//! A Node, which is annotations on Kubernetes' own (calico-compat §3.3).
//!
//! Calico's labels and annotations are JSON in an annotation each. The labels that people see are those and Kubernetes' over them; a
//! synthetic annotation says which ones are Kubernetes', so that a write leaves them alone. Addresses, names and the ranges of pods
//! are read from what Kubernetes says, and never written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use resource::Metadata;
use resource::kinds::{
    Node, NodeAddress, NodeBgpSpec, NodeSpec, NodeWireguardSpec, OrchRef, as_number,
};
use resource::validate::is_mac;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::annotations::Reader;
use crate::metadata::{metadata, part};

const AS_NUMBER: &str = "projectcalico.org/ASNumber";
const INTERFACES: &str = "projectcalico.org/Interfaces";
const LABELS: &str = "projectcalico.org/labels";
const ANNOTATIONS: &str = "projectcalico.org/annotations";
/// On Calico's view alone: Kubernetes' labels.
const KUBE_LABELS: &str = "projectcalico.org/kube-labels";

/// A text that has an annotation of its own.
struct Field {
    annotation: &'static str,
    form: Form,
    at: fn(&mut Node) -> &mut String,
}

/// What such a text must be.
#[derive(Clone, Copy)]
enum Form {
    NetworkV4,
    NetworkV6,
    AddressV4,
    AddressV6,
    Mac,
    Text,
}

#[rustfmt::skip]
const FIELDS: [Field; 12] = [
    field("projectcalico.org/IPv4Address", Form::NetworkV4, |n| &mut bgp(n).ipv4_address),
    field("projectcalico.org/IPv6Address", Form::NetworkV6, |n| &mut bgp(n).ipv6_address),
    field("projectcalico.org/IPv4IPIPTunnelAddr", Form::AddressV4, |n| &mut bgp(n).ipv4_ipip_tunnel_addr),
    field("projectcalico.org/RouteReflectorClusterID", Form::AddressV4, |n| &mut bgp(n).route_reflector_cluster_id),
    field("projectcalico.org/IPv4VXLANTunnelAddr", Form::AddressV4, |n| &mut n.spec.ipv4_vxlan_tunnel_addr),
    field("projectcalico.org/VXLANTunnelMACAddr", Form::Mac, |n| &mut n.spec.vxlan_tunnel_mac_addr),
    field("projectcalico.org/IPv6VXLANTunnelAddr", Form::AddressV6, |n| &mut n.spec.ipv6_vxlan_tunnel_addr),
    field("projectcalico.org/VXLANTunnelMACAddrV6", Form::Mac, |n| &mut n.spec.vxlan_tunnel_mac_addr_v6),
    field("projectcalico.org/IPv4WireguardInterfaceAddr", Form::AddressV4, |n| &mut wireguard(n).interface_ipv4_address),
    field("projectcalico.org/IPv6WireguardInterfaceAddr", Form::AddressV6, |n| &mut wireguard(n).interface_ipv6_address),
    field("projectcalico.org/WireguardPublicKey", Form::Text, |n| &mut n.status.wireguard_public_key),
    field("projectcalico.org/WireguardPublicKeyV6", Form::Text, |n| &mut n.status.wireguard_public_key_v6),
];

const fn field(annotation: &'static str, form: Form, at: fn(&mut Node) -> &mut String) -> Field {
    Field {
        annotation,
        form,
        at,
    }
}

fn bgp(node: &mut Node) -> &mut NodeBgpSpec {
    node.spec.bgp.get_or_insert_default()
}

fn wireguard(node: &mut Node) -> &mut NodeWireguardSpec {
    node.spec.wireguard.get_or_insert_default()
}

impl Form {
    fn holds(self, text: &str) -> bool {
        match self {
            Form::NetworkV4 => text.contains('/') && text.parse::<Ipv4Net>().is_ok(),
            Form::NetworkV6 => text.contains('/') && text.parse::<Ipv6Net>().is_ok(),
            Form::AddressV4 => text.parse::<Ipv4Addr>().is_ok(),
            Form::AddressV6 => text.parse::<Ipv6Addr>().is_ok(),
            Form::Mac => is_mac(text),
            Form::Text => true,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Form::NetworkV4 => "an IPv4 address with its prefix length",
            Form::NetworkV6 => "an IPv6 address with its prefix length",
            Form::AddressV4 => "an IPv4 address",
            Form::AddressV6 => "an IPv6 address",
            Form::Mac => "a MAC address",
            Form::Text => "a text",
        }
    }

    /// As the annotation has it: a network of one address says so.
    fn write(self, text: &str) -> Result<String, String> {
        let text = match (self, text.parse::<IpAddr>()) {
            (Form::NetworkV4 | Form::NetworkV6, Ok(address)) => IpNet::from(address).to_string(),
            _ => text.to_string(),
        };
        if self.holds(&text) {
            Ok(text)
        } else {
            Err(format!("{text:?} is not {}", self.what()))
        }
    }
}

/// The part of Kubernetes' Node that Calico's is read from.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct KubernetesSpec {
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct KubernetesStatus {
    addresses: Vec<NodeAddress>,
}

/// Calico's Node, as it is stored.
///
/// # Errors
/// What is wrong with the object itself. An annotation that is not valid is as if it were not there; see [`ignored`].
pub fn read(object: &Value) -> Result<String, String> {
    Ok(parse(object)?.0.to_stored())
}

/// The annotations that are not valid, with what they should be: for the log.
pub fn ignored(object: &Value) -> Vec<String> {
    parse(object).map_or_else(|_| Vec::new(), |(_, ignored)| ignored)
}

/// What makes Kubernetes' Node, which is `current`, say what Calico's says: a merge patch of its status. A null takes an annotation
/// away; where nothing is to change there are none.
///
/// # Errors
/// What is wrong with the document, or with the object.
pub fn patch(document: &str, current: &Value) -> Result<Value, String> {
    let node = Node::from_json(document).map_err(|e| format!("it is no Node: {e}"))?;
    let wanted = annotations(node)?;
    let present = annotations(parse(current)?.0)?;
    let mut changes = Map::new();
    let names: BTreeSet<&str> = wanted.keys().chain(present.keys()).copied().collect();
    for name in names {
        if wanted.get(name) != present.get(name) {
            changes.insert(name.to_string(), json!(wanted.get(name)));
        }
    }
    Ok(json!({"metadata": {"annotations": changes}}))
}

/// What says whether the node's network is there, a strategic merge patch of the node's status: some clouds keep pods away until it
/// is. `time` is RFC 3339.
pub fn network_condition(up: bool, time: &str) -> Value {
    let (status, reason, message) = if up {
        ("False", "CalicoIsUp", "Calico is running on this node")
    } else {
        (
            "True",
            "CalicoIsDown",
            "Calico is shutting down on this node",
        )
    };
    json!({"status": {"conditions": [{
        "type": "NetworkUnavailable",
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": time,
        "lastTransitionTime": time,
    }]}})
}

fn parse(object: &Value) -> Result<(Node, Vec<String>), String> {
    let own = metadata(object)?;
    let mut reader = Reader::of(&own.annotations);
    let mut node = Node::new(Metadata::named(&own.name), NodeSpec::default());
    node.metadata.uid = own.uid;
    node.metadata.creation_timestamp = own.creation_timestamp;
    node.metadata.labels = reader.json(LABELS, "JSON of labels");
    node.metadata.annotations = reader.json(ANNOTATIONS, "JSON of annotations");
    node.metadata.annotations.remove(KUBE_LABELS);
    if !own.labels.is_empty() {
        let labels = json!(own.labels).to_string();
        node.metadata
            .annotations
            .insert(KUBE_LABELS.to_string(), labels);
        node.metadata.labels.extend(own.labels);
    }
    for field in FIELDS {
        let valid = |text: &str| field.form.holds(text).then(|| text.to_string());
        if let Some(text) = reader.valid(field.annotation, field.form.what(), valid) {
            *(field.at)(&mut node) = text;
        }
    }
    let number = |text: &str| as_number(Value::from(text)).ok()?;
    if let Some(number) = reader.valid(AS_NUMBER, "an AS number", number) {
        bgp(&mut node).as_number = Some(number);
    }
    node.spec.interfaces = reader.json(INTERFACES, "JSON of interfaces");
    let ignored = reader.into_ignored();
    complete(&mut node, object)?;
    Ok((node, ignored))
}

/// Fills in what is Kubernetes' to say.
fn complete(node: &mut Node, object: &Value) -> Result<(), String> {
    let spec: KubernetesSpec = part(object, "spec")?;
    let status: KubernetesStatus = part(object, "status")?;
    node.spec.orch_refs = vec![OrchRef {
        node_name: node.metadata.name.clone(),
        orchestrator: "k8s".to_string(),
    }];
    let own = node.spec.bgp.iter();
    let own = own.flat_map(|bgp| [&bgp.ipv4_address, &bgp.ipv6_address]);
    let own = own.filter(|address| !address.is_empty());
    let own = own.map(|address| NodeAddress {
        address: address.clone(),
        address_type: "CalicoNodeIP".to_string(),
    });
    let others = status
        .addresses
        .into_iter()
        .filter(|a| ["InternalIP", "ExternalIP"].contains(&a.address_type.as_str()));
    node.spec.addresses = own.chain(others).collect();
    node.status.pod_cidrs = match (spec.pod_cidrs.is_empty(), spec.pod_cidr.is_empty()) {
        (true, false) => vec![spec.pod_cidr],
        (true, true) | (false, _) => spec.pod_cidrs,
    };
    Ok(())
}

/// What the annotations of Kubernetes' Node say where it says what Calico's does.
fn annotations(mut node: Node) -> Result<BTreeMap<&'static str, String>, String> {
    let Metadata {
        mut labels,
        mut annotations,
        ..
    } = std::mem::take(&mut node.metadata);
    if let Some(text) = annotations.remove(KUBE_LABELS) {
        let owned: BTreeMap<String, String> = serde_json::from_str(&text)
            .map_err(|e| format!("its annotation {KUBE_LABELS} is no JSON of labels: {e}"))?;
        labels.retain(|label, _| !owned.contains_key(label));
    }
    let mut written = BTreeMap::new();
    for (name, texts) in [(LABELS, labels), (ANNOTATIONS, annotations)] {
        if !texts.is_empty() {
            written.insert(name, json!(texts).to_string());
        }
    }
    if let Some(number) = node.spec.bgp.as_ref().and_then(|bgp| bgp.as_number) {
        written.insert(AS_NUMBER, number.to_string());
    }
    if !node.spec.interfaces.is_empty() {
        written.insert(INTERFACES, json!(node.spec.interfaces).to_string());
    }
    for field in FIELDS {
        let text = std::mem::take((field.at)(&mut node));
        if !text.is_empty() {
            let text = field.form.write(&text);
            let text = text.map_err(|e| format!("{}: {e}", field.annotation))?;
            written.insert(field.annotation, text);
        }
    }
    Ok(written)
}
