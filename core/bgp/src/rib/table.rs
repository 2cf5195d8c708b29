//! Nets and paths of one family: adj_rib_in and loc_rib in one, as flat arrays.
//!
//! A net's paths are a list whose first one is the best, when any counts. Paths that a rule
//! keeps out stay in the list, flagged, so that they can be shown and let in later.

use super::attributes::{Attributes, NextHops};
use super::decision::{self, Origin};
use super::index::{Index, hash_words};
use super::log::{Before, Log};
use super::received::{Received, Said};
use super::stale::Stale;
use crate::wire::nlri::Key;

/// End of a list.
const NONE: u32 = u32::MAX;

/// Why a path is kept out of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Rejection {
    ImportFilter = 1,
    AsPathLoop = 2,
    OriginatorIdLoop = 3,
    ClusterListLoop = 4,
    OwnNextHop = 5,
    RouteLeak = 6,
    NoImportPolicy = 7,
    MaxPrefixes = 8,
    NextHopUnreachable = 9,
    /// RFC 4271 §6.3: no route of unicast.
    MulticastPrefix = 10,
}

impl Rejection {
    /// What the configuration says now may let the path in.
    pub fn may_pass(self) -> bool {
        match self {
            Rejection::ImportFilter
            | Rejection::NoImportPolicy
            | Rejection::MaxPrefixes
            | Rejection::NextHopUnreachable => true,
            Rejection::AsPathLoop
            | Rejection::OriginatorIdLoop
            | Rejection::ClusterListLoop
            | Rejection::OwnNextHop
            | Rejection::RouteLeak
            | Rejection::MulticastPrefix => false,
        }
    }

    /// It was found only after our clusters were looked for in the path.
    pub fn yields(self) -> bool {
        self.may_pass() || self == Rejection::OwnNextHop
    }

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Rejection::ImportFilter => "import-filter",
            Rejection::AsPathLoop => "as-path-loop",
            Rejection::OriginatorIdLoop => "originator-id-loop",
            Rejection::ClusterListLoop => "cluster-list-loop",
            Rejection::OwnNextHop => "own-next-hop",
            Rejection::NextHopUnreachable => "next-hop-unreachable",
            Rejection::RouteLeak => "route-leak",
            Rejection::NoImportPolicy => "no-import-policy",
            Rejection::MaxPrefixes => "max-prefixes",
            Rejection::MulticastPrefix => "multicast-prefix",
        }
    }
}

/// One path: sixteen octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub attributes: u32,
    pub next_hop: u32,
    next: u32,
    pub peer: u16,
    pub rejection: Option<Rejection>,
    pub stale: Stale,
}

const _: () = assert!(size_of::<Path>() == 16);

/// What a peer says of a net.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announcement {
    pub attributes: u32,
    pub next_hop: u32,
    pub rejection: Option<Rejection>,
    /// The peer's path identifier (RFC 7911 §3); 0 without add-path.
    pub path_id: u32,
}

/// What only add-path needs to know of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The identifier that the peer gave it.
    pub id: u32,
    /// Another one after each change of the path; never 0.
    pub stamp: u32,
}

#[derive(Clone, Copy)]
struct Net<K> {
    key: K,
    first: u32,
    /// Lower half of the number of its last log entry.
    seq: u32,
}

/// What became of the count of a peer's paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub held: i32,
    pub rejected: i32,
    pub stale: i32,
}

/// The table of one family.
pub(crate) struct Table<K> {
    index: Index,
    nets: Vec<Net<K>>,
    free_nets: Vec<u32>,
    paths: Vec<Path>,
    free_path: u32,
    received: Received,
    /// By number of the path; only kept once [`Table::use_add_path`] was called.
    marks: Option<Vec<Mark>>,
    stamp: u32,
    pub log: Log,
    seed: u64,
    /// Also log when only paths other than the best one change: for multipath and for add-path.
    all_changes: bool,
}

/// The parts of the RIB that decisions look at.
pub(crate) struct Shared<'a> {
    pub attributes: &'a mut Attributes,
    pub next_hops: &'a mut NextHops,
    pub origins: &'a [Origin],
}

/// The same, to look at only.
#[derive(Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub attributes: &'a Attributes,
    pub next_hops: &'a NextHops,
    pub origins: &'a [Origin],
}

impl<K: Key> Table<K> {
    pub fn new(seed: u64, all_changes: bool) -> Self {
        Table {
            index: Index::new(),
            nets: Vec::new(),
            free_nets: Vec::new(),
            paths: Vec::new(),
            free_path: NONE,
            received: Received::default(),
            marks: None,
            stamp: 1,
            log: Log::default(),
            seed,
            all_changes,
        }
    }

    /// From now on peers may have several paths in a net, and other paths than the best one are
    /// told. Costs eight octets a path.
    pub fn use_add_path(&mut self) {
        self.all_changes = true;
        let mark = Mark { id: 0, stamp: 1 };
        let paths = self.paths.len();
        self.marks.get_or_insert_with(|| vec![mark; paths]);
    }

    /// Whether a peer may have several paths in a net.
    pub fn has_add_path(&self) -> bool {
        self.marks.is_some()
    }

    /// The mark of a path by its number.
    pub fn mark(&self, path: u32) -> Mark {
        let marks = self.marks.as_deref().unwrap_or_default();
        marks.get(path as usize).copied().unwrap_or_default()
    }

    /// Notes that a path is new or not what it was.
    #[inline]
    pub(super) fn note_change(&mut self, path: u32, id: u32) {
        if let Some(marks) = &mut self.marks {
            self.stamp = self.stamp.wrapping_add(1).max(1);
            let mark = Mark {
                id,
                stamp: self.stamp,
            };
            match marks.get_mut(path as usize) {
                Some(old) => *old = mark,
                None => marks.push(mark),
            }
        }
    }

    /// How many net numbers there are, free ones among them.
    pub fn size(&self) -> usize {
        self.nets.len()
    }

    #[inline]
    pub fn hash(&self, key: K) -> u32 {
        hash_words(key.words(), self.seed)
    }

    /// Reads where a search for this hash starts, to have it in the cache.
    #[inline]
    pub fn touch(&self, hash: u32) -> u64 {
        self.index.touch(hash)
    }

    #[inline]
    pub fn find(&self, hash: u32, key: K) -> Option<u32> {
        self.index
            .find(hash, |net| self.nets[net as usize].key == key)
    }

    pub fn key(&self, net: u32) -> K {
        self.nets[net as usize].key
    }

    fn find_or_add(&mut self, hash: u32, key: K) -> u32 {
        if let Some(net) = self.find(hash, key) {
            return net;
        }
        // Far behind the log, so that it does not look pending.
        let seq = (self.log.base() as u32).wrapping_sub(1);
        let net = Net {
            key,
            first: NONE,
            seq,
        };
        let id = match self.free_nets.pop() {
            Some(id) => {
                self.nets[id as usize] = net;
                id
            }
            None => {
                self.nets.push(net);
                u32::try_from(self.nets.len() - 1).expect("fewer than 2^32 nets")
            }
        };
        self.index.insert(hash, id);
        id
    }

    fn add_path(&mut self, path: Path) -> u32 {
        if self.free_path == NONE {
            self.paths.push(path);
            return u32::try_from(self.paths.len() - 1).expect("fewer than 2^32 paths");
        }
        let id = self.free_path;
        self.free_path = self.paths[id as usize].next;
        self.paths[id as usize] = path;
        id
    }

    /// The best path, if one counts.
    #[inline]
    pub fn best(&self, net: u32) -> Option<&Path> {
        let first = self.nets[net as usize].first;
        self.paths
            .get(first as usize)
            .filter(|path| path.rejection.is_none())
    }

    /// All paths of a net, the best one first.
    pub fn paths(&self, net: u32) -> impl Iterator<Item = &Path> {
        let mut at = self.nets[net as usize].first;
        std::iter::from_fn(move || {
            let path = self.paths.get(at as usize)?;
            at = path.next;
            Some(path)
        })
    }

    /// All paths of a net with their numbers, the best one first.
    pub fn numbered(&self, net: u32) -> impl Iterator<Item = (u32, &Path)> {
        let mut at = self.nets[net as usize].first;
        std::iter::from_fn(move || {
            let number = at;
            let path = self.paths.get(number as usize)?;
            at = path.next;
            Some((number, path))
        })
    }

    /// Whether a path of this peer's to a prefix counts.
    pub fn accepts(&self, hash: u32, key: K, peer: u16) -> bool {
        let net = self.find(hash, key);
        net.and_then(|net| self.path_of(net, peer))
            .is_some_and(|path| path.rejection.is_none())
    }

    /// A path of this peer, the first of several.
    pub fn path_of(&self, net: u32, peer: u16) -> Option<&Path> {
        self.paths(net).find(|path| path.peer == peer)
    }

    /// The nets that have a path.
    pub fn live(&self) -> impl Iterator<Item = u32> {
        let has_path = |(_, net): &(usize, &Net<K>)| net.first != NONE;
        self.nets
            .iter()
            .enumerate()
            .filter(has_path)
            .map(|(id, _)| id as u32)
    }

    /// Puts a peer's path in place. Returns the net when the peer had no such path in it before.
    pub fn announce(
        &mut self,
        (hash, key): (u32, K),
        peer: u16,
        said: Announcement,
        shared: &mut Shared<'_>,
        counted: &mut Counted,
    ) -> Option<u32> {
        let id = self.find_or_add(hash, key);
        let first = self.nets[id as usize].first;
        let path = Path {
            attributes: said.attributes,
            next_hop: said.next_hop,
            next: NONE,
            peer,
            rejection: said.rejection,
            stale: Stale::No,
        };
        if first == NONE {
            counted.held += 1;
            counted.rejected += i32::from(said.rejection.is_some());
            shared.attributes.keep(said.attributes);
            shared.next_hops.keep(said.next_hop);
            let at = self.add_path(path);
            self.note_change(at, said.path_id);
            let net = &mut self.nets[id as usize];
            net.first = at;
            if said.rejection.is_none() {
                self.log.note(id, &mut net.seq, Before::Nothing, true);
            }
            return Some(id);
        }
        let old_best = self.best(id).copied();
        let old = self.locate(id, peer, said.path_id);
        shared.attributes.keep(said.attributes);
        shared.next_hops.keep(said.next_hop);
        counted.rejected += i32::from(said.rejection.is_some());
        if let Some(at) = old {
            let slot = &mut self.paths[at as usize];
            let was = *slot;
            *slot = Path {
                next: was.next,
                ..path
            };
            counted.rejected -= i32::from(was.rejection.is_some());
            counted.stale -= i32::from(was.stale.is_stale());
            shared.attributes.release(was.attributes);
            shared.next_hops.release(was.next_hop);
            self.received.forget(at, shared);
            let same = (was.attributes, was.next_hop, was.rejection)
                == (said.attributes, said.next_hop, said.rejection);
            if same {
                return None;
            }
            self.note_change(at, said.path_id);
        } else {
            counted.held += 1;
            let next = std::mem::replace(&mut self.nets[id as usize].first, NONE);
            let at = self.add_path(Path { next, ..path });
            self.note_change(at, said.path_id);
            self.nets[id as usize].first = at;
        }
        self.choose(id, old_best, shared);
        old.is_none().then_some(id)
    }

    /// Takes a peer's path away. True when there was one.
    pub fn withdraw(
        &mut self,
        id: u32,
        (peer, path_id): (u16, u32),
        shared: &mut Shared<'_>,
        counted: &mut Counted,
    ) -> bool {
        let Some(at) = self.locate(id, peer, path_id) else {
            return false;
        };
        self.remove(id, at, shared, counted);
        true
    }

    /// Takes a path away by its number.
    pub fn remove(&mut self, id: u32, at: u32, shared: &mut Shared<'_>, counted: &mut Counted) {
        let old_best = self.best(id).copied();
        let gone = self.paths[at as usize];
        self.received.forget(at, shared);
        self.unlink(id, at);
        self.paths[at as usize].next = self.free_path;
        self.free_path = at;
        counted.held -= 1;
        counted.rejected -= i32::from(gone.rejection.is_some());
        counted.stale -= i32::from(gone.stale.is_stale());
        self.choose(id, old_best, shared);
        shared.attributes.release(gone.attributes);
        shared.next_hops.release(gone.next_hop);
    }

    pub(super) fn path_mut(&mut self, at: u32) -> &mut Path {
        &mut self.paths[at as usize]
    }

    /// A path by its number.
    pub fn path(&self, at: u32) -> &Path {
        &self.paths[at as usize]
    }

    /// Puts in place what a changed import filter makes of a peer's path.
    pub fn judge(
        &mut self,
        id: u32,
        at: u32,
        (said, received): (Announcement, Option<Said>),
        shared: &mut Shared<'_>,
        counted: &mut Counted,
    ) {
        let old_best = self.best(id).copied();
        let was = self.paths[at as usize];
        let is = Path {
            attributes: said.attributes,
            next_hop: said.next_hop,
            rejection: said.rejection,
            ..was
        };
        shared.attributes.keep(is.attributes);
        shared.next_hops.keep(is.next_hop);
        self.paths[at as usize] = is;
        counted.rejected += i32::from(is.rejection.is_some()) - i32::from(was.rejection.is_some());
        if was != is {
            self.note_change(at, self.mark(at).id);
            self.choose(id, old_best, shared);
        }
        self.received.keep(at, received, shared);
        shared.attributes.release(was.attributes);
        shared.next_hops.release(was.next_hop);
    }

    /// What a peer said of a net, before the import filter.
    pub fn said(&self, at: u32) -> Announcement {
        let path = &self.paths[at as usize];
        let received = self.received.get(at);
        let (attributes, next_hop) = received.unwrap_or((path.attributes, path.next_hop));
        Announcement {
            attributes,
            next_hop,
            rejection: path.rejection,
            path_id: self.mark(at).id,
        }
    }

    /// Keeps what a peer's path was before the import filter changed it.
    pub fn keep_received(
        &mut self,
        id: u32,
        (peer, path_id): (u16, u32),
        said: Said,
        shared: &mut Shared<'_>,
    ) {
        if let Some(at) = self.locate(id, peer, path_id) {
            self.received.keep(at, Some(said), shared);
        }
    }

    /// The number of the path that a peer has in a net under an identifier.
    pub fn locate(&self, id: u32, peer: u16, path_id: u32) -> Option<u32> {
        let mut at = self.nets[id as usize].first;
        while let Some(path) = self.paths.get(at as usize) {
            if path.peer == peer && (self.marks.is_none() || self.mark(at).id == path_id) {
                return Some(at);
            }
            at = path.next;
        }
        None
    }

    fn unlink(&mut self, id: u32, wanted: u32) {
        let after = self.paths[wanted as usize].next;
        let first = self.nets[id as usize].first;
        if first == wanted {
            self.nets[id as usize].first = after;
            return;
        }
        let mut at = first;
        while self.paths[at as usize].next != wanted {
            at = self.paths[at as usize].next;
        }
        self.paths[at as usize].next = after;
    }

    /// Runs the decision over a net, moves the best to the front and logs what changed.
    pub(super) fn choose(&mut self, id: u32, old_best: Option<Path>, shared: &Shared<'_>) {
        let mut at = self.nets[id as usize].first;
        let mut ids = Vec::new();
        let mut candidates = Vec::new();
        while let Some(path) = self.paths.get(at as usize) {
            if path.rejection.is_none() {
                ids.push(at);
                let sight = shared.sight();
                candidates.push(sight.candidate(path, self.mark(at).id));
            }
            at = path.next;
        }
        let several = candidates.len() > 1 || old_best.is_some() && !candidates.is_empty();
        if !candidates.is_empty() {
            let best = ids[decision::best(&candidates)];
            if best != self.nets[id as usize].first {
                self.unlink(id, best);
                self.paths[best as usize].next = self.nets[id as usize].first;
                self.nets[id as usize].first = best;
            }
        }
        let shape = |path: &Path| (path.attributes, path.next_hop, path.peer);
        let best_changed = old_best.as_ref().map(shape) != self.best(id).map(shape);
        if best_changed || (self.all_changes && several) {
            let before = old_best.map_or(Before::Nothing, |path| Before::Peer(path.peer));
            self.log
                .note(id, &mut self.nets[id as usize].seq, before, best_changed);
        } else if self.nets[id as usize].first == NONE {
            // Only a rejected path was there; the log is what frees nets.
            self.log
                .note(id, &mut self.nets[id as usize].seq, Before::Nothing, false);
        }
    }

    /// True when this entry is the net's last one.
    #[inline]
    pub fn is_live(&self, seq: u64, net: u32) -> bool {
        self.nets[net as usize].seq == seq as u32
    }

    /// Lets go of entries that all readers have read, and of nets that are then of no use.
    pub fn trim(&mut self, slowest: u64) {
        while let Some((seq, entry)) = self.log.pop_before(slowest) {
            let net = &self.nets[entry.net as usize];
            if net.seq == seq as u32 && net.first == NONE {
                let hash = self.hash(net.key);
                self.index.remove(hash, entry.net);
                // Never again the last one of a freed net.
                self.nets[entry.net as usize].seq = (seq as u32).wrapping_sub(1);
                self.free_nets.push(entry.net);
            }
        }
    }

    /// Drops dead entries when there are many; a reader that stands still cannot make it grow.
    pub fn compact(&mut self, cursors: &mut [&mut u64]) {
        if self.log.len() < 4096 + 2 * self.nets.len() {
            return;
        }
        let nets = &mut self.nets;
        self.log.compact(
            |seq, entry, new| {
                let net = &mut nets[entry.net as usize];
                let live = net.seq == seq as u32;
                if live {
                    net.seq = new as u32;
                }
                live
            },
            cursors,
        );
    }
}
