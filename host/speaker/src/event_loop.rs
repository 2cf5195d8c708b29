//! The thread: waits for sockets, timers and commands, and does what the machine says.

mod commands;
mod listening;
mod mirror;
mod neighbors;

pub(crate) use commands::Command;
pub(crate) use mirror::{Told, Watcher, Watching, watch};

use crate::events::{Event, Sender};
use crate::link::Networks;
use crate::socket;
use crate::watch::Watch;
use bgp::{Chunk, Config, ConnId, Input, Keys, ListenSecurity, Now, Output, Speaker};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Poll, Token, Waker};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, SystemTime};

const WAKER: Token = Token(0);
/// Read at once; one scratch for all sockets. What one read brings is told to the peers before
/// the next one, so it bounds how long a route of another peer waits.
const READ: usize = 16 << 10;
/// Shown to the socket at once.
const WRITE: usize = 1 << 20;
/// Between attempts to listen on an address that is taken.
const LISTEN_RETRY: Duration = Duration::from_secs(3);
/// How long the end of a closed connection is awaited, so that its last words arrive.
const LINGER: Duration = Duration::from_secs(2);

/// [`crate::Options::next_hops`].
type AskNextHops = Box<dyn Fn(Vec<IpAddr>) + Send>;

struct Conn {
    id: ConnId,
    stream: TcpStream,
    connecting: bool,
    readable: bool,
    /// The end was announced: a short read has not emptied the socket, the end comes after it.
    ending: bool,
    /// The socket is full; wait for it.
    blocked: bool,
    /// Closed by the machine: only read until the peer ends it too, or for a while.
    lingers: bool,
    /// Its keys, when it has others beside them until the peer uses them no more.
    retires: Option<Keys>,
}

enum Slot {
    Conn(Conn),
    Listener(SocketAddr, TcpListener),
}

/// All that the thread owns.
pub(crate) struct EventLoop {
    poll: Poll,
    speaker: Speaker,
    inbox: Receiver<Command>,
    events: Sender,
    watch: Watch,
    next_hops: Option<AskNextHops>,
    networks: Networks,
    watchers: Vec<Watcher>,
    slots: BTreeMap<usize, Slot>,
    by_id: BTreeMap<ConnId, usize>,
    next_token: usize,
    neighbors: neighbors::Neighbors,
    accepted: u64,
    wanted: Vec<SocketAddr>,
    security: ListenSecurity,
    listen_again: Option<Instant>,
    /// Connections with something to read, to be gone through in turn.
    ready: Vec<usize>,
    lingering: VecDeque<(Instant, usize)>,
    scratch: Vec<u8>,
    chunks: Vec<Chunk>,
    started: Instant,
    stopping: bool,
}

impl EventLoop {
    pub fn new(
        config: Config,
        seed: u64,
        (commands, inbox): (mpsc::Sender<Command>, Receiver<Command>),
        events: Sender,
        (launch, next_hops): (Option<liveness::Launch>, Option<AskNextHops>),
    ) -> io::Result<(Self, Arc<Waker>)> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let watch = Watch::new(launch, commands, Arc::clone(&waker));
        socket::raise_file_limit();
        let started = Instant::now();
        let event_loop = EventLoop {
            poll,
            speaker: Speaker::new(config, seed, now(started)),
            inbox,
            events,
            watch,
            next_hops,
            networks: Networks::open(),
            watchers: Vec::new(),
            slots: BTreeMap::new(),
            by_id: BTreeMap::new(),
            next_token: neighbors::NEXT_TOKEN,
            neighbors: neighbors::Neighbors::new(seed),
            accepted: 0,
            wanted: Vec::new(),
            security: ListenSecurity::default(),
            listen_again: None,
            ready: Vec::new(),
            lingering: VecDeque::new(),
            scratch: vec![0; READ],
            chunks: Vec::new(),
            started,
            stopping: false,
        };
        Ok((event_loop, waker))
    }

    /// Runs until told to stop.
    pub fn run(mut self) {
        let mut ready = mio::Events::with_capacity(1024);
        self.drain_machine();
        while !self.stopping {
            if let Err(error) = self.poll.poll(&mut ready, self.patience())
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!("cannot wait for sockets: {error}");
                return;
            }
            for event in &ready {
                self.note(event);
            }
            self.read_all();
            self.commands();
            self.timers();
            self.drain_machine();
            self.mirror();
        }
        self.say_end();
    }

    /// How long to wait for sockets.
    fn patience(&self) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        let elapsed = self.started.elapsed();
        let machine = self
            .speaker
            .next_deadline()
            .map(|at| at.saturating_sub(elapsed));
        let listen = self
            .listen_again
            .map(|at| at.saturating_duration_since(Instant::now()));
        let events = self
            .events
            .has_waiting()
            .then_some(Duration::from_millis(5));
        let first = self.lingering.front();
        let lingers = first.map(|(at, _)| at.saturating_duration_since(Instant::now()));
        let views = self.has_viewed().then_some(mirror::AGAIN);
        let neighbors = self.neighbors.next_deadline();
        machine
            .into_iter()
            .chain(neighbors.map(|at| at.saturating_sub(elapsed)))
            .chain(listen)
            .chain(events)
            .chain(lingers)
            .chain(views)
            .min()
    }

    fn note(&mut self, event: &mio::event::Event) {
        if self.note_neighbors(event.token()) {
            return;
        }
        let token = event.token().0;
        match self.slots.get_mut(&token) {
            Some(Slot::Conn(conn)) => {
                if conn.connecting {
                    self.finish_connect(token);
                    return;
                }
                conn.ending |= event.is_read_closed() || event.is_error();
                let wake = (event.is_readable() || conn.ending) && !conn.readable;
                if wake {
                    conn.readable = true;
                    self.ready.push(token);
                }
                if event.is_writable() && conn.blocked {
                    conn.blocked = false;
                    self.write(token);
                }
            }
            Some(Slot::Listener(..)) => self.accept(token),
            None => {}
        }
    }

    fn finish_connect(&mut self, token: usize) {
        let Some(Slot::Conn(conn)) = self.slots.get_mut(&token) else {
            return;
        };
        let id = conn.id;
        let outcome = match conn.stream.take_error() {
            Ok(Some(error)) | Err(error) => Err(error),
            Ok(None) => match conn.stream.peer_addr() {
                Ok(_) => conn.stream.local_addr(),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return,
                Err(error) => Err(error),
            },
        };
        match outcome {
            Ok(local) => {
                conn.connecting = false;
                conn.readable = true;
                self.ready.push(token);
                let now = now(self.started);
                self.speaker
                    .handle(Input::Connected { conn: id, local }, now);
                self.shared_link(id);
            }
            Err(error) => self.connect_failed(id, &error),
        }
    }

    /// Tells the machine when the peer is on a link of ours.
    fn shared_link(&mut self, id: ConnId) {
        let token = self.by_id.get(&id);
        let Some(Slot::Conn(conn)) = token.and_then(|token| self.slots.get(token)) else {
            return;
        };
        let ends = conn
            .stream
            .local_addr()
            .and_then(|local| Ok((local, conn.stream.peer_addr()?)));
        let Ok((local, remote)) = ends else { return };
        if let Some(link_local) = crate::link::shared(local.ip(), remote.ip()) {
            let input = Input::SharedLink {
                conn: id,
                link_local,
            };
            self.speaker.handle(input, now(self.started));
        }
        if let Some(network) = self.networks.shared(local.ip(), remote.ip()) {
            let input = Input::SharedNetwork { conn: id, network };
            self.speaker.handle(input, now(self.started));
        }
    }

    fn connect_failed(&mut self, id: ConnId, error: &io::Error) {
        self.drop_conn(id);
        let error = socket::words(error);
        let input = Input::ConnectFailed {
            conn: id,
            error: &error,
        };
        self.speaker.handle(input, now(self.started));
    }

    fn accept(&mut self, token: usize) {
        self.accept_all(token);
        // What came with a connection must not be read before the connection has been judged.
        if self.security.checks_first_ttl {
            self.drain_machine();
        }
    }

    fn accept_all(&mut self, token: usize) {
        loop {
            let Some(Slot::Listener(_, listener)) = self.slots.get(&token) else {
                return;
            };
            match listener.accept() {
                Ok((stream, remote)) => {
                    let Ok(local) = stream.local_addr() else {
                        continue;
                    };
                    self.accepted += 1;
                    let id = ConnId::Accepted(self.accepted);
                    if self.add_conn(id, stream, false).is_ok() {
                        self.found_by_connection(remote);
                        let input = Input::Accepted {
                            conn: id,
                            remote,
                            local,
                        };
                        self.speaker.handle(input, now(self.started));
                        self.shared_link(id);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    return;
                }
            }
        }
    }

    fn add_conn(&mut self, id: ConnId, mut stream: TcpStream, connecting: bool) -> io::Result<()> {
        let token = self.next_token;
        self.next_token += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(token), interest)?;
        let readable = !connecting;
        if readable {
            self.ready.push(token);
        }
        let conn = Conn {
            id,
            stream,
            connecting,
            readable,
            ending: false,
            blocked: false,
            lingers: false,
            retires: None,
        };
        self.slots.insert(token, Slot::Conn(conn));
        self.by_id.insert(id, token);
        Ok(())
    }

    fn drop_conn(&mut self, id: ConnId) {
        if let Some(token) = self.by_id.remove(&id) {
            self.slots.remove(&token);
        }
    }

    /// One read for each connection that has something; the rest waits for the next round, so
    /// that a peer that sends much does not hold the others up.
    fn read_all(&mut self) {
        let ready = std::mem::take(&mut self.ready);
        for token in ready {
            let Some(Slot::Conn(conn)) = self.slots.get_mut(&token) else {
                continue;
            };
            let id = conn.id;
            let lingers = conn.lingers;
            match conn.stream.read(&mut self.scratch) {
                Ok(0) => self.ended(token, id, lingers, None),
                Ok(count) => {
                    // A short read has emptied the socket; what comes later is a new event. An
                    // end that was announced together with data is not announced again.
                    if count == self.scratch.len() || conn.ending {
                        self.ready.push(token);
                    } else {
                        conn.readable = false;
                    }
                    let retires = conn.retires.take();
                    if !lingers {
                        let bytes = &self.scratch[..count];
                        let input = Input::Received { conn: id, bytes };
                        self.speaker.handle(input, now(self.started));
                    }
                    if let Some(keys) = retires {
                        self.rekey(id, keys, true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => conn.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => self.ready.push(token),
                Err(error) => self.ended(token, id, lingers, Some(socket::words(&error))),
            }
        }
    }

    fn ended(&mut self, token: usize, id: ConnId, lingers: bool, error: Option<String>) {
        self.slots.remove(&token);
        if !lingers {
            self.by_id.remove(&id);
            let input = Input::Closed {
                conn: id,
                error: error.as_deref(),
            };
            self.speaker.handle(input, now(self.started));
        }
    }

    /// Writes what the machine has for a connection until it has no more or the socket is full.
    fn write(&mut self, token: usize) {
        let Some(Slot::Conn(conn)) = self.slots.get_mut(&token) else {
            return;
        };
        if conn.connecting || conn.lingers {
            return;
        }
        loop {
            self.chunks.clear();
            self.speaker.transmit(conn.id, WRITE, &mut self.chunks);
            if self.chunks.is_empty() {
                return;
            }
            match write_chunks(&mut conn.stream, &self.chunks) {
                Ok(count) => self.speaker.transmitted(conn.id, count, now(self.started)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // When the connection is gone, the read says so, with what came before.
                    conn.blocked = error.kind() == io::ErrorKind::WouldBlock;
                    return;
                }
            }
        }
    }

    fn timers(&mut self) {
        let now = now(self.started);
        if self
            .speaker
            .next_deadline()
            .is_some_and(|at| at <= now.mono)
        {
            self.speaker.handle(Input::Timer, now);
        }
        self.time_neighbors(now.mono);
        if self.listen_again.is_some_and(|at| at <= Instant::now()) {
            self.listen();
        }
        while let Some((at, token)) = self.lingering.front().copied()
            && at <= Instant::now()
        {
            self.lingering.pop_front();
            self.slots.remove(&token);
        }
        self.events.retry();
    }

    /// Does what the machine says until it says nothing more.
    fn drain_machine(&mut self) {
        while let Some(output) = self.speaker.poll(now(self.started)) {
            match output {
                Output::Listen(addresses) => {
                    self.wanted = addresses;
                    self.listen();
                }
                Output::Connect {
                    conn,
                    remote,
                    source,
                    options,
                } => {
                    let added = socket::connect(remote, source, &options)
                        .and_then(|stream| self.add_conn(conn, stream, true));
                    if let Err(error) = added {
                        self.connect_failed(conn, &error);
                    }
                }
                Output::Configure { conn, options } => self.configure(conn, &options),
                Output::Secure(security) => self.secure(security),
                Output::Rekey { conn, keys } => self.rekey(conn, keys, false),
                Output::Send(conn) => {
                    if let Some(token) = self.by_id.get(&conn).copied() {
                        self.write(token);
                    }
                }
                Output::Close { conn, last } => self.close(conn, &last),
                Output::Routes(changes) => self.events.send(Event::Routes(changes)),
                Output::Peer(event) => {
                    let error = &event.error;
                    let colon = if error.is_empty() { "" } else { ": " };
                    tracing::info!("{}: {}{colon}{error}", event.peer, event.state);
                    self.events.send(Event::Peer(event));
                }
                Output::Notice(notice) => {
                    tracing::warn!("{notice}");
                    self.events.send(Event::Notice(notice));
                }
                Output::FindNeighbors(interfaces) => self.find_neighbors(&interfaces),
                Output::WatchPaths(paths) => self.watch.paths(&paths),
                Output::NextHops(addresses) => {
                    if let Some(ask) = &self.next_hops {
                        ask(addresses);
                    }
                }
                Output::InSync => self.events.send(Event::InSync),
            }
        }
    }

    fn close(&mut self, id: ConnId, last: &[Chunk]) {
        let Some(token) = self.by_id.remove(&id) else {
            return;
        };
        let Some(Slot::Conn(conn)) = self.slots.get_mut(&token) else {
            return;
        };
        if conn.connecting || last.is_empty() {
            self.slots.remove(&token);
            return;
        }
        let written = write_chunks(&mut conn.stream, last);
        let ended = written.and_then(|_| conn.stream.shutdown(Shutdown::Write));
        if ended.is_err() {
            self.slots.remove(&token);
            return;
        }
        // Closing with unread input would reset the connection, and the peer might never see
        // the NOTIFICATION.
        conn.lingers = true;
        self.lingering.push_back((Instant::now() + LINGER, token));
        if !conn.readable {
            conn.readable = true;
            self.ready.push(token);
        }
    }
}

fn now(started: Instant) -> Now {
    let wall = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        mono: started.elapsed(),
        wall,
    }
}

fn write_chunks(stream: &mut TcpStream, chunks: &[Chunk]) -> io::Result<usize> {
    let slices: Vec<IoSlice<'_>> = chunks
        .iter()
        .take(64)
        .map(|chunk| IoSlice::new(chunk.as_ref()))
        .collect();
    stream.write_vectored(&slices)
}
