//! What the driver is asked to do.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use dataplane::Batch;
use ipnet::IpNet;

use crate::BatchId;

/// One thing for the driver to do. Its `Debug` form is stable: equal inputs give equal texts.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Hand this configuration, with its passwords, to the speaker, starting it with it the first time.
    Speaker(Box<crate::SpeakerConfig>),
    /// Read the kernel and answer with [`crate::Input::Kernel`].
    ReadKernel,
    /// Apply this batch and answer with [`crate::Input::Applied`]. At most one a lane is out at a time.
    Apply {
        /// The name to answer with.
        id: BatchId,
        /// What to do.
        batch: Batch,
    },
    /// Answer DNS queries for this zone, on these sockets (UDP and TCP), from now on.
    Names(Names),
    /// See to it that this node has a tunnel address from one of these pools; with no pools, that it has none.
    TunnelAddress {
        /// Pools by name.
        pools: Vec<String>,
        /// What the Node says it has.
        present: Option<Ipv4Addr>,
    },
    /// The greatest packet that a new workload's interface shall take, in bytes.
    PodMtu(u32),
    /// Say what is at least this severe from now on, until told otherwise; before the first of these, what is of interest.
    LogSeverity(intent::LogSeverity),
    /// Say this once, at the level it has.
    Notice(Notice),
}

/// What the node answers DNS queries for, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The agent's own sockets; empty when no Service asks for it.
    pub listen: BTreeSet<SocketAddr>,
    /// The addresses at which clients ask.
    pub addresses: BTreeSet<IpAddr>,
    /// The cluster's domain.
    pub domain: String,
    /// Ranges whose reverse names are the cluster's: pools and service ranges.
    pub reverse: BTreeSet<IpNet>,
    /// The services.
    pub table: Arc<service::Table>,
}

/// Something that people should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// Something is not done; the text names why, where and the cure.
    Refused(String),
    /// A passing state of the same kind, of interest only to those who look for it.
    Passing(String),
    /// What was refused before is in order now, or gone.
    Mended(String),
    /// A step in the node's life.
    Step(String),
}
