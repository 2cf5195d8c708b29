//! Keys of TCP-AO in a neighbour's entry (RFC 5925, RFC 5926).

use super::session::Password;
use crate::socket;
use anyhow::{Context, Result, bail, ensure};
use bgp::{AoAlgorithm, AoKey, Authentication, AuthenticationRefusal, Config, Secret};
use ipnet::IpNet;
use linux::tcp_ao::KEY_MAX;
use serde::Deserialize;
use std::path::PathBuf;

/// A key; the first of them that can be used is asked of the neighbor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AoEntry {
    /// KeyID of what we sign with it.
    send_id: u8,
    /// KeyID of what the neighbor signs with it; the same when left out.
    recv_id: Option<u8>,
    algorithm: AlgorithmName,
    secret: Option<Password>,
    secret_file: Option<PathBuf>,
}

/// The words of RFC 5926 §3.2; the last one is not there.
#[derive(Clone, Copy, Debug, Deserialize)]
enum AlgorithmName {
    #[serde(rename = "hmac-sha-1-96")]
    HmacSha1,
    #[serde(rename = "aes-128-cmac-96")]
    Aes128Cmac,
    #[serde(rename = "hmac-sha-256-96")]
    HmacSha256,
}

impl AlgorithmName {
    fn algorithm(self) -> AoAlgorithm {
        match self {
            AlgorithmName::HmacSha1 => AoAlgorithm::HmacSha1,
            AlgorithmName::Aes128Cmac => AoAlgorithm::Aes128Cmac,
            AlgorithmName::HmacSha256 => AoAlgorithm::HmacSha256,
        }
    }
}

impl AoEntry {
    fn ids(&self) -> (u8, u8) {
        (self.send_id, self.recv_id.unwrap_or(self.send_id))
    }

    /// The secret; `None` when its file has none that can be used.
    fn secret(&self, what: &str) -> Result<Option<Secret>> {
        let secret = |octets: &[u8]| {
            ensure!(
                (1..=KEY_MAX).contains(&octets.len()),
                "{what}: a secret has 1 to {KEY_MAX} octets"
            );
            Ok(Secret::new(octets))
        };
        match (&self.secret, &self.secret_file) {
            (Some(text), None) => secret(text.octets()).map(Some),
            (None, Some(file)) => {
                let read = std::fs::read(file).context("it cannot be read");
                let found = read.and_then(|octets| secret(octets.trim_ascii_end()));
                if let Err(error) = &found {
                    let name = AuthenticationRefusal::PasswordUnavailable.name();
                    tracing::error!("{what}: {name}: {}: {error:#}", file.display());
                }
                Ok(found.ok())
            }
            (None, None) | (Some(_), Some(_)) => {
                bail!("{what}: give one of `secret`, `secret_file`")
            }
        }
    }
}

/// What the keys of a neighbor come to, in a kernel that `has` some algorithms. Those that cannot be used are passed over;
/// without any there is no session, rather than one that is not signed.
pub(super) fn authentication(
    what: &str,
    entries: &[AoEntry],
    has: impl Fn(AoAlgorithm) -> Result<(), AuthenticationRefusal>,
) -> Result<Authentication> {
    ensure!(!entries.is_empty(), "{what}: tcp_ao needs a key");
    let mut keys = Vec::new();
    let mut refusal = None;
    for (at, entry) in entries.iter().enumerate() {
        let (send_id, recv_id) = entry.ids();
        let what = format!("{what}: tcp_ao key {send_id}/{recv_id}");
        // RFC 5925 §3.1.
        let one_id = |(send, recv): (u8, u8)| send == send_id || recv == recv_id;
        ensure!(
            !entries[..at].iter().any(|other| one_id(other.ids())),
            "{what}: another one has the same send_id or recv_id"
        );
        let secret = entry.secret(&what)?;
        let algorithm = entry.algorithm.algorithm();
        let usable = has(algorithm)
            .inspect_err(|why| tracing::error!("{what}: {}", why.name()))
            .and_then(|()| secret.ok_or(AuthenticationRefusal::PasswordUnavailable));
        match usable {
            Ok(secret) => keys.push(AoKey {
                send_id,
                recv_id,
                algorithm,
                secret,
            }),
            Err(why) => refusal = refusal.or(Some(why)),
        }
    }
    Ok(match refusal {
        Some(why) if keys.is_empty() => Authentication::Refused(why),
        Some(_) | None => Authentication::Ao(keys.into()),
    })
}

/// Whether this kernel has TCP-AO with an algorithm.
pub(super) fn kernel_has(algorithm: AoAlgorithm) -> Result<(), AuthenticationRefusal> {
    let probed = linux::tcp_ao::probe(socket::keys::algorithm(algorithm));
    probed.map_err(|error| {
        let absent = rustix::io::Errno::NOPROTOOPT.raw_os_error();
        if error.raw_os_error() == Some(absent) {
            AuthenticationRefusal::TcpAoNotInKernel
        } else {
            AuthenticationRefusal::TcpAoAlgorithmNotInKernel
        }
    })
}

/// The kernel takes any key that an address is in the prefix of, so who shares addresses shares the keys.
///
/// # Errors
/// Names two neighbors of which one would get the other's keys, or a range that no key can be for.
pub(super) fn check_overlaps(config: &Config) -> Result<()> {
    let peers = config.peers.iter();
    let peers = peers.map(|peer| (IpNet::from(peer.remote.ip().to_canonical()), peer));
    let ranges = config.ranges.iter();
    let ranges = ranges.map(|range| (range.prefix.trunc(), &range.template));
    let all: Vec<_> = peers.chain(ranges).collect();
    for (net, peer) in &all {
        if !matches!(peer.authentication, Authentication::Ao(_)) {
            continue;
        }
        ensure!(
            net.prefix_len() == 0 || !net.addr().is_unspecified(),
            "{}: the kernel takes no TCP-AO keys for {net}",
            peer.name
        );
        for (other_net, other) in &all {
            let overlap = net.contains(other_net) || other_net.contains(net);
            ensure!(
                !overlap || other.authentication == peer.authentication,
                "{} and {} have addresses in common, so they need the same tcp_ao",
                peer.name,
                other.name
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bgp::{PeerConfig, RangeConfig};
    use std::net::IpAddr;

    #[derive(Deserialize)]
    struct Settings {
        tcp_ao: Vec<AoEntry>,
    }

    fn read_where(
        settings: &str,
        has: impl Fn(AoAlgorithm) -> Result<(), AuthenticationRefusal>,
    ) -> Result<Authentication> {
        let settings: Settings = toml::from_str(settings)?;
        authentication("tor", &settings.tcp_ao, has)
    }

    fn read(settings: &str) -> Result<Authentication> {
        read_where(settings, |_| Ok(()))
    }

    fn key(ids: (u8, u8), algorithm: AoAlgorithm, secret: &str) -> AoKey {
        AoKey {
            send_id: ids.0,
            recv_id: ids.1,
            algorithm,
            secret: Secret::new(secret.as_bytes()),
        }
    }

    #[test]
    fn keys_in_their_order() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("key");
        std::fs::write(&file, "from a file\n").expect("written");
        let settings = format!(
            "[[tcp_ao]]\nsend_id = 7\nrecv_id = 0\nalgorithm = \"aes-128-cmac-96\"\nsecret = \"one\"\n\
             [[tcp_ao]]\nsend_id = 255\nalgorithm = \"hmac-sha-1-96\"\nsecret_file = {file:?}\n\
             [[tcp_ao]]\nsend_id = 8\nalgorithm = \"hmac-sha-256-96\"\nsecret = \"three\"\n"
        );
        let expected = [
            key((7, 0), AoAlgorithm::Aes128Cmac, "one"),
            key((255, 255), AoAlgorithm::HmacSha1, "from a file"),
            key((8, 8), AoAlgorithm::HmacSha256, "three"),
        ];
        let all = read(&settings).expect("valid");
        assert_eq!(all, Authentication::Ao(expected.clone().into()));
        // What cannot be used is passed over.
        std::fs::write(&file, "").expect("written");
        let without_sha1 = [expected[0].clone(), expected[2].clone()];
        let some = read(&settings).expect("valid");
        assert_eq!(some, Authentication::Ao(without_sha1.into()));
        let cmac_only = |algorithm| match algorithm {
            AoAlgorithm::Aes128Cmac => Ok(()),
            AoAlgorithm::HmacSha1 | AoAlgorithm::HmacSha256 => {
                Err(AuthenticationRefusal::TcpAoAlgorithmNotInKernel)
            }
        };
        let one = read_where(&settings, cmac_only).expect("valid");
        assert_eq!(one, Authentication::Ao([expected[0].clone()].into()));
    }

    #[test]
    fn no_key_that_can_be_used_is_a_refusal() {
        let key = |rest: &str| {
            format!("tcp_ao = [{{ send_id = 1, algorithm = \"hmac-sha-1-96\", {rest} }}]")
        };
        let name = |read: Result<Authentication>| {
            let refusal = read.expect("valid").refusal();
            refusal.expect("fails closed").name()
        };
        let lacking = "secret_file = \"/nonexistent\"";
        assert_eq!(name(read(&key(lacking))), "password-unavailable");
        let none = |_| Err(AuthenticationRefusal::TcpAoNotInKernel);
        let secret = key("secret = \"one\"");
        assert_eq!(name(read_where(&secret, none)), "tcp-ao-not-in-kernel");
        assert_eq!(read(&secret).expect("valid").refusal(), None, "the control");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let refused = |settings: &str, expected: &str| {
            let error = format!("{:#}", read(settings).expect_err("invalid"));
            assert!(error.contains(expected), "{error}");
        };
        let two = |a: &str, b: &str| {
            let key =
                |ids: &str| format!("{{ {ids}, algorithm = \"hmac-sha-1-96\", secret = \"x\" }}");
            format!("tcp_ao = [{}, {}]", key(a), key(b))
        };
        refused("tcp_ao = []", "needs a key");
        refused(
            &two("send_id = 1", "send_id = 1, recv_id = 2"),
            "the same send_id",
        );
        refused(
            &two("send_id = 1", "send_id = 2, recv_id = 1"),
            "or recv_id",
        );
        refused(&two("send_id = 1", "send_id = 256"), "256");
        let one = |rest: &str| format!("tcp_ao = [{{ send_id = 1, {rest} }}]");
        refused(&one("algorithm = \"md5\", secret = \"x\""), "hmac-sha-1-96");
        refused(&one("algorithm = \"hmac-sha-1-96\""), "give one of");
        refused(&one("secret = \"x\""), "algorithm");
        refused(
            &one("algorithm = \"hmac-sha-1-96\", secret = \"\""),
            "1 to 80",
        );
    }

    #[test]
    fn who_shares_addresses_shares_the_keys() {
        let ao =
            |secret: &str| Authentication::Ao([key((1, 1), AoAlgorithm::HmacSha1, secret)].into());
        let check = |peer: Authentication, address: [u8; 4], range: Authentication| {
            let mut config = Config::new(1.into(), [10, 0, 0, 1].into());
            let mut named = PeerConfig::new("tor", IpAddr::from(address), 1.into());
            named.authentication = peer;
            let mut template = PeerConfig::new("range", IpAddr::from([10, 1, 0, 0]), 1.into());
            template.authentication = range;
            config.peers.push(named);
            config.ranges.push(RangeConfig {
                prefix: "10.1.0.0/16".parse().expect("a prefix"),
                template,
                limit: 1,
            });
            check_overlaps(&config).map_err(|error| error.to_string())
        };
        let inside = [10, 1, 2, 3];
        let md5 = Authentication::Md5(Secret::new(b"one"));
        for (peer, range) in [
            (ao("one"), ao("two")),
            (md5.clone(), ao("one")),
            (ao("one"), md5),
        ] {
            let error = check(peer.clone(), inside, range.clone()).expect_err("refused");
            assert!(error.contains("need the same tcp_ao"), "{error}");
            check(peer, [10, 2, 0, 1], range).expect("the control: outside");
        }
        check(ao("one"), inside, ao("one")).expect("the same");
        let mut config = Config::new(1.into(), [10, 0, 0, 1].into());
        let mut template = PeerConfig::new("range", IpAddr::from([0; 4]), 1.into());
        template.authentication = ao("one");
        for (prefix, possible) in [("0.0.0.0/0", true), ("0.0.0.0/1", false), ("::/16", false)] {
            config.ranges = vec![RangeConfig {
                prefix: prefix.parse().expect("a prefix"),
                template: template.clone(),
                limit: 1,
            }];
            assert_eq!(check_overlaps(&config).is_ok(), possible, "{prefix}");
        }
    }
}
