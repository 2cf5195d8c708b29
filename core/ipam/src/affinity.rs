//! Claims on blocks, of hosts and of the load balancer.
//!
//! ```text
//!                 create                 block is ours              give up
//!   (nothing) ------------> pending ------------------> confirmed ------------> pendingDeletion ---> (nothing)
//!                              ^                                                      |
//!                              +------------- claimed again before it was gone -------+
//! ```
//!
//! The block says whose it is; an affinity is confirmed only while its block says the same, and only a confirmed one may
//! be acted on (routes). Whoever finds a claim half made finishes it: affinity to pending, block rewritten (so that
//! anybody who read it before loses its compare-and-swap), affinity to confirmed. Source: Calico's two-phase protocol.

use ipnet::IpNet;
use resource::kinds::{AffinityState, Block};
use resource::{KeyPrefix, Store, StoreResult};

use crate::claimant::Claimant;
use crate::records::{RETRIES, Stored, unless_lost};
use crate::refusal::IpamResult;
use crate::{Ipam, Refusal, block};

/// What became of a claim.
#[derive(Debug)]
pub enum Claim {
    /// The block is the host's, confirmed.
    Ours(Stored<Block>),
    /// Somebody else has it, or nobody; our affinity is gone.
    NotOurs,
}

/// How a block is to be made where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Born {
    /// Unix nanoseconds.
    pub now: u64,
    /// Whether its first and last addresses are Windows'.
    pub windows: bool,
}

impl Born {
    /// A block without reserve.
    pub fn at(now: u64) -> Born {
        Born {
            now,
            windows: false,
        }
    }

    fn block(self, cidr: IpNet, claimant: Claimant<'_>) -> Block {
        let mut block = block::new(cidr, claimant, self.now);
        if self.windows {
            block::reserve_for_windows(&mut block);
        }
        block
    }
}

/// What to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The block whatever is in it; one with addresses stays, nobody's.
    Any,
    /// The block only while it is empty.
    IfEmpty,
    /// The block only while it is empty and has this sequence number.
    IfEmptyAt(u64),
}

impl Release {
    fn keeps(self, block: &Block) -> bool {
        match self {
            Release::Any => false,
            Release::IfEmpty => !block::is_empty(block),
            Release::IfEmptyAt(sequence) => {
                !block::is_empty(block) || block.sequence_number != sequence
            }
        }
    }
}

/// What became of an affinity to be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Gone, or was not there.
    Gone,
    /// Kept: the block was in use, or had changed.
    Kept,
}

impl<S: Store> Ipam<'_, S> {
    /// Claims a block for a host, or finishes or repairs a claim that was begun.
    ///
    /// # Errors
    /// [`Refusal::ConflictLimit`]; the store's.
    pub(crate) async fn claim(
        &self,
        claimant: Claimant<'_>,
        cidr: IpNet,
        born: Born,
    ) -> IpamResult<Claim> {
        for _ in 0..RETRIES {
            if let Some(claim) = self.try_claim(claimant, cidr, born).await? {
                return Ok(claim);
            }
        }
        Err(Refusal::ConflictLimit.into())
    }

    /// One round of a claim; `None` when somebody was faster.
    async fn try_claim(
        &self,
        claimant: Claimant<'_>,
        cidr: IpNet,
        born: Born,
    ) -> IpamResult<Option<Claim>> {
        let Some(affinity) = self.open_affinity(claimant, cidr).await? else {
            return Ok(None);
        };
        let confirmed = affinity.value == AffinityState::Confirmed;
        match self.block(cidr).await? {
            // A block that others have, or nobody: the claim is lost or stale.
            Some(stored) if !block::is_of(&stored.value, claimant) => {
                let deleted = self
                    .delete_affinity(claimant, cidr, affinity.revision)
                    .await;
                Ok(unless_lost(deleted)?.map(|()| Claim::NotOurs))
            }
            Some(stored) if confirmed => Ok(Some(Claim::Ours(stored))),
            Some(stored) => {
                let rewritten = self.update_block(stored.value, stored.revision).await;
                self.confirm(claimant, cidr, affinity.revision, unless_lost(rewritten)?)
                    .await
            }
            None => {
                // Written again while the block is not there, so that a release in between makes this fail. A confirmed
                // affinity without a block (a damaged store) becomes pending here.
                let pending = AffinityState::Pending;
                let written = self
                    .update_affinity(claimant, cidr, pending, affinity.revision)
                    .await;
                let Some(revision) = unless_lost(written)? else {
                    return Ok(None);
                };
                let created = self.create_block(born.block(cidr, claimant)).await;
                self.confirm(claimant, cidr, revision, unless_lost(created)?)
                    .await
            }
        }
    }

    /// The affinity, made if absent, and brought to pending unless it is confirmed.
    async fn open_affinity(
        &self,
        claimant: Claimant<'_>,
        cidr: IpNet,
    ) -> IpamResult<Option<Stored<AffinityState>>> {
        let pending = AffinityState::Pending;
        let opened = match self.affinity(claimant, cidr).await? {
            Some(found) if found.value == AffinityState::Confirmed => return Ok(Some(found)),
            Some(found) => {
                self.update_affinity(claimant, cidr, pending, found.revision)
                    .await
            }
            None => self.create_affinity(claimant, cidr).await,
        };
        Ok(unless_lost(opened)?.map(|revision| Stored {
            value: pending,
            revision,
        }))
    }

    /// Confirms the affinity that was pending at `revision`, once the block is written.
    async fn confirm(
        &self,
        claimant: Claimant<'_>,
        cidr: IpNet,
        revision: u64,
        written: Option<Stored<Block>>,
    ) -> IpamResult<Option<Claim>> {
        let Some(stored) = written else {
            return Ok(None);
        };
        let confirmed = self
            .update_affinity(claimant, cidr, AffinityState::Confirmed, revision)
            .await;
        Ok(unless_lost(confirmed)?.map(|_| Claim::Ours(stored)))
    }

    /// Claims a block for a host before any address is asked for; true when the host has it afterwards.
    ///
    /// # Errors
    /// [`Refusal::ConflictLimit`]; the store's.
    pub async fn claim_block(
        &self,
        claimant: impl Into<Claimant<'_>>,
        cidr: IpNet,
        now: u64,
    ) -> IpamResult<bool> {
        match self.claim(claimant.into(), cidr, Born::at(now)).await? {
            Claim::Ours(_) => Ok(true),
            Claim::NotOurs => Ok(false),
        }
    }

    /// Gives up a host's claim on a block. An empty block goes; one with addresses stays, nobody's.
    ///
    /// # Errors
    /// [`Refusal::ConflictLimit`]; the store's.
    pub async fn release_affinity(
        &self,
        claimant: impl Into<Claimant<'_>>,
        cidr: IpNet,
        release: Release,
    ) -> IpamResult<Outcome> {
        let claimant = claimant.into();
        for _ in 0..RETRIES {
            if let Some(outcome) = self.try_release(claimant, cidr, release).await? {
                return Ok(outcome);
            }
        }
        Err(Refusal::ConflictLimit.into())
    }

    async fn try_release(
        &self,
        claimant: Claimant<'_>,
        cidr: IpNet,
        release: Release,
    ) -> IpamResult<Option<Outcome>> {
        let Some(affinity) = self.affinity(claimant, cidr).await? else {
            return self.give_up_unclaimed(claimant, cidr, release).await;
        };
        let ours = self
            .block(cidr)
            .await?
            .filter(|b| block::is_of(&b.value, claimant));
        let Some(stored) = ours else {
            let deleted = self
                .delete_affinity(claimant, cidr, affinity.revision)
                .await;
            return Ok(unless_lost(deleted)?.map(|()| Outcome::Gone));
        };
        if release.keeps(&stored.value) {
            // A release that began on an empty block and lost it to an allocation has left the affinity half given up; a
            // claim that was killed has left it half made.
            if affinity.value != AffinityState::Confirmed {
                let born = Born::at(stored.value.sequence_number);
                self.try_claim(claimant, cidr, born).await?;
            }
            return Ok(Some(Outcome::Kept));
        }
        let leaving = AffinityState::PendingDeletion;
        let written = self
            .update_affinity(claimant, cidr, leaving, affinity.revision)
            .await;
        let Some(revision) = unless_lost(written)? else {
            return Ok(None);
        };
        if unless_lost(self.disown(stored).await)?.is_none() {
            return Ok(None);
        }
        let deleted = self.delete_affinity(claimant, cidr, revision).await;
        Ok(unless_lost(deleted)?.map(|()| Outcome::Gone))
    }

    /// An empty block goes; one with addresses becomes nobody's.
    async fn disown(&self, stored: Stored<Block>) -> StoreResult<()> {
        let Stored {
            mut value,
            revision,
        } = stored;
        value.affinity = None;
        value.affinity_claim_time = None;
        self.update_or_delete_block(value, revision).await
    }

    /// A block that names somebody who has no affinity to it: no claim or release leaves that, a damaged store may.
    async fn give_up_unclaimed(
        &self,
        claimant: Claimant<'_>,
        cidr: IpNet,
        release: Release,
    ) -> IpamResult<Option<Outcome>> {
        let stored = self.block(cidr).await?;
        match stored.filter(|b| block::is_of(&b.value, claimant)) {
            Some(stored) if !release.keeps(&stored.value) => {
                let disowned = self.disown(stored).await;
                Ok(unless_lost(disowned)?.map(|()| Outcome::Gone))
            }
            Some(_) => Ok(Some(Outcome::Kept)),
            None => Ok(Some(Outcome::Gone)),
        }
    }

    /// Gives up all claims of a host.
    ///
    /// # Errors
    /// [`Refusal::ConflictLimit`]; the store's.
    pub async fn release_host_affinities(&self, host: &str) -> IpamResult<()> {
        let claimant = Claimant::Host(host);
        for (cidr, _) in self.affinities(claimant).await? {
            self.release_affinity(claimant, cidr, Release::Any).await?;
        }
        Ok(())
    }

    /// Gives up everybody's claims inside a pool, as the deletion of an IPPool does once the pool is disabled.
    ///
    /// # Errors
    /// [`Refusal::ConflictLimit`]; the store's.
    pub async fn release_pool_affinities(&self, pool: IpNet) -> IpamResult<()> {
        let listing = self.store.list(&KeyPrefix::BlockAffinities).await?;
        for entry in listing.entries {
            if let Some((claimant, cidr)) = Claimant::of_key(&entry.key)
                && pool.contains(&cidr)
            {
                self.release_affinity(claimant, cidr, Release::Any).await?;
            }
        }
        Ok(())
    }
}
