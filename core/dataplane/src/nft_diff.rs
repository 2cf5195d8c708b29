//! The difference between two nftables tables, as one transaction.

use std::collections::{BTreeMap, BTreeSet};

use crate::nft::{
    Datum, Element, Family, NftChain, NftChange, NftMap, NftMapShape, NftSet, NftSetShape,
    NftTable, Value,
};
use crate::plan::table_of;
use crate::rules::{LEARNT, PEERS, POOLS, SERVICE_RANGES};

/// The changes that make `actual` into `desired`; without removals while not in sync.
pub(crate) fn changes(desired: &[NftTable], actual: &[NftTable], in_sync: bool) -> Vec<NftChange> {
    let mut changes = Vec::new();
    for wanted in desired {
        match table_of(actual, wanted.family) {
            None => changes.extend(whole(wanted)),
            Some(found) if same_shapes(wanted, found) => {
                changes.extend(difference(wanted, found, in_sync))
            }
            // Made by another version: replaced within one transaction, so that no packet sees the gap. Its elements are lost
            // only once everything is known.
            Some(_) if in_sync => {
                changes.push(NftChange::DeleteTable(wanted.family));
                changes.extend(whole(wanted));
            }
            Some(_) => {}
        }
    }
    if in_sync {
        let unwanted = actual
            .iter()
            .filter(|found| table_of(desired, found.family).is_none());
        changes.extend(unwanted.map(|found| NftChange::DeleteTable(found.family)));
    }
    changes
}

/// The changes that record pools, service ranges, peers and learnt prefixes that our table does not have yet.
pub(crate) fn new_ranges(desired: &[NftTable], actual: &[NftTable]) -> Vec<NftChange> {
    let mut changes = Vec::new();
    for wanted in desired {
        let found = table_of(actual, wanted.family);
        // A table of another shape is made anew as a whole.
        if found.is_some_and(|found| !same_shapes(wanted, found)) {
            continue;
        }
        let mut sets = Vec::new();
        for (name, set) in [POOLS, SERVICE_RANGES, PEERS, LEARNT]
            .iter()
            .filter_map(|name| wanted.sets.get_key_value(*name))
        {
            let there = found.and_then(|found| found.sets.get(name));
            let nothing = BTreeSet::new();
            let held = there.map_or(&nothing, |set| &set.elements);
            // A set of intervals takes no two that overlap: what is inside a range that is there is remembered already, and what
            // a new range takes in leaves as it comes.
            let new: BTreeSet<_> = set
                .elements
                .iter()
                .filter(|range| !held.iter().any(|there| takes_in(there, range)))
                .cloned()
                .collect();
            let taken_in: BTreeSet<_> = held
                .iter()
                .filter(|there| new.iter().any(|range| takes_in(range, there)))
                .cloned()
                .collect();
            if new.is_empty() {
                continue;
            }
            if !taken_in.is_empty() {
                let taken_in = NftChange::DeleteElements(wanted.family, name.clone(), taken_in);
                sets.push(taken_in);
            }
            if there.is_none() {
                sets.push(NftChange::AddSet(
                    wanted.family,
                    name.clone(),
                    set_shape(set),
                ));
            }
            sets.push(NftChange::AddElements(wanted.family, name.clone(), new));
        }
        if !sets.is_empty() && found.is_none() {
            changes.push(NftChange::AddTable(wanted.family));
        }
        changes.extend(sets);
    }
    changes
}

/// Whether a prefix is inside another, or equal to it.
fn takes_in(outer: &Element, inner: &Element) -> bool {
    match (outer.as_slice(), inner.as_slice()) {
        ([Value::Prefix(outer)], [Value::Prefix(inner)]) => outer.contains(inner),
        (outer, inner) => outer == inner,
    }
}

fn set_shape(set: &NftSet) -> NftSetShape {
    NftSetShape {
        key: set.key.clone(),
        interval: set.interval,
    }
}

fn map_shape(map: &NftMap) -> NftMapShape {
    NftMapShape {
        key: map.key.clone(),
        datum: map.datum,
    }
}

/// Whether everything that both have can be changed in place.
fn same_shapes(wanted: &NftTable, found: &NftTable) -> bool {
    let sets = wanted.sets.iter().all(|(name, set)| {
        found
            .sets
            .get(name)
            .is_none_or(|there| set_shape(there) == set_shape(set))
    });
    let maps = wanted.maps.iter().all(|(name, map)| {
        found
            .maps
            .get(name)
            .is_none_or(|there| map_shape(there) == map_shape(map))
    });
    let chains = wanted.chains.iter().all(|(name, chain)| {
        found
            .chains
            .get(name)
            .is_none_or(|there| there.base == chain.base)
    });
    let apart = found
        .sets
        .keys()
        .all(|name| !wanted.maps.contains_key(name))
        && found
            .maps
            .keys()
            .all(|name| !wanted.sets.contains_key(name));
    sets && maps && chains && apart
}

fn whole(wanted: &NftTable) -> Vec<NftChange> {
    let empty = NftTable {
        family: wanted.family,
        name: wanted.name.clone(),
        sets: BTreeMap::new(),
        maps: BTreeMap::new(),
        chains: BTreeMap::new(),
    };
    let mut changes = vec![NftChange::AddTable(wanted.family)];
    changes.extend(difference(wanted, &empty, true));
    changes
}

/// In the order in which nothing names what is not there: shapes, elements out, elements in, rules, leftovers.
fn difference(wanted: &NftTable, found: &NftTable, in_sync: bool) -> Vec<NftChange> {
    let family = wanted.family;
    let mut changes = Vec::new();
    for (name, set) in wanted
        .sets
        .iter()
        .filter(|(name, _)| !found.sets.contains_key(*name))
    {
        changes.push(NftChange::AddSet(family, name.clone(), set_shape(set)));
    }
    for (name, map) in wanted
        .maps
        .iter()
        .filter(|(name, _)| !found.maps.contains_key(*name))
    {
        changes.push(NftChange::AddMap(family, name.clone(), map_shape(map)));
    }
    for (name, chain) in wanted
        .chains
        .iter()
        .filter(|(name, _)| !found.chains.contains_key(*name))
    {
        changes.push(NftChange::AddChain(family, name.clone(), chain.base));
    }
    for (name, set) in &wanted.sets {
        let there = found
            .sets
            .get(name)
            .map_or_else(BTreeSet::new, |set| set.elements.clone());
        changes.extend(set_elements(family, name, &set.elements, &there, in_sync));
    }
    for (name, map) in &wanted.maps {
        let there = found
            .maps
            .get(name)
            .map_or_else(BTreeMap::new, |map| map.elements.clone());
        changes.extend(map_elements(family, name, &map.elements, &there, in_sync));
    }
    for (name, chain) in &wanted.chains {
        changes.extend(rules(family, name, chain, found.chains.get(name), in_sync));
    }
    if in_sync {
        changes.extend(leftovers(wanted, found));
    }
    changes
}

fn rules(
    family: Family,
    name: &str,
    wanted: &NftChain,
    found: Option<&NftChain>,
    in_sync: bool,
) -> Vec<NftChange> {
    let there = found.map_or(&[][..], |chain| &chain.rules);
    if wanted.rules == there || (!there.is_empty() && !in_sync) {
        return Vec::new();
    }
    let flush = (!there.is_empty()).then(|| NftChange::FlushChain(family, name.to_owned()));
    let add = wanted
        .rules
        .iter()
        .map(|rule| NftChange::AddRule(family, name.to_owned(), rule.clone()));
    flush.into_iter().chain(add).collect()
}

/// An element that we cannot even name cannot be removed alone: all go, and ours come back, in one transaction.
fn has_foreign<'a>(elements: impl Iterator<Item = &'a Element>) -> bool {
    elements
        .flatten()
        .any(|value| matches!(value, Value::Foreign(_)))
}

fn set_elements(
    family: Family,
    name: &str,
    wanted: &BTreeSet<Element>,
    found: &BTreeSet<Element>,
    in_sync: bool,
) -> Vec<NftChange> {
    if in_sync && has_foreign(found.iter()) {
        let flush = NftChange::FlushSet(family, name.to_owned());
        let add = (!wanted.is_empty())
            .then(|| NftChange::AddElements(family, name.to_owned(), wanted.clone()));
        return std::iter::once(flush).chain(add).collect();
    }
    let mut changes = Vec::new();
    let gone: BTreeSet<_> = found.difference(wanted).cloned().collect();
    let mut new: BTreeSet<_> = wanted.difference(found).cloned().collect();
    if !in_sync {
        // What would have to take another's place waits with it: the kernel refuses intervals that overlap.
        new.retain(|new| {
            !found
                .iter()
                .any(|there| takes_in(there, new) || takes_in(new, there))
        });
    }
    if in_sync && !gone.is_empty() {
        changes.push(NftChange::DeleteElements(family, name.to_owned(), gone));
    }
    if !new.is_empty() {
        changes.push(NftChange::AddElements(family, name.to_owned(), new));
    }
    changes
}

fn map_elements(
    family: Family,
    name: &str,
    wanted: &BTreeMap<Element, Datum>,
    found: &BTreeMap<Element, Datum>,
    in_sync: bool,
) -> Vec<NftChange> {
    if in_sync && has_foreign(found.keys()) {
        let flush = NftChange::FlushMap(family, name.to_owned());
        let add = (!wanted.is_empty())
            .then(|| NftChange::AddMapElements(family, name.to_owned(), wanted.clone()));
        return std::iter::once(flush).chain(add).collect();
    }
    let differs = |key: &Element, datum: &Datum, other: &BTreeMap<Element, Datum>| {
        other.get(key) != Some(datum)
    };
    let pick = |from: &BTreeMap<Element, Datum>,
                other: &BTreeMap<Element, Datum>|
     -> BTreeMap<Element, Datum> {
        let picked = from
            .iter()
            .filter(|(key, datum)| differs(key, datum, other));
        picked
            .map(|(key, datum)| (key.clone(), datum.clone()))
            .collect()
    };
    let mut new = pick(wanted, found);
    let mut changes = Vec::new();
    if in_sync {
        let gone = pick(found, wanted);
        if !gone.is_empty() {
            changes.push(NftChange::DeleteMapElements(family, name.to_owned(), gone));
        }
    } else {
        // Another value takes an old one's place, and taking away is for later.
        new.retain(|key, _| !found.contains_key(key));
    }
    if !new.is_empty() {
        changes.push(NftChange::AddMapElements(family, name.to_owned(), new));
    }
    changes
}

/// Chains, sets and maps in our table that nothing wants.
fn leftovers(wanted: &NftTable, found: &NftTable) -> Vec<NftChange> {
    let family = wanted.family;
    let mut changes = Vec::new();
    let chains: Vec<_> = found
        .chains
        .iter()
        .filter(|(name, _)| !wanted.chains.contains_key(*name))
        .collect();
    let sets: Vec<_> = found
        .sets
        .keys()
        .filter(|name| !wanted.sets.contains_key(*name))
        .collect();
    let maps: Vec<_> = found
        .maps
        .keys()
        .filter(|name| !wanted.maps.contains_key(*name))
        .collect();
    // Rules first, then what they name; a map's elements name chains.
    changes.extend(
        chains
            .iter()
            .map(|(name, _)| NftChange::FlushChain(family, (*name).clone())),
    );
    changes.extend(
        maps.iter()
            .map(|name| NftChange::FlushMap(family, (*name).clone())),
    );
    changes.extend(
        chains
            .iter()
            .map(|(name, _)| NftChange::DeleteChain(family, (*name).clone())),
    );
    changes.extend(
        sets.into_iter()
            .map(|name| NftChange::DeleteSet(family, name.clone())),
    );
    changes.extend(
        maps.into_iter()
            .map(|name| NftChange::DeleteMap(family, name.clone())),
    );
    changes
}
