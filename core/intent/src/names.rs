//! The cluster's DNS domain, and the Services that every node answers by itself.
//!
//! A Service is answered by the nodes, rather than by pods, when its annotation `selvedge.dev/dns` is `"true"`, or when
//! it is `kube-system/kube-dns` and has no selector. Its annotation `selvedge.dev/domain` names the cluster's domain.

use std::net::IpAddr;

use resource::kinds::Service;

use crate::resources::NamespacedName;
use crate::{Reason, Refusal, Resources};

/// `"true"` on a Service that every node answers with the cluster's zone, `"false"` on one that no node does.
pub const DNS_ANNOTATION: &str = "selvedge.dev/dns";
/// The cluster's domain, on such a Service.
pub const DNS_DOMAIN_ANNOTATION: &str = "selvedge.dev/domain";
/// Kubernetes' domain where nobody chose one.
const DEFAULT_DOMAIN: &str = "cluster.local";

/// A Service that nodes answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsService {
    /// Namespace and name.
    pub name: NamespacedName,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// What names there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Without the dot at the end.
    pub domain: String,
    /// In order of namespace and name.
    pub dns_services: Vec<DnsService>,
}

pub(crate) fn names(resources: &Resources, refusals: &mut Vec<Refusal>) -> Names {
    let mut names = Names {
        domain: DEFAULT_DOMAIN.to_string(),
        dns_services: Vec::new(),
    };
    let mut chosen = false;
    for (name, service) in resources
        .services
        .iter()
        .filter(|(n, s)| answered_by_nodes(n, s))
    {
        if let Some(domain) = service.metadata.annotations.get(DNS_DOMAIN_ANNOTATION)
            && !chosen
        {
            names.domain = domain.trim_end_matches('.').to_ascii_lowercase();
            chosen = true;
        }
        let addresses = addresses(service);
        let has_port = service
            .spec
            .ports
            .iter()
            .any(|p| p.port == 53 || p.name.starts_with("dns"));
        if addresses.is_empty() || !has_port {
            let at = format!("Service({}/{})", name.0, name.1);
            let what = format!("{} addresses, ports {:?}", addresses.len(), ports(service));
            refusals.push(Refusal::new(Reason::DnsServiceInvalid, at, what));
            continue;
        }
        names.dns_services.push(DnsService {
            name: name.clone(),
            addresses,
        });
    }
    names
}

fn answered_by_nodes((namespace, name): &NamespacedName, service: &Service) -> bool {
    match service
        .metadata
        .annotations
        .get(DNS_ANNOTATION)
        .map(String::as_str)
    {
        Some(value) => value == "true",
        None => {
            namespace == "kube-system" && name == "kube-dns" && service.spec.selector.is_empty()
        }
    }
}

fn addresses(service: &Service) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for text in service
        .spec
        .cluster_ips
        .iter()
        .chain([&service.spec.cluster_ip])
    {
        if let Ok(address) = text.parse()
            && !addresses.contains(&address)
        {
            addresses.push(address);
        }
    }
    addresses
}

fn ports(service: &Service) -> Vec<u16> {
    service.spec.ports.iter().map(|p| p.port).collect()
}
