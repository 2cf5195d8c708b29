//! The thread that does the waiting: the store's callers have no async runtime, or one of their own.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll};

use resource::{StoreError, StoreResult};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A runtime that is started when it is first wanted.
pub(crate) struct OnDemand {
    /// The thread's.
    name: &'static str,
    started: OnceLock<Result<Runtime, String>>,
}

impl OnDemand {
    pub(crate) fn new(name: &'static str) -> OnDemand {
        OnDemand {
            name,
            started: OnceLock::new(),
        }
    }

    /// # Errors
    /// [`StoreError::Backend`] where there is no thread to be had.
    pub(crate) fn get(&self) -> StoreResult<&Runtime> {
        let name = self.name;
        let start = || Runtime::start(name).map_err(|e| format!("{name}: no thread: {e}"));
        let started = self.started.get_or_init(start);
        started
            .as_ref()
            .map_err(|reason| StoreError::Backend(reason.clone()))
    }
}

/// A runtime on a thread of its own, which ends when this is dropped.
pub(crate) struct Runtime {
    handle: Handle,
    _until_dropped: oneshot::Sender<()>,
}

impl Runtime {
    /// Starts it; the thread is called `name`.
    ///
    /// # Errors
    /// That there is no thread to be had.
    fn start(name: &str) -> io::Result<Runtime> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // Names are looked up there, seldom.
            .max_blocking_threads(4)
            .build()?;
        let handle = runtime.handle().clone();
        let (sender, dropped) = oneshot::channel();
        std::thread::Builder::new()
            .name(name.to_string())
            .spawn(move || {
                let _ = runtime.block_on(dropped);
                // Whoever still looks up a name is not waited for.
                runtime.shutdown_background();
            })?;
        Ok(Runtime {
            handle,
            _until_dropped: sender,
        })
    }

    /// Has the thread run `work`; the answer may be awaited anywhere. Dropping it ends the work.
    pub(crate) fn run<T, F>(&self, work: F) -> Handed<T>
    where
        T: Send + 'static,
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        Handed(self.handle.spawn(work))
    }

    /// Has the thread run `work` as long as the runtime lives.
    pub(crate) fn keep<F>(&self, work: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.handle.spawn(work));
    }
}

/// Work that the thread was given.
pub(crate) struct Handed<T>(JoinHandle<StoreResult<T>>);

impl<T> Future for Handed<T> {
    type Output = StoreResult<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|joined| match joined {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(StoreError::Backend(format!("the store's thread: {error}"))),
            },
        })
    }
}

impl<T> Drop for Handed<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
