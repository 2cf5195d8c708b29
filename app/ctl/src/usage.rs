//! What each command takes, and what it says of itself.
//!
//! The usage of a command is part of its interface: it is printed to stderr when a command line does not fit, and scripts
//! that wrap calicoctl look for it.

use crate::args::{self, Args, Misuse, Opt};
use crate::command::Persona;

mod commands;
mod node_commands;

pub use commands::*;
pub use node_commands::*;

/// The words that are commands of calicoctl.
pub const COMMANDS: &[&str] = &[
    "create",
    "replace",
    "apply",
    "patch",
    "delete",
    "get",
    "label",
    "validate",
    "ipam",
    "node",
    "version",
    "datastore",
    "cluster",
];

/// One command's command line.
#[derive(Debug)]
pub struct Usage {
    /// All that `--help` prints.
    help: Help,
    /// The options it knows.
    pub options: &'static [Opt],
    /// Whether what was given fits the pattern, beyond each option being known.
    fits: fn(&Args) -> bool,
    /// Whether all that follows the first word belongs to a command below.
    options_first: bool,
}

#[derive(Debug)]
enum Help {
    /// The text as it is.
    Whole(&'static str),
    /// A pattern, and what the command is for; the options are described from their list.
    Made {
        pattern: &'static str,
        purpose: &'static str,
    },
}

const INTRODUCTION: &str = "\
Set the Calico datastore access information in the environment variables or
supply details in a config file.

";

/// What an option is for, in `--help`.
fn describe(long: &str) -> (&'static str, &'static str) {
    match long {
        "filename" => (
            "=<FILENAME>",
            "File with the resources, \"-\" for stdin, or a directory.",
        ),
        "recursive" => ("", "Go into the directories below the one named with -f."),
        "skip-empty" => (
            "",
            "Do not fail when there are no resources in what -f names.",
        ),
        "skip-exists" => ("", "Count resources that are there already as created."),
        "skip-not-exists" => ("", "Count resources that are not there as deleted."),
        "config" => (
            "=<CONFIG>",
            "File with the datastore's configuration [default: /etc/calico/calicoctl.cfg].",
        ),
        "namespace" => ("=<NS>", "Namespace of the resource, for namespaced kinds."),
        "patch" => ("=<PATCH>", "JSON that is merged into the resource."),
        "type" => ("=<TYPE>", "Accepted and not looked at."),
        "overwrite" => ("", "Change the label when it has another value."),
        "remove" => ("", "Remove the label."),
        "client" => ("", "Do not ask the datastore."),
        "poll" => (
            "=<POLL>",
            "Ask again with this interval (1s, 10m); 0 asks once.",
        ),
        "ip" => ("=<IP>", "The address."),
        "strictaffinity" => (
            "=<true/false>",
            "Whether nodes take addresses from their own blocks only.",
        ),
        "max-blocks-per-host" => (
            "=<number>",
            "How many blocks a node may have; 0 is the default.",
        ),
        "kubevirt-ip-persistence" => (
            "=<Enabled|Disabled>",
            "Whether virtual machines keep their addresses.",
        ),
        "from-report" => (
            "=<REPORT>",
            "Release all leaked addresses from the report; of several, those that all have.",
        ),
        "force" => (
            "",
            "Release also when the report is another version's, or the datastore is not locked.",
        ),
        "show-all-ips" => ("", "Print all IPs that are checked."),
        "show-problem-ips" => (
            "",
            "Print all IPs that are leaked or not allocated properly.",
        ),
        "output" => ("=<FILE>", "Path to output report file."),
        "kubeconfig" => ("=<KUBECONFIG>", "Path to Kubeconfig file."),
        "cidr" => ("=<CIDR>", "CIDR of the IP pool to split."),
        "name" => ("=<POOL_NAME>", "Name of the IP pool to split."),
        "grace" => (
            "=<DURATION>",
            "How old an unused address must be [default: 15m].",
        ),
        "dry-run" => ("", "Say what would go, and leave it."),
        "show-blocks" => ("", "Show the blocks of each pool."),
        "show-borrowed" => ("", "Show addresses taken from blocks of other nodes."),
        "show-configuration" => ("", "Show the configuration of address management."),
        "log-dir" => (
            "=<LOG_DIR>",
            "The directory with the logs [default: /var/log/calico].",
        ),
        "kernel-config" => (
            "=<kernel-config>",
            "The kernel's configuration, as text, where it is not in one of the usual places.",
        ),
        "since" => (
            "=<SINCE>",
            "Only logs that are newer, such as 30m or 2h; 0s is all [default: 0s].",
        ),
        "all" => (
            "",
            "The sessions of every node, as their agents wrote them into the datastore.",
        ),
        "max-logs" => (
            "=<MAXLOGS>",
            "Of how many pods of a namespace the logs are gathered [default: 5].",
        ),
        "max-parallelism" => (
            "=<MAXPARALLELISM>",
            "Accepted and not looked at: one is gathered after the other.",
        ),
        "focus-nodes" => (
            "=<NODES>",
            "Nodes, with commas between, whose pods' logs are all gathered.",
        ),
        "skip-temp-dir-cleanup" => ("", "Leave the folder beside the archive."),
        "dryrun" => ("", "Show the command, and start nothing."),
        "init-system" => (
            "",
            "Show the commands for starting and stopping by an init system.",
        ),
        "leave-out" => (
            "",
            "Import all the same where the datastore cannot hold everything.",
        ),
        "api-group" => (
            "=<GROUP>",
            "The API group of the cluster's resources [default: crd.projectcalico.org/v1].",
        ),
        "context" => ("=<context>", "The name of the kubeconfig context to use."),
        "allow-version-mismatch" => ("", "Allow client and cluster versions mismatch."),
        _ => ("", ""),
    }
}

impl Usage {
    /// Reads a command line against this usage.
    ///
    /// # Errors
    /// [`Misuse`], for which [`Usage::help`] and [`Usage::pattern`] are the answers.
    pub fn read(&self, argv: &[String]) -> Result<Args, Misuse> {
        let args = args::parse(argv, self.options, self.options_first)?;
        if (self.fits)(&args) {
            Ok(args)
        } else {
            Err(Misuse::Usage)
        }
    }

    /// What `--help` prints, without a line end.
    pub fn help(&self) -> String {
        let (pattern, purpose) = match self.help {
            Help::Whole(text) => return text.trim_end().to_string(),
            Help::Made { pattern, purpose } => (pattern, purpose),
        };
        let mut text =
            format!("{INTRODUCTION}{pattern}\n\nOptions:\n  -h --help  Show this screen.\n");
        for option in self.options {
            let short = option.short.map_or("  ".to_string(), |c| format!("-{c}"));
            let (argument, meaning) = describe(option.long);
            text += &format!("  {short} --{}{argument}\n       {meaning}\n", option.long);
        }
        text + "\nDescription:\n  " + purpose
    }

    fn purpose(&self) -> String {
        match self.help {
            Help::Made { purpose, .. } => purpose.to_string(),
            Help::Whole(text) => {
                let description = text.split("Description:\n").nth(1).unwrap_or_default();
                let first = description.split("\n\n").next().unwrap_or_default();
                first.split_whitespace().collect::<Vec<_>>().join(" ")
            }
        }
    }

    /// The usage pattern alone, as printed for a command line that does not fit.
    pub fn pattern(&self) -> &'static str {
        match self.help {
            Help::Whole(text) => {
                let from = text.find("Usage:").unwrap_or(0);
                let section = &text[from..];
                section.split("\n\n").next().unwrap_or(section)
            }
            Help::Made { pattern, .. } => pattern,
        }
    }
}

/// A command as other texts than its own help need it: completion, man pages.
#[derive(Clone, Debug)]
pub struct CommandLine {
    /// `["ipam", "show"]`.
    pub words: Vec<&'static str>,
    /// One sentence.
    pub purpose: String,
    /// Long name, letter, whether a value follows, and what it is for (empty where only the command's own help says it).
    pub options: Vec<(&'static str, Option<char>, bool, &'static str)>,
    /// Whether a kind may follow.
    pub takes_kind: bool,
}

/// Every command of whom the program speaks as.
pub fn command_lines(persona: Persona) -> Vec<CommandLine> {
    let own = match persona {
        Persona::Calicoctl => OF_CALICOCTL,
        Persona::Selvedge => OF_SELVEDGE,
    };
    ALL.iter()
        .chain(own)
        .map(|(words, usage)| CommandLine {
            words: words.to_vec(),
            purpose: usage.purpose(),
            options: usage
                .options
                .iter()
                .map(|o| (o.long, o.short, o.value, describe(o.long).1))
                .collect(),
            takes_kind: usage.pattern().contains("<KIND>"),
        })
        .collect()
}

const ALL: &[(&[&str], &Usage)] = &[
    (&["create"], &CREATE),
    (&["replace"], &REPLACE),
    (&["apply"], &APPLY),
    (&["patch"], &PATCH),
    (&["delete"], &DELETE),
    (&["get"], &GET),
    (&["label"], &LABEL),
    (&["validate"], &VALIDATE),
    (&["ipam"], &IPAM),
    (&["ipam", "show"], &IPAM_SHOW),
    (&["ipam", "release"], &IPAM_RELEASE),
    (&["ipam", "configure"], &IPAM_CONFIGURE),
    (&["ipam", "check"], &IPAM_CHECK),
    (&["ipam", "split"], &IPAM_SPLIT),
    (&["node"], &NODE),
    (&["node", "diags"], &NODE_DIAGS),
    (&["node", "checksystem"], &NODE_CHECKSYSTEM),
    (&["cluster"], &CLUSTER),
    (&["cluster", "diags"], &CLUSTER_DIAGS),
    (&["version"], &VERSION),
    (&["datastore"], &DATASTORE),
    (&["datastore", "migrate"], &DATASTORE_MIGRATE),
    (&["datastore", "migrate", "lock"], &DATASTORE_LOCK),
    (&["datastore", "migrate", "unlock"], &DATASTORE_UNLOCK),
    (&["datastore", "migrate", "export"], &DATASTORE_EXPORT),
];

const OF_CALICOCTL: &[(&[&str], &Usage)] = &[
    (&["node", "run"], &NODE_RUN),
    (&["node", "status"], &NODE_STATUS),
    (
        &["datastore", "migrate", "import"],
        &DATASTORE_IMPORT_CALICO,
    ),
];

const OF_SELVEDGE: &[(&[&str], &Usage)] = &[
    (&["node", "status"], &NODE_STATUS_OURS),
    (&["ipam", "collect"], &IPAM_COLLECT),
    (&["datastore", "crds"], &DATASTORE_CRDS),
    (&["datastore", "migrate", "import"], &DATASTORE_IMPORT),
];
