//! Communities that BGPConfiguration puts on what is told to peers (calico-compat §1.1, §6.4 f).

use std::collections::BTreeMap;

use ipnet::IpNet;
use resource::kinds::BgpConfigurationSpec;

use crate::filter::{Community, community};
use crate::{Reason, Refusal, Resources};

/// The communities of each prefix and all within it, those of the prefixes around it included; longest prefixes first.
/// A node's own configuration takes the place of the default one.
pub(crate) fn advertisements(
    resources: &Resources,
    node: &str,
    refusals: &mut Vec<Refusal>,
) -> Vec<(IpNet, Vec<Community>)> {
    let names = [format!("node.{node}"), "default".to_string()];
    let spec = |name: &String| resources.bgp_configurations.get(name).map(|c| &c.spec);
    let mut chosen = names.iter().filter_map(|name| Some((name, spec(name)?)));
    let Some((name, spec)) = chosen.find(|(_, spec)| !spec.prefix_advertisements.is_empty()) else {
        return Vec::new();
    };
    let mut by_prefix: BTreeMap<IpNet, Vec<Community>> = BTreeMap::new();
    for advertisement in &spec.prefix_advertisements {
        let list = advertisement.communities.iter().map(|c| value(spec, c));
        let prefix = crate::parse_address(&advertisement.cidr).map(|net| net.trunc());
        match (prefix, list.collect::<Result<Vec<_>, _>>()) {
            (Some(prefix), Ok(list)) => by_prefix.entry(prefix).or_default().extend(list),
            (prefix, list) => {
                let at = format!("BGPConfiguration({name}) spec.prefixAdvertisements");
                let what = match (prefix, list) {
                    (None, _) => format!("'{}' is no CIDR", advertisement.cidr),
                    (Some(_), list) => list.err().unwrap_or_default(),
                };
                refusals.push(Refusal::new(Reason::PrefixAdvertisementInvalid, at, what));
            }
        }
    }
    let around = |prefix: &IpNet| {
        let mut all: Vec<Community> = Vec::new();
        for (outer, list) in &by_prefix {
            if outer.contains(prefix) {
                all.extend(list);
            }
        }
        all.sort_unstable();
        all.dedup();
        all
    };
    let mut out: Vec<_> = by_prefix.keys().map(|p| (*p, around(p))).collect();
    out.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.prefix_len()));
    out
}

/// A value, or the value of a name.
fn value(spec: &BgpConfigurationSpec, text: &str) -> Result<Community, String> {
    let named = spec.communities.iter().find(|c| c.name == text);
    community(named.map_or(text, |c| c.value.as_str()))
}
