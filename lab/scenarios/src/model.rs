//! The words of a scenario file, as types.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::Deserialize;
use toml::Spanned;

/// A whole scenario file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// One line for lists.
    pub title: String,
    /// What it shows, in a few sentences.
    #[serde(default)]
    pub about: String,
    /// Where the run differs from the document that it follows; a step names one by its number, from 1.
    #[serde(default)]
    pub differences: Vec<String>,
    /// A network file with lans and hosts, beside this one: several scenarios may stand on one network.
    #[serde(default)]
    pub network: Option<Spanned<String>>,
    /// /etc/resolv.conf of pods.
    #[serde(default)]
    pub pod_resolv: Option<String>,
    /// Ethernet segments, each a bridge.
    #[serde(default, rename = "lan")]
    pub lans: Vec<Lan>,
    /// What several hosts have in common, by name.
    #[serde(default, rename = "profile")]
    pub profiles: BTreeMap<String, Profile>,
    /// The machines.
    #[serde(default, rename = "host")]
    pub hosts: Vec<Host>,
    /// Long-running programs.
    #[serde(default, rename = "daemon")]
    pub daemons: Vec<Daemon>,
    /// Workloads; a step starts them.
    #[serde(default, rename = "pod")]
    pub pods: Vec<Pod>,
    /// What is done, in order.
    #[serde(default, rename = "step")]
    pub steps: Vec<Step>,
}

/// A network file: lans and hosts, without what is done on them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    #[serde(default, rename = "lan")]
    pub(crate) lans: Vec<Lan>,
    #[serde(default, rename = "host")]
    pub(crate) hosts: Vec<Host>,
}

/// An Ethernet segment.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lan {
    /// The bridge's name, at most 15 bytes.
    pub name: Spanned<String>,
    /// Words for the picture, such as "office".
    #[serde(default)]
    pub label: String,
}

/// What several hosts have in common.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Kernel settings, dotted, written after the interfaces are there.
    #[serde(default)]
    pub sysctl: BTreeMap<String, String>,
    /// Directories that all hosts with this profile share.
    #[serde(default)]
    pub shared: Vec<String>,
    /// Environment of every program on the host.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Files by absolute path; `{host}`, `{ip}` and the host's own words are filled in.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Run by bash after the network is there and before daemons start.
    #[serde(default)]
    pub setup: String,
    /// A word for the picture: node, reflector, router, outside.
    #[serde(default)]
    pub role: String,
}

/// A machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its hostname.
    pub name: Spanned<String>,
    /// Profiles, later ones winning.
    #[serde(default)]
    pub profile: Vec<Spanned<String>>,
    /// Network interfaces; the first address is `{ip}`.
    #[serde(default)]
    pub nics: Vec<Nic>,
    /// Routes in `ip route add` words.
    #[serde(default)]
    pub routes: Vec<String>,
    /// Name servers for /etc/resolv.conf.
    #[serde(default)]
    pub nameservers: Vec<Ipv4Addr>,
    /// Words of its own, to be filled into files, setup and daemons.
    #[serde(default)]
    pub words: BTreeMap<String, String>,
    /// Kernel settings over those of the profiles.
    #[serde(default)]
    pub sysctl: BTreeMap<String, String>,
    /// Files over those of the profiles.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// A word for the picture, over the profiles'.
    #[serde(default)]
    pub role: String,
}

/// A network interface of a host.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nic {
    /// Its name on the host, such as ens192.
    pub name: Spanned<String>,
    /// The segment it is plugged into.
    pub lan: Spanned<String>,
    /// Address with prefix length.
    pub address: Ipv4Net,
}

/// A long-running program, on one or several hosts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Daemon {
    /// Its name in `restart` and `kill`, and of its log in /var/log.
    pub name: Spanned<String>,
    /// Hosts it runs on.
    pub on: Vec<Spanned<String>>,
    /// The command, run by bash; it must stay in the foreground.
    pub run: String,
    /// A shell test that is true once the daemon serves; polled.
    #[serde(default)]
    pub ready: Option<String>,
    /// How long `ready` may take.
    #[serde(default = "ten_seconds")]
    pub within: Seconds,
    /// False when a step starts it by `restart`.
    #[serde(default = "yes")]
    pub autostart: bool,
}

/// A workload on a node.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pod {
    /// Pod name.
    pub name: Spanned<String>,
    /// Namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The host it runs on.
    pub node: Spanned<String>,
    /// A fixed address; with `wired` it is needed, with CNI it is asked for by `IP=` in CNI_ARGS.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// True: the lab plumbs the pod itself; false: /opt/cni/bin/calico does.
    #[serde(default)]
    pub wired: bool,
    /// The program inside, run by bash in the pod's network namespace; it must stay in the foreground.
    #[serde(default)]
    pub run: Option<String>,
    /// A shell test inside the pod's network namespace that is true once the program serves; polled.
    #[serde(default)]
    pub ready: Option<String>,
}

/// One thing done, with what is expected of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What is shown.
    pub title: Spanned<String>,
    /// The host it is done on.
    #[serde(default)]
    pub on: Option<Spanned<String>>,
    /// A shell text as printed, run by `bash -c`. Needs a real kernel.
    #[serde(default)]
    pub exec: Option<String>,
    /// Files of examples/howto to apply. With `exec` beside it, the simulation applies these and the lab runs `exec`.
    #[serde(default)]
    pub apply: Vec<Spanned<String>>,
    /// Who can reach what.
    #[serde(default)]
    pub reach: Option<Reach>,
    /// A cable pulled or plugged in.
    #[serde(default)]
    pub cut: Option<Cut>,
    /// A daemon stopped by TERM and started again, or only started.
    #[serde(default)]
    pub restart: Option<Restart>,
    /// A daemon ended by a signal.
    #[serde(default)]
    pub kill: Option<Kill>,
    /// Pods to start.
    #[serde(default)]
    pub pods: Vec<Spanned<String>>,
    /// Pods to end.
    #[serde(default)]
    pub end_pods: Vec<Spanned<String>>,
    /// Kernel counters to read before and after; a line for their growth is added to the output.
    #[serde(default)]
    pub count: Option<Count>,
    /// Patterns that the output must match, `(?m)` in force.
    #[serde(default)]
    pub expect: Vec<Spanned<String>>,
    /// Patterns that the output must not match.
    #[serde(default)]
    pub absent: Vec<Spanned<String>>,
    /// The exit status that is expected; absent, `exec` must succeed.
    #[serde(default)]
    pub exit: Option<i32>,
    /// Tried again until it holds or this time has passed. Only for steps that may be repeated.
    #[serde(default)]
    pub within: Option<Seconds>,
    /// A step that takes longer than this is stopped and fails.
    #[serde(default = "thirty_seconds")]
    pub timeout: Seconds,
    /// Which of `differences` this step is.
    #[serde(default)]
    pub differs: Option<Spanned<usize>>,
    /// A row of the closing table; steps with the same words share a row.
    #[serde(default)]
    pub proves: Option<String>,
    /// True for a step that shows the opposite, so that its partner means something.
    #[serde(default)]
    pub control: bool,
    /// Done, but not shown: putting something in place or back.
    #[serde(default)]
    pub quiet: bool,
}

/// The one thing that a step does.
#[derive(Debug, Clone, Copy)]
pub enum Verb<'a> {
    /// Run a shell text.
    Exec(&'a str),
    /// Apply example files.
    Apply(&'a [Spanned<String>]),
    /// Ask who reaches what.
    Reach(&'a Reach),
    /// Pull or plug a cable.
    Cut(&'a Cut),
    /// Restart a daemon.
    Restart(&'a Restart),
    /// Kill a daemon.
    Kill(&'a Kill),
    /// Start pods.
    Pods(&'a [Spanned<String>]),
    /// End pods.
    EndPods(&'a [Spanned<String>]),
}

impl Step {
    /// What the step does on the real kernel: `exec` wins over the portable verb beside it.
    pub fn verb(&self) -> Option<Verb<'_>> {
        self.exec
            .as_deref()
            .map(Verb::Exec)
            .or_else(|| self.portable_verb())
    }

    /// What the step does in a world without programs, if it can be done there.
    pub fn portable_verb(&self) -> Option<Verb<'_>> {
        let lists = [
            (&self.apply, Verb::Apply as fn(_) -> _),
            (&self.pods, Verb::Pods as fn(_) -> _),
            (&self.end_pods, Verb::EndPods as fn(_) -> _),
        ];
        let list = lists
            .into_iter()
            .find(|(list, _)| !list.is_empty())
            .map(|(list, verb)| verb(list.as_slice()));
        list.or_else(|| self.reach.as_ref().map(Verb::Reach))
            .or_else(|| self.cut.as_ref().map(Verb::Cut))
            .or_else(|| self.restart.as_ref().map(Verb::Restart))
            .or_else(|| self.kill.as_ref().map(Verb::Kill))
    }
}

/// Who can reach what.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reach {
    /// Hosts that ask.
    pub from: Vec<Spanned<String>>,
    /// The address asked: an IPv4 address, or a pod's name for its address.
    pub to: Spanned<String>,
    /// With it, an HTTP page is fetched; without, the address is pinged.
    #[serde(default)]
    pub port: Option<u16>,
    /// What must happen.
    #[serde(default)]
    pub answer: Reached,
}

/// How an attempt to reach something ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reached {
    /// It answers.
    #[default]
    Yes,
    /// It does not answer, for whatever reason.
    No,
    /// Somebody says that it is unreachable, within a second.
    Unreachable,
}

/// A cable.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// The host whose cable it is.
    pub host: Spanned<String>,
    /// The interface; absent, all of the host's.
    #[serde(default)]
    pub nic: Option<Spanned<String>>,
    /// Pulled or plugged in.
    #[serde(default)]
    pub state: LinkState,
}

/// Whether a cable is plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// Pulled.
    #[default]
    Down,
    /// Plugged in.
    Up,
}

/// A daemon to stop and start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// The daemon's name.
    pub daemon: Spanned<String>,
}

/// A daemon to end.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    /// The daemon's name.
    pub daemon: Spanned<String>,
    /// The signal, KILL when absent.
    #[serde(default = "kill_signal")]
    pub signal: String,
}

/// Counters read before and after a step.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// Which.
    pub counter: Counter,
    /// On which hosts; their growth is summed.
    pub on: Vec<Spanned<String>>,
}

/// A kernel counter of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counter {
    /// Datagrams forwarded: `ForwDatagrams` of /proc/net/snmp (RFC 4293 ipSystemStatsOutForwDatagrams).
    Forwarded,
    /// ICMP redirects sent: `OutRedirects` of /proc/net/snmp.
    RedirectsSent,
    /// Packets dropped because their source is not reached by where they came in: `IPReversePathFilter` of /proc/net/netstat.
    ReversePathFiltered,
}

/// A time in seconds, written `5` or `0.5`.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Seconds(f64);

impl Seconds {
    pub(crate) fn new(seconds: f64) -> Self {
        Self(seconds)
    }

    /// As a duration; a negative or absurd number is zero.
    pub fn get(self) -> Duration {
        Duration::try_from_secs_f64(self.0).unwrap_or_default()
    }
}

fn ten_seconds() -> Seconds {
    Seconds(10.0)
}

fn thirty_seconds() -> Seconds {
    Seconds(30.0)
}

fn default_namespace() -> String {
    "default".to_owned()
}

fn kill_signal() -> String {
    "KILL".to_owned()
}

fn yes() -> bool {
    true
}
