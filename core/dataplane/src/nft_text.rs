//! A transaction in nft(8)'s own language, for `nft -f -`.
//!
//! Not JSON: libnftables-json(5) has no `typeof` in nft 1.0.6, and without it no map's key can have a hash in it.

use std::fmt::{self, Write};

use crate::nft::{
    Base, ChainType, Datum, DatumType, Element, Family, Field, Hook, KeyType, Match, NftChange,
    NftMapShape, RejectWith, Rule, Statement, TABLE_NAME, Value,
};

/// The seed of the hash that picks a backend; the same on all nodes, so that all of them pick the same one.
pub const HASH_SEED: u32 = 0x5e1f;

/// Elements in one command: long lines cost nft memory, short ones time.
const ELEMENTS_A_COMMAND: usize = 1000;

/// Writes the changes in order, one command a line. nft makes one transaction of a whole file.
pub fn transaction(changes: &[NftChange]) -> String {
    let mut text = String::new();
    for change in changes {
        // Writing to a String cannot fail.
        let _ = command(&mut text, change);
    }
    text
}

fn command(f: &mut String, change: &NftChange) -> fmt::Result {
    match change {
        NftChange::AddTable(family) => writeln!(f, "add table {}", table(*family)),
        NftChange::DeleteTable(family) => writeln!(f, "delete table {}", table(*family)),
        NftChange::AddSet(family, name, shape) => {
            let flags = if shape.interval {
                " flags interval;"
            } else {
                ""
            };
            let key = key_type(*family, &shape.key);
            writeln!(f, "add set {} {name} {{ {key};{flags} }}", table(*family))
        }
        NftChange::AddMap(family, name, shape) => {
            let key = key_type(*family, &shape.key);
            let datum = datum_type(*family, shape);
            writeln!(
                f,
                "add map {} {name} {{ {key} : {datum}; }}",
                table(*family)
            )
        }
        NftChange::DeleteSet(family, name) => writeln!(f, "delete set {} {name}", table(*family)),
        NftChange::DeleteMap(family, name) => writeln!(f, "delete map {} {name}", table(*family)),
        NftChange::FlushSet(family, name) => writeln!(f, "flush set {} {name}", table(*family)),
        NftChange::FlushMap(family, name) => writeln!(f, "flush map {} {name}", table(*family)),
        NftChange::AddElements(family, name, new) => {
            elements(f, "add", *family, name, new.iter().map(element))
        }
        NftChange::DeleteElements(family, name, old) => {
            elements(f, "delete", *family, name, old.iter().map(element))
        }
        NftChange::AddMapElements(family, name, new) => {
            let pair =
                |(key, value): (&Element, &Datum)| format!("{} : {}", element(key), datum(value));
            elements(f, "add", *family, name, new.iter().map(pair))
        }
        NftChange::DeleteMapElements(family, name, old) => {
            elements(f, "delete", *family, name, old.keys().map(element))
        }
        NftChange::AddChain(family, name, None) => {
            writeln!(f, "add chain {} {name}", table(*family))
        }
        NftChange::AddChain(family, name, Some(base)) => {
            writeln!(
                f,
                "add chain {} {name} {{ {}; policy accept; }}",
                table(*family),
                base_text(*base)
            )
        }
        NftChange::FlushChain(family, name) => writeln!(f, "flush chain {} {name}", table(*family)),
        NftChange::DeleteChain(family, name) => {
            writeln!(f, "delete chain {} {name}", table(*family))
        }
        NftChange::AddRule(family, chain, rule) => {
            let text = rule_text(*family, rule);
            writeln!(f, "add rule {} {chain} {text}", table(*family))
        }
    }
}

/// The type of what a map gives: by name or by expression, as its key's is.
fn datum_type(family: Family, shape: &NftMapShape) -> &'static str {
    let by_expression = shape.key.contains(&KeyType::Slot);
    match (shape.datum, family, by_expression) {
        (DatumType::Verdict, _, _) => "verdict",
        (DatumType::Address, Family::Ip, false) => "ipv4_addr",
        (DatumType::Address, Family::Ip6, false) => "ipv6_addr",
        (DatumType::Address, Family::Ip, true) => "ip daddr",
        (DatumType::Address, Family::Ip6, true) => "ip6 daddr",
        (DatumType::Port, _, false) => "inet_service",
        (DatumType::Port, _, true) => "th dport",
    }
}

fn table(family: Family) -> String {
    format!("{} {TABLE_NAME}", family_word(family))
}

fn family_word(family: Family) -> &'static str {
    match family {
        Family::Ip => "ip",
        Family::Ip6 => "ip6",
    }
}

fn key_type(family: Family, key: &[KeyType]) -> String {
    let ip = family_word(family);
    // A type without a name needs `typeof` for the whole key.
    let by_expression = key.contains(&KeyType::Slot);
    let part = |key: &KeyType| match (key, by_expression) {
        (KeyType::Address, true) => format!("{ip} daddr"),
        (KeyType::Address, false) if family == Family::Ip => "ipv4_addr".to_owned(),
        (KeyType::Address, false) => "ipv6_addr".to_owned(),
        (KeyType::Protocol, true) => "meta l4proto".to_owned(),
        (KeyType::Protocol, false) => "inet_proto".to_owned(),
        (KeyType::Port, true) => "th dport".to_owned(),
        (KeyType::Port, false) => "inet_service".to_owned(),
        (KeyType::Slot, _) => "meta length".to_owned(),
    };
    let parts: Vec<_> = key.iter().map(part).collect();
    format!(
        "{} {}",
        if by_expression { "typeof" } else { "type" },
        parts.join(" . ")
    )
}

fn elements(
    f: &mut String,
    verb: &str,
    family: Family,
    name: &str,
    all: impl Iterator<Item = String>,
) -> fmt::Result {
    let all: Vec<_> = all.collect();
    for some in all.chunks(ELEMENTS_A_COMMAND) {
        writeln!(
            f,
            "{verb} element {} {name} {{ {} }}",
            table(family),
            some.join(", ")
        )?;
    }
    Ok(())
}

fn element(element: &Element) -> String {
    let part = |value: &Value| match value {
        Value::Address(address) => address.to_string(),
        Value::Prefix(prefix) => prefix.to_string(),
        Value::Protocol(protocol) => protocol.as_str().to_owned(),
        Value::Port(port) => port.to_string(),
        Value::Slot(slot) => slot.to_string(),
        // The planner flushes a set that has one; it never names it.
        Value::Foreign(_) => String::new(),
    };
    element.iter().map(part).collect::<Vec<_>>().join(" . ")
}

fn datum(datum: &Datum) -> String {
    match datum {
        Datum::Goto(chain) => format!("goto {chain}"),
        Datum::Address(address) => address.to_string(),
        Datum::Port(port) => port.to_string(),
        Datum::Foreign => String::new(),
    }
}

fn base_text(base: Base) -> String {
    let chain_type = match base.chain_type {
        ChainType::Filter => "filter",
        ChainType::Nat => "nat",
    };
    format!(
        "type {chain_type} hook {} priority {}",
        base.hook.as_str(),
        base.priority
    )
}

impl Hook {
    /// nft's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        }
    }
}

/// A rule as `nft list` would show it.
pub fn rule_text(family: Family, rule: &Rule) -> String {
    match rule {
        Rule::Foreign(text) => text.clone(),
        Rule::Ours {
            matches,
            statement,
            comment,
        } => {
            let mut parts: Vec<_> = matches.iter().map(|one| match_text(family, one)).collect();
            parts.push(statement_text(family, statement));
            parts.push(format!("comment \"{comment}\""));
            parts.join(" ")
        }
    }
}

fn fields_text(family: Family, fields: &[Field]) -> String {
    let ip = family_word(family);
    let field = |field: &Field| match field {
        Field::Source => format!("{ip} saddr"),
        Field::Destination => format!("{ip} daddr"),
        Field::OriginalDestination => format!("ct original {ip} daddr"),
        Field::Protocol => "meta l4proto".to_owned(),
        Field::SourcePort => "th sport".to_owned(),
        Field::DestinationPort => "th dport".to_owned(),
    };
    fields.iter().map(field).collect::<Vec<_>>().join(" . ")
}

fn match_text(family: Family, one: &Match) -> String {
    let not = |negate: &bool| if *negate { "!= " } else { "" };
    match one {
        Match::InputInterface { pattern, negate } => {
            format!("iifname {}\"{pattern}\"", not(negate))
        }
        Match::OutputInterface { pattern, negate } => {
            format!("oifname {}\"{pattern}\"", not(negate))
        }
        Match::InSet {
            fields,
            set,
            negate,
        } => {
            format!("{} {}@{set}", fields_text(family, fields), not(negate))
        }
        Match::NoRoute => "fib daddr oif missing".to_owned(),
        Match::RouteInterface { pattern, negate } => {
            format!("fib daddr oifname {}\"{pattern}\"", not(negate))
        }
        Match::NotLocal => "fib daddr type != local".to_owned(),
        Match::EchoRequest if family == Family::Ip => "icmp type echo-request".to_owned(),
        Match::EchoRequest => "icmpv6 type echo-request".to_owned(),
        Match::Protocol(protocol) => format!("meta l4proto {}", protocol.as_str()),
        Match::HasPort => "th dport != 0".to_owned(),
        Match::Invalid => "ct state invalid".to_owned(),
    }
}

fn statement_text(family: Family, statement: &Statement) -> String {
    let ip = family_word(family);
    match statement {
        Statement::NoTrack => "notrack".to_owned(),
        Statement::Jump(chain) => format!("jump {chain}"),
        Statement::VerdictMap { fields, map } => {
            format!("{} vmap @{map}", fields_text(family, fields))
        }
        Statement::DnatBySlot {
            fields,
            hashed,
            slots,
            addresses,
            ports,
        } => {
            let fields = fields_text(family, fields);
            let hashed = fields_text(family, hashed);
            let key = format!("{fields} . jhash {hashed} mod {slots} seed {HASH_SEED:#x}");
            format!("dnat {ip} to {key} map @{addresses} : {key} map @{ports}")
        }
        Statement::Dnat(address) => format!("dnat to {address}"),
        Statement::Masquerade => "masquerade".to_owned(),
        Statement::Reject(RejectWith::TcpReset) => "reject with tcp reset".to_owned(),
        Statement::Reject(with) => {
            let (kind, word) = match (family, with) {
                (Family::Ip, RejectWith::HostUnreachable) => ("icmp", "host-unreachable"),
                (Family::Ip, RejectWith::ProtocolUnreachable) => ("icmp", "prot-unreachable"),
                (Family::Ip, RejectWith::PortUnreachable | RejectWith::TcpReset) => {
                    ("icmp", "port-unreachable")
                }
                (Family::Ip6, RejectWith::HostUnreachable) => ("icmpv6", "addr-unreachable"),
                (
                    Family::Ip6,
                    RejectWith::PortUnreachable
                    | RejectWith::ProtocolUnreachable
                    | RejectWith::TcpReset,
                ) => ("icmpv6", "port-unreachable"),
            };
            format!("reject with {kind} {word}")
        }
        Statement::Drop => "drop".to_owned(),
    }
}
