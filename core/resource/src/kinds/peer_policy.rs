//! PeerPolicy, a kind of our own: what Calico's BGPPeer has no words for (docs/howto/peers.md).

use serde::{Deserialize, Serialize};

use crate::validate::FieldError;
use crate::validate::checks::{Checks, is_name, is_net};
use crate::{Kind, NoStatus, Object, Spec};

/// A PeerPolicy.
pub type PeerPolicy = Object<PeerPolicySpec>;

/// Terms of BGP sessions, beside what their BGPPeers say; and who may connect without a BGPPeer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerPolicySpec {
    /// The nodes whose sessions it is for; empty: all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node_selector: String,
    /// The BGPPeers whose sessions it is for, by name; `*` stands for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bgp_peers: Vec<String>,
    /// Whether it is for the sessions of the node-to-node mesh.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mesh: bool,
    /// Who may connect without a BGPPeer; the policy is for their sessions too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dynamic_neighbors: Vec<DynamicNeighbors>,
    /// What peers may bring. A BGPPeer's may bring all, as with Calico; dynamic neighbours nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imports: Option<PeerImports>,
    /// How many prefixes of each family a peer may bring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prefixes: Option<MaxPrefixes>,
    /// Two families between two nodes on two sessions, as Calico has them, or on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub families: Option<SessionFamilies>,
}

/// Neighbours that need no BGPPeer each: whoever connects from a range and is of an AS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DynamicNeighbors {
    /// Where they connect from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cidr: String,
    /// Their AS.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::as_number"
    )]
    pub as_number: Option<u32>,
    /// How many at a time; absent means 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Password of their sessions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<crate::kinds::BgpPassword>,
}

/// What peers may bring of what is the cluster's; all else they may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PeerImports {
    /// Prefixes in IP pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<Permission>,
    /// Prefixes in the ranges of service addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Permission>,
    /// `0.0.0.0/0` and `::/0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_route: Option<Permission>,
}

/// Whether something may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Permission {
    /// It may.
    Allow,
    /// It may not.
    Deny,
}

/// A limit of prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MaxPrefixes {
    /// So many of each family.
    #[serde(default)]
    pub limit: u32,
    /// A warning at so many hundredths; absent means 80, 0 none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning_percent: Option<u8>,
    /// What is done when there are more; absent means `Discard`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<OverLimit>,
    /// With `Restart`: after this long, a Go duration; absent means 5 minutes.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub restart_time: Option<String>,
}

/// What is done about more prefixes than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OverLimit {
    /// The session stays, and what is more does not count.
    Discard,
    /// The session ends (Cease, RFC 4486) and is tried again as after any error.
    End,
    /// The session ends and is tried again after `restartTime`.
    Restart,
}

/// How two families go between two nodes that have both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionFamilies {
    /// A session for each, over that family.
    Separate,
    /// One session over IPv4 for both (RFC 4760).
    Together,
}

impl Spec for PeerPolicySpec {
    const KIND: Kind = Kind::PeerPolicy;
    type Status = NoStatus;

    fn validate(object: &PeerPolicy) -> Vec<FieldError> {
        validate(&object.spec)
    }
}

fn validate(spec: &PeerPolicySpec) -> Vec<FieldError> {
    let mut checks = Checks::default();
    checks.selector("NodeSelector", "spec.nodeSelector", &spec.node_selector);
    for (i, name) in spec.bgp_peers.iter().enumerate() {
        checks.rule(
            name != "*" && !is_name(name),
            &format!("spec.bgpPeers[{i}]"),
            name,
            "must be a BGPPeer's name, or * for each",
        );
    }
    checks.spec(
        spec.bgp_peers.is_empty() && !spec.mesh && spec.dynamic_neighbors.is_empty(),
        "it is for nobody's sessions: set bgpPeers, mesh or dynamicNeighbors",
    );
    for (i, neighbors) in spec.dynamic_neighbors.iter().enumerate() {
        let at = |field: &str| format!("spec.dynamicNeighbors[{i}].{field}");
        checks.rule(
            neighbors.cidr.is_empty() || !is_net(&neighbors.cidr),
            &at("cidr"),
            &neighbors.cidr,
            "must be a CIDR without host bits",
        );
        checks.rule(
            neighbors.as_number.is_none_or(|asn| asn == 0),
            &at("asNumber"),
            "",
            "must be set",
        );
        checks.rule(
            neighbors.limit == Some(0),
            &at("limit"),
            "0",
            "must be at least 1",
        );
    }
    if let Some(limit) = &spec.max_prefixes {
        let number = limit.limit.to_string();
        let at_least = "must be at least 1";
        checks.rule(limit.limit == 0, "spec.maxPrefixes.limit", number, at_least);
        let percent = limit.warning_percent.unwrap_or_default();
        checks.rule(
            percent > 100,
            "spec.maxPrefixes.warningPercent",
            percent.to_string(),
            "must be at most 100",
        );
        checks.rule(
            limit.restart_time.is_some() && limit.action != Some(OverLimit::Restart),
            "spec.maxPrefixes.restartTime",
            limit.restart_time.clone().unwrap_or_default(),
            "only goes with action Restart",
        );
    }
    checks.fields
}
