//! The kernel as this machine knows it: what was read, what is on its way, what did not work.

use std::collections::BTreeMap;
use std::time::Duration;

use dataplane::{Actual, Batch, Desired, Lane};

use crate::{BatchId, Output};

/// After a change, wait this long for more before reading.
const SETTLE: Duration = Duration::from_millis(20);
/// Reading costs at most a tenth of the time, and comes at least this often while there are changes.
const MAX_READ_INTERVAL: Duration = Duration::from_millis(600);
/// Should a notification ever be lost, what it told of is seen after this long.
const RESYNC: Duration = Duration::from_secs(30);
/// What the kernel did not take is tried again after this long.
const RETRY: Duration = Duration::from_secs(1);
/// What [`KernelView::failures`] calls a read that failed.
const READING: &str = "read the kernel";

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct KernelView {
    actual: Option<Actual>,
    pub(crate) ipip_possible: bool,
    reading_since: Option<Duration>,
    read_due: Option<Duration>,
    last_read: Duration,
    read_cost: Duration,
    done_while_reading: Vec<Batch>,
    plan: u64,
    waiting: Vec<Batch>,
    in_flight: BTreeMap<Lane, (BatchId, Batch)>,
    /// What the kernel did not take: operation to the kernel's words.
    pub(crate) failures: BTreeMap<String, String>,
}

impl KernelView {
    pub(crate) fn actual(&self) -> Option<&Actual> {
        self.actual.as_ref()
    }

    /// Something changed: it will be read soon.
    pub(crate) fn changed(&mut self, now: Duration) {
        let spacing = (self.read_cost * 9).min(MAX_READ_INTERVAL);
        self.read_by((now + SETTLE).max(self.last_read + spacing));
    }

    fn read_by(&mut self, at: Duration) {
        self.read_due = Some(self.read_due.map_or(at, |due| due.min(at)));
    }

    /// Whether to read now; counts as asked when true.
    pub(crate) fn start_read(&mut self, now: Duration) -> bool {
        let due = self.actual.is_none() || self.read_due.is_some_and(|due| due <= now);
        if !due || self.reading_since.is_some() {
            return false;
        }
        self.reading_since = Some(now);
        self.read_due = None;
        self.done_while_reading.clear();
        true
    }

    /// A read's result. What was applied meanwhile may or may not be in it, so it is applied to it again.
    pub(crate) fn read(&mut self, mut actual: Actual, now: Duration) {
        for batch in self.done_while_reading.drain(..) {
            dataplane::apply(&mut actual, &batch);
        }
        self.actual = Some(actual);
        self.failures.remove(READING);
        self.ended_read(now);
        self.read_by(now + RESYNC);
    }

    /// The kernel could not be read.
    pub(crate) fn unreadable(&mut self, why: String, now: Duration) {
        self.failures.insert(READING.to_string(), why);
        self.ended_read(now);
        self.read_by(now + RETRY);
    }

    fn ended_read(&mut self, now: Duration) {
        if let Some(since) = self.reading_since.take() {
            self.read_cost = now.saturating_sub(since);
        }
        self.last_read = now;
    }

    /// A batch is done.
    pub(crate) fn applied(&mut self, id: BatchId, failures: &[(usize, String)], now: Duration) {
        let Some(lane) = self
            .in_flight
            .iter()
            .find(|(_, (out, _))| *out == id)
            .map(|(l, _)| *l)
        else {
            return;
        };
        let Some((_, mut batch)) = self.in_flight.remove(&lane) else {
            return;
        };
        let mut index = 0;
        batch.operations.retain(|operation| {
            let text = operation.to_string();
            let failure = failures.iter().find(|(failed, _)| *failed == index);
            index += 1;
            match failure {
                Some((_, why)) => drop(self.failures.insert(text, why.clone())),
                None => drop(self.failures.remove(&text)),
            }
            failure.is_none()
        });
        if !failures.is_empty() {
            self.read_by(now + RETRY);
        }
        if let Some(actual) = &mut self.actual {
            dataplane::apply(actual, &batch);
        }
        if self.reading_since.is_some() {
            self.done_while_reading.push(batch);
        }
    }

    /// Compares with what is wanted. What waits is replaced; what is on its way counts as done.
    pub(crate) fn plan(&mut self, desired: &Desired) {
        let Some(mut expected) = self.actual.clone() else {
            return;
        };
        for (_, batch) in self.in_flight.values() {
            dataplane::apply(&mut expected, batch);
        }
        self.waiting = dataplane::plan(desired, &expected, true);
        self.plan += 1;
        if self.waiting.is_empty() && self.in_flight.is_empty() {
            self.failures.clear();
        }
    }

    /// The batches that may go now.
    pub(crate) fn dispatch(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        if self.in_flight.contains_key(&Lane::Links) {
            // Routes and rules may name what is being made.
            return outputs;
        }
        let mut blocked: Vec<Lane> = self.in_flight.keys().copied().collect();
        let mut index = 0;
        while index < self.waiting.len() {
            let batch = &self.waiting[index];
            let pending = |number: u32| {
                self.waiting.iter().any(|b| b.number == number)
                    || self.in_flight.values().any(|(id, _)| {
                        *id == BatchId {
                            plan: self.plan,
                            number,
                        }
                    })
            };
            if blocked.contains(&batch.lane) || batch.follows.is_some_and(pending) {
                // Batches of one lane go in order.
                blocked.push(batch.lane);
                index += 1;
                continue;
            }
            let batch = self.waiting.remove(index);
            blocked.push(batch.lane);
            let id = BatchId {
                plan: self.plan,
                number: batch.number,
            };
            self.in_flight.insert(batch.lane, (id, batch.clone()));
            outputs.push(Output::Apply { id, batch });
        }
        outputs
    }

    /// True when the kernel is as wanted, as far as is known.
    pub(crate) fn settled(&self) -> bool {
        self.actual.is_some() && self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// When something falls due.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.read_due.filter(|_| self.reading_since.is_none())
    }
}
