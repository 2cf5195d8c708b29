//! NodeSessions, a kind of our own: what a node's agent says of its BGP sessions, for `selvedge node status --all`. Calico's
//! CalicoNodeStatus has no place for roles, numbers of prefixes and errors.

use serde::{Deserialize, Serialize};

use crate::{Kind, NoStatus, Object, Spec, Verb};

/// The sessions of the node of the same name.
pub type NodeSessions = Object<NodeSessionsSpec>;

/// What the agent said, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSessionsSpec {
    /// When, by the node's clock, RFC 3339.
    #[serde(default)]
    pub reported: String,
    /// The agent writes again within so many seconds; what is older is of an agent that does not run or cannot write.
    #[serde(default)]
    pub period_seconds: u32,
    /// BGP Identifier; empty without BGP.
    #[serde(default, skip_serializing_if = "String::is_empty", rename = "routerID")]
    pub router_id: String,
    /// The node's AS; 0 without BGP.
    #[serde(default)]
    pub as_number: u32,
    /// Each session, wanted or brought by a dynamic neighbour, by its name.
    #[serde(default)]
    pub sessions: Vec<SessionReport>,
}

/// One session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionReport {
    /// BIRD's protocol name: `Mesh_10_20_1_81`.
    #[serde(default)]
    pub name: String,
    /// The peer's address.
    #[serde(default, rename = "peerIP")]
    pub peer_ip: String,
    /// The peer's port.
    #[serde(default)]
    pub port: u16,
    /// As CalicoNodeStatus has it: `NodeMesh`, `NodePeer` or `GlobalPeer`; and ours: `LocalWorkloadPeer`, `DynamicNeighbor`.
    #[serde(default, rename = "type")]
    pub peer_type: String,
    /// What the peer is to the node: `reflector client`, `reflector`, `internal` (of the same AS) or `external`.
    #[serde(default)]
    pub role: String,
    /// The peer's AS, or which one is wanted.
    #[serde(default)]
    pub peer_as: String,
    /// What it comes from: `node-to-node mesh`, `BGPPeer(tor)`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub because: String,
    /// `Idle`, `Connect`, `Active`, `Passive`, `OpenSent`, `OpenConfirm` or `Established`.
    #[serde(default)]
    pub state: String,
    /// Since when it has the state, by the node's clock, RFC 3339.
    #[serde(default)]
    pub since: String,
    /// The last error in words; empty when there was none since the session last came up.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_error: String,
    /// What people should know of it although it may be up, by stable names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Each family that the session carries, or is to carry.
    #[serde(default)]
    pub families: Vec<FamilyReport>,
}

/// One family of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FamilyReport {
    /// `IPv4` or `IPv6`.
    #[serde(default)]
    pub family: String,
    /// Paths that the peer brought.
    #[serde(default)]
    pub received: u32,
    /// Of these, paths that are kept out.
    #[serde(default)]
    pub rejected: u32,
    /// Prefixes that the peer is told.
    #[serde(default)]
    pub advertised: u32,
}

impl Spec for NodeSessionsSpec {
    const KIND: Kind = Kind::NodeSessions;
    type Status = NoStatus;

    /// Only agents write it; whoever likes may delete what an agent left that is gone.
    fn refuse(object: &NodeSessions, verb: Verb) -> Option<String> {
        let operation = match verb {
            Verb::Create | Verb::Apply => "Create",
            Verb::Replace => "Update",
        };
        Some(format!(
            "operation {operation} is not supported on {}: the node's agent writes it",
            object.key()
        ))
    }
}
