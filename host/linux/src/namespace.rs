//! Namespaces: leaving them, joining them, and the few things a child needs before its program starts.
//!
//! What rustix already offers as a safe call (`setns`, `pivot_root`, `mount`, `sethostname`) is not repeated here.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// Moves this process into new namespaces of the given kinds.
///
/// A new PID namespace holds for children started afterwards, not for the caller. The caller must be single-threaded
/// for `NEWUSER` and `NEWPID`; the kernel answers EINVAL otherwise. EPERM and ENOSPC mean that this machine refuses.
/// Source: unshare(2).
pub fn unshare(kinds: UnshareFlags) -> io::Result<()> {
    let kinds = kinds - UnshareFlags::FILES;
    // SAFETY: the one hazard that rustix names is a file table that threads no longer share; FILES is masked out above.
    #[expect(unsafe_code, reason = "unshare(2) has no safe form")]
    unsafe { rustix::thread::unshare_unsafe(kinds) }.map_err(io::Error::from)
}

/// Joins the namespace that a `/proc/PID/ns/*` link names; a PID namespace holds for children only. Source: setns(2).
pub fn join(link: &Path, kind: LinkNameSpaceType) -> io::Result<()> {
    let file = File::open(link)?;
    rustix::thread::move_into_link_name_space(file.as_fd(), Some(kind)).map_err(io::Error::from)
}

/// What a child shall have before its program starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChildTies {
    /// A session of its own, without a terminal: setsid(2).
    pub own_session: bool,
    /// Killed by SIGKILL when the thread that started it ends: PR_SET_PDEATHSIG.
    pub dies_with_parent: bool,
}

/// Sets `ties` on a command; they take effect between fork and exec.
pub fn tie(command: &mut Command, ties: ChildTies) -> &mut Command {
    let prepare = move || {
        if ties.own_session {
            rustix::process::setsid()?;
        }
        if ties.dies_with_parent {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        }
        Ok(())
    };
    // SAFETY: the closure only makes two system calls without allocating or taking a lock, as pre_exec asks.
    #[expect(unsafe_code, reason = "Command::pre_exec has no safe form")]
    unsafe {
        command.pre_exec(prepare)
    }
}

/// The process that `pass_signals_to` named; 0 before.
static FOREGROUND_CHILD: AtomicI32 = AtomicI32::new(0);
/// A signal that came before there was a child to pass it to; 0 when none did.
static EARLY_SIGNAL: AtomicI32 = AtomicI32::new(0);

extern "C" fn pass_signal(signal: libc::c_int) {
    // A terminal sends INT and QUIT to the whole foreground group, so the child has had its own.
    if signal == libc::SIGINT || signal == libc::SIGQUIT {
        return;
    }
    match FOREGROUND_CHILD.load(Ordering::SeqCst) {
        0 => EARLY_SIGNAL.store(signal, Ordering::SeqCst),
        child => send(child, signal),
    }
}

fn send(child: libc::pid_t, signal: libc::c_int) {
    // SAFETY: kill(2) takes no pointers and is async-signal-safe; an absent process is an error that is of no interest.
    #[expect(unsafe_code, reason = "runs in a signal handler")]
    unsafe {
        libc::kill(child, signal);
    }
}

/// Leaves this process standing while it waits for `child`: TERM and HUP are passed on, INT and QUIT are left to the
/// child. Handlers, unlike ignored signals, are not inherited through exec; call it before the child is started with
/// `None`, and again with its pid.
pub fn pass_signals_to(child: Option<u32>) {
    let pid = child.and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
    FOREGROUND_CHILD.store(pid, Ordering::SeqCst);
    let handler: extern "C" fn(libc::c_int) = pass_signal;
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler has the type that signal(2) asks for and only touches atomics and calls kill(2).
        #[expect(unsafe_code, reason = "signal(2) has no safe form")]
        unsafe {
            libc::signal(signal, handler as libc::sighandler_t);
        }
    }
    let early = if pid == 0 {
        0
    } else {
        EARLY_SIGNAL.swap(0, Ordering::SeqCst)
    };
    if early != 0 {
        send(pid, early);
    }
}

/// Lets the kernel take in ended children by itself: for the first process of a PID namespace, which inherits orphans.
///
/// Programs started afterwards inherit this; start none. Source: SIGCHLD ignored, wait(2).
pub fn ignore_ended_children() {
    // SAFETY: SIG_IGN is a valid disposition for SIGCHLD.
    #[expect(unsafe_code, reason = "signal(2) has no safe form")]
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_with_its_own_session_leads_it() {
        // The session is field 6. Ours is not asked for: its leader may be outside this PID namespace, where it has no
        // number (getsid(2) answers 0).
        let leads = |ties| {
            let mut command = Command::new("sh");
            command.args(["-c", "test $(cut -d' ' -f6 /proc/$$/stat) = $$"]);
            tie(&mut command, ties).status().expect("sh runs").success()
        };
        assert!(leads(ChildTies {
            own_session: true,
            ..ChildTies::default()
        }));
        assert!(
            !leads(ChildTies::default()),
            "control: without it the child stays in our session"
        );
    }

    #[test]
    fn joining_what_is_not_a_namespace_is_an_error() {
        let error = join(Path::new("/proc/self/status"), LinkNameSpaceType::Network)
            .expect_err("not a namespace");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
