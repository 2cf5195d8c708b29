//! Names of addresses: `in-addr.arpa` (RFC 1035 §3.5) and `ip6.arpa` (RFC 3596 §2.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::Name;

/// The reverse zones that hold exactly the names of a network's addresses: cut at the next octet (IPv4) or nibble (IPv6),
/// so at most 128 or 8 of them.
pub(crate) fn zones(net: &IpNet) -> Vec<Name> {
    let (prefix, step) = match net {
        IpNet::V4(n) => (n.prefix_len(), 8),
        IpNet::V6(n) => (n.prefix_len(), 4),
    };
    let cut = prefix.next_multiple_of(step);
    let subnets: Vec<IpNet> = match net.subnets(cut) {
        Ok(subnets) => subnets.collect(),
        Err(_) => vec![*net],
    };
    subnets.iter().map(name_of).collect()
}

/// The name of a network whose prefix is cut at an octet or nibble.
fn name_of(net: &IpNet) -> Name {
    let (labels, root): (Vec<String>, &[&[u8]]) = match net {
        IpNet::V4(n) => {
            let octets = n.network().octets();
            let kept = usize::from(n.prefix_len() / 8);
            let labels = octets[..kept].iter().rev().map(u8::to_string).collect();
            (labels, &[b"in-addr", b"arpa"])
        }
        IpNet::V6(n) => {
            let bits = u128::from(n.network());
            let kept = u32::from(n.prefix_len() / 4);
            let labels = (0..kept)
                .rev()
                .map(|i| format!("{:x}", bits >> (124 - 4 * i) & 0xf))
                .collect();
            (labels, &[b"ip6", b"arpa"])
        }
    };
    let labels: Vec<&[u8]> = labels
        .iter()
        .map(String::as_bytes)
        .chain(root.iter().copied())
        .collect();
    Name::root()
        .under(&labels)
        .expect("at most 34 short labels")
}

/// The addresses that a name in `in-addr.arpa` or `ip6.arpa` stands for: a full name is one address, a shorter one is the
/// network whose addresses are beneath it. None when no address can be at or beneath it.
pub(crate) fn network(name: &Name) -> Option<IpNet> {
    let mut labels: Vec<&[u8]> = name.labels().collect();
    labels.reverse();
    match labels.as_slice() {
        [b"arpa", b"in-addr", octets @ ..] if octets.len() <= 4 => {
            let mut address = [0; 4];
            for (byte, label) in address.iter_mut().zip(octets) {
                *byte = octet(label)?;
            }
            let prefix = 8 * u8::try_from(octets.len()).ok()?;
            Some(Ipv4Net::new(Ipv4Addr::from(address), prefix).ok()?.into())
        }
        [b"arpa", b"ip6", nibbles @ ..] if nibbles.len() <= 32 => {
            let mut bits = 0;
            for (i, label) in nibbles.iter().enumerate() {
                bits |= nibble(label)? << (124 - 4 * i);
            }
            let prefix = 4 * u8::try_from(nibbles.len()).ok()?;
            Some(Ipv6Net::new(Ipv6Addr::from(bits), prefix).ok()?.into())
        }
        _ => None,
    }
}

/// A decimal octet without leading zeros.
fn octet(label: &[u8]) -> Option<u8> {
    let value: u8 = std::str::from_utf8(label).ok()?.parse().ok()?;
    (value.to_string().as_bytes() == label).then_some(value)
}

/// One hexadecimal digit.
fn nibble(label: &[u8]) -> Option<u128> {
    match label {
        [digit] => char::from(*digit).to_digit(16).map(u128::from),
        _ => None,
    }
}

/// The label that an address makes: `10-200-0-7`, `fd00--7` (Kubernetes: pod names; CoreDNS: endpoints without hostname).
pub(crate) fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

/// The address that such a label says.
pub(crate) fn undashed(label: &str) -> Option<IpAddr> {
    // A label may hold any octet, dots too.
    if label.contains(['.', ':']) {
        return None;
    }
    let v4 = || label.replace('-', ".").parse().ok().map(IpAddr::V4);
    let v6 = || label.replace('-', ":").parse().ok().map(IpAddr::V6);
    v4().or_else(v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_cut_into_zones_of_its_own_names() {
        for (net, count, first, last) in [
            (
                "10.210.0.0/24",
                1,
                "0.210.10.in-addr.arpa.",
                "0.210.10.in-addr.arpa.",
            ),
            (
                "10.200.0.0/23",
                2,
                "0.200.10.in-addr.arpa.",
                "1.200.10.in-addr.arpa.",
            ),
            (
                "10.96.0.0/12",
                16,
                "96.10.in-addr.arpa.",
                "111.10.in-addr.arpa.",
            ),
            (
                "10.0.0.128/25",
                128,
                "128.0.0.10.in-addr.arpa.",
                "255.0.0.10.in-addr.arpa.",
            ),
            (
                "fd00:210::/110",
                4,
                "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.2.0.0.0.d.f.ip6.arpa.",
                "",
            ),
            ("0.0.0.0/0", 1, "in-addr.arpa.", "in-addr.arpa."),
        ] {
            let names: Vec<String> = zones(&net.parse().unwrap())
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(names.len(), count, "{net}");
            assert_eq!(names[0], first);
            if !last.is_empty() {
                assert_eq!(names[count - 1], last);
            }
        }
    }

    #[test]
    fn a_reverse_name_stands_for_its_addresses() {
        for (name, net) in [
            ("1.0.210.10.in-addr.arpa", Some("10.210.0.1/32")),
            ("210.10.in-addr.arpa", Some("10.210.0.0/16")),
            ("01.0.210.10.in-addr.arpa", None),
            ("256.0.210.10.in-addr.arpa", None),
            ("+1.0.210.10.in-addr.arpa", None),
            ("9.1.0.210.10.in-addr.arpa", None),
            ("0.0.d.f.ip6.arpa", Some("fd00::/16")),
            ("00.d.f.ip6.arpa", None),
            ("example.com", None),
        ] {
            let expected = net.map(|n| n.parse().unwrap());
            let labels: Vec<&[u8]> = name.split('.').map(str::as_bytes).collect();
            let parsed = Name::root().under(&labels).unwrap();
            assert_eq!(network(&parsed), expected, "{name}");
        }
    }

    #[test]
    fn dashes_go_both_ways() {
        for text in ["10.200.0.7", "fd00::7", "::1", "fd00:200:0:1::"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(undashed(&dashed(address)), Some(address), "{text}");
        }
        assert_eq!(undashed("10-200-0"), None);
        assert_eq!(undashed("10-200-0-07"), None);
        assert_eq!(undashed(""), None);
        assert_eq!(undashed("10.200.0.7"), None);
    }
}
