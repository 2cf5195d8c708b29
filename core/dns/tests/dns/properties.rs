//! Whatever comes, nothing panics and what goes out decodes.

use dns::{Outcome, Server, Transport};
use proptest::prelude::*;

use crate::cluster::zone;
use crate::decode;
use crate::zone::query;

/// Sends bytes over both transports; every answer must decode, be a response with the id, and fit.
fn check(server: &Server, bytes: &[u8]) -> Outcome {
    for (transport, limit) in [(Transport::Udp, 1232), (Transport::Tcp, 65_535)] {
        let reply = server.handle(bytes, transport);
        let Some(answer) = reply.bytes else {
            assert!(matches!(reply.outcome, Outcome::Dropped(_)));
            continue;
        };
        let message = decode::message(&answer)
            .unwrap_or_else(|e| panic!("{e}: {bytes:02x?} -> {answer:02x?}"));
        assert_eq!(message.id.to_be_bytes(), bytes[..2]);
        assert!(message.flags & 0x8000 != 0 && answer.len() <= limit);
    }
    server.handle(bytes, Transport::Udp).outcome
}

fn name() -> impl Strategy<Value = String> {
    let label = prop_oneof![
        "(?i)(datateam|local|svc|pod|default|nginx|db|db-0|_http|_tcp|_sql|near|10-200-0-7|in-addr|arpa|0|210|10|7|80)",
        "[a-z0-9_*-]{1,20}",
        "[a-z]{63}",
    ];
    let prefix = proptest::collection::vec(label, 1..6);
    let suffix = prop_oneof![
        Just(".svc.datateam.local"),
        Just(".default.svc.DATATEAM.local"),
        Just(".pod.datateam.local"),
        Just(".0.210.10.in-addr.arpa"),
        Just(".d.f.ip6.arpa"),
        Just(""),
    ];
    (prefix, suffix).prop_map(|(labels, suffix)| labels.join(".") + suffix)
}

fn qtype() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "A",
        "AAAA",
        "SRV",
        "PTR",
        "CNAME",
        "SOA",
        "NS",
        "TXT",
        "ANY",
        "MX",
        "AXFR",
        "TYPE41",
        "TYPE0",
        "TYPE65535",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_octets(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        check(&Server::new(zone()), &bytes);
    }

    #[test]
    fn names_of_every_kind(name in name(), qtype in qtype()) {
        let outcome = check(&Server::new(zone()), &query(&name, qtype));
        if name.len() <= 253 {
            prop_assert!(!matches!(outcome, Outcome::FormErr(_)), "{outcome:?}");
        }
    }

    #[test]
    fn good_queries_spoilt(
        name in name(),
        qtype in qtype(),
        spoilt in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        tail in proptest::collection::vec(any::<u8>(), 0..30),
    ) {
        let mut bytes = query(&name, qtype);
        bytes.extend(tail);
        for (index, value) in spoilt {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        check(&Server::new(zone()), &bytes);
    }
}
