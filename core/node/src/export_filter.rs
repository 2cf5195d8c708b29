//! From the rules of what is told to peers to the speaker's (calico-compat §6.4 c to k).

use std::collections::BTreeSet;
use std::sync::Arc;

use bgp::{Action, Filter, InterfaceMatch, Operation, PeerType, PrefixList, PrefixMatch, Rule};
use dataplane::Actual;
use intent::{BgpIntent, ExportRule};
use ipnet::IpNet;

use crate::session_filter::community;
use crate::speaker_config::LOCAL_PREF;

/// The patterns of devices that are not told of and that this kernel has any of. A rule for what is not there would only
/// be asked for nothing.
pub(crate) fn tunnel_devices(actual: &Actual) -> BTreeSet<&'static str> {
    let is_there = |pattern: &str| {
        let pattern = InterfaceMatch::new(pattern);
        actual.links.keys().any(|name| pattern.matches(name))
    };
    ExportRule::TUNNELS
        .into_iter()
        .chain([ExportRule::BPF])
        .filter(|pattern| is_there(pattern))
        .collect()
}

/// What every session tells, after its BGPFilters.
pub(crate) fn export_filter(intent: &BgpIntent, devices: &BTreeSet<&str>) -> Filter {
    let rules = intent.export.iter().flat_map(|rule| rules(*rule, devices));
    with_communities(
        Filter {
            rules: rules.collect(),
            otherwise: Action::Reject,
        },
        &intent.communities,
    )
}

fn rules(rule: ExportRule, devices: &BTreeSet<&str>) -> Vec<Rule> {
    let of_prefix = Rule::of_prefix;
    let to_device = |pattern: &str, peer_type| Rule {
        interface: Some(InterfaceMatch::new(pattern)),
        peer_type,
        action: Action::Reject,
        ..Rule::default()
    };
    match rule {
        ExportRule::WithheldPool(pool) => {
            vec![of_prefix(PrefixMatch::within(pool), Action::Reject)]
        }
        ExportRule::TunnelDevice => ExportRule::TUNNELS
            .iter()
            .filter(|pattern| devices.contains(*pattern))
            .map(|pattern| to_device(pattern, Some(PeerType::Internal)))
            .collect(),
        ExportRule::BpfDevice => [ExportRule::BPF]
            .iter()
            .filter(|pattern| devices.contains(*pattern))
            .map(|pattern| to_device(pattern, None))
            .collect(),
        ExportRule::OwnBlock(block) => vec![
            of_prefix(PrefixMatch::exact(block), Action::Accept),
            Rule {
                // Calico: a kernel metric less than 1024.
                local_pref_above: Some(LOCAL_PREF),
                ..of_prefix(PrefixMatch::within(block), Action::Accept)
            },
            of_prefix(PrefixMatch::within(block), Action::Reject),
        ],
        ExportRule::ServiceRoute(range)
        | ExportRule::ReflectedServices(range)
        | ExportRule::Pool(range) => vec![of_prefix(PrefixMatch::within(range), Action::Accept)],
    }
}

/// Rules that accept also put communities on what lies in certain prefixes (calico-compat §6.4 f).
fn with_communities(filter: Filter, communities: &[(IpNet, Vec<intent::Community>)]) -> Filter {
    let within = |rule: &Rule| {
        let mut rules: Vec<Rule> = Vec::new();
        for (prefix, list) in communities {
            let apart =
                |set: PrefixMatch| !set.prefix.contains(prefix) && !prefix.contains(&set.prefix);
            if rule.action == Action::Accept && !rule.prefix.is_some_and(apart) {
                let set = PrefixList::new([PrefixMatch::within(*prefix)]);
                let add = list.iter().map(|c| Operation::AddCommunity(community(*c)));
                rules.push(Rule {
                    prefix_list: Some(Arc::new(set)),
                    operations: add.collect(),
                    ..rule.clone()
                });
            }
        }
        rules.push(rule.clone());
        rules
    };
    Filter {
        rules: filter.rules.iter().flat_map(within).collect(),
        ..filter
    }
}
