//! What an object must be before it is written (calico-compat §1, §5.4).
//!
//! calicoctl checks in two places, with different words. [`validate`] is the checks on one object alone (`calicoctl validate`).
//! [`check`] is the library's, which also knows what is stored; it comes first on create and update.

mod bgp;
mod bgp_filter;
mod checks;
mod error;
mod ip_pool;
mod kubernetes;
mod metadata;
mod node;
mod peer_policy;
mod workload_endpoint;

pub use error::{FieldError, ValidationError};
pub use ip_pool::take_unknown_modes;

use ipnet::IpNet;

use crate::AnyObject;
use crate::kinds::{BgpConfigurationSpec, IpPool};

/// The other objects that an object is checked against.
#[derive(Clone, Debug, Default)]
pub struct Others<'a> {
    /// All pools, for a new pool.
    pub pools: &'a [IpPool],
    /// The CIDRs of all blocks, for a new pool.
    pub blocks: &'a [IpNet],
    /// The names of all BGPFilters, for a BGPPeer that names some.
    pub filters: &'a [String],
}

/// Checks one object alone.
///
/// # Errors
/// All fields that are wrong, in calicoctl's words.
pub fn validate(object: &AnyObject) -> Result<(), ValidationError> {
    let mut fields = metadata::validate(object.kind(), object.metadata());
    fields.extend(match object {
        AnyObject::BgpConfiguration(object) => bgp::configuration(&object.spec),
        AnyObject::BgpPeer(object) => bgp::peer(&object.spec),
        AnyObject::BgpFilter(object) => bgp_filter::validate(&object.spec),
        AnyObject::Node(object) => node::validate(&object.spec),
        AnyObject::IpPool(object) => ip_pool::validate(&object.spec),
        AnyObject::WorkloadEndpoint(object) => workload_endpoint::validate(object),
        AnyObject::ClusterInformation(_) => Vec::new(),
        AnyObject::PeerPolicy(object) => peer_policy::validate(&object.spec),
        AnyObject::Service(object) => kubernetes::service(&object.spec),
        AnyObject::EndpointSlice(object) => kubernetes::endpoint_slice(&object.spec),
    });
    ValidationError::of(fields)
}

/// What the library checks beside: rules that need the stored object, or others. `stored` is `None` on create.
///
/// # Errors
/// All fields that are wrong, in calicoctl's words.
pub fn check(
    object: &AnyObject,
    stored: Option<&AnyObject>,
    others: &Others<'_>,
) -> Result<(), ValidationError> {
    let fields = match object {
        AnyObject::IpPool(pool) => {
            let stored = match stored {
                Some(AnyObject::IpPool(stored)) => Some(stored),
                _ => None,
            };
            ip_pool::check(pool, stored, others)
        }
        AnyObject::BgpConfiguration(object) => {
            bgp::configuration_name(&object.metadata.name, &object.spec)
        }
        AnyObject::BgpPeer(object) => bgp::filters(&object.spec, others.filters),
        AnyObject::WorkloadEndpoint(object) => workload_endpoint::name(object),
        AnyObject::BgpFilter(_)
        | AnyObject::Node(_)
        | AnyObject::ClusterInformation(_)
        | AnyObject::PeerPolicy(_)
        | AnyObject::Service(_)
        | AnyObject::EndpointSlice(_) => Vec::new(),
    };
    ValidationError::of(fields)
}

/// Writes the defaults that Calico stores, on create and on update.
pub fn set_defaults(object: &mut AnyObject) {
    match object {
        AnyObject::IpPool(pool) => set_pool_defaults(pool),
        AnyObject::BgpConfiguration(object) => set_bgp_defaults(&mut object.spec),
        AnyObject::WorkloadEndpoint(object) => workload_endpoint::set_defaults(object),
        AnyObject::BgpPeer(_)
        | AnyObject::BgpFilter(_)
        | AnyObject::Node(_)
        | AnyObject::ClusterInformation(_)
        | AnyObject::PeerPolicy(_)
        | AnyObject::Service(_)
        | AnyObject::EndpointSlice(_) => (),
    }
}

/// The defaults of a pool; also read into pools that were stored without.
pub fn set_pool_defaults(pool: &mut IpPool) {
    ip_pool::set_defaults(&mut pool.spec);
}

fn set_bgp_defaults(spec: &mut BgpConfigurationSpec) {
    if spec.log_severity_screen.is_empty() {
        spec.log_severity_screen = "Info".to_string();
    }
    spec.service_load_balancer_aggregation
        .get_or_insert_with(|| "Enabled".to_string());
}
