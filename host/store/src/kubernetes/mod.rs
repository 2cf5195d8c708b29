//! The store in the Kubernetes API: Calico's custom resources, and what is read from Kubernetes' own objects (calico-compat §3).
//!
//! What an object stands for is `kubernetes`' (the crate's) to say; here it is asked for and written. As in the etcd store a thread of the
//! store's does the waiting. Requests and watches share one connection ([`api`]); a watch for each type ([`watch`]) fills a log
//! ([`log`]) that all followers of this process read.

mod api;
mod credentials;
mod kubeconfig;
mod log;
mod objects;
mod options;
mod watch;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kubernetes::{Group, Place, Source};
use resource::{Changes, Entry, Key, KeyPrefix, Kind, Listing, Store, StoreError, StoreResult};
use serde_json::Value;
use tokio::sync::watch as signal;
use tokio::time::timeout;

use self::log::{Answer, Log};
use crate::runtime::OnDemand;
use api::{Api, Fault};
use objects::list_all;

pub(crate) use options::KubernetesFields;
pub use options::{Exec, KubernetesOptions, Login, Token};

/// How long followers wait for what this process wrote; a watch tells within milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// The API server takes requests of 3 MiB, and etcd behind it of 1.5 MiB.
const LARGEST_VALUE: usize = (3 << 19) - (16 << 10);
/// How often a delete or a first write is tried when others write in between.
const TRIES: usize = 10;

/// A [`Store`] in the Kubernetes API. Clones share one connection, one thread and one set of watches.
#[derive(Clone)]
pub struct KubernetesStore {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    runtime: OnDemand,
}

/// What the thread works with; it must not hold what ends it.
struct Shared {
    api: Api,
    group: Group,
    log: Mutex<Log>,
    /// Changes whenever the log does.
    changed: signal::Sender<()>,
    origin: String,
}

/// An object's resourceVersion. They are numbers that grow with each write to the cluster (Kubernetes 1.35: comparable).
fn revision_of(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.and_then(|t| t.parse().ok()).unwrap_or(0)
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the log and wakes those who wait for it.
    fn change_log<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let result = change(&mut self.log());
        self.changed.send_replace(());
        result
    }

    /// What an object stands for. One that is malformed is told of and passed over: it is somebody else's.
    fn entries(&self, source: Source, object: &Value) -> Vec<Entry> {
        let revision = revision_of(object);
        let entry = |(key, value)| Entry {
            key,
            value,
            revision,
        };
        match kubernetes::read(source, self.group, object) {
            Ok(found) => found.into_iter().map(entry).collect(),
            Err(reason) => {
                let name = &object["metadata"]["name"];
                tracing::warn!(kind = source.kind(self.group), %name, reason, "passed over");
                Vec::new()
            }
        }
    }

    /// What an object stands for at a key, noted as known to this process.
    fn entry(&self, source: Source, key: &Key, object: &Value) -> Option<Entry> {
        self.log().knows(source, revision_of(object));
        self.entries(source, object)
            .into_iter()
            .find(|e| e.key == *key)
    }

    fn error(&self, fault: Fault) -> StoreError {
        self.api.error(fault, false)
    }

    fn write_error(&self, fault: Fault) -> StoreError {
        self.api.error(fault, true)
    }
}

impl fmt::Debug for KubernetesStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesStore")
            .field("origin", &self.inner.shared.origin)
            .finish_non_exhaustive()
    }
}

impl KubernetesStore {
    /// A store that connects when it is first asked.
    ///
    /// # Errors
    /// [`StoreError::Backend`] for a server that is no URL and for certificates that cannot be used.
    pub fn open(options: KubernetesOptions) -> StoreResult<KubernetesStore> {
        let (group, origin) = (options.group, options.origin.clone());
        Ok(KubernetesStore {
            inner: Arc::new(Inner {
                shared: Arc::new(Shared {
                    api: Api::new(options)?,
                    group,
                    log: Mutex::new(Log::default()),
                    changed: signal::Sender::new(()),
                    origin,
                }),
                runtime: OnDemand::new("store-kubernetes"),
            }),
        })
    }

    /// An object of any type as the API server has it, for what no key stands for; `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError::Backend`] saying what the API server did not do, and why.
    pub async fn object(&self, place: &Place) -> StoreResult<Option<Value>> {
        let place = place.clone();
        self.on_thread(|shared| async move { shared.object(&place).await })
            .await
    }

    /// Sets a node's condition NetworkUnavailable to False; `time` is RFC 3339.
    ///
    /// # Errors
    /// [`StoreError::Backend`] saying what the API server did not do, and why.
    pub async fn network_is_up(&self, node: &str, time: &str) -> StoreResult<()> {
        let key = Key::cluster(Kind::Node, node);
        let Some(place) = Place::of(&key) else {
            return Err(StoreError::NotFound(key));
        };
        let time = time.to_string();
        self.on_thread(|shared| async move { shared.network_is_up(&place, &time).await })
            .await
    }

    /// Has the thread do `work`.
    async fn on_thread<T, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> StoreResult<T>
    where
        T: Send + 'static,
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        let work = work(Arc::clone(&self.inner.shared));
        self.inner.runtime.get()?.run(work).await
    }

    /// Has the watches run from a revision on.
    fn begin(&self, revision: u64) -> StoreResult<()> {
        let shared = &self.inner.shared;
        let runtime = self.inner.runtime.get()?;
        let sources = Source::all();
        if let Some(generation) = shared.change_log(|log| log.begin(revision, &sources)) {
            for source in sources {
                runtime.keep(watch::run(Arc::clone(shared), source, generation));
            }
        }
        Ok(())
    }

    /// Asks the log until it has an answer.
    async fn asked<T: Send + 'static>(
        &self,
        cursor: u64,
        ask: impl Fn(&Log, u64) -> Answer<T>,
    ) -> Asked<T> {
        let shared = &self.inner.shared;
        let mut changed = shared.changed.subscribe();
        // What this process wrote is waited for, but not for ever.
        let mut patience = None;
        loop {
            changed.borrow_and_update();
            let answer = ask(&shared.log(), cursor);
            match answer {
                Answer::Ready(result) => return Asked::Answered(result),
                Answer::Begin => {
                    if let Err(error) = self.begin(cursor) {
                        return Asked::Answered(Err(error));
                    }
                }
                Answer::Future => {
                    match self
                        .on_thread(|shared| async move { shared.newest().await })
                        .await
                    {
                        Ok(newest) if newest < cursor => return Asked::NotYet(newest),
                        Ok(_) => (),
                        Err(error) => return Asked::Answered(Err(error)),
                    }
                }
                // The sender lives as long as the store.
                Answer::Wait => drop(changed.changed().await),
                Answer::Behind(there) => {
                    let end = *patience.get_or_insert_with(|| std::time::Instant::now() + PATIENCE);
                    let left = end.saturating_duration_since(std::time::Instant::now());
                    if left.is_zero() {
                        return Asked::Answered(Ok(there));
                    }
                    let mut changed = shared.changed.subscribe();
                    let waited = self
                        .on_thread(|_| async move {
                            drop(timeout(left, changed.changed()).await);
                            Ok(())
                        })
                        .await;
                    if let Err(error) = waited {
                        return Asked::Answered(Err(error));
                    }
                }
            }
        }
    }
}

/// What the log says of a cursor.
enum Asked<T> {
    Answered(StoreResult<T>),
    /// The cluster itself is at this revision, which is before the cursor.
    NotYet(u64),
}

impl Store for KubernetesStore {
    async fn get(&self, key: &Key) -> StoreResult<Option<Entry>> {
        let key = key.clone();
        self.on_thread(|shared| async move { shared.get(&key).await })
            .await
    }

    async fn list(&self, prefix: &KeyPrefix) -> StoreResult<Listing> {
        let sources = Source::of_prefix(prefix);
        let namespace = match prefix {
            KeyPrefix::Namespace(_, namespace) => Some(namespace.clone()),
            _ => None,
        };
        let paths = prefix.paths();
        let mut listing = self
            .on_thread(|shared| async move {
                // What was compacted between the first list and the last is listed anew.
                for _ in 1..TRIES {
                    match list_all(&shared, sources.clone(), namespace.clone()).await {
                        Err(StoreError::Compacted { .. }) => (),
                        result => return result,
                    }
                }
                list_all(&shared, sources, namespace).await
            })
            .await?;
        listing.entries.retain(|entry| {
            let path = entry.key.path();
            paths.iter().any(|prefix| path.starts_with(prefix))
        });
        listing.entries.sort_by_cached_key(|entry| entry.key.path());
        Ok(listing)
    }

    async fn create(&self, key: &Key, value: &str) -> StoreResult<Entry> {
        let (key, value) = (key.clone(), value.to_string());
        self.on_thread(|shared| async move { shared.create(&key, &value).await })
            .await
    }

    async fn update(&self, key: &Key, value: &str, expected: u64) -> StoreResult<Entry> {
        let (key, value) = (key.clone(), value.to_string());
        self.on_thread(|shared| async move { shared.update(&key, &value, expected).await })
            .await
    }

    async fn delete(&self, key: &Key, expected: Option<u64>) -> StoreResult<Entry> {
        let key = key.clone();
        self.on_thread(|shared| async move { shared.delete(&key, expected).await })
            .await
    }

    async fn changes(&self, cursor: u64) -> StoreResult<Changes> {
        match self.asked(cursor, Log::after).await {
            Asked::Answered(result) => result,
            // Such a cursor is another store's.
            Asked::NotYet(newest) => Err(StoreError::Compacted {
                cursor,
                first: newest + 1,
            }),
        }
    }

    async fn wait(&self, cursor: u64) -> StoreResult<()> {
        match self.asked(cursor, Log::news).await {
            Asked::Answered(result) => result,
            Asked::NotYet(_) => Ok(()),
        }
    }

    fn is_kubernetes(&self) -> bool {
        true
    }

    fn cause(&self, error: &StoreError) -> Option<String> {
        let (key, state) = match error {
            StoreError::NotFound(key) => (key, "not found"),
            StoreError::Exists(key) => (key, "already exists"),
            _ => return None,
        };
        let place = Place::of(key)?;
        let group = self.inner.shared.group;
        let plural = place.source.plural(group);
        let api_version = place.source.api_version(group);
        let resource = match api_version.split_once('/') {
            Some((group, _)) => format!("{plural}.{group}"),
            None => plural.to_string(),
        };
        Some(format!("{resource} \"{}\" {state}", place.name))
    }

    fn cannot_hold(&self, entry: &Entry) -> Option<String> {
        if entry.value.len() > LARGEST_VALUE {
            return Some(format!(
                "its {} octets are more than the API server takes in one request ({LARGEST_VALUE})",
                entry.value.len()
            ));
        }
        match Place::of(&entry.key).map(|place| place.source) {
            Some(Source::Node) => Some("a node of Kubernetes' is made by its kubelet".to_string()),
            Some(Source::Pod) => Some("an endpoint is there when its pod is".to_string()),
            Some(Source::Namespace | Source::ServiceAccount | Source::NetworkPolicy) => {
                Some("it is read from an object of Kubernetes' own".to_string())
            }
            Some(_) => None,
            None => Some("this datastore has no place for it".to_string()),
        }
    }
}
