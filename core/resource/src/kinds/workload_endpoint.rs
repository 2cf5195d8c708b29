//! WorkloadEndpoint (calico-compat §1.9).

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::kinds::WorkloadEndpointName;
use crate::spec::Others;
use crate::validate::FieldError;
use crate::validate::checks::{
    Checks, is_cidr, is_interface, is_ip, is_ipv4, is_ipv6, is_mac, is_name,
};
use crate::{Kind, NoStatus, Object, Spec};

/// One interface of one workload.
pub type WorkloadEndpoint = Object<WorkloadEndpointSpec>;

/// Who it is, where it is attached, which addresses it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadEndpointSpec {
    /// `k8s` or `cni`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub orchestrator: String,
    /// Workload, where the orchestrator has such a name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub workload: String,
    /// The node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// The sandbox.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "containerID"
    )]
    pub container_id: String,
    /// The pod.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// The interface inside, `eth0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// The pod's service account.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service_account_name: String,
    /// Addresses, /32 or /128.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_networks: Vec<String>,
    /// Addresses outside that stand for one inside.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "ipNATs")]
    pub ip_nats: Vec<IpNat>,
    /// Gateway that the workload sees.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "ipv4Gateway"
    )]
    pub ipv4_gateway: String,
    /// Gateway that the workload sees.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "ipv6Gateway"
    )]
    pub ipv6_gateway: String,
    /// Profiles, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// The interface on the host (`cali...`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interface_name: String,
    /// MAC inside.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Named ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<WorkloadEndpointPort>,
    /// Ranges from which it may send though they are not its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_spoofed_source_prefixes: Vec<String>,
    /// Limits of bandwidth, packets and connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos_controls: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A one-to-one translation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpNat {
    /// The workload's address.
    #[serde(default, rename = "internalIP")]
    pub internal_ip: String,
    /// The address outside.
    #[serde(default, rename = "externalIP")]
    pub external_ip: String,
}

/// A named port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadEndpointPort {
    /// Name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    #[serde(default)]
    pub protocol: String,
    /// Number.
    #[serde(default)]
    pub port: u16,
    /// Port on the host; none is written as 0, as Calico does.
    #[serde(default, with = "zero_is_none")]
    pub host_port: Option<u16>,
    /// Address on the host; written also when empty.
    #[serde(default, rename = "hostIP")]
    pub host_ip: String,
}

mod zero_is_none {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(port: &Option<u16>, s: S) -> Result<S::Ok, S::Error> {
        port.unwrap_or(0).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u16>, D::Error> {
        Ok(Option::deserialize(d)?.filter(|port| *port != 0))
    }
}

impl Spec for WorkloadEndpointSpec {
    const KIND: Kind = Kind::WorkloadEndpoint;
    type Status = NoStatus;

    fn set_defaults(endpoint: &mut WorkloadEndpoint) {
        set_defaults(endpoint);
    }

    fn validate(endpoint: &WorkloadEndpoint) -> Vec<FieldError> {
        rules(endpoint)
    }

    fn check(
        endpoint: &WorkloadEndpoint,
        _stored: Option<&WorkloadEndpoint>,
        _others: &Others<'_>,
    ) -> Vec<FieldError> {
        name(endpoint)
    }
}

const NAMESPACE_LABEL: &str = "projectcalico.org/namespace";
const ORCHESTRATOR_LABEL: &str = "projectcalico.org/orchestrator";

fn rules(endpoint: &WorkloadEndpoint) -> Vec<FieldError> {
    let spec = &endpoint.spec;
    let mut checks = Checks::default();
    checks.tag("Node", &spec.node, "name", is_name);
    checks.tag("ContainerID", &spec.container_id, "containerID", |v| {
        let ends = |c: char| c.is_ascii_alphanumeric();
        v.starts_with(ends) && v.ends_with(ends) && v.chars().all(|c| ends(c) || c == '-')
    });
    for network in &spec.ip_networks {
        checks.tag("IPNetworks", network, "net", |v| {
            is_ip(v)
                || v.parse::<IpNet>()
                    .is_ok_and(|n| n.prefix_len() == n.max_prefix_len())
        });
    }
    for nat in &spec.ip_nats {
        checks.tag("InternalIP", &nat.internal_ip, "ip", is_ip);
        checks.tag("ExternalIP", &nat.external_ip, "ip", is_ip);
    }
    checks.tag("IPv4Gateway", &spec.ipv4_gateway, "ipv4", is_ipv4);
    checks.tag("IPv6Gateway", &spec.ipv6_gateway, "ipv6", is_ipv6);
    checks.required("InterfaceName", &spec.interface_name);
    checks.tag(
        "InterfaceName",
        &spec.interface_name,
        "interface",
        is_interface,
    );
    checks.tag("MAC", &spec.mac, "mac", is_mac);
    for prefix in &spec.allow_spoofed_source_prefixes {
        checks.tag("AllowSpoofedSourcePrefixes", prefix, "cidr", is_cidr);
    }
    for port in &spec.ports {
        if port.port == 0 {
            checks.fields.push(FieldError::tag("Port", "0", "gt"));
        }
        checks.required("Protocol", &port.protocol);
        checks.tag("HostIP", &port.host_ip, "ip", is_ip);
    }
    checks.fields
}

/// The name must be the one that the spec gives.
fn name(endpoint: &WorkloadEndpoint) -> Vec<FieldError> {
    match WorkloadEndpointName::of(&endpoint.spec) {
        Err(error) => vec![FieldError::without_value(error.field, error.reason)],
        Ok(name) if name.to_string() != endpoint.metadata.name => vec![FieldError::new(
            "Name",
            &endpoint.metadata.name,
            format!(
                "the WorkloadEndpoint name does not match the primary identifiers assigned in the Spec: expected name {name}"
            ),
        )],
        Ok(_) => Vec::new(),
    }
}

/// The name where there is none, and the labels that say where it belongs.
fn set_defaults(endpoint: &mut WorkloadEndpoint) {
    if endpoint.metadata.name.is_empty()
        && let Ok(name) = WorkloadEndpointName::of(&endpoint.spec)
    {
        endpoint.metadata.name = name.to_string();
    }
    let namespace = endpoint.metadata.namespace.clone().unwrap_or_default();
    let orchestrator = endpoint.spec.orchestrator.clone();
    for (label, value) in [
        (NAMESPACE_LABEL, namespace),
        (ORCHESTRATOR_LABEL, orchestrator),
    ] {
        endpoint.metadata.labels.insert(label.to_string(), value);
    }
}
