//! A routing table of the shape that real ones have, the same for each run: neighbouring prefixes share their
//! attributes (ten of them on the average), most are /24, paths are two to six ASes long, and it is announced in no
//! order of addresses.

use bgpwire::message::{self, Attributes, Prefix};
use std::net::Ipv4Addr;
use std::ops::Range;

/// Pseudo-random numbers (SplitMix64): the same table from the same seed.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of the values, each as often as its weight says; the weights add up to 1000.
    fn pick(&mut self, shares: &[(u8, u64)]) -> u8 {
        let mut left = self.below(1000);
        for &(value, share) in shares {
            if left < share {
                return value;
            }
            left -= share;
        }
        shares[0].0
    }
}

/// Prefix lengths, in thousandths; near to the public table's.
const LENGTHS: [(u8, u64); 9] = [
    (24, 620),
    (23, 100),
    (22, 110),
    (21, 60),
    (20, 50),
    (19, 30),
    (18, 15),
    (17, 7),
    (16, 8),
];
/// AS path lengths, in thousandths.
const PATHS: [(u8, u64); 5] = [(2, 120), (3, 280), (4, 320), (5, 180), (6, 100)];

/// Neighbouring prefixes with one set of attributes.
#[derive(Clone, Debug)]
pub struct Group {
    /// Their places in the table.
    pub at: Range<usize>,
    seed: u64,
    origin_as: u32,
}

/// All prefixes of a run in order, and where to find one.
#[derive(Default)]
pub struct Table {
    pub prefixes: Vec<Prefix>,
    /// The AS that each prefix's path must end with; 0: not looked at.
    origins: Vec<u32>,
    /// In the order in which they are announced.
    pub groups: Vec<Group>,
    /// Where the prefixes of each /16 begin.
    starts: Vec<u32>,
}

impl Table {
    /// `count` prefixes like those of the public table.
    pub fn internet(count: usize) -> Table {
        let mut random = Random(0x5e1_ed6e);
        let mut table = Table::default();
        let mut next = Prefix {
            address: 1 << 24,
            length: 0,
        };
        while table.prefixes.len() < count {
            let start = table.prefixes.len();
            let size = (5 + random.below(11) as usize).min(count - start);
            let origin_as = public_as(&mut random);
            for _ in 0..size {
                let prefix = following(next, random.pick(&LENGTHS));
                assert!(
                    prefix.address >> 24 < 224,
                    "the table has outgrown the unicast addresses"
                );
                // One in two is followed by more specific ones, or one within it.
                next = if prefix.length < 24 && random.percent(50) {
                    prefix
                } else {
                    after(prefix)
                };
                table.prefixes.push(prefix);
                table.origins.push(origin_as);
            }
            table.groups.push(Group {
                at: start..table.prefixes.len(),
                seed: random.next(),
                origin_as,
            });
            if random.percent(20) {
                next = after(Prefix { length: 20, ..next });
            }
        }
        for i in (1..table.groups.len()).rev() {
            table.groups.swap(i, random.below(i as u64 + 1) as usize);
        }
        table.index();
        table
    }

    /// `count` blocks of a pod network, in groups of `each`.
    pub fn blocks(count: usize, each: usize) -> Table {
        let block = |i: usize| Prefix {
            address: 0x0a80_0000 + ((i as u32) << 6),
            length: 26,
        };
        let groups = (0..count.div_ceil(each)).map(|i| Group {
            at: i * each..((i + 1) * each).min(count),
            seed: i as u64,
            origin_as: 0,
        });
        let mut table = Table {
            prefixes: (0..count).map(block).collect(),
            origins: vec![0; count],
            groups: groups.collect(),
            starts: Vec::new(),
        };
        table.index();
        table
    }

    /// Adds single addresses above all that is there, and says where they are.
    pub fn add_hosts(&mut self, count: usize) -> Range<usize> {
        let start = self.prefixes.len();
        let base = 223 << 24;
        self.prefixes.extend((0..count as u32).map(|i| Prefix {
            address: base + i,
            length: 32,
        }));
        self.origins.resize(self.prefixes.len(), 0);
        assert!(
            self.prefixes.is_sorted(),
            "the table has outgrown its addresses"
        );
        self.index();
        start..self.prefixes.len()
    }

    fn index(&mut self) {
        self.starts = (0..=1u64 << 16)
            .map(|high| {
                self.prefixes
                    .partition_point(|p| u64::from(p.address >> 16) < high) as u32
            })
            .collect();
    }

    /// Where a prefix is. `guess` is where to look first: neighbours come together.
    #[inline]
    pub fn find(&self, prefix: Prefix, guess: usize) -> Option<usize> {
        if self.prefixes.get(guess) == Some(&prefix) {
            return Some(guess);
        }
        let high = (prefix.address >> 16) as usize;
        let (start, end) = (self.starts[high] as usize, self.starts[high + 1] as usize);
        self.prefixes[start..end]
            .binary_search(&prefix)
            .ok()
            .map(|i| start + i)
    }

    /// Whether a path to the prefix at `index` ends with the right AS.
    #[inline]
    pub fn origin_fits(&self, index: usize, origin_as: u32) -> bool {
        let wanted = self.origins[index];
        wanted == 0 || wanted == origin_as
    }

    /// One UPDATE for each of the groups, from a sender in `asn` whose paths are longer by `prepend`.
    pub fn announcements(
        &self,
        groups: &[Group],
        asn: u32,
        next_hop: Ipv4Addr,
        prepend: usize,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(groups.len() * 160);
        for group in groups {
            let attributes = group.attributes(asn, prepend);
            message::announce(
                &mut out,
                &attributes,
                next_hop,
                &self.prefixes[group.at.clone()],
            );
        }
        out
    }

    /// The withdrawal of the groups' prefixes.
    pub fn withdrawals(&self, groups: &[Group]) -> Vec<u8> {
        let all: Vec<Prefix> = groups
            .iter()
            .flat_map(|group| &self.prefixes[group.at.clone()])
            .copied()
            .collect();
        let mut out = Vec::with_capacity(all.len() * 5);
        message::withdraw(&mut out, &all);
        out
    }
}

fn mask(address: u32, length: u8) -> u32 {
    address & (u32::MAX << (32 - u32::from(length)))
}

/// The first prefix of this length at or above another one, in the table's order.
fn following(floor: Prefix, length: u8) -> Prefix {
    let here = Prefix {
        address: mask(floor.address, length),
        length,
    };
    if here > floor {
        here
    } else {
        Prefix {
            length,
            ..after(here)
        }
    }
}

/// The place behind a prefix, before all that begins there.
fn after(prefix: Prefix) -> Prefix {
    let start = mask(prefix.address, prefix.length);
    Prefix {
        address: start + (1 << (32 - u32::from(prefix.length))),
        length: 0,
    }
}

fn public_as(random: &mut Random) -> u32 {
    if random.percent(67) {
        1 + random.below(56_000) as u32
    } else {
        131_072 + random.below(270_000) as u32
    }
}

impl Group {
    /// What a sender says of this group; different senders say different things.
    fn attributes(&self, asn: u32, prepend: usize) -> Attributes {
        // The length is the group's own, so that `prepend` alone decides between senders.
        let length = Random(self.seed).pick(&PATHS);
        let random = &mut Random(self.seed ^ u64::from(asn) << 32);
        let mut as_path = vec![asn; 1 + prepend];
        // Few transit ASes, as in the public table.
        as_path.extend((2..length).map(|_| 1 + random.below(6_000) as u32));
        as_path.push(self.origin_as);
        let communities = if random.percent(60) {
            1 + random.below(6)
        } else {
            0
        };
        let large = if random.percent(10) {
            1 + random.below(3)
        } else {
            0
        };
        Attributes {
            origin: if random.percent(85) { 0 } else { 2 },
            as_path,
            med: random.percent(10).then(|| random.below(1000) as u32),
            local_pref: None,
            atomic_aggregate: random.percent(2),
            communities: (0..communities)
                .map(|_| (random.below(60_000) << 16 | random.below(9_000)) as u32)
                .collect(),
            large_communities: (0..large)
                .map(|_| {
                    [
                        self.origin_as,
                        random.below(100) as u32,
                        random.below(1000) as u32,
                    ]
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_shape_that_it_claims() {
        let table = Table::internet(1_000_000);
        assert_eq!(table.prefixes.len(), 1_000_000);
        assert!(
            table.prefixes.is_sorted_by(|a, b| a < b),
            "each prefix is there once"
        );
        let per_group = 1_000_000 / table.groups.len();
        assert!((9..=11).contains(&per_group), "{per_group}");
        let long = table.prefixes.iter().filter(|p| p.length == 24).count();
        assert!((550_000..700_000).contains(&long), "{long}");
        for (i, prefix) in table.prefixes.iter().enumerate().step_by(97) {
            assert_eq!(table.find(*prefix, 0), Some(i));
            assert_eq!(table.find(*prefix, i), Some(i));
        }
        let absent = Prefix {
            address: 10,
            length: 32,
        };
        assert_eq!(table.find(absent, 0), None);
        let covered: usize = table.groups.iter().map(|group| group.at.len()).sum();
        assert_eq!(covered, 1_000_000);
    }

    #[test]
    fn prepending_decides_between_senders() {
        let table = Table::internet(1000);
        let length = |asn, prepend| table.groups[0].attributes(asn, prepend).as_path.len();
        assert_eq!(length(65_001, 0) + 3, length(65_002, 3));
        assert_ne!(
            table.groups[0].attributes(65_001, 0),
            table.groups[0].attributes(65_002, 0)
        );
    }

    #[test]
    fn hosts_lie_above_the_table() {
        let mut table = Table::internet(500_000);
        let hosts = table.add_hosts(100);
        assert_eq!(hosts, 500_000..500_100);
        assert_eq!(table.find(table.prefixes[500_050], 0), Some(500_050));
    }
}
