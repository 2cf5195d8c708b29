//! All peers of a run, played by one thread.
//!
//! What is measured is what a peer sees, so this must cost little: messages are encoded before the clock starts, what
//! arrives is read in large pieces, and each prefix is looked up once, mostly where the one before it led to.

use crate::table::Table;
use anyhow::{Context, Result, bail};
use bgpwire::message::{self, HEADER, kind};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Offered by all peers, seconds.
const HOLD: u16 = 90;
/// Read at once.
const SCRATCH: usize = 256 << 10;
/// Reads from one peer before the others have their turn.
const READS: usize = 8;
/// Sessions that may be on their way up at a time: fewer than any speaker's listen backlog, so that no SYN is dropped
/// and sent again a second later.
const RAMP: usize = 4;
/// Before a refused connection is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// Failed attempts before a session is given up: some speakers take ten seconds to listen.
const ATTEMPTS: u32 = 1000;
/// Senders are told apart by their number, 1 to this.
pub const MOST_SENDERS: usize = 32;

/// A speaker that this process plays.
#[derive(Clone, Debug)]
pub struct Peer {
    pub name: String,
    pub address: Ipv4Addr,
    pub asn: u32,
    /// Keeps and checks what it is sent.
    pub collects: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// Wants a connection, from this moment on.
    Waiting(Instant),
    Connecting,
    OpenSent,
    Established,
}

/// One session, and what its peer has been told.
pub struct Session {
    pub peer: Peer,
    state: State,
    stream: Option<TcpStream>,
    /// The beginning of a message whose end has not come yet.
    partial: Vec<u8>,
    queue: VecDeque<(Rc<[u8]>, usize)>,
    /// Said as soon as the session is up.
    pub greeting: Rc<[u8]>,
    attempts: u32,
    /// For each prefix of the table: 0 when not held, else the number of the sender whose path it is.
    held: Vec<u8>,
    /// How many prefixes it holds.
    pub count: usize,
    /// How many by each sender.
    pub by_sender: [usize; MOST_SENDERS + 1],
    guess: usize,
}

impl Session {
    /// Whether all that was to be said has been taken by the socket.
    pub fn is_drained(&self) -> bool {
        self.queue.is_empty()
    }
}

/// Faults of the speaker under test that no run may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Prefixes that nobody announced.
    pub unknown_prefixes: u64,
    /// Paths that end with an AS that did not originate the prefix.
    pub wrong_origins: u64,
    pub malformed: u64,
}

/// Who heard of one prefix, and when.
#[derive(Default)]
pub struct Watch {
    /// The prefix, and the session that says it, which does not count.
    pub what: Option<(usize, usize)>,
    pub arrivals: Vec<Instant>,
}

/// All sessions of a run.
pub struct Peers {
    pub sessions: Vec<Session>,
    pub table: Rc<Table>,
    pub faults: Faults,
    pub watch: Watch,
    /// First arrival of the prefixes from here on, for those that have arrived.
    pub probes_at: usize,
    pub probes: Vec<Option<Instant>>,
    /// Sessions that hold at least `target` prefixes.
    pub complete: usize,
    pub target: usize,
    /// Sessions that are up.
    pub up: usize,
    /// UPDATEs received by all.
    pub updates: u64,
    /// A lost session comes again, as a real peer's does, and is counted here; else it ends the run.
    pub reconnects: Option<u32>,
    lost: Option<String>,
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    /// Sessions with more to read.
    unread: Vec<usize>,
    on_the_way: usize,
    waiting: VecDeque<usize>,
    dut: SocketAddrV4,
    dut_as: u32,
    next_keepalive: Instant,
}

impl Peers {
    /// Peers of the speaker at `dut` in the AS `dut_as`; none is connected yet.
    ///
    /// # Errors
    /// When epoll is not to be had.
    pub fn new(table: Rc<Table>, peers: Vec<Peer>, dut: Ipv4Addr, dut_as: u32) -> Result<Peers> {
        let end_of_rib: Rc<[u8]> = message::end_of_rib().into();
        let session = |peer: Peer| Session {
            held: vec![
                0;
                if peer.collects {
                    table.prefixes.len()
                } else {
                    0
                }
            ],
            peer,
            state: State::Idle,
            stream: None,
            partial: Vec::new(),
            queue: VecDeque::new(),
            greeting: Rc::clone(&end_of_rib),
            attempts: 0,
            count: 0,
            by_sender: [0; MOST_SENDERS + 1],
            guess: 0,
        };
        Ok(Peers {
            sessions: peers.into_iter().map(session).collect(),
            faults: Faults::default(),
            watch: Watch::default(),
            probes_at: usize::MAX,
            probes: Vec::new(),
            complete: 0,
            target: usize::MAX,
            up: 0,
            updates: 0,
            reconnects: None,
            lost: None,
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            scratch: vec![0; SCRATCH],
            unread: Vec::new(),
            on_the_way: 0,
            waiting: VecDeque::new(),
            dut: SocketAddrV4::new(dut, 179),
            dut_as,
            next_keepalive: Instant::now(),
            table,
        })
    }

    /// Asks for a session with this peer; it comes up as the ramp lets it.
    pub fn start(&mut self, id: usize) {
        self.wait(id, Instant::now());
    }

    fn wait(&mut self, id: usize, from: Instant) {
        self.sessions[id].state = State::Waiting(from);
        self.waiting.push_back(id);
    }

    /// Queues octets for a peer's session and writes what the socket takes.
    pub fn say(&mut self, id: usize, what: Rc<[u8]>) {
        self.sessions[id].queue.push_back((what, 0));
        self.write(id);
    }

    /// Resets a peer's connection without a NOTIFICATION, as a machine that died does.
    pub fn cut(&mut self, id: usize) {
        if let Some(stream) = &self.sessions[id].stream {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        self.close(id);
    }

    /// Forgets a session and what its peer held.
    fn close(&mut self, id: usize) {
        let session = &mut self.sessions[id];
        match session.state {
            State::Connecting | State::OpenSent => self.on_the_way -= 1,
            State::Established => self.up -= 1,
            State::Idle | State::Waiting(_) => {}
        }
        if session.count >= self.target {
            self.complete -= 1;
        }
        session.held.fill(0);
        session.by_sender = [0; MOST_SENDERS + 1];
        session.count = 0;
        session.stream = None;
        session.partial.clear();
        session.queue.clear();
        session.state = State::Idle;
    }

    /// Serves the sessions until `done`.
    ///
    /// # Errors
    /// When a session was lost, or `limit` passed.
    pub fn until(&mut self, limit: Duration, mut done: impl FnMut(&Peers) -> bool) -> Result<()> {
        let end = Instant::now() + limit;
        while !done(self) {
            if let Some(lost) = &self.lost {
                bail!("{lost}");
            }
            let now = Instant::now();
            if now >= end {
                let counts: Vec<usize> = self.sessions.iter().take(4).map(|s| s.count).collect();
                bail!(
                    "not reached in {} s: {} of {} sessions up, {} complete; prefixes at the first: {counts:?}",
                    limit.as_secs(),
                    self.up,
                    self.sessions.len(),
                    self.complete
                );
            }
            self.turn((end - now).min(Duration::from_millis(5)))?;
        }
        Ok(())
    }

    /// Serves the sessions for a while.
    ///
    /// # Errors
    /// When a session was lost.
    pub fn idle(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.turn(left.min(Duration::from_millis(500)))?;
            if let Some(lost) = &self.lost {
                bail!("{lost}");
            }
        }
    }

    /// Counts anew who holds at least this many prefixes.
    pub fn set_target(&mut self, target: usize) {
        self.target = target;
        self.complete = self.sessions.iter().filter(|s| s.count >= target).count();
    }

    fn turn(&mut self, patience: Duration) -> Result<()> {
        self.ramp()?;
        let patience = if self.unread.is_empty() {
            patience
        } else {
            Duration::ZERO
        };
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, Some(patience)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for id in std::mem::take(&mut self.unread) {
            self.read(id);
        }
        for event in &events {
            let id = event.token().0;
            if self.sessions[id].state == State::Connecting {
                // Some say their OPEN first: it may be there already, and would not be announced again.
                self.connected(id);
            }
            if self.sessions[id].state == State::Connecting {
                continue;
            }
            if event.is_writable() {
                self.write(id);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.read(id);
            }
        }
        self.events = events;
        self.keep_alive();
        Ok(())
    }

    fn keep_alive(&mut self) {
        let now = Instant::now();
        if now < self.next_keepalive {
            return;
        }
        self.next_keepalive = now + Duration::from_secs(u64::from(HOLD) / 3);
        let keepalive: Rc<[u8]> = message::keepalive().into();
        for id in 0..self.sessions.len() {
            let session = &self.sessions[id];
            // What still waits to be written is a sign of life too.
            if session.state == State::Established && session.queue.is_empty() {
                self.say(id, Rc::clone(&keepalive));
            }
        }
    }

    fn ramp(&mut self) -> Result<()> {
        let now = Instant::now();
        for _ in 0..self.waiting.len() {
            if self.on_the_way >= RAMP {
                return Ok(());
            }
            let Some(id) = self.waiting.pop_front() else {
                return Ok(());
            };
            match self.sessions[id].state {
                State::Waiting(from) if from > now => self.waiting.push_back(id),
                State::Waiting(_) => self.connect(id)?,
                State::Idle | State::Connecting | State::OpenSent | State::Established => {}
            }
        }
        Ok(())
    }

    fn connect(&mut self, id: usize) -> Result<()> {
        let from = self.sessions[id].peer.address;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let bound = socket.bind(&SocketAddr::from((from, 0)).into());
        bound.with_context(|| format!("cannot bind to {from}"))?;
        match socket.connect(&SocketAddr::V4(self.dut).into()) {
            Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => {
                self.failed(id, &error.to_string());
                return Ok(());
            }
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(id), interest)?;
        self.sessions[id].stream = Some(stream);
        self.sessions[id].state = State::Connecting;
        self.on_the_way += 1;
        Ok(())
    }

    fn connected(&mut self, id: usize) {
        let session = &mut self.sessions[id];
        let Some(stream) = &session.stream else {
            return;
        };
        if let Ok(Some(error)) | Err(error) = stream.take_error() {
            return self.failed(id, &error.to_string());
        }
        if stream.peer_addr().is_err() {
            return; // not yet
        }
        session.state = State::OpenSent;
        let open = message::open(session.peer.asn, HOLD, session.peer.address);
        self.say(id, open.into());
    }

    /// A session ended, or did not come up.
    fn failed(&mut self, id: usize, why: &str) {
        let was_up = self.sessions[id].state == State::Established;
        self.close(id);
        let session = &mut self.sessions[id];
        session.attempts += 1;
        match &mut self.reconnects {
            None if was_up => {
                self.lost = Some(format!("{}: session lost: {why}", session.peer.name))
            }
            _ if session.attempts > ATTEMPTS => {
                self.lost = Some(format!("{}: does not come up: {why}", session.peer.name));
            }
            reconnects => {
                if let (true, Some(reconnects)) = (was_up, reconnects) {
                    *reconnects += 1;
                }
                self.wait(id, Instant::now() + RETRY);
            }
        }
    }

    fn write(&mut self, id: usize) {
        let session = &mut self.sessions[id];
        let Some(stream) = &mut session.stream else {
            return;
        };
        while let Some((what, at)) = session.queue.front_mut() {
            match stream.write(&what[*at..]) {
                Ok(count) => *at += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.failed(id, &error.to_string()),
            }
            if *at == what.len() {
                session.queue.pop_front();
            }
        }
    }

    fn read(&mut self, id: usize) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let outcome = self.read_some(id, &mut scratch);
        self.scratch = scratch;
        match outcome {
            Ok(true) => self.unread.push(id),
            Ok(false) => {}
            Err(why) => self.failed(id, &why),
        }
    }

    /// Reads and takes in whole messages; true when there may be more.
    fn read_some(&mut self, id: usize, scratch: &mut [u8]) -> Result<bool, String> {
        for _ in 0..READS {
            let session = &mut self.sessions[id];
            let Some(stream) = &mut session.stream else {
                return Ok(false);
            };
            let start = session.partial.len();
            scratch[..start].copy_from_slice(&session.partial);
            session.partial.clear();
            let count = match stream.read(&mut scratch[start..]) {
                Ok(0) => return Err("closed by the speaker".into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    session.partial.extend_from_slice(&scratch[..start]);
                    return Ok(false);
                }
                Err(error) => return Err(error.to_string()),
            };
            let mut rest = &scratch[..start + count];
            while rest.len() >= HEADER {
                let length = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
                if !(HEADER..=message::LONGEST).contains(&length) {
                    return Err(format!("a message of {length} octets"));
                }
                if rest.len() < length {
                    break;
                }
                self.take_in(id, rest[18], &rest[HEADER..length])?;
                rest = &rest[length..];
            }
            self.sessions[id].partial.extend_from_slice(rest);
        }
        Ok(true)
    }

    fn take_in(&mut self, id: usize, kind: u8, body: &[u8]) -> Result<(), String> {
        match kind {
            kind::OPEN => self.say(id, message::keepalive().into()),
            kind::KEEPALIVE if self.sessions[id].state == State::OpenSent => {
                self.sessions[id].state = State::Established;
                self.on_the_way -= 1;
                self.up += 1;
                self.say(id, Rc::clone(&self.sessions[id].greeting));
            }
            kind::UPDATE if self.sessions[id].peer.collects => self.update(id, body),
            kind::NOTIFICATION => return Err(format!("NOTIFICATION {:?}", body.get(..2))),
            _ => {}
        }
        Ok(())
    }

    fn update(&mut self, id: usize, body: &[u8]) {
        self.updates += 1;
        let Some(update) = message::read_update(body) else {
            self.faults.malformed += 1;
            return;
        };
        let table = Rc::clone(&self.table);
        let session = &mut self.sessions[id];
        let was_complete = session.count >= self.target;
        let mut unknown = 0;
        let whole = message::each_prefix(update.withdrawn, |prefix| {
            let Some(index) = table.find(prefix, session.guess) else {
                return unknown += 1;
            };
            session.guess = index + 1;
            let sender = std::mem::take(&mut session.held[index]);
            if sender != 0 {
                session.by_sender[usize::from(sender)] -= 1;
                session.count -= 1;
            }
        });
        let (first, origin) = message::path_ends(update.as_path, self.dut_as);
        let number = first.wrapping_sub(self.dut_as);
        let sender = if (1..=MOST_SENDERS as u32).contains(&number) {
            number as u8
        } else {
            1
        };
        let mut wrong = 0;
        let mut now = None;
        let whole = whole
            & message::each_prefix(update.nlri, |prefix| {
                let Some(index) = table.find(prefix, session.guess) else {
                    return unknown += 1;
                };
                session.guess = index + 1;
                wrong += u64::from(!table.origin_fits(index, origin));
                let before = std::mem::replace(&mut session.held[index], sender);
                if before != sender {
                    session.by_sender[usize::from(sender)] += 1;
                    match before {
                        0 => session.count += 1,
                        other => session.by_sender[usize::from(other)] -= 1,
                    }
                }
                if let Some(probe) = index
                    .checked_sub(self.probes_at)
                    .and_then(|i| self.probes.get_mut(i))
                {
                    probe.get_or_insert_with(|| *now.get_or_insert_with(Instant::now));
                }
                if before == 0
                    && self
                        .watch
                        .what
                        .is_some_and(|(what, by)| what == index && by != id)
                {
                    self.watch
                        .arrivals
                        .push(*now.get_or_insert_with(Instant::now));
                }
            });
        let is_complete = session.count >= self.target;
        self.complete = self.complete + usize::from(is_complete) - usize::from(was_complete);
        self.faults.unknown_prefixes += unknown;
        self.faults.wrong_origins += wrong;
        self.faults.malformed += u64::from(!whole);
    }
}

/// EINPROGRESS: the connection is on its way.
const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();
