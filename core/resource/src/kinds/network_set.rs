//! GlobalNetworkSet and NetworkSet (calico-compat §1.14).

use serde::{Deserialize, Serialize};

use crate::validate::FieldError;
use crate::validate::checks::{Checks, is_cidr};
use crate::{Kind, Metadata, NoStatus, Object, Spec};

/// Addresses outside that policies may select by label, for the whole cluster.
pub type GlobalNetworkSet = Object<GlobalNetworkSetSpec>;
/// The same for one namespace.
pub type NetworkSet = Object<NetworkSetSpec>;

/// Which addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalNetworkSetSpec {
    /// Addresses and ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nets: Vec<String>,
}

/// Which addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSetSpec {
    /// Addresses and ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nets: Vec<String>,
}

impl Spec for GlobalNetworkSetSpec {
    const KIND: Kind = Kind::GlobalNetworkSet;
    type Status = NoStatus;

    fn validate(set: &GlobalNetworkSet) -> Vec<FieldError> {
        rules(&set.metadata, &set.spec.nets)
    }
}

impl Spec for NetworkSetSpec {
    const KIND: Kind = Kind::NetworkSet;
    type Status = NoStatus;

    fn validate(set: &NetworkSet) -> Vec<FieldError> {
        rules(&set.metadata, &set.spec.nets)
    }
}

fn rules(metadata: &Metadata, nets: &[String]) -> Vec<FieldError> {
    const NAMESPACE: &str = "projectcalico.org/namespace";
    let mut checks = Checks::default();
    for (i, net) in nets.iter().enumerate() {
        checks.item("Nets", i, net, "cidr", is_cidr);
    }
    checks.rule(
        metadata.labels.contains_key(NAMESPACE),
        "Metadata.Labels (label)",
        NAMESPACE,
        "projectcalico.org/namespace is not a valid label name",
    );
    checks.fields
}
