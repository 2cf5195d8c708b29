//! Calico v3 kinds, defaults, validation, selectors, and the [`Store`] they live in.
//!
//! A resource is an [`Object`]: metadata, a spec, for some kinds a status. [`Kind`] names every kind, [`Key`] says where
//! an object lives (its path is Calico's etcd path), and [`Store`] is the compare-and-swap store with a cursor watch that
//! all backends implement; [`MemoryStore`] is the one without a disk.
//!
//! This crate is pure: no clock, no random source (both are arguments), no sockets, no async runtime. It does not know
//! how addresses are allocated (`ipam`) or what a node does with a resource (`intent`).

mod any_object;
mod client;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod document;
mod key;
mod kind;
pub mod kinds;
mod lenient;
mod memory;
mod metadata;
mod object;
mod selector;
mod spec;
mod store;
pub mod validate;

pub use any_object::AnyObject;
pub use client::{Allocations, Client, ClientError, ClientResult, ObjectList, Stamp};
pub use document::{ParseError, parse_document};
pub use key::{Key, KeyPrefix};
pub use kind::{Kind, KindVisitor};
pub use memory::MemoryStore;
pub use metadata::Metadata;
pub use object::{NoStatus, Object};
pub use selector::{Selector, SelectorError};
pub use spec::{Need, Others, Spec, Verb};
pub use store::{Change, Changes, Entry, Listing, Store, StoreError, StoreResult};
