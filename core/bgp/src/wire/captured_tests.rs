//! Messages captured from BIRD 2.0.12 (iBGP) and FRR 8.4.4 (eBGP), and what they say.

use super::attribute::{self, kind};
use super::nlri::{self, Key, V4, V6};
use super::open::Open;
use super::update::{self, Context};
use super::{Kind, MAX_MESSAGE, split};
use crate::Family;
use std::fmt::Write;

fn octets(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn prefixes(family: Family, field: &[u8]) -> String {
    fn list<K: Key>(field: &[u8]) -> Vec<String> {
        let mut keys: Vec<K> = Vec::new();
        nlri::decode(field, &mut keys);
        keys.into_iter()
            .map(|key| key.to_net().to_string())
            .collect()
    }
    match family {
        Family::Ipv4 => list::<V4>(field),
        Family::Ipv6 => list::<V6>(field),
    }
    .join(" ")
}

fn describe(message: &[u8], ebgp: bool) -> String {
    let cut = split(message, MAX_MESSAGE).expect("valid").expect("whole");
    assert_eq!(cut.length, message.len());
    let mut out = format!("{:?}", cut.kind);
    match cut.kind {
        Kind::Open => {
            let open = Open::decode(cut.body).expect("valid");
            let c = &open.capabilities;
            let _ = write!(
                out,
                " as {} hold {} id {}",
                open.asn, open.hold_time_s, open.id
            );
            let _ = write!(out, " families {:?} as4 {:?}", c.families, c.as4);
            let _ = write!(out, " refresh {} {}", c.route_refresh, c.enhanced_refresh);
            let _ = write!(out, " extended {}", c.extended_messages);
            let _ = write!(out, " restart {:?}", c.restart);
        }
        Kind::Update => {
            let mut block = Vec::new();
            let context = Context {
                as4: true,
                ebgp,
                ids: nlri::Ids::default(),
                extended_next_hop: false,
            };
            let update = update::decode(cut.body, context, &mut block).expect("valid");
            assert_eq!((update.treat_as_withdraw, update.discarded), (None, 0));
            if let Some(family) = update.end_of_rib {
                let _ = write!(out, " end-of-rib {family}");
            }
            for reach in update.reach.iter().flatten() {
                let _ = write!(
                    out,
                    " {} via {:?}",
                    prefixes(reach.family, reach.nlri),
                    reach.next_hop.address
                );
                let path = attribute::find(&block, kind::AS_PATH).unwrap_or_default();
                let _ = write!(out, " path [{}]", attribute::path_text(path));
                for a in attribute::each(&block).filter(|a| a.kind != kind::AS_PATH) {
                    let _ = write!(out, " {}={:02x?}", a.kind, a.value);
                }
            }
        }
        Kind::Notification | Kind::Keepalive | Kind::RouteRefresh => {}
    }
    out
}

#[track_caller]
fn check(hex: &str, expected: &str, ebgp: bool) {
    let mut got = String::new();
    for line in hex.lines() {
        got += &describe(&octets(line), ebgp);
        got.push('\n');
    }
    assert_eq!(got, expected, "\n{got}");
}

#[test]
fn bird() {
    let expected = include_str!("../../tests/captured/bird.txt");
    check(
        include_str!("../../tests/captured/bird.hex"),
        expected,
        false,
    );
}

#[test]
fn frr() {
    let expected = include_str!("../../tests/captured/frr.txt");
    check(include_str!("../../tests/captured/frr.hex"), expected, true);
}
