//! What is done with octets of chance: the bodies of the fuzz targets.
//!
//! The programs in `fuzz/` hand each of these to libFuzzer, which needs a nightly toolchain; the
//! tests here hand them the committed corpus in `fuzz/corpus`, and mutations of it, with the
//! usual one. Nothing may panic, and what a function says must hold for all octets does.
//!
//! ```
//! let (name, target) = fuzzed::TARGETS[0];
//! target(b"anything");
//! assert_eq!(name, "bgp_session");
//! ```

mod bgp_peer;

pub use bgp_peer::{bgp_attribute, bgp_notification, bgp_open, bgp_session, bgp_update};

/// Takes any octets.
pub type Target = fn(&[u8]);

/// All targets by the name of their folder in `fuzz/corpus`.
pub const TARGETS: [(&str, Target); 9] = [
    ("bgp_session", bgp_session),
    ("bgp_open", bgp_open),
    ("bgp_update", bgp_update),
    ("bgp_attribute", bgp_attribute),
    ("bgp_notification", bgp_notification),
    ("bfd_packet", bfd_packet),
    ("bfd_machine", bfd_machine),
    ("dns_query", dns_query),
    ("mrt_file", mrt_file),
];

/// Any octets as a BFD packet: what is understood is encoded to the same octets.
pub fn bfd_packet(bytes: &[u8]) {
    if let Ok(packet) = bfd::Packet::decode(bytes) {
        let again = bfd::Packet::decode(&packet.encode()).ok();
        assert_eq!(again, Some(packet), "round trip");
    }
    let source = [192, 0, 2, 2].into();
    let mut machine = bfd::Machine::new(1);
    let now = std::time::Duration::from_secs(1);
    machine.handle(
        bfd::Input::Configure(&[bfd::SessionConfig::new(source)]),
        now,
    );
    let received = bfd::Input::Received {
        source,
        scope: 0,
        multihop: false,
        ttl: 255,
        bytes,
        at: now,
    };
    machine.handle(received, now);
    machine.handle(bfd::Input::Timer, now);
    while machine.poll().is_some() {}
}

/// Packets of any content, at any time, for a machine with two sessions: it does not stop having
/// a next deadline.
pub fn bfd_machine(input: &[u8]) {
    use bfd::{Input, Machine, SessionConfig};
    use std::time::Duration;

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
}

/// Any octets as a DNS query: an answer or none.
pub fn dns_query(bytes: &[u8]) {
    let config = dns::ZoneConfig {
        domain: "cluster.local".into(),
        ..dns::ZoneConfig::default()
    };
    let Ok(zone) = dns::Zone::build(&config, &service::Table::default()) else {
        return;
    };
    let server = dns::Server::new(zone);
    let _ = server.answer(bytes, dns::Transport::Udp);
    let _ = server.answer(bytes, dns::Transport::Tcp);
}

/// Any octets as an MRT file: its records, and what a sender would say of them, which is whole
/// messages of at most 4096 octets. A torn end is no error, and counted.
pub fn mrt_file(bytes: &[u8]) {
    for remote_as in [64512, 65001] {
        let terms = monitor::replay::Terms {
            local_as: 64512,
            remote_as,
            own: (Some([192, 0, 2, 1].into()), None),
            replace_next_hop: remote_as == 65001,
        };
        let error = monitor::mrt::Records::new(bytes).find_map(Result::err);
        let torn = error.is_some_and(|error| error.truncated);
        let plan = monitor::replay::plan(bytes, &terms);
        assert_eq!(plan.is_ok(), error.is_none() || torn);
        let left_out = plan
            .iter()
            .any(|plan| plan.left_out.contains_key("torn-end"));
        assert_eq!(left_out, torn);
        for message in plan.iter().flat_map(|plan| &plan.messages) {
            let length = u16::from_be_bytes([message[16], message[17]]);
            assert_eq!(usize::from(length), message.len());
            assert!(length <= 4096, "{length}");
        }
    }
}
