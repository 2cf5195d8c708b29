//! Attributes of a session with AS numbers of two octets, as one with four would have them
//! (RFC 6793 §4.2.3).

use crate::update::{attributes, kind, put};

const AS_TRANS: u32 = 23456;
/// Segment types (RFC 4271 §4.3, RFC 5065 §3).
const AS_SET: u8 = 1;
const AS_SEQUENCE: u8 = 2;

/// A segment: its type and numbers.
type Segment = (u8, Vec<u32>);

/// Reads an AS_PATH whose numbers have so many octets.
fn read(mut path: &[u8], width: usize) -> Option<Vec<Segment>> {
    let mut out = Vec::new();
    while let [kind, count, rest @ ..] = path {
        let (numbers, rest) = rest.split_at_checked(usize::from(*count) * width)?;
        let number = |octets: &[u8]| octets.iter().fold(0, |n, octet| n << 8 | u32::from(*octet));
        out.push((*kind, numbers.chunks_exact(width).map(number).collect()));
        path = rest;
    }
    path.is_empty().then_some(out)
}

fn write(path: &[Segment]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, numbers) in path {
        out.extend_from_slice(&[*kind, numbers.len() as u8]);
        numbers
            .iter()
            .for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
    }
    out
}

/// How many ASes a segment counts as; a set is one, and what is within a confederation none.
fn length((kind, numbers): &Segment) -> usize {
    match *kind {
        AS_SET => 1,
        AS_SEQUENCE => numbers.len(),
        _ => 0,
    }
}

/// AS4_PATH, and before it what of AS_PATH it does not have.
fn merge(old: Vec<Segment>, new: Vec<Segment>) -> Vec<Segment> {
    let total = |path: &[Segment]| path.iter().map(length).sum::<usize>();
    let Some(mut more) = total(&old).checked_sub(total(&new)) else {
        return old;
    };
    let mut out = Vec::new();
    for (kind, mut numbers) in old {
        let of = length(&(kind, numbers.clone()));
        if of > 0 && more == 0 {
            break;
        }
        if kind == AS_SEQUENCE {
            numbers.truncate(more);
        }
        more -= of.min(more);
        out.push((kind, numbers));
    }
    out.extend(new);
    out
}

/// `None` when it is malformed.
pub(crate) fn widen(block: &[u8]) -> Option<Vec<u8>> {
    let find = |wanted| attributes(block).find(|(kind, ..)| *kind == wanted);
    let value = |wanted| find(wanted).map(|(_, value, _)| value);
    let aggregator = match value(kind::AGGREGATOR) {
        Some([a, b, id @ ..]) if id.len() == 4 => Some((u32::from(*a) << 8 | u32::from(*b), id)),
        Some(_) => return None,
        None => None,
    };
    let new_aggregator = value(kind::AS4_AGGREGATOR).filter(|value| value.len() == 8);
    // An aggregator with a number of its own knew nothing of the new attributes, and they are old.
    let outdated = new_aggregator.is_some() && aggregator.is_some_and(|(asn, _)| asn != AS_TRANS);
    let new_path = value(kind::AS4_PATH).filter(|_| !outdated);
    let mut out = Vec::with_capacity(block.len() + 64);
    let mut seen = 0;
    for (kind, value, whole) in attributes(block) {
        seen += whole.len();
        match kind {
            kind::AS_PATH => {
                let mut path = read(value, 2)?;
                // What is malformed in AS4_PATH is passed over (RFC 6793 §6).
                if let Some(new) = new_path.and_then(|new| read(new, 4)) {
                    path = merge(path, new);
                }
                put(&mut out, 0x40, kind, &write(&path));
            }
            kind::AGGREGATOR => {
                let (asn, id) = aggregator?;
                let wide = [&asn.to_be_bytes(), id].concat();
                let value = new_aggregator.filter(|_| !outdated).unwrap_or(&wide);
                put(&mut out, whole[0] & 0xe0, kind, value);
            }
            kind::AS4_PATH | kind::AS4_AGGREGATOR => {}
            _ => out.extend_from_slice(whole),
        }
    }
    (seen == block.len()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(parts: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (kind, value) in parts {
            put(&mut out, 0xc0, *kind, value);
        }
        out
    }

    #[track_caller]
    fn check(parts: &[(u8, &[u8])], path: &[u8], aggregator: Option<&[u8]>) {
        let out = widen(&block(parts)).expect("well-formed");
        let find = |wanted| attributes(&out).find(|(kind, ..)| *kind == wanted);
        assert_eq!(find(2).map(|(_, value, _)| value), Some(path));
        assert_eq!(find(7).map(|(_, value, _)| value), aggregator);
        assert!(find(17).is_none() && find(18).is_none());
    }

    #[test]
    fn paths() {
        // Numbers that fit.
        let plain: &[u8] = &[2, 2, 0xfd, 0xe9, 0, 7];
        check(&[(2, plain)], &[2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0, 7], None);
        check(&[(2, &[])], &[], None);
        // One that did not: it is in AS4_PATH, which somebody without it has not prepended to.
        let old: &[u8] = &[2, 3, 0, 9, 0x5b, 0xa0, 0, 7];
        let new: &[u8] = &[2, 2, 0xfa, 0x56, 0xea, 1, 0, 0, 0, 7];
        let merged = [&[2, 1, 0, 0, 0, 9], new].concat();
        check(&[(2, old), (17, new)], &merged, None);
        // A set counts as one.
        let old: &[u8] = &[2, 1, 0, 9, 1, 2, 0, 5, 0x5b, 0xa0];
        let new: &[u8] = &[1, 2, 0, 0, 0, 5, 0xfa, 0x56, 0xea, 1];
        let merged = [&[2, 1, 0, 0, 0, 9], new].concat();
        check(&[(2, old), (17, new)], &merged, None);
        // Longer than AS_PATH: it is not of this route.
        let long: &[u8] = &[2, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        check(
            &[(2, plain), (17, long)],
            &[2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0, 7],
            None,
        );
        for wrong in [&[2, 2, 0, 1][..], &[2]] {
            assert_eq!(widen(&block(&[(2, wrong)])), None);
        }
    }

    #[test]
    fn aggregators() {
        let path: (u8, &[u8]) = (2, &[2, 1, 0, 7]);
        let wide: &[u8] = &[2, 1, 0, 0, 0, 7];
        let new: (u8, &[u8]) = (18, &[0xfa, 0x56, 0xea, 1, 10, 0, 0, 1]);
        let trans: (u8, &[u8]) = (7, &[0x5b, 0xa0, 10, 0, 0, 1]);
        let own: (u8, &[u8]) = (7, &[0, 7, 10, 0, 0, 2]);
        let other: (u8, &[u8]) = (17, &[2, 1, 0, 0, 0, 8]);
        check(&[path, trans, new], wide, Some(new.1));
        check(&[path, own], wide, Some(&[0, 0, 0, 7, 10, 0, 0, 2]));
        // Both new attributes are older than this aggregator; the control is the line after.
        check(
            &[path, own, other, new],
            wide,
            Some(&[0, 0, 0, 7, 10, 0, 0, 2]),
        );
        check(&[path, trans, other, new], other.1, Some(new.1));
    }
}
