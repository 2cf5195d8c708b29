//! BGPConfiguration and BGPPeer.

use super::FieldError;
use super::checks::{self, Checks, is_cidr, is_ip, is_ip_port, is_name, is_net, peer_address};
use crate::kinds::{BgpConfigurationSpec, BgpPeerSpec, CidrBlock};

pub(super) const ROUTE_PRIORITY_MAX: u32 = 2_147_483_646;
pub(super) const COMMUNITY_PATTERN: &str = r"^(\d+):(\d+)$|^(\d+):(\d+):(\d+)$";

pub(super) fn configuration(spec: &BgpConfigurationSpec) -> Vec<FieldError> {
    let mut checks = Checks::default();
    checks.tag(
        "LogSeverityScreen",
        &spec.log_severity_screen,
        "logLevel",
        |v| {
            ["trace", "debug", "info", "warning", "error", "fatal"]
                .contains(&v.to_ascii_lowercase().as_str())
        },
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
    for interface in &spec.ignored_interfaces {
        checks.tag("IgnoredInterfaces", interface, "ignoredInterface", |v| {
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
    configuration_schema(spec, &blocks, &mut checks);
    checks.fields
}

/// The rules of the CRD's schema.
fn configuration_schema(
    spec: &BgpConfigurationSpec,
    blocks: &[(&str, &[CidrBlock])],
    checks: &mut Checks,
) {
    let not_cidr = |path: String, cidr: &str| {
        let reason = format!("{path} in body must be of type cidr: {cidr:?}");
        FieldError::without_value(path, reason)
    };
    for (name, blocks) in blocks {
        for (i, block) in blocks.iter().enumerate() {
            if !block.cidr.is_empty() && !is_cidr(&block.cidr) {
                checks
                    .fields
                    .push(not_cidr(format!("spec.{name}[{i}].cidr"), &block.cidr));
            }
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
        if !advertisement.cidr.is_empty() && !is_cidr(&advertisement.cidr) {
            let path = format!("spec.prefixAdvertisements[{i}].cidr");
            checks.fields.push(not_cidr(path, &advertisement.cidr));
        }
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
}

/// `aa:nn` of 16 bits each, or `aa:nn:mm` of 32.
pub(super) fn is_community(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.len() {
        2 => parts.iter().all(|p| p.parse::<u16>().is_ok()),
        3 => parts.iter().all(|p| p.parse::<u32>().is_ok()),
        _ => false,
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

/// What only the configuration named `default` may set.
pub(super) fn configuration_name(name: &str, spec: &BgpConfigurationSpec) -> Vec<FieldError> {
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

pub(super) fn peer(spec: &BgpPeerSpec) -> Vec<FieldError> {
    let mut checks = Checks::default();
    checks.tag("Node", &spec.node, "name", is_name);
    checks.selector("NodeSelector", "spec.nodeSelector", &spec.node_selector);
    checks.tag("PeerIP", &spec.peer_ip, "IP:port", is_ip_port);
    checks.selector("PeerSelector", "spec.peerSelector", &spec.peer_selector);
    let source = spec.source_address.as_deref().unwrap_or_default();
    checks.tag("SourceAddress", source, "sourceAddress", |v| {
        ["UseNodeIP", "None"].contains(&v)
    });
    checks.tag("ReachableBy", &spec.reachable_by, "reachableBy", is_ip);
    for filter in &spec.filters {
        checks.tag("Filters", filter, "name", is_name);
    }
    checks.selector(
        "LocalWorkloadSelector",
        "spec.localWorkloadSelector",
        &spec.local_workload_selector,
    );
    peer_rules(spec, &mut checks);
    peer_schema(spec, &mut checks);
    checks.fields
}

/// The rules of the validator between fields.
fn peer_rules(spec: &BgpPeerSpec, checks: &mut Checks) {
    let set = |text: &str| !text.is_empty();
    let as_number = spec.as_number.unwrap_or(0);
    checks.rule(
        set(&spec.node) && set(&spec.node_selector),
        "Node",
        &spec.node,
        "Node field must be empty when NodeSelector is specified",
    );
    checks.rule(
        set(&spec.peer_ip) && set(&spec.peer_selector),
        "PeerIP",
        &spec.peer_ip,
        "PeerIP field must be empty when PeerSelector is specified",
    );
    checks.rule(
        as_number != 0 && set(&spec.peer_selector),
        "ASNumber",
        as_number.to_string(),
        "ASNumber field must be empty when PeerSelector is specified",
    );
    checks.rule(
        spec.keep_original_next_hop && spec.next_hop_mode.is_some(),
        "KeepOriginalNextHop",
        // Calico shows this value.
        &spec.peer_ip,
        "The KeepOriginalNextHop field is deprecated. It must not be set to true when NextHopMode is configured.",
    );
    if set(&spec.reachable_by) {
        checks.rule(
            spec.peer_ip.is_empty(),
            "ReachableBy",
            &spec.reachable_by,
            "ReachableBy field must be empty when PeerIP is empty",
        );
        let peer = peer_address(&spec.peer_ip);
        let gateway: Option<std::net::IpAddr> = spec.reachable_by.parse().ok();
        checks.rule(
            peer.zip(gateway)
                .is_some_and(|(p, g)| p.is_ipv4() != g.is_ipv4()),
            "ReachableBy",
            &spec.reachable_by,
            "ReachableBy must be same IP version as PeerIP",
        );
    }
    if set(&spec.local_workload_selector) {
        checks.rule(
            set(&spec.peer_ip),
            "PeerIP",
            &spec.peer_ip,
            "PeerIP field must be empty when LocalWorkloadSelector is specified",
        );
        checks.rule(
            set(&spec.peer_selector),
            "PeerSelector",
            &spec.peer_selector,
            "PeerSelector field must be empty when LocalWorkloadSelector is specified",
        );
        checks.rule(
            as_number == 0,
            "ASNumber",
            "0",
            "ASNumber field must be specified when LocalWorkloadSelector is specified",
        );
    }
}

/// The rules of the CRD's schema.
fn peer_schema(spec: &BgpPeerSpec, checks: &mut Checks) {
    let set = |text: &str| !text.is_empty();
    let as_number = spec.as_number.unwrap_or(0) != 0;
    let workloads = set(&spec.local_workload_selector);
    checks.supported(
        "spec.nextHopMode",
        spec.next_hop_mode.as_deref(),
        &["Auto", "Self", "Keep"],
    );
    let reverse = spec.reverse_peering.as_deref();
    checks.supported("spec.reversePeering", reverse, &["Auto", "Manual"]);
    for (wrong, reason) in [
        (
            set(&spec.node) && set(&spec.node_selector),
            "node and nodeSelector cannot both be set",
        ),
        (
            set(&spec.peer_ip) && set(&spec.peer_selector),
            "peerIP and peerSelector cannot both be set",
        ),
        (
            as_number && set(&spec.peer_selector),
            "asNumber must be empty when peerSelector is set",
        ),
        (
            workloads && set(&spec.peer_ip),
            "peerIP must be empty when localWorkloadSelector is set",
        ),
        (
            workloads && set(&spec.peer_selector),
            "peerSelector must be empty when localWorkloadSelector is set",
        ),
        (
            workloads && !as_number,
            "asNumber is required when localWorkloadSelector is set",
        ),
        (
            set(&spec.reachable_by) && spec.peer_ip.is_empty(),
            "reachableBy must be empty when peerIP is empty",
        ),
    ] {
        checks.spec(wrong, reason);
    }
}

/// Filters that are not there; `known` are the names of those that are.
pub(super) fn filters(spec: &BgpPeerSpec, known: &[String]) -> Vec<FieldError> {
    let absent: Vec<&str> = spec
        .filters
        .iter()
        .filter(|f| !known.contains(f))
        .map(String::as_str)
        .collect();
    if absent.is_empty() {
        return Vec::new();
    }
    vec![FieldError::new(
        "BGPPeer.Spec.Filters",
        format!("[{}]", absent.join(" ")),
        "BGPFilter(s) not found",
    )]
}
