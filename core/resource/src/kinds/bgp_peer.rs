//! BGPPeer (calico-compat §1.2).

use serde::{Deserialize, Deserializer, Serialize};

use crate::spec::{Need, Others};
use crate::validate::FieldError;
use crate::validate::checks::{Checks, is_ip, is_ip_port, is_name, peer_address};
use crate::{Kind, NoStatus, Object, Spec};

/// A BGPPeer.
pub type BgpPeer = Object<BgpPeerSpec>;

/// A peering of some nodes with an address, or with other nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpPeerSpec {
    /// Only this node has the peering.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// The nodes that have it; with `node` empty too: all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node_selector: String,
    /// `IP` or `IP:port`.
    #[serde(default, skip_serializing_if = "String::is_empty", rename = "peerIP")]
    pub peer_ip: String,
    /// The peer's AS; 0 is as none.
    #[serde(
        default,
        skip_serializing_if = "none_or_zero",
        deserialize_with = "peer_as_number"
    )]
    pub as_number: Option<u32>,
    /// Own AS on this session, in place of the node's.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "localASNumber",
        deserialize_with = "local_as_number"
    )]
    pub local_as_number: Option<u32>,
    /// Peer with the nodes that match.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub peer_selector: String,
    /// Deprecated: keep the next hop on eBGP sessions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_original_next_hop: bool,
    /// `Auto`, `Self` or `Keep`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop_mode: Option<String>,
    /// Password of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<crate::kinds::BgpPassword>,
    /// `UseNodeIP` or `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_address: Option<String>,
    /// Graceful restart time, a Go duration.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub max_restart_time: Option<String>,
    /// Keepalive interval, a Go duration.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::kinds::go_duration"
    )]
    pub keepalive_time: Option<String>,
    /// How often the own AS may stand in a path that is received.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "numAllowedLocalASNumbers"
    )]
    pub num_allowed_local_as_numbers: Option<i32>,
    /// Hops allowed under GTSM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_security: Option<u8>,
    /// The gateway to the peer, of the peer's family.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reachable_by: String,
    /// BGPFilters, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// Peer with the local workloads that match.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub local_workload_selector: String,
    /// `Auto`: the peer gets the reverse session by itself; `Manual`: not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverse_peering: Option<String>,
}

fn none_or_zero(number: &Option<u32>) -> bool {
    number.is_none_or(|n| n == 0)
}

/// Reads an AS number as Calico does: an integer, a decimal string, or dotted `"high.low"`.
///
/// # Errors
/// A text that is none of these, or out of range.
pub fn as_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    as_number_of("BGPConfigurationSpec.spec.asNumber", deserializer)
}

pub(super) fn peer_as_number<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u32>, D::Error> {
    Ok(as_number_of("BGPPeerSpec.spec.asNumber", d)?.filter(|n| *n != 0))
}

pub(super) fn local_as_number<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u32>, D::Error> {
    as_number_of("BGPPeerSpec.spec.localASNumber", d)
}

pub(super) fn node_as_number<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u32>, D::Error> {
    as_number_of("NodeBGPSpec.spec.bgp.asNumber", d)
}

/// AS numbers in a list, each in any of the forms.
pub(super) fn as_numbers<'de, D: Deserializer<'de>>(
    field: &str,
    deserializer: D,
) -> Result<Vec<u32>, D::Error> {
    use serde::de::Error;

    let values = Option::<Vec<serde_json::Value>>::deserialize(deserializer)?;
    let number = |value| {
        let number =
            as_number_of(field, value).map_err(|error: serde_json::Error| Error::custom(error))?;
        Ok(number.unwrap_or_default())
    };
    values.unwrap_or_default().into_iter().map(number).collect()
}

/// `field` is the field as Go's decoder names it.
fn as_number_of<'de, D: Deserializer<'de>>(
    field: &str,
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    use serde::de::Error;

    let unfit = |found: &str| {
        let text =
            format!("json: cannot unmarshal {found} into Go struct field {field} of type string");
        Error::custom(text)
    };
    let text = match Option::<serde_json::Value>::deserialize(deserializer)? {
        None | Some(serde_json::Value::Null) => return Ok(None),
        Some(serde_json::Value::Number(number)) => {
            let number = number.as_u64().and_then(|n| u32::try_from(n).ok());
            return number.map(Some).ok_or_else(|| unfit("number"));
        }
        Some(serde_json::Value::String(text)) => text,
        Some(serde_json::Value::Bool(_)) => return Err(unfit("bool")),
        Some(serde_json::Value::Array(_)) => return Err(unfit("array")),
        Some(serde_json::Value::Object(_)) => return Err(unfit("object")),
    };
    let parsed = match text.split_once('.') {
        Some((high, low)) => high
            .parse::<u16>()
            .ok()
            .zip(low.parse::<u16>().ok())
            .map(|(high, low)| u32::from(high) << 16 | u32::from(low)),
        None => text.parse().ok(),
    };
    parsed
        .map(Some)
        .ok_or_else(|| Error::custom(format!("invalid AS Number format ({text})")))
}

impl Spec for BgpPeerSpec {
    const KIND: Kind = Kind::BgpPeer;
    type Status = NoStatus;

    fn validate(peer: &BgpPeer) -> Vec<FieldError> {
        rules(&peer.spec)
    }

    fn needs(peer: &BgpPeer, _creates: bool) -> Vec<Need> {
        if peer.spec.filters.is_empty() {
            Vec::new()
        } else {
            vec![Need::Filters]
        }
    }

    fn check(peer: &BgpPeer, _stored: Option<&BgpPeer>, others: &Others<'_>) -> Vec<FieldError> {
        absent_filters(&peer.spec, others.filters)
    }
}

fn rules(spec: &BgpPeerSpec) -> Vec<FieldError> {
    let mut checks = Checks::default();
    checks.tag("Node", &spec.node, "name", is_name);
    checks.selector("NodeSelector", "spec.nodeSelector", &spec.node_selector);
    checks.tag("PeerIP", &spec.peer_ip, "IP:port", is_ip_port);
    checks.selector("PeerSelector", "spec.peerSelector", &spec.peer_selector);
    let source = spec.source_address.as_deref().unwrap_or_default();
    checks.tag("SourceAddress", source, "sourceAddress", |v| {
        ["UseNodeIP", "None"].contains(&v)
    });
    checks.tag("ReachableBy", &spec.reachable_by, "reachableBy", is_ip);
    for (i, filter) in spec.filters.iter().enumerate() {
        checks.item("Filters", i, filter, "name", is_name);
    }
    checks.selector(
        "LocalWorkloadSelector",
        "spec.localWorkloadSelector",
        &spec.local_workload_selector,
    );
    between_fields(spec, &mut checks);
    schema(spec, &mut checks);
    checks.fields
}

/// The rules of the validator between fields.
fn between_fields(spec: &BgpPeerSpec, checks: &mut Checks) {
    let set = |text: &str| !text.is_empty();
    let as_number = spec.as_number.unwrap_or(0);
    checks.rule(
        set(&spec.node) && set(&spec.node_selector),
        "Node",
        &spec.node,
        "Node field must be empty when NodeSelector is specified",
    );
    checks.rule(
        set(&spec.peer_ip) && set(&spec.peer_selector),
        "PeerIP",
        &spec.peer_ip,
        "PeerIP field must be empty when PeerSelector is specified",
    );
    checks.rule(
        as_number != 0 && set(&spec.peer_selector),
        "ASNumber",
        as_number.to_string(),
        "ASNumber field must be empty when PeerSelector is specified",
    );
    checks.rule(
        spec.keep_original_next_hop && spec.next_hop_mode.is_some(),
        "KeepOriginalNextHop",
        // Calico shows this value.
        &spec.peer_ip,
        "The KeepOriginalNextHop field is deprecated. It must not be set to true when NextHopMode is configured.",
    );
    if set(&spec.reachable_by) {
        checks.rule(
            spec.peer_ip.is_empty(),
            "ReachableBy",
            &spec.reachable_by,
            // Calico's spelling.
            "ReachablyBy field must be empty when PeerIP is empty",
        );
        let peer = peer_address(&spec.peer_ip);
        let gateway: Option<std::net::IpAddr> = spec.reachable_by.parse().ok();
        checks.rule(
            peer.zip(gateway)
                .is_some_and(|(p, g)| p.is_ipv4() != g.is_ipv4()),
            "ReachableBy",
            &spec.reachable_by,
            "ReachableBy and PeerIP address family mismatched",
        );
    }
    if set(&spec.local_workload_selector) {
        checks.rule(
            set(&spec.peer_ip),
            "PeerIP",
            &spec.peer_ip,
            "PeerIP field must be empty when LocalWorkloadSelector is specified",
        );
        checks.rule(
            set(&spec.peer_selector),
            "PeerSelector",
            // Calico shows this value.
            &spec.peer_ip,
            "PeerSelector field must be empty when LocalWorkloadSelector is specified",
        );
        checks.rule(
            as_number == 0,
            "ASNumber",
            "0",
            "ASNumber field must NOT be empty when LocalWorkloadSelector is specified",
        );
    }
}

/// The rules of the CRD's schema.
fn schema(spec: &BgpPeerSpec, checks: &mut Checks) {
    let set = |text: &str| !text.is_empty();
    let as_number = spec.as_number.unwrap_or(0) != 0;
    let workloads = set(&spec.local_workload_selector);
    checks.supported(
        "spec.nextHopMode",
        spec.next_hop_mode.as_deref(),
        &["Auto", "Self", "Keep"],
    );
    let source = spec.source_address.as_deref();
    checks.supported("spec.sourceAddress", source, &["UseNodeIP", "None"]);
    checks.max_length("spec.node", &spec.node, 253);
    checks.max_length("spec.peerIP", &spec.peer_ip, 64);
    let reverse = spec.reverse_peering.as_deref();
    checks.supported("spec.reversePeering", reverse, &["Auto", "Manual"]);
    for (wrong, reason) in [
        (
            set(&spec.node) && set(&spec.node_selector),
            "node and nodeSelector cannot both be set",
        ),
        (
            set(&spec.peer_ip) && set(&spec.peer_selector),
            "peerIP and peerSelector cannot both be set",
        ),
        (
            as_number && set(&spec.peer_selector),
            "asNumber must be empty when peerSelector is set",
        ),
        (
            workloads && set(&spec.peer_ip),
            "peerIP must be empty when localWorkloadSelector is set",
        ),
        (
            workloads && set(&spec.peer_selector),
            "peerSelector must be empty when localWorkloadSelector is set",
        ),
        (
            workloads && !as_number,
            "asNumber is required when localWorkloadSelector is set",
        ),
    ] {
        checks.spec(wrong, reason);
    }
}

/// Filters that are not there; `known` are the names of those that are.
fn absent_filters(spec: &BgpPeerSpec, known: &[String]) -> Vec<FieldError> {
    let absent: Vec<&str> = spec
        .filters
        .iter()
        .filter(|f| !known.contains(f))
        .map(String::as_str)
        .collect();
    if absent.is_empty() {
        return Vec::new();
    }
    vec![FieldError::new(
        "BGPPeer.Spec.Filters",
        format!("[{}]", absent.join(" ")),
        "BGPFilter(s) not found",
    )]
}
