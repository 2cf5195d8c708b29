//! WorkloadEndpoint (calico-compat §1.9).

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::forms::{NumberOrName, Protocol};
use super::rule::is_protocol;
use crate::kinds::WorkloadEndpointName;
use crate::spec::Others;
use crate::validate::FieldError;
use crate::validate::checks::{
    Checks, go_list, is_cidr, is_interface, is_ip, is_ipv4, is_ipv6, is_mac, is_name, is_net,
    is_port_name,
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
    pub qos_controls: Option<QosControls>,
}

/// Limits of a workload's traffic; 0 is as none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, rename = "QoSControls")]
pub struct QosControls {
    /// Bits a second that it gets.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ingress_bandwidth: i64,
    /// Bits that may come at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ingress_burst: i64,
    /// Bits a second of a burst.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ingress_peakrate: i64,
    /// Octets that may come at once at that rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ingress_minburst: i64,
    /// Bits a second that it sends.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub egress_bandwidth: i64,
    /// Bits that may go at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub egress_burst: i64,
    /// Bits a second of a burst.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub egress_peakrate: i64,
    /// Octets that may go at once at that rate.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub egress_minburst: i64,
    /// Packets a second that it gets.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ingress_packet_rate: i64,
    /// Packets that may come at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ingress_packet_burst: i64,
    /// Packets a second that it sends.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub egress_packet_rate: i64,
    /// Packets that may go at once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub egress_packet_burst: i64,
    /// Connections to it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ingress_max_connections: i64,
    /// Connections of its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub egress_max_connections: i64,
    /// Differentiated services code point of what it sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dscp: Option<NumberOrName>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn no_protocol() -> Protocol {
    Protocol::Number(0)
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadEndpointPort {
    /// Name; written also when empty.
    #[serde(default)]
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    #[serde(default = "no_protocol")]
    pub protocol: Protocol,
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
    for (field, value) in [
        ("Orchestrator", &spec.orchestrator),
        ("Workload", &spec.workload),
        ("Node", &spec.node),
    ] {
        checks.tag(field, value, "name", is_name);
    }
    checks.tag("ContainerID", &spec.container_id, "containerID", |v| {
        let ends = |c: char| c.is_ascii_alphanumeric();
        v.starts_with(ends) && v.ends_with(ends) && v.chars().all(|c| ends(c) || c == '-')
    });
    for (field, value) in [
        ("Pod", &spec.pod),
        ("Endpoint", &spec.endpoint),
        ("ServiceAccountName", &spec.service_account_name),
    ] {
        checks.tag(field, value, "name", is_name);
    }
    for (i, network) in spec.ip_networks.iter().enumerate() {
        checks.item("IPNetworks", i, network, "net", is_net);
    }
    for nat in &spec.ip_nats {
        checks.tag("InternalIP", &nat.internal_ip, "ip", is_ip);
        checks.tag("ExternalIP", &nat.external_ip, "ip", is_ip);
        nat_families(nat, &mut checks);
    }
    checks.tag("IPv4Gateway", &spec.ipv4_gateway, "ipv4", is_ipv4);
    checks.tag("IPv6Gateway", &spec.ipv6_gateway, "ipv6", is_ipv6);
    for (i, profile) in spec.profiles.iter().enumerate() {
        checks.item("Profiles", i, profile, "name", is_name);
    }
    let interface = &spec.interface_name;
    if interface != "*" && !is_interface(interface) {
        checks
            .fields
            .push(FieldError::tag("InterfaceName", interface, "interface"));
    }
    checks.tag("MAC", &spec.mac, "mac", is_mac);
    for port in &spec.ports {
        self::port(port, &mut checks);
    }
    for (i, prefix) in spec.allow_spoofed_source_prefixes.iter().enumerate() {
        checks.item("AllowSpoofedSourcePrefixes", i, prefix, "cidr", is_cidr);
    }
    addresses(spec, &mut checks);
    checks.fields
}

/// Both addresses of a translation are of one family.
fn nat_families(nat: &IpNat, checks: &mut Checks) {
    let (internal, external) = (parse(&nat.internal_ip), parse(&nat.external_ip));
    let mixed = internal
        .zip(external)
        .is_some_and(|(i, e)| i.is_ipv4() != e.is_ipv4());
    for wrong in [internal.is_none(), external.is_none()] {
        checks.rule(wrong, "InternalIP", &nat.external_ip, "invalid IP address");
    }
    checks.rule(
        mixed,
        "ExternalIP",
        &nat.external_ip,
        "mismatched IP versions",
    );
}

fn parse(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn port(port: &WorkloadEndpointPort, checks: &mut Checks) {
    checks.tag("Name", &port.name, "portName", is_port_name);
    match &port.protocol {
        Protocol::Number(0) => checks.rule(true, "Protocol", "0", "protocol number invalid"),
        Protocol::Name(name) if !is_protocol(name) => {
            checks.rule(true, "Protocol", name, "protocol name invalid");
        }
        Protocol::Number(_) | Protocol::Name(_) => (),
    }
    if port.port == 0 {
        checks.fields.push(FieldError::tag("Port", "0", "gt"));
    }
    checks.tag("HostIP", &port.host_ip, "net", is_net);
    checks.rule(
        !port.protocol.supports_ports(),
        "WorkloadEndpointPort.Protocol",
        port.protocol.to_string(),
        "WorkloadEndpointPort protocol does not support ports.",
    );
    checks.rule(
        port.name.is_empty() && port.host_port.is_none(),
        "WorkloadEndpointPort.Name",
        "",
        "WorkloadEndpointPort name must not be empty if no HostPort is specified",
    );
}

/// Networks are single addresses, and what is translated is one of them.
fn addresses(spec: &WorkloadEndpointSpec, checks: &mut Checks) {
    let own: Vec<IpNet> = spec
        .ip_networks
        .iter()
        .filter_map(|n| n.parse().ok().or_else(|| parse(n).map(IpNet::from)))
        .collect();
    for net in &own {
        checks.rule(
            net.prefix_len() != net.max_prefix_len(),
            "IPNetworks",
            go_list(&spec.ip_networks),
            "IP network contains multiple addresses",
        );
    }
    for nat in &spec.ip_nats {
        let inside = parse(&nat.internal_ip).is_some_and(|a| own.iter().any(|n| n.contains(&a)));
        if !inside {
            let nats: Vec<String> = spec
                .ip_nats
                .iter()
                .map(|n| format!("{{{} {}}}", n.internal_ip, n.external_ip))
                .collect();
            checks.rule(
                true,
                "IPNATs",
                go_list(&nats),
                "NAT is not in the endpoint networks",
            );
        }
    }
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
