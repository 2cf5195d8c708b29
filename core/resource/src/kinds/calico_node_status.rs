//! CalicoNodeStatus (calico-compat §1.16).

use serde::{Deserialize, Serialize};

use crate::validate::FieldError;
use crate::validate::checks::{Checks, go_list, is_name};
use crate::{Kind, Object, Spec};

/// What a node is asked to say of itself, and what it said.
pub type CalicoNodeStatus = Object<CalicoNodeStatusSpec>;

/// What is asked of which node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CalicoNodeStatusSpec {
    /// The node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// `Agent`, `BGP`, `Routes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// How often, in seconds; 0 means no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_period_seconds: Option<u32>,
}

/// What the node said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CalicoNodeStatusStatus {
    /// When, RFC 3339; written as null before the first time.
    #[serde(default)]
    pub last_updated: Option<String>,
    /// Its daemons.
    #[serde(default)]
    pub agent: NodeAgentStatus,
    /// Its sessions.
    #[serde(default)]
    pub bgp: NodeBgpStatus,
    /// Its routes.
    #[serde(default)]
    pub routes: NodeRoutes,
}

/// The daemons of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeAgentStatus {
    /// That of IPv4.
    #[serde(default, rename = "birdV4")]
    pub bird_v4: BgpDaemonStatus,
    /// That of IPv6.
    #[serde(default, rename = "birdV6")]
    pub bird_v6: BgpDaemonStatus,
}

/// A daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpDaemonStatus {
    /// `Ready` or `NotReady`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Its version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Its router ID.
    #[serde(default, skip_serializing_if = "String::is_empty", rename = "routerID")]
    pub router_id: String,
    /// When it began.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_boot_time: String,
    /// When it was configured last.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_reconfiguration_time: String,
}

/// The sessions of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeBgpStatus {
    /// How many are up.
    #[serde(default, rename = "numberEstablishedV4")]
    pub number_established_v4: i64,
    /// How many are not.
    #[serde(default, rename = "numberNotEstablishedV4")]
    pub number_not_established_v4: i64,
    /// How many are up.
    #[serde(default, rename = "numberEstablishedV6")]
    pub number_established_v6: i64,
    /// How many are not.
    #[serde(default, rename = "numberNotEstablishedV6")]
    pub number_not_established_v6: i64,
    /// Each of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "peersV4")]
    pub peers_v4: Vec<NodePeer>,
    /// Each of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "peersV6")]
    pub peers_v6: Vec<NodePeer>,
}

/// A session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodePeer {
    /// With whom.
    #[serde(default, skip_serializing_if = "String::is_empty", rename = "peerIP")]
    pub peer_ip: String,
    /// `NodeMesh`, `NodePeer` or `GlobalPeer`.
    #[serde(default, skip_serializing_if = "String::is_empty", rename = "type")]
    pub peer_type: String,
    /// `Idle`, `Connect`, `Active`, `OpenSent`, `OpenConfirm`, `Established` or `Close`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Since when.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub since: String,
}

/// The routes of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeRoutes {
    /// Of IPv4.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "routesV4")]
    pub routes_v4: Vec<NodeRoute>,
    /// Of IPv6.
    #[serde(default, skip_serializing_if = "Vec::is_empty", rename = "routesV6")]
    pub routes_v6: Vec<NodeRoute>,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeRoute {
    /// `FIB` or `RIB`.
    #[serde(default, skip_serializing_if = "String::is_empty", rename = "type")]
    pub route_type: String,
    /// Whereto.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub destination: String,
    /// By which gateway.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// By which interface.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interface: String,
    /// Where it comes from.
    #[serde(default)]
    pub learned_from: RouteSource,
}

/// Where a route comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteSource {
    /// `Kernel`, `Static`, `Direct`, `NodeMesh` or `BGPPeer`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source_type: String,
    /// From whom.
    #[serde(default, skip_serializing_if = "String::is_empty", rename = "peerIP")]
    pub peer_ip: String,
}

const CLASSES: [&str; 3] = ["Agent", "BGP", "Routes"];
const DAY: u32 = 86400;

impl Spec for CalicoNodeStatusSpec {
    const KIND: Kind = Kind::CalicoNodeStatus;
    type Status = CalicoNodeStatusStatus;

    fn validate(object: &CalicoNodeStatus) -> Vec<FieldError> {
        let spec = &object.spec;
        let mut checks = Checks::default();
        checks.required("Node", &spec.node);
        checks.tag("Node", &spec.node, "name", is_name);
        let classes = &spec.classes;
        let twice = (1..classes.len()).any(|i| classes[..i].contains(&classes[i]));
        for (wrong, tag) in [(classes.is_empty(), "required"), (twice, "unique")] {
            if wrong {
                checks
                    .fields
                    .push(FieldError::tag("Classes", go_list(classes), tag));
            }
        }
        match spec.update_period_seconds {
            None => checks
                .fields
                .push(FieldError::tag("UpdatePeriodSeconds", "<nil>", "required")),
            Some(seconds) if seconds > DAY => {
                let shown = seconds.to_string();
                checks
                    .fields
                    .push(FieldError::tag("UpdatePeriodSeconds", shown, "lte"));
            }
            Some(_) => (),
        }
        for (i, class) in classes.iter().enumerate() {
            checks.supported(&format!("spec.classes[{i}]"), Some(class), &CLASSES);
        }
        checks.fields
    }
}
