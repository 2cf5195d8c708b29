//! Unnumbered peers: the configuration names an interface, and the driver says who is on it.

use super::Speaker;
use crate::session::Peer;
use crate::wire::notification::{Notification, cease, code};
use crate::{Neighbor, Now, Output, PeerConfig};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

impl Speaker {
    fn unnumbered(&self) -> impl Iterator<Item = &Peer> {
        let peers = self.peers.iter().flatten().map(Box::as_ref);
        peers.filter(|peer| peer.config.interface.is_some())
    }

    /// Says on which interfaces neighbours are to be found.
    pub(super) fn tell_interfaces(&mut self) {
        self.interfaces_wanted = false;
        let wanted = self.unnumbered().filter_map(|p| p.config.interface.clone());
        let mut wanted: Vec<Arc<str>> = wanted.collect();
        wanted.sort();
        self.outputs.push_back(Output::FindNeighbors(wanted));
    }

    /// Whether there is a session with who is on an interface.
    pub fn is_established_on(&self, interface: &str) -> bool {
        let mut peers = self.unnumbered();
        peers.any(|p| p.config.interface.as_deref() == Some(interface) && p.established().is_some())
    }

    /// Puts who was found into the wanted configuration, so that it is no change.
    pub(super) fn keep_neighbors(&self, wanted: &mut BTreeMap<Arc<str>, PeerConfig>) {
        for peer in self.unnumbered() {
            let mut entries = wanted.values_mut();
            if let Some(entry) = entries.find(|entry| entry.interface == peer.config.interface) {
                let mut found = peer.config.remote;
                found.set_port(entry.remote.port());
                entry.remote = found;
            }
        }
    }

    pub(super) fn neighbor(&mut self, interface: &str, neighbor: Neighbor, now: Now) {
        let mut peers = self.unnumbered();
        let peer = peers.find(|peer| peer.config.interface.as_deref() == Some(interface));
        let Some(number) = peer.map(|peer| peer.number) else {
            return;
        };
        drop(peers);
        self.with_peer(number, now, |speaker, peer| {
            let port = peer.config.remote.port();
            let (address, scope) = match neighbor {
                Neighbor::At { address, scope } => (address, scope),
                Neighbor::Awaited | Neighbor::NoInterface | Neighbor::Refused => {
                    (Ipv6Addr::UNSPECIFIED, 0)
                }
            };
            let remote = SocketAddr::V6(SocketAddrV6::new(address, port, 0, scope));
            if remote != peer.config.remote {
                speaker.move_peer(peer, remote, now);
            }
            if let Some(waits_for) = neighbor.waits_for()
                && peer.config.authentication.refusal().is_none()
            {
                peer.error = waits_for.to_owned();
            }
        });
    }

    /// The peer is somebody else from now on, or nobody: no route of the former one can be used.
    fn move_peer(&mut self, peer: &mut Peer, remote: SocketAddr, now: Now) {
        let why = Notification::new(code::CEASE, cease::CONFIG_CHANGE);
        self.end_all(peer, Some(why), false, now);
        self.drop_stale(peer);
        self.forget_address(peer);
        peer.config.remote = remote;
        let ip: IpAddr = remote.ip().to_canonical();
        self.by_address.entry(ip).or_default().push(peer.number);
        (peer.idle_until, peer.connect_at, peer.errors) = (None, None, 0);
        peer.error.clear();
        self.note_path(peer);
        self.start(peer, now);
    }
}
