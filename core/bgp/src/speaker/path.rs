//! Paths that BFD watches (RFC 5882 §10.2): which ones, and what follows from their state.
//!
//! Strict mode (draft-ietf-idr-bgp-bfd-strict-mode): while the path is not known to be up, our KEEPALIVE that answers the
//! peer's OPEN is held back, so the session stays in OpenConfirm with the words `waiting-for-bfd`.

use super::Speaker;
use super::fsm::RECONNECT;
use crate::output::{WatchedPath, scope};
use crate::session::{Peer, Stage, Waiting};
use crate::wire;
use crate::wire::notification::{Notification, cease, code};
use crate::{ConnId, Now, Output, PathState};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// Shown beside the state while a session waits for its path.
const WAITING: &str = "waiting-for-bfd";

/// What is known of paths.
#[derive(Default)]
pub(super) struct Paths {
    /// By address, and interface where that is link-local.
    up: BTreeSet<(IpAddr, u32)>,
    /// The driver must be told anew.
    pub changed: bool,
    told: Vec<WatchedPath>,
}

/// What tells the path to a peer from others.
fn key_of(peer: &Peer) -> (IpAddr, u32) {
    let remote = peer.config.remote;
    (remote.ip().to_canonical(), scope(remote))
}

impl Speaker {
    /// A peer came, went or changed.
    pub(super) fn note_path(&mut self, peer: &Peer) {
        self.paths.changed |= peer.config.bfd.is_some();
    }

    /// Says which paths are to be watched, when that changed.
    pub(super) fn tell_paths(&mut self) {
        self.paths.changed = false;
        let mut wanted: Vec<WatchedPath> = Vec::new();
        for peer in self.by_name.values() {
            let peer = self.peers[usize::from(*peer)].as_deref();
            wanted.extend(peer.and_then(|peer| WatchedPath::of(&peer.config)));
        }
        // Sessions with one address share its path; the first by name counts.
        wanted.sort_by_key(WatchedPath::key);
        wanted.dedup_by_key(|path| path.key());
        let is_wanted = |key: &(IpAddr, u32)| wanted.iter().any(|path| path.key() == *key);
        self.paths.up.retain(is_wanted);
        if wanted != self.paths.told {
            self.paths.told.clone_from(&wanted);
            self.outputs.push_back(Output::WatchPaths(wanted));
        }
    }

    pub(super) fn path(&mut self, key: (IpAddr, u32), state: PathState, now: Now) {
        match state {
            PathState::Up => self.paths.up.insert(key),
            PathState::Unknown | PathState::Lost { .. } => self.paths.up.remove(&key),
        };
        for number in self.by_address.get(&key.0).cloned().unwrap_or_default() {
            self.with_peer(number, now, |speaker, peer| match state {
                _ if key_of(peer) != key => {}
                PathState::Up => speaker.path_up(peer, now),
                PathState::Lost { forwarding } => speaker.path_lost(peer, forwarding, now),
                PathState::Unknown => {}
            });
        }
    }

    /// Packets do not arrive any more. An established session ends, and its routes go at once. A restart under way is
    /// given up only when forwarding itself is lost (RFC 5882 §4.3).
    fn path_lost(&mut self, peer: &mut Peer, forwarding: bool, now: Now) {
        if peer.established().is_none() && !forwarding {
            return;
        }
        self.drop_stale(peer);
        if peer.connections.is_empty() {
            return;
        }
        let why = Notification::new(code::CEASE, cease::BFD_DOWN);
        self.end_all(peer, Some(why), false, now);
        peer.error = "Error: BFD session down".to_owned();
        self.retry_later(peer, RECONNECT, now);
    }

    /// Whether a session must wait for its path before it is confirmed; if so, until when at most.
    pub(super) fn must_wait(&self, peer: &Peer, now: Now) -> Option<Waiting> {
        let hold = peer.config.bfd.as_ref()?.strict?;
        let is_up = self.paths.up.contains(&key_of(peer));
        (!is_up).then_some(Waiting {
            until: now.mono + hold,
            confirmed: false,
        })
    }

    /// Lets a connection wait in OpenConfirm.
    pub(super) fn wait_for_path(peer: &mut Peer, conn: ConnId, waiting: Waiting) {
        if let Some(connection) = peer.connection(conn) {
            connection.waiting = Some(waiting);
        }
        peer.error = WAITING.to_owned();
    }

    /// The peer confirmed a connection; false when that is only noted, as the path is waited for.
    pub(super) fn is_confirmed(peer: &mut Peer, conn: ConnId) -> bool {
        let waiting = peer.connection(conn).and_then(|c| c.waiting.as_mut());
        if let Some(waiting) = waiting {
            waiting.confirmed = true;
            return false;
        }
        true
    }

    /// What waited goes on.
    fn path_up(&mut self, peer: &mut Peer, now: Now) {
        for conn in peer.connections.iter().map(|c| c.id).collect::<Vec<_>>() {
            let Some(connection) = peer.connection(conn) else {
                continue;
            };
            let Some(waiting) = connection.waiting.take() else {
                continue;
            };
            debug_assert_eq!(connection.stage, Stage::OpenConfirm);
            if peer.error == WAITING {
                peer.error.clear();
            }
            self.confirm(peer, conn, now);
            if waiting.confirmed {
                self.established(peer, conn);
            }
        }
    }

    /// Answers an OPEN.
    pub(super) fn confirm(&mut self, peer: &mut Peer, conn: ConnId, now: Now) {
        let Some(connection) = peer.connection(conn) else {
            return;
        };
        let agreed = connection.agreed.as_ref();
        let interval = agreed.map_or(Duration::ZERO, |agreed| agreed.keepalive);
        connection.arm_keepalive(now.mono, interval, &mut self.random);
        self.say(peer, conn, wire::keepalive(), now);
    }
}
