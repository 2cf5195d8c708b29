//! Faults to plant, in the model or on the way between machines: each must be found.

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The model compares MED between all paths, whatever their neighbour AS.
    MedAcrossNeighbours,
    /// The model does not look at CLUSTER_LIST.
    NoClusterLoop,
    /// The model reflects from non-clients to non-clients.
    ReflectsToAll,
    /// The model takes the higher router ID.
    HigherRouterId,
    /// The model sends MED on to the next AS but one.
    MedGoesOn,
    /// The model takes long-lived stale routes for as good as any.
    StaleIsFresh,
    /// Machines lose a withdrawal that they should send, now and then.
    LosesWithdrawal,
    /// Machines send two messages of a session in the wrong order now and then.
    ReordersMessages,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 8] = [
        Bug::MedAcrossNeighbours,
        Bug::NoClusterLoop,
        Bug::ReflectsToAll,
        Bug::HigherRouterId,
        Bug::MedGoesOn,
        Bug::StaleIsFresh,
        Bug::LosesWithdrawal,
        Bug::ReordersMessages,
    ];

    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Bug::MedAcrossNeighbours => "med-across-neighbours",
            Bug::NoClusterLoop => "no-cluster-loop",
            Bug::ReflectsToAll => "reflects-to-all",
            Bug::HigherRouterId => "higher-router-id",
            Bug::MedGoesOn => "med-goes-on",
            Bug::StaleIsFresh => "stale-is-fresh",
            Bug::LosesWithdrawal => "loses-withdrawal",
            Bug::ReordersMessages => "reorders-messages",
        }
    }

    /// The bug of this name.
    pub fn named(name: &str) -> Option<Bug> {
        Bug::ALL.into_iter().find(|bug| bug.name() == name)
    }
}
