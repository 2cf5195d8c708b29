//! One binary: argv[0] or the first word decides what it is.
//!
//! `calicoctl` is the command byte for byte, `calico` and `calico-ipam` are the CNI plugin, `selvedge` is everything:
//! the node, the stand-alone speaker, the lab, and calicoctl's commands with hints.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

mod answer;
mod lab_cmd;
mod liveness_cmd;
mod log;
mod node_cmd;
mod pages_cmd;
mod replay_cmd;
mod sim_cmd;
mod speaker_cmd;

/// Pods and services as part of the LAN.
#[derive(Debug, Parser)]
#[command(name = "selvedge", version, after_help = COMMANDS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const COMMANDS: &str = "And calicoctl's: get, apply, create, replace, patch, delete, label, node status, ipam, version; \
                        `selvedge get --help` says more.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Try a whole network on this machine.
    Lab(lab_cmd::LabArgs),
    /// This machine as a node of the cluster.
    Node(node_cmd::NodeArgs),
    /// The process that drives BFD, which the node and the speaker keep.
    Liveness(liveness_cmd::LivenessArgs),
    /// The stand-alone BGP speaker.
    Speaker(speaker_cmd::SpeakerArgs),
    /// Completion for shells and man pages, as files.
    Pages(pages_cmd::PagesArgs),
}

fn main() -> ExitCode {
    let argv: Vec<OsString> = std::env::args_os().collect();
    let program = argv
        .first()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let status = if let Some(persona) = cni::Persona::from_program_name(&program) {
        cni::run(persona)
    } else if let Some(persona) = command_persona(&program, &argv) {
        ctl::run(argv, persona)
    } else {
        own(&argv)
    };
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}

/// Who answers, when it is one of calicoctl's commands. `node run` is ours under either name, but for what `--dryrun` shows.
fn command_persona(program: &str, argv: &[OsString]) -> Option<ctl::Persona> {
    let word = |at: usize| {
        argv.get(at)
            .and_then(|word| word.to_str())
            .unwrap_or_default()
    };
    let shows = argv.iter().any(|word| word == "--dryrun");
    let runs_node = word(1) == "node" && word(2) == "run" && !shows;
    if Path::new(program)
        .file_name()
        .is_some_and(|name| name == "calicoctl")
    {
        return (!runs_node).then_some(ctl::Persona::Calicoctl);
    }
    // calicoctl's options may stand before its commands.
    let option = word(1).split('=').next().unwrap_or_default();
    let is_option =
        ["--context", "--log-level", "-l", "--allow-version-mismatch"].contains(&option);
    ((ctl::is_command(word(1)) || is_option) && !runs_node).then_some(ctl::Persona::Selvedge)
}

fn own(argv: &[OsString]) -> i32 {
    let matches = Cli::command().get_matches_from(argv);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let outcome = match cli.command {
        Command::Lab(args) => lab_cmd::run(args),
        Command::Node(args) => node_cmd::run(args).map(|()| 0),
        Command::Liveness(args) => liveness_cmd::run(args).map(|()| 0),
        Command::Speaker(args) => speaker_cmd::run(args).map(|()| 0),
        Command::Pages(args) => pages_cmd::run(&args, Cli::command()).map(|()| 0),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("selvedge: {error:#}");
        1
    })
}
