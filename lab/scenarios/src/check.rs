//! What a file must hold beyond its grammar: every name that is used exists, every pattern compiles.

use std::collections::BTreeSet;

use regex::RegexBuilder;
use toml::Spanned;

use crate::error::{ScenarioError, nearest};
use crate::model::{Host, Lan, Network, Scenario, Step};

impl Scenario {
    /// Reads a scenario that stands on no network file; `file` is only a name for errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, ScenarioError> {
        Self::parse_with(file, text, |name| {
            Err(format!("the network file {name} is not at hand"))
        })
    }

    /// Reads a scenario; `find` gives a network file's text by its name, or says why not.
    pub fn parse_with(
        file: &str,
        text: &str,
        find: impl FnOnce(&str) -> Result<String, String>,
    ) -> Result<Self, ScenarioError> {
        let mut scenario: Self =
            toml::from_str(text).map_err(|error| ScenarioError::from_toml(file, text, &error))?;
        let check = Check { file, text };
        if let Some(network) = scenario.network.clone() {
            let name = network.get_ref();
            let found = find(name)
                .map_err(|error| ScenarioError::at(file, text, Some(network.span()), error))?;
            let below: Network = toml::from_str(&found)
                .map_err(|error| ScenarioError::from_toml(name, &found, &error))?;
            // Names in that file are checked as part of it, so that errors point there.
            Check {
                file: name,
                text: &found,
            }
            .hosts(&below.hosts, &below.lans, None)?;
            check.hosts(&scenario.hosts, &scenario.lans, Some(&below.lans))?;
            scenario.lans.splice(0..0, below.lans);
            scenario.hosts.splice(0..0, below.hosts);
        } else {
            check.hosts(&scenario.hosts, &scenario.lans, None)?;
        }
        check.scenario(&scenario)?;
        Ok(scenario)
    }
}

struct Check<'a> {
    file: &'a str,
    text: &'a str,
}

impl Check<'_> {
    fn refuse<T>(&self, place: &Spanned<T>, message: String) -> Result<(), ScenarioError> {
        Err(ScenarioError::at(
            self.file,
            self.text,
            Some(place.span()),
            message,
        ))
    }

    /// Each name once, and in a form that the kernel and DNS take.
    fn names<'n>(
        &self,
        what: &str,
        limit: usize,
        names: impl Iterator<Item = &'n Spanned<String>>,
    ) -> Result<BTreeSet<&'n str>, ScenarioError> {
        let mut seen = BTreeSet::new();
        for name in names {
            let word = name.get_ref().as_str();
            let shape = !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
            if !shape || word.len() > limit {
                self.refuse(
                    name,
                    format!(
                        "{what} name `{word}`: 1 to {limit} lower-case letters, digits and hyphens"
                    ),
                )?;
            }
            if !seen.insert(word) {
                self.refuse(name, format!("{what} `{word}` is there twice"))?;
            }
        }
        Ok(seen)
    }

    fn known(
        &self,
        what: &str,
        name: &Spanned<String>,
        known: &BTreeSet<&str>,
    ) -> Result<(), ScenarioError> {
        let word = name.get_ref().as_str();
        if known.contains(word) {
            return Ok(());
        }
        let cure = match nearest(word, known.iter().copied()) {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None => format!(
                "; there are: {}",
                known.iter().copied().collect::<Vec<_>>().join(", ")
            ),
        };
        self.refuse(name, format!("no {what} `{word}` in this scenario{cure}"))
    }

    /// Hosts and lans of one file; `below` are the lans that they may also use.
    fn hosts(
        &self,
        hosts: &[Host],
        lans: &[Lan],
        below: Option<&[Lan]>,
    ) -> Result<(), ScenarioError> {
        let mut known = self.names("lan", 15, lans.iter().map(|lan| &lan.name))?;
        known.extend(
            below
                .into_iter()
                .flatten()
                .map(|lan| lan.name.get_ref().as_str()),
        );
        self.names("host", 63, hosts.iter().map(|host| &host.name))?;
        for host in hosts {
            self.names("interface", 15, host.nics.iter().map(|nic| &nic.name))?;
            for nic in &host.nics {
                self.known("lan", &nic.lan, &known)?;
            }
        }
        Ok(())
    }

    /// Every profile that a host names is there. Hosts of the network file come first; an error about one points at `network`.
    fn profiles(&self, scenario: &Scenario) -> Result<(), ScenarioError> {
        let known: BTreeSet<&str> = scenario.profiles.keys().map(String::as_str).collect();
        for host in &scenario.hosts {
            for profile in &host.profile {
                let word = profile.get_ref().as_str();
                let ours = self
                    .text
                    .get(profile.span())
                    .is_some_and(|text| text.trim_matches(['"', '\'']) == word);
                match (&scenario.network, ours) {
                    (Some(network), false) if !known.contains(word) => self.refuse(
                        network,
                        format!("hosts of {} want profile `{word}`, which this scenario does not define", network.get_ref()),
                    )?,
                    _ => self.known("profile", profile, &known)?,
                }
            }
        }
        Ok(())
    }

    fn scenario(&self, scenario: &Scenario) -> Result<(), ScenarioError> {
        let hosts: BTreeSet<&str> = scenario
            .hosts
            .iter()
            .map(|host| host.name.get_ref().as_str())
            .collect();
        let daemons = self.names(
            "daemon",
            32,
            scenario.daemons.iter().map(|daemon| &daemon.name),
        )?;
        let pods = self.names("pod", 63, scenario.pods.iter().map(|pod| &pod.name))?;
        self.profiles(scenario)?;
        for daemon in &scenario.daemons {
            for host in &daemon.on {
                self.known("host", host, &hosts)?;
            }
        }
        for pod in &scenario.pods {
            self.known("host", &pod.node, &hosts)?;
            if pod.wired && pod.address.is_none() {
                self.refuse(
                    &pod.name,
                    format!(
                        "pod `{}` is wired by the lab and so needs an `address`",
                        pod.name.get_ref()
                    ),
                )?;
            }
        }
        let names = Names {
            hosts: &hosts,
            daemons: &daemons,
            pods: &pods,
        };
        for step in &scenario.steps {
            self.step(step, scenario, &names)?;
        }
        Ok(())
    }

    fn step(
        &self,
        step: &Step,
        scenario: &Scenario,
        names: &Names<'_>,
    ) -> Result<(), ScenarioError> {
        self.one_verb(step)?;
        for host in step.on.iter() {
            self.known("host", host, names.hosts)?;
        }
        for pod in step.pods.iter().chain(&step.end_pods) {
            self.known("pod", pod, names.pods)?;
        }
        for file in &step.apply {
            if crate::example(file.get_ref()).is_none() {
                let known: Vec<&str> = crate::EXAMPLES.iter().map(|(name, _)| *name).collect();
                let cure = nearest(file.get_ref(), known.iter().copied()).map_or_else(
                    || format!("; there are: {}", known.join(", ")),
                    |meant| format!("; did you mean `{meant}`?"),
                );
                self.refuse(file, format!("no example file `{}`{cure}", file.get_ref()))?;
            }
        }
        if let Some(reach) = &step.reach {
            for host in &reach.from {
                self.known("host", host, names.hosts)?;
            }
            if reach.to.get_ref().parse::<std::net::Ipv4Addr>().is_err() {
                self.known("pod", &reach.to, names.pods)?;
            }
        }
        if let Some(cut) = &step.cut {
            self.known("host", &cut.host, names.hosts)?;
            let host = scenario
                .hosts
                .iter()
                .find(|host| host.name.get_ref() == cut.host.get_ref());
            let nics = host
                .iter()
                .flat_map(|host| &host.nics)
                .map(|nic| nic.name.get_ref().as_str())
                .collect();
            for nic in cut.nic.iter() {
                self.known("interface", nic, &nics)?;
            }
        }
        let daemons = step
            .restart
            .iter()
            .map(|restart| &restart.daemon)
            .chain(step.kill.iter().map(|kill| &kill.daemon));
        for daemon in daemons {
            self.known("daemon", daemon, names.daemons)?;
        }
        for host in step.count.iter().flat_map(|count| &count.on) {
            self.known("host", host, names.hosts)?;
        }
        for pattern in step.expect.iter().chain(&step.absent) {
            if let Err(error) = RegexBuilder::new(pattern.get_ref())
                .multi_line(true)
                .build()
            {
                self.refuse(pattern, format!("not a regular expression: {error}"))?;
            }
        }
        if let Some(number) = &step.differs
            && !(1..=scenario.differences.len()).contains(number.get_ref())
        {
            self.refuse(
                number,
                format!(
                    "difference {} is not listed; there are {}",
                    number.get_ref(),
                    scenario.differences.len()
                ),
            )?;
        }
        Ok(())
    }

    /// A step does one thing, and says where when that thing needs a place.
    fn one_verb(&self, step: &Step) -> Result<(), ScenarioError> {
        let portable = [
            !step.apply.is_empty(),
            step.reach.is_some(),
            step.cut.is_some(),
            step.restart.is_some(),
            step.kill.is_some(),
            !step.pods.is_empty(),
            !step.end_pods.is_empty(),
        ];
        let portable = portable.into_iter().filter(|there| *there).count();
        if portable > 1 {
            return self.refuse(
                &step.title,
                "a step does one of: apply, reach, cut, restart, kill, pods, end_pods".to_owned(),
            );
        }
        if portable == 0 && step.exec.is_none() {
            return self.refuse(
                &step.title,
                "a step needs one of: exec, apply, reach, cut, restart, kill, pods, end_pods"
                    .to_owned(),
            );
        }
        let needs_place = step.exec.is_some()
            || !step.apply.is_empty()
            || step.restart.is_some()
            || step.kill.is_some();
        if needs_place && step.on.is_none() {
            return self.refuse(
                &step.title,
                "this step needs `on`, the host where it is done".to_owned(),
            );
        }
        Ok(())
    }
}

struct Names<'a> {
    hosts: &'a BTreeSet<&'a str>,
    daemons: &'a BTreeSet<&'a str>,
    pods: &'a BTreeSet<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
title = "two hosts"
[[lan]]
name = "lan"
[[host]]
name = "harbor"
nics = [{ name = "ens192", lan = "lan", address = "10.20.1.222/23" }]
[[host]]
name = "vm"
nics = [{ name = "ens192", lan = "lan", address = "10.20.1.206/23" }]
[[daemon]]
name = "dns"
on = ["vm"]
run = "dnsmasq -k"
[[step]]
title = "ping"
on = "harbor"
exec = "ping -c1 10.20.1.206"
expect = ['1 received']
"#;

    /// Replaces one piece of the good text and reads it.
    fn check(from: &str, to: &str, expected: &str) {
        assert!(GOOD.contains(from), "the good text holds {from}");
        let error = Scenario::parse("t.toml", &GOOD.replacen(from, to, 1)).expect_err(to);
        assert_eq!(error.to_string().lines().next(), Some(expected));
    }

    #[test]
    fn a_good_scenario_is_taken() {
        let scenario = Scenario::parse("t.toml", GOOD).expect("good");
        assert_eq!((scenario.hosts.len(), scenario.steps.len()), (2, 1));
    }

    #[test]
    fn typos_are_named_with_file_and_line() {
        check(
            "expect =",
            "expcet =",
            "t.toml:19:1: unknown field `expcet`, expected one of `title`, `on`, `exec`, `apply`, `reach`, `cut`, `restart`, `kill`, `pods`, `end_pods`, `count`, `expect`, `absent`, `exit`, `within`, `timeout`, `differs`, `proves`, `control`, `quiet`; did you mean `expect`?",
        );
        check(
            "on = \"harbor\"",
            "on = \"harbr\"",
            "t.toml:17:6: no host `harbr` in this scenario; did you mean `harbor`?",
        );
        check(
            "on = [\"vm\"]",
            "on = [\"printer\"]",
            "t.toml:13:7: no host `printer` in this scenario; there are: harbor, vm",
        );
        check(
            "lan = \"lan\", address = \"10.20.1.206/23\"",
            "lan = \"lna\", address = \"10.20.1.206/23\"",
            "t.toml:10:34: no lan `lna` in this scenario; did you mean `lan`?",
        );
        check(
            "name = \"vm\"",
            "name = \"harbor\"",
            "t.toml:9:8: host `harbor` is there twice",
        );
        check(
            "10.20.1.206/23\"",
            "10.20.1.999/23\"",
            "t.toml:10:51: invalid IP address syntax",
        );
        check(
            "'1 received'",
            "'(1 received'",
            "t.toml:19:11: not a regular expression: regex parse error:",
        );
        check(
            "exec = \"ping -c1 10.20.1.206\"\n",
            "",
            "t.toml:16:9: a step needs one of: exec, apply, reach, cut, restart, kill, pods, end_pods",
        );
        check(
            "on = \"harbor\"\n",
            "",
            "t.toml:16:9: this step needs `on`, the host where it is done",
        );
        check(
            "title = \"two hosts\"",
            "title = 2",
            "t.toml:2:9: invalid type: integer `2`, expected a string",
        );
    }
}
