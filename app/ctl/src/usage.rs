//! What each command takes, and what it says of itself.
//!
//! The usage of a command is part of its interface: it is printed to stderr when a command line does not fit, and scripts
//! that wrap calicoctl look for it.

use crate::args::{self, Args, Misuse, Opt, flag, value, values};

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

const FILENAME: Opt = value("filename", Some('f'));
const RECURSIVE: Opt = flag("recursive", Some('R'));
const SKIP_EMPTY: Opt = flag("skip-empty", None);
const CONFIG: Opt = value("config", Some('c'));
const NAMESPACE: Opt = value("namespace", Some('n'));
const CONTEXT: Opt = value("context", None);
const ALLOW: Opt = flag("allow-version-mismatch", None);

fn only_a_file(args: &Args) -> bool {
    args.has("filename") && args.positionals.is_empty()
}

fn file_or_kind(args: &Args) -> bool {
    args.has("filename") == args.positionals.is_empty()
}

fn nothing(args: &Args) -> bool {
    args.positionals.is_empty()
}

/// calicoctl itself.
pub const TOP: Usage = Usage {
    help: Help::Whole(include_str!("text/calicoctl.txt")),
    options: &[value("log-level", Some('l')), CONTEXT, ALLOW],
    fits: |args| !args.positionals.is_empty(),
    options_first: true,
};

/// `get`
pub const GET: Usage = Usage {
    help: Help::Whole(include_str!("text/get.txt")),
    options: &[
        FILENAME,
        RECURSIVE,
        SKIP_EMPTY,
        value("output", Some('o')),
        CONFIG,
        NAMESPACE,
        flag("all-namespaces", Some('A')),
        flag("export", None),
        CONTEXT,
        ALLOW,
    ],
    fits: |args| {
        file_or_kind(args)
            && (args.has("filename") || !args.has("recursive") && !args.has("skip-empty"))
    },
    options_first: false,
};

/// `create`
pub const CREATE: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl create --filename=<FILENAME> [--recursive] [--skip-empty]
                   [--skip-exists] [--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch]",
        purpose: "Creates resources; fails for those that are there already.",
    },
    options: &[
        FILENAME,
        RECURSIVE,
        SKIP_EMPTY,
        flag("skip-exists", None),
        CONFIG,
        NAMESPACE,
        CONTEXT,
        ALLOW,
    ],
    fits: only_a_file,
    options_first: false,
};

/// `apply`
pub const APPLY: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl apply --filename=<FILENAME> [--recursive] [--skip-empty]
                  [--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch]",
        purpose: "Creates resources, or replaces those that are there already.",
    },
    options: &[FILENAME, RECURSIVE, SKIP_EMPTY, CONFIG, NAMESPACE, CONTEXT, ALLOW],
    fits: only_a_file,
    options_first: false,
};

/// `validate`
pub const VALIDATE: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl validate --filename=<FILENAME> [--recursive] [--skip-empty]",
        purpose: "Checks resources without applying them, and without a datastore.",
    },
    options: &[FILENAME, RECURSIVE, SKIP_EMPTY, CONTEXT, ALLOW],
    fits: only_a_file,
    options_first: false,
};

/// `replace`
pub const REPLACE: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl replace --filename=<FILENAME> [--recursive] [--skip-empty]
                    [--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch]",
        purpose: "Replaces resources; stops at the first that is not there.",
    },
    options: &[FILENAME, RECURSIVE, SKIP_EMPTY, CONFIG, NAMESPACE, CONTEXT, ALLOW],
    fits: only_a_file,
    options_first: false,
};

/// `delete`
pub const DELETE: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl delete ( (<KIND> [<NAME>...]) |
                   --filename=<FILE>) [--recursive] [--skip-empty]
                   [--skip-not-exists] [--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch]",
        purpose: "Deletes resources, by kind and name or as a file names them.",
    },
    options: &[
        FILENAME,
        RECURSIVE,
        SKIP_EMPTY,
        flag("skip-not-exists", Some('s')),
        CONFIG,
        NAMESPACE,
        CONTEXT,
        ALLOW,
    ],
    fits: file_or_kind,
    options_first: false,
};

/// `patch`
pub const PATCH: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl patch <KIND> <NAME> --patch=<PATCH> [--type=<TYPE>] [--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch]",
        purpose: "Merges JSON into a resource: null removes a field, a list replaces the list.",
    },
    options: &[
        value("patch", Some('p')),
        value("type", Some('t')),
        CONFIG,
        NAMESPACE,
        CONTEXT,
        ALLOW,
    ],
    fits: |args| args.has("patch") && args.positionals.len() == 2,
    options_first: false,
};

/// `label`
pub const LABEL: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl label (<KIND> <NAME>
  \t              ( <key>=<value> [--overwrite] |
  \t                <key> --remove )
                  [--config=<CONFIG>] [--namespace=<NS>] [--context=<context>] [--allow-version-mismatch])",
        purpose: "Sets, changes or removes one label of a resource.",
    },
    options: &[
        flag("overwrite", None),
        flag("remove", None),
        CONFIG,
        NAMESPACE,
        CONTEXT,
        ALLOW,
    ],
    fits: |args| args.positionals.len() == 3 && !(args.has("overwrite") && args.has("remove")),
    options_first: false,
};

/// `version`
pub const VERSION: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl version [--config=<CONFIG>] [--poll=<POLL>] [--client] [--context=<context>] [--allow-version-mismatch]",
        purpose: "Prints the version of calicoctl that is spoken here, and of the cluster.",
    },
    options: &[
        CONFIG,
        value("poll", None),
        flag("client", None),
        CONTEXT,
        ALLOW,
    ],
    fits: nothing,
    options_first: false,
};

/// `node`
pub const NODE: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl node <command> [<args>...]

    run          Run this machine as a node.
    status       View the current status of a Calico node.",
        purpose: "See 'calicoctl node <command> --help' to read about a specific subcommand.",
    },
    options: &[],
    fits: |args| !args.positionals.is_empty(),
    options_first: true,
};

/// `node status`
pub const NODE_STATUS: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl node status [--allow-version-mismatch]",
        purpose: "Says whether the node runs, and shows its BGP sessions.",
    },
    options: &[ALLOW],
    fits: nothing,
    options_first: false,
};

/// `ipam`
pub const IPAM: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl ipam <command> [<args>...]

    check        Check the integrity of the IPAM datastructures.
    release      Release a Calico assigned IP address.
    show         Show details of a Calico configuration,
                 assigned IP address, or of overall IP usage.
    configure    Configure IPAM.
    split        Split the specified IP pool.",
        purpose: "See 'calicoctl ipam <command> --help' to read about a specific subcommand.",
    },
    options: &[],
    fits: |args| !args.positionals.is_empty(),
    options_first: true,
};

/// `ipam show`
pub const IPAM_SHOW: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl ipam show [--ip=<IP> | --show-blocks | --show-borrowed | --show-configuration] [--config=<CONFIG>] [--context=<context>] [--allow-version-mismatch]",
        purpose: "Shows how much of each pool is in use, or who has an address.",
    },
    options: &[
        value("ip", None),
        flag("show-blocks", None),
        flag("show-borrowed", None),
        flag("show-configuration", None),
        CONFIG,
        CONTEXT,
        ALLOW,
    ],
    fits: |args| {
        let choices = ["ip", "show-blocks", "show-borrowed", "show-configuration"];
        nothing(args) && choices.iter().filter(|c| args.has(c)).count() <= 1
    },
    options_first: false,
};

/// `ipam check`
pub const IPAM_CHECK: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl ipam check [--config=<CONFIG>] [--show-all-ips] [--show-problem-ips] [-o <FILE>] [--kubeconfig=<KUBECONFIG>] [--context=<context>] [--allow-version-mismatch]",
        purpose: "Compares the addresses that are given with those that are in use.",
    },
    options: &[
        value("output", Some('o')),
        flag("show-all-ips", None),
        flag("show-problem-ips", None),
        value("kubeconfig", None),
        CONFIG,
        CONTEXT,
        ALLOW,
    ],
    fits: nothing,
    options_first: false,
};

/// `ipam release`
pub const IPAM_RELEASE: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl ipam release [--ip=<IP>] [--from-report=<REPORT>]... [--config=<CONFIG>] [--force] [--context=<context>] [--allow-version-mismatch]",
        purpose: "Takes an address back from whoever has it; he is not asked.",
    },
    options: &[
        value("ip", None),
        values("from-report"),
        flag("force", None),
        CONFIG,
        CONTEXT,
        ALLOW,
    ],
    fits: |args| nothing(args) && (args.has("ip") || args.has("from-report")),
    options_first: false,
};

/// `ipam split`
pub const IPAM_SPLIT: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl ipam split <NUMBER> [--cidr=<CIDR>] [--name=<POOL_NAME>] [--config=<CONFIG>] [--context=<context>] [--allow-version-mismatch]",
        purpose: "Splits an IP pool into equal smaller ones, as many as a power of 2; blocks and addresses stay.",
    },
    options: &[
        value("cidr", None),
        value("name", None),
        CONFIG,
        CONTEXT,
        ALLOW,
    ],
    fits: |args| args.positionals.len() == 1,
    options_first: false,
};

/// `ipam collect`, which calicoctl does not have.
pub const IPAM_COLLECT: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  selvedge ipam collect [--grace=<DURATION>] [--dry-run] [--config=<CONFIG>] [--allow-version-mismatch]",
        purpose: "Releases what nobody uses: leaked addresses, empty blocks, claims of nodes that are gone. The agents do so by themselves.",
    },
    options: &[
        value("grace", None),
        flag("dry-run", None),
        CONFIG,
        CONTEXT,
        ALLOW,
    ],
    fits: nothing,
    options_first: false,
};

/// `ipam configure`
pub const IPAM_CONFIGURE: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl ipam configure [--strictaffinity=<true/false>] [--max-blocks-per-host=<number>] [--kubevirt-ip-persistence=<Enabled|Disabled>] [--config=<CONFIG>] [--context=<context>] [--allow-version-mismatch]",
        purpose: "Changes the configuration of address management.",
    },
    options: &[
        value("strictaffinity", None),
        value("max-blocks-per-host", None),
        value("kubevirt-ip-persistence", None),
        CONFIG,
        CONTEXT,
        ALLOW,
    ],
    fits: nothing,
    options_first: false,
};
