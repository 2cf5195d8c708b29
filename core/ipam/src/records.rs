//! Blocks, affinities and handles as the store has them.

use std::collections::BTreeMap;

use ipnet::IpNet;
use resource::kinds::{AffinityState, Block, BlockAffinity, Handle};
use resource::{Entry, Key, KeyPrefix, Store, StoreError, StoreResult};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::claimant::Claimant;
use crate::refusal::IpamResult;
use crate::{Ipam, Refusal};

/// A value and the revision at which it was read.
#[derive(Clone, Debug)]
pub struct Stored<T> {
    pub value: T,
    pub revision: u64,
}

/// How often a compare-and-swap is tried anew (Calico: 100).
pub const RETRIES: u32 = 100;

/// Whether somebody else was faster, so that reading again and trying anew is the answer.
pub fn lost_race(error: &StoreError) -> bool {
    match error {
        StoreError::Exists(_) | StoreError::NotFound(_) | StoreError::Conflict(_) => true,
        StoreError::Compacted { .. }
        | StoreError::Malformed { .. }
        | StoreError::Unsupported { .. }
        | StoreError::Backend(_) => false,
    }
}

/// `Ok(None)` for a lost race, so that a loop can go on.
pub fn unless_lost<T>(result: StoreResult<T>) -> StoreResult<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if lost_race(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse<T: DeserializeOwned>(entry: &Entry) -> StoreResult<T> {
    serde_json::from_str(&entry.value).map_err(|e| StoreError::Malformed {
        key: entry.key.clone(),
        reason: e.to_string(),
    })
}

fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own types have string keys and finite numbers")
}

/// The owner's name as old blocks have it.
#[derive(Deserialize)]
struct LegacyBlock {
    #[serde(rename = "hostAffinity")]
    host_affinity: Option<String>,
}

fn parse_block(entry: &Entry) -> StoreResult<Stored<Block>> {
    let mut block: Block = parse(entry)?;
    if block.affinity.is_none() && entry.value.contains("\"hostAffinity\"") {
        let legacy: LegacyBlock = parse(entry)?;
        block.affinity = legacy.host_affinity.map(|host| format!("host:{host}"));
    }
    check_block(&block).map_err(|reason| StoreError::Malformed {
        key: entry.key.clone(),
        reason,
    })?;
    Ok(Stored {
        value: block,
        revision: entry.revision,
    })
}

/// What the block functions rely on: ordinals and indexes lie inside their tables.
fn check_block(block: &Block) -> Result<(), String> {
    let size = crate::block::size(&block.cidr);
    if block.allocations.len() != size {
        return Err(format!(
            "{} allocations in a block of {size} addresses",
            block.allocations.len()
        ));
    }
    if let Some(ordinal) = block.unallocated.iter().find(|&&o| o >= size) {
        return Err(format!(
            "unallocated ordinal {ordinal} in a block of {size} addresses"
        ));
    }
    let attributes = block.attributes.len();
    match block
        .allocations
        .iter()
        .flatten()
        .find(|&&index| index >= attributes)
    {
        Some(index) => Err(format!(
            "an allocation points to attribute {index} of {attributes}"
        )),
        None => Ok(()),
    }
}

/// A handle with its blocks in the order of their text, as Calico writes it.
#[derive(Serialize)]
struct HandleText {
    block: BTreeMap<String, u32>,
    deleted: bool,
}

fn handle_text(handle: &Handle) -> String {
    text(&HandleText {
        block: handle
            .block
            .iter()
            .map(|(cidr, n)| (cidr.to_string(), *n))
            .collect(),
        deleted: handle.deleted,
    })
}

fn affinity_text(state: AffinityState) -> String {
    text(&BlockAffinity {
        state,
        deleted: false,
    })
}

impl<S: Store> Ipam<'_, S> {
    pub(crate) async fn block(&self, cidr: IpNet) -> StoreResult<Option<Stored<Block>>> {
        let Some(entry) = self.store.get(&Key::Block(cidr)).await? else {
            return Ok(None);
        };
        let stored = parse_block(&entry)?;
        if stored.value.deleted {
            return self.finish_delete(&entry).await.map(|()| None);
        }
        Ok(Some(stored))
    }

    /// Ends a delete that stopped after its first phase; one that somebody else ends, or takes back, is theirs.
    async fn finish_delete(&self, entry: &Entry) -> StoreResult<()> {
        let deleted = self.store.delete(&entry.key, Some(entry.revision)).await;
        unless_lost(deleted).map(drop)
    }

    /// Every block, in the store's order, which is that of the text of their addresses.
    ///
    /// # Errors
    /// The store's; [`StoreError::Malformed`] for a block that is none.
    pub async fn all_blocks(&self) -> StoreResult<Vec<Block>> {
        let blocks = self.listed_blocks().await?;
        Ok(blocks.into_iter().map(|b| b.value).collect())
    }

    pub(crate) async fn listed_blocks(&self) -> StoreResult<Vec<Stored<Block>>> {
        let listing = self.store.list(&KeyPrefix::Blocks).await?;
        let mut blocks = Vec::new();
        for entry in &listing.entries {
            let stored = parse_block(entry)?;
            if !stored.value.deleted {
                blocks.push(stored);
            }
        }
        Ok(blocks)
    }

    pub(crate) async fn blocks(&self) -> StoreResult<BTreeMap<IpNet, Stored<Block>>> {
        let blocks = self.listed_blocks().await?;
        Ok(blocks.into_iter().map(|b| (b.value.cidr, b)).collect())
    }

    pub(crate) async fn create_block(&self, block: Block) -> StoreResult<Stored<Block>> {
        let entry = self
            .store
            .create(&Key::Block(block.cidr), &text(&block))
            .await?;
        Ok(Stored {
            value: block,
            revision: entry.revision,
        })
    }

    /// Writes a block that was read at `revision`; its sequence number grows with each write.
    pub(crate) async fn update_block(
        &self,
        mut block: Block,
        revision: u64,
    ) -> StoreResult<Stored<Block>> {
        block.sequence_number += 1;
        let entry = self
            .store
            .update(&Key::Block(block.cidr), &text(&block), revision)
            .await?;
        Ok(Stored {
            value: block,
            revision: entry.revision,
        })
    }

    /// Writes a block from which addresses were taken; one that is nobody's and empty goes, since nobody could claim it.
    pub(crate) async fn update_or_delete_block(
        &self,
        block: Block,
        revision: u64,
    ) -> StoreResult<()> {
        if block.affinity.is_none() && crate::block::is_empty(&block) {
            return self.delete_block(block.cidr, revision).await;
        }
        self.update_block(block, revision).await.map(drop)
    }

    pub(crate) async fn delete_block(&self, cidr: IpNet, revision: u64) -> StoreResult<()> {
        self.store
            .delete(&Key::Block(cidr), Some(revision))
            .await
            .map(drop)
    }

    pub(crate) async fn affinity(
        &self,
        claimant: Claimant<'_>,
        cidr: IpNet,
    ) -> StoreResult<Option<Stored<AffinityState>>> {
        let Some(entry) = self.store.get(&claimant.key(cidr)).await? else {
            return Ok(None);
        };
        match parse_affinity(&entry)? {
            Some(stored) => Ok(Some(stored)),
            None => self.finish_delete(&entry).await.map(|()| None),
        }
    }

    /// The blocks that somebody has affinities to, in the store's order.
    pub(crate) async fn affinities(
        &self,
        claimant: Claimant<'_>,
    ) -> StoreResult<Vec<(IpNet, Stored<AffinityState>)>> {
        let listing = self.store.list(&claimant.prefix()).await?;
        let mut found = Vec::new();
        for entry in &listing.entries {
            if let Some((_, cidr)) = Claimant::of_key(&entry.key)
                && let Some(stored) = parse_affinity(entry)?
            {
                found.push((cidr, stored));
            }
        }
        Ok(found)
    }

    pub(crate) async fn create_affinity(
        &self,
        claimant: Claimant<'_>,
        cidr: IpNet,
    ) -> StoreResult<u64> {
        let value = affinity_text(AffinityState::Pending);
        Ok(self
            .store
            .create(&claimant.key(cidr), &value)
            .await?
            .revision)
    }

    pub(crate) async fn update_affinity(
        &self,
        claimant: Claimant<'_>,
        cidr: IpNet,
        state: AffinityState,
        revision: u64,
    ) -> StoreResult<u64> {
        let key = claimant.key(cidr);
        Ok(self
            .store
            .update(&key, &affinity_text(state), revision)
            .await?
            .revision)
    }

    pub(crate) async fn delete_affinity(
        &self,
        claimant: Claimant<'_>,
        cidr: IpNet,
        revision: u64,
    ) -> StoreResult<()> {
        self.store
            .delete(&claimant.key(cidr), Some(revision))
            .await
            .map(drop)
    }

    pub(crate) async fn handle(&self, id: &str) -> StoreResult<Option<Stored<Handle>>> {
        let entry = self.store.get(&Key::Handle(id.to_string())).await?;
        let Some(entry) = entry else {
            return Ok(None);
        };
        let value: Handle = parse(&entry)?;
        if value.deleted {
            return self.finish_delete(&entry).await.map(|()| None);
        }
        Ok(Some(Stored {
            value,
            revision: entry.revision,
        }))
    }

    /// Every handle that is not on its way out, by its name.
    pub(crate) async fn handles(&self) -> StoreResult<BTreeMap<String, Stored<Handle>>> {
        let listing = self.store.list(&KeyPrefix::Handles).await?;
        let mut handles = BTreeMap::new();
        for entry in &listing.entries {
            let value: Handle = parse(entry)?;
            if let Key::Handle(id) = &entry.key
                && !value.deleted
            {
                let revision = entry.revision;
                handles.insert(id.clone(), Stored { value, revision });
            }
        }
        Ok(handles)
    }

    /// Says, before the block is written, that the handle will have `count` more addresses in it.
    pub(crate) async fn increment_handle(
        &self,
        id: &str,
        cidr: IpNet,
        count: u32,
    ) -> IpamResult<()> {
        let key = Key::Handle(id.to_string());
        for _ in 0..RETRIES {
            let written = match self.handle(id).await? {
                None => {
                    let mut handle = Handle::default();
                    handle.block.insert(cidr, count);
                    self.store.create(&key, &handle_text(&handle)).await
                }
                Some(Stored {
                    mut value,
                    revision,
                }) => {
                    *value.block.entry(cidr).or_default() += count;
                    self.store
                        .update(&key, &handle_text(&value), revision)
                        .await
                }
            };
            if unless_lost(written)?.is_some() {
                return Ok(());
            }
        }
        Err(Refusal::ConflictLimit.into())
    }

    /// Says, after the block was written (or was not), that the handle has `count` fewer; an empty handle goes.
    pub(crate) async fn decrement_handle(
        &self,
        id: &str,
        cidr: IpNet,
        count: u32,
    ) -> IpamResult<()> {
        let key = Key::Handle(id.to_string());
        for _ in 0..RETRIES {
            let Some(Stored {
                mut value,
                revision,
            }) = self.handle(id).await?
            else {
                return Ok(());
            };
            let Some(had) = value.block.get_mut(&cidr) else {
                return Ok(());
            };
            *had = had.saturating_sub(count);
            if *had == 0 {
                value.block.remove(&cidr);
            }
            let written = if value.block.is_empty() {
                self.store.delete(&key, Some(revision)).await
            } else {
                self.store
                    .update(&key, &handle_text(&value), revision)
                    .await
            };
            if unless_lost(written)?.is_some() {
                return Ok(());
            }
        }
        Err(Refusal::ConflictLimit.into())
    }
}

/// An empty value is an old, confirmed affinity; `None` is one on its way out.
pub(crate) fn parse_affinity(entry: &Entry) -> StoreResult<Option<Stored<AffinityState>>> {
    let affinity: BlockAffinity = match entry.value.trim() {
        "" => BlockAffinity::default(),
        _ => parse(entry)?,
    };
    let revision = entry.revision;
    Ok((!affinity.deleted).then_some(Stored {
        value: affinity.state,
        revision,
    }))
}
