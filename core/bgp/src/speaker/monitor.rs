//! What monitoring asks for: sessions with their OPENs, the RIBs in slices.

use super::Speaker;
use crate::rib::LOCAL;
use crate::session::{Connection, Peer};
use crate::view::{
    Down, HeldPrefixes, Mirror, Mirrored, Opens, RibCursor, RibSlice, SessionCounts, SessionView,
};
use crate::wire::{self, Kind};
use crate::{Family, RemoteAs};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What waits for who watches.
#[derive(Default)]
pub(super) struct Mirroring {
    wanted: Option<Mirror>,
    /// UPDATEs are kept.
    updates: bool,
    happened: Vec<Mirrored>,
    /// Peers that said End-of-RIB, for [`Mirrored::Accepted`].
    ends: Vec<(u16, Family)>,
    /// How the session ended of which it will be noted next that it has.
    ending: Option<Down>,
}

impl Speaker {
    /// Keeps what peers do for [`Speaker::take_mirrored`] from now on: sessions, and what else is
    /// `wanted`. With `None` nothing.
    pub fn mirror(&mut self, wanted: Option<Mirror>) {
        let accepted = |wanted: Option<Mirror>| wanted.is_some_and(|wanted| wanted.accepted);
        if accepted(self.mirror.wanted) != accepted(wanted) {
            self.rib.note_accepted(accepted(wanted));
        }
        if wanted.is_none() {
            self.mirror = Mirroring::default();
        }
        self.mirror.updates = wanted.is_some_and(|wanted| wanted.updates);
        self.mirror.wanted = wanted;
    }

    /// What peers did since it was asked for last.
    pub fn take_mirrored(&mut self) -> Vec<Mirrored> {
        let mut happened = std::mem::take(&mut self.mirror.happened);
        if self.mirror.wanted.is_some_and(|wanted| wanted.accepted) {
            let mut accepted = self.rib.take_accepted();
            accepted.ends = std::mem::take(&mut self.mirror.ends);
            if !(accepted.paths.is_empty() && accepted.ends.is_empty()) {
                happened.push(Mirrored::Accepted(accepted));
            }
        }
        happened
    }

    /// What is counted of the sessions that are up.
    pub fn session_counts(&self) -> Vec<SessionCounts> {
        let peers = self.peers.iter().flatten().map(Box::as_ref);
        let up = peers.filter(|peer| peer.established().is_some());
        let counts = |peer: &Peer| SessionCounts {
            peer: peer.number,
            held: Family::ALL.map(|family| self.rib.counts(peer.number, family).held),
            treated_as_withdraw: peer.counters.treated_as_withdraw,
        };
        up.map(counts).collect()
    }

    /// How many of the next `max` nets have a chosen path; a walk through them in parts, so that
    /// it holds nobody up.
    pub fn count_chosen(&self, from: RibCursor, max: usize) -> (usize, Option<RibCursor>) {
        self.rib.count_chosen(from, max)
    }

    /// How many of the next `max` nets each peer is told, by [`SessionView::number`]; a walk as [`Self::count_chosen`]. A number
    /// may be below zero, which wraps: only the sum over all parts of a family counts.
    pub fn count_told(&self, from: RibCursor, max: usize) -> (Vec<u32>, Option<RibCursor>) {
        self.rib.count_told(from, max)
    }

    /// What is held of each peer, by family.
    pub fn held_prefixes(&self) -> Vec<HeldPrefixes> {
        let peers = self.peers.iter().flatten().map(Box::as_ref);
        let counts = |peer: &Peer| {
            let counts = Family::ALL.map(|family| self.rib.counts(peer.number, family));
            HeldPrefixes {
                number: peer.number,
                name: Arc::clone(&peer.name),
                held: counts.map(|c| c.held),
                rejected: counts.map(|c| c.rejected),
            }
        };
        peers.map(counts).collect()
    }

    pub(super) fn mirror_up(&mut self, peer: &Peer) {
        if self.mirror.wanted.is_some() {
            let view = self.session_view(peer);
            self.mirror.happened.push(Mirrored::Up(view.into()));
        }
    }

    #[inline]
    pub(super) fn mirror_update(&mut self, peer: &Peer, body: &[u8]) {
        if self.mirror.updates {
            let (peer, message) = (peer.number, whole(Kind::Update, body));
            self.mirror
                .happened
                .push(Mirrored::Update { peer, message });
        }
    }

    pub(super) fn mirror_end(&mut self, peer: u16, family: Family) {
        if self.mirror.wanted.is_some_and(|wanted| wanted.accepted) {
            self.mirror.ends.push((peer, family));
        }
    }

    pub(super) fn mirror_ending(&mut self, how: impl FnOnce() -> Down) {
        if self.mirror.wanted.is_some() {
            self.mirror.ending = Some(how());
        }
    }

    pub(super) fn mirror_down(&mut self, peer: &Peer) {
        if self.mirror.wanted.is_some() {
            let why = self.mirror.ending.take().unwrap_or(Down::Lost);
            let peer = peer.number;
            self.mirror.happened.push(Mirrored::Down { peer, why });
        }
    }

    /// The next part of all paths: at most about `max` prefixes, in no order, so that a look at a
    /// great table holds nobody up. What changes meanwhile may be seen before or after its change.
    pub fn rib_slice(&self, from: RibCursor, max: usize) -> RibSlice {
        self.rib.walk(from, max)
    }

    /// All peers that are up or of which paths are kept, by number.
    pub fn sessions(&self) -> Vec<SessionView> {
        let peers = self.peers.iter().flatten();
        let has_routes = |peer: &Peer| {
            let counts = Family::ALL.map(|family| self.rib.counts(peer.number, family).held);
            peer.number != LOCAL && counts.iter().any(|held| *held > 0)
        };
        peers
            .filter(|peer| peer.established().is_some() || has_routes(peer))
            .map(|peer| self.session_view(peer))
            .collect()
    }

    pub(super) fn session_view(&self, peer: &Peer) -> SessionView {
        let agreed = peer.session();
        let opens = peer.established().and_then(|connection| {
            let agreed = connection.agreed.as_ref()?;
            let ids = agreed.families.iter().filter(|f| agreed.ids_in.of(**f));
            Some(Opens {
                local: connection.local?,
                local_as: self.local_as(peer),
                sent: connection.opens.0.to_vec(),
                received: connection.opens.1.to_vec(),
                as4: agreed.as4,
                ids_in: ids.copied().collect(),
                families: agreed.families.clone(),
                since: peer.since.wall,
            })
        });
        let configured = match peer.config.remote_as {
            RemoteAs::Is(asn) => asn.0,
            RemoteAs::Internal => self.local_as(peer),
            RemoteAs::External => 0,
        };
        SessionView {
            number: peer.number,
            name: peer.name.clone(),
            remote: peer.config.remote,
            remote_as: agreed.map_or(configured, |agreed| agreed.remote_as),
            remote_id: agreed.map_or(Ipv4Addr::UNSPECIFIED, |agreed| agreed.remote_id),
            opens,
        }
    }
}

impl Connection {
    /// Keeps the peer's OPEN for monitoring.
    pub(super) fn keep_open(&mut self, body: &[u8]) {
        self.opens.1 = whole(Kind::Open, body).into();
    }
}

/// A message with its header.
fn whole(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(wire::HEADER + body.len());
    let at = wire::begin(&mut out, kind);
    out.extend_from_slice(body);
    wire::finish(&mut out, at);
    out
}
