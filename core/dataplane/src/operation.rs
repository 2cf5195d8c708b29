//! What is done to a kernel, in ordered batches.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::nft::NftChange;
use crate::object::{Address, Link, Neighbour, Route, Sysctl};

/// Batches of one lane go one after another; lanes do not wait for each other, but for what a batch says it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Links, addresses and kernel parameters.
    Links,
    /// Routes and neighbours.
    Routes,
    /// nftables.
    Rules,
}

/// Some operations of one lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The lane.
    pub lane: Lane,
    /// Its number within one plan, from 1.
    pub number: u32,
    /// A batch of the same plan that must have been applied first.
    pub follows: Option<u32>,
    /// In order. Each stands for itself: one that fails does not stop the next.
    pub operations: Vec<Operation>,
}

/// One thing done to the kernel. Each may be repeated without harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Makes a link, or sets an existing one up and to its MTU.
    SetLink(Link),
    /// Adds an address.
    AddAddress(Address),
    /// Removes an address; absent is well.
    RemoveAddress(Address),
    /// Writes a parameter.
    SetSysctl(Sysctl),
    /// Adds a route, in place of ours with the same key where there is one (NLM_F_REPLACE).
    SetRoute(Route),
    /// Removes exactly this route; absent is well.
    RemoveRoute(Route),
    /// Adds or replaces a permanent neighbour.
    SetNeighbour(Neighbour),
    /// Removes a neighbour; absent is well.
    RemoveNeighbour(Neighbour),
    /// One nftables transaction: all or nothing.
    Nft(Vec<NftChange>),
}

/// What is done to which object, in a few words.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::SetLink(link) => write!(f, "set link {} up", link.name),
            Operation::AddAddress(a) => write!(f, "add address {} to {}", a.address, a.interface),
            Operation::RemoveAddress(a) => {
                write!(f, "remove address {} from {}", a.address, a.interface)
            }
            Operation::SetSysctl(s) => write!(f, "set /proc/sys/{} to {}", s.path, s.value),
            Operation::SetRoute(route) => write!(f, "set route {route}"),
            Operation::RemoveRoute(route) => write!(f, "remove route {route}"),
            Operation::SetNeighbour(n) => write!(
                f,
                "set neighbour {} on {} to {}",
                n.address, n.interface, n.mac
            ),
            Operation::RemoveNeighbour(n) => {
                write!(f, "remove neighbour {} from {}", n.address, n.interface)
            }
            Operation::Nft(changes) => {
                write!(f, "change table selvedge ({} changes)", changes.len())
            }
        }
    }
}
