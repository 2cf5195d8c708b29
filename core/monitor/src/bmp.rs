//! BMP messages (RFC 7854) about what peers say, before and after import filters, what is chosen
//! (RFC 9069), and what peers are told (RFC 8671).
//!
//! ```text
//!   version 3 (1)  length (4)  type (1)  [per-peer header (42)]  ...
//! ```

use crate::update::{self, HEADER, afi, announce, end_of_rib, put_prefix, withdraw};
use bgp::{
    Accepted, Down, Family, Opens, RibAttributes, RibSlice, SessionCounts, SessionView, View,
    Viewed,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Message types (RFC 7854 §4.1).
mod kind {
    pub const ROUTE_MONITORING: u8 = 0;
    pub const STATISTICS: u8 = 1;
    pub const PEER_DOWN: u8 = 2;
    pub const PEER_UP: u8 = 3;
    pub const INITIATION: u8 = 4;
    pub const TERMINATION: u8 = 5;
}

/// Flags of the per-peer header (RFC 7854 §4.2, RFC 8671 §4).
mod flag {
    pub const IPV6: u8 = 0x80;
    pub const POST_POLICY: u8 = 0x40;
    pub const TWO_OCTET_AS: u8 = 0x20;
    pub const ADJ_RIB_OUT: u8 = 0x10;
}

/// Peer types (RFC 7854 §4.2, RFC 9069 §4.1).
mod peer_type {
    pub const GLOBAL: u8 = 0;
    pub const LOC_RIB: u8 = 3;
}

/// Statistics (RFC 7854 §4.8).
mod stat {
    pub const ADJ_RIB_IN: u16 = 7;
    pub const LOC_RIB: u16 = 8;
    pub const ADJ_RIB_IN_OF_FAMILY: u16 = 9;
    pub const LOC_RIB_OF_FAMILY: u16 = 10;
    pub const TREATED_AS_WITHDRAW: u16 = 11;
}

/// VRF/Table Name TLV with the name of the default instance (RFC 9069 §5.2.1).
const TABLE_NAME: &[u8] = &[0, 3, 0, 6, b'g', b'l', b'o', b'b', b'a', b'l'];
/// Extended next hops of IPv4 (RFC 8950) and extended messages (RFC 8654): what the Loc-RIB may hold.
const LOC_RIB_CAPABILITIES: &[u8] = &[5, 6, 0, 1, 0, 1, 0, 2, 6, 0];
/// Messages are filled up to this; a route that needs more gets a longer one.
const FULL: usize = 4096;
/// Octets of attributes that still fit a message.
const LONGEST_BLOCK: usize = 65_400;

fn message(kind: u8, body: &[&[u8]], out: &mut Vec<u8>) {
    let length = 6 + body.iter().map(|part| part.len()).sum::<usize>();
    out.push(3);
    out.extend_from_slice(&(length as u32).to_be_bytes());
    out.push(kind);
    body.iter().for_each(|part| out.extend_from_slice(part));
}

fn put_tlv(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
}

/// Appends an Initiation message (RFC 7854 §4.3).
pub fn initiation(name: &str, description: &str, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    put_tlv(&mut body, 1, description.as_bytes());
    put_tlv(&mut body, 2, name.as_bytes());
    message(kind::INITIATION, &[&body], out);
}

/// Appends a Termination message (RFC 7854 §4.5): administratively closed.
pub fn termination(out: &mut Vec<u8>) {
    let mut body = Vec::new();
    put_tlv(&mut body, 1, &[0, 0]);
    message(kind::TERMINATION, &[&body], out);
}

fn address(address: IpAddr) -> [u8; 16] {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let mut whole = [0; 16];
            whole[12..].copy_from_slice(&v4.octets());
            whole
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The messages in some octets, one after the other.
fn split(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let field = rest.get(16..18)?;
        let length = usize::from(u16::from_be_bytes([field[0], field[1]])).max(HEADER);
        let (message, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(message)
    })
}

/// What a station is told of routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tells {
    /// What peers say, as they say it.
    pub adj_in_pre: bool,
    /// What import filters make of it.
    pub adj_in_post: bool,
    /// What is chosen, and what peers are told.
    pub views: BTreeSet<View>,
}

/// What is written about one of the views.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rib {
    In,
    InPost,
    OutPre,
    OutPost,
}

/// What a station is told, and what it therefore knows: the peers that are up.
pub struct Feed {
    tells: Tells,
    /// Of the speaker, as which its Loc-RIB is told.
    id: Ipv4Addr,
    local_as: u32,
    up: BTreeMap<u16, (SessionView, Opens)>,
}

impl Feed {
    /// For a station that knows nothing yet.
    pub fn new(tells: Tells, id: Ipv4Addr, local_as: u32) -> Self {
        Feed {
            tells,
            id,
            local_as,
            up: BTreeMap::new(),
        }
    }

    /// Per-Peer Header (RFC 7854 §4.2): global instance. `as4`: AS numbers are of four octets.
    fn header((view, _): &(SessionView, Opens), rib: Rib, as4: bool, at: Duration) -> Vec<u8> {
        let remote = view.remote.ip().to_canonical();
        let mut flags = match rib {
            Rib::In => 0,
            Rib::InPost => flag::POST_POLICY,
            Rib::OutPre => flag::ADJ_RIB_OUT,
            Rib::OutPost => flag::ADJ_RIB_OUT | flag::POST_POLICY,
        };
        flags |= if remote.is_ipv6() { flag::IPV6 } else { 0 };
        flags |= if as4 { 0 } else { flag::TWO_OCTET_AS };
        let mut out = vec![peer_type::GLOBAL, flags];
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&address(remote));
        out.extend_from_slice(&view.remote_as.to_be_bytes());
        out.extend_from_slice(&view.remote_id.octets());
        put_time(&mut out, at);
        out
    }

    /// Per-Peer Header of the Loc-RIB (RFC 9069 §4.1, §4.2), which is told as it is, unfiltered.
    fn loc_rib_header(&self, at: Duration) -> Vec<u8> {
        let mut out = vec![peer_type::LOC_RIB, 0];
        out.extend_from_slice(&[0; 8 + 16]);
        out.extend_from_slice(&self.local_as.to_be_bytes());
        out.extend_from_slice(&self.id.octets());
        put_time(&mut out, at);
        out
    }

    /// Appends Peer Up of the Loc-RIB (RFC 9069 §5.1), if that is told: before all else about it.
    pub fn loc_rib_up(&self, at: Duration, out: &mut Vec<u8>) {
        if self.tells.views.contains(&View::LocRib) {
            let open = update::open(self.local_as, self.id, 0, LOC_RIB_CAPABILITIES);
            let header = self.loc_rib_header(at);
            let ends = [0; 16 + 2 + 2];
            let body: [&[u8]; 5] = [&header, &ends, &open, &open, TABLE_NAME];
            message(kind::PEER_UP, &body, out);
        }
    }

    /// Appends Peer Down of the Loc-RIB (RFC 9069 §5.3), if that was told.
    pub fn loc_rib_down(&self, at: Duration, out: &mut Vec<u8>) {
        if self.tells.views.contains(&View::LocRib) {
            let body: [&[u8]; 3] = [&self.loc_rib_header(at), &[6], TABLE_NAME];
            message(kind::PEER_DOWN, &body, out);
        }
    }

    /// Appends Peer Up (RFC 7854 §4.10) for a session; nothing for a peer that is down. `at` is when
    /// it came up, since the Unix epoch.
    pub fn up(&mut self, view: &SessionView, at: Duration, out: &mut Vec<u8>) {
        let Some(opens) = view.opens.clone() else {
            return;
        };
        let peer = (view.clone(), opens);
        let ports = [
            peer.1.local.port().to_be_bytes(),
            view.remote.port().to_be_bytes(),
        ]
        .concat();
        let body: [&[u8]; 5] = [
            &Feed::header(&peer, Rib::In, peer.1.as4, at),
            &address(peer.1.local.ip()),
            &ports,
            &peer.1.sent,
            &peer.1.received,
        ];
        message(kind::PEER_UP, &body, out);
        self.up.insert(view.number, peer);
    }

    /// Appends Peer Down (RFC 7854 §4.9).
    pub fn down(&mut self, number: u16, why: &Down, at: Duration, out: &mut Vec<u8>) {
        let Some(peer) = self.up.remove(&number) else {
            return;
        };
        let header = Feed::header(&peer, Rib::In, peer.1.as4, at);
        let body: [&[u8]; 3] = match why {
            Down::Sent(notification) => [&header, &[1], notification],
            Down::Silent => [&header, &[2], &[0, 0]],
            Down::Received(notification) => [&header, &[3], notification],
            Down::Lost => [&header, &[4], &[]],
        };
        message(kind::PEER_DOWN, &body, out);
    }

    /// Appends Route Monitoring (RFC 7854 §4.6) with an UPDATE as it was received.
    pub fn update(&self, number: u16, update: &[u8], at: Duration, out: &mut Vec<u8>) {
        if let Some(peer) = self.up.get(&number).filter(|_| self.tells.adj_in_pre) {
            let header = Feed::header(peer, Rib::In, peer.1.as4, at);
            message(kind::ROUTE_MONITORING, &[&header, update], out);
        }
    }

    /// Appends Route Monitoring for the paths of a slice as the peers said them and as import
    /// filters made them, other than stale ones, which their sessions have not said. Those of
    /// sessions that the station does not know yet come as updates.
    pub fn slice(&self, slice: &RibSlice, at: Duration, out: &mut Vec<u8>) {
        let mut pre = Packed::new(self, Rib::In, &slice.sets);
        let mut post = Packed::new(self, Rib::InPost, &slice.sets);
        for path in slice.paths.iter().filter(|path| !path.stale) {
            let route = (path.peer, &path.prefix, path.path_id);
            if self.tells.adj_in_pre {
                pre.add(route, Some(path.received));
            }
            if let Some(used) = path.used.filter(|_| self.tells.adj_in_post) {
                post.add(route, Some(used));
            }
        }
        pre.write(at, out);
        post.write(at, out);
    }

    /// Appends Route Monitoring for what import filters let through now.
    pub fn accepted(&self, accepted: &Accepted, at: Duration, out: &mut Vec<u8>) {
        if self.tells.adj_in_post {
            let mut packed = Packed::new(self, Rib::InPost, &accepted.sets);
            for path in &accepted.paths {
                packed.add((path.peer, &path.prefix, path.path_id), path.set);
            }
            packed.write(at, out);
            for (peer, family) in &accepted.ends {
                if let Some(peer) = self.up.get(peer) {
                    Feed::end(peer, Rib::InPost, *family, at, out);
                }
            }
        }
    }

    /// Appends Route Monitoring for UPDATEs of a view.
    pub fn viewed(&self, viewed: &Viewed, at: Duration, out: &mut Vec<u8>) {
        let rib = match viewed.view {
            View::LocRib => None,
            View::AdjRibOutPre => Some(Rib::OutPre),
            View::AdjRibOutPost => Some(Rib::OutPost),
        };
        let header = match (rib, self.up.get(&viewed.peer)) {
            (None, _) => self.loc_rib_header(at),
            (Some(rib), Some(peer)) => Feed::header(peer, rib, peer.1.as4, at),
            (Some(_), None) => return,
        };
        for update in split(viewed.messages.as_ref()) {
            message(kind::ROUTE_MONITORING, &[&header, update], out);
        }
    }

    /// Appends End-of-RIB of the Adj-RIBs-In of all peers that are up (RFC 7854 §5). Views have
    /// their own.
    pub fn end_of_rib(&self, at: Duration, out: &mut Vec<u8>) {
        let ribs = [
            (Rib::In, self.tells.adj_in_pre),
            (Rib::InPost, self.tells.adj_in_post),
        ];
        for (rib, _) in ribs.iter().filter(|(_, told)| *told) {
            for peer in self.up.values() {
                for family in &peer.1.families {
                    Feed::end(peer, *rib, *family, at, out);
                }
            }
        }
    }

    fn end(peer: &(SessionView, Opens), rib: Rib, family: Family, at: Duration, out: &mut Vec<u8>) {
        let header = Feed::header(peer, rib, peer.1.as4, at);
        let end = end_of_rib(number_of(family));
        message(kind::ROUTE_MONITORING, &[&header, &end], out);
    }

    /// Appends a Statistics Report (RFC 7854 §4.8) for each session, and with how many prefixes of
    /// IPv4 and of IPv6 have a chosen path one for the Loc-RIB, if that is told.
    pub fn statistics(
        &self,
        counts: &[SessionCounts],
        chosen: [u64; 2],
        at: Duration,
        out: &mut Vec<u8>,
    ) {
        for of in counts {
            let Some(peer) = self.up.get(&of.peer) else {
                continue;
            };
            let held = of.held.map(u64::from);
            let mut tlvs = Vec::new();
            let treated = of.treated_as_withdraw as u32;
            put_tlv(&mut tlvs, stat::TREATED_AS_WITHDRAW, &treated.to_be_bytes());
            let families = peer.1.families.as_slice();
            let kinds = (stat::ADJ_RIB_IN, stat::ADJ_RIB_IN_OF_FAMILY);
            let count = 1 + put_gauges(&mut tlvs, kinds, held, families);
            let header = Feed::header(peer, Rib::In, peer.1.as4, at);
            let body: [&[u8]; 3] = [&header, &count.to_be_bytes(), &tlvs];
            message(kind::STATISTICS, &body, out);
        }
        if self.tells.views.contains(&View::LocRib) {
            let mut tlvs = Vec::new();
            let kinds = (stat::LOC_RIB, stat::LOC_RIB_OF_FAMILY);
            let count = put_gauges(&mut tlvs, kinds, chosen, &Family::ALL);
            let body: [&[u8]; 3] = [&self.loc_rib_header(at), &count.to_be_bytes(), &tlvs];
            message(kind::STATISTICS, &body, out);
        }
    }
}

fn put_time(out: &mut Vec<u8>, at: Duration) {
    out.extend_from_slice(&(at.as_secs() as u32).to_be_bytes());
    out.extend_from_slice(&at.subsec_micros().to_be_bytes());
}

fn number_of(family: Family) -> u16 {
    match family {
        Family::Ipv4 => 1,
        Family::Ipv6 => 2,
    }
}

fn family_of(afi: u16) -> Family {
    match afi {
        1 => Family::Ipv4,
        _ => Family::Ipv6,
    }
}

/// A gauge over all families and one for each; returns how many.
fn put_gauges(
    out: &mut Vec<u8>,
    (all, each): (u16, u16),
    counts: [u64; 2],
    families: &[Family],
) -> u32 {
    put_tlv(out, all, &counts.iter().sum::<u64>().to_be_bytes());
    for family in families {
        let mut value = number_of(*family).to_be_bytes().to_vec();
        value.push(1);
        value.extend_from_slice(&counts[*family as usize].to_be_bytes());
        put_tlv(out, each, &value);
    }
    1 + families.len() as u32
}

/// Routes on their way into messages: those of a peer with equal attributes together.
struct Packed<'a> {
    feed: &'a Feed,
    rib: Rib,
    sets: &'a [RibAttributes],
    /// By peer, address family, and set or withdrawal.
    nlri: BTreeMap<(u16, u16, Option<u32>), Vec<Vec<u8>>>,
}

impl<'a> Packed<'a> {
    fn new(feed: &'a Feed, rib: Rib, sets: &'a [RibAttributes]) -> Self {
        Packed {
            feed,
            rib,
            sets,
            nlri: BTreeMap::new(),
        }
    }

    /// `set`: its attributes, or that there is no such route.
    fn add(&mut self, (peer, prefix, path_id): (u16, &ipnet::IpNet, u32), set: Option<u32>) {
        let Some((_, opens)) = self.feed.up.get(&peer) else {
            return;
        };
        let afi = afi(prefix);
        let ids = opens.ids_in.contains(&family_of(afi));
        let mut nlri = Vec::with_capacity(21);
        put_prefix(&mut nlri, prefix, ids.then_some(path_id));
        self.nlri.entry((peer, afi, set)).or_default().push(nlri);
    }

    /// Appends Route Monitoring; these have AS numbers of four octets, whatever the session has.
    fn write(self, at: Duration, out: &mut Vec<u8>) {
        for ((peer, afi, set), prefixes) in self.nlri {
            let Some(peer) = self.feed.up.get(&peer) else {
                continue;
            };
            let set = set.map(|set| &self.sets[set as usize]);
            let block = set.map_or(0, |set| set.octets.len());
            if block > LONGEST_BLOCK {
                continue;
            }
            let header = Feed::header(peer, self.rib, true, at);
            let room = FULL.saturating_sub(HEADER + 4 + block + 48);
            let mut nlri = Vec::new();
            let mut prefixes = prefixes.into_iter().peekable();
            while let Some(prefix) = prefixes.next() {
                nlri.extend_from_slice(&prefix);
                let fits = |next: &Vec<u8>| nlri.len() + next.len() <= room;
                if prefixes.peek().is_some_and(fits) {
                    continue;
                }
                let update = match set {
                    Some(set) => announce(afi, &set.octets, &set.next_hop, &nlri),
                    None => withdraw(afi, &nlri),
                };
                message(kind::ROUTE_MONITORING, &[&header, &update], out);
                nlri.clear();
            }
        }
    }
}
