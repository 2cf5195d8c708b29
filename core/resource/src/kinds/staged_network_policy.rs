//! StagedNetworkPolicy (calico-compat §1.11).

use super::policy::{self, policy_spec, policy_storage};
use crate::spec::Need;
use crate::validate::FieldError;
use crate::validate::checks::Checks;
use crate::{Key, Kind, NoStatus, Object, Spec};

/// A StagedNetworkPolicy.
pub type StagedNetworkPolicy = Object<StagedNetworkPolicySpec>;

policy_spec! {
    /// A NetworkPolicy that is not enforced yet.
    pub struct StagedNetworkPolicySpec;
    first {
        /// What it does with the policy of its name: `Set`, `Delete`, `Learn` or `Ignore`.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub staged_action: String,
    }
    after types {}
    after service accounts {}
}

impl Spec for StagedNetworkPolicySpec {
    const KIND: Kind = Kind::StagedNetworkPolicy;
    type Status = NoStatus;

    fn set_defaults(policy: &mut StagedNetworkPolicy) {
        policy::set_staged_defaults(policy, |spec| &mut spec.staged_action);
    }

    policy_storage!();

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
