//! BGPPeer (calico-compat §1.2).

use serde::{Deserialize, Deserializer, Serialize};

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

impl Spec for BgpPeerSpec {
    const KIND: Kind = Kind::BgpPeer;
    type Status = NoStatus;
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
