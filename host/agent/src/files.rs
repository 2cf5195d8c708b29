//! The files that others read: node name and MTU for the CNI plugin, health for whoever watches.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// Writes a file whole or not at all; nothing is written when it says the same already.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let beside = path.with_extension("new");
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, path))
        .with_context(|| format!("writing {}", path.display()))
}

/// Makes a directory and those above it.
pub(crate) fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))
}

/// `health.json`.
#[derive(Serialize)]
pub(crate) struct HealthFile<'a> {
    /// The node.
    pub(crate) node: &'a str,
    /// The agent's process.
    pub(crate) pid: u32,
    /// The kernel is as the store and peers want it.
    pub(crate) ready: bool,
    /// The store has said all it has, and can be read.
    pub(crate) store: bool,
    /// Peers have said all they have, or were waited for long enough.
    pub(crate) bgp: bool,
    /// Routes found at the start that no peer has confirmed yet.
    pub(crate) adopted: usize,
    /// The kernel is as wanted.
    pub(crate) kernel: bool,
    /// What is refused now.
    pub(crate) refused: &'a [String],
}

impl HealthFile<'_> {
    /// As text; the same health gives the same text.
    pub(crate) fn text(&self) -> String {
        let text = serde_json::to_string_pretty(self);
        text.expect("plain fields have a JSON form") + "\n"
    }
}
