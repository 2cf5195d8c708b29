//! The only source of chance: seeded by the driver, so that a run can be repeated.

use std::time::Duration;

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 75 % to 100 % of `interval` (RFC 4271 §10).
    pub fn jitter(&mut self, interval: Duration) -> Duration {
        let share = 768 + (self.next() >> 54) as u32 / 4;
        interval * share / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_within_bounds_and_repeats() {
        let second = Duration::from_secs(1);
        let draw = |seed| {
            let mut random = Random::new(seed);
            (0..1000).map(|_| random.jitter(second)).collect::<Vec<_>>()
        };
        let drawn = draw(1);
        assert!(drawn.iter().all(|d| *d >= second * 3 / 4 && *d <= second));
        assert_eq!(drawn, draw(1));
        assert_ne!(drawn, draw(2));
        let spread = drawn
            .iter()
            .max()
            .zip(drawn.iter().min())
            .map(|(a, b)| *a - *b);
        assert!(spread > Some(Duration::from_millis(200)));
    }
}
