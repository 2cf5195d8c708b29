//! One run: trouble, quiet, checks; and its report.

use std::time::Duration;

use crate::bug::Bug;
use crate::check::{self, Violation};
use crate::packet;
use crate::process::replay;
use crate::world::World;

/// Longer than any timer that holds something back: hold time 240 s, restart time 120 s, stale time 360 s.
const QUIET: Duration = Duration::from_secs(900);

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The planted bug's name, if there was one.
    pub bug: Option<&'static str>,
    /// Virtual seconds that passed.
    pub virtual_seconds: u64,
    /// Lines in the journal.
    pub events: usize,
    /// FNV-1a of the journal: equal for equal runs.
    pub digest: String,
    /// What did not hold.
    pub violations: Vec<Violation>,
}

impl World {
    /// Lets things go wrong, waits until everything must be in order again, restarts agents, and looks.
    pub fn ordeal(&mut self, rounds: u32) {
        self.trouble(rounds);
        self.run_for(QUIET);
        self.look();
        self.restarts_change_nothing();
        self.replays_are_equal();
    }

    /// With resources at rest each agent is killed or stopped, and comes back; nothing may be removed meanwhile.
    pub fn restarts_change_nothing(&mut self) {
        self.at_rest = true;
        for (name, _) in self.agents() {
            let before = self.hosts.get(&name).map(|host| host.kernel.clone());
            let orderly = self.random.chance(50);
            self.stop(&name, orderly);
            let away = self
                .random
                .between(Duration::from_millis(100), Duration::from_secs(20));
            self.run_for(away);
            self.start(&name);
            self.run_for(Duration::from_secs(60));
            let after = self.hosts.get(&name).map(|host| host.kernel.clone());
            if before != after {
                let text = format!("{name}: the kernel is another one after a restart");
                self.violations
                    .push(Violation::new("restart-changes-nothing", text));
            }
        }
        self.at_rest = false;
        self.look();
    }

    /// Runs every checker.
    pub fn look(&mut self) {
        let state = check::state(self);
        self.violations.extend(state);
        let reach = packet::reachability(self);
        self.violations.extend(reach);
    }

    /// What each agent was told gives the same answers when told again.
    fn replays_are_equal(&mut self) {
        let mut found = Vec::new();
        for (name, host) in &self.hosts {
            let Some(process) = &host.process else {
                continue;
            };
            let again = replay(name, &process.recording);
            if again != process.outputs {
                let at = again
                    .iter()
                    .zip(&process.outputs)
                    .position(|(a, b)| a != b)
                    .unwrap_or(again.len());
                let text = format!("{name}: output {at} differs when the inputs are given again");
                found.push(Violation::new("replay-is-equal", text));
            }
        }
        self.violations.extend(found);
    }

    /// What the run came to.
    pub fn outcome(&self, seed: u64) -> Outcome {
        let mut violations = self.violations.clone();
        violations.sort();
        violations.dedup();
        let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        let digest = self
            .journal
            .iter()
            .flat_map(|line| line.as_bytes())
            .fold(0xcbf2_9ce4_8422_2325, hash);
        Outcome {
            seed,
            bug: self.bug.map(Bug::name),
            virtual_seconds: self.queue.now().as_secs(),
            events: self.journal.len(),
            digest: format!("{digest:016x}"),
            violations,
        }
    }
}
