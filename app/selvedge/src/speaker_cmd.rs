//! `selvedge speaker`: the BGP speaker alone, and questions to it.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use ipnet::IpNet;
use speaker::{Form, Query};

use crate::liveness_cmd::{self, OutputForm};
use crate::replay_cmd;
use crate::{answer, log};

/// The stand-alone BGP speaker.
#[derive(Debug, Args)]
pub struct SpeakerArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run it in the foreground. SIGHUP reads the file again; SIGTERM ends it without Cease, so
    /// that peers with graceful restart keep its routes.
    Run {
        /// Its configuration (TOML).
        #[arg(long)]
        config: PathBuf,
    },
    /// Ask a running one.
    Show {
        /// Its control socket.
        #[arg(long, default_value = "/var/run/selvedge/speaker.ctl")]
        control: PathBuf,
        /// A table, or json.
        #[arg(short, long, value_enum, default_value_t, global = true)]
        output: OutputForm,
        #[command(subcommand)]
        what: What,
    },
    /// Write the table of a running one to a file.
    Dump {
        /// Its control socket.
        #[arg(long, default_value = "/var/run/selvedge/speaker.ctl")]
        control: PathBuf,
        /// The file, as an MRT table dump (RFC 6396).
        #[arg(long)]
        mrt: PathBuf,
    },
    /// Play an MRT file to a BGP neighbor, so that a table can be made again.
    Replay(Box<replay_cmd::ReplayArgs>),
    /// Restart the session with a neighbor of a running one.
    Reset {
        /// Its control socket.
        #[arg(long, default_value = "/var/run/selvedge/speaker.ctl")]
        control: PathBuf,
        /// The neighbor's name.
        neighbor: String,
        /// What the neighbor's operator is told (RFC 9003).
        #[arg(default_value = "")]
        text: String,
    },
}

/// The question's line cannot hold others.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\t'], " ")
}

#[derive(Debug, Subcommand)]
enum What {
    /// Peers and their states.
    Neighbors,
    /// The best path of each prefix.
    Routes,
    /// BFD sessions: states, agreed timers, why each last went down.
    Bfd,
    /// All paths of a prefix, and why each won or lost.
    Explain {
        /// Such as 10.200.0.64/26.
        prefix: IpNet,
    },
}

/// Does what the arguments say.
///
/// # Errors
/// A configuration that is not valid, a socket that cannot be opened, no speaker to ask.
pub fn run(args: SpeakerArgs) -> Result<()> {
    match args.command {
        Command::Run { config } => {
            log::to_stderr("info");
            speaker::main_run(&config)
        }
        Command::Dump { control, mrt } => replay_cmd::dump(&control, &mrt),
        Command::Replay(args) => replay_cmd::replay(&args),
        Command::Reset {
            control,
            neighbor,
            text,
        } => {
            let query = Query::Reset {
                peer: one_line(&neighbor),
                text: one_line(&text),
            };
            answer::print(&speaker::show(&control, &query, Form::Text)?)
        }
        Command::Show {
            control,
            output,
            what,
        } => {
            let query = match what {
                What::Bfd => {
                    return liveness_cmd::show(&speaker::liveness_socket(&control), output);
                }
                What::Neighbors => Query::Neighbors,
                What::Routes => Query::Routes,
                What::Explain { prefix } => Query::Explain(prefix),
            };
            let form = match output {
                OutputForm::Table => Form::Text,
                OutputForm::Json => Form::Json,
            };
            let answer = speaker::show(&control, &query, form)?;
            answer::print(&answer)
        }
    }
}
