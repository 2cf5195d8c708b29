//! The commands, one after the other.

use super::{Help, Usage};
use crate::args::{Args, Opt, flag, value, values};

const FILENAME: Opt = value("filename", Some('f'));
const RECURSIVE: Opt = flag("recursive", Some('R'));
const SKIP_EMPTY: Opt = flag("skip-empty", None);
pub(super) const CONFIG: Opt = value("config", Some('c'));
const NAMESPACE: Opt = value("namespace", Some('n'));
const CONTEXT: Opt = value("context", None);
pub(super) const ALLOW: Opt = flag("allow-version-mismatch", None);

fn only_a_file(args: &Args) -> bool {
    args.has("filename") && args.positionals.is_empty()
}

fn file_or_kind(args: &Args) -> bool {
    args.has("filename") == args.positionals.is_empty()
}

pub(super) fn nothing(args: &Args) -> bool {
    args.positionals.is_empty()
}

/// calicoctl itself.
pub const TOP: Usage = Usage {
    help: Help::Whole(include_str!("../text/calicoctl.txt")),
    options: &[
        value("log-level", Some('l')),
        CONTEXT,
        ALLOW,
        flag("version", None),
    ],
    fits: |args| args.has("version") || !args.positionals.is_empty(),
    options_first: true,
};

/// `get`
pub const GET: Usage = Usage {
    help: Help::Whole(include_str!("../text/get.txt")),
    options: &[
        FILENAME,
        RECURSIVE,
        SKIP_EMPTY,
        value("output", Some('o')),
        CONFIG,
        NAMESPACE,
        flag("all-namespaces", Some('A')),
        flag("all-namespaces", Some('a')),
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
  calicoctl validate --filename=<FILENAME> [--recursive] [--skip-empty] [--allow-version-mismatch]",
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
                   --filename=<FILE> [--recursive] [--skip-empty] )
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
                  [--config=<CONFIG>] [--namespace=<NS>] [--context=<context>]) [--allow-version-mismatch]",
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
  calicoctl version [--config=<CONFIG>] [--poll=<POLL>] [--allow-version-mismatch] [--client]",
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

/// `cluster`
pub const CLUSTER: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl cluster <command> [<args>...]

    diags            Gather a diagnostics bundle for the cluster.",
        purpose: "See 'calicoctl cluster <command> --help' to read about a specific subcommand.",
    },
    options: &[],
    fits: |args| !args.positionals.is_empty(),
    options_first: true,
};

/// `cluster diags`
pub const CLUSTER_DIAGS: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl cluster diags [--since=<SINCE>] [--max-logs=<MAXLOGS>] [--max-parallelism=<MAXPARALLELISM>]
                          [--focus-nodes=<NODES>] [--skip-temp-dir-cleanup] [--config=<CONFIG>]",
        purpose: "Gathers what the datastore, Kubernetes (by kubectl, where it is on the PATH) and this machine say of the cluster in\n  one archive, ./calico-diagnostics.tar.gz.",
    },
    options: &[
        value("since", None),
        value("max-logs", None),
        value("max-parallelism", None),
        value("focus-nodes", None),
        flag("skip-temp-dir-cleanup", None),
        CONFIG,
        CONTEXT,
        ALLOW,
    ],
    fits: nothing,
    options_first: false,
};

/// `ipam`
pub const IPAM: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl ipam <command> [<args>...]

    check            Check the integrity of the IPAM datastructures.
    release          Release a Calico assigned IP address.
    show             Show details of a Calico configuration,
                     assigned IP address, or of overall IP usage.
    split            Split the IP pool specified by the CIDR into
                     the specified number of smaller IPPools.
    configure        Configure IPAM",
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
  calicoctl ipam show [--ip=<IP> | --show-blocks | --show-borrowed | --show-configuration] [--config=<CONFIG>] [--allow-version-mismatch]",
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
  calicoctl ipam check [--config=<CONFIG>] [--show-all-ips] [--show-problem-ips] [-o <FILE>] [--kubeconfig <KUBECONFIG>] [--allow-version-mismatch]",
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
  calicoctl ipam release [--ip=<IP>] [--from-report=<REPORT>]... [--config=<CONFIG>] [--force] [--allow-version-mismatch]",
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
    fits: |args| nothing(args),
    options_first: false,
};

/// `ipam split`
pub const IPAM_SPLIT: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl ipam split <NUMBER> [--cidr=<CIDR>] [--name=<POOL_NAME>] [--config=<CONFIG>] [--allow-version-mismatch]",
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
  calicoctl ipam configure [--strictaffinity=<true/false>]
                               [--max-blocks-per-host=<number>]
                               [--kubevirt-ip-persistence=<Enabled|Disabled>]
                               [--config=<CONFIG>]
                               [--allow-version-mismatch]",
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

/// `datastore`
pub const DATASTORE: Usage = Usage {
    help: Help::Whole(include_str!("../text/datastore.txt")),
    options: &[],
    fits: |args| !args.positionals.is_empty(),
    options_first: true,
};

/// `datastore crds`
pub const DATASTORE_CRDS: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  selvedge datastore crds [--api-group=<GROUP>]",
        purpose: "Prints the CustomResourceDefinitions of the Kubernetes datastore, for `kubectl apply -f -`.",
    },
    options: &[value("api-group", None)],
    fits: nothing,
    options_first: false,
};

/// `datastore migrate`
pub const DATASTORE_MIGRATE: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl datastore migrate <command> [<args>...]

    export  Write the contents of the datastore to stdout.
    import  Store what export wrote in another datastore.
    lock    Lock the datastore for migration.
    unlock  Unlock the datastore once migration is complete.",
        purpose: "See 'calicoctl datastore migrate <command> --help' to read about a specific subcommand.",
    },
    options: &[],
    fits: |args| !args.positionals.is_empty(),
    options_first: true,
};

/// `datastore migrate lock`
pub const DATASTORE_LOCK: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl datastore migrate lock [--config=<CONFIG>] [--allow-version-mismatch]",
        purpose: "Locks the datastore: pods are neither added nor removed, and nodes keep what is in force.",
    },
    options: &[CONFIG, CONTEXT, ALLOW],
    fits: nothing,
    options_first: false,
};

/// `datastore migrate unlock`
pub const DATASTORE_UNLOCK: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl datastore migrate unlock [--config=<CONFIG>] [--allow-version-mismatch]",
        purpose: "Unlocks the datastore.",
    },
    options: &[CONFIG, CONTEXT, ALLOW],
    fits: nothing,
    options_first: false,
};

/// `datastore migrate export`
pub const DATASTORE_EXPORT: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl datastore migrate export [--config=<CONFIG>] [--allow-version-mismatch]",
        purpose: "Writes everything in the datastore, which must be locked, to stdout.",
    },
    options: &[CONFIG, CONTEXT, ALLOW],
    fits: nothing,
    options_first: false,
};

/// `datastore migrate import`
pub const DATASTORE_IMPORT: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl datastore migrate import --filename=<FILENAME> [--leave-out] [--config=<CONFIG>] [--allow-version-mismatch]",
        purpose: "Stores what `selvedge datastore migrate export` or calicoctl's wrote in a datastore that is empty. It stays locked.",
    },
    options: &[FILENAME, flag("leave-out", None), CONFIG, CONTEXT, ALLOW],
    fits: only_a_file,
    options_first: false,
};

/// `datastore migrate import`, as calicoctl has it.
pub const DATASTORE_IMPORT_CALICO: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl datastore migrate import --filename=<FILENAME> [--config=<CONFIG>] [--allow-version-mismatch]",
        purpose: "Stores what export wrote in a Kubernetes datastore that is empty.",
    },
    options: &[FILENAME, CONFIG, CONTEXT, ALLOW],
    fits: only_a_file,
    options_first: false,
};
