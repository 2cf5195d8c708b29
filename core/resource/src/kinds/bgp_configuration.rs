//! BGPConfiguration (calico-compat §1.1).

use serde::{Deserialize, Serialize};

use crate::{Kind, NoStatus, Object, Spec};

/// A BGPConfiguration.
pub type BgpConfiguration = Object<BgpConfigurationSpec>;

/// Cluster-wide BGP settings (`default`), or those of one node (`node.NAME`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpConfigurationSpec {
    /// Log severity.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_severity_screen: String,
    /// Whether every node peers with every other; absent means yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_to_node_mesh_enabled: Option<bool>,
    /// The AS of nodes that have none of their own; absent means 64512.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::as_number"
    )]
    pub as_number: Option<u32>,
    /// External addresses of Services of type LoadBalancer, to advertise.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        rename = "serviceLoadBalancerIPs"
    )]
    pub service_load_balancer_ips: Vec<CidrBlock>,
    /// External addresses of Services, to advertise.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        rename = "serviceExternalIPs"
    )]
    pub service_external_ips: Vec<CidrBlock>,
    /// Cluster IP ranges to advertise.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        rename = "serviceClusterIPs"
    )]
    pub service_cluster_ips: Vec<CidrBlock>,
    /// `Enabled`: LoadBalancer ranges are advertised whole; `Disabled`: each Service's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_load_balancer_aggregation: Option<String>,
    /// Names for communities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<Community>,
    /// Communities to put on prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefix_advertisements: Vec<PrefixAdvertisement>,
    /// TCP port; absent means 179.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_port: Option<u16>,
    /// Password of the mesh's sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_mesh_password: Option<BgpPassword>,
    /// Graceful restart time of the mesh's sessions, a Go duration; absent means 120 s.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub node_mesh_max_restart_time: Option<String>,
    /// `None`: listen on all addresses; `NodeIP`: on the node's only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind_mode: Option<String>,
    /// Interfaces whose routes are not taken up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored_interfaces: Vec<String>,
    /// The address that local workloads peer with.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "localWorkloadPeeringIPV4"
    )]
    pub local_workload_peering_ipv4: String,
    /// The same for IPv6.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "localWorkloadPeeringIPV6"
    )]
    pub local_workload_peering_ipv6: String,
    /// `Enabled` or `Disabled`: whether BGP writes the cluster's routes to the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_cluster_routes: Option<String>,
    /// Metric of normal routes; 1 to 2147483646, absent means 1024.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "ipv4NormalRoutePriority"
    )]
    pub ipv4_normal_route_priority: Option<u32>,
    /// The same for IPv6.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "ipv6NormalRoutePriority"
    )]
    pub ipv6_normal_route_priority: Option<u32>,
}

/// A name for a community.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Community {
    /// The name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `aa:nn`, or `aa:nn:mm` for a large one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// Communities for a prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefixAdvertisement {
    /// The prefix and all within.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cidr: String,
    /// Values, or names from `communities`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub communities: Vec<String>,
}

/// Where a password is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpPassword {
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// A key of a Kubernetes Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretKeyRef {
    /// The Secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The key in it.
    #[serde(default)]
    pub key: String,
    /// Whether it may be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// `{cidr}` as it stands in lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CidrBlock {
    /// The range.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cidr: String,
}

impl Spec for BgpConfigurationSpec {
    const KIND: Kind = Kind::BgpConfiguration;
    type Status = NoStatus;
}
