//! IPAM's stored values (calico-compat §2.5); they are bare JSON, not objects with metadata.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A block of addresses, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Its range.
    pub cidr: IpNet,
    /// `host:NODE` or `virtual:NAME`; null for a block that is nobody's.
    pub affinity: Option<String>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity_claim_time: Option<String>,
    /// By ordinal: index into `attributes`, or null when free.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub allocations: Vec<Option<usize>>,
    /// Free ordinals, first in first out.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub unallocated: Vec<usize>,
    /// Shared by the allocations that point here.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub attributes: Vec<AllocationAttribute>,
    /// Grows with each write.
    #[serde(rename = "sequenceNumber", default)]
    pub sequence_number: u64,
    /// By ordinal: the sequence number at which it was allocated.
    #[serde(
        rename = "sequenceNumberForAllocation",
        default,
        deserialize_with = "null_is_empty"
    )]
    pub sequence_number_for_allocation: BTreeMap<String, u64>,
    /// First phase of a delete.
    #[serde(default)]
    pub deleted: bool,
}

/// Who has an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationAttribute {
    /// The handle.
    pub handle_id: Option<String>,
    /// Free text by key.
    pub secondary: Option<BTreeMap<String, String>>,
    /// What else Calico wrote (`alternateOwnerAttrs`, and `releasedAt` after 3.32): kept as it is.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// Go writes null for a list or map that was never filled.
fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// The state of a node's claim on a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AffinityState {
    /// Claimed, not yet backed by a block: nobody may act on it.
    Pending,
    /// The block is the node's; an empty text is one of old.
    #[default]
    #[serde(alias = "")]
    Confirmed,
    /// Being given up.
    PendingDeletion,
}

/// A node's claim on a block, as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockAffinity {
    /// See [`AffinityState`]; an empty value reads as confirmed.
    #[serde(default)]
    pub state: AffinityState,
    /// First phase of a delete.
    #[serde(default)]
    pub deleted: bool,
}

/// How many addresses a handle has in which block, as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// By block.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub block: BTreeMap<IpNet, u32>,
    /// First phase of a delete.
    #[serde(default)]
    pub deleted: bool,
}
