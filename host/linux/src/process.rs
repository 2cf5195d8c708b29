//! What a process uses of the machine.

use std::io;

/// Of one process, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, KiB (`VmRSS`).
    pub resident_kib: u64,
    /// Threads.
    pub threads: u64,
}

/// Reads it from `/proc`.
///
/// # Errors
/// When there is no such process.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(Usage {
        resident_kib: field(&status, "VmRSS:"),
        threads: field(&status, "Threads:"),
    })
}

/// How many descriptors a process has open.
///
/// # Errors
/// When there is no such process, or it is another user's.
pub fn descriptors(pid: u32) -> io::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// The first number behind a name; 0 where there is none, as for the memory of a process that has ended.
fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_threads_and_descriptors_are_seen() {
        let own = std::process::id();
        let before = usage(own).expect("this process is there");
        assert!(
            before.resident_kib > 100 && before.threads > 0,
            "{before:?}"
        );
        let open = descriptors(own).expect("our own");
        let more: Vec<std::fs::File> = (0..100)
            .map(|_| std::fs::File::open("/dev/null").expect("it is there"))
            .collect();
        // Other tests open and close some meanwhile.
        assert!(descriptors(own).expect("our own") > open + 50);
        drop(more);
        assert_eq!(field("VmPeak:\t 9 kB\nVmRSS:\t  1234 kB\n", "VmRSS:"), 1234);
        assert_eq!(field("State: Z\n", "VmRSS:"), 0);
    }
}
