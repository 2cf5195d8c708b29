//! RFC 4271 §8.2.2 as one table: each of the 28 events of §8.1 in each of the six states.
//!
//! A cell says what is seen from outside: `dial` for a connection that is asked for, what is sent (`OPEN`, `KEEPALIVE`, code/subcode of a
//! NOTIFICATION), `closed` when the connection of that state is ended by us, `turned-away` when
//! that is another one, the state afterwards, and which timers then run, found out by letting
//! them expire in a silent world. `=`: state and timers are as if nothing had been given. `-`: it
//! cannot come there.
//!
//! Timers: `soon` (the first connect, 200 ms, or the next one after a session, 1 s), `retry`
//! (ConnectRetryTimer), `idle-hold` (IdleHoldTimer), `delay-open` (DelayOpenTimer), `keepalive`
//! (KeepaliveTimer) and `hold-N` (HoldTimer, N seconds from the event on; each state had lasted
//! five when the event came).
#![allow(missing_docs)]

mod script;

use bgp::{ConnId, Input, Output, PathState, PeerState};
use script::{
    AS, CONN, EMPTY_PATH, HOP, NET, ORIGIN, PREF, Script, config, keepalive, message, notification,
    open, update,
};
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Connect,
    Active,
    OpenSent,
    OpenConfirm,
    Established,
}

const STATES: [State; 6] = [
    State::Idle,
    State::Connect,
    State::Active,
    State::OpenSent,
    State::OpenConfirm,
    State::Established,
];

/// The events by their numbers in §8.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// The peer comes into the configuration, or is in it still.
    ManualStart = 1,
    ManualStop,
    /// Not given: DampPeerOscillations is always on, so that events 6 and 7 take its place.
    AutomaticStart,
    /// As event 1, of a peer with `passive`.
    ManualStartWithPassiveTcpEstablishment,
    /// Not given: as event 3.
    AutomaticStartWithPassiveTcpEstablishment,
    /// With us the same moment as event 13.
    AutomaticStartWithDampPeerOscillations,
    /// As event 6, of a peer with `passive`.
    AutomaticStartWithDampPeerOscillationsAndPassiveTcpEstablishment,
    /// BFD has lost the path. Too many prefixes are another, in `limits.rs`.
    AutomaticStop,
    ConnectRetryTimerExpires,
    HoldTimerExpires,
    KeepaliveTimerExpires,
    DelayOpenTimerExpires,
    IdleHoldTimerExpires,
    /// Not given: TrackTcpState is off, accept(2) has connections that are complete (event 17).
    TcpConnectionValid,
    /// A connection from an address that is no peer's.
    TcpCrInvalid,
    /// A connection that we asked for is there.
    TcpCrAcked,
    /// A connection of the peer's is there.
    TcpConnectionConfirmed,
    TcpConnectionFails,
    BgpOpen,
    BgpOpenWithDelayOpenTimerRunning,
    BgpHeaderErr,
    BgpOpenMsgErr,
    /// Another connection of the same two speakers stays (§6.8).
    OpenCollisionDump,
    NotifMsgVerErr,
    NotifMsg,
    KeepAliveMsg,
    UpdateMsg,
    UpdateMsgErr,
}

use Event::*;

/// An event that the machine is never given.
const NEVER: [&str; 6] = ["-"; 6];

/// One row an event, one cell a state, both by type. Where the RFC wants something else, the
/// reason is beneath the row, and in docs/rfc.md.
#[rustfmt::skip]
const TABLE: [(Event, [&str; 6]); 28] = [
    //              Idle, Connect, Active, OpenSent, OpenConfirm, Established
    (ManualStart, ["Active soon", "=", "=", "=", "=", "="]),
    // Connect comes after at most 200 ms, so that a thousand peers do not begin together.
    (ManualStop, ["Idle", "closed Idle", "Idle", "6/2 closed Idle", "6/2 closed Idle", "6/2 closed Idle"]),
    (AutomaticStart, NEVER),
    (ManualStartWithPassiveTcpEstablishment, ["Passive", "-", "=", "=", "=", "="]),
    // Passive is Active without ConnectRetryTimer. A passive peer is never in Connect.
    (AutomaticStartWithPassiveTcpEstablishment, NEVER),
    (AutomaticStartWithDampPeerOscillations, ["dial Connect retry", "=", "=", "=", "=", "="]),
    (AutomaticStartWithDampPeerOscillationsAndPassiveTcpEstablishment, ["Passive", "-", "=", "=", "=", "="]),
    (AutomaticStop, ["=", "closed Active soon", "=", "6/10 closed Active soon", "6/10 closed Active soon", "6/10 closed Active soon"]),
    // Not Idle: BFD says when it is over, nothing need be damped.
    (ConnectRetryTimerExpires, ["=", "dial closed =", "dial Connect retry", "=", "=", "="]),
    (HoldTimerExpires, ["=", "=", "=", "4/0 closed Idle idle-hold", "4/0 closed Idle idle-hold", "4/0 closed Idle idle-hold"]),
    (KeepaliveTimerExpires, ["=", "=", "=", "=", "KEEPALIVE OpenConfirm keepalive hold-62", "KEEPALIVE Established keepalive hold-62"]),
    (DelayOpenTimerExpires, ["=", "OPEN OpenSent hold-240", "OPEN OpenSent hold-240", "=", "=", "="]),
    (IdleHoldTimerExpires, ["dial Connect retry", "=", "=", "=", "=", "="]),
    (TcpConnectionValid, NEVER),
    (TcpCrInvalid, ["turned-away =", "turned-away =", "turned-away =", "turned-away =", "turned-away =", "turned-away ="]),
    (TcpCrAcked, ["=", "OPEN OpenSent hold-240", "=", "OPEN =", "OPEN =", "="]),
    (TcpConnectionConfirmed, ["turned-away =", "OPEN OpenSent hold-240", "OPEN OpenSent hold-240", "OPEN =", "OPEN =", "OPEN ="]),
    (TcpConnectionFails, ["=", "Active retry", "Active retry", "Active retry", "Active retry", "Active soon"]),
    // Not Idle: ConnectRetryTimer is the wait that the RFC leaves to whoever starts the peer again.
    (BgpOpen, ["=", "=", "=", "KEEPALIVE OpenConfirm keepalive hold-90", "5/2 closed Idle idle-hold", "5/3 closed Idle idle-hold"]),
    // On this connection, a second one; another connection's OPEN is OpenCollisionDump.
    (BgpOpenWithDelayOpenTimerRunning, ["=", "OPEN KEEPALIVE OpenConfirm keepalive hold-90", "OPEN KEEPALIVE OpenConfirm keepalive hold-90", "-", "-", "-"]),
    // With our OPEN out DelayOpenTimer does not run.
    (BgpHeaderErr, ["=", "closed Idle idle-hold", "closed Idle idle-hold", "1/1 closed Idle idle-hold", "1/1 closed Idle idle-hold", "1/1 closed Idle idle-hold"]),
    // Connect, Active: nothing is said before our OPEN (SendNOTIFICATIONwithoutOPEN is off).
    (BgpOpenMsgErr, ["=", "closed Idle idle-hold", "closed Idle idle-hold", "2/1 closed Idle idle-hold", "5/2 closed Idle idle-hold", "5/3 closed Idle idle-hold"]),
    // OpenConfirm: an OPEN is not expected there, whatever it says.
    (OpenCollisionDump, ["-", "-", "-", "6/7 closed OpenConfirm keepalive hold-90", "6/7 KEEPALIVE closed OpenConfirm keepalive hold-90", "6/7 turned-away ="]),
    // The peer's connection stays, as its identifier is the higher one, and its state is the peer's. An
    // established one stays always (CollisionDetectEstablishedState is off).
    (NotifMsgVerErr, ["=", "closed Idle idle-hold", "closed Idle idle-hold", "closed Idle idle-hold", "closed Idle idle-hold", "closed Idle idle-hold"]),
    (NotifMsg, ["=", "closed Idle idle-hold", "closed Idle idle-hold", "closed Idle idle-hold", "closed Idle idle-hold", "closed Idle idle-hold"]),
    // A NOTIFICATION is not answered (§6.4), in OpenSent neither; one about the version is damped as others.
    (KeepAliveMsg, ["=", "closed Idle idle-hold", "closed Idle idle-hold", "5/1 closed Idle idle-hold", "Established keepalive hold-90", "Established keepalive hold-90"]),
    (UpdateMsg, ["=", "closed Idle idle-hold", "closed Idle idle-hold", "5/1 closed Idle idle-hold", "5/2 closed Idle idle-hold", "Established keepalive hold-90"]),
    (UpdateMsgErr, ["=", "closed Idle idle-hold", "closed Idle idle-hold", "5/1 closed Idle idle-hold", "5/2 closed Idle idle-hold", "3/2 closed Idle idle-hold"]),
];

/// How a state is come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SetUp {
    /// By a connection that we opened.
    Dialled,
    /// By one of the peer's, which is passive for us.
    Passive,
    /// As Dialled, and our OPEN waits (DelayOpenTimer) once there is a connection.
    Delayed,
    /// By one of the peer's, while the one that we asked for is not there yet.
    Crossing,
    /// The peer is not in the configuration.
    Unknown,
}

fn set_up_of(state: State, event: Event) -> SetUp {
    let before_open = matches!(state, State::Connect | State::Active);
    let under_way = matches!(
        state,
        State::OpenSent | State::OpenConfirm | State::Established
    );
    match event {
        ManualStart | ManualStartWithPassiveTcpEstablishment if state == State::Idle => {
            SetUp::Unknown
        }
        ManualStartWithPassiveTcpEstablishment
        | AutomaticStartWithDampPeerOscillationsAndPassiveTcpEstablishment => SetUp::Passive,
        TcpCrAcked if under_way => SetUp::Crossing,
        TcpConnectionFails if state == State::Active => SetUp::Delayed,
        DelayOpenTimerExpires
        | BgpOpenWithDelayOpenTimerRunning
        | BgpHeaderErr
        | BgpOpenMsgErr
        | NotifMsgVerErr
        | NotifMsg
        | KeepAliveMsg
        | UpdateMsg
        | UpdateMsgErr
            if before_open =>
        {
            SetUp::Delayed
        }
        ManualStart
        | ManualStop
        | AutomaticStart
        | AutomaticStartWithPassiveTcpEstablishment
        | AutomaticStartWithDampPeerOscillations
        | AutomaticStop
        | ConnectRetryTimerExpires
        | HoldTimerExpires
        | KeepaliveTimerExpires
        | DelayOpenTimerExpires
        | IdleHoldTimerExpires
        | TcpConnectionValid
        | TcpCrInvalid
        | TcpCrAcked
        | TcpConnectionConfirmed
        | TcpConnectionFails
        | BgpOpen
        | BgpOpenWithDelayOpenTimerRunning
        | BgpHeaderErr
        | BgpOpenMsgErr
        | OpenCollisionDump
        | NotifMsgVerErr
        | NotifMsg
        | KeepAliveMsg
        | UpdateMsg
        | UpdateMsgErr => SetUp::Dialled,
    }
}

/// A machine in a state, and the connection that it has come there by.
struct Machine {
    script: Script,
    conn: ConnId,
}

impl Machine {
    fn new(state: State, set_up: SetUp) -> Self {
        let mut wanted = config(AS, |peer| {
            peer.passive = set_up == SetUp::Passive;
            peer.connect_retry = Duration::from_secs(40);
            peer.error_wait = (Duration::from_secs(10), Duration::from_secs(60));
            peer.delay_open = (set_up == SetUp::Delayed).then_some(Duration::from_secs(70));
        });
        wanted.selection_deferral = Duration::ZERO;
        if set_up == SetUp::Unknown {
            wanted.peers.clear();
        }
        let mut machine = Machine {
            script: Script::new(wanted),
            conn: CONN,
        };
        machine.go_to(state, set_up);
        if set_up != SetUp::Unknown {
            let shown = machine.script.state();
            let passive = (state, set_up) == (State::Active, SetUp::Passive);
            let expected = if passive {
                "Passive"
            } else {
                &format!("{state:?}")
            };
            assert_eq!(format!("{shown:?}"), expected, "the set-up");
        }
        machine.script.wait(5);
        machine.clear();
        machine
    }

    fn go_to(&mut self, state: State, set_up: SetUp) {
        match set_up {
            SetUp::Unknown => return,
            SetUp::Passive if state == State::Active => return,
            SetUp::Passive => self.script.accept(),
            SetUp::Dialled | SetUp::Delayed | SetUp::Crossing => {
                self.run_until(|m| m.dialled().is_some());
                let conn = self.dialled().expect("it was waited for");
                match (state, set_up) {
                    (State::Active, _) => {
                        let error = "Connection refused";
                        self.script.give(Input::ConnectFailed { conn, error });
                        if set_up == SetUp::Delayed {
                            self.script.accept();
                        }
                    }
                    (_, SetUp::Crossing) => self.script.accept(),
                    (State::Connect, SetUp::Delayed)
                    | (State::Idle | State::OpenSent | State::OpenConfirm, _)
                    | (State::Established, _) => {
                        self.conn = conn;
                        self.connected(conn);
                    }
                    (State::Connect, _) => self.conn = conn,
                }
            }
        }
        match state {
            State::Idle => self.receive(&[0; 19]),
            State::Connect | State::Active | State::OpenSent => {}
            State::OpenConfirm => self.receive(&open(AS, 90, &[])),
            State::Established => {
                self.receive(&open(AS, 90, &[]));
                self.receive(&keepalive());
            }
        }
    }

    fn clear(&mut self) {
        self.script.sent.clear();
        self.script.outputs.clear();
    }

    fn connected(&mut self, conn: ConnId) {
        let local = SocketAddr::from(([10, 0, 0, 1], 40000));
        self.script.give(Input::Connected { conn, local });
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.script.receive_on(self.conn, bytes);
    }

    /// The connection that was asked for last.
    fn dialled(&self) -> Option<ConnId> {
        let mut outputs = self.script.outputs.iter().rev();
        outputs.find_map(|output| match output {
            Output::Connect { conn, .. } => Some(*conn),
            _ => None,
        })
    }

    fn closed(&self) -> Vec<ConnId> {
        let outputs = self.script.outputs.iter();
        let closed = outputs.filter_map(|output| match output {
            Output::Close { conn, .. } => Some(*conn),
            _ => None,
        });
        closed.collect()
    }

    fn has_sent(&self, kind: u8) -> bool {
        self.script.messages().iter().any(|m| m.0 == kind)
    }

    /// Lets what is due happen, in a silent world.
    fn run_until(&mut self, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            let at = self.script.speaker.next_deadline();
            let at = at.expect("the timer that is waited for runs");
            self.script.now.mono = self.script.now.mono.max(at);
            self.script.give(Input::Timer);
        }
    }

    /// A timer's event: its expiry where it runs, else that time passes without one.
    fn expire(&mut self, runs: bool, holds: impl Fn(&Self) -> bool) {
        if runs {
            self.run_until(holds);
        } else {
            self.script.give(Input::Timer);
        }
    }

    fn take(&mut self, state: State, event: Event) {
        use State::{Active, Connect, Established, Idle, OpenConfirm, OpenSent};
        let idle = state == Idle;
        match event {
            ManualStart | ManualStartWithPassiveTcpEstablishment => {
                self.script.configure(|wanted| {
                    if wanted.peers.is_empty() {
                        wanted.peers = config(AS, |_| {}).peers;
                        wanted.peers[0].passive = event != ManualStart;
                    }
                });
            }
            ManualStop => {
                let (cease, text) = (true, "");
                self.script.give(Input::Stop { cease, text });
            }
            AutomaticStart | AutomaticStartWithPassiveTcpEstablishment | TcpConnectionValid => {
                unreachable!("never given")
            }
            AutomaticStartWithDampPeerOscillations
            | AutomaticStartWithDampPeerOscillationsAndPassiveTcpEstablishment
            | IdleHoldTimerExpires => self.expire(idle, |m| m.script.state() != PeerState::Idle),
            AutomaticStop => self.script.give(Input::Path {
                remote: [10, 0, 0, 2].into(),
                scope: 0,
                state: PathState::Lost { forwarding: true },
            }),
            ConnectRetryTimerExpires => {
                let runs = matches!(state, Connect | Active);
                self.expire(runs, |m| m.dialled().is_some());
            }
            HoldTimerExpires => {
                let runs = matches!(state, OpenSent | OpenConfirm | Established);
                self.expire(runs, |m| m.has_sent(3));
                // KEEPALIVEs before it are another event's.
                let only_last = self.script.sent.len().saturating_sub(21);
                self.script.sent.drain(..only_last);
            }
            KeepaliveTimerExpires => {
                let runs = matches!(state, OpenConfirm | Established);
                self.expire(runs, |m| m.has_sent(4));
            }
            DelayOpenTimerExpires => {
                let runs = matches!(state, Connect | Active);
                self.expire(runs, |m| m.has_sent(1));
            }
            TcpCrInvalid => self.script.accept_from(ConnId::Accepted(9), [10, 0, 0, 99]),
            TcpCrAcked => self.connected(ConnId::Dialled(1)),
            TcpConnectionConfirmed => self.script.accept_from(ConnId::Accepted(9), [10, 0, 0, 2]),
            TcpConnectionFails => {
                let (conn, error) = (self.conn, "Connection reset by peer");
                self.script.give(match state {
                    Connect => Input::ConnectFailed { conn, error },
                    Idle | Active | OpenSent | OpenConfirm | Established => Input::Closed {
                        conn,
                        error: Some(error),
                    },
                });
            }
            OpenCollisionDump => {
                let other = ConnId::Accepted(9);
                self.script.accept_from(other, [10, 0, 0, 2]);
                self.clear();
                if state == OpenSent {
                    self.script.receive_on(other, &open(AS, 90, &[]));
                    self.clear();
                    self.receive(&open(AS, 90, &[]));
                } else {
                    self.script.receive_on(other, &open(AS, 90, &[]));
                }
            }
            BgpOpen if matches!(state, Connect | Active) => {
                // Nothing can come before there is a connection.
                let bytes = open(AS, 90, &[]);
                self.script.receive_on(ConnId::Accepted(9), &bytes);
            }
            BgpOpen
            | BgpOpenWithDelayOpenTimerRunning
            | BgpHeaderErr
            | BgpOpenMsgErr
            | NotifMsgVerErr
            | NotifMsg
            | KeepAliveMsg
            | UpdateMsg
            | UpdateMsgErr => {
                self.receive(&octets(event));
            }
        }
    }

    /// None while the peer is not in the configuration.
    fn state(&self) -> Option<PeerState> {
        self.script.speaker.peers().first().map(|peer| peer.state)
    }

    /// What was said and done since it was cleared, in words.
    fn seen(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (kind, body) in self.script.messages() {
            words.push(match kind {
                1 => "OPEN".to_owned(),
                2 => "UPDATE".to_owned(),
                3 => format!("{}/{}", body[0], body[1]),
                4 => "KEEPALIVE".to_owned(),
                other => format!("type-{other}"),
            });
        }
        if self.dialled().is_some() {
            words.insert(0, "dial".to_owned());
        }
        for conn in self.closed() {
            let own = conn == self.conn;
            words.push(if own { "closed" } else { "turned-away" }.to_owned());
        }
        words
    }

    /// Which timers run, by what they do when nobody says a word.
    fn timers(mut self) -> Vec<String> {
        let began = self.script.now.mono;
        let from = self.state();
        let mut words = Vec::new();
        self.clear();
        while let Some(at) = self.script.speaker.next_deadline() {
            let passed = at.max(self.script.now.mono) - began;
            if passed > Duration::from_secs(300) {
                break;
            }
            self.script.now.mono = began + passed;
            self.script.give(Input::Timer);
            let hold = self.has_sent(3);
            if hold {
                words.push(format!("hold-{}", passed.as_secs()));
            } else if self.has_sent(4) {
                words.push("keepalive".to_owned());
            } else if self.has_sent(1) {
                words.push("delay-open".to_owned());
            } else if self.dialled().is_some() {
                let wait = if passed <= Duration::from_secs(1) {
                    "soon"
                } else if from == Some(PeerState::Idle) {
                    "idle-hold"
                } else {
                    "retry"
                };
                words.push(wait.to_owned());
            }
            if hold || self.has_sent(1) || self.dialled().is_some() {
                break;
            }
            self.clear();
        }
        words.dedup();
        words
    }
}

/// What a peer says that is this event.
fn octets(event: Event) -> Vec<u8> {
    let unknown_well_known: &[u8] = &[0x40, 99, 0];
    match event {
        BgpHeaderErr => vec![0; 19],
        BgpOpenMsgErr => message(1, &[3, 0xfc, 0, 0, 90, 10, 0, 0, 2, 0]),
        NotifMsgVerErr => notification(2, 1, &[0, 4]),
        NotifMsg => notification(6, 5, &[]),
        KeepAliveMsg => keepalive(),
        UpdateMsg => update(&[ORIGIN, EMPTY_PATH, HOP, PREF], NET),
        UpdateMsgErr => update(&[unknown_well_known], NET),
        BgpOpen | BgpOpenWithDelayOpenTimerRunning => open(AS, 90, &[]),
        ManualStart
        | ManualStop
        | AutomaticStart
        | ManualStartWithPassiveTcpEstablishment
        | AutomaticStartWithPassiveTcpEstablishment
        | AutomaticStartWithDampPeerOscillations
        | AutomaticStartWithDampPeerOscillationsAndPassiveTcpEstablishment
        | AutomaticStop
        | ConnectRetryTimerExpires
        | HoldTimerExpires
        | KeepaliveTimerExpires
        | DelayOpenTimerExpires
        | IdleHoldTimerExpires
        | TcpConnectionValid
        | TcpCrInvalid
        | TcpCrAcked
        | TcpConnectionConfirmed
        | TcpConnectionFails
        | OpenCollisionDump => {
            unreachable!("no message")
        }
    }
}

fn state_and_timers(machine: Machine) -> Vec<String> {
    let state = machine.state();
    let mut words = vec![state.map_or("unconfigured".to_owned(), |state| format!("{state:?}"))];
    words.extend(machine.timers());
    words
}

/// What an event does in a state, as a cell has it.
fn outcome(state: State, event: Event) -> String {
    let set_up = set_up_of(state, event);
    let before = state_and_timers(Machine::new(state, set_up));
    let mut machine = Machine::new(state, set_up);
    machine.take(state, event);
    let mut words = machine.seen();
    let after = state_and_timers(machine);
    if before == after {
        words.push("=".to_owned());
    } else {
        words.extend(after);
    }
    words.join(" ")
}

#[test]
fn every_event_has_its_row() {
    for (at, (event, _)) in TABLE.iter().enumerate() {
        assert_eq!(*event as usize, at + 1, "in the order of the RFC");
    }
    assert_eq!(TABLE.len() * STATES.len(), 168);
}

#[test]
fn every_event_in_every_state() {
    let mut wrong = Vec::new();
    for (event, cells) in TABLE {
        for (state, expected) in STATES.into_iter().zip(cells) {
            if expected == "-" {
                continue;
            }
            let got = outcome(state, event);
            if got != expected {
                wrong.push(format!("{event:?} in {state:?}: {got}, not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
