//! Messages by hand, right ones and wrong ones.

use std::net::Ipv4Addr;

/// One attribute: flags, type, value.
pub type Attribute = (u8, u8, Vec<u8>);

/// A message with a right header.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).expect("it fits");
    let mut out = vec![0xff; 16];
    out.extend_from_slice(&length.to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

pub fn keepalive() -> Vec<u8> {
    message(4, &[])
}

/// The body of an OPEN for IPv4 and IPv6 with four-octet AS numbers and route refresh.
pub fn open_body(asn: u32, id: Ipv4Addr) -> Vec<u8> {
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 2, 0, 65, 4];
    capabilities.extend_from_slice(&asn.to_be_bytes());
    let old = u16::try_from(asn).unwrap_or(23456);
    let mut out = vec![4];
    out.extend_from_slice(&old.to_be_bytes());
    out.extend_from_slice(&90u16.to_be_bytes());
    out.extend_from_slice(&id.octets());
    let length = capabilities.len() as u8;
    out.extend_from_slice(&[length + 2, 2, length]);
    out.extend_from_slice(&capabilities);
    out
}

pub fn open(asn: u32, id: Ipv4Addr) -> Vec<u8> {
    message(1, &open_body(asn, id))
}

/// A /24 as it stands in NLRI.
pub fn nlri(prefix: Ipv4Addr) -> Vec<u8> {
    let [a, b, c, _] = prefix.octets();
    vec![24, a, b, c]
}

/// What a good announcement has, in order; the community tells announcements apart.
pub fn attributes(ibgp: bool, next_hop: Ipv4Addr, community: u16) -> Vec<Attribute> {
    let mut path = Vec::new();
    if !ibgp {
        path.extend_from_slice(&[2, 1]);
        path.extend_from_slice(&crate::THEIR_AS.to_be_bytes());
    }
    let mut out = vec![
        (0x40, 1, vec![0]),
        (0x40, 2, path),
        (0x40, 3, next_hop.octets().to_vec()),
    ];
    if ibgp {
        out.push((0x40, 5, vec![0, 0, 0, 100]));
    }
    let value = u32::from(community) | 65001 << 16;
    out.push((0xc0, 8, value.to_be_bytes().to_vec()));
    out
}

pub fn encode(attributes: &[Attribute]) -> Vec<u8> {
    let mut out = Vec::new();
    for (flags, kind, value) in attributes {
        out.extend_from_slice(&[*flags, *kind, value.len() as u8]);
        out.extend_from_slice(value);
    }
    out
}

/// An UPDATE of three fields whose lengths are right.
pub fn update(withdrawn: &[u8], block: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut body = (withdrawn.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(withdrawn);
    body.extend_from_slice(&(block.len() as u16).to_be_bytes());
    body.extend_from_slice(block);
    body.extend_from_slice(nlri);
    message(2, &body)
}
