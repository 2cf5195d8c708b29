//! A speaker under test while it runs, and what it uses.

use crate::namespace::Namespace;
use crate::peers::Peer;
use crate::speakers::{Setup, Speaker};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Between the start of one program and of the next that needs it.
const STAGGER: Duration = Duration::from_millis(700);

/// The processes of a speaker.
pub struct Dut {
    namespace: Namespace,
    inside: PathBuf,
    dir: tempfile::TempDir,
    children: Vec<Child>,
}

impl Dut {
    /// Starts a speaker in its namespace, configured for these peers.
    ///
    /// # Errors
    /// When a program is not there or its files cannot be written.
    pub fn start(
        speaker: &Speaker,
        setup: &Setup,
        namespace: Namespace,
        peers: &[Peer],
    ) -> Result<Dut> {
        let dir = tempfile::tempdir()?;
        let plan = (speaker.plan)(setup, dir.path(), peers);
        for (name, text) in &plan.files {
            fs::write(dir.path().join(name), text)?;
        }
        let mut dut = Dut {
            inside: namespace.name()?,
            namespace,
            dir,
            children: Vec::new(),
        };
        let log = fs::File::create(dut.log())?;
        for (i, words) in plan.commands.iter().enumerate() {
            if i > 0 {
                std::thread::sleep(STAGGER);
            }
            let (program, arguments) = words.split_first().context("a command has a program")?;
            let mut command = dut.namespace.command(program);
            command
                .args(arguments)
                .current_dir(dut.dir.path())
                .stdin(Stdio::null());
            command.env("RUST_LOG", "error");
            command.stdout(log.try_clone()?).stderr(log.try_clone()?);
            dut.children
                .push(command.spawn().with_context(|| program.clone())?);
        }
        Ok(dut)
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("dut.log")
    }

    /// The last lines that the speaker printed, and whether it has ended.
    pub fn last_words(&mut self) -> String {
        let ended = self
            .children
            .iter_mut()
            .filter_map(|c| c.try_wait().ok().flatten());
        let mut words: Vec<String> = ended
            .map(|status| format!("it has ended: {status}"))
            .collect();
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        words.extend(text.lines().rev().take(5).map(str::to_owned));
        words.reverse();
        words.join("\n  ")
    }

    fn pids(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        let numbers = entries
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
        let inside = |pid: &u32| {
            fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|l| l == self.inside)
        };
        numbers.filter(inside).collect()
    }

    /// CPU seconds of all its processes and threads since they began.
    pub fn cpu(&self) -> f64 {
        self.pids().into_iter().map(cpu_of).sum()
    }

    /// Resident memory of all its processes, MiB. What forked processes share is counted in each.
    pub fn resident(&self) -> f64 {
        // One that ends just now uses nothing.
        let resident = |pid| linux::process::usage(pid).unwrap_or_default().resident_kib;
        let kib: u64 = self.pids().into_iter().map(resident).sum();
        kib as f64 / 1024.0
    }

    /// IPv4 routes in the largest table of its namespace, without a dump that would disturb what is measured.
    ///
    /// # Errors
    /// When none of its processes is left.
    pub fn kernel_routes(&self) -> Result<usize> {
        let Some(pid) = self.pids().first().copied() else {
            bail!("the speaker has ended")
        };
        let text = fs::read_to_string(format!("/proc/{pid}/net/fib_triestat"))?;
        let counts = text
            .lines()
            .filter_map(|l| l.trim().strip_prefix("Prefixes:")?.trim().parse().ok());
        counts.max().context("fib_triestat has no count")
    }

    /// Ends it, and what it started.
    ///
    /// # Errors
    /// When a process does not end.
    pub fn stop(&mut self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let pids = self.pids();
            for child in &mut self.children {
                let _ = child.try_wait();
            }
            if pids.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < end, "processes {pids:?} do not end");
            for pid in pids {
                if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Dut {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("bgpbench: {error}");
        }
    }
}

/// CPU seconds of one process. `stat` counts ended threads too but in hundredths; `schedstat` knows nanoseconds.
fn cpu_of(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The program's name, in brackets, may hold spaces; utime is the 12th field behind it.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|f| f.parse::<f64>().ok());
    let coarse = ticks.sum::<f64>() / crate::machine::TICKS;
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    coarse.max(nanoseconds.sum::<f64>() / 1e9)
}
