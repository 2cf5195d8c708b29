//! Paths that have outlived their session (RFC 4724 §4.2). Those that are kept beyond the restart
//! time get LLGR_STALE, which makes them the least preferred ones, and those with NO_LLGR go
//! (RFC 9494 §4.2).

use super::table::{Announcement, Counted, Shared, Table};
use crate::filter::{self, Community, Operation};
use crate::wire::attribute::{LLGR_STALE, NO_LLGR, has_community};
use crate::wire::nlri::Key;
use std::collections::BTreeMap;

/// Whether a path has outlived what it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stale {
    No,
    /// Its session ended (RFC 4724 §4.2), or the peer sends all anew (RFC 7313 §4).
    Marked,
    /// The restart time is over too (RFC 9494 §4.2).
    LongLived,
}

impl Stale {
    pub fn is_stale(self) -> bool {
        self != Stale::No
    }
}

/// Puts LLGR_STALE into attribute sets, into each once. One use is held of each set that it knows.
#[derive(Default)]
pub(crate) struct Marker {
    /// By set, the one with the community; `None` for one with NO_LLGR.
    made: BTreeMap<u32, Option<u32>>,
}

impl Marker {
    /// The set that a path has with LLGR_STALE in it; `None` when it must not be kept. `said` is
    /// what the peer said and `used` what the import filter made of it.
    pub fn mark(&mut self, used: u32, said: u32, shared: &mut Shared<'_>) -> Option<u32> {
        if said != used && has_community(shared.attributes.octets(said), NO_LLGR) {
            return None;
        }
        if let Some(made) = self.made.get(&used) {
            return *made;
        }
        let block = shared.attributes.octets(used);
        let made = if has_community(block, NO_LLGR) {
            None
        } else {
            let mark = [Operation::AddCommunity(Community::Standard(LLGR_STALE))];
            let block = filter::apply(&mark, block);
            Some(shared.attributes.intern(&block))
        };
        // A number that is free may be that of another set a moment later.
        shared.attributes.keep(used);
        self.made.insert(used, made);
        made
    }

    /// Lets go of the sets; what paths use stays.
    pub fn end(self, shared: &mut Shared<'_>) {
        for (used, made) in self.made {
            shared.attributes.release(used);
            if let Some(made) = made {
                shared.attributes.release(made);
            }
        }
    }
}

impl<K: Key> Table<K> {
    /// Marks a path as stale, if it is not.
    pub fn mark_stale(&mut self, at: u32, counted: &mut Counted) {
        let path = self.path_mut(at);
        if !path.stale.is_stale() {
            path.stale = Stale::Marked;
            counted.stale += 1;
        }
    }

    /// Puts LLGR_STALE on a path whose restart time is over. False when NO_LLGR, from the peer or
    /// by the import filter, forbids to keep it.
    pub fn mark_long_lived(
        &mut self,
        net: u32,
        at: u32,
        marker: &mut Marker,
        shared: &mut Shared<'_>,
        counted: &mut Counted,
    ) -> bool {
        let said = self.said(at);
        let path = self.path_mut(at);
        let Some(attributes) = marker.mark(path.attributes, said.attributes, shared) else {
            return false;
        };
        path.stale = Stale::LongLived;
        let next_hop = path.next_hop;
        let received = (said.attributes, said.next_hop);
        let changed = (path.attributes, next_hop) != received;
        let marked = Announcement {
            attributes,
            next_hop,
            ..said
        };
        let received = changed.then_some(received);
        self.judge(net, at, (marked, received), shared, counted);
        true
    }
}
