//! A host: its interfaces, its kernel made of values, and the agent that may run on it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use dataplane::{
    Actual, Address, Link, LinkKind, PROTOCOL_BOOT, PROTOCOL_KERNEL, Route, RouteKind, Scope,
    TABLE_LOCAL, TABLE_MAIN, owned_sysctls,
};
use ipnet::{IpNet, Ipv4Net};

use crate::process::Process;

/// Routing protocol of routes that an administrator added. Source: rtnetlink(7), RTPROT_STATIC.
const PROTOCOL_STATIC: u8 = 4;

/// An interface's place on the network.
#[derive(Clone, Debug)]
pub struct Port {
    /// The segment.
    pub lan: String,
    /// Its address.
    pub address: Ipv4Net,
    /// Whether the cable is plugged in.
    pub plugged: bool,
}

/// A machine.
pub struct Host {
    /// Interfaces by name.
    pub ports: BTreeMap<String, Port>,
    /// What its kernel has.
    pub kernel: Actual,
    /// The agent, while it runs.
    pub process: Option<Process>,
    /// How many agents there have been.
    pub incarnation: u64,
    /// Whether an agent belongs here.
    pub is_node: bool,
    /// Whether the machine is on.
    pub powered: bool,
}

impl Host {
    /// A host as the scenario describes it, without routes yet.
    pub fn new(description: &scenario::Host, is_node: bool) -> Host {
        let mut host = Host {
            ports: BTreeMap::new(),
            kernel: Actual::default(),
            process: None,
            incarnation: 0,
            is_node,
            powered: true,
        };
        host.add_link("lo", LinkKind::Loopback);
        host.add_address("lo", Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8));
        for nic in &description.nics {
            let name = nic.name.get_ref();
            host.add_link(name, LinkKind::Veth);
            host.add_address(name, nic.address);
            let port = Port {
                lan: nic.lan.get_ref().clone(),
                address: nic.address,
                plugged: true,
            };
            host.ports.insert(name.clone(), port);
        }
        host
    }

    /// A new device, up, with the kernel's defaults for its parameters.
    pub fn add_link(&mut self, name: &str, kind: LinkKind) {
        let link = Link {
            name: name.to_string(),
            kind,
            up: true,
            mtu: Some(1500),
            mac: None,
        };
        self.kernel.links.insert(name.to_string(), link);
        let links: Vec<String> = self.kernel.links.keys().cloned().collect();
        for path in owned_sysctls(links.iter().map(String::as_str)) {
            let default = match path.rsplit('/').next() {
                Some("send_redirects") => "1",
                Some("proxy_delay") => "80",
                _ => "0",
            };
            self.kernel
                .sysctls
                .entry(path)
                .or_insert_with(|| default.to_string());
        }
    }

    /// Writes a parameter; `ip_forward` writes `forwarding` of every interface too, as the kernel does.
    pub fn set_sysctl(&mut self, path: &str, value: &str) {
        let per_interface =
            |name: &str| name.starts_with("net/ipv4/conf/") && name.ends_with("/forwarding");
        for (name, present) in &mut self.kernel.sysctls {
            if name == path || (path == "net/ipv4/ip_forward" && per_interface(name)) {
                *present = value.to_string();
            }
        }
    }

    fn add_address(&mut self, interface: &str, address: Ipv4Net) {
        let ip = IpAddr::V4(address.addr());
        self.kernel.addresses.insert(Address {
            interface: interface.to_string(),
            address: IpNet::V4(address),
        });
        let oif = interface.to_string();
        let route = |table, dst, kind, scope| Route {
            table,
            dst,
            metric: 0,
            protocol: PROTOCOL_KERNEL,
            scope,
            kind,
            source: Some(ip),
        };
        let local = RouteKind::Local { oif: oif.clone() };
        self.kernel
            .routes
            .insert(route(TABLE_LOCAL, IpNet::from(ip), local, Scope::Host));
        if interface != "lo" {
            let device = RouteKind::Device { oif };
            self.kernel.routes.insert(route(
                TABLE_MAIN,
                IpNet::V4(address.trunc()),
                device,
                Scope::Link,
            ));
        }
    }

    /// Adds a route given in `ip route add` words: `NET via A [dev D] [proto static] [metric N]`.
    ///
    /// # Errors
    /// The words that are not understood.
    pub fn add_route(&mut self, words: &str) -> Result<(), String> {
        let wrong = || format!("the simulation knows 'NET via ADDRESS' only, not '{words}'");
        let parts: Vec<&str> = words.split_whitespace().collect();
        let [net, "via", gateway, rest @ ..] = parts.as_slice() else {
            return Err(wrong());
        };
        let word = |name: &str| {
            rest.iter()
                .position(|word| *word == name)
                .and_then(|at| rest.get(at + 1))
                .copied()
        };
        let protocol = if word("proto") == Some("static") {
            PROTOCOL_STATIC
        } else {
            PROTOCOL_BOOT
        };
        let metric = word("metric")
            .map_or(Ok(0), str::parse)
            .map_err(|_| wrong())?;
        let dst: IpNet = if *net == "default" {
            Ok(IpNet::V4(Ipv4Net::default()))
        } else {
            net.parse()
        }
        .map_err(|_| wrong())?;
        let gateway: IpAddr = gateway.parse().map_err(|_| wrong())?;
        let oif = self
            .port_towards(gateway)
            .ok_or_else(|| format!("'{words}': no interface reaches {gateway}"))?;
        let kind = RouteKind::Via {
            gateway,
            oif,
            onlink: false,
        };
        let route = Route {
            protocol,
            metric,
            ..Route::bird(dst, kind)
        };
        self.kernel.routes.insert(route);
        Ok(())
    }

    /// The main table as `ip route` prints it.
    pub fn route_table(&self) -> String {
        let main = self
            .kernel
            .routes
            .iter()
            .filter(|route| route.table == TABLE_MAIN);
        main.map(|route| format!("{route} \n")).collect()
    }

    /// The interface whose subnet has this address.
    pub fn port_towards(&self, address: IpAddr) -> Option<String> {
        let IpAddr::V4(v4) = address else { return None };
        self.ports
            .iter()
            .find(|(_, port)| port.address.contains(&v4))
            .map(|(name, _)| name.clone())
    }

    /// The first interface's address.
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.ports.values().next().map(|port| port.address.addr())
    }

    /// Whether one of its interfaces has this address.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.kernel
            .addresses
            .iter()
            .any(|a| a.address.addr() == address)
    }
}
