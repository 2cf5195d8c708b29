//! BGPFilter (calico-compat §1.3).

use serde::{Deserialize, Deserializer, Serialize};

use crate::validate::FieldError;
use crate::validate::checks::{
    self, COMMUNITY_PATTERN, Checks, ROUTE_PRIORITY_MAX, is_community, is_net,
};
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

fn as_path_prefix<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u32>, D::Error> {
    super::bgp_peer::as_numbers("BGPFilterRuleV4.asPathPrefix", d)
}

fn prepended<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u32>, D::Error> {
    super::bgp_peer::as_numbers("BGPFilterPrependASPath.prefix", d)
}

impl Spec for BgpFilterSpec {
    const KIND: Kind = Kind::BgpFilter;
    type Status = NoStatus;

    fn validate(filter: &BgpFilter) -> Vec<FieldError> {
        rules(&filter.spec)
    }
}

const OPERATIONS_MAX: usize = 10;
const PREPEND_MAX: usize = 10;

fn rules(spec: &BgpFilterSpec) -> Vec<FieldError> {
    let mut checks = Checks::default();
    for (list, rules) in spec.lists() {
        let ipv4 = list.ends_with("V4");
        for rule in rules {
            tags(rule, ipv4, &mut checks);
        }
    }
    for (list, rules) in spec.lists() {
        for (i, rule) in rules.iter().enumerate() {
            schema(&format!("spec.{list}[{i}]"), rule, &mut checks);
        }
    }
    checks.fields
}

fn is_net_v4(text: &str) -> bool {
    is_net(text) && checks::is_cidr_v4(text)
}

fn is_net_v6(text: &str) -> bool {
    is_net(text) && checks::is_cidr_v6(text)
}

/// The rules of the validator.
fn tags(rule: &BgpFilterRule, ipv4: bool, checks: &mut Checks) {
    let operator = rule.match_operator.as_str();
    let (net, is_net, length) = if ipv4 {
        ("netv4", is_net_v4 as fn(&str) -> bool, 32)
    } else {
        ("netv6", is_net_v6 as fn(&str) -> bool, 128)
    };
    checks.tag("CIDR", &rule.cidr, net, is_net);
    for (field, value) in rule
        .prefix_length
        .iter()
        .flat_map(|l| [("Min", l.min), ("Max", l.max)])
    {
        if let Some(value) = value.filter(|value| !(0..=length).contains(value)) {
            let tag = if ipv4 {
                "bgpFilterPrefixLengthV4"
            } else {
                "bgpFilterPrefixLengthV6"
            };
            checks
                .fields
                .push(FieldError::tag(field, value.to_string(), tag));
        }
    }
    checks.tag("Source", &rule.source, "oneof", |v| v == "RemotePeers");
    checks.tag("Interface", &rule.interface, "bgpFilterInterface", |v| {
        v == "*" || v.len() <= 15 && checks::is_interface(&v.replace('*', "x"))
    });
    checks.tag("MatchOperator", operator, "matchOperator", |v| {
        ["Equal", "NotEqual", "In", "NotIn"].contains(&v)
    });
    let peer_type = rule.peer_type.as_deref().unwrap_or_default();
    checks.tag("PeerType", peer_type, "oneof", |v| {
        ["eBGP", "iBGP"].contains(&v)
    });
    priority_tag("Priority", rule.priority, checks);
    checks.required("Action", &rule.action);
    checks.tag("Action", &rule.action, "filterAction", |v| {
        ["Accept", "Reject"].contains(&v)
    });
    for operation in &rule.operations {
        operation_tags(operation, checks);
    }
    checks.rule(
        !rule.cidr.is_empty() && operator.is_empty(),
        "CIDR",
        &rule.cidr,
        "MatchOperator cannot be empty when CIDR is not",
    );
    checks.rule(
        rule.cidr.is_empty() && !operator.is_empty(),
        "MatchOperator",
        operator,
        "CIDR cannot be empty when MatchOperator is not",
    );
    if let Some(length) = rule.prefix_length.filter(|_| rule.cidr.is_empty()) {
        let text = |number: Option<i32>| number.map_or("<nil>".to_string(), |n| n.to_string());
        let shown = format!("&{{{} {}}}", text(length.min), text(length.max));
        let reason = "CIDR cannot be empty when PrefixLength is not";
        checks.rule(true, "PrefixLength", shown, reason);
    }
}

fn priority_tag(field: &str, priority: Option<i64>, checks: &mut Checks) {
    let tag = match priority {
        Some(value) if value < 1 => "gte",
        Some(value) if value > i64::from(ROUTE_PRIORITY_MAX) => "lte",
        Some(_) | None => return,
    };
    let shown = priority.unwrap_or_default().to_string();
    checks.fields.push(FieldError::tag(field, shown, tag));
}

fn operation_tags(operation: &BgpFilterOperation, checks: &mut Checks) {
    let value = operation.set_priority.map(|set| set.value);
    priority_tag("Value", value, checks);
    checks.rule(
        count_set(operation) != 1,
        "BGPFilterOperation",
        "{...}",
        "exactly one operation must be set",
    );
}

fn count_set(operation: &BgpFilterOperation) -> usize {
    [
        operation.add_community.is_some(),
        operation.prepend_as_path.is_some(),
        operation.set_priority.is_some(),
    ]
    .iter()
    .filter(|set| **set)
    .count()
}

/// The rules of the CRD's schema.
fn schema(path: &str, rule: &BgpFilterRule, checks: &mut Checks) {
    checks.supported(
        &format!("{path}.action"),
        Some(&rule.action),
        &["Accept", "Reject"],
    );
    let some = |text: &'_ str| (!text.is_empty()).then(|| text.to_string());
    checks.supported(
        &format!("{path}.matchOperator"),
        some(&rule.match_operator).as_deref(),
        &["Equal", "NotEqual", "In", "NotIn"],
    );
    checks.supported(
        &format!("{path}.source"),
        some(&rule.source).as_deref(),
        &["RemotePeers"],
    );
    checks.schema_cidr(&format!("{path}.cidr"), &rule.cidr);
    checks.schema(
        rule.cidr.is_empty() != rule.match_operator.is_empty(),
        path,
        "cidr and matchOperator must both be set or both be empty",
    );
    checks.schema(
        rule.prefix_length.is_some() && rule.cidr.is_empty(),
        path,
        "cidr is required when prefixLength is set",
    );
    checks.supported(
        &format!("{path}.peerType"),
        rule.peer_type.as_deref(),
        &["eBGP", "iBGP"],
    );
    if let Some(condition) = &rule.communities {
        let path = format!("{path}.communities.values");
        count(&path, condition.values.len(), 1, checks);
        for (i, value) in condition.values.iter().enumerate() {
            community(&format!("{path}[{i}]"), value, checks);
        }
    }
    priority(&format!("{path}.priority"), rule.priority, checks);
    let (rule_path, path) = (path, format!("{path}.operations"));
    if !rule.operations.is_empty() {
        count(&path, rule.operations.len(), OPERATIONS_MAX, checks);
        if rule.action == "Reject" {
            let reason = "operations may only be used with action Accept";
            checks
                .fields
                .push(FieldError::without_value(rule_path, reason));
        }
    }
    for (i, operation) in rule.operations.iter().enumerate() {
        self::operation(&format!("{path}[{i}]"), operation, checks);
    }
}

fn operation(path: &str, operation: &BgpFilterOperation, checks: &mut Checks) {
    let path_of_more = count_set(operation) > 1;
    let reason = format!("{path} must have at most 1 items");
    checks.schema(path_of_more, path, &reason);
    if let Some(add) = &operation.add_community {
        community(&format!("{path}.addCommunity.value"), &add.value, checks);
    }
    if let Some(prepend) = &operation.prepend_as_path {
        let path = format!("{path}.prependASPath.prefix");
        count(&path, prepend.prefix.len(), PREPEND_MAX, checks);
    }
    let value = operation.set_priority.map(|set| set.value);
    priority(&format!("{path}.setPriority.value"), value, checks);
}

/// At least one, and at most `most`.
fn count(path: &str, count: usize, most: usize, checks: &mut Checks) {
    let bound = match count {
        0 => "at least 1".to_string(),
        n if n > most => format!("at most {most}"),
        _ => return,
    };
    let reason = format!("{path} in body should have {bound} items");
    checks.fields.push(FieldError::without_value(path, reason));
}

fn community(path: &str, value: &str, checks: &mut Checks) {
    if !is_community(value) {
        let reason = format!("{path} in body should match '{COMMUNITY_PATTERN}'");
        checks.fields.push(FieldError::without_value(path, reason));
    }
}

fn priority(path: &str, value: Option<i64>, checks: &mut Checks) {
    let bound = match value {
        Some(value) if value < 1 => "greater than or equal to 1".to_string(),
        Some(value) if value > i64::from(ROUTE_PRIORITY_MAX) => {
            format!("less than or equal to {ROUTE_PRIORITY_MAX}")
        }
        Some(_) | None => return,
    };
    let reason = format!("{path} in body should be {bound}");
    checks.fields.push(FieldError::without_value(path, reason));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(spec: serde_json::Value, expected: &[&str]) {
        let spec: BgpFilterSpec = serde_json::from_value(spec).expect("fields of their types");
        let found: Vec<String> = rules(&spec).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_calico_shows_is_valid() {
        check(
            json!({
                "exportV4": [
                    {"action": "Accept", "matchOperator": "In", "cidr": "77.0.0.0/16", "source": "RemotePeers"},
                    {"action": "Reject", "interface": "*.calico"},
                    {"action": "Accept", "peerType": "eBGP", "communities": {"values": ["64512:7"]},
                     "asPathPrefix": [65001, "1.1"], "priority": 100, "operations": [
                        {"addCommunity": {"value": "1:2:3"}},
                        {"prependASPath": {"prefix": [64512, 64512]}},
                        {"setPriority": {"value": 512}}]},
                ],
                "importV4": [
                    {"action": "Accept", "matchOperator": "In", "cidr": "55.0.0.0/16", "prefixLength": {"min": 30}},
                    {"action": "Reject"},
                ],
                "importV6": [{"action": "Reject", "matchOperator": "NotEqual", "cidr": "7000:1::0/64"}],
            }),
            &[],
        );
        check(json!({}), &[]);
    }

    #[test]
    fn what_is_wrong_has_its_text() {
        let tag = |field: &str, value: &str, tag: &str| {
            format!(
                "{field} = '{value}' (Reason: failed to validate Field: {field} because of Tag: {tag} )"
            )
        };
        const BOTH: &str =
            "spec.importV4[0] (cidr and matchOperator must both be set or both be empty)";
        check(
            json!({"exportV4": [{"action": "Accept", "cidr": "fd00::/8", "matchOperator": "Within"}]}),
            &[
                &tag("CIDR", "fd00::/8", "netv4"),
                &tag("MatchOperator", "Within", "matchOperator"),
                "spec.exportV4[0].matchOperator (supported values: \"Equal\", \"NotEqual\", \"In\", \"NotIn\")",
            ],
        );
        check(
            json!({"importV6": [{"action": "", "interface": "a b", "source": "Me"}]}),
            &[
                &tag("Source", "Me", "oneof"),
                &tag("Interface", "a b", "bgpFilterInterface"),
                &tag("Action", "", "required"),
                "spec.importV6[0].action (supported values: \"Accept\", \"Reject\")",
                "spec.importV6[0].source (supported values: \"RemotePeers\")",
            ],
        );
        check(
            json!({"importV4": [{"action": "Accept", "cidr": "10.0.0.0/8"}]}),
            &[
                "CIDR = '10.0.0.0/8' (MatchOperator cannot be empty when CIDR is not)",
                BOTH,
            ],
        );
        check(
            json!({"importV4": [{"action": "Accept", "matchOperator": "In"}]}),
            &[
                "MatchOperator = 'In' (CIDR cannot be empty when MatchOperator is not)",
                BOTH,
            ],
        );
        check(
            json!({"importV4": [{"action": "Accept", "prefixLength": {"max": 33}}]}),
            &[
                &tag("Max", "33", "bgpFilterPrefixLengthV4"),
                "PrefixLength = '&{<nil> 33}' (CIDR cannot be empty when PrefixLength is not)",
                "spec.importV4[0] (cidr is required when prefixLength is set)",
            ],
        );
        check(
            json!({"importV4": [{"action": "Reject", "peerType": "both", "priority": 0,
                "communities": {"values": ["1:2", "70000:1"]}, "operations": [{}]}]}),
            &[
                &tag("PeerType", "both", "oneof"),
                &tag("Priority", "0", "gte"),
                "BGPFilterOperation = '{...}' (exactly one operation must be set)",
                "spec.importV4[0].peerType (supported values: \"eBGP\", \"iBGP\")",
                "spec.importV4[0].communities.values (spec.importV4[0].communities.values in body should have at most 1 items)",
                "spec.importV4[0].communities.values[1] (spec.importV4[0].communities.values[1] in body should match '^(\\d+):(\\d+)$|^(\\d+):(\\d+):(\\d+)$')",
                "spec.importV4[0].priority (spec.importV4[0].priority in body should be greater than or equal to 1)",
                "spec.importV4[0] (operations may only be used with action Accept)",
            ],
        );
    }
}
