//! KubeControllersConfiguration (calico-compat §1.17).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::spec::Others;
use crate::validate::checks::{Checks, go_list, is_cidr, is_log_level, is_name};
use crate::validate::{FieldError, labels};
use crate::{Kind, Object, Spec, Verb};

/// The KubeControllersConfiguration, always named `default`.
pub type KubeControllersConfiguration = Object<KubeControllersConfigurationSpec>;

/// The parameters of Calico's controllers. They are kept for Calico.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubeControllersConfigurationSpec {
    /// Log severity; absent means `Info`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_severity_screen: String,
    /// `Enabled` or `Disabled`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub health_checks: String,
    /// A Go duration; absent means 10 m.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "etcdV3CompactionPeriod",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub etcd_v3_compaction_period: Option<String>,
    /// TCP port; 0 means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus_metrics_port: Option<i64>,
    /// The controllers that run.
    #[serde(default)]
    pub controllers: Controllers,
    /// TCP port; 0 means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debug_profile_port: Option<i32>,
}

/// The controllers; one that is absent does not run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Controllers {
    /// Nodes and what is left of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeController>,
    /// Kubernetes' policies into etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Reconciler>,
    /// Labels of pods into etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_endpoint: Option<Reconciler>,
    /// Service accounts into etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<Reconciler>,
    /// Namespaces into etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Reconciler>,
    /// Addresses of Services of type LoadBalancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancerController>,
    /// The names of older versions' policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_migration: Option<MigrationController>,
}

/// How often a controller looks at everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reconciler {
    /// A Go duration; absent means 5 m.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub reconciler_period: Option<String>,
}

/// The controller of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeController {
    /// A Go duration; absent means 5 m.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub reconciler_period: Option<String>,
    /// `Enabled` or `Disabled`: Kubernetes' labels to Calico's nodes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sync_labels: String,
    /// HostEndpoints that are made by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_endpoint: Option<AutoHostEndpoint>,
    /// How long an address may be without an owner, a Go duration.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub leak_grace_period: Option<String>,
}

/// HostEndpoints that are made by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AutoHostEndpoint {
    /// `Enabled` or `Disabled`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub auto_create: String,
    /// `Enabled` or `Disabled`: one of all interfaces.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub create_default_host_endpoint: String,
    /// One of some interfaces each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<HostEndpointTemplate>,
}

/// A HostEndpoint of some interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostEndpointTemplate {
    /// Its name's end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub generate_name: String,
    /// Interfaces with addresses in these.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        rename = "interfaceCIDRs"
    )]
    pub interface_cidrs: Vec<String>,
    /// Interfaces by name, a regular expression.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interface_pattern: String,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The nodes that have it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node_selector: String,
}

/// The controller of load balancers' addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancerController {
    /// `AllServices` or `RequestedServicesOnly`.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "assignIPs"
    )]
    pub assign_ips: String,
}

/// The controller of policies' names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MigrationController {
    /// `Enabled` or `Disabled`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub enabled: String,
}

/// What the controllers say; written as `{}` when empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubeControllersConfigurationStatus {
    /// What they run with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_config: Option<KubeControllersConfigurationSpec>,
    /// Their environment, as far as it says what to do.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment_vars: BTreeMap<String, String>,
}

const METRICS_PORT: i64 = 9094;
const LEAK_GRACE_PERIOD: &str = "15m0s";

impl Spec for KubeControllersConfigurationSpec {
    const KIND: Kind = Kind::KubeControllersConfiguration;
    type Status = KubeControllersConfigurationStatus;

    fn set_defaults(object: &mut KubeControllersConfiguration) {
        let default = |field: &mut String, value: &str| {
            if field.is_empty() {
                *field = value.to_string();
            }
        };
        let spec = &mut object.spec;
        default(&mut spec.health_checks, "Enabled");
        spec.prometheus_metrics_port.get_or_insert(METRICS_PORT);
        let controllers = &mut spec.controllers;
        if let Some(node) = &mut controllers.node {
            node.leak_grace_period
                .get_or_insert_with(|| LEAK_GRACE_PERIOD.to_string());
        }
        if let Some(balancer) = &mut controllers.load_balancer {
            default(&mut balancer.assign_ips, "AllServices");
        }
        if let Some(migration) = &mut controllers.policy_migration {
            default(&mut migration.enabled, "Enabled");
        }
    }

    fn check(
        object: &KubeControllersConfiguration,
        _stored: Option<&KubeControllersConfiguration>,
        _others: &Others<'_>,
    ) -> Vec<FieldError> {
        templates_alone(templates(&object.spec))
    }

    fn validate(object: &KubeControllersConfiguration) -> Vec<FieldError> {
        let spec = &object.spec;
        let mut checks = Checks::default();
        tags(spec, &mut checks);
        schema(spec, &mut checks);
        checks.fields
    }

    fn refuse(object: &KubeControllersConfiguration, _verb: Verb) -> Option<String> {
        (object.metadata.name != "default").then(|| {
            "Cannot create a Kube Controllers Configuration resource with a name other than \"default\"".to_string()
        })
    }
}

fn templates(spec: &KubeControllersConfigurationSpec) -> &[HostEndpointTemplate] {
    let node = spec.controllers.node.as_ref();
    node.and_then(|n| n.host_endpoint.as_ref())
        .map_or(&[], |h| h.templates.as_slice())
}

/// The library's checks; the first that fails is the only one that is told.
fn templates_alone(templates: &[HostEndpointTemplate]) -> Vec<FieldError> {
    const TEMPLATES: &str = "KubeControllersConfiguration.Node.HostEndpoint.Templates";
    let wrong = templates.iter().enumerate().find_map(|(i, template)| {
        let name = template.generate_name.as_str();
        if name.is_empty() {
            return Some((TEMPLATES.to_string(), "Template name must be specified"));
        }
        if name.len() > 253 {
            let reason = "Template name must be shorter than 253 characters";
            return Some((TEMPLATES.to_string(), reason));
        }
        let named = format!("{TEMPLATES}.{name}");
        if templates[..i]
            .iter()
            .any(|other| other.generate_name == name)
        {
            return Some((named, "Template name must be unique"));
        }
        let nothing = template.interface_cidrs.is_empty() && template.interface_pattern.is_empty();
        nothing.then_some((
            named,
            "InterfaceCIDRs or InterfacePattern must be specified",
        ))
    });
    wrong
        .into_iter()
        .map(|(field, reason)| FieldError::without_value(field, reason))
        .collect()
}

fn is_switch(text: &str) -> bool {
    ["Enabled", "Disabled"].contains(&text)
}

fn is_assignment(text: &str) -> bool {
    ["AllServices", "RequestedServicesOnly"].contains(&text)
}

/// The validator's rules.
fn tags(spec: &KubeControllersConfigurationSpec, checks: &mut Checks) {
    checks.tag(
        "LogSeverityScreen",
        &spec.log_severity_screen,
        "logLevel",
        is_log_level,
    );
    checks.tag("HealthChecks", &spec.health_checks, "oneof", is_switch);
    if let Some(node) = &spec.controllers.node {
        checks.tag("SyncLabels", &node.sync_labels, "oneof", is_switch);
    }
    let host = spec
        .controllers
        .node
        .as_ref()
        .and_then(|n| n.host_endpoint.as_ref());
    if let Some(host) = host {
        checks.tag("AutoCreate", &host.auto_create, "oneof", is_switch);
        let own = &host.create_default_host_endpoint;
        checks.tag(
            "CreateDefaultHostEndpoint",
            own,
            "createDefaultHostEndpoint",
            is_switch,
        );
    }
    for template in templates(spec) {
        checks.tag("GenerateName", &template.generate_name, "name", is_name);
        let cidrs = &template.interface_cidrs;
        if !cidrs.iter().all(|c| is_cidr(c)) {
            checks
                .fields
                .push(FieldError::tag("InterfaceCIDRs", go_list(cidrs), "cidrs"));
        }
        if !labels(&template.labels).is_empty() {
            let pairs: Vec<String> = template
                .labels
                .iter()
                .map(|(k, v)| format!("{k}:{v}"))
                .collect();
            let shown = format!("map[{}]", pairs.join(" "));
            checks
                .fields
                .push(FieldError::tag("Labels", shown, "labels"));
        }
        checks.selector_tag("NodeSelector", &template.node_selector);
    }
    if let Some(balancer) = &spec.controllers.load_balancer {
        checks.tag(
            "AssignIPs",
            &balancer.assign_ips,
            "assignIPs",
            is_assignment,
        );
    }
    if let Some(migration) = &spec.controllers.policy_migration {
        checks.tag("PolicyNameMigrator", &migration.enabled, "oneof", is_switch);
    }
}

/// The rules of the CRD's schema.
fn schema(spec: &KubeControllersConfigurationSpec, checks: &mut Checks) {
    const SWITCH: &[&str] = &["Enabled", "Disabled"];
    fn some(text: &str) -> Option<&str> {
        (!text.is_empty()).then_some(text)
    }
    checks.supported(
        "spec.logSeverityScreen",
        some(&spec.log_severity_screen),
        &[
            "None", "Debug", "Info", "Warning", "Error", "Fatal", "Panic",
        ],
    );
    checks.supported("spec.healthChecks", some(&spec.health_checks), SWITCH);
    checks.bounds(
        "spec.prometheusMetricsPort",
        spec.prometheus_metrics_port,
        0,
        65535,
    );
    checks.bounds(
        "spec.debugProfilePort",
        spec.debug_profile_port.map(i64::from),
        0,
        65535,
    );
    let controllers = &spec.controllers;
    if let Some(node) = &controllers.node {
        checks.supported(
            "spec.controllers.node.syncLabels",
            some(&node.sync_labels),
            SWITCH,
        );
        if let Some(host) = &node.host_endpoint {
            let path = "spec.controllers.node.hostEndpoint.autoCreate";
            checks.supported(path, some(&host.auto_create), SWITCH);
        }
    }
    if let Some(balancer) = &controllers.load_balancer {
        let path = "spec.controllers.loadBalancer.assignIPs";
        checks.supported(
            path,
            some(&balancer.assign_ips),
            &["AllServices", "RequestedServicesOnly"],
        );
    }
    if let Some(migration) = &controllers.policy_migration {
        let path = "spec.controllers.policyMigration.enabled";
        checks.supported(path, some(&migration.enabled), &["Disabled", "Enabled"]);
    }
}
