//! MRT records (RFC 6396), with add-path (RFC 8050).
//!
//! ```text
//! timestamp (4)  type (2)  subtype (2)  length (4)  [microseconds (4), in BGP4MP_ET]  ...
//! ```

pub use crate::mrt_read::{
    BgpMessage, Error, Peer, PeerIndexTable, Record, Records, Rib, RibEntry, StateChange,
};
use crate::update::{afi, next_hop, put_prefix, with_next_hop};
use bgp::{Family, RibAttributes, RibPath, RibSlice, SessionView};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

pub(crate) const TABLE_DUMP_V2: u16 = 13;
pub(crate) const BGP4MP: u16 = 16;
pub(crate) const BGP4MP_ET: u16 = 17;

/// Subtypes of TABLE_DUMP_V2.
pub(crate) mod table {
    pub const PEER_INDEX_TABLE: u16 = 1;
    pub const RIB_IPV4_UNICAST: u16 = 2;
    pub const RIB_IPV6_UNICAST: u16 = 4;
    pub const RIB_IPV4_UNICAST_ADDPATH: u16 = 8;
    pub const RIB_IPV6_UNICAST_ADDPATH: u16 = 10;
}

/// Subtypes of BGP4MP and BGP4MP_ET.
pub(crate) mod bgp4mp {
    pub const STATE_CHANGE: u16 = 0;
    pub const MESSAGE: u16 = 1;
    pub const MESSAGE_AS4: u16 = 4;
    pub const STATE_CHANGE_AS4: u16 = 5;
    pub const MESSAGE_ADDPATH: u16 = 8;
    pub const MESSAGE_AS4_ADDPATH: u16 = 9;
}

/// Starts a record; [`finish`] writes its length.
fn begin(out: &mut Vec<u8>, time_s: u32, kind: u16, subtype: u16) -> usize {
    out.extend_from_slice(&time_s.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&subtype.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.len()
}

fn finish(out: &mut [u8], body: usize) {
    let length = u32::try_from(out.len() - body).expect("records are small");
    out[body - 4..body].copy_from_slice(&length.to_be_bytes());
}

fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
    }
}

/// The peers of a table dump: PEER_INDEX_TABLE (RFC 6396 §4.3.1). The first one is the speaker
/// itself, with the address 0.0.0.0.
pub struct PeerIndex {
    peers: Vec<Peer>,
    id: Ipv4Addr,
    by_number: BTreeMap<u16, u16>,
}

impl PeerIndex {
    /// Of a speaker with this identifier and AS.
    pub fn new(id: Ipv4Addr, local_as: u32, sessions: &[SessionView]) -> Self {
        let own = Peer {
            id,
            address: Ipv4Addr::UNSPECIFIED.into(),
            asn: local_as,
        };
        let others = sessions.iter().map(|session| Peer {
            id: session.remote_id,
            address: session.remote.ip().to_canonical(),
            asn: session.remote_as,
        });
        let numbers = std::iter::once(0).chain(sessions.iter().map(|session| session.number));
        PeerIndex {
            peers: std::iter::once(own).chain(others).collect(),
            id,
            by_number: numbers.zip(0..).collect(),
        }
    }

    /// Appends the record.
    pub fn write(&self, time_s: u32, out: &mut Vec<u8>) {
        let body = begin(out, time_s, TABLE_DUMP_V2, table::PEER_INDEX_TABLE);
        out.extend_from_slice(&self.id.octets());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(self.peers.len() as u16).to_be_bytes());
        for peer in &self.peers {
            // AS numbers of four octets, and an IPv6 address or not.
            out.push(2 | u8::from(peer.address.is_ipv6()));
            out.extend_from_slice(&peer.id.octets());
            put_address(out, peer.address);
            out.extend_from_slice(&peer.asn.to_be_bytes());
        }
        finish(out, body);
    }

    /// Appends the RIB records of a slice: of each prefix the paths that count, the best one first.
    /// `sequence` is that of the first record; returns that of the next. Paths of peers that came
    /// after the index was made are left out.
    pub fn write_slice(
        &self,
        slice: &RibSlice,
        time_s: u32,
        mut sequence: u32,
        out: &mut Vec<u8>,
    ) -> u32 {
        for paths in slice.paths.chunk_by(|a, b| a.prefix == b.prefix) {
            let entry = |path: &RibPath| {
                let index = *self.by_number.get(&path.peer)?;
                Some((index, path.path_id, path.used?))
            };
            let entries: Vec<(u16, u32, u32)> = paths.iter().filter_map(entry).collect();
            let (plain, numbered) = entries.iter().partition::<Vec<_>, _>(|entry| entry.1 == 0);
            for entries in [plain, numbered] {
                if !entries.is_empty() {
                    let head = (time_s, sequence);
                    write_rib(head, &paths[0], &entries, &slice.sets, out);
                    sequence += 1;
                }
            }
        }
        sequence
    }
}

/// RIB_IPV4_UNICAST and its kin (RFC 6396 §4.3.2, RFC 8050 §4.1): entries all with or all without
/// path identifiers.
fn write_rib(
    (time_s, sequence): (u32, u32),
    net: &RibPath,
    entries: &[(u16, u32, u32)],
    sets: &[RibAttributes],
    out: &mut Vec<u8>,
) {
    let numbered = entries.iter().any(|entry| entry.1 != 0);
    let subtype = match (afi(&net.prefix), numbered) {
        (1, false) => table::RIB_IPV4_UNICAST,
        (1, true) => table::RIB_IPV4_UNICAST_ADDPATH,
        (_, false) => table::RIB_IPV6_UNICAST,
        (_, true) => table::RIB_IPV6_UNICAST_ADDPATH,
    };
    let body = begin(out, time_s, TABLE_DUMP_V2, subtype);
    out.extend_from_slice(&sequence.to_be_bytes());
    put_prefix(out, &net.prefix, None);
    out.extend_from_slice(&(entries.len() as u16).to_be_bytes());
    for (index, path_id, set) in entries {
        out.extend_from_slice(&index.to_be_bytes());
        out.extend_from_slice(&time_s.to_be_bytes());
        if numbered {
            out.extend_from_slice(&path_id.to_be_bytes());
        }
        let block = table_attributes(&sets[*set as usize]);
        out.extend_from_slice(&(block.len() as u16).to_be_bytes());
        out.extend_from_slice(&block);
    }
    finish(out, body);
}

/// Attributes as a table dump has them: of MP_REACH_NLRI only the next hop (RFC 6396 §4.3.4).
fn table_attributes(set: &RibAttributes) -> Vec<u8> {
    match set.next_hop.address {
        IpAddr::V4(address) => with_next_hop(&set.octets, address.octets()),
        IpAddr::V6(_) => {
            let hop = next_hop(&set.next_hop);
            let value = [&[hop.len() as u8], &hop[..]].concat();
            crate::update::insert(&set.octets, 0x80, crate::update::kind::MP_REACH, &value)
        }
    }
}

/// Whether records of this type are read and written here.
pub fn is_known(kind: u16) -> bool {
    matches!(kind, TABLE_DUMP_V2 | BGP4MP | BGP4MP_ET)
}

/// Whether the prefixes of an UPDATE have path identifiers, on a session with them in these
/// families (RFC 8050 §3): as the first of its routes has.
pub fn has_ids(message: &[u8], ids_in: &[Family]) -> bool {
    let first = || {
        let body = message.get(crate::update::HEADER..)?;
        let length = |at: usize| {
            Some(usize::from(u16::from_be_bytes(
                *body.get(at..)?.first_chunk()?,
            )))
        };
        let withdrawn = length(0)?;
        let attributes = length(2 + withdrawn)?;
        let block = body.get(4 + withdrawn..)?.get(..attributes)?;
        let mp = crate::update::attributes(block).find_map(|(kind, value, _)| {
            use crate::update::kind::{MP_REACH, MP_UNREACH};
            let afi = value
                .get(1)
                .filter(|_| matches!(kind, MP_REACH | MP_UNREACH));
            afi.copied()
        });
        let plain = withdrawn > 0 || body.len() > 4 + withdrawn + attributes;
        Some(if plain { 1 } else { mp.unwrap_or(1) })
    };
    let family = match first() {
        Some(2) => Family::Ipv6,
        Some(_) | None => Family::Ipv4,
    };
    ids_in.contains(&family)
}

/// The two ends of a session, as BGP4MP records name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The peer's AS.
    pub remote_as: u32,
    /// Ours.
    pub local_as: u32,
    /// The peer's address.
    pub remote: IpAddr,
    /// Ours, of the same family.
    pub local: IpAddr,
}

fn begin_bgp4mp(out: &mut Vec<u8>, at: Duration, subtype: u16, ends: &Ends, as4: bool) -> usize {
    let body = begin(out, at.as_secs() as u32, BGP4MP_ET, subtype);
    out.extend_from_slice(&at.subsec_micros().to_be_bytes());
    for asn in [ends.remote_as, ends.local_as] {
        if as4 {
            out.extend_from_slice(&asn.to_be_bytes());
        } else {
            let short = u16::try_from(asn).unwrap_or(23456);
            out.extend_from_slice(&short.to_be_bytes());
        }
    }
    let family = if ends.remote.is_ipv4() { 1 } else { 2 };
    out.extend_from_slice(&[0, 0, 0, family]);
    put_address(out, ends.remote);
    put_address(out, ends.local);
    body
}

/// Appends a BGP message as it was received (RFC 6396 §4.4.2, §4.4.3, RFC 8050 §3), with
/// microseconds (§3). `as4`: its AS numbers are of four octets; `ids`: its prefixes have path
/// identifiers.
pub fn write_message(
    at: Duration,
    ends: &Ends,
    (as4, ids): (bool, bool),
    message: &[u8],
    out: &mut Vec<u8>,
) {
    let subtype = match (as4, ids) {
        (true, false) => bgp4mp::MESSAGE_AS4,
        (true, true) => bgp4mp::MESSAGE_AS4_ADDPATH,
        (false, false) => bgp4mp::MESSAGE,
        (false, true) => bgp4mp::MESSAGE_ADDPATH,
    };
    let body = begin_bgp4mp(out, at, subtype, ends, as4);
    out.extend_from_slice(message);
    finish(out, body);
}

/// Appends a change of a session's state (RFC 6396 §4.4.1, §4.4.4); states are numbered as there,
/// 1 is Idle, 6 Established.
pub fn write_state_change(at: Duration, ends: &Ends, states: (u16, u16), out: &mut Vec<u8>) {
    let body = begin_bgp4mp(out, at, bgp4mp::STATE_CHANGE_AS4, ends, true);
    out.extend_from_slice(&states.0.to_be_bytes());
    out.extend_from_slice(&states.1.to_be_bytes());
    finish(out, body);
}
