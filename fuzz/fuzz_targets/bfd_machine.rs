//! Packets of any content, at any time, for a machine with two sessions: it neither panics nor stops having a next deadline.
#![no_main]

use bfd::{Input, Machine, SessionConfig};
use libfuzzer_sys::fuzz_target;
use std::time::Duration;

fuzz_target!(|input: &[u8]| {
    let mut machine = Machine::new(1);
    let near = SessionConfig::new([10, 9, 0, 2].into());
    let far = SessionConfig {
        multihop: true,
        ..near.clone()
    };
    let mut now = Duration::ZERO;
    machine.handle(Input::Configure(&[near, far]), now);
    let ids: Vec<u32> = machine.sessions().map(|s| s.local_discriminator).collect();
    for step in input.chunks(28) {
        let (head, body) = step.split_at(step.len().min(4));
        let head = [0, 1, 2, 3].map(|at| head.get(at).copied().unwrap_or_default());
        now += Duration::from_millis(u64::from(head[0]));
        let mut bytes = body.to_vec();
        // Half of them for a session that there is.
        if head[1] & 1 == 1 && bytes.len() >= 12 {
            bytes[8..12].copy_from_slice(&ids[usize::from(head[1] >> 7)].to_be_bytes());
        }
        let received = Input::Received {
            source: [10, 9, 0, 2].into(),
            scope: 0,
            multihop: head[1] & 2 != 0,
            ttl: 255 - (head[2] & 1),
            bytes: &bytes,
            at: now.saturating_sub(Duration::from_millis(u64::from(head[3]))),
        };
        machine.handle(received, now);
        machine.handle(Input::Timer, now);
        while machine.poll().is_some() {}
        assert!(machine.next_deadline().is_none_or(|at| at > now));
    }
});
