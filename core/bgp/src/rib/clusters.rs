//! Loops through our clusters (RFC 4456 §8), found anew in what is held when our clusters change.

use super::table::Rejection;
use crate::NextHop;
use crate::wire::attribute::{self, kind};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

/// What makes a path of a peer one that came back to us.
pub(crate) struct Ours<'a> {
    /// All clusters that we reflect in.
    pub clusters: &'a BTreeSet<Ipv4Addr>,
    /// Our end of the peer's session, while there is one.
    pub local: Option<IpAddr>,
}

impl Ours<'_> {
    /// What keeps a path out by our clusters; the outer `None` when they decide nothing about it.
    /// The checks before that of the clusters do not depend on them, and their verdict stands.
    pub fn verdict(
        &self,
        rejection: Option<Rejection>,
        block: &[u8],
        hop: NextHop,
    ) -> Option<Option<Rejection>> {
        let list = attribute::find(block, kind::CLUSTER_LIST)?;
        let loops = attribute::numbers(list).any(|id| self.clusters.contains(&Ipv4Addr::from(id)));
        let was_loop = rejection == Some(Rejection::ClusterListLoop);
        if loops == was_loop || !(was_loop || rejection.is_none_or(Rejection::yields)) {
            return None;
        }
        if loops {
            return Some(Some(Rejection::ClusterListLoop));
        }
        // What would have been looked at after the clusters.
        let own = self.local.is_some_and(|local| hop.is_at(local));
        Some(own.then_some(Rejection::OwnNextHop))
    }
}
