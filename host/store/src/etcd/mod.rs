//! The store in etcd v3: Calico's keys, values and transactions (calico-compat §2).
//!
//! Callers are plain threads that block, or a runtime of their own; so a thread of the store's does the waiting
//! ([`crate::runtime`]). Requests go to one member at a time ([`pool`]); one watch stream ([`watch`]) fills a log ([`log`]) that all
//! followers of this process read.

mod discovery;
mod error;
mod grpc;
mod log;
mod options;
mod pool;
mod watch;
mod wire;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use resource::{Changes, Entry, Key, KeyPrefix, Listing, Store, StoreError, StoreResult};
use tokio::sync::{Notify, watch as signal};

use self::log::{Answer, Log, entry, unsigned};
use crate::runtime::OnDemand;
use pool::{Call, Pool};
use wire::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, PutRequest, RangeRequest, RangeResponse,
    Request, RequestOp, Response, ResponseHeader, TxnRequest, TxnResponse,
};

pub(crate) use options::EtcdFields;
pub use options::{Endpoint, EtcdOptions};

/// etcd takes requests of 1.5 MiB unless it was told otherwise; some of that is the key and what is around.
const LARGEST_VALUE: usize = (3 << 19) - 1024;

/// A [`Store`] in etcd. Clones share one connection, one thread and one watch.
#[derive(Clone)]
pub struct EtcdStore {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    runtime: OnDemand,
}

/// What the thread works with; it must not hold what ends it.
struct Shared {
    pool: Pool,
    log: Mutex<Log>,
    /// Changes whenever the log does.
    changed: signal::Sender<()>,
    /// The stream has to look where it is to begin.
    restart: Notify,
    origin: String,
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_log<T>(&self, read: impl FnOnce(&Log) -> T) -> T {
        read(&self.log())
    }

    /// Changes the log and wakes those who wait for it.
    fn change_log<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let result = change(&mut self.log());
        self.changed.send_replace(());
        result
    }

    /// Notes a revision; nobody waits for that.
    fn note(&self, header: Option<&ResponseHeader>, entries: Option<u64>) -> u64 {
        let revision = header.map_or(0, |h| unsigned(h.revision));
        let mut log = self.log();
        log.saw(revision);
        if let Some(newest) = entries {
            log.knows(newest);
        }
        revision
    }

    async fn txn(&self, request: &TxnRequest, kind: Call) -> StoreResult<TxnResponse> {
        self.pool.call(wire::TXN, request, kind).await
    }
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore")
            .field("origin", &self.inner.shared.origin)
            .finish_non_exhaustive()
    }
}

impl EtcdStore {
    /// A store that connects when it is first asked.
    ///
    /// # Errors
    /// [`StoreError::Backend`] for certificates that cannot be used, and where DNS is to name the members and does not. It is asked
    /// once, here.
    pub fn open(mut options: EtcdOptions) -> StoreResult<EtcdStore> {
        let origin = options.origin.clone();
        if options.endpoints.is_empty() && !options.discovery_srv.is_empty() {
            let found =
                discovery::members(&options.discovery_srv, Path::new(discovery::RESOLV_CONF));
            options.endpoints = found.map_err(|why| {
                StoreError::Backend(format!(
                    "cannot find etcd's members by DNS ({origin}): {why}"
                ))
            })?;
        }
        Ok(EtcdStore {
            inner: Arc::new(Inner {
                shared: Arc::new(Shared {
                    pool: Pool::new(options)?,
                    log: Mutex::new(Log::new()),
                    changed: signal::Sender::new(()),
                    restart: Notify::new(),
                    origin,
                }),
                runtime: OnDemand::new("store-etcd"),
            }),
        })
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

    /// Has the stream reach back to a cursor.
    fn begin(&self, cursor: u64) -> StoreResult<()> {
        let shared = &self.inner.shared;
        let runtime = self.inner.runtime.get()?;
        match shared.change_log(|log| log.begin(cursor)) {
            Some(1) => runtime.keep(watch::run(Arc::clone(shared))),
            Some(_) => shared.restart.notify_one(),
            None => (),
        }
        Ok(())
    }

    /// etcd's newest revision, which no cursor can be beyond.
    async fn newest(&self) -> StoreResult<u64> {
        let request = RangeRequest {
            key: KeyPrefix::All.paths().swap_remove(0).into_bytes(),
            ..RangeRequest::default()
        };
        self.on_thread(|shared| async move {
            let answer: RangeResponse = shared.pool.call(wire::RANGE, &request, Call::Read).await?;
            Ok(shared.note(answer.header.as_ref(), None))
        })
        .await
    }

    /// Asks the log until it has an answer.
    async fn asked<T>(&self, cursor: u64, ask: impl Fn(&Log, u64) -> Answer<T>) -> Asked<T> {
        let shared = &self.inner.shared;
        let mut changed = shared.changed.subscribe();
        loop {
            changed.borrow_and_update();
            match shared.read_log(|log| ask(log, cursor)) {
                Answer::Ready(result) => return Asked::Answered(result),
                Answer::Begin => {
                    if let Err(error) = self.begin(cursor) {
                        return Asked::Answered(Err(error));
                    }
                }
                Answer::Future => match self.newest().await {
                    Ok(newest) if newest < cursor => return Asked::NotYet(newest),
                    Ok(_) => (),
                    Err(error) => return Asked::Answered(Err(error)),
                },
                // The sender lives as long as the store.
                Answer::Wait => drop(changed.changed().await),
            }
        }
    }
}

/// What the log says of a cursor.
enum Asked<T> {
    Answered(StoreResult<T>),
    /// etcd itself is at this revision, which is before the cursor.
    NotYet(u64),
}

/// The key after every key that begins with `prefix`: all prefixes end in `/`, and `0` follows it.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

fn put(key: &Key, value: &str) -> Vec<RequestOp> {
    let request = PutRequest {
        key: key.path().into_bytes(),
        value: value.as_bytes().to_vec(),
    };
    vec![Request::Put(request).into()]
}

/// Looks whether a key is there, for a transaction that did not fit.
fn look(path: &[u8]) -> Vec<RequestOp> {
    let request = RangeRequest {
        key: path.to_vec(),
        keys_only: true,
        ..RangeRequest::default()
    };
    vec![Request::Range(request).into()]
}

/// Why a compare did not fit: the key is gone, or was written since.
fn refused(key: &Key, answer: TxnResponse) -> StoreError {
    match answer.responses.into_iter().next().and_then(|r| r.response) {
        Some(Response::Range(range)) if !range.kvs.is_empty() => StoreError::Conflict(key.clone()),
        Some(Response::Range(_) | Response::DeleteRange(_)) | None => {
            StoreError::NotFound(key.clone())
        }
    }
}

/// etcd's revisions are signed; one that no entry can have fits none.
fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

impl Store for EtcdStore {
    async fn get(&self, key: &Key) -> StoreResult<Option<Entry>> {
        let request = RangeRequest {
            key: key.path().into_bytes(),
            ..RangeRequest::default()
        };
        self.on_thread(|shared| async move {
            let answer: RangeResponse = shared.pool.call(wire::RANGE, &request, Call::Read).await?;
            let found = answer.kvs.first().and_then(entry);
            shared.note(answer.header.as_ref(), found.as_ref().map(|e| e.revision));
            Ok(found)
        })
        .await
    }

    async fn list(&self, prefix: &KeyPrefix) -> StoreResult<Listing> {
        // One transaction, however many prefixes: it is of one revision.
        let ranges = prefix.paths().into_iter().map(|prefix| {
            let request = RangeRequest {
                range_end: end_of(&prefix),
                key: prefix.into_bytes(),
                ..RangeRequest::default()
            };
            Request::Range(request).into()
        });
        let request = TxnRequest {
            success: ranges.collect(),
            ..TxnRequest::default()
        };
        self.on_thread(|shared| async move {
            let answer = shared.txn(&request, Call::Read).await?;
            let ranges = answer
                .responses
                .into_iter()
                .filter_map(|r| match r.response {
                    Some(Response::Range(range)) => Some(range.kvs),
                    Some(Response::DeleteRange(_)) | None => None,
                });
            // A path of a kind that this version does not know is not ours to judge.
            let entries: Vec<Entry> = ranges.flatten().filter_map(|kv| entry(&kv)).collect();
            let newest = entries.iter().map(|e| e.revision).max();
            let revision = shared.note(answer.header.as_ref(), newest);
            shared.log().hand_out(revision);
            Ok(Listing { entries, revision })
        })
        .await
    }

    async fn create(&self, key: &Key, value: &str) -> StoreResult<Entry> {
        let request = TxnRequest {
            compare: vec![Compare::absent(key.path().into_bytes())],
            success: put(key, value),
            failure: Vec::new(),
        };
        let (key, value) = (key.clone(), value.to_string());
        self.on_thread(|shared| async move {
            let answer = shared.txn(&request, Call::Write).await?;
            if !answer.succeeded {
                return Err(StoreError::Exists(key));
            }
            Ok(written(&shared, answer.header.as_ref(), key, value))
        })
        .await
    }

    async fn update(&self, key: &Key, value: &str, expected: u64) -> StoreResult<Entry> {
        let path = key.path().into_bytes();
        // A key that is not there was last written in revision 0.
        let request = TxnRequest {
            failure: look(&path),
            compare: vec![Compare::written_in(path, signed(expected).max(1))],
            success: put(key, value),
        };
        let (key, value) = (key.clone(), value.to_string());
        self.on_thread(|shared| async move {
            let answer = shared.txn(&request, Call::Write).await?;
            if !answer.succeeded {
                return Err(refused(&key, answer));
            }
            Ok(written(&shared, answer.header.as_ref(), key, value))
        })
        .await
    }

    async fn delete(&self, key: &Key, expected: Option<u64>) -> StoreResult<Entry> {
        let path = key.path().into_bytes();
        let delete = DeleteRangeRequest {
            key: path.clone(),
            prev_kv: true,
        };
        let key = key.clone();
        self.on_thread(|shared| async move {
            let (header, deleted) = match expected {
                None => {
                    let answer: DeleteRangeResponse = shared
                        .pool
                        .call(wire::DELETE_RANGE, &delete, Call::Write)
                        .await?;
                    (answer.header, answer.prev_kvs)
                }
                Some(expected) => {
                    let request = TxnRequest {
                        failure: look(&path),
                        compare: vec![Compare::written_in(path, signed(expected).max(1))],
                        success: vec![Request::DeleteRange(delete).into()],
                    };
                    let mut answer = shared.txn(&request, Call::Write).await?;
                    if !answer.succeeded {
                        return Err(refused(&key, answer));
                    }
                    match answer.responses.pop().and_then(|r| r.response) {
                        Some(Response::DeleteRange(deleted)) => (answer.header, deleted.prev_kvs),
                        Some(Response::Range(_)) | None => (answer.header, Vec::new()),
                    }
                }
            };
            let Some(entry) = deleted.first().and_then(entry) else {
                return Err(StoreError::NotFound(key));
            };
            let revision = header.as_ref().map_or(0, |h| unsigned(h.revision));
            shared.note(header.as_ref(), Some(revision));
            Ok(entry)
        })
        .await
    }

    async fn unknown_paths(&self) -> StoreResult<Vec<String>> {
        let requests = KeyPrefix::All
            .paths()
            .into_iter()
            .map(|prefix| RangeRequest {
                range_end: end_of(&prefix),
                key: prefix.into_bytes(),
                keys_only: true,
                ..RangeRequest::default()
            });
        let requests: Vec<RangeRequest> = requests.collect();
        self.on_thread(|shared| async move {
            let mut paths = Vec::new();
            for request in requests {
                let answer: RangeResponse =
                    shared.pool.call(wire::RANGE, &request, Call::Read).await?;
                let found = answer.kvs.iter().filter(|kv| entry(kv).is_none());
                paths.extend(found.map(|kv| String::from_utf8_lossy(&kv.key).into_owned()));
            }
            Ok(paths)
        })
        .await
    }

    fn cannot_hold(&self, entry: &Entry) -> Option<String> {
        (entry.value.len() > LARGEST_VALUE).then(|| {
            format!(
                "its {} octets are more than etcd takes in one request ({LARGEST_VALUE})",
                entry.value.len()
            )
        })
    }

    async fn changes(&self, cursor: u64) -> StoreResult<Changes> {
        match self.asked(cursor, Log::after).await {
            Asked::Answered(result) => {
                if let Ok(changes) = &result {
                    self.inner.shared.log().hand_out(changes.revision);
                }
                result
            }
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
}

fn written(shared: &Shared, header: Option<&ResponseHeader>, key: Key, value: String) -> Entry {
    let revision = header.map_or(0, |h| unsigned(h.revision));
    shared.note(header, Some(revision));
    Entry {
        key,
        value,
        revision,
    }
}
