//! What peers may bring: BGPFilters, and before them what a PeerPolicy keeps out of the cluster's own ranges.

use std::collections::BTreeMap;
use std::sync::Arc;

use bgp::{Action, Filter, PrefixMatch, Rule};
use intent::{FilterRule, Imports, Intent, Session};
use ipnet::IpNet;

use crate::session_filter::filter;

/// What of the cluster's own a prefix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    /// In a pool.
    Pods,
    /// In a range of service addresses.
    Services,
    /// A default route.
    DefaultRoute,
}

impl Claim {
    /// As people say it.
    fn as_str(self) -> &'static str {
        match self {
            Claim::Pods => "pod routes",
            Claim::Services => "service routes",
            Claim::DefaultRoute => "default routes",
        }
    }

    /// The field of a PeerPolicy's `imports`.
    fn field(self) -> &'static str {
        match self {
            Claim::Pods => "pods",
            Claim::Services => "services",
            Claim::DefaultRoute => "defaultRoute",
        }
    }

    /// What a prefix lays claim to.
    pub(crate) fn of(intent: &Intent, prefix: &IpNet) -> Option<Claim> {
        let within = |range: &IpNet| range.contains(prefix);
        if prefix.prefix_len() == 0 {
            Some(Claim::DefaultRoute)
        } else if intent.not_programmed.iter().any(within) {
            Some(Claim::Services)
        } else if intent.pools.values().any(|pool| within(&pool.cidr)) {
            Some(Claim::Pods)
        } else {
            None
        }
    }
}

/// The rules for routes from a peer.
pub(crate) fn import_filter(intent: &Intent, imports: Imports, filters: &[FilterRule]) -> Filter {
    let mut rules = guard(intent, imports);
    rules.extend(filter(filters, &Filter::accept_all()).rules);
    Filter {
        rules,
        ..Filter::accept_all()
    }
}

/// The rules that keep out what is not allowed; before all others, so that no BGPFilter lets it in.
pub(crate) fn guard(intent: &Intent, imports: Imports) -> Vec<Rule> {
    let refuse = |claim: Claim, set: PrefixMatch| Rule {
        name: Some(Arc::from(format!("imports.{}", claim.field()))),
        ..Rule::of_prefix(set, Action::Reject)
    };
    let within = |claim, range: &IpNet| refuse(claim, PrefixMatch::within(*range));
    let mut rules = Vec::new();
    if !imports.default_route {
        for everything in ["0.0.0.0/0", "::/0"] {
            let prefix = everything.parse().expect("a prefix");
            rules.push(refuse(Claim::DefaultRoute, PrefixMatch::exact(prefix)));
        }
    }
    if !imports.services {
        let ranges = intent.not_programmed.iter();
        rules.extend(ranges.map(|range| within(Claim::Services, range)));
    }
    if !imports.pods {
        let pools = intent.pools.values();
        rules.extend(pools.map(|pool| within(Claim::Pods, &pool.cidr)));
    }
    rules
}

/// Best routes by prefix that peers from outside brought and nobody has said anything about, with the session's name.
pub(crate) type Brought = BTreeMap<IpNet, Arc<str>>;

/// Whether a session's routes are to be watched: it is with no node, and no PeerPolicy says what it may bring.
pub(crate) fn is_unguarded(session: &Session) -> bool {
    session.node.is_none() && !session.imports.chosen
}

/// One warning for each session and claim: what a stricter policy would refuse.
pub(crate) fn warnings(intent: &Intent, brought: &Brought) -> Vec<String> {
    let sessions: BTreeMap<&str, &Session> = intent
        .bgp
        .sessions
        .iter()
        .filter(|session| is_unguarded(session))
        .map(|session| (session.name.as_str(), session))
        .collect();
    let mut first: BTreeMap<(&str, Claim), &IpNet> = BTreeMap::new();
    for (prefix, name) in brought {
        if let Some(claim) = Claim::of(intent, prefix)
            && sessions.contains_key(&**name)
        {
            first.entry((name, claim)).or_insert(prefix);
        }
    }
    let text = |((name, claim), prefix): (&(&str, Claim), &&IpNet)| {
        let because = &sessions[name].because;
        format!(
            "import-unguarded: {because}: {name} brings {} such as {prefix}, as Calico allows. A PeerPolicy with imports.{}: Deny refuses them, with Allow this is not said.",
            claim.as_str(),
            claim.field(),
        )
    };
    first.iter().map(text).collect()
}
