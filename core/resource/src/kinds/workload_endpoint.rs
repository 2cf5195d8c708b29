//! WorkloadEndpoint (calico-compat §1.9).

use serde::{Deserialize, Serialize};

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

impl Spec for WorkloadEndpointSpec {
    const KIND: Kind = Kind::WorkloadEndpoint;
    type Status = NoStatus;
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
