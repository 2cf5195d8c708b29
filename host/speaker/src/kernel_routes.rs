//! The routes that BGP chose into the kernel, and what its routing table says of next hops: a thread with netlink
//! sockets of its own, behind the channel of events.
//!
//! It never scans: it reads the routes once at the start, and again only when the kernel says that something may have
//! been lost. What others remove of ours is put back; what is not ours is not touched.

mod table;
mod ways;

use crate::events::Event;
use crate::handle::Handle;
use anyhow::{Context, Result};
use ipnet::IpNet;
use linux::fib::{BATCH, Owner, RouteMonitor, RouteWriter};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::OwnedFd;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use table::{Table, Target};
use ways::{Answer, Ways};

/// Events taken in between two datagrams.
const EVENTS: usize = 64;
/// A table that changes while it is read is read again this often.
const READS: u32 = 20;

/// How the thread ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The routes stay: forwarding goes on while we are away.
    Stay = 1,
    /// They go.
    Remove = 2,
}

/// What the thread shares with others.
struct Shared {
    wake: OwnedFd,
    end: AtomicU8,
    next_hops: Mutex<Option<Wanted>>,
}

/// The next hops that the machine wants to know of from now on; only the last word counts.
struct Wanted {
    addresses: Vec<IpAddr>,
    /// There was a word in between that nobody has read. What was told of next hops that came and went with it was
    /// forgotten.
    missed: bool,
}

/// The thread's owner.
pub(crate) struct KernelRoutes {
    shared: Arc<Shared>,
    prepared: Option<Worker>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl KernelRoutes {
    /// Opens the sockets and reads what is there of this owner's: it is taken over as it is. `None`: no routes go into
    /// the kernel.
    ///
    /// # Errors
    /// The kernel's; without CAP_NET_ADMIN it is the first change that fails.
    pub fn open(owner: Option<Owner>) -> Result<KernelRoutes> {
        let writer = RouteWriter::open(owner.unwrap_or(Owner::NOBODY))
            .context("cannot open a netlink socket")?;
        // Heard from before the first look, so that no change falls between.
        let monitor = RouteMonitor::open(&writer).context("cannot hear of route changes")?;
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let shared = Arc::new(Shared {
            wake,
            end: AtomicU8::new(0),
            next_hops: Mutex::default(),
        });
        let mut worker = Worker {
            writer,
            monitor,
            table: Table::new(),
            ways: Ways::default(),
            shared: Arc::clone(&shared),
            flying: Vec::new(),
            writes: owner.is_some(),
        };
        worker
            .read_all()
            .context("cannot read the kernel's routes")?;
        Ok(KernelRoutes {
            shared,
            prepared: Some(worker),
            thread: Mutex::default(),
        })
    }

    /// For [`crate::Options::notify`].
    pub fn notify(&self) -> Box<dyn Fn() + Send> {
        let shared = Arc::clone(&self.shared);
        Box::new(move || shared.wake())
    }

    /// For [`crate::Options::next_hops`].
    pub fn next_hops(&self) -> Box<dyn Fn(Vec<IpAddr>) + Send> {
        let shared = Arc::clone(&self.shared);
        Box::new(move |addresses| {
            let mut wanted = shared.wanted();
            let missed = wanted.is_some();
            *wanted = Some(Wanted { addresses, missed });
            drop(wanted);
            shared.wake();
        })
    }

    /// Starts the thread; it tells `speaker` of next hops.
    ///
    /// # Errors
    /// When there is none to be had.
    pub fn start(&mut self, events: Receiver<Event>, speaker: Arc<Handle>) -> Result<()> {
        let Some(worker) = self.prepared.take() else {
            return Ok(());
        };
        let thread = std::thread::Builder::new()
            .name("kernel-routes".into())
            .spawn(move || {
                if let Err(error) = worker.run(&events, &speaker) {
                    tracing::error!("kernel routes are no longer kept: {error:#}");
                }
            })?;
        *self
            .thread
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(())
    }

    /// Ends the thread, and waits until the routes are as they are to be left.
    pub fn finish(&self, end: End) {
        self.shared.end.store(end as u8, Ordering::SeqCst);
        self.shared.wake();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the kernel's routes had ended with a panic");
        }
    }
}

impl Shared {
    fn wake(&self) {
        // A full counter wakes too.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    fn wanted(&self) -> MutexGuard<'_, Option<Wanted>> {
        self.next_hops
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    writer: RouteWriter,
    monitor: RouteMonitor,
    table: Table,
    ways: Ways,
    shared: Arc<Shared>,
    /// The nets of the datagram that is being filled, in order.
    flying: Vec<IpNet>,
    /// Routes go into the kernel.
    writes: bool,
}

impl Worker {
    fn run(mut self, events: &Receiver<Event>, speaker: &Handle) -> Result<()> {
        let mut more = false;
        loop {
            if !more && !self.table.has_work() {
                self.wait()?;
            }
            // Taken before the channel is looked at: what is put there later wakes again.
            let mut counter = [0; 8];
            let _ = rustix::io::read(&self.shared.wake, &mut counter);
            match self.shared.end.load(Ordering::SeqCst) {
                0 => {}
                end if end == End::Remove as u8 => return self.remove_all(),
                _ => return Ok(()),
            }
            more = false;
            for turn in 1..=EVENTS {
                match events.try_recv() {
                    Ok(event) => self.take_in(event),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
                more = turn == EVENTS;
            }
            self.follow_drift(speaker)?;
            if let Some(wanted) = self.shared.wanted().take() {
                let Wanted { addresses, missed } = wanted;
                let answers = self.ways.track(&mut self.writer, &addresses, missed);
                tell(speaker, answers);
            }
            self.send_some()?;
        }
    }

    fn wait(&self) -> io::Result<()> {
        let mut descriptors = [
            PollFd::new(&self.shared.wake, PollFlags::IN),
            PollFd::new(&self.monitor, PollFlags::IN),
        ];
        match poll(&mut descriptors, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Routes(changes) => {
                let mut next_hops = Vec::new();
                for change in changes {
                    next_hops.clear();
                    let chosen = change.route.iter().flat_map(|route| &route.next_hops);
                    next_hops.extend(chosen.map(|hop| Target::from(*hop)));
                    let (writer, ways) = (&mut self.writer, &mut self.ways);
                    self.table
                        .want(change.prefix, &next_hops, |all| ways.hops(writer, all));
                }
            }
            Event::InSync => self.table.set_in_sync(),
            Event::Peer(_) | Event::Notice(_) | Event::ListenFailed { .. } => {
                tracing::debug!(?event);
            }
        }
    }

    /// Sends a datagram of steps.
    fn send_some(&mut self) -> Result<()> {
        self.flying.clear();
        let (writer, flying) = (&mut self.writer, &mut self.flying);
        while writer.waiting() < BATCH
            && self.table.step(|prefix, request| {
                flying.push(prefix);
                writer.push(request);
            })
        {}
        let mut failed = Vec::new();
        let sent = self.writer.send(|place, errno| failed.push((place, errno)));
        self.table.done(&self.flying, &failed);
        match sent {
            Ok(()) => Ok(()),
            Err(error) if error.raw_os_error() == Some(NO_BUFFERS) => self.read_all(),
            Err(error) => Err(error).context("cannot write routes"),
        }
    }

    /// Does what others' changes ask for.
    fn follow_drift(&mut self, speaker: &Handle) -> Result<()> {
        let drift = self
            .monitor
            .drain()
            .context("cannot hear of route changes")?;
        let changed = drift.next_hops || drift.lost;
        if changed {
            // First, as other paths may win by it.
            self.ways.forget(&drift);
            tell(speaker, self.ways.changes(&mut self.writer));
        }
        for (prefix, gone) in &drift.touched {
            self.table.touched(*prefix, gone);
        }
        if drift.lost || self.table.uses(&drift.links) {
            self.read_all()?;
        }
        if changed {
            let (writer, ways) = (&mut self.writer, &mut self.ways);
            self.table.resolve_again(|all| ways.hops(writer, all));
        }
        Ok(())
    }

    fn read_all(&mut self) -> Result<()> {
        if !self.writes {
            return Ok(());
        }
        let mut left = READS;
        loop {
            match self.writer.routes() {
                Ok(routes) => {
                    self.table.set_installed(routes);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted && left > 0 => left -= 1,
                Err(error) => return Err(error).context("cannot read routes"),
            }
        }
    }

    fn remove_all(&mut self) -> Result<()> {
        self.table.clear();
        while self.table.has_work() {
            self.send_some()?;
        }
        Ok(())
    }
}

/// ENOBUFS: answers were lost.
const NO_BUFFERS: i32 = rustix::io::Errno::NOBUFS.raw_os_error();

fn tell(speaker: &Handle, answers: Vec<Answer>) {
    if !answers.is_empty() {
        speaker.next_hops(answers);
    }
}
