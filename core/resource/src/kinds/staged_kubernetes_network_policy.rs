//! StagedKubernetesNetworkPolicy (calico-compat §1.11).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::policy;
use crate::validate::FieldError;
use crate::validate::checks::Checks;
use crate::{Kind, NoStatus, Object, Spec};

/// A NetworkPolicy of Kubernetes that is not enforced yet.
pub type StagedKubernetesNetworkPolicy = Object<StagedKubernetesNetworkPolicySpec>;

/// Kubernetes' NetworkPolicySpec, and what is to become of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StagedKubernetesNetworkPolicySpec {
    /// What it does with the policy of its name: `Set`, `Delete`, `Learn` or `Ignore`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub staged_action: String,
    /// The pods that it is about; empty means all.
    #[serde(default)]
    pub pod_selector: LabelSelector,
    /// Rules for what comes in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<KubernetesIngressRule>,
    /// Rules for what goes out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<KubernetesEgressRule>,
    /// `Ingress`, `Egress`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_types: Vec<String>,
}

/// Kubernetes' label selector: all of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// Labels and their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Conditions on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelRequirement>,
}

/// A condition on a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelRequirement {
    /// The label.
    #[serde(default)]
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    #[serde(default)]
    pub operator: String,
    /// Values, for the first two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// A rule for what comes in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesIngressRule {
    /// Ports; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<KubernetesPolicyPort>,
    /// From where; none means from everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<KubernetesPolicyPeer>,
}

/// A rule for what goes out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesEgressRule {
    /// Ports; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<KubernetesPolicyPort>,
    /// Whereto; none means everywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<KubernetesPolicyPeer>,
}

/// A port, or a range.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesPolicyPort {
    /// `TCP` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// A number or a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Value>,
    /// The range's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_port: Option<i32>,
}

/// One end of the traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubernetesPolicyPeer {
    /// Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// Namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_block: Option<IpBlock>,
}

/// A range but for some within.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpBlock {
    /// The range.
    #[serde(default)]
    pub cidr: String,
    /// What is not meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

impl Spec for StagedKubernetesNetworkPolicySpec {
    const KIND: Kind = Kind::StagedKubernetesNetworkPolicy;
    type Status = NoStatus;

    fn set_defaults(policy: &mut StagedKubernetesNetworkPolicy) {
        if policy.spec.staged_action.is_empty() {
            policy.spec.staged_action = "Set".to_string();
        }
    }

    fn validate(policy: &StagedKubernetesNetworkPolicy) -> Vec<FieldError> {
        let spec = &policy.spec;
        let mut checks = Checks::default();
        policy::staged_action(&spec.staged_action, &mut checks);
        if spec.staged_action == "Delete" {
            let nothing = StagedKubernetesNetworkPolicySpec {
                staged_action: spec.staged_action.clone(),
                ..StagedKubernetesNetworkPolicySpec::default()
            };
            checks.rule(
                *spec != nothing,
                "StagedKubernetesNetworkPolicySpec",
                "{...}",
                "Spec fields should all be zero-value if stagedAction is Delete",
            );
        }
        let action = (!spec.staged_action.is_empty()).then_some(spec.staged_action.as_str());
        checks.supported("spec.stagedAction", action, &policy::STAGED_ACTIONS);
        checks.max_items("spec.policyTypes", spec.policy_types.len(), 2);
        checks.fields
    }
}
