//! Interned attribute sets and next hops: equal ones are kept once, behind a number.

use super::index::{Index, hash_octets};
use crate::NextHop;
use crate::wire::attribute::Record;
use std::collections::BTreeMap;

/// One attribute set.
struct Set {
    octets: Box<[u8]>,
    record: Record,
    hash: u32,
    /// Paths that use it; 0 means free.
    uses: u32,
}

/// All attribute sets in use.
pub(crate) struct Attributes {
    sets: Vec<Set>,
    free: Vec<u32>,
    index: Index,
    seed: u64,
}

impl Attributes {
    pub fn new(seed: u64) -> Self {
        Attributes {
            sets: Vec::new(),
            free: Vec::new(),
            index: Index::new(),
            seed,
        }
    }

    /// The number of a canonical block, with one use counted.
    pub fn intern(&mut self, octets: &[u8]) -> u32 {
        let hash = hash_octets(octets, self.seed);
        let sets = &self.sets;
        if let Some(id) = self
            .index
            .find(hash, |id| *sets[id as usize].octets == *octets)
        {
            self.sets[id as usize].uses += 1;
            return id;
        }
        let set = Set {
            octets: octets.into(),
            record: Record::read(octets),
            hash,
            uses: 1,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.sets[id as usize] = set;
                id
            }
            None => {
                self.sets.push(set);
                u32::try_from(self.sets.len() - 1).expect("fewer than 2^32 attribute sets")
            }
        };
        self.index.insert(hash, id);
        id
    }

    #[inline]
    pub fn keep(&mut self, id: u32) {
        self.sets[id as usize].uses += 1;
    }

    #[inline]
    pub fn release(&mut self, id: u32) {
        let set = &mut self.sets[id as usize];
        set.uses -= 1;
        if set.uses == 0 {
            set.octets = Box::default();
            self.index.remove(set.hash, id);
            self.free.push(id);
        }
    }

    #[inline]
    pub fn record(&self, id: u32) -> &Record {
        &self.sets[id as usize].record
    }

    pub fn octets(&self, id: u32) -> &[u8] {
        &self.sets[id as usize].octets
    }

    #[cfg(test)]
    pub fn in_use(&self) -> usize {
        self.sets.len() - self.free.len()
    }
}

/// All next hops in use.
#[derive(Default)]
pub(crate) struct NextHops {
    list: Vec<(NextHop, u32)>,
    free: Vec<u32>,
    ids: BTreeMap<NextHop, u32>,
}

impl NextHops {
    /// The number of a next hop, with one use counted.
    pub fn intern(&mut self, hop: NextHop) -> u32 {
        if let Some(id) = self.ids.get(&hop) {
            self.list[*id as usize].1 += 1;
            return *id;
        }
        let id = match self.free.pop() {
            Some(id) => {
                self.list[id as usize] = (hop, 1);
                id
            }
            None => {
                self.list.push((hop, 1));
                u32::try_from(self.list.len() - 1).expect("fewer than 2^32 next hops")
            }
        };
        self.ids.insert(hop, id);
        id
    }

    #[inline]
    pub fn keep(&mut self, id: u32) {
        self.list[id as usize].1 += 1;
    }

    #[inline]
    pub fn release(&mut self, id: u32) {
        let (hop, uses) = &mut self.list[id as usize];
        *uses -= 1;
        if *uses == 0 {
            self.ids.remove(hop);
            self.free.push(id);
        }
    }

    pub fn get(&self, id: u32) -> NextHop {
        self.list[id as usize].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_shared_and_freed() {
        let mut attributes = Attributes::new(1);
        let a = attributes.intern(&[0x40, 1, 1, 0]);
        let b = attributes.intern(&[0x40, 1, 1, 2]);
        assert_eq!(attributes.intern(&[0x40, 1, 1, 0]), a);
        assert_ne!(a, b);
        assert_eq!(attributes.record(b).origin, 2);
        attributes.release(a);
        assert_eq!(attributes.in_use(), 2);
        attributes.release(a);
        assert_eq!(attributes.in_use(), 1);
        let c = attributes.intern(&[0x40, 1, 1, 1]);
        assert_eq!(c, a, "numbers are used again");
        assert_eq!(attributes.octets(c), &[0x40, 1, 1, 1]);
    }
}
