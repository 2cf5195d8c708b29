//! What a run came to: counts, memory, and what failed.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Growth that counts as flat: this share of what there was, and a peer's full queue, since the allocator keeps what it has given once:
/// the more peers stop reading at one time, and that is by chance, the more.
const GROWTH_PERCENT: u64 = 5;
const GROWTH_KIB: u64 = 4096;
/// Descriptors, sessions not counted, that may be open beyond what was open after the warm-up: connections on their way.
const SPARE: u64 = 8;

/// The speaker at one audit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Since the beginning.
    pub at: Duration,
    /// Resident memory, KiB.
    pub resident_kib: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors that are no session.
    pub descriptors: u64,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What all was drawn from.
    pub seed: u64,
    /// How long it was to last.
    pub seconds: u64,
    /// Peers.
    pub sessions: usize,
    /// Sessions that came up.
    pub established: u64,
    /// By how.
    pub kills: BTreeMap<&'static str, u64>,
    /// Configurations that the speaker read again.
    pub reloads: u64,
    /// Refreshes that peers asked for.
    pub refreshes: u64,
    /// UPDATEs that must count as withdrawals.
    pub malformed: u64,
    /// Peers that stopped reading for some seconds.
    pub deaf: u64,
    /// Sessions lost because this process had not run for too long.
    pub starved: u64,
    /// UPDATEs that peers said.
    pub said: u64,
    /// UPDATEs that peers heard.
    pub heard: u64,
    /// Paths in the speaker's table that were compared, over all audits.
    pub paths_compared: u64,
    /// Routes at peers that were compared, over all audits.
    pub routes_compared: u64,
    /// At each audit.
    pub samples: Vec<Sample>,
    /// From the last word of the peers to the last peer whose view equals the model's.
    pub slowest: Duration,
    /// The first thing that must not be.
    pub failure: Option<String>,
}

impl Report {
    /// The sample after which memory must be flat: the first one of the last two thirds.
    fn warm(&self) -> Option<Sample> {
        let third = Duration::from_secs(self.seconds) / 3;
        self.samples.iter().copied().find(|s| s.at >= third)
    }

    /// Whether memory, threads and descriptors are flat after the warm-up.
    ///
    /// # Errors
    /// What has grown, from what to what.
    pub fn flat(&self) -> Result<(), String> {
        let (Some(first), Some(last)) = (self.warm(), self.samples.last().copied()) else {
            return Err("memory: no audit after the first third".into());
        };
        if last.at == first.at {
            return Err("memory: only one audit after the first third".into());
        }
        let most = first.resident_kib + first.resident_kib * GROWTH_PERCENT / 100 + GROWTH_KIB;
        if last.resident_kib > most {
            return Err(format!(
                "memory: {} KiB after the warm-up, {} KiB at the end, {most} KiB allowed",
                first.resident_kib, last.resident_kib
            ));
        }
        if last.threads != first.threads {
            return Err(format!(
                "threads: {} after the warm-up, {} at the end",
                first.threads, last.threads
            ));
        }
        if last.descriptors > first.descriptors + SPARE {
            return Err(format!(
                "descriptors: {} besides sessions after the warm-up, {} at the end",
                first.descriptors, last.descriptors
            ));
        }
        Ok(())
    }

    /// Resident memory after the warm-up, at the end, and at most, KiB.
    fn memory(&self) -> (u64, u64, u64) {
        let resident = |sample: Option<Sample>| sample.map_or(0, |s| s.resident_kib);
        let most = self.samples.iter().map(|s| s.resident_kib).max();
        (
            resident(self.warm()),
            resident(self.samples.last().copied()),
            most.unwrap_or(0),
        )
    }

    fn again(&self) -> String {
        format!(
            "cargo run --release -p soak -- --seconds {} --sessions {} --seed {}",
            self.seconds, self.sessions, self.seed
        )
    }

    /// For people.
    pub fn table(&self) -> String {
        let (first, last, most) = self.memory();
        let kills: u64 = self.kills.values().sum();
        let by: Vec<String> = self.kills.iter().map(|(k, n)| format!("{k} {n}")).collect();
        let rows = [
            (
                "sessions",
                format!("{}, established {} times", self.sessions, self.established),
            ),
            ("kills", format!("{kills} ({})", by.join(", "))),
            (
                "besides",
                format!(
                    "{} reloads, {} refreshes, {} malformed UPDATEs, {} peers that stopped reading",
                    self.reloads, self.refreshes, self.malformed, self.deaf
                ),
            ),
            (
                "UPDATEs",
                format!("{} said by peers, {} heard", self.said, self.heard),
            ),
            (
                "audits",
                format!(
                    "{}: {} paths in tables and {} routes at peers compared with the model",
                    self.samples.len(),
                    self.paths_compared,
                    self.routes_compared
                ),
            ),
            (
                "slowest to settle",
                format!("{:.2} s", self.slowest.as_secs_f64()),
            ),
            (
                "resident memory",
                format!("{first} KiB after the warm-up, {last} at the end, {most} at most"),
            ),
            (
                "starved sessions",
                format!("{} (this program did not run for too long)", self.starved),
            ),
        ];
        let mut out = format!("soak: {} s, seed {}\n", self.seconds, self.seed);
        for (name, value) in rows {
            out += &format!("  {name:<18} {value}\n");
        }
        match &self.failure {
            None => out += "  holds\n",
            Some(failure) => out += &format!("  FAILED: {failure}\n  again: {}\n", self.again()),
        }
        out
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let (first, last, most) = self.memory();
        let sample = |s: &Sample| json!({ "at": s.at.as_secs_f64(), "resident_kib": s.resident_kib, "threads": s.threads, "descriptors": s.descriptors });
        json!({
            "seed": self.seed, "seconds": self.seconds, "sessions": self.sessions, "established": self.established,
            "kills": self.kills, "reloads": self.reloads, "refreshes": self.refreshes, "malformed": self.malformed,
            "deaf": self.deaf, "starved": self.starved, "updates": { "said": self.said, "heard": self.heard },
            "compared": { "paths": self.paths_compared, "routes": self.routes_compared },
            "audits": self.samples.iter().map(sample).collect::<Vec<_>>(),
            "slowest_s": self.slowest.as_secs_f64(),
            "resident_kib": { "warm": first, "last": last, "most": most },
            "failure": self.failure, "again": self.again(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(resident: &[u64], change: impl Fn(&mut Sample)) -> Report {
        let sample = |(i, kib): (usize, &u64)| Sample {
            at: Duration::from_secs(10 * (i as u64 + 1)),
            resident_kib: *kib,
            threads: 4,
            descriptors: 9,
        };
        let mut samples: Vec<Sample> = resident.iter().enumerate().map(sample).collect();
        samples.last_mut().map(change);
        Report {
            seconds: 60,
            samples,
            ..Report::default()
        }
    }

    #[test]
    fn growth_after_the_warm_up_is_seen() {
        let flat = |resident: &[u64]| report(resident, |_| ()).flat();
        assert_eq!(flat(&[9000, 20000, 20100, 20500, 20900, 25090]), Ok(()));
        let grown = flat(&[9000, 20000, 20100, 20500, 20900, 25100]);
        assert!(grown.is_err_and(|text| text.starts_with("memory: 20000 KiB")));
        assert!(flat(&[9000, 20000]).is_err(), "nothing to compare with");
        assert!(flat(&[]).is_err());
        let even = [20000; 6];
        let threads = report(&even, |s| s.threads = 5).flat();
        assert!(threads.is_err_and(|text| text.starts_with("threads: 4")));
        assert_eq!(report(&even, |s| s.descriptors = 17).flat(), Ok(()));
        let descriptors = report(&even, |s| s.descriptors = 18).flat();
        assert!(descriptors.is_err_and(|text| text.starts_with("descriptors: 9")));
    }
}
