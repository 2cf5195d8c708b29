//! Graceful restart (RFC 4724): a peer that comes back keeps its routes meanwhile, and so do we.
//! Long-lived graceful restart (RFC 9494): when it takes longer they are kept as the last resort.

use super::Speaker;
use crate::session::{LongLivedTimer, Negotiated, Peer, Retention, StaleFamily};
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
        // Which capability says so depends on how far it has come (RFC 4724 §4.2, RFC 9494 §4.2).
        let forwards = |entry: &StaleFamily| match entry.timer {
            LongLivedTimer::Runs(_) => {
                let mut families = agreed.long_lived.iter();
                families.any(|said| said.family == entry.family && said.forwarding)
            }
            LongLivedTimer::NotStarted | LongLivedTimer::Expired => {
                let families = restart.map(|r| r.families.as_slice()).unwrap_or_default();
                families.contains(&(entry.family, true))
            }
        };
        let heard = peer.established().map(|c| c.heard);
        let stale_time = peer.config.graceful_restart.map(|r| r.stale_time);
        for mut entry in std::mem::take(&mut peer.stale) {
            if forwards(&entry) && agreed.families.contains(&entry.family) {
                entry.until = heard.zip(stale_time).map(|(heard, time)| heard + time);
                peer.stale.push(entry);
            } else {
                self.rib.clear(peer.number, entry.family, true);
            }
        }
        // Whoever has the capability sends End-of-RIB; a peer that restarts itself waits for us.
        peer.awaiting = match restart {
            Some(restart) if !restart.restarting => agreed.families.clone(),
            Some(_) | None => Vec::new(),
        };
        peer.synced |= peer.awaiting.is_empty();
        peer.keeps = Family::ALL
            .into_iter()
            .filter_map(|family| retention(agreed, family))
            .collect();
    }

    pub(super) fn end_of_rib(&mut self, peer: &mut Peer, family: Family) {
        self.mirror_end(peer.number, family);
        peer.awaiting.retain(|awaited| *awaited != family);
        if peer.stale.iter().any(|entry| entry.family == family) {
            peer.stale.retain(|entry| entry.family != family);
            self.rib.clear(peer.number, family, true);
        }
        peer.synced |= peer.awaiting.is_empty();
    }

    /// The session has gone. Its routes stay for a while if the peer is expected back
    /// (`graceful`, and both sides have the capability), else they go now.
    pub(super) fn session_lost(&mut self, peer: &mut Peer, graceful: bool, now: Now) {
        self.mirror_down(peer);
        self.rib.leave(peer.number);
        self.untap_session(peer.number);
        peer.awaiting.clear();
        (peer.warned, peer.discards) = ([false; 2], false);
        let lasted = now.mono.saturating_sub(peer.since.mono);
        if lasted > peer.config.error_wait.1 {
            peer.errors = 0;
        }
        let keeps = std::mem::take(&mut peer.keeps);
        let before = std::mem::take(&mut peer.stale);
        for family in Family::ALL {
            let kept = keeps.iter().find(|k| k.family == family);
            let was = before.iter().find(|entry| entry.family == family);
            let timer = was.map_or(LongLivedTimer::NotStarted, |entry| entry.timer);
            // RFC 9494 §4.2: when the time is over before all was sent again, nothing more is kept.
            let expired = timer == LongLivedTimer::Expired;
            match kept.filter(|_| graceful && !expired) {
                Some(kept) => self.keep_stale(peer, *kept, timer, now),
                None => self.rib.clear(peer.number, family, false),
            }
        }
    }

    /// Keeps the routes of a family as stale ones.
    fn keep_stale(&mut self, peer: &mut Peer, kept: Retention, timer: LongLivedTimer, now: Now) {
        let family = kept.family;
        let limit = peer.config.long_lived.as_ref().and_then(|l| l.limit);
        let long_lived = kept.long_lived.min(limit.unwrap_or(Duration::MAX));
        if long_lived.is_zero() && timer == LongLivedTimer::NotStarted {
            // RFC 4724 §4.2: what was stale before is not kept over a second restart. It is where
            // a long-lived stale time is to come or runs (RFC 9494 §4.2).
            self.rib.clear(peer.number, family, true);
        }
        self.rib.mark_stale(peer.number, family);
        if self.rib.counts(peer.number, family).held > 0 {
            let mut entry = StaleFamily {
                family,
                until: Some(now.mono + kept.restart_time),
                long_lived,
                timer,
            };
            let at_once = kept.restart_time.is_zero() && !long_lived.is_zero();
            if !at_once || self.outlast(peer.number, &mut entry, false, now) {
                peer.stale.push(entry);
            }
        }
    }

    /// Something is due about stale routes.
    pub(super) fn stale_due(&mut self, peer: &mut Peer, now: Now) {
        let is_up = peer.established().is_some();
        for mut entry in std::mem::take(&mut peer.stale) {
            if self.outlast(peer.number, &mut entry, is_up, now) {
                peer.stale.push(entry);
            }
        }
    }

    /// Takes the stale routes of a family one step on, if that is due; false when there are none
    /// left to look after.
    fn outlast(&mut self, number: u16, entry: &mut StaleFamily, is_up: bool, now: Now) -> bool {
        let family = entry.family;
        if let Some(until) = entry.until.filter(|until| *until <= now.mono) {
            entry.until = None;
            if entry.timer == LongLivedTimer::NotStarted && !entry.long_lived.is_zero() {
                entry.timer = LongLivedTimer::Runs(until + entry.long_lived);
            }
            if is_up || !entry.is_long_lived() {
                self.rib.clear(number, family, true);
                return false;
            }
            self.rib.begin_long_lived(number, family);
            if self.rib.counts(number, family).held == 0 {
                return false;
            }
        }
        match entry.timer {
            LongLivedTimer::Runs(until) if until <= now.mono => {
                self.rib.clear(number, family, true);
                entry.timer = LongLivedTimer::Expired;
                is_up
            }
            LongLivedTimer::NotStarted | LongLivedTimer::Runs(_) | LongLivedTimer::Expired => true,
        }
    }

    /// What is stale goes.
    pub(super) fn drop_stale(&mut self, peer: &mut Peer) {
        for entry in std::mem::take(&mut peer.stale) {
            self.rib.clear(peer.number, entry.family, true);
        }
    }
}

/// What a session agrees on for the time after it, in a family.
fn retention(agreed: &Negotiated, family: Family) -> Option<Retention> {
    let restart = agreed.restart.as_ref()?;
    let listed = restart.families.iter().any(|(listed, _)| *listed == family);
    let said = agreed.long_lived.iter().find(|said| said.family == family);
    let long_lived = said.map_or(Duration::ZERO, |said| {
        Duration::from_secs(u64::from(said.stale_time_s))
    });
    (listed || !long_lived.is_zero()).then_some(Retention {
        family,
        // RFC 9494 §4.2: for a family that is not listed it is zero.
        restart_time: if listed {
            Duration::from_secs(u64::from(restart.time_s))
        } else {
            Duration::ZERO
        },
        long_lived,
    })
}
