//! What the rules of our table do to a packet.

use std::net::IpAddr;

use super::hash::slot;
use super::{Answer, OrEnd, Payload, Verdict, Way, lookup, refused};
use crate::input::Protocol;
use crate::nft::{
    ChainType, Datum, Element, Family, Field, Hook, Match, NftChain, NftTable, RejectWith, Rule,
    Statement, Value,
};
use crate::nft_text::{HASH_SEED, rule_text};
use crate::object::RouteKind;
use crate::reason::Reason;

/// Deeper jumps than the kernel takes (NFT_JUMP_STACK_SIZE).
const DEEPEST: usize = 16;

/// Whether a chain said its last word.
enum Flow {
    Next,
    Done,
}

impl Way<'_> {
    /// Goes through the base chains of a hook in order of priority.
    pub(super) fn hook(&mut self, hook: Hook, oif: Option<&str>) -> OrEnd<()> {
        let state = self.state;
        for table in &state.tables {
            let ipv4 = table.family == Family::Ip;
            if ipv4 != self.packet.destination.is_ipv4() {
                continue;
            }
            let mut chains: Vec<(i32, ChainType, &NftChain)> = table
                .chains
                .values()
                .filter_map(|chain| {
                    let base = chain.base.filter(|base| base.hook == hook)?;
                    Some((base.priority, base.chain_type, chain))
                })
                .collect();
            chains.sort_by_key(|(priority, ..)| *priority);
            for (_, chain_type, chain) in chains {
                let decided = match hook {
                    Hook::Prerouting | Hook::Output => self.translated.destination,
                    Hook::Input | Hook::Forward | Hook::Postrouting => self.translated.source,
                };
                if chain_type == ChainType::Nat && (!self.tracked || decided) {
                    continue;
                }
                self.chain(table, chain, oif, 0)?;
            }
        }
        Ok(())
    }

    fn chain(
        &mut self,
        table: &NftTable,
        chain: &NftChain,
        oif: Option<&str>,
        depth: usize,
    ) -> OrEnd<Flow> {
        if depth > DEEPEST {
            return Ok(Flow::Done);
        }
        for rule in &chain.rules {
            let Rule::Ours {
                matches,
                statement,
                comment,
            } = rule
            else {
                self.note("a rule that is not ours is passed over");
                continue;
            };
            if !matches.iter().all(|one| self.holds(table, one, oif)) {
                continue;
            }
            if let Flow::Done = self.act(table, statement, comment, oif, depth)? {
                return Ok(Flow::Done);
            }
        }
        Ok(Flow::Next)
    }

    fn act(
        &mut self,
        table: &NftTable,
        statement: &Statement,
        comment: &str,
        oif: Option<&str>,
        depth: usize,
    ) -> OrEnd<Flow> {
        match statement {
            Statement::NoTrack => {
                self.tracked = false;
                self.note(comment);
                Ok(Flow::Next)
            }
            Statement::Jump(name) => match table.chains.get(name) {
                Some(chain) => self.chain(table, chain, oif, depth + 1),
                None => Ok(Flow::Next),
            },
            Statement::VerdictMap { fields, map } => {
                let target = self.element(fields).and_then(|key| {
                    match table.maps.get(map)?.elements.get(&key)? {
                        Datum::Goto(name) => table.chains.get(name),
                        Datum::Address(_) | Datum::Port(_) | Datum::Foreign => None,
                    }
                });
                match target {
                    // `goto` does not come back; the rest of the base chain is passed over.
                    Some(chain) => self.chain(table, chain, oif, depth + 1).map(|_| Flow::Done),
                    None => Ok(Flow::Next),
                }
            }
            Statement::DnatBySlot {
                fields,
                hashed,
                slots,
                addresses,
                ports,
            } => {
                let found = self.backend(table, fields, hashed, *slots, addresses, ports);
                Ok(found.map_or(Flow::Next, |(address, port)| {
                    self.translate(address, Some(port), comment)
                }))
            }
            Statement::Dnat(address) => Ok(self.translate(*address, None, comment)),
            Statement::Masquerade => {
                self.packet.source = self.address_of(oif.unwrap_or_default());
                self.translated.source = true;
                self.note(format!("{comment}: source becomes {}", self.packet.source));
                Ok(Flow::Done)
            }
            Statement::Reject(with) => {
                self.note(format!(
                    "{comment}: {}",
                    rule_text(table.family, &plain(statement, comment))
                ));
                Err(refused(
                    Reason::from_name(comment).unwrap_or(Reason::Unreachable),
                    answer(*with),
                ))
            }
            Statement::Drop => {
                self.note(comment);
                Err(Verdict::Dropped {
                    reason: Reason::from_name(comment).unwrap_or(Reason::ConnectionInvalid),
                })
            }
        }
    }

    fn translate(&mut self, address: IpAddr, port: Option<u16>, comment: &str) -> Flow {
        self.packet.destination = address;
        if let (
            Some(port),
            Payload::Transport {
                destination_port, ..
            },
        ) = (port, &mut self.packet.payload)
        {
            *destination_port = port;
        }
        self.translated.destination = true;
        let port = port.map(|port| format!(" port {port}")).unwrap_or_default();
        self.note(format!("{comment}: destination becomes {address}{port}"));
        Flow::Done
    }

    fn backend(
        &self,
        table: &NftTable,
        fields: &[Field],
        hashed: &[Field],
        slots: u32,
        addresses: &str,
        ports: &str,
    ) -> Option<(IpAddr, u16)> {
        let bytes: Vec<u8> = hashed
            .iter()
            .filter_map(|field| self.bytes(*field))
            .flatten()
            .collect();
        let mut key = self.element(fields)?;
        key.push(Value::Slot(slot(&bytes, slots, HASH_SEED)));
        let datum = |map: &str| table.maps.get(map)?.elements.get(&key);
        match (datum(addresses)?, datum(ports)?) {
            (Datum::Address(address), Datum::Port(port)) => Some((*address, *port)),
            _ => None,
        }
    }

    fn holds(&self, table: &NftTable, one: &Match, oif: Option<&str>) -> bool {
        match one {
            Match::InputInterface { pattern, negate } => {
                fits(self.packet.input.as_deref().unwrap_or_default(), pattern) != *negate
            }
            Match::OutputInterface { pattern, negate } => {
                fits(oif.unwrap_or_default(), pattern) != *negate
            }
            Match::InSet {
                fields,
                set,
                negate,
            } => {
                let key = self.element(fields);
                let found = table.sets.get(set).zip(key).is_some_and(|(set, key)| {
                    set.elements.contains(&key)
                        || (set.interval && in_interval(&set.elements, &key))
                });
                found != *negate
            }
            Match::NoRoute => self.route_interface().is_none(),
            Match::RouteInterface { pattern, negate } => {
                fits(&self.route_interface().unwrap_or_default(), pattern) != *negate
            }
            Match::NotLocal => {
                let route = lookup(self.state, self.packet.destination);
                !matches!(route.map(|route| route.kind), Some(RouteKind::Local { .. }))
            }
            Match::EchoRequest => self.packet.payload == Payload::Echo,
            Match::Protocol(wanted) => self.protocol() == Some(*wanted),
            Match::HasPort => self
                .ports()
                .is_some_and(|(_, destination)| destination != 0),
            // The first packet of a connection is never invalid.
            Match::Invalid => false,
        }
    }

    /// The interface that the routes lead to, as nft's `fib` sees it: none for addresses of this host.
    fn route_interface(&self) -> Option<String> {
        let route = lookup(self.state, self.packet.destination)?;
        match &route.kind {
            RouteKind::Local { .. }
            | RouteKind::Blackhole
            | RouteKind::Unreachable
            | RouteKind::Other { .. } => None,
            RouteKind::Via { .. } | RouteKind::Device { .. } | RouteKind::Multipath { .. } => {
                route.interfaces().first().map(|name| (*name).to_owned())
            }
        }
    }

    fn protocol(&self) -> Option<Protocol> {
        match self.packet.payload {
            Payload::Transport { protocol, .. } => Some(protocol),
            Payload::Echo | Payload::Other(_) => None,
        }
    }

    fn ports(&self) -> Option<(u16, u16)> {
        match self.packet.payload {
            Payload::Transport {
                source_port,
                destination_port,
                ..
            } => Some((source_port, destination_port)),
            Payload::Echo | Payload::Other(_) => None,
        }
    }

    /// The fields' values as an element of a set; `None` where the packet has not all of them.
    fn element(&self, fields: &[Field]) -> Option<Element> {
        let value = |field: &Field| {
            Some(match field {
                Field::Source => Value::Address(self.packet.source),
                Field::Destination => Value::Address(self.packet.destination),
                Field::OriginalDestination if self.tracked => {
                    Value::Address(self.original_destination)
                }
                Field::OriginalDestination => return None,
                Field::Protocol => Value::Protocol(self.protocol()?),
                Field::SourcePort => Value::Port(self.ports()?.0),
                Field::DestinationPort => Value::Port(self.ports()?.1),
            })
        };
        fields.iter().map(value).collect()
    }

    /// A field as it lies in nftables' registers: whole words, in network order.
    fn bytes(&self, field: Field) -> Option<Vec<u8>> {
        let address = |address: IpAddr| match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let port = |port: u16| [port.to_be_bytes(), [0, 0]].concat();
        Some(match field {
            Field::Source => address(self.packet.source),
            Field::Destination => address(self.packet.destination),
            Field::OriginalDestination => address(self.original_destination),
            Field::Protocol => vec![self.protocol()?.number(), 0, 0, 0],
            Field::SourcePort => port(self.ports()?.0),
            Field::DestinationPort => port(self.ports()?.1),
        })
    }
}

fn plain(statement: &Statement, comment: &str) -> Rule {
    Rule::Ours {
        matches: Vec::new(),
        statement: statement.clone(),
        comment: comment.to_owned(),
    }
}

fn answer(with: RejectWith) -> Answer {
    match with {
        RejectWith::HostUnreachable => Answer::HostUnreachable,
        RejectWith::ProtocolUnreachable => Answer::ProtocolUnreachable,
        RejectWith::PortUnreachable => Answer::PortUnreachable,
        RejectWith::TcpReset => Answer::Reset,
    }
}

fn fits(name: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    }
}

fn in_interval(elements: &std::collections::BTreeSet<Element>, key: &Element) -> bool {
    let [Value::Address(address)] = key.as_slice() else {
        return false;
    };
    elements.iter().any(|element| match element.as_slice() {
        [Value::Prefix(prefix)] => prefix.contains(address),
        _ => false,
    })
}
