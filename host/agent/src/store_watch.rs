//! The store's changes, read by a thread of their own.

use std::thread;
use std::time::Duration;

use node::StoredChange;
use resource::{KeyPrefix, Store, StoreError, StoreResult};
use store::{AnyStore, block_on};

use crate::event::{Event, ToLoop};

/// After an error the store is asked again after this long.
const RETRY: Duration = Duration::from_secs(1);

/// Lists, then follows the log for ever.
pub(crate) fn spawn(store: AnyStore, to_loop: ToLoop) -> std::io::Result<()> {
    let follow = move || {
        let mut cursor = None;
        let mut failing = false;
        loop {
            match step(&store, &mut cursor, failing, &to_loop) {
                Ok(true) => {
                    if std::mem::take(&mut failing) && !to_loop.send(Event::StoreReadable) {
                        return;
                    }
                }
                Ok(false) => return,
                Err(StoreError::Compacted { .. }) => cursor = None,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true)
                        && !to_loop.send(Event::StoreUnreadable(error.to_string()))
                    {
                        return;
                    }
                    thread::sleep(RETRY);
                }
            }
        }
    };
    thread::Builder::new()
        .name("store-watch".to_string())
        .spawn(follow)
        .map(drop)
}

/// One listing, or one reading of the log; false when the loop has ended.
fn step(
    store: &AnyStore,
    cursor: &mut Option<u64>,
    failing: bool,
    to_loop: &ToLoop,
) -> StoreResult<bool> {
    let Some(from) = *cursor else {
        let listing = block_on(store.list(&KeyPrefix::All))?;
        *cursor = Some(listing.revision);
        return Ok(to_loop.send(Event::Listing(StoredChange::from_listing(&listing))));
    };
    let read = block_on(store.changes(from))?;
    if read.changes.is_empty() {
        *cursor = Some(read.revision.max(from));
        // That it can be read again is said before the next change, which may be long in coming.
        if !failing {
            block_on(store.wait(from))?;
        }
        return Ok(true);
    }
    *cursor = Some(read.revision);
    Ok(to_loop.send(Event::Changes(
        read.changes.iter().map(StoredChange::from).collect(),
    )))
}
