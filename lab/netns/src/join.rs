//! Entering a host from outside: setns(2) into the lab, then into the host, then the program.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use linux::namespace::{ChildTies, join as join_link, pass_signals_to, tie};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::host::environment;
use crate::plan::{HostPlan, Plan};
use crate::state::{Record, State};

/// A program to run on a host or in a pod of a lab that is up.
#[derive(Debug, Clone, Default)]
pub struct Join {
    /// Which lab.
    pub lab: LabChoice,
    /// A host's or a pod's name.
    pub target: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Where it starts; absent, the caller's directory if the host has it, else /root.
    pub directory: Option<PathBuf>,
    /// In a session of its own, without a terminal, its output in this file of the host: for a shell that starts a daemon.
    pub detached: Option<PathBuf>,
}

/// Which of the labs that are up.
#[derive(Debug, Clone, Default)]
pub enum LabChoice {
    /// The only one there is.
    #[default]
    Only,
    /// By its name.
    Named(String),
    /// By its state directory, for processes of the lab's own caller.
    Folder(PathBuf),
}

fn named(name: Option<&str>) -> Result<PathBuf> {
    let state = State::open()?;
    let record = state.choose(name)?;
    Ok(state.dir(&record.lab))
}

/// Reads who runs the lab in `dir`.
pub(crate) fn read_record(dir: &Path) -> Result<Record> {
    let path = dir.join("lab.json");
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// Runs a program on a host and returns its exit status, 128 and the signal's number when one ended it, 127 when there is no such program.
///
/// The calling process is inside the host afterwards and should end. It must be single-threaded.
pub fn join(order: &Join) -> Result<i32> {
    let dir = match &order.lab {
        LabChoice::Folder(dir) => dir.clone(),
        LabChoice::Named(name) => named(Some(name))?,
        LabChoice::Only => named(None)?,
    };
    let record = read_record(&dir)?;
    let plan = read_plan(&dir)?;
    let (host, netns) = find(&plan, &order.target)?;
    let pid = record
        .hosts
        .iter()
        .find(|(name, _)| *name == host.name)
        .map(|(_, pid)| *pid);
    let pid = pid.with_context(|| {
        format!(
            "host {} is not in the record of lab {}",
            host.name, record.lab
        )
    })?;
    let directory = order
        .directory
        .clone()
        .or_else(|| std::env::current_dir().ok());

    enter(&record, pid).with_context(|| format!("cannot enter {}", host.name))?;
    let directory = directory
        .filter(|directory| shared_with_machine(directory))
        .or_else(|| order.directory.clone());
    std::env::set_current_dir(directory.as_deref().unwrap_or(Path::new("/root")))
        .context("changing directory on the host")?;

    let words: Vec<&str> = netns
        .iter()
        .flat_map(|netns| ["ip", "netns", "exec", netns])
        .chain(order.command.iter().map(String::as_str))
        .collect();
    let Some((program, arguments)) = words.split_first() else {
        bail!("no command to run")
    };
    let mut command = Command::new(program);
    command.args(arguments);
    start(&mut command, host, order.detached.as_deref())
}

/// Reads the plan of the lab in `dir`.
pub(crate) fn read_plan(dir: &Path) -> Result<Plan> {
    let path = dir.join("plan.json");
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
}

fn find<'a>(plan: &'a Plan, target: &str) -> Result<(&'a HostPlan, Option<&'a str>)> {
    if let Some(host) = plan.host(target) {
        return Ok((host, None));
    }
    if let Some(pod) = plan.pods.iter().find(|pod| pod.name == target) {
        let host = plan
            .host(&pod.node)
            .with_context(|| format!("no host {}", pod.node))?;
        return Ok((host, Some(&pod.netns)));
    }
    let known = plan
        .hosts
        .iter()
        .map(|host| &host.name)
        .chain(plan.pods.iter().map(|pod| &pod.name));
    let known: Vec<&str> = known.map(String::as_str).collect();
    match scenario::nearest(target, known.iter().copied()) {
        Some(meant) => bail!(
            "no host or pod `{target}` in lab {}; did you mean `{meant}`?",
            plan.lab
        ),
        None => bail!(
            "no host or pod `{target}` in lab {}; there are: {}",
            plan.lab,
            known.join(", ")
        ),
    }
}

/// Enters the switch's namespaces, where the bridges are.
pub(crate) fn enter_switch(record: &Record) -> Result<()> {
    enter_lab(
        record,
        ThreadNameSpaceType::MOUNT | ThreadNameSpaceType::PROCESS_ID | ThreadNameSpaceType::NETWORK,
    )
}

fn enter_lab(record: &Record, mut kinds: ThreadNameSpaceType) -> Result<()> {
    let switch = i32::try_from(record.switch)
        .ok()
        .and_then(Pid::from_raw)
        .context("the record is damaged")?;
    let switch = pidfd_open(switch, PidfdFlags::empty()).context("the lab is gone")?;
    if record.in_user_namespace {
        kinds |= ThreadNameSpaceType::USER;
    }
    move_into_thread_name_spaces(switch.as_fd(), kinds).context("setns into the lab")
}

/// Two steps, as the host's process id is one of the lab's PID namespace and so readable only in the lab's /proc.
fn enter(record: &Record, host: u32) -> Result<()> {
    enter_lab(
        record,
        ThreadNameSpaceType::MOUNT | ThreadNameSpaceType::PROCESS_ID,
    )?;
    let links = PathBuf::from(format!("/proc/{host}/ns"));
    let kinds = [
        ("net", LinkNameSpaceType::Network),
        ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
        ("ipc", LinkNameSpaceType::InterProcessCommunication),
        ("pid", LinkNameSpaceType::ProcessID),
        ("mnt", LinkNameSpaceType::Mount),
    ];
    for (link, kind) in kinds {
        join_link(&links.join(link), kind).with_context(|| format!("setns into {link}"))?;
    }
    Ok(())
}

/// True for directories that are the same inside and outside.
fn shared_with_machine(directory: &Path) -> bool {
    let own = [
        "/etc", "/opt", "/root", "/run", "/tmp", "/var", "/proc", "/sys",
    ];
    directory.is_dir()
        && directory != Path::new("/")
        && !own.iter().any(|own| directory.starts_with(own))
}

fn start(command: &mut Command, host: &HostPlan, detached: Option<&Path>) -> Result<i32> {
    let terminal = ["TERM", "COLORTERM", "COLUMNS", "LINES"]
        .into_iter()
        .filter_map(|key| std::env::var(key).ok().map(|value| (key, value)));
    let terminal: Vec<_> = terminal.collect();
    command.env_clear().envs(environment(host)).envs(terminal);
    if let Some(log) = detached {
        let log = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open {} on {}", log.display(), host.name))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let ties = ChildTies {
            own_session: true,
            dies_with_parent: false,
        };
        let status = tie(command, ties)
            .status()
            .context("cannot start the daemon")?;
        return Ok(status.code().unwrap_or(1));
    }
    tie(
        command,
        ChildTies {
            own_session: false,
            dies_with_parent: true,
        },
    );
    pass_signals_to(None);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("{}: {error}", command.get_program().to_string_lossy());
            return Ok(if error.kind() == io::ErrorKind::NotFound {
                127
            } else {
                126
            });
        }
    };
    pass_signals_to(Some(child.id()));
    let status = child.wait()?;
    Ok(status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1))
}
