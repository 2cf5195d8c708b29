//! Which service addresses a node tells its peers of (calico-compat §6.6).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use resource::kinds::{BgpConfigurationSpec, CidrBlock, EndpointSlice, Service};

use crate::resources::NamespacedName;
use crate::{NodeView, Reason, Refusal, Resources};

/// Nodes with this label do not tell peers of service addresses.
const EXCLUDE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// The label by which a slice names its Service (Kubernetes API: EndpointSlice).
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The ranges of service addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRanges {
    /// `serviceClusterIPs`.
    pub cluster: BTreeSet<IpNet>,
    /// `serviceExternalIPs`.
    pub external: BTreeSet<IpNet>,
    /// `serviceLoadBalancerIPs`.
    pub load_balancer: BTreeSet<IpNet>,
    /// The last are told whole (`serviceLoadBalancerAggregation`).
    pub aggregated: bool,
}

impl ServiceRanges {
    /// Reads them from the default BGPConfiguration. `cluster_ips` take the place of `serviceClusterIPs` (Calico:
    /// CALICO_ADVERTISE_CLUSTER_IPS).
    pub(crate) fn read(
        resources: &Resources,
        cluster_ips: Option<&[IpNet]>,
        refusals: &mut Vec<Refusal>,
    ) -> ServiceRanges {
        let nothing = BgpConfigurationSpec::default();
        let default = resources.bgp_configurations.get("default");
        let spec = default.map_or(&nothing, |configuration| &configuration.spec);
        let mut read = |field: &str, blocks: &[CidrBlock]| {
            let mut ranges = BTreeSet::new();
            for block in blocks {
                match crate::parse_address(&block.cidr) {
                    Some(range) => drop(ranges.insert(range.trunc())),
                    None => refusals.push(Refusal::new(
                        Reason::ServiceRangeInvalid,
                        format!("BGPConfiguration(default) spec.{field}"),
                        format!("'{}' is no CIDR", block.cidr),
                    )),
                }
            }
            ranges
        };
        ServiceRanges {
            cluster: match cluster_ips {
                Some(ranges) => ranges.iter().map(IpNet::trunc).collect(),
                None => read("serviceClusterIPs", &spec.service_cluster_ips),
            },
            external: read("serviceExternalIPs", &spec.service_external_ips),
            load_balancer: read("serviceLoadBalancerIPs", &spec.service_load_balancer_ips),
            aggregated: spec.service_load_balancer_aggregation.as_deref() != Some("Disabled"),
        }
    }

    /// All of them: what is learnt in one is not for the kernel, on whatever node.
    pub fn all(&self) -> BTreeSet<IpNet> {
        let lists = [&self.cluster, &self.external, &self.load_balancer];
        lists.into_iter().flatten().copied().collect()
    }

    /// What every node tells of that tells of services at all.
    fn whole(&self) -> BTreeSet<IpNet> {
        let mut whole = self.cluster.clone();
        whole.extend(self.external.iter().filter(|range| !is_single(range)));
        if self.aggregated {
            whole.extend(self.load_balancer.iter().filter(|range| !is_single(range)));
        }
        whole
    }
}

/// The service addresses and ranges that `me` tells its peers of.
pub(crate) fn service_routes(
    resources: &Resources,
    me: &NodeView,
    ranges: &ServiceRanges,
) -> BTreeSet<IpNet> {
    if me.labels.get(EXCLUDE_LABEL).is_some_and(|v| v == "true") {
        return BTreeSet::new();
    }
    let mut routes = ranges.whole();
    let slices = by_service(resources);
    let names = names_of(resources, me);
    for (name, service) in &resources.services {
        let of_service = slices.get(name).map_or(&[][..], Vec::as_slice);
        let one = One {
            service,
            slices: of_service,
            ranges,
        };
        if one.is_told(&names) {
            routes.extend(one.addresses());
        }
    }
    routes
}

/// What endpoints call this node: its own name, and Kubernetes' for it.
fn names_of<'r>(resources: &'r Resources, me: &'r NodeView) -> Vec<&'r str> {
    let node = resources.nodes.get(&me.name);
    let refs = node.into_iter().flat_map(|node| &node.spec.orch_refs);
    let theirs = refs.filter(|r| r.orchestrator == "k8s" && !r.node_name.is_empty());
    let theirs: Vec<&str> = theirs.map(|r| r.node_name.as_str()).collect();
    if theirs.is_empty() {
        vec![me.name.as_str()]
    } else {
        theirs
    }
}

fn by_service(resources: &Resources) -> BTreeMap<NamespacedName, Vec<&EndpointSlice>> {
    let mut slices: BTreeMap<NamespacedName, Vec<&EndpointSlice>> = BTreeMap::new();
    for ((namespace, _), slice) in &resources.endpoint_slices {
        if let Some(service) = slice.metadata.labels.get(SERVICE_LABEL) {
            let name = (namespace.clone(), service.clone());
            slices.entry(name).or_default().push(slice);
        }
    }
    slices
}

fn is_single(range: &IpNet) -> bool {
    range.prefix_len() == range.max_prefix_len()
}

/// One Service and what decides about it.
struct One<'r> {
    service: &'r Service,
    slices: &'r [&'r EndpointSlice],
    ranges: &'r ServiceRanges,
}

impl One<'_> {
    /// Whether this node tells of its addresses one by one.
    fn is_told(&self, names: &[&str]) -> bool {
        let spec = &self.service.spec;
        let kinds = ["", "ClusterIP", "NodePort", "LoadBalancer"];
        let is_reached = kinds.contains(&spec.service_type.as_str());
        if !is_reached || spec.cluster_ip == "None" || spec.cluster_ips.iter().any(|a| a == "None")
        {
            return false;
        }
        if spec.external_traffic_policy == "Local" {
            return self.has_ready(|node| node.is_some_and(|node| names.contains(&node)));
        }
        if !self.ranges.aggregated {
            return self.has_ready(|_| true);
        }
        // Where a range is one address, there is nothing to be told whole, and all nodes tell of the address.
        let single =
            |ranges: &BTreeSet<IpNet>, address: &IpAddr| ranges.contains(&IpNet::from(*address));
        let load_balancer = spec.service_type == "LoadBalancer"
            && self
                .load_balancer_ips()
                .any(|address| single(&self.ranges.load_balancer, &address));
        load_balancer
            || self
                .external_ips()
                .any(|address| single(&self.ranges.external, &address))
    }

    /// Whether an endpoint that is ready, of a family that the Service has, runs on such a node.
    fn has_ready(&self, on: impl Fn(Option<&str>) -> bool) -> bool {
        let families = self.families();
        self.slices
            .iter()
            .filter(|slice| families.contains(slice.spec.address_type.as_str()))
            .flat_map(|slice| &slice.spec.endpoints)
            .any(|endpoint| {
                // Kubernetes API: absent means ready.
                endpoint.conditions.ready.unwrap_or(true) && on(endpoint.node_name.as_deref())
            })
    }

    /// `IPv4`, `IPv6`; where Kubernetes did not fill them in, those of its addresses.
    fn families(&self) -> BTreeSet<&str> {
        let written = &self.service.spec.ip_families;
        if !written.is_empty() {
            return written.iter().map(String::as_str).collect();
        }
        let family = |address: IpAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
        self.cluster_ips().map(family).collect()
    }

    fn cluster_ips(&self) -> impl Iterator<Item = IpAddr> {
        let spec = &self.service.spec;
        let all = spec.cluster_ips.iter().chain([&spec.cluster_ip]);
        all.filter_map(|text| text.parse().ok())
    }

    fn external_ips(&self) -> impl Iterator<Item = IpAddr> {
        let all = self.service.spec.external_ips.iter();
        all.filter_map(|text| text.parse().ok())
    }

    /// Those that are given (`status.loadBalancer.ingress`).
    fn load_balancer_ips(&self) -> impl Iterator<Item = IpAddr> {
        let given = self.service.status.pointer("/loadBalancer/ingress");
        let given = given.and_then(serde_json::Value::as_array);
        given
            .into_iter()
            .flatten()
            .filter_map(|one| one.get("ip")?.as_str()?.parse().ok())
    }

    /// As host routes. Cluster addresses are not held against the ranges, as Calico does not.
    fn addresses(&self) -> BTreeSet<IpNet> {
        let within = |ranges: &BTreeSet<IpNet>, address: &IpAddr| {
            ranges.iter().any(|range| range.contains(address))
        };
        let cluster = self
            .cluster_ips()
            .filter(|_| !self.ranges.cluster.is_empty());
        let external = self
            .external_ips()
            .filter(|address| within(&self.ranges.external, address));
        let load_balancer = self
            .load_balancer_ips()
            .filter(|address| within(&self.ranges.load_balancer, address));
        let all = cluster.chain(external).chain(load_balancer);
        all.map(IpNet::from).collect()
    }
}
