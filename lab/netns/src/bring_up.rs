//! Bringing a lab up: the state directory, the keeper, and waiting for what it says.

use std::fs::{self, DirBuilder, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use linux::namespace::{ChildTies, tie};
use scenario::Scenario;

use crate::keeper::inside;
use crate::lab::Lab;
use crate::plan::Plan;
use crate::state::{Record, State};

/// This machine does not let us make namespaces; the text says what was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "this machine refuses namespaces ({})", self.0)
    }
}

impl std::error::Error for Refused {}

/// Brings up the hosts of `scenario` under the name `lab`; daemons are not started yet.
///
/// The lab ends with the returned value unless [`Lab::let_go`] is called. Errors: [`Refused`]; a name in use; what a host said.
pub fn up(lab: &str, name: &str, scenario: &Scenario) -> Result<Lab> {
    let began = Instant::now();
    check_name(lab)?;
    let binary = fs::canonicalize("/proc/self/exe").context("cannot find our own program")?;
    let plan = Plan::new(lab, name, binary, scenario);
    let state = State::open()?;
    let dir = state.dir(lab);
    let guard = state.lock()?;
    if state.labs()?.iter().any(|up| up == lab) {
        bail!(
            "lab `{lab}` is up already; end it with `selvedge lab down {lab}` or choose another --name"
        );
    }
    DirBuilder::new()
        .mode(0o700)
        .create(&dir)
        .with_context(|| format!("cannot make {}", dir.display()))?;
    fs::create_dir(dir.join("root"))?;
    fs::write(dir.join("plan.json"), serde_json::to_vec_pretty(&plan)?)?;

    let (mut keeper, hold) = start_keeper(&dir)?;
    let said = BufReader::new(keeper.stdout.take().expect("stdout is piped"));
    let record = Record {
        lab: lab.to_owned(),
        scenario: name.to_owned(),
        keeper: keeper.id(),
        switch: 0,
        hosts: Vec::new(),
        in_user_namespace: false,
        up_ms: 0,
    };
    // From here on an error drops the lab, which waits until nothing of it is left.
    let mut lab = Lab::new(record, plan, dir.clone(), keeper, hold, began);
    listen(said, &mut lab.record, guard, &dir)?;
    lab.note_up()?;
    Ok(lab)
}

/// Writes down what keeper and switch say, until the hosts are ready; `guard` keeps others from sweeping until the keeper holds its lock.
fn listen(said: impl BufRead, record: &mut Record, guard: File, dir: &Path) -> Result<()> {
    let mut guard = Some(guard);
    for line in said.lines() {
        let line = line?;
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match word {
            "alive" => drop(guard.take()),
            "user-namespace" => record.in_user_namespace = true,
            "switch" => record.switch = rest.parse().context("the keeper said no number")?,
            "host" => {
                let (pid, host) = rest.split_once(' ').context("the switch said no host")?;
                record.hosts.push((host.to_owned(), pid.parse()?));
            }
            "ready" => return Ok(()),
            "refused" => return Err(Refused(rest.to_owned()).into()),
            "failed" if rest.contains("mounting /proc") => {
                return Err(Refused(rest.to_owned()).into());
            }
            _ => bail!("the lab did not come up: {line}"),
        }
    }
    bail!("the lab ended while it came up: {}", log_tail(dir))
}

fn start_keeper(dir: &Path) -> Result<(Child, ChildStdin)> {
    let log = File::create(dir.join("log"))?;
    let mut command = inside("keeper", dir);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log);
    let mut keeper = tie(
        &mut command,
        ChildTies {
            own_session: true,
            dies_with_parent: false,
        },
    )
    .spawn()
    .context("cannot start the keeper")?;
    let hold = keeper.stdin.take().expect("stdin is piped");
    Ok((keeper, hold))
}

/// The last lines that the processes inside wrote.
fn log_tail(dir: &Path) -> String {
    let text = fs::read_to_string(dir.join("log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    match lines.is_empty() {
        true => "it said nothing".to_owned(),
        false => lines.into_iter().rev().collect::<Vec<_>>().join("; "),
    }
}

fn check_name(lab: &str) -> Result<()> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if lab.is_empty() || lab.len() > 40 || !lab.bytes().all(good) {
        bail!("lab name `{lab}`: 1 to 40 letters, digits, hyphens and underscores");
    }
    Ok(())
}

/// Writes the byte that lets a lab live on without us.
pub(crate) fn let_go(hold: &mut ChildStdin) -> Result<()> {
    hold.write_all(b"k").context("the lab is gone")
}
