//! What a kind is: its spec, and its own rules beside it.

use std::any::TypeId;

use ipnet::IpNet;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::kinds::IpPool;
use crate::validate::FieldError;
use crate::{Key, Kind, NoStatus, Object};

/// A spec belongs to exactly one kind. What is particular to the kind stands here, with what holds for most as the default.
pub trait Spec: Serialize + DeserializeOwned + Clone + PartialEq + std::fmt::Debug {
    /// The kind whose spec this is.
    const KIND: Kind;
    /// Whether its fields stand beside `metadata` instead of under `spec` (Kubernetes' EndpointSlice).
    const INLINE: bool = false;
    /// The kind's status; [`NoStatus`] where it has none.
    type Status: 'static
        + Serialize
        + DeserializeOwned
        + Clone
        + Default
        + PartialEq
        + std::fmt::Debug;

    /// Whether a status is written.
    fn shows(_status: &Self::Status) -> bool {
        TypeId::of::<Self::Status>() != TypeId::of::<NoStatus>()
    }

    /// Writes the defaults that Calico stores, on create and on update.
    fn set_defaults(_object: &mut Object<Self>) {}

    /// Objects that are always there and in no store.
    fn built_in() -> Vec<Object<Self>> {
        Vec::new()
    }

    /// Where an older version stored what is at this key now, for kinds whose keys changed.
    fn old_key(_key: &Key) -> Option<Key> {
        None
    }

    /// Completes what was read from the store: what an older version did not write yet.
    fn complete(_object: &mut Object<Self>) {}

    /// Changes what goes to the store beside what the object says.
    fn prepare(_object: &mut Object<Self>) {}

    /// The checks on the object alone, but for those on its metadata that hold for every kind (`calicoctl validate`).
    fn validate(_object: &Object<Self>) -> Vec<FieldError> {
        Vec::new()
    }

    /// What [`Spec::check`] has to know of other objects.
    fn needs(_object: &Object<Self>, _creates: bool) -> Vec<Need> {
        Vec::new()
    }

    /// The library's checks, which also know what is stored; they come before [`Spec::validate`]. `stored` is `None` on create.
    fn check(
        _object: &Object<Self>,
        _stored: Option<&Object<Self>>,
        _others: &Others<'_>,
    ) -> Vec<FieldError> {
        Vec::new()
    }

    /// Why people may not do this with the object: calicoctl's whole text.
    fn refuse(_object: &Object<Self>, _verb: Verb) -> Option<String> {
        None
    }

    /// Why people may not delete what is at this key, whether it is there or not.
    fn refuse_delete(_key: &Key) -> Option<String> {
        None
    }

    /// Takes values out of a document that the types have no place for, with calicoctl's words for them: it refuses the one
    /// resource, not the file.
    fn take_unfit(_document: &mut Value) -> Vec<FieldError> {
        Vec::new()
    }
}

/// What is done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// It must not be there.
    Create,
    /// It may be there.
    Apply,
    /// It must be there.
    Replace,
}

/// Other objects that a check asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// All pools.
    Pools,
    /// The CIDRs of all blocks.
    Blocks,
    /// The names of all BGPFilters.
    Filters,
    /// This object must be there.
    Present(Key),
}

/// The other objects that an object is checked against, as far as it [needs](Spec::needs) them.
#[derive(Clone, Debug, Default)]
pub struct Others<'a> {
    /// All pools, for a new pool.
    pub pools: &'a [IpPool],
    /// The CIDRs of all blocks, for a new pool.
    pub blocks: &'a [IpNet],
    /// The names of all BGPFilters, for a BGPPeer that names some.
    pub filters: &'a [String],
}
