//! A lab that is up, as its caller sees it.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use scenario::{Daemon, Scenario};

use crate::plan::Plan;
use crate::state::{Record, State};

/// A lab that is up. Dropping it ends it, unless it was let go.
#[derive(Debug)]
pub struct Lab {
    /// Who runs it.
    pub record: Record,
    /// What it is made of.
    pub plan: Plan,
    dir: PathBuf,
    began: Instant,
    keeper: Child,
    hold: Option<ChildStdin>,
}

/// What a program on a host said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output and standard error as they came.
    pub text: String,
    /// Exit status; 124 when it took too long.
    pub status: i32,
    /// A line for the growth of kernel counters meanwhile.
    pub counted: Option<String>,
}

impl Output {
    /// What was said, by something that went well.
    pub(crate) fn said(text: String) -> Self {
        Self {
            text,
            status: 0,
            counted: None,
        }
    }

    /// Everything that patterns are held against.
    pub(crate) fn all(&self) -> String {
        format!("{}{}", self.text, self.counted.as_deref().unwrap_or(""))
    }
}

impl Lab {
    pub(crate) fn new(
        record: Record,
        plan: Plan,
        dir: PathBuf,
        keeper: Child,
        hold: ChildStdin,
        began: Instant,
    ) -> Self {
        Self {
            record,
            plan,
            dir,
            began,
            keeper,
            hold: Some(hold),
        }
    }

    /// Writes into the record how long it took until now.
    pub fn note_up(&mut self) -> Result<()> {
        self.record.up_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.record.write(&self.dir)
    }

    /// Runs a shell text on a host or in a pod, at most for `limit`.
    pub fn shell(&self, target: &str, text: &str, limit: Duration) -> Result<Output> {
        shell_in(&self.dir, target, text, limit)
    }

    /// Starts a daemon on one of its hosts; its log is /var/log/NAME.log there, its process id /run/lab/NAME.pid.
    pub fn start(&self, daemon: &Daemon, host: &str) -> Result<()> {
        let name = daemon.name.get_ref();
        let run = self
            .plan
            .host(host)
            .with_context(|| format!("no host {host}"))?
            .fill(&daemon.run);
        self.start_program(host, name, &run)
    }

    /// Starts any long-running program on a host or in a pod, under a name.
    pub(crate) fn start_program(&self, target: &str, name: &str, run: &str) -> Result<()> {
        let log = format!("/var/log/{name}.log");
        // The program is a grandchild of what enters the host, so that the host's first process inherits it: a child
        // would be inherited, and later taken in, by whoever is first outside the lab.
        let text = format!("(echo $BASHPID >/run/lab/{name}.pid\nexec {run}) &");
        let mut command = joining(
            &self.dir,
            target,
            &["--directory", "/root", "--detached", &log],
        );
        let status = command
            .args(["--", "bash", "-c", &text])
            .stdin(Stdio::null())
            .status()?;
        if !status.success() {
            bail!("cannot start {name} on {target}");
        }
        Ok(())
    }

    /// Ends a daemon by a signal and waits until it is gone.
    pub fn stop(&self, name: &str, host: &str, signal: &str) -> Result<()> {
        let text = format!(
            "pid=$(cat /run/lab/{name}.pid) || exit 3\nkill -{signal} $pid 2>/dev/null\nwhile kill -0 $pid 2>/dev/null; do sleep 0.01; done\nrm -f /run/lab/{name}.pid"
        );
        let output = self.shell(host, &text, Duration::from_secs(10))?;
        match output.status {
            0 => Ok(()),
            3 => bail!("daemon {name} does not run on {host}"),
            124 => bail!("daemon {name} on {host} does not end on {signal}"),
            _ => bail!("cannot end {name} on {host}: {}", output.text.trim()),
        }
    }

    /// Waits until a shell test holds on a host or in a pod.
    pub fn wait_for(&self, target: &str, test: &str, limit: Duration) -> Result<()> {
        // The loop runs on the host, so that waiting costs one entry and not one a turn.
        let text = format!(
            "until {{ {test}\n}} >/run/lab/ready.$$ 2>&1; do sleep 0.05; done; rm -f /run/lab/ready.$$"
        );
        match self.shell(target, &text, limit)?.status {
            0 => Ok(()),
            _ => {
                let said = self.shell(target, test, Duration::from_secs(5))?;
                bail!(
                    "not so within {:.0} s on {target}: {} (it says: {})",
                    limit.as_secs_f64(),
                    test.trim(),
                    said.text.trim()
                )
            }
        }
    }

    /// Starts the daemons that start by themselves, each on all its hosts when those before it are ready.
    pub fn start_daemons(&self, scenario: &Scenario) -> Result<()> {
        for daemon in scenario.daemons.iter().filter(|daemon| daemon.autostart) {
            for host in &daemon.on {
                self.start(daemon, host.get_ref())?;
            }
            self.wait_ready(daemon)?;
        }
        Ok(())
    }

    /// Waits until a daemon is ready on all its hosts.
    pub fn wait_ready(&self, daemon: &Daemon) -> Result<()> {
        let Some(ready) = &daemon.ready else {
            return Ok(());
        };
        for host in &daemon.on {
            let host = host.get_ref();
            let test = self
                .plan
                .host(host)
                .with_context(|| format!("no host {host}"))?
                .fill(ready);
            let waited = self.wait_for(host, &test, daemon.within.get());
            waited.with_context(|| {
                format!(
                    "{} on {host} is not ready; its log ends: {}",
                    daemon.name.get_ref(),
                    self.log_tail(host, daemon.name.get_ref())
                )
            })?;
        }
        Ok(())
    }

    /// The last lines of a daemon's log.
    pub fn log_tail(&self, host: &str, daemon: &str) -> String {
        let said = self.shell(
            host,
            &format!("tail -n 8 /var/log/{daemon}.log"),
            Duration::from_secs(5),
        );
        said.map(|output| output.text.trim().to_owned())
            .unwrap_or_default()
    }

    /// Plugs or pulls cables of a host at the switch.
    pub fn plug(&self, host: &str, nic: Option<&str>, state: &str) -> Result<()> {
        let plan = self
            .plan
            .host(host)
            .with_context(|| format!("no host {host}"))?;
        for port in plan
            .nics
            .iter()
            .filter(|port| nic.is_none_or(|nic| port.name == nic))
        {
            let mut command = Command::new("/proc/self/exe");
            command
                .args(["lab", "inside", "at-switch"])
                .arg(&self.dir)
                .args(["ip", "link", "set", &port.port, state]);
            if !command.status()?.success() {
                bail!("cannot set the cable {host}/{} {state}", port.name);
            }
        }
        Ok(())
    }

    /// Lets the lab live on without us.
    pub fn let_go(mut self) -> Result<Record> {
        if let Some(mut hold) = self.hold.take() {
            crate::bring_up::let_go(&mut hold)?;
        }
        Ok(self.record.clone())
    }

    /// Ends a lab by its record and waits until it and its folder are gone.
    pub fn down(state: &State, record: &Record) -> Result<()> {
        let dir = state.dir(&record.lab);
        let keeper = i32::try_from(record.keeper).ok().and_then(Pid::from_raw);
        let switch = i32::try_from(record.switch).ok().and_then(Pid::from_raw);
        let keeper = keeper.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        if let Some(switch) = switch.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) {
            // The pid is the lab's own: its keeper holds the lock, and only the keeper can take the switch in.
            pidfd_send_signal(&switch, Signal::KILL).context("cannot end the lab")?;
        }
        if let Some(keeper) = keeper {
            wait_end(&keeper, Duration::from_secs(20)).context("the lab does not end")?;
        }
        match dir.exists() {
            true => bail!("{} is still there", dir.display()),
            false => Ok(()),
        }
    }
}

fn wait_end(process: &impl std::os::fd::AsFd, limit: Duration) -> Result<()> {
    let mut fds = [rustix::event::PollFd::new(
        process,
        rustix::event::PollFlags::IN,
    )];
    let limit = rustix::event::Timespec::try_from(limit)?;
    match rustix::event::poll(&mut fds, Some(&limit))? {
        0 => bail!("timed out"),
        _ => Ok(()),
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.hold.take().is_none() {
            return;
        }
        // The pipe is closed: the switch ends, then the keeper removes the folder and ends.
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20)
            && matches!(self.keeper.try_wait(), Ok(None))
        {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn joining(dir: &Path, target: &str, options: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["lab", "inside", "join"])
        .arg(dir)
        .args(["--target", target])
        .args(options);
    command
}

/// Runs a shell text on a host or in a pod of the lab in `dir`, at most for `limit`.
pub(crate) fn shell_in(dir: &Path, target: &str, text: &str, limit: Duration) -> Result<Output> {
    let limit = format!("{:.3}", limit.as_secs_f64());
    let text = format!("exec 2>&1\n{text}");
    let mut command = joining(dir, target, &["--directory", "/root"]);
    command.args(["--", "timeout", "-k", "1", &limit, "bash", "-c", &text]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let mut said = Vec::new();
    child
        .stdout
        .take()
        .expect("stdout is piped")
        .read_to_end(&mut said)?;
    let status = child.wait()?.code().unwrap_or(1);
    Ok(Output {
        text: String::from_utf8_lossy(&said).into_owned(),
        status,
        counted: None,
    })
}

/// Runs a program in the switch's namespaces: where the bridges are.
pub fn at_switch(dir: &Path, command: &[String]) -> Result<i32> {
    let record = crate::join::read_record(dir)?;
    crate::join::enter_switch(&record)?;
    let Some((program, arguments)) = command.split_first() else {
        bail!("no command to run")
    };
    let status = Command::new(program)
        .args(arguments)
        .env("PATH", crate::PATH)
        .status()?;
    Ok(status.code().unwrap_or(1))
}
