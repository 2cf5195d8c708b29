//! Service and EndpointSlice, in the shape that Kubernetes gives them, as far as they are read here.
//!
//! Their documents come from elsewhere, so unknown fields are kept out of the way rather than refused.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::validate::FieldError;
use crate::{Kind, NoStatus, Object, Spec};

/// A Service.
pub type Service = Object<ServiceSpec>;
/// Some endpoints of a Service. Its "spec" is the document itself but for kind, apiVersion and metadata.
pub type EndpointSlice = Object<EndpointSliceSpec>;

/// A Service's spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `ClusterIP` when absent.
    #[serde(default, skip_serializing_if = "String::is_empty", rename = "type")]
    pub service_type: String,
    /// The address, or `None` for a headless service.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "clusterIP"
    )]
    pub cluster_ip: String,
    /// All addresses, one a family.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    /// Its ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ServicePort>,
    /// The pods behind it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// `ClientIP` or `None`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub session_affinity: String,
    /// Name outside, for type `ExternalName`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub external_name: String,
    /// Names for endpoints that are not ready too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub publish_not_ready_addresses: bool,
}

/// One port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Required where there are several.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `TCP` when absent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// The service's own port.
    pub port: u16,
    /// A number or a name; only the slices' ports decide where traffic goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<serde_json::Value>,
}

/// An EndpointSlice's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSliceSpec {
    /// `IPv4`, `IPv6` or `FQDN`.
    #[serde(default)]
    pub address_type: String,
    /// The endpoints.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// The ports that all of them have.
    #[serde(default)]
    pub ports: Vec<EndpointPort>,
}

/// One endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Its addresses; the first is used.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Ready, serving, terminating.
    #[serde(default)]
    pub conditions: EndpointConditions,
    /// Its name in a headless service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The node it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
}

/// The state of an endpoint; absent `ready` means ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointConditions {
    /// May take traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Answers, though it may be terminating.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    /// On its way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminating: Option<bool>,
}

/// A port of the endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointPort {
    /// Matches the Service's port of that name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `TCP` when absent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// Number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl Spec for ServiceSpec {
    const KIND: Kind = Kind::Service;
    type Status = serde_json::Value;

    /// Kubernetes has checked it already; here only what would otherwise be passed over silently.
    fn validate(object: &Service) -> Vec<FieldError> {
        service(&object.spec)
    }
}

impl Spec for EndpointSliceSpec {
    const KIND: Kind = Kind::EndpointSlice;
    const INLINE: bool = true;
    type Status = NoStatus;

    fn validate(object: &EndpointSlice) -> Vec<FieldError> {
        endpoint_slice(&object.spec)
    }
}

fn wrong(path: String, value: &str, reason: &str) -> FieldError {
    FieldError::new(path, value, reason)
}

fn protocol(path: String, protocol: &str) -> Option<FieldError> {
    (!["", "TCP", "UDP", "SCTP"].contains(&protocol)).then(|| {
        let reason = "supported values: \"SCTP\", \"TCP\", \"UDP\"";
        wrong(path, protocol, reason)
    })
}

fn service(spec: &ServiceSpec) -> Vec<FieldError> {
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

fn endpoint_slice(spec: &EndpointSliceSpec) -> Vec<FieldError> {
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
