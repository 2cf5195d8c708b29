//! Taps: members of update groups that are no peers, by which monitoring hears of the Loc-RIB and of
//! what peers are told, as the same octets.
//!
//! ```text
//!   watch ──> a tap for the Loc-RIB, one for each session and view
//!   session up, down ──> its taps come, go      policy changed ──> its taps follow
//!   take_viewed ──> what waits for the taps of one who watches
//! ```

use super::Speaker;
use crate::Family;
use crate::filter::Filter;
use crate::rib::Joining;
use crate::rib::decision::Origin;
use crate::rib::export::Policy;
use crate::session::Peer;
use crate::view::{View, Viewed, WatchId};
use std::collections::{BTreeMap, BTreeSet};

/// Who watches, by what.
#[derive(Default)]
pub(super) struct Taps {
    watches: BTreeMap<WatchId, Watch>,
    next: u32,
    /// Numbers that taps had, for other taps. No path is of such a number, so it is free at once.
    free: Vec<u16>,
}

struct Watch {
    views: BTreeSet<View>,
    taps: Vec<Tap>,
    /// The first tap to be asked next time.
    turn: usize,
}

#[derive(Clone, Copy)]
struct Tap {
    number: u16,
    view: View,
    /// Whose Adj-RIB-Out; 0 for the Loc-RIB.
    peer: u16,
}

/// A peer's policy as a tap of this view has it.
fn viewed(view: View, policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    match view {
        View::AdjRibOutPre => {
            policy.filter = Filter::accept_all();
            policy.interfaces = None;
        }
        View::AdjRibOutPost | View::LocRib => {}
    }
    policy
}

impl Speaker {
    /// Tells views from now on, each from its beginning, by [`Speaker::take_viewed`].
    pub fn watch(&mut self, views: BTreeSet<View>) -> WatchId {
        let id = WatchId(self.taps.next);
        self.taps.next = self.taps.next.wrapping_add(1);
        let loc_rib = views.contains(&View::LocRib);
        let watch = Watch {
            views,
            taps: Vec::new(),
            turn: 0,
        };
        self.taps.watches.insert(id, watch);
        if loc_rib && let Some(number) = self.add_tap(id, View::LocRib, 0) {
            for family in Family::ALL {
                self.rib.tap(family, Policy::loc_rib(), number, None);
            }
        }
        for number in 0..self.peers.len() {
            if let Some(peer) = self.peers[number].take() {
                self.tap_session_for(&peer, &[id]);
                self.peers[number] = Some(peer);
            }
        }
        id
    }

    /// Tells no more.
    pub fn unwatch(&mut self, id: WatchId) {
        let watch = self.taps.watches.remove(&id);
        for tap in watch.into_iter().flat_map(|watch| watch.taps) {
            self.remove_tap(tap);
        }
    }

    /// What waits for one who watches, of at most about `max` octets, in turn from all views and
    /// peers; of each in order. What is not taken waits, and costs nobody else anything.
    pub fn take_viewed(&mut self, id: WatchId, max: usize) -> Vec<Viewed> {
        let mut out = Vec::new();
        let Some(watch) = self.taps.watches.get_mut(&id) else {
            return out;
        };
        let mut left = max;
        for _ in 0..watch.taps.len() {
            watch.turn = (watch.turn + 1) % watch.taps.len();
            let tap = watch.taps[watch.turn];
            let outbox = &mut self.rib.outboxes[usize::from(tap.number)];
            let mut chunks = Vec::new();
            while left > 0
                && let Some(octets) = outbox.take_entry(tap.number, &mut chunks)
            {
                left = left.saturating_sub(octets);
            }
            out.extend(chunks.into_iter().map(|messages| Viewed {
                view: tap.view,
                peer: tap.peer,
                messages,
            }));
        }
        out
    }

    /// Whether [`Speaker::take_viewed`] would give something.
    pub fn has_viewed(&self, id: WatchId) -> bool {
        let taps = self.taps.watches.get(&id).map(|watch| &watch.taps);
        let outbox = |tap: &Tap| &self.rib.outboxes[usize::from(tap.number)];
        taps.is_some_and(|taps| taps.iter().any(|tap| !outbox(tap).is_empty()))
    }

    /// `None` when there are as many peers and taps as there can be.
    fn add_tap(&mut self, id: WatchId, view: View, peer: u16) -> Option<u16> {
        let number = match self.taps.free.pop() {
            Some(number) => number,
            None => self.reserve_number()?,
        };
        self.rib.set_origin(number, Origin::LOCAL);
        let watch = self.taps.watches.get_mut(&id)?;
        watch.taps.push(Tap { number, view, peer });
        Some(number)
    }

    fn remove_tap(&mut self, tap: Tap) {
        self.rib.leave(tap.number);
        self.taps.free.push(tap.number);
    }

    /// A session is up.
    pub(super) fn tap_session(&mut self, peer: &Peer) {
        if !self.taps.watches.is_empty() {
            let ids: Vec<WatchId> = self.taps.watches.keys().copied().collect();
            self.tap_session_for(peer, &ids);
        }
    }

    fn tap_session_for(&mut self, peer: &Peer, ids: &[WatchId]) {
        let established = peer.established();
        let Some((agreed, local)) = established.and_then(|c| Some((c.agreed.clone()?, c.local?)))
        else {
            return;
        };
        for id in ids {
            for view in [View::AdjRibOutPre, View::AdjRibOutPost] {
                let wants = |watch: &Watch| watch.views.contains(&view);
                if !self.taps.watches.get(id).is_some_and(wants) {
                    continue;
                }
                let Some(number) = self.add_tap(*id, view, peer.number) else {
                    continue;
                };
                for family in &agreed.families {
                    let policy = self.policy(peer, &agreed, *family, local.ip().to_canonical());
                    let policy = viewed(view, &policy);
                    self.rib.tap(*family, policy, number, Some(peer.number));
                }
            }
        }
    }

    /// A session has ended.
    pub(super) fn untap_session(&mut self, peer: u16) {
        let mut gone = Vec::new();
        for watch in self.taps.watches.values_mut() {
            watch.taps.retain(|tap| {
                let ends = tap.view != View::LocRib && tap.peer == peer;
                gone.extend(ends.then_some(*tap));
                !ends
            });
        }
        gone.into_iter().for_each(|tap| self.remove_tap(tap));
    }

    /// A peer is told by another policy from now on.
    pub(super) fn tap_policy(&mut self, peer: u16, family: Family, policy: &Policy) {
        let taps = self.taps.watches.values().flat_map(|watch| &watch.taps);
        let concerned = |tap: &&Tap| tap.view != View::LocRib && tap.peer == peer;
        let taps: Vec<Tap> = taps.filter(concerned).copied().collect();
        for tap in taps {
            let joining = Joining {
                peer: tap.number,
                end_of_rib: false,
                marked: false,
            };
            let policy = viewed(tap.view, policy);
            self.rib.rejoin(family, Some(policy), joining);
        }
    }
}
