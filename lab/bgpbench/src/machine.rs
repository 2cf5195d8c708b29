//! What else the machine did meanwhile.

use rustix::time::{ClockId, clock_gettime};
use std::time::Instant;

/// Ticks in a second, in `/proc`. Source: USER_HZ, the same on all of Linux's platforms but Alpha.
pub const TICKS: f64 = 100.0;

/// CPU seconds of this process.
pub fn own_cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// CPU seconds since the machine began, of all its CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    busy: f64,
    stolen: f64,
}

impl Totals {
    /// From the first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
    fn parse(stat: &str) -> Totals {
        let line = stat.lines().next().unwrap_or_default();
        let fields: Vec<f64> = line
            .split_whitespace()
            .skip(1)
            .filter_map(|f| f.parse().ok())
            .collect();
        let field = |i: usize| fields.get(i).copied().unwrap_or(0.0) / TICKS;
        Totals {
            busy: field(0) + field(1) + field(2) + field(5) + field(6),
            stolen: field(7),
        }
    }
}

/// A stretch of time, with what this process used before it.
pub struct Span {
    started: Instant,
    totals: Totals,
    own: f64,
}

/// CPU that neither this process nor the speaker had, percent of what the machine has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    /// Other processes.
    pub foreign: f64,
    /// The hypervisor.
    pub stolen: f64,
}

impl Noise {
    /// Both together.
    pub fn total(self) -> f64 {
        self.foreign + self.stolen
    }
}

fn totals() -> Totals {
    Totals::parse(&std::fs::read_to_string("/proc/stat").unwrap_or_default())
}

impl Span {
    /// From now on.
    pub fn begin() -> Span {
        Span {
            started: Instant::now(),
            totals: totals(),
            own: own_cpu(),
        }
    }

    /// How noisy it was, when the speaker used `dut_cpu` seconds in it.
    pub fn noise(&self, dut_cpu: f64) -> Noise {
        let now = totals();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let whole = self.started.elapsed().as_secs_f64() * cpus as f64;
        let known = own_cpu() - self.own + dut_cpu;
        Noise {
            foreign: (now.busy - self.totals.busy - known).max(0.0) / whole * 100.0,
            stolen: (now.stolen - self.totals.stolen) / whole * 100.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_stat() {
        let stat = "cpu  100 200 300 4000 50 6 7 80 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        let totals = Totals::parse(stat);
        assert!(
            (totals.busy - 6.13).abs() < 1e-9 && (totals.stolen - 0.8).abs() < 1e-9,
            "{totals:?}"
        );
    }
}
