//! What import filters let through, for who watches that: which paths may not be what they were.

use super::family::FamilyRib;
use super::table::{Sight, Table};
use super::walk::Builder;
use crate::view::AcceptedPath;
use crate::wire::nlri::Key;

/// Peer, prefix and the peer's path identifier of a path that may not be what it was.
type Touched<K> = (u16, K, u32);

/// `None` when nobody watches.
#[derive(Default)]
pub(crate) struct Watch<K>(Option<Vec<Touched<K>>>);

impl<K: Key> Watch<K> {
    /// Notes the paths of an UPDATE; `ids` is empty where there are no path identifiers.
    #[inline]
    pub fn touch_all(&mut self, peer: u16, keys: &[K], ids: &[u32]) {
        if let Some(touched) = &mut self.0 {
            let ids = ids.iter().copied().chain(std::iter::repeat(0));
            touched.extend(keys.iter().zip(ids).map(|(key, id)| (peer, *key, id)));
        }
    }

    /// Notes a path that has changed, or that goes next.
    #[inline]
    pub fn touch(&mut self, peer: u16, table: &Table<K>, (net, at): (u32, u32)) {
        if let Some(touched) = &mut self.0 {
            touched.push((peer, table.key(net), table.mark(at).id));
        }
    }
}

impl<K: Key> FamilyRib<K> {
    pub fn note_accepted(&mut self, on: bool) {
        self.accepted = Watch(on.then(Vec::new));
    }

    /// The paths that were noted, each once and as it is now. Stale ones are as good as gone: their
    /// sessions have not said them.
    pub fn take_accepted(
        &mut self,
        sight: Sight<'_>,
        into: &mut Builder,
        out: &mut Vec<AcceptedPath>,
    ) {
        let Some(touched) = &mut self.accepted.0 else {
            return;
        };
        let mut touched = std::mem::take(touched);
        touched.sort_unstable();
        touched.dedup();
        let table = self.table();
        for (peer, key, path_id) in touched {
            let net = table.find(table.hash(key), key);
            let at = net.and_then(|net| table.locate(net, peer, path_id));
            let path = at.map(|at| table.path(at));
            let counts = path.filter(|path| path.rejection.is_none() && !path.stale.is_stale());
            out.push(AcceptedPath {
                prefix: key.to_net(),
                peer,
                path_id,
                set: counts.map(|path| into.set((path.attributes, path.next_hop), sight)),
            });
        }
    }
}
