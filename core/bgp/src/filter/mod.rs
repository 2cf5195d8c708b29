//! Which routes a peer may give us and gets from us, and what is changed in them: ordered rules,
//! the first match decides.
//!
//! What a rule asks of attributes is worked out once for each attribute set, never once for each
//! route: [`Filter::candidates`] leaves the rules that only wait for a prefix. A filter that asks
//! for nothing but prefixes is judged by [`Filter::decide`] alone, and one that accepts all is
//! not asked.

mod as_path;
mod community;
mod interfaces;
mod operation;
mod prefix;

pub use as_path::AsPathMatch;
pub(crate) use community::communities;
pub use community::{Community, CommunityError, CommunityKind, CommunityMatch};
pub use interfaces::InterfaceMatch;
pub(crate) use interfaces::Interfaces;
pub use operation::Operation;
pub(crate) use operation::{apply, next_hop, prepend, sets_med};
pub use prefix::{PrefixList, PrefixMatch};

use crate::wire::attribute::{self, DEFAULT_LOCAL_PREF, kind};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// What a rule does with a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Let it through.
    #[default]
    Accept,
    /// Keep it back.
    Reject,
}

/// Where a route came from, as an export rule sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// We originate it.
    Local,
    /// Some peer announced it (Calico: `RemotePeers`).
    Peers,
}

/// What the session is that a filter stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerType {
    /// The peer's AS is not ours.
    External,
    /// The peer's AS is ours.
    Internal,
}

/// One rule: conditions that must all hold, and what then happens. Without conditions it matches
/// each route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// What `explain` calls it, such as `import rule 3`.
    pub name: Option<Arc<str>>,
    /// `None` matches each prefix of both families.
    pub prefix: Option<PrefixMatch>,
    /// The prefix is in this list too.
    pub prefix_list: Option<Arc<PrefixList>>,
    /// `None` matches each source.
    pub source: Option<Source>,
    /// The interface of the next hop, or of a prefix of ours.
    pub interface: Option<InterfaceMatch>,
    /// The kind of the session.
    pub peer_type: Option<PeerType>,
    /// For each of these, some community matches.
    pub communities: Vec<CommunityMatch>,
    /// What the AS_PATH is like.
    pub as_path: Option<AsPathMatch>,
    /// LOCAL_PREF is this; 100 where there is none.
    pub local_pref: Option<u32>,
    /// LOCAL_PREF is greater than this.
    pub local_pref_above: Option<u32>,
    /// What happens on a match.
    pub action: Action,
    /// What is changed in an accepted route, in order.
    pub operations: Vec<Operation>,
}

impl Rule {
    /// A rule that lets these prefixes through, or keeps them back.
    pub fn of_prefix(prefix: PrefixMatch, action: Action) -> Self {
        Rule {
            prefix: Some(prefix),
            action,
            ..Rule::default()
        }
    }

    #[inline]
    fn matches_prefix(&self, prefix: IpNet) -> bool {
        self.prefix.is_none_or(|set| set.matches(prefix))
            && self
                .prefix_list
                .as_ref()
                .is_none_or(|list| list.matches(prefix))
    }

    /// True when the prefix and the source are all that it asks for.
    #[inline]
    fn is_plain(&self) -> bool {
        self.interface.is_none()
            && self.peer_type.is_none()
            && self.communities.is_empty()
            && self.as_path.is_none()
            && self.local_pref.is_none()
            && self.local_pref_above.is_none()
    }

    /// Whether all conditions but those on the prefix hold.
    fn suits(&self, route: &Facts<'_>, session: &Session<'_>) -> bool {
        let source = if route.local {
            Source::Local
        } else {
            Source::Peers
        };
        self.source.is_none_or(|wanted| wanted == source)
            && self
                .peer_type
                .is_none_or(|wanted| wanted == session.peer_type)
            && self.interface.as_ref().is_none_or(|pattern| {
                let interface = || session.interfaces.toward(route.next_hop);
                // That of a prefix of ours depends on the prefix, and is looked at with it.
                route.local || interface().is_some_and(|name| pattern.matches(name))
            })
            && self
                .communities
                .iter()
                .all(|wanted| wanted.is_in(route.block))
            && self.as_path.as_ref().is_none_or(|wanted| {
                let path = attribute::find(route.block, kind::AS_PATH);
                wanted.matches(path.unwrap_or_default())
            })
            && self
                .local_pref
                .is_none_or(|wanted| wanted == local_pref(route.block))
            && self
                .local_pref_above
                .is_none_or(|least| local_pref(route.block) > least)
    }

    /// Whether nothing is left to ask once [`Rule::suits`] has said yes.
    fn is_settled(&self, local: bool) -> bool {
        self.prefix.is_none() && self.prefix_list.is_none() && !(local && self.interface.is_some())
    }
}

fn local_pref(block: &[u8]) -> u32 {
    let value = attribute::find(block, kind::LOCAL_PREF).and_then(|value| value.try_into().ok());
    value.map_or(DEFAULT_LOCAL_PREF, u32::from_be_bytes)
}

/// A route to ask [`Filter::verdict`] about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// Its prefix.
    pub prefix: IpNet,
    /// Whose it is.
    pub source: Source,
    /// The session that the filter stands at.
    pub peer_type: PeerType,
    /// LOCAL_PREF, if it has any.
    pub local_pref: Option<u32>,
    /// Its next hop.
    pub next_hop: IpAddr,
    /// The interface that the next hop, or a prefix of ours, is reached by.
    pub interface: Option<&'a str>,
}

/// What is known of a route without its prefix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// Canonical attributes.
    pub block: &'a [u8],
    pub next_hop: IpAddr,
    pub local: bool,
}

/// The session that a filter stands at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session<'a> {
    pub peer_type: PeerType,
    pub interfaces: &'a Interfaces,
}

/// How much a filter must be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Everything passes unchanged.
    Nothing,
    /// The prefix and the source decide, and nothing is changed.
    Prefix,
    /// Attributes count, or are changed.
    Attributes,
}

/// Rules in order, and what happens when none matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The first that matches decides. Rules beyond [`Filter::MOST_RULES`] are not read.
    pub rules: Vec<Rule>,
    /// When none matches.
    pub otherwise: Action,
}

impl Default for Filter {
    fn default() -> Self {
        Filter::accept_all()
    }
}

impl Filter {
    /// Lets everything through.
    pub const fn accept_all() -> Self {
        Filter {
            rules: Vec::new(),
            otherwise: Action::Accept,
        }
    }

    /// Lets nothing through.
    pub const fn reject_all() -> Self {
        Filter {
            rules: Vec::new(),
            otherwise: Action::Reject,
        }
    }

    /// How many rules a filter may have.
    pub const MOST_RULES: usize = 65_000;

    /// The action for a prefix from a source. Rules that ask for anything else are passed over.
    pub fn decide(&self, prefix: IpNet, source: Source) -> Action {
        self.rules
            .iter()
            .find(|rule| {
                // In this order: few rules match, and only those are asked whether they count.
                rule.source.is_none_or(|wanted| wanted == source)
                    && rule.matches_prefix(prefix)
                    && rule.is_plain()
            })
            .map_or(self.otherwise, |rule| rule.action)
    }

    /// Whether a route of this prefix could pass, with whatever attributes.
    pub(crate) fn may_accept(&self, prefix: IpNet, source: Source) -> bool {
        let mut rules = self.rules.iter().filter(|rule| {
            rule.source.is_none_or(|wanted| wanted == source) && rule.matches_prefix(prefix)
        });
        let decisive = rules.find(|rule| rule.action == Action::Accept || rule.is_plain());
        decisive.map_or(self.otherwise, |rule| rule.action) == Action::Accept
    }

    /// True when each route passes as it is, so that nobody need ask.
    pub fn is_accept_all(&self) -> bool {
        self.otherwise == Action::Accept
            && self
                .rules
                .iter()
                .all(|r| r.action == Action::Accept && r.operations.is_empty())
    }

    /// What becomes of one route, and what is changed in it: for tests, and for people who ask.
    pub fn verdict(&self, sample: &Sample<'_>) -> (Action, &[Operation]) {
        let mut block = Vec::new();
        if let Some(value) = sample.local_pref {
            let value = value.to_be_bytes();
            attribute::put(
                &mut block,
                attribute::flag::TRANSITIVE,
                kind::LOCAL_PREF,
                &value,
            );
        }
        let mut interfaces = Interfaces::default();
        if let Some(name) = sample.interface {
            let network = IpNet::from(sample.next_hop);
            interfaces.connected.insert(network, Arc::from(name));
            interfaces.local.insert(sample.prefix, Arc::from(name));
        }
        let session = Session {
            peer_type: sample.peer_type,
            interfaces: &interfaces,
        };
        let local = sample.source == Source::Local;
        let facts = Facts {
            block: &block,
            next_hop: sample.next_hop,
            local,
        };
        let mut candidates = Vec::new();
        self.candidates(&facts, &session, &mut candidates);
        let rule = self.first(&candidates, sample.prefix, local, &session);
        (self.action(rule), self.operations(rule))
    }

    /// How much it must be asked.
    pub(crate) fn demand(&self) -> Demand {
        if self.is_accept_all() {
            Demand::Nothing
        } else if self
            .rules
            .iter()
            .all(|rule| rule.is_plain() && rule.operations.is_empty())
        {
            Demand::Prefix
        } else {
            Demand::Attributes
        }
    }

    /// True when a rule asks for an interface.
    pub(crate) fn asks_interface(&self) -> bool {
        self.rules.iter().any(|rule| rule.interface.is_some())
    }

    /// Appends the rules, by number, that only wait for a prefix; those behind one that waits for
    /// nothing are left out.
    pub(crate) fn candidates(&self, route: &Facts<'_>, session: &Session<'_>, out: &mut Vec<u16>) {
        for (number, rule) in (0..).zip(self.rules.iter().take(Filter::MOST_RULES)) {
            if rule.suits(route, session) {
                out.push(number);
                if rule.is_settled(route.local) {
                    return;
                }
            }
        }
    }

    /// The first of the candidates that matches.
    pub(crate) fn first(
        &self,
        candidates: &[u16],
        prefix: IpNet,
        local: bool,
        session: &Session<'_>,
    ) -> Option<u16> {
        candidates.iter().copied().find(|number| {
            let rule = &self.rules[usize::from(*number)];
            rule.matches_prefix(prefix)
                && rule.interface.as_ref().is_none_or(|pattern| {
                    let own = || session.interfaces.of_local(prefix);
                    !local || own().is_some_and(|name| pattern.matches(name))
                })
        })
    }

    /// What people call a rule.
    pub(crate) fn name_of(&self, rule: Option<u16>) -> String {
        match rule.map(|n| (n, &self.rules[usize::from(n)].name)) {
            Some((_, Some(name))) => name.to_string(),
            Some((number, None)) => format!("rule {}", u32::from(number) + 1),
            None => "no rule matches".to_owned(),
        }
    }

    /// What a rule does, or what happens without one.
    pub(crate) fn action(&self, rule: Option<u16>) -> Action {
        rule.map_or(self.otherwise, |n| self.rules[usize::from(n)].action)
    }

    /// What a rule changes.
    pub(crate) fn operations(&self, rule: Option<u16>) -> &[Operation] {
        rule.map_or(&[], |n| &self.rules[usize::from(n)].operations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::attribute::{flag, put};

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    #[test]
    fn calico_export_shape() {
        // Own block exactly, nothing else inside it, everything else in the pool.
        let block = net("10.200.0.64/26");
        let filter = Filter {
            rules: vec![
                Rule::of_prefix(PrefixMatch::exact(block), Action::Accept),
                Rule::of_prefix(PrefixMatch::within(block), Action::Reject),
                Rule {
                    source: Some(Source::Peers),
                    ..Rule::of_prefix(PrefixMatch::within(net("10.200.0.0/23")), Action::Accept)
                },
            ],
            otherwise: Action::Reject,
        };
        let decide = |text, source| filter.decide(net(text), source);
        assert_eq!(decide("10.200.0.64/26", Source::Local), Action::Accept);
        assert_eq!(decide("10.200.0.65/32", Source::Local), Action::Reject);
        assert_eq!(decide("10.200.1.0/26", Source::Peers), Action::Accept);
        assert_eq!(decide("10.200.1.0/26", Source::Local), Action::Reject);
        assert_eq!(decide("0.0.0.0/0", Source::Peers), Action::Reject);
        assert_eq!(decide("fd00::/64", Source::Peers), Action::Reject);
        assert_eq!(filter.demand(), Demand::Prefix);
    }

    fn community(text: &str) -> CommunityMatch {
        text.parse().expect("a community")
    }

    fn block() -> Vec<u8> {
        let mut out = Vec::new();
        put(
            &mut out,
            flag::TRANSITIVE,
            kind::AS_PATH,
            &[2, 1, 0, 0, 0xfd, 0xe9],
        );
        put(&mut out, flag::TRANSITIVE, kind::LOCAL_PREF, &[0, 0, 0, 7]);
        put(&mut out, 0xc0, kind::COMMUNITIES, &[0xfc, 0, 0, 1]);
        out
    }

    fn facts(block: &[u8], local: bool) -> Facts<'_> {
        Facts {
            block,
            next_hop: [10, 0, 0, 1].into(),
            local,
        }
    }

    /// Each condition, and its control.
    #[test]
    fn conditions_besides_the_prefix() {
        let mut interfaces = Interfaces::default();
        interfaces
            .connected
            .insert(net("10.0.0.0/24"), "eth0".into());
        let session = Session {
            peer_type: PeerType::External,
            interfaces: &interfaces,
        };
        let block = block();
        let check = |rule: Rule, expected: bool| {
            assert_eq!(
                rule.suits(&facts(&block, false), &session),
                expected,
                "{rule:?}"
            );
        };
        let any = Rule::default;
        check(any(), true);
        for (text, expected) in [("64512:1", true), ("64512:2", false), ("1:2:3", false)] {
            let communities = vec![community(text)];
            check(
                Rule {
                    communities,
                    ..any()
                },
                expected,
            );
        }
        let both = vec![community("64512:1"), community("64512:2")];
        check(
            Rule {
                communities: both,
                ..any()
            },
            false,
        );
        for (asn, expected) in [(65001, true), (65002, false)] {
            let as_path = Some(AsPathMatch {
                prefix: vec![asn],
                ..AsPathMatch::default()
            });
            check(Rule { as_path, ..any() }, expected);
        }
        for (peer_type, expected) in [(PeerType::External, true), (PeerType::Internal, false)] {
            check(
                Rule {
                    peer_type: Some(peer_type),
                    ..any()
                },
                expected,
            );
        }
        for (value, expected) in [(7, true), (100, false)] {
            check(
                Rule {
                    local_pref: Some(value),
                    ..any()
                },
                expected,
            );
        }
        for (pattern, expected) in [("eth*", true), ("*.calico", false)] {
            check(
                Rule {
                    interface: Some(InterfaceMatch::new(pattern)),
                    ..any()
                },
                expected,
            );
        }
        for (source, expected) in [(Source::Peers, true), (Source::Local, false)] {
            check(
                Rule {
                    source: Some(source),
                    ..any()
                },
                expected,
            );
        }
    }

    #[test]
    fn candidates_wait_for_a_prefix() {
        let mut interfaces = Interfaces::default();
        interfaces.local.insert(net("10.9.0.1/32"), "cali1".into());
        let session = Session {
            peer_type: PeerType::Internal,
            interfaces: &interfaces,
        };
        let mut rules = vec![
            Rule {
                communities: vec![community("64512:2")],
                ..Rule::default()
            },
            Rule::of_prefix(PrefixMatch::within(net("10.1.0.0/16")), Action::Reject),
            Rule {
                interface: Some(InterfaceMatch::new("cali*")),
                action: Action::Reject,
                ..Rule::default()
            },
            Rule {
                communities: vec![community("64512:1")],
                ..Rule::default()
            },
            Rule::default(),
        ];
        rules[3].operations = vec![Operation::SetMed(1)];
        let filter = Filter {
            rules,
            otherwise: Action::Reject,
        };
        assert_eq!(filter.demand(), Demand::Attributes);
        let block = block();
        let mut remote = Vec::new();
        filter.candidates(&facts(&block, false), &session, &mut remote);
        assert_eq!(
            remote,
            [1, 3],
            "nothing leads to cali* from afar, and 3 settles it"
        );
        let mut local = Vec::new();
        filter.candidates(&facts(&block, true), &session, &mut local);
        assert_eq!(local, [1, 2, 3]);
        let first = |list: &[u16], prefix, own| filter.first(list, net(prefix), own, &session);
        assert_eq!(first(&remote, "10.1.2.0/24", false), Some(1));
        assert_eq!(first(&remote, "10.2.2.0/24", false), Some(3));
        assert_eq!(first(&local, "10.9.0.1/32", true), Some(2));
        assert_eq!(first(&local, "10.9.0.2/32", true), Some(3));
        assert_eq!(filter.operations(Some(3)), [Operation::SetMed(1)]);
        assert!(
            filter.may_accept(net("10.1.2.0/24"), Source::Peers),
            "rule 0 may"
        );
    }
}
