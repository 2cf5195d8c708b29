//! What this node says of its sessions, written where readers anywhere find it: its NodeSessions, and the CalicoNodeStatuses
//! that ask for it.
//!
//! A thousand nodes may share one etcd. So NodeSessions is written when a session came, went, changed its state or met another
//! error, at most every ten seconds ([`Pace`]); numbers of prefixes alone make no write, they come along
//! with the next one; and without any news it is written anew at half its period, which is what tells a reader that the agent
//! runs. With the period of three minutes a thousand quiet nodes write eleven times a second together. No agent is sent what the
//! others wrote: `store_watch` keeps it from the loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use resource::kinds::{CalicoNodeStatus, NodeSessions, NodeSessionsSpec};
use resource::{Entry, Key, Kind, Metadata, Store, StoreError};
use store::{AnyStore, block_on};

use crate::collector::locked;
use crate::event::{Event, ToLoop, now};
use crate::identity::timestamp;
use crate::session_report::{Origin, comparable, sessions};
use crate::startup::change;
use crate::status_report;

/// Between tries to tell that the network is there.
const NETWORK_AGAIN: Duration = Duration::from_secs(2);

/// What the thread is told.
pub(crate) enum Told {
    /// The speaker runs.
    Speaker(Arc<speaker::Handle>),
    /// Which sessions are wanted, by name.
    Wanted(BTreeMap<String, Origin>),
    /// The node's network is there.
    Ready,
    /// A session's state changed.
    Changed,
    /// A CalicoNodeStatus, or that there is none of the name any more.
    Asked(String, Option<Box<Entry>>),
    /// The listing is told anew: what is not in it is gone.
    Relisted,
}

/// How often NodeSessions is written.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// A reader takes for stale what is older.
    period: Duration,
    /// Without news it is written this long after the last time.
    refresh: Duration,
    /// With news it is written no earlier than this after the last time.
    least: Duration,
}

impl Pace {
    fn of(period: Duration) -> Pace {
        Pace {
            period,
            refresh: period / 2,
            least: period / 18,
        }
    }
}

/// Starts the thread.
///
/// # Errors
/// The system's.
pub(crate) fn spawn(
    store: AnyStore,
    node: String,
    period: Duration,
    to_loop: ToLoop,
) -> Result<Sender<Told>> {
    let (sender, told) = channel();
    let body = move || Reporter::new(store, node, period).run(&told, &to_loop);
    thread::Builder::new()
        .name("node-report".to_string())
        .spawn(body)
        .context("starting a thread")?;
    Ok(sender)
}

struct Reporter {
    store: AnyStore,
    node: String,
    pace: Pace,
    started: Duration,
    speaker: Option<Arc<speaker::Handle>>,
    configured: Duration,
    wanted: BTreeMap<String, Origin>,
    /// There may be news.
    changed: bool,
    /// What was written, without what makes no write, and when it was tried.
    written: Option<NodeSessionsSpec>,
    tried: Instant,
    /// CalicoNodeStatuses of this node, and when each is due; `None`: no more.
    asked: BTreeMap<String, (CalicoNodeStatus, Option<Instant>)>,
    /// When the datastore is to be told that the network is there; `None`: it was, or is not to be yet.
    network: Option<Instant>,
    failing: Option<String>,
}

impl Reporter {
    fn new(store: AnyStore, node: String, period: Duration) -> Reporter {
        let wall = now().wall;
        Reporter {
            store,
            node,
            pace: Pace::of(period),
            started: wall,
            speaker: None,
            configured: wall,
            wanted: BTreeMap::new(),
            changed: true,
            written: None,
            // Not the first moment, when no session is there yet: a restart would look like a loss of all.
            tried: Instant::now(),
            asked: BTreeMap::new(),
            network: None,
            failing: None,
        }
    }

    fn run(mut self, told: &Receiver<Told>, to_loop: &ToLoop) {
        loop {
            let wait = self.next().saturating_duration_since(Instant::now());
            match told.recv_timeout(wait) {
                Ok(one) => {
                    self.take(one);
                    while let Ok(more) = told.try_recv() {
                        self.take(more);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let why = self.act().err().map(|error| format!("{error:#}"));
            if why != self.failing {
                let event = match &why {
                    Some(why) => {
                        Event::Say(true, format!("node-report: {why}. It is tried again."))
                    }
                    None => Event::Say(false, "no longer: node-report".to_string()),
                };
                if !to_loop.send(event) {
                    return;
                }
                self.failing = why;
            }
        }
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::Speaker(speaker) => self.speaker = Some(speaker),
            Told::Wanted(wanted) => {
                self.wanted = wanted;
                self.configured = now().wall;
            }
            Told::Changed => {}
            Told::Ready => {
                self.network = Some(Instant::now());
                return;
            }
            Told::Relisted => return self.asked.clear(),
            Told::Asked(name, entry) => return self.ask(name, entry.as_deref()),
        }
        self.changed = true;
    }

    /// One that says something else than before is due at once; our own writes say the same.
    fn ask(&mut self, name: String, entry: Option<&Entry>) {
        let status = entry.and_then(|entry| CalicoNodeStatus::from_entry(entry).ok());
        match status.filter(|status| status.spec.node == self.node) {
            None => drop(self.asked.remove(&name)),
            Some(status) => {
                let known = self.asked.get(&name);
                let due = match known {
                    Some((known, due)) if known.spec == status.spec => *due,
                    Some(_) | None => Some(Instant::now()),
                };
                let due = due.filter(|_| status.spec.update_period_seconds.unwrap_or(0) > 0);
                self.asked.insert(name, (status, due));
            }
        }
    }

    /// When there is something to do again.
    fn next(&self) -> Instant {
        let own = match self.changed {
            true => self.tried + self.pace.least,
            false => self.tried + self.pace.refresh,
        };
        let asked = self.asked.values().filter_map(|(_, due)| *due);
        asked.chain(self.network).fold(own, Instant::min)
    }

    fn act(&mut self) -> Result<()> {
        let at = Instant::now();
        let since = at.saturating_duration_since(self.tried);
        let refresh = since >= self.pace.refresh;
        if refresh || self.changed && since >= self.pace.least {
            self.changed = false;
            let report = self.report();
            let news = self.written.as_ref() != Some(&comparable(&report));
            if news || refresh {
                self.tried = at;
                // Until it is written there is news.
                self.changed = true;
                self.written = None;
                block_on(self.write(&report))?;
                self.changed = false;
                self.written = Some(comparable(&report));
            }
        }
        self.answer(at)?;
        if self.network.is_some_and(|due| due <= at) {
            self.network = Some(at + NETWORK_AGAIN);
            block_on(self.store.network_is_up(&self.node, &timestamp()))
                .context("telling Kubernetes that the node's network is there")?;
            self.network = None;
        }
        Ok(())
    }

    fn report(&self) -> NodeSessionsSpec {
        let speaker = self.speaker.as_ref();
        let snapshot = speaker.and_then(|speaker| speaker.status());
        let counts = speaker.and_then(|speaker| speaker.prefix_counts());
        let mut report = NodeSessionsSpec {
            reported: timestamp(),
            period_seconds: u32::try_from(self.pace.period.as_secs()).unwrap_or(u32::MAX),
            ..NodeSessionsSpec::default()
        };
        if let Some(snapshot) = snapshot {
            report.router_id = snapshot.config.router_id.to_string();
            report.as_number = snapshot.config.local_as.0;
            report.sessions = sessions(&snapshot, &counts.unwrap_or_default(), &self.wanted);
        }
        report
    }

    async fn write(&self, report: &NodeSessionsSpec) -> Result<()> {
        // Whoever locked the datastore is about to move it.
        if locked(&self.store).await? {
            return Ok(());
        }
        let absent = NodeSessions::new(Metadata::named(&self.node), report.clone());
        change(&self.store, absent, |object| {
            object.spec = report.clone();
            Ok(())
        })
        .await
        .context("writing NodeSessions")
    }

    /// Fills the CalicoNodeStatuses that are due.
    fn answer(&mut self, at: Instant) -> Result<()> {
        let is_due = |due: &Option<Instant>| due.is_some_and(|due| due <= at);
        let due = self.asked.iter().filter(|(_, (_, due))| is_due(due));
        let due: Vec<String> = due.map(|(name, _)| name.clone()).collect();
        for name in due {
            let Some((status, next)) = self.asked.get_mut(&name) else {
                continue;
            };
            let seconds = u64::from(status.spec.update_period_seconds.unwrap_or(0));
            *next = (seconds > 0).then(|| at + Duration::from_secs(seconds));
            let classes = status.spec.classes.clone();
            let source = status_report::Source {
                speaker: self.speaker.as_deref(),
                wanted: &self.wanted,
                started: self.started,
                configured: self.configured,
            };
            let filled = status_report::fill(&classes, &source);
            block_on(put_status(&self.store, &name, filled))
                .with_context(|| format!("writing CalicoNodeStatus({name})"))?;
        }
        Ok(())
    }
}

/// Writes the status, unless somebody deleted the object or wrote it meanwhile: then the watch tells.
async fn put_status<S: Store>(
    store: &S,
    name: &str,
    status: resource::kinds::CalicoNodeStatusStatus,
) -> Result<()> {
    let key = Key::cluster(Kind::CalicoNodeStatus, name);
    let Some(entry) = store.get(&key).await? else {
        return Ok(());
    };
    let mut object = CalicoNodeStatus::from_entry(&entry)?;
    object.status = status;
    match store
        .update(&key, &object.to_stored(), entry.revision)
        .await
    {
        Ok(_) | Err(StoreError::Conflict(_) | StoreError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
