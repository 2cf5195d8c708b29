//! One bad thing each, and what the RFCs say must come of it.
//!
//! Outcomes: `5/1` is a NOTIFICATION, `closed` an end without one, `withdrawn` a session that
//! stays up and a route that has gone (treat-as-withdraw), `accepted` a session that stays up and
//! the new announcement in force, `ignored` one in which the old announcement still holds.

use crate::message::{Attribute, attributes, encode, keepalive, message, nlri, open_body, update};
use crate::session::Session;
use crate::{OUR_AS, THEIR_AS};
use std::net::Ipv4Addr;

/// What the bad thing is.
#[derive(Clone, Copy)]
pub enum Act {
    /// Instead of the handshake.
    Before(fn(&mut Session)),
    /// Changes the attributes of an announcement.
    Attributes(fn(&mut Vec<Attribute>)),
    /// Octets made from the right attributes and NLRI.
    Octets(fn(&[u8], &[u8]) -> Vec<u8>),
}

pub struct Case {
    pub name: &'static str,
    pub section: &'static str,
    /// The session is of one AS.
    pub ibgp: bool,
    pub act: Act,
    /// What ours must do; the first is what the section says.
    pub expected: &'static [&'static str],
}

const W: &[&str] = &["withdrawn"];
const A: &[&str] = &["accepted"];
/// A route that cannot be used; whether it replaces the old one is the same to those behind us.
const UNUSABLE: &[&str] = &["withdrawn", "ignored"];

const fn case(
    name: &'static str,
    section: &'static str,
    ibgp: bool,
    act: Act,
    expected: &'static [&'static str],
) -> Case {
    Case {
        name,
        section,
        ibgp,
        act,
        expected,
    }
}

/// An announcement with one attribute put in the place of its like, or in the order of types.
fn put(list: &mut Vec<Attribute>, flags: u8, kind: u8, value: &[u8]) {
    list.retain(|a| a.1 != kind);
    let at = list.partition_point(|a| a.1 < kind);
    list.insert(at, (flags, kind, value.to_vec()));
}

fn drop_kind(list: &mut Vec<Attribute>, kind: u8) {
    list.retain(|a| a.1 != kind);
}

fn opening(session: &mut Session, change: impl Fn(&mut Vec<u8>)) {
    let mut body = open_body(THEIR_AS, session.local);
    change(&mut body);
    session.send(&message(1, &body));
}

const ASN: [u8; 4] = THEIR_AS.to_be_bytes();

pub const CASES: &[Case] = &[
    // The header (RFC 4271 §6.1).
    case(
        "wrong marker",
        "4271 §6.1",
        false,
        Act::Octets(|_, _| {
            let mut m = keepalive();
            m[3] = 0;
            m
        }),
        &["1/1"],
    ),
    case(
        "length 18",
        "4271 §6.1",
        false,
        Act::Octets(|_, _| {
            let mut m = keepalive();
            m[17] = 18;
            m
        }),
        &["1/2"],
    ),
    case(
        "length 4097",
        "4271 §6.1",
        false,
        Act::Octets(|_, _| {
            let mut m = message(2, &[0; 100]);
            m[16..18].copy_from_slice(&[0x10, 1]);
            m
        }),
        &["1/2"],
    ),
    case(
        "KEEPALIVE of 20 octets",
        "4271 §6.1",
        false,
        Act::Octets(|_, _| message(4, &[0])),
        &["1/2"],
    ),
    case(
        "UPDATE of 22 octets",
        "4271 §6.1",
        false,
        Act::Octets(|_, _| message(2, &[0; 3])),
        &["1/2"],
    ),
    case(
        "NOTIFICATION of 20 octets",
        "4271 §6.4",
        false,
        Act::Octets(|_, _| message(3, &[6])),
        &["1/2", "closed"],
    ),
    case(
        "message type 9",
        "4271 §6.1",
        false,
        Act::Octets(|_, _| message(9, &[])),
        &["1/3"],
    ),
    // OPEN (§6.2).
    case(
        "OPEN of version 3",
        "4271 §6.2",
        false,
        Act::Before(|s| opening(s, |b| b[0] = 3)),
        &["2/1"],
    ),
    case(
        "OPEN of another AS",
        "4271 §6.2",
        false,
        Act::Before(|s| s.send(&message(1, &open_body(65002, s.local)))),
        &["2/2"],
    ),
    case(
        "OPEN with identifier 0.0.0.0",
        "4271 §6.2",
        false,
        Act::Before(|s| opening(s, |b| b[5..9].fill(0))),
        &["2/3"],
    ),
    case(
        "OPEN with our identifier, same AS",
        "6286 §2.2",
        true,
        Act::Before(|s| {
            let target = s.stream.peer_addr().expect("connected");
            let std::net::IpAddr::V4(id) = target.ip() else {
                return;
            };
            s.send(&message(1, &open_body(OUR_AS, id)));
        }),
        &["2/3"],
    ),
    case(
        "OPEN with hold time 1",
        "4271 §6.2",
        false,
        Act::Before(|s| opening(s, |b| b[3..5].copy_from_slice(&[0, 1]))),
        &["2/6"],
    ),
    case(
        "OPEN with parameter type 9",
        "4271 §6.2",
        false,
        Act::Before(|s| opening(s, |b| b[10] = 9)),
        &["2/4"],
    ),
    case(
        "OPEN with parameters past the end",
        "4271 §6.2",
        false,
        Act::Before(|s| opening(s, |b| b[9] += 9)),
        &["2/0"],
    ),
    case(
        "OPEN with a capability past the end",
        "5492 §4",
        false,
        Act::Before(|s| opening(s, |b| b[13] = 200)),
        &["2/0"],
    ),
    case(
        "OPEN of 28 octets",
        "4271 §6.1",
        false,
        Act::Before(|s| s.send(&message(1, &[4; 9]))),
        &["1/2"],
    ),
    // The state machine (§6.6, RFC 6608).
    case(
        "KEEPALIVE instead of OPEN",
        "6608 §4",
        false,
        Act::Before(|s| s.send(&keepalive())),
        &["5/1"],
    ),
    case(
        "UPDATE instead of OPEN",
        "6608 §4",
        false,
        Act::Before(|s| s.send(&update(&[], &[], &[]))),
        &["5/1"],
    ),
    case(
        "UPDATE instead of KEEPALIVE",
        "6608 §4",
        false,
        Act::Before(|s| {
            opening(s, |_| {});
            s.send(&update(&[], &[], &[]));
        }),
        &["5/2"],
    ),
    case(
        "OPEN when established",
        "6608 §4",
        false,
        Act::Octets(|_, _| message(1, &open_body(THEIR_AS, Ipv4Addr::new(9, 9, 9, 9)))),
        &["5/3"],
    ),
    // UPDATE as a whole (RFC 4271 §6.3, RFC 7606 §3 to §5).
    case(
        "withdrawn length past the end",
        "4271 §6.3",
        false,
        Act::Octets(|_, _| message(2, &[0, 99, 0, 0])),
        &["3/1"],
    ),
    case(
        "attribute length past the end",
        "4271 §6.3",
        false,
        Act::Octets(|_, _| message(2, &[0, 0, 0, 99, 0])),
        &["3/1"],
    ),
    case(
        "NLRI of 33 bits",
        "7606 §5.3",
        false,
        Act::Octets(|b, _| update(&[], b, &[33, 10, 0, 0, 0, 0])),
        &["3/10"],
    ),
    case(
        "NLRI cut off",
        "7606 §5.3",
        false,
        Act::Octets(|b, _| update(&[], b, &[24, 10, 0])),
        &["3/10"],
    ),
    case(
        "withdrawn prefix of 33 bits",
        "7606 §5.3",
        false,
        Act::Octets(|_, _| update(&[33, 10, 0, 0, 0, 0], &[], &[])),
        &["3/10"],
    ),
    case(
        "an attribute past the end of the block",
        "7606 §4",
        false,
        Act::Octets(|b, n| {
            let mut b = b.to_vec();
            b.extend_from_slice(&[0x80, 4, 200, 0]);
            update(&[], &b, n)
        }),
        W,
    ),
    case(
        "one octet after the attributes",
        "7606 §4",
        false,
        Act::Octets(|b, n| update(&[], &[b, &[0x80]].concat(), n)),
        W,
    ),
    case(
        "ORIGIN twice",
        "7606 §3 g",
        false,
        Act::Octets(|b, n| update(&[], &[b, &[0x40, 1, 1, 2]].concat(), n)),
        A,
    ),
    case(
        "MP_REACH_NLRI twice",
        "7606 §3 g",
        false,
        Act::Octets(|b, n| {
            let mp = [&[0x80u8, 14, 22, 0, 2, 1, 16][..], &[0xfd; 16], &[0, 0]].concat();
            update(&[], &[b, &mp, &mp].concat(), n)
        }),
        &["3/1"],
    ),
    case(
        "unknown well-known attribute",
        "4271 §6.3",
        false,
        Act::Attributes(|l| put(l, 0x40, 99, &[1])),
        &["3/2"],
    ),
    case(
        "unknown optional attribute",
        "4271 §6.3",
        false,
        Act::Attributes(|l| put(l, 0xc0, 99, &[1])),
        A,
    ),
    case(
        "malformed ORIGIN, no NLRI",
        "7606 §5.2",
        false,
        Act::Octets(|_, _| update(&[], &[0x40, 1, 2, 0, 0], &[])),
        &["3/5", "3/1"],
    ),
    // Each attribute (RFC 7606 §7).
    case(
        "ORIGIN of 2 octets",
        "7606 §7.1",
        false,
        Act::Attributes(|l| put(l, 0x40, 1, &[0, 0])),
        W,
    ),
    case(
        "ORIGIN 3",
        "7606 §7.1",
        false,
        Act::Attributes(|l| put(l, 0x40, 1, &[3])),
        W,
    ),
    case(
        "ORIGIN missing",
        "7606 §3 d",
        false,
        Act::Attributes(|l| drop_kind(l, 1)),
        W,
    ),
    case(
        "ORIGIN with the optional flag",
        "7606 §3 c",
        false,
        Act::Attributes(|l| put(l, 0xc0, 1, &[0])),
        W,
    ),
    case(
        "AS_PATH with segment type 9",
        "7606 §7.2",
        false,
        Act::Attributes(|l| put(l, 0x40, 2, &[&[9, 1], &ASN[..]].concat())),
        W,
    ),
    case(
        "AS_PATH segment past the end",
        "7606 §7.2",
        false,
        Act::Attributes(|l| put(l, 0x40, 2, &[&[2, 2], &ASN[..]].concat())),
        W,
    ),
    case(
        "AS_PATH with an empty segment",
        "7606 §7.2",
        false,
        Act::Attributes(|l| put(l, 0x40, 2, &[&[2, 1], &ASN[..], &[2, 0]].concat())),
        W,
    ),
    case(
        "AS_PATH with one octet too many",
        "7606 §7.2",
        false,
        Act::Attributes(|l| put(l, 0x40, 2, &[&[2, 1], &ASN[..], &[2]].concat())),
        W,
    ),
    case(
        "AS_PATH missing",
        "7606 §3 d",
        false,
        Act::Attributes(|l| drop_kind(l, 2)),
        W,
    ),
    case(
        "AS_PATH with our AS",
        "4271 §9",
        false,
        Act::Attributes(|l| {
            put(
                l,
                0x40,
                2,
                &[&[2, 2], &ASN[..], &OUR_AS.to_be_bytes()].concat(),
            )
        }),
        UNUSABLE,
    ),
    case(
        "NEXT_HOP of 3 octets",
        "7606 §7.3",
        false,
        Act::Attributes(|l| put(l, 0x40, 3, &[10, 9, 1])),
        W,
    ),
    case(
        "NEXT_HOP missing",
        "7606 §3 d",
        false,
        Act::Attributes(|l| drop_kind(l, 3)),
        W,
    ),
    case(
        "NEXT_HOP 0.0.0.0",
        "4271 §6.3",
        false,
        Act::Attributes(|l| put(l, 0x40, 3, &[0; 4])),
        UNUSABLE,
    ),
    case(
        "NEXT_HOP 224.0.0.5",
        "4271 §6.3",
        false,
        Act::Attributes(|l| put(l, 0x40, 3, &[224, 0, 0, 5])),
        UNUSABLE,
    ),
    case(
        "MULTI_EXIT_DISC of 3 octets",
        "7606 §7.4",
        false,
        Act::Attributes(|l| put(l, 0x80, 4, &[0; 3])),
        W,
    ),
    case(
        "LOCAL_PREF of 3 octets, iBGP",
        "7606 §7.5",
        true,
        Act::Attributes(|l| put(l, 0x40, 5, &[0; 3])),
        W,
    ),
    case(
        "LOCAL_PREF of 3 octets, eBGP",
        "7606 §7.5",
        false,
        Act::Attributes(|l| put(l, 0x40, 5, &[0; 3])),
        A,
    ),
    case(
        "LOCAL_PREF missing, iBGP",
        "7606 §3 d",
        true,
        Act::Attributes(|l| drop_kind(l, 5)),
        &["accepted", "withdrawn"],
    ),
    case(
        "ATOMIC_AGGREGATE of 0 octets",
        "4271 §5.1.6",
        false,
        Act::Attributes(|l| put(l, 0x40, 6, &[])),
        A,
    ),
    case(
        "ATOMIC_AGGREGATE of 1 octet",
        "7606 §7.6",
        false,
        Act::Attributes(|l| put(l, 0x40, 6, &[0])),
        A,
    ),
    case(
        "AGGREGATOR of 7 octets",
        "7606 §7.7",
        false,
        Act::Attributes(|l| put(l, 0xc0, 7, &[0; 7])),
        A,
    ),
    case(
        "AGGREGATOR of 6 octets, AS of four",
        "7606 §7.7",
        false,
        Act::Attributes(|l| put(l, 0xc0, 7, &[0, 9, 1, 1, 1, 1])),
        A,
    ),
    case(
        "COMMUNITIES of 3 octets",
        "7606 §7.8",
        false,
        Act::Attributes(|l| put(l, 0xc0, 8, &[0; 3])),
        W,
    ),
    case(
        "COMMUNITIES of 0 octets",
        "7606 §7.8",
        false,
        Act::Attributes(|l| put(l, 0xc0, 8, &[])),
        W,
    ),
    case(
        "COMMUNITIES not transitive",
        "7606 §3 c",
        false,
        Act::Attributes(|l| {
            let at = l.iter().position(|a| a.1 == 8).expect("it is there");
            l[at].0 = 0x80;
        }),
        W,
    ),
    case(
        "ORIGINATOR_ID of 3 octets, iBGP",
        "7606 §7.9",
        true,
        Act::Attributes(|l| put(l, 0x80, 9, &[1; 3])),
        W,
    ),
    case(
        "ORIGINATOR_ID of 3 octets, eBGP",
        "7606 §7.9",
        false,
        Act::Attributes(|l| put(l, 0x80, 9, &[1; 3])),
        A,
    ),
    case(
        "CLUSTER_LIST of 3 octets, iBGP",
        "7606 §7.10",
        true,
        Act::Attributes(|l| put(l, 0x80, 10, &[1; 3])),
        W,
    ),
    case(
        "CLUSTER_LIST of 0 octets, iBGP",
        "7606 §7.10",
        true,
        Act::Attributes(|l| put(l, 0x80, 10, &[])),
        W,
    ),
    case(
        "CLUSTER_LIST of 3 octets, eBGP",
        "7606 §7.10",
        false,
        Act::Attributes(|l| put(l, 0x80, 10, &[1; 3])),
        A,
    ),
    case(
        "CLUSTER_LIST with our cluster",
        "4456 §8",
        true,
        Act::Attributes(|l| put(l, 0x80, 10, &[244, 0, 0, 1])),
        UNUSABLE,
    ),
    case(
        "MP_REACH_NLRI with a next hop of 5",
        "7606 §7.11",
        false,
        Act::Attributes(|l| put(l, 0x80, 14, &[0, 2, 1, 5, 1, 2, 3, 4, 5, 0])),
        &["3/9"],
    ),
    case(
        "MP_REACH_NLRI of 3 octets",
        "7606 §7.11",
        false,
        Act::Attributes(|l| put(l, 0x80, 14, &[0, 2, 1])),
        &["3/9", "3/5"],
    ),
    case(
        "MP_REACH_NLRI with 129 bits",
        "7606 §5.3",
        false,
        Act::Attributes(|l| {
            put(
                l,
                0x80,
                14,
                &[&[0, 2, 1, 16][..], &[0xfd; 16], &[0, 129], &[0; 17]].concat(),
            )
        }),
        &["3/9", "3/10"],
    ),
    case(
        "MP_UNREACH_NLRI of 2 octets",
        "7606 §7.12",
        false,
        Act::Attributes(|l| put(l, 0x80, 15, &[0, 2])),
        &["3/9", "3/5"],
    ),
    case(
        "MP_REACH_NLRI of an unknown family",
        "4760 §7",
        false,
        Act::Attributes(|l| put(l, 0x80, 14, &[0, 77, 1, 4, 1, 2, 3, 4, 0])),
        A,
    ),
    case(
        "extended communities of 7 octets",
        "7606 §7.14",
        false,
        Act::Attributes(|l| put(l, 0xc0, 16, &[0; 7])),
        W,
    ),
    case(
        "AS4_PATH where AS numbers have four",
        "6793 §6",
        false,
        Act::Attributes(|l| put(l, 0xc0, 17, &[2, 1, 0, 0, 0, 9])),
        A,
    ),
    case(
        "large communities of 11 octets",
        "8092 §6",
        false,
        Act::Attributes(|l| put(l, 0xc0, 32, &[0; 11])),
        W,
    ),
    case(
        "large communities of 0 octets",
        "8092 §6",
        false,
        Act::Attributes(|l| put(l, 0xc0, 32, &[])),
        W,
    ),
    // What is only unusual.
    case(
        "a right announcement",
        "-",
        false,
        Act::Attributes(|_| {}),
        A,
    ),
    case(
        "10,000 KEEPALIVEs",
        "4271 §4.4",
        false,
        Act::Octets(|b, n| {
            let mut m = keepalive().repeat(10_000);
            m.extend_from_slice(&update(&[], b, n));
            m
        }),
        A,
    ),
    case(
        "ROUTE-REFRESH of an unknown family",
        "2918 §4",
        false,
        Act::Octets(|b, n| {
            let mut m = message(5, &[0, 77, 0, 1]);
            m.extend_from_slice(&update(&[], b, n));
            m
        }),
        A,
    ),
    case(
        "ROUTE-REFRESH of 24 octets",
        "7313 §5",
        false,
        Act::Octets(|b, n| {
            let mut m = message(5, &[0, 1, 0, 1, 0]);
            m.extend_from_slice(&update(&[], b, n));
            m
        }),
        &["7/1", "accepted"],
    ),
    case(
        "a prefix withdrawn that never was",
        "4271 §4.3",
        false,
        Act::Octets(|b, n| {
            let mut m = update(&[24, 10, 77, 0], &[], &[]);
            m.extend_from_slice(&update(&[], b, n));
            m
        }),
        A,
    ),
    case(
        "one prefix withdrawn and announced",
        "4271 §4.3",
        false,
        Act::Octets(|b, n| update(n, b, n)),
        A,
    ),
];

/// The octets of a case after the handshake.
pub fn octets(case: &Case, local: Ipv4Addr, prefix: Ipv4Addr) -> Vec<u8> {
    let mut list = attributes(case.ibgp, local, 2);
    match case.act {
        Act::Attributes(change) => {
            change(&mut list);
            update(&[], &encode(&list), &nlri(prefix))
        }
        Act::Octets(make) => make(&encode(&list), &nlri(prefix)),
        Act::Before(_) => Vec::new(),
    }
}
