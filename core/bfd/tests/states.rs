//! Each state with each received state (RFC 5880 §6.8.6), by packets alone.

use bfd::{Diagnostic, Input, Machine, Output, Packet, SessionConfig, State};
use std::net::IpAddr;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

/// A machine with one session, and the neighbour's part played by hand.
struct Session {
    machine: Machine,
    now: Duration,
    sent: Vec<Packet>,
    changes: Vec<bfd::Change>,
}

fn neighbour() -> IpAddr {
    [10, 9, 0, 2].into()
}

impl Session {
    fn new(change: impl FnOnce(&mut SessionConfig)) -> Session {
        let mut config = SessionConfig::new(neighbour());
        change(&mut config);
        let mut session = Session {
            machine: Machine::new(1),
            now: Duration::ZERO,
            sent: Vec::new(),
            changes: Vec::new(),
        };
        session
            .machine
            .handle(Input::Configure(&[config]), session.now);
        session.collect();
        session
    }

    fn collect(&mut self) {
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Send { packet, .. } => {
                    self.sent.push(Packet::decode(&packet).expect("our own"));
                }
                Output::Change(change) => self.changes.push(change),
                Output::Gone { .. } => {}
            }
        }
    }

    fn discriminator(&self) -> u32 {
        self.machine
            .sessions()
            .next()
            .expect("one")
            .local_discriminator
    }

    fn state(&self) -> State {
        self.machine.sessions().next().expect("one").state
    }

    fn packet(&self, state: State) -> Packet {
        Packet {
            diagnostic: Diagnostic::None,
            state,
            poll: false,
            last: false,
            control_plane_independent: true,
            demand: false,
            detect_mult: 3,
            my_discriminator: 77,
            your_discriminator: self.discriminator(),
            desired_min_tx: 50 * MS,
            required_min_rx: 50 * MS,
            required_min_echo_rx: Duration::ZERO,
        }
    }

    fn hear(&mut self, packet: &Packet) {
        self.hear_from(packet, 255, false);
    }

    fn hear_from(&mut self, packet: &Packet, ttl: u8, multihop: bool) {
        let input = Input::Received {
            source: neighbour(),
            scope: 0,
            multihop,
            ttl,
            bytes: &packet.encode(),
            at: self.now,
        };
        self.machine.handle(input, self.now);
        self.collect();
    }

    /// Lets time pass, with nothing heard.
    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.machine.next_deadline().filter(|at| *at <= end) {
            self.now = at;
            self.machine.handle(Input::Timer, at);
            self.collect();
        }
        self.now = end;
    }

    fn reach(state: State) -> Session {
        let mut session = Session::new(|config| config.admin_down = state == State::AdminDown);
        let way: &[State] = match state {
            State::AdminDown | State::Down => &[],
            State::Init => &[State::Down],
            State::Up => &[State::Down, State::Init],
        };
        for heard in way {
            let packet = session.packet(*heard);
            session.hear(&packet);
        }
        assert_eq!(session.state(), state);
        session
    }
}

#[test]
fn every_state_and_every_received_state() {
    use State::{AdminDown, Down, Init, Up};
    for (state, heard, expected, reason) in [
        (AdminDown, AdminDown, AdminDown, None),
        (AdminDown, Down, AdminDown, None),
        (AdminDown, Init, AdminDown, None),
        (AdminDown, Up, AdminDown, None),
        (Down, AdminDown, Down, None),
        (Down, Down, Init, None),
        (Down, Init, Up, None),
        (Down, Up, Down, None),
        (Init, AdminDown, Down, Some("neighbour-admin-down")),
        (Init, Down, Init, None),
        (Init, Init, Up, None),
        (Init, Up, Up, None),
        (Up, AdminDown, Down, Some("neighbour-admin-down")),
        (Up, Down, Down, Some("neighbour-signalled-down")),
        (Up, Init, Up, None),
        (Up, Up, Up, None),
    ] {
        let mut session = Session::reach(state);
        let before = session.changes.len();
        let packet = session.packet(heard);
        session.hear(&packet);
        assert_eq!(session.state(), expected, "{state} hears {heard}");
        let told = session.changes.get(before);
        assert_eq!(told.is_some(), state != expected, "{state} hears {heard}");
        let told = told.and_then(|change| change.reason).map(bfd::Reason::name);
        assert_eq!(told, reason, "{state} hears {heard}");
        // A new state is said at once, not with the next periodic packet.
        let last = session.sent.last();
        let said = last.is_some_and(|packet| packet.state == expected);
        assert!(said || state == expected, "{state} hears {heard}");
    }
}

#[test]
fn silence_in_each_state() {
    for (state, expected) in [
        (State::AdminDown, State::AdminDown),
        (State::Down, State::Down),
        (State::Init, State::Down),
        (State::Up, State::Down),
    ] {
        let mut session = Session::reach(state);
        session.wait(149 * MS);
        assert_eq!(session.state(), state, "not before the detection time");
        session.wait(MS);
        assert_eq!(session.state(), expected);
        if state != expected {
            let change = session.changes.last().expect("told");
            assert_eq!(change.reason, Some(bfd::Reason::DetectionTimeExpired));
            assert!(change.control_plane_independent);
            let said = session.sent.last().expect("said");
            assert_eq!(said.diagnostic, Diagnostic::ControlDetectionTimeExpired);
            assert_eq!(said.your_discriminator, 0, "who is not heard is not known");
        }
    }
}

#[test]
fn a_path_that_the_neighbour_calls_down() {
    let mut session = Session::reach(State::Up);
    let mut packet = session.packet(State::Down);
    packet.diagnostic = Diagnostic::PathDown;
    session.hear(&packet);
    let reason = session.changes.last().and_then(|change| change.reason);
    assert_eq!(reason.map(bfd::Reason::name), Some("path-down"));
}

/// RFC 5880 §6.8.3: a second while not up, the wanted interval with a poll when up; the Final ends the poll.
#[test]
fn a_poll_when_it_comes_up() {
    let mut session = Session::reach(State::Init);
    assert!(
        session
            .sent
            .iter()
            .all(|p| p.desired_min_tx == 1000 * MS && !p.poll)
    );
    let packet = session.packet(State::Up);
    session.hear(&packet);
    let said = session.sent.last().expect("said");
    assert_eq!((said.desired_min_tx, said.poll), (50 * MS, true));
    session.wait(60 * MS);
    assert!(
        session.sent.last().expect("said").poll,
        "until it is answered"
    );
    let answer = Packet {
        last: true,
        ..packet
    };
    session.hear(&answer);
    session.wait(60 * MS);
    assert!(!session.sent.last().expect("said").poll);
}

/// The neighbour's poll is answered at once, in each state, without a poll of our own in it.
#[test]
fn a_poll_is_answered() {
    for state in State::ALL {
        let mut session = Session::reach(state);
        let mut packet = session.packet(State::AdminDown);
        packet.poll = true;
        let before = session.sent.len();
        session.hear(&packet);
        let answer = session.sent.get(before).expect("at once");
        assert!(answer.last && !answer.poll, "{state}");
    }
}

/// RFC 5880 §6.8.3: a longer transmit interval and a shorter receive interval wait for the Final.
#[test]
fn timers_that_change_while_up_wait_for_the_neighbour() {
    let mut session = Session::reach(State::Up);
    let up = session.packet(State::Up);
    let fin = Packet { last: true, ..up };
    session.hear(&fin);
    let mut config = SessionConfig::new(neighbour());
    config.desired_min_tx = 200 * MS;
    config.required_min_rx = 10 * MS;
    session
        .machine
        .handle(Input::Configure(&[config]), session.now);
    session.collect();
    let status = |session: &Session| session.machine.sessions().next().expect("one");
    assert_eq!(status(&session).transmit_interval, 50 * MS);
    let quick = Packet {
        desired_min_tx: 10 * MS,
        ..up
    };
    session.hear(&quick);
    assert_eq!(status(&session).detection_time, 150 * MS);
    session.wait(60 * MS);
    let said = session.sent.last().expect("said");
    assert_eq!(
        (said.desired_min_tx, said.required_min_rx, said.poll),
        (200 * MS, 10 * MS, true)
    );
    session.hear(&Packet {
        last: true,
        ..quick
    });
    assert_eq!(status(&session).transmit_interval, 200 * MS);
    assert_eq!(status(&session).detection_time, 30 * MS);
}

/// The interval with its jitter, by what the neighbour allows and the multiplier (RFC 5880 §6.8.7).
#[test]
fn jitter() {
    for (detect_mult, most) in [(3, 100), (1, 90)] {
        let mut session = Session::new(|config| config.detect_mult = detect_mult);
        for state in [State::Down, State::Init] {
            let mut packet = session.packet(state);
            packet.required_min_rx = 100 * MS;
            session.hear(&packet);
        }
        let mut last = session.now;
        let (mut least, mut greatest) = (Duration::MAX, Duration::ZERO);
        for _ in 0..500 {
            let count = session.sent.len();
            while session.sent.len() == count {
                session.wait(MS / 4);
                let mut packet = session.packet(State::Up);
                packet.required_min_rx = 100 * MS;
                session.hear(&packet);
            }
            let gap = session.now - last;
            last = session.now;
            // The first one went out with the state.
            if count > 3 {
                (least, greatest) = (least.min(gap), greatest.max(gap));
            }
        }
        assert!(least >= 75 * MS && least < 78 * MS, "{least:?}");
        let limit = most * MS;
        assert!(
            greatest <= limit + MS && greatest > limit - 3 * MS,
            "{greatest:?}"
        );
    }
}

/// A neighbour in Demand mode wants no periodic packets, but answers to its polls (RFC 5880 §6.6).
#[test]
fn demand_and_a_limit_of_zero() {
    for (demand, least) in [(true, 50 * MS), (false, Duration::ZERO)] {
        let mut session = Session::reach(State::Up);
        let mut packet = session.packet(State::Up);
        (packet.demand, packet.last, packet.required_min_rx) = (demand, true, least);
        packet.desired_min_tx = 1000 * MS;
        session.hear(&packet);
        let before = session.sent.len();
        session.wait(1000 * MS);
        assert_eq!(session.sent.len(), before, "silent");
        packet.poll = true;
        packet.last = false;
        session.hear(&packet);
        assert!(session.sent.last().expect("an answer").last);
    }
}

/// RFC 5881 §5 and RFC 5883: the TTL counts on single hops only, and each port has its sessions.
#[test]
fn whose_packet_it_is() {
    let discarded = |session: &Session| -> Vec<&str> {
        session
            .machine
            .discarded()
            .map(|(why, _)| why.name())
            .collect()
    };
    let mut session = Session::reach(State::Down);
    let mut first = session.packet(State::Down);
    first.your_discriminator = 0;
    session.hear_from(&first, 254, false);
    session.hear_from(&first, 255, true);
    let stranger = Packet {
        your_discriminator: 5,
        ..first
    };
    session.hear(&stranger);
    assert_eq!(session.state(), State::Down);
    assert_eq!(
        discarded(&session),
        ["your-discriminator-unknown", "no-session", "ttl-not-255"]
    );
    session.hear(&first);
    assert_eq!(session.state(), State::Init, "control");
    let mut far = Session::new(|config| config.multihop = true);
    far.hear_from(&first, 60, true);
    assert_eq!(far.state(), State::Init);
}

/// A session that is wanted no more says so for a while, also when a packet is lost, and goes.
#[test]
fn farewell() {
    let mut session = Session::reach(State::Up);
    let before = session.sent.len();
    session.machine.handle(Input::Configure(&[]), session.now);
    session.collect();
    assert_eq!(session.machine.sessions().count(), 0);
    session.wait(110 * MS);
    let said: Vec<State> = session.sent[before..].iter().map(|p| p.state).collect();
    assert_eq!(said, [State::AdminDown; 3]);
    session.wait(3000 * MS);
    assert!(session.machine.is_empty());
    assert_eq!(session.machine.next_deadline(), None);
}

/// The process did not run for a second, and packets came meanwhile: read first, then judge.
#[test]
fn a_late_wake_up_is_no_death() {
    for (arrived, expected) in [(950, State::Up), (700, State::Down)] {
        let mut session = Session::reach(State::Up);
        let packet = session.packet(State::Up);
        session.now = 1000 * MS;
        let input = Input::Received {
            source: neighbour(),
            scope: 0,
            multihop: false,
            ttl: 255,
            bytes: &packet.encode(),
            at: arrived * MS,
        };
        session.machine.handle(input, session.now);
        session.machine.handle(Input::Timer, session.now);
        assert_eq!(session.state(), expected, "arrived at {arrived} ms");
    }
}
