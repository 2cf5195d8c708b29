//! Whether a neighbour is on a link of ours, the network there and our link-local address.

use ipnet::IpNet;
use linux::fib::{Owner, RouteWriter};
use std::net::{IpAddr, Ipv6Addr};

/// Says which connected network both ends of a connection are in.
pub(crate) struct Networks(Option<RouteWriter>);

impl Networks {
    pub fn open() -> Networks {
        let socket = RouteWriter::open(Owner::NOBODY);
        Networks(socket.map_err(cannot_ask).ok())
    }

    pub fn shared(&mut self, local: IpAddr, remote: IpAddr) -> Option<IpNet> {
        let (local, remote) = (local.to_canonical(), remote.to_canonical());
        let found = self.0.as_mut()?.shared_network(local, remote);
        found.map_err(cannot_ask).ok().flatten()
    }
}

fn cannot_ask(error: std::io::Error) {
    tracing::debug!("cannot ask for the network of a neighbor: {error}");
}

/// Our link-local address on the link of both ends, when they are on one: `remote` is within the
/// network of `local`'s interface.
pub(crate) fn shared(local: IpAddr, remote: IpAddr) -> Option<Ipv6Addr> {
    let (IpAddr::V6(local), IpAddr::V6(remote)) = (local.to_canonical(), remote.to_canonical())
    else {
        return None;
    };
    find(
        &std::fs::read_to_string("/proc/net/if_inet6").ok()?,
        local,
        remote,
    )
}

/// `table` is as the kernel shows it: address, index, length, scope, flags, name.
fn find(table: &str, local: Ipv6Addr, remote: Ipv6Addr) -> Option<Ipv6Addr> {
    let rows = || {
        table.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let address = u128::from_str_radix(words.first()?, 16).ok()?;
            let length = u32::from_str_radix(words.get(2)?, 16).ok()?;
            Some((Ipv6Addr::from(address), length, *words.get(5)?))
        })
    };
    let (_, length, interface) = rows().find(|(address, ..)| *address == local)?;
    let network = |address: Ipv6Addr| u128::from(address).checked_shr(128 - length).unwrap_or(0);
    if local == remote || network(local) != network(remote) {
        return None;
    }
    let mut there = rows().filter(|(.., name)| *name == interface);
    let found = there.find(|(address, ..)| address.is_unicast_link_local());
    found.map(|(address, ..)| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_the_link_or_not() {
        let table = "\
            fe80000000000000000000000000000a 02 40 20 80       c0\n\
            00000000000000000000000000000001 01 80 10 80       lo\n\
            fd090000000000000000000000000001 03 40 00 80       c1\n\
            fe80000000000000000000000000000b 03 40 20 80       c1\n";
        let check = |local: &str, remote: &str, expected: Option<&str>| {
            let found = find(
                table,
                local.parse().expect("ours"),
                remote.parse().expect("its"),
            );
            assert_eq!(found, expected.map(|a| a.parse().expect("an address")));
        };
        check("fd09::1", "fd09::2", Some("fe80::b"));
        check("fd09::1", "fd09:0:0:1::2", None);
        check("fd09::7", "fd09::2", None);
        check("::1", "::1", None);
    }
}
