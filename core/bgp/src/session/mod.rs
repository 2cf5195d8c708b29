//! Sessions: what is kept of a peer, what OPENs agree on, which of two connections stays.

mod collision;
mod negotiate;
mod peer;
mod random;
mod stale;

pub(crate) use collision::{Survivor, survivor};
pub(crate) use negotiate::{Negotiated, Proposal, keepalive_interval, negotiate};
pub(crate) use peer::{Connection, Peer, Stage, Waiting};
pub(crate) use random::Random;
pub(crate) use stale::{LongLivedTimer, Retention, StaleFamily};
