//! What paths were before the import filter changed them, so that another filter can be applied
//! without asking the peer.

use super::table::Shared;

/// Attributes and next hop as the peer said them.
pub(crate) type Said = (u32, u32);

/// For a path that was not changed.
const NOT_CHANGED: Said = (u32::MAX, u32::MAX);

/// By number of the path; empty as long as no filter changes anything. One use of each id is held.
#[derive(Default)]
pub(crate) struct Received {
    said: Vec<Said>,
}

impl Received {
    /// What the peer said of a path, where that is not what it is.
    pub fn get(&self, path: u32) -> Option<Said> {
        let said = self.said.get(path as usize).copied();
        said.filter(|said| *said != NOT_CHANGED)
    }

    /// The path has gone, or is as the peer said it.
    #[inline]
    pub fn forget(&mut self, path: u32, shared: &mut Shared<'_>) {
        if !self.said.is_empty() {
            self.keep(path, None, shared);
        }
    }

    /// The path was changed; or not, with `None`.
    pub fn keep(&mut self, path: u32, said: Option<Said>, shared: &mut Shared<'_>) {
        let at = path as usize;
        if at >= self.said.len() {
            if said.is_none() {
                return;
            }
            self.said.resize(at + 1, NOT_CHANGED);
        }
        if let Some((attributes, next_hop)) = said {
            shared.attributes.keep(attributes);
            shared.next_hops.keep(next_hop);
        }
        let old = std::mem::replace(&mut self.said[at], said.unwrap_or(NOT_CHANGED));
        if old != NOT_CHANGED {
            shared.attributes.release(old.0);
            shared.next_hops.release(old.1);
        }
    }
}
