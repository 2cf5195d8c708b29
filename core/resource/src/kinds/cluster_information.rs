//! ClusterInformation (calico-compat §1.15).

use serde::{Deserialize, Serialize};

use crate::{Key, Kind, NoStatus, Object, Spec, Verb};

/// The ClusterInformation, always named `default`.
pub type ClusterInformation = Object<ClusterInformationSpec>;

/// What the cluster is; written by the programs, not by people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterInformationSpec {
    /// 32 hexadecimal digits.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        rename = "clusterGUID"
    )]
    pub cluster_guid: String,
    /// Comma-separated words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster_type: String,
    /// The version that the nodes run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub calico_version: String,
    /// False locks the datastore: CNI calls fail, nodes wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datastore_ready: Option<bool>,
    /// Product variant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Spec for ClusterInformationSpec {
    const KIND: Kind = Kind::ClusterInformation;
    type Status = NoStatus;

    /// Only programs write it.
    fn refuse(_object: &ClusterInformation, verb: Verb) -> Option<String> {
        let what = match verb {
            Verb::Create => "create or apply",
            Verb::Apply => {
                return Some(
                    "operation apply is not supported on ClusterInformation: resource is readonly"
                        .to_string(),
                );
            }
            Verb::Replace => "apply or replace",
        };
        Some(format!(
            "operation {what} is not supported on ClusterInformation"
        ))
    }

    fn refuse_delete(_key: &Key) -> Option<String> {
        Some("operation delete is not supported on ClusterInformation".to_string())
    }
}
