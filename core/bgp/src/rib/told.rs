//! How many prefixes each peer is told, counted from the table: without add-path nobody keeps what was told.

use super::encode::admit;
use super::export::Policy;
use super::family::FamilyRib;
use super::judge::Judge;
use super::ranking::keep_best;
use super::table::{Path, Sight, Table};
use crate::wire::nlri::Key;

/// Prefixes of one group: those that all its members are told, less those whose only source a member is.
struct Count<'a> {
    policy: &'a Policy,
    judge: Judge<'a>,
    members: Vec<u16>,
    all: u32,
    found: Vec<(u32, Path, Option<u16>)>,
}

impl<'a> Count<'a> {
    fn net<K: Key>(&mut self, net: u32, table: &Table<K>, sight: Sight<'a>, told: &mut [u32]) {
        let key = table.key(net);
        self.found.clear();
        for (at, path) in table.numbered(net).take(self.policy.looked_at()) {
            if path.rejection.is_none()
                && let Some(rule) = admit(self.policy, &mut self.judge, sight, path, key)
                && self.has_next_hop(path, rule, sight, K::FAMILY)
            {
                self.found.push((at, *path, rule));
            }
        }
        let limit = self.policy.add_paths.map_or(1, |limit| limit as usize);
        if self.found.len() > limit {
            keep_best(&mut self.found, limit, |at| table.mark(at).id, sight);
        }
        let Some((_, first, _)) = self.found.first() else {
            return;
        };
        self.all += 1;
        let only_source = self
            .found
            .iter()
            .all(|(_, path, _)| path.peer == first.peer);
        if only_source && self.members.contains(&first.peer) {
            told[usize::from(first.peer)] = told[usize::from(first.peer)].wrapping_sub(1);
        }
    }

    fn has_next_hop(
        &self,
        path: &Path,
        rule: Option<u16>,
        sight: Sight<'_>,
        family: crate::Family,
    ) -> bool {
        let origin = &sight.origins[usize::from(path.peer)];
        let hop = sight.next_hops.get(path.next_hop);
        let operations = self.policy.filter.operations(rule);
        let told = self.policy.next_hop(hop, origin, family, operations);
        told.is_some()
    }
}

impl Policy {
    /// How many paths of a net matter: without add-path the best one.
    fn looked_at(&self) -> usize {
        self.add_paths.map_or(1, |_| usize::MAX)
    }
}

impl<K: Key> FamilyRib<K> {
    /// Counts over `max` nets from number `from` on what each peer is told, into places by the peers' numbers, and says where to
    /// go on. A peer that is still being told counts as told.
    pub fn count_told(
        &self,
        from: u32,
        max: usize,
        sight: Sight<'_>,
        told: &mut [u32],
    ) -> Option<u32> {
        let table = self.table();
        let end = (from as usize).saturating_add(max).min(table.size());
        for (policy, members) in self.out().groups() {
            let mut count = Count {
                policy,
                judge: policy.judge(),
                members,
                all: 0,
                found: Vec::new(),
            };
            for net in from as usize..end {
                count.net(net as u32, table, sight, told);
            }
            for member in &count.members {
                let place = &mut told[usize::from(*member)];
                *place = place.wrapping_add(count.all);
            }
        }
        (end < table.size()).then_some(end as u32)
    }
}
