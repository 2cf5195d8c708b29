//! One nftables table as a value: sets, maps, chains and the few kinds of rule that are used here.
//!
//! What changes often is elements; chains and rules stay the same from a node's start to its end. The words are those of nft(8).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::input::Protocol;

/// The name of our table in each family.
pub const TABLE_NAME: &str = "selvedge";

/// Address family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4: `table ip`.
    Ip,
    /// IPv6: `table ip6`.
    Ip6,
}

/// A table with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftTable {
    /// Family.
    pub family: Family,
    /// Name, always [`TABLE_NAME`] for ours.
    pub name: String,
    /// Sets by name.
    pub sets: BTreeMap<String, NftSet>,
    /// Maps by name.
    pub maps: BTreeMap<String, NftMap>,
    /// Chains by name.
    pub chains: BTreeMap<String, NftChain>,
}

/// The type of one part of a set's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyType {
    /// `ipv4_addr` or `ipv6_addr`, by the table's family.
    Address,
    /// `inet_proto`.
    Protocol,
    /// `inet_service`.
    Port,
    /// A number from a hash. It has no name of its own in nft; `typeof meta length` is the 32 bit number in host order that every
    /// version of nft can list again (1.0.6 ends with a segmentation fault on `typeof jhash`).
    Slot,
}

/// One part of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Value {
    /// An address.
    Address(IpAddr),
    /// A prefix, in a set of intervals.
    Prefix(IpNet),
    /// A transport protocol.
    Protocol(Protocol),
    /// A port.
    Port(u16),
    /// A slot number.
    Slot(u32),
    /// An element that somebody else put there and that none of ours can equal; the number tells several apart.
    Foreign(u32),
}

/// An element of a set, or a map's key: its parts in order.
pub type Element = Vec<Value>;

/// A named set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftSet {
    /// Types of the key's parts.
    pub key: Vec<KeyType>,
    /// `flags interval`: its elements are prefixes.
    pub interval: bool,
    /// Its elements.
    pub elements: BTreeSet<Element>,
}

/// What a map gives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Datum {
    /// `goto` this chain.
    Goto(String),
    /// An address.
    Address(IpAddr),
    /// A port.
    Port(u16),
    /// Something that none of ours can equal.
    Foreign,
}

/// The type of what a map gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DatumType {
    /// `verdict`.
    Verdict,
    /// `ipv4_addr` or `ipv6_addr`.
    Address,
    /// `inet_service`.
    Port,
}

/// A named map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftMap {
    /// Types of the key's parts.
    pub key: Vec<KeyType>,
    /// Type of what it gives.
    pub datum: DatumType,
    /// Its elements.
    #[serde(with = "crate::pairs")]
    pub elements: BTreeMap<Element, Datum>,
}

/// Where in a packet's way a base chain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// Before the routing decision.
    Prerouting,
    /// To this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
    /// After the routing decision.
    Postrouting,
}

/// The type of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainType {
    /// `filter`.
    Filter,
    /// `nat`: sees the first packet of a tracked connection only.
    Nat,
}

/// What makes a chain a base chain. Its policy is always accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Base {
    /// Type.
    pub chain_type: ChainType,
    /// Hook.
    pub hook: Hook,
    /// Priority; lower ones come first (raw -300, connection tracking -200, dstnat -100, filter 0, srcnat 100).
    pub priority: i32,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftChain {
    /// Hook and priority, or `None` for a chain that is only jumped to.
    pub base: Option<Base>,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// What a match or a map key reads from a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Field {
    /// `ip saddr`.
    Source,
    /// `ip daddr`.
    Destination,
    /// `ct original ip daddr`: where the connection's first packet wanted to go.
    OriginalDestination,
    /// `meta l4proto`.
    Protocol,
    /// `th sport`.
    SourcePort,
    /// `th dport`.
    DestinationPort,
}

/// A condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Match {
    /// The input interface's name fits this pattern (`iifname "cali*"`).
    InputInterface {
        /// A name, or its beginning and `*`.
        pattern: String,
        /// Holds when it does not.
        negate: bool,
    },
    /// The output interface's name fits this pattern (`oifname "cali*"`).
    OutputInterface {
        /// A name, or its beginning and `*`.
        pattern: String,
        /// Holds when it does not.
        negate: bool,
    },
    /// The fields together are an element of a set.
    InSet {
        /// The fields in the order of the set's key.
        fields: Vec<Field>,
        /// The set's name.
        set: String,
        /// Holds when they are not.
        negate: bool,
    },
    /// The routing tables lead to no device for the destination (`fib daddr oif missing`): no route, blackhole or unreachable.
    /// For an address of this host it holds as well.
    NoRoute,
    /// The destination's route leaves by an interface whose name fits this pattern (`fib daddr oifname "cali*"`).
    RouteInterface {
        /// A name, or its beginning and `*`.
        pattern: String,
        /// Holds when it does not.
        negate: bool,
    },
    /// The destination is not an address of this host (`fib daddr type != local`).
    NotLocal,
    /// `icmp type echo-request`.
    EchoRequest,
    /// `meta l4proto`.
    Protocol(Protocol),
    /// `th dport != 0`: the packet has ports.
    HasPort,
    /// `ct state invalid`: connection tracking can make nothing of the packet.
    Invalid,
}

/// How a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RejectWith {
    /// ICMP type 3 code 1 (RFC 792).
    HostUnreachable,
    /// ICMP type 3 code 2.
    ProtocolUnreachable,
    /// ICMP type 3 code 3.
    PortUnreachable,
    /// A TCP segment with RST (RFC 9293 §3.5.2).
    TcpReset,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Statement {
    /// The packet is not tracked.
    NoTrack,
    /// To another chain, and back.
    Jump(String),
    /// `FIELDS vmap @map`: to the chain that the map names, and not back.
    VerdictMap {
        /// The key.
        fields: Vec<Field>,
        /// The map's name.
        map: String,
    },
    /// `dnat to KEY map @addresses : KEY map @ports` with the key `FIELDS . jhash HASHED mod SLOTS`.
    ///
    /// Two maps, not one of address and port: nft 1.0.6 accepts a rule with such a map only in the transaction that makes the
    /// map, or, by the type `tcp dport`, silently makes the rule one for TCP alone.
    DnatBySlot {
        /// The key but for the slot.
        fields: Vec<Field>,
        /// What is hashed to a slot.
        hashed: Vec<Field>,
        /// How many slots.
        slots: u32,
        /// The map with the addresses.
        addresses: String,
        /// The map with the ports.
        ports: String,
    },
    /// `dnat to ADDRESS`.
    Dnat(IpAddr),
    /// `masquerade`.
    Masquerade,
    /// `reject with …`.
    Reject(RejectWith),
    /// `drop`.
    Drop,
}

/// A rule: all conditions hold, then the statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rule {
    /// One of ours.
    Ours {
        /// Conditions, all of which must hold.
        matches: Vec<Match>,
        /// What is done then.
        statement: Statement,
        /// Shown by `nft list`: the name of the reason.
        comment: String,
    },
    /// One that is not written as ours are.
    Foreign(String),
}

/// One change in a transaction. All of a transaction's changes happen, or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NftChange {
    /// Makes the table where it is missing.
    AddTable(Family),
    /// Removes the table with everything in it.
    DeleteTable(Family),
    /// Makes an empty set.
    AddSet(Family, String, NftSetShape),
    /// Removes a set.
    DeleteSet(Family, String),
    /// Makes an empty map.
    AddMap(Family, String, NftMapShape),
    /// Removes a map.
    DeleteMap(Family, String),
    /// Adds elements to a set.
    AddElements(Family, String, BTreeSet<Element>),
    /// Removes elements from a set.
    DeleteElements(Family, String, BTreeSet<Element>),
    /// Adds elements to a map.
    AddMapElements(
        Family,
        String,
        #[serde(with = "crate::pairs")] BTreeMap<Element, Datum>,
    ),
    /// Removes elements from a map.
    DeleteMapElements(
        Family,
        String,
        #[serde(with = "crate::pairs")] BTreeMap<Element, Datum>,
    ),
    /// Removes all elements of a set.
    FlushSet(Family, String),
    /// Removes all elements of a map.
    FlushMap(Family, String),
    /// Makes a chain without rules.
    AddChain(Family, String, Option<Base>),
    /// Removes all rules of a chain.
    FlushChain(Family, String),
    /// Removes an empty chain.
    DeleteChain(Family, String),
    /// Appends a rule.
    AddRule(Family, String, Rule),
}

/// A set but for its elements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftSetShape {
    /// Types of the key's parts.
    pub key: Vec<KeyType>,
    /// `flags interval`.
    pub interval: bool,
}

/// A map but for its elements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NftMapShape {
    /// Types of the key's parts.
    pub key: Vec<KeyType>,
    /// Type of what it gives.
    pub datum: DatumType,
}
