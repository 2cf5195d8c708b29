//! `nft -j list table` read back into values.
//!
//! What is written as ours are becomes a value of ours; anything else becomes `Foreign`, so that it differs from everything wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value as Json;

use crate::input::Protocol;
use crate::nft::{
    Base, ChainType, Datum, DatumType, Element, Family, Field, Hook, KeyType, Match, NftChain,
    NftMap, NftSet, NftTable, RejectWith, Rule, Statement, TABLE_NAME, Value,
};
use crate::nft_text::HASH_SEED;

/// Reads a listing of our table.
///
/// # Errors
/// A sentence that says what in the listing is not as nft(8) and libnftables-json(5) have it.
pub fn parse(listing: &Json) -> Result<Option<NftTable>, String> {
    let objects = listing
        .get("nftables")
        .and_then(Json::as_array)
        .ok_or("the listing has no \"nftables\" array")?;
    let mut table = None;
    for object in objects {
        let Some((kind, body)) = object.as_object().and_then(|object| object.iter().next()) else {
            continue;
        };
        let family = match text(body, "family") {
            "ip" => Family::Ip,
            "ip6" => Family::Ip6,
            _ => continue,
        };
        let of_table = if kind == "table" {
            text(body, "name")
        } else {
            text(body, "table")
        };
        if of_table != TABLE_NAME {
            continue;
        }
        let table = table.get_or_insert_with(|| NftTable {
            family,
            name: TABLE_NAME.to_owned(),
            sets: BTreeMap::new(),
            maps: BTreeMap::new(),
            chains: BTreeMap::new(),
        });
        let name = text(body, "name").to_owned();
        match kind.as_str() {
            "set" => drop(table.sets.insert(name, set(body))),
            "map" => drop(table.maps.insert(name, map(body))),
            "chain" => drop(table.chains.insert(
                name,
                NftChain {
                    base: base(body),
                    rules: Vec::new(),
                },
            )),
            "rule" => {
                let chain = table.chains.get_mut(text(body, "chain"));
                chain
                    .ok_or("a rule comes before its chain")?
                    .rules
                    .push(rule(family, body));
            }
            _ => {}
        }
    }
    Ok(table)
}

fn text<'a>(body: &'a Json, name: &str) -> &'a str {
    body.get(name).and_then(Json::as_str).unwrap_or_default()
}

/// The parts of a key's type; one that is not ours gives an empty key, which equals none of ours.
fn key_types(body: &Json) -> Vec<KeyType> {
    let part = |word: &str| match word {
        "ipv4_addr" | "ipv6_addr" => Some(KeyType::Address),
        "inet_proto" => Some(KeyType::Protocol),
        "inet_service" => Some(KeyType::Port),
        "integer" => Some(KeyType::Slot),
        _ => None,
    };
    let parts: Option<Vec<_>> = match body.get("type") {
        Some(Json::String(word)) => part(word).map(|one| vec![one]),
        Some(Json::Array(words)) => words.iter().map(|word| part(word.as_str()?)).collect(),
        // nft since 1.1.2 repeats the expressions of `typeof`.
        Some(object) => object.get("typeof").and_then(|of| match of.get("concat") {
            Some(all) => all.as_array()?.iter().map(expression_type).collect(),
            None => expression_type(of).map(|one| vec![one]),
        }),
        None => None,
    };
    parts.unwrap_or_default()
}

/// The type of an expression that we write after `typeof`.
fn expression_type(json: &Json) -> Option<KeyType> {
    if let Some(payload) = json.get("payload") {
        return match text(payload, "field") {
            "saddr" | "daddr" => Some(KeyType::Address),
            "sport" | "dport" => Some(KeyType::Port),
            _ => None,
        };
    }
    match text(json.get("meta")?, "key") {
        "l4proto" => Some(KeyType::Protocol),
        "length" => Some(KeyType::Slot),
        _ => None,
    }
}

/// A set's flags: a list, or one word where there is one (by the version of nft).
fn flags(body: &Json) -> Vec<&str> {
    match body.get("flags") {
        Some(Json::String(flag)) => vec![flag],
        Some(Json::Array(flags)) => flags.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

fn elements(body: &Json) -> &[Json] {
    body.get("elem")
        .and_then(Json::as_array)
        .map_or(&[], Vec::as_slice)
}

fn set(body: &Json) -> NftSet {
    let key = key_types(body);
    // Only `interval` is ours; `timeout`, `dynamic` and the rest make another shape.
    let flags = flags(body);
    let interval = flags.contains(&"interval");
    let key = if flags.len() > usize::from(interval) {
        Vec::new()
    } else {
        key
    };
    let mut found = BTreeSet::new();
    for json in elements(body) {
        let foreign = Value::Foreign(u32::try_from(found.len()).unwrap_or(u32::MAX));
        found.insert(element(json, &key, interval).unwrap_or_else(|| vec![foreign]));
    }
    NftSet {
        key,
        interval,
        elements: found,
    }
}

fn map(body: &Json) -> NftMap {
    let datum = match text(body, "map") {
        "verdict" => Some(DatumType::Verdict),
        "ipv4_addr" | "ipv6_addr" => Some(DatumType::Address),
        "inet_service" => Some(DatumType::Port),
        _ => None,
    };
    let key = if datum.is_some() && flags(body).is_empty() {
        key_types(body)
    } else {
        Vec::new()
    };
    let mut found = BTreeMap::new();
    for json in elements(body) {
        let foreign = Value::Foreign(u32::try_from(found.len()).unwrap_or(u32::MAX));
        let pair = json.as_array().map_or(&[][..], Vec::as_slice);
        let (name, value) = match pair {
            [name, value] => (element(name, &key, false), datum_of(value)),
            _ => (None, Datum::Foreign),
        };
        found.insert(name.unwrap_or_else(|| vec![foreign]), value);
    }
    NftMap {
        key,
        datum: datum.unwrap_or(DatumType::Verdict),
        elements: found,
    }
}

fn element(json: &Json, key: &[KeyType], interval: bool) -> Option<Element> {
    let parts: Vec<&Json> = match json.get("concat") {
        Some(parts) => parts.as_array()?.iter().collect(),
        None => vec![json],
    };
    if parts.len() != key.len() {
        return None;
    }
    parts
        .into_iter()
        .zip(key)
        .map(|(part, key)| value(part, *key, interval))
        .collect()
}

fn value(json: &Json, key: KeyType, interval: bool) -> Option<Value> {
    match key {
        KeyType::Address => {
            if let Some(prefix) = json.get("prefix") {
                let address: IpAddr = text(prefix, "addr").parse().ok()?;
                let length = u8::try_from(prefix.get("len")?.as_u64()?).ok()?;
                return IpNet::new(address, length).ok().map(Value::Prefix);
            }
            let address: IpAddr = json.as_str()?.parse().ok()?;
            Some(if interval {
                Value::Prefix(IpNet::from(address))
            } else {
                Value::Address(address)
            })
        }
        KeyType::Protocol => Some(Value::Protocol(protocol(json.as_str()?)?)),
        KeyType::Port => u16::try_from(json.as_u64()?).ok().map(Value::Port),
        KeyType::Slot => u32::try_from(json.as_u64()?).ok().map(Value::Slot),
    }
}

fn protocol(word: &str) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|protocol| protocol.as_str() == word)
}

fn datum_of(json: &Json) -> Datum {
    if let Some(target) = json.get("goto") {
        return Datum::Goto(text(target, "target").to_owned());
    }
    let port = || {
        json.as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .map(Datum::Port)
    };
    let address = || json.as_str()?.parse().ok().map(Datum::Address);
    port().or_else(address).unwrap_or(Datum::Foreign)
}

fn base(body: &Json) -> Option<Base> {
    let hooks = [
        Hook::Prerouting,
        Hook::Input,
        Hook::Forward,
        Hook::Output,
        Hook::Postrouting,
    ];
    let hook = hooks
        .into_iter()
        .find(|hook| hook.as_str() == text(body, "hook"))?;
    let chain_type = match text(body, "type") {
        "filter" => ChainType::Filter,
        "nat" => ChainType::Nat,
        _ => return None,
    };
    if text(body, "policy") != "accept" {
        return None;
    }
    let priority = i32::try_from(body.get("prio")?.as_i64()?).ok()?;
    Some(Base {
        chain_type,
        hook,
        priority,
    })
}

fn rule(family: Family, body: &Json) -> Rule {
    let comment = text(body, "comment").to_owned();
    let foreign = || Rule::Foreign(body.get("expr").map(Json::to_string).unwrap_or_default());
    let Some(expressions) = body.get("expr").and_then(Json::as_array) else {
        return foreign();
    };
    let Some((last, conditions)) = expressions.split_last() else {
        return foreign();
    };
    let matches: Option<Vec<_>> = conditions
        .iter()
        .map(|one| condition(family, one))
        .collect();
    match (matches, statement(family, last)) {
        (Some(mut matches), Some(statement)) => {
            // A reset implies TCP, and nft leaves the condition out of the listing.
            let tcp = Match::Protocol(Protocol::Tcp);
            if statement == Statement::Reject(RejectWith::TcpReset) && !matches.contains(&tcp) {
                matches.push(tcp);
            }
            Rule::Ours {
                matches,
                statement,
                comment,
            }
        }
        _ => foreign(),
    }
}

/// The fields of an expression, single or joined by dots.
fn fields(family: Family, json: &Json) -> Option<Vec<Field>> {
    match json.get("concat") {
        Some(parts) => parts
            .as_array()?
            .iter()
            .map(|part| field(family, part))
            .collect(),
        None => Some(vec![field(family, json)?]),
    }
}

fn field(family: Family, json: &Json) -> Option<Field> {
    let ip = match family {
        Family::Ip => "ip",
        Family::Ip6 => "ip6",
    };
    if let Some(payload) = json.get("payload") {
        return match (text(payload, "protocol"), text(payload, "field")) {
            (protocol, "saddr") if protocol == ip => Some(Field::Source),
            (protocol, "daddr") if protocol == ip => Some(Field::Destination),
            ("th", "sport") => Some(Field::SourcePort),
            ("th", "dport") => Some(Field::DestinationPort),
            _ => None,
        };
    }
    if let Some(ct) = json.get("ct") {
        let original = text(ct, "dir") == "original" && text(ct, "key") == format!("{ip} daddr");
        return original.then_some(Field::OriginalDestination);
    }
    (text(json.get("meta")?, "key") == "l4proto").then_some(Field::Protocol)
}

fn condition(family: Family, json: &Json) -> Option<Match> {
    let body = json.get("match")?;
    let (left, right) = (body.get("left")?, body.get("right")?);
    let negate = match text(body, "op") {
        "==" | "in" => false,
        "!=" => true,
        _ => return None,
    };
    if let Some(set) = right.as_str().and_then(|word| word.strip_prefix('@')) {
        return Some(Match::InSet {
            fields: fields(family, left)?,
            set: set.to_owned(),
            negate,
        });
    }
    if let Some(fib) = left.get("fib") {
        let by_destination = fib
            .get("flags")?
            .as_array()?
            .iter()
            .map(Json::as_str)
            .eq([Some("daddr")]);
        return match (text(fib, "result"), right) {
            _ if !by_destination => None,
            ("oif", Json::Bool(false)) if !negate => Some(Match::NoRoute),
            ("type", Json::String(word)) if word == "local" && negate => Some(Match::NotLocal),
            ("oifname", Json::String(pattern)) => Some(Match::RouteInterface {
                pattern: pattern.clone(),
                negate,
            }),
            _ => None,
        };
    }
    if negate && right.as_u64() == Some(0) {
        return (field(family, left) == Some(Field::DestinationPort)).then_some(Match::HasPort);
    }
    let word = right.as_str()?;
    if let Some(meta) = left.get("meta") {
        return match text(meta, "key") {
            "iifname" => Some(Match::InputInterface {
                pattern: word.to_owned(),
                negate,
            }),
            "oifname" => Some(Match::OutputInterface {
                pattern: word.to_owned(),
                negate,
            }),
            "l4proto" if !negate => protocol(word).map(Match::Protocol),
            _ => None,
        };
    }
    if let Some(ct) = left.get("ct") {
        return (text(ct, "key") == "state" && word == "invalid" && !negate)
            .then_some(Match::Invalid);
    }
    let payload = left.get("payload")?;
    let icmp = match family {
        Family::Ip => "icmp",
        Family::Ip6 => "icmpv6",
    };
    let echo = text(payload, "protocol") == icmp
        && text(payload, "field") == "type"
        && word == "echo-request";
    (echo && !negate).then_some(Match::EchoRequest)
}

fn statement(family: Family, json: &Json) -> Option<Statement> {
    let (name, body) = json.as_object()?.iter().next()?;
    match name.as_str() {
        "notrack" => Some(Statement::NoTrack),
        "drop" => Some(Statement::Drop),
        "jump" => Some(Statement::Jump(text(body, "target").to_owned())),
        "masquerade" if body.is_null() => Some(Statement::Masquerade),
        "reject" => reject(body).map(Statement::Reject),
        "vmap" => {
            let map = text(body, "data").strip_prefix('@')?.to_owned();
            Some(Statement::VerdictMap {
                fields: fields(family, body.get("key")?)?,
                map,
            })
        }
        "dnat" => dnat(family, body),
        _ => None,
    }
}

fn reject(body: &Json) -> Option<RejectWith> {
    match (text(body, "type"), text(body, "expr")) {
        ("tcp reset", _) => Some(RejectWith::TcpReset),
        ("icmp", "host-unreachable") | ("icmpv6", "addr-unreachable") => {
            Some(RejectWith::HostUnreachable)
        }
        ("icmp", "prot-unreachable") => Some(RejectWith::ProtocolUnreachable),
        ("icmp" | "icmpv6", "port-unreachable") => Some(RejectWith::PortUnreachable),
        // nft leaves the default out.
        ("", "") => Some(RejectWith::PortUnreachable),
        _ => None,
    }
}

fn dnat(family: Family, body: &Json) -> Option<Statement> {
    let address = body.get("addr")?;
    if let Some(plain) = address.as_str() {
        let bare = body.get("port").is_none() && body.get("flags").is_none();
        return if bare {
            plain.parse().ok().map(Statement::Dnat)
        } else {
            None
        };
    }
    let (address, port) = (
        slot_lookup(family, address)?,
        slot_lookup(family, body.get("port")?)?,
    );
    (address.key == port.key).then_some(Statement::DnatBySlot {
        fields: address.key.fields,
        hashed: address.key.hashed,
        slots: address.key.slots,
        addresses: address.map,
        ports: port.map,
    })
}

#[derive(PartialEq, Eq)]
struct SlotKey {
    fields: Vec<Field>,
    hashed: Vec<Field>,
    slots: u32,
}

struct SlotLookup {
    key: SlotKey,
    map: String,
}

/// `FIELDS . jhash HASHED mod SLOTS seed SEED map @MAP`.
fn slot_lookup(family: Family, json: &Json) -> Option<SlotLookup> {
    let lookup = json.get("map")?;
    let map = text(lookup, "data").strip_prefix('@')?.to_owned();
    let (hash, key) = lookup.get("key")?.get("concat")?.as_array()?.split_last()?;
    let hash = hash.get("jhash")?;
    if hash.get("seed")?.as_u64()? != u64::from(HASH_SEED) {
        return None;
    }
    let key = SlotKey {
        fields: key
            .iter()
            .map(|part| field(family, part))
            .collect::<Option<_>>()?,
        hashed: fields(family, hash.get("expr")?)?,
        slots: u32::try_from(hash.get("mod")?.as_u64()?).ok()?,
    };
    Some(SlotLookup { key, map })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(kind: &str, body: &str) -> NftTable {
        let mut body: Json = serde_json::from_str(body).expect("json");
        for (name, value) in [("family", "ip"), ("table", TABLE_NAME), ("name", "it")] {
            body[name] = value.into();
        }
        let object = Json::Object([(kind.to_owned(), body)].into_iter().collect());
        let listing = Json::Object(
            [("nftables".to_owned(), Json::Array(vec![object]))]
                .into_iter()
                .collect(),
        );
        parse(&listing).expect("parsed").expect("a table")
    }

    #[test]
    fn both_ways_to_list_a_typeof_are_one() {
        let key = vec![
            KeyType::Address,
            KeyType::Protocol,
            KeyType::Port,
            KeyType::Slot,
        ];
        for listed in [
            r#"{"type": ["ipv4_addr", "inet_proto", "inet_service", "integer"], "map": "ipv4_addr"}"#,
            r#"{"type": {"typeof": {"concat": [{"payload": {"protocol": "ip", "field": "daddr"}}, {"meta": {"key": "l4proto"}},
                {"payload": {"protocol": "th", "field": "dport"}}, {"meta": {"key": "length"}}]}}, "map": "ipv4_addr"}"#,
        ] {
            let map = &shape("map", listed).maps["it"];
            assert_eq!(
                (&map.key, map.datum),
                (&key, DatumType::Address),
                "{listed}"
            );
        }
    }

    #[test]
    fn another_shape_is_no_shape_of_ours() {
        for (listed, interval, ours) in [
            (
                r#"{"type": "ipv4_addr", "flags": ["interval"]}"#,
                true,
                true,
            ),
            (r#"{"type": "ipv4_addr", "flags": "interval"}"#, true, true),
            (r#"{"type": "ipv4_addr"}"#, false, true),
            (
                r#"{"type": "ipv4_addr", "flags": ["interval", "timeout"]}"#,
                true,
                false,
            ),
            (r#"{"type": "ipv4_addr", "flags": "timeout"}"#, false, false),
            (r#"{"type": "ifname"}"#, false, false),
            (
                r#"{"type": {"typeof": {"meta": {"key": "mark"}}}}"#,
                false,
                false,
            ),
        ] {
            let set = &shape("set", listed).sets["it"];
            assert_eq!(
                (set.interval, !set.key.is_empty()),
                (interval, ours),
                "{listed}"
            );
        }
    }
}
