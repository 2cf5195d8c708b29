//! BGPFilter (calico-compat §1.3).

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Kind, NoStatus, Object, Spec};

/// A BGPFilter.
pub type BgpFilter = Object<BgpFilterSpec>;

/// Which routes a BGPPeer that names the filter gets and gives: lists of rules, the first that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpFilterSpec {
    /// For IPv4 routes to the peer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub export_v4: Vec<BgpFilterRule>,
    /// For IPv4 routes from the peer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub import_v4: Vec<BgpFilterRule>,
    /// For IPv6 routes to the peer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub export_v6: Vec<BgpFilterRule>,
    /// For IPv6 routes from the peer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub import_v6: Vec<BgpFilterRule>,
}

impl BgpFilterSpec {
    /// The lists with their fields' names.
    pub fn lists(&self) -> [(&'static str, &[BgpFilterRule]); 4] {
        [
            ("exportV4", &self.export_v4),
            ("importV4", &self.import_v4),
            ("exportV6", &self.export_v6),
            ("importV6", &self.import_v6),
        ]
    }
}

/// One rule: all conditions that are given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpFilterRule {
    /// What `matchOperator` compares with.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cidr: String,
    /// Lengths of prefixes within `cidr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_length: Option<PrefixLength>,
    /// `RemotePeers`: only what a peer announced.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The interface of the route; `*` stands for any characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub interface: String,
    /// `Equal`, `NotEqual`, `In` or `NotIn`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub match_operator: String,
    /// `eBGP` or `iBGP`: the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_type: Option<String>,
    /// Communities of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub communities: Option<CommunityCondition>,
    /// The AS path begins with these.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "as_path_prefix"
    )]
    pub as_path_prefix: Vec<u32>,
    /// The route's priority, 2^31 - 1 less its local preference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// `Accept` or `Reject`.
    #[serde(default)]
    pub action: String,
    /// What is changed in an accepted route, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<BgpFilterOperation>,
}

/// Least and greatest length; what is not given is the least or greatest that `cidr` allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrefixLength {
    /// Least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i32>,
    /// Greatest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i32>,
}

/// The communities that a route must have; Calico allows one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommunityCondition {
    /// `aa:nn` or `aa:nn:mm`.
    #[serde(default)]
    pub values: Vec<String>,
}

/// One change; exactly one field is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BgpFilterOperation {
    /// Adds a community.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_community: Option<AddCommunity>,
    /// Puts AS numbers before the path.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "prependASPath"
    )]
    pub prepend_as_path: Option<PrependAsPath>,
    /// Sets the priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_priority: Option<SetPriority>,
}

/// A community to add.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddCommunity {
    /// `aa:nn` or `aa:nn:mm`.
    #[serde(default)]
    pub value: String,
}

/// AS numbers to prepend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrependAsPath {
    /// The path then begins with these, in this order.
    #[serde(default, deserialize_with = "prepended")]
    pub prefix: Vec<u32>,
}

/// A priority to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetPriority {
    /// Local preference becomes 2^31 - 1 less this.
    #[serde(default)]
    pub value: i64,
}

impl Spec for BgpFilterSpec {
    const KIND: Kind = Kind::BgpFilter;
    type Status = NoStatus;
}

fn as_path_prefix<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u32>, D::Error> {
    super::bgp_peer::as_numbers("BGPFilterRuleV4.asPathPrefix", d)
}

fn prepended<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u32>, D::Error> {
    super::bgp_peer::as_numbers("BGPFilterPrependASPath.prefix", d)
}
