//! Filters of the configuration file: rules, prefix lists, and filters that several neighbours share.

use anyhow::{Context, Result, bail, ensure};
use bgp::{
    Action, AsPathMatch, Community, CommunityKind, CommunityMatch, Filter, InterfaceMatch,
    Operation, PeerType, PrefixList, PrefixMatch, Rule, Source,
};
use ipnet::IpNet;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// AS_PATH grows by at most this many numbers a rule.
const MOST_PREPENDED: usize = 32;

/// One filter rule; a list of rules ends with an implicit `reject`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleEntry {
    action: ActionName,
    prefix: Option<IpNet>,
    ge: Option<u8>,
    le: Option<u8>,
    prefix_list: Option<String>,
    source: Option<SourceName>,
    interface: Option<String>,
    peer_type: Option<PeerTypeName>,
    #[serde(default)]
    communities: Vec<String>,
    as_path: Option<AsPathEntry>,
    local_pref: Option<u32>,
    set: Option<SetEntry>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActionName {
    Accept,
    Reject,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SourceName {
    Local,
    Peers,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PeerTypeName {
    External,
    Internal,
}

/// All that is given must hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AsPathEntry {
    #[serde(default)]
    prefix: Vec<u32>,
    contains: Option<u32>,
    origin: Option<u32>,
    min_length: Option<u16>,
    max_length: Option<u16>,
}

/// What is changed, in this order.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SetEntry {
    /// In place of all of the kinds that are named; none at all in place of all.
    communities: Option<Vec<String>>,
    #[serde(default)]
    remove_communities: Vec<String>,
    #[serde(default)]
    add_communities: Vec<String>,
    #[serde(default)]
    prepend: Vec<u32>,
    local_pref: Option<u32>,
    med: Option<u32>,
    next_hop: Option<IpAddr>,
}

/// Prefixes under a name: `10.0.0.0/8`, `10.0.0.0/8 ge 24`, `10.0.0.0/8 ge 24 le 26`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrefixListEntry {
    name: String,
    prefixes: Vec<String>,
}

/// Rules under a name; what none of them names falls through.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterEntry {
    name: String,
    rules: Vec<RuleEntry>,
}

/// What rules may refer to by name.
#[derive(Debug, Default)]
pub(super) struct Named {
    lists: BTreeMap<String, Arc<PrefixList>>,
    filters: BTreeMap<String, Vec<Rule>>,
}

impl Named {
    /// Reads all lists and filters.
    ///
    /// # Errors
    /// Says which of them is wrong or there twice.
    pub(super) fn read(lists: &[PrefixListEntry], filters: &[FilterEntry]) -> Result<Self> {
        let mut named = Named::default();
        for entry in lists {
            let sets = entry.prefixes.iter().map(|text| prefix_set(text));
            let sets: Vec<PrefixMatch> = sets
                .collect::<Result<_>>()
                .with_context(|| format!("prefix_list {}", entry.name))?;
            let list = Arc::new(PrefixList::new(sets));
            let twice = named.lists.insert(entry.name.clone(), list).is_some();
            ensure!(!twice, "two prefix_lists are called {}", entry.name);
        }
        for entry in filters {
            let rules = named
                .rules(&entry.rules, &format!("filter {}", entry.name))
                .with_context(|| format!("filter {}", entry.name))?;
            let twice = named.filters.insert(entry.name.clone(), rules).is_some();
            ensure!(!twice, "two filters are called {}", entry.name);
        }
        Ok(named)
    }

    /// The filters of these names, in order, and then the rules; without either everything passes, else what nothing
    /// names is rejected.
    ///
    /// # Errors
    /// Says which rule is wrong, or which name is not there.
    pub(super) fn filter(
        &self,
        direction: &str,
        names: &[String],
        rules: Option<&[RuleEntry]>,
    ) -> Result<Filter> {
        if rules.is_none() && names.is_empty() {
            return Ok(Filter::accept_all());
        }
        let mut all = Vec::new();
        for name in names {
            let filter = self.filters.get(name);
            all.extend_from_slice(filter.with_context(|| format!("no filter is called {name}"))?);
        }
        all.extend(self.rules(rules.unwrap_or_default(), direction)?);
        ensure!(
            all.len() <= Filter::MOST_RULES,
            "{} rules; there may be {}, and a prefix_list holds any number of prefixes",
            all.len(),
            Filter::MOST_RULES
        );
        Ok(Filter {
            rules: all,
            otherwise: Action::Reject,
        })
    }

    fn rules(&self, entries: &[RuleEntry], of: &str) -> Result<Vec<Rule>> {
        let numbered = entries.iter().zip(1..);
        numbered
            .map(|(entry, number)| {
                let name = format!("{of} rule {number}");
                self.rule(entry, &name).with_context(|| name.clone())
            })
            .collect()
    }

    fn rule(&self, entry: &RuleEntry, name: &str) -> Result<Rule> {
        let accepts = matches!(entry.action, ActionName::Accept);
        ensure!(
            accepts || entry.set.is_none(),
            "`set` is for rules that accept"
        );
        let list = |name: &String| {
            let list = self.lists.get(name).map(Arc::clone);
            list.with_context(|| format!("no prefix_list is called {name}"))
        };
        Ok(Rule {
            name: Some(name.into()),
            prefix: entry.prefix_match()?,
            prefix_list: entry.prefix_list.as_ref().map(list).transpose()?,
            source: entry.source.map(|source| match source {
                SourceName::Local => Source::Local,
                SourceName::Peers => Source::Peers,
            }),
            interface: entry.interface.as_deref().map(InterfaceMatch::new),
            peer_type: entry.peer_type.map(|kind| match kind {
                PeerTypeName::External => PeerType::External,
                PeerTypeName::Internal => PeerType::Internal,
            }),
            communities: parse_all::<CommunityMatch>(&entry.communities)?,
            as_path: entry.as_path.as_ref().map(|path| AsPathMatch {
                prefix: path.prefix.clone(),
                contains: path.contains,
                origin: path.origin,
                min_length: path.min_length,
                max_length: path.max_length,
            }),
            local_pref: entry.local_pref,
            local_pref_above: None,
            action: if accepts {
                Action::Accept
            } else {
                Action::Reject
            },
            operations: match &entry.set {
                Some(set) => set.operations()?,
                None => Vec::new(),
            },
        })
    }
}

impl RuleEntry {
    fn prefix_match(&self) -> Result<Option<PrefixMatch>> {
        match self.prefix {
            Some(prefix) => lengths(prefix, self.ge, self.le).map(Some),
            None => {
                ensure!(
                    self.ge.is_none() && self.le.is_none(),
                    "ge and le need a prefix"
                );
                Ok(None)
            }
        }
    }
}

/// `ge` alone reaches down to host routes, `le` alone begins at the prefix itself.
fn lengths(prefix: IpNet, ge: Option<u8>, le: Option<u8>) -> Result<PrefixMatch> {
    let (length, most) = (prefix.prefix_len(), prefix.max_prefix_len());
    let le = le.unwrap_or(if ge.is_some() { most } else { length });
    let ge = ge.unwrap_or(length);
    ensure!(
        length <= ge && ge <= le && le <= most,
        "{prefix}: wanted {length} <= ge <= le <= {most}, got ge {ge}, le {le}"
    );
    Ok(PrefixMatch {
        prefix: prefix.trunc(),
        ge,
        le,
        negate: false,
    })
}

fn prefix_set(text: &str) -> Result<PrefixMatch> {
    let mut words = text.split_whitespace();
    let prefix = words.next().unwrap_or_default();
    let prefix: IpNet = prefix
        .parse()
        .with_context(|| format!("{text}: wanted a prefix, as in 10.0.0.0/8 ge 24 le 26"))?;
    let (mut ge, mut le) = (None, None);
    while let Some(word) = words.next() {
        let bound = match word {
            "ge" => &mut ge,
            "le" => &mut le,
            other => bail!("{text}: {other} is neither ge nor le"),
        };
        let length = words.next().and_then(|length| length.parse().ok());
        *bound = Some(length.with_context(|| format!("{text}: {word} needs a length"))?);
    }
    lengths(prefix, ge, le)
}

fn parse_all<T: std::str::FromStr<Err = bgp::CommunityError>>(texts: &[String]) -> Result<Vec<T>> {
    Ok(texts
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, _>>()?)
}

impl SetEntry {
    fn operations(&self) -> Result<Vec<Operation>> {
        let mut operations = Vec::new();
        if let Some(communities) = &self.communities {
            let communities: Vec<Community> = parse_all(communities)?;
            for kind in [
                CommunityKind::Standard,
                CommunityKind::Extended,
                CommunityKind::Large,
            ] {
                if communities.is_empty() || communities.iter().any(|c| c.kind() == kind) {
                    operations.push(Operation::ClearCommunities(kind));
                }
            }
            operations.extend(communities.into_iter().map(Operation::AddCommunity));
        }
        let gone: Vec<CommunityMatch> = parse_all(&self.remove_communities)?;
        operations.extend(gone.into_iter().map(Operation::RemoveCommunities));
        let added: Vec<Community> = parse_all(&self.add_communities)?;
        operations.extend(added.into_iter().map(Operation::AddCommunity));
        ensure!(
            self.prepend.len() <= MOST_PREPENDED,
            "prepend: at most {MOST_PREPENDED} AS numbers"
        );
        ensure!(
            !self.prepend.contains(&0),
            "prepend: 0 is no AS number (RFC 7607)"
        );
        if !self.prepend.is_empty() {
            operations.push(Operation::PrependAsPath(self.prepend.clone()));
        }
        operations.extend(self.local_pref.map(Operation::SetLocalPref));
        operations.extend(self.med.map(Operation::SetMed));
        operations.extend(self.next_hop.map(Operation::SetNextHop));
        Ok(operations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Page {
        #[serde(default)]
        prefix_list: Vec<PrefixListEntry>,
        #[serde(default)]
        filter: Vec<FilterEntry>,
        #[serde(default)]
        names: Vec<String>,
        rules: Option<Vec<RuleEntry>>,
    }

    fn read(text: &str) -> Result<Filter> {
        let page: Page = toml::from_str(text)?;
        Named::read(&page.prefix_list, &page.filter)?.filter(
            "import",
            &page.names,
            page.rules.as_deref(),
        )
    }

    #[test]
    fn every_condition_and_change() {
        let filter = read(
            r#"
            names = ["shared"]
            rules = [{ action = "accept", prefix = "10.0.0.0/8", le = 24 }]
            [[prefix_list]]
            name = "ours"
            prefixes = ["10.200.0.0/23 ge 26 le 28", "fd00::/8 ge 64", "10.210.0.0/24"]
            [[filter]]
            name = "shared"
            rules = [
              { action = "reject", prefix_list = "ours", source = "peers", interface = "eth*" },
              { action = "accept", communities = ["64512:*", "rt:1:2"], local_pref = 7, peer_type = "external",
                as_path = { prefix = [65001], contains = 7, origin = 8, min_length = 1, max_length = 9 },
                set = { communities = ["1:2:3", "64512:1"], remove_communities = ["65000:*"], add_communities = ["no-export"],
                  prepend = [65001, 65001], local_pref = 200, med = 5, next_hop = "10.0.0.1" } },
            ]
            "#,
        )
        .expect("valid");
        let names: Vec<&str> = filter
            .rules
            .iter()
            .map(|rule| rule.name.as_deref().expect("a name"))
            .collect();
        assert_eq!(
            names,
            [
                "filter shared rule 1",
                "filter shared rule 2",
                "import rule 1"
            ]
        );
        let list = filter.rules[0].prefix_list.as_ref().expect("a list");
        for (prefix, expected) in [
            ("10.200.0.64/26", true),
            ("10.200.0.0/24", false),
            ("fd00:1::/64", true),
            ("10.210.0.0/24", true),
            ("10.210.0.0/25", false),
        ] {
            assert_eq!(list.matches(prefix.parse().expect("a prefix")), expected);
        }
        let changing = &filter.rules[1];
        assert_eq!(changing.communities.len(), 2);
        assert_eq!(changing.peer_type, Some(PeerType::External));
        let kinds = [CommunityKind::Standard, CommunityKind::Large];
        assert_eq!(
            changing.operations[..2],
            kinds.map(Operation::ClearCommunities),
            "extended ones stay"
        );
        assert_eq!(
            changing.operations[5..],
            [
                Operation::AddCommunity(Community::Standard(0xffff_ff01)),
                Operation::PrependAsPath(vec![65001, 65001]),
                Operation::SetLocalPref(200),
                Operation::SetMed(5),
                Operation::SetNextHop([10, 0, 0, 1].into()),
            ]
        );
        assert_eq!(filter.otherwise, Action::Reject);
        assert!(read("").expect("valid").is_accept_all());
    }

    #[test]
    fn refusals() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let error = format!("{:#}", read(text).expect_err("invalid"));
            assert!(error.contains(expected), "{error}");
        }
        let rule = |rest: &str| format!("rules = [{{ action = \"accept\" }}, {{ {rest} }}]");
        check(&rule("action = \"accept\", ge = 8"), "import rule 2: ge");
        check(
            &rule("action = \"reject\", set = { med = 1 }"),
            "rules that accept",
        );
        check(
            &rule("action = \"accept\", prefix_list = \"x\""),
            "no prefix_list is called x",
        );
        check(
            &rule("action = \"accept\", communities = [\"70000:1\"]"),
            "community 70000:1",
        );
        check(
            &rule("action = \"accept\", set = { add_communities = [\"64512:*\"] }"),
            "community 64512:*",
        );
        check(
            &rule("action = \"accept\", set = { prepend = [0] }"),
            "no AS",
        );
        check(&rule("action = \"accept\", colour = 1"), "unknown field");
        check("names = [\"x\"]", "no filter is called x");
        let list =
            |prefix: &str| format!("[[prefix_list]]\nname = \"a\"\nprefixes = [\"{prefix}\"]\n");
        check(&list("10.0.0.0/24 le 8"), "wanted 24 <= ge");
        check(&list("10.0.0.0/24 eq 8"), "neither ge nor le");
        check(&list("10.0.0.0/24 ge"), "needs a length");
        check(&list("10.0.0.0/24").repeat(2), "two prefix_lists");
    }
}
