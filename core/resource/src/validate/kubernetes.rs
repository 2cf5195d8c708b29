//! Service and EndpointSlice: Kubernetes has checked them already; here only what would otherwise be passed over silently.

use std::net::IpAddr;

use super::FieldError;
use crate::kinds::{EndpointSliceSpec, ServiceSpec};

fn wrong(path: String, value: &str, reason: &str) -> FieldError {
    FieldError::new(path, value, reason)
}

fn protocol(path: String, protocol: &str) -> Option<FieldError> {
    (!["", "TCP", "UDP", "SCTP"].contains(&protocol)).then(|| {
        let reason = "supported values: \"SCTP\", \"TCP\", \"UDP\"";
        wrong(path, protocol, reason)
    })
}

pub(super) fn service(spec: &ServiceSpec) -> Vec<FieldError> {
    let mut fields = Vec::new();
    let address = |text: &str| ["", "None"].contains(&text) || text.parse::<IpAddr>().is_ok();
    if !address(&spec.cluster_ip) {
        let reason = "must be a valid IP address, \"None\" or empty";
        fields.push(wrong(
            "spec.clusterIP".to_string(),
            &spec.cluster_ip,
            reason,
        ));
    }
    for (i, ip) in spec.cluster_ips.iter().enumerate() {
        if !address(ip) {
            fields.push(wrong(
                format!("spec.clusterIPs[{i}]"),
                ip,
                "must be a valid IP address",
            ));
        }
    }
    for (i, port) in spec.ports.iter().enumerate() {
        if port.port == 0 {
            let reason = "must be between 1 and 65535, inclusive";
            fields.push(wrong(format!("spec.ports[{i}].port"), "0", reason));
        }
        fields.extend(protocol(
            format!("spec.ports[{i}].protocol"),
            &port.protocol,
        ));
        if spec.ports.len() > 1 && port.name.is_empty() {
            let reason = "a name is required where there are several ports";
            fields.push(FieldError::without_value(
                format!("spec.ports[{i}].name"),
                reason,
            ));
        }
    }
    fields
}

pub(super) fn endpoint_slice(spec: &EndpointSliceSpec) -> Vec<FieldError> {
    let mut fields = Vec::new();
    if !["IPv4", "IPv6", "FQDN"].contains(&spec.address_type.as_str()) {
        let reason = "supported values: \"FQDN\", \"IPv4\", \"IPv6\"";
        fields.push(wrong("addressType".to_string(), &spec.address_type, reason));
    }
    for (i, endpoint) in spec.endpoints.iter().enumerate() {
        for (j, address) in endpoint.addresses.iter().enumerate() {
            let fits = match (spec.address_type.as_str(), address.parse::<IpAddr>()) {
                ("IPv4", parsed) => parsed.is_ok_and(|a| a.is_ipv4()),
                ("IPv6", parsed) => parsed.is_ok_and(|a| a.is_ipv6()),
                _ => true,
            };
            if !fits {
                let path = format!("endpoints[{i}].addresses[{j}]");
                let reason = format!("must be a valid {} address", spec.address_type);
                fields.push(wrong(path, address, &reason));
            }
        }
    }
    for (i, port) in spec.ports.iter().enumerate() {
        fields.extend(protocol(format!("ports[{i}].protocol"), &port.protocol));
    }
    fields
}
