//! Answers as tables and sentences, for people.

use bgp::{Explanation, PathInfo, PathStanding, PeerStatus};
use std::fmt::Write as _;
use std::sync::Arc;

const NEIGHBOR_WIDTHS: [usize; 6] = [24, 22, 10, 8, 8, 10];
const ROUTE_WIDTHS: [usize; 6] = [20, 18, 24, 10, 10, 10];

fn table_row(widths: [usize; 6], cells: &[&str]) -> String {
    let mut out = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let _ = write!(out, "{cell:<width$} ");
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// A row for each peer.
pub(super) fn neighbors(peers: &[PeerStatus]) -> String {
    let mut out = table_row(
        NEIGHBOR_WIDTHS,
        &["NAME", "ADDRESS", "AS", "ROUTES", "REJECTED", "INFO"],
    );
    for peer in peers {
        out += &table_row(
            NEIGHBOR_WIDTHS,
            &[
                &peer.name,
                &address(peer),
                &peer.remote_as.to_string(),
                &peer.received.to_string(),
                &peer.rejected.to_string(),
                &info(peer),
            ],
        );
    }
    out
}

/// Address and port; of an unnumbered peer the address on its interface, as soon as it is known.
fn address(peer: &PeerStatus) -> String {
    let ip = peer.remote.ip();
    match &peer.interface {
        None => peer.remote.to_string(),
        Some(interface) if ip.is_unspecified() => format!("%{interface}"),
        Some(interface) => format!("{ip}%{interface}"),
    }
}

/// The state, and in parentheses what one should know of it.
fn info(peer: &PeerStatus) -> String {
    if peer.notes.is_empty() {
        return peer.info();
    }
    format!("{} ({})", peer.info(), peer.notes.join(", "))
}

fn hop(path: &PathInfo) -> String {
    path.next_hop
        .map_or_else(|| "self".to_owned(), |hop| hop.address.to_string())
}

fn peer_name(path: &PathInfo) -> &str {
    path.peer.as_ref().map_or("local", |name| Arc::as_ref(name))
}

/// Above the rows that [`route`] makes.
pub(super) fn routes_head() -> String {
    let head = ["PREFIX", "NEXT HOP", "PEER", "LOCAL_PREF", "AS_PATH"];
    table_row(ROUTE_WIDTHS, &head)
}

/// The best path of a prefix, if there is one.
pub(super) fn route(explained: &Explanation) -> String {
    match explained
        .paths
        .first()
        .filter(|path| path.standing == PathStanding::Best)
    {
        Some(best) => table_row(
            ROUTE_WIDTHS,
            &[
                &explained.prefix.to_string(),
                &hop(best),
                peer_name(best),
                &best.local_pref.to_string(),
                &best.as_path,
            ],
        ),
        None => String::new(),
    }
}

/// All paths of a prefix, each with what became of it.
pub(super) fn explanation(explained: &Explanation) -> String {
    let mut out = format!("{}\n", explained.prefix);
    if explained.paths.is_empty() {
        out += "  no path\n";
    }
    for path in &explained.paths {
        let verdict = match path.standing {
            PathStanding::Best => "best".to_owned(),
            PathStanding::Lost(reason) => match &path.rule {
                Some(rule) => format!("lost: {reason} ({rule})"),
                None => format!("lost: {reason}"),
            },
        };
        let _ = write!(
            out,
            "  {verdict}\n    via {} from {}",
            hop(path),
            peer_name(path)
        );
        let _ = write!(
            out,
            ", local_pref {}, origin {}",
            path.local_pref, path.origin
        );
        let _ = write!(out, ", as_path [{}]", path.as_path);
        if let Some(id) = path.path_id {
            let _ = write!(out, ", path id {id}");
        }
        if let Some(med) = path.med {
            let _ = write!(out, ", med {med}");
        }
        if let Some(originator) = path.originator_id {
            let clusters: Vec<String> = path.cluster_list.iter().map(ToString::to_string).collect();
            let _ = write!(
                out,
                ", originator {originator}, clusters [{}]",
                clusters.join(" ")
            );
        }
        if !path.communities.is_empty() {
            let _ = write!(out, ", communities [{}]", path.communities.join(" "));
        }
        out += match (path.long_lived_stale, path.stale) {
            (true, _) => ", long-lived stale\n",
            (false, true) => ", stale\n",
            (false, false) => "\n",
        };
    }
    out
}
