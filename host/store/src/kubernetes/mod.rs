//! The store in the Kubernetes API: Calico's custom resources, and what is read from Kubernetes' own objects (calico-compat §3).
//!
//! What an object stands for is `kubernetes`' (the crate's) to say; here it is asked for and written. As in the etcd store a thread of the
//! store's does the waiting. Requests and watches share one connection ([`api`]); a watch for each type ([`watch`]) fills a log
//! ([`log`]) that all followers of this process read.

mod api;
mod credentials;
mod kubeconfig;
mod log;
mod options;
mod watch;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use http::Method;
use kubernetes::{Group, Place, Source};
use resource::{Changes, Entry, Key, KeyPrefix, Listing, Store, StoreError, StoreResult};
use serde_json::{Value, json};
use tokio::sync::watch as signal;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::log::{Answer, Log};
use crate::runtime::Runtime;
use api::{Api, Body, Fault};

pub(crate) use options::KubernetesFields;
pub use options::{Exec, KubernetesOptions, Login, Token};

/// How many objects are asked for at once.
const PAGE: u32 = 500;
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
    runtime: OnceLock<Result<Runtime, String>>,
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

    /// An object as it is, `None` where there is none.
    async fn object(&self, place: &Place) -> StoreResult<Option<Value>> {
        let path = place.path(self.group);
        match self.api.call(Method::GET, &path, Body::None).await {
            Ok(object) => Ok(Some(object)),
            Err(Fault::Status(status)) if status.code == 404 => Ok(None),
            Err(fault) => Err(self.error(fault)),
        }
    }

    async fn get(&self, key: &Key) -> StoreResult<Option<Entry>> {
        let Some(place) = Place::of(key) else {
            return Ok(None);
        };
        let Some(object) = self.object(&place).await? else {
            return Ok(None);
        };
        if place.source.deleted_in_two_steps() && kubernetes::is_deleted(&object) {
            self.finish_delete(&place, &object).await?;
            return Ok(None);
        }
        Ok(self.entry(place.source, key, &object))
    }

    /// Everything of a type, or of it in one namespace: now, or as it was at a revision. `None` where there is no such type.
    async fn list(
        &self,
        source: Source,
        namespace: Option<&str>,
        at: Option<u64>,
    ) -> StoreResult<Option<Listing>> {
        let collection = source.collection(self.group, namespace);
        let mut entries = Vec::new();
        let mut revision = 0;
        let mut rest = String::new();
        loop {
            let mut query = vec![format!("limit={PAGE}")];
            query.extend(source.selector());
            match at {
                _ if !rest.is_empty() => query.push(format!("continue={rest}")),
                Some(at) => query.push(format!("resourceVersion={at}&resourceVersionMatch=Exact")),
                None => (),
            }
            let path = format!("{collection}?{}", query.join("&"));
            let mut page = match self.api.call(Method::GET, &path, Body::None).await {
                Ok(page) => page,
                Err(Fault::Status(status)) if status.code == 404 => return Ok(None),
                Err(Fault::Status(status)) if status.code == 410 => {
                    let cursor = at.unwrap_or(0);
                    return Err(StoreError::Compacted {
                        cursor,
                        first: cursor + 1,
                    });
                }
                Err(fault) => return Err(self.error(fault)),
            };
            if let Value::Array(items) = page["items"].take() {
                entries.extend(items.iter().flat_map(|item| self.entries(source, item)));
            }
            revision = revision_of(&page).max(revision);
            rest = page["metadata"]["continue"]
                .as_str()
                .unwrap_or_default()
                .to_string();
            if rest.is_empty() {
                return Ok(Some(Listing { entries, revision }));
            }
        }
    }

    /// The cluster's newest revision.
    async fn newest(&self) -> StoreResult<u64> {
        let path = format!("{}?limit=1", Source::Namespace.collection(self.group, None));
        let list = self.api.call(Method::GET, &path, Body::None).await;
        let revision = revision_of(&list.map_err(|fault| self.error(fault))?);
        self.log().saw(revision);
        Ok(revision)
    }

    /// A POST or PUT of a whole object, and of its status where that is a resource of its own.
    async fn write_object(
        &self,
        method: Method,
        path: &str,
        place: &Place,
        object: Value,
    ) -> Result<Value, Fault> {
        let status = match place.source {
            Source::Custom(kind) if kubernetes::has_status_resource(kind, self.group) => {
                object.get("status").filter(|s| **s != json!({})).cloned()
            }
            _ => None,
        };
        let mut written = self.api.call(method, path, Body::Object(object)).await?;
        if let Some(status) = status.filter(|status| written.get("status") != Some(status)) {
            written["status"] = status;
            let path = format!("{}/status", place.path(self.group));
            written = self
                .api
                .call(Method::PUT, &path, Body::Object(written))
                .await?;
        }
        Ok(written)
    }

    async fn create(&self, key: &Key, value: &str) -> StoreResult<Entry> {
        let Some(place) = Place::of(key) else {
            return Err(unsupported("Create", key));
        };
        let object = kubernetes::write(key, self.group, value).map_err(|e| malformed(key, e))?;
        let Some(object) = object else {
            return self.create_on(&place, key, value).await;
        };
        let path = place
            .source
            .collection(self.group, place.namespace.as_deref());
        for _ in 0..TRIES {
            let written = self
                .write_object(Method::POST, &path, &place, object.clone())
                .await;
            match written {
                Ok(written) => return self.written(&place, key, &written),
                Err(Fault::Status(status)) if status.reason == "AlreadyExists" => {
                    // One on its way out is in nobody's way.
                    if !self.gone(&place).await? {
                        return Err(StoreError::Exists(key.clone()));
                    }
                }
                Err(fault) => return Err(self.write_error(fault)),
            }
        }
        Err(StoreError::Exists(key.clone()))
    }

    /// Whether what was in the way is no more.
    async fn gone(&self, place: &Place) -> StoreResult<bool> {
        if !place.source.deleted_in_two_steps() {
            return Ok(false);
        }
        match self.object(place).await? {
            None => Ok(true),
            Some(object) if kubernetes::is_deleted(&object) => {
                self.finish_delete(place, &object).await?;
                Ok(true)
            }
            Some(_) => Ok(false),
        }
    }

    /// Creates what is written on an object that is somebody else's: an endpoint on its pod.
    async fn create_on(&self, place: &Place, key: &Key, value: &str) -> StoreResult<Entry> {
        if place.source != Source::Pod {
            return Err(unsupported("Create", key));
        }
        let Some(pod) = self.object(place).await? else {
            return Err(StoreError::NotFound(key.clone()));
        };
        if self
            .entry(place.source, key, &pod)
            .is_some_and(|e| has_addresses(&e))
        {
            return Err(StoreError::Exists(key.clone()));
        }
        let patch = kubernetes::pod::patch(value);
        let written = self.patch(place, key, patch, revision_of(&pod)).await?;
        self.written(place, key, &written)
    }

    async fn update(&self, key: &Key, value: &str, expected: u64) -> StoreResult<Entry> {
        let Some(place) = Place::of(key) else {
            return Err(StoreError::NotFound(key.clone()));
        };
        if expected == 0 {
            // To the API server that is no condition.
            return Err(match self.get(key).await? {
                Some(_) => StoreError::Conflict(key.clone()),
                None => StoreError::NotFound(key.clone()),
            });
        }
        let object = kubernetes::write(key, self.group, value).map_err(|e| malformed(key, e))?;
        let Some(mut object) = object else {
            return self.update_on(&place, key, value, expected).await;
        };
        object["metadata"]["resourceVersion"] = json!(expected.to_string());
        let path = place.path(self.group);
        match self.write_object(Method::PUT, &path, &place, object).await {
            Ok(written) => self.written(&place, key, &written),
            Err(fault) => Err(self.refused(key, fault)),
        }
    }

    /// Writes on an object that is somebody else's: a node's annotations, an endpoint on its pod.
    async fn update_on(
        &self,
        place: &Place,
        key: &Key,
        value: &str,
        expected: u64,
    ) -> StoreResult<Entry> {
        let patch = match place.source {
            Source::Pod => kubernetes::pod::patch(value),
            Source::Node => {
                let Some(node) = self.object(place).await? else {
                    return Err(StoreError::NotFound(key.clone()));
                };
                if revision_of(&node) != expected {
                    return Err(StoreError::Conflict(key.clone()));
                }
                kubernetes::node::patch(value, &node)
            }
            _ => return Err(unsupported("Update", key)),
        };
        let written = self.patch(place, key, patch, expected).await?;
        self.written(place, key, &written)
    }

    /// Changes the annotations of an object that must be at a revision. Kubernetes lets the nodes' own components do that through the
    /// status (calico-compat §3.3).
    async fn patch(
        &self,
        place: &Place,
        key: &Key,
        patch: Result<Value, String>,
        expected: u64,
    ) -> StoreResult<Value> {
        let mut patch = patch.map_err(|e| malformed(key, e))?;
        patch["metadata"]["resourceVersion"] = json!(expected.to_string());
        let path = format!("{}/status", place.path(self.group));
        let written = self
            .api
            .call(Method::PATCH, &path, Body::MergePatch(patch))
            .await;
        written.map_err(|fault| self.refused(key, fault))
    }

    /// Why a write of an object that was read did not succeed.
    fn refused(&self, key: &Key, fault: Fault) -> StoreError {
        match fault {
            Fault::Status(status) if status.code == 409 => StoreError::Conflict(key.clone()),
            Fault::Status(status) if status.code == 404 => StoreError::NotFound(key.clone()),
            fault => self.write_error(fault),
        }
    }

    fn written(&self, place: &Place, key: &Key, object: &Value) -> StoreResult<Entry> {
        self.entry(place.source, key, object).ok_or_else(|| {
            malformed(
                key,
                "what was written is not what it stands for".to_string(),
            )
        })
    }

    async fn delete(&self, key: &Key, expected: Option<u64>) -> StoreResult<Entry> {
        let Some(place) = Place::of(key) else {
            return Err(StoreError::NotFound(key.clone()));
        };
        for _ in 0..TRIES {
            let Some(object) = self.object(&place).await? else {
                return Err(StoreError::NotFound(key.clone()));
            };
            if kubernetes::is_deleted(&object) && place.source.deleted_in_two_steps() {
                self.finish_delete(&place, &object).await?;
                return Err(StoreError::NotFound(key.clone()));
            }
            let Some(entry) = self.entry(place.source, key, &object) else {
                return Err(StoreError::NotFound(key.clone()));
            };
            if expected.is_some_and(|expected| expected != entry.revision) {
                return Err(StoreError::Conflict(key.clone()));
            }
            match self.delete_object(&place, key, &object, &entry).await {
                Ok(()) => return Ok(entry),
                Err(StoreError::Conflict(_)) if expected.is_none() => (),
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict(key.clone()))
    }

    /// Deletes an object as it was read.
    async fn delete_object(
        &self,
        place: &Place,
        key: &Key,
        object: &Value,
        entry: &Entry,
    ) -> StoreResult<()> {
        match place.source {
            Source::Pod => {
                let patch = Ok(kubernetes::pod::removal());
                let written = self.patch(place, key, patch, entry.revision).await?;
                self.log().knows(place.source, revision_of(&written));
                return Ok(());
            }
            Source::Node | Source::Namespace | Source::ServiceAccount | Source::NetworkPolicy => {
                return Err(unsupported("Delete", key));
            }
            _ => (),
        }
        let mut last = object.clone();
        if place.source.deleted_in_two_steps() {
            let marked = kubernetes::write_ipam(key, self.group, &entry.value, true);
            if let Some(mut marked) = marked.map_err(|e| malformed(key, e))? {
                marked["metadata"]["resourceVersion"] = json!(entry.revision.to_string());
                let path = place.path(self.group);
                let written = self
                    .api
                    .call(Method::PUT, &path, Body::Object(marked))
                    .await;
                last = written.map_err(|fault| self.refused(key, fault))?;
                self.log().knows(place.source, revision_of(&last));
                return self.finish_delete(place, &last).await;
            }
        }
        self.log().deletes(key, entry.revision);
        let path = place.path(self.group);
        let answer = self.api.call(Method::DELETE, &path, exactly(&last)).await;
        if answer.is_err() {
            self.log().undelete(key);
        }
        answer.map(drop).map_err(|fault| self.refused(key, fault))
    }

    /// Deletes an object that says that it is deleted. Whether somebody else does so first is the same.
    async fn finish_delete(&self, place: &Place, object: &Value) -> StoreResult<()> {
        let path = place.path(self.group);
        match self.api.call(Method::DELETE, &path, exactly(object)).await {
            Ok(_) => Ok(()),
            Err(Fault::Status(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(fault) => Err(self.write_error(fault)),
        }
    }
}

/// That this very object is meant, as it was read.
fn exactly(object: &Value) -> Body {
    let metadata = &object["metadata"];
    Body::Object(json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]},
    }))
}

/// Whether an endpoint was written, not only derived from a pod that waits for its address.
fn has_addresses(entry: &Entry) -> bool {
    let document: Value = serde_json::from_str(&entry.value).unwrap_or_default();
    let networks = document["spec"]["ipNetworks"].as_array();
    networks.is_some_and(|n| !n.is_empty())
}

fn unsupported(operation: &'static str, key: &Key) -> StoreError {
    StoreError::Unsupported {
        operation,
        key: key.clone(),
    }
}

fn malformed(key: &Key, reason: String) -> StoreError {
    StoreError::Malformed {
        key: key.clone(),
        reason,
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
                runtime: OnceLock::new(),
            }),
        })
    }

    /// An object of any type as the API server has it, for what no key stands for; `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError::Backend`] saying what the API server did not do, and why.
    pub async fn object(&self, place: &Place) -> StoreResult<Option<Value>> {
        let place = place.clone();
        self.on_thread(|shared| async move { shared.object(&place).await }).await
    }

    fn runtime(&self) -> StoreResult<&Runtime> {
        let start = || {
            Runtime::start("store-kubernetes").map_err(|e| format!("Kubernetes: no thread: {e}"))
        };
        let runtime = self.inner.runtime.get_or_init(start);
        runtime
            .as_ref()
            .map_err(|reason| StoreError::Backend(reason.clone()))
    }

    /// Has the thread do `work`.
    async fn on_thread<T, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> StoreResult<T>
    where
        T: Send + 'static,
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        let work = work(Arc::clone(&self.inner.shared));
        self.runtime()?.run(work).await
    }

    /// Has the watches run from a revision on.
    fn begin(&self, revision: u64) -> StoreResult<()> {
        let shared = &self.inner.shared;
        let runtime = self.runtime()?;
        let sources = Source::all();
        if let Some(generation) = shared.change_log(|log| log.begin(revision, &sources)) {
            for source in sources {
                runtime.keep(watch::run(Arc::clone(shared), source, generation));
            }
        }
        Ok(())
    }

    /// Asks the log until it has an answer; `None` where the cluster itself is not at the cursor yet, with where it is.
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
                        .on_thread(
                            |_| async move { Ok(drop(timeout(left, changed.changed()).await)) },
                        )
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

/// Lists of several types, all of one revision.
async fn list_all(
    shared: &Arc<Shared>,
    sources: Vec<Source>,
    namespace: Option<String>,
) -> StoreResult<Listing> {
    let mut lists = JoinSet::new();
    let at = match sources.len() {
        0 | 1 => None,
        _ => Some(shared.newest().await?),
    };
    let many = at.is_some();
    for source in sources {
        let (shared, namespace) = (Arc::clone(shared), namespace.clone());
        lists.spawn(async move {
            let namespace = namespace.filter(|_| source.namespaced());
            let listing = shared.list(source, namespace.as_deref(), at).await?;
            Ok::<_, StoreError>((source, listing))
        });
    }
    let mut all = Listing {
        entries: Vec::new(),
        revision: at.unwrap_or(0),
    };
    while let Some(joined) = lists.join_next().await {
        let listed = joined.map_err(|e| StoreError::Backend(format!("Kubernetes: {e}")))?;
        let (source, Some(listing)) = listed? else {
            continue;
        };
        let newest = listing.entries.iter().map(|e| e.revision).max();
        let mut log = shared.log();
        log.knows(source, newest.unwrap_or(0));
        log.saw(listing.revision);
        drop(log);
        if !many {
            all.revision = listing.revision;
        }
        all.entries.extend(listing.entries);
    }
    if all.revision == 0 {
        all.revision = shared.newest().await?;
    }
    Ok(all)
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
