//! GlobalNetworkPolicy (calico-compat §1.11).

use super::policy::{self, Global, policy_spec, policy_storage};
use crate::spec::Need;
use crate::validate::FieldError;
use crate::validate::checks::Checks;
use crate::{Key, Kind, NoStatus, Object, Spec};

/// A GlobalNetworkPolicy.
pub type GlobalNetworkPolicy = Object<GlobalNetworkPolicySpec>;

policy_spec! {
    /// Which traffic endpoints of the whole cluster may have.
    pub struct GlobalNetworkPolicySpec;
    first {}
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

impl Spec for GlobalNetworkPolicySpec {
    const KIND: Kind = Kind::GlobalNetworkPolicy;
    type Status = NoStatus;

    fn set_defaults(policy: &mut GlobalNetworkPolicy) {
        policy::set_defaults(policy);
    }

    policy_storage!();

    fn validate(policy: &GlobalNetworkPolicy) -> Vec<FieldError> {
        let spec = &policy.spec;
        let mut checks = Checks::default();
        let namespaces = |checks: &mut Checks| {
            checks.selector_tag("NamespaceSelector", &spec.namespace_selector)
        };
        policy::fields(policy, namespaces, &mut checks);
        policy::name(&policy.metadata.name, false, &mut checks);
        policy::global_rules(policy, &global(spec), &mut checks);
        policy::schema(policy, &mut checks);
        policy::global_schema(policy, &global(spec), &mut checks);
        checks.fields
    }
}

fn global(spec: &GlobalNetworkPolicySpec) -> Global<'_> {
    Global {
        do_not_track: spec.do_not_track,
        pre_dnat: spec.pre_dnat,
        apply_on_forward: spec.apply_on_forward,
        namespace_selector: &spec.namespace_selector,
    }
}
