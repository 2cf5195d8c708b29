//! StagedNetworkPolicy (calico-compat §1.11).

use serde::{Deserialize, Serialize};

use super::forms::go_float;
use super::policy::{self, Common, Policy};
use super::rule::Rule;
use crate::spec::Need;
use crate::validate::FieldError;
use crate::validate::checks::Checks;
use crate::{Key, Kind, NoStatus, Object, Spec};

/// A StagedNetworkPolicy.
pub type StagedNetworkPolicy = Object<StagedNetworkPolicySpec>;

/// A NetworkPolicy that is not enforced yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StagedNetworkPolicySpec {
    /// What it does with the policy of its name: `Set`, `Delete`, `Learn` or `Ignore`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub staged_action: String,
    /// Its tier, which must be there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tier: String,
    /// Its place in the tier; lower comes first, none comes last.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "go_float")]
    pub order: Option<f64>,
    /// Rules for what comes in, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<Rule>,
    /// Rules for what goes out, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Rule>,
    /// The endpoints that it is about; empty means all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// `Ingress`, `Egress`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// The service accounts of its pods.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service_account_selector: String,
    /// `AssumeNeededOnEveryNode`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub performance_hints: Vec<String>,
}

impl Policy for StagedNetworkPolicySpec {
    fn common(&self) -> Common<'_> {
        Common {
            tier: &self.tier,
            ingress: &self.ingress,
            egress: &self.egress,
            selector: &self.selector,
            types: &self.types,
            service_account_selector: &self.service_account_selector,
            performance_hints: &self.performance_hints,
        }
    }
}

impl Spec for StagedNetworkPolicySpec {
    const KIND: Kind = Kind::StagedNetworkPolicy;
    type Status = NoStatus;

    fn set_defaults(policy: &mut StagedNetworkPolicy) {
        let spec = &mut policy.spec;
        if spec.staged_action.is_empty() {
            spec.staged_action = "Set".to_string();
        }
        let (ingress, egress) = (!spec.ingress.is_empty(), !spec.egress.is_empty());
        // What only says that a policy goes has nothing else to say.
        let deletes = spec.staged_action == "Delete" && spec.types.is_empty();
        policy::set_defaults(&mut spec.tier, &mut spec.types, ingress, egress);
        if deletes {
            spec.types.clear();
        }
        policy::label(&mut policy.metadata, &policy.spec.tier);
    }

    fn complete(policy: &mut StagedNetworkPolicy) {
        policy::show_name(&mut policy.metadata, &policy.spec.tier);
    }

    fn prepare(policy: &mut StagedNetworkPolicy) {
        policy::hide_name(&mut policy.metadata);
    }

    fn old_key(key: &Key) -> Option<Key> {
        policy::old_key(key)
    }

    fn needs(policy: &StagedNetworkPolicy, creates: bool) -> Vec<Need> {
        policy::needs(policy, creates)
    }

    fn validate(policy: &StagedNetworkPolicy) -> Vec<FieldError> {
        let spec = &policy.spec;
        let mut checks = Checks::default();
        policy::staged_action(&spec.staged_action, &mut checks);
        policy::fields(policy, |_| (), &mut checks);
        policy::name(&policy.metadata.name, true, &mut checks);
        if spec.staged_action == "Delete" {
            let nothing = StagedNetworkPolicySpec {
                staged_action: spec.staged_action.clone(),
                tier: spec.tier.clone(),
                ..StagedNetworkPolicySpec::default()
            };
            checks.rule(
                *spec != nothing,
                "StagedNetworkPolicySpec",
                "{...}",
                "Spec fields, except Tier, should all be zero-value if stagedAction is Delete",
            );
        } else {
            policy::between_fields(policy, "NetworkPolicySpec", false, &mut checks);
        }
        let action = (!spec.staged_action.is_empty()).then_some(spec.staged_action.as_str());
        checks.supported("spec.stagedAction", action, &policy::STAGED_ACTIONS);
        policy::schema(policy, &mut checks);
        checks.fields
    }
}
