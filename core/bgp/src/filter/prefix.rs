//! Sets of prefixes: one with its range of lengths, or a list of many.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A set of prefixes: `prefix` and what lies in it, of lengths `ge` to `le`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixMatch {
    /// The covering prefix.
    pub prefix: IpNet,
    /// Least length.
    pub ge: u8,
    /// Greatest length.
    pub le: u8,
    /// Match what is not in the set, within the same family (Calico: `NotEqual`, `NotIn`).
    pub negate: bool,
}

impl PrefixMatch {
    /// The prefix itself and nothing else.
    pub fn exact(prefix: IpNet) -> Self {
        PrefixMatch {
            prefix,
            ge: prefix.prefix_len(),
            le: prefix.prefix_len(),
            negate: false,
        }
    }

    /// The prefix and everything inside it.
    pub fn within(prefix: IpNet) -> Self {
        PrefixMatch {
            prefix,
            ge: prefix.prefix_len(),
            le: prefix.max_prefix_len(),
            negate: false,
        }
    }

    /// Whether `candidate` is in the set.
    #[inline]
    pub fn matches(&self, candidate: IpNet) -> bool {
        let same_family = matches!(
            (self.prefix, candidate),
            (IpNet::V4(_), IpNet::V4(_)) | (IpNet::V6(_), IpNet::V6(_))
        );
        let len = candidate.prefix_len();
        let inside =
            same_family && self.prefix.contains(&candidate) && (self.ge..=self.le).contains(&len);
        same_family && inside != self.negate
    }
}

/// Many sets of prefixes: a search looks once at each length that occurs, not at each entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixList {
    /// Ordered by prefix; none is negated.
    entries: Vec<PrefixMatch>,
    /// Bit n: some entry's prefix has length n.
    lengths: [u64; 3],
}

impl PrefixList {
    /// A list of these sets; `negate` is passed over.
    pub fn new(entries: impl IntoIterator<Item = PrefixMatch>) -> Self {
        let plain = |entry: PrefixMatch| PrefixMatch {
            prefix: entry.prefix.trunc(),
            negate: false,
            ..entry
        };
        let mut entries: Vec<PrefixMatch> = entries.into_iter().map(plain).collect();
        entries.sort_unstable();
        entries.dedup();
        let mut lengths = [0; 3];
        for entry in &entries {
            let length = usize::from(entry.prefix.prefix_len());
            lengths[length / 64] |= 1 << (length % 64);
        }
        PrefixList { entries, lengths }
    }

    /// Whether `candidate` is in one of the sets.
    pub fn matches(&self, candidate: IpNet) -> bool {
        (0..=candidate.prefix_len()).any(|length| {
            let at = usize::from(length);
            if self.lengths[at / 64] >> (at % 64) & 1 == 0 {
                return false;
            }
            let Some(cover) = cover(candidate, length) else {
                return false;
            };
            let from = self.entries.partition_point(|entry| entry.prefix < cover);
            self.entries[from..]
                .iter()
                .take_while(|entry| entry.prefix == cover)
                .any(|entry| (entry.ge..=entry.le).contains(&candidate.prefix_len()))
        })
    }
}

/// The prefix of this length that holds `candidate`.
fn cover(candidate: IpNet, length: u8) -> Option<IpNet> {
    Some(match candidate {
        IpNet::V4(net) => Ipv4Net::new(net.addr(), length).ok()?.trunc().into(),
        IpNet::V6(net) => Ipv6Net::new(net.addr(), length).ok()?.trunc().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    #[test]
    fn lengths_and_negation() {
        let m = PrefixMatch {
            prefix: net("10.0.0.0/8"),
            ge: 24,
            le: 26,
            negate: false,
        };
        assert!(m.matches(net("10.1.2.0/24")));
        assert!(!m.matches(net("10.1.0.0/16")));
        assert!(!m.matches(net("10.1.2.3/32")));
        let not = PrefixMatch { negate: true, ..m };
        assert!(not.matches(net("10.1.0.0/16")));
        assert!(!not.matches(net("10.1.2.0/25")));
        assert!(
            !not.matches(net("fd00::/25")),
            "another family never matches"
        );
    }

    /// The list finds what a look at each entry finds.
    #[test]
    fn list_is_its_entries() {
        let entries = [
            PrefixMatch::exact(net("10.0.0.0/8")),
            PrefixMatch::within(net("10.1.0.0/16")),
            PrefixMatch {
                ge: 20,
                le: 24,
                ..PrefixMatch::within(net("10.2.0.0/16"))
            },
            PrefixMatch::exact(net("0.0.0.0/0")),
            PrefixMatch::within(net("fd00::/8")),
            PrefixMatch::exact(net("2001:db8::1/128")),
        ];
        let list = PrefixList::new(entries);
        for text in [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.0.0.0/9",
            "10.1.0.0/16",
            "10.1.2.3/32",
            "10.2.0.0/16",
            "10.2.16.0/20",
            "10.2.1.0/25",
            "11.0.0.0/8",
            "::/0",
            "fd00::/8",
            "fd00:1::/64",
            "fe00::/8",
            "2001:db8::1/128",
        ] {
            let expected = entries.iter().any(|entry| entry.matches(net(text)));
            assert_eq!(list.matches(net(text)), expected, "{text}");
        }
        assert!(!PrefixList::default().matches(net("10.0.0.0/8")));
    }
}
