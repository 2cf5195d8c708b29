//! Virtual time: events in order of their time, and among equals in an order that the seed draws.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::random::Random;

/// Events that are still to come.
#[derive(Debug)]
pub struct Queue<E> {
    now: Duration,
    sequence: u64,
    events: BTreeMap<(Duration, u64, u64), E>,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue {
            now: Duration::ZERO,
            sequence: 0,
            events: BTreeMap::new(),
        }
    }
}

impl<E> Queue<E> {
    /// The time of the event taken last.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Puts an event `delay` from now.
    pub fn after(&mut self, delay: Duration, random: &mut Random, event: E) {
        self.at(self.now + delay, random, event);
    }

    /// Puts an event at a time; a time that has passed means now. Times are whole microseconds, as recordings are.
    pub fn at(&mut self, time: Duration, random: &mut Random, event: E) {
        self.sequence += 1;
        let time = Duration::from_micros(time.as_nanos().div_ceil(1000) as u64);
        self.events
            .insert((time.max(self.now), random.bits(), self.sequence), event);
    }

    /// The next event not later than `until`; time goes on to it.
    pub fn next(&mut self, until: Duration) -> Option<E> {
        let entry = self.events.first_entry()?;
        let (time, _, _) = *entry.key();
        if time > until {
            return None;
        }
        self.now = time;
        Some(entry.remove())
    }

    /// Lets time go on to `time` without an event.
    pub fn advance(&mut self, time: Duration) {
        self.now = self.now.max(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_times_come_in_an_order_of_the_seed() {
        let order = |seed| {
            let (mut random, mut queue) = (Random::new(seed), Queue::default());
            (0..20).for_each(|n| queue.at(Duration::from_secs(1), &mut random, n));
            std::iter::from_fn(|| queue.next(Duration::MAX)).collect::<Vec<i32>>()
        };
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2), "another seed draws another order");
    }

    #[test]
    fn time_never_goes_back() {
        let (mut random, mut queue) = (Random::new(1), Queue::default());
        queue.at(Duration::from_secs(2), &mut random, "later");
        queue.next(Duration::MAX);
        queue.at(Duration::from_secs(1), &mut random, "too late");
        queue.next(Duration::MAX);
        assert_eq!(queue.now(), Duration::from_secs(2));
    }
}
