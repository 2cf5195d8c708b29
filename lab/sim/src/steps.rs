//! A scenario's steps in virtual time.

use std::net::IpAddr;
use std::time::Duration;

use dataplane::Payload;
use resource::MemoryStore;
use scenario::{LinkState, Reached, Scenario, Step, Verb};

use crate::bug::Bug;
use crate::packet::{self, Reach};
use crate::run::Outcome;
use crate::script::{self, Command};
use crate::world::World;

/// Virtual time after each step, so that what follows from it has happened.
const AFTER_STEP: Duration = Duration::from_secs(10);

/// Runs commands of the command line on the simulation's store.
pub trait CommandLine {
    /// Runs one; gives its exit status and what it printed. `wall` is the time, `uid_seed` decides random values.
    fn run(
        &mut self,
        command: &Command,
        store: &MemoryStore,
        wall: Duration,
        uid_seed: u64,
    ) -> (i32, String);
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    /// As expected.
    Passed,
    /// Not as expected.
    Failed,
    /// It needs a real kernel and real programs.
    NotSimulated,
}

/// A step's report.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StepReport {
    /// The step's title.
    pub title: String,
    /// How it ended.
    pub outcome: StepOutcome,
    /// Why it failed; empty otherwise.
    pub text: String,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SimReport {
    /// The scenario's name.
    pub scenario: String,
    /// Always true: nothing of this ran on a kernel.
    pub simulated: bool,
    /// Whether every simulated step passed and every checker held.
    pub passed: bool,
    /// The steps.
    pub steps: Vec<StepReport>,
    /// Seed, virtual time, digest, violations.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Runs a scenario from a seed; with `rounds` faults after its steps.
///
/// # Errors
/// What of the scenario cannot be built here, in words.
pub fn run(
    name: &str,
    scenario: &Scenario,
    seed: u64,
    bug: Option<Bug>,
    rounds: u32,
    command_line: &mut dyn CommandLine,
) -> Result<SimReport, String> {
    let mut world = World::build(scenario, seed, bug)?;
    world.run_for(AFTER_STEP);
    let mut steps = Vec::new();
    for step in &scenario.steps {
        let title = step.title.get_ref().clone();
        world.note(format_args!("step: {title}"));
        let (outcome, text) = match world.step(scenario, step, command_line) {
            Some(Ok(())) => (StepOutcome::Passed, String::new()),
            Some(Err(why)) => (StepOutcome::Failed, why),
            None => (StepOutcome::NotSimulated, String::new()),
        };
        world.announce_store();
        world.run_for(AFTER_STEP);
        if !step.quiet {
            steps.push(StepReport {
                title,
                outcome,
                text,
            });
        }
    }
    if rounds > 0 {
        world.ordeal(rounds);
    } else {
        world.look();
    }
    let outcome = world.outcome(seed);
    let passed = outcome.violations.is_empty()
        && steps.iter().all(|step| step.outcome != StepOutcome::Failed);
    Ok(SimReport {
        scenario: name.to_string(),
        simulated: true,
        passed,
        steps,
        outcome,
    })
}

type Done = Result<(), String>;

impl World {
    /// Does a step; `None` when it cannot be done here.
    fn step(
        &mut self,
        scenario: &Scenario,
        step: &Step,
        command_line: &mut dyn CommandLine,
    ) -> Option<Done> {
        if let Some(verb) = step.portable_verb()
            && !matches!(verb, Verb::Apply(_))
        {
            return self.verb(scenario, verb);
        }
        if let Some(commands) = step.exec.as_deref().and_then(script::commands) {
            let host = step
                .on
                .as_ref()
                .map(|on| on.get_ref().as_str())
                .unwrap_or_default();
            return self.script(host, step, &commands, command_line);
        }
        None
    }

    fn verb(&mut self, scenario: &Scenario, verb: Verb<'_>) -> Option<Done> {
        match verb {
            Verb::Reach(reach) => {
                let to: IpAddr = reach
                    .to
                    .get_ref()
                    .parse()
                    .ok()
                    .or_else(|| self.pod_address(reach.to.get_ref()))?;
                let payload = reach
                    .port
                    .map_or(Payload::Echo, |port| packet::tcp(40_000, port));
                for from in &reach.from {
                    let got = self.reach(from.get_ref(), to, payload);
                    let as_wanted = matches!(
                        (&got, reach.answer),
                        (Reach::Answered(_), Reached::Yes)
                            | (Reach::Refused(..), Reached::No | Reached::Unreachable)
                            | (Reach::Silence(_), Reached::No)
                    );
                    if !as_wanted {
                        return Some(Err(format!("{} asks {to}: {got:?}", from.get_ref())));
                    }
                }
                Some(Ok(()))
            }
            Verb::Cut(cut) => {
                let host = self.hosts.get_mut(cut.host.get_ref())?;
                let nic = cut.nic.as_ref().map(|nic| nic.get_ref().as_str());
                for (name, port) in &mut host.ports {
                    if nic.is_none_or(|nic| nic == name) {
                        port.plugged = cut.state == LinkState::Up;
                    }
                }
                Some(Ok(()))
            }
            Verb::Pods(names) => {
                for name in names {
                    let pod = scenario
                        .pods
                        .iter()
                        .find(|pod| pod.name.get_ref() == name.get_ref())?;
                    let address = pod.address.map(IpAddr::V4);
                    self.add_pod(
                        &pod.namespace,
                        pod.name.get_ref(),
                        pod.node.get_ref(),
                        address,
                    );
                    self.run_for(Duration::from_secs(1));
                }
                let without = names
                    .iter()
                    .find(|name| self.pod_address(name.get_ref()).is_none());
                Some(without.map_or(Ok(()), |name| {
                    Err(format!("{} has no address", name.get_ref()))
                }))
            }
            Verb::EndPods(names) => {
                for name in names {
                    let label = self
                        .pods
                        .keys()
                        .find(|label| label.ends_with(&format!("/{}", name.get_ref())))?
                        .clone();
                    self.remove_pod(&label);
                }
                Some(Ok(()))
            }
            // Which daemon is meant is known to the real world only, but for the agent's own.
            Verb::Exec(_) | Verb::Apply(_) | Verb::Restart(_) | Verb::Kill(_) => None,
        }
    }

    fn pod_address(&self, name: &str) -> Option<IpAddr> {
        self.pods
            .iter()
            .find(|(label, _)| label.ends_with(&format!("/{name}")))
            .and_then(|(_, pod)| pod.address)
    }

    fn script(
        &mut self,
        host: &str,
        step: &Step,
        commands: &[Command],
        command_line: &mut dyn CommandLine,
    ) -> Option<Done> {
        let known = |command: &Command| match command.words.first().map(String::as_str) {
            Some("calicoctl" | "selvedge") => !matches!(
                command.words.get(1).map(String::as_str),
                Some("node" | "lab")
            ),
            Some("ip") => {
                let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
                matches!(
                    words.as_slice(),
                    ["ip", "route"] | ["ip", "route", "show"] | ["ip", "route", "add", ..]
                )
            }
            _ => false,
        };
        if !commands.iter().all(known) {
            return None;
        }
        let mut printed = String::new();
        for command in commands {
            if command.words[0] == "ip" {
                let machine = self.hosts.get_mut(host)?;
                match command.words.get(3..).filter(|words| !words.is_empty()) {
                    None => printed.push_str(&machine.route_table()),
                    Some(words) => {
                        if let Err(why) = machine.add_route(&words.join(" ")) {
                            return Some(Err(why));
                        }
                    }
                }
                continue;
            }
            let (wall, seed) = (self.now().wall, self.random.bits());
            let store = self.store.clone();
            let (status, text) = command_line.run(&with_example(command), &store, wall, seed);
            printed.push_str(&text);
            if status != step.exit.unwrap_or(0) {
                return Some(Err(format!(
                    "{} ended with {status}: {text}",
                    command.words.join(" ")
                )));
            }
        }
        Some(expected(step, &printed))
    }
}

/// `-f howto/NAME` reads an example file, which the real world has in the home directory.
fn with_example(command: &Command) -> Command {
    let mut command = command.clone();
    let file = command
        .words
        .iter()
        .position(|word| word == "-f")
        .map(|at| at + 1);
    let example = file
        .and_then(|at| command.words.get(at))
        .and_then(|path| path.strip_prefix("howto/"));
    if let (Some(at), Some(text)) = (file, example.and_then(scenario::example)) {
        command.stdin = text.to_string();
        command.words[at] = "-".to_string();
    }
    command
}

fn expected(step: &Step, printed: &str) -> Done {
    let matches = |pattern: &str| {
        regex::RegexBuilder::new(pattern)
            .multi_line(true)
            .build()
            .is_ok_and(|regex| regex.is_match(printed))
    };
    for pattern in &step.expect {
        if !matches(pattern.get_ref()) {
            return Err(format!("nothing matches {}\n{printed}", pattern.get_ref()));
        }
    }
    match step
        .absent
        .iter()
        .find(|pattern| matches(pattern.get_ref()))
    {
        Some(pattern) => Err(format!("{} is there\n{printed}", pattern.get_ref())),
        None => Ok(()),
    }
}
