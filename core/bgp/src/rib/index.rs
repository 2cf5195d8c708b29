//! An open-addressed hash index: hashes to dense ids, eight octets a slot.

const EMPTY: u64 = 0;

/// Ids by hash. The caller keeps the keys and compares them.
pub(crate) struct Index {
    /// Hash in the upper half, id + 1 in the lower; 0 is empty. A power of two of them.
    slots: Vec<u64>,
    len: usize,
}

impl Index {
    pub fn new() -> Self {
        Index {
            slots: vec![EMPTY; 16],
            len: 0,
        }
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    /// The slot where a search for `hash` starts: reading it early brings it into the cache.
    #[inline]
    pub fn touch(&self, hash: u32) -> u64 {
        self.slots[self.home(hash)]
    }

    /// The id with this hash for which `is` holds.
    #[inline]
    pub fn find(&self, hash: u32, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at];
            if slot == EMPTY {
                return None;
            }
            if (slot >> 32) as u32 == hash && is(slot as u32 - 1) {
                return Some(slot as u32 - 1);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Adds an id that is not there yet.
    pub fn insert(&mut self, hash: u32, id: u32) {
        if (self.len + 1) * 5 > self.slots.len() * 4 {
            self.grow();
        }
        self.len += 1;
        self.place(u64::from(hash) << 32 | u64::from(id + 1));
    }

    fn place(&mut self, slot: u64) {
        let mut at = self.home((slot >> 32) as u32);
        while self.slots[at] != EMPTY {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = slot;
    }

    fn grow(&mut self) {
        let double = self.slots.len() * 2;
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; double]);
        for slot in old.into_iter().filter(|slot| *slot != EMPTY) {
            self.place(slot);
        }
    }

    /// Removes an id that is there, closing the gap so that no grave markers build up.
    pub fn remove(&mut self, hash: u32, id: u32) {
        let wanted = u64::from(hash) << 32 | u64::from(id + 1);
        let mask = self.slots.len() - 1;
        let mut gap = self.home(hash);
        while self.slots[gap] != wanted {
            debug_assert_ne!(self.slots[gap], EMPTY, "removed what is not there");
            if self.slots[gap] == EMPTY {
                return;
            }
            gap = (gap + 1) & mask;
        }
        self.len -= 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot == EMPTY {
                break;
            }
            // Movable when its home is not cyclically within (gap, at].
            let home = self.home((slot >> 32) as u32);
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.slots[gap] = slot;
                gap = at;
            }
        }
        self.slots[gap] = EMPTY;
    }
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

    /// Random adds and removals, against an ordered map; few hashes, so that runs collide.
    #[test]
    fn agrees_with_a_map() {
        let mut index = Index::new();
        let mut model: BTreeMap<u32, u32> = BTreeMap::new();
        let mut state = 7u64;
        for step in 0..20_000u32 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let id = (state >> 40) as u32 % 500;
            let hash = hash_words((u64::from(id % 97), 0), 3);
            if model.remove(&id).is_some() {
                index.remove(hash, id);
            } else {
                index.insert(hash, id);
                model.insert(id, hash);
            }
            let probe = step % 500;
            let hash = hash_words((u64::from(probe % 97), 0), 3);
            let found = index.find(hash, |id| id == probe);
            assert_eq!(found.is_some(), model.contains_key(&probe));
        }
        assert_eq!(index.len, model.len());
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
