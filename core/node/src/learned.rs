//! Routes of others in this node's kernel that peers are told of: BIRD learns them, and its `direct` protocol connected
//! networks (calico-compat §6.1, §6.4).

use std::collections::BTreeMap;
use std::sync::Arc;

use bgp::{InterfaceMatch, Origin};
use dataplane::{
    Actual, PROTOCOL_BIRD, PROTOCOL_KERNEL, Route, RouteKind, Scope, TABLE_MAIN, WORKLOAD_PREFIX,
};
use intent::Intent;
use ipnet::IpNet;

use crate::speaker_config::LOCAL_PREF;

/// Calico's bridge: LOCAL_PREF is this less the kernel's metric (calico-compat §6.4 a).
const GREATEST: u32 = i32::MAX as u32;
/// kube-proxy's device in IPVS mode, which has all service addresses.
const IPVS: &str = "kube-ipvs*";

/// What is learned of the kernel inside pools; nothing else would be told.
pub(crate) fn learned_origins(intent: &Intent, actual: &Actual) -> BTreeMap<IpNet, Origin> {
    let ignored: Vec<InterfaceMatch> = intent
        .bgp
        .ignored_interfaces
        .iter()
        .map(String::as_str)
        .chain([IPVS])
        .map(InterfaceMatch::new)
        .collect();
    let mut origins: BTreeMap<IpNet, Origin> = BTreeMap::new();
    for route in actual.routes.iter().filter(|route| {
        route.table == TABLE_MAIN
            && route.protocol != PROTOCOL_BIRD
            && intent.pool_of(&route.dst).is_some()
    }) {
        let interface = route.interfaces().first().map(|name| Arc::from(*name));
        if !is_learned(route, interface.as_deref(), &ignored) {
            continue;
        }
        // No metric says nothing; Calico's own routes have 1024.
        let local_pref = match route.metric {
            0 => LOCAL_PREF,
            metric => GREATEST.saturating_sub(metric),
        };
        let origin = Origin {
            local_pref: Some(local_pref),
            interface,
            ..Origin::default()
        };
        let better = |there: &Origin| there.local_pref >= origin.local_pref;
        if !origins.get(&route.dst).is_some_and(better) {
            origins.insert(route.dst, origin);
        }
    }
    origins
}

fn is_learned(route: &Route, interface: Option<&str>, ignored: &[InterfaceMatch]) -> bool {
    let to_workload = interface.is_some_and(|name| name.starts_with(WORKLOAD_PREFIX));
    match route.kind {
        // The CNI plugin's, which stand for what the store says already; one with a metric is somebody's wish.
        RouteKind::Device { .. } if to_workload && route.scope == Scope::Link => {
            (1..GREATEST - LOCAL_PREF).contains(&route.metric)
        }
        RouteKind::Device { .. } if route.protocol == PROTOCOL_KERNEL => {
            let is_ignored = |name| ignored.iter().any(|pattern| pattern.matches(name));
            !to_workload && !interface.is_some_and(is_ignored)
        }
        RouteKind::Device { .. }
        | RouteKind::Via { .. }
        | RouteKind::Multipath { .. }
        | RouteKind::Blackhole
        | RouteKind::Unreachable => route.protocol != PROTOCOL_KERNEL,
        RouteKind::Local { .. } | RouteKind::Other { .. } => false,
    }
}
