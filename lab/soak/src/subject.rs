//! The speaker under test: the stand-alone one, as a process of its own.

use crate::cast::{Player, SPEAKER, Settings};
use anyhow::{Context, Result, bail};
use bgp::Config;
use linux::process;
use rustix::process::{Pid, Signal, kill_process};
use speaker::{ConfigFile, Form, Query};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to start.
const START: Duration = Duration::from_secs(20);

/// A running speaker. It ends when this is dropped, and when this process ends.
pub struct Subject {
    dir: tempfile::TempDir,
    child: Child,
    control: PathBuf,
}

/// What it uses, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Resident memory, KiB.
    pub resident_kib: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

/// A port that is free now.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    let free = TcpListener::bind(SocketAddr::from((SPEAKER, 0)))?;
    Ok(free.local_addr()?.port())
}

impl Subject {
    /// Starts `program` with the arguments `speaker CONFIG`, which is to be [`speaker::main_run`].
    ///
    /// # Errors
    /// When it does not start, with what it said.
    pub fn start(
        program: &std::path::Path,
        settings: &mut Settings,
        players: &[Player],
    ) -> Result<Subject> {
        let dir = tempfile::tempdir()?;
        let control = dir.path().join("speaker.ctl");
        settings.control.clone_from(&control);
        let file = dir.path().join("speaker.toml");
        std::fs::write(&file, settings.text(players))?;
        let log = std::fs::File::create(dir.path().join("speaker.log"))?;
        let child = Command::new(program)
            .arg("speaker")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the speaker")?;
        let mut subject = Subject {
            dir,
            child,
            control,
        };
        let end = Instant::now() + START;
        while subject.ask(&Query::Neighbors).is_err() {
            if let Some(status) = subject.child.try_wait()? {
                bail!("the speaker has ended: {status}\n{}", subject.words());
            }
            if Instant::now() > end {
                bail!(
                    "the speaker does not answer after {} s\n{}",
                    START.as_secs(),
                    subject.words()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(subject)
    }

    fn words(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("speaker.log")).unwrap_or_default()
    }

    /// Its answer, as JSON.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn ask(&self, query: &Query) -> Result<serde_json::Value> {
        let text = speaker::show(&self.control, query, Form::Json)?;
        serde_json::from_str(&text)
            .with_context(|| format!("{query:?} was answered with {text:.200}"))
    }

    /// Its configuration, as it reads it.
    ///
    /// # Errors
    /// When the file is not valid.
    pub fn config(&self) -> Result<Config> {
        ConfigFile::read(&self.dir.path().join("speaker.toml"))?.config()
    }

    /// Lets it read another configuration.
    ///
    /// # Errors
    /// When the file cannot be written, or the process is gone.
    pub fn reload(&mut self, settings: &Settings, players: &[Player]) -> Result<()> {
        let file = self.dir.path().join("speaker.toml");
        let new = self.dir.path().join("speaker.new");
        std::fs::write(&new, settings.text(players))?;
        std::fs::rename(&new, &file)?;
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a child has a number")?, Signal::HUP)?;
        Ok(())
    }

    /// What it uses now.
    ///
    /// # Errors
    /// When it has ended, with what it said.
    pub fn usage(&mut self) -> Result<Use> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the speaker has ended: {status}\n{}", self.words());
        }
        let pid = self.child.id();
        let usage = process::usage(pid)?;
        Ok(Use {
            resident_kib: usage.resident_kib,
            threads: usage.threads,
            descriptors: process::descriptors(pid)?,
        })
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
