//! BMP messages (RFC 7854) about the Adj-RIB-In before policy.

use crate::update::{afi, announce, end_of_rib, put_prefix};
use bgp::{Down, Family, Opens, RibSlice, SessionView};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Message types (RFC 7854 §4.1).
mod kind {
    pub const ROUTE_MONITORING: u8 = 0;
    pub const PEER_DOWN: u8 = 2;
    pub const PEER_UP: u8 = 3;
    pub const INITIATION: u8 = 4;
}

fn message(kind: u8, body: &[&[u8]], out: &mut Vec<u8>) {
    let length = 6 + body.iter().map(|part| part.len()).sum::<usize>();
    out.push(3);
    out.extend_from_slice(&(length as u32).to_be_bytes());
    out.push(kind);
    body.iter().for_each(|part| out.extend_from_slice(part));
}

/// Appends an Initiation message (§4.3).
pub fn initiation(name: &str, description: &str, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    for (kind, text) in [(1u16, description), (2, name)] {
        body.extend_from_slice(&kind.to_be_bytes());
        body.extend_from_slice(&(text.len() as u16).to_be_bytes());
        body.extend_from_slice(text.as_bytes());
    }
    message(kind::INITIATION, &[&body], out);
}

fn address(address: IpAddr) -> [u8; 16] {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let mut whole = [0; 16];
            whole[12..].copy_from_slice(&v4.octets());
            whole
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// What a station is told, and what it therefore knows: the peers that are up.
#[derive(Default)]
pub struct Feed {
    up: BTreeMap<u16, (SessionView, Opens)>,
}

impl Feed {
    /// Per-Peer Header (§4.2): global instance, before policy.
    fn header((view, opens): &(SessionView, Opens), at: Duration) -> Vec<u8> {
        let remote = view.remote.ip().to_canonical();
        let flags = u8::from(remote.is_ipv6()) << 7 | u8::from(!opens.as4) << 5;
        let mut out = vec![0, flags];
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&address(remote));
        out.extend_from_slice(&view.remote_as.to_be_bytes());
        out.extend_from_slice(&view.remote_id.octets());
        out.extend_from_slice(&(at.as_secs() as u32).to_be_bytes());
        out.extend_from_slice(&at.subsec_micros().to_be_bytes());
        out
    }

    /// Appends Peer Up (§4.10) for a session; nothing for a peer that is down. `at` is when it came
    /// up, since the Unix epoch.
    pub fn up(&mut self, view: &SessionView, at: Duration, out: &mut Vec<u8>) {
        let Some(opens) = view.opens.clone() else {
            return;
        };
        let peer = (view.clone(), opens);
        let ports = [
            peer.1.local.port().to_be_bytes(),
            view.remote.port().to_be_bytes(),
        ]
        .concat();
        let body: [&[u8]; 5] = [
            &Feed::header(&peer, at),
            &address(peer.1.local.ip()),
            &ports,
            &peer.1.sent,
            &peer.1.received,
        ];
        message(kind::PEER_UP, &body, out);
        self.up.insert(view.number, peer);
    }

    /// Appends Peer Down (§4.9).
    pub fn down(&mut self, number: u16, why: &Down, at: Duration, out: &mut Vec<u8>) {
        let Some(peer) = self.up.remove(&number) else {
            return;
        };
        let header = Feed::header(&peer, at);
        let body: [&[u8]; 3] = match why {
            Down::Sent(notification) => [&header, &[1], notification],
            Down::Silent => [&header, &[2], &[0, 0]],
            Down::Received(notification) => [&header, &[3], notification],
            Down::Lost => [&header, &[4], &[]],
        };
        message(kind::PEER_DOWN, &body, out);
    }

    /// Appends Route Monitoring (§4.6) with an UPDATE as it was received.
    pub fn update(&self, number: u16, update: &[u8], at: Duration, out: &mut Vec<u8>) {
        if let Some(peer) = self.up.get(&number) {
            let header = Feed::header(peer, at);
            message(kind::ROUTE_MONITORING, &[&header, update], out);
        }
    }

    /// Appends Route Monitoring for the paths of a slice as the peers said them, other than stale
    /// ones, which their sessions have not said. Those of sessions that the station does not know
    /// yet come as updates.
    pub fn slice(&self, slice: &RibSlice, at: Duration, out: &mut Vec<u8>) {
        for path in &slice.paths {
            let Some(peer) = self.up.get(&path.peer).filter(|_| !path.stale) else {
                continue;
            };
            let family = match afi(&path.prefix) {
                1 => Family::Ipv4,
                _ => Family::Ipv6,
            };
            let mut nlri = Vec::with_capacity(21);
            let ids = peer.1.ids_in.contains(&family);
            put_prefix(&mut nlri, &path.prefix, ids.then_some(path.path_id));
            let set = &slice.sets[path.received as usize];
            if set.octets.len() > 60_000 {
                continue;
            }
            let update = announce(afi(&path.prefix), &set.octets, &set.next_hop, &nlri);
            // These have AS numbers of four octets, whatever the session has.
            let mut header = Feed::header(peer, at);
            header[1] &= !0x20;
            message(kind::ROUTE_MONITORING, &[&header, &update], out);
        }
    }

    /// Appends End-of-RIB for all peers that are up (§5).
    pub fn end_of_rib(&self, at: Duration, out: &mut Vec<u8>) {
        for peer in self.up.values() {
            for family in &peer.1.families {
                let end = end_of_rib(match family {
                    Family::Ipv4 => 1,
                    Family::Ipv6 => 2,
                });
                message(
                    kind::ROUTE_MONITORING,
                    &[&Feed::header(peer, at), &end],
                    out,
                );
            }
        }
    }
}
