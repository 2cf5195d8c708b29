//! Finding the node's own address (calico-compat §9, start-up environment).

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, bail, ensure};
use dataplane::Actual;
use ipnet::IpNet;

/// `IP_AUTODETECTION_METHOD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// The first address of the first interface that is not a container's, bridge's or tunnel's.
    FirstFound,
    /// The source address of packets to this destination.
    CanReach(String),
    /// The first address of an interface whose name one of these patterns matches.
    Interface(Vec<Pattern>),
    /// The same, of interfaces that none matches.
    SkipInterface(Vec<Pattern>),
    /// The first address in one of these ranges.
    Cidr(Vec<IpNet>),
}

/// An interface name, with `*` for any text; `.*` means the same, as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// Calico: interfaces that never have the node's address.
const EXCLUDED: &[&str] = &[
    "docker*",
    "cbr*",
    "dummy*",
    "podman*",
    "virbr*",
    "lxcbr*",
    "veth*",
    "lo*",
    "br-*",
    "cali*",
    "tunl*",
    "flannel*",
    "kube-ipvs*",
    "cni*",
    "vxlan.calico*",
    "vxlan-v6.calico*",
    "wireguard.cali*",
    "wg-v6.cali*",
    "nodelocaldns*",
];

impl Method {
    /// Reads `first-found`, `can-reach=D`, `interface=P,P`, `skip-interface=P,P` or `cidr=C,C`.
    ///
    /// # Errors
    /// What it says and what it may say.
    pub fn parse(text: &str) -> Result<Method> {
        let (method, argument) = text.split_once('=').unwrap_or((text, ""));
        let list = || {
            argument
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
        };
        let patterns = || -> Result<Vec<Pattern>> {
            let patterns: Vec<Pattern> = list().map(Pattern::parse).collect::<Result<_>>()?;
            ensure!(!patterns.is_empty(), "'{text}' names no interface");
            Ok(patterns)
        };
        Ok(match method {
            "first-found" => Method::FirstFound,
            "can-reach" => {
                ensure!(!argument.is_empty(), "'{text}' names no destination");
                Method::CanReach(argument.to_string())
            }
            "interface" => Method::Interface(patterns()?),
            "skip-interface" => Method::SkipInterface(patterns()?),
            "cidr" => {
                let ranges = list()
                    .map(|part| part.parse().with_context(|| format!("'{part}' is no CIDR")))
                    .collect::<Result<Vec<IpNet>>>()?;
                ensure!(!ranges.is_empty(), "'{text}' names no range");
                Method::Cidr(ranges)
            }
            _ => bail!(
                "'{text}' is not known; write first-found, can-reach=ADDRESS, interface=NAME, skip-interface=NAME or cidr=CIDR"
            ),
        })
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Pattern> {
        let text = text
            .trim_start_matches('^')
            .trim_end_matches('$')
            .replace(".*", "*");
        ensure!(
            text.chars()
                .all(|c| c.is_ascii_alphanumeric() || "*._-@:".contains(c)),
            "'{text}' is no interface name; only * stands for other characters"
        );
        Ok(Pattern(text))
    }

    fn matches(&self, name: &str) -> bool {
        glob(&self.0, name)
    }
}

fn glob(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => {
            let Some(tail) = name.strip_prefix(head) else {
                return false;
            };
            (0..=tail.len())
                .filter(|at| tail.is_char_boundary(*at))
                .any(|at| glob(rest, &tail[at..]))
        }
    }
}

/// The node's address with its interface's prefix length. `order` names the interfaces as the kernel numbers them.
///
/// # Errors
/// Which method found nothing, and what there is.
pub fn detect(method: &Method, actual: &Actual, v6: bool) -> Result<IpNet> {
    let candidates = candidates(actual, v6);
    let found = match method {
        Method::FirstFound => candidates
            .iter()
            .find(|(name, _)| !EXCLUDED.iter().any(|pattern| glob(pattern, name))),
        Method::Interface(patterns) => {
            // The order of the patterns counts before that of the interfaces.
            patterns
                .iter()
                .find_map(|p| candidates.iter().find(|(name, _)| p.matches(name)))
        }
        Method::SkipInterface(patterns) => candidates.iter().find(|(name, _)| {
            !EXCLUDED.iter().any(|pattern| glob(pattern, name))
                && !patterns.iter().any(|pattern| pattern.matches(name))
        }),
        Method::Cidr(ranges) => candidates
            .iter()
            .find(|(_, net)| ranges.iter().any(|range| range.contains(&net.addr()))),
        Method::CanReach(destination) => {
            let source = source_towards(destination, v6)?;
            candidates.iter().find(|(_, net)| net.addr() == source)
        }
    };
    let family = if v6 { "IPv6" } else { "IPv4" };
    let there: Vec<String> = candidates
        .iter()
        .map(|(name, net)| format!("{name} {net}"))
        .collect();
    found.map(|(_, net)| *net).with_context(|| {
        format!(
            "no {family} address was found by {method:?} among [{}]; give one with --ip (--ip6) or another IP_AUTODETECTION_METHOD",
            there.join(", ")
        )
    })
}

/// The address as it stands on an interface, with that interface's prefix length.
pub fn on_interface(address: IpAddr, actual: &Actual) -> Option<IpNet> {
    actual
        .addresses
        .iter()
        .map(|a| a.address)
        .find(|net| net.addr() == address)
}

/// Usable addresses of interfaces that are up: the interface of a default route first, then by name.
fn candidates(actual: &Actual, v6: bool) -> Vec<(String, IpNet)> {
    let default_by: Vec<&str> = actual
        .routes
        .iter()
        .filter(|route| route.dst.prefix_len() == 0 && route.dst.addr().is_ipv6() == v6)
        .flat_map(|route| route.interfaces())
        .collect();
    let mut candidates: Vec<(String, IpNet)> = actual
        .addresses
        .iter()
        .filter(|a| actual.links.get(&a.interface).is_some_and(|link| link.up))
        .filter(|a| usable(a.address.addr(), v6))
        .map(|a| (a.interface.clone(), a.address))
        .collect();
    candidates
        .sort_by_key(|(name, net)| (!default_by.contains(&name.as_str()), name.clone(), *net));
    candidates
}

fn usable(address: IpAddr, v6: bool) -> bool {
    match address {
        IpAddr::V4(a) => !v6 && !a.is_loopback() && !a.is_link_local(),
        IpAddr::V6(a) => v6 && !a.is_loopback() && !a.is_unicast_link_local(),
    }
}

/// The kernel's choice of source address, without sending anything.
fn source_towards(destination: &str, v6: bool) -> Result<IpAddr> {
    use std::net::ToSocketAddrs;
    let target = (destination, 9)
        .to_socket_addrs()
        .with_context(|| format!("can-reach={destination} cannot be resolved"))?
        .find(|address| address.is_ipv6() == v6)
        .with_context(|| format!("can-reach={destination} has no address of this family"))?;
    let any: SocketAddr = if v6 {
        ([0u16; 8], 0).into()
    } else {
        ([0u8; 4], 0).into()
    };
    let socket = UdpSocket::bind(any).context("opening a socket to look for a source address")?;
    socket
        .connect(target)
        .with_context(|| format!("no route leads to {destination}"))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::{Address, Link, LinkKind, Route, RouteKind};

    fn actual() -> Actual {
        let mut actual = Actual::default();
        for (name, address) in [
            ("lo", "127.0.0.1/8"),
            ("docker0", "172.17.0.1/16"),
            ("eth0", "192.0.2.5/24"),
            ("ens192", "10.20.1.84/23"),
            ("ens192", "fd00::84/64"),
            ("ens193", "10.9.0.1/24"),
        ] {
            let link = Link {
                name: name.into(),
                kind: LinkKind::Other,
                up: name != "ens193",
                mtu: None,
                mac: None,
            };
            actual.links.insert(name.into(), link);
            let address = address.parse().expect("an address");
            actual.addresses.insert(Address {
                interface: name.into(),
                address,
            });
        }
        actual
    }

    #[test]
    fn methods() {
        let mut actual = actual();
        let found = |method: &str, actual: &Actual| {
            let method = Method::parse(method).expect("a method");
            detect(&method, actual, false)
                .map(|net| net.to_string())
                .map_err(|e| e.to_string())
        };
        assert_eq!(
            found("first-found", &actual).as_deref(),
            Ok("10.20.1.84/23")
        );
        assert_eq!(
            found("interface=eth.*", &actual).as_deref(),
            Ok("192.0.2.5/24")
        );
        assert_eq!(
            found("interface=zz,docker0", &actual).as_deref(),
            Ok("172.17.0.1/16")
        );
        assert_eq!(
            found("skip-interface=ens*", &actual).as_deref(),
            Ok("192.0.2.5/24")
        );
        assert_eq!(
            found("cidr=172.16.0.0/12", &actual).as_deref(),
            Ok("172.17.0.1/16")
        );
        assert_eq!(
            found("can-reach=127.0.0.1", &actual).ok(),
            None,
            "loopback is no node's address"
        );
        let gone = found("interface=ens193", &actual).expect_err("an interface that is down");
        assert!(
            gone.contains("no IPv4 address was found") && gone.contains("ens192 10.20.1.84/23"),
            "{gone}"
        );
        let dst = "0.0.0.0/0".parse().expect("a CIDR");
        let kind = RouteKind::Device { oif: "eth0".into() };
        actual.routes.insert(Route::bird(dst, kind));
        assert_eq!(
            found("first-found", &actual).as_deref(),
            Ok("192.0.2.5/24"),
            "the default route's first"
        );
        let v6 = detect(&Method::FirstFound, &actual, true).map(|net| net.to_string());
        assert_eq!(v6.ok().as_deref(), Some("fd00::84/64"));
    }

    #[test]
    fn patterns() {
        let check = |pattern: &str, name: &str, expected: bool| {
            let pattern = Pattern::parse(pattern).expect("a pattern");
            assert_eq!(pattern.matches(name), expected, "{pattern:?} {name}");
        };
        check("eth0", "eth0", true);
        check("eth0", "eth01", false);
        check("^en.*$", "ens192", true);
        check("e*2", "ens192", true);
        check("e*3", "ens192", false);
        assert!(Pattern::parse("(eth|ens).*").is_err());
    }
}
