//! A host's claims on blocks.
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
use resource::{Key, KeyPrefix, Store};

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
    pub(crate) async fn claim(&self, host: &str, cidr: IpNet, now: u64) -> IpamResult<Claim> {
        for _ in 0..RETRIES {
            if let Some(claim) = self.try_claim(host, cidr, now).await? {
                return Ok(claim);
            }
        }
        Err(Refusal::ConflictLimit.into())
    }

    /// One round of a claim; `None` when somebody was faster.
    async fn try_claim(&self, host: &str, cidr: IpNet, now: u64) -> IpamResult<Option<Claim>> {
        let Some(affinity) = self.open_affinity(host, cidr).await? else {
            return Ok(None);
        };
        let confirmed = affinity.value == AffinityState::Confirmed;
        match self.block(cidr).await? {
            // A block that others have, or nobody: the claim is lost or stale.
            Some(stored) if !block::is_of(&stored.value, host) => {
                let deleted = self.delete_affinity(host, cidr, affinity.revision).await;
                Ok(unless_lost(deleted)?.map(|()| Claim::NotOurs))
            }
            Some(stored) if confirmed => Ok(Some(Claim::Ours(stored))),
            Some(stored) => {
                let rewritten = self.update_block(stored.value, stored.revision).await;
                self.confirm(host, cidr, affinity.revision, unless_lost(rewritten)?)
                    .await
            }
            None => {
                // Written again while the block is not there, so that a release in between makes this fail. A confirmed
                // affinity without a block (a damaged store) becomes pending here.
                let pending = AffinityState::Pending;
                let written = self
                    .update_affinity(host, cidr, pending, affinity.revision)
                    .await;
                let Some(revision) = unless_lost(written)? else {
                    return Ok(None);
                };
                let created = self.create_block(block::new(cidr, host, now)).await;
                self.confirm(host, cidr, revision, unless_lost(created)?)
                    .await
            }
        }
    }

    /// The affinity, made if absent, and brought to pending unless it is confirmed.
    async fn open_affinity(
        &self,
        host: &str,
        cidr: IpNet,
    ) -> IpamResult<Option<Stored<AffinityState>>> {
        let pending = AffinityState::Pending;
        let opened = match self.affinity(host, cidr).await? {
            Some(found) if found.value == AffinityState::Confirmed => return Ok(Some(found)),
            Some(found) => {
                self.update_affinity(host, cidr, pending, found.revision)
                    .await
            }
            None => self.create_affinity(host, cidr).await,
        };
        Ok(unless_lost(opened)?.map(|revision| Stored {
            value: pending,
            revision,
        }))
    }

    /// Confirms the affinity that was pending at `revision`, once the block is written.
    async fn confirm(
        &self,
        host: &str,
        cidr: IpNet,
        revision: u64,
        written: Option<Stored<Block>>,
    ) -> IpamResult<Option<Claim>> {
        let Some(stored) = written else {
            return Ok(None);
        };
        let confirmed = self
            .update_affinity(host, cidr, AffinityState::Confirmed, revision)
            .await;
        Ok(unless_lost(confirmed)?.map(|_| Claim::Ours(stored)))
    }

    /// Claims a block for a host before any address is asked for; true when the host has it afterwards.
    ///
    /// # Errors
    /// [`Refusal::ConflictLimit`]; the store's.
    pub async fn claim_block(&self, host: &str, cidr: IpNet, now: u64) -> IpamResult<bool> {
        match self.claim(host, cidr, now).await? {
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
        host: &str,
        cidr: IpNet,
        release: Release,
    ) -> IpamResult<Outcome> {
        for _ in 0..RETRIES {
            if let Some(outcome) = self.try_release(host, cidr, release).await? {
                return Ok(outcome);
            }
        }
        Err(Refusal::ConflictLimit.into())
    }

    async fn try_release(
        &self,
        host: &str,
        cidr: IpNet,
        release: Release,
    ) -> IpamResult<Option<Outcome>> {
        let Some(affinity) = self.affinity(host, cidr).await? else {
            return Ok(Some(Outcome::Gone));
        };
        let ours = self
            .block(cidr)
            .await?
            .filter(|b| block::is_of(&b.value, host));
        let Some(stored) = ours else {
            let deleted = self.delete_affinity(host, cidr, affinity.revision).await;
            return Ok(unless_lost(deleted)?.map(|()| Outcome::Gone));
        };
        let keep = match release {
            Release::Any => false,
            Release::IfEmpty => !block::is_empty(&stored.value),
            Release::IfEmptyAt(sequence) => {
                !block::is_empty(&stored.value) || stored.value.sequence_number != sequence
            }
        };
        if keep {
            // A release that began on an empty block and lost it to an allocation has left the affinity half given up.
            if affinity.value == AffinityState::PendingDeletion {
                self.try_claim(host, cidr, stored.value.sequence_number)
                    .await?;
            }
            return Ok(Some(Outcome::Kept));
        }
        let leaving = AffinityState::PendingDeletion;
        let written = self
            .update_affinity(host, cidr, leaving, affinity.revision)
            .await;
        let Some(revision) = unless_lost(written)? else {
            return Ok(None);
        };
        let given_up = if block::is_empty(&stored.value) {
            self.delete_block(cidr, stored.revision).await
        } else {
            let mut value = stored.value;
            value.affinity = None;
            value.affinity_claim_time = None;
            self.update_block(value, stored.revision).await.map(drop)
        };
        if unless_lost(given_up)?.is_none() {
            return Ok(None);
        }
        let deleted = self.delete_affinity(host, cidr, revision).await;
        Ok(unless_lost(deleted)?.map(|()| Outcome::Gone))
    }

    /// Gives up all claims of a host.
    ///
    /// # Errors
    /// [`Refusal::ConflictLimit`]; the store's.
    pub async fn release_host_affinities(&self, host: &str) -> IpamResult<()> {
        for (cidr, _) in self.affinities(host).await? {
            self.release_affinity(host, cidr, Release::Any).await?;
        }
        Ok(())
    }

    /// Gives up every host's claims inside a pool, as the deletion of an IPPool does once the pool is disabled.
    ///
    /// # Errors
    /// [`Refusal::ConflictLimit`]; the store's.
    pub async fn release_pool_affinities(&self, pool: IpNet) -> IpamResult<()> {
        let listing = self.store.list(&KeyPrefix::BlockAffinities).await?;
        for entry in listing.entries {
            if let Key::BlockAffinity { host, cidr } = entry.key
                && pool.contains(&cidr)
            {
                self.release_affinity(&host, cidr, Release::Any).await?;
            }
        }
        Ok(())
    }
}
