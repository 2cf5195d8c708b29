//! Sending several paths of a prefix (RFC 7911): what a subgroup was told of each net.
//!
//! Without add-path what was told follows from the log, and nothing is kept. With it, the paths
//! told of a net are kept, and what is said next is the difference to the paths there are now.
//! The identifier that we give a path is 1 + its number in the table: the same as long as the
//! path is there, however its attributes change.

use super::difference::{Change, Difference};
use super::encode::{Encoder, Item, admit};
use super::ranking::keep_best;
use super::table::{Path, Table};
use crate::wire::nlri::Key;

/// End of a list.
const NONE: u32 = u32::MAX;
/// A stamp that no path has.
const NEVER: u32 = 0;

/// A path that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    /// Number of the path.
    path: u32,
    /// What it was then.
    stamp: u32,
    next: u32,
    /// Its source, who was not told.
    peer: u16,
}

/// What was told: a list for each net, in flat arrays.
#[derive(Clone, Debug)]
pub(crate) struct Announced {
    /// Greatest number of paths for a net.
    limit: usize,
    first: Vec<u32>,
    entries: Vec<Entry>,
    free: u32,
}

impl Announced {
    /// Nothing was told yet. At most `limit` paths of a net will be.
    pub fn new(limit: u32) -> Self {
        Announced {
            limit: limit as usize,
            first: Vec::new(),
            entries: Vec::new(),
            free: NONE,
        }
    }

    /// All is to be told again; what is not there any more is still known to be taken back.
    pub fn forget_contents(&mut self) {
        for entry in &mut self.entries {
            entry.stamp = NEVER;
        }
    }

    pub fn set_limit(&mut self, limit: u32) {
        self.limit = limit as usize;
    }

    /// Takes the list of a net out.
    fn take(&mut self, net: u32, out: &mut Vec<Entry>) {
        out.clear();
        let Some(first) = self.first.get_mut(net as usize) else {
            return;
        };
        let mut at = std::mem::replace(first, NONE);
        while let Some(entry) = self.entries.get_mut(at as usize) {
            out.push(*entry);
            let next = std::mem::replace(&mut entry.next, self.free);
            self.free = at;
            at = next;
        }
    }

    fn put(&mut self, net: u32, entry: Entry) {
        if net as usize >= self.first.len() {
            self.first.resize(net as usize + 1, NONE);
        }
        let first = &mut self.first[net as usize];
        let entry = Entry {
            next: *first,
            ..entry
        };
        match self.entries.get_mut(self.free as usize) {
            Some(slot) => {
                *first = self.free;
                self.free = slot.next;
                *slot = entry;
            }
            None => {
                *first = u32::try_from(self.entries.len()).expect("fewer than 2^32 paths");
                self.entries.push(entry);
            }
        }
    }
}

/// What an encoder holds only for add-path.
pub(crate) struct Several<K> {
    /// What [`Item::net`] counts in: nets and the identifiers to send.
    pub targets: Vec<(u32, u32)>,
    /// Source, identifier, prefix.
    pub withdrawn: Vec<(Option<u16>, u32, K)>,
    /// As [`Self::withdrawn`], for one peer that is the source of the path now under that number.
    pub private: Vec<(u16, u32, K)>,
    told: Vec<Entry>,
    found: Vec<(u32, Path, Option<u16>)>,
}

impl<K: Key> Several<K> {
    pub fn new() -> Self {
        Several {
            targets: Vec::new(),
            withdrawn: Vec::new(),
            private: Vec::new(),
            told: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Prefix and identifier of an item.
    #[inline]
    pub fn target(&self, table: &Table<K>, item: &Item) -> (Option<u32>, K) {
        match self.targets.get(item.net as usize) {
            Some((net, id)) => (Some(*id), table.key(*net)),
            None => (None, table.key(item.net)),
        }
    }
}

impl<K: Key> Encoder<'_, K> {
    /// Takes a net as it is now, with all its paths. `difference` is there when what was told was
    /// told under another policy.
    pub fn add_several(
        &mut self,
        net: u32,
        announced: &mut Announced,
        mut difference: Option<&mut Difference<'_>>,
    ) {
        let table = self.table;
        let key = table.key(net);
        let mut several = std::mem::replace(&mut self.several, Several::new());
        announced.take(net, &mut several.told);
        several.found.clear();
        for (at, path) in table.numbered(net) {
            if path.rejection.is_none()
                && let Some(rule) = admit(self.policy, &mut self.judge, self.sight, path, key)
            {
                several.found.push((at, *path, rule));
            }
        }
        if several.found.len() > announced.limit {
            let id = |at| table.mark(at).id;
            keep_best(&mut several.found, announced.limit, id, self.sight);
        }
        for (at, path, rule) in &several.found {
            let (at, peer) = (*at, path.peer);
            let stamp = table.mark(at).stamp;
            let entry = Entry {
                path: at,
                stamp,
                next: NONE,
                peer,
            };
            announced.put(net, entry);
            if let Some(told) = several.told.iter().position(|told| told.path == at) {
                let told = several.told.swap_remove(told);
                let mut stands = || match &mut difference {
                    None => true,
                    Some(old) => {
                        let change = old.of(self.policy, Some(*rule), self.sight, path, key);
                        change == Change::None
                    }
                };
                if told.stamp == stamp && stands() {
                    continue;
                }
                // It is the source of what stands under the number now, and is not told that.
                if told.peer != peer && self.members.binary_search(&peer).is_ok() {
                    several.private.push((peer, at + 1, key));
                }
            }
            let target = u32::try_from(several.targets.len()).expect("batches are short");
            self.items.push(Item::new(path, *rule, target));
            several.targets.push((net, at + 1));
        }
        for told in &several.told {
            several
                .withdrawn
                .push((Some(told.peer), told.path + 1, key));
        }
        self.several = several;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_taken_and_put() {
        let mut announced = Announced::new(u32::MAX);
        let entry = |path| Entry {
            path,
            stamp: 7,
            next: NONE,
            peer: 1,
        };
        let mut out = Vec::new();
        announced.take(3, &mut out);
        assert!(out.is_empty());
        for round in 0..3 {
            for path in 0..4 {
                announced.put(3, entry(path));
            }
            announced.put(9, entry(100 + round));
            announced.take(3, &mut out);
            let paths: Vec<u32> = out.iter().map(|e| e.path).collect();
            assert_eq!(paths, [3, 2, 1, 0]);
            announced.take(9, &mut out);
            assert_eq!(out.len(), 1);
        }
        assert_eq!(announced.entries.len(), 5, "places are used again");
        announced.put(1, entry(8));
        announced.forget_contents();
        announced.take(1, &mut out);
        assert_eq!((out[0].path, out[0].stamp), (8, NEVER));
    }
}
