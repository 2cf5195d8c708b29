//! The stand-alone speaker: a VM as a reflector, without store or kernel routes.

use crate::config_file::ConfigFile;
use crate::control;
use crate::handle::{Options, spawn_with};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Who connects from a range is not known at the start: so long its BFD sessions stay as the last speaker left them.
const RANGES_RETURN: Duration = Duration::from_secs(60);

/// Runs a speaker as a configuration file says, until SIGTERM or SIGINT. SIGHUP reads the file
/// again; what did not change in it stays up, and a file with an error changes nothing.
///
/// # Errors
/// When the file is not valid, the control socket is taken, or the thread cannot start.
pub fn main_run(config_path: &Path) -> Result<()> {
    let file = ConfigFile::read(config_path)?;
    let config = file.config()?;
    let listener = control::listen(file.control())?;
    let mut signals = signal_hook::iterator::Signals::new([
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGHUP,
    ])
    .context("cannot listen for signals")?;
    let socket = liveness_socket(file.control());
    if !has_bfd(&config) {
        // One that a former speaker left has nothing to do any more.
        liveness::end(&socket);
    }
    let options = Options {
        liveness: Some(liveness::Launch {
            keep_others: if config
                .ranges
                .iter()
                .any(|range| range.template.bfd.is_some())
            {
                RANGES_RETURN
            } else {
                Duration::ZERO
            },
            ..liveness::Launch::own(socket)
        }),
        ..Options::default()
    };
    let handle = spawn_with(config, options).context("cannot start the speaker")?;
    let events = handle.take_events();
    let handle = Arc::new(handle);
    let serving = Arc::clone(&handle);
    std::thread::Builder::new()
        .name("control".into())
        .spawn(move || control::serve(&listener, &serving))?;
    // Nobody here acts on events, but the log of states comes from the speaker itself.
    std::thread::Builder::new()
        .name("events".into())
        .spawn(move || {
            for event in events.into_iter().flatten() {
                tracing::debug!(?event);
            }
        })?;
    for signal in signals.forever() {
        if signal != signal_hook::consts::SIGHUP {
            break;
        }
        match ConfigFile::read(config_path).and_then(|file| file.config()) {
            Ok(config) => handle.configure(config),
            Err(error) => tracing::error!("kept the present configuration: {error:#}"),
        }
    }
    handle.stop();
    let _ = std::fs::remove_file(file.control());
    Ok(())
}

fn has_bfd(config: &bgp::Config) -> bool {
    let ranges = config.ranges.iter().map(|range| &range.template);
    config.peers.iter().chain(ranges).any(|p| p.bfd.is_some())
}

/// The socket of the process that drives BFD for the speaker with this control socket, beside it.
pub fn liveness_socket(control: &Path) -> PathBuf {
    control.with_extension("liveness")
}
