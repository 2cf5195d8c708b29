//! Real datastores for tests and benches: in directories of their own, on loopback, ended with the values that hold them.
//!
//! Where the programs are not there, a test prints `skipped: REASON` and goes no further.

mod etcd;
mod kubernetes;

pub use etcd::{Etcd, EtcdArgs, certificates, missing, skipped};
pub use kubernetes::{Kubernetes, skipped as kubernetes_skipped};
