//! Paths through next hops that cannot be reached, or at a cost (RFC 4271 §9.1.2).
//!
//! As long as nobody says anything of a next hop, nothing is looked up and nothing kept. A change
//! of one goes through the paths of the table once.

use super::LOCAL;
use super::table::{Announcement, Counted, Rejection, Shared, Sight, Table};
use crate::wire::nlri::Key;

impl Announcement {
    /// The same, kept out if its next hop cannot be reached.
    pub fn if_reachable(self, shared: &Shared<'_>) -> Self {
        if self.rejection.is_none() && shared.next_hops.cost(self.next_hop).is_none() {
            return Announcement {
                rejection: Some(Rejection::NextHopUnreachable),
                ..self
            };
        }
        self
    }
}

impl Shared<'_> {
    /// The same, to look at.
    pub fn sight(&self) -> Sight<'_> {
        Sight {
            attributes: self.attributes,
            next_hops: self.next_hops,
            origins: self.origins,
        }
    }
}

impl<K: Key> Table<K> {
    /// The paths through these next hops: net and number.
    pub fn paths_through(&self, next_hops: &[u32]) -> Vec<(u32, u32)> {
        let size = next_hops.iter().max().map_or(0, |last| *last as usize + 1);
        let mut wanted = vec![false; size];
        next_hops.iter().for_each(|at| wanted[*at as usize] = true);
        let mut out = Vec::new();
        for net in self.live() {
            let through = |path: &super::table::Path| {
                path.peer != LOCAL && wanted.get(path.next_hop as usize) == Some(&true)
            };
            let paths = self.numbered(net).filter(|(_, path)| through(path));
            out.extend(paths.map(|(at, _)| (net, at)));
        }
        out
    }

    /// Decides anew, now that the next hop of a path is reachable, or not, or at another cost.
    pub fn judge_next_hop(
        &mut self,
        net: u32,
        at: u32,
        shared: &Shared<'_>,
        counted: &mut Counted,
    ) {
        let old_best = self.best(net).copied();
        let path = *self.path(at);
        let rejection = match (path.rejection, shared.next_hops.cost(path.next_hop)) {
            (None, None) => Some(Rejection::NextHopUnreachable),
            (Some(Rejection::NextHopUnreachable), Some(_)) => None,
            (other, _) => other,
        };
        if rejection != path.rejection {
            counted.rejected +=
                i32::from(rejection.is_some()) - i32::from(path.rejection.is_some());
            self.path_mut(at).rejection = rejection;
            self.note_change(at, self.mark(at).id);
        }
        self.choose(net, old_best, shared);
    }
}
