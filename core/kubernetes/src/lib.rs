//! Calico's objects as objects of the Kubernetes API, and back (calico-compat §3).
//!
//! In the Kubernetes datastore most kinds are custom resources of one of two groups; a Node is annotations on Kubernetes' own, a
//! WorkloadEndpoint is read from a Pod, a Profile from a Namespace or a ServiceAccount, some NetworkPolicies from Kubernetes' own.
//! Documents are JSON: Calico's as they are stored (kind, apiVersion, metadata, spec, status, without resourceVersion), Kubernetes' as
//! the API server gives them.
//!
//! This crate is pure; `store` speaks to the API server.

mod annotations;
mod crd;
mod custom;
mod group;
mod ignored;
mod ipam;
mod json;
mod metadata;
pub mod node;
mod object;
mod place;
pub mod pod;
pub mod policy;
pub mod profile;
mod qos;
mod quantity;
pub mod request;

pub use crd::definitions;
pub use custom::has_status_resource;
pub use group::Group;
pub use ignored::ignored;
pub use ipam::write as write_ipam;
pub use object::{is_deleted, keys, read, write};
pub use place::{Place, Source};
