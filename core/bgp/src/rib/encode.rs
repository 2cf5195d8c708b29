//! UPDATEs for one update group, from changed nets: withdrawals first, then routes packed by
//! attribute set.

use super::add_path::Several;
use super::difference::{Change, Difference};
use super::export::{self, Policy, put_next_hop};
use super::judge::{Judge, Subject, Verdict};
use super::log::Before;
use super::outbox::Encoded;
use super::table::{Path, Sight, Table};
use crate::filter::Operation;
use crate::wire::attribute::{flag, kind};
use crate::wire::nlri::{self, Key};
use crate::wire::{Kind, begin, finish, open};
use crate::{Family, NextHop};
use std::net::IpAddr;
use std::sync::Arc;

/// Encoded octets after which a new piece is begun.
const PIECE: usize = 64 << 10;
/// The longest MP_REACH_NLRI up to its prefixes: two next hops.
const MP_HEAD: usize = 41;

/// A route to announce; sorted so that equal attributes meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Item {
    attributes: u32,
    next_hop: u32,
    peer: u16,
    /// 1 + the rule that changes it, or 0.
    rule: u16,
    /// With add-path an index into [`Several::targets`].
    pub net: u32,
}

impl Item {
    pub fn new(path: &Path, rule: Option<u16>, net: u32) -> Self {
        Item {
            attributes: path.attributes,
            next_hop: path.next_hop,
            peer: path.peer,
            rule: rule.map_or(0, |rule| rule + 1),
            net,
        }
    }
}

/// Whether a path may be told under a policy, and the rule that changes it.
#[inline]
pub(crate) fn admit<K: Key>(
    policy: &Policy,
    judge: &mut Judge<'_>,
    sight: Sight<'_>,
    path: &Path,
    key: K,
) -> Option<Option<u16>> {
    let origin = &sight.origins[usize::from(path.peer)];
    let record = sight.attributes.record(path.attributes);
    if !policy.admits_origin(origin)
        || !policy.admits_communities(record)
        || !policy.admits_stale(record, origin)
    {
        return None;
    }
    if judge.is_idle() {
        return Some(None);
    }
    let subject = Subject {
        attributes: path.attributes,
        next_hop: path.next_hop,
        local: origin.local,
    };
    let facts = || {
        let block = sight.attributes.octets(path.attributes);
        (block, sight.next_hops.get(path.next_hop))
    };
    match judge.judge(subject, facts, || key.to_net()) {
        Verdict::Accept(rule) => Some(rule),
        Verdict::Reject => None,
    }
}

/// One pass over some nets for one group.
pub(crate) struct Encoder<'a, K> {
    pub sight: Sight<'a>,
    pub table: &'a Table<K>,
    pub policy: &'a Policy,
    pub judge: Judge<'a>,
    /// Sorted.
    pub members: &'a [u16],
    pub items: Vec<Item>,
    pub several: Several<K>,
    /// With the peer that was the source and so has not been told.
    withdrawn: Vec<(Option<u16>, K)>,
    /// Withdrawals that only the new source of a route needs.
    private: Vec<(u16, K)>,
    /// The members by address, where a next hop may be one of them.
    by_address: Vec<(IpAddr, u16)>,
    /// Routes for the member whose address is the next hop that others are told.
    spared: Vec<(u16, Arc<Encoded>)>,
    attributes: export::Attributes,
    piece: Vec<u8>,
    skips: Vec<(u16, u32, u32)>,
    updates: u32,
    pieces: Vec<Arc<Encoded>>,
}

/// What came out.
pub(crate) struct Made {
    /// For all members, in order.
    pub shared: Vec<Arc<Encoded>>,
    /// For one member each, after the shared ones.
    pub private: Vec<(u16, Arc<Encoded>)>,
}

impl<'a, K: Key> Encoder<'a, K> {
    pub fn new(
        sight: Sight<'a>,
        table: &'a Table<K>,
        policy: &'a Policy,
        members: &'a [u16],
    ) -> Self {
        let mut by_address = Vec::new();
        if policy.network.is_some() {
            let address = |peer: &u16| sight.origins[usize::from(*peer)].address.to_canonical();
            by_address.extend(members.iter().map(|peer| (address(peer), *peer)));
            by_address.sort_unstable();
        }
        Encoder {
            sight,
            table,
            policy,
            judge: policy.judge(),
            members,
            items: Vec::new(),
            several: Several::new(),
            withdrawn: Vec::new(),
            private: Vec::new(),
            by_address,
            spared: Vec::new(),
            attributes: export::Attributes::default(),
            piece: Vec::new(),
            skips: Vec::new(),
            updates: 0,
            pieces: Vec::new(),
        }
    }

    /// Takes a net as it is now; `before` is what the group may have been told.
    pub fn add(&mut self, net: u32, before: Before) {
        let table = self.table;
        let key = table.key(net);
        let admitted = table.best(net).and_then(|path| {
            let verdict = admit(self.policy, &mut self.judge, self.sight, path, key)?;
            Some((path, verdict))
        });
        match (admitted, before) {
            (Some((path, rule)), before) => {
                self.items.push(Item::new(path, rule, net));
                // The new source is not told its own route, so the old one must be taken back.
                let stale = match before {
                    Before::Nothing => false,
                    Before::Peer(old) => old != path.peer && self.was_told(old, key),
                    Before::Unknown => true,
                };
                if stale && self.members.binary_search(&path.peer).is_ok() {
                    self.private.push((path.peer, key));
                }
            }
            (None, Before::Nothing) => {}
            (None, Before::Peer(old)) => {
                if self.was_told(old, key) {
                    self.withdrawn.push((Some(old), key));
                }
            }
            (None, Before::Unknown) => self.withdrawn.push((None, key)),
        }
    }

    /// Takes a net whose members were told of it under another policy.
    pub fn change(&mut self, net: u32, difference: &mut Difference<'_>) {
        let table = self.table;
        let Some(path) = table.best(net) else { return };
        let key = table.key(net);
        let new = admit(self.policy, &mut self.judge, self.sight, path, key);
        match difference.of(self.policy, new, self.sight, path, key) {
            Change::None => {}
            Change::Announce(rule) => self.items.push(Item::new(path, rule, net)),
            Change::Withdraw => self.withdrawn.push((Some(path.peer), key)),
        }
    }

    /// Whether a path of this peer that is gone now may have been told.
    fn was_told(&self, peer: u16, key: K) -> bool {
        let origin = &self.sight.origins[usize::from(peer)];
        self.policy.admits_origin(origin) && self.judge.may_accept(|| key.to_net(), origin.local)
    }

    fn operations(&self, item: Item) -> &'a [Operation] {
        self.policy.filter.operations(item.rule.checked_sub(1))
    }

    pub fn finish(mut self) -> Made {
        let mut items = std::mem::take(&mut self.items);
        items.sort_unstable();
        let mut runs: Vec<&[Item]> = Vec::new();
        let same = |a: &Item, b: &Item| {
            (a.attributes, a.next_hop, a.peer, a.rule) == (b.attributes, b.next_hop, b.peer, b.rule)
        };
        runs.extend(items.chunk_by(same));
        // A route that cannot be told (no next hop, too large) is withdrawn, so runs come first.
        let mut sendable = Vec::with_capacity(runs.len());
        for run in runs {
            match self.next_hop(run[0]) {
                Some(hop) if self.fits(run[0]) => sendable.push((run, hop)),
                _ => self.take_back(run),
            }
        }
        self.withdrawals();
        for (run, hop) in sendable {
            self.announce(run, hop);
        }
        self.end_piece();
        let mut own = std::mem::take(&mut self.spared);
        let max = self.policy.max_message;
        let mut private = std::mem::take(&mut self.private);
        private.sort_unstable_by_key(|(peer, _)| *peer);
        for run in private.chunk_by(|a, b| a.0 == b.0) {
            let mut data = Vec::new();
            let list = run.iter().map(|(_, key)| (None, *key));
            let updates = put_withdrawals(&mut data, list, max);
            own.push((run[0].0, Arc::new(Encoded::new(data, updates))));
        }
        let mut private = std::mem::take(&mut self.several.private);
        private.sort_unstable();
        for run in private.chunk_by(|a, b| a.0 == b.0) {
            let mut data = Vec::new();
            let list = run.iter().map(|(_, id, key)| (Some(*id), *key));
            let updates = put_withdrawals(&mut data, list, max);
            own.push((run[0].0, Arc::new(Encoded::new(data, updates))));
        }
        Made {
            shared: self.pieces,
            private: own,
        }
    }

    /// Withdraws what cannot be announced.
    fn take_back(&mut self, run: &[Item]) {
        for item in run {
            match self.several.target(self.table, item) {
                (Some(id), key) => self.several.withdrawn.push((None, id, key)),
                (None, key) => self.withdrawn.push((None, key)),
            }
        }
    }

    fn next_hop(&self, item: Item) -> Option<NextHop> {
        let hop: NextHop = self.sight.next_hops.get(item.next_hop);
        let origin = &self.sight.origins[usize::from(item.peer)];
        self.policy
            .next_hop(hop, origin, K::FAMILY, self.operations(item))
    }

    /// Whether the attributes leave room for a prefix. Rarely near, so first by a bound.
    fn fits(&self, item: Item) -> bool {
        let block = self.sight.attributes.octets(item.attributes);
        // Header, lengths, MP_REACH_NLRI head, longest prefix and its identifier; what export may
        // add at most.
        let room = self.policy.limit(block.len()) - 23 - MP_HEAD - 21;
        let operations = self.operations(item);
        if operations.is_empty() && block.len() * 2 + 32 <= room {
            return true;
        }
        let mut attributes = export::Attributes::default();
        let origin = &self.sight.origins[usize::from(item.peer)];
        attributes.write(self.policy, block, origin, operations);
        attributes.len() <= room
    }

    fn withdrawals(&mut self) {
        let mut withdrawn = std::mem::take(&mut self.withdrawn);
        withdrawn.sort_by_key(|(peer, _)| *peer);
        let max = self.policy.max_message;
        for run in withdrawn.chunk_by(|a, b| a.0 == b.0) {
            let start = self.piece.len();
            let list = run.iter().map(|(_, key)| (None, *key));
            self.updates += put_withdrawals(&mut self.piece, list, max);
            self.skip(run[0].0, start);
        }
        let mut withdrawn = std::mem::take(&mut self.several.withdrawn);
        withdrawn.sort_unstable();
        for run in withdrawn.chunk_by(|a, b| a.0 == b.0) {
            let start = self.piece.len();
            let list = run.iter().map(|(_, id, key)| (Some(*id), *key));
            self.updates += put_withdrawals(&mut self.piece, list, max);
            self.skip(run[0].0, start);
        }
    }

    /// Leaves what was written since `start` out for `peer`.
    fn skip(&mut self, peer: Option<u16>, start: usize) {
        if let Some(peer) = peer
            && self.members.binary_search(&peer).is_ok()
        {
            let end = self.piece.len() as u32;
            match self.skips.last_mut() {
                Some((last, _, to)) if *last == peer && *to == start as u32 => *to = end,
                _ => self.skips.push((peer, start as u32, end)),
            }
        }
        if self.piece.len() >= PIECE {
            self.end_piece();
        }
    }

    fn end_piece(&mut self) {
        if self.piece.is_empty() {
            return;
        }
        let mut encoded = Encoded::new(std::mem::take(&mut self.piece), self.updates);
        self.skips.sort_unstable();
        encoded.skips = std::mem::take(&mut self.skips);
        self.updates = 0;
        self.pieces.push(Arc::new(encoded));
    }

    /// UPDATEs for routes with the same attributes, next hop and source.
    fn announce(&mut self, run: &[Item], hop: NextHop) {
        let item = run[0];
        let origin = &self.sight.origins[usize::from(item.peer)];
        let block = self.sight.attributes.octets(item.attributes);
        let operations = self.operations(item);
        self.attributes
            .write(self.policy, block, origin, operations);
        let spared = self.spared(item, hop);
        let mut rest = run;
        while !rest.is_empty() {
            let start = self.piece.len();
            if self.piece.capacity() == 0 {
                self.piece.reserve(PIECE + 4096);
            }
            rest = self.message(rest, hop);
            self.updates += 1;
            let end = self.piece.len() as u32;
            self.skips
                .extend(spared.iter().map(|peer| (*peer, start as u32, end)));
            self.skip(Some(item.peer), start);
        }
        for peer in spared {
            self.spare(peer, run);
        }
    }

    /// The members that must not be told this next hop, as it is their own address.
    fn spared(&self, item: Item, hop: NextHop) -> Vec<u16> {
        let by_address = self.by_address.as_slice();
        let from = by_address.partition_point(|(address, _)| *address < hop.address);
        let same = by_address[from..]
            .iter()
            .take_while(|(address, _)| *address == hop.address)
            .map(|(_, peer)| *peer);
        let members: Vec<u16> = same.filter(|peer| *peer != item.peer).collect();
        if members.is_empty() || self.policy.spares(hop, K::FAMILY, self.operations(item)) {
            members
        } else {
            Vec::new()
        }
    }

    /// The same routes for one member, with our address as their next hop.
    fn spare(&mut self, peer: u16, run: &[Item]) {
        let Some(hop) = self.policy.own_address else {
            for item in run {
                match self.several.target(self.table, item) {
                    (Some(id), key) => self.several.private.push((peer, id, key)),
                    (None, key) => self.private.push((peer, key)),
                }
            }
            return;
        };
        let shared = std::mem::take(&mut self.piece);
        let mut updates = 0;
        let mut rest = run;
        while !rest.is_empty() {
            rest = self.message(rest, hop);
            updates += 1;
        }
        let own = std::mem::replace(&mut self.piece, shared);
        self.spared
            .push((peer, Arc::new(Encoded::new(own, updates))));
    }

    /// One UPDATE with as many of the routes as fit; returns the others.
    fn message<'r>(&mut self, run: &'r [Item], hop: NextHop) -> &'r [Item] {
        if K::FAMILY == Family::Ipv4 && hop.address.is_ipv4() {
            self.ipv4(run, hop)
        } else {
            self.multiprotocol(run, hop)
        }
    }

    fn ipv4<'r>(&mut self, run: &'r [Item], hop: NextHop) -> &'r [Item] {
        let out = &mut self.piece;
        let at = begin(out, Kind::Update);
        out.extend_from_slice(&[0, 0, 0, 0]);
        let block = out.len();
        out.extend_from_slice(&self.attributes.head);
        put_next_hop(out, K::FAMILY, hop, 0);
        out.extend_from_slice(&self.attributes.tail);
        let length = (out.len() - block) as u16;
        out[block - 2..block].copy_from_slice(&length.to_be_bytes());
        let limit = at + self.policy.limit(self.attributes.len());
        let mut taken = 0;
        for item in run {
            let (id, key) = self.several.target(self.table, item);
            if out.len() + nlri::octets(id, key) > limit {
                break;
            }
            nlri::put(out, id, key);
            taken += 1;
        }
        finish(out, at);
        &run[taken..]
    }

    fn multiprotocol<'r>(&mut self, run: &'r [Item], hop: NextHop) -> &'r [Item] {
        let room = self.policy.limit(self.attributes.len()) - 23 - MP_HEAD - self.attributes.len();
        let mut octets = 0;
        let mut taken = 0;
        for item in run {
            let (id, key) = self.several.target(self.table, item);
            let next = nlri::octets(id, key);
            if octets + next > room {
                break;
            }
            octets += next;
            taken += 1;
        }
        let out = &mut self.piece;
        let at = begin(out, Kind::Update);
        out.extend_from_slice(&[0, 0, 0, 0]);
        let block = out.len();
        // First, so that a receiver finds the prefixes before any fault (RFC 7606 §5.1).
        put_next_hop(out, K::FAMILY, hop, octets);
        for item in &run[..taken] {
            let (id, key) = self.several.target(self.table, item);
            nlri::put(out, id, key);
        }
        out.extend_from_slice(&self.attributes.head);
        out.extend_from_slice(&self.attributes.tail);
        let length = (out.len() - block) as u16;
        out[block - 2..block].copy_from_slice(&length.to_be_bytes());
        finish(out, at);
        &run[taken..]
    }
}

/// Appends UPDATEs that withdraw a list, as full as messages can be; returns how many.
fn put_withdrawals<K: Key>(
    out: &mut Vec<u8>,
    list: impl Iterator<Item = (Option<u32>, K)>,
    max_message: usize,
) -> u32 {
    let mut updates = 0;
    let mut rest = list.peekable();
    while rest.peek().is_some() {
        updates += 1;
        let at = begin(out, Kind::Update);
        let limit = at + max_message - 4;
        let field = match K::FAMILY {
            Family::Ipv4 => {
                out.extend_from_slice(&[0, 0]);
                out.len()
            }
            Family::Ipv6 => {
                out.extend_from_slice(&[0, 0, 0, 0]);
                out.extend_from_slice(&[flag::OPTIONAL | flag::EXTENDED, kind::MP_UNREACH, 0, 0]);
                let field = out.len();
                out.extend_from_slice(&open::afi(K::FAMILY).to_be_bytes());
                out.push(1);
                field
            }
        };
        while let Some((id, key)) =
            rest.next_if(|(id, key)| out.len() + nlri::octets(*id, *key) <= limit)
        {
            nlri::put(out, id, key);
        }
        let length = (out.len() - field) as u16;
        out[field - 2..field].copy_from_slice(&length.to_be_bytes());
        match K::FAMILY {
            Family::Ipv4 => out.extend_from_slice(&[0, 0]),
            Family::Ipv6 => {
                out[field - 6..field - 4].copy_from_slice(&(length + 4).to_be_bytes());
            }
        }
        finish(out, at);
    }
    updates
}

/// End-of-RIB (RFC 4724 §2).
pub(crate) fn end_of_rib(family: Family) -> Vec<u8> {
    let mut out = Vec::with_capacity(29);
    let at = begin(&mut out, Kind::Update);
    match family {
        Family::Ipv4 => out.extend_from_slice(&[0, 0, 0, 0]),
        Family::Ipv6 => {
            out.extend_from_slice(&[0, 0, 0, 6, flag::OPTIONAL, kind::MP_UNREACH, 3, 0, 2, 1])
        }
    }
    finish(&mut out, at);
    out
}
