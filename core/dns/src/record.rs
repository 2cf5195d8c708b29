//! Record types and data, as far as the zone has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Name;

/// Record type numbers (IANA DNS parameters).
pub(crate) mod rtype {
    pub(crate) const A: u16 = 1;
    pub(crate) const NS: u16 = 2;
    pub(crate) const CNAME: u16 = 5;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const PTR: u16 = 12;
    pub(crate) const HINFO: u16 = 13;
    pub(crate) const TXT: u16 = 16;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const SRV: u16 = 33;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const IXFR: u16 = 251;
    pub(crate) const AXFR: u16 = 252;
    pub(crate) const ANY: u16 = 255;
}

/// The class of the Internet.
pub(crate) const CLASS_IN: u16 = 1;
/// Seconds that every record may be cached, and every absence (CoreDNS: kubernetes plugin, `ttl`, default 5).
pub(crate) const TTL: u32 = 5;

/// A record's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rdata {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Ns(Name),
    Cname(Name),
    Ptr(Name),
    /// Priority 0 and weight 100 for all, as RFC 2782 has them; the specification does not prescribe them.
    Srv {
        port: u16,
        target: Name,
    },
    Txt(&'static str),
    Hinfo {
        cpu: &'static str,
        os: &'static str,
    },
    Soa {
        mname: Name,
        rname: Name,
        serial: u32,
    },
}

impl Rdata {
    pub(crate) fn of_address(address: IpAddr) -> Rdata {
        match address {
            IpAddr::V4(a) => Rdata::A(a),
            IpAddr::V6(a) => Rdata::Aaaa(a),
        }
    }

    pub(crate) fn rtype(&self) -> u16 {
        match self {
            Rdata::A(_) => rtype::A,
            Rdata::Aaaa(_) => rtype::AAAA,
            Rdata::Ns(_) => rtype::NS,
            Rdata::Cname(_) => rtype::CNAME,
            Rdata::Ptr(_) => rtype::PTR,
            Rdata::Srv { .. } => rtype::SRV,
            Rdata::Txt(_) => rtype::TXT,
            Rdata::Hinfo { .. } => rtype::HINFO,
            Rdata::Soa { .. } => rtype::SOA,
        }
    }
}
