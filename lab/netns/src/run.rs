//! Going through a scenario's steps and judging each.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use regex::RegexBuilder;
use scenario::{Count, Counter, LinkState, Reach, Reached, Scenario, Spanned, Step, Verb};

use crate::lab::{Lab, Output};
use crate::report::{Report, StepReport};

/// What is printed while steps run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Each step as on a terminal: prompt, command, output, verdict.
    Transcript,
    /// Nothing; the report tells all.
    Nothing,
}

/// Runs the steps of a scenario on a lab.
#[derive(Debug)]
pub struct Runner<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) scenario: &'a Scenario,
    show: Show,
    /// Pods that have an address now.
    pub(crate) addresses: RefCell<BTreeMap<String, Ipv4Addr>>,
}

impl<'a> Runner<'a> {
    /// A runner for a lab whose daemons are up.
    pub fn new(lab: &'a Lab, scenario: &'a Scenario, show: Show) -> Self {
        Self {
            lab,
            scenario,
            show,
            addresses: RefCell::default(),
        }
    }

    /// Goes through all steps; a step that fails does not keep the next from running.
    pub fn run(&self) -> Report {
        let progress = self.progress();
        let began = Instant::now();
        let mut steps: Vec<StepReport> = Vec::new();
        for step in &self.scenario.steps {
            progress.set_message(step.title.get_ref().clone());
            let report = self.step(step);
            if self.show == Show::Transcript && (!step.quiet || !report.ok) {
                progress.suspend(|| {
                    print!("{}", report.transcript(&self.scenario.differences, &steps))
                });
            }
            progress.inc(1);
            steps.push(report);
        }
        progress.finish_and_clear();
        Report::new(
            self.lab,
            self.scenario,
            steps,
            began.elapsed(),
            self.addresses.borrow().clone(),
        )
    }

    /// Ends the pods that are still there, as a runtime does before a node goes.
    pub fn end_pods(&self) -> Result<()> {
        let names: Vec<String> = self.addresses.borrow().keys().cloned().collect();
        let pods = names.iter().filter_map(|name| {
            self.scenario
                .pods
                .iter()
                .find(|pod| pod.name.get_ref() == name)
        });
        let ended: Vec<Result<()>> = pods.map(|pod| self.end_pod(pod).map(|_| ())).collect();
        ended.into_iter().collect()
    }

    fn progress(&self) -> ProgressBar {
        if self.show == Show::Nothing {
            return ProgressBar::hidden();
        }
        // Drawn on standard error, and only when that is a terminal.
        let progress = ProgressBar::new(u64::try_from(self.scenario.steps.len()).unwrap_or(0));
        let style = ProgressStyle::with_template("[{elapsed}] {bar:30} {pos}/{len} {wide_msg}");
        progress.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    fn step(&self, step: &Step) -> StepReport {
        let began = Instant::now();
        let limit = step.within.map_or(Duration::ZERO, |within| within.get());
        loop {
            let attempt = self.attempt(step);
            let (output, why) = match attempt {
                Ok(output) => {
                    let why = judge(step, &output);
                    (output, why)
                }
                Err(error) => (
                    Output {
                        status: 1,
                        ..Output::said(String::new())
                    },
                    Some(format!("{error:#}")),
                ),
            };
            if why.is_none() || began.elapsed() >= limit {
                return StepReport::new(
                    step,
                    self.shown_command(step),
                    output,
                    why,
                    began.elapsed(),
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The step's command as a reader would type it; pods' addresses filled in.
    fn shown_command(&self, step: &Step) -> String {
        match step.verb() {
            Some(Verb::Exec(text)) => self.fill(text.trim_end()),
            Some(Verb::Apply(files)) => files
                .iter()
                .map(|file| format!("selvedge apply -f howto/{}", file.get_ref()))
                .collect::<Vec<_>>()
                .join("\n"),
            Some(Verb::Reach(reach)) => {
                let to = reach.to.get_ref();
                reach.port.map_or_else(
                    || format!("(reach) ping {to}"),
                    |port| format!("(reach) curl http://{to}:{port}/"),
                )
            }
            Some(Verb::Cut(cut)) => format!(
                "(cut) cable of {} {}",
                cut.host.get_ref(),
                if cut.state == LinkState::Up {
                    "plugged in"
                } else {
                    "pulled"
                }
            ),
            Some(Verb::Restart(restart)) => format!("(restart) {}", restart.daemon.get_ref()),
            Some(Verb::Kill(kill)) => {
                format!("(kill) {} by {}", kill.daemon.get_ref(), kill.signal)
            }
            Some(Verb::Pods(pods)) => format!(
                "(pods) start {}",
                pods.iter()
                    .map(|pod| pod.get_ref().as_str())
                    .collect::<Vec<_>>()
                    .join(" ")
            ),
            Some(Verb::EndPods(pods)) => format!(
                "(pods) end {}",
                pods.iter()
                    .map(|pod| pod.get_ref().as_str())
                    .collect::<Vec<_>>()
                    .join(" ")
            ),
            None => String::new(),
        }
    }

    /// Replaces `{pod NAME}` by the pod's address.
    fn fill(&self, text: &str) -> String {
        let addresses = self.addresses.borrow();
        addresses
            .iter()
            .fold(text.to_owned(), |text, (name, address)| {
                text.replace(&format!("{{pod {name}}}"), &address.to_string())
            })
    }

    fn attempt(&self, step: &Step) -> Result<Output> {
        let before = step
            .count
            .as_ref()
            .map(|count| self.counted(count))
            .transpose()?;
        let mut output = self.act(step)?;
        if let (Some(count), Some(before)) = (&step.count, before) {
            let grown = self.counted(count)?.saturating_sub(before);
            let hosts: Vec<&str> = count
                .on
                .iter()
                .map(|host| host.get_ref().as_str())
                .collect();
            let what = match count.counter {
                Counter::Forwarded => "forwarded",
                Counter::RedirectsSent => "redirects sent",
                Counter::ReversePathFiltered => "dropped by rp_filter",
            };
            output.counted = Some(format!("[{what} by {}: {grown}]\n", hosts.join(" and ")));
        }
        Ok(output)
    }

    fn act(&self, step: &Step) -> Result<Output> {
        let on = step.on.as_ref().map_or("", |on| on.get_ref().as_str());
        let limit = step.timeout.get();
        let nothing = |text: String| Ok(Output::said(text));
        match step.verb().context("the step does nothing")? {
            Verb::Exec(text) => self.lab.shell(on, &self.fill(text), limit),
            Verb::Apply(files) => {
                let lines: Vec<String> = files
                    .iter()
                    .map(|file| format!("selvedge apply -f howto/{}", file.get_ref()))
                    .collect();
                self.lab
                    .shell(on, &format!("set -e\n{}", lines.join("\n")), limit)
            }
            Verb::Reach(reach) => self.reach(reach),
            Verb::Cut(cut) => {
                let state = if cut.state == LinkState::Up {
                    "up"
                } else {
                    "down"
                };
                self.lab.plug(
                    cut.host.get_ref(),
                    cut.nic.as_ref().map(|nic| nic.get_ref().as_str()),
                    state,
                )?;
                nothing(String::new())
            }
            Verb::Restart(restart) => {
                let daemon = self.daemon(restart.daemon.get_ref())?;
                // Where it does not run yet there is nothing to stop.
                let _ = self.lab.stop(daemon.name.get_ref(), on, "TERM");
                self.lab.start(daemon, on)?;
                self.lab.wait_ready(daemon)?;
                nothing(String::new())
            }
            Verb::Kill(kill) => {
                self.lab.stop(kill.daemon.get_ref(), on, &kill.signal)?;
                nothing(String::new())
            }
            Verb::Pods(pods) => self.each_pod(pods, Self::start_pod),
            Verb::EndPods(pods) => self.each_pod(pods, Self::end_pod),
        }
    }

    fn each_pod(
        &self,
        names: &[Spanned<String>],
        act: fn(&Self, &scenario::Pod) -> Result<String>,
    ) -> Result<Output> {
        let mut text = String::new();
        for name in names {
            let pod = self
                .scenario
                .pods
                .iter()
                .find(|pod| pod.name.get_ref() == name.get_ref())
                .with_context(|| format!("no pod {}", name.get_ref()))?;
            text += &act(self, pod)?;
        }
        Ok(Output::said(text))
    }

    fn daemon(&self, name: &str) -> Result<&'a scenario::Daemon> {
        self.scenario
            .daemons
            .iter()
            .find(|daemon| daemon.name.get_ref() == name)
            .with_context(|| format!("no daemon {name}"))
    }

    fn reach(&self, reach: &Reach) -> Result<Output> {
        let to = reach.to.get_ref();
        let to = match to.parse::<Ipv4Addr>() {
            Ok(address) => address,
            Err(_) => *self
                .addresses
                .borrow()
                .get(to)
                .with_context(|| format!("pod {to} is not up"))?,
        };
        let command = match reach.port {
            Some(port) => {
                format!("curl -sS -m 3 -o /dev/null -w '%{{http_code}}\\n' http://{to}:{port}/")
            }
            None => format!("selvedge lab probe echo {to}"),
        };
        let mut text = String::new();
        let mut wrong = Vec::new();
        for from in &reach.from {
            let from = from.get_ref();
            let output = self.lab.shell(from, &command, Duration::from_secs(5))?;
            let unreachable = output.text.contains("unreachable")
                || output.text.contains("refused")
                || output.text.contains("No route to host");
            let held = match reach.answer {
                Reached::Yes => output.status == 0,
                Reached::No => output.status != 0,
                Reached::Unreachable => output.status != 0 && unreachable,
            };
            text += &format!("{from}: {}\n", output.text.trim());
            if !held {
                wrong.push(from.as_str());
            }
        }
        if wrong.is_empty() {
            return Ok(Output::said(text));
        }
        bail!(
            "expected {:?}, not so from {}:\n{text}",
            reach.answer,
            wrong.join(", ")
        )
    }

    fn counted(&self, count: &Count) -> Result<u64> {
        let field = match count.counter {
            Counter::Forwarded => "ForwDatagrams",
            Counter::RedirectsSent => "OutRedirects",
            Counter::ReversePathFiltered => "IPReversePathFilter",
        };
        let mut sum = 0;
        for host in &count.on {
            let snmp = self
                .lab
                .shell(
                    host.get_ref(),
                    "cat /proc/net/snmp /proc/net/netstat",
                    Duration::from_secs(5),
                )?
                .text;
            sum += crate::probe::snmp(&snmp, field)
                .with_context(|| format!("no {field} in /proc/net/snmp or netstat"))?;
        }
        Ok(sum)
    }
}

/// Why an output is not what was expected; nothing when it is.
fn judge(step: &Step, output: &Output) -> Option<String> {
    let expected = step.exit.unwrap_or(0);
    if output.status != expected {
        return Some(format!(
            "exit status {}, expected {expected}",
            output.status
        ));
    }
    let all = output.all();
    let matches = |pattern: &str| {
        RegexBuilder::new(pattern)
            .multi_line(true)
            .build()
            .is_ok_and(|regex| regex.is_match(&all))
    };
    let missing = step
        .expect
        .iter()
        .find(|pattern| !matches(pattern.get_ref()));
    let present = step
        .absent
        .iter()
        .find(|pattern| matches(pattern.get_ref()));
    missing
        .map(|pattern| format!("the output does not match `{}`", pattern.get_ref()))
        .or_else(|| {
            present.map(|pattern| {
                format!(
                    "the output matches `{}`, which must be absent",
                    pattern.get_ref()
                )
            })
        })
}
