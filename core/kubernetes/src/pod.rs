//! A WorkloadEndpoint, which is read from a Pod (calico-compat §3.4).
//!
//! All of it is the pod's own, but for the sandbox and the addresses: those are annotations that the plugin writes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use resource::kinds::{
    INTERFACE_PREFIX, IpNat, NumberOrName, WorkloadEndpoint, WorkloadEndpointName,
    WorkloadEndpointPort, WorkloadEndpointSpec, pod_interface,
};
use resource::{Key, Kind, Metadata};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::annotations::Reader;
use crate::metadata::{metadata, part};
use crate::profile::{name_of_namespace, name_of_service_account};
use crate::qos;
use crate::request::FLOATING_IPS;

const CONTAINER_ID: &str = "cni.projectcalico.org/containerID";
const POD_IP: &str = "cni.projectcalico.org/podIP";
const POD_IPS: &str = "cni.projectcalico.org/podIPs";
/// Amazon's plugin writes addresses there.
const AWS_POD_IPS: &str = "vpc.amazonaws.com/pod-ips";
const SOURCE_PREFIXES: &str = "cni.projectcalico.org/allowedSourcePrefixes";

const ORCHESTRATOR: &str = "k8s";
/// The interface inside; of others Kubernetes does not know.
const ENDPOINT: &str = "eth0";
/// A label's value has at most this many octets, and Calico leaves out names that have as many.
const LABEL_MAX: usize = 63;

/// The part of a Pod that an endpoint is read from.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: String,
    host_network: bool,
    service_account_name: String,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    ports: Vec<ContainerPort>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerPort {
    name: String,
    container_port: u16,
    protocol: String,
    host_port: u16,
    #[serde(rename = "hostIP")]
    host_ip: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
}

#[derive(Deserialize)]
struct PodIp {
    #[serde(default)]
    ip: String,
}

/// The endpoint that a pod has, as it would be stored, and its key. There is none while the pod has no node or no address, and for a
/// pod in its host's network. A pod that is finished has an endpoint without addresses: they are free again.
///
/// # Errors
/// What is wrong with the object. An annotation for people that is not valid is as if it were not there; see [`ignored`].
pub fn endpoints(pod: &Value) -> Result<Option<(Key, String)>, String> {
    endpoints_named(pod, INTERFACE_PREFIX)
}

/// [`endpoints`] where the interfaces of pods begin with another prefix than `cali`.
///
/// # Errors
/// As there.
pub fn endpoints_named(pod: &Value, prefix: &str) -> Result<Option<(Key, String)>, String> {
    let read = parse(pod, prefix)?;
    Ok(read.map(|(endpoint, _)| (endpoint.key(), endpoint.to_stored())))
}

/// The key of the endpoint that a pod has, had or will have; none for a pod that has no node or is in its host's network.
pub fn key(pod: &Value) -> Option<Key> {
    let own = metadata(pod).ok()?;
    let spec: PodSpec = part(pod, "spec").ok()?;
    if spec.host_network || spec.node_name.is_empty() {
        return None;
    }
    let name = WorkloadEndpointName::K8s {
        node: spec.node_name,
        pod: own.name,
        endpoint: ENDPOINT.to_string(),
    };
    Some(Key::in_namespace(
        Kind::WorkloadEndpoint,
        own.namespace?,
        name.to_string(),
    ))
}

/// The annotations of a pod that are not valid, with what they should be: for the log.
pub fn ignored(pod: &Value) -> Vec<String> {
    match parse(pod, INTERFACE_PREFIX) {
        Ok(Some((_, ignored))) => ignored,
        Ok(None) | Err(_) => Vec::new(),
    }
}

/// What writes an endpoint onto its pod: a strategic merge patch of the pod's status. Sandbox and addresses are all that is written;
/// the rest is the pod's to say.
///
/// # Errors
/// That the document is no pod's endpoint.
pub fn patch(document: &str) -> Result<Value, String> {
    let endpoint = WorkloadEndpoint::from_json(document)
        .map_err(|e| format!("it is no WorkloadEndpoint: {e}"))?;
    let spec = endpoint.spec;
    if spec.orchestrator != ORCHESTRATOR {
        return Err(format!(
            "its orchestrator is {:?}, and Kubernetes keeps endpoints of pods alone ({ORCHESTRATOR:?})",
            spec.orchestrator
        ));
    }
    Ok(json!({"metadata": {"annotations": {
        CONTAINER_ID: spec.container_id,
        POD_IP: spec.ip_networks.first().map_or("", String::as_str),
        POD_IPS: spec.ip_networks.join(","),
    }}}))
}

/// What takes an endpoint off its pod: a patch as [`patch`]'s. The sandbox stays, so that a late DEL of an older one is told from it.
pub fn removal() -> Value {
    json!({"metadata": {"annotations": {POD_IP: "", POD_IPS: ""}}})
}

/// Namespace and name of the pod whose endpoint is at a key; `None` for what Kubernetes does not keep: endpoints of other orchestrators,
/// and a pod's further interfaces.
pub fn pod_of(key: &Key) -> Option<(String, String)> {
    let Key::Resource {
        kind: Kind::WorkloadEndpoint,
        namespace: Some(namespace),
        name,
    } = key
    else {
        return None;
    };
    match WorkloadEndpointName::parse(name)? {
        WorkloadEndpointName::K8s { pod, endpoint, .. } if endpoint == ENDPOINT => {
            Some((namespace.clone(), pod))
        }
        WorkloadEndpointName::K8s { .. }
        | WorkloadEndpointName::Cni { .. }
        | WorkloadEndpointName::Libnetwork { .. }
        | WorkloadEndpointName::Other { .. } => None,
    }
}

fn parse(pod: &Value, prefix: &str) -> Result<Option<(WorkloadEndpoint, Vec<String>)>, String> {
    let own = metadata(pod)?;
    let namespace = own.namespace.clone().ok_or("it has no namespace")?;
    let (spec, status): (PodSpec, PodStatus) = (part(pod, "spec")?, part(pod, "status")?);
    if spec.host_network || spec.node_name.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader::of(&own.annotations);
    let mut networks = addresses(&status, &reader)?;
    if networks.is_empty() {
        return Ok(None);
    }
    if is_finished(pod, &own, &status) {
        networks.clear();
    }
    let container_id = reader.text(CONTAINER_ID).unwrap_or_default().to_string();
    let nats = nats(&networks, &mut reader);
    let prefixes = source_prefixes(&mut reader);
    let controls = qos::controls(&mut reader);
    let ignored = reader.into_ignored();
    let endpoint = WorkloadEndpointSpec {
        orchestrator: ORCHESTRATOR.to_string(),
        ports: ports(&spec),
        profiles: profiles(&namespace, &spec.service_account_name),
        node: spec.node_name,
        container_id,
        pod: own.name.clone(),
        endpoint: ENDPOINT.to_string(),
        service_account_name: spec.service_account_name,
        ip_networks: networks.iter().map(ToString::to_string).collect(),
        ip_nats: nats,
        interface_name: pod_interface(prefix, &namespace, &own.name),
        allow_spoofed_source_prefixes: prefixes,
        qos_controls: controls,
        ..WorkloadEndpointSpec::default()
    };
    let name = WorkloadEndpointName::of(&endpoint).map_err(|e| {
        format!(
            "an endpoint of it would have no name: {}: {}",
            e.field, e.reason
        )
    })?;
    let metadata = Metadata {
        name: name.to_string(),
        labels: labels(&own, &namespace, &endpoint.service_account_name),
        annotations: BTreeMap::new(),
        ..own
    };
    Ok(Some((WorkloadEndpoint::new(metadata, endpoint), ignored)))
}

/// The addresses of a pod: the plugin's annotations first, since the kubelet is later with its own.
fn addresses(status: &PodStatus, reader: &Reader<'_>) -> Result<Vec<IpNet>, String> {
    let annotation = [POD_IPS, POD_IP, AWS_POD_IPS]
        .into_iter()
        .find_map(|name| Some((name, reader.text(name)?)));
    if let Some((name, text)) = annotation {
        let parsed = text.split(',').map(|part| {
            address(part.trim())
                .ok_or_else(|| format!("annotation {name}: {part:?} is not an address"))
        });
        return parsed.collect();
    }
    let all = status.pod_ips.iter().map(|address| &address.ip);
    let mut all: Vec<&String> = all.filter(|ip| !ip.is_empty()).collect();
    if all.is_empty() && !status.pod_ip.is_empty() {
        all.push(&status.pod_ip);
    }
    let parsed = all
        .into_iter()
        .map(|text| address(text).ok_or_else(|| format!("its status: {text:?} is not an address")));
    parsed.collect()
}

/// An address with or without a length, which then is its whole.
fn address(text: &str) -> Option<IpNet> {
    let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(one)
}

/// Whether a pod has given its addresses back: it has run to its end, or it is being deleted and the plugin has taken it down.
fn is_finished(pod: &Value, own: &Metadata, status: &PodStatus) -> bool {
    let ended = ["Failed", "Succeeded", "Completed"].contains(&status.phase.as_str());
    let deleted = pod["metadata"].get("deletionTimestamp");
    let deleted = deleted.is_some_and(|time| !time.is_null());
    let taken_down = own.annotations.get(POD_IP).is_some_and(String::is_empty);
    ended || deleted && taken_down
}

fn labels(own: &Metadata, namespace: &str, account: &str) -> BTreeMap<String, String> {
    let mut labels = own.labels.clone();
    let mut set = |label: &str, value: &str| {
        labels.insert(format!("projectcalico.org/{label}"), value.to_string());
    };
    set("namespace", namespace);
    set("orchestrator", ORCHESTRATOR);
    if !account.is_empty() && account.len() < LABEL_MAX {
        set("serviceaccount", account);
    }
    labels
}

fn profiles(namespace: &str, account: &str) -> Vec<String> {
    let mut profiles = vec![name_of_namespace(namespace)];
    if !account.is_empty() {
        profiles.push(name_of_service_account(namespace, account));
    }
    profiles
}

/// The ports that have a name or are open on the host.
fn ports(spec: &PodSpec) -> Vec<WorkloadEndpointPort> {
    let containers = spec.containers.iter().chain(&spec.init_containers);
    let ports = containers.flat_map(|container| &container.ports);
    let of_use = |port: &&ContainerPort| {
        port.container_port != 0 && (port.host_port != 0 || !port.name.is_empty())
    };
    ports.filter(of_use).filter_map(endpoint_port).collect()
}

/// `None` for a protocol that Calico does not know.
fn endpoint_port(port: &ContainerPort) -> Option<WorkloadEndpointPort> {
    let protocol = match port.protocol.as_str() {
        "" => "TCP",
        known @ ("TCP" | "UDP" | "SCTP") => known,
        _ => return None,
    };
    Some(WorkloadEndpointPort {
        name: port.name.clone(),
        protocol: NumberOrName::Name(protocol.to_string()),
        port: port.container_port,
        host_port: Some(port.host_port).filter(|port| *port != 0),
        host_ip: port.host_ip.clone(),
    })
}

/// The addresses outside that stand for the pod's own of their family.
fn nats(networks: &[IpNet], reader: &mut Reader<'_>) -> Vec<IpNat> {
    let floating: Vec<IpAddr> = reader.json(FLOATING_IPS, "a JSON list of addresses");
    let mut nats = Vec::new();
    for external in floating {
        let inside = networks.iter().map(IpNet::addr);
        match inside
            .into_iter()
            .find(|ip| ip.is_ipv4() == external.is_ipv4())
        {
            Some(internal) => nats.push(IpNat {
                internal_ip: internal.to_string(),
                external_ip: external.to_string(),
            }),
            // Without any it is on its way in or out.
            None if networks.is_empty() => (),
            None => reader.ignore(
                FLOATING_IPS,
                &format!("has {external}, and the pod has no address of its family"),
            ),
        }
    }
    nats
}

/// The ranges from which a pod may send though they are not its own, in their masked form.
fn source_prefixes(reader: &mut Reader<'_>) -> Vec<String> {
    let prefixes: Vec<IpNet> = reader.json(SOURCE_PREFIXES, "a JSON list of networks");
    prefixes.iter().map(|net| net.trunc().to_string()).collect()
}
