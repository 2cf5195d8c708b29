//! PeerPolicy, a kind of our own.

use super::FieldError;
use super::checks::{Checks, is_name, is_net};
use crate::kinds::{OverLimit, PeerPolicySpec};

pub(super) fn validate(spec: &PeerPolicySpec) -> Vec<FieldError> {
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
