//! NetworkPolicy (calico-compat §1.11).

use super::policy::{self, policy_spec, policy_storage};
use crate::spec::Need;
use crate::validate::FieldError;
use crate::validate::checks::Checks;
use crate::{Key, Kind, NoStatus, Object, Spec, Verb};

/// A NetworkPolicy.
pub type NetworkPolicy = Object<NetworkPolicySpec>;

policy_spec! {
    /// Which traffic the endpoints of a namespace may have.
    pub struct NetworkPolicySpec;
    first {}
    after types {}
    after service accounts {}
}

impl Spec for NetworkPolicySpec {
    const KIND: Kind = Kind::NetworkPolicy;
    type Status = NoStatus;

    fn set_defaults(policy: &mut NetworkPolicy) {
        policy::set_defaults(policy);
    }

    policy_storage!();

    fn validate(policy: &NetworkPolicy) -> Vec<FieldError> {
        let mut checks = Checks::default();
        policy::fields(policy, |_| (), &mut checks);
        policy::name(&policy.metadata.name, true, &mut checks);
        policy::between_fields(policy, "NetworkPolicySpec", false, &mut checks);
        policy::schema(policy, &mut checks);
        checks.fields
    }

    /// Policies that Kubernetes has are Kubernetes' to change.
    fn refuse(policy: &NetworkPolicy, verb: Verb) -> Option<String> {
        let operation = match verb {
            Verb::Create => "create or apply",
            Verb::Replace => "apply or replace",
            Verb::Apply => return None,
        };
        refusal(&policy.key(), operation)
    }

    fn refuse_delete(key: &Key) -> Option<String> {
        refusal(key, "delete")
    }
}

fn refusal(key: &Key, operation: &str) -> Option<String> {
    let Key::Resource { name, .. } = key else {
        return None;
    };
    name.starts_with("knp.default.").then(|| {
        format!(
            "operation {operation} is not supported on {key}: kubernetes network policies must be managed through the kubernetes API"
        )
    })
}
