//! UPDATEs as octets (RFC 4271 §4.3, RFC 4760 §3, RFC 7911 §3).

use bgp::NextHop;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};

/// Attribute types that are looked at here.
pub(crate) mod kind {
    pub const AS_PATH: u8 = 2;
    pub const NEXT_HOP: u8 = 3;
    pub const LOCAL_PREF: u8 = 5;
    pub const AGGREGATOR: u8 = 7;
    pub const ORIGINATOR_ID: u8 = 9;
    pub const CLUSTER_LIST: u8 = 10;
    pub const MP_REACH: u8 = 14;
    pub const MP_UNREACH: u8 = 15;
    pub const AS4_PATH: u8 = 17;
    pub const AS4_AGGREGATOR: u8 = 18;
}

const EXTENDED: u8 = 0x10;
/// Of MP_REACH_NLRI and MP_UNREACH_NLRI.
const OPTIONAL: u8 = 0x80;
const TRANSITIVE: u8 = 0x40;

/// Marker, length and type.
pub(crate) const HEADER: usize = 19;
pub(crate) const OPEN: u8 = 1;
pub(crate) const UPDATE: u8 = 2;
pub(crate) const KEEPALIVE: u8 = 4;

/// A message of this type.
pub(crate) fn message(kind: u8, body: &[&[u8]]) -> Vec<u8> {
    let length = HEADER + body.iter().map(|part| part.len()).sum::<usize>();
    let mut out = vec![0xff; 16];
    let field = u16::try_from(length).expect("messages here are cut to what fits");
    out.extend_from_slice(&field.to_be_bytes());
    out.push(kind);
    body.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// An OPEN with IPv4 and IPv6 unicast, AS numbers of four octets, and `more` capabilities.
pub(crate) fn open(asn: u32, id: Ipv4Addr, hold_time_s: u16, more: &[u8]) -> Vec<u8> {
    let short = u16::try_from(asn).unwrap_or(23456);
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 65, 4];
    capabilities.extend_from_slice(&asn.to_be_bytes());
    capabilities.extend_from_slice(more);
    let length = capabilities.len() as u8;
    let body: [&[u8]; 6] = [
        &[4],
        &short.to_be_bytes(),
        &hold_time_s.to_be_bytes(),
        &id.octets(),
        &[length + 2, 2, length],
        &capabilities,
    ];
    message(OPEN, &body)
}

/// The attributes of a block: type, value, and the whole with flags and length. Ends early where
/// one runs over the end.
pub(crate) fn attributes(mut block: &[u8]) -> impl Iterator<Item = (u8, &[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (flags, kind) = (*block.first()?, *block.get(1)?);
        let (head, length) = if flags & EXTENDED == 0 {
            (3, usize::from(*block.get(2)?))
        } else {
            let field = block.get(2..4)?;
            (4, usize::from(u16::from_be_bytes([field[0], field[1]])))
        };
        let whole = block.get(..head + length)?;
        block = &block[head + length..];
        Some((kind, &whole[head..], whole))
    })
}

/// Appends one attribute; long ones get the extended length.
pub(crate) fn put(out: &mut Vec<u8>, flags: u8, kind: u8, value: &[u8]) {
    match u8::try_from(value.len()) {
        Ok(length) => out.extend_from_slice(&[flags, kind, length]),
        Err(_) => {
            out.extend_from_slice(&[flags | EXTENDED, kind]);
            let length = u16::try_from(value.len()).expect("attributes fit a message");
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(value);
}

/// Puts an attribute where its type belongs in a block that has none of it.
pub(crate) fn insert(block: &[u8], flags: u8, kind: u8, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + value.len() + 4);
    let mut rest = block;
    for (other, _, whole) in attributes(block) {
        if other > kind {
            break;
        }
        out.extend_from_slice(whole);
        rest = &rest[whole.len()..];
    }
    put(&mut out, flags, kind, value);
    out.extend_from_slice(rest);
    out
}

/// NEXT_HOP as an attribute of `block`.
pub(crate) fn with_next_hop(block: &[u8], hop: [u8; 4]) -> Vec<u8> {
    insert(block, TRANSITIVE, kind::NEXT_HOP, &hop)
}

/// The octets of a next hop as MP_REACH_NLRI has them (RFC 2545 §3).
pub(crate) fn next_hop(hop: &NextHop) -> Vec<u8> {
    match (hop.address, hop.link_local) {
        (IpAddr::V4(address), _) => address.octets().to_vec(),
        (IpAddr::V6(address), None) => address.octets().to_vec(),
        (IpAddr::V6(address), Some(local)) => [address.octets(), local.octets()].concat(),
    }
}

/// MP_REACH_NLRI with next hop and prefixes as an attribute of `block`.
pub(crate) fn with_mp_reach(block: &[u8], afi: u16, hop: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut value = afi.to_be_bytes().to_vec();
    value.extend_from_slice(&[1, hop.len() as u8]);
    value.extend_from_slice(hop);
    value.push(0);
    value.extend_from_slice(nlri);
    insert(block, OPTIONAL, kind::MP_REACH, &value)
}

/// Address family number of a prefix.
pub(crate) fn afi(prefix: &IpNet) -> u16 {
    match prefix {
        IpNet::V4(_) => 1,
        IpNet::V6(_) => 2,
    }
}

/// Appends a prefix as in NLRI.
pub(crate) fn put_prefix(out: &mut Vec<u8>, prefix: &IpNet, path_id: Option<u32>) {
    if let Some(id) = path_id {
        out.extend_from_slice(&id.to_be_bytes());
    }
    let octets = usize::from(prefix.prefix_len()).div_ceil(8);
    out.push(prefix.prefix_len());
    match prefix.network() {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()[..octets]),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()[..octets]),
    }
}

/// An UPDATE that announces prefixes of one family; `nlri` as [`put_prefix`] writes it.
pub(crate) fn announce(afi: u16, block: &[u8], hop: &NextHop, nlri: &[u8]) -> Vec<u8> {
    if let (1, IpAddr::V4(address)) = (afi, hop.address) {
        let block = with_next_hop(block, address.octets());
        let length = (block.len() as u16).to_be_bytes();
        return message(UPDATE, &[&[0, 0], &length, &block, nlri]);
    }
    let block = with_mp_reach(block, afi, &next_hop(hop), nlri);
    let length = (block.len() as u16).to_be_bytes();
    message(UPDATE, &[&[0, 0], &length, &block])
}

/// An UPDATE that withdraws prefixes of one family.
pub(crate) fn withdraw(afi: u16, nlri: &[u8]) -> Vec<u8> {
    if afi == 1 {
        let length = (nlri.len() as u16).to_be_bytes();
        return message(UPDATE, &[&length, nlri, &[0, 0]]);
    }
    let mut value = afi.to_be_bytes().to_vec();
    value.push(1);
    value.extend_from_slice(nlri);
    let mut block = Vec::new();
    put(&mut block, OPTIONAL, kind::MP_UNREACH, &value);
    let length = (block.len() as u16).to_be_bytes();
    message(UPDATE, &[&[0, 0], &length, &block])
}

/// End-of-RIB (RFC 4724 §2).
pub(crate) fn end_of_rib(afi: u16) -> Vec<u8> {
    withdraw(afi, &[])
}
