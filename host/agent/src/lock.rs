//! One agent a node.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

/// Held for the agent's life; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "open for as long as the lock is held")] File);

impl Lock {
    /// Takes the lock of a node in a directory.
    ///
    /// # Errors
    /// Another agent has it, and which; the directory's.
    pub fn take(directory: &Path, node: &str) -> Result<Lock> {
        let path = directory.join(format!("selvedge-{node}.lock"));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // Only for the message.
                let _ = file.read_to_string(&mut holder);
                bail!(
                    "node-already-running: an agent for node {node} is running here (process {}): stop it first, or give this one another --name ({} is locked)",
                    holder.trim(),
                    path.display()
                );
            }
            Err(error) => {
                return Err(error).with_context(|| format!("locking {}", path.display()));
            }
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(Lock(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = Lock::take(directory.path(), "node-1").expect("the first");
        let error = Lock::take(directory.path(), "node-1").expect_err("the second");
        let text = error.to_string();
        assert!(
            text.contains("node-already-running") && text.contains(&std::process::id().to_string()),
            "{text}"
        );
        Lock::take(directory.path(), "node-2").expect("another node");
        drop(first);
        Lock::take(directory.path(), "node-1").expect("after the first is gone");
    }
}
