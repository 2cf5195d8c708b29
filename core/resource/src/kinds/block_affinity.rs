//! BlockAffinity as a v3 kind (calico-compat §1.8): a view of what address management stores, for reading only.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::AffinityState;
use crate::validate::FieldError;
use crate::validate::checks::Checks;
use crate::{Key, Kind, Metadata, NoStatus, Object, Spec, Verb};

/// A node's claim on a block, as a resource.
pub type BlockAffinityResource = Object<BlockAffinitySpec>;

/// Who has which block.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlockAffinitySpec {
    /// `pending`, `confirmed` or `pendingDeletion`.
    #[serde(default)]
    pub state: String,
    /// The node, or the name of what else has it.
    #[serde(default)]
    pub node: String,
    /// `host` or `virtual`.
    #[serde(default, skip_serializing_if = "String::is_empty", rename = "type")]
    pub affinity_type: String,
    /// The block.
    #[serde(default)]
    pub cidr: String,
    /// First phase of a delete.
    #[serde(default)]
    pub deleted: bool,
}

impl BlockAffinitySpec {
    /// The resource that a node's claim is shown as; its name is that of Kubernetes' resource.
    pub fn of(
        node: &str,
        cidr: &IpNet,
        affinity: &super::BlockAffinity,
        revision: u64,
    ) -> BlockAffinityResource {
        let state = match affinity.state {
            AffinityState::Pending => "pending",
            AffinityState::Confirmed => "confirmed",
            AffinityState::PendingDeletion => "pendingDeletion",
        };
        let block = cidr.to_string().replace(['.', ':', '/'], "-");
        let metadata = Metadata {
            resource_version: Some(revision.to_string()),
            ..Metadata::named(format!("{node}-{block}"))
        };
        let spec = BlockAffinitySpec {
            state: state.to_string(),
            node: node.to_string(),
            affinity_type: "host".to_string(),
            cidr: cidr.to_string(),
            deleted: affinity.deleted,
        };
        Object::new(metadata, spec)
    }
}

impl Spec for BlockAffinitySpec {
    const KIND: Kind = Kind::BlockAffinity;
    type Status = NoStatus;

    fn validate(object: &BlockAffinityResource) -> Vec<FieldError> {
        let mut checks = Checks::default();
        let reason = "spec.Deleted cannot be set to \"true\"";
        checks.rule(object.spec.deleted, "Spec.Deleted", "true", reason);
        checks.schema_cidr("spec.cidr", &object.spec.cidr);
        checks.supported(
            "spec.state",
            Some(&object.spec.state),
            &["", "confirmed", "pending", "pendingDeletion"],
        );
        checks.fields
    }

    /// Only address management writes it.
    fn refuse(object: &BlockAffinityResource, verb: Verb) -> Option<String> {
        let operation = match verb {
            Verb::Create | Verb::Apply => "Create",
            Verb::Replace => "Update",
        };
        Some(format!(
            "operation {operation} is not supported on {}",
            object.key()
        ))
    }

    fn refuse_delete(key: &Key) -> Option<String> {
        Some(format!("operation Delete is not supported on {key}"))
    }
}
