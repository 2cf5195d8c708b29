//! BGP messages: a writer for what the peers say, a reader for what a counting receiver must know. IPv4 only.
//!
//! Written apart from `core/bgp`, so that a fault there cannot hide behind the same fault here.

use std::net::Ipv4Addr;

/// Octets before a message's body. Source: RFC 4271 §4.1.
pub const HEADER: usize = 19;
/// The longest message. Source: RFC 4271 §4.1.
pub const LONGEST: usize = 4096;

/// Message types. Source: RFC 4271 §4.1.
pub mod kind {
    #![expect(missing_docs, reason = "the names are the RFC's")]
    pub const OPEN: u8 = 1;
    pub const UPDATE: u8 = 2;
    pub const NOTIFICATION: u8 = 3;
    pub const KEEPALIVE: u8 = 4;
    /// Source: RFC 2918 §3.
    pub const ROUTE_REFRESH: u8 = 5;
}

/// An IPv4 prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    /// Bits beyond `length` are zero.
    pub address: u32,
    /// In bits.
    pub length: u8,
}

impl Prefix {
    fn write(self, out: &mut Vec<u8>) {
        out.push(self.length);
        out.extend_from_slice(&self.address.to_be_bytes()[..octets(self.length)]);
    }
}

fn octets(length: u8) -> usize {
    usize::from(length).div_ceil(8)
}

/// Appends one message around what `body` appends.
pub fn message(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0xff; 16]);
    out.extend_from_slice(&[0, 0, kind]);
    body(out);
    let length = out.len() - start;
    assert!(length <= LONGEST, "a message of {length} octets");
    out[start + 16..start + 18].copy_from_slice(&(length as u16).to_be_bytes());
}

/// An OPEN with the capabilities IPv4 unicast, route refresh and four-octet AS numbers, and nothing else: no graceful
/// restart and no extended messages change what is measured.
pub fn open(asn: u32, hold_seconds: u16, identifier: Ipv4Addr) -> Vec<u8> {
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 2, 0, 65, 4];
    capabilities.extend_from_slice(&asn.to_be_bytes());
    open_with(asn, hold_seconds, identifier, &capabilities)
}

/// An OPEN with these capabilities, as they stand in the message.
pub fn open_with(
    asn: u32,
    hold_seconds: u16,
    identifier: Ipv4Addr,
    capabilities: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, kind::OPEN, |out| {
        out.push(4);
        out.extend_from_slice(&u16::try_from(asn).unwrap_or(23456).to_be_bytes());
        out.extend_from_slice(&hold_seconds.to_be_bytes());
        out.extend_from_slice(&identifier.octets());
        let length = capabilities.len() as u8;
        out.extend_from_slice(&[length + 2, 2, length]);
        out.extend_from_slice(capabilities);
    });
    out
}

/// A KEEPALIVE.
pub fn keepalive() -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, kind::KEEPALIVE, |_| ());
    out
}

/// The End-of-RIB marker of IPv4 unicast. Source: RFC 4724 §2.
pub fn end_of_rib() -> Vec<u8> {
    let mut out = Vec::new();
    message(&mut out, kind::UPDATE, |out| out.extend_from_slice(&[0; 4]));
    out
}

/// One set of path attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// 0 IGP, 2 INCOMPLETE.
    pub origin: u8,
    /// One sequence.
    pub as_path: Vec<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// Whether ATOMIC_AGGREGATE is there.
    pub atomic_aggregate: bool,
    /// COMMUNITIES.
    pub communities: Vec<u32>,
    /// LARGE_COMMUNITY.
    pub large_communities: Vec<[u32; 3]>,
}

/// Appends one path attribute; an extended length where it is needed.
pub fn attribute(out: &mut Vec<u8>, flags: u8, code: u8, value: &[u8]) {
    match u8::try_from(value.len()) {
        Ok(length) => out.extend_from_slice(&[flags, code, length]),
        Err(_) => {
            out.extend_from_slice(&[flags | 0x10, code]);
            out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(value);
}

/// Numbers as octets.
pub fn words<'a>(values: impl IntoIterator<Item = &'a u32>) -> Vec<u8> {
    values.into_iter().flat_map(|v| v.to_be_bytes()).collect()
}

impl Attributes {
    fn write(&self, next_hop: Ipv4Addr, out: &mut Vec<u8>) {
        attribute(out, 0x40, 1, &[self.origin]);
        let mut path = Vec::new();
        if !self.as_path.is_empty() {
            path.extend_from_slice(&[2, self.as_path.len() as u8]);
            path.extend(words(&self.as_path));
        }
        attribute(out, 0x40, 2, &path);
        attribute(out, 0x40, 3, &next_hop.octets());
        if let Some(med) = self.med {
            attribute(out, 0x80, 4, &med.to_be_bytes());
        }
        if let Some(preference) = self.local_pref {
            attribute(out, 0x40, 5, &preference.to_be_bytes());
        }
        if self.atomic_aggregate {
            attribute(out, 0x40, 6, &[]);
        }
        if !self.communities.is_empty() {
            attribute(out, 0xc0, 8, &words(&self.communities));
        }
        if !self.large_communities.is_empty() {
            attribute(
                out,
                0xc0,
                32,
                &words(self.large_communities.iter().flatten()),
            );
        }
    }
}

/// Appends one UPDATE that announces `prefixes`, which must fit a message.
pub fn announce(
    out: &mut Vec<u8>,
    attributes: &Attributes,
    next_hop: Ipv4Addr,
    prefixes: &[Prefix],
) {
    message(out, kind::UPDATE, |out| {
        out.extend_from_slice(&[0; 4]);
        let start = out.len();
        attributes.write(next_hop, out);
        let length = (out.len() - start) as u16;
        out[start - 2..start].copy_from_slice(&length.to_be_bytes());
        prefixes.iter().for_each(|prefix| prefix.write(out));
    });
}

/// Appends UPDATEs that withdraw `prefixes`, as many in each as fit.
pub fn withdraw(out: &mut Vec<u8>, prefixes: &[Prefix]) {
    let room = (LONGEST - HEADER - 4) / 5;
    for some in prefixes.chunks(room) {
        message(out, kind::UPDATE, |out| {
            out.extend_from_slice(&[0; 2]);
            let start = out.len();
            some.iter().for_each(|prefix| prefix.write(out));
            let length = (out.len() - start) as u16;
            out[start - 2..start].copy_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&[0; 2]);
        });
    }
}

/// What a receiver looks at in an UPDATE.
#[derive(Debug, PartialEq, Eq)]
pub struct Update<'a> {
    /// Prefixes that are gone, encoded.
    pub withdrawn: &'a [u8],
    /// Prefixes that have these attributes now, encoded.
    pub nlri: &'a [u8],
    /// The value of AS_PATH, four octets a number; empty when there is none.
    pub as_path: &'a [u8],
}

fn be16(bytes: &[u8], at: usize) -> Option<usize> {
    let pair = bytes.get(at..at + 2)?;
    Some(usize::from(u16::from_be_bytes([pair[0], pair[1]])))
}

/// Takes the body of an UPDATE apart; `None` when a length in it is wrong.
pub fn read_update(body: &[u8]) -> Option<Update<'_>> {
    let (withdrawn, rest) = body.get(2..)?.split_at_checked(be16(body, 0)?)?;
    let (mut attributes, nlri) = rest.get(2..)?.split_at_checked(be16(rest, 0)?)?;
    let mut as_path = &[][..];
    while let [flags, code, ..] = *attributes {
        let (length, start) = match flags & 0x10 {
            0 => (usize::from(*attributes.get(2)?), 3),
            _ => (be16(attributes, 2)?, 4),
        };
        let (value, rest) = attributes.get(start..)?.split_at_checked(length)?;
        if code == 2 {
            as_path = value;
        }
        attributes = rest;
    }
    attributes.is_empty().then_some(Update {
        withdrawn,
        nlri,
        as_path,
    })
}

/// The first AS of a path that is not `own`, and its last; 0 where there is none.
pub fn path_ends(as_path: &[u8], own: u32) -> (u32, u32) {
    let (mut first, mut last) = (0, 0);
    let mut rest = as_path;
    while let [_, count, ..] = *rest {
        let Some((segment, after)) = rest[2..].split_at_checked(usize::from(count) * 4) else {
            break;
        };
        for number in segment.chunks_exact(4) {
            last = u32::from_be_bytes([number[0], number[1], number[2], number[3]]);
            if first == 0 && last != own {
                first = last;
            }
        }
        rest = after;
    }
    (first, last)
}

/// Calls `each` for the prefixes of a field; false when the field is malformed.
#[inline]
pub fn each_prefix(mut field: &[u8], mut each: impl FnMut(Prefix)) -> bool {
    while let Some((&length, rest)) = field.split_first() {
        let count = octets(length);
        let (Some(octets), true) = (rest.get(..count), length <= 32) else {
            return false;
        };
        let mut address = [0; 4];
        address[..count].copy_from_slice(octets);
        each(Prefix {
            address: u32::from_be_bytes(address),
            length,
        });
        field = &rest[count..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(field: &[u8]) -> Option<Vec<Prefix>> {
        let mut found = Vec::new();
        each_prefix(field, |prefix| found.push(prefix)).then_some(found)
    }

    #[test]
    fn announcements_and_withdrawals_are_read_back() {
        let sent: Vec<Prefix> = (0..3000)
            .map(|i| Prefix {
                address: i << 8,
                length: 24,
            })
            .collect();
        let attributes = Attributes {
            as_path: vec![65000, 65001, 3356, 4_200_000_000],
            communities: (0..80).collect(),
            med: Some(7),
            ..Attributes::default()
        };
        let mut out = Vec::new();
        announce(
            &mut out,
            &attributes,
            Ipv4Addr::new(10, 0, 0, 1),
            &sent[..9],
        );
        assert_eq!(be16(&out, 16), Some(out.len()));
        let update = read_update(&out[HEADER..]).expect("well formed");
        assert_eq!(path_ends(update.as_path, 65000), (65001, 4_200_000_000));
        assert_eq!(prefixes(update.nlri).expect("well formed"), sent[..9]);
        assert!(update.withdrawn.is_empty());

        out.clear();
        withdraw(&mut out, &sent);
        let (mut rest, mut back) = (out.as_slice(), Vec::new());
        while !rest.is_empty() {
            let (one, after) = rest.split_at(be16(rest, 16).expect("a header"));
            assert!(one.len() <= LONGEST);
            let update = read_update(&one[HEADER..]).expect("well formed");
            back.extend(prefixes(update.withdrawn).expect("well formed"));
            rest = after;
        }
        assert_eq!(back, sent);
    }

    #[test]
    fn wrong_lengths_are_seen() {
        for body in [
            &[0][..],
            &[0, 9, 0, 0],
            &[0, 0, 0, 4, 0x40, 1, 200, 0],
            &[0, 0, 0, 1, 0x40],
        ] {
            assert_eq!(read_update(body), None, "{body:?}");
        }
        assert_eq!(prefixes(&[24, 1, 2]), None);
        assert_eq!(prefixes(&[33, 1, 2, 3, 4, 5]), None);
        assert_eq!(
            prefixes(&[8, 10]),
            Some(vec![Prefix {
                address: 10 << 24,
                length: 8
            }])
        );
    }
}
