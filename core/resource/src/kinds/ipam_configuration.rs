//! IPAMConfiguration (calico-compat §1.7).
//!
//! In etcd it is another key than the one that address management obeys and `calicoctl ipam configure` writes; see
//! [`Key::IpamConfig`](crate::Key::IpamConfig).

use serde::{Deserialize, Serialize};

use crate::validate::FieldError;
use crate::validate::checks::Checks;
use crate::{Kind, NoStatus, Object, Spec, Verb};

/// The IPAMConfiguration, always named `default`.
pub type IpamConfiguration = Object<IpamConfigurationSpec>;

/// How addresses are given out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IpamConfigurationSpec {
    /// Nodes take addresses from their own blocks only.
    #[serde(default)]
    pub strict_affinity: bool,
    /// How many blocks a node may have; 0 stands for 20.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_blocks_per_host: i32,
    /// Nodes take new blocks by themselves.
    #[serde(default = "yes")]
    pub auto_allocate_blocks: bool,
    /// `Enabled` or `Disabled`: whether virtual machines keep their addresses.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "kubeVirtVMAddressPersistence"
    )]
    pub kubevirt_vm_address_persistence: Option<String>,
}

impl Default for IpamConfigurationSpec {
    fn default() -> IpamConfigurationSpec {
        IpamConfigurationSpec {
            strict_affinity: false,
            max_blocks_per_host: 0,
            auto_allocate_blocks: true,
            kubevirt_vm_address_persistence: None,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &i32) -> bool {
    *number == 0
}

fn yes() -> bool {
    true
}

impl Spec for IpamConfigurationSpec {
    const KIND: Kind = Kind::IpamConfiguration;
    type Status = NoStatus;

    fn validate(object: &IpamConfiguration) -> Vec<FieldError> {
        let spec = &object.spec;
        let mut checks = Checks::default();
        let blocks = spec.max_blocks_per_host;
        let reason = "must be greater than or equal to 0";
        checks.rule(blocks < 0, "MaxBlocksPerHost", blocks.to_string(), reason);
        let path = "spec.maxBlocksPerHost";
        checks.bounds(path, Some(blocks.into()), 0, 1_000_000);
        checks.supported(
            "spec.kubeVirtVMAddressPersistence",
            spec.kubevirt_vm_address_persistence.as_deref(),
            &["Enabled", "Disabled"],
        );
        checks.fields
    }

    fn refuse(object: &IpamConfiguration, _verb: Verb) -> Option<String> {
        (object.metadata.name != "default").then(|| {
            "Cannot create an IPAMConfiguration resource with a name other than \"default\""
                .to_string()
        })
    }
}
