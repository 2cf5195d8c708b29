//! Taking addresses back, and asking who has them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use resource::kinds::AllocationAttribute;
use resource::{Key, Store, StoreResult};

use crate::affinity::Release;
use crate::block::{self, Released};
use crate::records::{RETRIES, Stored, unless_lost};
use crate::refusal::IpamResult;
use crate::{Ipam, Refusal};

/// An address to take back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseRequest {
    /// The address.
    pub address: IpAddr,
    /// The handle that it must have, where that is known.
    pub handle: Option<String>,
    /// The sequence number at which it must have been given out, where that is known.
    pub sequence: Option<u64>,
}

impl ReleaseRequest {
    /// The address, whoever has it.
    pub fn of(address: IpAddr) -> ReleaseRequest {
        ReleaseRequest {
            address,
            handle: None,
            sequence: None,
        }
    }
}

/// What was taken back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseOutcome {
    /// The addresses that are free now.
    pub released: Vec<IpAddr>,
    /// The addresses that nobody had.
    pub unallocated: Vec<IpAddr>,
}

impl<S: Store> Ipam<'_, S> {
    /// Takes back every address that a handle has; none is not an error.
    ///
    /// Also ends allocations that are under way or were killed half-way: a handle names a block before the block names
    /// the handle, so each named block is rewritten, even when it has nothing of the handle's, and whoever read it before
    /// loses. Only then the handle goes.
    ///
    /// # Errors
    /// [`Refusal::ConflictLimit`]; the store's.
    pub async fn release_by_handle(&self, id: &str) -> IpamResult<Vec<IpAddr>> {
        let mut released = Vec::new();
        for _ in 0..RETRIES {
            let Some(Stored { value, revision }) = self.handle(id).await? else {
                return Ok(released);
            };
            for &cidr in value.block.keys() {
                self.release_handle_in(id, cidr, &mut released).await?;
            }
            let deleted = self
                .store
                .delete(&Key::Handle(id.to_string()), Some(revision))
                .await;
            if unless_lost(deleted)?.is_some() {
                return Ok(released);
            }
        }
        Err(Refusal::ConflictLimit.into())
    }

    async fn release_handle_in(
        &self,
        id: &str,
        cidr: IpNet,
        released: &mut Vec<IpAddr>,
    ) -> IpamResult<()> {
        for _ in 0..RETRIES {
            let Some(Stored {
                mut value,
                revision,
            }) = self.block(cidr).await?
            else {
                return Ok(());
            };
            let addresses = block::addresses_of(&value, id);
            block::release(&mut value, &addresses);
            let written = self.update_or_delete_block(value, revision).await;
            if unless_lost(written)?.is_some() {
                released.extend(addresses);
                return Ok(());
            }
        }
        Err(Refusal::ConflictLimit.into())
    }

    /// Takes back these addresses. One whose handle or sequence number differs refuses the whole of its block.
    ///
    /// # Errors
    /// [`Refusal::HandleMismatch`], [`Refusal::SequenceMismatch`], [`Refusal::ConflictLimit`]; the store's.
    pub async fn release_ips(&self, requests: &[ReleaseRequest]) -> IpamResult<ReleaseOutcome> {
        let mut outcome = ReleaseOutcome::default();
        let mut by_block: BTreeMap<IpNet, Vec<&ReleaseRequest>> = BTreeMap::new();
        let blocks = self.blocks().await?;
        for request in requests {
            let found = blocks.keys().find(|cidr| cidr.contains(&request.address));
            match found {
                Some(cidr) => by_block.entry(*cidr).or_default().push(request),
                None => outcome.unallocated.push(request.address),
            }
        }
        for (cidr, requests) in by_block {
            self.release_in(cidr, &requests, &mut outcome).await?;
        }
        Ok(outcome)
    }

    async fn release_in(
        &self,
        cidr: IpNet,
        requests: &[&ReleaseRequest],
        outcome: &mut ReleaseOutcome,
    ) -> IpamResult<()> {
        for _ in 0..RETRIES {
            let Some(Stored {
                mut value,
                revision,
            }) = self.block(cidr).await?
            else {
                outcome
                    .unallocated
                    .extend(requests.iter().map(|r| r.address));
                return Ok(());
            };
            let mut wanted = Vec::new();
            let mut free = Vec::new();
            for request in requests {
                let Some(owner) = block::owner(&value, request.address) else {
                    free.push(request.address);
                    continue;
                };
                let plain = |handle: &Option<String>| {
                    handle.as_deref().map(block::plain_handle).map(String::from)
                };
                if request.handle.is_some() && plain(&request.handle) != plain(&owner.handle_id) {
                    return Err(Refusal::HandleMismatch(request.address).into());
                }
                let sequence = block::allocation_sequence(&value, request.address);
                if request.sequence.is_some() && request.sequence != sequence {
                    return Err(Refusal::SequenceMismatch(request.address).into());
                }
                wanted.push(request.address);
            }
            let released = block::release(&mut value, &wanted);
            if !released.is_empty() {
                let written = self.update_or_delete_block(value, revision).await;
                if unless_lost(written)?.is_none() {
                    continue;
                }
            }
            outcome.unallocated.extend(free);
            outcome.released.extend(released.iter().map(|r| r.address));
            return self.decrement_handles(cidr, &released).await;
        }
        Err(Refusal::ConflictLimit.into())
    }

    async fn decrement_handles(&self, cidr: IpNet, released: &[Released]) -> IpamResult<()> {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for handle in released.iter().filter_map(|r| r.handle.as_deref()) {
            *counts.entry(handle).or_default() += 1;
        }
        for (handle, count) in counts {
            self.decrement_handle(handle, cidr, count).await?;
        }
        Ok(())
    }

    /// The addresses that a handle has, ascending.
    ///
    /// # Errors
    /// The store's.
    pub async fn ips_by_handle(&self, id: &str) -> StoreResult<Vec<IpAddr>> {
        let mut found = Vec::new();
        if let Some(handle) = self.handle(id).await? {
            for &cidr in handle.value.block.keys() {
                if let Some(stored) = self.block(cidr).await? {
                    found.extend(block::addresses_of(&stored.value, id));
                }
            }
        }
        Ok(found)
    }

    /// Who has an address; `None` when nobody has.
    ///
    /// # Errors
    /// The store's.
    pub async fn owner_of(&self, address: IpAddr) -> StoreResult<Option<AllocationAttribute>> {
        let blocks = self.blocks().await?;
        let found = blocks.values().find(|b| b.value.cidr.contains(&address));
        Ok(found.and_then(|b| block::owner(&b.value, address)).cloned())
    }

    /// Gives up all that IPAM keeps for a node: its tunnels' addresses and its claims. Addresses of workloads are the
    /// caller's to release (by handle or by address), since their blocks may lie anywhere.
    ///
    /// # Errors
    /// [`Refusal::ConflictLimit`]; the store's.
    pub async fn release_host(&self, host: &str) -> IpamResult<()> {
        for kind in crate::TunnelKind::ALL {
            self.release_by_handle(&kind.handle(host)).await?;
        }
        self.release_host_affinities(host).await?;
        // A block that names the node, whose affinity was lost (a damaged store).
        for stored in self.listed_blocks().await? {
            if block::is_of(&stored.value, host) {
                self.release_affinity(host, stored.value.cidr, Release::Any)
                    .await?;
            }
        }
        Ok(())
    }
}
