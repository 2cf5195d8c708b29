//! HostEndpoint (calico-compat §1.10).

use serde::{Deserialize, Serialize};

use super::forms::Protocol;
use super::rule::is_protocol;
use crate::validate::FieldError;
use crate::validate::checks::{Checks, is_interface, is_ip, is_name, is_port_name};
use crate::{Kind, NoStatus, Object, Spec};

/// An interface of a node itself.
pub type HostEndpoint = Object<HostEndpointSpec>;

/// Which interface of which node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostEndpointSpec {
    /// The node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// The interface; `*` for all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interface_name: String,
    /// Addresses that it has; they stand for the interface where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "expectedIPs")]
    pub expected_ips: Vec<String>,
    /// Profiles, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Named ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<HostEndpointPort>,
}

/// A named port of a host; Calico's type is named EndpointPort.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename = "EndpointPort")]
pub struct HostEndpointPort {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its protocol.
    #[serde(default = "no_protocol")]
    pub protocol: Protocol,
    /// Its number.
    #[serde(default)]
    pub port: u16,
}

fn no_protocol() -> Protocol {
    Protocol::Number(0)
}

impl Spec for HostEndpointSpec {
    const KIND: Kind = Kind::HostEndpoint;
    type Status = NoStatus;

    fn validate(endpoint: &HostEndpoint) -> Vec<FieldError> {
        let spec = &endpoint.spec;
        let mut checks = Checks::default();
        checks.tag("Node", &spec.node, "name", is_name);
        checks.tag("InterfaceName", &spec.interface_name, "interface", |v| {
            v == "*" || is_interface(v)
        });
        for (i, address) in spec.expected_ips.iter().enumerate() {
            checks.item("ExpectedIPs", i, address, "ip", is_ip);
        }
        for (i, profile) in spec.profiles.iter().enumerate() {
            checks.item("Profiles", i, profile, "name", is_name);
        }
        for port in &spec.ports {
            ports(port, &mut checks);
        }
        checks.rule(
            spec.interface_name.is_empty() && spec.expected_ips.is_empty(),
            "InterfaceName",
            "",
            "no interface or expected IPs have been specified",
        );
        checks.rule(
            spec.node.is_empty(),
            "InterfaceName",
            "",
            "no node has been specified",
        );
        schema(spec, &mut checks);
        checks.fields
    }
}

fn ports(port: &HostEndpointPort, checks: &mut Checks) {
    if !is_port_name(&port.name) {
        checks
            .fields
            .push(FieldError::tag("Name", &port.name, "portName"));
    }
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
    checks.rule(
        !port.protocol.supports_ports(),
        "EndpointPort.Protocol",
        port.protocol.to_string(),
        "EndpointPort protocol does not support ports.",
    );
}

/// The rules of the CRD's schema.
fn schema(spec: &HostEndpointSpec, checks: &mut Checks) {
    checks.max_length("spec.interfaceName", &spec.interface_name, 15);
    checks.max_length("spec.node", &spec.node, 253);
    for (i, port) in spec.ports.iter().enumerate() {
        checks.bounds(
            &format!("spec.ports[{i}].port"),
            Some(port.port.into()),
            1,
            65535,
        );
    }
    checks.spec(
        spec.interface_name.is_empty() && spec.expected_ips.is_empty(),
        "at least one of interfaceName or expectedIPs must be specified",
    );
    checks.spec(spec.node.is_empty(), "node must be specified");
}
