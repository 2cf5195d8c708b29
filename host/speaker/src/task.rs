//! Threads beside the speaker's: each is asked to end, and may take a while to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running thread.
pub(crate) struct Task {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    ended: Receiver<()>,
}

/// What the thread itself sees of being asked to end.
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits so long, or until asked to end.
    pub fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        while !self.is_asked() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }
}

impl Task {
    /// # Errors
    /// When there can be no thread.
    pub fn start(name: &str, run: impl FnOnce(&Stop) + Send + 'static) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Stop(Arc::clone(&stop));
        let (alive, ended) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || {
                run(&seen);
                drop(alive);
            })?;
        Ok(Task {
            stop,
            thread,
            ended,
        })
    }

    /// Asks it to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
    }

    /// Waits for its end at most until a time.
    pub fn wait(&self, until: Instant) {
        // Nothing is ever sent: the channel ends with the thread.
        let _ = self
            .ended
            .recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}
