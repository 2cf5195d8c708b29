//! Conditions on the AS_PATH.

use crate::wire::attribute::{self, segment};

/// What an AS_PATH must be like; all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsPathMatch {
    /// It begins with these (Calico: `asPathPrefix`); a set (RFC 4271 §4.3) matches no number.
    pub prefix: Vec<u32>,
    /// This AS is somewhere in it, in a sequence or a set.
    pub contains: Option<u32>,
    /// It ends with this AS: who originates the route.
    pub origin: Option<u32>,
    /// Least length as the decision counts it (RFC 4271 §9.1.2.2 a).
    pub min_length: Option<u16>,
    /// Greatest length.
    pub max_length: Option<u16>,
}

impl AsPathMatch {
    /// Whether a well-formed four-octet AS_PATH matches.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        let length = || attribute::path_length(path);
        self.begins(path)
            && self
                .contains
                .is_none_or(|asn| attribute::occurrences(path, asn) > 0)
            && self.origin.is_none_or(|asn| last(path) == Some(asn))
            && self.min_length.is_none_or(|least| length() >= least)
            && self.max_length.is_none_or(|most| length() <= most)
    }

    fn begins(&self, path: &[u8]) -> bool {
        let mut wanted = self.prefix.iter();
        for (kind, numbers) in attribute::segments(path) {
            for number in attribute::numbers(numbers) {
                match wanted.next() {
                    None => return true,
                    Some(asn) if kind == segment::SEQUENCE && *asn == number => {}
                    Some(_) => return false,
                }
            }
        }
        wanted.next().is_none()
    }
}

/// The last AS, when the path ends with a sequence.
fn last(path: &[u8]) -> Option<u32> {
    let (kind, numbers) = attribute::segments(path).last()?;
    attribute::numbers(numbers)
        .next_back()
        .filter(|_| kind == segment::SEQUENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        // 65001 65002 {7 8}
        let mut path = vec![2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0xfd, 0xea];
        let plain = path.clone();
        path.extend_from_slice(&[1, 2, 0, 0, 0, 7, 0, 0, 0, 8]);
        let any = AsPathMatch::default;
        let prefix = |list: &[u32]| AsPathMatch {
            prefix: list.to_vec(),
            ..any()
        };
        assert!(any().matches(&path) && any().matches(&[]));
        assert!(prefix(&[65001]).matches(&path) && prefix(&[65001, 65002]).matches(&path));
        assert!(!prefix(&[65002]).matches(&path) && !prefix(&[65001]).matches(&[]));
        assert!(!prefix(&[65001, 65002, 7]).matches(&path), "a set");
        assert!(!prefix(&[65001, 65002, 7]).matches(&plain), "too short");
        let contains = |asn| AsPathMatch {
            contains: Some(asn),
            ..any()
        };
        assert!(contains(8).matches(&path) && !contains(9).matches(&path));
        let origin = |asn| AsPathMatch {
            origin: Some(asn),
            ..any()
        };
        assert!(origin(65002).matches(&plain) && !origin(65001).matches(&plain));
        assert!(!origin(8).matches(&path), "ends with a set");
        let between = |least, most| AsPathMatch {
            min_length: Some(least),
            max_length: Some(most),
            ..any()
        };
        assert!(between(3, 3).matches(&path) && !between(4, 9).matches(&path));
        assert!(!between(0, 2).matches(&path) && between(0, 0).matches(&[]));
    }
}
