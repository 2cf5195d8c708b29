//! Waking those who wait, when any process has committed.
//!
//! SQLite writes a commit's bytes to the WAL file first and makes them visible afterwards, by memory that no file event
//! tells of. So an event of the WAL file comes too early: who looks then and sleeps again misses the last write. Here
//! each writer touches the database file's time *after* its commit, which is an event that comes after the commit is
//! visible; an event of the WAL (a writer that was killed in between, or another program) starts a series of looks with
//! growing gaps; and a look at a fixed interval stands behind both.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::thread;
use std::time::Duration;

use super::schema::Opened;
use signal::{Doorbell, Files};

/// The first gap after an event that brought nothing.
const EAGER: Duration = Duration::from_millis(1);

/// Those who wait, and the thread that wakes them.
pub(super) struct Watch {
    wakers: Arc<Wakers>,
    doorbell: Option<Arc<Doorbell>>,
}

#[derive(Default)]
struct Wakers(Mutex<Vec<Waker>>);

impl Wakers {
    fn register(&self, waker: &Waker) {
        let mut wakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !wakers.iter().any(|w| w.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    fn wake(&self) {
        let wakers = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for waker in wakers {
            waker.wake();
        }
    }
}

impl Watch {
    /// Starts the thread; it ends when this value is dropped. `quiet` is the gap between looks when nothing at all was heard;
    /// at least a millisecond.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub(super) fn start(path: &Path, quiet: Duration) -> std::io::Result<Watch> {
        let wakers = Arc::new(Wakers::default());
        let doorbell = Doorbell::new().map(Arc::new);
        let (thread_wakers, thread_doorbell) = (Arc::downgrade(&wakers), doorbell.clone());
        let path = path.to_path_buf();
        thread::Builder::new()
            .name("store-watch".to_string())
            .spawn(move || {
                let mut look = Look::new(path);
                let mut gap = Duration::ZERO;
                loop {
                    let heard = look.files.wait(thread_doorbell.as_deref(), gap);
                    let Some(wakers) = thread_wakers.upgrade() else {
                        return;
                    };
                    let seen = look.look();
                    if seen != Seen::Same {
                        wakers.wake();
                    }
                    gap = if seen == Seen::Changed || heard {
                        EAGER
                    } else {
                        (gap * 2).clamp(EAGER, quiet)
                    };
                }
            })?;
        Ok(Watch { wakers, doorbell })
    }

    /// Has `waker` woken once, after the next commit of anyone or earlier.
    pub(super) fn register(&self, waker: &Waker) {
        self.wakers.register(waker);
    }

    /// Wakes all; for a commit of this process.
    pub(super) fn wake(&self) {
        self.wakers.wake();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.wakers = Arc::default();
        if let Some(doorbell) = &self.doorbell {
            doorbell.ring();
        }
    }
}

/// What a look showed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Same,
    /// Somebody has committed.
    Changed,
    /// The file cannot be read: those who wait are to look for themselves, and get the error.
    Nothing,
}

/// The thread's view of the file.
struct Look {
    path: PathBuf,
    files: Files,
    opened: Option<Opened>,
    version: Option<i64>,
}

impl Look {
    fn new(path: PathBuf) -> Look {
        Look {
            files: Files::new(&path),
            path,
            opened: None,
            version: None,
        }
    }

    fn look(&mut self) -> Seen {
        if self.opened.as_ref().is_none_or(|o| !o.is_at(&self.path)) {
            // First the connection, so that the write-ahead log is there for its events.
            self.opened = super::schema::open(&self.path).ok();
            self.files = Files::new(&self.path);
            self.version = None;
        }
        let version = self.opened.as_ref().and_then(|opened| {
            // SQLite: "changes made by other connections", those of this process included.
            opened
                .connection
                .pragma_query_value(None, "data_version", |row| row.get(0))
                .ok()
        });
        let before = std::mem::replace(&mut self.version, version);
        match version {
            None => {
                self.opened = None;
                Seen::Nothing
            }
            Some(_) if version == before => Seen::Same,
            Some(_) => Seen::Changed,
        }
    }
}

/// Touches the database file, after a commit. It does not matter when that fails: the fixed interval stands behind.
pub(super) fn announce(path: &Path) {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        // By path: a file that is opened and closed again would drop this process's locks on it.
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        if let Err(error) = utimensat(CWD, path, &times, AtFlags::empty()) {
            tracing::debug!(%error, "cannot announce a commit");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = path;
}

#[cfg(target_os = "linux")]
mod signal {
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};
    use std::path::Path;
    use std::time::Duration;

    use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
    use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

    /// Ends the thread's wait when the store is dropped.
    pub(super) struct Doorbell(OwnedFd);

    impl Doorbell {
        pub(super) fn new() -> Option<Doorbell> {
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                .ok()
                .map(Doorbell)
        }

        pub(super) fn ring(&self) {
            // Full means that it rings already.
            let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        }
    }

    /// Events of the database file and its WAL; without them (inotify's limits) the looks are only timed.
    pub(super) struct Files(Option<OwnedFd>);

    impl Files {
        pub(super) fn new(path: &Path) -> Files {
            let watched = || -> rustix::io::Result<OwnedFd> {
                let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
                let flags = WatchFlags::MODIFY | WatchFlags::ATTRIB;
                inotify::add_watch(&fd, path, flags)?;
                inotify::add_watch(&fd, super::super::schema::wal_path(path), flags)?;
                Ok(fd)
            };
            let fd = watched()
                .inspect_err(|error| {
                    tracing::debug!(%error, path = %path.display(), "no file events for the datastore: changes are looked for by the clock");
                })
                .ok();
            Files(fd)
        }

        /// Waits for an event, at most `gap`; whether there was one.
        pub(super) fn wait(&self, doorbell: Option<&Doorbell>, gap: Duration) -> bool {
            let mut fds: Vec<PollFd<'_>> = [self.0.as_ref(), doorbell.map(|d| &d.0)]
                .into_iter()
                .flatten()
                .map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN))
                .collect();
            let timeout = Timespec::try_from(gap).ok();
            if poll(&mut fds, timeout.as_ref()).is_err() {
                return false;
            }
            let Some(fd) = &self.0 else { return false };
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut events = inotify::Reader::new(fd, &mut buffer);
            let mut heard = false;
            while events.next().is_ok() {
                heard = true;
            }
            heard
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod signal {
    use std::path::Path;
    use std::time::Duration;

    pub(super) struct Doorbell;

    impl Doorbell {
        pub(super) fn new() -> Option<Doorbell> {
            None
        }

        pub(super) fn ring(&self) {}
    }

    pub(super) struct Files;

    impl Files {
        pub(super) fn new(_: &Path) -> Files {
            Files
        }

        pub(super) fn wait(&self, _: Option<&Doorbell>, gap: Duration) -> bool {
            std::thread::sleep(gap.min(Duration::from_millis(50)));
            false
        }
    }
}
