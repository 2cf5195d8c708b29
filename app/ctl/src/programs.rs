//! Programs of the system that a command runs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::world::World;

/// Where system programs are that an ordinary user's PATH leaves out.
const SYSTEM: &[&str] = &["/usr/sbin", "/sbin"];

/// Whether a program is there.
pub fn found(world: &World<'_>, program: &str) -> bool {
    path(world, program).is_some()
}

fn path(world: &World<'_>, program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = SYSTEM.iter().map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| world.path(&folder.join(program).to_string_lossy()))
        .find(|file| file.is_file())
}

/// Runs a program to its end and gives what it wrote to stdout; or what it wrote to stderr when it failed, empty where it is not there.
///
/// # Errors
/// Its words.
pub fn output(world: &World<'_>, words: &[&str]) -> Result<Vec<u8>, String> {
    let (program, arguments) = words.split_first().expect("a program's name");
    let program = path(world, program).ok_or_else(String::new)?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr)
            .trim_end()
            .to_string())
    }
}
