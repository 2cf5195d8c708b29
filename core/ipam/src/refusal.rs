//! Why an address was not given, or not taken back.

use std::net::IpAddr;

use ipnet::IpNet;
use resource::StoreError;

/// A refusal, each with a stable lower-case name; the text is Calico's where Calico has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no IPPool of this family.
    #[error("cannot find a qualified ippool")]
    NoPool,
    /// There are pools, each disabled.
    #[error("cannot find a qualified ippool")]
    PoolsDisabled,
    /// Pools are enabled, but none selects this node (or namespace), or all are for manual assignment.
    #[error("cannot find a qualified ippool")]
    NoPoolSelectsNode,
    /// Pools select the node, none allows the use.
    #[error("cannot find a qualified ippool, no pools match the required use ({0})")]
    NoPoolForUse(&'static str),
    /// A pool that was asked for.
    #[error("the given pool ({0}) does not exist, or is not enabled")]
    RequestedPool(String),
    /// The node is not in the datastore.
    #[error("resource does not exist: Node({0}) with error: <nil>")]
    NodeUnknown(String),
    /// A pool cannot be read: its cidr, block size or selector.
    #[error("the IPPool {pool} cannot be used: {reason}")]
    PoolInvalid {
        /// Its name.
        pool: String,
        /// What is wrong.
        reason: String,
    },
    /// An IPReservation cannot be read; nothing is given out while it is not known what is reserved.
    #[error("the IPReservation {reservation} cannot be read: {cidr:?} is no CIDR")]
    ReservationInvalid {
        /// Its name.
        reservation: String,
        /// What is wrong.
        cidr: String,
    },
    /// The node has as many blocks as it may.
    #[error("cannot allocate new block due to per host block limit")]
    BlockLimit,
    /// Own blocks are full, no new one is free, and borrowing is forbidden.
    #[error("No more free affine blocks and strict affinity enabled")]
    StrictAffinity,
    /// Every address of the pools is taken.
    #[error("No IPs available in pools: [{}]", .0.iter().map(IpNet::to_string).collect::<Vec<_>>().join(" "))]
    Exhausted(Vec<IpNet>),
    /// Others wrote the same keys again and again.
    #[error("Max retries hit - excessive concurrent IPAM requests")]
    ConflictLimit,
    /// A specific address outside the enabled pools.
    #[error("The provided IP address is not in a configured pool\n")]
    AddressNotInPool,
    /// A specific address that someone has.
    #[error("resource already exists: Address already assigned in block ({0}) with error: <nil>")]
    AddressTaken(IpAddr),
    /// A specific address in another node's block, under strict affinity.
    #[error("the block {0} is not affine to this node, and strict affinity is enabled")]
    BlockOfAnother(IpNet),
    /// A release named another handle than the address has.
    #[error("update conflict: the address {0} belongs to another handle")]
    HandleMismatch(IpAddr),
    /// A release named another allocation of the address than the present one.
    #[error("update conflict: the address {0} has been allocated anew")]
    SequenceMismatch(IpAddr),
    /// A block that was to be given up only when empty.
    #[error("the block {0} is not empty")]
    BlockNotEmpty(IpNet),
}

impl Refusal {
    /// The stable name that logs, metrics and documents show.
    pub fn name(&self) -> &'static str {
        match self {
            Refusal::NoPool => "no-pool",
            Refusal::PoolsDisabled => "pools-disabled",
            Refusal::NoPoolSelectsNode => "no-pool-selects-node",
            Refusal::NoPoolForUse(_) => "no-pool-for-use",
            Refusal::RequestedPool(_) => "requested-pool",
            Refusal::NodeUnknown(_) => "node-unknown",
            Refusal::PoolInvalid { .. } => "pool-invalid",
            Refusal::ReservationInvalid { .. } => "reservation-invalid",
            Refusal::BlockLimit => "block-limit",
            Refusal::StrictAffinity => "strict-affinity",
            Refusal::Exhausted(_) => "exhausted",
            Refusal::ConflictLimit => "conflict-limit",
            Refusal::AddressNotInPool => "address-not-in-pool",
            Refusal::AddressTaken(_) => "address-taken",
            Refusal::BlockOfAnother(_) => "block-of-another",
            Refusal::HandleMismatch(_) => "handle-mismatch",
            Refusal::SequenceMismatch(_) => "sequence-mismatch",
            Refusal::BlockNotEmpty(_) => "block-not-empty",
        }
    }

    /// What to do about it.
    pub fn cure(&self) -> &'static str {
        match self {
            Refusal::NoPool => "Create an IPPool.",
            Refusal::PoolsDisabled => "Set disabled: false on an IPPool, or create one.",
            Refusal::NoPoolSelectsNode => {
                "Compare each IPPool's nodeSelector and namespaceSelector with the labels, and its assignmentMode."
            }
            Refusal::NoPoolForUse(_) => "Add the use to an IPPool's allowedUses.",
            Refusal::RequestedPool(_) => "Name an enabled IPPool, by its name or its whole cidr.",
            Refusal::NodeUnknown(_) => {
                "Start the node's agent, or create the Node; or mend nodename."
            }
            Refusal::PoolInvalid { .. } => "Mend the IPPool.",
            Refusal::ReservationInvalid { .. } => "Mend the IPReservation.",
            Refusal::BlockLimit => "Raise maxBlocksPerHost.",
            Refusal::StrictAffinity => "Add an IPPool, or turn strict affinity off.",
            Refusal::Exhausted(_) => "Add an IPPool, or delete workloads.",
            Refusal::ConflictLimit => "Try again.",
            Refusal::AddressNotInPool => "Ask for an address inside an enabled IPPool.",
            Refusal::AddressTaken(_) => "Release the address, or ask for another.",
            Refusal::BlockOfAnother(_) => {
                "Ask for an address of an own block, or turn strict affinity off."
            }
            Refusal::HandleMismatch(_) | Refusal::SequenceMismatch(_) => {
                "Look again who has the address."
            }
            Refusal::BlockNotEmpty(_) => "Release its addresses first.",
        }
    }
}

/// A refusal, or a failure of the store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// IPAM said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The result of an IPAM call.
pub type IpamResult<T> = Result<T, IpamError>;
