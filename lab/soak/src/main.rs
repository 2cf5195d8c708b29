//! `soak [--seconds N] [--sessions N] [--seed N] [-o json]`: docs/howto/lab.md has more.

use anyhow::Result;
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Signal, set_parent_process_death_signal};
use soak::{Plan, Plant};
use std::path::Path;
use std::process::ExitCode;

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// The speaker under churn: memory flat, routes equal to a model at each audit.
#[derive(Parser)]
struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Peers.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u16).range(20..=400))]
    sessions: u16,
    /// What all is drawn from; another one each second when left out.
    #[arg(long)]
    seed: Option<u64>,
    /// How the report is written.
    #[arg(short, value_enum, default_value = "table")]
    output: Format,
    /// A fault that must be found: the control of the judgements.
    #[arg(long, hide = true)]
    plant: Option<Plant>,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &args[..] {
        [mode, config] if mode == "speaker" => speak(Path::new(config)).map(|()| true),
        _ => soak(&Arguments::parse()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The speaker under test, which ends with the one who started it.
fn speak(config: &Path) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    speaker::main_run(config)
}

/// True when all holds.
fn soak(arguments: &Arguments) -> Result<bool> {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let plan = Plan {
        seconds: arguments.seconds,
        sessions: usize::from(arguments.sessions),
        seed: arguments.seed.unwrap_or(since.as_secs()),
        plant: arguments.plant,
    };
    // Drawn on standard error, and only when that is a terminal.
    let style = ProgressStyle::with_template("[{elapsed}] {bar:30} {pos}/{len} s {msg}")?;
    let bar = ProgressBar::new(plan.seconds).with_style(style);
    let report = soak::run(&plan, &std::env::current_exe()?, |seconds, up| {
        bar.set_position(seconds);
        bar.set_message(format!("{up} of {} up", plan.sessions));
    });
    bar.finish_and_clear();
    let report = report?;
    match arguments.output {
        Format::Table => print!("{}", report.table()),
        Format::Json => println!("{:#}", report.json()),
    }
    Ok(report.failure.is_none())
}
