//! What the logs of changes that are kept in memory have in common.

use resource::Change;

/// How much is kept for followers that lag behind; the same as the SQLite store's log.
pub(crate) const MOST_CHANGES: usize = 10_000;
pub(crate) const MOST_BYTES: usize = 16 << 20;

pub(crate) fn revision_of(change: &Change) -> u64 {
    match change {
        Change::Put(entry) => entry.revision,
        Change::Delete { revision, .. } => *revision,
    }
}

pub(crate) fn size_of(change: &Change) -> usize {
    match change {
        Change::Put(entry) => entry.value.len(),
        Change::Delete { .. } => 0,
    }
}
