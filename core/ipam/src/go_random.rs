//! The random numbers of Go's `math/rand` with a seed: only so that a node takes the same first block as with Calico.
//!
//! An additive lagged Fibonacci generator, x(n) = x(n-607) + x(n-273) modulo 2^64 (Knuth, volume 2, §3.2.2), whose seeds
//! come from the Lehmer generator 48271 modulo 2^31 - 1, mixed with a state that had run 7.8e12 steps. Any other choice
//! of blocks would interoperate; an equal one spares surprises after a move from Calico.

use crate::go_random_table::WARM;

const LENGTH: usize = 607;
const TAP: usize = 273;
const LEHMER_MODULUS: u64 = (1 << 31) - 1;

fn lehmer(x: u64) -> u64 {
    x * 48271 % LEHMER_MODULUS
}

/// Fills the state from a seed: three Lehmer numbers a word, the first 20 thrown away.
fn seeded(seed: i64, shifts: (u32, u32)) -> [u64; LENGTH] {
    let seed = seed.rem_euclid(i64::try_from(LEHMER_MODULUS).expect("31 bits"));
    let mut x = match u64::try_from(seed).expect("the remainder is not negative") {
        0 => 89_482_311,
        x => x,
    };
    for _ in 0..20 {
        x = lehmer(x);
    }
    let mut state = [0; LENGTH];
    for word in &mut state {
        let first = lehmer(x);
        let second = lehmer(first);
        x = lehmer(second);
        *word = first << shifts.0 ^ second << shifts.1 ^ x;
    }
    state
}

/// The generator.
#[derive(Clone)]
pub struct GoRandom {
    state: [u64; LENGTH],
    tap: usize,
    feed: usize,
}

impl GoRandom {
    /// The generator with this seed.
    pub fn new(seed: i64) -> GoRandom {
        let mut state = seeded(seed, (40, 20));
        for (word, warm) in state.iter_mut().zip(WARM) {
            *word ^= warm;
        }
        GoRandom {
            state,
            tap: 0,
            feed: LENGTH - TAP,
        }
    }

    fn next_u64(&mut self) -> u64 {
        self.tap = (self.tap + LENGTH - 1) % LENGTH;
        self.feed = (self.feed + LENGTH - 1) % LENGTH;
        let sum = self.state[self.feed].wrapping_add(self.state[self.tap]);
        self.state[self.feed] = sum;
        sum
    }

    /// 32 of the upper 63 bits but one.
    fn next_u32(&mut self) -> u128 {
        u128::from(self.next_u64() << 1 >> 32)
    }

    /// Even in `0..limit`: whole 64-bit words, the top one masked, until the number is below the limit.
    pub fn below(&mut self, limit: u128) -> u128 {
        let bits = 128 - limit.leading_zeros();
        let mask = u128::MAX >> (128 - bits.max(1));
        loop {
            let mut number = 0;
            for word in 0..bits.div_ceil(64) {
                let low = self.next_u32();
                number |= (low | self.next_u32() << 32) << (64 * word);
            }
            number &= mask;
            if number < limit {
                return number;
            }
        }
    }
}

/// FNV-1 (not 1a), 32 bits: the seed that a host name gives.
pub fn fnv1_32(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        hash.wrapping_mul(0x0100_0193) ^ u32::from(byte)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Polynomials in x modulo x^607 = x^334 + 1, which is the recurrence.
    fn multiply(a: &[u64], b: &[u64]) -> Vec<u64> {
        let mut product = vec![0u64; 2 * LENGTH];
        for (i, &c) in a.iter().enumerate().filter(|(_, c)| **c != 0) {
            for (sum, &d) in product[i..].iter_mut().zip(b) {
                *sum = sum.wrapping_add(c.wrapping_mul(d));
            }
        }
        for i in (LENGTH..2 * LENGTH).rev() {
            let c = product[i];
            product[i - LENGTH] = product[i - LENGTH].wrapping_add(c);
            product[i - TAP] = product[i - TAP].wrapping_add(c);
        }
        product.truncate(LENGTH);
        product
    }

    fn power_of_x(exponent: u64) -> Vec<u64> {
        let mut power = vec![0; LENGTH];
        power[0] = 1;
        let mut x = vec![0; LENGTH];
        x[1] = 1;
        for bit in (0..64 - exponent.leading_zeros()).rev() {
            power = multiply(&power, &power);
            if exponent >> bit & 1 == 1 {
                power = multiply(&power, &x);
            }
        }
        power
    }

    /// The state after `steps`, without taking them. Step n replaces the word at (334 - n) modulo 607, which held x(n-607).
    fn jump(state: &[u64; LENGTH], steps: u64) -> Vec<u64> {
        let slot = |n: u64| (334 + LENGTH - usize::try_from(n % 607).unwrap()) % LENGTH;
        let mut x: Vec<u64> = (1..=607).map(|n| state[slot(n)]).collect();
        for k in LENGTH..2 * LENGTH {
            x.push(x[k - LENGTH].wrapping_add(x[k - TAP]));
        }
        let power = power_of_x(steps);
        let mut after = vec![0; LENGTH];
        for k in 0..LENGTH {
            let terms = power.iter().zip(&x[k..]);
            after[slot(steps + k as u64 + 1)] =
                terms.fold(0, |sum: u64, (p, x)| sum.wrapping_add(p.wrapping_mul(*x)));
        }
        after
    }

    #[test]
    fn the_table_is_the_generator_s_state() {
        let start = seeded(1, (20, 10));
        let mut walked = GoRandom {
            state: start,
            tap: 0,
            feed: LENGTH - TAP,
        };
        for _ in 0..5000 {
            walked.next_u64();
        }
        assert_eq!(
            jump(&start, 5000),
            walked.state,
            "a jump is as good as steps"
        );
        assert_eq!(jump(&start, 7_800_000_000_000), WARM);
    }

    #[test]
    fn a_host_s_seed() {
        assert_eq!(fnv1_32("node-1"), 568_266_919);
        assert_eq!(fnv1_32("node-2"), 568_266_916);
        assert_eq!(fnv1_32("kube-node-1"), 4_080_633_361);
    }

    #[test]
    fn numbers_are_below_their_limit_for_every_width() {
        for limit in [1, 2, 8, 1000, 1 << 20, 1 << 64, (1 << 74) + 5, u128::MAX] {
            let mut random = GoRandom::new(7);
            for _ in 0..200 {
                assert!(random.below(limit) < limit);
            }
        }
    }
}
