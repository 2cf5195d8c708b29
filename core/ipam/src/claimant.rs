//! Who may have blocks.

use std::fmt;

use ipnet::IpNet;
use resource::{Key, KeyPrefix};

/// The name under which the load balancer has its blocks (calico-compat §7.8).
pub const LOAD_BALANCER: &str = "load-balancer";

/// One that has affinities to blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claimant<'a> {
    /// A node.
    Host(&'a str),
    /// What is no node: the load balancer.
    Virtual(&'a str),
}

impl<'a> Claimant<'a> {
    /// The one that a block's affinity text names: `host:NODE`, `virtual:NAME`.
    pub fn from_affinity(text: &'a str) -> Option<Claimant<'a>> {
        match text.split_once(':')? {
            ("host", name) => Some(Claimant::Host(name)),
            ("virtual", name) => Some(Claimant::Virtual(name)),
            _ => None,
        }
    }

    /// The one whose affinity lies under a key, and the block.
    pub fn of_key(key: &'a Key) -> Option<(Claimant<'a>, IpNet)> {
        match key {
            Key::BlockAffinity { host, cidr } => Some((Claimant::Host(host), *cidr)),
            Key::VirtualAffinity { name, cidr } => Some((Claimant::Virtual(name), *cidr)),
            Key::Resource { .. }
            | Key::Block(_)
            | Key::Handle(_)
            | Key::IpamConfig
            | Key::Lease(_) => None,
        }
    }

    /// Where its affinity to a block lies.
    pub fn key(self, cidr: IpNet) -> Key {
        match self {
            Claimant::Host(host) => Key::BlockAffinity {
                host: host.to_string(),
                cidr,
            },
            Claimant::Virtual(name) => Key::VirtualAffinity {
                name: name.to_string(),
                cidr,
            },
        }
    }

    /// Where all its affinities lie.
    pub fn prefix(self) -> KeyPrefix {
        match self {
            Claimant::Host(host) => KeyPrefix::HostAffinities(host.to_string()),
            Claimant::Virtual(name) => KeyPrefix::VirtualAffinities(name.to_string()),
        }
    }

    /// Its name.
    pub fn name(self) -> &'a str {
        match self {
            Claimant::Host(name) | Claimant::Virtual(name) => name,
        }
    }
}

/// As a block's affinity names it.
impl fmt::Display for Claimant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claimant::Host(name) => write!(f, "host:{name}"),
            Claimant::Virtual(name) => write!(f, "virtual:{name}"),
        }
    }
}

/// A bare name is a node's.
impl<'a> From<&'a str> for Claimant<'a> {
    fn from(host: &'a str) -> Claimant<'a> {
        Claimant::Host(host)
    }
}

impl<'a> From<&'a String> for Claimant<'a> {
    fn from(host: &'a String) -> Claimant<'a> {
        Claimant::Host(host)
    }
}
