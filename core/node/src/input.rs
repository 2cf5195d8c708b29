//! What happened, as values that can be written down and read again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use dataplane::Actual;
use ipnet::IpNet;
use resource::{Change, Entry, Key, Listing};
use serde::{Deserialize, Serialize};

/// The time of an input, read once by the driver.
pub use bgp::Now;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// All that the store holds; replaces what was known. The store is in sync from here on.
    Listing(Vec<StoredChange>),
    /// What changed in the store since.
    Changes(Vec<StoredChange>),
    /// What the kernel has, asked for by [`crate::Output::ReadKernel`].
    Kernel {
        /// Read back.
        actual: Box<Actual>,
        /// The kernel can make IPIP devices.
        ipip_possible: bool,
    },
    /// The kernel could not be read; it is asked again a little later.
    KernelUnreadable(String),
    /// Something changed in the kernel, by us or by others.
    KernelChanged,
    /// A [`crate::Output::Apply`] is done.
    Applied {
        /// The batch.
        id: BatchId,
        /// What the kernel did not take: index of the operation and the kernel's words.
        failures: Vec<(usize, String)>,
    },
    /// Loc-RIB changes.
    Routes(Vec<LearntRoute>),
    /// The speaker's peers have sent all they have, or were waited for long enough.
    BgpInSync,
    /// Time passed.
    Timer,
}

/// Names a batch over the life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchId {
    /// The plan it is of, from 1.
    pub plan: u64,
    /// Its number in the plan.
    pub number: u32,
}

/// One change of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredChange {
    /// [`Key::path`].
    pub path: String,
    /// The value; `None` for a deletion.
    pub value: Option<String>,
    /// Revision of the write.
    pub revision: u64,
}

impl StoredChange {
    /// A listing's entries.
    pub fn from_listing(listing: &Listing) -> Vec<StoredChange> {
        listing.entries.iter().map(StoredChange::put).collect()
    }

    fn put(entry: &Entry) -> StoredChange {
        StoredChange {
            path: entry.key.path(),
            value: Some(entry.value.clone()),
            revision: entry.revision,
        }
    }

    /// As the store's own type; `None` for a key that nobody here knows.
    pub fn to_change(&self) -> Option<Change> {
        let key = Key::from_path(&self.path)?;
        Some(match &self.value {
            Some(value) => Change::Put(Entry {
                key,
                value: value.clone(),
                revision: self.revision,
            }),
            None => Change::Delete {
                key,
                revision: self.revision,
            },
        })
    }
}

impl From<&Change> for StoredChange {
    fn from(change: &Change) -> StoredChange {
        match change {
            Change::Put(entry) => StoredChange::put(entry),
            Change::Delete { key, revision } => StoredChange {
                path: key.path(),
                value: None,
                revision: *revision,
            },
        }
    }
}

/// The best route of a prefix, as far as the kernel is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearntRoute {
    /// The prefix.
    pub prefix: IpNet,
    /// Where to; empty for one that this node originates, `None` when there is no route any more.
    pub next_hops: Option<BTreeSet<IpAddr>>,
    /// The name of the session that it came by; none for what this node originates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

impl From<&bgp::RouteChange> for LearntRoute {
    fn from(change: &bgp::RouteChange) -> LearntRoute {
        let hops = |route: &bgp::Route| route.next_hops.iter().map(|hop| hop.address).collect();
        LearntRoute {
            prefix: change.prefix,
            next_hops: change.route.as_ref().map(hops),
            session: (change.route.as_ref())
                .and_then(|route| route.peer.as_deref())
                .map(String::from),
        }
    }
}

/// One line of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// [`Now::mono`], in microseconds.
    pub mono_us: u64,
    /// [`Now::wall`], in microseconds.
    pub wall_us: u64,
    /// The input.
    pub input: Input,
}

impl Recorded {
    /// An input at a time; the time is cut to microseconds.
    pub fn new(input: Input, now: Now) -> Recorded {
        let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
        Recorded {
            mono_us: micros(now.mono),
            wall_us: micros(now.wall),
            input,
        }
    }

    /// Its time.
    pub fn now(&self) -> Now {
        Now {
            mono: Duration::from_micros(self.mono_us),
            wall: Duration::from_micros(self.wall_us),
        }
    }
}
