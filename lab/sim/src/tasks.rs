//! Tasks over the store, one step at a time: whoever drives them chooses who runs next, and may kill there.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use resource::{Changes, Entry, Key, KeyPrefix, Listing, MemoryStore, Store, StoreResult};

/// A store whose every call waits once before it is done, so that another task can come in between.
#[derive(Clone, Debug)]
pub struct SteppedStore {
    inner: MemoryStore,
    /// Planted: updates are taken without comparing the revision.
    blind_updates: bool,
}

async fn step() {
    let mut waited = false;
    poll_fn(|_| {
        if std::mem::replace(&mut waited, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

impl SteppedStore {
    /// Steps over `inner`.
    pub fn new(inner: MemoryStore, blind_updates: bool) -> SteppedStore {
        SteppedStore {
            inner,
            blind_updates,
        }
    }
}

impl Store for SteppedStore {
    async fn get(&self, key: &Key) -> StoreResult<Option<Entry>> {
        step().await;
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &KeyPrefix) -> StoreResult<Listing> {
        step().await;
        self.inner.list(prefix).await
    }

    async fn create(&self, key: &Key, value: &str) -> StoreResult<Entry> {
        step().await;
        self.inner.create(key, value).await
    }

    async fn update(&self, key: &Key, value: &str, expected: u64) -> StoreResult<Entry> {
        step().await;
        let expected = match self.inner.get(key).await? {
            Some(present) if self.blind_updates => present.revision,
            _ => expected,
        };
        self.inner.update(key, value, expected).await
    }

    async fn delete(&self, key: &Key, expected: Option<u64>) -> StoreResult<Entry> {
        step().await;
        self.inner.delete(key, expected).await
    }

    async fn changes(&self, cursor: u64) -> StoreResult<Changes> {
        step().await;
        self.inner.changes(cursor).await
    }

    async fn wait(&self, cursor: u64) -> StoreResult<()> {
        self.inner.wait(cursor).await
    }
}

/// Names a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskId(u64);

/// Tasks that have not ended.
pub struct Tasks<T> {
    next: u64,
    running: BTreeMap<TaskId, Pin<Box<dyn Future<Output = T>>>>,
}

impl<T> Default for Tasks<T> {
    fn default() -> Self {
        Tasks {
            next: 0,
            running: BTreeMap::new(),
        }
    }
}

impl<T> Tasks<T> {
    /// Adds a task; nothing of it runs yet.
    pub fn add(&mut self, task: impl Future<Output = T> + 'static) -> TaskId {
        self.next += 1;
        let id = TaskId(self.next);
        self.running.insert(id, Box::pin(task));
        id
    }

    /// Runs a task up to its next store call; its result when that was the last.
    pub fn step(&mut self, id: TaskId) -> Option<T> {
        let task = self.running.get_mut(&id)?;
        match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => {
                self.running.remove(&id);
                Some(result)
            }
            Poll::Pending => None,
        }
    }

    /// Ends a task where it stands, as kill -9 does.
    pub fn kill(&mut self, id: TaskId) {
        self.running.remove(&id);
    }

    /// Whether the task is still there.
    pub fn runs(&self, id: TaskId) -> bool {
        self.running.contains_key(&id)
    }
}

/// Runs a task on the plain memory store to its end; such a task never waits.
pub fn now_or_never<T>(task: impl Future<Output = T>) -> T {
    let mut task = std::pin::pin!(task);
    match task.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => unreachable!("a memory store answers at once"),
    }
}
