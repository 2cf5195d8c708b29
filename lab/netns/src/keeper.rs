//! The keeper: the one process of a lab that lives outside its PID namespace.
//!
//! It makes the user and PID namespaces, starts the switch in them, waits for it and removes the state directory. It has
//! a session of its own, so that Ctrl-C ends the caller and not the clean-up; and the switch dies with it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use linux::namespace::{ChildTies, tie, unshare};
use rustix::thread::UnshareFlags;

use crate::state::hold_alive;

/// Runs the keeper of the lab in `dir`; the caller reads its lines: `alive`, `user-namespace`, then the switch's, or `refused REASON`.
pub fn keeper(dir: &Path) -> Result<i32> {
    let alive = hold_alive(dir)?;
    say("alive")?;
    match leave() {
        Ok(true) => say("user-namespace")?,
        Ok(false) => {}
        Err(error) => {
            fs::remove_dir_all(dir)?;
            say(&format!("refused {error}"))?;
            return Ok(1);
        }
    }
    let mut command = inside("switch", dir);
    let mut switch = tie(
        &mut command,
        ChildTies {
            dies_with_parent: true,
            own_session: false,
        },
    )
    .spawn()
    .context("cannot start the switch")?;
    say(&format!("switch {}", switch.id()))?;
    let null = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    switch.wait()?;
    let removed =
        fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()));
    drop(alive);
    removed?;
    Ok(0)
}

/// Our own program again, as one of the processes inside a lab.
pub(crate) fn inside(role: &str, dir: &Path) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("selvedge")
        .args(["lab", "inside", role])
        .arg(dir)
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit());
    command
}

/// One line to whoever started us.
pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Leaves into a new PID namespace, through a user namespace where that needs one; true when it did.
fn leave() -> io::Result<bool> {
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    match unshare(UnshareFlags::NEWPID) {
        Ok(()) => return Ok(false),
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
        Err(_) => {}
    }
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWPID)?;
    // One id is all that an ordinary user may map, and setgroups must be given up first: user_namespaces(7).
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    Ok(true)
}
