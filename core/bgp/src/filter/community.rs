//! Communities of three kinds (RFC 1997, RFC 4360, RFC 8092), and patterns of them.

use crate::wire::attribute::{self, kind};
use std::fmt;
use std::str::FromStr;

/// One community.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Community {
    /// RFC 1997: `64512:7` is `64512 << 16 | 7`.
    Standard(u32),
    /// RFC 4360, its eight octets as a number.
    Extended(u64),
    /// RFC 8092: `64512:7:9`.
    Large([u32; 3]),
}

/// Which of the three attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommunityKind {
    /// RFC 1997.
    Standard,
    /// RFC 4360.
    Extended,
    /// RFC 8092.
    Large,
}

impl CommunityKind {
    /// The attribute's type.
    pub(crate) fn attribute(self) -> u8 {
        match self {
            CommunityKind::Standard => kind::COMMUNITIES,
            CommunityKind::Extended => kind::EXTENDED_COMMUNITIES,
            CommunityKind::Large => kind::LARGE_COMMUNITY,
        }
    }

    /// Octets of one community.
    pub(crate) fn octets(self) -> usize {
        match self {
            CommunityKind::Standard => 4,
            CommunityKind::Extended => 8,
            CommunityKind::Large => 12,
        }
    }
}

/// Bits of a community, left-aligned so that all kinds compare alike.
fn bits(octets: &[u8]) -> u128 {
    octets
        .iter()
        .fold(0, |bits, octet| bits << 8 | u128::from(*octet))
}

impl Community {
    /// Which attribute it stands in.
    pub fn kind(self) -> CommunityKind {
        match self {
            Community::Standard(_) => CommunityKind::Standard,
            Community::Extended(_) => CommunityKind::Extended,
            Community::Large(_) => CommunityKind::Large,
        }
    }

    fn bits(self) -> u128 {
        match self {
            Community::Standard(value) => u128::from(value),
            Community::Extended(value) => u128::from(value),
            Community::Large([a, b, c]) => {
                u128::from(a) << 64 | u128::from(b) << 32 | u128::from(c)
            }
        }
    }

    fn of_bits(kind: CommunityKind, bits: u128) -> Self {
        let low = |shift: u32| (bits >> shift) as u32;
        match kind {
            CommunityKind::Standard => Community::Standard(low(0)),
            CommunityKind::Extended => Community::Extended(bits as u64),
            CommunityKind::Large => Community::Large([low(64), low(32), low(0)]),
        }
    }

    /// As on the wire.
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        let octets = self.bits().to_be_bytes();
        out.extend_from_slice(&octets[16 - self.kind().octets()..]);
    }
}

/// A community, or all that have some bits in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommunityMatch {
    kind: CommunityKind,
    value: u128,
    mask: u128,
}

impl From<Community> for CommunityMatch {
    fn from(community: Community) -> Self {
        CommunityMatch {
            kind: community.kind(),
            value: community.bits(),
            mask: u128::MAX,
        }
    }
}

impl CommunityMatch {
    /// Which attribute is looked at.
    pub fn kind(self) -> CommunityKind {
        self.kind
    }

    /// Whether a community as it stands in its attribute matches.
    pub(crate) fn matches(self, octets: &[u8]) -> bool {
        bits(octets) & self.mask == self.value
    }

    /// Whether one in a canonical block matches.
    pub(crate) fn is_in(self, block: &[u8]) -> bool {
        attribute::find(block, self.kind.attribute()).is_some_and(|list| {
            list.chunks_exact(self.kind.octets())
                .any(|octets| self.matches(octets))
        })
    }
}

/// All communities in a canonical block.
pub(crate) fn communities(block: &[u8]) -> impl Iterator<Item = Community> {
    let all = [
        CommunityKind::Standard,
        CommunityKind::Extended,
        CommunityKind::Large,
    ];
    all.into_iter().flat_map(|kind| {
        let list = attribute::find(block, kind.attribute()).unwrap_or_default();
        list.chunks_exact(kind.octets())
            .map(move |octets| Community::of_bits(kind, bits(octets)))
    })
}

/// Why a text is no community.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommunityError(String);

impl fmt::Display for CommunityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "community {}: wanted two numbers up to 65535 (64512:7), three numbers (64512:7:9), \
             rt:AS:NUMBER or soo:AS:NUMBER, or one of no-export, no-advertise, \
             no-export-subconfed, graceful-shutdown, blackhole, llgr-stale, no-llgr",
            self.0
        )
    }
}

impl std::error::Error for CommunityError {}

impl FromStr for Community {
    type Err = CommunityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pattern: CommunityMatch = text.parse()?;
        let full = match pattern.kind {
            CommunityKind::Standard => u128::from(u32::MAX),
            CommunityKind::Extended => u128::from(u64::MAX),
            CommunityKind::Large => (1 << 96) - 1,
        };
        if pattern.mask & full != full {
            return Err(CommunityError(text.to_owned()));
        }
        Ok(Community::of_bits(pattern.kind, pattern.value))
    }
}

/// As [`Community`], and `*` for any number: `64512:*`.
impl FromStr for CommunityMatch {
    type Err = CommunityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || CommunityError(text.to_owned());
        let known = match text {
            "graceful-shutdown" => Some(0xffff_0000), // RFC 8326
            "blackhole" => Some(0xffff_029a),         // RFC 7999
            "no-export" => Some(attribute::NO_EXPORT),
            "no-advertise" => Some(attribute::NO_ADVERTISE),
            "no-export-subconfed" => Some(attribute::NO_EXPORT_SUBCONFED),
            "llgr-stale" => Some(attribute::LLGR_STALE),
            "no-llgr" => Some(attribute::NO_LLGR),
            _ => None,
        };
        if let Some(value) = known {
            return Ok(Community::Standard(value).into());
        }
        if let Some(rest) = text.strip_prefix("rt:") {
            return extended(2, rest).ok_or_else(wrong);
        }
        if let Some(rest) = text.strip_prefix("soo:") {
            return extended(3, rest).ok_or_else(wrong);
        }
        let parts: Vec<&str> = text.split(':').collect();
        let (kind, width) = match parts.len() {
            2 => (CommunityKind::Standard, 16),
            3 => (CommunityKind::Large, 32),
            _ => return Err(wrong()),
        };
        let (mut value, mut mask) = (0u128, 0u128);
        for part in &parts {
            let (number, bits) = field(part, width).ok_or_else(wrong)?;
            value = value << width | number;
            mask = mask << width | bits;
        }
        Ok(CommunityMatch { kind, value, mask })
    }
}

/// A number of `width` bits and its mask; `*` is any.
fn field(text: &str, width: u32) -> Option<(u128, u128)> {
    if text == "*" {
        return Some((0, 0));
    }
    let plain = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    let number: u64 = text.parse().ok().filter(|_| plain)?;
    (number >> width == 0).then_some((u128::from(number), (1 << width) - 1))
}

/// Route target and route origin: two-octet AS and four octets, or four-octet AS and two
/// (RFC 4360 §3.1, RFC 5668 §2).
fn extended(subtype: u8, text: &str) -> Option<CommunityMatch> {
    let (asn, number) = text.split_once(':')?;
    let asn: u32 = asn.parse().ok()?;
    let (kind, as_width) = if asn <= 0xffff { (0u8, 16) } else { (2, 32) };
    let (number, mask) = field(number, 48 - as_width)?;
    let head = u128::from(kind) << 56 | u128::from(subtype) << 48;
    let value = head | u128::from(asn) << (48 - as_width) | number;
    let fixed = u128::MAX << (48 - as_width);
    Some(CommunityMatch {
        kind: CommunityKind::Extended,
        value,
        mask: fixed | mask,
    })
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Community::Standard(value) => write!(f, "{}:{}", value >> 16, value & 0xffff),
            Community::Large([a, b, c]) => write!(f, "{a}:{b}:{c}"),
            Community::Extended(value) => {
                let name = match value >> 48 & 0xff {
                    2 => "rt",
                    3 => "soo",
                    _ => return write!(f, "0x{value:016x}"),
                };
                match value >> 56 {
                    0 => write!(f, "{name}:{}:{}", value >> 32 & 0xffff, value & 0xffff_ffff),
                    2 => write!(f, "{name}:{}:{}", value >> 16 & 0xffff_ffff, value & 0xffff),
                    _ => write!(f, "0x{value:016x}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_octets() {
        #[track_caller]
        fn check(text: &str, octets: &[u8]) {
            let community: Community = text.parse().expect("a community");
            let mut out = Vec::new();
            community.encode(&mut out);
            assert_eq!(out, octets, "{text}");
            assert_eq!(community.to_string(), text);
            let pattern: CommunityMatch = text.parse().expect("a pattern");
            assert!(pattern.matches(octets));
            let mut other = octets.to_vec();
            other[octets.len() - 1] ^= 1;
            assert!(!pattern.matches(&other));
        }
        check("64512:7", &[0xfc, 0, 0, 7]);
        check(
            "4200000000:7:9",
            &[0xfa, 0x56, 0xea, 0, 0, 0, 0, 7, 0, 0, 0, 9],
        );
        check("rt:64512:70000", &[0, 2, 0xfc, 0, 0, 1, 0x11, 0x70]);
        check("soo:4200000000:7", &[2, 3, 0xfa, 0x56, 0xea, 0, 0, 7]);
        for wrong in [
            "", "7", "70000:1", "1:70000", "a:1", "1:2:3:4", "64512:*", "+1:2", "rt:1",
        ] {
            assert!(wrong.parse::<Community>().is_err(), "{wrong}");
        }
        let no_export: Community = "no-export".parse().expect("known");
        assert_eq!(no_export, Community::Standard(0xffff_ff01));
    }

    #[test]
    fn patterns() {
        let any: CommunityMatch = "64512:*".parse().expect("a pattern");
        assert!(any.matches(&[0xfc, 0, 1, 2]) && !any.matches(&[0xfc, 1, 1, 2]));
        let middle: CommunityMatch = "1:*:3".parse().expect("a pattern");
        assert!(middle.matches(&[0, 0, 0, 1, 9, 9, 9, 9, 0, 0, 0, 3]));
        assert!(!middle.matches(&[0, 0, 0, 1, 9, 9, 9, 9, 0, 0, 0, 4]));
        let target: CommunityMatch = "rt:64512:*".parse().expect("a pattern");
        assert!(target.matches(&[0, 2, 0xfc, 0, 5, 5, 5, 5]));
        assert!(!target.matches(&[0, 3, 0xfc, 0, 5, 5, 5, 5]));
    }
}
