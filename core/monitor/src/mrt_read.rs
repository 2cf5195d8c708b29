//! MRT records read back.

use crate::mrt::{BGP4MP, BGP4MP_ET, Ends, TABLE_DUMP_V2, bgp4mp, table};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The peers of a table dump.
    PeerIndexTable(PeerIndexTable),
    /// The paths of a prefix.
    Rib(Rib<'a>),
    /// A BGP message.
    Message(BgpMessage<'a>),
    /// A session's state changed.
    StateChange(StateChange),
    /// Of a type that is not read here.
    Other {
        /// Its type.
        kind: u16,
        /// Its subtype.
        subtype: u16,
    },
}

/// PEER_INDEX_TABLE (RFC 6396 §4.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIndexTable {
    /// The identifier of who made the dump.
    pub collector: Ipv4Addr,
    /// By index.
    pub peers: Vec<Peer>,
}

/// A peer of a table dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its BGP Identifier.
    pub id: Ipv4Addr,
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: u32,
}

/// The paths of a prefix (RFC 6396 §4.3.2, RFC 8050 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rib<'a> {
    /// The prefix.
    pub prefix: IpNet,
    /// In the file's order.
    pub entries: Vec<RibEntry<'a>>,
}

/// A path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RibEntry<'a> {
    /// A place in [`PeerIndexTable::peers`].
    pub peer: u16,
    /// When it came, in seconds since the Unix epoch.
    pub originated_s: u32,
    /// Its path identifier (RFC 8050).
    pub path_id: Option<u32>,
    /// Path attributes; AS numbers of four octets, MP_REACH_NLRI abbreviated to the next hop (§4.3.4).
    pub attributes: &'a [u8],
}

/// A message of a session (RFC 6396 §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BgpMessage<'a> {
    /// Since the Unix epoch.
    pub at: Duration,
    /// The session's ends.
    pub ends: Ends,
    /// AS numbers in it are of four octets.
    pub as4: bool,
    /// Its prefixes have path identifiers.
    pub ids: bool,
    /// With its header.
    pub message: &'a [u8],
}

/// A change of state (RFC 6396 §4.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Since the Unix epoch.
    pub at: Duration,
    /// The session's ends.
    pub ends: Ends,
    /// 1 is Idle, 6 Established.
    pub old: u16,
    /// Likewise.
    pub new: u16,
}

/// What is wrong with a file, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Where the record begins, in octets.
    pub at: usize,
    /// The record runs over the end of the file; else its inside is malformed.
    pub truncated: bool,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.truncated {
            "runs over the end of the file"
        } else {
            "is malformed"
        };
        write!(f, "the MRT record at octet {} {what}", self.at)
    }
}

impl std::error::Error for Error {}

/// The records of a file, one after the other, until the end or the first error.
pub struct Records<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    /// Of a file's octets.
    pub fn new(file: &'a [u8]) -> Self {
        Records { file, at: 0 }
    }

    /// How many octets were read.
    pub fn position(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let mut rest = Cursor(self.file.get(at..).filter(|rest| !rest.is_empty())?);
        let head = (|| {
            let (time_s, kind, subtype) = (rest.be32()?, rest.be16()?, rest.be16()?);
            let length = rest.be32()? as usize;
            Some((time_s, kind, subtype, rest.take(length)?, 12 + length))
        })();
        let Some((time_s, kind, subtype, body, length)) = head else {
            self.at = self.file.len();
            let truncated = true;
            return Some(Err(Error { at, truncated }));
        };
        self.at += length;
        let record = record((time_s, kind, subtype), Cursor(body));
        let truncated = false;
        Some(record.ok_or_else(|| {
            self.at = self.file.len();
            Error { at, truncated }
        }))
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn octet(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    fn be16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.array()?))
    }

    fn be32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.array()?))
    }

    fn address(&mut self, ipv6: bool) -> Option<IpAddr> {
        Some(if ipv6 {
            IpAddr::from(self.array::<16>()?)
        } else {
            IpAddr::from(self.array::<4>()?)
        })
    }

    fn asn(&mut self, as4: bool) -> Option<u32> {
        if as4 {
            self.be32()
        } else {
            self.be16().map(u32::from)
        }
    }
}

fn record<'a>(
    (time_s, kind, subtype): (u32, u16, u16),
    mut body: Cursor<'a>,
) -> Option<Record<'a>> {
    let other = Record::Other { kind, subtype };
    match kind {
        TABLE_DUMP_V2 => match subtype {
            table::PEER_INDEX_TABLE => peer_index(body).map(Record::PeerIndexTable),
            table::RIB_IPV4_UNICAST => rib(body, false, false),
            table::RIB_IPV6_UNICAST => rib(body, true, false),
            table::RIB_IPV4_UNICAST_ADDPATH => rib(body, false, true),
            table::RIB_IPV6_UNICAST_ADDPATH => rib(body, true, true),
            _ => Some(other),
        },
        BGP4MP | BGP4MP_ET => {
            let micros = if kind == BGP4MP_ET { body.be32()? } else { 0 };
            let at = Duration::from_secs(time_s.into()) + Duration::from_micros(micros.into());
            bgp4mp(at, subtype, body).map(|read| read.unwrap_or(other))
        }
        _ => Some(other),
    }
}

fn peer_index(mut body: Cursor<'_>) -> Option<PeerIndexTable> {
    let collector = body.array::<4>()?.into();
    let name = body.be16()?;
    body.take(name.into())?;
    let count = body.be16()?;
    let peer = |_| {
        let flags = body.octet()?;
        Some(Peer {
            id: body.array::<4>()?.into(),
            address: body.address(flags & 1 != 0)?,
            asn: body.asn(flags & 2 != 0)?,
        })
    };
    let peers = (0..count).map(peer).collect::<Option<_>>()?;
    Some(PeerIndexTable { collector, peers })
}

fn rib(mut body: Cursor<'_>, ipv6: bool, ids: bool) -> Option<Record<'_>> {
    body.be32()?;
    let prefix = prefix(&mut body, ipv6)?;
    let count = body.be16()?;
    let entry = |_| {
        let (peer, originated_s) = (body.be16()?, body.be32()?);
        let path_id = if ids { Some(body.be32()?) } else { None };
        let length = body.be16()?;
        Some(RibEntry {
            peer,
            originated_s,
            path_id,
            attributes: body.take(length.into())?,
        })
    };
    let entries = (0..count).map(entry).collect::<Option<_>>()?;
    Some(Record::Rib(Rib { prefix, entries }))
}

fn prefix(body: &mut Cursor<'_>, ipv6: bool) -> Option<IpNet> {
    let length = body.octet()?;
    let octets = body.take(usize::from(length).div_ceil(8))?;
    let mut whole = [0; 16];
    whole.get_mut(..octets.len())?.copy_from_slice(octets);
    Some(if ipv6 {
        Ipv6Net::new(whole.into(), length).ok()?.trunc().into()
    } else {
        let [a, b, c, d, ..] = whole;
        Ipv4Net::new([a, b, c, d].into(), length)
            .ok()?
            .trunc()
            .into()
    })
}

/// `Some(None)` for a subtype that is not read here.
fn bgp4mp(at: Duration, subtype: u16, mut body: Cursor<'_>) -> Option<Option<Record<'_>>> {
    let (as4, ids, is_message) = match subtype {
        bgp4mp::STATE_CHANGE => (false, false, false),
        bgp4mp::STATE_CHANGE_AS4 => (true, false, false),
        bgp4mp::MESSAGE => (false, false, true),
        bgp4mp::MESSAGE_AS4 => (true, false, true),
        bgp4mp::MESSAGE_ADDPATH => (false, true, true),
        bgp4mp::MESSAGE_AS4_ADDPATH => (true, true, true),
        _ => return Some(None),
    };
    let (remote_as, local_as) = (body.asn(as4)?, body.asn(as4)?);
    body.be16()?;
    let ipv6 = match body.be16()? {
        1 => false,
        2 => true,
        _ => return None,
    };
    let (remote, local) = (body.address(ipv6)?, body.address(ipv6)?);
    let ends = Ends {
        remote_as,
        local_as,
        remote,
        local,
    };
    Some(Some(if is_message {
        Record::Message(BgpMessage {
            at,
            ends,
            as4,
            ids,
            message: body.0,
        })
    } else {
        let (old, new) = (body.be16()?, body.be16()?);
        Record::StateChange(StateChange { at, ends, old, new })
    }))
}
