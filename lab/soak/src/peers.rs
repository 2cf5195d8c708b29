//! All peers of a run, played by one thread: connections, what is said on them, what is heard.

use crate::cast::{self, Change, Player, Role, SPEAKER};
use crate::peer::{Kept, Kill, Link, Peer};
use anyhow::{Context, Result};
use bgpsim::random::Random;
use bgpwire::message::{keepalive, open_with};
use bgpwire::say::{self, Capabilities, Restart};
use bgpwire::tap::Tap;
use ipnet::IpNet;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

/// Before a connection that did not become a session is tried again.
const RETRY: Duration = Duration::from_millis(300);
/// Tokens from here on are listeners.
const LISTENERS: usize = 1 << 20;
/// What a peer that reads slowly has room for; the kernel doubles it.
const SMALL_BUFFER: usize = 4096;
/// Reads from one peer before the others have their turn: all must say KEEPALIVE in time.
const READS: usize = 2;
/// EINPROGRESS: the connection is on its way.
const IN_PROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

/// Counts for the report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// UPDATEs that the peers said.
    pub said: u64,
    /// UPDATEs that they heard.
    pub heard: u64,
    /// Sessions that came up.
    pub sessions: u64,
    /// Sessions that the speaker ended by its hold timer because this process had not run for too long.
    pub starved: u64,
}

/// All of them.
pub struct Peers {
    pub all: Vec<Peer>,
    /// The first thing that must not be.
    pub failure: Option<String>,
    /// What was heard is that of sessions before the present ones.
    totals: Totals,
    speaker: SocketAddr,
    pool: Vec<IpNet>,
    random: Random,
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    /// Peers for which there may be more.
    unread: Vec<usize>,
}

impl Peers {
    /// This many peers, of which none is connected yet. The speaker will be at `port`.
    ///
    /// # Errors
    /// When an address cannot be listened on.
    pub fn new(count: usize, port: u16, seed: u64) -> Result<Self> {
        let (now, poll) = (Instant::now(), Poll::new()?);
        let pool = cast::pool(true);
        let mut random = Random::new(seed);
        let mut all = Vec::new();
        for number in 1..=count {
            let mut peer = Peer::new(Player::new(number), now);
            if peer.player.role == Role::Dialled {
                let address = SocketAddr::from((peer.player.address, 0));
                let mut listener = TcpListener::bind(address)
                    .with_context(|| format!("cannot listen on {address}"))?;
                let token = Token(LISTENERS + all.len());
                poll.registry()
                    .register(&mut listener, token, Interest::READABLE)?;
                peer.listener = Some(listener);
            }
            while peer.table.len() < 20 {
                cast::change(&mut random, &peer.player, &pool, &mut peer.table);
            }
            all.push(peer);
        }
        Ok(Peers {
            all,
            failure: None,
            totals: Totals::default(),
            speaker: SocketAddrV4::new(SPEAKER, port).into(),
            pool,
            random,
            poll,
            events: Events::with_capacity(1024),
            scratch: vec![0; 64 << 10],
            unread: Vec::new(),
        })
    }

    /// Where a peer listens.
    pub fn port(&self, id: usize) -> Option<u16> {
        let address = self.all[id].listener.as_ref()?.local_addr().ok()?;
        Some(address.port())
    }

    /// Peers whose session is up.
    pub fn up(&self) -> usize {
        self.all.iter().filter(|p| p.link == Link::Up).count()
    }

    /// Counts so far.
    pub fn totals(&self) -> Totals {
        let heard: u64 = self.all.iter().map(|p| p.tap.updates).sum();
        Totals {
            heard: self.totals.heard + heard,
            ..self.totals
        }
    }

    /// A connection of somebody in the clients' range who never says a word.
    ///
    /// # Errors
    /// When the speaker does not take it.
    pub fn stranger(&self, number: u8) -> Result<std::net::TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::from(([127, 2, 200, number], 0)).into())?;
        socket.connect(&self.speaker.into())?;
        Ok(socket.into())
    }

    fn fail(&mut self, id: usize, what: &str) {
        let name = self.all[id].player.name();
        self.failure.get_or_insert(format!("{name}: {what}"));
    }

    /// Serves all sessions for at most this long.
    ///
    /// # Errors
    /// When the kernel refuses to.
    pub fn turn(&mut self, patience: Duration) -> Result<()> {
        self.due()?;
        let patience = if self.unread.is_empty() {
            patience
        } else {
            Duration::ZERO
        };
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, Some(patience)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        for id in std::mem::take(&mut self.unread) {
            if self.all[id].link != Link::Connecting {
                self.read(id);
            }
        }
        for event in &events {
            let Token(at) = event.token();
            if at >= LISTENERS {
                self.accept(at - LISTENERS)?;
                continue;
            }
            if self.all[at].link == Link::Connecting {
                self.connected(at);
            }
            if self.all[at].link != Link::Connecting {
                self.write(at);
                self.read(at);
            }
        }
        self.events = events;
        Ok(())
    }

    /// What the clock asks for.
    fn due(&mut self) -> Result<()> {
        let now = Instant::now();
        for id in 0..self.all.len() {
            let peer = &mut self.all[id];
            if peer.deaf_until.is_some_and(|until| until <= now) {
                peer.deaf_until = None;
                self.read(id);
            }
            let peer = &self.all[id];
            match peer.link {
                Link::Down(Some(back)) if back <= now && !peer.stays && !peer.absent => {
                    if peer.listener.is_none() {
                        self.connect(id)?;
                    }
                }
                Link::Up | Link::Opening => {
                    if now - peer.said_at > peer.player.hold() / 4 {
                        self.say(id, &keepalive());
                    }
                }
                Link::Down(_) | Link::Connecting | Link::Dying(..) => {}
            }
        }
        Ok(())
    }

    fn connect(&mut self, id: usize) -> Result<()> {
        let player = &self.all[id].player;
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        if player.small_buffer {
            socket.set_recv_buffer_size(SMALL_BUFFER)?;
        }
        let bound = socket.bind(&SocketAddr::from((player.address, 0)).into());
        bound.with_context(|| format!("cannot bind to {}", player.address))?;
        match socket.connect(&self.speaker.into()) {
            Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => {
                self.all[id].link = Link::Down(Some(Instant::now() + RETRY));
                return Ok(());
            }
            Ok(()) | Err(_) => {}
        }
        self.adopt(id, TcpStream::from_std(socket.into()))?;
        self.all[id].link = Link::Connecting;
        Ok(())
    }

    fn adopt(&mut self, id: usize, mut stream: TcpStream) -> Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry.register(&mut stream, Token(id), interest)?;
        self.all[id].stream = Some(stream);
        Ok(())
    }

    /// The speaker has connected.
    fn accept(&mut self, id: usize) -> Result<()> {
        loop {
            let peer = &mut self.all[id];
            let Some(listener) = &peer.listener else {
                return Ok(());
            };
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let is_due = matches!(peer.link, Link::Down(Some(back)) if back <= Instant::now());
            if is_due && !peer.stays && !peer.absent {
                self.adopt(id, stream)?;
                self.introduce(id);
            }
        }
    }

    fn connected(&mut self, id: usize) {
        let Some(stream) = &self.all[id].stream else {
            return;
        };
        if let Ok(Some(error)) | Err(error) = stream.take_error() {
            return self.ended(id, &error.to_string());
        }
        if stream.peer_addr().is_ok() {
            self.introduce(id);
        }
    }

    /// Our part of the handshake. KEEPALIVE may follow OPEN at once: the speaker has sent its own.
    fn introduce(&mut self, id: usize) {
        let now = Instant::now();
        let peer = &mut self.all[id];
        let player = &peer.player;
        let restart = player.can.restart.map(|restart| Restart {
            restarting: peer.was_up,
            ..restart
        });
        let can = Capabilities {
            restart,
            ..player.can
        };
        let mut octets = open_with(
            player.asn,
            player.hold_s,
            player.id,
            &can.encode(player.asn),
        );
        octets.extend(keepalive());
        self.totals.heard += peer.tap.updates;
        peer.tap = Tap::new(player.can.add_path);
        peer.asked = [0; 2];
        peer.link = Link::Opening;
        (peer.said_at, peer.longest_pause) = (now, Duration::ZERO);
        self.say(id, &octets);
    }

    /// The session is up: says all, and that this was all.
    fn established(&mut self, id: usize) {
        self.totals.sessions += 1;
        let peer = &mut self.all[id];
        peer.link = Link::Up;
        if peer.was_up {
            // It comes back with another table than it went with.
            for _ in 0..6 {
                cast::change(&mut self.random, &peer.player, &self.pool, &mut peer.table);
            }
        }
        peer.was_up = true;
        let several = peer.player.can.add_path;
        let mut octets = Vec::new();
        for ((prefix, path_id), route) in &peer.table {
            say::announce(&mut octets, route, *prefix, several.then_some(*path_id));
        }
        self.totals.said += peer.table.len() as u64;
        say::end_of_rib(&mut octets, false);
        if peer.player.can.ipv6 {
            say::end_of_rib(&mut octets, true);
        }
        // The speaker drops what it kept and does not hear again.
        peer.kept = None;
        self.say(id, &octets);
    }

    /// Says that a path is there, or is no more.
    pub fn tell(&mut self, id: usize, change: &Change) {
        let ((prefix, path_id), route) = change;
        let id_there = self.all[id].player.can.add_path.then_some(*path_id);
        let mut octets = Vec::new();
        match route {
            Some(route) => say::announce(&mut octets, route, *prefix, id_there),
            None => say::withdraw(&mut octets, *prefix, id_there),
        }
        self.totals.said += 1;
        self.say(id, &octets);
    }

    /// One change of chance, said.
    pub fn churn(&mut self, id: usize) {
        let peer = &mut self.all[id];
        let change = cast::change(&mut self.random, &peer.player, &self.pool, &mut peer.table);
        self.tell(id, &change);
    }

    /// An UPDATE whose ORIGIN is none: the path that it names counts as withdrawn. Source: RFC 7606 §7.1.
    pub fn say_malformed(&mut self, id: usize) -> bool {
        let Some(key) = self.all[id].table.keys().next().copied() else {
            return false;
        };
        let Some(mut route) = self.all[id].table.remove(&key) else {
            return false;
        };
        route.origin = 7;
        self.tell(id, &(key, Some(route)));
        true
    }

    /// Asks to be told a family again.
    pub fn refresh(&mut self, id: usize, ipv6: bool) {
        self.all[id].asked[usize::from(ipv6)] += 1;
        let mut octets = Vec::new();
        say::refresh(&mut octets, ipv6);
        self.say(id, &octets);
    }

    /// Ends a session; the peer is back so long after its end.
    pub fn kill(&mut self, id: usize, kill: Kill, away: Duration) {
        let mut octets = Vec::new();
        match kill {
            Kill::Reset | Kill::Fin | Kill::Silence => {}
            Kill::Notification => say::notification(&mut octets, 6, 2),
            Kill::HalfMessage => {
                let peer = &self.all[id];
                if let Some(((prefix, _), route)) = peer.table.iter().next() {
                    say::announce(&mut octets, route, *prefix, None);
                }
                octets.truncate(octets.len() / 2);
            }
        }
        self.say(id, &octets);
        let peer = &mut self.all[id];
        if peer.link != Link::Up {
            return;
        }
        peer.link = Link::Dying(kill, away);
        match kill {
            Kill::Silence => {}
            Kill::Fin | Kill::Notification => {
                if let Some(stream) = &peer.stream {
                    let _ = stream.shutdown(Shutdown::Write);
                }
            }
            Kill::Reset | Kill::HalfMessage => {
                if let Some(stream) = &peer.stream {
                    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
                }
                self.ended(id, "reset");
            }
        }
    }

    /// A connection has ended, from whichever side.
    fn ended(&mut self, id: usize, why: &str) {
        let now = Instant::now();
        let peer = &mut self.all[id];
        peer.stream = None;
        peer.out.clear();
        peer.deaf_until = None;
        let keep = |peer: &mut Peer, kill: Kill, is_certain| {
            let restart = peer
                .player
                .can
                .restart
                .filter(|_| kill.keeps(peer.player.can.restart));
            peer.kept = restart.map(|restart| Kept {
                until: now + Duration::from_secs(u64::from(restart.time_s)),
                is_certain,
            });
        };
        let last = peer.tap.notification;
        let pause = peer.longest_pause.max(now - peer.said_at);
        let (link, wrong) = match peer.link {
            Link::Down(_) => (peer.link, None),
            Link::Connecting | Link::Opening => (Link::Down(Some(now + RETRY)), None),
            Link::Dying(kill, away) => {
                keep(peer, kill, kill.is_orderly());
                let expected = kill != Kill::Silence || last == Some((4, 0));
                let wrong =
                    (!expected).then(|| format!("silence was answered with {last:?}: {why}"));
                (Link::Down(Some(now + away)), wrong)
            }
            Link::Up if peer.absent => {
                peer.kept = None;
                (Link::Down(Some(now)), None)
            }
            Link::Up if last == Some((4, 0)) && pause > peer.player.hold() / 2 => {
                keep(peer, Kill::Silence, false);
                self.totals.starved += 1;
                (Link::Down(Some(now)), None)
            }
            Link::Up => {
                let text = format!("the speaker ended the session: {why}, NOTIFICATION {last:?}");
                (Link::Down(None), Some(text))
            }
        };
        peer.link = link;
        if let Some(wrong) = wrong {
            self.fail(id, &wrong);
        }
    }

    fn say(&mut self, id: usize, octets: &[u8]) {
        let (now, peer) = (Instant::now(), &mut self.all[id]);
        peer.longest_pause = peer.longest_pause.max(now - peer.said_at);
        peer.said_at = now;
        peer.out.extend_from_slice(octets);
        self.write(id);
    }

    fn write(&mut self, id: usize) {
        let peer = &mut self.all[id];
        let Some(stream) = &mut peer.stream else {
            return;
        };
        let mut at = 0;
        while at < peer.out.len() {
            match stream.write(&peer.out[at..]) {
                Ok(count) => at += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What the speaker said last is still to be read.
                Err(_) => break,
            }
        }
        peer.out.drain(..at);
    }

    fn read(&mut self, id: usize) {
        for _ in 0..READS {
            let peer = &mut self.all[id];
            let (Some(stream), None) = (&mut peer.stream, peer.deaf_until) else {
                return;
            };
            match stream.read(&mut self.scratch) {
                Ok(0) => return self.ended(id, "closed"),
                Ok(count) => {
                    if let Err(error) = peer.tap.read(&self.scratch[..count]) {
                        return self.fail(id, &format!("heard what cannot be read: {}", error.0));
                    }
                    if peer.link == Link::Opening && peer.tap.is_established() {
                        self.established(id);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.ended(id, &error.to_string()),
            }
        }
        self.unread.push(id);
    }
}
