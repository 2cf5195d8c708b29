//! The store's changes, read by a thread of their own. What nodes say of themselves is not for the loop, nor what is asked of it.

use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use node::StoredChange;
use resource::{Change, Entry, Key, KeyPrefix, Kind, Store, StoreError, StoreResult};
use store::{AnyStore, block_on};

use crate::event::{Event, ToLoop};
use crate::report::Told;

/// After an error the store is asked again after this long.
const RETRY: Duration = Duration::from_secs(1);

/// Lists, then follows the log for ever.
pub(crate) fn spawn(store: AnyStore, to_loop: ToLoop, report: Sender<Told>) -> std::io::Result<()> {
    let follow = move || {
        let mut cursor = None;
        let mut failing = false;
        loop {
            match step(&store, &mut cursor, failing, (&to_loop, &report)) {
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
    (to_loop, report): (&ToLoop, &Sender<Told>),
) -> StoreResult<bool> {
    let Some(from) = *cursor else {
        let mut listing = block_on(store.list(&KeyPrefix::All))?;
        *cursor = Some(listing.revision);
        // The thread that is gone has taken the process with it.
        let _ = report.send(Told::Relisted);
        listing
            .entries
            .retain(|entry| !is_report(&entry.key, Some(entry), report));
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
    let for_loop = |change: &&Change| match change {
        Change::Put(entry) => !is_report(&entry.key, Some(entry), report),
        Change::Delete { key, .. } => !is_report(key, None, report),
    };
    let changes: Vec<StoredChange> = read
        .changes
        .iter()
        .filter(for_loop)
        .map(StoredChange::from)
        .collect();
    Ok(changes.is_empty() || to_loop.send(Event::Changes(changes)))
}

/// Whether it is what a node says of itself; what is asked of nodes goes to the thread that answers.
fn is_report(key: &Key, entry: Option<&Entry>, report: &Sender<Told>) -> bool {
    match key {
        Key::Resource {
            kind: Kind::NodeSessions,
            ..
        } => true,
        Key::Resource {
            kind: Kind::CalicoNodeStatus,
            name,
            ..
        } => {
            let asked = entry.cloned().map(Box::new);
            let _ = report.send(Told::Asked(name.clone(), asked));
            true
        }
        _ => false,
    }
}
