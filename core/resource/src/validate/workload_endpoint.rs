//! WorkloadEndpoint.

use ipnet::IpNet;

use super::FieldError;
use super::checks::{Checks, is_interface, is_ip, is_ipv4, is_ipv6, is_mac, is_name};
use crate::kinds::{WorkloadEndpoint, WorkloadEndpointName};

const NAMESPACE_LABEL: &str = "projectcalico.org/namespace";
const ORCHESTRATOR_LABEL: &str = "projectcalico.org/orchestrator";

pub(super) fn validate(endpoint: &WorkloadEndpoint) -> Vec<FieldError> {
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
        checks.tag(
            "AllowSpoofedSourcePrefixes",
            prefix,
            "cidr",
            super::checks::is_cidr,
        );
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
pub(super) fn name(endpoint: &WorkloadEndpoint) -> Vec<FieldError> {
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
pub(super) fn set_defaults(endpoint: &mut WorkloadEndpoint) {
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
