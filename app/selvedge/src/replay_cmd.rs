//! `selvedge speaker dump` and `replay`: tables as MRT files.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use speaker::{Progress, Replay};

/// Play an MRT file (a table dump, or updates) to a BGP neighbor as its sender.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The file, not compressed.
    file: PathBuf,
    /// The neighbor: 10.20.1.81:179, or an address alone.
    #[arg(long)]
    to: String,
    /// The AS to say. The neighbor's own one gives an iBGP session.
    #[arg(long = "as")]
    local_as: u32,
    /// The BGP Identifier; the own address if left out.
    #[arg(long)]
    router_id: Option<Ipv4Addr>,
    /// The address to send from.
    #[arg(long)]
    source: Option<IpAddr>,
    /// The next hop of all routes, once for each family; those of the file if left out.
    #[arg(long)]
    next_hop: Vec<IpAddr>,
    /// End the session when all was sent. Otherwise it stays until the neighbor or a signal ends it.
    #[arg(long)]
    once: bool,
}

/// Writes the table of a running speaker to a file.
///
/// # Errors
/// When no speaker answers, or the file cannot be written.
pub fn dump(control: &Path, file: &Path) -> Result<()> {
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template(
        "{spinner} {bytes} {bytes_per_sec}",
    )?);
    let size = speaker::dump(control, file, |size| bar.set_position(size));
    bar.finish_and_clear();
    println!("{}: {} octets", file.display(), size?);
    Ok(())
}

/// Plays a file.
///
/// # Errors
/// When the arguments contradict themselves, the file is malformed, or the session fails.
pub fn replay(args: &ReplayArgs) -> Result<()> {
    let to = match args.to.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, 179),
        Err(_) => args
            .to
            .parse()
            .map_err(|_| anyhow::anyhow!("--to {}: wanted ADDRESS or ADDRESS:PORT", args.to))?,
    };
    ensure!(args.local_as != 0, "--as must not be 0");
    let mut next_hops = (None, None);
    for hop in &args.next_hop {
        match hop {
            IpAddr::V4(hop) => next_hops.0 = Some(*hop),
            IpAddr::V6(hop) => next_hops.1 = Some(*hop),
        }
    }
    let what = Replay {
        file: args.file.clone(),
        to,
        local_as: args.local_as.into(),
        router_id: args.router_id,
        source: args.source,
        next_hops,
        once: args.once,
    };
    let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(template)?);
    let played = speaker::replay(&what, |progress| match progress {
        Progress::Up { plan, octets } => {
            bar.set_length(octets);
            println!(
                "{to}: session up; {} announcements in {} messages",
                plan.announced,
                plan.messages.len()
            );
            for (why, count) in &plan.left_out {
                println!("left out: {count} ({why})");
            }
        }
        Progress::Sent(octets) => bar.set_position(octets),
        Progress::Done => {
            bar.finish_and_clear();
            println!("all sent");
        }
    });
    bar.finish_and_clear();
    played
}
