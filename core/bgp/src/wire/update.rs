//! UPDATE: from octets to withdrawn and reachable prefixes with canonical attributes.
//!
//! What to do about an error is decided here, by RFC 7606: forget the attribute, take the routes
//! as withdrawn, or end the session.

use super::attribute::{self, Attribute, flag, kind, segment};
use super::nlri::{self, V4, V6};
use super::notification::{Notification, code, update_error};
use super::{AS_TRANS, be16, be32, open};
use crate::{Family, NextHop};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the session negotiated that changes how an UPDATE reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    /// AS numbers have four octets.
    pub as4: bool,
    pub ebgp: bool,
    /// The peer sends path identifiers.
    pub ids: nlri::Ids,
    /// IPv4 prefixes may have an IPv6 next hop (RFC 8950).
    pub extended_next_hop: bool,
}

/// Reachable prefixes of one family with their next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach<'a> {
    pub family: Family,
    pub next_hop: NextHop,
    pub nlri: &'a [u8],
}

/// A decoded UPDATE. Prefix fields have been checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Update<'a> {
    /// IPv4 prefixes withdrawn in the old field.
    pub withdrawn: &'a [u8],
    pub mp_withdrawn: Option<(Family, &'a [u8])>,
    /// At most the old field and MP_REACH_NLRI.
    pub reach: [Option<Reach<'a>>; 2],
    /// RFC 7606 §2: handle all reachable prefixes as withdrawn. Says what was wrong.
    pub treat_as_withdraw: Option<&'static str>,
    /// Attributes that were left out as malformed.
    pub discarded: u32,
    /// End-of-RIB (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
    /// Where the prefix fields hold path identifiers.
    pub ids: nlri::Ids,
}

fn reset(subcode: u8, data: &[u8]) -> Notification {
    Notification::with_data(code::UPDATE, subcode, data)
}

/// How a single attribute turned out.
enum Fault {
    Discard,
    Withdraw(&'static str),
    Reset(Notification),
}

/// Working state over one attribute block.
struct Block<'a, 'b> {
    context: Context,
    out: &'b mut Vec<u8>,
    seen: [u64; 4],
    /// Highest type written to `out`; a lower one after it means sorting.
    last: u8,
    unsorted: bool,
    next_hop: Option<Ipv4Addr>,
    mp_reach: Option<(Family, NextHop, &'a [u8])>,
    mp_unreach: Option<(Family, &'a [u8])>,
    as4_path: Option<&'a [u8]>,
    as4_aggregator: Option<&'a [u8]>,
    /// AGGREGATOR from a two-octet peer did not hold AS_TRANS (RFC 6793 §4.2.3).
    aggregator_is_old: bool,
    withdraw: Option<&'static str>,
    discarded: u32,
}

/// Decodes the body of an UPDATE. The canonical attributes replace what is in `attributes`.
///
/// # Errors
/// The NOTIFICATION to end the session with, where RFC 7606 still wants that.
pub(crate) fn decode<'a>(
    body: &'a [u8],
    context: Context,
    attributes: &mut Vec<u8>,
) -> Result<Update<'a>, Notification> {
    attributes.clear();
    let malformed = || reset(update_error::MALFORMED_ATTRIBUTES, &[]);
    let withdrawn_length = usize::from(be16(body, 0).ok_or_else(malformed)?);
    let withdrawn = body.get(2..2 + withdrawn_length).ok_or_else(malformed)?;
    let rest = &body[2 + withdrawn_length..];
    let block_length = usize::from(be16(rest, 0).ok_or_else(malformed)?);
    let block = rest.get(2..2 + block_length).ok_or_else(malformed)?;
    let nlri = &rest[2 + block_length..];
    let is_valid = |field: &[u8]| nlri::is_valid_with::<V4>(field, context.ids.ipv4);
    if !is_valid(withdrawn) || !is_valid(nlri) {
        return Err(reset(update_error::INVALID_NETWORK, &[]));
    }
    let mut state = Block::new(context, attributes);
    state.read(block)?;
    let mut update = Update {
        withdrawn,
        mp_withdrawn: state.mp_unreach,
        ids: context.ids,
        ..Update::default()
    };
    if body.len() == 4 {
        update.end_of_rib = Some(Family::Ipv4);
    }
    let alone = attribute::next(block).is_some_and(|(_, rest)| rest.is_empty());
    if let Some((family, [])) = state.mp_unreach
        && withdrawn.is_empty()
        && nlri.is_empty()
        && alone
    {
        update.end_of_rib = Some(family);
        update.mp_withdrawn = None;
    }
    if !nlri.is_empty() {
        if state.next_hop.is_none() {
            state.fault("no-next-hop");
        }
        let address = IpAddr::V4(state.next_hop.unwrap_or(Ipv4Addr::UNSPECIFIED));
        let next_hop = NextHop {
            address,
            link_local: None,
        };
        update.reach[0] = Some(Reach {
            family: Family::Ipv4,
            next_hop,
            nlri,
        });
    }
    if let Some((family, next_hop, nlri)) = state.mp_reach {
        update.reach[1] = Some(Reach {
            family,
            next_hop,
            nlri,
        });
    }
    if update.reach.iter().any(Option::is_some) {
        state.complete();
    } else if state.withdraw.is_some() {
        // RFC 7606 §5.2: nobody can say which routes this was about.
        return Err(malformed());
    }
    update.treat_as_withdraw = state.withdraw;
    update.discarded = state.discarded;
    Ok(update)
}

impl<'a, 'b> Block<'a, 'b> {
    fn new(context: Context, out: &'b mut Vec<u8>) -> Self {
        Block {
            context,
            out,
            seen: [0; 4],
            last: 0,
            unsorted: false,
            next_hop: None,
            mp_reach: None,
            mp_unreach: None,
            as4_path: None,
            as4_aggregator: None,
            aggregator_is_old: false,
            withdraw: None,
            discarded: 0,
        }
    }

    fn fault(&mut self, what: &'static str) {
        self.withdraw.get_or_insert(what);
    }

    fn read(&mut self, mut block: &'a [u8]) -> Result<(), Notification> {
        while !block.is_empty() {
            let Some((attribute, rest)) = attribute::next(block) else {
                // RFC 7606 §4: the rest cannot be read, but the prefixes were found.
                self.fault("attribute-length");
                break;
            };
            block = rest;
            let (word, bit) = (usize::from(attribute.kind >> 6), 1 << (attribute.kind & 63));
            if self.seen[word] & bit != 0 {
                if matches!(attribute.kind, kind::MP_REACH | kind::MP_UNREACH) {
                    return Err(reset(update_error::MALFORMED_ATTRIBUTES, &[]));
                }
                // RFC 7606 §3 g: the first one counts.
                self.discarded += 1;
                continue;
            }
            self.seen[word] |= bit;
            match self.take(attribute) {
                Ok(()) => {}
                Err(Fault::Discard) => self.discarded += 1,
                Err(Fault::Withdraw(what)) => self.fault(what),
                Err(Fault::Reset(notification)) => return Err(notification),
            }
        }
        Ok(())
    }

    fn keep(&mut self, flags: u8, kind: u8, value: &[u8]) {
        self.unsorted |= kind < self.last;
        self.last = self.last.max(kind);
        attribute::put(self.out, flags, kind, value);
    }

    fn take(&mut self, attribute: Attribute<'a>) -> Result<(), Fault> {
        check_flags(attribute)?;
        let Attribute {
            flags, kind, value, ..
        } = attribute;
        let fits = |ok: bool, what| ok.then_some(()).ok_or(Fault::Withdraw(what));
        let list_of = |unit: usize| !value.is_empty() && value.len().is_multiple_of(unit);
        match kind {
            kind::ORIGIN => fits(matches!(value, [0..=2]), "origin")?,
            kind::AS_PATH => return self.as_path(value),
            kind::NEXT_HOP => {
                let address = be32(value, 0).filter(|_| value.len() == 4);
                let address = address.ok_or(Fault::Withdraw("next-hop"))?;
                let address = Ipv4Addr::from(address);
                // RFC 4271 §6.3: of no use to anybody; 0.0.0.0 is how we mark routes of our own.
                if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
                    self.fault("next_hop");
                }
                self.next_hop = Some(address);
                return Ok(());
            }
            kind::MED => fits(value.len() == 4, "multi-exit-disc")?,
            kind::LOCAL_PREF if self.context.ebgp => return Err(Fault::Discard),
            kind::LOCAL_PREF => fits(value.len() == 4, "local-pref")?,
            kind::ATOMIC_AGGREGATE if !value.is_empty() => return Err(Fault::Discard),
            kind::AGGREGATOR => return self.aggregator(flags, value),
            kind::COMMUNITIES => fits(list_of(4), "communities")?,
            kind::ORIGINATOR_ID | kind::CLUSTER_LIST if self.context.ebgp => {
                return Err(Fault::Discard);
            }
            kind::ORIGINATOR_ID => fits(value.len() == 4, "originator-id")?,
            kind::CLUSTER_LIST => fits(list_of(4), "cluster-list")?,
            kind::MP_REACH => return self.mp_reach(value).map_err(Fault::Reset),
            kind::MP_UNREACH => return self.mp_unreach(value).map_err(Fault::Reset),
            kind::EXTENDED_COMMUNITIES => fits(list_of(8), "extended-communities")?,
            // RFC 6793 §6: of no use from a peer with four-octet AS numbers.
            kind::AS4_PATH | kind::AS4_AGGREGATOR if self.context.as4 => {
                return Err(Fault::Discard);
            }
            kind::AS4_PATH | kind::AS4_AGGREGATOR => return self.as4(kind, value),
            kind::LARGE_COMMUNITY => fits(list_of(12), "large-community")?,
            kind::ONLY_TO_CUSTOMER => fits(value.len() == 4, "only-to-customer")?,
            kind::ATOMIC_AGGREGATE => {}
            _ => return self.unknown(attribute),
        }
        // The partial bit says nothing about attributes that everybody knows.
        self.keep(flags & !(flag::EXTENDED | flag::PARTIAL), kind, value);
        Ok(())
    }

    /// What a peer with two-octet AS numbers adds (RFC 6793 §6).
    fn as4(&mut self, kind: u8, value: &'a [u8]) -> Result<(), Fault> {
        match kind {
            kind::AS4_PATH if is_path(value, 4) => self.as4_path = Some(value),
            kind::AS4_AGGREGATOR if value.len() == 8 => self.as4_aggregator = Some(value),
            _ => return Err(Fault::Discard),
        }
        Ok(())
    }

    fn unknown(&mut self, attribute: Attribute<'_>) -> Result<(), Fault> {
        let Attribute {
            flags,
            kind,
            value,
            whole,
        } = attribute;
        if flags & flag::OPTIONAL == 0 {
            let notification = reset(update_error::UNRECOGNIZED_WELL_KNOWN, whole);
            return Err(Fault::Reset(notification));
        }
        if flags & flag::TRANSITIVE != 0 {
            self.keep((flags & !flag::EXTENDED) | flag::PARTIAL, kind, value);
        }
        Ok(())
    }

    fn as_path(&mut self, value: &[u8]) -> Result<(), Fault> {
        let width = if self.context.as4 { 4 } else { 2 };
        if !is_path(value, width) {
            return Err(Fault::Withdraw("as-path"));
        }
        if self.context.as4 {
            self.keep(flag::TRANSITIVE, kind::AS_PATH, value);
        } else {
            self.keep(flag::TRANSITIVE, kind::AS_PATH, &widen(value));
        }
        Ok(())
    }

    fn aggregator(&mut self, flags: u8, value: &[u8]) -> Result<(), Fault> {
        let flags = flags & !(flag::EXTENDED | flag::PARTIAL);
        match (self.context.as4, value) {
            (true, [_, _, _, _, _, _, _, _]) => self.keep(flags, kind::AGGREGATOR, value),
            (false, [a, b, id @ ..]) if id.len() == 4 => {
                self.aggregator_is_old = u16::from_be_bytes([*a, *b]) != AS_TRANS;
                let wide = [0, 0, *a, *b, id[0], id[1], id[2], id[3]];
                self.keep(flags, kind::AGGREGATOR, &wide);
            }
            _ => return Err(Fault::Discard),
        }
        Ok(())
    }

    fn mp_reach(&mut self, value: &'a [u8]) -> Result<(), Notification> {
        let malformed = || reset(update_error::OPTIONAL_ATTRIBUTE, value);
        let afi = be16(value, 0).ok_or_else(malformed)?;
        let (safi, length) = match value.get(2..4) {
            Some(&[safi, length]) => (safi, usize::from(length)),
            _ => return Err(malformed()),
        };
        let hop = value.get(4..4 + length).ok_or_else(malformed)?;
        let nlri = value.get(5 + length..).ok_or_else(malformed)?;
        let Some(family) = open::family(afi, safi) else {
            return Ok(());
        };
        let v6 = family == Family::Ipv6 || self.context.extended_next_hop;
        let global = |octets: &[u8]| {
            let octets: [u8; 16] = octets.try_into().expect("sixteen octets were cut");
            Ipv6Addr::from(octets)
        };
        let next_hop = match (family, hop.len()) {
            (Family::Ipv4, 4) => NextHop {
                address: IpAddr::from([hop[0], hop[1], hop[2], hop[3]]),
                link_local: None,
            },
            (_, 16) if v6 => ipv6_next_hop(global(hop), None),
            (_, 32) if v6 => ipv6_next_hop(global(&hop[..16]), Some(global(&hop[16..]))),
            _ => return Err(malformed()),
        };
        if !self.is_valid(family, nlri) {
            return Err(malformed());
        }
        self.mp_reach = Some((family, next_hop, nlri));
        Ok(())
    }

    fn is_valid(&self, family: Family, field: &[u8]) -> bool {
        let ids = self.context.ids.of(family);
        match family {
            Family::Ipv4 => nlri::is_valid_with::<V4>(field, ids),
            Family::Ipv6 => nlri::is_valid_with::<V6>(field, ids),
        }
    }

    fn mp_unreach(&mut self, value: &'a [u8]) -> Result<(), Notification> {
        let malformed = || reset(update_error::OPTIONAL_ATTRIBUTE, value);
        let afi = be16(value, 0).ok_or_else(malformed)?;
        let safi = *value.get(2).ok_or_else(malformed)?;
        let Some(family) = open::family(afi, safi) else {
            return Ok(());
        };
        let nlri = &value[3..];
        if !self.is_valid(family, nlri) {
            return Err(malformed());
        }
        self.mp_unreach = Some((family, nlri));
        Ok(())
    }

    /// Checks that what must be there is there, joins the four-octet parts, and sorts.
    fn complete(&mut self) {
        let has =
            |seen: &[u64; 4], kind: u8| seen[usize::from(kind >> 6)] & (1 << (kind & 63)) != 0;
        if !has(&self.seen, kind::ORIGIN) || !has(&self.seen, kind::AS_PATH) {
            self.fault("missing-well-known-attribute");
        }
        if self.withdraw.is_some() {
            return;
        }
        if !self.context.as4 && !self.aggregator_is_old {
            self.join_as4();
        }
        if self.unsorted {
            let mut list: Vec<(u8, Vec<u8>)> = attribute::each(self.out)
                .map(|a| (a.kind, a.whole.to_vec()))
                .collect();
            list.sort_by_key(|(kind, _)| *kind);
            self.out.clear();
            for (_, whole) in list {
                self.out.extend_from_slice(&whole);
            }
        }
    }

    /// RFC 6793 §4.2.3.
    fn join_as4(&mut self) {
        if self.as4_path.is_none() && self.as4_aggregator.is_none() {
            return;
        }
        let old = std::mem::take(self.out);
        for attribute in attribute::each(&old) {
            match (attribute.kind, self.as4_path, self.as4_aggregator) {
                (kind::AS_PATH, Some(as4), _) => {
                    let joined = join_paths(attribute.value, as4);
                    attribute::put(self.out, flag::TRANSITIVE, kind::AS_PATH, &joined);
                }
                (kind::AGGREGATOR, _, Some(as4)) => {
                    attribute::put(self.out, attribute.flags, kind::AGGREGATOR, as4);
                }
                _ => self.out.extend_from_slice(attribute.whole),
            }
        }
    }
}

/// RFC 2545 §3. On a link without global addresses some send a link-local address alone, twice, or
/// after an unspecified one: it then stands in both places.
fn ipv6_next_hop(first: Ipv6Addr, second: Option<Ipv6Addr>) -> NextHop {
    let link_local = second
        .filter(Ipv6Addr::is_unicast_link_local)
        .or(Some(first).filter(Ipv6Addr::is_unicast_link_local));
    let address = match link_local {
        Some(link_local) if first.is_unspecified() => link_local,
        Some(_) | None => first,
    };
    NextHop {
        address: IpAddr::V6(address),
        link_local,
    }
}

/// RFC 7606 §3 c, and §5.3 for the multiprotocol ones.
fn check_flags(attribute: Attribute<'_>) -> Result<(), Fault> {
    let mask = flag::OPTIONAL | flag::TRANSITIVE;
    match flags_of(attribute.kind) {
        Some(wanted) if attribute.flags & mask != wanted => Err(match attribute.kind {
            kind::MP_REACH | kind::MP_UNREACH => {
                Fault::Reset(reset(update_error::MALFORMED_ATTRIBUTES, attribute.whole))
            }
            _ => Fault::Withdraw("attribute-flags"),
        }),
        Some(_) | None => Ok(()),
    }
}

/// The optional and transitive bits that a known type must have.
fn flags_of(kind: u8) -> Option<u8> {
    match kind {
        kind::ORIGIN
        | kind::AS_PATH
        | kind::NEXT_HOP
        | kind::LOCAL_PREF
        | kind::ATOMIC_AGGREGATE => Some(flag::TRANSITIVE),
        kind::MED | kind::ORIGINATOR_ID | kind::CLUSTER_LIST => Some(flag::OPTIONAL),
        kind::MP_REACH | kind::MP_UNREACH => Some(flag::OPTIONAL),
        kind::AGGREGATOR
        | kind::COMMUNITIES
        | kind::EXTENDED_COMMUNITIES
        | kind::AS4_PATH
        | kind::AS4_AGGREGATOR
        | kind::LARGE_COMMUNITY
        | kind::ONLY_TO_CUSTOMER => Some(flag::OPTIONAL | flag::TRANSITIVE),
        _ => None,
    }
}

/// RFC 7606 §7.2: known segment types, none empty, none running over the end. Confederation
/// segments have no place on our sessions (RFC 5065 §5).
fn is_path(mut path: &[u8], width: usize) -> bool {
    while let [kind, count, rest @ ..] = path {
        let octets = usize::from(*count) * width;
        let known = matches!(*kind, segment::SET | segment::SEQUENCE);
        if !known || octets == 0 || rest.len() < octets {
            return false;
        }
        path = &rest[octets..];
    }
    path.is_empty()
}

/// Two-octet numbers to four.
fn widen(mut path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() * 2);
    while let [kind, count, rest @ ..] = path {
        let (numbers, tail) = rest.split_at(usize::from(*count) * 2);
        out.extend_from_slice(&[*kind, *count]);
        for number in numbers.as_chunks::<2>().0 {
            out.extend_from_slice(&[0, 0, number[0], number[1]]);
        }
        path = tail;
    }
    out
}

/// The first ASes of `path` that `as4` lacks, then `as4`.
fn join_paths(path: &[u8], as4: &[u8]) -> Vec<u8> {
    let (have, want) = (attribute::path_length(path), attribute::path_length(as4));
    if have < want {
        return path.to_vec();
    }
    let mut missing = usize::from(have - want);
    let mut out = Vec::with_capacity(path.len());
    for (kind, s) in attribute::segments(path) {
        if missing == 0 {
            break;
        }
        let count = s.len() / 4;
        let taken = if kind == segment::SET {
            count
        } else {
            count.min(missing)
        };
        out.extend_from_slice(&[kind, taken as u8]);
        out.extend_from_slice(&s[..taken * 4]);
        missing -= if kind == segment::SET { 1 } else { taken };
    }
    out.extend_from_slice(as4);
    out
}

#[cfg(test)]
#[path = "update_tests.rs"]
mod tests;
