//! The state directory: one folder a lab, removed with it.
//!
//! `$XDG_RUNTIME_DIR/selvedge-lab`, else `/tmp/selvedge-lab-UID`. A lab is alive as long as its keeper holds the lock
//! on `NAME/alive`; a folder without one is what a killed keeper left, and every call removes such folders first.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// The folder of all labs of this user.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
}

/// Who runs a lab; kept as lab.json once it is up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// The lab's name.
    pub lab: String,
    /// The scenario's name or path.
    pub scenario: String,
    /// The keeper's process id.
    pub keeper: u32,
    /// The switch's process id, as seen from outside: the first process of the lab.
    pub switch: u32,
    /// Hosts with the id of their first process, as seen from the switch.
    pub hosts: Vec<(String, u32)>,
    /// Whether the lab lives in a user namespace.
    pub in_user_namespace: bool,
    /// Milliseconds that bring-up took, daemons included.
    pub up_ms: u64,
}

impl Record {
    /// Writes the record into the lab's folder, whole or not at all.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let new = dir.join("lab.json.new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", new.display()))?;
        fs::rename(&new, dir.join("lab.json")).context("cannot put lab.json in place")
    }
}

impl State {
    /// Opens, and makes when absent, this user's folder; removes what killed keepers left.
    pub fn open() -> Result<Self> {
        let uid = rustix::process::geteuid().as_raw();
        let runtime = std::env::var_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .filter(|dir| owned_by(dir, uid));
        let path = match runtime {
            Some(dir) => dir.join("selvedge-lab"),
            None => PathBuf::from(format!("/tmp/selvedge-lab-{uid}")),
        };
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("cannot make {}", path.display()));
            }
            _ => {}
        }
        if !owned_by(&path, uid) {
            bail!(
                "{} belongs to somebody else; remove it or set XDG_RUNTIME_DIR",
                path.display()
            );
        }
        let state = Self { path };
        let _guard = state.lock()?;
        state.sweep()?;
        Ok(state)
    }

    /// The folder of a lab.
    pub fn dir(&self, lab: &str) -> PathBuf {
        self.path.join(lab)
    }

    /// Held while folders are made and swept.
    pub fn lock(&self) -> Result<File> {
        let path = self.path.join(".lock");
        let file =
            File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    /// Names of the labs that are alive.
    pub fn labs(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self
            .folders()?
            .into_iter()
            .filter(|name| is_alive(&self.dir(name)))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Reads who runs a lab; an error when it is not up.
    pub fn record(&self, lab: &str) -> Result<Record> {
        let path = self.dir(lab).join("lab.json");
        let Ok(text) = fs::read_to_string(&path) else {
            let others = self.labs()?;
            match others.is_empty() {
                true => bail!("no lab `{lab}` is up; bring one up with `selvedge lab up howto`"),
                false => bail!("no lab `{lab}` is up; there are: {}", others.join(", ")),
            }
        };
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// The lab that was named, or the only one there is.
    pub fn choose(&self, lab: Option<&str>) -> Result<Record> {
        if let Some(lab) = lab {
            return self.record(lab);
        }
        match self.labs()?.as_slice() {
            [] => bail!("no lab is up; bring one up with `selvedge lab up howto`"),
            [only] => self.record(only),
            several => bail!(
                "several labs are up, name one with --lab: {}",
                several.join(", ")
            ),
        }
    }

    fn folders(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.path)
            .with_context(|| format!("cannot read {}", self.path.display()))?;
        let names = entries.filter_map(|entry| entry.ok().filter(|entry| entry.path().is_dir()));
        Ok(names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect())
    }

    fn sweep(&self) -> Result<()> {
        for name in self.folders()? {
            let dir = self.dir(&name);
            if !is_alive(&dir) {
                fs::remove_dir_all(&dir).with_context(|| {
                    format!("cannot remove what a killed lab left in {}", dir.display())
                })?;
            }
        }
        Ok(())
    }
}

/// Takes the lock that says that the lab in `dir` is alive; held until the file is closed.
pub(crate) fn hold_alive(dir: &Path) -> Result<File> {
    let file = File::create(dir.join("alive"))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .context("somebody else keeps this lab")?;
    Ok(file)
}

fn is_alive(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join("alive")) else {
        return false;
    };
    flock(&file, FlockOperation::NonBlockingLockShared).is_err()
}

fn owned_by(dir: &Path, uid: u32) -> bool {
    fs::symlink_metadata(dir).is_ok_and(|data| data.is_dir() && data.uid() == uid)
}
