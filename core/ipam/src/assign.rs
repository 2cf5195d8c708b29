//! Giving addresses out.

use std::net::IpAddr;

use ipnet::IpNet;
use resource::Store;
use resource::kinds::{AffinityState, Block};

use crate::affinity::{Born, Claim, Outcome, Release};
use crate::block::{self, Owner};
use crate::claimant::Claimant;
use crate::config::Config;
use crate::pools::{Pool, PoolChoice, Use};
use crate::records::{RETRIES, Stored, unless_lost};
use crate::refusal::IpamResult;
use crate::walk::Walk;
use crate::{Family, Ipam, Refusal, time};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// How many addresses.
    pub count: usize,
    /// Of which family.
    pub family: Family,
    /// For whom.
    pub owner: &'a Owner,
    /// On which node; for [`Use::LoadBalancer`] the name under which blocks are claimed, [`crate::LOAD_BALANCER`].
    pub host: &'a str,
    /// From which pools.
    pub pools: PoolChoice<'a>,
    /// For what.
    pub intended: Use,
    /// A lower limit on the node's blocks than the configuration's.
    pub max_blocks: Option<u32>,
    /// Whether the node is Windows, which keeps four addresses of each new block for itself.
    pub windows: bool,
}

impl<'a> Request<'a> {
    fn claimant(&self) -> Claimant<'a> {
        match self.intended {
            Use::Workload | Use::Tunnel => Claimant::Host(self.host),
            Use::LoadBalancer => Claimant::Virtual(self.host),
        }
    }
}

/// One address and the block it lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The address.
    pub address: IpAddr,
    /// Its block.
    pub block: IpNet,
}

/// What was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The addresses, at most as many as were asked for.
    pub addresses: Vec<Assigned>,
    /// How many were asked for.
    pub requested: usize,
    /// Why there are not more; `None` when there are as many as were asked for.
    pub shortfall: Option<Refusal>,
    /// The family.
    pub family: Family,
}

impl Assignment {
    /// Calico's words for a shortfall: `Assigned 0 out of 1 requested IPv4 addresses; ...`.
    pub fn shortfall_text(&self) -> Option<String> {
        let refusal = self.shortfall.as_ref()?;
        if *refusal == Refusal::BlockLimit {
            return Some(refusal.to_string());
        }
        Some(format!(
            "Assigned {} out of {} requested {} addresses; {refusal}",
            self.addresses.len(),
            self.requested,
            self.family
        ))
    }
}

/// An empty block of another host may be taken over when its claim is this old (Calico: 60 s).
const RECLAIM_AFTER_NS: u64 = 60 * 1_000_000_000;

/// How many blocks of a pool are looked at: an IPv6 pool may have 2^74, all of them reserved.
const WALK_LIMIT: usize = 1 << 20;

impl<S: Store> Ipam<'_, S> {
    /// Gives out addresses: from the host's own blocks, then from a newly claimed block, then (unless affinity is
    /// strict) from anybody's.
    ///
    /// # Errors
    /// [`Refusal`] when no pool may be used or others were faster too often; the store's. Too few addresses are not an
    /// error: see [`Assignment::shortfall`].
    pub async fn auto_assign(&self, request: &Request<'_>, now: u64) -> IpamResult<Assignment> {
        let pools = self
            .pools_for(
                request.family,
                request.host,
                request.pools,
                request.intended,
            )
            .await?;
        let config = self.config().await?;
        let reserved = self.reservations().await?;
        let claimant = request.claimant();
        let affinities = self.affinities(claimant).await?;
        let mut run = Run {
            ipam: self,
            request,
            claimant,
            born: Born {
                now,
                windows: request.windows,
            },
            pools: &pools.usable,
            reserved: &reserved,
            strict: config.strict_affinity,
            given: Vec::new(),
        };
        let mut owned = 0;
        for (cidr, _) in &affinities {
            if Family::of(cidr) != request.family {
                continue;
            }
            if pools.unselected.iter().any(|p| p.cidr.contains(cidr)) {
                let release = self.release_affinity(claimant, *cidr, Release::IfEmpty);
                if release.await? == Outcome::Gone {
                    continue;
                }
            }
            owned += 1;
            if run.missing() > 0 && run.pools.iter().any(|p| p.cidr.contains(cidr)) {
                run.take_from_own(*cidr).await?;
            }
        }
        let shortfall = run.beyond_own_blocks(&config, owned).await?;
        Ok(Assignment {
            shortfall: if run.missing() == 0 { None } else { shortfall },
            addresses: run.given,
            requested: request.count,
            family: request.family,
        })
    }

    /// Gives this very address to `owner`, claiming its block for the host when nobody has it.
    ///
    /// # Errors
    /// [`Refusal::AddressNotInPool`], [`Refusal::AddressTaken`], [`Refusal::BlockOfAnother`],
    /// [`Refusal::ConflictLimit`]; the store's.
    pub async fn assign_ip(
        &self,
        address: IpAddr,
        owner: &Owner,
        claimant: impl Into<Claimant<'_>>,
        now: u64,
    ) -> IpamResult<Assigned> {
        let claimant = claimant.into();
        let family = Family::of_address(address);
        let pools = self.all_pools(family).await?;
        let enabled = pools
            .into_iter()
            .filter(|(object, _)| !object.spec.disabled);
        let pool = enabled
            .map(|(_, pool)| pool)
            .find(|p| p.cidr.contains(&address));
        let pool = pool.ok_or(Refusal::AddressNotInPool)?;
        let cidr = block::containing(address, pool.block_size).ok_or(Refusal::AddressNotInPool)?;
        let strict = self.config().await?.strict_affinity;
        for _ in 0..RETRIES {
            let stored = match self.block(cidr).await? {
                Some(stored) => stored,
                None => match self.claim(claimant, cidr, Born::at(now)).await? {
                    Claim::Ours(stored) => stored,
                    Claim::NotOurs => continue,
                },
            };
            if strict && !block::is_of(&stored.value, claimant) {
                return Err(Refusal::BlockOfAnother(cidr).into());
            }
            let mut value = stored.value;
            if !block::assign_address(&mut value, address, owner) {
                return Err(Refusal::AddressTaken(address).into());
            }
            if self
                .write_assigned(value, stored.revision, owner, 1)
                .await?
            {
                return Ok(Assigned {
                    address,
                    block: cidr,
                });
            }
        }
        Err(Refusal::ConflictLimit.into())
    }

    /// Writes a block in which `count` addresses were given to `owner`: first the handle, then the block, and the handle
    /// back when the block could not be written. False for a lost race.
    async fn write_assigned(
        &self,
        value: Block,
        revision: u64,
        owner: &Owner,
        count: usize,
    ) -> IpamResult<bool> {
        let cidr = value.cidr;
        let count = u32::try_from(count).expect("a block has at most 4096 addresses");
        if let Some(handle) = &owner.handle {
            self.increment_handle(handle, cidr, count).await?;
        }
        // After any error but a lost race the block may have been written all the same: the handle then stays too high,
        // which a release mends; too low would lose the address.
        let written = unless_lost(self.update_block(value, revision).await)?.is_some();
        if !written && let Some(handle) = &owner.handle {
            self.decrement_handle(handle, cidr, count).await?;
        }
        Ok(written)
    }
}

/// One request on its way.
struct Run<'a, S> {
    ipam: &'a Ipam<'a, S>,
    request: &'a Request<'a>,
    claimant: Claimant<'a>,
    born: Born,
    pools: &'a [Pool],
    /// What nobody gets by chance.
    reserved: &'a [IpNet],
    strict: bool,
    given: Vec<Assigned>,
}

impl<S: Store> Run<'_, S> {
    fn missing(&self) -> usize {
        self.request.count - self.given.len()
    }

    /// Takes what is missing from a block that the host has an affinity to, repairing the claim where it is half made.
    async fn take_from_own(&mut self, cidr: IpNet) -> IpamResult<()> {
        for _ in 0..RETRIES {
            // What was given up half-way and whose block has gone is finished, not claimed again.
            if let Some(affinity) = self.ipam.affinity(self.claimant, cidr).await? {
                let leaving = affinity.value == AffinityState::PendingDeletion;
                if leaving && self.ipam.block(cidr).await?.is_none() {
                    let deleted = self
                        .ipam
                        .delete_affinity(self.claimant, cidr, affinity.revision)
                        .await;
                    unless_lost(deleted)?;
                    return Ok(());
                }
            } else {
                return Ok(());
            }
            let Claim::Ours(stored) = self.ipam.claim(self.claimant, cidr, self.born).await? else {
                return Ok(());
            };
            if self.take(stored).await? {
                return Ok(());
            }
        }
        Err(Refusal::ConflictLimit.into())
    }

    /// Takes up to what is missing from a block as it was read; false for a lost race.
    async fn take(&mut self, stored: Stored<Block>) -> IpamResult<bool> {
        let cidr = stored.value.cidr;
        let mut value = stored.value;
        let owner = self.request.owner;
        let taken = block::assign_next(&mut value, self.missing(), owner, self.reserved);
        if taken.is_empty() {
            return Ok(true);
        }
        if !self
            .ipam
            .write_assigned(value, stored.revision, owner, taken.len())
            .await?
        {
            return Ok(false);
        }
        self.given.extend(taken.into_iter().map(|address| Assigned {
            address,
            block: cidr,
        }));
        Ok(true)
    }

    /// New blocks, then borrowed addresses; why there are not enough, where there are not.
    async fn beyond_own_blocks(
        &mut self,
        config: &Config,
        mut owned: u32,
    ) -> IpamResult<Option<Refusal>> {
        let limit = config.block_limit(self.request.max_blocks);
        let mut conflicts = 0;
        while self.missing() > 0 && config.auto_allocate_blocks {
            if owned >= limit {
                return Ok(Some(Refusal::BlockLimit));
            }
            let Some(cidr) = self.unclaimed_block().await? else {
                break;
            };
            match self.ipam.claim(self.claimant, cidr, self.born).await? {
                Claim::Ours(stored) => {
                    if !self.take(stored).await? {
                        self.take_from_own(cidr).await?;
                    }
                    owned += 1;
                }
                Claim::NotOurs => {
                    conflicts += 1;
                    if conflicts == RETRIES {
                        return Err(Refusal::ConflictLimit.into());
                    }
                }
            }
        }
        if self.missing() > 0 && self.strict {
            return Ok(Some(Refusal::StrictAffinity));
        }
        if self.missing() > 0 {
            self.borrow().await?;
        }
        Ok(Some(Refusal::Exhausted(
            self.pools.iter().map(|p| p.cidr).collect(),
        )))
    }

    /// The next block on the walk that nobody has, or that is ours with room; failing that, one that another host left
    /// empty.
    async fn unclaimed_block(&self) -> IpamResult<Option<IpNet>> {
        let blocks = self.ipam.blocks().await?;
        let reserved = self.reserved;
        let walks: Vec<Walk> = self.pools.iter().map(|pool| self.walk(pool)).collect();
        for walk in &walks {
            for cidr in walk.clone().take(WALK_LIMIT) {
                let usable = match blocks.get(&cidr) {
                    Some(stored) => {
                        block::is_of(&stored.value, self.claimant)
                            && block::has_room(&stored.value, reserved)
                    }
                    None => !block::is_all_reserved(&cidr, reserved),
                };
                if usable {
                    return Ok(Some(cidr));
                }
            }
        }
        for (cidr, stored) in &blocks {
            if walks.iter().all(|walk| walk.position(cidr).is_none())
                || block::is_all_reserved(cidr, reserved)
            {
                continue;
            }
            if let Some(other) = self.left_empty(&stored.value) {
                let release = Release::IfEmptyAt(stored.value.sequence_number);
                self.ipam.release_affinity(other, *cidr, release).await?;
                if self.ipam.block(*cidr).await?.is_none() {
                    return Ok(Some(*cidr));
                }
            }
        }
        Ok(None)
    }

    fn walk(&self, pool: &Pool) -> Walk {
        Walk::new(pool, self.request.host, self.born.now)
    }

    /// The other host that has this block empty, and has had it for a while.
    fn left_empty<'b>(&self, value: &'b Block) -> Option<Claimant<'b>> {
        let other = block::claimant(value)?;
        let claimed = value
            .affinity_claim_time
            .as_deref()
            .and_then(time::from_rfc3339)
            .unwrap_or(0);
        let old = self.born.now.saturating_sub(claimed) >= RECLAIM_AFTER_NS;
        (other != self.claimant && old && block::is_empty(value)).then_some(other)
    }

    /// Takes what is missing from any block of the pools, in the order of the walk.
    async fn borrow(&mut self) -> IpamResult<()> {
        let blocks = self.ipam.blocks().await?;
        for pool in self.pools {
            let walk = self.walk(pool);
            let mut order: Vec<(u128, IpNet)> = blocks
                .keys()
                .filter_map(|cidr| Some((walk.position(cidr)?, *cidr)))
                .collect();
            order.sort();
            for (_, cidr) in order {
                if self.missing() == 0 {
                    return Ok(());
                }
                self.borrow_from(cidr).await?;
            }
        }
        Ok(())
    }

    async fn borrow_from(&mut self, cidr: IpNet) -> IpamResult<()> {
        for _ in 0..RETRIES {
            let Some(stored) = self.ipam.block(cidr).await? else {
                return Ok(());
            };
            if self.take(stored).await? {
                return Ok(());
            }
        }
        Err(Refusal::ConflictLimit.into())
    }
}
