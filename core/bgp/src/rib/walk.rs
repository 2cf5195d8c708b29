//! A look at the tables from outside, a slice at a time.

use super::family::FamilyRib;
use super::table::{Path, Sight};
use crate::view::{RibAttributes, RibPath, RibSlice};
use crate::wire::nlri::Key;
use std::collections::HashMap;

/// Builds a slice; attribute sets that paths share are in it once.
#[derive(Default)]
pub(crate) struct Builder {
    slice: RibSlice,
    known: HashMap<(u32, u32), u32>,
}

impl Builder {
    pub fn set(&mut self, (attributes, next_hop): (u32, u32), sight: Sight<'_>) -> u32 {
        let sets = &mut self.slice.sets;
        *self.known.entry((attributes, next_hop)).or_insert_with(|| {
            sets.push(RibAttributes {
                octets: sight.attributes.octets(attributes).to_vec(),
                next_hop: sight.next_hops.get(next_hop),
            });
            sets.len() as u32 - 1
        })
    }

    pub fn finish(self) -> RibSlice {
        self.slice
    }
}

impl<K: Key> FamilyRib<K> {
    fn show(
        &self,
        (net, at, path): (u32, u32, &Path),
        best: bool,
        sight: Sight<'_>,
        into: &mut Builder,
    ) {
        let said = self.table().said(at);
        let received = into.set((said.attributes, said.next_hop), sight);
        let used = path
            .rejection
            .is_none()
            .then(|| into.set((path.attributes, path.next_hop), sight));
        into.slice.paths.push(RibPath {
            prefix: self.table().key(net).to_net(),
            peer: path.peer,
            path_id: said.path_id,
            received,
            used,
            best: best && path.rejection.is_none(),
            stale: path.stale.is_stale(),
        });
    }

    fn show_net(&self, net: u32, sight: Sight<'_>, into: &mut Builder) {
        for (i, (at, path)) in self.table().numbered(net).enumerate() {
            self.show((net, at, path), i == 0, sight, into);
        }
    }

    /// Shows `max` nets from number `from` on, and says where to go on.
    pub fn walk(&self, from: u32, max: usize, sight: Sight<'_>, into: &mut Builder) -> Option<u32> {
        let size = self.table().size();
        let end = (from as usize).saturating_add(max).min(size);
        for net in from as usize..end {
            self.show_net(net as u32, sight, into);
        }
        (end < size).then_some(end as u32)
    }

    /// How many of `max` nets from number `from` on have a chosen path, and where to go on.
    pub fn count_chosen(&self, from: u32, max: usize) -> (usize, Option<u32>) {
        let size = self.table().size();
        let end = (from as usize).saturating_add(max).min(size);
        let chosen = |net: &usize| self.table().best(*net as u32).is_some();
        let count = (from as usize..end).filter(chosen).count();
        (count, (end < size).then_some(end as u32))
    }
}
