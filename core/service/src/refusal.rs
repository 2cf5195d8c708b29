//! Why a Service, a port or an endpoint is not in the table.

use std::fmt;
use std::net::IpAddr;

use crate::{Protocol, ServiceName};

/// Something that was left out of the table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The Service concerned; for a slice without one, its namespace and an empty name.
    pub service: ServiceName,
    /// The EndpointSlice concerned, where it is one.
    pub slice: Option<String>,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.slice {
            None => write!(f, "Service {}: {}", self.service, self.reason),
            Some(slice) => write!(
                f,
                "EndpointSlice {}/{slice}: {}",
                self.service.namespace, self.reason
            ),
        }
    }
}

/// The reason, each with a stable [`Reason::name`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Name or namespace is not a DNS label; the Service has no frontends and no name.
    BadName,
    /// Not a type of Kubernetes; the Service is left out.
    BadType(String),
    /// The address does not parse, or is unspecified, loopback, link-local or multicast.
    BadClusterIp(String),
    /// `clusterIP` is not among `clusterIPs`; the Service is left out.
    ClusterIpsDisagree,
    /// A second address of one family; the first is used.
    SecondOfFamily(IpAddr),
    /// No address was given to the Service yet.
    ClusterIpMissing,
    /// Another Service has the address: the older one, then the first by name.
    DuplicateClusterIp {
        /// Whose it already is.
        owner: ServiceName,
        /// The address.
        address: IpAddr,
    },
    /// A Service with an address has no ports, so nothing answers there.
    PortMissing,
    /// Port 0.
    PortZero,
    /// Several ports, and one has no name.
    PortNameMissing(u16),
    /// Two ports share a name; the first is used.
    DuplicatePortName(String),
    /// A port's name is not a DNS label.
    BadPortName(String),
    /// Neither TCP, UDP nor SCTP.
    BadProtocol(String),
    /// Two ports share protocol and number; the first is used.
    DuplicatePort(Protocol, u16),
    /// Neither `ClientIP` nor `None`; taken as `None`.
    BadAffinity(String),
    /// Not a DNS name.
    BadExternalName(String),
    /// The slice has no label `kubernetes.io/service-name`.
    ServiceLabelMissing,
    /// The slice's Service does not exist (or was refused).
    ServiceUnknown,
    /// The slice's Service has no endpoints of its own (ExternalName).
    ServiceWithoutEndpoints,
    /// The slice's `addressType` is neither `IPv4` nor `IPv6`.
    BadAddressType(String),
    /// The endpoint has no address.
    EndpointAddressMissing,
    /// The endpoint's address does not parse, is of the other family, or is unspecified, loopback, link-local or multicast.
    BadEndpointAddress(String),
    /// The endpoint's hostname is not a DNS label; the endpoint is kept without it.
    BadHostname(String),
    /// A port of the slice has no number.
    EndpointPortMissing(String),
}

impl Reason {
    /// The stable name, as shown wherever this reason is shown.
    pub fn name(&self) -> &'static str {
        match self {
            Reason::BadName => "bad-name",
            Reason::BadType(_) => "bad-type",
            Reason::BadClusterIp(_) => "bad-cluster-ip",
            Reason::ClusterIpsDisagree => "cluster-ips-disagree",
            Reason::SecondOfFamily(_) => "second-of-family",
            Reason::ClusterIpMissing => "cluster-ip-missing",
            Reason::DuplicateClusterIp { .. } => "duplicate-cluster-ip",
            Reason::PortMissing => "port-missing",
            Reason::PortZero => "port-zero",
            Reason::PortNameMissing(_) => "port-name-missing",
            Reason::DuplicatePortName(_) => "duplicate-port-name",
            Reason::BadPortName(_) => "bad-port-name",
            Reason::BadProtocol(_) => "bad-protocol",
            Reason::DuplicatePort(..) => "duplicate-port",
            Reason::BadAffinity(_) => "bad-affinity",
            Reason::BadExternalName(_) => "bad-external-name",
            Reason::ServiceLabelMissing => "service-label-missing",
            Reason::ServiceUnknown => "service-unknown",
            Reason::ServiceWithoutEndpoints => "service-without-endpoints",
            Reason::BadAddressType(_) => "bad-address-type",
            Reason::EndpointAddressMissing => "endpoint-address-missing",
            Reason::BadEndpointAddress(_) => "bad-endpoint-address",
            Reason::BadHostname(_) => "bad-hostname",
            Reason::EndpointPortMissing(_) => "endpoint-port-missing",
        }
    }
}

impl fmt::Display for Reason {
    /// The name and, in parentheses, what to mend.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())?;
        match self {
            Reason::BadName => write!(f, " (name and namespace must be DNS labels)"),
            Reason::BadType(t) => write!(
                f,
                " (type {t:?} is not ClusterIP, NodePort, LoadBalancer or ExternalName)"
            ),
            Reason::BadClusterIp(a) => write!(f, " ({a:?} is not an address that can be served)"),
            Reason::ClusterIpsDisagree => write!(f, " (clusterIP must be the first of clusterIPs)"),
            Reason::SecondOfFamily(a) => {
                write!(f, " ({a}: clusterIPs may hold one address a family)")
            }
            Reason::ClusterIpMissing => write!(
                f,
                " (set clusterIP to an address, or to None for a headless service)"
            ),
            Reason::DuplicateClusterIp { owner, address } => {
                write!(f, " ({address} belongs to Service {owner})")
            }
            Reason::PortMissing => write!(f, " (a service with an address needs ports)"),
            Reason::PortZero => write!(f, " (ports are 1 to 65535)"),
            Reason::PortNameMissing(p) => {
                write!(f, " (port {p}: with several ports each needs a name)")
            }
            Reason::DuplicatePortName(n) => write!(f, " (port name {n:?} is used twice)"),
            Reason::BadPortName(n) => write!(f, " (port name {n:?} must be a DNS label)"),
            Reason::BadProtocol(p) => write!(f, " ({p:?} is not TCP, UDP or SCTP)"),
            Reason::DuplicatePort(p, n) => write!(f, " ({}/{n} is used twice)", p.as_str()),
            Reason::BadAffinity(a) => write!(f, " (sessionAffinity {a:?} is not ClientIP or None)"),
            Reason::BadExternalName(n) => write!(f, " (externalName {n:?} is not a DNS name)"),
            Reason::ServiceLabelMissing => write!(
                f,
                " (label kubernetes.io/service-name must name the service)"
            ),
            Reason::ServiceUnknown => write!(f, " (no such service in this namespace)"),
            Reason::ServiceWithoutEndpoints => {
                write!(f, " (an ExternalName service has no endpoints)")
            }
            Reason::BadAddressType(t) => write!(f, " (addressType {t:?} is not IPv4 or IPv6)"),
            Reason::EndpointAddressMissing => write!(f, " (an endpoint needs an address)"),
            Reason::BadEndpointAddress(a) => write!(
                f,
                " ({a:?} is not an endpoint's address of the slice's addressType)"
            ),
            Reason::BadHostname(h) => write!(f, " (hostname {h:?} must be a DNS label)"),
            Reason::EndpointPortMissing(n) => write!(f, " (port {n:?} of the slice has no number)"),
        }
    }
}
