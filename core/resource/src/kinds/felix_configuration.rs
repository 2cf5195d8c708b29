//! FelixConfiguration (calico-compat §1.18).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::felix_rules::{schema, tags, values};
use super::forms::{NumberOrName, Port};
use crate::validate::FieldError;
use crate::validate::checks::Checks;
use crate::{Kind, NoStatus, Object, Spec};

/// A FelixConfiguration: `default` for all nodes, `node.NAME` for one.
pub type FelixConfiguration = Object<FelixConfigurationSpec>;

/// The parameters of Calico's agent, by its own names. They are kept for Calico; nothing here acts on them.
#[allow(
    missing_docs,
    reason = "Calico's reference of Felix's parameters describes them by these names"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FelixConfigurationSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_internal_dataplane_driver: Option<bool>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dataplane_driver: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub dataplane_watchdog_timeout: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_support: Option<bool>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub route_refresh_interval: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub interface_refresh_interval: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub iptables_refresh_interval: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub iptables_post_write_check_interval: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub iptables_lock_probe_interval: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub feature_detect_override: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub feature_gates: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub ipsets_refresh_interval: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ipset_size: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iptables_backend: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub xdp_refresh_interval: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub netlink_timeout: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata_addr: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_port: Option<i64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub openstack_region: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interface_prefix: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interface_exclude: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub chain_insert_mode: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub default_endpoint_to_host_action: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub iptables_filter_allow_action: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub iptables_mangle_allow_action: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub iptables_filter_deny_action: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_prefix: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_action_rate_limit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_action_rate_limit_burst: Option<i64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_file_path: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_severity_file: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_severity_screen: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_severity_sys: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_debug_filename_regex: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipip_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "ipipMTU")]
    pub ipip_mtu: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vxlan_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "vxlanMTU")]
    pub vxlan_mtu: Option<i64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "vxlanMTUV6"
    )]
    pub vxlan_mtu_v6: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vxlan_port: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "vxlanVNI")]
    pub vxlan_vni: Option<i64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "allowVXLANPacketsFromWorkloads"
    )]
    pub allow_vxlan_packets_from_workloads: Option<bool>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "allowIPIPPacketsFromWorkloads"
    )]
    pub allow_ipip_packets_from_workloads: Option<bool>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub reporting_interval: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "reportingTTL",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub reporting_ttl: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_reporting_enabled: Option<bool>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub endpoint_reporting_delay: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub endpoint_status_path_prefix: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iptables_mark_mask: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disable_conntrack_invalid_check: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_port: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health_timeout_overrides: Vec<HealthTimeoutOverride>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus_metrics_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prometheus_metrics_host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus_metrics_port: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus_go_metrics_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus_process_metrics_enabled: Option<bool>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "prometheusWireGuardMetricsEnabled"
    )]
    pub prometheus_wireguard_metrics_enabled: Option<bool>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "prometheusMetricsCAFile"
    )]
    pub prometheus_metrics_ca_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus_metrics_cert_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus_metrics_key_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus_metrics_client_auth: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failsafe_inbound_host_ports: Option<Vec<ProtoPort>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failsafe_outbound_host_ports: Option<Vec<ProtoPort>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_node_port_ranges: Option<Vec<Port>>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub policy_sync_path_prefix: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_reporting_enabled: Option<bool>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub usage_reporting_initial_delay: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub usage_reporting_interval: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat_port_range: Option<Port>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub nat_outgoing_address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat_outgoing_exclusions: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device_route_source_address: String,
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "deviceRouteSourceAddressIPv6"
    )]
    pub device_route_source_address_ipv6: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_route_protocol: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove_external_routes: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_cluster_routes: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ip_forwarding: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_nodes_list: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub debug_memory_profile_path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debug_disable_log_dropping: Option<bool>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub debug_simulate_calc_graph_hang_after: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub debug_simulate_dataplane_hang_after: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub debug_simulate_dataplane_apply_delay: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debug_host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debug_port: Option<i64>,
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "iptablesNATOutgoingInterfaceFilter"
    )]
    pub iptables_nat_outgoing_interface_filter: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar_acceleration_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xdp_enabled: Option<bool>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "genericXDPEnabled"
    )]
    pub generic_xdp_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nftables_mode: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub nftables_refresh_interval: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub nftables_filter_allow_action: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub nftables_mangle_allow_action: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub nftables_filter_deny_action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nftables_mark_mask: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_disable_unprivileged: Option<bool>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "bpfJITHardening"
    )]
    pub bpf_jit_hardening: Option<String>,
    #[serde(default)]
    pub bpf_log_level: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bpf_conntrack_log_level: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_conntrack_mode: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_conntrack_timeouts: Option<BpfConntrackTimeouts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_log_filters: Option<BTreeMap<String, String>>,
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "bpfCTLBLogFilter"
    )]
    pub bpf_ctlb_log_filter: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bpf_data_iface_pattern: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bpf_l3_iface_pattern: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_connect_time_load_balancing_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_connect_time_load_balancing: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "bpfHostNetworkedNATWithoutCTLB"
    )]
    pub bpf_host_networked_nat_without_ctlb: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bpf_external_service_mode: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "bpfDSROptoutCIDRs"
    )]
    pub bpf_dsr_optout_cidrs: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_ext_to_service_connmark: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_kube_proxy_iptables_cleanup_enabled: Option<bool>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub bpf_kube_proxy_min_sync_period: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_kube_proxy_healthz_port: Option<i64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "bpfPSNATPorts"
    )]
    pub bpf_psnat_ports: Option<Port>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "bpfMapSizeNATFrontend"
    )]
    pub bpf_map_size_nat_frontend: Option<i64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "bpfMapSizeNATBackend"
    )]
    pub bpf_map_size_nat_backend: Option<i64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "bpfMapSizeNATAffinity"
    )]
    pub bpf_map_size_nat_affinity: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_map_size_route: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_map_size_conntrack: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_map_size_per_cpu_conntrack: Option<i64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bpf_map_size_conntrack_scaling: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_map_size_conntrack_cleanup_queue: Option<i64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "bpfMapSizeIPSets"
    )]
    pub bpf_map_size_ipsets: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_map_size_if_state: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_host_conntrack_bypass: Option<bool>,
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "bpfEnforceRPF"
    )]
    pub bpf_enforce_rpf: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_policy_debug_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_force_track_packets_from_ifaces: Option<Vec<String>>,
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "bpfDisableGROForIfaces"
    )]
    pub bpf_disable_gro_for_ifaces: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "bpfExcludeCIDRsFromNAT"
    )]
    pub bpf_exclude_cidrs_from_nat: Option<Vec<String>>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "bpfExportBufferSizeMB"
    )]
    pub bpf_export_buffer_size_mb: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub istio_ambient_mode: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "istioDSCPMark"
    )]
    pub istio_dscp_mark: Option<NumberOrName>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cgroup_v2_path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_logs_policy_evaluation_mode: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bpf_redirect_to_peer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_attach_type: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub flow_logs_flush_interval: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_logs_collector_debug_trace: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_logs_goldmane_server: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_logs_local_reporter: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bpf_profiling: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub route_source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_table_ranges: Option<Vec<RouteTableRange>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_table_range: Option<RouteTableRange>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_sync_disabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_normal_route_priority: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_elevated_route_priority: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_normal_route_priority: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_elevated_route_priority: Option<i64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub live_migration_route_convergence_time: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wireguard_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wireguard_enabled_v6: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wireguard_threading_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wireguard_listening_port: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wireguard_listening_port_v6: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wireguard_routing_rule_priority: Option<i64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub wireguard_interface_name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub wireguard_interface_name_v6: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "wireguardMTU"
    )]
    pub wireguard_mtu: Option<i64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "wireguardMTUV6"
    )]
    pub wireguard_mtu_v6: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wireguard_host_encryption_enabled: Option<bool>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub wireguard_keep_alive: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_src_dst_check: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service_loop_prevention: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub workload_source_spoofing: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mtu_iface_pattern: String,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "floatingIPs"
    )]
    pub floating_ips: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows_manage_firewall_rules: Option<String>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "goGCThreshold"
    )]
    pub go_gc_threshold: Option<i64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "goMemoryLimitMB"
    )]
    pub go_memory_limit_mb: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go_max_procs: Option<i64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "requireMTUFile"
    )]
    pub require_mtu_file: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_maglev_max_endpoints_per_service: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bpf_maglev_max_services: Option<i64>,
}

/// A port that is open whatever policies say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProtoPort {
    /// `tcp` or `udp`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// The port.
    #[serde(default)]
    pub port: u16,
    /// For these addresses only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub net: String,
}

/// Routing tables from one to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteTableRange {
    /// The first.
    #[serde(default)]
    pub min: i64,
    /// The last.
    #[serde(default)]
    pub max: i64,
}

/// How long a part of the agent may be silent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthTimeoutOverride {
    /// The part.
    #[serde(default)]
    pub name: String,
    /// A Go duration.
    #[serde(default = "no_time", deserialize_with = "time")]
    pub timeout: String,
}

/// How long connections are remembered: durations, or `Auto`.
#[allow(missing_docs, reason = "as for the fields of the configuration")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BpfConntrackTimeouts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_grace_period: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_syn_sent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_established: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_fins_seen: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_reset_seen: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_timeout: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generic_timeout: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_timeout: Option<String>,
}

fn no_time() -> String {
    "0s".to_string()
}

fn time<'de, D: serde::Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    Ok(super::duration::go_duration(d)?.unwrap_or_else(no_time))
}

impl Spec for FelixConfigurationSpec {
    const KIND: Kind = Kind::FelixConfiguration;
    type Status = NoStatus;

    fn set_defaults(object: &mut FelixConfiguration) {
        let spec = &mut object.spec;
        let default = |field: &mut Option<String>, value: &str| {
            field.get_or_insert_with(|| value.to_string());
        };
        default(&mut spec.nftables_mode, "Auto");
        default(&mut spec.floating_ips, "Disabled");
        default(&mut spec.bpf_connect_time_load_balancing, "TCP");
        default(&mut spec.bpf_host_networked_nat_without_ctlb, "Enabled");
        // The older of two fields decides where it is given.
        if let Some(enabled) = spec.bpf_connect_time_load_balancing_enabled {
            let which = if enabled { "Enabled" } else { "Disabled" };
            spec.bpf_connect_time_load_balancing = Some(which.to_string());
            spec.bpf_host_networked_nat_without_ctlb = Some("Disabled".to_string());
        }
    }

    fn validate(object: &FelixConfiguration) -> Vec<FieldError> {
        let spec = &object.spec;
        let mut checks = Checks::default();
        tags(spec, &mut checks);
        values(spec, &mut checks);
        schema(spec, &mut checks);
        let name = object.metadata.name.as_str();
        checks.schema(
            spec.node_selector.is_some() && (name == "default" || name.starts_with("node.")),
            "FelixConfiguration",
            "nodeSelector must not be set on the 'default' or per-node ('node.*') FelixConfiguration",
        );
        checks.fields
    }
}
