//! The switch: PID 1 of a lab. Its network namespace holds the bridges, its children are the hosts.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use linux::namespace::{ignore_ended_children, join, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::keeper::{inside, say};
use crate::plan::Plan;

/// Runs the switch of the lab in `dir`; never returns while the lab is up.
pub fn switch(dir: &Path) -> Result<i32> {
    match build(dir) {
        Ok(()) => say("ready")?,
        Err(error) => {
            say(&format!(
                "failed {}",
                format!("{error:#}").replace('\n', " ")
            ))?;
            return Ok(1);
        }
    }
    std::thread::spawn(|| {
        let mut byte = [0];
        // A byte lets go of the caller; the end of the pipe means that the caller has gone.
        match std::io::stdin().read(&mut byte) {
            Ok(1) => {}
            _ => std::process::exit(0),
        }
    });
    stay()
}

/// Stays for as long as the lab is up; whatever ends beneath us is taken in by the kernel.
pub(crate) fn stay() -> ! {
    ignore_ended_children();
    loop {
        std::thread::park();
    }
}

struct Starting {
    name: String,
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Starting {
    fn expect(&mut self, word: &str) -> Result<()> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        match line.trim_end() {
            said if said == word => Ok(()),
            "" => bail!("host {} ended before it was {word}", self.name),
            said => bail!("host {}: {said}", self.name),
        }
    }
}

fn build(dir: &Path) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&fs::read(dir.join("plan.json"))?)?;
    unshare(
        UnshareFlags::NEWNS | UnshareFlags::NEWNET | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC,
    )
    .context("unshare")?;
    rustix::system::sethostname(b"switch")?;
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )
    .context("making mounts private")?;
    let staging: PathBuf = dir.join("root");
    mount(
        "tmpfs",
        &staging,
        "tmpfs",
        MountFlags::empty(),
        Some(c"mode=755"),
    )
    .context("mounting a tmpfs")?;
    mount(
        "proc",
        "/proc",
        "proc",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        None,
    )
    .context("mounting /proc, which a container often refuses")?;

    let mut hosts = Vec::new();
    for host in &plan.hosts {
        // Each host is PID 1 of its own: processes there see and signal only their own.
        unshare(UnshareFlags::NEWPID).context("unshare")?;
        let mut command = inside("host", dir);
        let mut child = command
            .arg(&host.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        join(Path::new("/proc/self/ns/pid"), LinkNameSpaceType::ProcessID)
            .context("returning to our PID namespace")?;
        let said = BufReader::new(child.stdout.take().expect("stdout is piped"));
        say(&format!("host {} {}", child.id(), host.name))?;
        hosts.push(Starting {
            name: host.name.clone(),
            child,
            said,
        });
    }
    for host in &mut hosts {
        host.expect("built")?;
    }
    wire(&plan, &hosts)?;
    for host in &mut hosts {
        host.child
            .stdin
            .as_mut()
            .expect("stdin is piped")
            .write_all(b"wired\n")?;
    }
    for host in &mut hosts {
        host.expect("ready")?;
    }
    for host in hosts {
        // Closing the pipes is not an event for a host: it lives until we end.
        drop(host);
    }
    Ok(())
}

/// Bridges, and a cable from each host's interface to its bridge, in one `ip -batch`.
fn wire(plan: &Plan, hosts: &[Starting]) -> Result<()> {
    let mut batch = String::from("link set lo up\n");
    for lan in &plan.lans {
        batch += &format!("link add {lan} type bridge mcast_snooping 0\nlink set {lan} up\n");
    }
    for (host, starting) in plan.hosts.iter().zip(hosts) {
        for nic in &host.nics {
            let (port, name, lan, pid) = (&nic.port, &nic.name, &nic.lan, starting.child.id());
            batch += &format!(
                "link add {port} type veth peer name {name} netns {pid}\nlink set {port} master {lan} alias {}/{name} up\n",
                host.name
            );
        }
    }
    ip_batch(&batch)
}

/// Runs ip(8) over many lines at once, in this process's network namespace.
pub(crate) fn ip_batch(batch: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command
        .args(["-batch", "-"])
        .env("PATH", crate::PATH)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut ip = command
        .spawn()
        .context("cannot run ip (package iproute2)")?;
    ip.stdin
        .take()
        .expect("stdin is piped")
        .write_all(batch.as_bytes())?;
    let output = ip.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "ip -batch: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
