//! BGPFilters, read once into types (calico-compat §1.3).

use std::ops::RangeInclusive;

use ipnet::IpNet;
use resource::kinds::{BgpFilterOperation, BgpFilterRule};

use crate::{Reason, Refusal, Resources};

/// Local preference is this less the priority (calico-compat §6.4 a).
const LEAST_PRIORITY: u32 = i32::MAX as u32;

/// The rules of all filters of a session, in order: the first that matches decides, and without one the session's own
/// rules do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilters {
    /// For routes from the peer.
    pub import: Vec<FilterRule>,
    /// For routes to the peer.
    pub export: Vec<FilterRule>,
}

/// One rule of a BGPFilter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterRule {
    /// What people call it: `BGPFilter(tor) importV4 rule 2`.
    pub name: String,
    /// Which prefixes.
    pub prefixes: Option<Prefixes>,
    /// Only what a peer announced.
    pub from_peers: bool,
    /// The route's interface; `*` stands for any characters.
    pub interface: Option<String>,
    /// The session is eBGP, or is not.
    pub ebgp: Option<bool>,
    /// The route has this community.
    pub community: Option<Community>,
    /// The AS path begins with these.
    pub as_path_prefix: Vec<u32>,
    /// The route has this local preference.
    pub local_pref: Option<u32>,
    /// Let it through, or keep it back.
    pub accept: bool,
    /// What is changed, in order.
    pub operations: Vec<FilterOperation>,
}

/// Prefixes in a network by their lengths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// The network.
    pub network: IpNet,
    /// Lengths.
    pub lengths: RangeInclusive<u8>,
    /// All others of the family, in place of these.
    pub negate: bool,
}

/// A community.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Community {
    /// RFC 1997, `aa:nn` as `aa << 16 | nn`.
    Standard(u32),
    /// RFC 8092.
    Large([u32; 3]),
}

/// One change of an accepted route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterOperation {
    /// Adds a community.
    AddCommunity(Community),
    /// Puts these before the path.
    PrependAsPath(Vec<u32>),
    /// Sets the local preference.
    SetLocalPref(u32),
}

/// The filters that `peer` names, for sessions of a family. Of a filter that is not there, or that cannot be read,
/// nothing is known but that something was to be kept back: all is.
pub(crate) fn session_filters(
    resources: &Resources,
    peer: &str,
    names: &[String],
    ipv4: bool,
    refusals: &mut Vec<Refusal>,
) -> SessionFilters {
    let mut filters = SessionFilters::default();
    for name in names {
        let Some(filter) = resources.bgp_filters.get(name) else {
            let at = format!("BGPPeer({peer}) spec.filters");
            let what = format!("there is no BGPFilter({name}), so that no route passes");
            refusals.push(Refusal::new(Reason::BgpFilterMissing, at, what));
            let nothing = FilterRule {
                name: format!("BGPFilter({name}), which is not there"),
                ..FilterRule::default()
            };
            filters.import.push(nothing.clone());
            filters.export.push(nothing);
            continue;
        };
        for (list, rules) in filter.spec.lists() {
            let (direction, family) = list.split_at(list.len() - 2);
            if (family == "V4") != ipv4 {
                continue;
            }
            let into = match direction {
                "import" => &mut filters.import,
                _ => &mut filters.export,
            };
            for (rule, number) in rules.iter().zip(1..) {
                let called = format!("BGPFilter({name}) {list} rule {number}");
                into.push(read(rule, called, ipv4, refusals));
            }
        }
    }
    filters
}

fn read(rule: &BgpFilterRule, name: String, ipv4: bool, refusals: &mut Vec<Refusal>) -> FilterRule {
    match try_read(rule, &name, ipv4) {
        Ok(rule) => rule,
        Err(what) => {
            let what = format!("{what}; what it would match is kept back");
            refusals.push(Refusal::new(Reason::BgpFilterInvalid, &name, what));
            FilterRule {
                name,
                ..FilterRule::default()
            }
        }
    }
}

fn try_read(rule: &BgpFilterRule, name: &str, ipv4: bool) -> Result<FilterRule, String> {
    let unknown = |field: &str, value: &str| Err(format!("{field} '{value}' is not known"));
    let accept = match rule.action.as_str() {
        "Accept" => true,
        "Reject" => false,
        other => return unknown("action", other),
    };
    let communities = rule.communities.iter().flat_map(|c| &c.values);
    let mut communities = communities.map(|text| community(text));
    Ok(FilterRule {
        name: name.to_string(),
        prefixes: prefixes(rule, ipv4)?,
        from_peers: match rule.source.as_str() {
            "" => false,
            "RemotePeers" => true,
            other => return unknown("source", other),
        },
        interface: Some(rule.interface.clone()).filter(|pattern| !pattern.is_empty()),
        ebgp: match rule.peer_type.as_deref() {
            None => None,
            Some("eBGP") => Some(true),
            Some("iBGP") => Some(false),
            Some(other) => return unknown("peerType", other),
        },
        community: match (communities.next().transpose()?, communities.next()) {
            (one, None) => one,
            (_, Some(_)) => return Err("communities has more than one value".to_string()),
        },
        as_path_prefix: rule.as_path_prefix.clone(),
        local_pref: rule.priority.map(local_pref).transpose()?,
        accept,
        operations: rule
            .operations
            .iter()
            .map(operation)
            .collect::<Result<_, _>>()?,
    })
}

fn prefixes(rule: &BgpFilterRule, ipv4: bool) -> Result<Option<Prefixes>, String> {
    if rule.cidr.is_empty() {
        return Ok(None);
    }
    let network = crate::parse_address(&rule.cidr)
        .map(|net| net.trunc())
        .filter(|net| net.addr().is_ipv4() == ipv4);
    let Some(network) = network else {
        return Err(format!("'{}' is no CIDR of the family", rule.cidr));
    };
    let (own, most) = (network.prefix_len(), network.max_prefix_len());
    let (greatest, negate) = match rule.match_operator.as_str() {
        "Equal" => (own, false),
        "NotEqual" => (own, true),
        "In" => (most, false),
        "NotIn" => (most, true),
        other => return Err(format!("matchOperator '{other}' is not known")),
    };
    let given = rule.prefix_length.unwrap_or_default();
    let length = |value: Option<i32>, default: u8| {
        value.map_or(Ok(default), |value| {
            let length = u8::try_from(value).ok().filter(|length| *length <= most);
            length.ok_or_else(|| format!("{value} is no length of a prefix"))
        })
    };
    let (min, max) = (length(given.min, own)?, length(given.max, greatest)?);
    Ok(Some(Prefixes {
        network,
        lengths: min.max(own)..=max,
        negate,
    }))
}

pub(crate) fn community(text: &str) -> Result<Community, String> {
    let wrong = || format!("'{text}' is no community");
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [a, b] => {
            let number = |part: &str| part.parse::<u16>().map_err(|_| wrong());
            Ok(Community::Standard(
                u32::from(number(a)?) << 16 | u32::from(number(b)?),
            ))
        }
        [a, b, c] => {
            let number = |part: &str| part.parse::<u32>().map_err(|_| wrong());
            Ok(Community::Large([number(a)?, number(b)?, number(c)?]))
        }
        _ => Err(wrong()),
    }
}

fn local_pref(priority: i64) -> Result<u32, String> {
    let value = u32::try_from(priority).ok().filter(|p| *p < LEAST_PRIORITY);
    value
        .filter(|p| *p > 0)
        .map(|p| LEAST_PRIORITY - p)
        .ok_or_else(|| format!("{priority} is no priority"))
}

fn operation(operation: &BgpFilterOperation) -> Result<FilterOperation, String> {
    match (
        &operation.add_community,
        &operation.prepend_as_path,
        operation.set_priority,
    ) {
        (Some(add), None, None) => Ok(FilterOperation::AddCommunity(community(&add.value)?)),
        (None, Some(prepend), None) => Ok(FilterOperation::PrependAsPath(prepend.prefix.clone())),
        (None, None, Some(set)) => Ok(FilterOperation::SetLocalPref(local_pref(set.value)?)),
        _ => Err("an operation does not do exactly one thing".to_string()),
    }
}
