//! The process: one thread, all sockets, and the machine.

use crate::message::{
    FromLiveness, PROTOCOL, Report, SessionChange, SessionReport, ToLiveness, Wanted,
};
use crate::sockets::{Destination, Kind, Senders};
use anyhow::{Context, Result, bail};
use bfd::{Input, Machine, Output, Status};
use linux::Priority;
use mio::net::{UnixListener, UnixStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

const CONTROL: Token = Token(0);
/// The longest wait, so that a signal between two waits is not overlooked for long.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Between attempts to listen on a port that is taken.
const LISTEN_AGAIN: Duration = Duration::from_secs(3);
/// A client that has not read this much is let go; an owner comes back and is told everything anew.
const MOST_UNREAD: usize = 4 << 20;
/// No message is longer.
const LONGEST_LINE: usize = 4 << 20;
/// The clocks are taken to have been set when they moved apart by more than this.
const CLOCK_SET: Duration = Duration::from_millis(5);

/// How the process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where its owner finds it.
    pub socket: PathBuf,
    /// How long it waits for a new owner when its own has gone.
    pub patience: Duration,
}

impl Options {
    /// Five minutes of patience: more than BGP peers keep routes for a restart.
    pub fn new(socket: PathBuf) -> Self {
        Options {
            socket,
            patience: Duration::from_secs(300),
        }
    }
}

/// Runs until it is told to end, or nobody wants it; SIGTERM and SIGINT end it too. Its neighbours are told AdminDown.
///
/// # Errors
/// When the socket cannot be opened, or another process answers on it.
pub fn run(options: &Options) -> Result<()> {
    // The terminal and the process group are the owner's, and so are their signals.
    let _ = rustix::process::setsid();
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let priority = linux::run_ahead();
    if priority == Priority::Ordinary {
        tracing::warn!(
            "bfd-priority: neither a real-time nor a high priority is allowed here (CAP_SYS_NICE): on a busy machine BFD may take a living neighbour for dead"
        );
    }
    let mut server = Server::new(options, priority)?;
    let served = server.serve(&stop);
    // Gone already is well.
    let _ = std::fs::remove_file(&options.socket);
    served
}

struct Client {
    stream: UnixStream,
    heard: Vec<u8>,
    unread: Vec<u8>,
}

struct Receiver {
    token: Token,
    socket: UdpSocket,
}

struct Server {
    poll: Poll,
    listener: UnixListener,
    clients: BTreeMap<Token, Client>,
    owner: Option<Token>,
    unclaimed_since: Option<Instant>,
    patience: Duration,
    ending: bool,
    next_token: usize,
    machine: Machine,
    wanted: Vec<Wanted>,
    receivers: BTreeMap<Kind, Receiver>,
    listen_errors: BTreeMap<Kind, String>,
    listen_again: Option<Instant>,
    senders: Senders,
    priority: Priority,
    started: Instant,
    /// Wall clock less our own, when last read.
    offset: Duration,
}

fn listen(path: &Path) -> Result<UnixListener> {
    let what = || format!("cannot open the socket {}", path.display());
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!("{}: another liveness process is using it", what());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(what)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(what);
        }
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path).with_context(what)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(what)?;
    Ok(listener)
}

fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

impl Server {
    fn new(options: &Options, priority: Priority) -> Result<Server> {
        let poll = Poll::new().context("cannot wait for sockets")?;
        let mut listener = listen(&options.socket)?;
        poll.registry()
            .register(&mut listener, CONTROL, Interest::READABLE)?;
        let mut server = Server {
            poll,
            listener,
            clients: BTreeMap::new(),
            owner: None,
            unclaimed_since: Some(Instant::now()),
            patience: options.patience,
            ending: false,
            next_token: 1,
            machine: Machine::new(seed()),
            wanted: Vec::new(),
            receivers: BTreeMap::new(),
            listen_errors: BTreeMap::new(),
            listen_again: None,
            senders: Senders::default(),
            priority,
            started: Instant::now(),
            offset: Duration::ZERO,
        };
        server.offset = server.clock_offset();
        Ok(server)
    }

    fn serve(&mut self, stop: &AtomicBool) -> Result<()> {
        let mut events = Events::with_capacity(256);
        loop {
            let wait = self.wait();
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    return Err(error).context("cannot wait for sockets");
                }
                Ok(()) | Err(_) => {}
            }
            // Read before the sockets: all that has arrived by now is in them, so all of it is known when a deadline up to
            // now is judged.
            let now = self.started.elapsed();
            self.receive_all(now);
            let tokens: Vec<Token> = events.iter().map(mio::event::Event::token).collect();
            for token in tokens {
                if token == CONTROL {
                    self.accept();
                } else {
                    self.converse(token, now);
                }
            }
            self.machine.handle(Input::Timer, now);
            self.drain_machine();
            self.listen_where_wanted(false);
            let alone = self
                .unclaimed_since
                .is_some_and(|at| at.elapsed() >= self.patience);
            if (alone || stop.load(Ordering::Relaxed)) && !self.ending {
                self.end(now);
            }
            if self.ending && self.machine.is_empty() {
                return Ok(());
            }
        }
    }

    fn wait(&self) -> Duration {
        let elapsed = self.started.elapsed();
        let machine = self.machine.next_deadline();
        let listen = self.listen_again;
        let wait = machine.map_or(LONGEST_WAIT, |at| at.saturating_sub(elapsed));
        let listen = listen.map_or(LONGEST_WAIT, |at| {
            at.saturating_duration_since(Instant::now())
        });
        wait.min(listen).min(LONGEST_WAIT)
    }

    fn end(&mut self, now: Duration) {
        self.ending = true;
        self.wanted.clear();
        self.machine.handle(Input::Configure(&[]), now);
        self.drain_machine();
    }

    fn clock_offset(&self) -> Duration {
        let wall = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        wall.saturating_sub(self.started.elapsed())
    }

    /// Hands over everything that is in the sockets.
    fn receive_all(&mut self, now: Duration) {
        let offset = self.clock_offset();
        // Stamps are of the wall clock. When that was set, they are worth nothing this once.
        let set = offset.abs_diff(self.offset) > CLOCK_SET;
        self.offset = offset;
        let mut buffer = [0; 128];
        for (kind, receiver) in &self.receivers {
            loop {
                let datagram = match linux::receive_datagram(receiver.socket.as_fd(), &mut buffer) {
                    Ok(datagram) => datagram,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                let at = datagram.arrived.filter(|_| !set);
                let at = at.map_or(now, |at| at.saturating_sub(offset));
                let input = Input::Received {
                    source: datagram.source,
                    scope: datagram.scope,
                    multihop: kind.multihop,
                    ttl: datagram.ttl,
                    bytes: &buffer[..datagram.length],
                    at,
                };
                self.machine.handle(input, now);
            }
        }
    }

    fn drain_machine(&mut self) {
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Send {
                    session,
                    remote,
                    scope,
                    multihop,
                    local,
                    packet,
                } => {
                    let to = Destination {
                        session,
                        remote,
                        scope,
                        multihop,
                        local,
                    };
                    self.senders.send(&to, &packet);
                }
                Output::Gone { session } => self.senders.close(session),
                Output::Change(change) => self.tell_change(&change),
            }
        }
    }

    fn tell_change(&mut self, change: &bfd::Change) {
        let reason = change.reason.map(|reason| reason.name());
        let (colon, words) = reason.map_or(("", ""), |reason| (": ", reason));
        tracing::info!("bfd {}: {}{colon}{words}", change.remote, change.to);
        let message = FromLiveness::Change(SessionChange {
            remote: change.remote,
            scope: change.scope,
            multihop: change.multihop,
            from: change.from.to_string(),
            to: change.to.to_string(),
            reason: reason.map(str::to_owned),
            failure: change.reason.is_some_and(bfd::Reason::is_failure),
            control_plane_independent: change.control_plane_independent,
        });
        if let Some(owner) = self.owner {
            self.say(owner, &message);
        }
    }

    /// Opens the ports that the wanted sessions need, and closes the others.
    fn listen_where_wanted(&mut self, changed: bool) {
        let due = self.listen_again.is_some_and(|at| at <= Instant::now());
        if !changed && !due {
            return;
        }
        self.listen_again = None;
        let kind = |wanted: &Wanted| Kind {
            ipv6: wanted.remote.to_canonical().is_ipv6(),
            multihop: wanted.multihop,
        };
        let kinds: BTreeSet<Kind> = self.wanted.iter().map(kind).collect();
        self.listen_errors.retain(|kind, _| kinds.contains(kind));
        // Sessions that say farewell are still heard.
        if !self.ending {
            self.receivers.retain(|kind, _| kinds.contains(kind));
        }
        for kind in kinds {
            if self.receivers.contains_key(&kind) {
                continue;
            }
            match self.open(kind) {
                Ok(receiver) => {
                    self.receivers.insert(kind, receiver);
                    self.listen_errors.remove(&kind);
                }
                Err(error) => {
                    let text = format!("bfd-listen: {}: {error}", kind.address());
                    if self.listen_errors.insert(kind, text.clone()).is_none() {
                        tracing::warn!(
                            "{text}. It is tried again every few seconds; see `ss -lunp` for who has the port."
                        );
                    }
                    self.listen_again = Some(Instant::now() + LISTEN_AGAIN);
                }
            }
        }
    }

    fn open(&mut self, kind: Kind) -> io::Result<Receiver> {
        let socket = kind.listen()?;
        let token = self.new_token();
        let fd = socket.as_raw_fd();
        self.poll
            .registry()
            .register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        Ok(Receiver { token, socket })
    }

    fn new_token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }
}

/// Conversations with the owner, and with those who only look.
impl Server {
    fn accept(&mut self) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            let token = self.new_token();
            let interest = Interest::READABLE | Interest::WRITABLE;
            if self
                .poll
                .registry()
                .register(&mut stream, token, interest)
                .is_err()
            {
                continue;
            }
            let client = Client {
                stream,
                heard: Vec::new(),
                unread: Vec::new(),
            };
            self.clients.insert(token, client);
            let hello = FromLiveness::Hello {
                protocol: PROTOCOL,
                pid: std::process::id(),
            };
            self.say(token, &hello);
        }
    }

    fn converse(&mut self, token: Token, now: Duration) {
        if self
            .receivers
            .values()
            .any(|receiver| receiver.token == token)
        {
            return;
        }
        self.flush(token);
        loop {
            let Some(client) = self.clients.get_mut(&token) else {
                return;
            };
            let mut buffer = [0; 16 << 10];
            match client.stream.read(&mut buffer) {
                Ok(0) => return self.let_go(token),
                Ok(count) => client.heard.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.let_go(token),
            }
            if client.heard.len() > LONGEST_LINE {
                return self.let_go(token);
            }
            while let Some(end) = self
                .clients
                .get(&token)
                .and_then(|client| client.heard.iter().position(|octet| *octet == b'\n'))
            {
                let Some(client) = self.clients.get_mut(&token) else {
                    return;
                };
                let line: Vec<u8> = client.heard.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(message) => self.obey(token, message, now),
                    Err(error) => {
                        tracing::debug!("not understood: {error}");
                        return self.let_go(token);
                    }
                }
            }
        }
    }

    fn obey(&mut self, token: Token, message: ToLiveness, now: Duration) {
        match message {
            ToLiveness::Want {
                mut sessions,
                keep_others,
            } => {
                if keep_others {
                    let key = |wanted: &Wanted| (wanted.remote, wanted.scope, wanted.multihop);
                    let others = std::mem::take(&mut self.wanted).into_iter();
                    let is_other = |old: &Wanted| sessions.iter().all(|new| key(new) != key(old));
                    let others: Vec<Wanted> = others.filter(is_other).collect();
                    sessions.extend(others);
                }
                if let Some(former) = self.owner.replace(token)
                    && former != token
                {
                    self.let_go(former);
                }
                self.unclaimed_since = None;
                self.ending = false;
                let configs: Vec<_> = sessions.iter().map(Wanted::config).collect();
                self.wanted = sessions;
                self.machine.handle(Input::Configure(&configs), now);
                self.listen_where_wanted(true);
                let sessions = self.sessions(now);
                self.say(token, &FromLiveness::Sessions(sessions));
                self.drain_machine();
            }
            ToLiveness::Show => {
                let report = self.report(now);
                self.say(token, &FromLiveness::Report(report));
            }
            ToLiveness::End => self.end(now),
        }
    }

    fn let_go(&mut self, token: Token) {
        self.clients.remove(&token);
        if self.owner == Some(token) {
            self.owner = None;
            self.unclaimed_since = Some(Instant::now());
        }
    }

    fn say(&mut self, token: Token, message: &FromLiveness) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        match serde_json::to_vec(message) {
            Ok(line) => client.unread.extend_from_slice(&line),
            Err(error) => tracing::error!("a message cannot be written: {error}"),
        }
        client.unread.push(b'\n');
        self.flush(token);
    }

    fn flush(&mut self, token: Token) {
        let Some(client) = self.clients.get_mut(&token) else {
            return;
        };
        while !client.unread.is_empty() {
            match client.stream.write(&client.unread) {
                Ok(count) => drop(client.unread.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // It reads no more; what it said before it went is still to be heard, up to its end.
                Err(_) => client.unread.clear(),
            }
        }
        if client.unread.len() > MOST_UNREAD {
            self.let_go(token);
        }
    }

    fn sessions(&self, now: Duration) -> Vec<SessionReport> {
        let sessions = self.machine.sessions();
        sessions.map(|status| self.session(&status, now)).collect()
    }

    fn session(&self, status: &Status, now: Duration) -> SessionReport {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        SessionReport {
            remote: status.config.remote,
            scope: status.config.scope,
            multihop: status.config.multihop,
            local: status.config.local,
            state: status.state.to_string(),
            state_for_ms: micros(now.saturating_sub(status.since)) / 1000,
            remote_state: status.remote_state.to_string(),
            last_reason: status.reason.map(|reason| reason.to_string()),
            transmit_interval_us: micros(status.transmit_interval),
            receive_interval_us: micros(status.receive_interval),
            detection_time_us: micros(status.detection_time),
            multiplier: status.config.detect_mult,
            remote_multiplier: status.remote_detect_mult,
            remote_control_plane_independent: status.remote_control_plane_independent,
            local_discriminator: status.local_discriminator,
            remote_discriminator: status.remote_discriminator,
            ups: status.ups,
            packets_in: status.packets_in,
            packets_out: status.packets_out,
            send_error: self.senders.error(status.local_discriminator).cloned(),
        }
    }

    fn report(&self, now: Duration) -> Report {
        Report {
            pid: std::process::id(),
            priority: self.priority.to_string(),
            claimed: self.owner.is_some(),
            refused: self.listen_errors.values().cloned().collect(),
            sessions: self.sessions(now),
            discarded: self
                .machine
                .discarded()
                .map(|(why, count)| (why.name().to_owned(), count))
                .collect(),
        }
    }
}
