//! BGP speakers measured side by side: this process plays all peers, each speaker runs unchanged in a network namespace
//! of its own, and what is timed is what a peer sees.
//!
//! It measures programs, so it links none of the project's BGP. What is measured is in [`works`], whom in [`speakers`];
//! [`series`] interleaves the runs and throws noisy ones away. `docs/howto/bench.md` says how to run and read it.
//!
//! ```text
//! bgpbench full rr --dut selvedge,bird,relay --runs 5 -o json
//! ```

mod dut;
mod machine;
mod namespace;
mod peers;
mod relay;
mod report;
mod series;
mod speakers;
mod table;
mod works;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, getuid, setrlimit};
use series::Terms;
use speakers::Speaker;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;
use works::{Sizes, Work};

/// Set in the namespaces that this program made for itself.
const INSIDE: &str = "BGPBENCH_INSIDE";

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Measures BGP speakers.
#[derive(Parser)]
struct Arguments {
    /// The works; all when none is named, `relay` to be the null speaker.
    works: Vec<String>,
    /// The speakers, by comma; all that are installed when left out.
    #[arg(long, env = "DUT", value_delimiter = ',')]
    dut: Vec<String>,
    /// Runs of each work and speaker.
    #[arg(long, env = "RUNS")]
    runs: Option<usize>,
    /// Prefixes of the full table; the other tables are in proportion.
    #[arg(long, env = "PREFIXES")]
    prefixes: Option<usize>,
    /// Clients of the reflector.
    #[arg(long, env = "CLIENTS")]
    clients: Option<usize>,
    /// Smaller, fewer runs, and BIRD and the relay only.
    #[arg(long)]
    quick: bool,
    /// `off` keeps runs during which the machine was busy with other things, and marks their figures with ~.
    #[arg(long, env = "NOISE", default_value = "on")]
    noise: String,
    #[arg(short = 'o', long = "output", value_enum, default_value = "table")]
    output: Format,
    #[arg(long, hide = true)]
    listen: Option<Ipv4Addr>,
    #[arg(long, hide = true)]
    local_as: Option<u32>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    raise_file_limit();
    if arguments.works == ["relay"] {
        let address = arguments.listen.context("relay needs --listen")?;
        return relay::run(
            address,
            arguments.local_as.context("relay needs --local-as")?,
        );
    }
    if std::env::var_os(INSIDE).is_none() {
        return enter_namespaces();
    }
    measure(&arguments)
}

/// The thousand sessions of the reflector need as many descriptors.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// Starts this program again in namespaces that nothing leaves and that end with it, with a /run of its own.
fn enter_namespaces() -> Result<()> {
    let own = std::env::current_exe()?;
    let mut command = Command::new("unshare");
    if !getuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args([
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--",
        "sh",
        "-c",
    ]);
    command
        .arg("mount -t tmpfs tmpfs /run && exec \"$0\" \"$@\"")
        .arg(own);
    command.args(std::env::args_os().skip(1));
    let as_root = if getuid().is_root() { "root" } else { "user" };
    Err(command.env(INSIDE, as_root).exec()).context("cannot start unshare")
}

fn measure(arguments: &Arguments) -> Result<()> {
    let quick = arguments.quick;
    let terms = Terms {
        runs: arguments.runs.unwrap_or(if quick { 3 } else { 5 }),
        keep_noisy: match arguments.noise.as_str() {
            "on" | "" => false,
            "off" => true,
            other => bail!("--noise is on or off, not {other}"),
        },
    };
    ensure!(terms.runs > 0, "--runs must be at least 1");
    let sizes = Sizes {
        prefixes: arguments
            .prefixes
            .unwrap_or(if quick { 200_000 } else { 1_000_000 }),
        clients: arguments.clients.unwrap_or(if quick { 200 } else { 1000 }),
        idle: Duration::from_secs(if quick { 10 } else { 60 }),
    };
    ensure!(
        (100..=1_500_000).contains(&sizes.prefixes),
        "--prefixes is from 100 to 1500000"
    );
    ensure!(
        (2..=4000).contains(&sizes.clients),
        "--clients is from 2 to 4000"
    );
    let works = chosen_works(&arguments.works)?;
    let speakers = chosen_speakers(&arguments.dut, quick)?;
    let mut results = Vec::new();
    for work in works {
        let cells = series::series(work, &speakers, &sizes, terms)?;
        match arguments.output {
            Format::Table => println!("{}", report::table(work, &cells, &sizes)),
            Format::Json => results.push(report::json(work, &cells, &sizes)),
        }
    }
    if let Format::Json = arguments.output {
        let versions: Vec<(String, String)> = speakers
            .iter()
            .map(|speaker| (speaker.name.to_owned(), version(speaker)))
            .collect();
        let whole = serde_json::json!({
            "runs": terms.runs, "cpus": std::thread::available_parallelism().map_or(1, usize::from),
            "versions": versions.into_iter().collect::<std::collections::BTreeMap<_, _>>(), "works": results,
        });
        println!("{whole:#}");
    }
    Ok(())
}

fn chosen_works(names: &[String]) -> Result<Vec<&'static Work>> {
    let known = || works::ALL.iter().copied();
    if names.is_empty() {
        return Ok(known().collect());
    }
    let find = |name: &String| {
        let all = known().map(|work| work.name).collect::<Vec<_>>().join(", ");
        known()
            .find(|work| work.name == name)
            .with_context(|| format!("no work {name}; there are {all}"))
    };
    names.iter().map(find).collect()
}

/// Those that were named and are there; of those that were not named, all that are there.
fn chosen_speakers(names: &[String], quick: bool) -> Result<Vec<Speaker>> {
    let named = |speaker: &Speaker| names.iter().any(|name| name == speaker.name);
    if let Some(name) = names
        .iter()
        .find(|name| !speakers::ALL.iter().any(|s| s.name == **name))
    {
        bail!(
            "no speaker {name}; there are {}",
            speakers::ALL.map(|s| s.name).join(", ")
        );
    }
    let mut chosen = Vec::new();
    for speaker in speakers::ALL {
        if names.is_empty() && quick && !["selvedge", "bird", "relay"].contains(&speaker.name) {
            continue;
        }
        if !names.is_empty() && !named(&speaker) {
            continue;
        }
        let missing = match std::env::var(INSIDE).as_deref() {
            Ok("user") if speaker.needs_root => Some("needs root: it changes to a user of its own"),
            _ if !is_there(&speaker) => Some("not installed"),
            _ => None,
        };
        match missing {
            None => chosen.push(speaker),
            Some(reason) if named(&speaker) => bail!("{}: {reason}", speaker.name),
            Some(reason) => eprintln!("{}: left out: {reason}", speaker.name),
        }
    }
    ensure!(!chosen.is_empty(), "nothing to measure");
    Ok(chosen)
}

fn is_there(speaker: &Speaker) -> bool {
    let program = (speaker.program)();
    let path = std::env::var("PATH").unwrap_or_default();
    program.contains('/') && std::path::Path::new(&program).exists()
        || path
            .split(':')
            .any(|folder| std::path::Path::new(folder).join(&program).exists())
}

/// What the program says of itself, its first line.
fn version(speaker: &Speaker) -> String {
    if speaker.version.is_empty() {
        return env!("CARGO_PKG_VERSION").to_owned();
    }
    let output = Command::new((speaker.program)())
        .args(speaker.version)
        .output();
    let Ok(output) = output else {
        return "unknown".into();
    };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text)
        .lines()
        .next()
        .unwrap_or("unknown")
        .to_owned()
}
