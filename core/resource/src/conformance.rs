//! What every [`Store`] must do, as checks that its backends run.
//!
//! A backend's test calls [`check`] with a function that makes an empty store. For writers at the same time it runs [`write`]
//! and [`follow`] in threads or processes of its own: this crate has none. Every check panics with what it expected.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::{Change, Entry, Key, KeyPrefix, Kind, Store, StoreError};

/// Runs every check that needs only one caller, each on an empty store.
///
/// # Panics
/// When the store does not do what it must.
pub async fn check<S: Store>(empty: impl Fn() -> S) {
    values_are_kept_exactly(empty()).await;
    create_refuses_what_is_there(empty()).await;
    update_compares_and_swaps(empty()).await;
    delete_compares_where_asked(empty()).await;
    revisions_grow(empty()).await;
    lists_are_ordered_and_prefixes_end_at_a_slash(empty()).await;
    every_key_is_found_by_its_prefixes(empty()).await;
    changes_come_in_order(empty()).await;
    a_cursor_from_elsewhere_is_refused(empty()).await;
    wait_returns_when_something_happened(empty()).await;
}

fn node(name: &str) -> Key {
    Key::cluster(Kind::Node, name)
}

async fn put<S: Store>(store: &S, key: &Key, value: &str) -> Entry {
    store.create(key, value).await.expect("create of a new key")
}

async fn values_are_kept_exactly<S: Store>(store: S) {
    let values = [
        "{\"b\": 1,\n \"a\":  [1.0, 1e400, -0, \"\\u00e9 é \\u0000\"]}",
        "",
        "{\"long\":\"\"}",
        &format!("\"{}\"", "x".repeat(1 << 20)),
    ];
    for (i, value) in values.iter().enumerate() {
        let key = node(&format!("n{i}"));
        let written = put(&store, &key, value).await;
        assert_eq!(&written.value, value, "the entry that create returns");
        let read = store.get(&key).await.expect("get").expect("the entry");
        assert_eq!(read, written, "what get returns after create");
        let updated = store
            .update(&key, "{}", written.revision)
            .await
            .expect("update");
        assert_eq!(
            store.get(&key).await.expect("get"),
            Some(updated),
            "what get returns after update"
        );
    }
    assert_eq!(store.get(&node("absent")).await, Ok(None));
}

async fn create_refuses_what_is_there<S: Store>(store: S) {
    let key = node("a");
    let first = put(&store, &key, "1").await;
    assert_eq!(
        store.create(&key, "2").await,
        Err(StoreError::Exists(key.clone()))
    );
    assert_eq!(store.get(&key).await, Ok(Some(first.clone())));
    assert_eq!(
        store
            .changes(first.revision)
            .await
            .expect("changes")
            .changes,
        [],
        "a refused write leaves no line in the log"
    );
}

async fn update_compares_and_swaps<S: Store>(store: S) {
    let key = node("a");
    assert_eq!(
        store.update(&key, "2", 1).await,
        Err(StoreError::NotFound(key.clone()))
    );
    let first = put(&store, &key, "1").await;
    let second = store
        .update(&key, "2", first.revision)
        .await
        .expect("update");
    assert!(second.revision > first.revision);
    for stale in [first.revision, second.revision + 1, 0] {
        assert_eq!(
            store.update(&key, "3", stale).await,
            Err(StoreError::Conflict(key.clone())),
            "update with revision {stale}"
        );
    }
    assert_eq!(store.get(&key).await, Ok(Some(second)));
}

async fn delete_compares_where_asked<S: Store>(store: S) {
    let key = node("a");
    for expected in [None, Some(1)] {
        assert_eq!(
            store.delete(&key, expected).await,
            Err(StoreError::NotFound(key.clone()))
        );
    }
    let first = put(&store, &key, "1").await;
    assert_eq!(
        store.delete(&key, Some(first.revision + 1)).await,
        Err(StoreError::Conflict(key.clone()))
    );
    assert_eq!(
        store.delete(&key, Some(first.revision)).await,
        Ok(first.clone())
    );
    assert_eq!(store.get(&key).await, Ok(None));
    let again = put(&store, &key, "2").await;
    assert!(
        again.revision > first.revision + 1,
        "a delete takes a revision too"
    );
    assert_eq!(store.delete(&key, None).await, Ok(again));
}

async fn revisions_grow<S: Store>(store: S) {
    let start = store.list(&KeyPrefix::All).await.expect("list").revision;
    let a = put(&store, &node("a"), "1").await;
    let b = put(&store, &node("b"), "1").await;
    let c = store
        .update(&node("a"), "2", a.revision)
        .await
        .expect("update");
    // A store that others write to as well has revisions in between.
    let revisions = [start, a.revision, b.revision, c.revision];
    assert!(revisions.is_sorted_by(|x, y| x < y), "{revisions:?}");
    let before = store.list(&KeyPrefix::All).await.expect("list").revision;
    assert!(before >= c.revision);
    store.delete(&node("b"), None).await.expect("delete");
    let end = store.list(&KeyPrefix::All).await.expect("list").revision;
    assert!(end > before, "a delete takes a revision too");
}

async fn lists_are_ordered_and_prefixes_end_at_a_slash<S: Store>(store: S) {
    let wep =
        |namespace: &str, name: &str| Key::in_namespace(Kind::WorkloadEndpoint, namespace, name);
    let block = |cidr: &str| Key::Block(cidr.parse::<IpNet>().expect("a network"));
    let affinity = |host: &str, cidr: &str| Key::BlockAffinity {
        host: host.to_string(),
        cidr: cidr.parse().expect("a network"),
    };
    let virtual_affinity = |name: &str, cidr: &str| Key::VirtualAffinity {
        name: name.to_string(),
        cidr: cidr.parse().expect("a network"),
    };
    let keys = [
        wep("ab", "x"),
        wep("a", "y"),
        wep("a", "x"),
        node("b"),
        node("a-b"),
        node("a"),
        node("a.b"),
        block("10.0.0.64/26"),
        affinity("ab", "10.0.0.64/26"),
        affinity("a", "10.0.0.64/26"),
        virtual_affinity("a", "10.0.0.128/26"),
        Key::Handle("a".to_string()),
        Key::IpamConfig,
        Key::Lease("a".to_string()),
        Key::in_namespace(Kind::Service, "a", "s"),
        Key::in_namespace(Kind::EndpointSlice, "a", "s"),
    ];
    let mut last = 0;
    for key in &keys {
        last = put(&store, key, &key.path()).await.revision;
    }
    let listed = async |prefix: KeyPrefix| {
        let listing = store.list(&prefix).await.expect("list");
        assert!(listing.revision >= last, "{prefix:?}");
        let paths: Vec<String> = listing.entries.iter().map(|e| e.key.path()).collect();
        assert!(paths.is_sorted(), "{prefix:?} out of order: {paths:?}");
        assert!(listing.entries.iter().all(|e| e.value == e.key.path()));
        listing
            .entries
            .into_iter()
            .map(|e| e.key)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        listed(KeyPrefix::Namespace(
            Kind::WorkloadEndpoint,
            "a".to_string()
        ))
        .await,
        [wep("a", "x"), wep("a", "y")]
    );
    assert_eq!(
        listed(KeyPrefix::Kind(Kind::WorkloadEndpoint)).await,
        [wep("a", "x"), wep("a", "y"), wep("ab", "x")]
    );
    assert_eq!(
        listed(KeyPrefix::Kind(Kind::Node)).await,
        [node("a"), node("a-b"), node("a.b"), node("b")]
    );
    assert_eq!(
        listed(KeyPrefix::HostAffinities("a".to_string())).await,
        [affinity("a", "10.0.0.64/26")]
    );
    assert_eq!(
        listed(KeyPrefix::VirtualAffinities("a".to_string())).await,
        [virtual_affinity("a", "10.0.0.128/26")]
    );
    assert_eq!(listed(KeyPrefix::BlockAffinities).await.len(), 3);
    assert_eq!(listed(KeyPrefix::Blocks).await, [block("10.0.0.64/26")]);
    assert_eq!(listed(KeyPrefix::Kind(Kind::IpPool)).await, []);
    assert_eq!(listed(KeyPrefix::All).await.len(), keys.len());
}

async fn every_key_is_found_by_its_prefixes<S: Store>(store: S) {
    for kind in Kind::ALL {
        let key = Key::Resource {
            kind: *kind,
            namespace: kind.namespaced().then(|| "ns".to_string()),
            name: "x".to_string(),
        };
        let entry = put(&store, &key, "{}").await;
        let listing = store.list(&KeyPrefix::Kind(*kind)).await.expect("list");
        assert_eq!(listing.entries, [entry], "{kind}");
    }
}

async fn changes_come_in_order<S: Store>(store: S) {
    let start = store.list(&KeyPrefix::All).await.expect("list").revision;
    let none = store.changes(start).await.expect("changes");
    assert_eq!(none.changes, []);
    assert!(none.revision >= start);
    let a = put(&store, &node("a"), "1").await;
    let b = put(&store, &node("b"), "1").await;
    let a2 = store
        .update(&node("a"), "2", a.revision)
        .await
        .expect("update");
    store.delete(&node("b"), None).await.expect("delete");
    let expected = [
        Change::Put(a),
        Change::Put(b),
        Change::Put(a2.clone()),
        Change::Delete {
            key: node("b"),
            revision: a2.revision + 1,
        },
    ];
    let mut all = store.changes(start).await.expect("changes").changes;
    if let Some(Change::Delete { revision, .. }) = all.last_mut() {
        assert!(*revision > a2.revision);
        *revision = a2.revision + 1;
    }
    assert_eq!(all, expected);
    let end = store.list(&KeyPrefix::All).await.expect("list").revision;
    let all = store.changes(start).await.expect("changes").changes;
    let mut cursor = start;
    for skip in 0..=all.len() {
        let got = store.changes(cursor).await.expect("changes");
        assert_eq!(got.changes, all[skip..], "changes after {cursor}");
        assert!(got.revision >= cursor && got.revision <= end);
        let rest = store.changes(got.revision).await.expect("changes");
        assert_eq!(rest.changes, [], "all was told before {}", got.revision);
        cursor = all.get(skip).map_or(end, revision_of);
    }
}

fn revision_of(change: &Change) -> u64 {
    match change {
        Change::Put(entry) => entry.revision,
        Change::Delete { revision, .. } => *revision,
    }
}

async fn a_cursor_from_elsewhere_is_refused<S: Store>(store: S) {
    let future = put(&store, &node("a"), "1").await.revision + 6;
    // Such a cursor comes from another store that stood in this one's place: only a new list helps.
    match store.changes(future).await {
        Err(StoreError::Compacted { cursor, .. }) if cursor == future => (),
        other => panic!("changes after a revision of the future: {other:?}"),
    }
    store
        .wait(future)
        .await
        .expect("wait returns, so that it is noticed");
}

async fn wait_returns_when_something_happened<S: Store>(store: S) {
    let start = store.list(&KeyPrefix::All).await.expect("list").revision;
    put(&store, &node("a"), "1").await;
    store.wait(start).await.expect("wait");
}

/// One of several writers: creates, updates and deletes keys of its own, and increments one counter that all share by
/// compare-and-swap. Returns how often it incremented.
///
/// # Panics
/// When the store refuses what it must not.
pub async fn write<S: Store>(store: &S, writer: usize, rounds: usize) -> u64 {
    let counter = counter();
    for round in 0..rounds {
        let own = node(&format!("writer-{writer}-{}", round % 3));
        let entry = put(store, &own, &format!("{round}")).await;
        increment(store, &counter).await;
        store
            .update(&own, "\"again\"", entry.revision)
            .await
            .expect("nobody else writes this key");
        if round + 3 < rounds {
            store.delete(&own, None).await.expect("it is there");
        }
    }
    rounds as u64
}

/// The key that [`write`] increments.
pub fn counter() -> Key {
    node("counter")
}

/// Adds one to the number at `key`, which begins at 1, by compare-and-swap until it succeeds. Returns the new number.
///
/// # Panics
/// When the store fails otherwise than by a conflict.
pub async fn increment<S: Store>(store: &S, key: &Key) -> u64 {
    loop {
        let (number, result) = match store.get(key).await.expect("get") {
            None => (1, store.create(key, "1").await),
            Some(entry) => {
                let number = entry.value.parse::<u64>().expect("a number") + 1;
                let value = number.to_string();
                (number, store.update(key, &value, entry.revision).await)
            }
        };
        match result {
            Ok(_) => return number,
            Err(StoreError::Exists(_) | StoreError::Conflict(_)) => (),
            Err(error) => panic!("increment: {error}"),
        }
    }
}

/// Follows a store from a list on, until `done` says of what it sees that it is all. The result is what a list would say.
/// Nobody but [`write`] may write to it meanwhile, so that every revision is a change.
///
/// # Panics
/// When a revision is missing or comes twice, or when list and changes differ in the end.
pub async fn follow<S: Store>(
    store: &S,
    done: impl Fn(&BTreeMap<String, String>) -> bool,
) -> BTreeMap<String, String> {
    let listing = store.list(&KeyPrefix::All).await.expect("list");
    let mut cursor = listing.revision;
    let mut seen: BTreeMap<String, String> = listing
        .entries
        .into_iter()
        .map(|e| (e.key.path(), e.value))
        .collect();
    while !done(&seen) {
        store.wait(cursor).await.expect("wait");
        let changes = store.changes(cursor).await.expect("changes");
        for change in changes.changes {
            let revision = match change {
                Change::Put(entry) => {
                    seen.insert(entry.key.path(), entry.value);
                    entry.revision
                }
                Change::Delete { key, revision } => {
                    assert!(seen.remove(&key.path()).is_some(), "deleted twice: {key}");
                    revision
                }
            };
            assert_eq!(revision, cursor + 1, "a gap, or a revision that came twice");
            cursor = revision;
        }
        assert_eq!(changes.revision, cursor);
    }
    seen
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::MemoryStore;

    #[test]
    fn memory_conforms() {
        // No call of the memory store waits here, so one poll is enough.
        let mut suite = pin!(check(MemoryStore::new));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(suite.as_mut().poll(&mut cx), Poll::Ready(()));
    }
}
