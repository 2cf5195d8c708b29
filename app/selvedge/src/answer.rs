//! Answers on standard output.

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};

/// Writes an answer. A reader that has seen enough (`| head`) and has gone is no error.
///
/// # Errors
/// When standard output cannot be written, such as a full disk.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("cannot write the answer"),
    }
}
