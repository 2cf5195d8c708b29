//! A scripted peer against the machine: each event in each state (RFC 4271 §8.2.2), and bad
//! messages of every kind (RFC 4271 §6, RFC 7606).
#![allow(missing_docs)]

use bgp::{
    Chunk, Config, ConnId, Input, Now, Output, PathStanding, PeerConfig, PeerState, Speaker,
};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const AS: u16 = 64512;
const CONN: ConnId = ConnId::Accepted(1);

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    out.extend_from_slice(&(19 + body.len() as u16).to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

fn open() -> Vec<u8> {
    let mut body = vec![4];
    body.extend_from_slice(&AS.to_be_bytes());
    body.extend_from_slice(&[0, 90, 10, 0, 0, 2]);
    // Multiprotocol IPv4, route refresh, four-octet AS 64512.
    let capabilities = [1, 4, 0, 1, 0, 1, 2, 0, 65, 4, 0, 0, 0xfc, 0];
    body.extend_from_slice(&[capabilities.len() as u8 + 2, 2, capabilities.len() as u8]);
    body.extend_from_slice(&capabilities);
    message(1, &body)
}

fn keepalive() -> Vec<u8> {
    message(4, &[])
}

fn update(attributes: &[&[u8]], nlri: &[u8]) -> Vec<u8> {
    let block = attributes.concat();
    let mut body = vec![0, 0];
    body.extend_from_slice(&(block.len() as u16).to_be_bytes());
    body.extend_from_slice(&block);
    body.extend_from_slice(nlri);
    message(2, &body)
}

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const PATH: &[u8] = &[0x40, 2, 0];
const HOP: &[u8] = &[0x40, 3, 4, 10, 0, 0, 2];
const PREF: &[u8] = &[0x40, 5, 4, 0, 0, 0, 100];
const NET: &[u8] = &[24, 10, 1, 2];

/// The machine under test, and what it said.
struct Script {
    speaker: Speaker,
    now: Now,
    sent: Vec<u8>,
    closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    OpenSent,
    OpenConfirm,
    Established,
}

impl Script {
    fn new() -> Self {
        let id = [10, 0, 0, 1].into();
        let mut config = Config::new(u32::from(AS).into(), id);
        let address = IpAddr::from([10, 0, 0, 2]);
        let mut peer = PeerConfig::new("peer", address, u32::from(AS).into());
        peer.passive = true;
        peer.graceful_restart = None;
        config.peers.push(peer);
        let now = Now {
            mono: Duration::from_secs(1),
            wall: Duration::ZERO,
        };
        let speaker = Speaker::new(config, 1, now);
        Script {
            speaker,
            now,
            sent: Vec::new(),
            closed: false,
        }
    }

    fn at(stage: Stage) -> Self {
        let mut script = Script::new();
        let remote = SocketAddr::from(([10, 0, 0, 2], 40000));
        let local = SocketAddr::from(([10, 0, 0, 1], 179));
        script.give(Input::Accepted {
            conn: CONN,
            remote,
            local,
        });
        if stage != Stage::OpenSent {
            script.receive(&open());
        }
        if stage == Stage::Established {
            script.receive(&keepalive());
        }
        assert!(!script.closed);
        script.sent.clear();
        script
    }

    fn give(&mut self, input: Input<'_>) {
        self.speaker.handle(input, self.now);
        while let Some(output) = self.speaker.poll(self.now) {
            match output {
                Output::Send(conn) => {
                    let mut chunks: Vec<Chunk> = Vec::new();
                    self.speaker.transmit(conn, 1 << 20, &mut chunks);
                    let before = self.sent.len();
                    self.sent.extend(chunks.iter().flat_map(|c| c.as_ref()));
                    let count = self.sent.len() - before;
                    self.speaker.transmitted(conn, count, self.now);
                }
                Output::Close { last, .. } => {
                    self.sent.extend(last.iter().flat_map(|c| c.as_ref()));
                    self.closed = true;
                }
                Output::Listen(_)
                | Output::Connect { .. }
                | Output::Configure { .. }
                | Output::Secure(_)
                | Output::Notice(_)
                | Output::Rekey { .. }
                | Output::Routes(_)
                | Output::Peer(_)
                | Output::FindNeighbors(_)
                | Output::WatchPaths(_)
                | Output::NextHops(_)
                | Output::InSync => {}
            }
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.give(Input::Received { conn: CONN, bytes });
    }

    fn wait(&mut self, seconds: u64) {
        let end = self.now.mono + Duration::from_secs(seconds);
        while let Some(at) = self.speaker.next_deadline().filter(|at| *at <= end) {
            self.now.mono = self.now.mono.max(at);
            self.give(Input::Timer);
        }
        self.now.mono = end;
    }

    fn state(&self) -> PeerState {
        self.speaker.peers()[0].state
    }

    /// What became of it, in words: `3/1 closed`, `closed`, or the state.
    fn outcome(&self) -> String {
        let mut rest = &self.sent[..];
        let mut said = String::new();
        while rest.len() >= 19 {
            let length = usize::from(u16::from_be_bytes([rest[16], rest[17]]));
            if rest[18] == 3 {
                said = format!("{}/{} ", rest[19], rest[20]);
            }
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "whole messages only");
        if self.closed {
            format!("{said}closed")
        } else {
            format!("{said}{:?}", self.state())
        }
    }
}

#[test]
fn every_message_in_every_state() {
    use Stage::{Established, OpenConfirm, OpenSent};
    let notification = message(3, &[6, 2]);
    let refresh = message(5, &[0, 1, 0, 1]);
    let good = update(&[ORIGIN, PATH, HOP, PREF], NET);
    let table: &[(&[u8], Stage, &str)] = &[
        (&open(), OpenSent, "OpenConfirm"),
        (&open(), OpenConfirm, "5/2 closed"),
        (&open(), Established, "5/3 closed"),
        (&keepalive(), OpenSent, "5/1 closed"),
        (&keepalive(), OpenConfirm, "Established"),
        (&keepalive(), Established, "Established"),
        (&good, OpenSent, "5/1 closed"),
        (&good, OpenConfirm, "5/2 closed"),
        (&good, Established, "Established"),
        (&refresh, OpenSent, "5/1 closed"),
        (&refresh, OpenConfirm, "5/2 closed"),
        (&refresh, Established, "Established"),
        (&notification, OpenSent, "closed"),
        (&notification, OpenConfirm, "closed"),
        (&notification, Established, "closed"),
        // Header errors are the same in all states.
        (&[0; 19], OpenSent, "1/1 closed"),
        (&[0; 19], Established, "1/1 closed"),
        (&message(9, &[]), OpenConfirm, "1/3 closed"),
        (&message(4, &[0]), Established, "1/2 closed"),
    ];
    for (bytes, stage, expected) in table {
        let mut script = Script::at(*stage);
        script.receive(bytes);
        assert_eq!(script.outcome(), *expected, "{stage:?}, {bytes:?}");
        // One octet at a time gives the same.
        let mut script = Script::at(*stage);
        for octet in *bytes {
            script.receive(&[*octet]);
        }
        assert_eq!(script.outcome(), *expected, "{stage:?}, octet by octet");
    }
}

#[test]
fn other_events_in_every_state() {
    for stage in [Stage::OpenSent, Stage::OpenConfirm, Stage::Established] {
        // The connection ends.
        let mut script = Script::at(stage);
        script.give(Input::Closed {
            conn: CONN,
            error: Some("Connection reset by peer"),
        });
        assert_eq!(script.state(), PeerState::Passive, "{stage:?}");
        assert_eq!(
            script.speaker.peers()[0].error,
            "Socket: Connection reset by peer"
        );
        // Silence: the OPEN is awaited longer than a hold time.
        let mut script = Script::at(stage);
        script.wait(if stage == Stage::OpenSent { 241 } else { 91 });
        assert_eq!(script.outcome(), "4/0 closed", "{stage:?}");
        // The operator resets.
        let mut script = Script::at(stage);
        script.give(Input::Reset {
            peer: "peer",
            text: "",
        });
        assert_eq!(script.outcome(), "6/4 closed", "{stage:?}");
        // The operator stops, loudly and quietly.
        let mut script = Script::at(stage);
        script.give(Input::Stop {
            cease: true,
            text: "",
        });
        assert_eq!(script.outcome(), "6/2 closed", "{stage:?}");
        let mut script = Script::at(stage);
        script.give(Input::Stop {
            cease: false,
            text: "",
        });
        assert_eq!(script.outcome(), "closed", "{stage:?}");
        // The peer is taken out of the configuration.
        let mut script = Script::at(stage);
        let mut config = script.speaker.config().clone();
        config.peers.clear();
        script.give(Input::Configure(Box::new(config)));
        assert_eq!(
            (script.outcome().as_str(), script.closed),
            ("6/3 closed", true)
        );
    }
}

#[test]
fn keepalives_hold_the_session_and_are_sent() {
    let mut script = Script::at(Stage::Established);
    for _ in 0..10 {
        script.wait(60);
        script.receive(&keepalive());
    }
    assert_eq!(script.state(), PeerState::Established);
    let sent = script.sent.len() / 19;
    // Every 22.5 to 30 s for 600 s.
    assert!((20..=27).contains(&sent), "{sent}");
}

#[test]
fn bad_opens() {
    let change = |at: usize, octet: u8| {
        let mut bytes = open();
        bytes[at] = octet;
        bytes
    };
    for (bytes, expected) in [
        (change(19, 3), "2/1 closed"),
        (change(20 + 24, 1), "2/2 closed"),
        (change(23, 1), "2/6 closed"),
        (change(24, 0), "2/3 closed"),
        (change(29, 7), "2/4 closed"),
        (change(28, 200), "2/0 closed"),
    ] {
        let mut script = Script::at(Stage::OpenSent);
        let mut bytes = bytes;
        if expected == "2/3 closed" {
            bytes[24..28].fill(0);
        }
        if expected == "2/6 closed" {
            bytes[22..24].copy_from_slice(&[0, 1]);
        }
        script.receive(&bytes);
        assert_eq!(script.outcome(), expected);
    }
}

/// The session stays up and the routes are as if withdrawn, or it is reset: RFC 7606.
#[test]
fn malformed_updates() {
    let reset: &[(Vec<u8>, &str)] = &[
        (message(2, &[0, 9, 0, 0]), "3/1 closed"),
        (update(&[&[0x40, 99, 0]], NET), "3/2 closed"),
        (
            update(&[ORIGIN, PATH, HOP, PREF], &[33, 1, 2, 3, 4, 5]),
            "3/10 closed",
        ),
        (update(&[&[0x80, 14, 2, 0, 1]], &[]), "3/9 closed"),
    ];
    for (bytes, expected) in reset {
        let mut script = Script::at(Stage::Established);
        script.receive(bytes);
        assert_eq!(script.outcome(), *expected);
    }
    let good = update(&[ORIGIN, PATH, HOP, PREF], NET);
    let prefix = "10.1.2.0/24".parse().expect("prefix");
    let withdrawn: &[Vec<u8>] = &[
        update(&[&[0x40, 1, 1, 9], PATH, HOP, PREF], NET),
        update(&[ORIGIN, &[0x40, 2, 2, 2, 0], HOP, PREF], NET),
        update(&[ORIGIN, PATH, &[0x40, 3, 3, 1, 2, 3], PREF], NET),
        update(&[ORIGIN, PATH, PREF], NET),
        update(&[ORIGIN, PATH, HOP, &[0x40, 5, 1, 0]], NET),
        update(&[ORIGIN, PATH, HOP, PREF, &[0xc0, 8, 3, 0, 0, 0]], NET),
        update(&[ORIGIN, PATH, HOP, PREF, &[0x80, 10, 2, 0, 0]], NET),
    ];
    for bytes in withdrawn {
        let mut script = Script::at(Stage::Established);
        script.receive(&good);
        let explained = script.speaker.explain(prefix);
        assert_eq!(
            explained.paths[0].standing,
            PathStanding::Best,
            "the control"
        );
        script.receive(bytes);
        assert_eq!(script.outcome(), "Established", "{bytes:?}");
        assert!(script.speaker.explain(prefix).paths.is_empty(), "{bytes:?}");
        assert_eq!(script.speaker.peers()[0].counters.treated_as_withdraw, 1);
    }
    // An attribute that is only discarded.
    let mut script = Script::at(Stage::Established);
    script.receive(&update(&[ORIGIN, PATH, HOP, PREF, &[0x40, 6, 1, 0]], NET));
    assert_eq!(script.speaker.explain(prefix).paths.len(), 1);
    assert_eq!(script.speaker.peers()[0].counters.attributes_discarded, 1);
}

/// RFC 7313 §5: a demarcation of another length, from who has the capability.
#[test]
fn route_refresh_of_wrong_length() {
    let long = message(5, &[0, 1, 1, 1, 0]);
    let mut script = Script::at(Stage::Established);
    script.receive(&long);
    assert_eq!(script.outcome(), "Established", "the control: without it");
    let mut script = Script::at(Stage::OpenSent);
    let mut able = open();
    able.extend_from_slice(&[70, 0]);
    for (at, more) in [(17, 2), (28, 2), (30, 2)] {
        able[at] += more;
    }
    script.receive(&able);
    script.receive(&keepalive());
    for subtype in [0, 9] {
        script.receive(&message(5, &[0, 1, subtype, 1, 0]));
        assert_eq!(script.state(), PeerState::Established, "{subtype}");
    }
    script.receive(&long);
    assert_eq!(script.outcome(), "7/1 closed");
    assert!(script.sent.ends_with(&long), "the message is in the data");
}

/// Any bytes, in any state: no panic, and what is said is whole messages.
#[test]
fn garbage_does_no_harm() {
    let mut state = 1u64;
    let mut draw = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u8
    };
    let good = [
        open(),
        keepalive(),
        update(&[ORIGIN, PATH, HOP, PREF], NET),
        message(5, &[0, 1, 0, 1]),
        message(3, &[6, 4]),
    ];
    for round in 0..3000usize {
        let stage = [Stage::OpenSent, Stage::OpenConfirm, Stage::Established][round % 3];
        let mut script = Script::at(stage);
        for _ in 0..4 {
            let mut bytes = good[usize::from(draw()) % good.len()].clone();
            for _ in 0..draw() % 4 {
                let at = 16 + usize::from(draw()) % (bytes.len() - 16);
                bytes[at] = draw();
            }
            if !script.closed {
                script.receive(&bytes);
            }
        }
        script.outcome();
    }
}

#[test]
fn strangers_are_turned_away() {
    let mut script = Script::new();
    let remote = SocketAddr::from(([10, 0, 0, 99], 40000));
    let local = SocketAddr::from(([10, 0, 0, 1], 179));
    script.give(Input::Accepted {
        conn: CONN,
        remote,
        local,
    });
    assert!(script.closed && script.sent.is_empty());
}
