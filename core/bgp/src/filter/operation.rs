//! What a rule that accepts does to the attributes.

use super::community::{Community, CommunityKind, CommunityMatch};
use crate::wire::attribute::{self, flag, kind, put, segment};
use std::net::IpAddr;

/// One change of the attributes of an accepted route. Several are done in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Adds a community where it is not there (Calico: `addCommunity`).
    AddCommunity(Community),
    /// Removes all that match; an attribute left empty goes.
    RemoveCommunities(CommunityMatch),
    /// Removes all communities of a kind. Followed by additions it sets them.
    ClearCommunities(CommunityKind),
    /// Puts these before the path, the first of them foremost (Calico: `prependASPath`). What
    /// eBGP itself prepends on export comes before them.
    PrependAsPath(Vec<u32>),
    /// LOCAL_PREF (Calico: `setPriority`, as 2^31 - 1 less the priority). Not sent to eBGP peers.
    SetLocalPref(u32),
    /// MULTI_EXIT_DISC; set on export it is sent to eBGP peers too.
    SetMed(u32),
    /// The next hop, for routes of its own family.
    SetNextHop(IpAddr),
}

/// The next hop that the operations set, if any, of this family.
pub(crate) fn next_hop(operations: &[Operation], ipv4: bool) -> Option<IpAddr> {
    operations
        .iter()
        .rev()
        .find_map(|operation| match operation {
            Operation::SetNextHop(address) => Some(*address).filter(|a| a.is_ipv4() == ipv4),
            Operation::AddCommunity(_)
            | Operation::RemoveCommunities(_)
            | Operation::ClearCommunities(_)
            | Operation::PrependAsPath(_)
            | Operation::SetLocalPref(_)
            | Operation::SetMed(_) => None,
        })
}

/// True when the operations set MULTI_EXIT_DISC.
pub(crate) fn sets_med(operations: &[Operation]) -> bool {
    operations
        .iter()
        .any(|operation| matches!(operation, Operation::SetMed(_)))
}

/// The canonical block that the operations make of a canonical block.
pub(crate) fn apply(operations: &[Operation], block: &[u8]) -> Vec<u8> {
    let mut block = block.to_vec();
    for operation in operations {
        block = match operation {
            Operation::AddCommunity(community) => add(&block, *community),
            Operation::RemoveCommunities(pattern) => {
                remove(&block, pattern.kind(), |octets| pattern.matches(octets))
            }
            Operation::ClearCommunities(kind) => remove(&block, *kind, |_| true),
            Operation::PrependAsPath(list) => {
                let path = attribute::find(&block, kind::AS_PATH).unwrap_or_default();
                let path = list
                    .iter()
                    .rev()
                    .fold(path.to_vec(), |path, asn| prepend(&path, *asn));
                replace(&block, flag::TRANSITIVE, kind::AS_PATH, Some(&path))
            }
            Operation::SetLocalPref(value) => {
                let value = value.to_be_bytes();
                replace(&block, flag::TRANSITIVE, kind::LOCAL_PREF, Some(&value))
            }
            Operation::SetMed(value) => {
                let value = value.to_be_bytes();
                replace(&block, flag::OPTIONAL, kind::MED, Some(&value))
            }
            Operation::SetNextHop(_) => continue,
        };
    }
    block
}

/// The path with one more AS in front (RFC 4271 §5.1.2).
#[inline]
pub(crate) fn prepend(path: &[u8], asn: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 6);
    match path {
        [segment::SEQUENCE, count, rest @ ..] if *count < 255 => {
            out.extend_from_slice(&[segment::SEQUENCE, count + 1]);
            out.extend_from_slice(&asn.to_be_bytes());
            out.extend_from_slice(rest);
        }
        _ => {
            out.extend_from_slice(&[segment::SEQUENCE, 1]);
            out.extend_from_slice(&asn.to_be_bytes());
            out.extend_from_slice(path);
        }
    }
    out
}

const COMMUNITY_FLAGS: u8 = flag::OPTIONAL | flag::TRANSITIVE;

fn add(block: &[u8], community: Community) -> Vec<u8> {
    if CommunityMatch::from(community).is_in(block) {
        return block.to_vec();
    }
    let kind = community.kind().attribute();
    let mut list = attribute::find(block, kind).unwrap_or_default().to_vec();
    community.encode(&mut list);
    replace(block, COMMUNITY_FLAGS, kind, Some(&list))
}

fn remove(block: &[u8], kind: CommunityKind, gone: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let list = attribute::find(block, kind.attribute()).unwrap_or_default();
    let kept: Vec<u8> = list
        .chunks_exact(kind.octets())
        .filter(|octets| !gone(octets))
        .flatten()
        .copied()
        .collect();
    let value = (!kept.is_empty()).then_some(&kept[..]);
    replace(block, COMMUNITY_FLAGS, kind.attribute(), value)
}

/// The block with this attribute in its place, or without it.
fn replace(block: &[u8], flags: u8, kind: u8, value: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::with_capacity(block.len() + 16);
    let mut pending = value;
    for a in attribute::each(block) {
        if a.kind >= kind
            && let Some(value) = pending.take()
        {
            put(&mut out, flags, kind, value);
        }
        if a.kind != kind {
            out.extend_from_slice(a.whole);
        }
    }
    if let Some(value) = pending {
        put(&mut out, flags, kind, value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(parts: &[(u8, u8, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (flags, kind, value) in parts {
            put(&mut out, *flags, *kind, value);
        }
        out
    }

    const ORIGIN: (u8, u8, &[u8]) = (0x40, 1, &[0]);
    const PATH: (u8, u8, &[u8]) = (0x40, 2, &[2, 1, 0, 0, 0xfd, 0xe9]);

    #[track_caller]
    fn check(operations: &[Operation], input: &[(u8, u8, &[u8])], expected: &[(u8, u8, &[u8])]) {
        assert_eq!(apply(operations, &block(input)), block(expected));
    }

    #[test]
    fn communities() {
        let one = Community::Standard(64512 << 16 | 1);
        let two = Community::Standard(64512 << 16 | 2);
        let with_one: &[_] = &[ORIGIN, PATH, (0xc0, 8, &[0xfc, 0, 0, 1])];
        let with_both: &[_] = &[ORIGIN, PATH, (0xc0, 8, &[0xfc, 0, 0, 1, 0xfc, 0, 0, 2])];
        let add = Operation::AddCommunity;
        check(&[add(one)], &[ORIGIN, PATH], with_one);
        check(&[add(one)], with_one, with_one);
        check(&[add(two)], with_one, with_both);
        check(
            &[Operation::RemoveCommunities(two.into())],
            with_both,
            with_one,
        );
        let any: CommunityMatch = "64512:*".parse().expect("a pattern");
        check(
            &[Operation::RemoveCommunities(any)],
            with_both,
            &[ORIGIN, PATH],
        );
        let clear = Operation::ClearCommunities(CommunityKind::Standard);
        check(&[clear, add(one)], with_both, with_one);
        // Each kind has its attribute, and attributes stand in order.
        let large = Community::Large([1, 2, 3]);
        let extended = Community::Extended(0x0002_fc00_0000_0007);
        check(
            &[add(large), add(extended)],
            with_one,
            &[
                ORIGIN,
                PATH,
                with_one[2],
                (0xc0, 16, &[0, 2, 0xfc, 0, 0, 0, 0, 7]),
                (0xc0, 32, &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3]),
            ],
        );
    }

    #[test]
    fn numbers_and_path() {
        check(
            &[
                Operation::SetLocalPref(7),
                Operation::SetMed(9),
                Operation::PrependAsPath(vec![64512, 64513]),
                Operation::SetNextHop([10, 0, 0, 1].into()),
            ],
            &[ORIGIN, PATH, (0xc0, 8, &[1; 4])],
            &[
                ORIGIN,
                (
                    0x40,
                    2,
                    &[2, 3, 0, 0, 0xfc, 0, 0, 0, 0xfc, 1, 0, 0, 0xfd, 0xe9],
                ),
                (0x80, 4, &[0, 0, 0, 9]),
                (0x40, 5, &[0, 0, 0, 7]),
                (0xc0, 8, &[1; 4]),
            ],
        );
        let hops = [
            Operation::SetNextHop([10, 0, 0, 1].into()),
            Operation::SetNextHop([10, 0, 0, 2].into()),
        ];
        assert_eq!(next_hop(&hops, true), Some([10, 0, 0, 2].into()));
        assert_eq!(next_hop(&hops, false), None);
    }

    #[test]
    fn full_segment_starts_a_new_one() {
        let mut path = vec![2, 255];
        path.resize(2 + 255 * 4, 1);
        let longer = prepend(&path, 7);
        assert_eq!(&longer[..8], &[2, 1, 0, 0, 0, 7, 2, 255]);
    }
}
