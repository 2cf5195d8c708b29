//! Which interface a route leads to, for rules that ask for it.

use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A pattern of interface names: `*` stands for any characters, also none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceMatch(Box<str>);

impl InterfaceMatch {
    /// A pattern.
    pub fn new(pattern: impl Into<Box<str>>) -> Self {
        InterfaceMatch(pattern.into())
    }

    /// Whether a name matches.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else {
            return false;
        };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        true
    }
}

/// What the driver says of interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interfaces {
    /// Connected networks.
    pub connected: BTreeMap<IpNet, Arc<str>>,
    /// Prefixes that we originate.
    pub local: BTreeMap<IpNet, Arc<str>>,
}

impl Interfaces {
    /// None are known.
    pub const fn none() -> Self {
        Interfaces {
            connected: BTreeMap::new(),
            local: BTreeMap::new(),
        }
    }

    /// The interface that a next hop is reached by: that of the longest connected network.
    pub fn toward(&self, next_hop: IpAddr) -> Option<&str> {
        self.connected
            .iter()
            .filter(|(network, _)| network.contains(&next_hop))
            .max_by_key(|(network, _)| network.prefix_len())
            .map(|(_, name)| &**name)
    }

    /// The interface of a prefix of ours.
    pub fn of_local(&self, prefix: IpNet) -> Option<&str> {
        self.local.get(&prefix).map(|name| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let matches = |pattern: &str, name| InterfaceMatch::new(pattern).matches(name);
        assert!(matches("*.calico", "vxlan.calico") && !matches("*.calico", "vxlan.calico0"));
        assert!(matches("eth*", "eth0") && matches("eth*", "eth") && !matches("eth*", "xeth0"));
        assert!(matches("*", "") && matches("*", "eth0"));
        assert!(matches("a*b*c", "abbc") && matches("a*b*c", "a1b2c") && !matches("a*b*c", "acb"));
        assert!(matches("eth0", "eth0") && !matches("eth0", "eth01"));
        assert!(!matches("*ab", "a"), "nothing is used twice");
        assert!(!matches("aba*ba", "aba"), "nothing is used twice");
    }

    #[test]
    fn longest_connected_network() {
        let mut interfaces = Interfaces::default();
        for (network, name) in [("10.0.0.0/8", "eth0"), ("10.1.0.0/16", "eth1")] {
            interfaces
                .connected
                .insert(network.parse().expect("a prefix"), name.into());
        }
        assert_eq!(interfaces.toward([10, 1, 2, 3].into()), Some("eth1"));
        assert_eq!(interfaces.toward([10, 2, 2, 3].into()), Some("eth0"));
        assert_eq!(interfaces.toward([11, 2, 2, 3].into()), None);
    }
}
