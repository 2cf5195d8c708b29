//! All sessions of a node: whose packet it is, what is due when.

use crate::packet::{LENGTH, Packet};
use crate::session::{Random, Session};
use crate::{Change, Discard, SessionConfig, State, Status, TTL};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// What happened, told by the driver.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The wanted sessions as a whole. What is not in it any more says a farewell (AdminDown) and goes.
    Configure(&'a [SessionConfig]),
    /// A packet came.
    Received {
        /// Who sent it.
        source: IpAddr,
        /// The interface that it came by, where `source` is link-local; else 0.
        scope: u32,
        /// It came to [`crate::MULTIHOP_PORT`].
        multihop: bool,
        /// The TTL or hop limit that it came with.
        ttl: u8,
        /// The UDP payload.
        bytes: &'a [u8],
        /// When it arrived, which may be a while ago.
        at: Duration,
    },
    /// Time passed, and all that has arrived by now was handed over.
    Timer,
}

/// One thing for the driver to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a packet, from the one source port that the session has; with TTL 255.
    Send {
        /// Names the session; never used for another one that lives at the same time.
        session: u32,
        /// Where to.
        remote: IpAddr,
        /// [`SessionConfig::scope`].
        scope: u32,
        /// To [`crate::MULTIHOP_PORT`].
        multihop: bool,
        /// Where from.
        local: Option<IpAddr>,
        /// The UDP payload.
        packet: [u8; LENGTH],
    },
    /// The session has gone, and its source port is free.
    Gone {
        /// As in `Send`.
        session: u32,
    },
    /// A state changed.
    Change(Change),
}

/// A session is known by its neighbour, the neighbour's scope, and whether it is multihop.
type Key = (IpAddr, u32, bool);

fn key(config: &SessionConfig) -> Key {
    (config.remote, config.scope, config.multihop)
}

/// The sessions of a node.
pub struct Machine {
    random: Random,
    sessions: BTreeMap<u32, Session>,
    by_key: BTreeMap<Key, u32>,
    deadlines: BTreeSet<(Duration, u32)>,
    armed: BTreeMap<u32, Duration>,
    outputs: VecDeque<Output>,
    discarded: BTreeMap<Discard, u64>,
}

impl Machine {
    /// Without sessions. `seed` feeds jitter and discriminators, so it must differ with each start.
    pub fn new(seed: u64) -> Self {
        Machine {
            random: Random::new(seed),
            sessions: BTreeMap::new(),
            by_key: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            armed: BTreeMap::new(),
            outputs: VecDeque::new(),
            discarded: BTreeMap::new(),
        }
    }

    /// Takes one input; `now` never goes back.
    pub fn handle(&mut self, input: Input<'_>, now: Duration) {
        match input {
            Input::Configure(wanted) => self.configure(wanted, now),
            Input::Received {
                source,
                scope,
                multihop,
                ttl,
                bytes,
                at,
            } => {
                let from = (source.to_canonical(), scope, multihop);
                if let Err(why) = self.receive(from, ttl, bytes, at.min(now), now) {
                    *self.discarded.entry(why).or_default() += 1;
                }
            }
            Input::Timer => self.run_timers(now),
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to hand over [`Input::Timer`] at the latest.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The wanted sessions, by neighbour.
    pub fn sessions(&self) -> impl Iterator<Item = Status> {
        let wanted = self.by_key.values().filter_map(|id| self.sessions.get(id));
        wanted
            .filter(|s| s.leaves_at.is_none())
            .map(Session::status)
    }

    /// No session is left, none that says its farewell either.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// How many packets did not count, and why.
    pub fn discarded(&self) -> impl Iterator<Item = (Discard, u64)> {
        self.discarded.iter().map(|(why, count)| (*why, *count))
    }

    fn configure(&mut self, wanted: &[SessionConfig], now: Duration) {
        let kept: BTreeSet<Key> = wanted.iter().map(key).collect();
        let present: Vec<(Key, u32)> = self.by_key.iter().map(|(key, id)| (*key, *id)).collect();
        for (key, id) in present {
            if !kept.contains(&key) {
                self.with(id, now, |session, _| {
                    session.leave(now);
                    false
                });
            }
        }
        for config in wanted {
            match self.by_key.get(&key(config)).copied() {
                Some(id) => self.with(id, now, |session, random| {
                    if session.config != *config || session.leaves_at.is_some() {
                        session.reconfigure(config.clone(), now, random);
                    }
                    false
                }),
                None => self.add(config.clone(), now),
            }
        }
    }

    fn add(&mut self, config: SessionConfig, now: Duration) {
        let id = loop {
            // RFC 5880 §6.8.1: unique, not 0, and hard to guess.
            let id = self.random.number() as u32;
            if id != 0 && !self.sessions.contains_key(&id) {
                break id;
            }
        };
        self.by_key.insert(key(&config), id);
        let session = Session::new(config, id, now, &mut self.random);
        self.sessions.insert(id, session);
        self.with(id, now, |_, _| false);
    }

    fn receive(
        &mut self,
        from: Key,
        ttl: u8,
        bytes: &[u8],
        at: Duration,
        now: Duration,
    ) -> Result<(), Discard> {
        let multihop = from.2;
        if !multihop && ttl != TTL {
            return Err(Discard::Ttl);
        }
        let packet = Packet::decode(bytes)?;
        let id = match packet.your_discriminator {
            0 => *self.by_key.get(&from).ok_or(Discard::NoSession)?,
            id => id,
        };
        let session = self.sessions.get(&id).ok_or(Discard::YourDiscriminator)?;
        if session.config.multihop != multihop {
            return Err(Discard::YourDiscriminator);
        }
        let held = session.state == State::AdminDown;
        self.with(id, now, |session, random| {
            session.receive(&packet, at, now, random)
        });
        if held {
            Err(Discard::AdminDown)
        } else {
            Ok(())
        }
    }

    fn run_timers(&mut self, now: Duration) {
        while let Some((at, id)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            self.with(id, now, |session, random| {
                session.expire(now, random);
                false
            });
        }
    }

    /// Lets `act` change a session, then tells what changed, sends what is due, and notes the next deadline. `act` says
    /// whether the neighbour wants an answer.
    fn with(
        &mut self,
        id: u32,
        now: Duration,
        act: impl FnOnce(&mut Session, &mut Random) -> bool,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let (from, was_independent) = (session.state, session.control_plane_independent());
        let answer = act(session, &mut self.random);
        if session.state != from && session.leaves_at.is_none() {
            let reason = session
                .reason
                .filter(|_| matches!(session.state, State::Down | State::AdminDown));
            self.outputs.push_back(Output::Change(Change {
                remote: session.config.remote,
                scope: session.config.scope,
                multihop: session.config.multihop,
                from,
                to: session.state,
                reason,
                // When the neighbour has just been forgotten, what it said before counts.
                control_plane_independent: was_independent || session.control_plane_independent(),
            }));
        }
        for answer in [answer.then_some(true), Some(false)].into_iter().flatten() {
            if answer || session.transmit_at.is_some_and(|at| at <= now) {
                let packet = session.transmit(answer, now, &mut self.random).encode();
                self.outputs.push_back(Output::Send {
                    session: id,
                    remote: session.config.remote,
                    scope: session.config.scope,
                    multihop: session.config.multihop,
                    local: session.config.local,
                    packet,
                });
            }
        }
        if let Some(armed) = self.armed.remove(&id) {
            self.deadlines.remove(&(armed, id));
        }
        if session.leaves_at.is_some_and(|at| at <= now) {
            let key = key(&session.config);
            self.sessions.remove(&id);
            self.by_key.remove(&key);
            self.outputs.push_back(Output::Gone { session: id });
        } else if let Some(at) = session.next_deadline() {
            self.armed.insert(id, at);
            self.deadlines.insert((at, id));
        }
    }
}
