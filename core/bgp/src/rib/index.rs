//! An open-addressed hash index: hashes to dense ids, eight octets a slot.
//!
//! It grows in steps while ids are added: first room is made ready, then what is in the old slots
//! moves over. So no single route waits for a million others to be placed anew.

const EMPTY: u64 = 0;
/// Old slots that move over for each id added; the old ones are then empty long before the new
/// ones are full.
const STEP: usize = 4;
/// New slots made ready for each id added: the first touch of memory is what costs.
const READY: usize = 16;

/// Ids by hash. The caller keeps the keys and compares them.
pub(crate) struct Index {
    slots: Slots,
    len: usize,
    /// Room for the next size, as far as it is made ready.
    next: Vec<u64>,
    /// What is not moved yet, while growing.
    old: Option<Old>,
}

/// Slots that are being emptied, in their order from an empty one on: no run of full slots spans
/// the border between what has moved and what has not.
struct Old {
    slots: Slots,
    /// An empty slot.
    start: usize,
    /// How many slots from there on were emptied.
    moved: usize,
}

/// Hash in the upper half, id + 1 in the lower; 0 is empty. A power of two of them.
struct Slots(Vec<u64>);

impl Slots {
    #[inline]
    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.0.len() - 1)
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.0.len() - 1)
    }

    #[inline]
    fn find(&self, hash: u32, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        loop {
            let slot = self.0[at];
            if slot == EMPTY {
                return None;
            }
            if (slot >> 32) as u32 == hash && is(slot as u32 - 1) {
                return Some(slot as u32 - 1);
            }
            at = self.after(at);
        }
    }

    fn place(&mut self, slot: u64) {
        let mut at = self.home((slot >> 32) as u32);
        while self.0[at] != EMPTY {
            at = self.after(at);
        }
        self.0[at] = slot;
    }

    /// Removes a slot, closing the gap so that no grave markers build up. False when it is not
    /// there.
    fn remove(&mut self, wanted: u64) -> bool {
        let mask = self.0.len() - 1;
        let mut gap = self.home((wanted >> 32) as u32);
        while self.0[gap] != wanted {
            if self.0[gap] == EMPTY {
                return false;
            }
            gap = self.after(gap);
        }
        let mut at = gap;
        loop {
            at = self.after(at);
            let slot = self.0[at];
            if slot == EMPTY {
                break;
            }
            // Movable when its home is not cyclically within (gap, at].
            let home = self.home((slot >> 32) as u32);
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.0[gap] = slot;
                gap = at;
            }
        }
        self.0[gap] = EMPTY;
        true
    }
}

impl Old {
    /// Whether ids with this hash may still be here.
    #[inline]
    fn may_hold(&self, hash: u32) -> bool {
        let home = self.slots.home(hash);
        home.wrapping_sub(self.start) & (self.slots.0.len() - 1) >= self.moved
    }
}

impl Index {
    pub fn new() -> Self {
        Index {
            slots: Slots(vec![EMPTY; 16]),
            len: 0,
            next: Vec::new(),
            old: None,
        }
    }

    /// The slot where a search for `hash` starts: reading it early brings it into the cache.
    #[inline]
    pub fn touch(&self, hash: u32) -> u64 {
        let old = self.old.as_ref();
        let seen = old.map_or(EMPTY, |old| old.slots.0[old.slots.home(hash)]);
        seen ^ self.slots.0[self.slots.home(hash)]
    }

    /// The id with this hash for which `is` holds.
    #[inline]
    pub fn find(&self, hash: u32, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        if let Some(old) = &self.old
            && old.may_hold(hash)
            && let Some(id) = old.slots.find(hash, &mut is)
        {
            return Some(id);
        }
        self.slots.find(hash, is)
    }

    /// Adds an id that is not there yet.
    pub fn insert(&mut self, hash: u32, id: u32) {
        let size = self.slots.0.len();
        if self.old.is_some() {
            self.move_some();
        } else if self.len * 5 > size * 4 {
            self.grow();
        } else if self.len * 5 > size * 3 {
            self.prepare(READY);
        }
        self.len += 1;
        self.slots.place(entry(hash, id));
    }

    /// Makes some more slots of the next size ready.
    fn prepare(&mut self, some: usize) {
        let double = self.slots.0.len() * 2;
        if self.next.is_empty() {
            self.next.reserve_exact(double);
        }
        let ready = double.min(self.next.len() + some);
        self.next.resize(ready, EMPTY);
    }

    fn grow(&mut self) {
        self.prepare(usize::MAX >> 1);
        let next = Slots(std::mem::take(&mut self.next));
        let slots = std::mem::replace(&mut self.slots, next);
        let start = slots.0.iter().position(|slot| *slot == EMPTY);
        self.old = Some(Old {
            slots,
            start: start.expect("a fifth of them is empty"),
            moved: 0,
        });
        self.move_some();
    }

    /// Moves old slots over, up to an empty one.
    fn move_some(&mut self) {
        let Some(old) = &mut self.old else { return };
        let size = old.slots.0.len();
        let mut steps = 0;
        while old.moved < size {
            let at = (old.start + old.moved) & (size - 1);
            let slot = std::mem::replace(&mut old.slots.0[at], EMPTY);
            old.moved += 1;
            steps += 1;
            if slot != EMPTY {
                self.slots.place(slot);
            } else if steps >= STEP {
                break;
            }
        }
        if old.moved == size {
            self.old = None;
        }
    }

    /// Removes an id that is there.
    pub fn remove(&mut self, hash: u32, id: u32) {
        let wanted = entry(hash, id);
        let old = self.old.as_mut().filter(|old| old.may_hold(hash));
        let removed = old.is_some_and(|old| old.slots.remove(wanted)) || self.slots.remove(wanted);
        debug_assert!(removed, "removed what is not there");
        self.len -= usize::from(removed);
    }
}

fn entry(hash: u32, id: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(id + 1)
}

/// Mixes two words and a seed. Seeded, so that a peer cannot aim at one slot.
#[inline]
pub(crate) fn hash_words(words: (u64, u64), seed: u64) -> u32 {
    let mixed = u128::from(words.0 ^ seed) * u128::from(0x9e37_79b9_7f4a_7c15_u64 ^ words.1);
    let folded = (mixed as u64) ^ (mixed >> 64) as u64;
    let spread = folded.wrapping_mul(0xd6e8_feb8_6659_fd93);
    (spread >> 32) as u32
}

/// Hashes octets, eight at a time.
pub(crate) fn hash_octets(octets: &[u8], seed: u64) -> u32 {
    let mut state = seed ^ (octets.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (words, rest) = octets.as_chunks::<8>();
    let mut tail = [0u8; 8];
    tail[..rest.len()].copy_from_slice(rest);
    for word in words.iter().chain([&tail]) {
        let mixed = u128::from(u64::from_le_bytes(*word) ^ state) * 0x9e37_79b9_7f4a_7c15;
        state = (mixed as u64) ^ (mixed >> 64) as u64 ^ state.rotate_left(29);
    }
    ((state ^ state >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Random adds and removals of `ids` ids with `hashes` hashes, against an ordered map. Returns
    /// how many of the removals found the index growing.
    fn check(ids: u32, hashes: u32, steps: u32) -> u32 {
        let mut index = Index::new();
        let mut model: BTreeMap<u32, u32> = BTreeMap::new();
        let mut state = 7u64;
        let mut removed_while_growing = 0;
        let hash = |id: u32| hash_words((u64::from(id % hashes), 0), 3);
        for step in 0..steps {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let id = (state >> 40) as u32 % ids;
            if model.remove(&id).is_some() {
                removed_while_growing += u32::from(index.old.is_some());
                index.remove(hash(id), id);
            } else {
                index.insert(hash(id), id);
                model.insert(id, hash(id));
            }
            for probe in [step % ids, id] {
                let found = index.find(hash(probe), |id| id == probe);
                assert_eq!(found.is_some(), model.contains_key(&probe));
            }
        }
        assert_eq!(index.len, model.len());
        for id in 0..ids {
            let found = index.find(hash(id), |found| found == id);
            assert_eq!(found.is_some(), model.contains_key(&id));
        }
        removed_while_growing
    }

    #[test]
    fn agrees_with_a_map() {
        // Few hashes, so that runs collide; many ids, so that it grows often.
        check(500, 97, 20_000);
        assert!(check(60_000, 50_000, 100_000) > 100);
    }

    #[test]
    fn grows_in_steps() {
        let mut index = Index::new();
        let mut longest = 0;
        for id in 0..100_000u32 {
            let before = index.old.as_ref().map_or(0, |old| old.moved);
            index.insert(hash_words((u64::from(id), 0), 3), id);
            let after = index.old.as_ref().map_or(before, |old| old.moved);
            longest = longest.max(after.saturating_sub(before));
        }
        // A step ends at an empty slot, so it is as long as a run of full ones at most.
        assert!((STEP..1000).contains(&longest), "{longest}");
        assert!(index.old.is_none() && index.slots.0.len() == 1 << 17);
    }

    #[test]
    fn hashes_spread() {
        let mut low = std::collections::BTreeSet::new();
        for i in 0..1u64 << 12 {
            low.insert(hash_words((i << 16 | 24, 0), 99) & 0xffff);
        }
        assert!(low.len() > 3900, "{}", low.len());
        assert_ne!(hash_octets(b"abc", 1), hash_octets(b"abc\0", 1));
        assert_ne!(hash_octets(b"abcdefgh", 1), hash_octets(b"abcdefgi", 1));
    }
}
