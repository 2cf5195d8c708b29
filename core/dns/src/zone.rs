//! The zones' content and what a name in them stands for.
//!
//! Below the domain (Kubernetes DNS-Based Service Discovery 1.1.0):
//!
//! ```text
//! @                                  SOA NS          dns-version            TXT
//! ns.dns                             A AAAA          NS names it
//! SERVICE.NAMESPACE.svc              A AAAA | CNAME
//! _PORT._PROTO.SERVICE.NAMESPACE.svc SRV
//! HOST.SERVICE.NAMESPACE.svc         A AAAA          headless only; HOST is a hostname or a-b-c-d
//! a-b-c-d.NAMESPACE.pod              A AAAA
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use resource::kinds::WorkloadEndpoint;
use service::{Diff, HeadlessEndpoint, NamedPort, Names, Protocol, ServiceName, Table};

use crate::{Name, NameError, reverse};

/// What a zone is, besides its services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneConfig {
    /// The cluster's domain, `datateam.local`.
    pub domain: String,
    /// Networks whose reverse names are answered: the service and pod ranges. Names of other addresses are not ours.
    pub reverse: Vec<IpNet>,
    /// Addresses at which this server is asked: those of `ns.dns.DOMAIN`, which NS and SOA name.
    pub nameservers: Vec<IpAddr>,
    /// SOA serial; a number that grows with the content, such as the store's revision.
    pub serial: u32,
}

/// Which pods have names `a-b-c-d.NAMESPACE.pod.DOMAIN`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pods {
    /// Every address in every namespace (CoreDNS: `pods insecure`).
    #[default]
    Insecure,
    /// Only these addresses, by namespace (CoreDNS: `pods verified`).
    Verified(BTreeMap<String, BTreeSet<IpAddr>>),
}

impl Pods {
    /// The pods that these workloads are; addresses that do not parse have no name.
    pub fn verified<'a>(workloads: impl IntoIterator<Item = &'a WorkloadEndpoint>) -> Pods {
        let mut pods: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
        for workload in workloads {
            let namespace = workload.metadata.namespace.as_deref().unwrap_or("default");
            let addresses = pods.entry(namespace.to_owned()).or_default();
            let networks = workload.spec.ip_networks.iter();
            addresses.extend(networks.filter_map(|n| {
                n.parse::<IpNet>()
                    .map(|n| n.addr())
                    .or_else(|_| n.parse::<IpAddr>())
                    .ok()
            }));
        }
        Pods::Verified(pods)
    }
}

/// Why there is no zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneError {
    /// The domain is not a name.
    BadDomain {
        /// As it was given.
        domain: String,
        /// What is wrong with it.
        reason: NameError,
    },
    /// The domain is in `arpa`, where the reverse zones are.
    ReverseDomain(String),
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ZoneError::BadDomain { domain, reason } => write!(
                f,
                "cluster domain {domain:?}: {reason}; give a name such as cluster.local"
            ),
            ZoneError::ReverseDomain(domain) => write!(
                f,
                "cluster domain {domain:?}: arpa is for names of addresses; give a name such as cluster.local"
            ),
        }
    }
}

impl std::error::Error for ZoneError {}

/// A headless endpoint's or a service's name, as an address points to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pointer {
    pub(crate) service: ServiceName,
    pub(crate) host: Option<String>,
}

/// The domain and its reverse zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    pub(crate) domain: Name,
    reverse: BTreeSet<Name>,
    pub(crate) nameserver: Name,
    pub(crate) nameservers: Vec<IpAddr>,
    pub(crate) serial: u32,
    services: BTreeMap<String, BTreeMap<String, Names>>,
    pointers: BTreeMap<IpAddr, Vec<Pointer>>,
    pods: Pods,
}

/// What is at a name.
pub(crate) enum Place<'a> {
    /// Nothing, and nothing beneath: NXDOMAIN.
    Nothing,
    /// Nothing, but there are names beneath.
    Empty,
    /// The top of a zone; a reverse zone of one address has its pointers there too.
    Apex(&'a [Pointer]),
    Version,
    Nameserver,
    Cluster(&'a [IpAddr]),
    Headless(&'a [HeadlessEndpoint]),
    Alias(Name),
    /// Ports of a service by name and protocol.
    Port {
        namespace: &'a str,
        service: &'a str,
        names: &'a Names,
        port: &'a str,
        protocol: Protocol,
    },
    /// Addresses of one endpoint name, or of a pod.
    Addresses(Vec<IpAddr>),
    Pointers(&'a [Pointer]),
}

impl Zone {
    /// The zone of a table of services, with [`Pods::Insecure`] until [`Zone::set_pods`].
    ///
    /// # Errors
    /// [`ZoneError`] when the domain cannot be one.
    pub fn build(config: &ZoneConfig, table: &Table) -> Result<Zone, ZoneError> {
        let domain = Name::parse(&config.domain).map_err(|reason| ZoneError::BadDomain {
            domain: config.domain.clone(),
            reason,
        })?;
        if domain.labels().last() == Some(b"arpa") {
            return Err(ZoneError::ReverseDomain(config.domain.clone()));
        }
        let nameserver = domain.under(&[b"ns", b"dns"]).ok_or(ZoneError::BadDomain {
            domain: config.domain.clone(),
            reason: NameError::TooLong,
        })?;
        let mut zone = Zone {
            domain,
            reverse: config.reverse.iter().flat_map(reverse::zones).collect(),
            nameserver,
            nameservers: config.nameservers.clone(),
            serial: config.serial,
            services: BTreeMap::new(),
            pointers: BTreeMap::new(),
            pods: Pods::default(),
        };
        for (name, names) in table.names() {
            zone.insert(name, names);
        }
        Ok(zone)
    }

    /// Brings the zone to `newer`, where `diff` is the difference from the table that the zone has.
    pub fn update(&mut self, newer: &Table, diff: &Diff, serial: u32) {
        self.serial = serial;
        for name in diff.names_removed.iter().chain(&diff.names_changed) {
            self.remove(name);
        }
        for name in &diff.names_changed {
            if let Some(names) = newer.names().get(name) {
                self.insert(name, names);
            }
        }
    }

    /// Sets which pods have names.
    pub fn set_pods(&mut self, pods: Pods) {
        self.pods = pods;
    }

    fn insert(&mut self, name: &ServiceName, names: &Names) {
        for (address, host) in pointed(names) {
            let pointers = self.pointers.entry(address).or_default();
            let pointer = Pointer {
                service: name.clone(),
                host,
            };
            if let Err(at) = pointers.binary_search(&pointer) {
                pointers.insert(at, pointer);
            }
        }
        let namespace = self.services.entry(name.namespace.clone()).or_default();
        namespace.insert(name.name.clone(), names.clone());
    }

    fn remove(&mut self, name: &ServiceName) {
        let Some(namespace) = self.services.get_mut(&name.namespace) else {
            return;
        };
        let Some(names) = namespace.remove(&name.name) else {
            return;
        };
        if namespace.is_empty() {
            self.services.remove(&name.namespace);
        }
        for (address, _) in pointed(&names) {
            if let Some(pointers) = self.pointers.get_mut(&address) {
                pointers.retain(|p| p.service != *name);
                if pointers.is_empty() {
                    self.pointers.remove(&address);
                }
            }
        }
    }

    /// The closest of our zones that holds this name.
    pub(crate) fn apex(&self, name: &Name) -> Option<Name> {
        name.self_and_above()
            .find(|above| *above == self.domain || self.reverse.contains(above))
    }

    /// What is at a name of the zone with this apex.
    pub(crate) fn place(&self, apex: &Name, name: &Name) -> Place<'_> {
        if *apex != self.domain {
            return self.reverse_place(apex, name);
        }
        let Some(labels) = name.before(apex) else {
            return Place::Nothing;
        };
        let texts: Result<Vec<&str>, _> = labels.into_iter().map(std::str::from_utf8).collect();
        match texts.as_deref() {
            Ok([]) => Place::Apex(&[]),
            Ok(["dns-version"]) => Place::Version,
            Ok(["dns" | "svc" | "pod"]) => Place::Empty,
            Ok(["ns", "dns"]) => Place::Nameserver,
            Ok([above @ .., "svc"]) => self.service_place(above),
            Ok([namespace, "pod"]) => match &self.pods {
                Pods::Insecure => Place::Empty,
                Pods::Verified(pods) if pods.contains_key(*namespace) => Place::Empty,
                Pods::Verified(_) => Place::Nothing,
            },
            Ok([label, namespace, "pod"]) => self.pod_place(label, namespace),
            Ok(_) | Err(_) => Place::Nothing,
        }
    }

    fn pod_place(&self, label: &str, namespace: &str) -> Place<'_> {
        let Some(address) = reverse::undashed(label) else {
            return Place::Nothing;
        };
        let known = match &self.pods {
            Pods::Insecure => true,
            Pods::Verified(pods) => pods.get(namespace).is_some_and(|p| p.contains(&address)),
        };
        if known {
            Place::Addresses(vec![address])
        } else {
            Place::Nothing
        }
    }

    /// What is at the labels before `svc`.
    fn service_place(&self, labels: &[&str]) -> Place<'_> {
        let (above, service, namespace) = match labels {
            [namespace] if self.services.contains_key(*namespace) => return Place::Empty,
            [above @ .., service, namespace] => (above, *service, *namespace),
            _ => return Place::Nothing,
        };
        let Some((namespace, services)) = self.services.get_key_value(namespace) else {
            return Place::Nothing;
        };
        let Some((service, names)) = services.get_key_value(service) else {
            return Place::Nothing;
        };
        match (above, names) {
            // The specification: a headless service without ready endpoints is NXDOMAIN.
            (_, Names::Headless { endpoints }) if endpoints.is_empty() => Place::Nothing,
            ([], Names::Headless { endpoints }) => Place::Headless(endpoints),
            ([], Names::Cluster { addresses, .. }) => Place::Cluster(addresses),
            ([], Names::External { name }) => match Name::parse(name) {
                Ok(target) => Place::Alias(target),
                Err(_) => Place::Nothing,
            },
            ([protocol], _) if protocol.starts_with('_') => match protocol_of(protocol) {
                Some(p) if ports(names).any(|port| port.protocol == p) => Place::Empty,
                _ => Place::Nothing,
            },
            ([host], Names::Headless { endpoints }) => endpoint_place(endpoints, host),
            ([port, protocol], _) => port_place(namespace, service, names, port, protocol),
            _ => Place::Nothing,
        }
    }

    fn reverse_place(&self, apex: &Name, name: &Name) -> Place<'_> {
        let Some(net) = reverse::network(name) else {
            return Place::Nothing;
        };
        let at = (net.prefix_len() == net.max_prefix_len())
            .then(|| self.pointers.get(&net.addr()))
            .flatten();
        if name == apex {
            return Place::Apex(at.map_or(&[], Vec::as_slice));
        }
        match at {
            Some(pointers) => Place::Pointers(pointers),
            None => {
                let mut beneath = self.pointers.range(net.network()..=net.broadcast());
                if beneath.next().is_some() {
                    Place::Empty
                } else {
                    Place::Nothing
                }
            }
        }
    }
}

/// The addresses that have PTR records for a service, with the host's label where it is an endpoint's.
fn pointed(names: &Names) -> Vec<(IpAddr, Option<String>)> {
    match names {
        Names::Cluster { addresses, .. } => addresses.iter().map(|a| (*a, None)).collect(),
        Names::Headless { endpoints } => endpoints
            .iter()
            .map(|e| (e.address, Some(host_label(e))))
            .collect(),
        Names::External { .. } => Vec::new(),
    }
}

/// An endpoint's label: its hostname, else its address with dashes (as CoreDNS does).
pub(crate) fn host_label(endpoint: &HeadlessEndpoint) -> String {
    match &endpoint.hostname {
        Some(hostname) => hostname.clone(),
        None => reverse::dashed(endpoint.address),
    }
}

fn protocol_of(label: &str) -> Option<Protocol> {
    match label {
        "_tcp" => Some(Protocol::Tcp),
        "_udp" => Some(Protocol::Udp),
        "_sctp" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// The named ports; ports without a name have no SRV record.
fn ports(names: &Names) -> impl Iterator<Item = &NamedPort> {
    let (own, endpoints): (&[NamedPort], &[HeadlessEndpoint]) = match names {
        Names::Cluster { ports, .. } => (ports, &[]),
        Names::Headless { endpoints } => (&[], endpoints),
        Names::External { .. } => (&[], &[]),
    };
    own.iter()
        .chain(endpoints.iter().flat_map(|e| &e.ports))
        .filter(|p| !p.name.is_empty())
}

fn endpoint_place<'a>(endpoints: &[HeadlessEndpoint], host: &str) -> Place<'a> {
    let by_address = reverse::undashed(host);
    let addresses: Vec<IpAddr> = endpoints
        .iter()
        .filter(|e| match &e.hostname {
            Some(hostname) => hostname == host,
            None => Some(e.address) == by_address,
        })
        .map(|e| e.address)
        .collect();
    if addresses.is_empty() {
        Place::Nothing
    } else {
        Place::Addresses(addresses)
    }
}

fn port_place<'a>(
    namespace: &'a str,
    service: &'a str,
    names: &'a Names,
    port: &str,
    protocol: &str,
) -> Place<'a> {
    let (Some(wanted), Some(protocol)) = (port.strip_prefix('_'), protocol_of(protocol)) else {
        return Place::Nothing;
    };
    match ports(names).find(|p| p.name == wanted && p.protocol == protocol) {
        None => Place::Nothing,
        Some(found) => Place::Port {
            namespace,
            service,
            names,
            port: &found.name,
            protocol,
        },
    }
}
