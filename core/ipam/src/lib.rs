//! IP address management: blocks, affinities and handles, as bounded compare-and-swap loops over a [`resource::Store`].
//!
//! A pool is cut into blocks. A node claims a block in two phases ([`Ipam::claim_block`]), then gives its addresses to
//! workloads without asking anybody ([`Ipam::auto_assign`]); a handle says which blocks have a workload's addresses, and
//! releases them ([`Ipam::release_by_handle`]). What is stored is Calico's, byte for byte. Every call may be killed between
//! any two writes: nothing is ever given twice, and the next call mends what was left half done. Each refusal has a name.
//!
//! This crate has no clock: `now` is Unix nanoseconds, an argument. It writes no Node and no WorkloadEndpoint.
//!
//! ```no_run
//! # async fn f(store: resource::MemoryStore, request: ipam::Request<'_>) -> ipam::IpamResult<()> {
//! let assignment = ipam::Ipam::new(&store).auto_assign(&request, 1_795_386_347_988_257_369).await?;
//! # Ok(()) }
//! ```

mod affinity;
mod allocations;
mod assign;
pub mod block;
mod claimant;
pub mod collect;
mod config;
mod go_random;
mod go_random_table;
pub mod lease;
pub mod load_balancer;
mod pools;
mod records;
mod refusal;
mod release;
pub mod survey;
pub mod time;
mod tunnel;
mod walk;

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

pub use affinity::{Outcome, Release};
pub use assign::{Assigned, Assignment, Request};
pub use block::Owner;
pub use claimant::{Claimant, LOAD_BALANCER};
pub use config::{Config, DEFAULT_BLOCKS_PER_HOST};
pub use pools::{Pool, PoolChoice, Use};
pub use refusal::{IpamError, IpamResult, Refusal};
pub use release::{ReleaseOutcome, ReleaseRequest};
pub use tunnel::TunnelKind;

/// Address management over a store.
#[derive(Clone, Copy, Debug)]
pub struct Ipam<'a, S> {
    store: &'a S,
}

impl<'a, S: resource::Store> Ipam<'a, S> {
    /// Address management over this store.
    pub fn new(store: &'a S) -> Ipam<'a, S> {
        Ipam { store }
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of a network.
    pub fn of(net: &IpNet) -> Family {
        match net {
            IpNet::V4(_) => Family::V4,
            IpNet::V6(_) => Family::V6,
        }
    }

    /// The family of an address.
    pub fn of_address(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}
