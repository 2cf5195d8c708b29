//! A host: PID 1 of its own namespaces. It builds its root, configures its network and takes in orphans.

use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use linux::namespace::unshare;
use rustix::thread::UnshareFlags;

use crate::keeper::say;
use crate::plan::{HostPlan, Plan};
use crate::root;
use crate::switch::{ip_batch, stay};

/// Runs the host `name` of the lab in `dir`; never returns while the lab is up.
pub fn host(dir: &Path, name: &str) -> Result<i32> {
    match boot(dir, name) {
        Ok(()) => say("ready")?,
        Err(error) => {
            say(&format!("{error:#}").replace('\n', " "))?;
            return Ok(1);
        }
    }
    let null = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    stay()
}

fn boot(dir: &Path, name: &str) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&fs::read(dir.join("plan.json"))?)?;
    let host = plan
        .host(name)
        .with_context(|| format!("no host {name} in the plan"))?;
    unshare(
        UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC,
    )
    .context("unshare")?;
    rustix::system::sethostname(name.as_bytes())?;
    root::enter(&dir.join("root"), &plan, host)?;
    let late = set_sysctls(host)?;
    say("built")?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    if line != "wired\n" {
        bail!("the switch went away");
    }
    configure(host, &late)?;
    setup(host)
}

/// Writes the settings that exist before there are interfaces, as interfaces copy `default` when they are made.
///
/// Returns the names of those that do not exist yet. `ip_forward` goes first: it resets others (ip-sysctl.rst).
fn set_sysctls(host: &HostPlan) -> Result<Vec<&str>> {
    let forward = "net.ipv4.ip_forward";
    let (first, rest): (Vec<_>, Vec<_>) =
        host.sysctl.iter().partition(|(name, _)| *name == forward);
    let mut late = Vec::new();
    for (name, value) in first.into_iter().chain(rest) {
        match sysctl_path(name) {
            path if path.exists() => set_sysctl(&path, value)?,
            _ => late.push(name.as_str()),
        }
    }
    Ok(late)
}

fn sysctl_path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name.replace('.', "/"))
}

fn configure(host: &HostPlan, late: &[&str]) -> Result<()> {
    let mut batch = String::from("link set lo up\n");
    for nic in &host.nics {
        batch += &format!(
            "address add {} brd + dev {}\nlink set {} up\n",
            nic.address, nic.name, nic.name
        );
    }
    for name in late {
        set_sysctl(&sysctl_path(name), &host.sysctl[*name])?;
    }
    for route in &host.routes {
        batch += &format!("route add {route}\n");
    }
    ip_batch(&batch)
}

fn set_sysctl(path: &Path, value: &str) -> Result<()> {
    fs::write(path, value).with_context(|| format!("cannot write {value} to {}", path.display()))
}

fn setup(host: &HostPlan) -> Result<()> {
    if host.setup.is_empty() {
        return Ok(());
    }
    let mut command = Command::new("bash");
    command
        .args(["-euc", &host.setup])
        .env_clear()
        .envs(environment(host))
        .current_dir("/root")
        .stdin(Stdio::null());
    let output = command.output().context("cannot run bash")?;
    if !output.status.success() {
        bail!("setup: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// What every program on a host finds in its environment.
pub(crate) fn environment(host: &HostPlan) -> impl Iterator<Item = (String, String)> {
    let fixed = [
        ("PATH", crate::PATH),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/bash"),
        ("LANG", "C.UTF-8"),
    ];
    let fixed = fixed.map(|(key, value)| (key.to_owned(), value.to_owned()));
    fixed.into_iter().chain(host.env.clone())
}
