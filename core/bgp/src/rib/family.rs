//! The RIBs of one family, put together.

use super::LOCAL;
use super::accepted::Watch;
use super::adj_rib_out::{AdjRibOut, Joining};
use super::attributes::{Attributes, NextHops};
use super::clusters::Ours;
use super::decision::Origin;
use super::export::Policy;
use super::judge::Importer;
use super::net_set::NetSet;
use super::outbox::Outbox;
use super::ranking::Ranked;
use super::stale::{Marker, Stale};
use super::table::{Announcement, Counted, Rejection, Shared, Sight, Table};
use crate::wire::nlri::{self, Key};
use crate::{Family, Route, RouteChange, RouteNextHop};
use ipnet::IpNet;
use std::sync::Arc;

/// What both families share, lent out for one call.
pub(crate) struct Context<'a> {
    pub attributes: &'a mut Attributes,
    pub next_hops: &'a mut NextHops,
    pub origins: &'a [Origin],
    pub outboxes: &'a mut [Outbox],
}

impl Context<'_> {
    pub fn sight(&self) -> Sight<'_> {
        Sight {
            attributes: self.attributes,
            next_hops: self.next_hops,
            origins: self.origins,
        }
    }

    pub fn shared(&mut self) -> Shared<'_> {
        Shared {
            attributes: self.attributes,
            next_hops: self.next_hops,
            origins: self.origins,
        }
    }
}

/// How many paths a peer has with us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub held: u32,
    pub rejected: u32,
    pub stale: u32,
}

/// What is kept for each peer.
#[derive(Default)]
struct Held {
    nets: NetSet,
    counts: Counts,
}

impl Held {
    /// A path has gone: so has the net, unless add-path left another one in it.
    #[inline]
    fn forget<K: Key>(&mut self, table: &Table<K>, net: u32, peer: u16) {
        if !table.has_add_path() || table.path_of(net, peer).is_none() {
            self.nets.remove(net);
        }
    }

    fn count(&mut self, counted: Counted) {
        let add = |total: &mut u32, change: i32| *total = total.wrapping_add_signed(change);
        add(&mut self.counts.held, counted.held);
        add(&mut self.counts.rejected, counted.rejected);
        add(&mut self.counts.stale, counted.stale);
    }
}

pub(crate) struct FamilyRib<K> {
    table: Table<K>,
    out: AdjRibOut,
    held: Vec<Held>,
    /// How far route changes were reported; `None` when nobody wants them.
    reported: Option<u64>,
    keys: Vec<K>,
    /// Path identifiers of the keys, where there are any.
    ids: Vec<u32>,
    hashes: Vec<u32>,
    pub(super) accepted: Watch<K>,
}

fn family_of<K: Key>(key: K) -> Family {
    match key.to_net() {
        IpNet::V4(_) => Family::Ipv4,
        IpNet::V6(_) => Family::Ipv6,
    }
}

impl<K: Key> FamilyRib<K> {
    pub fn new(seed: u64, report: bool) -> Self {
        FamilyRib {
            table: Table::new(seed, report),
            out: AdjRibOut::new(),
            held: Vec::new(),
            reported: report.then_some(0),
            keys: Vec::new(),
            ids: Vec::new(),
            hashes: Vec::new(),
            accepted: Watch::default(),
        }
    }

    pub fn table(&self) -> &Table<K> {
        &self.table
    }

    pub fn out(&self) -> &AdjRibOut {
        &self.out
    }

    /// A peer sends path identifiers from now on.
    pub fn use_add_path(&mut self) {
        self.table.use_add_path();
    }

    pub fn make_room(&mut self, peers: usize) {
        self.held.resize_with(peers, Held::default);
    }

    pub fn counts(&self, peer: u16) -> Counts {
        self.held[usize::from(peer)].counts
    }

    /// Reads prefixes into `keys` and `hashes`, touching the index for all of them first: the
    /// misses then overlap instead of adding up.
    fn read(&mut self, nlri: &[u8], ids: bool) {
        self.keys.clear();
        self.ids.clear();
        self.hashes.clear();
        if ids {
            nlri::decode_with_ids(nlri, &mut self.keys, &mut self.ids);
        } else {
            nlri::decode(nlri, &mut self.keys);
        }
        let table = &self.table;
        let mut seen = 0;
        self.hashes.extend(self.keys.iter().map(|key| {
            let hash = table.hash(*key);
            seen ^= table.touch(hash);
            hash
        }));
        std::hint::black_box(seen);
    }

    /// `nlri` is a field and whether it holds path identifiers.
    pub fn announce(
        &mut self,
        peer: u16,
        nlri: (&[u8], bool),
        said: Announcement,
        import: &mut Importer<'_>,
        context: &mut Context<'_>,
    ) {
        self.read(nlri.0, nlri.1);
        let as_it_is = said.rejection.is_some() || import.is_idle();
        let held = &mut self.held[usize::from(peer)];
        let mut counted = Counted::default();
        let mut shared = context.shared();
        let tracked = shared.next_hops.is_tracked();
        for (i, (key, hash)) in self.keys.iter().zip(&self.hashes).enumerate() {
            let mut said = said;
            said.path_id = self.ids.get(i).copied().unwrap_or(0);
            let mut received = None;
            if key.is_multicast() {
                said.rejection = Some(Rejection::MulticastPrefix);
            } else if !as_it_is {
                (said, received) = {
                    let applied = import.apply(said, || key.to_net(), &mut shared);
                    if import.is_limited() {
                        let accepted = self.table.accepts(*hash, *key, peer);
                        import.limit(said, applied, family_of(*key), accepted)
                    } else {
                        applied
                    }
                };
            }
            if tracked {
                said = said.if_reachable(&shared);
            }
            let new = self
                .table
                .announce((*hash, *key), peer, said, &mut shared, &mut counted);
            if let Some(net) = new {
                held.nets.add(net, self.table.size());
            }
            if let Some(received) = received
                && let Some(net) = new.or_else(|| self.table.find(*hash, *key))
            {
                let source = (peer, said.path_id);
                self.table.keep_received(net, source, received, &mut shared);
            }
        }
        held.count(counted);
        self.accepted.touch_all(peer, &self.keys, &self.ids);
        self.tidy(peer);
    }

    pub fn announce_key(
        &mut self,
        peer: u16,
        key: K,
        said: Announcement,
        context: &mut Context<'_>,
    ) {
        let hash = self.table.hash(key);
        let held = &mut self.held[usize::from(peer)];
        let mut counted = Counted::default();
        let new = self
            .table
            .announce((hash, key), peer, said, &mut context.shared(), &mut counted);
        if let Some(net) = new {
            held.nets.add(net, self.table.size());
        }
        held.count(counted);
        self.tidy(peer);
    }

    /// `nlri` as in [`Self::announce`].
    pub fn withdraw(&mut self, peer: u16, nlri: (&[u8], bool), context: &mut Context<'_>) {
        self.read(nlri.0, nlri.1);
        let held = &mut self.held[usize::from(peer)];
        let mut counted = Counted::default();
        let mut shared = context.shared();
        for (i, (key, hash)) in self.keys.iter().zip(&self.hashes).enumerate() {
            let Some(net) = self.table.find(*hash, *key) else {
                continue;
            };
            let source = (peer, self.ids.get(i).copied().unwrap_or(0));
            if self.table.withdraw(net, source, &mut shared, &mut counted) {
                held.forget(&self.table, net, peer);
            }
        }
        held.count(counted);
        self.accepted.touch_all(peer, &self.keys, &self.ids);
    }

    pub fn withdraw_key(&mut self, peer: u16, key: K, context: &mut Context<'_>) {
        let Some(net) = self.table.find(self.table.hash(key), key) else {
            return;
        };
        let held = &mut self.held[usize::from(peer)];
        let mut counted = Counted::default();
        if self
            .table
            .withdraw(net, (peer, 0), &mut context.shared(), &mut counted)
        {
            held.nets.remove(net);
        }
        held.count(counted);
    }

    /// Cleans a peer's list of nets up when most of it is of no use.
    fn tidy(&mut self, peer: u16) {
        let held = &mut self.held[usize::from(peer)];
        if held.nets.is_bloated(held.counts.held) {
            let mut nets = held.nets.nets();
            nets.retain(|net| self.table.path_of(*net, peer).is_some());
            held.nets.replace(nets);
        }
    }

    /// The paths of a peer: net and number.
    fn paths_of(&self, peer: u16) -> Vec<(u32, u32)> {
        let nets = self.held[usize::from(peer)].nets.nets();
        if !self.table.has_add_path() {
            let path = |net: u32| Some((net, self.table.locate(net, peer, 0)?));
            return nets.into_iter().filter_map(path).collect();
        }
        let mut out = Vec::new();
        for net in nets {
            let paths = self.table.numbered(net);
            let own = paths.filter(|(_, path)| path.peer == peer);
            out.extend(own.map(|(at, _)| (net, at)));
        }
        out
    }

    pub fn clear(&mut self, peer: u16, only_stale: bool, context: &mut Context<'_>) {
        let mut counted = Counted::default();
        let mut shared = context.shared();
        for (net, at) in self.paths_of(peer) {
            if !only_stale || self.table.path(at).stale.is_stale() {
                self.accepted.touch(peer, &self.table, (net, at));
                self.table.remove(net, at, &mut shared, &mut counted);
                self.held[usize::from(peer)].forget(&self.table, net, peer);
            }
        }
        let held = &mut self.held[usize::from(peer)];
        held.count(counted);
        if held.counts.held == 0 {
            held.nets = NetSet::default();
        }
    }

    pub fn mark_stale(&mut self, peer: u16) {
        let mut counted = Counted::default();
        for (_, at) in self.paths_of(peer) {
            self.table.mark_stale(at, &mut counted);
        }
        self.held[usize::from(peer)].count(counted);
    }

    /// The restart time of a peer is over: its stale paths become long-lived stale.
    pub fn begin_long_lived(&mut self, peer: u16, context: &mut Context<'_>) {
        let mut counted = Counted::default();
        let mut shared = context.shared();
        let mut marker = Marker::default();
        for (net, at) in self.paths_of(peer) {
            if self.table.path(at).stale != Stale::Marked {
                continue;
            }
            self.accepted.touch(peer, &self.table, (net, at));
            let table = &mut self.table;
            if !table.mark_long_lived(net, at, &mut marker, &mut shared, &mut counted) {
                table.remove(net, at, &mut shared, &mut counted);
                self.held[usize::from(peer)].forget(&self.table, net, peer);
            }
        }
        marker.end(&mut shared);
        self.held[usize::from(peer)].count(counted);
    }

    pub fn refilter(&mut self, peer: u16, import: &mut Importer<'_>, context: &mut Context<'_>) {
        let mut counted = Counted::default();
        let mut shared = context.shared();
        let mut marker = Marker::default();
        for (net, at) in self.paths_of(peer) {
            let rejection = self.table.path(at).rejection;
            if rejection.is_none_or(Rejection::may_pass) {
                let said = Announcement {
                    rejection: None,
                    ..self.table.said(at)
                };
                let key = self.table.key(net);
                let applied = import.apply(said, || key.to_net(), &mut shared);
                let accepted = rejection.is_none();
                let (said, received) = import.limit(said, applied, family_of(key), accepted);
                let said = (said.if_reachable(&shared), received);
                let table = &mut self.table;
                let was = *table.path(at);
                table.judge(net, at, said, &mut shared, &mut counted);
                // What the filter made of it is marked anew.
                let goes = table.path(at).stale == Stale::LongLived
                    && !table.mark_long_lived(net, at, &mut marker, &mut shared, &mut counted);
                if goes || was != *table.path(at) {
                    self.accepted.touch(peer, &self.table, (net, at));
                }
                if goes {
                    self.table.remove(net, at, &mut shared, &mut counted);
                    self.held[usize::from(peer)].forget(&self.table, net, peer);
                }
            }
        }
        marker.end(&mut shared);
        self.held[usize::from(peer)].count(counted);
    }

    /// Finds loops through our clusters anew in what a peer gave us.
    pub fn judge_clusters(
        &mut self,
        peer: u16,
        ours: &Ours<'_>,
        import: &mut Importer<'_>,
        context: &mut Context<'_>,
    ) {
        let mut counted = Counted::default();
        let mut shared = context.shared();
        for (net, at) in self.paths_of(peer) {
            let rejection = self.table.path(at).rejection;
            let mut said = self.table.said(at);
            let block = shared.attributes.octets(said.attributes);
            let hop = shared.next_hops.get(said.next_hop);
            let Some(verdict) = ours.verdict(rejection, block, hop) else {
                continue;
            };
            said.rejection = verdict;
            let mut judged = (said, None);
            if verdict.is_none() {
                let key = self.table.key(net);
                let applied = import.apply(said, || key.to_net(), &mut shared);
                let (said, received) = import.limit(said, applied, family_of(key), false);
                judged = (said.if_reachable(&shared), received);
            }
            self.table.judge(net, at, judged, &mut shared, &mut counted);
            self.accepted.touch(peer, &self.table, (net, at));
        }
        self.held[usize::from(peer)].count(counted);
    }

    /// Decides anew about paths through next hops of which something else is known now.
    pub fn judge_next_hops(&mut self, next_hops: &[u32], context: &mut Context<'_>) {
        let shared = context.shared();
        for (net, at) in self.table.paths_through(next_hops) {
            let mut counted = Counted::default();
            let peer = self.table.path(at).peer;
            self.table.judge_next_hop(net, at, &shared, &mut counted);
            self.accepted.touch(peer, &self.table, (net, at));
            self.held[usize::from(peer)].count(counted);
        }
    }

    pub fn join(&mut self, policy: Policy, joining: Joining) {
        if policy.add_paths.is_some() {
            self.table.use_add_path();
        }
        let head = self.table.log.head();
        self.table.log.read_to(head);
        self.out.join(policy, joining, head);
    }

    pub fn rejoin(&mut self, policy: Option<Policy>, joining: Joining) {
        let head = self.table.log.head();
        self.table.log.read_to(head);
        self.out.rejoin(policy, joining, head);
    }

    pub fn leave(&mut self, peer: u16) {
        self.out.leave(peer);
        self.trim();
    }

    pub fn hold_end_of_rib(&mut self, hold: bool, context: &mut Context<'_>) {
        if hold {
            self.out.hold_end_of_rib = true;
        } else {
            self.out.release_end_of_rib::<K>(context.outboxes);
        }
    }

    pub fn members(&self) -> usize {
        self.out.members()
    }

    pub fn is_dumping(&self) -> bool {
        self.out.is_dumping()
    }

    pub fn is_behind(&self, outboxes: &[Outbox]) -> bool {
        self.out.is_behind(self.table.log.head(), outboxes)
    }

    /// One slice of telling peers; true when there is more.
    pub fn step(&mut self, context: &mut Context<'_>) -> bool {
        let sight = Sight {
            attributes: context.attributes,
            next_hops: context.next_hops,
            origins: context.origins,
        };
        let progress = self.out.step(&self.table, sight, context.outboxes);
        self.trim();
        progress.more
    }

    fn trim(&mut self) {
        let head = self.table.log.head();
        let furthest = self.out.places().map(|place| *place).max().unwrap_or(0);
        self.table
            .log
            .read_to(furthest.max(self.reported.unwrap_or(0)));
        let slowest = self
            .out
            .slowest()
            .into_iter()
            .chain(self.reported)
            .min()
            .unwrap_or(head);
        if slowest == head {
            self.table.log.read_to(head);
        }
        self.table.trim(slowest);
        let mut places: Vec<&mut u64> = self.out.places().chain(self.reported.as_mut()).collect();
        self.table.compact(&mut places);
    }

    pub fn take_routes(
        &mut self,
        max: usize,
        names: &[Option<Arc<str>>],
        sight: Sight<'_>,
        out: &mut Vec<RouteChange>,
    ) {
        let Some(mut cursor) = self.reported else {
            return;
        };
        let mut taken = 0;
        while taken < max {
            let Some(entry) = self.table.log.get(cursor) else {
                break;
            };
            if self.table.is_live(cursor, entry.net) {
                let prefix = self.table.key(entry.net).to_net();
                out.push(RouteChange {
                    prefix,
                    route: self.route(entry.net, names, sight),
                });
                taken += 1;
            }
            cursor += 1;
        }
        if self.reported != Some(cursor) {
            self.reported = Some(cursor);
            self.trim();
        }
    }

    fn route(&self, net: u32, names: &[Option<Arc<str>>], sight: Sight<'_>) -> Option<Route> {
        let best = self.table.best(net)?;
        let mut next_hops = Vec::new();
        if best.peer != LOCAL {
            let paths = self.table.equally_good(net, sight);
            next_hops.extend(paths.iter().map(|path| {
                let hop = sight.next_hops.get(path.next_hop);
                let link = sight.origins[usize::from(path.peer)].scope;
                RouteNextHop {
                    address: hop.address,
                    link_local: hop.link_local,
                    scope: hop.link_local.map_or(0, |_| link),
                }
            }));
            next_hops.sort_unstable();
            next_hops.dedup();
        }
        Some(Route {
            next_hops,
            peer: names.get(usize::from(best.peer)).cloned().flatten(),
            ibgp: sight.origins[usize::from(best.peer)].ibgp,
            local_pref: sight.attributes.record(best.attributes).local_pref,
        })
    }

    pub fn prefixes(&self) -> Vec<IpNet> {
        let mut keys: Vec<K> = self.table.live().map(|net| self.table.key(net)).collect();
        keys.sort_unstable();
        keys.into_iter().map(Key::to_net).collect()
    }

    /// Each path with its path identifier and why it lost.
    pub fn explain(&self, key: K, sight: Sight<'_>) -> Vec<Ranked> {
        let Some(net) = self.table.find(self.table.hash(key), key) else {
            return Vec::new();
        };
        let with_id = |(at, path, lost)| (self.table.mark(at).id, path, lost);
        let ranked = self.table.explain(net, sight).into_iter();
        ranked.map(with_id).collect()
    }
}
