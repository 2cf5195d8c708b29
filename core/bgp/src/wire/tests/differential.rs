//! The decoder beside an independent one (netgauze-bgp-pkt): what both take must mean the same, and
//! what only one takes is of a class that is listed here, with the reason.
//!
//! The messages: all that was captured, the fuzz corpus, UPDATEs of random attributes, the same as
//! our encoder writes them, and mutations of all of these. Every draw comes from a fixed seed.

use super::attribute::{self, flag, kind, segment};
use super::nlri::{self, Ids, Key, V4, V6};
use super::open::Open;
use super::update::{self, Context};
use super::{Kind, MAX_EXTENDED, Message, refresh, split};
use crate::session::Random;
use crate::{Config, ConnId, Family, Input, Now, Output, PeerConfig, Speaker};
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::capabilities::BgpCapability;
use netgauze_bgp_pkt::open::BgpOpenMessage;
use netgauze_bgp_pkt::path_attribute::{MpReach, MpUnreach, PathAttribute, PathAttributeValue};
use netgauze_bgp_pkt::update::BgpUpdateMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_iana::address_family::AddressType;
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What an UPDATE says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Meaning {
    withdrawn: BTreeSet<(String, Option<u32>)>,
    /// With the next hop.
    reach: BTreeSet<(String, Option<u32>, IpAddr)>,
    /// Values by type, of reachable prefixes only; those of the prefixes themselves left out.
    attributes: BTreeMap<u8, Vec<u8>>,
}

/// Why a decoder does not take a message as it stands, in words that stay the same.
type Refusal = String;

fn names<K: Key>(field: &[u8], with_ids: bool) -> Vec<(String, Option<u32>)> {
    let (mut keys, mut ids): (Vec<K>, _) = (Vec::new(), Vec::new());
    if with_ids {
        nlri::decode_with_ids(field, &mut keys, &mut ids);
    } else {
        nlri::decode(field, &mut keys);
    }
    let pairs = keys.into_iter().enumerate();
    pairs
        .map(|(at, key)| (key.to_net().to_string(), ids.get(at).copied()))
        .collect()
}

fn prefixes(family: Family, field: &[u8], ids: Ids) -> Vec<(String, Option<u32>)> {
    match family {
        Family::Ipv4 => names::<V4>(field, ids.ipv4),
        Family::Ipv6 => names::<V6>(field, ids.ipv6),
    }
}

fn ours(body: &[u8], context: Context) -> Result<Meaning, Refusal> {
    let mut block = Vec::new();
    let update = update::decode(body, context, &mut block)
        .map_err(|why| format!("reset {}/{}", why.code, why.subcode))?;
    if let Some(what) = update.treat_as_withdraw {
        return Err(format!("withdraw {what}"));
    }
    if update.discarded > 0 {
        return Err("discard".to_owned());
    }
    let mut meaning = Meaning::default();
    let mut gone = prefixes(Family::Ipv4, update.withdrawn, update.ids);
    if let Some((family, field)) = update.mp_withdrawn {
        gone.extend(prefixes(family, field, update.ids));
    }
    meaning.withdrawn = gone.into_iter().collect();
    for reach in update.reach.iter().flatten() {
        for (prefix, id) in prefixes(reach.family, reach.nlri, update.ids) {
            meaning.reach.insert((prefix, id, reach.next_hop.address));
        }
    }
    if !meaning.reach.is_empty() {
        for a in attribute::each(&block) {
            meaning.attributes.insert(a.kind, a.value.to_vec());
        }
    }
    Ok(meaning)
}

/// What it makes of the whole message.
fn theirs(message: &[u8], context: Context) -> Result<BgpMessage, Refusal> {
    let mut theirs = BgpParsingContext::asn2_default();
    theirs.set_asn4(context.as4);
    for (family, with) in [
        (AddressType::Ipv4Unicast, context.ids.ipv4),
        (AddressType::Ipv6Unicast, context.ids.ipv6),
    ] {
        theirs.add_path_mut().insert(family, with);
    }
    BgpMessage::parse(&mut SliceReader::new(message), &mut theirs)
        .map_err(|error| words(&format!("{error:?}")))
}

/// The names of nested errors, without their values.
fn words(error: &str) -> String {
    let head = error.split([' ', '{']).next().unwrap_or_default();
    let nested: Vec<&str> = head.split('(').filter(|w| !w.is_empty()).collect();
    nested[..nested.len().min(3)].join("/")
}

/// None when there is something in it that we pass over or cannot compare.
fn meaning_of(update: &BgpUpdateMessage, context: Context) -> Option<Meaning> {
    let mut meaning = Meaning::default();
    let mut next_hop = None;
    for prefix in update.withdraw_routes() {
        let name = prefix.network().address().trunc().to_string();
        meaning.withdrawn.insert((name, prefix.path_id()));
    }
    for attribute in update.path_attributes() {
        match attribute.value() {
            PathAttributeValue::NextHop(hop) => next_hop = Some(IpAddr::V4(hop.next_hop())),
            PathAttributeValue::MpReach(reach) => reach_of(reach, &mut meaning)?,
            PathAttributeValue::MpUnreach(unreach) => unreach_of(unreach, &mut meaning)?,
            // Joined with the other path there (RFC 6793 §4.2.3).
            PathAttributeValue::As4Path(_) => return None,
            _ => {
                let (code, value) = value_of(attribute, context);
                let passed_over = attribute.optional() && !attribute.transitive();
                let known = matches!(code, kind::MED | kind::ORIGINATOR_ID | kind::CLUSTER_LIST);
                if !passed_over || known {
                    meaning.attributes.insert(code, value);
                }
            }
        }
    }
    for prefix in update.nlri() {
        let name = prefix.network().address().trunc().to_string();
        let entry = (name, prefix.path_id(), next_hop?);
        meaning.reach.insert(entry);
    }
    if meaning.reach.is_empty() {
        meaning.attributes.clear();
    }
    Some(meaning)
}

/// Type and value as it would write them, AS numbers of four octets.
fn value_of(attribute: &PathAttribute, context: Context) -> (u8, Vec<u8>) {
    let mut octets = Vec::new();
    attribute.write(&mut octets).expect("a vector takes all");
    let (a, _) = attribute::next(&octets).expect("it wrote a whole one");
    if context.as4 {
        return (a.kind, a.value.to_vec());
    }
    let mut value = a.value;
    let mut wide = Vec::new();
    match a.kind {
        kind::AS_PATH => {
            while let [kind, count, rest @ ..] = value {
                let (numbers, tail) = rest.split_at(usize::from(*count) * 2);
                wide.extend_from_slice(&[*kind, *count]);
                for number in numbers.chunks(2) {
                    wide.extend_from_slice(&[0, 0, number[0], number[1]]);
                }
                value = tail;
            }
        }
        kind::AGGREGATOR => {
            wide.extend_from_slice(&[0, 0]);
            wide.extend_from_slice(value);
        }
        _ => wide.extend_from_slice(value),
    }
    (a.kind, wide)
}

fn reach_of(reach: &MpReach, meaning: &mut Meaning) -> Option<()> {
    match reach {
        MpReach::Ipv4Unicast { next_hop, nlri, .. } => {
            for prefix in nlri {
                let name = prefix.network().address().trunc().to_string();
                meaning.reach.insert((name, prefix.path_id(), *next_hop));
            }
        }
        MpReach::Ipv6Unicast {
            next_hop_global,
            next_hop_local,
            nlri,
        } => {
            // RFC 2545 §3: what may stand there beside a global one is judged by us alone.
            if next_hop_local.is_some() || next_hop_global.is_unspecified() {
                return None;
            }
            for prefix in nlri {
                let name = prefix.network().address().trunc().to_string();
                let entry = (name, prefix.path_id(), IpAddr::V6(*next_hop_global));
                meaning.reach.insert(entry);
            }
        }
        _ => return None,
    }
    Some(())
}

fn unreach_of(unreach: &MpUnreach, meaning: &mut Meaning) -> Option<()> {
    let mut gone = |name: String, id| meaning.withdrawn.insert((name, id));
    match unreach {
        MpUnreach::Ipv4Unicast { nlri } => {
            for prefix in nlri {
                gone(
                    prefix.network().address().trunc().to_string(),
                    prefix.path_id(),
                );
            }
        }
        MpUnreach::Ipv6Unicast { nlri } => {
            for prefix in nlri {
                gone(
                    prefix.network().address().trunc().to_string(),
                    prefix.path_id(),
                );
            }
        }
        _ => return None,
    }
    Some(())
}

/// An OPEN in our words: version, AS, hold time, identifier, families, flags.
fn same_open(open: &Open, theirs: &BgpOpenMessage) -> bool {
    let has = |wanted: fn(&BgpCapability) -> bool| theirs.capabilities().into_iter().any(wanted);
    let c = &open.capabilities;
    theirs.my_asn4() == open.asn
        && theirs.hold_time() == open.hold_time_s
        && theirs.bgp_id() == open.id
        && has(|c| matches!(c, BgpCapability::RouteRefresh)) == c.route_refresh
        && has(|c| matches!(c, BgpCapability::EnhancedRouteRefresh)) == c.enhanced_refresh
        && has(|c| matches!(c, BgpCapability::ExtendedMessage)) == c.extended_messages
        && has(|c| matches!(c, BgpCapability::GracefulRestartCapability(_))) == c.restart.is_some()
        // Other values than 1, 2 and 3 are passed over (RFC 7911 §4).
        && (c.add_path.is_empty() || has(|c| matches!(c, BgpCapability::AddPath(_))))
        && has(|c| matches!(c, BgpCapability::MultiProtocolExtensions(_))) == c.multiprotocol
}

/// What only one of two says.
fn difference(own: &Meaning, other: &Meaning) -> String {
    let mut out = String::new();
    for (who, a, b) in [("ours", own, other), ("theirs", other, own)] {
        let withdrawn: Vec<_> = a.withdrawn.difference(&b.withdrawn).collect();
        let reach: Vec<_> = a.reach.difference(&b.reach).collect();
        let only = |(kind, value): &(&u8, &Vec<u8>)| b.attributes.get(kind) != Some(value);
        let attributes: Vec<_> = a.attributes.iter().filter(only).collect();
        out += &format!("{who}: {withdrawn:?} {reach:?} {attributes:?}; ");
    }
    out
}

/// How both took one message.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    BothRefuse,
    /// `ours: …` or `theirs: …` says who refuses it, and why.
    OneRefuses(String),
    Differ(String),
}

fn judge(message: &Message<'_>, whole: &[u8], context: Context) -> Verdict {
    let theirs = theirs(whole, context);
    let ours: Result<(), Refusal> = match message.kind {
        Kind::Update => match (ours(message.body, context), &theirs) {
            (Ok(own), Ok(BgpMessage::Update(other))) => {
                let other = meaning_of(other, context);
                let lossy = own.attributes.get(&kind::EXTENDED_COMMUNITIES);
                let lossy = lossy.is_some_and(|value| is_written_otherwise(value));
                if let Some(other) = other.filter(|other| !lossy && *other != own) {
                    return Verdict::Differ(difference(&own, &other));
                }
                Ok(())
            }
            (own, _) => own.map(|_| ()),
        },
        Kind::Open => match (Open::decode(message.body), &theirs) {
            (Ok(own), Ok(BgpMessage::Open(other))) => {
                if !same_open(&own, other) {
                    return Verdict::Differ(format!("{own:?}\n  {other:?}"));
                }
                Ok(())
            }
            (own, _) => own
                .map(|_| ())
                .map_err(|why| format!("reset {}/{}", why.code, why.subcode)),
        },
        Kind::RouteRefresh => {
            let known = refresh::decode(message.body).map(|_| ());
            let length = refresh::check_length(message.body);
            length
                .map_err(|why| format!("reset {}/{}", why.code, why.subcode))
                .and(known.ok_or("family or step that is not known".to_owned()))
        }
        Kind::Notification | Kind::Keepalive => Ok(()),
    };
    match (ours, theirs) {
        (Ok(()), Ok(_)) => Verdict::Same,
        (Err(_), Err(_)) => Verdict::BothRefuse,
        (Err(why), Ok(_)) => Verdict::OneRefuses(format!("ours: {:?}: {why}", message.kind)),
        (Ok(()), Err(why)) => Verdict::OneRefuses(format!("theirs: {why}")),
    }
}

fn folder(path: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let entries = std::fs::read_dir(root).expect("it is committed");
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("readable").path()).collect();
    files.sort();
    files
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    out.extend_from_slice(&((19 + body.len()) as u16).to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

/// All committed messages, each with whether its prefixes have identifiers.
fn committed() -> Vec<(Vec<u8>, bool)> {
    let mut out = Vec::new();
    let with_ids = |path: &Path| path.to_string_lossy().contains("add-path");
    for path in folder("tests/captured") {
        if path.extension().is_none_or(|e| e != "hex") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("text");
        for line in text.lines() {
            let octet = |at| u8::from_str_radix(&line[at..at + 2], 16).expect("hexadecimal");
            let octets = (0..line.len()).step_by(2).map(octet).collect();
            out.push((octets, with_ids(&path)));
        }
    }
    for (name, kind) in [("bgp_open", 1), ("bgp_update", 2)] {
        for path in folder(&format!("../../fuzz/corpus/{name}")) {
            let body = std::fs::read(&path).expect("readable");
            out.push((framed(kind, &body), with_ids(&path)));
        }
    }
    out
}

fn below(random: &mut Random, end: u64) -> usize {
    (random.next() % end) as usize
}

/// A block of attributes in random order and number: right ones, or one of them wrong.
fn random_block(random: &mut Random, context: Context, faulty: bool) -> Vec<u8> {
    let mut list: Vec<(u8, u8, Vec<u8>)> = Vec::new();
    let some = |random: &mut Random, unit: usize| {
        let count = 1 + below(random, 5);
        (0..count * unit)
            .map(|_| random.next() as u8)
            .collect::<Vec<u8>>()
    };
    let (well, both) = (flag::TRANSITIVE, flag::OPTIONAL | flag::TRANSITIVE);
    list.push((well, kind::ORIGIN, vec![below(random, 3) as u8]));
    let mut path = Vec::new();
    for _ in 0..below(random, 4) {
        let count = 1 + below(random, 6);
        let set = below(random, 4) == 0;
        path.extend_from_slice(&[
            if set { segment::SET } else { segment::SEQUENCE },
            count as u8,
        ]);
        let width = if context.as4 { 4 } else { 2 };
        path.extend((0..count * width).map(|_| random.next() as u8 | 1));
    }
    list.push((well, kind::AS_PATH, path));
    list.push((well, kind::NEXT_HOP, vec![10, 9, 0, random.next() as u8]));
    list.push((well, kind::LOCAL_PREF, some(random, 4)[..4].to_vec()));
    let aggregator = if context.as4 { 8 } else { 6 };
    let optional = [
        (flag::OPTIONAL, kind::MED, some(random, 4)[..4].to_vec()),
        (well, kind::ATOMIC_AGGREGATE, Vec::new()),
        (
            both,
            kind::AGGREGATOR,
            some(random, 8)[..aggregator].to_vec(),
        ),
        (both, kind::COMMUNITIES, some(random, 4)),
        (
            flag::OPTIONAL,
            kind::ORIGINATOR_ID,
            some(random, 4)[..4].to_vec(),
        ),
        (flag::OPTIONAL, kind::CLUSTER_LIST, some(random, 4)),
        (both, kind::EXTENDED_COMMUNITIES, some(random, 8)),
        (both, kind::LARGE_COMMUNITY, some(random, 12)),
        (both, kind::ONLY_TO_CUSTOMER, some(random, 4)[..4].to_vec()),
        (both, 99, some(random, 3)),
    ];
    list.extend(optional.into_iter().filter(|_| below(random, 3) > 0));
    for at in (1..list.len()).rev() {
        list.swap(at, below(random, at as u64 + 1));
    }
    if faulty {
        let at = below(random, list.len() as u64);
        let (flags, _, value) = &mut list[at];
        match below(random, 3) {
            0 => value.push(random.next() as u8),
            1 => drop(value.pop()),
            _ => *flags ^= [flag::OPTIONAL, flag::TRANSITIVE, flag::PARTIAL][below(random, 3)],
        }
    }
    let mut block = Vec::new();
    for (flags, kind, value) in list {
        attribute::put(&mut block, flags, kind, &value);
    }
    block
}

fn random_prefixes<K: Key>(random: &mut Random, with_ids: bool) -> Vec<u8> {
    let mut field = Vec::new();
    for _ in 0..1 + below(random, 6) {
        let len = 1 + below(random, u64::from(K::BITS)) as u8;
        // Not multicast, not link-local.
        let octets: Vec<u8> = (0..K::BITS / 8)
            .map(|at| if at == 0 { 0x20 } else { random.next() as u8 })
            .collect();
        let id = with_ids.then(|| random.next() as u32);
        nlri::put(&mut field, id, K::from_wire(len, &octets));
    }
    field
}

fn random_update(random: &mut Random, context: Context, faulty: bool) -> Vec<u8> {
    let mut block = random_block(random, context, faulty);
    let ids = context.ids;
    if below(random, 3) == 0 {
        let mut value = vec![0, 2, 1, 16];
        value.extend_from_slice(&[0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        value.extend(random_prefixes::<V6>(random, ids.ipv6));
        attribute::put(&mut block, flag::OPTIONAL, kind::MP_REACH, &value);
    }
    if below(random, 3) == 0 {
        let mut value = vec![0, 2, 1];
        value.extend(random_prefixes::<V6>(random, ids.ipv6));
        attribute::put(&mut block, flag::OPTIONAL, kind::MP_UNREACH, &value);
    }
    let withdrawn = match below(random, 3) {
        0 => random_prefixes::<V4>(random, ids.ipv4),
        _ => Vec::new(),
    };
    let mut body = (withdrawn.len() as u16).to_be_bytes().to_vec();
    body.extend(withdrawn);
    body.extend_from_slice(&(block.len() as u16).to_be_bytes());
    body.extend(block);
    body.extend(random_prefixes::<V4>(random, ids.ipv4));
    framed(2, &body)
}

/// Changes some octets behind the header, and the length with them.
fn mutate(octets: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=below(random, 2) {
        let at = 19 + below(random, (octets.len() - 18) as u64);
        match below(random, 8) {
            0 => octets.insert(at, random.next() as u8),
            1 if at < octets.len() => {
                octets.remove(at);
            }
            2..5 if at < octets.len() => octets[at] ^= 1 << below(random, 8),
            _ if at < octets.len() => octets[at] = [0, 1, 4, 0x7f, 0x80, 0xff][below(random, 6)],
            _ => {}
        }
    }
    let length = octets.len() as u16;
    octets[16..18].copy_from_slice(&length.to_be_bytes());
}

const AS4: Context = Context {
    as4: true,
    ebgp: false,
    ids: Ids {
        ipv4: false,
        ipv6: false,
    },
    extended_next_hop: false,
};
const AS2: Context = Context { as4: false, ..AS4 };
const ADD_PATH: Context = Context {
    ids: Ids {
        ipv4: true,
        ipv6: true,
    },
    ..AS4
};

/// Classes of messages that one of the two refuses, or takes otherwise, and why ours is right.
const KNOWN: &[(&str, &str)] = &[
    (
        "ours: Open: reset 2/2",
        "AS 0 in the four-octet capability (RFC 7607 §2)",
    ),
    (
        "ours: RouteRefresh: family or step that is not known",
        "passed over (RFC 7313 §5), in no session refused",
    ),
    (
        "ours: Update: discard",
        "an attribute twice: the first counts (RFC 7606 §3 g); AS4_PATH where numbers have four octets (RFC 6793 §6)",
    ),
    (
        "ours: Update: reset 3/2",
        "a type that is not known and not optional (RFC 4271 §6.3)",
    ),
    (
        "ours: Update: reset 3/9",
        "a next hop of 48 octets beside IPv6 prefixes (RFC 2545 §3)",
    ),
    (
        "ours: Update: withdraw attribute-flags",
        "the optional and transitive bits of AS4_AGGREGATOR (RFC 7606 §3 c)",
    ),
    (
        "ours: Update: withdraw missing-well-known-attribute",
        "ORIGIN and AS_PATH must be there (RFC 7606 §3 d)",
    ),
    (
        "ours: Update: withdraw no-next-hop",
        "NEXT_HOP must be there (RFC 7606 §3 d)",
    ),
    (
        "ours: Update: withdraw only-to-customer",
        "four octets (RFC 9234 §5); they read the first four of more",
    ),
    (
        "ours: Update: withdraw originator-id",
        "four octets (RFC 7606 §7.9); they read the first four of more",
    ),
    (
        "theirs: BgpNotificationMessageParsingError/CeaseError/Undefined",
        "a NOTIFICATION ends the session whatever it says (RFC 4271 §6.4)",
    ),
    (
        "theirs: BgpNotificationMessageParsingError/MessageHeaderError/UndefinedMessageHeaderErrorType",
        "as above",
    ),
    (
        "theirs: BgpNotificationMessageParsingError/OpenMessageError/UndefinedOpenMessageErrorSubCode",
        "as above",
    ),
    (
        "theirs: BgpNotificationMessageParsingError/RouteRefreshError/Undefined",
        "as above",
    ),
    (
        "theirs: BgpNotificationMessageParsingError/UndefinedBgpErrorNotificationCode",
        "as above",
    ),
    (
        "theirs: BgpOpenMessageParsingError/ParameterError/CapabilityError",
        "families that we do not know, and capabilities that we have no use for, are passed over (RFC 5492 §3)",
    ),
    (
        "theirs: BgpUpdateMessageParsingError/InvalidIpv4UnicastNetwork",
        "a multicast prefix: the message is well formed, the prefix is kept out later (RFC 4271 §6.3)",
    ),
    (
        "theirs: BgpUpdateMessageParsingError/PathAttributeError/AigpError",
        "optional, not transitive, and not known to us: passed over (RFC 4271 §5)",
    ),
    (
        "theirs: BgpUpdateMessageParsingError/PathAttributeError/ExtendedCommunitiesErrorIpv6",
        "as above, or passed on as it is",
    ),
    (
        "theirs: BgpUpdateMessageParsingError/PathAttributeError/SegmentIdentifierParsingError",
        "as above, or passed on as it is",
    ),
    (
        "theirs: BgpUpdateMessageParsingError/PathAttributeError/InvalidPathAttribute",
        "the partial bit, of which RFC 7606 §3 c says nothing",
    ),
    (
        "theirs: BgpUpdateMessageParsingError/PathAttributeError/MpReachErrorError",
        "a family that is not known is passed over (RFC 4760 §7)",
    ),
    (
        "theirs: BgpUpdateMessageParsingError/PathAttributeError/MpUnreachErrorError",
        "as above",
    ),
    (
        "theirs: UnparseableBytes",
        "a ROUTE-REFRESH that goes on, as one with filters does (RFC 5291 §4): the rest is passed over",
    ),
];

/// Extended communities that they do not write as they read them: that of an EVPN's segment label
/// without its reserved octets, and of type 0, subtype 9 as a route target.
fn is_written_otherwise(value: &[u8]) -> bool {
    let mut each = value.chunks(8);
    each.any(|c| matches!(c, [0x06, 0x01, ..] | [0x00, 0x09, ..]))
}

#[derive(Default)]
struct Tally {
    same: u32,
    both_refuse: u32,
    /// With an example.
    classes: BTreeMap<String, (u32, Vec<u8>)>,
    differ: Vec<(Vec<u8>, String)>,
}

impl Tally {
    fn look(&mut self, octets: &[u8], context: Context) {
        let Ok(Some(message)) = split(octets, MAX_EXTENDED) else {
            return;
        };
        match judge(&message, &octets[..message.length], context) {
            Verdict::Same => self.same += 1,
            Verdict::BothRefuse => self.both_refuse += 1,
            Verdict::OneRefuses(class) => {
                let entry = self.classes.entry(class).or_insert((0, octets.to_vec()));
                entry.0 += 1;
            }
            Verdict::Differ(how) => self.differ.push((octets.to_vec(), how)),
        }
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// What a client of ours hears when another one says these UPDATEs: the messages, without KEEPALIVEs.
fn reflected<'a>(updates: impl Iterator<Item = &'a (Vec<u8>, Context)>) -> Vec<Vec<u8>> {
    let now = Now::default();
    let mut config = Config::new(64512.into(), [192, 0, 2, 1].into());
    for last in [2, 3] {
        let mut peer = PeerConfig::new(format!("p{last}"), [192, 0, 2, last].into(), 64512.into());
        (peer.passive, peer.rr_client) = (true, Some([244, 0, 0, 1].into()));
        config.peers.push(peer);
    }
    let mut speaker = Speaker::new(config, 1, now);
    let conns = [ConnId::Accepted(2), ConnId::Accepted(3)];
    let mut sent = Vec::new();
    for (conn, last) in conns.into_iter().zip([2, 3]) {
        let (remote, local) = (
            ([192, 0, 2, last], 179).into(),
            ([192, 0, 2, 1], 179).into(),
        );
        speaker.handle(
            Input::Accepted {
                conn,
                remote,
                local,
            },
            now,
        );
        let mut open = vec![4, 0xfc, 0, 0, 90, 192, 0, 2, last, 20, 2, 18];
        open.extend_from_slice(&[1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 65, 4, 0, 0, 0xfc, 0]);
        for bytes in [framed(1, &open), framed(4, &[])] {
            speaker.handle(
                Input::Received {
                    conn,
                    bytes: &bytes,
                },
                now,
            );
        }
    }
    let mut stream = Vec::new();
    let mut now = now;
    let nothing: &[u8] = &[];
    for bytes in std::iter::once(nothing).chain(updates.map(|(octets, _)| &octets[..])) {
        let received = Input::Received {
            conn: conns[0],
            bytes,
        };
        if bytes.is_empty() {
            speaker.handle(Input::Timer, now);
        } else {
            speaker.handle(received, now);
        }
        // Changes wait for others for a moment.
        now.mono += Duration::from_millis(25);
        while let Some(output) = speaker.poll(now) {
            let Output::Send(conn) = output else { continue };
            loop {
                let mut chunks = Vec::new();
                speaker.transmit(conn, 1 << 20, &mut chunks);
                let octets: Vec<u8> = chunks.iter().flat_map(|c| c.as_ref().to_vec()).collect();
                if octets.is_empty() {
                    break;
                }
                speaker.transmitted(conn, octets.len(), now);
                if conn == conns[1] {
                    stream.extend(octets);
                }
            }
        }
    }
    let mut rest = &stream[..];
    while let Ok(Some(message)) = split(rest, MAX_EXTENDED) {
        if message.kind == Kind::Update {
            sent.push(rest[..message.length].to_vec());
        }
        rest = &rest[message.length..];
    }
    sent
}

#[test]
fn what_both_take_means_the_same() {
    let mut tally = Tally::default();
    let mut random = Random::new(4271);
    let committed = committed();
    for (octets, with_ids) in &committed {
        tally.look(octets, if *with_ids { ADD_PATH } else { AS4 });
    }
    let mut right = Vec::new();
    for context in [AS4, AS2, ADD_PATH] {
        for _ in 0..1000 {
            let octets = random_update(&mut random, context, false);
            tally.look(&octets, context);
            right.push((octets, context));
        }
    }
    // As the encoder writes them.
    let sent = reflected(right.iter().filter(|(_, context)| *context == AS4));
    assert!(sent.len() > 200, "only {}", sent.len());
    for octets in sent {
        tally.look(&octets, AS4);
        right.push((octets, AS4));
    }
    let before = (tally.both_refuse, tally.classes.len());
    assert_eq!(before.0, 0, "what was captured and made is right");
    for round in 0..10_000 {
        let context = [AS4, AS2, ADD_PATH][round % 3];
        tally.look(&random_update(&mut random, context, true), context);
    }
    for round in 0..60_000 {
        let (mut octets, context) = match round % 2 {
            0 => {
                let (octets, with_ids) = &committed[below(&mut random, committed.len() as u64)];
                (octets.clone(), if *with_ids { ADD_PATH } else { AS4 })
            }
            _ => right[below(&mut random, right.len() as u64)].clone(),
        };
        mutate(&mut octets, &mut random);
        tally.look(&octets, context);
    }
    let known: BTreeSet<&str> = KNOWN.iter().map(|(class, _)| *class).collect();
    let unknown: Vec<String> = (tally.classes.iter())
        .filter(|(class, _)| !known.contains(class.as_str()))
        .map(|(class, (count, octets))| {
            format!(
                "{class} ({count}): {}",
                hex(&octets[..octets.len().min(400)])
            )
        })
        .collect();
    for (octets, how) in tally.differ.iter().take(12) {
        println!("differ: {}\n  {how}", hex(octets));
    }
    println!(
        "{} same, {} refused by both, {} differ",
        tally.same,
        tally.both_refuse,
        tally.differ.len()
    );
    assert!(unknown.is_empty(), "\n{}", unknown.join("\n"));
    assert!(tally.differ.is_empty());
    let gone: Vec<&&str> = known
        .iter()
        .filter(|class| !tally.classes.contains_key(**class))
        .collect();
    assert!(gone.is_empty(), "no longer seen: {gone:?}");
}

/// The control: one octet of a value, and one of a prefix, that the two do not read alike.
#[test]
fn a_difference_is_found() {
    let attributes = [
        0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 10, 9, 0, 2, 0x40, 5, 4, 0, 0, 0, 100,
    ];
    let mut body = vec![0, 0, 0, attributes.len() as u8];
    body.extend_from_slice(&attributes);
    body.extend_from_slice(&[24, 10, 1, 2]);
    let whole = framed(2, &body);
    let verdict = |body: &[u8]| {
        let (kind, length) = (Kind::Update, whole.len());
        judge(&Message { kind, body, length }, &whole, AS4)
    };
    assert_eq!(verdict(&body), Verdict::Same);
    for back in [1, 5] {
        let mut changed = body.clone();
        let at = changed.len() - back;
        changed[at] ^= 1;
        let verdict = verdict(&changed);
        assert!(matches!(verdict, Verdict::Differ(_)), "{back}: {verdict:?}");
    }
}
