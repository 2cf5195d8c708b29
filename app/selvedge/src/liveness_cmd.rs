//! `selvedge liveness`: the process that drives BFD, and questions to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};

use crate::{answer, log};

/// Where the node's is.
const SOCKET: &str = "/var/run/calico/selvedge.liveness";

/// The process that drives BFD. It outlives the node's agent and the stand-alone speaker, which start it when it is needed.
#[derive(Debug, Args)]
pub struct LivenessArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run it in the foreground. SIGTERM ends it; neighbours are told that BFD is turned off.
    Run {
        /// Where its owner finds it.
        #[arg(long, default_value = SOCKET)]
        socket: PathBuf,
        /// Seconds without an owner after which it ends.
        #[arg(long, default_value_t = 300)]
        patience: u64,
    },
    /// Sessions: states, agreed timers, why each last went down.
    Show {
        /// Its socket.
        #[arg(long, default_value = SOCKET)]
        socket: PathBuf,
        /// A table, or json.
        #[arg(short, long, value_enum, default_value_t)]
        output: OutputForm,
    },
    /// Tell it to end; neighbours are told that BFD is turned off.
    End {
        /// Its socket.
        #[arg(long, default_value = SOCKET)]
        socket: PathBuf,
    },
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputForm {
    /// Columns.
    #[default]
    Table,
    /// JSON.
    Json,
}

/// Does what the arguments say.
///
/// # Errors
/// A socket that is taken, or that nobody answers on.
pub fn run(args: LivenessArgs) -> Result<()> {
    match args.command {
        Command::Run { socket, patience } => {
            log::to_stderr("info");
            let mut options = liveness::Options::new(socket);
            options.patience = Duration::from_secs(patience);
            liveness::run(&options)
        }
        Command::Show { socket, output } => show(&socket, output),
        Command::End { socket } => {
            // Asked first, so that an absent one is an error.
            liveness::show(&socket)?;
            liveness::end(&socket);
            Ok(())
        }
    }
}

/// Prints what a process has.
///
/// # Errors
/// When nobody answers on the socket.
pub fn show(socket: &Path, output: OutputForm) -> Result<()> {
    let report = liveness::show(socket)?;
    answer::print(&match output {
        OutputForm::Table => liveness::table(&report),
        OutputForm::Json => serde_json::to_string_pretty(&report)? + "\n",
    })
}
