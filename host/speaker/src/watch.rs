//! The paths that BFD watches: from the machine to the liveness process, and back.

use crate::event_loop::Command;
use bgp::{PathState, WatchedPath};
use liveness::{Client, Launch, PathEvent, Wanted};
use std::sync::Arc;
use std::sync::mpsc;

/// The way to the liveness process. It costs nothing while no path is to be watched.
pub(crate) struct Watch {
    launch: Option<Launch>,
    client: Option<Client>,
    commands: mpsc::Sender<Command>,
    waker: Arc<mio::Waker>,
}

impl Watch {
    pub fn new(
        launch: Option<Launch>,
        commands: mpsc::Sender<Command>,
        waker: Arc<mio::Waker>,
    ) -> Self {
        Watch {
            launch,
            client: None,
            commands,
            waker,
        }
    }

    /// Exactly these paths from now on.
    pub fn paths(&mut self, paths: &[WatchedPath]) {
        if self.client.is_none() {
            self.client = self.start();
        }
        if let Some(client) = &self.client {
            client.want(paths.iter().map(wanted).collect());
        }
    }

    fn start(&self) -> Option<Client> {
        let Some(launch) = self.launch.clone() else {
            tracing::warn!("bfd-not-driven: BFD is configured, and nothing here can drive it");
            return None;
        };
        let (commands, waker) = (self.commands.clone(), Arc::clone(&self.waker));
        let tell = move |event| {
            let (remote, scope, state) = known(event);
            // The speaker has stopped when nobody listens any more.
            if commands.send(Command::Path(remote, scope, state)).is_ok()
                && let Err(error) = waker.wake()
            {
                tracing::error!("cannot wake the BGP thread: {error}");
            }
        };
        Client::start(launch, tell)
            .inspect_err(|error| tracing::warn!("bfd-process: no thread for it: {error}"))
            .ok()
    }
}

fn wanted(path: &WatchedPath) -> Wanted {
    Wanted {
        scope: path.scope,
        multihop: path.bfd.multihop,
        local: path.local,
        interval_ms: u32::try_from(path.bfd.interval.as_millis()).unwrap_or(u32::MAX),
        multiplier: path.bfd.multiplier,
        ..Wanted::new(path.remote)
    }
}

fn known(event: PathEvent) -> (std::net::IpAddr, u32, PathState) {
    match event {
        PathEvent::Up { remote, scope } => (remote, scope, PathState::Up),
        PathEvent::Unknown { remote, scope } => (remote, scope, PathState::Unknown),
        PathEvent::Lost {
            remote,
            scope,
            reason,
            control_plane_independent,
        } => {
            tracing::info!("bfd: the path to {remote} is lost: {reason}");
            let forwarding = control_plane_independent;
            (remote, scope, PathState::Lost { forwarding })
        }
    }
}
