//! What guards the TCP connections: keys (RFC 2385, RFC 5925) and the distance that packets may have come (RFC 5082).

use crate::{Config, PeerConfig};
use ipnet::IpNet;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;

/// A key that is never shown: not in status, not in the log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// A key of these octets.
    pub fn new(octets: &[u8]) -> Self {
        Secret(octets.into())
    }

    /// The octets, for the socket.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What the segments of a session are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// A key of 1 to 80 octets (TCP-MD5, RFC 2385).
    Md5(Secret),
    /// The first one is asked of the peer, the others are taken too (TCP-AO, RFC 5925). Not empty.
    Ao(Arc<[AoKey]>),
}

/// A master key tuple (RFC 5925 §3.1), less the addresses that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AoKey {
    /// SendID: KeyID in what we sign with it.
    pub send_id: u8,
    /// RecvID: KeyID in what the peer signs with it.
    pub recv_id: u8,
    /// How traffic keys are derived, and how they sign.
    pub algorithm: AoAlgorithm,
    /// The master key, 1 to 80 octets.
    pub secret: Secret,
}

/// How a TCP-AO key signs. Source: RFC 5926 §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AoAlgorithm {
    /// KDF_HMAC_SHA1 and HMAC-SHA-1-96.
    HmacSha1,
    /// KDF_AES_128_CMAC and AES-128-CMAC-96.
    Aes128Cmac,
    /// The same with HMAC-SHA-256, of which 96 bits are sent; not in RFC 5926.
    HmacSha256,
}

impl Keys {
    /// Whether these can be put in the place of `old` while a connection is in use. A connection never has two keys of
    /// one ID, so another secret under the same ID cannot (RFC 5925 §3.1).
    pub(crate) fn can_follow(&self, old: &Keys) -> bool {
        match (old, self) {
            (Keys::Md5(_), Keys::Md5(_)) => true,
            (Keys::Ao(old), Keys::Ao(new)) => old.iter().all(|old| {
                let apart = |new: &AoKey| old.send_id != new.send_id && old.recv_id != new.recv_id;
                new.iter().all(|new| old == new || apart(new))
            }),
            (Keys::Md5(_), Keys::Ao(_)) | (Keys::Ao(_), Keys::Md5(_)) => false,
        }
    }
}

/// How the segments of a session are authenticated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all.
    #[default]
    None,
    /// Signed with a key of 1 to 80 octets (TCP-MD5, RFC 2385).
    Md5(Secret),
    /// Signed with one of these keys, of which the first is asked of the peer (TCP-AO, RFC 5925). Not empty.
    Ao(Arc<[AoKey]>),
    /// They shall be and cannot be: there is no session at all.
    Refused(AuthenticationRefusal),
}

/// Why segments cannot be authenticated as they shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationRefusal {
    /// The password's file cannot be read, or holds no password that can be used.
    PasswordUnavailable,
    /// TCP-AO (RFC 5925) is wanted and the kernel has it not.
    TcpAoNotInKernel,
    /// TCP-AO (RFC 5925) is wanted with an algorithm that the kernel has not.
    TcpAoAlgorithmNotInKernel,
}

impl AuthenticationRefusal {
    /// The stable name, as state and log show it.
    pub fn name(self) -> &'static str {
        match self {
            AuthenticationRefusal::PasswordUnavailable => "password-unavailable",
            AuthenticationRefusal::TcpAoNotInKernel => "tcp-ao-not-in-kernel",
            AuthenticationRefusal::TcpAoAlgorithmNotInKernel => "tcp-ao-algorithm-not-in-kernel",
        }
    }
}

impl Authentication {
    /// What signs the segments, if anything does.
    pub fn keys(&self) -> Option<Keys> {
        match self {
            Authentication::Md5(key) => Some(Keys::Md5(key.clone())),
            Authentication::Ao(keys) => Some(Keys::Ao(Arc::clone(keys))),
            Authentication::None | Authentication::Refused(_) => None,
        }
    }

    /// Why there is no session, if authentication is why.
    pub fn refusal(&self) -> Option<AuthenticationRefusal> {
        match self {
            Authentication::Refused(why) => Some(*why),
            Authentication::None | Authentication::Md5(_) | Authentication::Ao(_) => None,
        }
    }

    /// Whether a connection in use can go on with these (RFC 2385 §4.5, RFC 5925 §3.1).
    pub(crate) fn can_follow(&self, old: &Authentication) -> bool {
        match (old.keys(), self.keys()) {
            (Some(old), Some(new)) => new.can_follow(&old),
            (None, _) | (_, None) => false,
        }
    }
}

/// What the socket of one connection is given before anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// IP TTL or hop limit to send with.
    pub ttl: u8,
    /// Least TTL that arriving packets may have, the first one too (GTSM, RFC 5082).
    pub min_ttl: Option<u8>,
    /// What signs its segments (RFC 2385, RFC 5925).
    pub keys: Option<Keys>,
}

/// What listening sockets are given. Replaces what was said before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenSecurity {
    /// Who signs with what; of TCP-MD5's the longest prefix counts, TCP-AO's do not overlap. In the order of the prefixes.
    pub keys: Vec<(IpNet, Keys)>,
    /// Least TTL of all that arrives, when every peer wants one.
    pub min_ttl: Option<u8>,
    /// Some peer wants a least TTL: the TTL of the first packet of each connection is asked for.
    pub checks_first_ttl: bool,
}

/// The addresses that a peer may come from.
fn who(peer: &PeerConfig) -> IpNet {
    match peer.interface {
        None => IpNet::from(peer.remote.ip().to_canonical()),
        // Who it is shows when it connects, and a listening socket needs the key before that.
        Some(_) => IpNet::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 10)
            .expect("RFC 4291 §2.5.6"),
    }
}

impl ListenSecurity {
    /// What the peers of a configuration need.
    pub(crate) fn of(config: &Config) -> Self {
        let peers = config.peers.iter().map(|peer| (who(peer), peer));
        let ranges = config
            .ranges
            .iter()
            .map(|range| (range.prefix.trunc(), &range.template));
        let all: Vec<(IpNet, &PeerConfig)> = peers.chain(ranges).collect();
        let mut keys: Vec<(IpNet, Keys)> = all
            .iter()
            .filter_map(|(net, peer)| Some((*net, peer.authentication.keys()?)))
            .collect();
        keys.sort_by_key(|(net, _)| *net);
        keys.dedup_by_key(|(net, _)| *net);
        // A socket has no two TCP-AO keys of one ID for one address (RFC 5925 §3.1): those of a range are its members' too.
        let every = keys.clone();
        keys.retain(|(net, keys)| match keys {
            Keys::Md5(_) => true,
            Keys::Ao(_) => !every
                .iter()
                .any(|(wider, same)| wider != net && wider.contains(net) && same == keys),
        });
        let least = all.iter().map(|(_, peer)| peer.min_ttl);
        ListenSecurity {
            keys,
            min_ttl: least.clone().min().flatten(),
            checks_first_ttl: least.flatten().next().is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RangeConfig, RemoteAs};
    use std::net::IpAddr;

    fn peer(last: u8, min_ttl: Option<u8>, key: &[u8]) -> PeerConfig {
        let mut peer = PeerConfig::new("p", IpAddr::from([10, 0, 0, last]), 1.into());
        peer.min_ttl = min_ttl;
        if !key.is_empty() {
            peer.authentication = Authentication::Md5(Secret::new(key));
        }
        peer
    }

    #[test]
    fn listeners_need_what_peers_need() {
        let mut config = Config::new(1.into(), [10, 0, 0, 1].into());
        assert_eq!(ListenSecurity::of(&config), ListenSecurity::default());
        config.peers = vec![peer(2, Some(255), b"two"), peer(3, Some(254), b"")];
        let needs = ListenSecurity::of(&config);
        assert_eq!((needs.min_ttl, needs.checks_first_ttl), (Some(254), true));
        assert_eq!(needs.keys.len(), 1);
        // One peer that may come from far: no least TTL for all.
        config.ranges.push(RangeConfig {
            prefix: "10.1.0.0/16".parse().expect("prefix"),
            template: peer(9, None, b"range"),
            limit: 1,
        });
        let needs = ListenSecurity::of(&config);
        assert_eq!((needs.min_ttl, needs.checks_first_ttl), (None, true));
        assert_eq!(needs.keys[1].0, "10.1.0.0/16".parse().expect("prefix"));
    }

    #[test]
    fn who_is_not_found_yet_has_a_key_too() {
        let mut config = Config::new(1.into(), [10, 0, 0, 1].into());
        let mut peer = PeerConfig::unnumbered("p", "c0", RemoteAs::External);
        peer.authentication = Authentication::Md5(Secret::new(b"word"));
        config.peers.push(peer);
        let key = Keys::Md5(Secret::new(b"word"));
        let key = ("fe80::/10".parse().expect("a prefix"), key);
        assert_eq!(ListenSecurity::of(&config).keys, [key]);
    }

    #[test]
    fn a_member_of_a_range_has_the_keys_of_the_range() {
        let ao = |secret: &[u8]| {
            let key = AoKey {
                send_id: 1,
                recv_id: 1,
                algorithm: AoAlgorithm::HmacSha1,
                secret: Secret::new(secret),
            };
            Authentication::Ao([key].into())
        };
        let nets = |member: &[u8], range: &[u8]| -> Vec<String> {
            let mut config = Config::new(1.into(), [10, 0, 0, 1].into());
            let mut named = peer(2, None, b"");
            named.authentication = ao(member);
            let mut template = peer(9, None, b"");
            template.authentication = ao(range);
            config.peers = vec![named];
            config.ranges.push(RangeConfig {
                prefix: "10.0.0.0/16".parse().expect("prefix"),
                template,
                limit: 1,
            });
            let keys = ListenSecurity::of(&config).keys;
            keys.iter().map(|(net, _)| net.to_string()).collect()
        };
        assert_eq!(nets(b"one", b"one"), ["10.0.0.0/16"]);
        assert_eq!(
            nets(b"two", b"one"),
            ["10.0.0.0/16", "10.0.0.2/32"],
            "the control"
        );
    }

    #[test]
    fn keys_are_not_shown() {
        let config = peer(2, None, b"hidden-word");
        assert!(!format!("{config:?}").contains("hidden-word"));
        assert!(!format!("{config:?}").contains("104, 105"), "nor as octets");
    }
}
