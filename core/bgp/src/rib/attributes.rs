//! Interned attribute sets and next hops: equal ones are kept once, behind a number.

use super::index::{Index, hash_octets};
use crate::NextHop;
use crate::wire::attribute::Record;
use std::collections::BTreeMap;
use std::net::IpAddr;

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
    /// Addresses that are not reachable at no cost: unreachable, or the cost.
    told: BTreeMap<IpAddr, Option<u32>>,
    /// What is told, by number; as long as nothing is, empty.
    costs: Vec<Option<u32>>,
    /// The addresses that the driver was asked about; `None`: it is not asked.
    asked: Option<Vec<IpAddr>>,
    /// Next hops came or went since.
    changed: bool,
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
        if !self.told.is_empty() {
            self.note_cost(id, hop.address);
        }
        self.changed = true;
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
            self.changed = true;
        }
    }

    /// From now on the driver is asked.
    pub fn track(&mut self) {
        self.asked = Some(Vec::new());
    }

    /// The addresses in use, in order, when they are others than the driver was asked about. What
    /// was told of those that are no longer in use is forgotten.
    pub fn ask(&mut self) -> Option<Vec<IpAddr>> {
        let asked = self.asked.as_mut()?;
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let mut wanted: Vec<IpAddr> = self.ids.keys().map(|hop| hop.address).collect();
        wanted.dedup();
        wanted.retain(|address| !address.is_unspecified() && !is_link_local(address));
        if *asked == wanted {
            return None;
        }
        asked.clone_from(&wanted);
        self.told
            .retain(|address, _| wanted.binary_search(address).is_ok());
        if self.told.is_empty() {
            self.costs = Vec::new();
        }
        Some(wanted)
    }

    fn note_cost(&mut self, id: u32, address: IpAddr) {
        if id as usize >= self.costs.len() {
            self.costs.resize(id as usize + 1, Some(0));
        }
        self.costs[id as usize] = self.told.get(&address).copied().unwrap_or(Some(0));
    }

    /// Takes in what is known of an address; returns the numbers of the next hops with it, none
    /// when nothing changed.
    pub fn set_cost(&mut self, address: IpAddr, cost: Option<u32>) -> Vec<u32> {
        if let Some(asked) = &self.asked
            && asked.binary_search(&address).is_err()
        {
            return Vec::new(); // an answer that comes too late
        }
        let old = match cost {
            Some(0) => self.told.remove(&address),
            Some(_) | None => self.told.insert(address, cost),
        };
        if old.unwrap_or(Some(0)) == cost {
            return Vec::new();
        }
        let first = NextHop {
            address,
            link_local: None,
        };
        let same = |(hop, _): &(&NextHop, &u32)| hop.address == address;
        let numbers: Vec<u32> = self
            .ids
            .range(first..)
            .take_while(same)
            .map(|(_, id)| *id)
            .collect();
        for id in &numbers {
            self.note_cost(*id, address);
        }
        if self.told.is_empty() {
            self.costs = Vec::new();
        }
        numbers
    }

    /// Whether anything is known of some next hop.
    #[inline]
    pub fn is_tracked(&self) -> bool {
        !self.told.is_empty()
    }

    /// The cost; `None` when it cannot be reached.
    #[inline]
    pub fn cost(&self, id: u32) -> Option<u32> {
        self.costs.get(id as usize).copied().unwrap_or(Some(0))
    }

    pub fn get(&self, id: u32) -> NextHop {
        self.list[id as usize].0
    }
}

/// Reached without a route, on the link that it was told on.
fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
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

    #[test]
    fn costs_of_next_hops() {
        let hop = |last| NextHop {
            address: IpAddr::from([10, 0, 0, last]),
            link_local: None,
        };
        let mut hops = NextHops::default();
        let (a, b) = (hops.intern(hop(1)), hops.intern(hop(2)));
        assert!(!hops.is_tracked());
        assert_eq!(hops.set_cost(hop(1).address, Some(0)), [], "as it was");
        assert_eq!(hops.set_cost(hop(1).address, None), [a]);
        assert_eq!(hops.set_cost(hop(1).address, None), [], "nothing new");
        assert_eq!((hops.cost(a), hops.cost(b)), (None, Some(0)));
        // What is told before the next hop is there counts too.
        assert_eq!(hops.set_cost(hop(3).address, Some(7)), []);
        let c = hops.intern(hop(3));
        assert_eq!(hops.cost(c), Some(7));
        // A number that is used again says nothing of the one before.
        hops.release(a);
        let d = hops.intern(hop(4));
        assert_eq!((d, hops.cost(d)), (a, Some(0)));
        hops.set_cost(hop(1).address, Some(0));
        hops.set_cost(hop(3).address, Some(0));
        assert!(!hops.is_tracked() && hops.cost(c) == Some(0));
    }

    #[test]
    fn asked_about_what_is_in_use() {
        let hop = |address: &str| NextHop {
            address: address.parse().expect("an address"),
            link_local: None,
        };
        let [first, second] = ["10.0.0.1", "10.0.0.2"].map(hop);
        let mut hops = NextHops::default();
        let a = hops.intern(first);
        assert_eq!(hops.ask(), None, "nobody tracks them");
        hops.track();
        assert_eq!(hops.ask(), Some(vec![first.address]));
        let b = hops.intern(second);
        for other in ["0.0.0.0", "fe80::1"] {
            hops.intern(hop(other));
        }
        assert_eq!(hops.ask(), Some(vec![first.address, second.address]));
        assert_eq!(hops.set_cost(second.address, None), [b]);
        // Away and back between two questions is no change, and what was told stands.
        hops.release(b);
        let b = hops.intern(second);
        assert_eq!((hops.ask(), hops.cost(b)), (None, None));
        hops.release(b);
        assert_eq!(hops.ask(), Some(vec![first.address]));
        assert_eq!(hops.set_cost(second.address, None), [], "too late");
        let b = hops.intern(second);
        assert_eq!(hops.cost(b), Some(0), "what was told is forgotten");
        assert_eq!(hops.cost(a), Some(0));
    }
}
