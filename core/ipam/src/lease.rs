//! Who does a work that one at a time shall do.
//!
//! A lease is one value in the store: who holds it, and how often he renewed it. Whoever sees it unchanged for its whole
//! length by his own clock takes it by compare-and-swap, so clocks need not agree (as Kubernetes elects leaders). It spares
//! double work; what it guards must be safe without it, since a holder may be slow to notice that he lost it.

use resource::{Key, Store, StoreResult};
use serde::{Deserialize, Serialize};

use crate::records::unless_lost;

#[derive(Serialize, Deserialize)]
struct Text {
    holder: String,
    renewals: u64,
}

/// One candidate's view of a lease.
#[derive(Clone, Debug)]
pub struct Lease {
    key: Key,
    holder: String,
    length: u64,
    seen: Option<(u64, u64)>,
}

impl Lease {
    /// The lease of this name for this candidate; `length` is in nanoseconds, and it is renewed by asking more often.
    pub fn new(name: &str, holder: &str, length: u64) -> Lease {
        Lease {
            key: Key::Lease(name.to_string()),
            holder: holder.to_string(),
            length,
            seen: None,
        }
    }

    /// Takes or renews the lease; true when it is this candidate's. `now` is nanoseconds of any clock that does not jump.
    ///
    /// # Errors
    /// The store's.
    pub async fn hold<S: Store>(&mut self, store: &S, now: u64) -> StoreResult<bool> {
        let Some(entry) = store.get(&self.key).await? else {
            let created = store.create(&self.key, &self.text(0)).await;
            return Ok(unless_lost(created)?.is_some());
        };
        // One that cannot be read is nobody's we know, and ends like any other.
        let found: Option<Text> = serde_json::from_str(&entry.value).ok();
        let ours = found.as_ref().is_some_and(|f| f.holder == self.holder);
        let unchanged_since = match self.seen {
            Some((revision, since)) if revision == entry.revision => since,
            Some(_) | None => now,
        };
        self.seen = Some((entry.revision, unchanged_since));
        if !ours && now.saturating_sub(unchanged_since) < self.length {
            return Ok(false);
        }
        let renewals = found.map_or(0, |f| f.renewals).wrapping_add(1);
        let written = store
            .update(&self.key, &self.text(renewals), entry.revision)
            .await;
        Ok(unless_lost(written)?.is_some())
    }

    fn text(&self, renewals: u64) -> String {
        let text = Text {
            holder: self.holder.clone(),
            renewals,
        };
        serde_json::to_string(&text).expect("our own types have string keys and finite numbers")
    }
}
