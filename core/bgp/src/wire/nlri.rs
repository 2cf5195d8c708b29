//! Prefixes on the wire (RFC 4271 §4.3), and as keys of tables.

use crate::Family;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::fmt::Debug;
use std::hash::Hash;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A prefix of one family: address bits with host bits zero, and a length.
pub(crate) trait Key: Copy + Eq + Ord + Hash + Debug + Default {
    const FAMILY: Family;
    /// Greatest length in bits.
    const BITS: u8;

    /// From a length of at most `BITS` and its octets, which are enough for it.
    fn from_wire(len: u8, octets: &[u8]) -> Self;
    fn length(self) -> u8;
    /// All its addresses are multicast ones (RFC 5771, RFC 4291 §2.7).
    fn is_multicast(self) -> bool;
    /// Appends length and octets.
    fn encode(self, out: &mut Vec<u8>);
    /// Two words to hash.
    fn words(self) -> (u64, u64);
    fn to_net(self) -> IpNet;
    /// `None` for another family.
    fn from_net(net: IpNet) -> Option<Self>;
}

/// An IPv4 prefix.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct V4 {
    addr: u32,
    len: u8,
}

/// An IPv6 prefix, in halves so that it aligns to eight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) struct V6 {
    hi: u64,
    lo: u64,
    len: u8,
}

impl Key for V4 {
    const FAMILY: Family = Family::Ipv4;
    const BITS: u8 = 32;

    #[inline]
    fn from_wire(len: u8, octets: &[u8]) -> Self {
        let mut word = [0u8; 4];
        let n = octets.len().min(4);
        word[..n].copy_from_slice(&octets[..n]);
        let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
        V4 {
            addr: u32::from_be_bytes(word) & mask,
            len,
        }
    }

    fn length(self) -> u8 {
        self.len
    }

    #[inline]
    fn is_multicast(self) -> bool {
        self.addr >> 28 == 0xe && self.len >= 4
    }

    #[inline]
    fn encode(self, out: &mut Vec<u8>) {
        let n = usize::from(self.len).div_ceil(8);
        let octets = self.addr.to_be_bytes();
        let buffer = [self.len, octets[0], octets[1], octets[2], octets[3]];
        out.extend_from_slice(&buffer[..=n]);
    }

    #[inline]
    fn words(self) -> (u64, u64) {
        (u64::from(self.addr) << 8 | u64::from(self.len), 0)
    }

    fn to_net(self) -> IpNet {
        let net = Ipv4Net::new(Ipv4Addr::from(self.addr), self.len);
        IpNet::V4(net.expect("lengths are at most 32"))
    }

    fn from_net(net: IpNet) -> Option<Self> {
        match net.trunc() {
            IpNet::V4(net) => Some(V4 {
                addr: net.addr().into(),
                len: net.prefix_len(),
            }),
            IpNet::V6(_) => None,
        }
    }
}

impl Key for V6 {
    const FAMILY: Family = Family::Ipv6;
    const BITS: u8 = 128;

    #[inline]
    fn from_wire(len: u8, octets: &[u8]) -> Self {
        let mut word = [0u8; 16];
        let n = octets.len().min(16);
        word[..n].copy_from_slice(&octets[..n]);
        let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
        let bits = u128::from_be_bytes(word) & mask;
        V6 {
            hi: (bits >> 64) as u64,
            lo: bits as u64,
            len,
        }
    }

    fn length(self) -> u8 {
        self.len
    }

    #[inline]
    fn is_multicast(self) -> bool {
        self.hi >> 56 == 0xff && self.len >= 8
    }

    #[inline]
    fn encode(self, out: &mut Vec<u8>) {
        let n = usize::from(self.len).div_ceil(8);
        out.push(self.len);
        out.extend_from_slice(&self.bits().to_be_bytes()[..n]);
    }

    #[inline]
    fn words(self) -> (u64, u64) {
        (self.hi, self.lo.rotate_left(8) ^ u64::from(self.len) << 1)
    }

    fn to_net(self) -> IpNet {
        let net = Ipv6Net::new(Ipv6Addr::from(self.bits()), self.len);
        IpNet::V6(net.expect("lengths are at most 128"))
    }

    fn from_net(net: IpNet) -> Option<Self> {
        match net.trunc() {
            IpNet::V6(net) => {
                let bits = u128::from(net.addr());
                Some(V6 {
                    hi: (bits >> 64) as u64,
                    lo: bits as u64,
                    len: net.prefix_len(),
                })
            }
            IpNet::V4(_) => None,
        }
    }
}

impl V6 {
    fn bits(self) -> u128 {
        u128::from(self.hi) << 64 | u128::from(self.lo)
    }
}

/// In which families a peer's prefixes come with path identifiers (RFC 7911 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    pub ipv4: bool,
    pub ipv6: bool,
}

impl Ids {
    pub fn of(self, family: Family) -> bool {
        match family {
            Family::Ipv4 => self.ipv4,
            Family::Ipv6 => self.ipv6,
        }
    }

    pub fn set(&mut self, family: Family) {
        match family {
            Family::Ipv4 => self.ipv4 = true,
            Family::Ipv6 => self.ipv6 = true,
        }
    }
}

/// Octets of a prefix with its path identifier, if it has one.
#[inline]
pub(crate) fn octets<K: Key>(id: Option<u32>, key: K) -> usize {
    usize::from(id.is_some()) * 4 + 1 + usize::from(key.length()).div_ceil(8)
}

/// Appends a prefix after its path identifier, if it has one.
#[inline]
pub(crate) fn put<K: Key>(out: &mut Vec<u8>, id: Option<u32>, key: K) {
    if let Some(id) = id {
        out.extend_from_slice(&id.to_be_bytes());
    }
    key.encode(out);
}

/// As [`is_valid`], each prefix after a path identifier if `ids`.
pub(crate) fn is_valid_with<K: Key>(field: &[u8], ids: bool) -> bool {
    if !ids {
        return is_valid::<K>(field);
    }
    let mut rest = field;
    while let [_, _, _, _, len, tail @ ..] = rest {
        let n = usize::from(*len).div_ceil(8);
        if *len > K::BITS || tail.len() < n {
            return false;
        }
        rest = &tail[n..];
    }
    rest.is_empty()
}

/// As [`decode`], for prefixes with path identifiers.
pub(crate) fn decode_with_ids<K: Key>(field: &[u8], out: &mut Vec<K>, ids: &mut Vec<u32>) {
    let mut rest = field;
    while let [a, b, c, d, len, tail @ ..] = rest {
        let n = usize::from(*len).div_ceil(8).min(tail.len());
        ids.push(u32::from_be_bytes([*a, *b, *c, *d]));
        out.push(K::from_wire(*len, &tail[..n]));
        rest = &tail[n..];
    }
}

/// True when `field` is a run of whole prefixes with legal lengths.
pub(crate) fn is_valid<K: Key>(mut field: &[u8]) -> bool {
    while let [len, rest @ ..] = field {
        let n = usize::from(*len).div_ceil(8);
        if *len > K::BITS || rest.len() < n {
            return false;
        }
        field = &rest[n..];
    }
    true
}

/// Appends the prefixes of a field that [`is_valid`].
#[inline]
pub(crate) fn decode<K: Key>(mut field: &[u8], out: &mut Vec<K>) {
    while let [len, rest @ ..] = field {
        let n = usize::from(*len).div_ceil(8).min(rest.len());
        out.push(K::from_wire(*len, &rest[..n]));
        field = &rest[n..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed() {
        assert!(is_valid::<V4>(&[0, 8, 10, 32, 1, 2, 3, 4]));
        assert!(!is_valid::<V4>(&[33, 1, 2, 3, 4, 5]));
        assert!(!is_valid::<V4>(&[24, 1, 2]));
        assert!(is_valid::<V6>(&[33, 1, 2, 3, 4, 5]));
        assert!(!is_valid::<V6>(&[129; 20]));
    }

    #[test]
    fn path_identifiers() {
        let field = [0, 0, 0, 7, 24, 10, 0, 1, 0xff, 0, 0, 1, 0];
        assert!(is_valid_with::<V4>(&field, true));
        // The control: without identifiers the same octets are no prefixes.
        assert!(!is_valid_with::<V4>(&field, false));
        for short in [1, 3, 4, 5, 7, 11, 12] {
            assert!(!is_valid_with::<V4>(&field[..short], true), "{short}");
        }
        assert!(!is_valid_with::<V4>(&[0, 0, 0, 7, 33, 1, 2, 3, 4, 5], true));
        let (mut keys, mut ids) = (Vec::<V4>::new(), Vec::new());
        decode_with_ids(&field, &mut keys, &mut ids);
        assert_eq!(ids, [7, 0xff00_0001]);
        assert_eq!(keys[0].to_net().to_string(), "10.0.1.0/24");
        let mut back = Vec::new();
        for (key, id) in keys.iter().zip(ids) {
            let before = back.len();
            put(&mut back, Some(id), *key);
            assert_eq!(back.len() - before, octets(Some(id), *key));
        }
        assert_eq!(back, field);
    }

    #[test]
    fn host_bits_are_dropped() {
        let mut out = Vec::new();
        decode::<V4>(&[20, 10, 20, 255, 0], &mut out);
        assert_eq!(out[0].to_net().to_string(), "10.20.240.0/20");
        assert_eq!(out[1].to_net().to_string(), "0.0.0.0/0");
    }

    fn round_trip<K: Key>(net: IpNet) {
        let key = K::from_net(net).expect("its family");
        let mut wire = Vec::new();
        key.encode(&mut wire);
        assert!(is_valid::<K>(&wire));
        let mut back = Vec::new();
        decode::<K>(&wire, &mut back);
        assert_eq!(back, vec![key]);
        assert_eq!(key.to_net(), net.trunc());
    }

    proptest! {
        #[test]
        fn any_v4(addr: u32, len in 0u8..=32) {
            round_trip::<V4>(Ipv4Net::new(addr.into(), len).expect("length").into());
        }

        #[test]
        fn any_v6(addr: u128, len in 0u8..=128) {
            round_trip::<V6>(Ipv6Net::new(addr.into(), len).expect("length").into());
        }
    }
}
