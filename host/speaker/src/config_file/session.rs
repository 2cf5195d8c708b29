//! What a neighbour's entry says of its session: timers, sockets, keys.

use super::{NeighborEntry, seconds, tcp_ao};
use anyhow::{Result, bail, ensure};
use bgp::{
    Authentication, AuthenticationRefusal, Config, Family, GracefulRestart, LimitAction, LongLived,
    PeerConfig, Role, Secret,
};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// A password as it stands in the file; it is not shown.
#[derive(Clone)]
pub(super) struct Password(String);

impl Password {
    pub(super) fn octets(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // An error of the library's would show the value.
        match toml::Value::deserialize(deserializer) {
            Ok(toml::Value::String(text)) => Ok(Password(text)),
            Ok(_) | Err(_) => Err(serde::de::Error::custom(
                "a password is text in quotation marks",
            )),
        }
    }
}

/// What we are to a neighbour (RFC 9234 §3).
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RoleName {
    Provider,
    RouteServer,
    RouteServerClient,
    Customer,
    Peer,
}

impl RoleName {
    fn role(self) -> Role {
        match self {
            RoleName::Provider => Role::Provider,
            RoleName::RouteServer => Role::RouteServer,
            RoleName::RouteServerClient => Role::RouteServerClient,
            RoleName::Customer => Role::Customer,
            RoleName::Peer => Role::Peer,
        }
    }
}

/// What is done about too many prefixes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LimitName {
    End,
    Restart,
    Discard,
}

/// Long-lived stale times (RFC 9494 §3.1), in seconds. It is on for the families that are named.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LongLivedEntry {
    ipv4: Option<u32>,
    ipv6: Option<u32>,
}

impl LongLivedEntry {
    /// The time is 24 bits long.
    const MOST: u32 = 0x00ff_ffff;
}

impl NeighborEntry {
    /// Puts the limit of prefixes into `peer`.
    pub(super) fn limit(&self, what: &str, peer: &mut PeerConfig) -> Result<()> {
        let more = self.max_prefixes_warning.is_some() || self.max_prefixes_action.is_some();
        ensure!(
            self.max_prefixes.is_some() || !more,
            "{what}: max_prefixes_warning and max_prefixes_action need max_prefixes"
        );
        peer.max_prefixes = self.max_prefixes;
        let percent = self.max_prefixes_warning;
        ensure!(
            percent.is_none_or(|percent| (1..=100).contains(&percent)),
            "{what}: max_prefixes_warning is 1 to 100 (per cent)"
        );
        peer.max_prefixes_warning = percent;
        let restarts = matches!(self.max_prefixes_action, Some(LimitName::Restart));
        ensure!(
            restarts || self.max_prefixes_restart.is_none(),
            "{what}: max_prefixes_restart needs max_prefixes_action = \"restart\""
        );
        peer.max_prefixes_action = match self.max_prefixes_action {
            None | Some(LimitName::End) => LimitAction::End,
            Some(LimitName::Discard) => LimitAction::Discard,
            Some(LimitName::Restart) => {
                LimitAction::Restart(seconds(self.max_prefixes_restart.unwrap_or(300)))
            }
        };
        Ok(())
    }

    /// Puts the role into `peer`.
    pub(super) fn roles(&self, what: &str, external: bool, peer: &mut PeerConfig) -> Result<()> {
        ensure!(
            self.role.is_none() || external,
            "{what}: role is for neighbors of another AS"
        );
        ensure!(
            self.role.is_some() || !self.role_strict,
            "{what}: role_strict needs a role"
        );
        peer.role = self.role.map(RoleName::role);
        peer.role_strict = self.role_strict;
        Ok(())
    }

    /// Puts the settings of the session into `peer`; `what` is how errors call it.
    pub(super) fn session(&self, what: &str, peer: &mut PeerConfig) -> Result<()> {
        self.timers(what, peer)?;
        peer.ttl = self.ttl.unwrap_or(peer.ttl);
        if let Some(hops) = self.ttl_security {
            ensure!(
                self.ttl.is_none(),
                "{what}: give either `ttl` or `ttl_security`"
            );
            ensure!(
                (1..255).contains(&hops),
                "{what}: ttl_security is 1 to 254 (hops; 1 for a neighbor on the link)"
            );
            // RFC 5082 §3: what was forwarded by `hops - 1` routers has lost that much of 255.
            peer.ttl = 255;
            peer.min_ttl = Some(255 - (hops - 1));
        }
        peer.authentication = self.authentication(what)?;
        Ok(())
    }

    fn timers(&self, what: &str, peer: &mut PeerConfig) -> Result<()> {
        if let Some(hold) = self.hold_time {
            ensure!(
                hold == 0 || hold >= 3,
                "{what}: hold_time is 0 or at least 3 (seconds)"
            );
            peer.hold_time = seconds(hold);
        }
        peer.keepalive = self.keepalive.map(seconds);
        peer.send_hold_time = self.send_hold_time.map(seconds);
        peer.connect_retry = self.connect_retry.map_or(peer.connect_retry, seconds);
        ensure!(
            !peer.connect_retry.is_zero(),
            "{what}: connect_retry must not be 0"
        );
        peer.delay_open = self.delay_open.map(seconds).filter(|time| !time.is_zero());
        if let Some([first, greatest]) = self.error_wait {
            ensure!(
                0 < first && first <= greatest,
                "{what}: error_wait is [first, greatest] (seconds), both more than 0"
            );
            peer.error_wait = (seconds(first), seconds(greatest));
        }
        if let Some(time) = self.graceful_restart {
            ensure!(
                time <= 4095,
                "{what}: graceful_restart is at most 4095 (seconds)"
            );
            let restart = GracefulRestart {
                restart_time: seconds(time),
                ..Default::default()
            };
            peer.graceful_restart = (time > 0).then_some(restart);
        }
        if let (Some(time), Some(restart)) = (self.stale_time, &mut peer.graceful_restart) {
            restart.stale_time = seconds(time);
        }
        Ok(())
    }

    /// Long-lived graceful restart (RFC 9494). `local_as` is our AS on this session.
    pub(super) fn long_lived(
        &self,
        what: &str,
        local_as: u32,
        peer: &mut PeerConfig,
    ) -> Result<()> {
        ensure!(
            self.long_lived.is_some() || self.long_lived_limit.is_none(),
            "{what}: long_lived_limit needs long_lived"
        );
        let external = self.remote_as.0.is_external(local_as.into());
        ensure!(
            !(self.long_lived_partial && external),
            "{what}: long_lived_partial is for neighbors in our own AS {local_as}"
        );
        peer.long_lived_partial = self.long_lived_partial;
        let Some(entry) = &self.long_lived else {
            return Ok(());
        };
        ensure!(
            peer.graceful_restart.is_some(),
            "{what}: long_lived needs graceful_restart"
        );
        let mut stale_times = BTreeMap::new();
        for (family, time) in [(Family::Ipv4, entry.ipv4), (Family::Ipv6, entry.ipv6)] {
            let Some(time) = time else { continue };
            ensure!(
                peer.families.contains(&family),
                "{what}: long_lived: {family} is not among its families"
            );
            ensure!(
                time <= LongLivedEntry::MOST,
                "{what}: long_lived: {family} is at most {} (seconds)",
                LongLivedEntry::MOST
            );
            stale_times.insert(family, Duration::from_secs(u64::from(time)));
        }
        let limit = self.long_lived_limit.map(u64::from);
        peer.long_lived = Some(LongLived {
            stale_times,
            limit: limit.map(Duration::from_secs),
        });
        Ok(())
    }

    fn authentication(&self, what: &str) -> Result<Authentication> {
        let key = |octets: &[u8]| {
            ensure!(
                (1..=linux::tcp::MD5_KEY_MAX).contains(&octets.len()),
                "{what}: a password has 1 to {} octets",
                linux::tcp::MD5_KEY_MAX
            );
            Ok(Authentication::Md5(Secret::new(octets)))
        };
        match (&self.password, &self.password_file, &self.tcp_ao) {
            (None, None, None) => Ok(Authentication::None),
            (Some(password), None, None) => key(password.octets()),
            (None, Some(file), None) => Ok(read_password(what, file, key)),
            (None, None, Some(keys)) => tcp_ao::authentication(what, keys, tcp_ao::kernel_has),
            _ => bail!(
                "{what}: give one of `password`, `password_file` (TCP-MD5), `tcp_ao`: a segment is signed once"
            ),
        }
    }
}

/// The password in a file, without the line's end. Where there is none, there is no session:
/// rather none than one without a password.
fn read_password(
    what: &str,
    file: &Path,
    key: impl Fn(&[u8]) -> Result<Authentication>,
) -> Authentication {
    let read = std::fs::read(file).map_err(anyhow::Error::from);
    let found = read.and_then(|octets| key(octets.trim_ascii_end()));
    found.unwrap_or_else(|error| {
        let refusal = AuthenticationRefusal::PasswordUnavailable;
        tracing::error!("{what}: {}: {}: {error}", refusal.name(), file.display());
        Authentication::Refused(refusal)
    })
}

/// The kernel chooses a key by the address alone, so neighbours at one address share theirs.
///
/// # Errors
/// Names the neighbour that would get another one's key.
pub(super) fn check_keys(config: &Config) -> Result<()> {
    for peer in &config.peers {
        let ip = peer.remote.ip();
        let same = config.peers.iter().filter(|other| other.remote.ip() == ip);
        for other in same {
            // Whoever is found on an interface may have any link-local address.
            let words = match peer.interface {
                None => "have one address and",
                Some(_) => "are on interfaces and have",
            };
            ensure!(
                other.authentication == peer.authentication,
                "{} and {} {words} different passwords",
                peer.name,
                other.name
            );
        }
        if peer.interface.is_some() {
            continue;
        }
        if peer.authentication != Authentication::None {
            continue;
        }
        let ranges = config.ranges.iter();
        for range in ranges.filter(|range| range.prefix.contains(&ip)) {
            ensure!(
                range.template.authentication == Authentication::None,
                "{} has no password, and the range {} that it is in has one",
                peer.name,
                range.prefix
            );
        }
    }
    tcp_ao::check_overlaps(config)
}

#[cfg(test)]
mod tests {
    use super::super::ConfigFile;
    use super::*;
    use std::time::Duration;

    fn read(settings: &str) -> Result<PeerConfig> {
        let text = format!(
            "router_id = \"10.0.0.1\"\nlocal_as = 64512\n[[neighbor]]\naddress = \"10.0.0.2\"\nas = 1\n{settings}"
        );
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("speaker.toml");
        std::fs::write(&path, text)?;
        Ok(ConfigFile::read(&path)?.config()?.peers.remove(0))
    }

    #[track_caller]
    fn refused(settings: &str, expected: &str) -> String {
        let error = format!("{:#}", read(settings).expect_err("invalid"));
        assert!(error.contains(expected), "{error}");
        error
    }

    #[test]
    fn each_setting_of_the_session() {
        let seconds = Duration::from_secs;
        let peer = |settings: &str| read(settings).expect("valid");
        let plain = peer("");
        let check = |settings: &str, change: fn(&mut PeerConfig)| {
            let mut expected = plain.clone();
            change(&mut expected);
            assert_ne!(expected, plain, "{settings}: the control");
            assert_eq!(peer(settings), expected, "{settings}");
        };
        check("hold_time = 9", |p| p.hold_time = Duration::from_secs(9));
        check("keepalive = 2", |p| {
            p.keepalive = Some(Duration::from_secs(2));
        });
        check("send_hold_time = 60", |p| {
            p.send_hold_time = Some(Duration::from_secs(60));
        });
        check("connect_retry = 7", |p| {
            p.connect_retry = Duration::from_secs(7);
        });
        check("delay_open = 30", |p| {
            p.delay_open = Some(Duration::from_secs(30));
        });
        check("error_wait = [1, 20]", |p| {
            p.error_wait = (Duration::from_secs(1), Duration::from_secs(20));
        });
        check("graceful_restart = 0", |p| p.graceful_restart = None);
        check("long_lived = { ipv4 = 3600, ipv6 = 0 }", |p| {
            let hour = Duration::from_secs(3600);
            p.long_lived = Some(LongLived {
                stale_times: [(Family::Ipv4, hour), (Family::Ipv6, Duration::ZERO)].into(),
                limit: None,
            });
        });
        check("local_as = 1\nlong_lived_partial = true", |p| {
            (p.local_as, p.long_lived_partial) = (Some(1.into()), true);
        });
        check(
            "long_lived = { ipv6 = 16777215 }\nlong_lived_limit = 86400",
            |p| {
                let most = Duration::from_secs(0x00ff_ffff);
                p.long_lived = Some(LongLived {
                    stale_times: [(Family::Ipv6, most)].into(),
                    limit: Some(Duration::from_secs(86_400)),
                });
            },
        );
        check("local_as = 7", |p| p.local_as = Some(7.into()));
        check("source = \"10.0.0.9\"", |p| {
            p.source = Some([10, 0, 0, 9].into());
        });
        check("ttl = 2", |p| p.ttl = 2);
        check("ttl_security = 1", |p| {
            (p.ttl, p.min_ttl) = (255, Some(255));
        });
        check("ttl_security = 3", |p| {
            (p.ttl, p.min_ttl) = (255, Some(253));
        });
        check("role = \"customer\"", |p| p.role = Some(Role::Customer));
        check("role = \"route-server-client\"\nrole_strict = true", |p| {
            (p.role, p.role_strict) = (Some(Role::RouteServerClient), true);
        });
        check("max_prefixes = 7\nmax_prefixes_warning = 80", |p| {
            (p.max_prefixes, p.max_prefixes_warning) = (Some(7), Some(80));
        });
        check("max_prefixes = 7\nmax_prefixes_action = \"discard\"", |p| {
            (p.max_prefixes, p.max_prefixes_action) = (Some(7), LimitAction::Discard);
        });
        check(
            "max_prefixes = 7\nmax_prefixes_action = \"restart\"\nmax_prefixes_restart = 60",
            |p| {
                let wait = Duration::from_secs(60);
                (p.max_prefixes, p.max_prefixes_action) = (Some(7), LimitAction::Restart(wait));
            },
        );
        check("port = 1179", |p| p.remote.set_port(1179));
        check("passive = true", |p| p.passive = true);
        let restart = peer("graceful_restart = 60\nstale_time = 90").graceful_restart;
        let restart = restart.expect("on");
        assert_eq!(
            (restart.restart_time, restart.stale_time),
            (seconds(60), seconds(90))
        );
        refused("max_prefixes_warning = 5", "need max_prefixes");
        refused("max_prefixes = 5\nmax_prefixes_warning = 101", "per cent");
        refused(
            "max_prefixes = 5\nmax_prefixes_restart = 9",
            "needs max_prefixes_action",
        );
        refused("role_strict = true", "needs a role");
        refused("role = \"peer\"\nlocal_as = 1", "another AS");
        refused("error_wait = [9, 1]", "error_wait");
        refused("ttl_security = 0", "1 to 254");
        refused("ttl_security = 1\nttl = 3", "either");
        refused("connect_retry = 0", "must not be 0");
        refused("graceful_restart = 5000", "4095");
        refused("long_lived = { ipv4 = 16777216 }", "at most 16777215");
        refused("long_lived = { ipv8 = 1 }", "ipv8");
        refused(
            "long_lived = { ipv4 = 1 }\ngraceful_restart = 0",
            "needs graceful_restart",
        );
        refused(
            "long_lived = { ipv4 = 1 }\nfamilies = [\"ipv6\"]",
            "not among its families",
        );
        refused("long_lived_limit = 9", "needs long_lived");
        refused("long_lived_partial = true", "our own AS 64512");
    }

    #[test]
    fn policies_can_be_required() {
        let lacks = |top: &str, settings: &str| {
            let text = format!(
                "router_id = \"10.0.0.1\"\nlocal_as = 64512\n{top}\n[[neighbor]]\naddress = \"10.0.0.2\"\n{settings}"
            );
            let file: ConfigFile = toml::from_str(&text).expect("valid");
            let peer = file.config().expect("valid").peers.remove(0);
            (peer.lacks_import_policy, peer.lacks_export_policy)
        };
        let required = "require_policy = true";
        let import = "as = 1\nimport = [{ action = \"accept\" }]";
        assert_eq!(lacks(required, "as = 1"), (true, true));
        assert_eq!(lacks(required, import), (false, true));
        assert_eq!(lacks(required, "as = 64512"), (false, false), "iBGP");
        assert_eq!(lacks("", "as = 1"), (false, false), "off by default");
    }

    #[test]
    fn passwords() {
        let peer = read("password = \"hidden-word\"").expect("valid");
        assert_eq!(
            peer.authentication,
            Authentication::Md5(Secret::new(b"hidden-word"))
        );
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("key");
        let setting = format!("password_file = {:?}", file.display().to_string());
        let missing = read(&setting).expect("a missing file is no error of the configuration");
        let refusal = missing.authentication.refusal().expect("fails closed");
        assert_eq!(refusal.name(), "password-unavailable");
        std::fs::write(&file, "\n").expect("written");
        let empty = read(&setting).expect("valid");
        assert_eq!(empty.authentication, missing.authentication);
        std::fs::write(&file, "from a file\n").expect("written");
        let peer = read(&setting).expect("valid");
        assert_eq!(
            peer.authentication,
            Authentication::Md5(Secret::new(b"from a file"))
        );
        refused("password = \"\"", "1 to 80 octets");
        refused("password = \"a\"\npassword_file = \"b\"", "give one of");
        let ao = "tcp_ao = [{ send_id = 1, algorithm = \"hmac-sha-1-96\", secret = \"a\" }]";
        refused(&format!("password = \"a\"\n{ao}"), "signed once");
        let refusal = read(ao).expect("valid").authentication.refusal();
        let in_kernel = linux::tcp_ao::probe(linux::tcp_ao::Algorithm::HmacSha1).is_ok();
        let name = (!in_kernel).then_some("tcp-ao-not-in-kernel");
        assert_eq!(refusal.map(AuthenticationRefusal::name), name);
    }

    #[test]
    fn a_password_is_in_no_error() {
        for settings in [
            "password = \"hidden-word",
            "password = hidden-word",
            "password = [\"hidden-word\"]",
            "passwort = \"hidden-word\"",
            "tcp_ao = \"hidden-word\"",
            "tcp_ao = [\"hidden-word\"]",
            "tcp_ao = [{ send_id = 1, algorithm = \"hmac-sha-1-96\", secret = [\"hidden-word\"] }]",
            "tcp_ao = [{ send_id = \"hidden-word\" }]",
            "tcp_ao = [{ secrt = \"hidden-word\" }]",
        ] {
            let error = refused(settings, "line 6, column");
            assert!(!error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn one_address_one_key() {
        refused(
            "password = \"a\"\n[[neighbor]]\naddress = \"10.0.0.2\"\nport = 1179\nname = \"b\"\nas = 1\npassword = \"b\"",
            "different passwords",
        );
        refused(
            "[[neighbor]]\nrange = \"10.0.0.0/8\"\nas = 1\npassword = \"b\"",
            "has no password",
        );
    }
}
