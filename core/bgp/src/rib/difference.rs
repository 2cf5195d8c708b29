//! What a changed policy makes different for peers that were told under the old one.

use super::encode::admit;
use super::export::{Attributes, Policy};
use super::judge::Judge;
use super::table::{Path, Sight};
use crate::NextHop;
use crate::wire::nlri::Key;
use std::collections::BTreeMap;

/// What is to be said of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// What was said still holds.
    None,
    /// It is announced, changed by this rule if by one.
    Announce(Option<u16>),
    Withdraw,
}

/// Attributes, next hop, source, and the rules that change the path by the old and the new policy.
type Compared = (u32, u32, u16, Option<u16>, Option<u16>);

/// The old policy at work on a batch. Octets are compared once for each attribute set.
pub(crate) struct Difference<'a> {
    old: &'a Policy,
    judge: Judge<'a>,
    same: BTreeMap<Compared, bool>,
}

impl<'a> Difference<'a> {
    pub fn new(old: &'a Policy) -> Self {
        Difference {
            old,
            judge: old.judge(),
            same: BTreeMap::new(),
        }
    }

    /// `admitted` is what the new policy says: whether the path is told, and the rule that changes it.
    pub fn of<K: Key>(
        &mut self,
        new: &Policy,
        admitted: Option<Option<u16>>,
        sight: Sight<'_>,
        path: &Path,
        key: K,
    ) -> Change {
        match (admit(self.old, &mut self.judge, sight, path, key), admitted) {
            (None, None) => Change::None,
            (Some(_), None) => Change::Withdraw,
            (None, Some(rule)) => Change::Announce(rule),
            (Some(was), Some(rule)) => {
                let compared = (path.attributes, path.next_hop, path.peer, was, rule);
                let old = self.old;
                let same = self.same.entry(compared).or_insert_with(|| {
                    octets::<K>(old, was, sight, path) == octets::<K>(new, rule, sight, path)
                });
                if *same {
                    Change::None
                } else {
                    Change::Announce(rule)
                }
            }
        }
    }
}

/// Next hop, the one for the peer whose address the first is, and attributes.
type Octets = (Option<NextHop>, Option<NextHop>, Vec<u8>);

/// What would be told.
fn octets<K: Key>(policy: &Policy, rule: Option<u16>, sight: Sight<'_>, path: &Path) -> Octets {
    let origin = &sight.origins[usize::from(path.peer)];
    let operations = policy.filter.operations(rule);
    let hop = sight.next_hops.get(path.next_hop);
    let mut attributes = Attributes::default();
    let block = sight.attributes.octets(path.attributes);
    attributes.write(policy, block, origin, operations);
    let hop = policy.next_hop(hop, origin, K::FAMILY, operations);
    (
        hop,
        hop.filter(|hop| policy.spares(*hop, K::FAMILY, operations))
            .and(policy.own_address),
        [attributes.head, attributes.tail].concat(),
    )
}
