//! The null speaker: what one peer says goes to all others as it is, without a table. What the harness, the kernel and
//! the wire cost by themselves; nothing that keeps routes can be much faster.

use anyhow::Result;
use bgpwire::message::{self, HEADER, kind};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

const LISTENER: Token = Token(usize::MAX);

struct Conn {
    stream: TcpStream,
    /// What has come and is not a whole message yet.
    partial: Vec<u8>,
    queue: Vec<u8>,
    written: usize,
    up: bool,
    /// What it announced, for the withdrawal when it goes, and for those that join.
    said: Vec<u8>,
    ended: bool,
}

struct Relay {
    poll: Poll,
    conns: BTreeMap<usize, Conn>,
    next: usize,
    address: Ipv4Addr,
    asn: u32,
    scratch: Vec<u8>,
    /// Connections with something to be written at the end of the round: one write for all that came in it.
    behind: BTreeSet<usize>,
}

/// Runs until killed.
///
/// # Errors
/// When the address cannot be listened on.
pub fn run(address: Ipv4Addr, asn: u32) -> Result<()> {
    let poll = Poll::new()?;
    let mut listener = TcpListener::bind(SocketAddr::from((address, 179)))?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut relay = Relay {
        poll,
        conns: BTreeMap::new(),
        next: 0,
        address,
        asn,
        scratch: vec![0; 256 << 10],
        behind: BTreeSet::new(),
    };
    let mut events = Events::with_capacity(1024);
    loop {
        match relay.poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                relay.accept(&listener)?;
                continue;
            }
            let id = event.token().0;
            if event.is_writable() {
                relay.write(id);
            }
            if event.is_readable() {
                relay.read(id);
            }
        }
        relay.bury();
        for id in std::mem::take(&mut relay.behind) {
            relay.write(id);
        }
    }
}

impl Relay {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            let (id, both) = (self.next, Interest::READABLE | Interest::WRITABLE);
            self.next += 1;
            self.poll
                .registry()
                .register(&mut stream, Token(id), both)?;
            let mut queue = message::open(self.asn, 90, self.address);
            queue.extend(message::keepalive());
            let (partial, said) = (Vec::new(), Vec::new());
            let conn = Conn {
                stream,
                partial,
                queue,
                written: 0,
                up: false,
                said,
                ended: false,
            };
            self.conns.insert(id, conn);
            self.write(id);
        }
    }

    fn read(&mut self, id: usize) {
        loop {
            let Some(conn) = self.conns.get_mut(&id) else {
                return;
            };
            match conn.stream.read(&mut self.scratch) {
                Ok(0) => return conn.ended = true,
                Ok(count) => conn.partial.extend_from_slice(&self.scratch[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return conn.ended = true,
            }
            self.pass_on(id);
        }
    }

    /// Hands whole messages to the others: UPDATEs but for End-of-RIB.
    fn pass_on(&mut self, id: usize) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        let (mut at, mut updates) = (0, Vec::with_capacity(conn.partial.len()));
        let mut joined = false;
        while let Some(header) = conn.partial.get(at..at + HEADER) {
            let length = usize::from(u16::from_be_bytes([header[16], header[17]])).max(HEADER);
            let Some(whole) = conn.partial.get(at..at + length) else {
                break;
            };
            match header[18] {
                kind::UPDATE if length > HEADER + 4 => updates.extend_from_slice(whole),
                kind::KEEPALIVE if !conn.up => (conn.up, joined) = (true, true),
                kind::KEEPALIVE => conn.queue.extend(message::keepalive()),
                _ => {}
            }
            at += length;
        }
        conn.partial.drain(..at);
        conn.said.extend_from_slice(&updates);
        if joined {
            let others = self.conns.iter().filter(|(other, _)| **other != id);
            let all: Vec<u8> = others.flat_map(|(_, other)| &other.said).copied().collect();
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.queue.extend(all);
            }
        }
        self.write(id);
        self.tell_others(id, &updates);
    }

    fn tell_others(&mut self, id: usize, what: &[u8]) {
        if what.is_empty() {
            return;
        }
        let others: Vec<usize> = self
            .conns
            .keys()
            .copied()
            .filter(|other| *other != id)
            .collect();
        for other in others {
            if let Some(conn) = self.conns.get_mut(&other).filter(|conn| conn.up) {
                conn.queue.extend_from_slice(what);
                self.behind.insert(other);
            }
        }
    }

    fn write(&mut self, id: usize) {
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        while conn.written < conn.queue.len() {
            match conn.stream.write(&conn.queue[conn.written..]) {
                Ok(count) => conn.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return conn.ended = true,
            }
        }
        conn.queue.clear();
        conn.written = 0;
    }

    /// Tells the others that what an ended session announced is gone.
    fn bury(&mut self) {
        let ended: Vec<usize> = self
            .conns
            .iter()
            .filter(|(_, c)| c.ended)
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            let Some(conn) = self.conns.remove(&id) else {
                continue;
            };
            let (mut rest, mut prefixes) = (conn.said.as_slice(), Vec::new());
            while rest.len() >= HEADER {
                let (one, after) =
                    rest.split_at(usize::from(u16::from_be_bytes([rest[16], rest[17]])));
                if let Some(update) = message::read_update(&one[HEADER..]) {
                    message::each_prefix(update.nlri, |prefix| prefixes.push(prefix));
                }
                rest = after;
            }
            let mut withdrawal = Vec::new();
            message::withdraw(&mut withdrawal, &prefixes);
            self.tell_others(id, &withdrawal);
        }
    }
}
