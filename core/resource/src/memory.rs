//! A store in memory, for tests and simulation.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::{Change, Changes, Entry, Key, KeyPrefix, Listing, Store, StoreError, StoreResult};

#[derive(Debug, Default)]
struct Inner {
    revision: u64,
    values: BTreeMap<String, Entry>,
    log: Vec<Change>,
    wakers: Vec<Waker>,
}

impl Inner {
    fn append(&mut self, change: Change) {
        self.log.push(change);
        for waker in self.wakers.drain(..) {
            waker.wake();
        }
    }

    fn put(&mut self, key: &Key, value: &str) -> Entry {
        self.revision += 1;
        let entry = Entry {
            key: key.clone(),
            value: value.to_string(),
            revision: self.revision,
        };
        self.values.insert(key.path(), entry.clone());
        self.append(Change::Put(entry.clone()));
        entry
    }
}

/// A [`Store`] in memory; clones share it. Nothing is ever compacted.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

impl MemoryStore {
    /// An empty store at revision 0.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// The revision of the newest write; 0 when there was none.
    pub fn revision(&self) -> u64 {
        self.lock().revision
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No call panics while it holds the lock half-changed, so a poisoned one is still consistent.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    async fn get(&self, key: &Key) -> StoreResult<Option<Entry>> {
        Ok(self.lock().values.get(&key.path()).cloned())
    }

    async fn list(&self, prefix: &KeyPrefix) -> StoreResult<Listing> {
        let inner = self.lock();
        let mut entries = Vec::new();
        for path in prefix.paths() {
            entries.extend(
                inner
                    .values
                    .range(path.clone()..)
                    .take_while(|(p, _)| p.starts_with(&path))
                    .map(|(_, e)| e.clone()),
            );
        }
        Ok(Listing {
            entries,
            revision: inner.revision,
        })
    }

    async fn create(&self, key: &Key, value: &str) -> StoreResult<Entry> {
        let mut inner = self.lock();
        if inner.values.contains_key(&key.path()) {
            return Err(StoreError::Exists(key.clone()));
        }
        Ok(inner.put(key, value))
    }

    async fn update(&self, key: &Key, value: &str, expected: u64) -> StoreResult<Entry> {
        let mut inner = self.lock();
        match inner.values.get(&key.path()) {
            None => Err(StoreError::NotFound(key.clone())),
            Some(entry) if entry.revision != expected => Err(StoreError::Conflict(key.clone())),
            Some(_) => Ok(inner.put(key, value)),
        }
    }

    async fn delete(&self, key: &Key, expected: Option<u64>) -> StoreResult<Entry> {
        let mut inner = self.lock();
        let path = key.path();
        let entry = inner
            .values
            .get(&path)
            .cloned()
            .ok_or_else(|| StoreError::NotFound(key.clone()))?;
        if expected.is_some_and(|revision| revision != entry.revision) {
            return Err(StoreError::Conflict(key.clone()));
        }
        inner.values.remove(&path);
        inner.revision += 1;
        let revision = inner.revision;
        inner.append(Change::Delete {
            key: key.clone(),
            revision,
        });
        Ok(entry)
    }

    async fn changes(&self, cursor: u64) -> StoreResult<Changes> {
        let inner = self.lock();
        // A cursor from the future is from another store.
        if cursor > inner.revision {
            return Err(StoreError::Compacted { cursor, first: 1 });
        }
        // Every revision has exactly one change, so the log is indexed by revision.
        let from = usize::try_from(cursor)
            .unwrap_or(usize::MAX)
            .min(inner.log.len());
        Ok(Changes {
            changes: inner.log[from..].to_vec(),
            revision: inner.revision,
        })
    }

    async fn wait(&self, cursor: u64) -> StoreResult<()> {
        poll_fn(|cx| {
            let mut inner = self.lock();
            if inner.revision != cursor {
                return Poll::Ready(Ok(()));
            }
            inner.wakers.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}
