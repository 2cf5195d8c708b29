//! The table: frontends, names, selection, difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use resource::kinds::{EndpointSlice, Service};

use crate::{Refusal, build};

/// Transport protocol of a port (Kubernetes API: ServicePort.protocol).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `TCP`, number 6.
    Tcp,
    /// `UDP`, number 17.
    Udp,
    /// `SCTP`, number 132.
    Sctp,
}

impl Protocol {
    /// Reads Kubernetes' word; the empty one is `TCP`, as the API's default is.
    pub fn parse(text: &str) -> Option<Protocol> {
        match text {
            "" | "TCP" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => None,
        }
    }

    /// The lower-case word that nftables and DNS (`_tcp`) use.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }

    /// The number in the IP header (IANA protocol numbers).
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

/// What a client connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// A cluster address.
    pub address: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The service's own port.
    pub port: u16,
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = std::net::SocketAddr::new(self.address, self.port);
        write!(f, "{}/{socket}", self.protocol.as_str())
    }
}

/// Where a connection goes. Ordered by address, then port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// The endpoint's address, of the frontend's family.
    pub address: IpAddr,
    /// The endpoint's port.
    pub port: u16,
    /// The node it runs on, where the slice says so.
    pub node: Option<String>,
    /// False for one that is terminating but still serving: such take traffic only while no endpoint is ready
    /// (Kubernetes: `ProxyTerminatingEndpoints`, KEP-1669).
    pub ready: bool,
}

/// Whether a client stays with a backend (Kubernetes API: ServiceSpec.sessionAffinity).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Affinity {
    /// Each connection is placed anew.
    None,
    /// Connections of one client address stay together until none was made for this long.
    ClientIp {
        /// Kubernetes' default is 10,800 s (three hours).
        timeout: Duration,
    },
}

/// Namespace and name of a Service; shown as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// `default` where the object has none.
    pub namespace: String,
    /// A DNS label (RFC 1123).
    pub name: String,
}

impl ServiceName {
    /// A name in a namespace.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> ServiceName {
        ServiceName {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What is behind a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Whose port it is.
    pub service: ServiceName,
    /// The port's name, empty where it has none.
    pub port_name: String,
    /// Whether clients stay.
    pub affinity: Affinity,
    /// Those that take traffic now, sorted, no two of the same address and port. Empty: refuse connections at once.
    pub backends: Vec<Backend>,
}

/// A port by name, as SRV records need it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPort {
    /// A DNS label, or empty.
    pub name: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Number.
    pub port: u16,
}

/// A ready endpoint of a headless Service. Ordered by address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeadlessEndpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its own name beneath the service's, a DNS label.
    pub hostname: Option<String>,
    /// The node it runs on.
    pub node: Option<String>,
    /// The endpoint's own ports.
    pub ports: Vec<NamedPort>,
}

/// What a Service's name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Cluster addresses, one a family at most.
    Cluster {
        /// In the Service's order.
        addresses: Vec<IpAddr>,
        /// Sorted.
        ports: Vec<NamedPort>,
    },
    /// `clusterIP: None`: the endpoints themselves.
    Headless {
        /// Ready ones (all, when `publishNotReadyAddresses` is set), sorted.
        endpoints: Vec<HeadlessEndpoint>,
    },
    /// Another name.
    External {
        /// A DNS name without the final dot.
        name: String,
    },
}

/// Why nothing answers at an address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unserved {
    /// No Service has this address.
    NoService,
    /// The Service has no such port.
    NoPort,
    /// The port has no endpoint that takes traffic.
    NoBackends,
}

impl Unserved {
    /// The stable name, as shown wherever this reason is shown.
    pub fn name(self) -> &'static str {
        match self {
            Unserved::NoService => "no-service",
            Unserved::NoPort => "no-port",
            Unserved::NoBackends => "no-backends",
        }
    }
}

/// Services by address and by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub(crate) frontends: BTreeMap<Frontend, Port>,
    pub(crate) names: BTreeMap<ServiceName, Names>,
    pub(crate) refusals: Vec<Refusal>,
}

/// From one table to a newer one; look up what changed in the newer one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// New, or with other backends, affinity or owner.
    pub frontends_changed: Vec<Frontend>,
    /// Gone.
    pub frontends_removed: Vec<Frontend>,
    /// New, or standing for something else.
    pub names_changed: Vec<ServiceName>,
    /// Gone.
    pub names_removed: Vec<ServiceName>,
}

impl Diff {
    /// True when nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Diff::default()
    }
}

impl Table {
    /// The table of these Services and slices, whatever the order in which they are given.
    pub fn build<'a>(
        services: impl IntoIterator<Item = &'a Service>,
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
    ) -> Table {
        build::build(services.into_iter().collect(), slices)
    }

    /// All frontends, in order.
    pub fn frontends(&self) -> &BTreeMap<Frontend, Port> {
        &self.frontends
    }

    /// All Services that have a name, in order; headless and ExternalName ones too.
    pub fn names(&self) -> &BTreeMap<ServiceName, Names> {
        &self.names
    }

    /// What was left out and why, sorted.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// The cluster addresses that are served, each once: to be answered for, advertised, and refused on other ports.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.frontends.keys().map(|f| f.address).collect()
    }

    /// What changed from this table to `newer`.
    pub fn diff(&self, newer: &Table) -> Diff {
        let (frontends_changed, frontends_removed) = changes(&self.frontends, &newer.frontends);
        let (names_changed, names_removed) = changes(&self.names, &newer.names);
        Diff {
            frontends_changed,
            frontends_removed,
            names_changed,
            names_removed,
        }
    }

    /// The backend that a connection with this hash goes to: slot `hash * n / 2^32` of the sorted backends, which is what
    /// nftables' `jhash`, `symhash` and `numgen random` give with `mod n` (Linux: `reciprocal_scale`).
    ///
    /// # Errors
    /// [`Unserved`] says why nothing answers there.
    pub fn select(&self, frontend: &Frontend, hash: u32) -> Result<&Backend, Unserved> {
        let Some(port) = self.frontends.get(frontend) else {
            let lowest = Frontend {
                address: frontend.address,
                protocol: Protocol::Tcp,
                port: 0,
            };
            let known = self
                .frontends
                .range(lowest..)
                .next()
                .is_some_and(|(f, _)| f.address == frontend.address);
            return Err(if known {
                Unserved::NoPort
            } else {
                Unserved::NoService
            });
        };
        let slot = (u64::from(hash) * port.backends.len() as u64) >> 32;
        port.backends.get(slot as usize).ok_or(Unserved::NoBackends)
    }
}

/// Keys new or changed in `new`, and keys gone from `old`: one walk over both.
fn changes<K: Ord + Clone, V: PartialEq>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) -> (Vec<K>, Vec<K>) {
    let (mut changed, mut removed) = (Vec::new(), Vec::new());
    let mut olds = old.iter().peekable();
    for (key, value) in new {
        while let Some((gone, _)) = olds.next_if(|(k, _)| *k < key) {
            removed.push(gone.clone());
        }
        let before = olds.next_if(|(k, _)| *k == key);
        if before.is_none_or(|(_, v)| v != value) {
            changed.push(key.clone());
        }
    }
    removed.extend(olds.map(|(k, _)| k.clone()));
    (changed, removed)
}
