//! From the rules of BGPFilters to the speaker's.

use std::sync::Arc;

use bgp::{
    Action, AsPathMatch, Community, Filter, InterfaceMatch, Operation, PeerType, PrefixMatch, Rule,
    Source,
};
use intent::{FilterOperation, FilterRule};

/// A filter: these rules first, then what every session has (calico-compat §6.4).
pub(crate) fn filter(rules: &[FilterRule], builtin: &Filter) -> Filter {
    let rules = rules.iter().map(rule);
    Filter {
        rules: rules.chain(builtin.rules.iter().cloned()).collect(),
        otherwise: builtin.otherwise,
    }
}

fn rule(rule: &FilterRule) -> Rule {
    let as_path = || AsPathMatch {
        prefix: rule.as_path_prefix.clone(),
        ..AsPathMatch::default()
    };
    Rule {
        name: Some(Arc::from(rule.name.as_str())),
        prefix: rule.prefixes.as_ref().map(|set| PrefixMatch {
            prefix: set.network,
            ge: *set.lengths.start(),
            le: *set.lengths.end(),
            negate: set.negate,
        }),
        source: rule.from_peers.then_some(Source::Peers),
        interface: rule.interface.as_deref().map(InterfaceMatch::new),
        peer_type: rule.ebgp.map(|ebgp| {
            if ebgp {
                PeerType::External
            } else {
                PeerType::Internal
            }
        }),
        communities: rule
            .community
            .map(|c| community(c).into())
            .into_iter()
            .collect(),
        as_path: (!rule.as_path_prefix.is_empty()).then(as_path),
        local_pref: rule.local_pref,
        action: if rule.accept {
            Action::Accept
        } else {
            Action::Reject
        },
        operations: rule.operations.iter().map(operation).collect(),
        ..Rule::default()
    }
}

pub(crate) fn community(community: intent::Community) -> Community {
    match community {
        intent::Community::Standard(value) => Community::Standard(value),
        intent::Community::Large(value) => Community::Large(value),
    }
}

fn operation(operation: &FilterOperation) -> Operation {
    match operation {
        FilterOperation::AddCommunity(value) => Operation::AddCommunity(community(*value)),
        FilterOperation::PrependAsPath(list) => Operation::PrependAsPath(list.clone()),
        FilterOperation::SetLocalPref(value) => Operation::SetLocalPref(*value),
    }
}
