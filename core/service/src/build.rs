//! Joining Services and EndpointSlices into a [`Table`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use resource::kinds::{Endpoint, EndpointConditions, EndpointSlice, Service};

use crate::{
    Affinity, Backend, Frontend, HeadlessEndpoint, NamedPort, Names, Port, Protocol, Reason,
    Refusal, ServiceName, Table,
};

/// The label by which a slice names its Service (Kubernetes API: EndpointSlice, `kubernetes.io/service-name`).
const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Kubernetes API: ClientIPConfig.timeoutSeconds, default.
const AFFINITY_TIMEOUT: Duration = Duration::from_secs(10_800);

/// Slices by Service, each list in the order of the slices' names.
type SlicesByService<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a EndpointSlice>>;

pub(crate) fn build<'a>(
    mut ordered: Vec<&'a Service>,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
) -> Table {
    let mut builder = Builder::default();
    let mut by_service = builder.group(slices);
    // The older Service keeps an address that two claim; one without a timestamp counts as the newest.
    ordered.sort_by_key(|s| {
        let created = s.metadata.creation_timestamp.as_deref();
        (created.is_none(), created, namespace(s), &s.metadata.name)
    });
    for service in ordered {
        let key = (namespace(service), service.metadata.name.as_str());
        let slices = by_service.remove(&key).unwrap_or_default();
        builder.service(service, &slices);
    }
    for slice in by_service.into_values().flatten() {
        builder.refuse_slice(slice, Reason::ServiceUnknown);
    }
    builder.table.refusals.sort();
    builder.table.refusals.dedup();
    builder.table
}

#[derive(Default)]
struct Builder {
    table: Table,
    owners: BTreeMap<IpAddr, ServiceName>,
}

/// One address in all slices together.
#[derive(Default)]
struct Merged {
    hostname: Option<String>,
    node: Option<String>,
    state: State,
    /// Two pods of a node's own network share an address and differ in port, so each port has its state.
    ports: Vec<(NamedPort, State)>,
}

/// Conditions joined over duplicates: true when one slice says so.
#[derive(Clone, Copy, Default)]
struct State {
    ready: bool,
    serving_terminating: bool,
}

impl State {
    /// Conditions as the API reads absent ones: `ready` true, `serving` as `ready`, `terminating` false
    /// (Kubernetes API: EndpointConditions).
    fn of(conditions: &EndpointConditions, publish_not_ready: bool) -> State {
        let ready = conditions.ready.unwrap_or(true);
        let serving = conditions.serving.unwrap_or(ready);
        let terminating = conditions.terminating.unwrap_or(false);
        State {
            ready: ready || publish_not_ready,
            serving_terminating: serving && terminating,
        }
    }

    fn join(&mut self, other: State) {
        self.ready |= other.ready;
        self.serving_terminating |= other.serving_terminating;
    }
}

impl Builder {
    fn group<'a>(
        &mut self,
        slices: impl IntoIterator<Item = &'a EndpointSlice>,
    ) -> SlicesByService<'a> {
        let mut by_service = SlicesByService::new();
        for slice in slices {
            match slice.metadata.labels.get(SERVICE_LABEL) {
                None => self.refuse_slice(slice, Reason::ServiceLabelMissing),
                Some(service) => by_service
                    .entry((slice_namespace(slice), service))
                    .or_default()
                    .push(slice),
            }
        }
        for slices in by_service.values_mut() {
            slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        }
        by_service
    }

    fn service(&mut self, service: &Service, slices: &[&EndpointSlice]) {
        let name = ServiceName::new(namespace(service), &service.metadata.name);
        if !is_label(&name.name) || !is_label(&name.namespace) {
            return self.refuse(&name, Reason::BadName);
        }
        match service.spec.service_type.as_str() {
            "ExternalName" => {
                for slice in slices {
                    self.refuse_slice(slice, Reason::ServiceWithoutEndpoints);
                }
                self.external(name, &service.spec.external_name);
            }
            "" | "ClusterIP" | "NodePort" | "LoadBalancer" => {
                let endpoints = self.merge(service, slices);
                if is_headless(service) {
                    self.headless(name, endpoints);
                } else {
                    self.cluster(name, service, &endpoints);
                }
            }
            other => self.refuse(&name, Reason::BadType(other.to_owned())),
        }
    }

    fn external(&mut self, name: ServiceName, target: &str) {
        let bare = target.strip_suffix('.').unwrap_or(target);
        if !is_dns_name(bare) {
            return self.refuse(&name, Reason::BadExternalName(target.to_owned()));
        }
        let bare = bare.to_owned();
        self.table
            .names
            .insert(name, Names::External { name: bare });
    }

    fn headless(&mut self, name: ServiceName, endpoints: BTreeMap<IpAddr, Merged>) {
        let endpoints = endpoints
            .into_iter()
            .filter(|(_, e)| e.state.ready)
            .map(|(address, e)| HeadlessEndpoint {
                address,
                hostname: e.hostname,
                node: e.node,
                ports: (e.ports.into_iter())
                    .filter(|(_, state)| state.ready)
                    .map(|(port, _)| port)
                    .collect(),
            })
            .collect();
        self.table.names.insert(name, Names::Headless { endpoints });
    }

    fn cluster(
        &mut self,
        name: ServiceName,
        service: &Service,
        endpoints: &BTreeMap<IpAddr, Merged>,
    ) {
        let Some(addresses) = self.cluster_ips(&name, service) else {
            return;
        };
        let ports = self.ports(&name, service);
        let affinity = match service.spec.session_affinity.as_str() {
            "" | "None" => Affinity::None,
            "ClientIP" => Affinity::ClientIp {
                timeout: AFFINITY_TIMEOUT,
            },
            other => {
                self.refuse(&name, Reason::BadAffinity(other.to_owned()));
                Affinity::None
            }
        };
        for &address in &addresses {
            for port in &ports {
                let frontend = Frontend {
                    address,
                    protocol: port.protocol,
                    port: port.port,
                };
                let value = Port {
                    service: name.clone(),
                    port_name: port.name.clone(),
                    affinity,
                    backends: backends(address, port, endpoints),
                };
                self.table.frontends.insert(frontend, value);
            }
        }
        self.table
            .names
            .insert(name, Names::Cluster { addresses, ports });
    }

    /// The Service's own addresses, or none when the Service is left out.
    fn cluster_ips(&mut self, name: &ServiceName, service: &Service) -> Option<Vec<IpAddr>> {
        let spec = &service.spec;
        let texts: Vec<&str> = if spec.cluster_ips.is_empty() {
            vec![spec.cluster_ip.as_str()]
        } else {
            spec.cluster_ips.iter().map(String::as_str).collect()
        };
        if !spec.cluster_ip.is_empty() && texts[0] != spec.cluster_ip {
            self.refuse(name, Reason::ClusterIpsDisagree);
            return None;
        }
        let mut addresses: Vec<IpAddr> = Vec::new();
        for text in texts.into_iter().filter(|t| !t.is_empty()) {
            let Some(address) = servable(text) else {
                self.refuse(name, Reason::BadClusterIp(text.to_owned()));
                continue;
            };
            if addresses.iter().any(|a| a.is_ipv4() == address.is_ipv4()) {
                self.refuse(name, Reason::SecondOfFamily(address));
                continue;
            }
            if let Some(owner) = self.owners.get(&address).cloned() {
                self.refuse(name, Reason::DuplicateClusterIp { owner, address });
                continue;
            }
            self.owners.insert(address, name.clone());
            addresses.push(address);
        }
        if spec.cluster_ip.is_empty() && spec.cluster_ips.is_empty() {
            self.refuse(name, Reason::ClusterIpMissing);
        }
        Some(addresses)
    }

    /// The Service's ports, sorted.
    fn ports(&mut self, name: &ServiceName, service: &Service) -> Vec<NamedPort> {
        let spec = &service.spec;
        if spec.ports.is_empty() {
            self.refuse(name, Reason::PortMissing);
        }
        let mut ports: Vec<NamedPort> = Vec::new();
        for port in &spec.ports {
            let refused = match Protocol::parse(&port.protocol) {
                None => Reason::BadProtocol(port.protocol.clone()),
                Some(_) if port.port == 0 => Reason::PortZero,
                Some(_) if port.name.is_empty() && spec.ports.len() > 1 => {
                    Reason::PortNameMissing(port.port)
                }
                Some(_) if !port.name.is_empty() && !is_label(&port.name) => {
                    Reason::BadPortName(port.name.clone())
                }
                Some(_) if ports.iter().any(|p| p.name == port.name) => {
                    Reason::DuplicatePortName(port.name.clone())
                }
                Some(protocol) => {
                    let number = port.port;
                    if ports
                        .iter()
                        .any(|p| p.protocol == protocol && p.port == number)
                    {
                        Reason::DuplicatePort(protocol, number)
                    } else {
                        ports.push(NamedPort {
                            name: port.name.clone(),
                            protocol,
                            port: number,
                        });
                        continue;
                    }
                }
            };
            self.refuse(name, refused);
        }
        ports.sort();
        ports
    }

    /// All endpoints of a Service by address. An endpoint that several slices hold is ready when one of them says so:
    /// Kubernetes asks readers to join duplicates, which appear while endpoints move between slices.
    fn merge(&mut self, service: &Service, slices: &[&EndpointSlice]) -> BTreeMap<IpAddr, Merged> {
        let mut merged: BTreeMap<IpAddr, Merged> = BTreeMap::new();
        for slice in slices {
            let is_ipv4 = match slice.spec.address_type.as_str() {
                "IPv4" => true,
                "IPv6" => false,
                other => {
                    self.refuse_slice(slice, Reason::BadAddressType(other.to_owned()));
                    continue;
                }
            };
            let ports = self.slice_ports(slice);
            for endpoint in &slice.spec.endpoints {
                let Some(text) = endpoint.addresses.first() else {
                    self.refuse_slice(slice, Reason::EndpointAddressMissing);
                    continue;
                };
                let Some(address) = servable(text).filter(|a| a.is_ipv4() == is_ipv4) else {
                    self.refuse_slice(slice, Reason::BadEndpointAddress(text.clone()));
                    continue;
                };
                let hostname = endpoint.hostname.clone().filter(|h| !h.is_empty());
                let hostname = match hostname {
                    Some(bad) if !is_label(&bad) => {
                        self.refuse_slice(slice, Reason::BadHostname(bad));
                        None
                    }
                    good => good,
                };
                let publish = service.spec.publish_not_ready_addresses;
                let state = State::of(&endpoint.conditions, publish);
                merged
                    .entry(address)
                    .or_default()
                    .join(endpoint, hostname, state, &ports);
            }
        }
        for endpoint in merged.values_mut() {
            endpoint.ports.sort_by(|a, b| a.0.cmp(&b.0));
        }
        merged
    }

    fn slice_ports(&mut self, slice: &EndpointSlice) -> Vec<NamedPort> {
        let mut ports = Vec::new();
        for port in &slice.spec.ports {
            let Some(protocol) = Protocol::parse(&port.protocol) else {
                self.refuse_slice(slice, Reason::BadProtocol(port.protocol.clone()));
                continue;
            };
            let Some(number) = port.port.filter(|n| *n != 0) else {
                self.refuse_slice(slice, Reason::EndpointPortMissing(port.name.clone()));
                continue;
            };
            if !port.name.is_empty() && !is_label(&port.name) {
                self.refuse_slice(slice, Reason::BadPortName(port.name.clone()));
                continue;
            }
            ports.push(NamedPort {
                name: port.name.clone(),
                protocol,
                port: number,
            });
        }
        ports
    }

    fn refuse(&mut self, service: &ServiceName, reason: Reason) {
        self.table.refusals.push(Refusal {
            service: service.clone(),
            slice: None,
            reason,
        });
    }

    fn refuse_slice(&mut self, slice: &EndpointSlice, reason: Reason) {
        let label = slice.metadata.labels.get(SERVICE_LABEL);
        self.table.refusals.push(Refusal {
            service: ServiceName::new(slice_namespace(slice), label.cloned().unwrap_or_default()),
            slice: Some(slice.metadata.name.clone()),
            reason,
        });
    }
}

impl Merged {
    /// Adds what one slice says.
    fn join(
        &mut self,
        endpoint: &Endpoint,
        hostname: Option<String>,
        state: State,
        ports: &[NamedPort],
    ) {
        self.state.join(state);
        if self.hostname.is_none() {
            self.hostname = hostname;
        }
        if self.node.is_none() {
            self.node = endpoint.node_name.clone().filter(|n| !n.is_empty());
        }
        for port in ports {
            match self.ports.iter_mut().find(|(known, _)| known == port) {
                Some((_, known)) => known.join(state),
                None => self.ports.push((port.clone(), state)),
            }
        }
    }
}

/// The endpoints that take a port's traffic: the ready ones, and only where there are none those that still serve while
/// they terminate (Kubernetes: `ProxyTerminatingEndpoints`, KEP-1669).
fn backends(
    frontend: IpAddr,
    port: &NamedPort,
    endpoints: &BTreeMap<IpAddr, Merged>,
) -> Vec<Backend> {
    let mut ready = Vec::new();
    let mut terminating = Vec::new();
    for (address, endpoint) in endpoints {
        if address.is_ipv4() != frontend.is_ipv4() {
            continue;
        }
        for (own, state) in &endpoint.ports {
            if own.name != port.name || own.protocol != port.protocol {
                continue;
            }
            let backend = Backend {
                address: *address,
                port: own.port,
                node: endpoint.node.clone(),
                ready: state.ready,
            };
            if state.ready {
                ready.push(backend);
            } else if state.serving_terminating {
                terminating.push(backend);
            }
        }
    }
    if ready.is_empty() { terminating } else { ready }
}

fn namespace(service: &Service) -> &str {
    service.metadata.namespace.as_deref().unwrap_or("default")
}

fn slice_namespace(slice: &EndpointSlice) -> &str {
    slice.metadata.namespace.as_deref().unwrap_or("default")
}

fn is_headless(service: &Service) -> bool {
    let spec = &service.spec;
    spec.cluster_ip == "None" || spec.cluster_ips.iter().any(|a| a == "None")
}

/// An address that a Service or an endpoint may have (Kubernetes: `ValidateNonSpecialIP`).
fn servable(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.parse().ok()?;
    let special = address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || match address {
            IpAddr::V4(a) => a.is_link_local() || a.is_broadcast(),
            IpAddr::V6(a) => a.is_unicast_link_local() || a.to_ipv4_mapped().is_some(),
        };
    (!special).then_some(address)
}

/// A DNS label of RFC 1123 §2.1, lower case as Kubernetes wants it: 1 to 63 of `a-z0-9-`, no `-` at the ends.
fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

/// A DNS subdomain of RFC 1123 as Kubernetes wants it in `externalName`: labels joined by dots, at most 253.
fn is_dns_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}
