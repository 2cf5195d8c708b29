//! What a CalicoNodeStatus asks for (calico-compat §1.16): daemons, sessions and routes, by class. Times are as BIRD writes them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bgp::{Family, PeerState, PeerStatus, RibCursor, RibPath, RibSlice};
use intent::SessionKind;
use ipnet::IpNet;
use resource::kinds::{
    BgpDaemonStatus, CalicoNodeStatusStatus, NodeBgpStatus, NodePeer, NodeRoute, RouteSource,
};
use speaker::Snapshot;

use crate::bird_socket::{full, since};
use crate::event::now;
use crate::identity::timestamp;
use crate::session_report::Origin;

/// Routes of a family that an object may have: etcd takes values up to 1.5 MiB, and a route is about 150 octets.
const MOST_ROUTES: usize = 4000;
/// Nets looked at before the speaker goes on with its work.
const SLICE: usize = 4096;

/// What is known of the node.
pub(crate) struct Source<'a> {
    pub(crate) speaker: Option<&'a speaker::Handle>,
    pub(crate) wanted: &'a BTreeMap<String, Origin>,
    /// When the agent began, and when the wanted sessions changed last; since 1970.
    pub(crate) started: Duration,
    pub(crate) configured: Duration,
}

/// The status for these classes.
pub(crate) fn fill(classes: &[String], source: &Source<'_>) -> CalicoNodeStatusStatus {
    let asks = |class: &str| classes.iter().any(|c| c == class);
    let snapshot = source.speaker.and_then(speaker::Handle::status);
    let mut status = CalicoNodeStatusStatus {
        last_updated: Some(timestamp()),
        ..CalicoNodeStatusStatus::default()
    };
    if asks("Agent") {
        let daemon = daemon(snapshot.as_ref(), source);
        status.agent.bird_v4 = daemon.clone();
        status.agent.bird_v6 = daemon;
    }
    let Some(snapshot) = snapshot else {
        return status;
    };
    if asks("BGP") {
        status.bgp = peers(&snapshot.peers, source.wanted);
    }
    if asks("Routes")
        && let Some(speaker) = source.speaker
    {
        let names = names(speaker, &snapshot.peers);
        for (family, into) in [
            (Family::Ipv4, &mut status.routes.routes_v4),
            (Family::Ipv6, &mut status.routes.routes_v6),
        ] {
            *into = routes(speaker, family, &names, source.wanted);
        }
    }
    status
}

/// One speaker is both of Calico's daemons.
fn daemon(snapshot: Option<&Snapshot>, source: &Source<'_>) -> BgpDaemonStatus {
    let Some(snapshot) = snapshot else {
        return BgpDaemonStatus {
            state: "NotReady".to_string(),
            ..BgpDaemonStatus::default()
        };
    };
    BgpDaemonStatus {
        state: "Ready".to_string(),
        version: format!("selvedge {}", env!("CARGO_PKG_VERSION")),
        router_id: snapshot.config.router_id.to_string(),
        last_boot_time: full(source.started),
        last_reconfiguration_time: full(source.configured),
    }
}

fn peers(all: &[PeerStatus], wanted: &BTreeMap<String, Origin>) -> NodeBgpStatus {
    let wall = now().wall;
    let mut status = NodeBgpStatus::default();
    for peer in all {
        let one = NodePeer {
            peer_ip: peer.remote.ip().to_string(),
            peer_type: peer_type(wanted.get(&*peer.name)).to_string(),
            state: match peer.state {
                // Calico's list has no word for it.
                PeerState::Passive => PeerState::Active.to_string(),
                other => other.to_string(),
            },
            since: since(peer.since.wall, wall),
        };
        let up = i64::from(peer.state == PeerState::Established);
        match peer.remote.ip() {
            IpAddr::V4(_) => {
                status.number_established_v4 += up;
                status.number_not_established_v4 += 1 - up;
                status.peers_v4.push(one);
            }
            IpAddr::V6(_) => {
                status.number_established_v6 += up;
                status.number_not_established_v6 += 1 - up;
                status.peers_v6.push(one);
            }
        }
    }
    status
}

fn peer_type(origin: Option<&Origin>) -> &'static str {
    match origin.map(|origin| origin.kind) {
        Some(SessionKind::Mesh) => "NodeMesh",
        Some(SessionKind::Global) => "GlobalPeer",
        Some(SessionKind::Node | SessionKind::LocalWorkload) | None => "NodePeer",
    }
}

/// Peers' names and addresses by their numbers in the RIB.
fn names(
    speaker: &speaker::Handle,
    peers: &[PeerStatus],
) -> BTreeMap<u16, (Arc<str>, Option<IpAddr>)> {
    let address = |name: &str| {
        let peer = peers.iter().find(|peer| &*peer.name == name);
        peer.map(|peer| peer.remote.ip())
    };
    let sessions = speaker.sessions().unwrap_or_default().into_iter();
    sessions
        .map(|s| (s.number, (Arc::clone(&s.name), address(&s.name))))
        .collect()
}

fn routes(
    speaker: &speaker::Handle,
    family: Family,
    names: &BTreeMap<u16, (Arc<str>, Option<IpAddr>)>,
    wanted: &BTreeMap<String, Origin>,
) -> Vec<NodeRoute> {
    let mut found = Vec::new();
    let mut from = Some(RibCursor::default());
    while let Some(place) = from
        && found.len() < MOST_ROUTES
    {
        let Some(slice) = speaker.rib_slice(place, SLICE) else {
            break;
        };
        let paths = slice.paths.iter();
        let ours = paths.filter(|p| matches!(p.prefix, IpNet::V4(_)) == (family == Family::Ipv4));
        found.extend(ours.filter_map(|path| route(path, &slice, names, wanted)));
        from = slice.next;
    }
    found.truncate(MOST_ROUTES);
    found
}

/// A path that is used, as BIRD tells it: the best one is in the FIB.
fn route(
    path: &RibPath,
    slice: &RibSlice,
    names: &BTreeMap<u16, (Arc<str>, Option<IpAddr>)>,
    wanted: &BTreeMap<String, Origin>,
) -> Option<NodeRoute> {
    let set = slice.sets.get(path.used? as usize)?;
    let gateway = set.next_hop.address;
    let learned_from = match names.get(&path.peer) {
        None => RouteSource {
            source_type: "Static".to_string(),
            peer_ip: String::new(),
        },
        Some((name, address)) => RouteSource {
            source_type: match wanted.get(&**name).map(|origin| origin.kind) {
                Some(SessionKind::Mesh) => "NodeMesh".to_string(),
                Some(_) | None => "BGPPeer".to_string(),
            },
            peer_ip: address.map(|a| a.to_string()).unwrap_or_default(),
        },
    };
    Some(NodeRoute {
        route_type: if path.best { "FIB" } else { "RIB" }.to_string(),
        destination: path.prefix.to_string(),
        gateway: match gateway.is_unspecified() {
            true => "N/A".to_string(),
            false => gateway.to_string(),
        },
        interface: String::new(),
        learned_from,
    })
}
