//! A process that must run when it is due.

use std::fmt;

/// What the kernel granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// SCHED_FIFO: before all ordinary processes.
    RealTime,
    /// Nice -20.
    High,
    /// Nothing: no CAP_SYS_NICE, and no limit (`ulimit -r`, `ulimit -e`) that allows it.
    Ordinary,
}

impl Priority {
    /// A stable lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Priority::RealTime => "real-time",
            Priority::High => "high",
            Priority::Ordinary => "ordinary",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Puts this thread, which should be the process's only one, before the others, as far as it is allowed. Source: sched(7).
pub fn run_ahead() -> Priority {
    let parameter = libc::sched_param { sched_priority: 10 };
    // SAFETY: the parameter lives until the call returns; 0 is the calling thread.
    #[expect(unsafe_code, reason = "sched_setscheduler(2) has no safe form")]
    let result = unsafe {
        libc::sched_setscheduler(
            0,
            libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK,
            &raw const parameter,
        )
    };
    if result == 0 {
        return Priority::RealTime;
    }
    match rustix::process::setpriority_process(None, -20) {
        Ok(()) => Priority::High,
        Err(_) => Priority::Ordinary,
    }
}
