//! What `ipam check -o FILE` writes and `ipam release --from-report=FILE` reads (calico-compat §5.6).

use std::collections::BTreeMap;

use ipam::survey::{Allocation, Survey};
use resource::kinds::ClusterInformation;
use serde::{Deserialize, Serialize};

use crate::version::CALICO_VERSION;

/// A report.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The version of calicoctl that made it.
    pub version: String,
    /// Of which cluster.
    #[serde(rename = "clusterGUID")]
    pub cluster_guid: String,
    /// Whether the datastore was locked.
    pub datastore_locked: bool,
    /// The ClusterInformation's resourceVersion: locking and unlocking changes it.
    pub cluster_information_revision: String,
    /// The ClusterInformation's.
    pub cluster_type: String,
    /// By address.
    pub allocations: BTreeMap<String, Vec<Allocated>>,
    /// Handles that have no address.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub leaked_handles: Vec<LeakedHandle>,
}

/// One address that is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allocated {
    /// The address.
    pub ip: String,
    /// Its handle.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub handle: String,
    /// The sequence number at which it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_number: Option<u64>,
    /// The pod.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// The pod's namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The node: the one on which it was given, else the block's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// A tunnel's kind.
    #[serde(default, rename = "type", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// When it was given, as it was written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub creation_timestamp: String,
    /// Whether somebody uses it.
    #[serde(default)]
    pub in_use: bool,
    /// Whether its block is not its node's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub borrowed: bool,
    /// Who uses it; null for nobody, as Go writes it.
    #[serde(default)]
    pub owners: Option<Vec<String>>,
}

impl Allocated {
    /// An allocation, and who uses its address.
    pub fn new(allocation: &Allocation, affinity: Option<&str>, owners: &[String]) -> Allocated {
        let text = |key: &str| allocation.attribute(key).unwrap_or_default().to_string();
        let host = affinity
            .and_then(|a| a.strip_prefix("host:"))
            .unwrap_or_default();
        let node = match text("node") {
            node if node.is_empty() => host.to_string(),
            node => node,
        };
        Allocated {
            ip: allocation.address.to_string(),
            handle: allocation.owner.handle_id.clone().unwrap_or_default(),
            sequence_number: allocation.sequence,
            pod: text("pod"),
            namespace: text("namespace"),
            borrowed: node != host,
            node,
            kind: text("type"),
            creation_timestamp: text("timestamp"),
            in_use: !owners.is_empty(),
            owners: (!owners.is_empty()).then(|| owners.to_vec()),
        }
    }

    /// What makes it the same allocation in another report.
    pub fn identity(&self) -> (&str, &str, Option<u64>) {
        (&self.ip, &self.handle, self.sequence_number)
    }
}

/// A handle without addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "HandleText")]
pub struct LeakedHandle {
    /// The handle.
    pub id: String,
    /// The revision at which it was read; empty where a report does not say.
    #[serde(default)]
    pub revision: String,
}

/// Versions of Calico write either.
#[derive(Deserialize)]
#[serde(untagged)]
enum HandleText {
    Id(String),
    Whole {
        id: String,
        #[serde(default)]
        revision: String,
    },
}

impl From<HandleText> for LeakedHandle {
    fn from(text: HandleText) -> LeakedHandle {
        let (id, revision) = match text {
            HandleText::Id(id) => (id, String::new()),
            HandleText::Whole { id, revision } => (id, revision),
        };
        LeakedHandle { id, revision }
    }
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<LeakedHandle>, D::Error> {
    Ok(Option::<Vec<LeakedHandle>>::deserialize(d)?.unwrap_or_default())
}

impl Report {
    /// A report on a cluster.
    pub fn new(
        information: &ClusterInformation,
        allocations: BTreeMap<String, Vec<Allocated>>,
        leaked: &[String],
        survey: &Survey,
    ) -> Report {
        let revision = |id: &String| {
            let known = survey.handles.get(id);
            known.map_or_else(String::new, |(_, revision)| revision.to_string())
        };
        Report {
            version: CALICO_VERSION.to_string(),
            cluster_guid: information.spec.cluster_guid.clone(),
            datastore_locked: information.spec.datastore_ready == Some(false),
            cluster_information_revision: information
                .metadata
                .resource_version
                .clone()
                .unwrap_or_default(),
            cluster_type: information.spec.cluster_type.clone(),
            allocations,
            leaked_handles: leaked
                .iter()
                .map(|id| LeakedHandle {
                    id: id.clone(),
                    revision: revision(id),
                })
                .collect(),
        }
    }
}
