//! The difference between desired and actual, as ordered operations.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::apply::apply_changes;
use crate::nft::{Family, NftChange, NftTable, Value};
use crate::nft_diff;
use crate::object::{Actual, Desired, PROTOCOL_BIRD, Route, RouteKey, Scope, Sysctl, TABLE_MAIN};
use crate::operation::{Batch, Lane, Operation};
use crate::reason::{Reason, Refusal};
use crate::rules::{PEERS, POOLS, SERVICE_RANGES, WORKLOAD_PREFIX, exact_prefixes};

/// Gives what has to be done so that the kernel has what is desired: nothing when it has.
///
/// What is found and wanted is adopted as it is. Foreign objects are neither changed nor removed. While `in_sync` is false
/// (the store has not said all it knows, or peers have not) things are added and never taken away. An operation that the
/// kernel cannot do now, such as a route by an absent link, is left out; [`unmet`] names those.
pub fn plan(desired: &Desired, actual: &Actual, in_sync: bool) -> Vec<Batch> {
    let owned = Owned::of(desired, actual);
    let (routes, removed_routes) = routes(desired, actual, &owned, in_sync);
    let mut links = links(desired, actual);
    let mut routes = routes;
    routes.extend(neighbours(desired, actual, in_sync));
    routes.extend(removed_routes.iter().cloned().map(Operation::RemoveRoute));
    if in_sync {
        links.extend(stale_addresses(desired, actual));
    }
    // The ranges in our table are how the next start knows which routes are ours: they come before the routes and outlive them.
    let memory = nft_diff::new_ranges(&desired.tables, &actual.tables);
    let mut tables = actual.tables.clone();
    apply_changes(&mut tables, &memory);
    let rules = nft_diff::changes(&desired.tables, &tables, in_sync);
    let rules_follow_routes = in_sync && owned.outlives(desired);

    let nft = |changes: Vec<NftChange>| match changes.is_empty() {
        true => Vec::new(),
        false => vec![Operation::Nft(changes)],
    };
    let mut batches: Vec<Batch> = Vec::new();
    let mut push = |lane, follows: Option<u32>, operations: Vec<Operation>| -> Option<u32> {
        if operations.is_empty() {
            return follows;
        }
        let number = u32::try_from(batches.len() + 1).expect("a plan has four batches at most");
        batches.push(Batch {
            lane,
            number,
            follows,
            operations,
        });
        Some(number)
    };
    let links = push(Lane::Links, None, links);
    let memory = push(Lane::Rules, links, nft(memory));
    let routes = push(Lane::Routes, memory, routes);
    push(
        Lane::Rules,
        if rules_follow_routes { routes } else { None },
        nft(rules),
    );
    batches
}

/// What is desired and cannot be programmed as things are, besides [`Desired::refusals`].
pub fn unmet(desired: &Desired, actual: &Actual) -> Vec<Refusal> {
    let owned = Owned::of(desired, actual);
    let at_key = by_key(actual);
    let mut refusals = Vec::new();
    for route in &desired.routes {
        if let Some(foreign) = foreign_at(&at_key, route, &owned) {
            refusals.push(Refusal {
                reason: Reason::RouteKeyTaken,
                object: route.to_string(),
                text: format!(
                    "this route is there and not ours: {foreign}; remove it: ip route del {foreign}"
                ),
            });
        } else if let Some(name) = route
            .interfaces()
            .into_iter()
            .find(|name| !is_up(actual, name))
        {
            refusals.push(Refusal {
                reason: Reason::LinkDown,
                object: route.to_string(),
                text: format!("interface {name} is absent or down; see `ip link show {name}`"),
            });
        }
    }
    refusals
}

/// Whether a route is ours to change and to remove.
fn is_ours(route: &Route, owned: &Owned) -> bool {
    let by_protocol = route.protocol == PROTOCOL_BIRD && owned.holds(&route.dst);
    route.table == TABLE_MAIN && (by_protocol || is_workload_route(route))
}

/// A host route by a workload's interface, whoever made it: the CNI plugin's have protocol `boot`.
fn is_workload_route(route: &Route) -> bool {
    let interfaces = route.interfaces();
    let host = route.dst.prefix_len() == route.dst.max_prefix_len();
    host && route.scope == Scope::Link
        && !interfaces.is_empty()
        && interfaces
            .iter()
            .all(|name| name.starts_with(WORKLOAD_PREFIX))
}

/// Where `proto bird` is ours: today's ranges and prefixes, and those that our own table still remembers.
struct Owned {
    /// With all that is in them.
    ranges: BTreeSet<IpNet>,
    /// Exactly these.
    exact: BTreeSet<IpNet>,
}

impl Owned {
    fn of(desired: &Desired, actual: &Actual) -> Owned {
        let remembered = actual
            .tables
            .iter()
            .flat_map(|table| [POOLS, SERVICE_RANGES, PEERS].map(|name| table.sets.get(name)));
        let remembered = remembered
            .flatten()
            .flat_map(|set| set.elements.iter().flatten())
            .filter_map(|value| match value {
                Value::Prefix(prefix) => Some(*prefix),
                Value::Address(_)
                | Value::Protocol(_)
                | Value::Port(_)
                | Value::Slot(_)
                | Value::Foreign(_) => None,
            });
        let mut exact = exact_prefixes(&desired.tables);
        exact.extend(exact_prefixes(&actual.tables));
        Owned {
            ranges: desired.ranges.iter().copied().chain(remembered).collect(),
            exact,
        }
    }

    /// Something is remembered that is not wanted any more.
    fn outlives(&self, desired: &Desired) -> bool {
        self.ranges.len() > desired.ranges.len()
            || self.exact.len() > exact_prefixes(&desired.tables).len()
    }

    fn holds(&self, prefix: &IpNet) -> bool {
        self.exact.contains(prefix) || self.ranges.iter().any(|range| range.contains(prefix))
    }
}

fn is_up(actual: &Actual, name: &str) -> bool {
    actual.links.get(name).is_some_and(|link| link.up)
}

fn by_key(actual: &Actual) -> BTreeMap<RouteKey, Vec<&Route>> {
    let mut routes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for route in &actual.routes {
        routes.entry(route.key()).or_default().push(route);
    }
    routes
}

fn foreign_at<'a>(
    at_key: &BTreeMap<RouteKey, Vec<&'a Route>>,
    route: &Route,
    owned: &Owned,
) -> Option<&'a Route> {
    at_key
        .get(&route.key())?
        .iter()
        .find(|there| **there != route && !is_ours(there, owned))
        .copied()
}

/// Routes to set, and those to remove.
fn routes(
    desired: &Desired,
    actual: &Actual,
    owned: &Owned,
    in_sync: bool,
) -> (Vec<Operation>, Vec<Route>) {
    let at_key = by_key(actual);
    let mut set = Vec::new();
    for route in &desired.routes {
        let adopted = actual.routes.contains(route);
        let possible = route
            .interfaces()
            .into_iter()
            .all(|name| is_up(actual, name) || desired.links.contains_key(name));
        if !adopted && possible && foreign_at(&at_key, route, owned).is_none() {
            set.push(Operation::SetRoute(route.clone()));
        }
    }
    let mut removed = Vec::new();
    if in_sync {
        let replaced: BTreeSet<RouteKey> = set
            .iter()
            .filter_map(|operation| match operation {
                Operation::SetRoute(route) => Some(route.key()),
                _ => None,
            })
            .collect();
        for route in actual
            .routes
            .iter()
            .filter(|route| is_ours(route, owned) && !desired.routes.contains(*route))
        {
            let kept = is_workload_route(route)
                && desired
                    .allocated
                    .as_ref()
                    .is_none_or(|allocated| allocated.contains(&route.dst.addr()));
            // Replacing takes the place of the first of a key; a second one is removed in the next round.
            if !kept && !replaced.contains(&route.key()) {
                removed.push(route.clone());
            }
        }
    }
    (set, removed)
}

fn neighbours(desired: &Desired, actual: &Actual, in_sync: bool) -> Vec<Operation> {
    let mut operations: Vec<_> = desired
        .neighbours
        .iter()
        .filter(|wanted| !actual.neighbours.contains(*wanted) && is_up(actual, &wanted.interface))
        .cloned()
        .map(Operation::SetNeighbour)
        .collect();
    if in_sync {
        let wanted: BTreeSet<_> = desired
            .neighbours
            .iter()
            .map(|n| (&n.interface, n.address))
            .collect();
        let stale = actual.neighbours.iter().filter(|found| {
            found.interface.starts_with(WORKLOAD_PREFIX)
                && !wanted.contains(&(&found.interface, found.address))
        });
        operations.extend(stale.cloned().map(Operation::RemoveNeighbour));
    }
    operations
}

fn links(desired: &Desired, actual: &Actual) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (name, wanted) in &desired.links {
        let there = actual.links.get(name).is_some_and(|found| {
            found.kind == wanted.kind
                && found.up == wanted.up
                && wanted.mtu.is_none_or(|mtu| found.mtu == Some(mtu))
        });
        if !there {
            operations.push(Operation::SetLink(wanted.clone()));
        }
    }
    for address in desired.addresses.difference(&actual.addresses) {
        operations.push(Operation::AddAddress(address.clone()));
    }
    for (path, value) in &desired.sysctls {
        // An absent file belongs to an interface that is not there (yet).
        if actual.sysctls.get(path).is_some_and(|found| found != value) {
            operations.push(Operation::SetSysctl(Sysctl {
                path: path.clone(),
                value: value.clone(),
            }));
        }
    }
    operations
}

/// Addresses of our tunnel devices that are no longer wanted.
fn stale_addresses(desired: &Desired, actual: &Actual) -> Vec<Operation> {
    actual
        .addresses
        .iter()
        .filter(|address| {
            // On a workload's interface the node has no addresses but those that the workload peers with.
            let ours = desired.links.contains_key(&address.interface)
                || address.interface.starts_with(WORKLOAD_PREFIX);
            ours && address.address.addr().is_ipv4()
        })
        .filter(|address| !desired.addresses.contains(*address))
        .cloned()
        .map(Operation::RemoveAddress)
        .collect()
}

/// The tables that are ours in these.
pub(crate) fn table_of(tables: &[NftTable], family: Family) -> Option<&NftTable> {
    tables.iter().find(|table| table.family == family)
}
