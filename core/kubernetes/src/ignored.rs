//! What of an object is passed over when it is read.

use serde_json::Value;

use crate::place::Source;
use crate::{node, pod, policy};

/// The parts of an object that are not valid and so are as if they were not there, in words: for the log.
pub fn ignored(source: Source, object: &Value) -> Vec<String> {
    match source {
        Source::Node => node::ignored(object),
        Source::Pod => pod::ignored(object),
        Source::NetworkPolicy => policy::ignored(object),
        Source::Custom(_)
        | Source::Block
        | Source::Affinity
        | Source::Handle
        | Source::IpamConfig
        | Source::Namespace
        | Source::ServiceAccount
        | Source::Service
        | Source::EndpointSlice
        | Source::Lease => Vec::new(),
    }
}
