//! The store: compare-and-swap values under keys, and a cursor in a log of revisions.

use std::future::Future;

use crate::{Key, KeyPrefix};

/// One stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it lives.
    pub key: Key,
    /// JSON text, byte for byte as it was written.
    pub value: String,
    /// The revision of the write that made it (etcd's mod revision).
    pub revision: u64,
}

/// A consistent list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// In order of path.
    pub entries: Vec<Entry>,
    /// The store's revision at which the list was true; a watch goes on from here.
    pub revision: u64,
}

/// One change in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Created or updated.
    Put(Entry),
    /// Deleted, in this revision.
    Delete {
        /// What was deleted.
        key: Key,
        /// The revision of the delete.
        revision: u64,
    },
}

/// All that happened after a cursor, in order, and the next cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// In order of revision.
    pub changes: Vec<Change>,
    /// Pass this to the next call.
    pub revision: u64,
}

/// Why a store call did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Create found the key taken.
    #[error("resource already exists: {0}")]
    Exists(Key),
    /// The key is not there.
    #[error("resource does not exist: {0}")]
    NotFound(Key),
    /// The value was written by someone else since it was read.
    #[error("update conflict: {0}")]
    Conflict(Key),
    /// The log does not reach back to the cursor, or the cursor is from another store: list again.
    #[error("revision {cursor} is not in the log, which begins at {first}: list again")]
    Compacted {
        /// The cursor asked for.
        cursor: u64,
        /// The oldest revision kept.
        first: u64,
    },
    /// What is stored is not what the key says.
    #[error("{key} is malformed in the datastore: {reason}")]
    Malformed {
        /// The key.
        key: Key,
        /// The parser's words.
        reason: String,
    },
    /// This datastore has the object from somebody else, who alone may do that (Calico: a Node in Kubernetes).
    #[error("operation {operation} is not supported on {key}")]
    Unsupported {
        /// `Create`, `Update` or `Delete`.
        operation: &'static str,
        /// The key.
        key: Key,
    },
    /// The backend failed: disk full, database locked, no connection.
    #[error("{0}")]
    Backend(String),
}

/// The result of a store call.
pub type StoreResult<T> = Result<T, StoreError>;

/// A compare-and-swap store with revisions. Every write gets a new revision, greater than any before; where others write to
/// the same store, some revisions are theirs.
///
/// The core may await these, never spawn, sleep or select.
pub trait Store {
    /// The entry, or `None`.
    fn get(&self, key: &Key) -> impl Future<Output = StoreResult<Option<Entry>>> + Send;
    /// Everything under a prefix, at one revision.
    fn list(&self, prefix: &KeyPrefix) -> impl Future<Output = StoreResult<Listing>> + Send;
    /// Writes a key that must not exist; [`StoreError::Exists`] otherwise.
    fn create(&self, key: &Key, value: &str) -> impl Future<Output = StoreResult<Entry>> + Send;
    /// Writes a key whose revision must be `expected`; [`StoreError::Conflict`] or [`StoreError::NotFound`] otherwise.
    fn update(
        &self,
        key: &Key,
        value: &str,
        expected: u64,
    ) -> impl Future<Output = StoreResult<Entry>> + Send;
    /// Deletes a key, whose revision must be `expected` where that is given; returns what was deleted.
    fn delete(
        &self,
        key: &Key,
        expected: Option<u64>,
    ) -> impl Future<Output = StoreResult<Entry>> + Send;
    /// What happened after `cursor` (a revision from a listing or an earlier call); empty when nothing did. Everything that this
    /// process wrote or read is in it; of what others wrote just now a store that is not on this machine may tell a moment later.
    /// [`StoreError::Compacted`] when the log does not have all of it.
    fn changes(&self, cursor: u64) -> impl Future<Output = StoreResult<Changes>> + Send;
    /// Returns when something may have happened after `cursor`. Only a hint: read [`Store::changes`] until it is empty.
    fn wait(&self, cursor: u64) -> impl Future<Output = StoreResult<()>> + Send;

    /// Paths under our prefixes of which this version does not know the kind; no other call has them.
    fn unknown_paths(&self) -> impl Future<Output = StoreResult<Vec<String>>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Whether this is the Kubernetes API, where nodes are the kubelets' to make and a cluster is of type `kdd` (calico-compat §3.5).
    fn is_kubernetes(&self) -> bool {
        false
    }

    /// What the datastore itself says of an object that is there or is not, which Calico repeats after its own words; `None` where it
    /// says nothing.
    fn cause(&self, _error: &StoreError) -> Option<String> {
        None
    }

    /// Why this store cannot hold an entry, in words; `None` where it can.
    fn cannot_hold(&self, _entry: &Entry) -> Option<String> {
        None
    }
}
