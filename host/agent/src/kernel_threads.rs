//! The kernel's threads: one that hears of changes, one that reads, one a lane that applies.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use dataplane::{Actual, Batch, Lane};
use linux::{Changes, Events, Kernel};
use node::BatchId;

use crate::event::{Event, ToLoop};

/// How long one wait for changes lasts; nothing depends on it.
const WAIT: Duration = Duration::from_secs(60);

/// The way to the kernel's threads.
#[derive(Debug)]
pub(crate) struct KernelThreads {
    read: Sender<()>,
    links: Sender<(BatchId, Batch)>,
    routes: Sender<(BatchId, Batch)>,
    rules: Sender<(BatchId, Batch)>,
}

impl KernelThreads {
    /// Starts the threads in the calling thread's network namespace.
    pub(crate) fn spawn(kernel: Kernel, to_loop: &ToLoop) -> Result<KernelThreads> {
        let changed: Arc<Mutex<Changes>> = Arc::default();
        // Opened before the first read, so that no change falls between.
        let events = Events::open().context("listening to netlink notifications")?;
        hear(events, Arc::clone(&changed), to_loop.clone())?;
        let links = lane(
            kernel.another().context("opening netlink")?,
            Lane::Links,
            to_loop.clone(),
        )?;
        let routes = lane(
            kernel.another().context("opening netlink")?,
            Lane::Routes,
            to_loop.clone(),
        )?;
        let rules = lane(
            kernel.another().context("opening netlink")?,
            Lane::Rules,
            to_loop.clone(),
        )?;
        let read = reader(kernel, changed, to_loop.clone())?;
        Ok(KernelThreads {
            read,
            links,
            routes,
            rules,
        })
    }

    /// Reads; the answer comes as an event.
    pub(crate) fn read(&self) {
        // A thread that is gone has said so, or the process ends.
        let _ = self.read.send(());
    }

    /// Applies; the answer comes as an event.
    pub(crate) fn apply(&self, id: BatchId, batch: Batch) {
        let lane = match batch.lane {
            Lane::Links => &self.links,
            Lane::Routes => &self.routes,
            Lane::Rules => &self.rules,
        };
        let _ = lane.send((id, batch));
    }
}

fn start(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    thread::Builder::new()
        .name(name.to_string())
        .spawn(body)
        .map(drop)
        .with_context(|| format!("starting the thread {name}"))
}

fn add(all: &Mutex<Changes>, more: Changes) {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.links |= more.links;
    all.routes |= more.routes;
    all.neighbours |= more.neighbours;
    all.rules |= more.rules;
    all.sysctls |= more.sysctls;
}

fn hear(mut events: Events, changed: Arc<Mutex<Changes>>, to_loop: ToLoop) -> Result<()> {
    start("kernel-events", move || {
        loop {
            match events.wait(WAIT) {
                Ok(changes) if !changes.any() => {}
                Ok(changes) => {
                    add(&changed, changes);
                    if !to_loop.send(Event::KernelChanged) {
                        return;
                    }
                }
                Err(error) => {
                    // Without notifications the kernel is still read every so often.
                    add(&changed, Changes::ALL);
                    let text = format!(
                        "kernel-events-lost: netlink notifications: {error}. The kernel is read from time to time instead."
                    );
                    to_loop.send(Event::Say(true, text));
                    return;
                }
            }
        }
    })
}

fn reader(mut kernel: Kernel, changed: Arc<Mutex<Changes>>, to_loop: ToLoop) -> Result<Sender<()>> {
    let (sender, requests): (Sender<()>, Receiver<()>) = channel();
    start("kernel-read", move || {
        let mut actual = Actual::default();
        let mut whole = true;
        while requests.recv().is_ok() {
            let heard =
                std::mem::take(&mut *changed.lock().unwrap_or_else(PoisonError::into_inner));
            // Asked though nothing was heard: all of it.
            let changes = if whole || !heard.any() {
                Changes::ALL
            } else {
                heard
            };
            let event = match kernel.refresh(&mut actual, changes) {
                Ok(()) => {
                    whole = false;
                    Event::Kernel(Box::new(actual.clone()))
                }
                Err(error) => {
                    whole = true;
                    Event::KernelUnreadable(error.to_string())
                }
            };
            if !to_loop.send(event) {
                return;
            }
        }
    })?;
    Ok(sender)
}

fn lane(mut kernel: Kernel, lane: Lane, to_loop: ToLoop) -> Result<Sender<(BatchId, Batch)>> {
    let (sender, batches): (Sender<(BatchId, Batch)>, Receiver<_>) = channel();
    let name = match lane {
        Lane::Links => "kernel-links",
        Lane::Routes => "kernel-routes",
        Lane::Rules => "kernel-rules",
    };
    start(name, move || {
        while let Ok((id, batch)) = batches.recv() {
            let failures = kernel
                .apply(&batch)
                .into_iter()
                .enumerate()
                .filter_map(|(index, result)| {
                    let error = result.err()?;
                    let mend = if error.mend.is_empty() {
                        String::new()
                    } else {
                        format!("; {}", error.mend)
                    };
                    Some((index, format!("{}{mend}", error.cause)))
                })
                .collect();
            if !to_loop.send(Event::Applied(id, failures)) {
                return;
            }
        }
    })?;
    Ok(sender)
}
