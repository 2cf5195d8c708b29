//! The rules of a node, as one nftables table.
//!
//! ```text
//! prerouting  -300 raw      pool addresses that no route leads to refused; transit pod traffic untracked
//!             -100 dstnat   echo to a service address answered here; service port -> backend
//!              -99          what is still for a service address refused
//! output      -100 / 0      the same two for this host's own traffic
//! postrouting  100 srcnat   hairpin, remote backends for outside clients, natOutgoing
//! ```
//!
//! Whether an address is live is asked of the routing tables (`fib`), not kept in a set: the CNI plugin's route is enough,
//! so there is no moment in which a new pod is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::desired::{outermost, own_interfaces};
use crate::input::{DataplaneInput, Frontend, Protocol};
use crate::nft::{
    Base, ChainType, Datum, DatumType, Element, Family, Field, Hook, KeyType, Match, NftChain,
    NftChange, NftMap, NftSet, NftTable, RejectWith, Rule, Statement, TABLE_NAME, Value,
};

/// Names of workloads' interfaces on the host begin with this. Source: Calico, FELIX_INTERFACEPREFIX.
pub const WORKLOAD_PREFIX: &str = "cali";
const WORKLOAD_PATTERN: &str = "cali*";

/// Chains for so many backends are there from the start, so that a backend more or less changes elements only.
const READY_SLOTS: u32 = 8;

/// Name of the set of all pools.
pub(crate) const POOLS: &str = "pools";
/// Name of the set of service ranges.
pub(crate) const SERVICE_RANGES: &str = "service-ranges";
/// Name of the set of peers that have a route of their own.
pub(crate) const PEERS: &str = "peers";
/// Name of the set of prefixes outside pools that peers told of: address and length.
pub(crate) const LEARNT: &str = "learnt";
const NAT_POOLS: &str = "nat-pools";
const SERVICE_ADDRESSES: &str = "service-addresses";
const HAIRPIN: &str = "hairpin";
const FRONTENDS: &str = "frontends";
const BACKEND_ADDRESSES: &str = "backend-addresses";
const BACKEND_PORTS: &str = "backend-ports";

/// The IPv4 table of a node.
pub(crate) fn ipv4_table(input: &DataplaneInput) -> NftTable {
    let services = services(input);
    let mut chains = base_chains(input);
    for chain in services.chains {
        let rules = vec![chain.rule()];
        chains.insert(chain.name(), NftChain { base: None, rules });
    }
    NftTable {
        family: Family::Ip,
        name: TABLE_NAME.to_owned(),
        sets: sets(input),
        maps: services.maps,
        chains,
    }
}

fn sets(input: &DataplaneInput) -> BTreeMap<String, NftSet> {
    let prefixes = |prefixes: &mut dyn Iterator<Item = IpNet>| NftSet {
        key: vec![KeyType::Address],
        interval: true,
        elements: outermost(prefixes.filter(|prefix| is_ipv4(&prefix.addr())))
            .into_iter()
            .map(|prefix| vec![Value::Prefix(prefix)])
            .collect(),
    };
    let nat_pools = &mut input
        .pools
        .iter()
        .filter(|(_, pool)| pool.nat_outgoing)
        .map(|(cidr, _)| *cidr);
    let service_addresses: BTreeSet<_> = input
        .services
        .keys()
        .map(|frontend| frontend.address)
        .filter(is_ipv4)
        .collect();
    let workloads = input.workloads.keys().filter(|address| is_ipv4(address));
    BTreeMap::from([
        (POOLS.to_owned(), prefixes(&mut input.pools.keys().copied())),
        (NAT_POOLS.to_owned(), prefixes(nat_pools)),
        (
            PEERS.to_owned(),
            prefixes(&mut input.reachable_by.keys().copied().map(IpNet::from)),
        ),
        (
            SERVICE_RANGES.to_owned(),
            prefixes(&mut refused_services(input).into_iter()),
        ),
        (
            LEARNT.to_owned(),
            NftSet {
                // Not of intervals: prefixes may contain each other, and none stands for another.
                key: vec![KeyType::Address, KeyType::Port],
                interval: false,
                elements: learnt_outside(input)
                    .map(|prefix| exactly(&prefix))
                    .collect(),
            },
        ),
        (
            SERVICE_ADDRESSES.to_owned(),
            NftSet {
                key: vec![KeyType::Address],
                interval: false,
                elements: service_addresses
                    .into_iter()
                    .map(|address| vec![Value::Address(address)])
                    .collect(),
            },
        ),
        (
            HAIRPIN.to_owned(),
            NftSet {
                key: vec![KeyType::Address, KeyType::Address],
                interval: false,
                elements: workloads
                    .map(|address| vec![Value::Address(*address); 2])
                    .collect(),
            },
        ),
    ])
}

/// A prefix as an element of a set that is not of intervals.
fn exactly(prefix: &IpNet) -> Element {
    vec![
        Value::Address(prefix.network()),
        Value::Port(u16::from(prefix.prefix_len())),
    ]
}

/// The prefixes that such elements stand for.
pub(crate) fn exact_prefixes(tables: &[NftTable]) -> BTreeSet<IpNet> {
    let sets = tables.iter().filter_map(|table| table.sets.get(LEARNT));
    let prefix = |element: &Element| match element.as_slice() {
        [Value::Address(address), Value::Port(length)] => {
            IpNet::new(*address, u8::try_from(*length).ok()?).ok()
        }
        _ => None,
    };
    sets.flat_map(|set| &set.elements)
        .filter_map(prefix)
        .collect()
}

/// What peers told of that is neither a pod's nor a service's.
pub(crate) fn learnt_outside(input: &DataplaneInput) -> impl Iterator<Item = IpNet> {
    let is_outside = |prefix: &IpNet| {
        let within = |range: &IpNet| range.contains(prefix);
        !input.pools.keys().any(within)
            && !input.service_ranges.iter().any(within)
            && !input.not_programmed.iter().any(within)
    };
    let learnt = input.loc_rib.keys().map(IpNet::trunc);
    learnt.filter(move |prefix| is_ipv4(&prefix.addr()) && is_outside(prefix))
}

/// Service ranges, and service addresses that lie outside all of them.
fn refused_services(input: &DataplaneInput) -> BTreeSet<IpNet> {
    let addresses = input
        .services
        .keys()
        .map(|frontend| IpNet::from(frontend.address));
    input
        .service_ranges
        .iter()
        .copied()
        .chain(addresses)
        .collect()
}

/// A chain that sends a connection to one of so many backends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SlotChain {
    slots: u32,
    by_client: bool,
}

impl SlotChain {
    fn name(self) -> String {
        format!(
            "{}-{}",
            if self.by_client { "client" } else { "slots" },
            self.slots
        )
    }

    fn rule(self) -> Rule {
        let hashed = if self.by_client {
            vec![Field::Source]
        } else {
            vec![Field::Source, Field::SourcePort]
        };
        let statement = Statement::DnatBySlot {
            fields: vec![Field::Destination, Field::Protocol, Field::DestinationPort],
            hashed,
            slots: self.slots,
            addresses: BACKEND_ADDRESSES.to_owned(),
            ports: BACKEND_PORTS.to_owned(),
        };
        Rule::Ours {
            matches: vec![Match::HasPort],
            statement,
            comment: "service".to_owned(),
        }
    }
}

/// What the services need of the table.
struct Services {
    maps: BTreeMap<String, NftMap>,
    chains: BTreeSet<SlotChain>,
}

fn services(input: &DataplaneInput) -> Services {
    let key = vec![KeyType::Address, KeyType::Protocol, KeyType::Port];
    let slot_key: Vec<_> = key.iter().copied().chain([KeyType::Slot]).collect();
    let map = |key: &Vec<KeyType>, datum| NftMap {
        key: key.clone(),
        datum,
        elements: BTreeMap::new(),
    };
    let mut frontends = map(&key, DatumType::Verdict);
    let mut addresses = map(&slot_key, DatumType::Address);
    let mut ports = map(&slot_key, DatumType::Port);
    let mut chains: BTreeSet<_> = (1..=READY_SLOTS)
        .map(|slots| SlotChain {
            slots,
            by_client: false,
        })
        .collect();
    for (frontend, behind) in &input.services {
        let endpoints: Vec<_> = behind
            .endpoints
            .iter()
            .filter(|(address, _)| is_ipv4(address))
            .collect();
        let Ok(slots) = u32::try_from(endpoints.len()) else {
            continue;
        };
        if slots == 0 || !is_ipv4(&frontend.address) {
            continue;
        }
        let chain = SlotChain {
            slots,
            by_client: behind.client_ip_affinity,
        };
        let key = vec![
            Value::Address(frontend.address),
            Value::Protocol(frontend.protocol),
            Value::Port(frontend.port),
        ];
        for (slot, (address, port)) in (0..slots).zip(endpoints) {
            let key: Element = key.iter().copied().chain([Value::Slot(slot)]).collect();
            addresses
                .elements
                .insert(key.clone(), Datum::Address(*address));
            ports.elements.insert(key, Datum::Port(*port));
        }
        frontends.elements.insert(key, Datum::Goto(chain.name()));
        chains.insert(chain);
    }
    let maps = BTreeMap::from([
        (FRONTENDS.to_owned(), frontends),
        (BACKEND_ADDRESSES.to_owned(), addresses),
        (BACKEND_PORTS.to_owned(), ports),
    ]);
    Services { maps, chains }
}

/// Backends that a transaction takes away from a service port: connections that were translated to them lead nowhere now.
pub fn removed_backends(changes: &[NftChange]) -> BTreeSet<(Frontend, IpAddr)> {
    let of = |elements: &BTreeMap<Element, Datum>| -> BTreeSet<(Frontend, IpAddr)> {
        let pair = |(key, datum): (&Element, &Datum)| match (key.as_slice(), datum) {
            (
                [
                    Value::Address(address),
                    Value::Protocol(protocol),
                    Value::Port(port),
                    Value::Slot(_),
                ],
                Datum::Address(backend),
            ) => Some((
                Frontend {
                    address: *address,
                    protocol: *protocol,
                    port: *port,
                },
                *backend,
            )),
            _ => None,
        };
        elements.iter().filter_map(pair).collect()
    };
    let mut removed = BTreeSet::new();
    for change in changes {
        match change {
            NftChange::DeleteMapElements(_, map, old) if map == BACKEND_ADDRESSES => {
                removed.extend(of(old))
            }
            NftChange::AddMapElements(_, map, new) if map == BACKEND_ADDRESSES => {
                for moved in of(new) {
                    removed.remove(&moved);
                }
            }
            _ => {}
        }
    }
    removed
}

fn base_chains(input: &DataplaneInput) -> BTreeMap<String, NftChain> {
    let chain = |name: &str, chain_type, hook, priority, rules| {
        (
            name.to_owned(),
            NftChain {
                base: Some(Base {
                    chain_type,
                    hook,
                    priority,
                }),
                rules,
            },
        )
    };
    let translate = translate_rules(input);
    let refuse = vec![Rule::Ours {
        matches: vec![in_set(Field::Destination, SERVICE_RANGES)],
        statement: Statement::Jump("refuse".to_owned()),
        comment: "untranslated".to_owned(),
    }];
    BTreeMap::from([
        chain(
            "raw-prerouting",
            ChainType::Filter,
            Hook::Prerouting,
            -300,
            raw_rules(input),
        ),
        chain(
            "nat-prerouting",
            ChainType::Nat,
            Hook::Prerouting,
            -100,
            translate.clone(),
        ),
        chain(
            "refuse-prerouting",
            ChainType::Filter,
            Hook::Prerouting,
            -99,
            refuse.clone(),
        ),
        chain("nat-output", ChainType::Nat, Hook::Output, -100, translate),
        chain("refuse-output", ChainType::Filter, Hook::Output, 0, refuse),
        chain(
            "nat-postrouting",
            ChainType::Nat,
            Hook::Postrouting,
            100,
            masquerade_rules(),
        ),
        (
            "refuse".to_owned(),
            NftChain {
                base: None,
                rules: refuse_rules(),
            },
        ),
    ])
}

fn raw_rules(input: &DataplaneInput) -> Vec<Rule> {
    // A blackhole route is silent, and an unreachable one answers a client only once in one or two seconds (ip_error's and
    // ICMP's limits share one bucket). The routes beneath are for the time before this rule, and for local processes.
    let mut rules = vec![Rule::Ours {
        matches: vec![
            in_set(Field::Destination, POOLS),
            Match::NoRoute,
            Match::NotLocal,
        ],
        statement: Statement::Reject(RejectWith::HostUnreachable),
        comment: "address-unallocated".to_owned(),
    }];
    // Only what comes from the LAN: a bridge's containers behind somebody else's masquerade need their tracking.
    for interface in own_interfaces(input) {
        rules.push(Rule::Ours {
            matches: vec![
                Match::InputInterface {
                    pattern: interface,
                    negate: false,
                },
                in_set(Field::Destination, POOLS),
                Match::RouteInterface {
                    pattern: WORKLOAD_PATTERN.to_owned(),
                    negate: true,
                },
                Match::NotLocal,
            ],
            statement: Statement::NoTrack,
            comment: "transit-untracked".to_owned(),
        });
    }
    rules
}

fn translate_rules(input: &DataplaneInput) -> Vec<Rule> {
    let mut rules = vec![Rule::Ours {
        matches: Vec::new(),
        statement: Statement::VerdictMap {
            fields: vec![Field::Destination, Field::Protocol, Field::DestinationPort],
            map: FRONTENDS.to_owned(),
        },
        comment: "service".to_owned(),
    }];
    if let Some(node) = input.node_addresses.iter().map(IpNet::addr).find(is_ipv4) {
        rules.push(Rule::Ours {
            matches: vec![
                in_set(Field::Destination, SERVICE_ADDRESSES),
                Match::EchoRequest,
            ],
            statement: Statement::Dnat(node),
            comment: "service-echo".to_owned(),
        });
    }
    rules
}

fn refuse_rules() -> Vec<Rule> {
    let rule = |matches, statement, comment: &str| Rule::Ours {
        matches,
        statement,
        comment: comment.to_owned(),
    };
    let unused_address = Match::InSet {
        fields: vec![Field::Destination],
        set: SERVICE_ADDRESSES.to_owned(),
        negate: true,
    };
    vec![
        // A late segment of a living connection: a reset would end it.
        rule(vec![Match::Invalid], Statement::Drop, "connection-invalid"),
        rule(
            vec![unused_address],
            Statement::Reject(RejectWith::HostUnreachable),
            "service-address-unused",
        ),
        rule(
            vec![Match::Protocol(Protocol::Tcp)],
            Statement::Reject(RejectWith::TcpReset),
            "service-port-unused",
        ),
        rule(
            vec![Match::Protocol(Protocol::Udp)],
            Statement::Reject(RejectWith::PortUnreachable),
            "service-port-unused",
        ),
        rule(
            Vec::new(),
            Statement::Reject(RejectWith::ProtocolUnreachable),
            "service-port-unused",
        ),
    ]
}

fn masquerade_rules() -> Vec<Rule> {
    let rule = |matches, comment: &str| Rule::Ours {
        matches,
        statement: Statement::Masquerade,
        comment: comment.to_owned(),
    };
    let not_in = |fields, set: &str| Match::InSet {
        fields,
        set: set.to_owned(),
        negate: true,
    };
    let hairpin = Match::InSet {
        fields: vec![Field::Source, Field::Destination],
        set: HAIRPIN.to_owned(),
        negate: false,
    };
    vec![
        rule(vec![hairpin], "hairpin"),
        rule(
            vec![
                in_set(Field::OriginalDestination, SERVICE_RANGES),
                Match::OutputInterface {
                    pattern: WORKLOAD_PATTERN.to_owned(),
                    negate: true,
                },
                not_in(vec![Field::Source, Field::Source], HAIRPIN),
            ],
            "service-remote-backend",
        ),
        rule(
            vec![
                in_set(Field::Source, NAT_POOLS),
                not_in(vec![Field::Destination], POOLS),
            ],
            "nat-outgoing",
        ),
    ]
}

fn in_set(field: Field, set: &str) -> Match {
    Match::InSet {
        fields: vec![field],
        set: set.to_owned(),
        negate: false,
    }
}

fn is_ipv4(address: &IpAddr) -> bool {
    address.is_ipv4()
}
