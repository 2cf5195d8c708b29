//! What peers said, what was chosen and what peers are told goes to those who watch: BMP stations,
//! MRT files. The loop never waits for them.
//!
//! Sessions and what peers say are told as they happen: who has no room for it is let go, comes
//! again and gets everything anew. Views wait in the machine for as long as it takes.

use super::EventLoop;
use bgp::{Mirror, Mirrored, SessionView, View, Viewed, WatchId};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::Duration;

/// What may wait for a watcher: turns of the loop.
const WAITING: usize = 1024;
/// Of these views take at most so many, and so many octets.
const VIEWED: (usize, usize) = (256, 4 << 20);
/// When views have no room, they are tried again after this.
pub(super) const AGAIN: Duration = Duration::from_millis(5);

/// What a watcher is told, in order.
#[derive(Clone)]
pub(crate) enum Told {
    /// First: who we are, and the sessions there are.
    Begin {
        router_id: Ipv4Addr,
        local_as: u32,
        sessions: Vec<SessionView>,
    },
    /// What happened in one turn of the loop, and when, since the Unix epoch.
    Happened(Duration, Arc<Vec<Mirrored>>),
    /// What is new in the views, and when.
    Viewed(Duration, Vec<Viewed>),
    /// The speaker stops.
    Ends,
}

/// What waits for a watcher.
#[derive(Default)]
struct Waiting {
    count: AtomicUsize,
    octets: AtomicUsize,
}

/// The loop's end of a watcher.
pub(crate) struct Watcher {
    told: SyncSender<Told>,
    waiting: Arc<Waiting>,
    wants: Mirror,
    views: BTreeSet<View>,
    id: Option<WatchId>,
}

/// The watcher's own end.
pub(crate) struct Watching {
    told: Receiver<Told>,
    waiting: Arc<Waiting>,
    /// Octets of what was taken last.
    taken: usize,
}

/// Both ends. Views are told in any case, the rest as it is wanted.
pub(crate) fn watch(wants: Mirror, views: BTreeSet<View>) -> (Watcher, Watching) {
    let (sender, told) = mpsc::sync_channel(WAITING);
    let waiting = Arc::new(Waiting::default());
    let watcher = Watcher {
        told: sender,
        waiting: Arc::clone(&waiting),
        wants,
        views,
        id: None,
    };
    let watching = Watching {
        told,
        waiting,
        taken: 0,
    };
    (watcher, watching)
}

impl Watching {
    /// The next; whoever asks is done with the last one.
    pub fn next(&mut self, patience: Duration) -> Result<Told, RecvTimeoutError> {
        self.done();
        self.told.recv_timeout(patience).inspect(|told| {
            self.taken = octets(told);
        })
    }

    /// As [`Self::next`], without waiting.
    pub fn next_now(&mut self) -> Result<Told, TryRecvError> {
        self.done();
        self.told.try_recv().inspect(|told| {
            self.taken = octets(told);
        })
    }

    fn done(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 {
            self.waiting.count.fetch_sub(1, Ordering::Relaxed);
            self.waiting.octets.fetch_sub(taken, Ordering::Relaxed);
        }
    }
}

/// Of views; nothing else counts.
fn octets(told: &Told) -> usize {
    match told {
        Told::Viewed(_, viewed) => viewed.iter().map(|v| v.messages.as_ref().len()).sum(),
        Told::Begin { .. } | Told::Happened(..) | Told::Ends => 0,
    }
}

impl Watcher {
    /// Sends what is new in its views, as far as there is room.
    fn tell_views(&mut self, speaker: &mut bgp::Speaker, at: Duration) {
        let Some(id) = self.id else { return };
        let count = self.waiting.count.load(Ordering::Relaxed);
        let room = VIEWED
            .1
            .saturating_sub(self.waiting.octets.load(Ordering::Relaxed));
        if count >= VIEWED.0 || room == 0 {
            return;
        }
        let viewed = speaker.take_viewed(id, room);
        if viewed.is_empty() {
            return;
        }
        let told = Told::Viewed(at, viewed);
        self.waiting.count.fetch_add(1, Ordering::Relaxed);
        self.waiting
            .octets
            .fetch_add(octets(&told), Ordering::Relaxed);
        if self.told.try_send(told).is_err() {
            // What was taken is lost: the view has to begin anew.
            speaker.unwatch(id);
            self.id = None;
        }
    }
}

impl EventLoop {
    pub(super) fn watch_sessions(&mut self, mut watcher: Watcher) {
        // What happened so far is for those who were there.
        self.mirror();
        let config = self.speaker.config();
        let begin = Told::Begin {
            router_id: config.router_id,
            local_as: config.local_as.0,
            sessions: self.speaker.sessions(),
        };
        if watcher.told.try_send(begin).is_err() {
            return;
        }
        if !watcher.views.is_empty() {
            watcher.id = Some(self.speaker.watch(watcher.views.clone()));
        }
        self.watchers.push(watcher);
        self.want_mirrored();
    }

    /// Asks the machine for what any of the watchers wants.
    fn want_mirrored(&mut self) {
        let any = |wants: fn(&Mirror) -> bool| self.watchers.iter().any(|w| wants(&w.wants));
        let wanted = Mirror {
            updates: any(|wants| wants.updates),
            accepted: any(|wants| wants.accepted),
        };
        self.speaker
            .mirror((!self.watchers.is_empty()).then_some(wanted));
    }

    /// Hands out what happened and what is new. A watcher that has no room for what happened is
    /// let go.
    pub(super) fn mirror(&mut self) {
        if self.watchers.is_empty() {
            return;
        }
        let at = super::now(self.started).wall;
        let happened = self.speaker.take_mirrored();
        let all = self.watchers.len();
        let mut watchers = std::mem::take(&mut self.watchers);
        if !happened.is_empty() {
            let sessions: Vec<Mirrored> = happened
                .iter()
                .filter(|one| match one {
                    Mirrored::Up(_) | Mirrored::Down { .. } => true,
                    Mirrored::Update { .. } | Mirrored::Accepted(_) => false,
                })
                .cloned()
                .collect();
            let (happened, sessions) = (Arc::new(happened), Arc::new(sessions));
            watchers.retain(|watcher| {
                let what = if watcher.wants == Mirror::default() {
                    &sessions
                } else {
                    &happened
                };
                let sent = what.is_empty()
                    || watcher
                        .told
                        .try_send(Told::Happened(at, Arc::clone(what)))
                        .is_ok();
                if let Some(id) = watcher.id.filter(|_| !sent) {
                    self.speaker.unwatch(id);
                }
                sent
            });
        }
        // After what happened: a station knows the sessions that views are about.
        for watcher in &mut watchers {
            watcher.tell_views(&mut self.speaker, at);
        }
        watchers.retain(|watcher| watcher.views.is_empty() || watcher.id.is_some());
        self.watchers = watchers;
        if self.watchers.len() != all {
            self.want_mirrored();
        }
    }

    /// Whether views wait for room.
    pub(super) fn has_viewed(&self) -> bool {
        let waits = |watcher: &Watcher| watcher.id.is_some_and(|id| self.speaker.has_viewed(id));
        self.watchers.iter().any(waits)
    }

    /// Everything that was told is told under another name from now on, or not at all: all come
    /// again.
    pub(super) fn let_go(&mut self) {
        for watcher in std::mem::take(&mut self.watchers) {
            if let Some(id) = watcher.id {
                self.speaker.unwatch(id);
            }
        }
        self.speaker.mirror(None);
    }

    /// The last words.
    pub(super) fn say_end(&mut self) {
        self.mirror();
        for watcher in &self.watchers {
            // One that has no room sees the end of the channel.
            let _ = watcher.told.try_send(Told::Ends);
        }
    }
}
