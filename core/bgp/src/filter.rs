//! Which routes a peer may give us and gets from us: ordered rules, the first match decides.

use ipnet::IpNet;

/// What a rule does with a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Let it through.
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

/// A set of prefixes: `prefix` and what lies in it, of lengths `ge` to `le`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrefixMatch {
    /// The covering prefix.
    pub prefix: IpNet,
    /// Least length.
    pub ge: u8,
    /// Greatest length.
    pub le: u8,
    /// Match what is not in the set, within the same family (Calico: `NotEqual`, `NotIn`).
    pub negate: bool,
}

impl PrefixMatch {
    /// The prefix itself and nothing else.
    pub fn exact(prefix: IpNet) -> Self {
        PrefixMatch {
            prefix,
            ge: prefix.prefix_len(),
            le: prefix.prefix_len(),
            negate: false,
        }
    }

    /// The prefix and everything inside it.
    pub fn within(prefix: IpNet) -> Self {
        PrefixMatch {
            prefix,
            ge: prefix.prefix_len(),
            le: prefix.max_prefix_len(),
            negate: false,
        }
    }

    fn matches(&self, candidate: IpNet) -> bool {
        let same_family = matches!(
            (self.prefix, candidate),
            (IpNet::V4(_), IpNet::V4(_)) | (IpNet::V6(_), IpNet::V6(_))
        );
        let len = candidate.prefix_len();
        let inside =
            same_family && self.prefix.contains(&candidate) && (self.ge..=self.le).contains(&len);
        same_family && inside != self.negate
    }
}

/// One rule: conditions that must all hold, and what then happens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// `None` matches each prefix of both families.
    pub prefix: Option<PrefixMatch>,
    /// `None` matches each source.
    pub source: Option<Source>,
    /// What happens on a match.
    pub action: Action,
}

/// Rules in order, and what happens when none matches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter {
    /// The first that matches decides.
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

    /// The action for a route.
    pub fn decide(&self, prefix: IpNet, source: Source) -> Action {
        self.rules
            .iter()
            .find(|rule| {
                rule.source.is_none_or(|wanted| wanted == source)
                    && rule.prefix.is_none_or(|set| set.matches(prefix))
            })
            .map_or(self.otherwise, |rule| rule.action)
    }

    /// True when no route can be kept back, so that nobody need ask.
    pub fn is_accept_all(&self) -> bool {
        self.otherwise == Action::Accept && self.rules.iter().all(|r| r.action == Action::Accept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    #[test]
    fn calico_export_shape() {
        // Own block exactly, nothing else inside it, everything else in the pool.
        let filter = Filter {
            rules: vec![
                Rule {
                    prefix: Some(PrefixMatch::exact(net("10.200.0.64/26"))),
                    source: None,
                    action: Action::Accept,
                },
                Rule {
                    prefix: Some(PrefixMatch::within(net("10.200.0.64/26"))),
                    source: None,
                    action: Action::Reject,
                },
                Rule {
                    prefix: Some(PrefixMatch::within(net("10.200.0.0/23"))),
                    source: Some(Source::Peers),
                    action: Action::Accept,
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
        assert!(!filter.is_accept_all());
    }

    #[test]
    fn lengths_and_negation() {
        let m = PrefixMatch {
            prefix: net("10.0.0.0/8"),
            ge: 24,
            le: 26,
            negate: false,
        };
        assert!(m.matches(net("10.1.2.0/24")));
        assert!(!m.matches(net("10.1.0.0/16")));
        assert!(!m.matches(net("10.1.2.3/32")));
        let not = PrefixMatch { negate: true, ..m };
        assert!(not.matches(net("10.1.0.0/16")));
        assert!(!not.matches(net("10.1.2.0/25")));
        assert!(
            !not.matches(net("fd00::/25")),
            "another family never matches"
        );
    }
}
