//! Two machines against each other in virtual time, over a path that loses and delays.

use bfd::{Input, Machine, Output, Reason, SessionConfig, State};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn address(side: usize) -> IpAddr {
    [10, 9, 0, side as u8 + 1].into()
}

struct Pair {
    machines: [Machine; 2],
    wanted: [SessionConfig; 2],
    now: Duration,
    /// Under way: when it arrives, a number to keep them apart, to whom, what.
    path: BTreeMap<(Duration, u64), (usize, [u8; 24])>,
    sent: u64,
    changes: Vec<(Duration, usize, State, Option<Reason>)>,
    /// Of a thousand packets, those that are lost; and the greatest delay.
    loss: u64,
    delay: Duration,
    random: u64,
}

impl Pair {
    fn new(seed: u64, change: impl Fn(usize, &mut SessionConfig)) -> Pair {
        let wanted = [0, 1].map(|side| {
            let mut config = SessionConfig::new(address(1 - side));
            change(side, &mut config);
            config
        });
        let mut pair = Pair {
            machines: [Machine::new(seed), Machine::new(seed ^ 0xffff)],
            wanted,
            now: Duration::ZERO,
            path: BTreeMap::new(),
            sent: 0,
            changes: Vec::new(),
            loss: 0,
            delay: MS,
            random: seed,
        };
        for side in [0, 1] {
            pair.configure(side, true);
        }
        pair
    }

    fn configure(&mut self, side: usize, wanted: bool) {
        let all = [self.wanted[side].clone()];
        let all = if wanted { &all[..] } else { &[] };
        self.machines[side].handle(Input::Configure(all), self.now);
        self.drain(side);
    }

    fn draw(&mut self) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.random >> 33
    }

    fn drain(&mut self, side: usize) {
        while let Some(output) = self.machines[side].poll() {
            match output {
                Output::Send { packet, .. } => {
                    self.sent += 1;
                    let lost = self.draw() % 1000 < self.loss;
                    let delay =
                        Duration::from_micros(self.draw() % (self.delay.as_micros() as u64 + 1));
                    if !lost {
                        self.path
                            .insert((self.now + delay, self.sent), (1 - side, packet));
                    }
                }
                Output::Change(change) => {
                    self.changes
                        .push((self.now, side, change.to, change.reason));
                }
                Output::Gone { .. } => {}
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.path.first_key_value().map(|((at, _), _)| *at);
            let timers = self
                .machines
                .iter()
                .filter_map(Machine::next_deadline)
                .min();
            let Some(at) = arrival
                .into_iter()
                .chain(timers)
                .min()
                .filter(|at| *at <= end)
            else {
                break;
            };
            self.now = self.now.max(at);
            while let Some(entry) = self.path.first_entry().filter(|e| e.key().0 <= self.now) {
                let (side, bytes) = entry.remove();
                let input = Input::Received {
                    source: address(1 - side),
                    scope: 0,
                    multihop: self.wanted[side].multihop,
                    ttl: 255,
                    bytes: &bytes,
                    at: self.now,
                };
                self.machines[side].handle(input, self.now);
            }
            for side in [0, 1] {
                self.machines[side].handle(Input::Timer, self.now);
                self.drain(side);
            }
        }
        self.now = end;
    }

    fn states(&self) -> [Option<State>; 2] {
        [0, 1].map(|side| {
            self.machines[side]
                .sessions()
                .next()
                .map(|status| status.state)
        })
    }

    fn are_up(&self) -> bool {
        self.states() == [Some(State::Up); 2]
    }
}

#[test]
fn up_with_agreed_timers_then_cut() {
    for seed in 0..50 {
        let mut pair = Pair::new(seed, |side, config| {
            if side == 1 {
                config.desired_min_tx = 100 * MS;
                config.required_min_rx = 200 * MS;
                config.detect_mult = 5;
            }
        });
        pair.run(3000 * MS);
        assert!(pair.are_up(), "seed {seed}: {:?}", pair.changes);
        let [a, b] = [0, 1].map(|side| pair.machines[side].sessions().next().expect("one"));
        assert_eq!(
            (a.transmit_interval, b.receive_interval),
            (200 * MS, 200 * MS)
        );
        assert_eq!(
            (b.transmit_interval, a.receive_interval),
            (100 * MS, 100 * MS)
        );
        assert_eq!((a.detection_time, b.detection_time), (500 * MS, 600 * MS));
        pair.changes.clear();
        pair.run(5000 * MS);
        assert!(pair.changes.is_empty(), "quiet");
        let cut = pair.now;
        pair.loss = 1000;
        pair.path.clear();
        pair.run(2000 * MS);
        assert_eq!(pair.changes.len(), 2);
        for (at, side, state, reason) in &pair.changes {
            let limit = [500, 600][*side] * MS;
            assert_eq!(
                (*state, *reason),
                (State::Down, Some(Reason::DetectionTimeExpired))
            );
            assert!(
                *at - cut <= limit && *at - cut >= limit / 2,
                "{:?}",
                *at - cut
            );
        }
        pair.loss = 0;
        pair.run(3000 * MS);
        assert!(pair.are_up(), "again");
    }
}

#[test]
fn turned_off_and_on_again() {
    let mut pair = Pair::new(3, |_, _| {});
    pair.run(3000 * MS);
    assert!(pair.are_up());
    pair.changes.clear();
    pair.configure(1, false);
    pair.run(100 * MS);
    let told: Vec<_> = pair
        .changes
        .iter()
        .map(|(_, side, to, why)| (*side, *to, *why))
        .collect();
    assert_eq!(told, [(0, State::Down, Some(Reason::NeighbourAdminDown))]);
    assert!(!Reason::NeighbourAdminDown.is_failure());
    pair.configure(1, true);
    pair.run(3000 * MS);
    assert!(pair.are_up(), "before it had quite gone");
    pair.configure(1, false);
    pair.run(5000 * MS);
    assert_eq!(pair.states(), [Some(State::Down), None]);
    pair.configure(1, true);
    pair.run(5000 * MS);
    assert!(pair.are_up(), "as another session");
}

/// One side forgets everything: the other one notices, and both come up again.
#[test]
fn one_side_starts_anew() {
    let mut pair = Pair::new(4, |_, _| {});
    pair.run(3000 * MS);
    pair.changes.clear();
    pair.machines[1] = Machine::new(99);
    pair.configure(1, true);
    pair.run(5000 * MS);
    assert!(pair.are_up());
    let (_, side, state, _) = pair.changes[0];
    assert_eq!((side, state), (0, State::Down));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Comes up through loss and reordering whatever the timers are; once the path is clean it stays up.
    #[test]
    fn comes_up_and_stays(
        seed in any::<u64>(), loss in 0u64..500, delay in 0u64..40,
        timers in proptest::array::uniform4(10u64..400), mult in proptest::array::uniform2(3u8..8),
    ) {
        let mut pair = Pair::new(seed, |side, config| {
            config.desired_min_tx = Duration::from_millis(timers[2 * side]);
            config.required_min_rx = Duration::from_millis(timers[2 * side + 1]);
            config.detect_mult = mult[side];
        });
        (pair.loss, pair.delay) = (loss, delay as u32 * MS);
        pair.run(10_000 * MS);
        (pair.loss, pair.delay) = (0, MS);
        pair.run(10_000 * MS);
        prop_assert!(pair.are_up(), "{:?}", pair.changes);
        pair.changes.clear();
        pair.run(20_000 * MS);
        prop_assert!(pair.changes.is_empty(), "{:?}", pair.changes);
        // Both count the same silence.
        let [a, b] = [0, 1].map(|side| pair.machines[side].sessions().next().expect("one"));
        prop_assert_eq!(a.transmit_interval, b.receive_interval);
        prop_assert_eq!(b.transmit_interval, a.receive_interval);
    }
}

proptest! {
    /// Whatever is received whenever, the machine goes on, and its next deadline lies ahead.
    #[test]
    fn any_packets(steps in proptest::collection::vec(
        (0u64..2000, any::<[bool; 3]>(), 0u64..2000, proptest::collection::vec(any::<u8>(), 24..30)), 1..60,
    )) {
        let mut machine = Machine::new(1);
        let near = SessionConfig::new(address(1));
        let far = SessionConfig { multihop: true, ..near.clone() };
        let mut now = Duration::ZERO;
        machine.handle(Input::Configure(&[near, far]), now);
        let ids: Vec<u32> = machine.sessions().map(|s| s.local_discriminator).collect();
        for (wait, [known, multihop, valid], age, mut bytes) in steps {
            now += Duration::from_millis(wait);
            if known {
                bytes[8..12].copy_from_slice(&ids[usize::from(multihop)].to_be_bytes());
            }
            if valid {
                (bytes[0], bytes[1], bytes[3]) = (bytes[0] & 31 | 32, bytes[1] & !5, 24);
            }
            let at = now.saturating_sub(Duration::from_millis(age));
            let source = address(1);
            let input = Input::Received { source, scope: 0, multihop, ttl: 255, bytes: &bytes, at };
            machine.handle(input, now);
            machine.handle(Input::Timer, now);
            while machine.poll().is_some() {}
            prop_assert!(machine.next_deadline().is_none_or(|at| at > now));
        }
    }
}
