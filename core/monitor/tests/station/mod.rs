//! A BMP station of the tests' own: what it was told, as tables.
#![allow(dead_code, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    InPre,
    InPost,
    OutPre,
    OutPost,
    LocRib,
}

/// Attributes by type, without next hops, and the next hops' octets.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub attributes: BTreeMap<u8, Vec<u8>>,
    pub next_hop: Vec<u8>,
}

/// By prefix and path identifier.
pub type Table = BTreeMap<(String, u32), Route>;

/// Families (by AFI) with path identifiers: from the peer, to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    pub ids_in: BTreeSet<u16>,
    pub ids_out: BTreeSet<u16>,
}

/// The Loc-RIB's peer has no address.
pub const NOBODY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

#[derive(Default)]
pub struct Station {
    rest: Vec<u8>,
    pub kinds: Vec<u8>,
    pub up: BTreeMap<IpAddr, Peer>,
    pub loc_rib: bool,
    pub tables: BTreeMap<(Which, IpAddr), Table>,
    /// End-of-RIBs.
    pub ends: BTreeSet<(Which, IpAddr, u16)>,
    /// The last reports: by peer and type, for types with a family by AFI.
    pub statistics: BTreeMap<(IpAddr, u16, u16), u64>,
    /// Reasons.
    pub downs: Vec<(IpAddr, u8)>,
    pub terminated: Option<u16>,
}

fn be16(octets: &[u8]) -> u16 {
    u16::from_be_bytes([octets[0], octets[1]])
}

fn number(octets: &[u8]) -> u64 {
    octets.iter().fold(0, |n, octet| n << 8 | u64::from(*octet))
}

/// Types and values of TLVs with two octets each for type and length.
fn tlvs(mut octets: &[u8]) -> Vec<(u16, &[u8])> {
    let mut out = Vec::new();
    while !octets.is_empty() {
        let length = usize::from(be16(&octets[2..]));
        out.push((be16(octets), &octets[4..4 + length]));
        octets = &octets[4 + length..];
    }
    out
}

/// Add-path modes of an OPEN, by AFI; and its length.
fn add_path(open: &[u8]) -> (BTreeMap<u16, u8>, usize) {
    let length = usize::from(be16(&open[16..]));
    assert_eq!(open[18], 1, "an OPEN");
    let mut parameters = &open[29..length];
    let mut out = BTreeMap::new();
    while let [kind, size, rest @ ..] = parameters {
        let (mut value, after) = rest.split_at(usize::from(*size));
        parameters = after;
        while let ([code, size, rest @ ..], 2) = (value, *kind) {
            let (body, after) = rest.split_at(usize::from(*size));
            value = after;
            if *code == 69 {
                out.extend(body.chunks_exact(4).map(|each| (be16(each), each[3])));
            }
        }
    }
    (out, length)
}

pub fn attributes(mut block: &[u8]) -> Vec<(u8, &[u8])> {
    let mut out = Vec::new();
    while !block.is_empty() {
        let (head, length) = if block[0] & 0x10 == 0 {
            (3, usize::from(block[2]))
        } else {
            (4, usize::from(be16(&block[2..])))
        };
        out.push((block[1], &block[head..head + length]));
        block = &block[head + length..];
    }
    out
}

/// Prefixes with their identifiers.
fn prefixes(mut nlri: &[u8], afi: u16, ids: bool) -> Vec<(String, u32)> {
    let mut out = Vec::new();
    while !nlri.is_empty() {
        let mut id = 0;
        if ids {
            id = number(&nlri[..4]) as u32;
            nlri = &nlri[4..];
        }
        let length = nlri[0];
        let octets = usize::from(length).div_ceil(8);
        let mut whole = [0; 16];
        whole[..octets].copy_from_slice(&nlri[1..=octets]);
        let address = match afi {
            1 => IpAddr::from([whole[0], whole[1], whole[2], whole[3]]),
            _ => IpAddr::from(whole),
        };
        out.push((format!("{address}/{length}"), id));
        nlri = &nlri[1 + octets..];
    }
    out
}

impl Station {
    /// Takes octets as they come.
    pub fn take(&mut self, octets: &[u8]) {
        self.rest.extend_from_slice(octets);
        let rest = std::mem::take(&mut self.rest);
        let mut at = 0;
        while let Some(head) = rest.get(at..at + 6) {
            assert_eq!(head[0], 3, "version");
            let length = number(&head[1..5]) as usize;
            let Some(body) = rest.get(at + 6..at + length) else {
                break;
            };
            self.message(head[5], body);
            at += length;
        }
        self.rest = rest[at..].to_vec();
    }

    pub fn table(&self, which: Which, peer: IpAddr) -> Table {
        self.tables.get(&(which, peer)).cloned().unwrap_or_default()
    }

    fn message(&mut self, kind: u8, body: &[u8]) {
        assert_eq!(self.terminated, None, "nothing comes after Termination");
        assert_eq!(self.kinds.is_empty(), kind == 4, "Initiation comes first");
        self.kinds.push(kind);
        match kind {
            0 => self.route(body),
            1 => {
                let (_, peer) = self.about(body);
                let of: Vec<(u16, &[u8])> = tlvs(&body[46..]);
                assert_eq!(number(&body[42..46]), of.len() as u64);
                for (kind, value) in of {
                    let (afi, value) = if matches!(kind, 9 | 10) {
                        assert_eq!(value[2], 1, "unicast");
                        (be16(value), &value[3..])
                    } else {
                        (0, value)
                    };
                    assert_eq!(value.len(), if kind == 11 { 4 } else { 8 });
                    self.statistics.insert((peer, kind, afi), number(value));
                }
            }
            2 => self.down(body),
            3 => self.peer_up(body),
            4 => assert_eq!(
                tlvs(body).iter().map(|tlv| tlv.0).collect::<Vec<_>>(),
                [1, 2]
            ),
            5 => self.terminated = Some(be16(tlvs(body)[0].1)),
            other => panic!("message type {other}"),
        }
    }

    fn about(&self, body: &[u8]) -> (Which, IpAddr) {
        let which = match (body[0], body[1] & 0x50) {
            (3, 0) => Which::LocRib,
            (0, 0) => Which::InPre,
            (0, 0x40) => Which::InPost,
            (0, 0x10) => Which::OutPre,
            (0, 0x50) => Which::OutPost,
            other => panic!("{other:?}"),
        };
        let address: [u8; 16] = body[10..26].try_into().expect("sixteen");
        let peer = match (which, body[1] & 0x80) {
            (Which::LocRib, _) => NOBODY,
            (_, 0) => IpAddr::from([address[12], address[13], address[14], address[15]]),
            _ => IpAddr::from(address),
        };
        (which, peer)
    }

    fn peer_up(&mut self, body: &[u8]) {
        let (which, address) = self.about(body);
        let (sent, length) = add_path(&body[62..]);
        let (received, next) = add_path(&body[62 + length..]);
        let more = tlvs(&body[62 + length + next..]);
        if which == Which::LocRib {
            assert!(!std::mem::replace(&mut self.loc_rib, true));
            assert_eq!(more, [(3, &b"global"[..])]);
            return;
        }
        let both = |from: &BTreeMap<u16, u8>, to: &BTreeMap<u16, u8>| {
            let takes = |afi: &&u16| to.get(afi).is_some_and(|mode| mode & 1 != 0);
            let sends = from.iter().filter(|(_, mode)| **mode & 2 != 0);
            sends.map(|(afi, _)| afi).filter(takes).copied().collect()
        };
        let peer = Peer {
            ids_in: both(&received, &sent),
            ids_out: both(&sent, &received),
        };
        let before = self.up.insert(address, peer);
        assert_eq!(before, None, "{address} was up");
    }

    fn down(&mut self, body: &[u8]) {
        let (which, peer) = self.about(body);
        self.downs.push((peer, body[42]));
        if which == Which::LocRib {
            assert_eq!(tlvs(&body[43..]), [(3, &b"global"[..])]);
            assert!(std::mem::take(&mut self.loc_rib));
        } else {
            self.up.remove(&peer).expect("it was up");
        }
        self.tables.retain(|(_, of), _| *of != peer);
        self.ends.retain(|(_, of, _)| *of != peer);
    }

    fn route(&mut self, body: &[u8]) {
        let (which, address) = self.about(body);
        let ids = match which {
            Which::LocRib => {
                assert!(self.loc_rib, "the Loc-RIB is up");
                BTreeSet::new()
            }
            Which::InPre | Which::InPost => self.up[&address].ids_in.clone(),
            Which::OutPre | Which::OutPost => self.up[&address].ids_out.clone(),
        };
        let update = &body[42..];
        assert_eq!(usize::from(be16(&update[16..])), update.len());
        assert_eq!(update[18], 2, "an UPDATE");
        let table = self.tables.entry((which, address)).or_default();
        let length = usize::from(be16(&update[19..]));
        let (withdrawn, rest) = update[21..].split_at(length);
        let length = usize::from(be16(rest));
        let (block, nlri) = rest[2..].split_at(length);
        for key in prefixes(withdrawn, 1, ids.contains(&1)) {
            table.remove(&key);
        }
        let mut route = Route::default();
        let mut reach = None;
        for (kind, value) in attributes(block) {
            match kind {
                3 => route.next_hop = value.to_vec(),
                14 => reach = Some(value),
                15 => {
                    let afi = be16(value);
                    if value.len() == 3 {
                        self.ends.insert((which, address, afi));
                    }
                    for key in prefixes(&value[3..], afi, ids.contains(&afi)) {
                        table.remove(&key);
                    }
                }
                _ => drop(route.attributes.insert(kind, value.to_vec())),
            }
        }
        if update.len() == 23 {
            self.ends.insert((which, address, 1));
        }
        for key in prefixes(nlri, 1, ids.contains(&1)) {
            table.insert(key, route.clone());
        }
        if let Some(value) = reach {
            let (afi, hop) = (be16(value), usize::from(value[3]));
            route.next_hop = value[4..4 + hop].to_vec();
            for key in prefixes(&value[4 + hop + 1..], afi, ids.contains(&afi)) {
                table.insert(key, route.clone());
            }
        }
    }
}
