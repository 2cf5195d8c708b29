//! Path attributes in canonical form, and what the decision needs of them.
//!
//! Canonical: NEXT_HOP and the multiprotocol attributes left out, ordered by type, flags as the
//! RFCs give them, the extended length bit only where needed, AS numbers of four octets. Equal
//! routes then have equal octets, so a set of attributes can be interned by its octets.

use super::{be16, be32};
use std::net::Ipv4Addr;

/// Attribute types.
pub(crate) mod kind {
    pub const ORIGIN: u8 = 1;
    pub const AS_PATH: u8 = 2;
    pub const NEXT_HOP: u8 = 3;
    pub const MED: u8 = 4;
    pub const LOCAL_PREF: u8 = 5;
    pub const ATOMIC_AGGREGATE: u8 = 6;
    pub const AGGREGATOR: u8 = 7;
    pub const COMMUNITIES: u8 = 8;
    pub const ORIGINATOR_ID: u8 = 9;
    pub const CLUSTER_LIST: u8 = 10;
    pub const MP_REACH: u8 = 14;
    pub const MP_UNREACH: u8 = 15;
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    pub const AS4_PATH: u8 = 17;
    pub const AS4_AGGREGATOR: u8 = 18;
    pub const LARGE_COMMUNITY: u8 = 32;
    pub const ONLY_TO_CUSTOMER: u8 = 35;
}

/// Attribute flags.
pub(crate) mod flag {
    pub const OPTIONAL: u8 = 0x80;
    pub const TRANSITIVE: u8 = 0x40;
    pub const PARTIAL: u8 = 0x20;
    pub const EXTENDED: u8 = 0x10;
}

/// AS_PATH segment types.
pub(crate) mod segment {
    pub const SET: u8 = 1;
    pub const SEQUENCE: u8 = 2;
}

/// Communities that the export rules know (RFC 1997).
pub(crate) const NO_EXPORT: u32 = 0xffff_ff01;
pub(crate) const NO_ADVERTISE: u32 = 0xffff_ff02;
pub(crate) const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;

/// Communities of long-lived graceful restart (RFC 9494 §3.2, §3.3).
pub(crate) const LLGR_STALE: u32 = 0xffff_0006;
pub(crate) const NO_LLGR: u32 = 0xffff_0007;

/// LOCAL_PREF where there is none.
pub(crate) const DEFAULT_LOCAL_PREF: u32 = 100;

/// Appends one attribute.
pub(crate) fn put(out: &mut Vec<u8>, flags: u8, kind: u8, value: &[u8]) {
    match u8::try_from(value.len()) {
        Ok(length) => out.extend_from_slice(&[flags & !flag::EXTENDED, kind, length]),
        Err(_) => {
            let length = u16::try_from(value.len()).expect("attributes fit a message");
            out.extend_from_slice(&[flags | flag::EXTENDED, kind]);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(value);
}

/// One attribute as it stands in a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribute<'a> {
    pub flags: u8,
    pub kind: u8,
    pub value: &'a [u8],
    /// With flags, type and length.
    pub whole: &'a [u8],
}

/// Cuts the first attribute off `block`; `None` when it runs over the end.
#[inline]
pub(crate) fn next(block: &[u8]) -> Option<(Attribute<'_>, &[u8])> {
    let flags = *block.first()?;
    let kind = *block.get(1)?;
    let (length, head) = if flags & flag::EXTENDED != 0 {
        (usize::from(be16(block, 2)?), 4)
    } else {
        (usize::from(*block.get(2)?), 3)
    };
    let whole = block.get(..head + length)?;
    Some((
        Attribute {
            flags,
            kind,
            value: &whole[head..],
            whole,
        },
        &block[head + length..],
    ))
}

/// The attributes of a well-formed block, in order.
pub(crate) fn each(mut block: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    std::iter::from_fn(move || {
        let (attribute, rest) = next(block)?;
        block = rest;
        Some(attribute)
    })
}

/// Puts an attribute that is not there into a canonical block.
pub(crate) fn insert(block: &mut Vec<u8>, flags: u8, kind: u8, value: &[u8]) {
    let before = each(block).take_while(|a| a.kind < kind);
    let at = before.map(|a| a.whole.len()).sum();
    let tail = block.split_off(at);
    put(block, flags, kind, value);
    block.extend_from_slice(&tail);
}

/// The value of an attribute in a canonical block.
pub(crate) fn find(block: &[u8], wanted: u8) -> Option<&[u8]> {
    each(block).find(|a| a.kind == wanted).map(|a| a.value)
}

/// Whether a canonical block has this community (RFC 1997).
pub(crate) fn has_community(block: &[u8], community: u32) -> bool {
    find(block, kind::COMMUNITIES).is_some_and(|list| numbers(list).any(|c| c == community))
}

/// The segments of a well-formed four-octet AS_PATH: type and AS numbers.
pub(crate) fn segments(mut path: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [kind, count, rest @ ..] = path else {
            return None;
        };
        let (numbers, tail) = rest.split_at_checked(usize::from(*count) * 4)?;
        path = tail;
        Some((*kind, numbers))
    })
}

/// AS numbers of a segment.
pub(crate) fn numbers(segment: &[u8]) -> impl DoubleEndedIterator<Item = u32> {
    segment
        .as_chunks::<4>()
        .0
        .iter()
        .map(|octets| u32::from_be_bytes(*octets))
}

/// Path length as the decision counts it: a set counts once (RFC 4271 §9.1.2.2 a).
pub(crate) fn path_length(path: &[u8]) -> u16 {
    segments(path)
        .map(|(kind, s)| match kind {
            segment::SEQUENCE => (s.len() / 4) as u16,
            segment::SET => 1,
            _ => 0,
        })
        .fold(0, u16::saturating_add)
}

/// How often `asn` is in the path.
pub(crate) fn occurrences(path: &[u8], asn: u32) -> usize {
    segments(path)
        .flat_map(|(_, s)| numbers(s))
        .filter(|n| *n == asn)
        .count()
}

/// How far a route may go, by its communities (RFC 1997).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    #[default]
    Anywhere,
    /// NO_EXPORT, NO_EXPORT_SUBCONFED.
    OwnAs,
    /// NO_ADVERTISE.
    Nobody,
}

/// What decision and export would otherwise read from the octets each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub local_pref: u32,
    /// 0 when there is none (RFC 4271 §9.1.2.2 c).
    pub med: u32,
    /// First AS of the path; 0 for an empty one or one that starts with a set.
    pub neighbor_as: u32,
    pub path_length: u16,
    pub cluster_length: u8,
    pub origin: u8,
    /// ORIGINATOR_ID.
    pub originator: Option<Ipv4Addr>,
    pub scope: Scope,
    /// LLGR_STALE is there (RFC 9494 §3.2).
    pub llgr_stale: bool,
    /// ONLY_TO_CUSTOMER is there (RFC 9234 §5).
    pub only_to_customer: bool,
}

// One for each attribute set: the sets of a full table are a hundred thousand.
const _: () = assert!(size_of::<Record>() == 24);

impl Record {
    /// Reads a canonical block.
    pub fn read(block: &[u8]) -> Self {
        let mut record = Record {
            local_pref: DEFAULT_LOCAL_PREF,
            ..Record::default()
        };
        for attribute in each(block) {
            let value = attribute.value;
            match attribute.kind {
                kind::ORIGIN => record.origin = value.first().copied().unwrap_or(2),
                kind::AS_PATH => {
                    record.path_length = path_length(value);
                    record.neighbor_as = segments(value)
                        .next()
                        .filter(|(kind, _)| *kind == segment::SEQUENCE)
                        .and_then(|(_, s)| be32(s, 0))
                        .unwrap_or(0);
                }
                kind::MED => record.med = be32(value, 0).unwrap_or(0),
                kind::LOCAL_PREF => record.local_pref = be32(value, 0).unwrap_or(0),
                kind::ORIGINATOR_ID => record.originator = be32(value, 0).map(Ipv4Addr::from),
                kind::CLUSTER_LIST => record.cluster_length = (value.len() / 4).min(255) as u8,
                kind::ONLY_TO_CUSTOMER => record.only_to_customer = true,
                kind::COMMUNITIES => {
                    for community in numbers(value) {
                        match community {
                            NO_EXPORT | NO_EXPORT_SUBCONFED => {
                                record.scope = record.scope.max(Scope::OwnAs);
                            }
                            NO_ADVERTISE => record.scope = Scope::Nobody,
                            LLGR_STALE => record.llgr_stale = true,
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        record
    }
}

/// A path in the usual notation: `65001 {65002 65003}`.
pub(crate) fn path_text(path: &[u8]) -> String {
    let mut words = Vec::new();
    for (kind, s) in segments(path) {
        let list: Vec<String> = numbers(s).map(|n| n.to_string()).collect();
        if kind == segment::SET {
            words.push(format!("{{{}}}", list.join(" ")));
        } else {
            words.extend(list);
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_of_a_block() {
        let mut block = Vec::new();
        put(&mut block, 0x40, kind::ORIGIN, &[0]);
        let mut path = vec![2, 2];
        for asn in [65001u32, 4_200_000_000] {
            path.extend_from_slice(&asn.to_be_bytes());
        }
        path.extend_from_slice(&[1, 2, 0, 0, 0, 7, 0, 0, 0, 8]);
        put(&mut block, 0x40, kind::AS_PATH, &path);
        put(&mut block, 0x80, kind::MED, &5u32.to_be_bytes());
        put(
            &mut block,
            0xc0,
            kind::COMMUNITIES,
            &NO_EXPORT.to_be_bytes(),
        );
        put(&mut block, 0x80, kind::ORIGINATOR_ID, &[10, 0, 0, 7]);
        put(
            &mut block,
            0x80,
            kind::CLUSTER_LIST,
            &[244, 0, 0, 1, 244, 0, 0, 2],
        );
        let record = Record::read(&block);
        let expected = Record {
            local_pref: 100,
            med: 5,
            neighbor_as: 65001,
            path_length: 3,
            cluster_length: 2,
            origin: 0,
            originator: Some(Ipv4Addr::new(10, 0, 0, 7)),
            scope: Scope::OwnAs,
            llgr_stale: false,
            only_to_customer: false,
        };
        assert_eq!(record, expected);
        assert_eq!(
            path_text(find(&block, kind::AS_PATH).expect("there")),
            "65001 4200000000 {7 8}"
        );
        assert_eq!(occurrences(&path, 8), 1);
    }

    #[test]
    fn communities_that_mean_something() {
        let read = |list: &[u32]| {
            let mut block = Vec::new();
            let value: Vec<u8> = list.iter().flat_map(|c| c.to_be_bytes()).collect();
            put(&mut block, 0xc0, kind::COMMUNITIES, &value);
            assert!(list.iter().all(|c| has_community(&block, *c)));
            assert!(!has_community(&block, 1), "the control");
            let record = Record::read(&block);
            (record.scope, record.llgr_stale)
        };
        assert_eq!(read(&[7]), (Scope::Anywhere, false));
        assert_eq!(read(&[NO_EXPORT_SUBCONFED]), (Scope::OwnAs, false));
        assert_eq!(read(&[NO_ADVERTISE, NO_EXPORT]), (Scope::Nobody, false));
        assert_eq!(read(&[7, LLGR_STALE]), (Scope::Anywhere, true));
        assert_eq!(read(&[NO_LLGR]), (Scope::Anywhere, false));
    }

    #[test]
    fn long_values_get_the_extended_length() {
        let mut block = Vec::new();
        put(&mut block, 0xc0, kind::COMMUNITIES, &[1; 256]);
        assert_eq!(&block[..4], &[0xd0, 8, 1, 0]);
        let (attribute, rest) = next(&block).expect("whole");
        assert_eq!((attribute.value.len(), rest.len()), (256, 0));
        assert!(next(&block[..200]).is_none());
    }
}
