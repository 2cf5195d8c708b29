//! `selvedge node status --all`: every node's BGP sessions, as their agents wrote them into the store.

use std::collections::{BTreeMap, BTreeSet};

use resource::kinds::{NodeSessionsSpec, SessionReport};
use resource::{Kind, Object, Store};
use serde::Serialize;
use serde_json::Value;

use crate::client::Client;
use crate::columns::align;
use crate::tables::age;
use crate::world::{Failure, World};
use crate::yaml;

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One line for each session and family.
    Table,
    /// A list of nodes.
    Json,
    /// The same.
    Yaml,
}

impl Form {
    /// What `-o` says.
    ///
    /// # Errors
    /// It is none of these.
    pub fn read(word: Option<&str>) -> Result<Form, Failure> {
        match word {
            None | Some("table") => Ok(Form::Table),
            Some("json") => Ok(Form::Json),
            Some("yaml" | "yml") => Ok(Form::Yaml),
            Some(other) => Err(Failure::Message {
                text: format!("unrecognized output format '{other}'"),
                hint: Some("write table, json or yaml".to_string()),
            }),
        }
    }
}

/// One node, and what is known of its sessions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    node: String,
    /// `fresh`, `stale`: the agent should have written again since, `never`: it has written nothing, or `deleted`: there is no such
    /// Node any more.
    report: Standing,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<i64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    said: Option<NodeSessionsSpec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Standing {
    Fresh,
    Stale,
    Never,
    Deleted,
}

/// Prints what each node said.
///
/// # Errors
/// The store's.
pub fn show<S: Store + Sync>(
    form: Form,
    client: &Client<'_, S>,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let lines = lines(client, world.now)?;
    match form {
        Form::Table => world.print(align(&table(&lines, world.now))),
        Form::Json => {
            let text = serde_json::to_string_pretty(&lines).expect("our own types are JSON");
            world.print(format_args!("{text}\n"))
        }
        Form::Yaml => {
            let value = serde_json::to_value(&lines).expect("our own types are JSON");
            world.print(yaml::write(&value))
        }
    }
}

fn lines<S: Store + Sync>(
    client: &Client<'_, S>,
    now: jiff::Timestamp,
) -> Result<Vec<Line>, Failure> {
    let list = |kind| client.list(kind, None).map_err(Failure::message);
    let (nodes, _) = list(Kind::Node)?;
    let (reports, _) = list(Kind::NodeSessions)?;
    let mut said: BTreeMap<String, NodeSessionsSpec> = BTreeMap::new();
    for report in reports {
        let object: Object<NodeSessionsSpec> =
            Object::from_value(report).map_err(Failure::message)?;
        said.insert(object.metadata.name, object.spec);
    }
    let name = |node: &Value| node["metadata"]["name"].as_str().map(String::from);
    let there: BTreeSet<String> = nodes.iter().filter_map(name).collect();
    let all: BTreeSet<String> = there.iter().chain(said.keys()).cloned().collect();
    Ok(all
        .into_iter()
        .map(|node| line(&there, said.remove(&node), node, now))
        .collect())
}

fn line(
    there: &BTreeSet<String>,
    said: Option<NodeSessionsSpec>,
    node: String,
    now: jiff::Timestamp,
) -> Line {
    let at = said
        .as_ref()
        .and_then(|s| s.reported.parse::<jiff::Timestamp>().ok());
    // A node's clock may be ahead of ours.
    let age_seconds = at.map(|at| (now.as_second() - at.as_second()).max(0));
    let report = match (&said, age_seconds) {
        (None, _) => Standing::Never,
        (Some(_), _) if !there.contains(&node) => Standing::Deleted,
        (Some(said), Some(age)) if age <= i64::from(said.period_seconds) => Standing::Fresh,
        (Some(_), _) => Standing::Stale,
    };
    Line {
        node,
        report,
        age_seconds,
        said,
    }
}

const HEADINGS: [&str; 11] = [
    "NODE",
    "REPORTED",
    "PEER ADDRESS",
    "PEER TYPE",
    "ROLE",
    "FAMILY",
    "STATE",
    "SINCE",
    "IN",
    "OUT",
    "LAST ERROR",
];

fn table(lines: &[Line], now: jiff::Timestamp) -> Vec<Vec<String>> {
    let mut rows = vec![HEADINGS.map(String::from).to_vec()];
    for line in lines {
        let reported = reported(line, now);
        let sessions = line.said.iter().flat_map(|said| &said.sessions);
        let mut cells: Vec<[String; 9]> = sessions.flat_map(session).collect();
        if cells.is_empty() {
            let why = match line.report {
                Standing::Never => "this node's agent has written nothing",
                Standing::Fresh | Standing::Stale | Standing::Deleted => "no sessions",
            };
            let mut none: [String; 9] = std::array::from_fn(|_| "-".to_string());
            none[8] = why.to_string();
            cells.push(none);
        }
        for cell in cells {
            let mut row = vec![line.node.clone(), reported.clone()];
            row.extend(cell);
            rows.push(row);
        }
    }
    rows
}

fn reported(line: &Line, now: jiff::Timestamp) -> String {
    let age = line.said.as_ref().map(|said| age(&said.reported, now));
    let age = age.unwrap_or_default();
    match line.report {
        Standing::Fresh => format!("{age} ago"),
        Standing::Stale => format!("stale, {age} ago"),
        Standing::Never => "never".to_string(),
        Standing::Deleted => format!("no such Node, {age} ago"),
    }
}

/// A session's cells from PEER ADDRESS on, for each family.
fn session(session: &SessionReport) -> Vec<[String; 9]> {
    let error = match (session.last_error.as_str(), session.notes.as_slice()) {
        ("", []) => "-".to_string(),
        ("", notes) => notes.join(", "),
        (error, []) => error.to_string(),
        (error, notes) => format!("{error} ({})", notes.join(", ")),
    };
    let address = match (session.port, session.peer_ip.contains(':')) {
        (0 | 179, _) => session.peer_ip.clone(),
        (port, true) => format!("[{}]:{port}", session.peer_ip),
        (port, false) => format!("{}:{port}", session.peer_ip),
    };
    let one = |family: &resource::kinds::FamilyReport| {
        let received = match family.rejected {
            0 => family.received.to_string(),
            rejected => format!("{} ({rejected} rejected)", family.received),
        };
        [
            address.clone(),
            words(&session.peer_type).to_string(),
            session.role.clone(),
            family.family.clone(),
            session.state.clone(),
            session.since.clone(),
            received,
            family.advertised.to_string(),
            error.clone(),
        ]
    };
    session.families.iter().map(one).collect()
}

/// A peer's type as calicoctl's `node status` has it.
fn words(peer_type: &str) -> &str {
    match peer_type {
        "NodeMesh" => "node-to-node mesh",
        "NodePeer" => "node specific",
        "GlobalPeer" => "global",
        "LocalWorkloadPeer" => "local workload",
        "DynamicNeighbor" => "dynamic neighbour",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_old_or_absent_is_marked() {
        let now: jiff::Timestamp = "2026-11-27T15:00:00Z".parse().unwrap();
        let there = BTreeSet::from(["a".to_string()]);
        let said = |reported: &str| {
            let object = json!({"reported": reported, "periodSeconds": 180, "sessions": [{
                "name": "Mesh_10_0_0_2", "peerIP": "10.0.0.2", "port": 179, "type": "NodeMesh", "role": "internal",
                "state": "Active", "since": "2026-11-27T14:00:00Z", "lastError": "Socket: Connection refused",
                "families": [{"family": "IPv4", "received": 3, "rejected": 1, "advertised": 2}],
            }]});
            serde_json::from_value::<NodeSessionsSpec>(object).unwrap()
        };
        let check = |node: &str, reported: Option<&str>, expected: &str| {
            let line = line(&there, reported.map(said), node.to_string(), now);
            let rows = table(&[line], now);
            assert_eq!(rows.len(), 2);
            assert_eq!(rows[1].join("|"), expected);
        };
        let rest = "10.0.0.2|node-to-node mesh|internal|IPv4|Active|2026-11-27T14:00:00Z|3 (1 rejected)|2|Socket: Connection refused";
        let fresh = Some("2026-11-27T14:57:00Z");
        check("a", fresh, &format!("a|3m ago|{rest}"));
        let old = Some("2026-11-27T14:56:59Z");
        check("a", old, &format!("a|stale, 3m ago|{rest}"));
        check("b", fresh, &format!("b|no such Node, 3m ago|{rest}"));
        check(
            "a",
            None,
            "a|never|-|-|-|-|-|-|-|-|this node's agent has written nothing",
        );
    }
}
