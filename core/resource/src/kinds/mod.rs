//! The specs, one file a kind, fields in Calico's struct order (that is the order in which they are stored).

mod bgp_configuration;
mod bgp_filter;
mod bgp_peer;
mod cluster_information;
mod duration;
mod ip_pool;
mod ipam;
mod node;
mod peer_policy;
mod service;
mod workload_endpoint;
mod workload_endpoint_name;

pub use bgp_configuration::*;
pub use bgp_filter::*;
pub use bgp_peer::*;
pub use cluster_information::*;
pub use duration::*;
pub use ip_pool::*;
pub use ipam::*;
pub use node::*;
pub use peer_policy::*;
pub use service::*;
pub use workload_endpoint::*;
pub use workload_endpoint_name::*;
