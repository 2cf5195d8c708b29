//! Messages captured from BIRD 2.0.12 (iBGP), FRR 8.4.4 (eBGP), OpenBGPD 7.7 (iBGP), GoBGP 3.10.0 and
//! ExaBGP 4.2.21 (eBGP), and what they say: in our words, and in those of the daemon's own tool.

use super::attribute::{self, kind};
use super::nlri::{self, Ids, Key, V4, V6};
use super::notification::Notification;
use super::open::Open;
use super::refresh;
use super::update::{self, Context, Reach};
use super::{Kind, MAX_MESSAGE, be16, be32, split};
use crate::Family;
use std::fmt::Write;
use std::net::IpAddr;

fn octets(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// The prefixes of a field with their identifiers, if they have some.
fn prefixes(family: Family, field: &[u8], ids: Ids) -> Vec<(String, Option<u32>)> {
    fn list<K: Key>(field: &[u8], with_ids: bool) -> Vec<(String, Option<u32>)> {
        let mut keys: Vec<K> = Vec::new();
        let mut ids = Vec::new();
        if with_ids {
            nlri::decode_with_ids(field, &mut keys, &mut ids);
        } else {
            nlri::decode(field, &mut keys);
        }
        let name = |(at, key): (usize, K)| (key.to_net().to_string(), ids.get(at).copied());
        keys.into_iter().enumerate().map(name).collect()
    }
    match family {
        Family::Ipv4 => list::<V4>(field, ids.ipv4),
        Family::Ipv6 => list::<V6>(field, ids.ipv6),
    }
}

/// As words: of many the first, the last and their number.
fn words(prefixes: &[(String, Option<u32>)]) -> String {
    let word = |(prefix, id): &(String, Option<u32>)| match id {
        Some(id) => format!("{prefix}#{id}"),
        None => prefix.clone(),
    };
    match prefixes {
        [first, .., last] if prefixes.len() > 8 => {
            format!("{}..{} ({})", word(first), word(last), prefixes.len())
        }
        few => few.iter().map(word).collect::<Vec<_>>().join(" "),
    }
}

/// What a session of the capture had agreed on.
fn context(ebgp: bool, add_path: bool) -> Context {
    Context {
        as4: true,
        ebgp,
        ids: Ids {
            ipv4: add_path,
            ipv6: false,
        },
        extended_next_hop: false,
    }
}

fn describe(message: &[u8], context: Context) -> String {
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
            for (family, mode) in &c.add_path {
                let _ = write!(out, " add-path {family} {mode:?}");
            }
        }
        Kind::Update => describe_update(cut.body, context, &mut out),
        Kind::Notification => {
            let why = Notification::decode(cut.body);
            let _ = write!(out, " {}/{} {}", why.code, why.subcode, why.text());
        }
        Kind::RouteRefresh => {
            let _ = write!(out, " {:?}", refresh::decode(cut.body).expect("known"));
        }
        Kind::Keepalive => {}
    }
    out
}

fn describe_update(body: &[u8], context: Context, out: &mut String) {
    let mut block = Vec::new();
    let update = update::decode(body, context, &mut block).expect("valid");
    assert_eq!((update.treat_as_withdraw, update.discarded), (None, 0));
    if let Some(family) = update.end_of_rib {
        let _ = write!(out, " end-of-rib {family}");
    }
    let gone = prefixes(Family::Ipv4, update.withdrawn, update.ids);
    let more = update.mp_withdrawn.map(|(f, g)| prefixes(f, g, update.ids));
    for gone in [gone, more.unwrap_or_default()] {
        if !gone.is_empty() {
            let _ = write!(out, " withdrawn {}", words(&gone));
        }
    }
    for reach in update.reach.iter().flatten() {
        let _ = write!(
            out,
            " {} via {:?}",
            words(&prefixes(reach.family, reach.nlri, update.ids)),
            reach.next_hop.address
        );
        let path = attribute::find(&block, kind::AS_PATH).unwrap_or_default();
        let _ = write!(out, " path [{}]", attribute::path_text(path));
        for a in attribute::each(&block).filter(|a| a.kind != kind::AS_PATH) {
            let _ = write!(out, " {}={:02x?}", a.kind, a.value);
        }
    }
}

#[track_caller]
fn check_with(hex: &str, expected: &str, context: Context) {
    let mut got = String::new();
    for line in hex.lines() {
        got += &describe(&octets(line), context);
        got.push('\n');
    }
    assert_eq!(got, expected, "\n{got}");
}

#[track_caller]
fn check(hex: &str, expected: &str, ebgp: bool) {
    check_with(hex, expected, context(ebgp, false));
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

/// What is known of a path, to be found in a daemon's own words.
enum Fact {
    Id(u32),
    NextHop(IpAddr),
    Path(Vec<u32>),
    Origin(u8),
    Med(u32),
    LocalPref(u32),
    Community(u16, u16),
    RouteTarget(u16, u32),
    Large(u32, u32, u32),
}

/// How a daemon's tool says things: what is between its paths, and its words.
struct Tool {
    between: &'static str,
    word: fn(&Fact) -> String,
}

fn joined(numbers: &[u32], between: &str) -> String {
    let words: Vec<String> = numbers.iter().map(u32::to_string).collect();
    words.join(between)
}

/// `bgpctl show rib out ... detail`.
const OPENBGPD: Tool = Tool {
    between: "\n\n",
    word: |fact| match fact {
        Fact::Id(id) => format!("Path-Id: {id}\n"),
        Fact::NextHop(address) => format!("Nexthop {address} "),
        Fact::Path(path) => joined(path, " "),
        Fact::Origin(0) => "Origin IGP".into(),
        Fact::Origin(_) => "Origin incomplete".into(),
        Fact::Med(med) => format!("metric {med},"),
        Fact::LocalPref(pref) => format!("localpref {pref},"),
        Fact::Community(65535, 65281) => "Communities: NO_EXPORT".into(),
        Fact::Community(a, n) => format!("Communities: {a}:{n}"),
        Fact::RouteTarget(a, n) => format!("Ext. Communities: rt {a}:{n}"),
        Fact::Large(a, b, c) => format!("Large Communities: {a}:{b}:{c}"),
    },
};

/// `gobgp neighbor ... adj-out`.
const GOBGP: Tool = Tool {
    between: "\n",
    word: |fact| match fact {
        Fact::Id(id) => format!("   {id}   "),
        Fact::NextHop(address) => format!(" {address} "),
        Fact::Path(path) => format!(" {} ", joined(path, " ")),
        Fact::Origin(0) => "{Origin: i}".into(),
        Fact::Origin(_) => "{Origin: ?}".into(),
        Fact::Med(med) => format!("{{Med: {med}}}"),
        Fact::LocalPref(pref) => format!("{{LocalPref: {pref}}}"),
        Fact::Community(65535, 65284) => "{Communities: no-peer}".into(),
        Fact::Community(a, n) => format!("{{Communities: {a}:{n}}}"),
        Fact::RouteTarget(a, n) => format!("{{Extcomms: [{a}:{n}]}}"),
        Fact::Large(a, b, c) => format!("{{LargeCommunity: [ {a}:{b}:{c}]}}"),
    },
};

/// The JSON of ExaBGP's API.
const EXABGP: Tool = Tool {
    between: "\n",
    word: |fact| match fact {
        Fact::Id(id) => format!(
            "\"path-information\": \"{}\"",
            std::net::Ipv4Addr::from(*id)
        ),
        Fact::NextHop(address) => format!("\"{address}\": [ {{ \"nlri\""),
        Fact::Path(path) => format!("\"as-path\": [ {} ]", joined(path, ", ")),
        Fact::Origin(0) => "\"origin\": \"igp\"".into(),
        Fact::Origin(_) => "\"origin\": \"incomplete\"".into(),
        Fact::Med(med) => format!("\"med\": {med}"),
        Fact::LocalPref(pref) => format!("\"local-preference\": {pref}"),
        Fact::Community(a, n) => format!("\"community\": [ [ {a}, {n} ] ]"),
        Fact::RouteTarget(a, n) => format!("\"target:{a}:{n}\""),
        Fact::Large(a, b, c) => format!("\"large-community\": [ [ {a}, {b} , {c} ] ]"),
    },
};

fn facts(reach: &Reach<'_>, block: &[u8]) -> Vec<Fact> {
    let mut facts = vec![Fact::NextHop(reach.next_hop.address)];
    let word = |value: &[u8], at| be32(value, at).expect("four octets");
    let half = |value: &[u8], at| be16(value, at).expect("two octets");
    for a in attribute::each(block) {
        let value = a.value;
        facts.push(match a.kind {
            kind::ORIGIN => Fact::Origin(value[0]),
            kind::AS_PATH => {
                let segments = attribute::segments(value);
                let path = segments.flat_map(|(_, s)| attribute::numbers(s));
                Fact::Path(path.collect())
            }
            kind::MED => Fact::Med(word(value, 0)),
            kind::LOCAL_PREF => Fact::LocalPref(word(value, 0)),
            kind::COMMUNITIES => Fact::Community(half(value, 0), half(value, 2)),
            kind::EXTENDED_COMMUNITIES => {
                assert_eq!(value[..2], [0, 2], "a route target of a two-octet AS");
                Fact::RouteTarget(half(value, 2), word(value, 4))
            }
            kind::LARGE_COMMUNITY => Fact::Large(word(value, 0), word(value, 4), word(value, 8)),
            _ => continue,
        });
    }
    facts
}

/// Whether a tool's words about a path hold a prefix, not only as the start of a longer one.
fn names(section: &str, prefix: &str) -> bool {
    let mut rest = section.split(prefix).skip(1);
    rest.any(|tail| !tail.starts_with(|c: char| c.is_ascii_digit()))
}

/// Each path of the capture is as the daemon's own tool shows it.
#[track_caller]
fn agrees(hex: &str, said: &str, tool: &Tool, context: Context) {
    // What was asked is not an answer.
    let answers: Vec<&str> = said.lines().filter(|l| !l.starts_with('$')).collect();
    let said = answers.join("\n");
    let mut found = 0;
    for line in hex.lines() {
        let message = octets(line);
        let cut = split(&message, MAX_MESSAGE).expect("valid").expect("whole");
        if cut.kind != Kind::Update {
            continue;
        }
        let mut block = Vec::new();
        let update = update::decode(cut.body, context, &mut block).expect("valid");
        for reach in update.reach.iter().flatten() {
            // Of a large UPDATE the tool was asked for some prefix.
            let list = prefixes(reach.family, reach.nlri, update.ids);
            let shown = list.iter().find_map(|(prefix, id)| {
                let id = id.map(|id| (tool.word)(&Fact::Id(id))).unwrap_or_default();
                let fits = |s: &&str| names(s, prefix) && s.contains(&id);
                said.split(tool.between).find(fits)
            });
            let shown = shown.unwrap_or_else(|| panic!("the tool says nothing of {}", list[0].0));
            for fact in facts(reach, &block) {
                let word = (tool.word)(&fact);
                assert!(shown.contains(&word), "{word} is not in {shown}");
                found += 1;
            }
        }
    }
    assert!(found >= 6, "only {found} facts");
}

macro_rules! captured {
    ($name:ident, $file:literal, $tool:expr, $context:expr) => {
        #[test]
        fn $name() {
            let hex = include_str!(concat!("../../tests/captured/", $file, ".hex"));
            let expected = include_str!(concat!("../../tests/captured/", $file, ".txt"));
            let said = include_str!(concat!("../../tests/captured/", $file, ".said"));
            check_with(hex, expected, $context);
            agrees(hex, said, &$tool, $context);
        }
    };
}

captured!(openbgpd, "openbgpd", OPENBGPD, context(false, false));
captured!(
    openbgpd_add_path,
    "openbgpd-add-path",
    OPENBGPD,
    context(false, true)
);
captured!(gobgp, "gobgp", GOBGP, context(true, false));
captured!(gobgp_add_path, "gobgp-add-path", GOBGP, context(true, true));
captured!(exabgp, "exabgp", EXABGP, context(true, false));
captured!(
    exabgp_add_path,
    "exabgp-add-path",
    EXABGP,
    context(true, true)
);
