//! What a run showed: each step, the closing table, and the same for machines.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::Duration;

use scenario::{Scenario, Step};
use serde::Serialize;

use crate::lab::{Lab, Output};

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The lab's name.
    pub lab: String,
    /// The scenario.
    pub scenario: String,
    /// "netns": the real kernel; the simulation says "sim".
    pub world: &'static str,
    /// Whether every expectation held.
    pub ok: bool,
    /// Bring-up, daemons included.
    pub up_ms: u64,
    /// All steps.
    pub run_ms: u64,
    /// Where the run differs from the document that it follows.
    pub differences: Vec<String>,
    /// Pods and their addresses at the end.
    pub pods: BTreeMap<String, Ipv4Addr>,
    /// Each step.
    pub steps: Vec<StepReport>,
    /// The closing table.
    pub proved: Vec<Proved>,
}

/// One step.
#[derive(Debug, Clone, Serialize)]
pub struct StepReport {
    /// What it is.
    pub title: String,
    /// Where it was done.
    pub on: String,
    /// What was run.
    pub command: String,
    /// What it said.
    pub output: String,
    /// A line for the growth of kernel counters meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted: Option<String>,
    /// Its exit status.
    pub status: i32,
    /// Whether it was as expected.
    pub ok: bool,
    /// If not, why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How long it took, waiting included.
    pub ms: u64,
    /// Whether it shows the opposite, so that its partner means something.
    pub control: bool,
    /// The row of the closing table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proves: Option<String>,
    /// Which listed difference it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differs: Option<usize>,
}

/// A row of the closing table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proved {
    /// What.
    pub what: String,
    /// Steps that showed it, and how many of them held.
    pub held: usize,
    /// All of its steps that are no controls.
    pub of: usize,
    /// Controls, and how many of them held.
    pub controls_held: usize,
    /// All of its controls.
    pub controls: usize,
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Report {
    pub(crate) fn new(
        lab: &Lab,
        scenario: &Scenario,
        steps: Vec<StepReport>,
        took: Duration,
        pods: BTreeMap<String, Ipv4Addr>,
    ) -> Self {
        Self {
            lab: lab.record.lab.clone(),
            scenario: lab.record.scenario.clone(),
            world: "netns",
            ok: steps.iter().all(|step| step.ok),
            up_ms: lab.record.up_ms,
            run_ms: ms(took),
            differences: scenario.differences.clone(),
            pods,
            proved: proved(&steps),
            steps,
        }
    }

    /// The closing table and the sum.
    pub fn table(&self) -> String {
        let width = self
            .proved
            .iter()
            .map(|row| row.what.chars().count())
            .max()
            .unwrap_or(0);
        let mut text = String::from("What was proved\n");
        for row in &self.proved {
            let verdict = if row.held == row.of && row.controls_held == row.controls {
                "yes"
            } else {
                "NO "
            };
            let control = match row.controls {
                0 => String::new(),
                _ => format!("  control {} of {}", row.controls_held, row.controls),
            };
            let _ = writeln!(
                text,
                "  {verdict}  {:width$}  {} of {}{control}",
                row.what, row.held, row.of
            );
        }
        let held = self.steps.iter().filter(|step| step.ok).count();
        let _ = writeln!(
            text,
            "\n{held} of {} steps as expected; up in {:.1} s, steps in {:.1} s",
            self.steps.len(),
            seconds(self.up_ms),
            seconds(self.run_ms)
        );
        for step in self.steps.iter().filter(|step| !step.ok) {
            let _ = writeln!(
                text,
                "not as expected: {} on {}: {}",
                step.title,
                step.on,
                step.why.as_deref().unwrap_or("")
            );
        }
        text
    }
}

/// What is shown before the first step: what this is, and where it differs from the document that it follows.
pub fn opening(scenario: &Scenario) -> String {
    let mut text = format!("{}\n\n{}", scenario.title, scenario.about);
    for (number, difference) in scenario.differences.iter().enumerate() {
        let _ = writeln!(text, "  difference {}: {difference}", number + 1);
    }
    text
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

/// Rows in the order of their first step.
fn proved(steps: &[StepReport]) -> Vec<Proved> {
    let mut rows: Vec<Proved> = Vec::new();
    for step in steps {
        let Some(what) = &step.proves else { continue };
        let at = rows
            .iter()
            .position(|row| row.what == *what)
            .unwrap_or_else(|| {
                rows.push(Proved {
                    what: what.clone(),
                    held: 0,
                    of: 0,
                    controls_held: 0,
                    controls: 0,
                });
                rows.len() - 1
            });
        let row = &mut rows[at];
        let (all, held) = if step.control {
            (&mut row.controls, &mut row.controls_held)
        } else {
            (&mut row.of, &mut row.held)
        };
        *all += 1;
        *held += usize::from(step.ok);
    }
    rows
}

impl StepReport {
    pub(crate) fn new(
        step: &Step,
        command: String,
        output: Output,
        why: Option<String>,
        took: Duration,
    ) -> Self {
        Self {
            title: step.title.get_ref().clone(),
            on: step
                .on
                .as_ref()
                .map(|on| on.get_ref().clone())
                .unwrap_or_default(),
            command,
            output: output.text,
            counted: output.counted.map(|line| line.trim_end().to_owned()),
            status: output.status,
            ok: why.is_none(),
            why,
            ms: ms(took),
            control: step.control,
            proves: step.proves.clone(),
            differs: step.differs.as_ref().map(|number| *number.get_ref()),
        }
    }

    /// The step as on a terminal. A long output that an earlier step had is named by that step.
    pub(crate) fn transcript(&self, differences: &[String], earlier: &[Self]) -> String {
        let control = if self.control { "control: " } else { "" };
        let mut text = format!("\n== {control}{}\n", self.title);
        if let Some(difference) = self
            .differs
            .and_then(|number| differences.get(number.checked_sub(1)?))
        {
            let _ = writeln!(text, "   differs from the article: {difference}");
        }
        let place = if self.on.is_empty() { "lab" } else { &self.on };
        let _ = writeln!(text, "[root@{place} ~]# {}", self.command);
        let lines = self.output.lines().count();
        let same = earlier
            .iter()
            .find(|step| lines > 10 && step.output == self.output);
        match same {
            Some(step) => writeln!(text, "({lines} lines, the same as in: {})", step.title),
            None => {
                text += &self.output;
                let ended = self.output.is_empty() || self.output.ends_with('\n');
                write!(text, "{}", if ended { "" } else { "\n" })
            }
        }
        .expect("writing to a string does not fail");
        if let Some(line) = &self.counted {
            let _ = writeln!(text, "{line}");
        }
        match &self.why {
            None => writeln!(text, "-- as expected ({:.1} s)", seconds(self.ms)),
            Some(why) => writeln!(
                text,
                "-- NOT as expected: {why} ({:.1} s)",
                seconds(self.ms)
            ),
        }
        .expect("writing to a string does not fail");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_controls_apart() {
        let step = |control, ok| StepReport {
            title: "t".into(),
            on: "h".into(),
            command: String::new(),
            output: String::new(),
            counted: None,
            status: 0,
            ok,
            why: None,
            ms: 1,
            control,
            proves: Some("no redirects".into()),
            differs: None,
        };
        let rows = proved(&[step(false, true), step(true, false), step(false, false)]);
        assert_eq!(
            rows,
            [Proved {
                what: "no redirects".into(),
                held: 1,
                of: 2,
                controls_held: 0,
                controls: 1
            }]
        );
    }
}
