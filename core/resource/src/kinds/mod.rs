//! The specs, one file a kind, fields in Calico's struct order (that is the order in which they are stored).

mod bgp_configuration;
mod bgp_filter;
mod bgp_peer;
mod cluster_information;
mod duration;
mod ip_pool;
mod ip_reservation;
mod ipam;
mod ipam_configuration;
mod node;
mod service;
mod workload_endpoint;
mod workload_endpoint_name;

pub use bgp_configuration::*;
pub use bgp_filter::*;
pub use bgp_peer::*;
pub use cluster_information::*;
pub use duration::*;
pub use ip_pool::*;
pub use ip_reservation::*;
pub use ipam::*;
pub use ipam_configuration::*;
pub use node::*;
pub use service::*;
pub use workload_endpoint::*;
pub use workload_endpoint_name::*;
