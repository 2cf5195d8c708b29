//! The how-to's node .84, as input and as a kernel before anything was done to it.

#![allow(dead_code, reason = "each test file uses some of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use dataplane::{
    Actual, Address, Backends, DataplaneInput, Encapsulation, Frontend, Link, LinkKind,
    PROTOCOL_BOOT, PROTOCOL_KERNEL, Pool, Protocol, Route, RouteKind, Scope, Workload, apply,
    desired, owned_sysctls, plan,
};
use ipnet::IpNet;

pub const CALI: &str = "cali00b03047dbe";

pub fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn via(gateway: &str) -> RouteKind {
    RouteKind::Via {
        gateway: ip(gateway),
        oif: "ens192".to_owned(),
        onlink: false,
    }
}

pub fn backends(endpoints: &[(&str, u16)]) -> Backends {
    Backends {
        endpoints: endpoints
            .iter()
            .map(|(address, port)| (ip(address), *port))
            .collect(),
        client_ip_affinity: false,
    }
}

pub fn tcp(address: &str, port: u16) -> Frontend {
    Frontend {
        address: ip(address),
        protocol: Protocol::Tcp,
        port,
    }
}

/// What .84 is told.
pub fn input() -> DataplaneInput {
    DataplaneInput {
        node_addresses: vec![net("10.20.1.84/23")],
        interfaces: BTreeMap::from([("ens192".to_owned(), BTreeSet::from([net("10.20.1.84/23")]))]),
        pools: BTreeMap::from([(
            net("10.200.0.0/23"),
            Pool {
                nat_outgoing: true,
                encapsulation: Encapsulation::IpipCrossSubnet,
            },
        )]),
        blocks: BTreeSet::from([net("10.200.0.192/26")]),
        workloads: BTreeMap::from([(
            ip("10.200.0.193"),
            Workload {
                interface: CALI.to_owned(),
                mac: Some("02:00:00:00:00:01".parse().expect("mac")),
            },
        )]),
        allocated: Some(BTreeSet::from([ip("10.200.0.193")])),
        loc_rib: [
            ("10.200.1.0/26", "10.20.1.81"),
            ("10.200.1.64/26", "10.20.1.82"),
            ("10.200.1.128/26", "10.20.1.83"),
            ("10.200.1.192/26", "10.20.1.85"),
        ]
        .into_iter()
        .map(|(block, node)| (net(block), BTreeSet::from([ip(node)])))
        .collect(),
        service_ranges: BTreeSet::from([net("10.210.0.0/24")]),
        services: BTreeMap::from([
            (
                tcp("10.210.0.10", 80),
                backends(&[("10.200.0.193", 8080), ("10.200.1.193", 8080)]),
            ),
            (tcp("10.210.0.13", 80), backends(&[])),
        ]),
        ..DataplaneInput::default()
    }
}

fn link(name: &str, kind: LinkKind) -> (String, Link) {
    (
        name.to_owned(),
        Link {
            name: name.to_owned(),
            kind,
            up: true,
            mtu: Some(1500),
            mac: None,
        },
    )
}

/// The kernel of .84 as its operating system and the CNI plugin leave it.
pub fn kernel() -> Actual {
    let links = BTreeMap::from([
        link("lo", LinkKind::Loopback),
        link("ens192", LinkKind::Other),
        link(CALI, LinkKind::Veth),
    ]);
    let kernel_route = |dst, oif: &str| Route {
        protocol: PROTOCOL_KERNEL,
        source: Some(ip("10.20.1.84")),
        ..Route::bird(
            net(dst),
            RouteKind::Device {
                oif: oif.to_owned(),
            },
        )
    };
    let pod = Route::bird(
        net("10.200.0.193/32"),
        RouteKind::Device {
            oif: CALI.to_owned(),
        },
    );
    let sysctls = owned_sysctls(links.keys().map(String::as_str))
        .into_iter()
        .map(|path| {
            let value = if path.ends_with("send_redirects") {
                "1"
            } else {
                "0"
            };
            (path, value.to_owned())
        })
        .collect();
    Actual {
        links,
        addresses: BTreeSet::from([Address {
            interface: "ens192".to_owned(),
            address: net("10.20.1.84/23"),
        }]),
        routes: BTreeSet::from([
            kernel_route("10.20.0.0/23", "ens192"),
            Route {
                protocol: PROTOCOL_BOOT,
                ..Route::bird(net("0.0.0.0/0"), via("10.20.0.1"))
            },
            Route {
                protocol: PROTOCOL_BOOT,
                scope: Scope::Link,
                ..pod
            },
        ]),
        sysctls,
        ..Actual::default()
    }
}

/// Plans and applies until nothing is left to do.
pub fn converge(input: &DataplaneInput, actual: &mut Actual) {
    let wanted = desired(input);
    for _ in 0..4 {
        let batches = plan(&wanted, actual, true);
        if batches.is_empty() {
            return;
        }
        batches.iter().for_each(|batch| apply(actual, batch));
    }
    panic!(
        "it does not come to rest: {:#?}",
        plan(&wanted, actual, true)
    );
}

/// A kernel in which everything wanted is there.
pub fn programmed() -> Actual {
    let mut actual = kernel();
    converge(&input(), &mut actual);
    actual
}
