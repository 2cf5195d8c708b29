//! What a command touches besides the store.

use std::fmt::{self, Display};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::command::Persona;

/// Fills a buffer with random bytes.
pub type Random<'a> = &'a dyn Fn(&mut [u8]) -> io::Result<()>;

/// Streams, clock, random source and file tree of one command; tests give their own.
pub struct World<'a> {
    /// As whom the program speaks.
    pub persona: Persona,
    /// Read where `-f -` is given.
    pub stdin: &'a mut dyn Read,
    /// Results.
    pub stdout: &'a mut dyn Write,
    /// Errors and hints.
    pub stderr: &'a mut dyn Write,
    /// The time at which the command began.
    pub now: jiff::Timestamp,
    /// Where uids come from.
    pub random: Random<'a>,
    /// Waits.
    pub pause: &'a dyn Fn(Duration),
    /// What absolute paths of the system (`/proc`, `/var/run/calico`, `/etc/calico`) are below; `/` in production.
    pub root: PathBuf,
}

impl World<'_> {
    /// Writes to stdout.
    ///
    /// # Errors
    /// [`Failure::Told`] when nobody reads it any more: there is no one to tell.
    pub fn print(&mut self, text: impl Display) -> Result<(), Failure> {
        write!(self.stdout, "{text}").map_err(|_| Failure::Told)
    }

    /// A path of the system.
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }

    /// Sixteen random bytes.
    ///
    /// # Errors
    /// The random source's.
    pub fn random_bytes(&self) -> Result<[u8; 16], Failure> {
        let mut bytes = [0; 16];
        (self.random)(&mut bytes)
            .map_err(|e| Failure::message(format!("no random numbers: {e}")))?;
        Ok(bytes)
    }
}

/// Why a command ends with exit code 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// This is to be said on stderr.
    Message {
        /// calicoctl's text.
        text: String,
        /// What `selvedge` adds, where the text alone does not tell it.
        hint: Option<String>,
    },
    /// All has been said.
    Told,
}

impl Failure {
    /// A failure with a message.
    pub fn message(text: impl Display) -> Failure {
        Failure::Message {
            text: text.to_string(),
            hint: None,
        }
    }

    /// The same with words before the message.
    pub fn prefixed(self, prefix: &str) -> Failure {
        match self {
            Failure::Message { text, hint } => Failure::Message {
                text: format!("{prefix}{text}"),
                hint,
            },
            Failure::Told => Failure::Told,
        }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Message { text, .. } => f.write_str(text),
            Failure::Told => Ok(()),
        }
    }
}
