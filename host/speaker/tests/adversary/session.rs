//! One TCP connection with a target, driven by hand, and a second peer that watches what comes of
//! it.

use crate::message;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a target may take to be ready for a session.
const PATIENCE: Duration = Duration::from_secs(6);

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Type and body.
    Message(u8, Vec<u8>),
    Closed,
    /// Nothing for as long as was waited.
    Silence,
}

pub struct Session {
    pub stream: TcpStream,
    buffer: Vec<u8>,
    pub local: Ipv4Addr,
}

/// Connects from `local`; again until somebody listens.
pub fn connect(local: Ipv4Addr, target: SocketAddr, patience: Duration) -> Option<Session> {
    let end = Instant::now() + patience;
    loop {
        let socket =
            Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        socket.set_reuse_address(true).expect("it can be set");
        let from = SocketAddr::new(IpAddr::V4(local), 0);
        socket.bind(&from.into()).expect("the address is on lo");
        if socket.connect(&target.into()).is_ok() {
            let stream = TcpStream::from(socket);
            stream.set_nodelay(true).expect("it can be set");
            return Some(Session {
                stream,
                buffer: Vec::new(),
                local,
            });
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Session {
    pub fn accepted(stream: TcpStream, local: Ipv4Addr) -> Self {
        Session {
            stream,
            buffer: Vec::new(),
            local,
        }
    }

    /// Writes; the peer may have closed already, which reading will show.
    pub fn send(&mut self, octets: &[u8]) {
        let _ = self.stream.write_all(octets);
    }

    /// The next message.
    pub fn hear(&mut self, patience: Duration) -> Heard {
        let end = Instant::now() + patience;
        loop {
            if self.buffer.len() >= 19 {
                let length = usize::from(u16::from_be_bytes([self.buffer[16], self.buffer[17]]));
                if self.buffer.len() >= length {
                    let rest = self.buffer.split_off(length);
                    let whole = std::mem::replace(&mut self.buffer, rest);
                    return Heard::Message(whole[18], whole[19..].to_vec());
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Heard::Silence;
            }
            self.stream
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                .expect("it can be set");
            let mut octets = [0; 65536];
            match self.stream.read(&mut octets) {
                Ok(0) => return Heard::Closed,
                Ok(count) => self.buffer.extend_from_slice(&octets[..count]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return Heard::Closed,
            }
        }
    }

    /// The next NOTIFICATION or end, passing over all else; `None` when there is none in time.
    pub fn end(&mut self, patience: Duration) -> Option<String> {
        let end = Instant::now() + patience;
        loop {
            match self.hear(end.saturating_duration_since(Instant::now())) {
                Heard::Message(3, body) => {
                    let at = |i: usize| body.get(i).copied().unwrap_or(255);
                    return Some(format!("{}/{}", at(0), at(1)));
                }
                Heard::Message(..) => {}
                Heard::Closed => return Some("closed".into()),
                Heard::Silence => return None,
            }
        }
    }

    /// Waits for a message of a type; false when the session ended or was silent instead.
    pub fn await_kind(&mut self, wanted: u8, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        loop {
            match self.hear(end.saturating_duration_since(Instant::now())) {
                Heard::Message(kind, _) if kind == wanted => return true,
                Heard::Message(3, _) | Heard::Closed | Heard::Silence => return false,
                Heard::Message(..) => {}
            }
        }
    }

    /// Our part of the handshake, in whole messages.
    pub fn handshake(&mut self, asn: u32) -> bool {
        self.send(&message::open(asn, self.local));
        if !self.await_kind(1, Duration::from_secs(5)) {
            return false;
        }
        self.send(&message::keepalive());
        self.await_kind(4, Duration::from_secs(5))
    }
}

/// Connects and completes the handshake; again while the target is still making up its mind.
pub fn establish(local: Ipv4Addr, target: SocketAddr, asn: u32) -> Option<Session> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let mut session = connect(local, target, PATIENCE)?;
        if session.handshake(asn) {
            return Some(session);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    None
}

/// A peer that only listens: the /24s that the target has told it, with the lower halves of
/// their communities and the AS_PATH lengths.
pub struct Watcher {
    session: Session,
    pub routes: BTreeMap<Ipv4Addr, Vec<u16>>,
    /// Withdrawals seen, by prefix.
    pub withdrawn: BTreeMap<Ipv4Addr, u32>,
}

impl Watcher {
    pub fn new(session: Session) -> Self {
        Watcher {
            session,
            routes: BTreeMap::new(),
            withdrawn: BTreeMap::new(),
        }
    }

    pub fn send(&mut self, octets: &[u8]) {
        self.session.send(octets);
    }

    /// Reads until `holds`, or until there was patience enough.
    pub fn until(&mut self, patience: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + patience;
        while !holds(self) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            match self.session.hear(left) {
                Heard::Message(2, body) => self.update(&body),
                Heard::Message(4, _) => self.session.send(&message::keepalive()),
                Heard::Message(..) | Heard::Silence => {}
                Heard::Closed => return holds(self),
            }
        }
        true
    }

    fn update(&mut self, body: &[u8]) {
        let word = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
        let withdrawn = 2 + word(0);
        let block = withdrawn + 2 + word(withdrawn);
        for prefix in prefixes(&body[2..withdrawn]) {
            self.routes.remove(&prefix);
            *self.withdrawn.entry(prefix).or_default() += 1;
        }
        let mut communities = Vec::new();
        let mut at = withdrawn + 2;
        while at < block {
            let long = body[at] & 0x10 != 0;
            let (head, length) = if long {
                (4, word(at + 2))
            } else {
                (3, usize::from(body[at + 2]))
            };
            let value = &body[at + head..at + head + length];
            if body[at + 1] == 8 {
                let low = |c: &[u8]| u16::from_be_bytes([c[2], c[3]]);
                communities = value.chunks(4).map(low).collect();
            }
            at += head + length;
        }
        for prefix in prefixes(&body[block..]) {
            self.routes.insert(prefix, communities.clone());
        }
    }
}

fn prefixes(mut nlri: &[u8]) -> Vec<Ipv4Addr> {
    let mut out = Vec::new();
    while let [bits, rest @ ..] = nlri {
        let count = usize::from(*bits).div_ceil(8);
        let mut octets = [0; 4];
        octets[..count].copy_from_slice(&rest[..count]);
        out.push(Ipv4Addr::from(octets));
        nlri = &rest[count..];
    }
    out
}
