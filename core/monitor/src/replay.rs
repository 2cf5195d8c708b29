//! MRT files as the messages of a BGP sender, so that a table can be made again.
//!
//! A table dump is packed: prefixes with equal attributes share UPDATEs, of each prefix the first
//! path is taken. Update files are played in their order, as if all came from one sender; of paths
//! with identifiers the first one of a prefix that is there, and the next when it goes.

use crate::as_path;
use crate::mrt::{BgpMessage, Error, Record, Records, Rib};
use crate::update::{
    self, HEADER, KEEPALIVE, OPEN, UPDATE, announce, attributes, end_of_rib, insert, kind, message,
    put, put_prefix, withdraw,
};
use bgp::NextHop;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

/// The greatest message without the extended message capability.
const MAX_MESSAGE: usize = 4096;

/// How the sender speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The sender's AS.
    pub local_as: u32,
    /// The receiver's; another one than ours gets our AS before the path, and no LOCAL_PREF.
    pub remote_as: u32,
    /// For routes without a next hop of their own, by family.
    pub own: (Option<Ipv4Addr>, Option<Ipv6Addr>),
    /// All routes get the next hops of `own`.
    pub replace_next_hop: bool,
}

/// What a file gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// UPDATEs with their headers, and an End-of-RIB of each family.
    pub messages: Vec<Vec<u8>>,
    /// Announcements in them.
    pub announced: usize,
    /// What was left out, by its reason's stable name: `no-next-hop`, `too-long`,
    /// `add-path` (paths other than the first of their prefix), `malformed`, `torn-end` (a last record
    /// that is not whole).
    pub left_out: BTreeMap<&'static str, usize>,
}

/// Our OPEN: IPv4 and IPv6 unicast, AS numbers of four octets.
pub fn open(local_as: u32, id: Ipv4Addr, hold_time_s: u16) -> Vec<u8> {
    update::open(local_as, id, hold_time_s, &[])
}

/// A KEEPALIVE.
pub fn keepalive() -> Vec<u8> {
    message(KEEPALIVE, &[])
}

/// AS and hold time (seconds) that a received OPEN says; `None` when it is none, or its sender knows
/// no AS numbers of four octets.
pub fn read_open(message: &[u8]) -> Option<(u32, u16)> {
    let body = message.get(HEADER..).filter(|_| message[18] == OPEN)?;
    let hold_time_s = u16::from_be_bytes([*body.get(3)?, *body.get(4)?]);
    let mut parameters = body.get(10..)?;
    if body[9] == 255 {
        return None;
    }
    while let [kind, length, rest @ ..] = parameters {
        let (mut value, after) = rest.split_at_checked(usize::from(*length))?;
        parameters = after;
        while let ([code, length, rest @ ..], 2) = (value, kind) {
            let (body, after) = rest.split_at_checked(usize::from(*length))?;
            if let (65, [a, b, c, d]) = (code, body) {
                return Some((u32::from_be_bytes([*a, *b, *c, *d]), hold_time_s));
            }
            value = after;
        }
    }
    None
}

/// What to send of a file.
///
/// # Errors
/// When the file is malformed, with the place.
pub fn plan(file: &[u8], terms: &Terms) -> Result<Plan, Error> {
    let mut plan = Plan::default();
    let mut several = Several::default();
    let mut groups: BTreeMap<(u16, &[u8]), Vec<Vec<u8>>> = BTreeMap::new();
    let mut last = None;
    for record in Records::new(file) {
        let record = match record {
            Err(error) if error.truncated => {
                plan.leave_out("torn-end", 1);
                break;
            }
            other => other?,
        };
        match record {
            Record::Rib(Rib { prefix, entries }) => {
                // Its paths with identifiers may have a record of their own.
                let known = last.replace(prefix) == Some(prefix);
                if let Some(first) = entries.first().filter(|_| !known) {
                    let key = (update::afi(&prefix), first.attributes);
                    let mut nlri = Vec::with_capacity(17);
                    put_prefix(&mut nlri, &prefix, None);
                    groups.entry(key).or_default().push(nlri);
                }
            }
            Record::Message(said) => plan.play(&said, &mut several, terms),
            Record::PeerIndexTable(_) | Record::StateChange(_) | Record::Other { .. } => {}
        }
    }
    for ((afi, block), prefixes) in groups {
        match terms.apply(afi, block, None) {
            Ok((block, hop)) => plan.announce(afi, &block, &hop, &prefixes),
            Err(why) => plan.leave_out(why, prefixes.len()),
        }
    }
    plan.messages.extend([1, 2].map(end_of_rib));
    Ok(plan)
}

impl Plan {
    fn leave_out(&mut self, why: &'static str, count: usize) {
        if count == 0 {
            return;
        }
        *self.left_out.entry(why).or_default() += count;
    }

    /// Prefixes with equal attributes, in as few messages as hold them.
    fn announce(&mut self, afi: u16, block: &[u8], hop: &NextHop, prefixes: &[Vec<u8>]) {
        // Around the prefixes: header, lengths, NEXT_HOP or MP_REACH_NLRI.
        let room = MAX_MESSAGE.saturating_sub(HEADER + 4 + block.len() + 48);
        let mut nlri = Vec::new();
        for prefix in prefixes {
            if prefix.len() > room {
                self.leave_out("too-long", 1);
                continue;
            }
            if nlri.len() + prefix.len() > room {
                self.messages.push(announce(afi, block, hop, &nlri));
                nlri.clear();
            }
            nlri.extend_from_slice(prefix);
            self.announced += 1;
        }
        if !nlri.is_empty() {
            self.messages.push(announce(afi, block, hop, &nlri));
        }
    }

    fn play(&mut self, said: &BgpMessage<'_>, several: &mut Several, terms: &Terms) {
        if said.message.get(18) != Some(&UPDATE) {
            return;
        }
        if let Err(why) = self.update(said, several, terms) {
            self.leave_out(why, 1);
        }
    }

    fn update(
        &mut self,
        said: &BgpMessage<'_>,
        several: &mut Several,
        terms: &Terms,
    ) -> Result<(), &'static str> {
        let body = &said.message[HEADER..];
        let source = said.ids.then_some(said.ends.remote);
        let field = |bytes: &[u8]| bytes.first_chunk().map(|two| u16::from_be_bytes(*two));
        let cut = |bytes: &'_ [u8]| {
            let length = usize::from(field(bytes).ok_or("malformed")?);
            let (_, rest) = bytes.split_at(2);
            (length <= rest.len()).then_some(length).ok_or("malformed")
        };
        let length = cut(body)?;
        let (withdrawn, rest) = body[2..].split_at(length);
        let length = cut(rest)?;
        let (block, nlri) = rest[2..].split_at(length);
        let wide;
        let block = if said.as4 {
            block
        } else {
            wide = as_path::widen(block).ok_or("malformed")?;
            &wide[..]
        };
        // Ours have no more than 4096 octets, also where the recorded session had longer ones.
        if HEADER + body.len() + 48 > MAX_MESSAGE {
            return Err("too-long");
        }
        if !withdrawn.is_empty() {
            self.withdraw(1, withdrawn, source, several)?;
        }
        for (kind, value, _) in attributes(block) {
            let family = (field(value), value.get(2));
            if let (kind::MP_UNREACH, (Some(afi @ 1..=2), Some(1))) = (kind, family)
                && value.len() > 3
            {
                self.withdraw(afi, &value[3..], source, several)?;
            }
        }
        let mut reaches = Vec::new();
        if !nlri.is_empty() {
            reaches.push((1, nlri, None));
        }
        for (kind, value, _) in attributes(block) {
            let family = (field(value), value.get(2));
            if let (kind::MP_REACH, (Some(afi @ 1..=2), Some(1))) = (kind, family) {
                let hop = usize::from(*value.get(3).ok_or("malformed")?);
                let nlri = value.get(4 + hop + 1..).ok_or("malformed")?;
                reaches.push((afi, nlri, Some(&value[4..4 + hop])));
            }
        }
        for (afi, nlri, hop) in reaches {
            let (block, hop) = terms.apply(afi, block, hop)?;
            let Some(source) = source else {
                // AS numbers that were made longer may need a second message.
                if HEADER + 4 + block.len() + 48 + nlri.len() > MAX_MESSAGE {
                    self.announce(afi, &block, &hop, &prefixes(nlri));
                } else {
                    self.messages.push(announce(afi, &block, &hop, nlri));
                    self.announced += count(nlri);
                }
                continue;
            };
            let paths = with_ids(nlri).ok_or("malformed")?;
            let all = paths.len();
            let attributes = Rc::new((block, hop));
            let told = several.announce(source, afi, paths, &attributes);
            self.leave_out("add-path", all - told.len());
            if !told.is_empty() {
                let (block, hop) = &*attributes;
                let told: Vec<Vec<u8>> = told.into_iter().map(<[u8]>::to_vec).collect();
                self.announce(afi, block, hop, &told);
            }
        }
        Ok(())
    }

    /// `source`: prefixes have path identifiers of this sender's.
    fn withdraw(
        &mut self,
        afi: u16,
        nlri: &[u8],
        source: Option<IpAddr>,
        several: &mut Several,
    ) -> Result<(), &'static str> {
        let Some(source) = source else {
            self.messages.push(withdraw(afi, nlri));
            return Ok(());
        };
        for (id, prefix) in with_ids(nlri).ok_or("malformed")? {
            match several.withdraw(source, afi, prefix, id) {
                Withdrawn::Untold => {}
                Withdrawn::Next(next) => {
                    self.messages.push(announce(afi, &next.0, &next.1, prefix));
                    self.announced += 1;
                }
                Withdrawn::Last => self.messages.push(withdraw(afi, prefix)),
            }
        }
        Ok(())
    }
}

/// Attributes and next hop as they are told.
type Said = Rc<(Vec<u8>, NextHop)>;

/// Paths with identifiers: by sender, address family and prefix, the first one is told.
#[derive(Default)]
struct Several {
    paths: BTreeMap<Place, Vec<(u32, Said)>>,
}

/// Sender, address family and prefix.
type Place = (IpAddr, u16, Vec<u8>);

/// What comes of a path that has gone.
enum Withdrawn {
    /// It was not told.
    Untold,
    /// This one takes its place.
    Next(Said),
    /// It was the only one.
    Last,
}

impl Several {
    /// Returns the prefixes of which this is the path to tell.
    fn announce<'a>(
        &mut self,
        source: IpAddr,
        afi: u16,
        nlri: Vec<(u32, &'a [u8])>,
        said: &Said,
    ) -> Vec<&'a [u8]> {
        let mut told = Vec::new();
        for (id, prefix) in nlri {
            let paths = self.paths.entry((source, afi, prefix.to_vec()));
            let paths = paths.or_default();
            let known = paths.iter().position(|(known, _)| *known == id);
            let at = known.unwrap_or(paths.len());
            match paths.get_mut(at) {
                Some(path) => path.1 = Rc::clone(said),
                None => paths.push((id, Rc::clone(said))),
            }
            told.extend((at == 0).then_some(prefix));
        }
        told
    }

    fn withdraw(&mut self, source: IpAddr, afi: u16, prefix: &[u8], id: u32) -> Withdrawn {
        let key = (source, afi, prefix.to_vec());
        let Some(paths) = self.paths.get_mut(&key) else {
            return Withdrawn::Untold;
        };
        let Some(at) = paths.iter().position(|(known, _)| *known == id) else {
            return Withdrawn::Untold;
        };
        paths.remove(at);
        match paths.first() {
            _ if at > 0 => Withdrawn::Untold,
            Some((_, next)) => Withdrawn::Next(Rc::clone(next)),
            None => {
                self.paths.remove(&key);
                Withdrawn::Last
            }
        }
    }
}

/// The prefixes in NLRI with their path identifiers (RFC 7911 §3).
fn with_ids(mut nlri: &[u8]) -> Option<Vec<(u32, &[u8])>> {
    let mut out = Vec::new();
    while !nlri.is_empty() {
        let (id, rest) = nlri.split_first_chunk()?;
        let octets = 1 + usize::from(*rest.first()?).div_ceil(8);
        let (prefix, rest) = rest.split_at_checked(octets)?;
        out.push((u32::from_be_bytes(*id), prefix));
        nlri = rest;
    }
    Some(out)
}

/// The prefixes in NLRI; ends early where one runs over the end.
fn prefixes(mut nlri: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while let Some(length) = nlri.first() {
        let octets = 1 + usize::from(*length).div_ceil(8);
        let Some((prefix, rest)) = nlri.split_at_checked(octets) else {
            break;
        };
        out.push(prefix.to_vec());
        nlri = rest;
    }
    out
}

/// How many prefixes there are in NLRI.
fn count(mut nlri: &[u8]) -> usize {
    let mut count = 0;
    while let [length, rest @ ..] = nlri {
        count += 1;
        nlri = rest
            .get(usize::from(*length).div_ceil(8)..)
            .unwrap_or_default();
    }
    count
}

impl Terms {
    /// Attributes as this sender says them, without a next hop, and the next hop. `hop` is that of
    /// MP_REACH_NLRI where it does not stand abbreviated in the block.
    fn apply(
        &self,
        afi: u16,
        block: &[u8],
        hop: Option<&[u8]>,
    ) -> Result<(Vec<u8>, NextHop), &'static str> {
        // With room for what is added below, and for a prefix.
        if HEADER + block.len() + 96 > MAX_MESSAGE {
            return Err("too-long");
        }
        let ebgp = self.local_as != self.remote_as;
        let mut out = Vec::with_capacity(block.len() + 8);
        let mut next_hop = hop.and_then(read_next_hop);
        let mut seen = 0;
        let mut local_pref = false;
        for (kind, value, whole) in attributes(block) {
            seen += whole.len();
            match kind {
                kind::NEXT_HOP if afi == 1 && next_hop.is_none() => {
                    next_hop = read_next_hop(value);
                }
                kind::MP_REACH if next_hop.is_none() => {
                    next_hop = read_next_hop(value.get(1..).unwrap_or_default());
                }
                kind::NEXT_HOP | kind::MP_REACH | kind::MP_UNREACH => {}
                kind::AS_PATH if ebgp => {
                    put(
                        &mut out,
                        0x40,
                        kind::AS_PATH,
                        &prepend(value, self.local_as),
                    );
                }
                kind::LOCAL_PREF | kind::ORIGINATOR_ID | kind::CLUSTER_LIST if ebgp => {}
                kind => {
                    local_pref |= kind == kind::LOCAL_PREF;
                    out.extend_from_slice(whole);
                }
            }
        }
        if seen != block.len() {
            return Err("malformed");
        }
        if !ebgp && !local_pref {
            out = insert(&out, 0x40, kind::LOCAL_PREF, &100u32.to_be_bytes());
        }
        let own = match afi {
            1 => self.own.0.map(IpAddr::V4),
            _ => self.own.1.map(IpAddr::V6),
        };
        // An IPv4 route over IPv6 (RFC 8950) needs a capability that our OPEN does not have.
        let fits =
            |hop: &NextHop| hop.address.is_ipv4() == (afi == 1) && !hop.address.is_unspecified();
        let said = next_hop.filter(|hop| fits(hop) && !self.replace_next_hop);
        let own = own.map(|address| NextHop {
            address,
            link_local: None,
        });
        Ok((out, said.or(own).ok_or("no-next-hop")?))
    }
}

fn read_next_hop(octets: &[u8]) -> Option<NextHop> {
    let v6 = |octets: &[u8]| {
        let octets: [u8; 16] = octets.try_into().ok()?;
        Some(Ipv6Addr::from(octets))
    };
    let (address, link_local) = match octets.len() {
        4 => (IpAddr::from(<[u8; 4]>::try_from(octets).ok()?), None),
        16 => (v6(octets)?.into(), None),
        32 => (v6(&octets[..16])?.into(), v6(&octets[16..])),
        _ => return None,
    };
    Some(NextHop {
        address,
        link_local,
    })
}

/// AS_PATH with one more number at its beginning (RFC 4271 §5.1.2).
fn prepend(path: &[u8], asn: u32) -> Vec<u8> {
    match path {
        [2, count @ 0..=254, rest @ ..] => [&[2, count + 1], &asn.to_be_bytes()[..], rest].concat(),
        _ => [&[2, 1], &asn.to_be_bytes()[..], path].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(remote_as: u32) -> Terms {
        Terms {
            local_as: 65001,
            remote_as,
            own: (Some([10, 9, 0, 2].into()), None),
            replace_next_hop: false,
        }
    }

    const BLOCK: &[u8] = &[
        0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe8, 0x40, 3, 4, 10, 0, 0, 7, 0x40, 5, 4, 0,
        0, 0, 50,
    ];

    #[test]
    fn attributes_as_a_neighbor_of_another_as_gets_them() {
        let (block, hop) = terms(64512).apply(1, BLOCK, None).expect("valid");
        let path = [2, 2, 0, 0, 0xfd, 0xe9, 0, 0, 0xfd, 0xe8];
        assert_eq!(block[..4], BLOCK[..4]);
        assert_eq!(block[4..], [&[0x40, 2, 10], &path[..]].concat());
        assert_eq!(hop.address, IpAddr::from([10, 0, 0, 7]));
        // The control: in our own AS the path stays, and so does LOCAL_PREF.
        let (block, _) = terms(65001).apply(1, BLOCK, None).expect("valid");
        assert_eq!(block, [&BLOCK[..13], &BLOCK[20..]].concat());
    }

    #[test]
    fn next_hops() {
        let unspecified = BLOCK[..16].iter().chain(&[0, 0, 0, 0]).copied();
        let unspecified: Vec<u8> = unspecified.collect();
        let hop = |terms: &Terms, afi| terms.apply(afi, &unspecified, None).map(|(_, hop)| hop);
        let own = IpAddr::from([10, 9, 0, 2]);
        assert_eq!(hop(&terms(1), 1).map(|hop| hop.address), Ok(own));
        assert_eq!(hop(&terms(1), 2), Err("no-next-hop"));
        assert_eq!(terms(1).apply(1, &BLOCK[..11], None), Err("malformed"));
    }

    #[test]
    fn opens() {
        let said = open(4_200_000_000, [10, 9, 0, 2].into(), 90);
        assert_eq!(read_open(&said), Some((4_200_000_000, 90)));
        assert_eq!(read_open(&said[..20]), None);
        assert_eq!(read_open(&keepalive()), None);
    }
}
