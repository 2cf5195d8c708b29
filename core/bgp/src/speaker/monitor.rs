//! What monitoring asks for: sessions with their OPENs, the RIBs in slices.

use super::Speaker;
use crate::Family;
use crate::rib::LOCAL;
use crate::session::{Connection, Peer};
use crate::view::{Opens, RibCursor, RibSlice, SessionView};
use crate::wire::{self, Kind};
use std::net::Ipv4Addr;

impl Speaker {
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
        SessionView {
            number: peer.number,
            name: peer.name.clone(),
            remote: peer.config.remote,
            remote_as: agreed.map_or(peer.config.remote_as.0, |agreed| agreed.remote_as),
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
