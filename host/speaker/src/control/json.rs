//! Answers as JSON, for programs. Names are those of the tables and of the configuration file.

use bgp::{Explanation, NextHop, PathInfo, PathStanding, PeerStatus, RemoteAs};
use serde_json::{Value, json};

/// An array with an object for each peer.
pub(super) fn neighbors(peers: &[PeerStatus]) -> String {
    document(peers.iter().map(neighbor).collect())
}

/// An array with an object for each prefix: its paths, the best one first.
pub(super) fn explanations(all: &[Explanation]) -> String {
    let mut array = Array::default();
    array.portion(all) + array.end()
}

/// The same array in portions, since a table's would not fit in memory beside it.
#[derive(Default)]
pub(super) struct Array {
    begun: bool,
}

impl Array {
    pub(super) fn portion(&mut self, all: &[Explanation]) -> String {
        let mut text = String::new();
        for explained in all {
            text += if self.begun { ",\n  " } else { "[\n  " };
            self.begun = true;
            let item = json!({
                "prefix": explained.prefix.to_string(),
                "paths": explained.paths.iter().map(path).collect::<Vec<_>>(),
            });
            text += &format!("{item:#}").replace('\n', "\n  ");
        }
        text
    }

    pub(super) fn end(self) -> &'static str {
        if self.begun { "\n]\n" } else { "[]\n" }
    }
}

fn document(items: Vec<Value>) -> String {
    format!("{:#}\n", Value::Array(items))
}

fn neighbor(peer: &PeerStatus) -> Value {
    let counters = &peer.counters;
    json!({
        "name": &*peer.name,
        "address": peer.remote.ip().to_string(),
        "interface": peer.interface.as_deref(),
        "port": peer.remote.port(),
        "local_address": peer.local.map(|local| local.ip().to_string()),
        "as": asn(peer.remote_as),
        "router_id": peer.remote_id.map(|id| id.to_string()),
        "state": peer.state.to_string(),
        "since": peer.since.wall.as_secs(),
        "error": peer.error,
        "notes": peer.notes,
        "dynamic": peer.dynamic,
        "rr_client": peer.rr_client,
        "families": peer.families.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "hold_time": peer.hold_time_s,
        "routes": { "received": peer.received, "rejected": peer.rejected, "stale": peer.stale },
        "counters": {
            "updates_in": counters.updates_in,
            "updates_out": counters.updates_out,
            "messages_in": counters.messages_in,
            "bytes_in": counters.bytes_in,
            "bytes_out": counters.bytes_out,
            "treated_as_withdraw": counters.treated_as_withdraw,
            "attributes_discarded": counters.attributes_discarded,
            "established": counters.established,
        },
    })
}

/// The number, or while it is not known what it may be.
fn asn(wanted: RemoteAs) -> Value {
    match wanted {
        RemoteAs::Is(asn) => asn.0.into(),
        RemoteAs::External | RemoteAs::Internal => wanted.to_string().into(),
    }
}

fn path(path: &PathInfo) -> Value {
    let lost = match path.standing {
        PathStanding::Best => None,
        PathStanding::Lost(reason) => Some(reason),
    };
    json!({
        "best": lost.is_none(),
        "lost": lost,
        "rule": path.rule,
        "peer": path.peer.as_deref(),
        "path_id": path.path_id,
        "next_hop": path.next_hop.map(|hop| hop.address.to_string()),
        "link_local": path.next_hop.and_then(link_local),
        "as_path": path.as_path,
        "origin": path.origin,
        "local_pref": path.local_pref,
        "med": path.med,
        "communities": path.communities,
        "originator_id": path.originator_id.map(|id| id.to_string()),
        "cluster_list": path.cluster_list.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "stale": path.stale,
        "long_lived_stale": path.long_lived_stale,
    })
}

fn link_local(hop: NextHop) -> Option<String> {
    hop.link_local.map(|address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_why_it_lost() {
        let path = |standing| PathInfo {
            peer: Some("tor".into()),
            next_hop: None,
            as_path: "65001 {65002}".to_owned(),
            origin: "igp",
            local_pref: 100,
            med: Some(5),
            communities: vec!["64512:7".to_owned()],
            originator_id: None,
            cluster_list: Vec::new(),
            stale: false,
            long_lived_stale: false,
            path_id: None,
            standing,
            rule: None,
        };
        let explained = Explanation {
            prefix: "10.200.0.0/26".parse().expect("a prefix"),
            paths: vec![
                path(PathStanding::Best),
                path(PathStanding::Lost("as-path-length")),
            ],
        };
        let text = explanations(&[explained.clone(), explained]);
        let json: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(text, format!("{json:#}\n"), "as it is written in one piece");
        assert_eq!(json[0], json[1]);
        assert_eq!(json[0]["prefix"], "10.200.0.0/26");
        let paths = &json[0]["paths"];
        assert_eq!(
            (&paths[0]["best"], &paths[0]["lost"]),
            (&json!(true), &Value::Null)
        );
        assert_eq!(paths[1]["lost"], "as-path-length");
        assert_eq!(paths[1]["as_path"], "65001 {65002}");
        assert_eq!(explanations(&[]), "[]\n");
    }
}
