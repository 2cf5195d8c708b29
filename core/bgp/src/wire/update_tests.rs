use super::*;
use crate::wire::nlri::Key;
use proptest::prelude::*;

const IBGP: Context = Context {
    as4: true,
    ebgp: false,
    ids: nlri::Ids {
        ipv4: false,
        ipv6: false,
    },
    extended_next_hop: false,
};
const EBGP: Context = Context {
    as4: true,
    ebgp: true,
    ids: nlri::Ids {
        ipv4: false,
        ipv6: false,
    },
    extended_next_hop: false,
};

fn message(withdrawn: &[u8], block: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut out = (withdrawn.len() as u16).to_be_bytes().to_vec();
    out.extend_from_slice(withdrawn);
    out.extend_from_slice(&(block.len() as u16).to_be_bytes());
    out.extend_from_slice(block);
    out.extend_from_slice(nlri);
    out
}

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9];
const HOP: &[u8] = &[0x40, 3, 4, 10, 0, 0, 1];
const NET: &[u8] = &[24, 10, 1, 2];

/// What becomes of a good UPDATE with one attribute added or put in place of its like.
#[track_caller]
fn verdict(context: Context, attribute: &[u8]) -> String {
    let mut block = Vec::new();
    for good in [ORIGIN, PATH, HOP] {
        if attribute.get(1) != Some(&good[1]) {
            block.extend_from_slice(good);
        }
    }
    block.extend_from_slice(attribute);
    let body = message(&[], &block, NET);
    let mut canonical = Vec::new();
    match decode(&body, context, &mut canonical) {
        Err(n) => format!("reset {}/{}", n.code, n.subcode),
        Ok(u) => match (u.treat_as_withdraw, u.discarded) {
            (Some(what), _) => format!("withdraw {what}"),
            (None, 0) => "ok".to_owned(),
            (None, n) => format!("discard {n}"),
        },
    }
}

#[test]
fn rfc7606_verdicts() {
    #[track_caller]
    fn check(context: Context, attribute: &[u8], expected: &str) {
        assert_eq!(verdict(context, attribute), expected, "{attribute:?}");
    }
    // §7.1 to §7.4
    check(EBGP, &[0x40, 1, 1, 3], "withdraw origin");
    check(EBGP, &[0x40, 1, 2, 0, 0], "withdraw origin");
    check(EBGP, &[0xc0, 1, 1, 0], "withdraw attribute-flags");
    check(
        EBGP,
        &[0x40, 2, 6, 2, 2, 0, 0, 0xfd, 0xe9],
        "withdraw as-path",
    );
    check(
        EBGP,
        &[0x40, 2, 6, 5, 1, 0, 0, 0xfd, 0xe9],
        "withdraw as-path",
    );
    check(EBGP, &[0x40, 2, 2, 2, 0], "withdraw as-path");
    check(
        EBGP,
        &[0x40, 2, 7, 2, 1, 0, 0, 0xfd, 0xe9, 2],
        "withdraw as-path",
    );
    check(EBGP, &[0x40, 3, 3, 10, 0, 0], "withdraw next-hop");
    check(EBGP, &[0x80, 4, 3, 0, 0, 1], "withdraw multi-exit-disc");
    // §7.5 to §7.7
    check(EBGP, &[0x40, 5, 4, 0, 0, 0, 100], "discard 1");
    check(IBGP, &[0x40, 5, 4, 0, 0, 0, 100], "ok");
    check(IBGP, &[0x40, 5, 3, 0, 0, 100], "withdraw local-pref");
    check(EBGP, &[0x40, 6, 0], "ok");
    check(EBGP, &[0x40, 6, 1, 0], "discard 1");
    check(EBGP, &[0xc0, 7, 6, 0xfd, 0xe9, 10, 0, 0, 1], "discard 1");
    check(EBGP, &[0xc0, 7, 8, 0, 0, 0xfd, 0xe9, 10, 0, 0, 1], "ok");
    // §7.8 to §7.10
    check(EBGP, &[0xc0, 8, 3, 0, 0, 1], "withdraw communities");
    check(EBGP, &[0xc0, 8, 0], "withdraw communities");
    check(EBGP, &[0x80, 9, 4, 10, 0, 0, 9], "discard 1");
    check(IBGP, &[0x80, 9, 3, 10, 0, 0], "withdraw originator-id");
    check(EBGP, &[0x80, 10, 4, 10, 0, 0, 9], "discard 1");
    check(
        IBGP,
        &[0x80, 10, 5, 10, 0, 0, 9, 9],
        "withdraw cluster-list",
    );
    check(IBGP, &[0x80, 10, 0], "withdraw cluster-list");
    // §7.11, §7.12: multiprotocol
    check(EBGP, &[0x80, 14, 3, 0, 2, 1], "reset 3/9");
    check(EBGP, &[0x80, 14, 9, 0, 2, 1, 3, 1, 2, 3, 0, 0], "reset 3/9");
    check(EBGP, &[0x40, 14, 5, 0, 2, 1, 0, 0], "reset 3/1");
    check(EBGP, &[0x80, 15, 2, 0, 2], "reset 3/9");
    check(EBGP, &[0x80, 15, 5, 0, 2, 1, 200, 1], "reset 3/9");
    check(EBGP, &[0x80, 15, 3, 0, 25, 70], "ok");
    // §7.14, and RFC 8092 §3
    check(
        EBGP,
        &[0xc0, 16, 7, 0, 0, 0, 0, 0, 0, 0],
        "withdraw extended-communities",
    );
    check(EBGP, &[0xc0, 32, 4, 0, 0, 0, 1], "withdraw large-community");
    // Unknown ones
    check(EBGP, &[0xc0, 99, 1, 7], "ok");
    check(EBGP, &[0x80, 99, 1, 7], "ok");
    check(EBGP, &[0x40, 99, 1, 7], "reset 3/2");
    // §4: an attribute that runs over the end of the block
    check(EBGP, &[0xc0, 99, 9, 7], "withdraw attribute-length");
    check(EBGP, &[0xc0], "withdraw attribute-length");
    // Nothing added: the control.
    check(EBGP, &[], "ok");
}

#[test]
fn framing_faults_reset() {
    #[track_caller]
    fn check(body: &[u8], subcode: u8) {
        let error = decode(body, EBGP, &mut Vec::new()).expect_err("must reset");
        assert_eq!((error.code, error.subcode), (3, subcode));
    }
    check(&[0, 9, 0, 0], 1);
    check(&[0, 0, 0, 9, 1], 1);
    check(&message(&[33, 1, 1, 1, 1, 1], &[], &[]), 10);
    check(&message(&[], &[], &[24, 1]), 10);
    let mut twice = Vec::new();
    for _ in 0..2 {
        twice.extend_from_slice(&[0x80, 15, 3, 0, 2, 1]);
    }
    check(&message(&[], &twice, &[]), 1);
}

#[test]
fn missing_and_repeated() {
    let mut canonical = Vec::new();
    for (block, expected) in [
        ([ORIGIN, HOP].concat(), Some("missing-well-known-attribute")),
        ([PATH, HOP].concat(), Some("missing-well-known-attribute")),
        ([ORIGIN, PATH].concat(), Some("no-next-hop")),
        ([ORIGIN, PATH, HOP].concat(), None),
    ] {
        let body = message(&[], &block, NET);
        let update = decode(&body, EBGP, &mut canonical).expect("no reset");
        assert_eq!(update.treat_as_withdraw, expected);
    }
    let block = [ORIGIN, PATH, HOP, &[0x40, 1, 1, 2]].concat();
    let body = message(&[], &block, NET);
    let update = decode(&body, EBGP, &mut canonical).expect("no reset");
    assert_eq!((update.treat_as_withdraw, update.discarded), (None, 1));
    assert_eq!(
        canonical,
        [ORIGIN, PATH].concat(),
        "the first ORIGIN counts"
    );
}

#[test]
fn canonical_form() {
    // Types out of order, needless extended length and partial bits; NEXT_HOP goes elsewhere.
    let block = [
        &[0xf0u8, 8, 0, 4, 0, 1, 0, 2][..],
        HOP,
        &[0x50, 2, 0, 6, 2, 1, 0, 0, 0xfd, 0xe9],
        ORIGIN,
        &[0xc0, 99, 1, 7],
    ]
    .concat();
    let mut canonical = Vec::new();
    let body = message(&[], &block, NET);
    let update = decode(&body, EBGP, &mut canonical).expect("valid");
    let expected = [ORIGIN, PATH, &[0xc0, 8, 4, 0, 1, 0, 2], &[0xe0, 99, 1, 7]].concat();
    assert_eq!(canonical, expected);
    let reach = update.reach[0].expect("prefixes");
    assert_eq!(reach.next_hop.address, IpAddr::from([10, 0, 0, 1]));
    assert_eq!(reach.nlri, NET);
}

#[test]
fn end_of_rib() {
    let mut canonical = Vec::new();
    let update = decode(&[0, 0, 0, 0], EBGP, &mut canonical).expect("valid");
    assert_eq!(update.end_of_rib, Some(Family::Ipv4));
    let body = message(&[], &[0x80, 15, 3, 0, 2, 1], &[]);
    let update = decode(&body, EBGP, &mut canonical).expect("valid");
    assert_eq!(update.end_of_rib, Some(Family::Ipv6));
    let body = message(&[], &[0x90, 15, 0, 3, 0, 2, 1], &[]);
    let update = decode(&body, EBGP, &mut canonical).expect("valid");
    assert_eq!(
        update.end_of_rib,
        Some(Family::Ipv6),
        "with an extended length"
    );
    let body = message(NET, &[0x80, 15, 3, 0, 2, 1], &[]);
    let update = decode(&body, EBGP, &mut canonical).expect("valid");
    assert_eq!(update.end_of_rib, None);
}

#[test]
fn ipv6_reach_with_link_local() {
    let mut value = vec![0, 2, 1, 32];
    let global: Ipv6Addr = "2001:db8::1".parse().expect("address");
    let link: Ipv6Addr = "fe80::1".parse().expect("address");
    value.extend_from_slice(&global.octets());
    value.extend_from_slice(&link.octets());
    value.extend_from_slice(&[0, 32, 0x20, 1, 0x0d, 0xb8]);
    let mut block = Vec::new();
    attribute::put(&mut block, 0x80, kind::MP_REACH, &value);
    block.extend_from_slice(ORIGIN);
    block.extend_from_slice(PATH);
    let mut canonical = Vec::new();
    let body = message(&[], &block, &[]);
    let update = decode(&body, EBGP, &mut canonical).expect("valid");
    assert_eq!(update.treat_as_withdraw, None);
    let reach = update.reach[1].expect("prefixes");
    assert_eq!(
        reach.next_hop,
        NextHop {
            address: global.into(),
            link_local: Some(link)
        }
    );
    assert_eq!(canonical, [ORIGIN, PATH].concat());
}

#[test]
fn two_octet_peers() {
    let old = Context {
        as4: false,
        ebgp: true,
        ids: nlri::Ids::default(),
        extended_next_hop: false,
    };
    // AS_PATH 65001 23456 23456, AS4_PATH 4200000000 4200000001.
    let mut block = ORIGIN.to_vec();
    block.extend_from_slice(&[0x40, 2, 8, 2, 3, 0xfd, 0xe9, 0x5b, 0xa0, 0x5b, 0xa0]);
    block.extend_from_slice(HOP);
    block.extend_from_slice(&[0xc0, 7, 6, 0x5b, 0xa0, 10, 0, 0, 1]);
    let mut as4 = vec![2, 2];
    as4.extend_from_slice(&4_200_000_000u32.to_be_bytes());
    as4.extend_from_slice(&4_200_000_001u32.to_be_bytes());
    attribute::put(&mut block, 0xc0, kind::AS4_PATH, &as4);
    let mut aggregator = 4_200_000_001u32.to_be_bytes().to_vec();
    aggregator.extend_from_slice(&[10, 0, 0, 1]);
    attribute::put(&mut block, 0xc0, kind::AS4_AGGREGATOR, &aggregator);
    let mut canonical = Vec::new();
    let body = message(&[], &block, NET);
    let update = decode(&body, old, &mut canonical).expect("valid");
    assert_eq!((update.treat_as_withdraw, update.discarded), (None, 0));
    let path = attribute::find(&canonical, kind::AS_PATH).expect("path");
    assert_eq!(attribute::path_text(path), "65001 4200000000 4200000001");
    assert_eq!(
        attribute::find(&canonical, kind::AGGREGATOR),
        Some(&aggregator[..])
    );
    assert_eq!(attribute::find(&canonical, kind::AS4_PATH), None);
}

/// A canonical block with any of the attributes that have no structure beyond a length.
fn any_block() -> impl Strategy<Value = Vec<u8>> {
    let list = |unit: usize| {
        prop::collection::vec(any::<u8>(), unit..unit * 90)
            .prop_map(move |v| v[..v.len() / unit * unit].to_vec())
    };
    let path = prop::collection::vec((1u8..=2, prop::collection::vec(any::<u32>(), 1..20)), 0..4);
    let unknown = prop::collection::vec(any::<u8>(), 0..300);
    (
        0u8..=2,
        path,
        prop::option::of(any::<u32>()),
        any::<u32>(),
        prop::option::of(list(4)),
        prop::option::of(list(8)),
        prop::option::of(list(12)),
        prop::option::of(unknown),
    )
        .prop_map(
            |(origin, path, med, local_pref, standard, extended, large, unknown)| {
                let mut block = Vec::new();
                attribute::put(&mut block, 0x40, kind::ORIGIN, &[origin]);
                let mut value = Vec::new();
                for (kind, numbers) in path {
                    value.extend_from_slice(&[kind, numbers.len() as u8]);
                    value.extend(numbers.iter().flat_map(|n| n.to_be_bytes()));
                }
                attribute::put(&mut block, 0x40, kind::AS_PATH, &value);
                if let Some(med) = med {
                    attribute::put(&mut block, 0x80, kind::MED, &med.to_be_bytes());
                }
                attribute::put(
                    &mut block,
                    0x40,
                    kind::LOCAL_PREF,
                    &local_pref.to_be_bytes(),
                );
                for (kind, value) in [
                    (kind::COMMUNITIES, standard),
                    (kind::EXTENDED_COMMUNITIES, extended),
                    (kind::LARGE_COMMUNITY, large),
                    (99, unknown),
                ] {
                    if let Some(value) = value {
                        let partial = if kind == 99 { 0x20 } else { 0 };
                        attribute::put(&mut block, 0xc0 | partial, kind, &value);
                    }
                }
                block
            },
        )
}

/// RFC 8950 §4: only where it was agreed on.
#[test]
fn ipv4_prefixes_with_an_ipv6_next_hop() {
    const GLOBAL: [u8; 16] = [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    const LOCAL: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    let extended = Context {
        extended_next_hop: true,
        ..EBGP
    };
    let body = |hop: &[u8]| {
        let mut value = vec![0, 1, 1, hop.len() as u8];
        value.extend_from_slice(hop);
        value.extend_from_slice(&[0, 24, 10, 1, 2]);
        let mut block = [ORIGIN, PATH].concat();
        attribute::put(&mut block, 0x80, kind::MP_REACH, &value);
        message(&[], &block, &[])
    };
    let hop = |octets: &[u8]| {
        let body = body(octets);
        let mut canonical = Vec::new();
        let update = decode(&body, extended, &mut canonical).expect("valid");
        let reach = update.reach[1].expect("prefixes");
        assert_eq!(
            (reach.family, reach.nlri),
            (Family::Ipv4, &[24, 10, 1, 2][..])
        );
        (reach.next_hop.address, reach.next_hop.link_local)
    };
    let (global, local) = (Ipv6Addr::from(GLOBAL), Ipv6Addr::from(LOCAL));
    let zero = [0; 16];
    assert_eq!(hop(&GLOBAL), (global.into(), None));
    assert_eq!(hop(&[GLOBAL, LOCAL].concat()), (global.into(), Some(local)));
    for octets in [
        LOCAL.to_vec(),
        [LOCAL, LOCAL].concat(),
        [zero, LOCAL].concat(),
    ] {
        assert_eq!(hop(&octets), (local.into(), Some(local)));
    }
    assert_eq!(hop(&[10, 0, 0, 2]), (IpAddr::from([10, 0, 0, 2]), None));
    // The control: without the capability the length is wrong, which ends the session.
    let error = decode(&body(&GLOBAL), EBGP, &mut Vec::new()).expect_err("not agreed on");
    assert_eq!((error.code, error.subcode), (3, 9));
}

proptest! {
    /// What is canonical stays as it is, in whatever order and dress it arrives.
    #[test]
    fn canonical_blocks_round_trip(block in any_block(), turn in 0usize..9, nets in prop::collection::vec((any::<u32>(), 0u8..=32), 1..20)) {
        let mut wire: Vec<Vec<u8>> = attribute::each(&block).map(|a| a.whole.to_vec()).collect();
        wire.push(HOP.to_vec());
        let middle = turn % wire.len();
        wire.rotate_left(middle);
        let mut field = Vec::new();
        let mut keys = Vec::new();
        for (addr, len) in nets {
            let key = V4::from_wire(len, &addr.to_be_bytes());
            key.encode(&mut field);
            keys.push(key);
        }
        let body = message(&[], &wire.concat(), &field);
        let mut canonical = Vec::new();
        let update = decode(&body, IBGP, &mut canonical).expect("valid");
        prop_assert_eq!(update.treat_as_withdraw, None);
        prop_assert_eq!(canonical, block);
        let mut back: Vec<V4> = Vec::new();
        nlri::decode(update.reach[0].expect("prefixes").nlri, &mut back);
        prop_assert_eq!(back, keys);
    }

    /// Any octets: a verdict, never a panic.
    #[test]
    fn any_octets(body in prop::collection::vec(any::<u8>(), 0..200), flags: [bool; 5]) {
        let [ebgp, as4, ipv4, ipv6, extended_next_hop] = flags;
        let mut canonical = Vec::new();
        let ids = nlri::Ids { ipv4, ipv6 };
        let context = Context { as4, ebgp, ids, extended_next_hop };
        let _ = decode(&body, context, &mut canonical);
        let block = message(&[], &body, &[]);
        let _ = decode(&block, context, &mut canonical);
    }
}
