//! What is told to peers, after BGPFilters (calico-compat §6.4 c to k).

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::service_routes::ServiceRanges;
use crate::{NodeView, Pool};

/// One rule of what is told to peers; the first that matches decides, and what none accepts is not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExportRule {
    /// Nothing in this pool: `disableBGPExport`.
    WithheldPool(IpNet),
    /// Nothing that leads to a device of Calico's own tunnels, on iBGP: who is told has the tunnel too.
    TunnelDevice,
    /// Nothing that leads to a device of Calico's BPF programs.
    BpfDevice,
    /// This block itself, and inside it only what is preferred to normal routes.
    OwnBlock(IpNet),
    /// This service address or range, and all in it.
    ServiceRoute(IpNet),
    /// Everything in this range of service addresses, which others tell a reflector of.
    ReflectedServices(IpNet),
    /// Everything in this pool: other nodes' blocks, and borrowed addresses.
    Pool(IpNet),
}

impl ExportRule {
    /// Interfaces of tunnels, as patterns.
    pub const TUNNELS: [&'static str; 2] = ["*.cali", "*.calico"];
    /// Interfaces of BPF programs, as a pattern.
    pub const BPF: &'static str = "bpf*.cali";
}

/// The rules of `me`, in order.
pub(crate) fn export_rules(
    pools: &BTreeMap<String, Pool>,
    own_blocks: &BTreeSet<IpNet>,
    service_routes: &BTreeSet<IpNet>,
    ranges: &ServiceRanges,
    me: &NodeView,
) -> Vec<ExportRule> {
    let withheld = pools.values().filter(|pool| pool.disable_bgp_export);
    let told = pools.values().filter(|pool| !pool.disable_bgp_export);
    let is_reflector = me.cluster_id.is_some();
    let reflected = ranges.load_balancer.iter().filter(|_| is_reflector);
    withheld
        .map(|pool| ExportRule::WithheldPool(pool.cidr))
        .chain([ExportRule::TunnelDevice, ExportRule::BpfDevice])
        .chain(own_blocks.iter().copied().map(ExportRule::OwnBlock))
        .chain(service_routes.iter().copied().map(ExportRule::ServiceRoute))
        .chain(reflected.copied().map(ExportRule::ReflectedServices))
        .chain(told.map(|pool| ExportRule::Pool(pool.cidr)))
        .collect()
}
