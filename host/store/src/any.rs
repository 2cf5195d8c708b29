//! The store that a configuration names.

use resource::{
    Changes, Entry, Key, KeyPrefix, Listing, MemoryStore, Store, StoreError, StoreResult,
};

use crate::{Config, Datastore, EtcdStore, KubernetesStore, SqliteStore};

/// One of the backends. Clones share it.
#[derive(Clone, Debug)]
pub enum AnyStore {
    /// A file.
    Sqlite(SqliteStore),
    /// etcd version 3.
    Etcd(EtcdStore),
    /// The Kubernetes API.
    Kubernetes(KubernetesStore),
    /// This process's memory.
    Memory(MemoryStore),
}

/// Opens the store that the configuration names.
///
/// # Errors
/// [`StoreError::Backend`] saying what cannot be opened, where, and how to mend it.
pub fn open(config: &Config) -> StoreResult<AnyStore> {
    match &config.datastore {
        Datastore::Sqlite { path } => SqliteStore::open(path).map(AnyStore::Sqlite),
        Datastore::EtcdV3(options) => EtcdStore::open(options.clone()).map(AnyStore::Etcd),
        Datastore::Kubernetes(options) => {
            KubernetesStore::open(options.clone()).map(AnyStore::Kubernetes)
        }
    }
}

impl AnyStore {
    /// Tells Kubernetes that a node's network is there, for schedulers that wait for it; the other stores have nobody to tell.
    /// `time` is RFC 3339.
    ///
    /// # Errors
    /// [`StoreError::Backend`] saying what the API server did not do, and why.
    pub async fn network_is_up(&self, node: &str, time: &str) -> StoreResult<()> {
        match self {
            AnyStore::Kubernetes(store) => store.network_is_up(node, time).await,
            AnyStore::Sqlite(_) | AnyStore::Etcd(_) | AnyStore::Memory(_) => Ok(()),
        }
    }
}

impl Store for AnyStore {
    async fn get(&self, key: &Key) -> StoreResult<Option<Entry>> {
        match self {
            AnyStore::Sqlite(store) => store.get(key).await,
            AnyStore::Etcd(store) => store.get(key).await,
            AnyStore::Kubernetes(store) => store.get(key).await,
            AnyStore::Memory(store) => store.get(key).await,
        }
    }

    async fn list(&self, prefix: &KeyPrefix) -> StoreResult<Listing> {
        match self {
            AnyStore::Sqlite(store) => store.list(prefix).await,
            AnyStore::Etcd(store) => store.list(prefix).await,
            AnyStore::Kubernetes(store) => store.list(prefix).await,
            AnyStore::Memory(store) => store.list(prefix).await,
        }
    }

    async fn create(&self, key: &Key, value: &str) -> StoreResult<Entry> {
        match self {
            AnyStore::Sqlite(store) => store.create(key, value).await,
            AnyStore::Etcd(store) => store.create(key, value).await,
            AnyStore::Kubernetes(store) => store.create(key, value).await,
            AnyStore::Memory(store) => store.create(key, value).await,
        }
    }

    async fn update(&self, key: &Key, value: &str, expected: u64) -> StoreResult<Entry> {
        match self {
            AnyStore::Sqlite(store) => store.update(key, value, expected).await,
            AnyStore::Etcd(store) => store.update(key, value, expected).await,
            AnyStore::Kubernetes(store) => store.update(key, value, expected).await,
            AnyStore::Memory(store) => store.update(key, value, expected).await,
        }
    }

    async fn delete(&self, key: &Key, expected: Option<u64>) -> StoreResult<Entry> {
        match self {
            AnyStore::Sqlite(store) => store.delete(key, expected).await,
            AnyStore::Etcd(store) => store.delete(key, expected).await,
            AnyStore::Kubernetes(store) => store.delete(key, expected).await,
            AnyStore::Memory(store) => store.delete(key, expected).await,
        }
    }

    async fn changes(&self, cursor: u64) -> StoreResult<Changes> {
        match self {
            AnyStore::Sqlite(store) => store.changes(cursor).await,
            AnyStore::Etcd(store) => store.changes(cursor).await,
            AnyStore::Kubernetes(store) => store.changes(cursor).await,
            AnyStore::Memory(store) => store.changes(cursor).await,
        }
    }

    async fn wait(&self, cursor: u64) -> StoreResult<()> {
        match self {
            AnyStore::Sqlite(store) => store.wait(cursor).await,
            AnyStore::Etcd(store) => store.wait(cursor).await,
            AnyStore::Kubernetes(store) => store.wait(cursor).await,
            AnyStore::Memory(store) => store.wait(cursor).await,
        }
    }

    async fn unknown_paths(&self) -> StoreResult<Vec<String>> {
        match self {
            AnyStore::Sqlite(store) => store.unknown_paths().await,
            AnyStore::Etcd(store) => store.unknown_paths().await,
            AnyStore::Kubernetes(store) => store.unknown_paths().await,
            AnyStore::Memory(store) => store.unknown_paths().await,
        }
    }

    fn is_kubernetes(&self) -> bool {
        matches!(self, AnyStore::Kubernetes(_))
    }

    fn cause(&self, error: &StoreError) -> Option<String> {
        match self {
            AnyStore::Kubernetes(store) => store.cause(error),
            AnyStore::Sqlite(_) | AnyStore::Etcd(_) | AnyStore::Memory(_) => None,
        }
    }

    fn cannot_hold(&self, entry: &Entry) -> Option<String> {
        match self {
            AnyStore::Sqlite(store) => store.cannot_hold(entry),
            AnyStore::Etcd(store) => store.cannot_hold(entry),
            AnyStore::Kubernetes(store) => store.cannot_hold(entry),
            AnyStore::Memory(store) => store.cannot_hold(entry),
        }
    }
}
