//! NetworkPolicy (calico-compat §1.11).

use serde::{Deserialize, Serialize};

use super::forms::go_float;
use super::policy::{self, Common, Policy};
use super::rule::Rule;
use crate::spec::Need;
use crate::validate::FieldError;
use crate::validate::checks::Checks;
use crate::{Key, Kind, NoStatus, Object, Spec, Verb};

/// A NetworkPolicy.
pub type NetworkPolicy = Object<NetworkPolicySpec>;

/// Which traffic the endpoints of a namespace may have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkPolicySpec {
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

impl Policy for NetworkPolicySpec {
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

impl Spec for NetworkPolicySpec {
    const KIND: Kind = Kind::NetworkPolicy;
    type Status = NoStatus;

    fn set_defaults(policy: &mut NetworkPolicy) {
        let spec = &mut policy.spec;
        let (ingress, egress) = (!spec.ingress.is_empty(), !spec.egress.is_empty());
        policy::set_defaults(&mut spec.tier, &mut spec.types, ingress, egress);
        policy::label(&mut policy.metadata, &policy.spec.tier);
    }

    fn complete(policy: &mut NetworkPolicy) {
        policy::show_name(&mut policy.metadata, &policy.spec.tier);
    }

    fn prepare(policy: &mut NetworkPolicy) {
        policy::hide_name(&mut policy.metadata);
    }

    fn old_key(key: &Key) -> Option<Key> {
        policy::old_key(key)
    }

    fn needs(policy: &NetworkPolicy, creates: bool) -> Vec<Need> {
        policy::needs(policy, creates)
    }

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
