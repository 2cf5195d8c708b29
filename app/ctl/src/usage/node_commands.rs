//! The commands below `node`.

use super::commands::{ALLOW, CONFIG, nothing};
use super::{Help, Usage};
use crate::args::{flag, value};

/// `node`
pub const NODE: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl node <command> [<args>...]

    run          Run the Calico node container image.
    status       View the current status of a Calico node.
    diags        Gather a diagnostics bundle for a Calico node.
    checksystem  Verify the compute host is able to run a Calico node instance.",
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

/// `node status` of `selvedge`, which also knows what the other nodes said.
pub const NODE_STATUS_OURS: Usage = Usage {
    help: Help::Whole(
        "\
Usage:
  selvedge node status [--allow-version-mismatch]
  selvedge node status --all [--output=<OUTPUT>] [--config=<CONFIG>] [--allow-version-mismatch]

Options:
  -h --help  Show this screen.
     --all
       The BGP sessions of every node, as their agents wrote them into the datastore.
  -o --output=<OUTPUT>
       With --all: table, json or yaml [default: table].
  -c --config=<CONFIG>
       Path to the file containing connection configuration in YAML or JSON format.
       [default: /etc/calico/calicoctl.cfg]
     --allow-version-mismatch
       Allow client and cluster versions mismatch.

Description:
  Says whether the node runs, and shows its BGP sessions; with --all those of every node.

  REPORTED is how long ago a node's agent wrote; an agent that runs writes within three minutes. What is older is
  marked `stale`, and a node whose agent has written nothing is shown as `never`.
",
    ),
    options: &[
        flag("all", None),
        value("output", Some('o')),
        CONFIG,
        ALLOW,
    ],
    fits: |args| {
        let alone = !args.has("output") && !args.has("config");
        args.positionals.is_empty() && (args.has("all") || alone)
    },
    options_first: false,
};

/// `node run`, of which only what `--dryrun` shows is here.
pub const NODE_RUN: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl node run [--ip=<IP>] [--ip6=<IP6>] [--as=<AS_NUM>] [--name=<NAME>]
                     [--ip-autodetection-method=<METHOD>] [--ip6-autodetection-method=<METHOD>]
                     [--log-dir=<LOG_DIR>] [--node-image=<IMAGE>] [--backend=(bird|none)] [--config=<CONFIG>]
                     [--felix-config=<CONFIG>] [--no-default-ippools] [--dryrun] [--init-system]",
        purpose: "Shows the command that calico/node's container is started with. Without --dryrun it is the node's agent that runs,\n  see `selvedge node run --help`.",
    },
    options: &[
        value("ip", None),
        value("ip6", None),
        value("as", None),
        value("name", None),
        value("ip-autodetection-method", None),
        value("ip6-autodetection-method", None),
        value("log-dir", None),
        value("node-image", None),
        value("backend", None),
        value("felix-config", None),
        flag("no-default-ippools", None),
        flag("dryrun", None),
        flag("init-system", None),
        CONFIG,
        ALLOW,
    ],
    fits: nothing,
    options_first: false,
};

/// `node diags`
pub const NODE_DIAGS: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl node diags [--log-dir=<LOG_DIR>] [--allow-version-mismatch]",
        purpose: "Gathers what tells how the node is (addresses, routes, rules, sessions, logs) in one archive.",
    },
    options: &[value("log-dir", None), ALLOW],
    fits: nothing,
    options_first: false,
};

/// `node checksystem`
pub const NODE_CHECKSYSTEM: Usage = Usage {
    help: Help::Made {
        pattern: "\
Usage:
  calicoctl node checksystem [--kernel-config=<kernel-config>] [--allow-version-mismatch]",
        purpose: "Says whether this machine's kernel is what Calico asks for.",
    },
    options: &[value("kernel-config", Some('f')), ALLOW],
    fits: nothing,
    options_first: false,
};
