//! A kernel made of values: what the simulation and the planner's own tests apply batches to.

use std::collections::{BTreeMap, BTreeSet};

use crate::nft::{Family, NftChain, NftChange, NftMap, NftSet, NftTable, TABLE_NAME};
use crate::object::{Actual, Link, Sysctl};
use crate::operation::{Batch, Operation};

/// Applies a batch as the kernel would.
pub fn apply(actual: &mut Actual, batch: &Batch) {
    for operation in &batch.operations {
        apply_one(actual, operation);
    }
}

fn apply_one(actual: &mut Actual, operation: &Operation) {
    match operation {
        Operation::SetLink(link) => drop(actual.links.insert(link.name.clone(), link.clone())),
        Operation::AddAddress(address) => drop(actual.addresses.insert(address.clone())),
        Operation::RemoveAddress(address) => drop(actual.addresses.remove(address)),
        Operation::SetSysctl(sysctl) => set_sysctl(actual, sysctl),
        Operation::SetRoute(route) => {
            let up = |name: &str| actual.links.get(name).is_some_and(|link: &Link| link.up);
            if route.interfaces().into_iter().all(up) {
                let replaced = actual
                    .routes
                    .iter()
                    .find(|there| there.key() == route.key())
                    .cloned();
                if let Some(replaced) = replaced {
                    actual.routes.remove(&replaced);
                }
                actual.routes.insert(route.clone());
            }
        }
        Operation::RemoveRoute(route) => drop(actual.routes.remove(route)),
        Operation::SetNeighbour(neighbour) => {
            actual
                .neighbours
                .retain(|n| (&n.interface, n.address) != (&neighbour.interface, neighbour.address));
            actual.neighbours.insert(neighbour.clone());
        }
        Operation::RemoveNeighbour(neighbour) => drop(actual.neighbours.remove(neighbour)),
        Operation::Nft(changes) => apply_changes(&mut actual.tables, changes),
    }
}

fn set_sysctl(actual: &mut Actual, sysctl: &Sysctl) {
    actual
        .sysctls
        .insert(sysctl.path.clone(), sysctl.value.clone());
    // The global switch throws those of all interfaces. Source: kernel documentation, ip-sysctl, ip_forward.
    if sysctl.path == "net/ipv4/ip_forward" {
        for (path, value) in &mut actual.sysctls {
            if path.starts_with("net/ipv4/conf/") && path.ends_with("/forwarding") {
                value.clone_from(&sysctl.value);
            }
        }
    }
}

/// Removes a link with what the kernel takes away along with it: addresses, routes, neighbours, parameters.
pub fn remove_link(actual: &mut Actual, name: &str) {
    actual.links.remove(name);
    actual.addresses.retain(|address| address.interface != name);
    actual
        .routes
        .retain(|route| !route.interfaces().contains(&name));
    actual
        .neighbours
        .retain(|neighbour| neighbour.interface != name);
    let of_link = |path: &str| {
        let mut parts = path.split('/').skip(3);
        parts.next() == Some(name)
    };
    actual.sysctls.retain(|path, _| !of_link(path));
}

/// Does a transaction's changes.
pub(crate) fn apply_changes(tables: &mut Vec<NftTable>, changes: &[NftChange]) {
    for change in changes {
        apply_change(tables, change);
    }
}

fn apply_change(tables: &mut Vec<NftTable>, change: &NftChange) {
    match change {
        NftChange::AddTable(family) => {
            if !tables.iter().any(|table| table.family == *family) {
                tables.push(empty(*family));
            }
        }
        NftChange::DeleteTable(family) => tables.retain(|table| table.family != *family),
        NftChange::AddSet(family, name, shape) => {
            let set = NftSet {
                key: shape.key.clone(),
                interval: shape.interval,
                elements: BTreeSet::new(),
            };
            table(tables, *family)
                .sets
                .entry(name.clone())
                .or_insert(set);
        }
        NftChange::DeleteSet(family, name) => drop(table(tables, *family).sets.remove(name)),
        NftChange::AddMap(family, name, shape) => {
            let map = NftMap {
                key: shape.key.clone(),
                datum: shape.datum,
                elements: BTreeMap::new(),
            };
            table(tables, *family)
                .maps
                .entry(name.clone())
                .or_insert(map);
        }
        NftChange::DeleteMap(family, name) => drop(table(tables, *family).maps.remove(name)),
        NftChange::AddChain(family, name, base) => {
            let chain = NftChain {
                base: *base,
                rules: Vec::new(),
            };
            table(tables, *family)
                .chains
                .entry(name.clone())
                .or_insert(chain);
        }
        NftChange::DeleteChain(family, name) => drop(table(tables, *family).chains.remove(name)),
        NftChange::AddElements(..)
        | NftChange::DeleteElements(..)
        | NftChange::AddMapElements(..)
        | NftChange::DeleteMapElements(..)
        | NftChange::FlushSet(..)
        | NftChange::FlushMap(..)
        | NftChange::FlushChain(..)
        | NftChange::AddRule(..) => apply_content(tables, change),
    }
}

/// Changes to the content of what is there; what is absent is passed over, where nft would refuse the whole transaction.
fn apply_content(tables: &mut Vec<NftTable>, change: &NftChange) {
    match change {
        NftChange::AddElements(family, name, elements) => {
            if let Some(set) = table(tables, *family).sets.get_mut(name) {
                set.elements.extend(elements.iter().cloned());
            }
        }
        NftChange::DeleteElements(family, name, elements) => {
            if let Some(set) = table(tables, *family).sets.get_mut(name) {
                set.elements.retain(|element| !elements.contains(element));
            }
        }
        NftChange::AddMapElements(family, name, elements) => {
            if let Some(map) = table(tables, *family).maps.get_mut(name) {
                map.elements.extend(
                    elements
                        .iter()
                        .map(|(key, datum)| (key.clone(), datum.clone())),
                );
            }
        }
        NftChange::DeleteMapElements(family, name, elements) => {
            if let Some(map) = table(tables, *family).maps.get_mut(name) {
                map.elements.retain(|key, _| !elements.contains_key(key));
            }
        }
        NftChange::FlushSet(family, name) => {
            if let Some(set) = table(tables, *family).sets.get_mut(name) {
                set.elements.clear();
            }
        }
        NftChange::FlushMap(family, name) => {
            if let Some(map) = table(tables, *family).maps.get_mut(name) {
                map.elements.clear();
            }
        }
        NftChange::FlushChain(family, name) => {
            if let Some(chain) = table(tables, *family).chains.get_mut(name) {
                chain.rules.clear();
            }
        }
        NftChange::AddRule(family, name, rule) => {
            if let Some(chain) = table(tables, *family).chains.get_mut(name) {
                chain.rules.push(rule.clone());
            }
        }
        _ => unreachable!("apply_change keeps the other changes to itself"),
    }
}

fn empty(family: Family) -> NftTable {
    NftTable {
        family,
        name: TABLE_NAME.to_owned(),
        sets: BTreeMap::new(),
        maps: BTreeMap::new(),
        chains: BTreeMap::new(),
    }
}

/// The table of a family; made where it is missing.
fn table(tables: &mut Vec<NftTable>, family: Family) -> &mut NftTable {
    let index = tables
        .iter()
        .position(|table| table.family == family)
        .unwrap_or_else(|| {
            tables.push(empty(family));
            tables.len() - 1
        });
    &mut tables[index]
}
