//! Pools of addresses.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net};
use resource::Selector;
use resource::kinds::{EncapMode, IpPool};

use crate::{NodeView, Reason, Refusal, Resources};

/// A pool as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its range.
    pub cidr: IpNet,
    /// When to use IP-in-IP.
    pub ipip: EncapMode,
    /// When to use VXLAN.
    pub vxlan: EncapMode,
    /// Masquerade what leaves it for addresses outside all pools.
    pub nat_outgoing: bool,
    /// No new allocations; routes stay.
    pub disabled: bool,
    /// Not told to BGP peers.
    pub disable_bgp_export: bool,
    /// This node may take blocks and tunnel addresses from it.
    pub selects_node: bool,
    /// It may give tunnel addresses.
    pub for_tunnels: bool,
}

impl Pool {
    /// True when traffic to a node at `next_hop` has to be in IP-in-IP, for a node on `lan`.
    ///
    /// Calico decides CrossSubnet by the BGP next hop (calico-compat §6.8); without a prefix length nothing is near.
    pub fn needs_ipip(&self, lan: Option<Ipv4Net>, next_hop: std::net::Ipv4Addr) -> bool {
        match self.ipip {
            EncapMode::Never => false,
            EncapMode::Always => true,
            EncapMode::CrossSubnet => !lan.is_some_and(|lan| lan.contains(&next_hop)),
        }
    }
}

/// The pools that can be used, by name.
pub(crate) fn pools(
    resources: &Resources,
    me: Option<&NodeView>,
    refusals: &mut Vec<Refusal>,
) -> BTreeMap<String, Pool> {
    let mut pools: BTreeMap<String, Pool> = BTreeMap::new();
    for (name, object) in &resources.ip_pools {
        let at = || format!("IPPool({name}) spec.cidr");
        let text = &object.spec.cidr;
        let Some(cidr) = text.parse::<IpNet>().ok().map(|net| net.trunc()) else {
            let what = format!("'{text}' is no CIDR");
            refusals.push(Refusal::new(Reason::PoolCidrInvalid, at(), what));
            continue;
        };
        let overlaps = |other: &&Pool| other.cidr.contains(&cidr) || cidr.contains(&other.cidr);
        if let Some(other) = pools.values().find(overlaps) {
            let what = format!("{cidr} overlaps with IPPool({}) {}", other.name, other.cidr);
            refusals.push(Refusal::new(Reason::PoolOverlap, at(), what));
            continue;
        }
        let pool = Pool {
            name: name.clone(),
            cidr,
            ipip: object.spec.ipip_mode.unwrap_or_default(),
            vxlan: object.spec.vxlan_mode.unwrap_or_default(),
            nat_outgoing: object.spec.nat_outgoing,
            disabled: object.spec.disabled,
            disable_bgp_export: object.spec.disable_bgp_export,
            selects_node: selects(object, me, refusals),
            for_tunnels: object.spec.allowed_uses.is_empty()
                || object.spec.allowed_uses.iter().any(|u| u == "Tunnel"),
        };
        pools.insert(name.clone(), pool);
    }
    pools
}

fn selects(pool: &IpPool, me: Option<&NodeView>, refusals: &mut Vec<Refusal>) -> bool {
    match Selector::parse(&pool.spec.node_selector) {
        Ok(selector) => me.is_some_and(|me| selector.matches(&me.labels)),
        Err(error) => {
            let at = format!("IPPool({}) spec.nodeSelector", pool.metadata.name);
            let what = format!("'{}': {error}", pool.spec.node_selector);
            refusals.push(Refusal::new(Reason::SelectorInvalid, at, what));
            false
        }
    }
}
