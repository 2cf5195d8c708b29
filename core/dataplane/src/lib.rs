//! Desired against actual kernel objects, and the ordered operations between.
//!
//! [`desired`] computes what one node's kernel shall have from a [`DataplaneInput`]; [`plan`] compares it with what was
//! read back ([`Actual`]) and gives the operations that make them equal, in batches by lane; [`walk`] follows one packet
//! through a kernel's state and says where it ends and why. Nothing here touches a kernel: `host/linux` reads and applies,
//! the simulation keeps an [`Actual`] and changes it with [`apply`].
//!
//! What is ours: routes of protocol 12 (`proto bird`) inside our pools and service ranges, link-scope routes and permanent
//! neighbours on cali* devices, the table `ip selvedge`, and the parameters that [`owned_sysctls`] names. All else is foreign
//! and stays as it is, and nothing at all is removed before the store has said "in sync".

mod apply;
mod desired;
mod input;
pub mod nft;
mod nft_diff;
pub mod nft_json;
pub mod nft_text;
mod object;
mod operation;
mod pairs;
mod plan;
mod reason;
mod rules;
mod walk;

pub use apply::{apply, remove_link};
pub use desired::{TUNNEL_DEVICE, desired, owned_sysctls};
pub use input::{Backends, DataplaneInput, Encapsulation, Frontend, Pool, Protocol, Workload};
pub use nft::NftTable;
pub use object::{
    Actual, Address, Desired, Link, LinkKind, METRIC_BENEATH, Mac, Neighbour, NextHop,
    PROTOCOL_BIRD, PROTOCOL_BOOT, PROTOCOL_KERNEL, Route, RouteKey, RouteKind, Scope, Sysctl,
    TABLE_LOCAL, TABLE_MAIN,
};
pub use operation::{Batch, Lane, Operation};
pub use plan::{plan, unmet};
pub use reason::{Reason, Refusal};
pub use rules::{WORKLOAD_PREFIX, removed_backends};
pub use walk::{Answer, Packet, Payload, Verdict, Walk, lookup, walk};
