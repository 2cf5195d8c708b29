//! StagedGlobalNetworkPolicy (calico-compat §1.11).

use super::policy::{self, Global, policy_spec, policy_storage};
use crate::spec::Need;
use crate::validate::FieldError;
use crate::validate::checks::Checks;
use crate::{Key, Kind, NoStatus, Object, Spec};

/// A StagedGlobalNetworkPolicy.
pub type StagedGlobalNetworkPolicy = Object<StagedGlobalNetworkPolicySpec>;

policy_spec! {
    /// A GlobalNetworkPolicy that is not enforced yet.
    pub struct StagedGlobalNetworkPolicySpec;
    first {
        /// What it does with the policy of its name: `Set`, `Delete`, `Learn` or `Ignore`.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub staged_action: String,
    }
    after types {
        /// Before connection tracking.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub do_not_track: bool,
        /// Before addresses are translated.
        #[serde(default, skip_serializing_if = "std::ops::Not::not", rename = "preDNAT")]
        pub pre_dnat: bool,
        /// Also for what a host only forwards.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub apply_on_forward: bool,
    }
    after service accounts {
        /// The namespaces of its endpoints.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub namespace_selector: String,
    }
}

impl Spec for StagedGlobalNetworkPolicySpec {
    const KIND: Kind = Kind::StagedGlobalNetworkPolicy;
    type Status = NoStatus;

    fn set_defaults(policy: &mut StagedGlobalNetworkPolicy) {
        policy::set_staged_defaults(policy, |spec| &mut spec.staged_action);
    }

    policy_storage!();

    fn validate(policy: &StagedGlobalNetworkPolicy) -> Vec<FieldError> {
        let spec = &policy.spec;
        let mut checks = Checks::default();
        policy::staged_action(&spec.staged_action, &mut checks);
        let namespaces = |checks: &mut Checks| {
            checks.selector_tag("NamespaceSelector", &spec.namespace_selector)
        };
        policy::fields(policy, namespaces, &mut checks);
        policy::name(&policy.metadata.name, false, &mut checks);
        if spec.staged_action == "Delete" {
            let nothing = StagedGlobalNetworkPolicySpec {
                staged_action: spec.staged_action.clone(),
                tier: spec.tier.clone(),
                ..StagedGlobalNetworkPolicySpec::default()
            };
            checks.rule(
                *spec != nothing,
                "StagedGlobalNetworkPolicySpec",
                "{...}",
                "Spec fields, except Tier, should all be zero-value if stagedAction is Delete",
            );
        } else {
            policy::global_rules(policy, &global(spec), &mut checks);
        }
        let action = (!spec.staged_action.is_empty()).then_some(spec.staged_action.as_str());
        checks.supported("spec.stagedAction", action, &policy::STAGED_ACTIONS);
        policy::schema(policy, &mut checks);
        policy::global_schema(policy, &global(spec), &mut checks);
        checks.fields
    }
}

fn global(spec: &StagedGlobalNetworkPolicySpec) -> Global<'_> {
    Global {
        do_not_track: spec.do_not_track,
        pre_dnat: spec.pre_dnat,
        apply_on_forward: spec.apply_on_forward,
        namespace_selector: &spec.namespace_selector,
    }
}
