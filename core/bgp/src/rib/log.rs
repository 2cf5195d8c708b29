//! The log of changed nets: one for each table, read by every update group from its own cursor.
//!
//! What a group's peers were told is everything before its cursor. A net that changes again
//! before anybody read its entry keeps the entry; else it gets a new one at the end and the old
//! one is dead. So the log holds at most one live entry a net.

use std::collections::VecDeque;

/// What was best before the change, for those who have not read the entry yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing: nobody needs a withdrawal.
    Nothing,
    /// A path of this peer.
    Peer(u16),
    /// It differs between readers, or is not known.
    Unknown,
}

/// One change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub net: u32,
    pub before: Before,
    /// False when only the set of equally good paths changed.
    pub best_changed: bool,
}

/// Entries are numbered on without end; `net_seq` fields hold the lower half.
#[derive(Default)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    base: u64,
    /// No reader is beyond this.
    furthest: u64,
}

impl Log {
    /// The number that the next entry gets.
    pub fn head(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    pub fn base(&self) -> u64 {
        self.base
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry with this number, dead or alive.
    pub fn get(&self, seq: u64) -> Option<Entry> {
        self.entries
            .get(usize::try_from(seq.checked_sub(self.base)?).ok()?)
            .copied()
    }

    /// The full number of a net's live entry.
    fn pending(&self, net: u32, net_seq: u32) -> Option<u64> {
        let behind = (self.head() as u32).wrapping_sub(net_seq);
        let seq = self.head().checked_sub(u64::from(behind))?;
        self.get(seq).filter(|e| e.net == net)?;
        Some(seq)
    }

    /// Notes a change; `net_seq` is the net's field and is brought up to date.
    pub fn note(&mut self, net: u32, net_seq: &mut u32, before: Before, best_changed: bool) {
        let mut entry = Entry {
            net,
            before,
            best_changed,
        };
        if let Some(seq) = self.pending(net, *net_seq) {
            let at = (seq - self.base) as usize;
            let old = &mut self.entries[at];
            if seq >= self.furthest {
                old.best_changed |= best_changed;
                return;
            }
            if old.before != before {
                entry.before = Before::Unknown;
            }
            entry.best_changed |= old.best_changed;
        }
        *net_seq = self.head() as u32;
        self.entries.push_back(entry);
    }

    /// A reader's cursor moved to `cursor`.
    pub fn read_to(&mut self, cursor: u64) {
        self.furthest = self.furthest.max(cursor);
    }

    /// Takes the first entry off when all readers are beyond it.
    pub fn pop_before(&mut self, slowest: u64) -> Option<(u64, Entry)> {
        if self.base >= slowest {
            return None;
        }
        let entry = self.entries.pop_front()?;
        self.base += 1;
        Some((self.base - 1, entry))
    }

    /// Drops dead entries. `live` tells and renumbers; `cursors` are moved along.
    pub fn compact(
        &mut self,
        mut live: impl FnMut(u64, &Entry, u64) -> bool,
        cursors: &mut [&mut u64],
    ) {
        let new_base = self.head();
        let mut kept = VecDeque::new();
        let mut moved: Vec<u64> = vec![new_base; cursors.len()];
        for (i, entry) in self.entries.iter().enumerate() {
            let seq = self.base + i as u64;
            if live(seq, entry, new_base + kept.len() as u64) {
                kept.push_back(*entry);
                for (cursor, moved) in cursors.iter().zip(&mut moved) {
                    if **cursor > seq {
                        *moved += 1;
                    }
                }
            }
        }
        for (cursor, moved) in cursors.iter_mut().zip(moved) {
            **cursor = moved;
        }
        self.furthest = cursors.iter().map(|c| **c).max().unwrap_or(new_base);
        self.entries = kept;
        self.base = new_base;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_live_entry_a_net() {
        let mut log = Log::default();
        let mut seqs = [u32::MAX; 3];
        log.note(0, &mut seqs[0], Before::Nothing, true);
        log.note(1, &mut seqs[1], Before::Nothing, true);
        // Nobody has read: the entry stays, and with it what was before.
        log.note(0, &mut seqs[0], Before::Peer(4), true);
        assert_eq!(
            (log.head(), log.get(0).map(|e| e.before)),
            (2, Some(Before::Nothing))
        );
        // A reader is beyond it now, another is not: what was before differs.
        log.read_to(1);
        log.note(0, &mut seqs[0], Before::Peer(4), true);
        assert_eq!((seqs[0], log.head()), (2, 3));
        assert_eq!(log.get(2).map(|e| e.before), Some(Before::Unknown));
        // All are beyond it, and it was popped.
        log.read_to(3);
        while log.pop_before(3).is_some() {}
        log.note(0, &mut seqs[0], Before::Peer(4), true);
        assert_eq!(log.get(3).map(|e| e.before), Some(Before::Peer(4)));
    }

    #[test]
    fn compaction_keeps_order_and_cursors() {
        let mut log = Log::default();
        let mut seqs = [u32::MAX; 2];
        for _ in 0..3 {
            for net in 0..2u32 {
                log.note(net, &mut seqs[net as usize], Before::Nothing, true);
            }
            let head = log.head();
            log.read_to(head);
        }
        assert_eq!(log.len(), 6);
        let (mut slow, mut quick) = (0u64, 5u64);
        let old = seqs;
        log.compact(
            |seq, entry, new| {
                let live = old[entry.net as usize] == seq as u32;
                if live {
                    seqs[entry.net as usize] = new as u32;
                }
                live
            },
            &mut [&mut slow, &mut quick],
        );
        assert_eq!((log.len(), log.base(), slow, quick), (2, 6, 6, 7));
        assert_eq!(seqs, [6, 7]);
        assert_eq!(log.get(slow).map(|e| e.net), Some(0));
    }
}
