//! `selvedge lab`: scenarios on network namespaces.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use netns::{Join, Lab, LabChoice, Refused, Report, Runner, Show, State};
use scenario::Scenario;

use crate::answer;

/// Try a whole network on this machine, as root or as an ordinary user.
#[derive(Debug, Args)]
pub struct LabArgs {
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Bring a scenario up, go through its steps, take it down.
    Run(RunArgs),
    /// Build a scenario's hosts and start their daemons.
    Up(UpArgs),
    /// Run a program on a host or in a pod.
    Exec(ExecArgs),
    /// Show a lab's hosts, daemons and cables.
    Status(ChosenLab),
    /// End a lab; nothing of it stays.
    Down(DownArgs),
    /// List the labs that are up and the scenarios there are.
    Ls,
    /// Measure from inside a host.
    #[command(subcommand)]
    Probe(ProbeCommand),
    /// Processes inside a lab.
    #[command(hide = true, subcommand)]
    Inside(InsideCommand),
}

#[derive(Debug, Args)]
struct UpArgs {
    /// A scenario's name, or the path of a .toml file.
    scenario: String,
    /// The lab's name; the scenario's when absent.
    #[arg(long)]
    name: Option<String>,
    /// What the nodes have as datastore.
    #[arg(long, value_enum, default_value_t = Store::Sqlite)]
    store: Store,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Store {
    /// The file that they share.
    Sqlite,
    /// An etcd on the first of them.
    Etcd,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    up: UpArgs,
    /// Leave the lab up afterwards.
    #[arg(long)]
    keep: bool,
    /// How results are printed.
    #[arg(short, long, value_enum, default_value_t = OutputForm::Text)]
    output: OutputForm,
    /// In virtual time instead of on this machine's kernel; it has a datastore of its own.
    #[arg(long, conflicts_with = "store")]
    sim: bool,
    /// The seed of the simulation.
    #[arg(long, default_value_t = 1, requires = "sim")]
    seed: u64,
    /// So many seeds, one after another, from the first one.
    #[arg(long, default_value_t = 1, requires = "sim")]
    seeds: u64,
    /// So many faults after the steps: cables, kills, restarts, drift, racing pods.
    #[arg(long, default_value_t = 0, requires = "sim")]
    faults: u32,
    /// A bug to plant, to see the checkers find it.
    #[arg(long, requires = "sim")]
    bug: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OutputForm {
    Text,
    Json,
}

#[derive(Debug, Args)]
struct ChosenLab {
    /// The lab; may be left out when only one is up.
    lab: Option<String>,
}

#[derive(Debug, Args)]
struct DownArgs {
    /// The lab; may be left out when only one is up.
    lab: Option<String>,
    /// All of them.
    #[arg(long, conflicts_with = "lab")]
    all: bool,
}

#[derive(Debug, Args)]
struct ExecArgs {
    /// The lab; may be left out when only one is up.
    #[arg(long)]
    lab: Option<String>,
    /// A host, or a pod.
    host: String,
    /// The program and its arguments; a shell when absent.
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum ProbeCommand {
    /// Count ICMP redirects on this host while a command runs.
    Redirects {
        /// The command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Open connections at once and count those that carry data.
    Tcp {
        /// ADDRESS:PORT of an HTTP server.
        to: SocketAddrV4,
        /// How many.
        #[arg(short = 'n', long, default_value_t = 20)]
        count: usize,
        /// Fewer than this is a failure; all when absent.
        #[arg(long)]
        least: Option<usize>,
        /// Seconds that opening, and then the answer, may take.
        #[arg(long, default_value_t = 2.0)]
        timeout: f64,
    },
    /// Send one ICMP echo request and say how it ended.
    Echo {
        /// The address.
        to: Ipv4Addr,
        /// Seconds to wait.
        #[arg(long, default_value_t = 1.0)]
        timeout: f64,
    },
    /// Print what this host forwarded and how many redirects it sent.
    Forwarded,
}

#[derive(Debug, Subcommand)]
enum InsideCommand {
    Keeper {
        dir: PathBuf,
    },
    Switch {
        dir: PathBuf,
    },
    Host {
        dir: PathBuf,
        name: String,
    },
    Join {
        dir: PathBuf,
        #[arg(long)]
        target: String,
        #[arg(long)]
        directory: Option<PathBuf>,
        #[arg(long)]
        detached: Option<PathBuf>,
        #[arg(last = true)]
        command: Vec<String>,
    },
    AtSwitch {
        dir: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// Runs `selvedge lab`; returns the exit status.
///
/// Must be called while the process is single-threaded: setns(2) into a user namespace needs that.
pub fn run(args: LabArgs) -> Result<i32> {
    match args.command {
        LabCommand::Run(args) => run_scenario(&args),
        LabCommand::Up(args) => up(&args),
        LabCommand::Exec(args) => exec(args),
        LabCommand::Status(args) => status(args.lab.as_deref()),
        LabCommand::Down(args) => down(&args),
        LabCommand::Ls => ls(),
        LabCommand::Probe(probe) => run_probe(probe),
        LabCommand::Inside(inside) => run_inside(inside),
    }
}

fn seconds(seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).with_context(|| format!("{seconds} is no time in seconds"))
}

fn run_probe(probe: ProbeCommand) -> Result<i32> {
    match probe {
        ProbeCommand::Redirects { command } => netns::probe::redirects(&command),
        ProbeCommand::Tcp {
            to,
            count,
            least,
            timeout,
        } => netns::probe::tcp(to, count, least.unwrap_or(count), seconds(timeout)?),
        ProbeCommand::Echo { to, timeout } => netns::probe::echo(to, seconds(timeout)?),
        ProbeCommand::Forwarded => netns::probe::forwarded(),
    }
}

fn run_inside(inside: InsideCommand) -> Result<i32> {
    match inside {
        InsideCommand::Keeper { dir } => netns::keeper(&dir),
        InsideCommand::Switch { dir } => netns::switch(&dir),
        InsideCommand::Host { dir, name } => netns::host(&dir, &name),
        InsideCommand::Join {
            dir,
            target,
            directory,
            detached,
            command,
        } => netns::join(&Join {
            lab: LabChoice::Folder(dir),
            target,
            command,
            directory,
            detached,
        }),
        InsideCommand::AtSwitch { dir, command } => netns::at_switch(&dir, &command),
    }
}

fn bring_up(args: &UpArgs) -> Result<(Lab, Scenario)> {
    let (short, mut scenario) = scenario::load(&args.scenario)?;
    if args.store == Store::Etcd {
        let moved = scenario.on_etcd();
        scenario = moved.map_err(|why| anyhow!("{}: --store etcd: {why}", args.scenario))?;
    }
    let lab = netns::up(
        args.name.as_deref().unwrap_or(&short),
        &args.scenario,
        &scenario,
    )?;
    lab.start_daemons(&scenario)?;
    Ok((lab, scenario))
}

fn up(args: &UpArgs) -> Result<i32> {
    let (mut lab, _) = bring_up(args)?;
    lab.note_up()?;
    let record = lab.let_go()?;
    println!(
        "lab {} is up: {} hosts in {:.1} s",
        record.lab,
        record.hosts.len(),
        Duration::from_millis(record.up_ms).as_secs_f64()
    );
    println!(
        "try:  selvedge lab exec --lab {} HOST -- COMMAND    end:  selvedge lab down {}",
        record.lab, record.lab
    );
    Ok(0)
}

fn run_scenario(args: &RunArgs) -> Result<i32> {
    if args.sim {
        return simulate(args);
    }
    let (mut lab, scenario) = match bring_up(&args.up) {
        Ok(up) => up,
        Err(error) if error.is::<Refused>() => {
            eprintln!("selvedge lab: {error}; this is the simulation instead");
            return simulate(args);
        }
        Err(error) => return Err(error),
    };
    lab.note_up()?;
    let text = args.output == OutputForm::Text;
    if text {
        print!("{}", netns::opening(&scenario));
    }
    let runner = Runner::new(
        &lab,
        &scenario,
        if text {
            Show::Transcript
        } else {
            Show::Nothing
        },
    );
    let report = runner.run();
    if !args.keep {
        runner.end_pods().context("ending the pods")?;
    }
    print_report(&report, &lab, text)?;
    let status = i32::from(!report.ok);
    if args.keep {
        let record = lab.let_go()?;
        eprintln!(
            "lab {} stays up; end it with `selvedge lab down {}`",
            record.lab, record.lab
        );
    }
    Ok(status)
}

fn simulate(args: &RunArgs) -> Result<i32> {
    let (name, scenario) = scenario::load(&args.up.scenario)?;
    crate::sim_cmd::run(&crate::sim_cmd::Simulation {
        name: &name,
        scenario: &scenario,
        seed: args.seed,
        seeds: args.seeds,
        faults: args.faults,
        bug: args.bug.as_deref(),
        json: args.output == OutputForm::Json,
    })
}

fn print_report(report: &Report, lab: &Lab, text: bool) -> Result<()> {
    if text {
        println!("\n{}", netns::picture(&lab.plan, &report.pods));
        println!("{}", report.table());
    } else {
        println!("{}", serde_json::to_string_pretty(report)?);
    }
    Ok(())
}

fn exec(args: ExecArgs) -> Result<i32> {
    let lab = args.lab.map_or(LabChoice::Only, LabChoice::Named);
    let command = if args.command.is_empty() {
        vec!["bash".to_owned()]
    } else {
        args.command
    };
    netns::join(&Join {
        lab,
        target: args.host,
        command,
        directory: None,
        detached: None,
    })
}

fn down(args: &DownArgs) -> Result<i32> {
    let state = State::open()?;
    let records = match args.all {
        true => state
            .labs()?
            .iter()
            .map(|lab| state.record(lab))
            .collect::<Result<Vec<_>>>()?,
        false => vec![state.choose(args.lab.as_deref())?],
    };
    for record in records {
        Lab::down(&state, &record)?;
        println!("lab {} is down", record.lab);
    }
    Ok(0)
}

fn ls() -> Result<i32> {
    let state = State::open()?;
    let labs = state.labs()?;
    let none = if labs.is_empty() { " none" } else { "" };
    let mut text = format!("labs that are up:{none}\n");
    for lab in labs {
        text += &match state.record(&lab) {
            Ok(record) => format!(
                "  {:16} {:3} hosts  scenario {}\n",
                record.lab,
                record.hosts.len(),
                record.scenario
            ),
            Err(_) => format!("  {lab:16} coming up\n"),
        };
    }
    text += "scenarios:\n";
    for builtin in scenario::BUILTIN {
        let title = scenario::load(builtin.name)?.1.title;
        text += &format!("  {:16} {title}\n", builtin.name);
    }
    answer::print(&text)?;
    Ok(0)
}

fn status(lab: Option<&str>) -> Result<i32> {
    let state = State::open()?;
    let record = state.choose(lab)?;
    answer::print(&netns::status(&state, &record)?)?;
    Ok(0)
}
