//! How the paths of one net fared: all of them, the equally good ones, the best few.

use super::decision::{self, Candidate, Reason};
use super::table::{Path, Sight, Table};
use crate::wire::nlri::Key;

/// A path, its number, and why it lost.
pub(crate) type Ranked = (u32, Path, Option<&'static str>);

impl<K: Key> Table<K> {
    /// For each path of a net, best first, why it lost; rejected ones give their rejection.
    pub fn explain(&self, id: u32, sight: Sight<'_>) -> Vec<Ranked> {
        let paths: Vec<(u32, Path)> = self.numbered(id).map(|(at, path)| (at, *path)).collect();
        let counted = self.counted(id);
        let reasons = self.reasons(&counted, sight);
        let mut reasons = reasons.into_iter();
        paths
            .iter()
            .map(|(at, path)| match path.rejection {
                Some(rejection) => (*at, *path, Some(rejection.name())),
                None => (*at, *path, reasons.next().flatten().map(Reason::name)),
            })
            .collect()
    }

    /// The best path and those that only lost to it by the tie-breaks.
    pub fn equally_good(&self, id: u32, sight: Sight<'_>) -> Vec<Path> {
        let counted = self.counted(id);
        if counted.len() < 2 {
            return counted.into_iter().map(|(_, path)| *path).collect();
        }
        let reasons = self.reasons(&counted, sight);
        counted
            .iter()
            .zip(reasons)
            .filter(|(_, reason)| reason.is_none_or(Reason::is_tie_break))
            .map(|((_, path), _)| **path)
            .collect()
    }

    fn counted(&self, id: u32) -> Vec<(u32, &Path)> {
        let counts = |(_, path): &(u32, &Path)| path.rejection.is_none();
        self.numbered(id).filter(counts).collect()
    }

    fn reasons(&self, counted: &[(u32, &Path)], sight: Sight<'_>) -> Vec<Option<Reason>> {
        let candidates: Vec<Candidate<'_>> = counted
            .iter()
            .map(|(at, path)| sight.candidate(path, self.mark(*at).id))
            .collect();
        decision::decide(&candidates)
    }
}

/// Leaves the `limit` best ones, in order: the best, then the best of the rest, and so on.
/// `id` gives the path identifier by the number of a path.
pub(crate) fn keep_best<T>(
    found: &mut Vec<(u32, Path, T)>,
    limit: usize,
    id: impl Fn(u32) -> u32,
    sight: Sight<'_>,
) {
    for done in 0..limit.min(found.len()) {
        let rest: Vec<Candidate<'_>> = found[done..]
            .iter()
            .map(|(at, path, _)| sight.candidate(path, id(*at)))
            .collect();
        let best = decision::best(&rest);
        found[done..=done + best].rotate_right(1);
    }
    found.truncate(limit);
}

impl<'a> Sight<'a> {
    /// A path as the decision looks at it.
    pub fn candidate(self, path: &Path, id: u32) -> Candidate<'a> {
        Candidate {
            record: self.attributes.record(path.attributes),
            origin: &self.origins[usize::from(path.peer)],
            cost: self.next_hops.cost(path.next_hop).unwrap_or(u32::MAX),
            id,
        }
    }
}
