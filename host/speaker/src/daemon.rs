//! The stand-alone speaker: a VM as a reflector, without a store, and with kernel routes only when asked for.

use crate::Event;
use crate::config_file::ConfigFile;
use crate::control;
use crate::handle::{Handle, Options, spawn_with};
use crate::kernel_routes::{End, KernelRoutes};
use crate::observers::Observers;
use anyhow::{Context, Result, ensure};
use bgp::Config;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
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
    let mut kernel = (file.kernel().is_some() || file.tracks_next_hops())
        .then(|| KernelRoutes::open(file.kernel()))
        .transpose()?;
    let options = Options {
        notify: kernel.as_ref().map(KernelRoutes::notify),
        next_hops: kernel.as_ref().map(KernelRoutes::next_hops),
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
    let mut observers = Observers::default();
    observers.set(&file, &handle)?;
    match (&mut kernel, events) {
        (Some(kernel), Some(events)) => kernel.start(events, Arc::clone(&handle))?,
        (_, events) => log_events(events)?,
    }
    for signal in signals.forever() {
        if signal != signal_hook::consts::SIGHUP {
            break;
        }
        match reread(config_path, &file) {
            Ok((file, config)) => {
                handle.configure(config);
                if let Err(error) = observers.set(&file, &handle) {
                    tracing::error!("cannot start a BMP station or an MRT file: {error}");
                }
            }
            Err(error) => tracing::error!("kept the present configuration: {error:#}"),
        }
    }
    end(&handle, kernel.as_ref());
    observers.finish();
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

/// Nobody acts on events here, but the log of states comes from the speaker itself.
fn log_events(events: Option<Receiver<Event>>) -> std::io::Result<()> {
    let log = move || {
        for event in events.into_iter().flatten() {
            tracing::debug!(?event);
        }
    };
    let thread = std::thread::Builder::new().name("events".into());
    thread.spawn(log).map(drop)
}

/// The file as it is now, when it can be put to use.
fn reread(path: &Path, running: &ConfigFile) -> Result<(ConfigFile, Config)> {
    let file = ConfigFile::read(path)?;
    ensure!(
        file.kernel() == running.kernel(),
        "kernel, kernel_table and kernel_metric are read at the start only"
    );
    ensure!(
        file.tracks_next_hops() == running.tracks_next_hops(),
        "next_hop_tracking is read at the start only"
    );
    let config = file.config()?;
    Ok((file, config))
}

/// Ends the sessions. Peers with graceful restart go on sending to us, so the kernel keeps the
/// routes for them (RFC 4724 §4.1); without any, they go.
fn end(handle: &Handle, kernel: Option<&KernelRoutes>) {
    let graceful = handle.status().is_some_and(|status| {
        let ranges = status.config.ranges.iter().map(|range| &range.template);
        let mut peers = status.config.peers.iter().chain(ranges);
        peers.any(|peer| peer.graceful_restart.is_some())
    });
    if let Some(kernel) = kernel {
        kernel.finish(if graceful { End::Stay } else { End::Remove });
    }
    handle.stop();
}
