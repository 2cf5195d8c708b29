//! `selvedge lab run --sim`: a scenario in virtual time, with calicoctl's commands run on the simulation's store.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Result, anyhow};
use ctl::Persona;
use resource::MemoryStore;
use scenario::Scenario;
use sim::{CommandLine, SimReport, StepOutcome};

/// The command line itself, on a store in memory.
struct Commands;

impl CommandLine for Commands {
    fn run(
        &mut self,
        command: &sim::Command,
        store: &MemoryStore,
        wall: Duration,
        seed: u64,
    ) -> (i32, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let state = Cell::new(seed);
        let random = |buffer: &mut [u8]| {
            for byte in buffer {
                state.set(
                    state
                        .get()
                        .wrapping_mul(0x5851_f42d_4c95_7f2d)
                        .wrapping_add(0x1405_7b7e_f767_814f),
                );
                *byte = (state.get() >> 56) as u8;
            }
            Ok(())
        };
        let persona = match command.words.first().map(String::as_str) {
            Some("calicoctl") => Persona::Calicoctl,
            _ => Persona::Selvedge,
        };
        let seconds = i64::try_from(wall.as_secs()).unwrap_or(i64::MAX);
        let mut world = ctl::World {
            persona,
            stdin: &mut command.stdin.as_bytes(),
            stdout: &mut out,
            stderr: &mut err,
            now: jiff::Timestamp::from_second(seconds).unwrap_or_default(),
            random: &random,
            // Virtual time passes between commands only.
            pause: &|_| {},
            // There are no files: a command that names one says that it is not there.
            root: "/nonexistent".into(),
            environment: &|_| None,
            etcd: &std::cell::Cell::new(false),
        };
        let words = command.words.get(1..).unwrap_or_default();
        let status = ctl::run_with(words, &mut world, |_, _| Ok(store.clone()));
        let text = [out, err]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .concat();
        (status, text)
    }
}

/// What to simulate.
pub struct Simulation<'a> {
    /// The scenario's name.
    pub name: &'a str,
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The first seed.
    pub seed: u64,
    /// How many seeds, one after another.
    pub seeds: u64,
    /// Faults after the steps of each run.
    pub faults: u32,
    /// The bug to plant, by name.
    pub bug: Option<&'a str>,
    /// JSON instead of a table.
    pub json: bool,
}

/// Runs it; the exit status is 1 when a step failed or a checker found something.
///
/// # Errors
/// An unknown bug, or a scenario that cannot be built in simulation.
pub fn run(simulation: &Simulation<'_>) -> Result<i32> {
    let bug = match simulation.bug {
        None => None,
        Some(name) => Some(sim::Bug::named(name).ok_or_else(|| {
            let known = sim::Bug::ALL.map(sim::Bug::name).join(", ");
            anyhow!("no bug is called {name}; there are: {known}")
        })?),
    };
    let last = simulation.seed.saturating_add(simulation.seeds.max(1));
    let mut failed = 0;
    for seed in simulation.seed..last {
        let report = sim::run(
            simulation.name,
            simulation.scenario,
            seed,
            bug,
            simulation.faults,
            &mut Commands,
        )
        .map_err(|why| anyhow!("{} cannot be simulated: {why}", simulation.name))?;
        failed += u64::from(!report.passed);
        if simulation.json {
            println!("{}", serde_json::to_string(&report)?);
        } else if simulation.seeds <= 1 || !report.passed {
            print(&report);
        }
        if simulation.seeds > 1 && std::io::stderr().is_terminal() {
            eprint!(
                "\r{} of {} seeds, {failed} failed",
                seed + 1 - simulation.seed,
                simulation.seeds
            );
        }
    }
    if simulation.seeds > 1 {
        eprintln!("\r{} passed, {failed} failed", simulation.seeds - failed);
    }
    Ok(i32::from(failed > 0))
}

fn print(report: &SimReport) {
    println!(
        "SIMULATED: {} from seed {}; nothing of this ran on a kernel",
        report.scenario, report.outcome.seed
    );
    for step in &report.steps {
        let mark = match step.outcome {
            StepOutcome::Passed => "ok  ",
            StepOutcome::Failed => "FAIL",
            StepOutcome::NotSimulated => "-   ",
        };
        println!("  {mark} {}", step.title);
        if !step.text.is_empty() {
            println!("       {}", step.text.replace('\n', "\n       "));
        }
    }
    for violation in &report.outcome.violations {
        println!("  FAIL {}: {}", violation.check, violation.text);
    }
    let count = |outcome| {
        report
            .steps
            .iter()
            .filter(|step| step.outcome == outcome)
            .count()
    };
    println!(
        "{} steps passed, {} failed, {} need a real kernel; {} violations; {} s of virtual time, digest {}",
        count(StepOutcome::Passed),
        count(StepOutcome::Failed),
        count(StepOutcome::NotSimulated),
        report.outcome.violations.len(),
        report.outcome.virtual_seconds,
        report.outcome.digest
    );
}
