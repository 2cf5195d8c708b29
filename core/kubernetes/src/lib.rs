//! Calico's objects as objects of the Kubernetes API, and back (calico-compat §3).
//!
//! In the Kubernetes datastore most kinds are custom resources of one of two groups; a Node is annotations on Kubernetes' own, a
//! WorkloadEndpoint is read from a Pod, a Profile from a Namespace or a ServiceAccount, some NetworkPolicies from Kubernetes' own.
//! Documents are JSON: Calico's as they are stored (kind, apiVersion, metadata, spec, status, without resourceVersion), Kubernetes' as
//! the API server gives them.
//!
//! This crate is pure; `store` speaks to the API server.

mod annotations;
mod json;
mod metadata;
pub mod node;
pub mod pod;
pub mod policy;
pub mod profile;
mod qos;
mod quantity;
