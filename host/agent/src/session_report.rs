//! From what the speaker says of its peers to a NodeSessions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bgp::{Family, PeerStatus, RemoteAs};
use intent::{Session, SessionKind};
use node::Node;
use resource::kinds::{FamilyReport, NodeSessionsSpec, SessionReport};
use speaker::{PrefixCounts, Snapshot};

/// Where a session comes from, which the speaker does not know.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) kind: SessionKind,
    because: String,
    /// The peer reflects routes to us.
    is_reflector: bool,
}

/// The sessions that are wanted, by name.
pub(crate) fn wanted(node: &Node) -> BTreeMap<String, Origin> {
    let Some(intent) = node.intent() else {
        return BTreeMap::new();
    };
    let clusters = reflectors(node);
    let origin = |session: &Session| {
        let of_peer = clusters.get(&session.address);
        Origin {
            kind: session.kind,
            because: session.because.clone(),
            is_reflector: of_peer.is_some() && session.rr_client.is_none(),
        }
    };
    let sessions = intent.bgp.sessions.iter();
    sessions.map(|s| (s.name.clone(), origin(s))).collect()
}

/// The nodes that are route reflectors: their cluster IDs by address.
fn reflectors(node: &Node) -> BTreeMap<std::net::IpAddr, String> {
    let mut found = BTreeMap::new();
    for one in node.resources().nodes.values() {
        let Some(bgp) = &one.spec.bgp else { continue };
        if bgp.route_reflector_cluster_id.is_empty() {
            continue;
        }
        for text in [&bgp.ipv4_address, &bgp.ipv6_address] {
            if let Some(net) = intent::parse_address(text) {
                found.insert(net.addr(), bgp.route_reflector_cluster_id.clone());
            }
        }
    }
    found
}

/// Each session as it is now.
pub(crate) fn sessions(
    snapshot: &Snapshot,
    counts: &BTreeMap<Arc<str>, PrefixCounts>,
    wanted: &BTreeMap<String, Origin>,
) -> Vec<SessionReport> {
    let local_as = snapshot.config.local_as.0;
    let one = |peer: &PeerStatus| {
        let origin = wanted.get(&*peer.name);
        let configured = snapshot.config.peers.iter().find(|c| c.name == *peer.name);
        let own = configured
            .and_then(|c| c.local_as)
            .map_or(local_as, |a| a.0);
        let counts = counts.get(&peer.name).copied().unwrap_or_default();
        let carried = match peer.families.as_slice() {
            [] => configured.map(|c| c.families.clone()).unwrap_or_default(),
            families => families.to_vec(),
        };
        SessionReport {
            name: peer.name.to_string(),
            peer_ip: peer.remote.ip().to_string(),
            port: peer.remote.port(),
            peer_type: peer_type(peer, origin).to_string(),
            role: role(peer, origin, own).to_string(),
            peer_as: peer.remote_as.to_string(),
            because: origin.map(|o| o.because.clone()).unwrap_or_default(),
            state: peer.state.to_string(),
            since: instant(peer.since.wall),
            last_error: in_words(peer),
            notes: peer.notes.iter().map(ToString::to_string).collect(),
            families: carried.iter().map(|f| family(*f, &counts)).collect(),
        }
    };
    snapshot.peers.iter().map(one).collect()
}

/// RFC 3339, in seconds.
pub(crate) fn instant(wall: Duration) -> String {
    let seconds = i64::try_from(wall.as_secs()).unwrap_or_default();
    let at = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn family(family: Family, counts: &PrefixCounts) -> FamilyReport {
    let at = family as usize;
    FamilyReport {
        family: match family {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        }
        .to_string(),
        received: counts.held[at],
        rejected: counts.rejected[at],
        advertised: counts.told[at],
    }
}

fn peer_type(peer: &PeerStatus, origin: Option<&Origin>) -> &'static str {
    match origin.map(|o| o.kind) {
        _ if peer.dynamic => "DynamicNeighbor",
        Some(SessionKind::Mesh) => "NodeMesh",
        Some(SessionKind::Global) => "GlobalPeer",
        Some(SessionKind::LocalWorkload) => "LocalWorkloadPeer",
        Some(SessionKind::Node) | None => "NodePeer",
    }
}

fn role(peer: &PeerStatus, origin: Option<&Origin>, own: u32) -> &'static str {
    let internal = match peer.remote_as {
        RemoteAs::Is(asn) => asn.0 == own,
        RemoteAs::Internal => true,
        RemoteAs::External => false,
    };
    match (internal, origin) {
        _ if peer.rr_client => "reflector client",
        (true, Some(origin)) if origin.is_reflector => "reflector",
        (true, _) => "internal",
        (false, _) => "external",
    }
}

/// BIRD's words, and what they mean where that is not plain.
fn in_words(peer: &PeerStatus) -> String {
    let error = peer.error.as_str();
    let meaning = match error {
        "Received: Bad peer AS" => {
            "the peer does not expect our AS: compare the AS numbers on both sides"
        }
        "Error: Bad peer AS" => "the peer has another AS than is written here",
        "Socket: Connection refused" => "nothing listens there, or it does not know us",
        "Socket: Connection timed out" => {
            "no answer: the peer is away, filtered, or asks for a password"
        }
        // `tcp-md5-unanswered`, `tcp-ao-unanswered`.
        text if text.ends_with("-unanswered)") => {
            "no answer: the password may be another one on the other side, or none"
        }
        _ => return error.to_string(),
    };
    format!("{error}; {meaning}")
}

/// A report without what changes all the time: times of the report, numbers of prefixes.
pub(crate) fn comparable(report: &NodeSessionsSpec) -> NodeSessionsSpec {
    let mut report = report.clone();
    report.reported.clear();
    for session in &mut report.sessions {
        session.since.clear();
        // A session that does not come up goes through its states again and again.
        if session.state != "Established" {
            session.state.clear();
        }
        for family in &mut session.families {
            (family.received, family.rejected, family.advertised) = (0, 0, 0);
        }
    }
    report
}
