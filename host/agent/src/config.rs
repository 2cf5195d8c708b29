//! What `selvedge node run` is told: Calico's flags and environment (calico-compat §5.2, §9).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use resource::kinds::EncapMode;

use crate::autodetect::Method;

/// NodeSessions is written anew within this: two writes a period are eleven a second with a thousand nodes.
const REPORT_PERIOD: Duration = Duration::from_secs(180);

/// How the node's address of one family is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressChoice<N> {
    /// Nobody said: the Node's own, else autodetected (IPv4) or none (IPv6).
    Unset,
    /// `autodetect`.
    Autodetect,
    /// `none`.
    None,
    /// This address; without a prefix length it gets its interface's.
    Given(N, bool),
}

/// A default pool to create when the store has none of the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultPool {
    /// `CALICO_IPV4POOL_CIDR`.
    pub cidr: Ipv4Net,
    /// `CALICO_IPV4POOL_IPIP`.
    pub ipip: EncapMode,
    /// `CALICO_IPV4POOL_VXLAN`.
    pub vxlan: EncapMode,
    /// `CALICO_IPV4POOL_NAT_OUTGOING`.
    pub nat_outgoing: bool,
    /// `CALICO_IPV4POOL_BLOCK_SIZE`.
    pub block_size: u8,
    /// `CALICO_IPV4POOL_NODE_SELECTOR`.
    pub node_selector: String,
    /// `CALICO_IPV4POOL_DISABLE_BGP_EXPORT`.
    pub disable_bgp_export: bool,
}

/// `CALICO_ROUTER_ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterId {
    /// The node's IPv4 address.
    Address,
    /// Made from the node's name.
    Hash,
    /// This one.
    Given(Ipv4Addr),
}

/// Where the agent keeps what others look for; each has one place in production.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// `nodename` and `mtu`, which the CNI plugin reads.
    pub lib: PathBuf,
    /// Sockets and locks.
    pub run: PathBuf,
    /// Passwords: a directory for each Secret, a file in it for each key (`SELVEDGE_SECRETS`).
    pub secrets: PathBuf,
}

impl Default for Paths {
    fn default() -> Paths {
        Paths {
            lib: "/var/lib/calico".into(),
            run: "/var/run/calico".into(),
            secrets: "/etc/calico/secrets".into(),
        }
    }
}

/// Everything that decides how the agent runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// The Node's name.
    pub name: String,
    /// IPv4.
    pub ip: AddressChoice<Ipv4Net>,
    /// IPv6.
    pub ip6: AddressChoice<Ipv6Net>,
    /// `IP_AUTODETECTION_METHOD`.
    pub method: Method,
    /// `IP6_AUTODETECTION_METHOD`.
    pub method6: Method,
    /// Own AS; `None` leaves the Node's as it is.
    pub asn: Option<u32>,
    /// BGP is spoken (`CALICO_NETWORKING_BACKEND` is not `none`).
    pub bgp: bool,
    /// BFD with the other nodes (`SELVEDGE_BFD`).
    pub bfd: Option<node::Bfd>,
    /// The process that drives BFD, when it is not this program: its command, to which the socket is added.
    pub liveness_command: Option<Vec<OsString>>,
    /// BGP Identifier.
    pub router_id: RouterId,
    /// `CALICO_ADVERTISE_CLUSTER_IPS`.
    pub advertise_cluster_ips: Option<Vec<IpNet>>,
    /// Pool to create when there is none.
    pub default_pool: Option<DefaultPool>,
    /// `CLUSTER_TYPE`.
    pub cluster_type: String,
    /// `CALICO_K8S_NODE_REF`.
    pub k8s_node: Option<String>,
    /// Within how long the node's NodeSessions is written anew (`SELVEDGE_REPORT_PERIOD`, seconds).
    pub report_period: Duration,
    /// Inputs and outputs are written here (`SELVEDGE_RECORD`).
    pub record: Option<PathBuf>,
    /// Files and sockets.
    pub paths: Paths,
}

/// The flags that override the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--name`.
    pub name: Option<String>,
    /// `--ip`.
    pub ip: Option<String>,
    /// `--ip6`.
    pub ip6: Option<String>,
    /// `--as`.
    pub asn: Option<String>,
    /// `--ip-autodetection-method`.
    pub ip_autodetection_method: Option<String>,
    /// `--ip6-autodetection-method`.
    pub ip6_autodetection_method: Option<String>,
    /// `--backend`.
    pub backend: Option<String>,
    /// `--bfd`.
    pub bfd: Option<String>,
    /// `--no-default-ippools`.
    pub no_default_ippools: bool,
}

impl AgentConfig {
    /// Reads flags and environment; a flag wins. `hostname` is the kernel's.
    ///
    /// # Errors
    /// The variable or flag, what it says, and what it may say.
    pub fn read(
        flags: Flags,
        env: &BTreeMap<String, String>,
        hostname: &str,
    ) -> Result<AgentConfig> {
        let var = |name: &str| env.get(name).map(|v| v.trim()).filter(|v| !v.is_empty());
        let flag = |flag: &Option<String>, name: &str| {
            flag.clone().or_else(|| var(name).map(String::from))
        };
        let name = flag(&flags.name, "NODENAME")
            .or_else(|| var("HOSTNAME").map(|h| h.to_ascii_lowercase()))
            .unwrap_or_else(|| hostname.trim().to_ascii_lowercase());
        check_name(&name)?;
        let method = flag(&flags.ip_autodetection_method, "IP_AUTODETECTION_METHOD");
        let method6 = flag(&flags.ip6_autodetection_method, "IP6_AUTODETECTION_METHOD");
        Ok(AgentConfig {
            ip: ipv4_choice(flag(&flags.ip, "IP").as_deref())?,
            ip6: ipv6_choice(flag(&flags.ip6, "IP6").as_deref())?,
            method: Method::parse(method.as_deref().unwrap_or("first-found"))
                .context("IP_AUTODETECTION_METHOD")?,
            method6: Method::parse(method6.as_deref().unwrap_or("first-found"))
                .context("IP6_AUTODETECTION_METHOD")?,
            asn: flag(&flags.asn, "AS").map(|text| as_number(&text)).transpose()?,
            bgp: match flag(&flags.backend, "CALICO_NETWORKING_BACKEND").as_deref() {
                None | Some("bird") => true,
                Some("none") => false,
                Some(other) => bail!(
                    "CALICO_NETWORKING_BACKEND is '{other}'; this node can do bird (BGP) and none"
                ),
            },
            bfd: match flag(&flags.bfd, "SELVEDGE_BFD").as_deref() {
                None | Some("none") => None,
                Some(text) => Some(bfd(text)?),
            },
            liveness_command: None,
            router_id: match var("CALICO_ROUTER_ID") {
                None => RouterId::Address,
                Some("hash") => RouterId::Hash,
                Some(text) => RouterId::Given(text.parse().with_context(|| {
                    format!("CALICO_ROUTER_ID is '{text}'; write hash, or a dotted quad such as 10.20.1.84")
                })?),
            },
            advertise_cluster_ips: var("CALICO_ADVERTISE_CLUSTER_IPS")
                .map(cluster_ips)
                .transpose()?,
            default_pool: if flags.no_default_ippools || truth(var("NO_DEFAULT_POOLS"), false)? {
                None
            } else {
                default_pool(&var)?
            },
            cluster_type: var("CLUSTER_TYPE").unwrap_or_default().to_string(),
            k8s_node: var("CALICO_K8S_NODE_REF").map(String::from),
            report_period: match var("SELVEDGE_REPORT_PERIOD") {
                None => REPORT_PERIOD,
                Some(text) => report_period(text)?,
            },
            record: var("SELVEDGE_RECORD").map(PathBuf::from),
            paths: Paths {
                secrets: var("SELVEDGE_SECRETS").map_or(Paths::default().secrets, PathBuf::from),
                ..Paths::default()
            },
            name,
        })
    }
}

fn report_period(text: &str) -> Result<Duration> {
    let seconds = text.parse().ok().filter(|s| (2..=86_400).contains(s));
    seconds.map(Duration::from_secs).with_context(|| {
        format!("SELVEDGE_REPORT_PERIOD is '{text}'; write seconds from 2 to 86400")
    })
}

fn check_name(name: &str) -> Result<()> {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = name.len() <= 253
        && name.split('.').all(|label| {
            label.starts_with(edge)
                && label.ends_with(edge)
                && label.chars().all(|c| edge(c) || c == '-')
        });
    ensure!(
        good,
        "the node's name is '{name}'; it must consist of lower case alphanumeric characters, '-' or '.': give another with --name or NODENAME"
    );
    Ok(())
}

fn ipv4_choice(text: Option<&str>) -> Result<AddressChoice<Ipv4Net>> {
    Ok(match text {
        None => AddressChoice::Unset,
        Some("autodetect") => AddressChoice::Autodetect,
        Some("none") => AddressChoice::None,
        Some(text) => match intent::parse_address(text) {
            Some(IpNet::V4(net)) => AddressChoice::Given(net, text.contains('/')),
            Some(IpNet::V6(_)) | None => bail!(
                "--ip or IP is '{text}'; write an IPv4 address such as 10.20.1.84, autodetect, or none"
            ),
        },
    })
}

fn ipv6_choice(text: Option<&str>) -> Result<AddressChoice<Ipv6Net>> {
    Ok(match text {
        None => AddressChoice::Unset,
        Some("autodetect") => AddressChoice::Autodetect,
        Some("none") => AddressChoice::None,
        Some(text) => match intent::parse_address(text) {
            Some(IpNet::V6(net)) => AddressChoice::Given(net, text.contains('/')),
            Some(IpNet::V4(_)) | None => bail!(
                "--ip6 or IP6 is '{text}'; write an IPv6 address such as fd00::84, autodetect, or none"
            ),
        },
    })
}

/// An AS number as Calico writes it: decimal, or dotted.
fn as_number(text: &str) -> Result<u32> {
    let dotted = |(high, low): (&str, &str)| {
        let (high, low) = (high.parse::<u16>().ok()?, low.parse::<u16>().ok()?);
        Some(u32::from(high) << 16 | u32::from(low))
    };
    let number = text
        .split_once('.')
        .map_or_else(|| text.parse().ok(), dotted);
    number
        .filter(|n| *n != 0)
        .with_context(|| format!("--as or AS is '{text}'; write a number such as 64512 or 1.10"))
}

/// Ranges with commas between them.
fn cluster_ips(text: &str) -> Result<Vec<IpNet>> {
    let range = |part: &str| {
        intent::parse_address(part.trim()).with_context(|| {
            format!("CALICO_ADVERTISE_CLUSTER_IPS is '{text}'; write CIDRs with commas between, such as 10.96.0.0/12")
        })
    };
    text.split(',').map(range).collect()
}

/// INTERVALxMULTIPLIER, the interval in milliseconds.
fn bfd(text: &str) -> Result<node::Bfd> {
    let parse = |(interval, multiplier): (&str, &str)| {
        let interval_ms = interval.trim_end_matches("ms").parse().ok()?;
        let multiplier = multiplier.parse().ok()?;
        let good = (3..=60_000).contains(&interval_ms) && multiplier > 0;
        good.then_some(node::Bfd {
            interval_ms,
            multiplier,
        })
    };
    text.split_once('x').and_then(parse).with_context(|| {
        format!("--bfd or SELVEDGE_BFD is '{text}'; write INTERVALxMULTIPLIER in milliseconds such as 50x3, or none")
    })
}

fn truth(text: Option<&str>, absent: bool) -> Result<bool> {
    match text.map(str::to_ascii_lowercase).as_deref() {
        None => Ok(absent),
        Some("true" | "1" | "yes" | "y" | "t" | "on" | "enabled") => Ok(true),
        Some("false" | "0" | "no" | "n" | "f" | "off" | "disabled") => Ok(false),
        Some(other) => bail!("'{other}' is neither true nor false"),
    }
}

fn encapsulation(name: &str, text: Option<&str>) -> Result<EncapMode> {
    match text.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "off" | "never") => Ok(EncapMode::Never),
        Some("always") => Ok(EncapMode::Always),
        Some("cross-subnet" | "crosssubnet") => Ok(EncapMode::CrossSubnet),
        Some(other) => bail!("{name} is '{other}'; write Always, CrossSubnet or Never"),
    }
}

fn default_pool<'e>(var: &impl Fn(&str) -> Option<&'e str>) -> Result<Option<DefaultPool>> {
    let Some(text) = var("CALICO_IPV4POOL_CIDR").filter(|text| *text != "none") else {
        return Ok(None);
    };
    let cidr: Ipv4Net = text.parse().with_context(|| {
        format!("CALICO_IPV4POOL_CIDR is '{text}'; write a CIDR such as 10.200.0.0/16, or none")
    })?;
    ensure!(
        cidr == cidr.trunc(),
        "CALICO_IPV4POOL_CIDR is {cidr}, which has host bits set; write {}",
        cidr.trunc()
    );
    let block_size = match var("CALICO_IPV4POOL_BLOCK_SIZE") {
        None => 26,
        Some(text) => text
            .parse::<u8>()
            .ok()
            .filter(|size| (20..=32).contains(size))
            .with_context(|| {
                format!("CALICO_IPV4POOL_BLOCK_SIZE is '{text}'; write a length from 20 to 32")
            })?,
    };
    ensure!(
        cidr.prefix_len() <= block_size,
        "CALICO_IPV4POOL_CIDR {cidr} is smaller than one block of /{block_size}; choose a greater range or CALICO_IPV4POOL_BLOCK_SIZE"
    );
    let ipip = encapsulation("CALICO_IPV4POOL_IPIP", var("CALICO_IPV4POOL_IPIP"))?;
    let vxlan = encapsulation("CALICO_IPV4POOL_VXLAN", var("CALICO_IPV4POOL_VXLAN"))?;
    ensure!(
        ipip == EncapMode::Never || vxlan == EncapMode::Never,
        "CALICO_IPV4POOL_IPIP and CALICO_IPV4POOL_VXLAN cannot both be on; leave one at Never"
    );
    Ok(Some(DefaultPool {
        cidr,
        ipip,
        vxlan,
        block_size,
        nat_outgoing: truth(var("CALICO_IPV4POOL_NAT_OUTGOING"), true)
            .context("CALICO_IPV4POOL_NAT_OUTGOING")?,
        node_selector: var("CALICO_IPV4POOL_NODE_SELECTOR")
            .unwrap_or("all()")
            .to_string(),
        disable_bgp_export: truth(var("CALICO_IPV4POOL_DISABLE_BGP_EXPORT"), false)
            .context("CALICO_IPV4POOL_DISABLE_BGP_EXPORT")?,
    }))
}

impl RouterId {
    /// The identifier, where it is not simply the node's address.
    pub fn resolve(self, name: &str) -> Option<Ipv4Addr> {
        match self {
            RouterId::Address => None,
            RouterId::Given(id) => Some(id),
            RouterId::Hash => {
                // FNV-1a over the name; the first octet is kept out of 0 and the multicast range, as an address.
                let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
                    (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
                });
                let [a, b, c, d] = hash.to_be_bytes();
                Some(Ipv4Addr::new(a % 223 + 1, b, c, d))
            }
        }
    }
}

impl<N: Copy> AddressChoice<N> {
    /// The address and whether the user gave its prefix length.
    pub(crate) fn given(&self) -> Option<(N, bool)> {
        match self {
            AddressChoice::Given(net, with_length) => Some((*net, *with_length)),
            AddressChoice::Unset | AddressChoice::Autodetect | AddressChoice::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: Flags, env: &[(&str, &str)]) -> Result<AgentConfig> {
        let env = env
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
        AgentConfig::read(flags, &env, "Host-1\n")
    }

    #[test]
    fn flags_win_over_the_environment() {
        let flags = Flags {
            ip: Some("10.20.1.84".into()),
            asn: Some("1.10".into()),
            ..Flags::default()
        };
        let env = [
            ("IP", "10.0.0.1"),
            ("NODENAME", "node-1"),
            ("CALICO_IPV4POOL_CIDR", "10.200.0.0/23"),
        ];
        let config = read(flags, &env).expect("a configuration");
        assert_eq!(config.name, "node-1");
        assert_eq!(config.asn, Some(65546));
        assert_eq!(config.bfd, None);
        assert_eq!(
            config.ip,
            AddressChoice::Given("10.20.1.84/32".parse().expect("a net"), false)
        );
        let pool = config.default_pool.expect("a pool");
        assert_eq!(
            (pool.block_size, pool.nat_outgoing, pool.ipip),
            (26, true, EncapMode::Never)
        );
        let bare = read(Flags::default(), &[]).expect("a configuration");
        assert_eq!((bare.name.as_str(), bare.default_pool), ("host-1", None));
        let none = Flags {
            no_default_ippools: true,
            ..Flags::default()
        };
        assert_eq!(
            read(none, &env).expect("a configuration").default_pool,
            None
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |env: &[(&str, &str)], expected: &str| {
            let text = format!("{:#}", read(Flags::default(), env).expect_err("an error"));
            assert!(text.contains(expected), "{text}");
        };
        check(&[("IP", "10.0.0")], "IP is '10.0.0'");
        check(&[("IP6", "10.0.0.1")], "IP6 is '10.0.0.1'");
        check(&[("AS", "many")], "AS is 'many'");
        check(&[("NODENAME", "Node_1")], "the node's name is 'Node_1'");
        check(
            &[("CALICO_NETWORKING_BACKEND", "vxlan")],
            "CALICO_NETWORKING_BACKEND is 'vxlan'",
        );
        check(
            &[("CALICO_IPV4POOL_CIDR", "10.200.1.0/23")],
            "write 10.200.0.0/23",
        );
        check(
            &[("CALICO_IPV4POOL_CIDR", "10.200.0.0/27")],
            "smaller than one block",
        );
        check(
            &[("IP_AUTODETECTION_METHOD", "guess")],
            "IP_AUTODETECTION_METHOD",
        );
        for wrong in ["50", "x3", "50x0", "1x3", "50x300"] {
            check(&[("SELVEDGE_BFD", wrong)], "such as 50x3");
        }
        check(
            &[("CALICO_ADVERTISE_CLUSTER_IPS", "10.96.0.0/12,x")],
            "CALICO_ADVERTISE_CLUSTER_IPS is",
        );
        check(&[("CALICO_ROUTER_ID", "x")], "CALICO_ROUTER_ID is 'x'");
    }

    #[test]
    fn a_router_id_from_a_name_is_stable() {
        let id = RouterId::Hash.resolve("node-1").expect("an id");
        assert_eq!(RouterId::Hash.resolve("node-1"), Some(id));
        assert_ne!(RouterId::Hash.resolve("node-2"), Some(id));
        assert!(!id.is_unspecified() && !id.is_multicast());
    }
}
