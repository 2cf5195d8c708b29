//! Routes that are kept beyond the restart time (RFC 9494 §4.2): they get LLGR_STALE, which makes
//! them the least preferred ones, and those with NO_LLGR go.

use super::table::Shared;
use crate::filter::{self, Community, Operation};
use crate::wire::attribute::{LLGR_STALE, NO_LLGR, has_community};
use std::collections::BTreeMap;

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
