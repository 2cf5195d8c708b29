//! The owner's end: start, configure, ask, stop.

use crate::event_loop::{Command, EventLoop, Watcher};
use crate::events::{CHANNEL, Event, Sender};
use bgp::{
    Config, Explanation, Family, HeldPrefixes, PathState, PeerStatus, RibCursor, RibSlice,
    SessionCounts, SessionView,
};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Nets counted before the speaker goes on with its work.
const COUNTED: usize = 16384;

/// What is seldom wanted otherwise.
#[derive(Default)]
pub struct Options {
    /// Called after each event was put into the channel, from the speaker's thread: to wake an
    /// event loop of the owner's. It must not block.
    pub notify: Option<Box<dyn Fn() + Send>>,
    /// Told the next hops in use when others are, where the configuration has `track_next_hops`; answered with
    /// [`Handle::next_hops`]. Called from the speaker's thread: it must not block.
    pub next_hops: Option<Box<dyn Fn(Vec<IpAddr>) + Send>>,
    /// Where the process that drives BFD is, and how it is started; needed where a peer has BFD. It stays when the speaker
    /// ends.
    pub liveness: Option<liveness::Launch>,
    /// For jitter and hashing; `None` draws one.
    pub seed: Option<u64>,
}

/// A running speaker. Dropping it closes the sessions without Cease, as [`Handle::stop`] does.
pub struct Handle {
    commands: mpsc::Sender<Command>,
    waker: Arc<mio::Waker>,
    events: Mutex<Option<Receiver<Event>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Everything about the peers at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The configuration in force.
    pub config: Config,
    /// All peers, by name.
    pub peers: Vec<PeerStatus>,
}

/// How many prefixes go in and out, of IPv4 and of IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixCounts {
    /// Paths held from the peer.
    pub held: [u32; 2],
    /// Of these, paths that an import rule or a loop check keeps out.
    pub rejected: [u32; 2],
    /// Prefixes that it is told, or is about to be.
    pub told: [u32; 2],
}

/// Starts a speaker in a thread of its own. `config` should be whole: what it says of peers
/// decides what [`Event::InSync`] waits for.
///
/// # Errors
/// When the thread or its poller cannot be made. An address that cannot be listened on is
/// no error here but [`Event::ListenFailed`].
pub fn spawn(config: Config) -> io::Result<Handle> {
    spawn_with(config, Options::default())
}

/// As [`spawn`], with options.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_with(config: Config, options: Options) -> io::Result<Handle> {
    let (commands, inbox) = mpsc::channel();
    let (event_sender, events) = mpsc::sync_channel(CHANNEL);
    let sender = Sender::new(event_sender, options.notify);
    let seed = options.seed.unwrap_or_else(draw_seed);
    let channel = (commands.clone(), inbox);
    let (event_loop, waker) = EventLoop::new(
        config,
        seed,
        channel,
        sender,
        (options.liveness, options.next_hops),
    )?;
    let thread = std::thread::Builder::new()
        .name("bgp".into())
        .spawn(|| event_loop.run())?;
    Ok(Handle {
        commands,
        waker,
        events: Mutex::new(Some(events)),
        thread: Mutex::new(Some(thread)),
    })
}

fn draw_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

impl Handle {
    /// The wanted configuration from now on. Sessions that it does not change stay up.
    pub fn configure(&self, config: Config) {
        self.tell(Command::Configure(Box::new(config)));
    }

    /// The events; `None` when they were taken before.
    pub fn take_events(&self) -> Option<Receiver<Event>> {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Restarts the session with one peer. Its operator is told `text` (RFC 9003), if any.
    pub fn reset(&self, peer: &str, text: &str) {
        self.tell(Command::Reset {
            peer: peer.to_owned(),
            text: text.to_owned(),
        });
    }

    /// What is known of the path to a peer, by an owner that watches paths itself.
    pub fn path(&self, remote: IpAddr, state: PathState) {
        self.tell(Command::Path(remote, 0, state));
    }

    /// What the routing table says of next hops: the cost of each, or that it cannot be reached.
    pub fn next_hops(&self, said: Vec<(IpAddr, Option<u32>)>) {
        self.tell(Command::NextHops(said));
    }

    /// Configuration and peers; `None` when the speaker has stopped.
    pub fn status(&self) -> Option<Snapshot> {
        self.ask(Command::Status)
    }

    /// All prefixes with a path.
    pub fn prefixes(&self, family: Family) -> Option<Vec<IpNet>> {
        self.ask(|answer| Command::Prefixes(family, answer))
    }

    /// The paths of some prefixes and why each won or lost.
    pub fn explain(&self, prefixes: Vec<IpNet>) -> Option<Vec<Explanation>> {
        self.ask(|answer| Command::Explain(prefixes, answer))
    }

    /// All sessions and peers of which paths are kept.
    pub fn sessions(&self) -> Option<Vec<SessionView>> {
        self.ask(Command::Sessions)
    }

    pub(crate) fn watch_sessions(&self, watcher: Watcher) {
        self.tell(Command::WatchSessions(Box::new(watcher)));
    }

    /// What is counted of the sessions that are up.
    pub(crate) fn session_counts(&self) -> Option<Vec<SessionCounts>> {
        self.ask(Command::SessionCounts)
    }

    /// How many prefixes of IPv4 and of IPv6 have a chosen path, counted a part at a time.
    pub(crate) fn count_chosen(&self) -> Option<[u64; 2]> {
        let mut counts = [0; 2];
        let mut from = Some(RibCursor::default());
        while let Some(place) = from {
            let ask = |answer| Command::CountChosen(place, COUNTED, answer);
            let (count, next) = self.ask(ask)?;
            counts[place.family() as usize] += count as u64;
            from = next;
        }
        Some(counts)
    }

    /// What is exchanged with each peer, by its name; what peers are told is counted a part at a time.
    pub fn prefix_counts(&self) -> Option<BTreeMap<Arc<str>, PrefixCounts>> {
        let held = self.ask(Command::HeldPrefixes)?;
        let mut told: BTreeMap<(u16, Family), u32> = BTreeMap::new();
        let mut from = Some(RibCursor::default());
        while let Some(place) = from {
            let ask = |answer| Command::CountTold(place, COUNTED, answer);
            let (counts, next) = self.ask(ask)?;
            for (number, count) in (0u16..).zip(counts) {
                let sum = told.entry((number, place.family())).or_default();
                *sum = sum.wrapping_add(count);
            }
            from = next;
        }
        let counts = |peer: HeldPrefixes| {
            let told = |family| told.get(&(peer.number, family)).copied().unwrap_or(0);
            let counts = PrefixCounts {
                held: peer.held,
                rejected: peer.rejected,
                told: Family::ALL.map(told),
            };
            (peer.name, counts)
        };
        Some(held.into_iter().map(counts).collect())
    }

    /// The next part of all paths, about `max` prefixes of it.
    pub fn rib_slice(&self, from: RibCursor, max: usize) -> Option<RibSlice> {
        self.ask(|answer| Command::RibSlice(from, max, answer))
    }

    /// Ends all sessions without Cease, so that peers with graceful restart keep our routes.
    pub fn stop(&self) {
        self.end(false, "");
    }

    /// Ends all sessions with Cease, so that peers drop our routes. Their operators are told
    /// `text` (RFC 9003), if any.
    pub fn shutdown(&self, text: &str) {
        self.end(true, text);
    }

    fn end(&self, cease: bool, text: &str) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = thread.take() else { return };
        let text = text.to_owned();
        self.tell(Command::Stop { cease, text });
        if thread.join().is_err() {
            tracing::error!("the BGP thread had ended with a panic");
        }
    }

    fn ask<T>(&self, command: impl FnOnce(mpsc::Sender<T>) -> Command) -> Option<T> {
        let (answer, receive) = mpsc::channel();
        self.tell(command(answer));
        receive.recv().ok()
    }

    fn tell(&self, command: Command) {
        // A speaker that has stopped takes no commands; that is what the owner asked for.
        let _ = self.commands.send(command);
        if let Err(error) = self.waker.wake() {
            tracing::error!("cannot wake the BGP thread: {error}");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end(false, "");
    }
}
