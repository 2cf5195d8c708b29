//! A peer made of bytes, and a driver whose sockets can be full.
#![allow(dead_code, missing_docs)]

use bgp::{Chunk, Config, ConnId, Input, Now, Output, PeerConfig, PeerState, Speaker};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub const AS: u32 = 64512;
pub const CONN: ConnId = ConnId::Accepted(1);

pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    out.extend_from_slice(&(19 + body.len() as u16).to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

/// An OPEN of 10.0.0.2 with this hold time and these capabilities, each `[code, length, ...]`.
pub fn open(asn: u32, hold: u16, capabilities: &[&[u8]]) -> Vec<u8> {
    let mut body = vec![4];
    body.extend_from_slice(&(asn as u16).to_be_bytes());
    body.extend_from_slice(&hold.to_be_bytes());
    body.extend_from_slice(&[10, 0, 0, 2]);
    let mut all = vec![1, 4, 0, 1, 0, 1, 2, 0, 65, 4];
    all.extend_from_slice(&asn.to_be_bytes());
    all.extend_from_slice(&capabilities.concat());
    body.extend_from_slice(&[all.len() as u8 + 2, 2, all.len() as u8]);
    body.extend_from_slice(&all);
    message(1, &body)
}

pub fn keepalive() -> Vec<u8> {
    message(4, &[])
}

pub fn notification(code: u8, subcode: u8, data: &[u8]) -> Vec<u8> {
    message(3, &[&[code, subcode], data].concat())
}

/// An UPDATE with these attributes, each whole, and IPv4 prefixes.
pub fn update(attributes: &[&[u8]], nlri: &[u8]) -> Vec<u8> {
    let block = attributes.concat();
    let mut body = vec![0, 0];
    body.extend_from_slice(&(block.len() as u16).to_be_bytes());
    body.extend_from_slice(&block);
    body.extend_from_slice(nlri);
    message(2, &body)
}

pub const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
pub const HOP: &[u8] = &[0x40, 3, 4, 10, 0, 0, 2];
pub const PREF: &[u8] = &[0x40, 5, 4, 0, 0, 0, 100];
pub const EMPTY_PATH: &[u8] = &[0x40, 2, 0];
pub const NET: &[u8] = &[24, 10, 1, 2];

/// AS_PATH of one AS.
pub fn path(asn: u32) -> Vec<u8> {
    let mut out = vec![0x40, 2, 6, 2, 1];
    out.extend_from_slice(&asn.to_be_bytes());
    out
}

/// The machine under test, and what it said.
pub struct Script {
    pub speaker: Speaker,
    pub now: Now,
    pub sent: Vec<u8>,
    pub closed: bool,
    /// The socket takes nothing.
    pub full: bool,
    /// All outputs but what is sent.
    pub outputs: Vec<Output>,
}

/// A configuration with one peer, at 10.0.0.2, that connects to us.
pub fn config(asn: u32, change: impl FnOnce(&mut PeerConfig)) -> Config {
    let mut config = Config::new(AS.into(), [10, 0, 0, 1].into());
    let mut peer = PeerConfig::new("peer", IpAddr::from([10, 0, 0, 2]), asn.into());
    peer.passive = true;
    peer.graceful_restart = None;
    change(&mut peer);
    config.peers.push(peer);
    config
}

impl Script {
    pub fn new(config: Config) -> Self {
        let now = Now {
            mono: Duration::from_secs(1),
            wall: Duration::ZERO,
        };
        let mut script = Script {
            speaker: Speaker::new(config, 1, now),
            now,
            sent: Vec::new(),
            closed: false,
            full: false,
            outputs: Vec::new(),
        };
        script.poll();
        script
    }

    pub fn accept(&mut self) {
        self.accept_from(CONN, [10, 0, 0, 2]);
    }

    pub fn accept_from(&mut self, conn: ConnId, remote: [u8; 4]) {
        self.closed = false;
        self.give(Input::Accepted {
            conn,
            remote: SocketAddr::from((remote, 40000)),
            local: SocketAddr::from(([10, 0, 0, 1], 179)),
        });
    }

    /// With the session up, after this OPEN.
    pub fn up(config: Config, open: &[u8]) -> Self {
        let mut script = Script::new(config);
        script.accept();
        script.receive(open);
        script.receive(&keepalive());
        assert_eq!(script.state(), PeerState::Established, "{}", script.error());
        script.sent.clear();
        script
    }

    pub fn give(&mut self, input: Input<'_>) {
        self.speaker.handle(input, self.now);
        self.poll();
    }

    pub fn poll(&mut self) {
        while let Some(output) = self.speaker.poll(self.now) {
            match &output {
                Output::Send(_) if self.full => {}
                Output::Send(conn) => {
                    let mut chunks: Vec<Chunk> = Vec::new();
                    self.speaker.transmit(*conn, 1 << 20, &mut chunks);
                    let before = self.sent.len();
                    self.sent.extend(chunks.iter().flat_map(|c| c.as_ref()));
                    let count = self.sent.len() - before;
                    self.speaker.transmitted(*conn, count, self.now);
                }
                Output::Close { last, .. } => {
                    self.sent.extend(last.iter().flat_map(|c| c.as_ref()));
                    self.closed = true;
                }
                _ => {}
            }
            self.outputs.push(output);
        }
    }

    pub fn receive(&mut self, bytes: &[u8]) {
        self.receive_on(CONN, bytes);
    }

    pub fn receive_on(&mut self, conn: ConnId, bytes: &[u8]) {
        self.give(Input::Received { conn, bytes });
    }

    pub fn configure(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = self.speaker.config().clone();
        change(&mut config);
        self.give(Input::Configure(Box::new(config)));
    }

    pub fn wait(&mut self, seconds: u64) {
        let end = self.now.mono + Duration::from_secs(seconds);
        while let Some(at) = self.speaker.next_deadline().filter(|at| *at <= end) {
            self.now.mono = self.now.mono.max(at);
            self.give(Input::Timer);
        }
        self.now.mono = end;
    }

    /// Waits, with a keepalive of the peer's each second.
    pub fn wait_alive(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.wait(1);
            if !self.closed {
                self.receive(&keepalive());
            }
        }
    }

    pub fn state(&self) -> PeerState {
        self.speaker.peers()[0].state
    }

    pub fn error(&self) -> String {
        self.speaker.peers()[0].error.clone()
    }

    /// All whole messages that were sent: type and body.
    pub fn messages(&self) -> Vec<(u8, Vec<u8>)> {
        let mut rest = &self.sent[..];
        let mut out = Vec::new();
        while rest.len() >= 19 {
            let length = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            out.push((rest[18], rest[19..length].to_vec()));
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "whole messages only");
        out
    }

    /// The last NOTIFICATION: code, subcode, data.
    pub fn notified(&self) -> Option<(u8, u8, Vec<u8>)> {
        let mut messages = self.messages().into_iter();
        let last = messages.rfind(|(kind, _)| *kind == 3)?.1;
        Some((last[0], last[1], last[2..].to_vec()))
    }

    /// How the paths of a prefix stand: `best`, or why not.
    pub fn standings(&self, prefix: &str) -> Vec<String> {
        let explained = self.speaker.explain(prefix.parse().expect("a prefix"));
        let words = explained.paths.iter().map(|path| match path.standing {
            bgp::PathStanding::Best if path.stale => "best, stale".to_owned(),
            bgp::PathStanding::Best => "best".to_owned(),
            bgp::PathStanding::Lost(why) => why.to_owned(),
        });
        words.collect()
    }
}
