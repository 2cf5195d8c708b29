//! Bugs to plant: each makes one seam behave as if the code beyond it had that fault. The checkers have to find them.

use std::fmt;

/// A fault to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// Nodes take a pending affinity for a confirmed one.
    ActsOnPendingAffinity,
    /// A starting node takes the store for empty, and in sync.
    DeletesBeforeInSync,
    /// Speakers do not look at CLUSTER_LIST and ORIGINATOR_ID.
    IgnoresClusterList,
    /// Routes stay when their peer is gone.
    KeepsPathsOfDeadSession,
    /// The last change before a silence is not read.
    MissesLastChange,
    /// The kernel's changes by others are not noticed, nor read back.
    IgnoresDrift,
    /// IPAM writes without comparing the revision.
    WritesWithoutComparing,
    /// Reflectors put their own address in NEXT_HOP.
    ReflectsWithOwnNextHop,
    /// There is nothing beneath the pools' routes.
    NothingBeneathRanges,
    /// A restarted node forgets the workloads' routes that it finds.
    RemovesFoundRoutes,
    /// Backends that are gone stay in the service map.
    KeepsDeadBackends,
    /// ICMP redirects are left on.
    LeavesRedirectsOn,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 12] = [
        Bug::ActsOnPendingAffinity,
        Bug::DeletesBeforeInSync,
        Bug::IgnoresClusterList,
        Bug::KeepsPathsOfDeadSession,
        Bug::MissesLastChange,
        Bug::IgnoresDrift,
        Bug::WritesWithoutComparing,
        Bug::ReflectsWithOwnNextHop,
        Bug::NothingBeneathRanges,
        Bug::RemovesFoundRoutes,
        Bug::KeepsDeadBackends,
        Bug::LeavesRedirectsOn,
    ];

    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Bug::ActsOnPendingAffinity => "acts-on-pending-affinity",
            Bug::DeletesBeforeInSync => "deletes-before-in-sync",
            Bug::IgnoresClusterList => "ignores-cluster-list",
            Bug::KeepsPathsOfDeadSession => "keeps-paths-of-dead-session",
            Bug::MissesLastChange => "misses-last-change",
            Bug::IgnoresDrift => "ignores-drift",
            Bug::WritesWithoutComparing => "writes-without-comparing",
            Bug::ReflectsWithOwnNextHop => "reflects-with-own-next-hop",
            Bug::NothingBeneathRanges => "nothing-beneath-ranges",
            Bug::RemovesFoundRoutes => "removes-found-routes",
            Bug::KeepsDeadBackends => "keeps-dead-backends",
            Bug::LeavesRedirectsOn => "leaves-redirects-on",
        }
    }

    /// The bug of this name.
    pub fn named(name: &str) -> Option<Bug> {
        Bug::ALL.into_iter().find(|bug| bug.name() == name)
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
