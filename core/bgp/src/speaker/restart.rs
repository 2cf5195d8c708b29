//! Graceful restart (RFC 4724): a peer that comes back keeps its routes meanwhile, and so do we.

use super::Speaker;
use crate::session::{Negotiated, Peer};
use crate::{Family, Now, Output};
use std::time::Duration;

/// Whether the peers have told us all they have since we started.
pub(super) struct Sync {
    /// Not waited for longer; `None` when it is done.
    until: Option<Duration>,
}

impl Sync {
    pub fn new(until: Duration) -> Self {
        Sync { until: Some(until) }
    }

    pub fn is_done(&self) -> bool {
        self.until.is_none()
    }

    pub fn deadline(&self) -> Option<Duration> {
        self.until
    }
}

impl Speaker {
    /// Says `InSync` once when every configured peer has sent End-of-RIB, or never will.
    pub(super) fn check_sync(&mut self, now: Now) {
        let Some(until) = self.sync.until else { return };
        let is_synced = |number: &u16| {
            let peer = self.peers[usize::from(*number)].as_deref();
            peer.is_none_or(|peer| peer.synced || peer.dynamic)
        };
        if now.mono < until && !self.by_name.values().all(is_synced) {
            return;
        }
        self.sync.until = None;
        self.rib.hold_end_of_rib(false);
        self.announce_output(now);
        // What came before this is part of what is in sync.
        loop {
            let routes = self.rib.take_routes(512, &self.names);
            if routes.is_empty() {
                break;
            }
            self.outputs.push_back(Output::Routes(routes));
        }
        self.outputs.push_back(Output::InSync);
    }

    /// The session is up: what of the stale routes may stay until End-of-RIB?
    pub(super) fn session_began(&mut self, peer: &mut Peer, agreed: &Negotiated) {
        let restart = agreed.restart.as_ref();
        let forwards = |family: &Family| {
            let families = restart.map(|r| r.families.as_slice()).unwrap_or_default();
            families.contains(&(*family, true))
        };
        for family in std::mem::take(&mut peer.stale) {
            if forwards(&family) && agreed.families.contains(&family) {
                peer.stale.push(family);
            } else {
                self.rib.clear(peer.number, family, true);
            }
        }
        let stale_time = peer
            .config
            .graceful_restart
            .map(|restart| restart.stale_time);
        peer.stale_until = match (peer.stale.is_empty(), stale_time) {
            (false, Some(time)) => peer.established().map(|c| c.heard + time),
            (true, _) | (_, None) => None,
        };
        // Whoever has the capability sends End-of-RIB; a peer that restarts itself waits for us.
        peer.awaiting = match restart {
            Some(restart) if !restart.restarting => agreed.families.clone(),
            Some(_) | None => Vec::new(),
        };
        peer.synced |= peer.awaiting.is_empty();
        peer.keeps = restart.map(|restart| {
            let families = restart.families.iter().map(|(family, _)| *family);
            (
                Duration::from_secs(u64::from(restart.time_s)),
                families.collect(),
            )
        });
    }

    pub(super) fn end_of_rib(&mut self, peer: &mut Peer, family: Family) {
        peer.awaiting.retain(|awaited| *awaited != family);
        if peer.stale.contains(&family) {
            peer.stale.retain(|stale| *stale != family);
            self.rib.clear(peer.number, family, true);
            if peer.stale.is_empty() {
                peer.stale_until = None;
            }
        }
        peer.synced |= peer.awaiting.is_empty();
    }

    /// The session has gone. Its routes stay for a while if the peer is expected back
    /// (`graceful`, and both sides have the capability), else they go now.
    pub(super) fn session_lost(&mut self, peer: &mut Peer, graceful: bool, now: Now) {
        self.mirror_down(peer);
        self.rib.leave(peer.number);
        peer.awaiting.clear();
        (peer.warned, peer.discards) = ([false; 2], false);
        let lasted = now.mono.saturating_sub(peer.since.mono);
        if lasted > peer.config.error_wait.1 {
            peer.errors = 0;
        }
        let restart = peer.keeps.take().filter(|_| graceful);
        for family in Family::ALL {
            let kept = restart.as_ref().filter(|r| r.1.contains(&family));
            if kept.is_some() {
                // RFC 4724 §4.2: what was stale before is not kept over a second restart.
                self.rib.clear(peer.number, family, true);
                self.rib.mark_stale(peer.number, family);
                if self.rib.counts(peer.number, family).held > 0 && !peer.stale.contains(&family) {
                    peer.stale.push(family);
                }
            } else {
                self.rib.clear(peer.number, family, false);
                peer.stale.retain(|stale| *stale != family);
            }
        }
        peer.stale_until = match restart {
            Some((time, _)) if !peer.stale.is_empty() => Some(now.mono + time),
            Some(_) | None => None,
        };
    }

    /// Waited long enough: what is stale goes.
    pub(super) fn drop_stale(&mut self, peer: &mut Peer) {
        for family in std::mem::take(&mut peer.stale) {
            self.rib.clear(peer.number, family, true);
        }
        peer.stale_until = None;
    }
}
