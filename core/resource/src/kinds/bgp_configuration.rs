//! BGPConfiguration (calico-compat §1.1).

use serde::{Deserialize, Serialize};

use crate::spec::Others;
use crate::validate::FieldError;
use crate::validate::checks::{
    self, COMMUNITY_PATTERN, Checks, ROUTE_PRIORITY_MAX, is_community, is_name, is_net,
};
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

    fn set_defaults(object: &mut BgpConfiguration) {
        let spec = &mut object.spec;
        if spec.log_severity_screen.is_empty() {
            spec.log_severity_screen = "Info".to_string();
        }
        spec.service_load_balancer_aggregation
            .get_or_insert_with(|| "Enabled".to_string());
    }

    fn validate(object: &BgpConfiguration) -> Vec<FieldError> {
        rules(&object.spec)
    }

    fn check(
        object: &BgpConfiguration,
        _stored: Option<&BgpConfiguration>,
        _others: &Others<'_>,
    ) -> Vec<FieldError> {
        default_only(&object.metadata.name, &object.spec)
    }
}

fn rules(spec: &BgpConfigurationSpec) -> Vec<FieldError> {
    let mut checks = Checks::default();
    checks.tag(
        "LogSeverityScreen",
        &spec.log_severity_screen,
        "logLevel",
        checks::is_log_level,
    );
    let blocks: [(&str, &[CidrBlock]); 3] = [
        ("serviceLoadBalancerIPs", &spec.service_load_balancer_ips),
        ("serviceExternalIPs", &spec.service_external_ips),
        ("serviceClusterIPs", &spec.service_cluster_ips),
    ];
    for block in blocks.iter().flat_map(|(_, blocks)| *blocks) {
        checks.tag("CIDR", &block.cidr, "net", is_net);
    }
    for community in &spec.communities {
        checks.required("Name", &community.name);
        checks.tag("Name", &community.name, "name", is_name);
        checks.required("Value", &community.value);
    }
    for advertisement in &spec.prefix_advertisements {
        checks.required("CIDR", &advertisement.cidr);
        checks.tag("CIDR", &advertisement.cidr, "net", is_net);
        if advertisement.communities.is_empty() {
            checks.required("Communities", "");
        }
    }
    if spec.listen_port == Some(0) {
        checks.fields.push(FieldError::tag("ListenPort", "0", "gt"));
    }
    for (i, interface) in spec.ignored_interfaces.iter().enumerate() {
        checks.item("IgnoredInterfaces", i, interface, "ignoredInterface", |v| {
            v != "*" && checks::is_interface(&v.replace('*', "x"))
        });
    }
    let (v4, v6) = (
        &spec.local_workload_peering_ipv4,
        &spec.local_workload_peering_ipv6,
    );
    checks.tag("LocalWorkloadPeeringIPV4", v4, "ipv4", checks::is_ipv4);
    checks.tag("LocalWorkloadPeeringIPV6", v6, "ipv6", checks::is_ipv6);
    communities(spec, &mut checks);
    mesh(spec, &mut checks);
    schema(spec, &blocks, &mut checks);
    checks.fields
}

/// The rules of the CRD's schema.
fn schema(spec: &BgpConfigurationSpec, blocks: &[(&str, &[CidrBlock])], checks: &mut Checks) {
    for (name, blocks) in blocks {
        for (i, block) in blocks.iter().enumerate() {
            checks.schema_cidr(&format!("spec.{name}[{i}].cidr"), &block.cidr);
        }
    }
    let aggregation = spec.service_load_balancer_aggregation.as_deref();
    checks.supported(
        "spec.serviceLoadBalancerAggregation",
        aggregation,
        &["Enabled", "Disabled"],
    );
    for (i, community) in spec.communities.iter().enumerate() {
        let parts: Vec<&str> = community.value.split(':').collect();
        let digits = |p: &&str| !p.is_empty() && p.chars().all(|c| c.is_ascii_digit());
        if !(2..=3).contains(&parts.len()) || !parts.iter().all(digits) {
            let path = format!("spec.communities[{i}].value");
            let reason = format!("{path} in body should match '{COMMUNITY_PATTERN}'");
            checks.fields.push(FieldError::without_value(path, reason));
        }
    }
    for (i, advertisement) in spec.prefix_advertisements.iter().enumerate() {
        let path = format!("spec.prefixAdvertisements[{i}].cidr");
        checks.schema_cidr(&path, &advertisement.cidr);
    }
    if spec.listen_port == Some(0) {
        checks.fields.push(FieldError::without_value(
            "spec.listenPort",
            "spec.listenPort in body should be greater than or equal to 1",
        ));
    }
    checks.supported(
        "spec.bindMode",
        spec.bind_mode.as_deref(),
        &["None", "NodeIP"],
    );
    let program = spec.program_cluster_routes.as_deref();
    checks.supported(
        "spec.programClusterRoutes",
        program,
        &["Enabled", "Disabled"],
    );
    for (path, priority) in [
        (
            "spec.ipv4NormalRoutePriority",
            spec.ipv4_normal_route_priority,
        ),
        (
            "spec.ipv6NormalRoutePriority",
            spec.ipv6_normal_route_priority,
        ),
    ] {
        let bound = match priority {
            Some(0) => "greater than or equal to 1".to_string(),
            Some(n) if n > ROUTE_PRIORITY_MAX => {
                format!("less than or equal to {ROUTE_PRIORITY_MAX}")
            }
            _ => continue,
        };
        let reason = format!("{path} in body should be {bound}");
        checks.fields.push(FieldError::without_value(path, reason));
    }
    let off = spec.node_to_node_mesh_enabled == Some(false);
    for (set, field) in [
        (spec.node_mesh_password.is_some(), "nodeMeshPassword"),
        (
            spec.node_mesh_max_restart_time.is_some(),
            "nodeMeshMaxRestartTime",
        ),
    ] {
        let reason = format!("{field} cannot be set when nodeToNodeMeshEnabled is false");
        checks.spec(off && set, &reason);
    }
}

fn communities(spec: &BgpConfigurationSpec, checks: &mut Checks) {
    if !spec.communities.is_empty() && spec.prefix_advertisements.is_empty() {
        checks.fields.push(FieldError::without_value(
            "Spec.Communities[]",
            "communities are defined but not used in Spec.PrefixAdvertisement[].",
        ));
    }
    for community in &spec.communities {
        checks.rule(
            !is_community(&community.value),
            "Spec.Communities[].Value",
            &community.value,
            "invalid community value or format used.",
        );
    }
    let defined = |name: &str| spec.communities.iter().any(|c| c.name == name);
    for used in spec
        .prefix_advertisements
        .iter()
        .flat_map(|a| &a.communities)
    {
        checks.rule(
            !is_community(used) && !defined(used),
            "Spec.PrefixAdvertisement[].Communities[]",
            used,
            "community used is invalid or not defined.",
        );
    }
}

/// What is said of the mesh's sessions needs the mesh.
fn mesh(spec: &BgpConfigurationSpec, checks: &mut Checks) {
    let off = spec.node_to_node_mesh_enabled == Some(false);
    for (set, field) in [
        (spec.node_mesh_password.is_some(), "NodeMeshPassword"),
        (
            spec.node_mesh_max_restart_time.is_some(),
            "NodeMeshMaxRestartTime",
        ),
    ] {
        let reason = format!("spec.{field} cannot be set if spec.NodeToNodeMesh is disabled");
        checks.rule(off && set, &format!("Spec.{field}"), "{...}", &reason);
    }
}

/// What only the configuration named `default` may set.
fn default_only(name: &str, spec: &BgpConfigurationSpec) -> Vec<FieldError> {
    if name == "default" {
        return Vec::new();
    }
    [
        (
            "NodeToNodeMeshEnabled",
            "nodeToNodeMeshEnabled",
            spec.node_to_node_mesh_enabled.is_some(),
        ),
        ("ASNumber", "ASNumber", spec.as_number.is_some()),
        (
            "ServiceLoadBalancerIPs",
            "ServiceLoadBalancerIPs",
            !spec.service_load_balancer_ips.is_empty(),
        ),
        (
            "ServiceExternalIPs",
            "ServiceExternalIPs",
            !spec.service_external_ips.is_empty(),
        ),
        (
            "ServiceClusterIPs",
            "ServiceClusterIPs",
            !spec.service_cluster_ips.is_empty(),
        ),
        (
            "NodeMeshPassword",
            "nodeMeshPassword",
            spec.node_mesh_password.is_some(),
        ),
        (
            "NodeMeshMaxRestartTime",
            "nodeMeshMaxRestartTime",
            spec.node_mesh_max_restart_time.is_some(),
        ),
    ]
    .into_iter()
    .filter(|(_, _, set)| *set)
    .map(|(field, word, _)| {
        FieldError::without_value(
            format!("BGPConfiguration.Spec.{field}"),
            format!("Cannot set {word} on a non default BGP Configuration."),
        )
    })
    .collect()
}
