//! Garbage: addresses that nobody uses, empty blocks, what deleted nodes left (calico-compat §7.7).
//!
//! ```text
//!             nobody uses it           grace is over, and still nobody
//!   (in use) ---------------> candidate ----------------------------> released
//!       ^                        |
//!       +------------------------+  somebody uses it, or it was given anew
//! ```
//!
//! [`Collector`] is pure: it is shown what the store says, again and again, and says what is garbage by now. The candidate's
//! identity has the sequence number of the allocation, so that an address that is given anew begins anew, and the release is a
//! compare-and-swap with that number. Of a handle with several addresses all go or none. Two collectors at once do no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use resource::kinds::{AffinityState, KubeControllersConfiguration, parse_go_duration};
use resource::{Key, Kind, Store, StoreError, StoreResult};

use crate::affinity::{Outcome, Release};
use crate::claimant::Claimant;
use crate::records::{Stored, unless_lost};
use crate::refusal::{IpamError, IpamResult};
use crate::survey::{Allocation, Standing, Survey};
use crate::{Family, Ipam, Refusal, ReleaseRequest, block, time};

/// How long nobody uses an address before it is released (Calico: leakGracePeriod), nanoseconds.
pub const GRACE_NS: u64 = 15 * 60 * 1_000_000_000;

/// Something to be cleared away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Garbage {
    /// The addresses of one owner, whom nobody is.
    Addresses {
        /// The owner's handle.
        handle: Option<String>,
        /// The node that they were given on.
        node: Option<String>,
        /// The addresses.
        requests: Vec<ReleaseRequest>,
        /// Whether the node is gone, so that there was nothing to wait for.
        node_gone: bool,
    },
    /// A handle that no block knows.
    Handle(String),
    /// A node's empty block, which has others.
    EmptyBlock {
        /// Whose: the affinity text.
        claimant: String,
        /// The block.
        cidr: IpNet,
        /// Its sequence number.
        sequence: u64,
    },
    /// An empty block that is nobody's.
    NobodysBlock {
        /// The block.
        cidr: IpNet,
        /// Its sequence number.
        sequence: u64,
    },
    /// A claim half made, or whose block is not the claimant's.
    Claim {
        /// Whose: the affinity text.
        claimant: String,
        /// The block.
        cidr: IpNet,
    },
    /// What a node that is gone has: its tunnels' addresses and its claims.
    Node(String),
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Garbage::Addresses {
                handle,
                requests,
                node_gone,
                ..
            } => {
                let addresses: Vec<String> =
                    requests.iter().map(|r| r.address.to_string()).collect();
                let handle = handle.as_deref().unwrap_or("<none>");
                let why = match node_gone {
                    true => "its node is gone",
                    false => "no workload has it",
                };
                write!(f, "{} of handle {handle}: {why}", addresses.join(", "))
            }
            Garbage::Handle(id) => write!(f, "handle {id}: it has no address"),
            Garbage::EmptyBlock { claimant, cidr, .. } => {
                write!(
                    f,
                    "block {cidr} of {claimant}: it is empty, and not the only one"
                )
            }
            Garbage::NobodysBlock { cidr, .. } => {
                write!(f, "block {cidr}: it is empty and nobody's")
            }
            Garbage::Claim { claimant, cidr } => {
                write!(f, "claim of {claimant} on {cidr}: it was never finished")
            }
            Garbage::Node(name) => write!(f, "blocks of node {name}: the node is gone"),
        }
    }
}

/// One allocation of one address: an address given anew is another.
type Identity = (IpAddr, Option<u64>, Option<String>);

/// What was seen in earlier looks.
#[derive(Clone, Debug)]
pub struct Collector {
    grace: u64,
    by_timestamp: bool,
    unused_since: BTreeMap<Identity, u64>,
    idle_handles: BTreeMap<(String, u64), u64>,
    empty_blocks: BTreeMap<IpNet, u64>,
    odd_claims: BTreeSet<(String, IpNet, u64)>,
}

impl Collector {
    /// A collector that waits this long, nanoseconds, from when it first saw an address unused.
    pub fn new(grace: u64) -> Collector {
        Collector {
            grace,
            by_timestamp: false,
            unused_since: BTreeMap::new(),
            idle_handles: BTreeMap::new(),
            empty_blocks: BTreeMap::new(),
            odd_claims: BTreeSet::new(),
        }
    }

    /// One for a command that looks once or twice: an unused address has waited since it was given, where it says when.
    /// Whoever was given an address writes his endpoint within seconds, so that the age is as good as the waiting.
    pub fn by_timestamp(grace: u64) -> Collector {
        Collector {
            by_timestamp: true,
            ..Collector::new(grace)
        }
    }

    /// Waits this long from now on (the configuration may change).
    pub fn set_grace(&mut self, grace: u64) {
        self.grace = grace;
    }

    /// How many addresses are unused, but not for long enough.
    pub fn candidates(&self) -> usize {
        self.unused_since.len()
    }

    /// Looks at the store's state, and says what is garbage. `now` is Unix nanoseconds.
    pub fn observe(&mut self, survey: &Survey, now: u64) -> Vec<Garbage> {
        let gone = survey.gone_nodes();
        let mut garbage = self.unused_addresses(survey, now);
        garbage.extend(self.handles(survey, now));
        garbage.extend(self.blocks(survey, &gone));
        garbage.extend(self.claims(survey, &gone));
        garbage.extend(gone.into_iter().map(Garbage::Node));
        garbage
    }

    fn unused_addresses(&mut self, survey: &Survey, now: u64) -> Vec<Garbage> {
        let before = std::mem::take(&mut self.unused_since);
        let mut garbage = Vec::new();
        for owner in unused(survey) {
            let mut due = true;
            for (allocation, standing) in &owner.allocations {
                let identity = identity(allocation);
                let since = before
                    .get(&identity)
                    .copied()
                    .unwrap_or_else(|| self.first_seen(allocation, now));
                let gone = *standing == Standing::NodeGone;
                due &= gone || now.saturating_sub(since) >= self.grace;
                self.unused_since.insert(identity, since);
            }
            if due {
                garbage.push(owner.garbage());
            }
        }
        garbage
    }

    fn first_seen(&self, allocation: &Allocation, now: u64) -> u64 {
        let given = allocation
            .attribute("timestamp")
            .filter(|_| self.by_timestamp)
            .and_then(time::from_go_string);
        given.unwrap_or(now).min(now)
    }

    fn handles(&mut self, survey: &Survey, now: u64) -> Vec<Garbage> {
        let before = std::mem::take(&mut self.idle_handles);
        let allocations = survey.allocations();
        let known: BTreeSet<&str> = allocations.iter().filter_map(Allocation::handle).collect();
        let mut garbage = Vec::new();
        for (id, (_, revision)) in &survey.handles {
            if known.contains(block::plain_handle(id)) {
                continue;
            }
            let key = (id.clone(), *revision);
            let since = before.get(&key).copied().unwrap_or(now);
            if before.contains_key(&key) && now.saturating_sub(since) >= self.grace {
                garbage.push(Garbage::Handle(id.clone()));
            }
            self.idle_handles.insert(key, since);
        }
        garbage
    }

    /// Blocks that were as empty when last looked at. Of each family a node keeps one.
    fn blocks(&mut self, survey: &Survey, gone: &BTreeSet<String>) -> Vec<Garbage> {
        let before = std::mem::take(&mut self.empty_blocks);
        let mut left: BTreeMap<(&str, Family), usize> = BTreeMap::new();
        for block in &survey.blocks {
            if let Some(affinity) = &block.affinity {
                *left.entry((affinity, Family::of(&block.cidr))).or_default() += 1;
            }
        }
        let mut garbage = Vec::new();
        for block in survey.blocks.iter().filter(|b| block::is_empty(b)) {
            let (cidr, sequence) = (block.cidr, block.sequence_number);
            self.empty_blocks.insert(cidr, sequence);
            let due = before.get(&cidr) == Some(&sequence);
            match (&block.affinity, block::claimant(block)) {
                (None, _) if due => garbage.push(Garbage::NobodysBlock { cidr, sequence }),
                (Some(affinity), Some(Claimant::Host(node))) if due && !gone.contains(node) => {
                    let left = left.entry((affinity, Family::of(&cidr))).or_default();
                    if *left > 1 {
                        *left -= 1;
                        garbage.push(Garbage::EmptyBlock {
                            claimant: affinity.clone(),
                            cidr,
                            sequence,
                        });
                    }
                }
                // The load balancer's go with its pool.
                (None | Some(_), _) => {}
            }
        }
        garbage
    }

    fn claims(&mut self, survey: &Survey, gone: &BTreeSet<String>) -> Vec<Garbage> {
        let before = std::mem::take(&mut self.odd_claims);
        let owners: BTreeMap<IpNet, Option<&str>> = survey
            .blocks
            .iter()
            .map(|b| (b.cidr, b.affinity.as_deref()))
            .collect();
        let mut garbage = Vec::new();
        for claim in &survey.claims {
            let owner = owners.get(&claim.cidr).copied().flatten();
            let stands = owner == Some(claim.claimant.as_str());
            let of_gone = matches!(Claimant::from_affinity(&claim.claimant), Some(Claimant::Host(n)) if gone.contains(n));
            if of_gone || claim.state == AffinityState::Confirmed && stands {
                continue;
            }
            let key = (claim.claimant.clone(), claim.cidr, claim.revision);
            if before.contains(&key) {
                garbage.push(Garbage::Claim {
                    claimant: claim.claimant.clone(),
                    cidr: claim.cidr,
                });
            }
            self.odd_claims.insert(key);
        }
        garbage
    }
}

fn identity(allocation: &Allocation) -> Identity {
    let handle = allocation.handle().map(String::from);
    (allocation.address, allocation.sequence, handle)
}

/// An owner of whom no address is used.
struct Unused {
    handle: Option<String>,
    allocations: Vec<(Allocation, Standing)>,
}

/// The owners of whom no address is used, with all their addresses.
fn unused(survey: &Survey) -> Vec<Unused> {
    let users = survey.users();
    let mut used: BTreeSet<String> = BTreeSet::new();
    let mut owners: Vec<Unused> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for allocation in survey.allocations() {
        let standing = users.standing(&allocation);
        let handle = allocation.handle().map(String::from);
        match (standing, handle) {
            (Standing::Used | Standing::Unknown, handle) => used.extend(handle),
            (Standing::Unused | Standing::NodeGone, handle) => {
                // Addresses without a handle have nothing in common.
                let place = match &handle {
                    Some(id) => *places.entry(id.clone()).or_insert(owners.len()),
                    None => owners.len(),
                };
                if place == owners.len() {
                    owners.push(Unused {
                        handle,
                        allocations: Vec::new(),
                    });
                }
                owners[place].allocations.push((allocation, standing));
            }
        }
    }
    owners.retain(|owner| owner.handle.as_ref().is_none_or(|h| !used.contains(h)));
    owners
}

impl Unused {
    fn garbage(self) -> Garbage {
        let request = |(allocation, _): &(Allocation, Standing)| ReleaseRequest {
            address: allocation.address,
            handle: allocation.owner.handle_id.clone(),
            sequence: allocation.sequence,
        };
        let allocations = &self.allocations;
        let node = allocations.first().and_then(|(a, _)| a.attribute("node"));
        Garbage::Addresses {
            node: node.map(String::from),
            requests: allocations.iter().map(request).collect(),
            node_gone: allocations.iter().all(|(_, s)| *s == Standing::NodeGone),
            handle: self.handle,
        }
    }
}

/// What a later look still finds so. Handles, blocks and claims compare what they change.
fn still(garbage: Vec<Garbage>, survey: &Survey) -> Vec<Garbage> {
    let unused: BTreeSet<Identity> = unused(survey)
        .iter()
        .flat_map(|owner| owner.allocations.iter().map(|(a, _)| identity(a)))
        .collect();
    let gone = survey.gone_nodes();
    let stands = |one: &Garbage| match one {
        Garbage::Addresses {
            handle, requests, ..
        } => requests
            .iter()
            .all(|r| unused.contains(&(r.address, r.sequence, handle.clone()))),
        Garbage::Node(name) => gone.contains(name),
        Garbage::Handle(_)
        | Garbage::EmptyBlock { .. }
        | Garbage::NobodysBlock { .. }
        | Garbage::Claim { .. } => true,
    };
    garbage.into_iter().filter(stands).collect()
}

impl<S: Store> Ipam<'_, S> {
    /// How long an address may be unused, nanoseconds: KubeControllersConfiguration's `leakGracePeriod`, or [`GRACE_NS`]; `None` where
    /// that is 0, which turns collecting off (Calico).
    ///
    /// # Errors
    /// The store's; [`StoreError::Malformed`] for a configuration that is none, or a period that is no duration.
    pub async fn grace(&self) -> StoreResult<Option<u64>> {
        let key = Key::cluster(Kind::KubeControllersConfiguration, "default");
        let Some(entry) = self.store.get(&key).await? else {
            return Ok(Some(GRACE_NS));
        };
        let configuration = KubeControllersConfiguration::from_entry(&entry)?;
        let node = configuration.spec.controllers.node;
        let Some(text) = node.and_then(|node| node.leak_grace_period) else {
            return Ok(Some(GRACE_NS));
        };
        let period = parse_go_duration(&text).map_err(|reason| StoreError::Malformed {
            key,
            reason: reason.to_string(),
        })?;
        let nanos = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX);
        Ok((nanos > 0).then_some(nanos))
    }

    /// One look: what is garbage by now is looked at once more, and cleared away. What was cleared is returned.
    ///
    /// # Errors
    /// The store's; [`Refusal::ConflictLimit`]. What was cleared before stays so; the next look goes on.
    pub async fn collect(&self, collector: &mut Collector, now: u64) -> IpamResult<Vec<Garbage>> {
        let garbage = self.garbage(collector, now).await?;
        let mut cleared = Vec::new();
        for one in garbage {
            if self.clear(&one).await? {
                cleared.push(one);
            }
        }
        Ok(cleared)
    }

    /// The same without clearing anything: what [`Ipam::collect`] would clear.
    ///
    /// # Errors
    /// The store's.
    pub async fn garbage(&self, collector: &mut Collector, now: u64) -> IpamResult<Vec<Garbage>> {
        let garbage = collector.observe(&self.survey().await?, now);
        if garbage.is_empty() {
            return Ok(garbage);
        }
        Ok(still(garbage, &self.survey().await?))
    }

    /// Clears one piece away; false when it was in use after all.
    async fn clear(&self, garbage: &Garbage) -> IpamResult<bool> {
        match garbage {
            Garbage::Addresses { requests, .. } => match self.release_ips(requests).await {
                Ok(outcome) => Ok(!outcome.released.is_empty()),
                Err(IpamError::Refused(
                    Refusal::HandleMismatch(_) | Refusal::SequenceMismatch(_),
                )) => Ok(false),
                Err(error) => Err(error),
            },
            Garbage::Handle(id) => self.release_by_handle(id).await.map(|_| true),
            Garbage::EmptyBlock {
                claimant,
                cidr,
                sequence,
            } => {
                let release = Release::IfEmptyAt(*sequence);
                self.release_claim(claimant, *cidr, release).await
            }
            Garbage::Claim { claimant, cidr } => {
                self.release_claim(claimant, *cidr, Release::IfEmpty).await
            }
            Garbage::NobodysBlock { cidr, sequence } => match self.block(*cidr).await? {
                Some(Stored { value, revision })
                    if value.affinity.is_none()
                        && value.sequence_number == *sequence
                        && block::is_empty(&value) =>
                {
                    let deleted = self.delete_block(*cidr, revision).await;
                    Ok(unless_lost(deleted)?.is_some())
                }
                Some(_) | None => Ok(false),
            },
            Garbage::Node(name) => self.release_host(name).await.map(|()| true),
        }
    }

    async fn release_claim(
        &self,
        affinity: &str,
        cidr: IpNet,
        release: Release,
    ) -> IpamResult<bool> {
        match Claimant::from_affinity(affinity) {
            Some(claimant) => {
                let outcome = self.release_affinity(claimant, cidr, release).await?;
                Ok(outcome == Outcome::Gone)
            }
            None => Ok(false),
        }
    }
}
