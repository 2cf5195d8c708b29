//! What the parameters of FelixConfiguration must be.

use super::FelixConfigurationSpec;
use super::forms::Port;
use super::rule::port_numbers;
use crate::validate::FieldError;
use crate::validate::checks::{
    Checks, go_list, is_cidr, is_interface, is_ipv4, is_ipv6, is_label, is_log_level,
};

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or_default()
}

fn is_accept_return(text: &str) -> bool {
    ["Accept", "Return"].contains(&text)
}

fn is_drop_reject(text: &str) -> bool {
    ["Drop", "Reject"].contains(&text)
}

fn is_enabled_disabled(text: &str) -> bool {
    ["Enabled", "Disabled"].contains(&text)
}

/// `A=B,C=D`; empty items are passed over.
fn is_key_value_list(text: &str) -> bool {
    text.split(',').filter(|item| !item.is_empty()).all(|item| {
        item.trim_start().split_once('=').is_some_and(|(key, _)| {
            !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        })
    })
}

fn is_interface_filter(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b":._+-".contains(&b))
}

fn is_prometheus_host(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b":._+-".contains(&b))
}

/// The validator's rules on single fields, in the fields' order.
pub(super) fn tags(spec: &FelixConfigurationSpec, checks: &mut Checks) {
    type Holds = fn(&str) -> bool;
    let table: [(&str, &str, &str, Holds); 32] = [
        (
            "FeatureDetectOverride",
            &spec.feature_detect_override,
            "keyValueList",
            is_key_value_list,
        ),
        (
            "FeatureGates",
            &spec.feature_gates,
            "keyValueList",
            is_key_value_list,
        ),
        (
            "IptablesBackend",
            text(&spec.iptables_backend),
            "iptablesBackend",
            |v| ["Legacy", "NFT", "Auto"].contains(&v),
        ),
        (
            "DefaultEndpointToHostAction",
            &spec.default_endpoint_to_host_action,
            "dropAcceptReturn",
            |v| ["Drop", "Accept", "Return"].contains(&v),
        ),
        (
            "IptablesFilterAllowAction",
            &spec.iptables_filter_allow_action,
            "acceptReturn",
            is_accept_return,
        ),
        (
            "IptablesMangleAllowAction",
            &spec.iptables_mangle_allow_action,
            "acceptReturn",
            is_accept_return,
        ),
        (
            "IptablesFilterDenyAction",
            &spec.iptables_filter_deny_action,
            "dropReject",
            is_drop_reject,
        ),
        (
            "LogSeverityFile",
            &spec.log_severity_file,
            "logLevel",
            is_log_level,
        ),
        (
            "LogSeverityScreen",
            &spec.log_severity_screen,
            "logLevel",
            is_log_level,
        ),
        (
            "LogSeveritySys",
            &spec.log_severity_sys,
            "logLevel",
            is_log_level,
        ),
        (
            "PrometheusMetricsHost",
            &spec.prometheus_metrics_host,
            "prometheusHost",
            is_prometheus_host,
        ),
        (
            "PrometheusMetricsClientAuth",
            text(&spec.prometheus_metrics_client_auth),
            "oneof",
            |v| CLIENT_AUTH.contains(&v),
        ),
        (
            "NATOutgoingExclusions",
            text(&spec.nat_outgoing_exclusions),
            "oneof",
            |v| ["IPPoolsOnly", "IPPoolsAndHostIPs"].contains(&v),
        ),
        (
            "IptablesNATOutgoingInterfaceFilter",
            &spec.iptables_nat_outgoing_interface_filter,
            "ifaceFilter",
            is_interface_filter,
        ),
        (
            "NftablesFilterAllowAction",
            &spec.nftables_filter_allow_action,
            "acceptReturn",
            is_accept_return,
        ),
        (
            "NftablesMangleAllowAction",
            &spec.nftables_mangle_allow_action,
            "acceptReturn",
            is_accept_return,
        ),
        (
            "NftablesFilterDenyAction",
            &spec.nftables_filter_deny_action,
            "dropReject",
            is_drop_reject,
        ),
        (
            "BPFJITHardening",
            text(&spec.bpf_jit_hardening),
            "oneof",
            |v| ["Auto", "Strict"].contains(&v),
        ),
        ("BPFLogLevel", &spec.bpf_log_level, "bpfLogLevel", |v| {
            ["Debug", "Info", "Off"].contains(&v)
        }),
        (
            "BPFConntrackLogLevel",
            &spec.bpf_conntrack_log_level,
            "oneof",
            |v| ["Off", "Debug"].contains(&v),
        ),
        (
            "BPFConntrackCleanupMode",
            text(&spec.bpf_conntrack_mode),
            "oneof",
            |v| ["Auto", "Userspace", "BPFProgram"].contains(&v),
        ),
        (
            "BPFConnectTimeLoadBalancing",
            text(&spec.bpf_connect_time_load_balancing),
            "oneof",
            |v| ["TCP", "Enabled", "Disabled"].contains(&v),
        ),
        (
            "BPFHostNetworkedNATWithoutCTLB",
            text(&spec.bpf_host_networked_nat_without_ctlb),
            "oneof",
            is_enabled_disabled,
        ),
        (
            "BPFExternalServiceMode",
            &spec.bpf_external_service_mode,
            "bpfServiceMode",
            |v| ["Tunnel", "DSR"].contains(&v),
        ),
        ("BPFAttachType", text(&spec.bpf_attach_type), "oneof", |v| {
            ["TC", "TCX"].contains(&v)
        }),
        ("RouteSource", &spec.route_source, "routeSource", |v| {
            ["WorkloadIPs", "CalicoIPAM"].contains(&v)
        }),
        (
            "WireguardInterfaceName",
            &spec.wireguard_interface_name,
            "interface",
            is_interface,
        ),
        (
            "WireguardInterfaceNameV6",
            &spec.wireguard_interface_name_v6,
            "interface",
            is_interface,
        ),
        (
            "AWSSrcDstCheck",
            text(&spec.aws_src_dst_check),
            "oneof",
            |v| ["DoNothing", "Enable", "Disable"].contains(&v),
        ),
        (
            "ServiceLoopPrevention",
            &spec.service_loop_prevention,
            "oneof",
            |v| ["Drop", "Reject", "Disabled"].contains(&v),
        ),
        (
            "WorkloadSourceSpoofing",
            &spec.workload_source_spoofing,
            "oneof",
            |v| ["Disabled", "Any"].contains(&v),
        ),
        (
            "WindowsManageFirewallRules",
            text(&spec.windows_manage_firewall_rules),
            "oneof",
            is_enabled_disabled,
        ),
    ];
    for (field, value, tag, holds) in table {
        checks.tag(field, value, tag, holds);
    }
    let numbers: [(&str, Option<i64>, i64, i64, &str); 15] = [
        ("DebugPort", spec.debug_port, 0, 65535, "gte"),
        (
            "BPFExtToServiceConnmark",
            spec.bpf_ext_to_service_connmark,
            0,
            4_294_967_295,
            "gte",
        ),
        (
            "BPFKubeProxyHealthzPort",
            spec.bpf_kube_proxy_healthz_port,
            0,
            65535,
            "gte",
        ),
        (
            "BPFMapSizeConntrackCleanupQueue",
            spec.bpf_map_size_conntrack_cleanup_queue,
            1,
            i64::MAX,
            "gte",
        ),
        (
            "IPv4NormalRoutePriority",
            spec.ipv4_normal_route_priority,
            1,
            2_147_483_646,
            "gte",
        ),
        (
            "IPv4ElevatedRoutePriority",
            spec.ipv4_elevated_route_priority,
            1,
            2_147_483_646,
            "gte",
        ),
        (
            "IPv6NormalRoutePriority",
            spec.ipv6_normal_route_priority,
            1,
            2_147_483_646,
            "gte",
        ),
        (
            "IPv6ElevatedRoutePriority",
            spec.ipv6_elevated_route_priority,
            1,
            2_147_483_646,
            "gte",
        ),
        (
            "WireguardListeningPort",
            spec.wireguard_listening_port,
            1,
            65535,
            "gt",
        ),
        (
            "WireguardListeningPortV6",
            spec.wireguard_listening_port_v6,
            1,
            65535,
            "gt",
        ),
        (
            "WireguardRoutingRulePriority",
            spec.wireguard_routing_rule_priority,
            1,
            32765,
            "gt",
        ),
        ("GoGCThreshold", spec.go_gc_threshold, -1, i64::MAX, "gte"),
        (
            "GoMemoryLimitMB",
            spec.go_memory_limit_mb,
            -1,
            i64::MAX,
            "gte",
        ),
        ("GoMaxProcs", spec.go_max_procs, -1, i64::MAX, "gte"),
        (
            "BPFMaglevMaxServices",
            spec.bpf_maglev_max_services,
            1,
            3000,
            "gt",
        ),
    ];
    for (field, number, least, most, below) in numbers {
        number_tag(field, number, (least, most), below, checks);
    }
    let endpoints = spec.bpf_maglev_max_endpoints_per_service;
    number_tag(
        "BPFMaglevMaxEndpointsPerService",
        endpoints,
        (1, 3000),
        "gt",
        checks,
    );
}

const CLIENT_AUTH: [&str; 4] = [
    "RequireAndVerifyClientCert",
    "RequireAnyClientCert",
    "VerifyClientCertIfGiven",
    "NoClientCert",
];

fn number_tag(
    field: &str,
    number: Option<i64>,
    (least, most): (i64, i64),
    below: &str,
    checks: &mut Checks,
) {
    let tag = match number {
        Some(n) if n < least => below,
        Some(n) if n > most => {
            if field == "WireguardRoutingRulePriority" {
                "lt"
            } else {
                "lte"
            }
        }
        Some(_) | None => return,
    };
    let shown = number.unwrap_or_default().to_string();
    checks.fields.push(FieldError::tag(field, shown, tag));
}

/// The validator's rules on lists, and those that have words.
pub(super) fn values(spec: &FelixConfigurationSpec, checks: &mut Checks) {
    for health in &spec.health_timeout_overrides {
        let wrong = health.name.is_empty()
            || !health
                .name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_ -".contains(&b));
        let shown = format!("{{{} {{{}}}}}", health.name, health.timeout);
        checks.rule(
            wrong,
            "HealthTimeoutOverride.Name",
            shown,
            "name should match regex ^[a-zA-Z0-9_ -]+$",
        );
    }
    let ports = spec.kube_node_port_ranges.as_deref().unwrap_or_default();
    port_numbers(ports, checks);
    for port in [&spec.nat_port_range, &spec.bpf_psnat_ports]
        .into_iter()
        .flatten()
    {
        port_numbers(std::slice::from_ref(port), checks);
    }
    if let Some(filters) = &spec.bpf_log_filters
        && !filters.keys().all(|k| is_interface(k))
    {
        let pairs: Vec<String> = filters.iter().map(|(k, v)| format!("{k}:{v}")).collect();
        let shown = format!("map[{}]", pairs.join(" "));
        checks
            .fields
            .push(FieldError::tag("BPFLogFilters", shown, "bpfLogFilters"));
    }
    type Holds = fn(&str) -> bool;
    let lists: [(&str, &Option<Vec<String>>, &str, Holds); 3] = [
        (
            "BPFDSROptoutCIDRs",
            &spec.bpf_dsr_optout_cidrs,
            "cidrs",
            is_cidr,
        ),
        (
            "BPFForceTrackPacketsFromIfaces",
            &spec.bpf_force_track_packets_from_ifaces,
            "ifaceFilterSlice",
            is_interface_filter,
        ),
        (
            "BPFExcludeCIDRsFromNAT",
            &spec.bpf_exclude_cidrs_from_nat,
            "cidrs",
            is_cidr,
        ),
    ];
    for (field, list, tag, holds) in lists {
        let list = list.as_deref().unwrap_or_default();
        if !list.iter().all(|item| holds(item)) {
            checks
                .fields
                .push(FieldError::tag(field, go_list(list), tag));
        }
    }
    route_tables(spec, checks);
    let named = ports.iter().any(Port::is_named);
    checks.rule(
        ports.len() > 7,
        "KubeNodePortRanges",
        go_list(ports),
        "node port ranges list is too long (max 7)",
    );
    checks.rule(
        named,
        "KubeNodePortRanges",
        go_list(ports),
        "node port ranges should not contain named ports",
    );
    for cidr in spec.external_nodes_list.as_deref().unwrap_or_default() {
        checks.rule(
            !is_cidr(cidr),
            "ExternalNodesCIDRList",
            cidr,
            "has invalid CIDR(s)",
        );
        let v6 = is_cidr(cidr) && cidr.contains(':');
        checks.rule(v6, "ExternalNodesCIDRList", cidr, "has invalid IPv6 CIDR");
    }
    let region = spec.openstack_region.as_str();
    if region.len() > 46 {
        checks.rule(true, "OpenstackRegion", region, "is too long");
    } else {
        let wrong = !region.is_empty() && !is_label(region);
        checks.rule(
            wrong,
            "OpenstackRegion",
            region,
            "must be a valid DNS label",
        );
    }
    for (field, address, holds, reason) in [
        (
            "NATOutgoingAddress",
            &spec.nat_outgoing_address,
            is_ipv4 as Holds,
            "is not a valid IPv4 address",
        ),
        (
            "DeviceRouteSourceAddress",
            &spec.device_route_source_address,
            is_ipv4,
            "is not a valid IPv4 address",
        ),
        (
            "DeviceRouteSourceAddressIPv6",
            &spec.device_route_source_address_ipv6,
            is_ipv6,
            "is not a valid IPv6 address",
        ),
    ] {
        checks.rule(
            !address.is_empty() && !holds(address),
            field,
            address,
            reason,
        );
    }
    if let (Some(range), Some(_)) = (&spec.route_table_range, &spec.route_table_ranges) {
        let shown = format!("&{{{} {}}}", range.min, range.max);
        checks.rule(
            true,
            "RouteTableRange",
            shown,
            "cannot be set when `RouteTableRanges` is also set",
        );
    }
}

/// Ranges of routing tables.
fn route_tables(spec: &FelixConfigurationSpec, checks: &mut Checks) {
    const FIELD: &str = "RouteTableRange";
    const TABLES_MAX: i64 = 65535;
    let ranges = spec.route_table_ranges.as_deref().unwrap_or_default();
    for range in ranges {
        let shown = format!("{{{} {}}}", range.min, range.max);
        for (wrong, reason) in [
            (
                range.min > range.max,
                "min value cannot be greater than max value",
            ),
            (range.min <= 0, "cannot target indices < 1"),
            (range.max > 4_294_967_295, "max index too high"),
        ] {
            checks.rule(wrong, FIELD, &shown, reason);
        }
    }
    if let Some(range) = &spec.route_table_range {
        let holds = range.min >= 1 && range.max >= range.min && range.max <= 250;
        let shown = format!("{{{} {}}}", range.min, range.max);
        checks.rule(
            !holds,
            FIELD,
            shown,
            "must be a range of route table indices within 1..250",
        );
    }
    let count = ranges.iter().fold(0, |sum: i64, r| {
        sum.saturating_add(r.max.saturating_sub(r.min).saturating_add(1))
    });
    let shown: Vec<String> = ranges
        .iter()
        .map(|r| format!("{{{} {}}}", r.min, r.max))
        .collect();
    checks.rule(
        count > TABLES_MAX,
        "RouteTableRanges",
        go_list(&shown),
        "targets too many tables",
    );
}

/// The rules of the CRD's schema.
pub(super) fn schema(spec: &FelixConfigurationSpec, checks: &mut Checks) {
    checks.max_length("spec.nodeSelector", text(&spec.node_selector), 1024);
    let words: [(&str, &str, &[&str]); 19] = [
        (
            "chainInsertMode",
            &spec.chain_insert_mode,
            &["Insert", "Append"],
        ),
        (
            "defaultEndpointToHostAction",
            &spec.default_endpoint_to_host_action,
            &["Drop", "Accept", "Return"],
        ),
        (
            "iptablesFilterAllowAction",
            &spec.iptables_filter_allow_action,
            &["Accept", "Return"],
        ),
        (
            "iptablesMangleAllowAction",
            &spec.iptables_mangle_allow_action,
            &["Accept", "Return"],
        ),
        (
            "iptablesFilterDenyAction",
            &spec.iptables_filter_deny_action,
            &["Drop", "Reject"],
        ),
        ("logSeverityFile", &spec.log_severity_file, LEVELS),
        ("logSeverityScreen", &spec.log_severity_screen, LEVELS),
        ("logSeveritySys", &spec.log_severity_sys, LEVELS),
        (
            "nftablesFilterAllowAction",
            &spec.nftables_filter_allow_action,
            &["Accept", "Return"],
        ),
        (
            "nftablesMangleAllowAction",
            &spec.nftables_mangle_allow_action,
            &["Accept", "Return"],
        ),
        (
            "nftablesFilterDenyAction",
            &spec.nftables_filter_deny_action,
            &["Drop", "Reject"],
        ),
        (
            "bpfLogLevel",
            &spec.bpf_log_level,
            &["Off", "Info", "Debug"],
        ),
        (
            "bpfExternalServiceMode",
            &spec.bpf_external_service_mode,
            &["Tunnel", "DSR"],
        ),
        (
            "bpfMapSizeConntrackScaling",
            &spec.bpf_map_size_conntrack_scaling,
            &["Disabled", "DoubleIfFull"],
        ),
        (
            "bpfEnforceRPF",
            &spec.bpf_enforce_rpf,
            &["Disabled", "Strict", "Loose"],
        ),
        (
            "routeSource",
            &spec.route_source,
            &["WorkloadIPs", "CalicoIPAM"],
        ),
        (
            "serviceLoopPrevention",
            &spec.service_loop_prevention,
            &["Drop", "Reject", "Disabled"],
        ),
        (
            "workloadSourceSpoofing",
            &spec.workload_source_spoofing,
            &["Disabled", "Any"],
        ),
        (
            "iptablesBackend",
            text(&spec.iptables_backend),
            &["Auto", "Legacy", "NFT"],
        ),
    ];
    for (field, value, words) in words {
        let holds = value.is_empty() || words.iter().any(|w| w.eq_ignore_ascii_case(value));
        let path = format!("spec.{field}");
        let reason = format!("{path} in body should match '^(?i)({})?$'", words.join("|"));
        checks.schema(!holds, &path, &reason);
    }
    let some = |value: &String| (!value.is_empty()).then(|| value.clone());
    let enumerated: [(&str, Option<String>, &[&str]); 20] = [
        (
            "iptablesBackend",
            spec.iptables_backend.clone(),
            &["Legacy", "NFT", "Auto"],
        ),
        (
            "prometheusMetricsClientAuth",
            spec.prometheus_metrics_client_auth.clone(),
            &CLIENT_AUTH,
        ),
        (
            "natOutgoingExclusions",
            spec.nat_outgoing_exclusions.clone(),
            &["IPPoolsOnly", "IPPoolsAndHostIPs"],
        ),
        (
            "programClusterRoutes",
            spec.program_cluster_routes.clone(),
            ENABLED,
        ),
        ("ipForwarding", some(&spec.ip_forwarding), ENABLED),
        (
            "nftablesMode",
            spec.nftables_mode.clone(),
            &["Disabled", "Enabled", "Auto"],
        ),
        (
            "bpfJITHardening",
            spec.bpf_jit_hardening.clone(),
            &["Auto", "Strict"],
        ),
        (
            "bpfConntrackLogLevel",
            some(&spec.bpf_conntrack_log_level),
            &["Off", "Debug"],
        ),
        (
            "bpfConntrackMode",
            spec.bpf_conntrack_mode.clone(),
            &["Auto", "Userspace", "BPFProgram"],
        ),
        (
            "bpfConnectTimeLoadBalancing",
            spec.bpf_connect_time_load_balancing.clone(),
            &["TCP", "Enabled", "Disabled"],
        ),
        (
            "bpfHostNetworkedNATWithoutCTLB",
            spec.bpf_host_networked_nat_without_ctlb.clone(),
            ENABLED,
        ),
        ("istioAmbientMode", spec.istio_ambient_mode.clone(), ENABLED),
        (
            "flowLogsPolicyEvaluationMode",
            spec.flow_logs_policy_evaluation_mode.clone(),
            &["None", "Continuous"],
        ),
        (
            "bpfRedirectToPeer",
            some(&spec.bpf_redirect_to_peer),
            ENABLED,
        ),
        (
            "bpfAttachType",
            spec.bpf_attach_type.clone(),
            &["TC", "TCX"],
        ),
        (
            "flowLogsLocalReporter",
            spec.flow_logs_local_reporter.clone(),
            &["Disabled", "Enabled"],
        ),
        ("bpfProfiling", some(&spec.bpf_profiling), ENABLED),
        (
            "awsSrcDstCheck",
            spec.aws_src_dst_check.clone(),
            &["DoNothing", "Enable", "Disable"],
        ),
        ("floatingIPs", spec.floating_ips.clone(), ENABLED),
        (
            "windowsManageFirewallRules",
            spec.windows_manage_firewall_rules.clone(),
            ENABLED,
        ),
    ];
    for (field, value, values) in enumerated {
        checks.supported(&format!("spec.{field}"), value.as_deref(), values);
    }
    checks.bounds(
        "spec.logActionRateLimitBurst",
        spec.log_action_rate_limit_burst,
        0,
        9999,
    );
    rate_limit(spec, checks);
    let both = spec.route_table_range.is_some() && spec.route_table_ranges.is_some();
    checks.spec(
        both,
        "routeTableRange and routeTableRanges cannot both be set",
    );
}

const ENABLED: &[&str] = &["Enabled", "Disabled"];
const LEVELS: &[&str] = &["Trace", "Debug", "Info", "Warning", "Error", "Fatal"];

/// `10/second`, and what may stand before a log's line.
fn rate_limit(spec: &FelixConfigurationSpec, checks: &mut Checks) {
    let limit = text(&spec.log_action_rate_limit);
    let holds = limit.split_once('/').is_some_and(|(count, unit)| {
        (1..=4).contains(&count.len())
            && !count.starts_with('0')
            && count.bytes().all(|b| b.is_ascii_digit())
            && ["second", "minute", "hour", "day"].contains(&unit)
    });
    checks.schema(
        !limit.is_empty() && !holds,
        "spec.logActionRateLimit",
        "spec.logActionRateLimit in body should match '^[1-9]\\d{0,3}/(?:second|minute|hour|day)$'",
    );
    let prefix = &spec.log_prefix;
    let holds = prefix
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"%: /_-".contains(&b));
    checks.schema(
        !holds,
        "spec.logPrefix",
        "spec.logPrefix in body should match '^([a-zA-Z0-9%: /_-])*$'",
    );
}
