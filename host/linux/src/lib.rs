//! The kernel: netlink, nftables, parameters, namespaces.
//!
//! [`Kernel`] reads a network namespace's state into `dataplane`'s values and applies the planner's batches to it;
//! [`Events`] says when to read again. It decides nothing: what shall be there is computed in `core/dataplane`, and what
//! to do about an error is the caller's. It needs CAP_NET_ADMIN in its namespace and nothing more.
//!
//! ```no_run
//! let mut events = linux::Events::open()?;
//! let mut kernel = linux::Kernel::open()?;
//! let actual = kernel.read()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod conntrack;
mod datagram;
mod error;
mod events;
pub mod fib;
mod ipip;
mod kernel;
mod link;
mod message;
pub mod namespace;
pub mod netlink;
mod nft;
pub mod process;
mod router_advert;
mod scheduling;
mod sysctl;
pub mod tcp;
pub mod tcp_ao;
pub mod veth;
mod wire;

pub use datagram::{Datagram, describe_datagrams, receive_datagram};
pub use error::KernelError;
pub use events::{Changes, Events};
pub use ipip::ipip_possible;
pub use kernel::{Applied, Kernel};
pub use link::{LinkMonitor, LinkState};
pub use nft::NftError;
pub use router_advert::{FromRouter, RouterMessage, RouterSocket};
pub use scheduling::{Priority, run_ahead};
