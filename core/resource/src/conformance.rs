//! What every [`Store`] must do, as checks that its backends run.
//!
//! A backend's test calls [`check`] with a function that makes an empty store. For writers at the same time it runs [`write`]
//! and [`follow`] in threads or processes of its own: this crate has none. Every check panics with what it expected.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::{Change, Entry, Key, KeyPrefix, Kind, Store, StoreError};

/// What a backend can keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Any text, and only what was written by this test.
    Texts,
    /// Objects, as the Kubernetes API does; it adds to them, has some of its own, and namespaces `a`, `ab` and `ns` must be there.
    Objects,
}

/// Where the text is that an object carries for a test.
const CARRIED: &str = "conformance";

impl Values {
    /// A key that every backend lets one write.
    fn key(self, name: &str) -> Key {
        match self {
            Values::Texts => Key::cluster(Kind::Node, name),
            Values::Objects => Key::cluster(Kind::GlobalNetworkSet, name),
        }
    }

    fn namespaced(self) -> Kind {
        match self {
            Values::Texts => Kind::WorkloadEndpoint,
            Values::Objects => Kind::NetworkSet,
        }
    }

    /// Kinds that are written as they are; the others are read from what is somebody else's.
    fn writes(self, kind: Kind) -> bool {
        match kind {
            Kind::Node | Kind::WorkloadEndpoint | Kind::Profile | Kind::BlockAffinity => {
                self == Values::Texts
            }
            _ => true,
        }
    }

    /// A value for a key that carries a text.
    fn carry(self, key: &Key, text: &str) -> String {
        if self == Values::Texts {
            return text.to_string();
        }
        let object = match key {
            Key::Resource {
                kind,
                namespace,
                name,
            } => {
                let metadata =
                    json!({"name": name, "namespace": namespace, "annotations": {CARRIED: text}});
                let mut object = json!({"kind": kind.as_str(), "apiVersion": kind.api_version(), "metadata": metadata});
                match kind {
                    Kind::EndpointSlice => {
                        object["addressType"] = json!("IPv4");
                        object["endpoints"] = json!([]);
                    }
                    _ => object["spec"] = least(*kind),
                }
                object
            }
            Key::Block(cidr) => {
                json!({"cidr": cidr, "affinity": null, "allocations": [null], "unallocated": [0], "attributes": [],
                "sequenceNumber": 1, "sequenceNumberForAllocation": {}, "deleted": false})
            }
            Key::BlockAffinity { .. } | Key::VirtualAffinity { .. } => {
                json!({"state": "confirmed", "deleted": false})
            }
            Key::Handle(_) => json!({"block": {}, "deleted": false}),
            Key::IpamConfig => json!({"strict_affinity": true}),
            Key::Lease(_) => return text.to_string(),
        };
        object.to_string()
    }

    /// The text that a value carries.
    fn carried(self, value: &str) -> String {
        if self == Values::Texts {
            return value.to_string();
        }
        let object: Value = serde_json::from_str(value).expect("an object");
        let text = object["metadata"]["annotations"][CARRIED].as_str();
        text.expect("the text").to_string()
    }

    async fn put<S: Store>(self, store: &S, key: &Key, text: &str) -> Entry {
        put(store, key, &self.carry(key, text)).await
    }
}

/// The least spec of a kind that the API server takes.
fn least(kind: Kind) -> Value {
    match kind {
        Kind::Service => json!({"ports": [{"port": 80}]}),
        Kind::IpPool => json!({"cidr": "10.0.0.0/16"}),
        Kind::IpamConfiguration => json!({"strictAffinity": false, "autoAllocateBlocks": true}),
        Kind::CalicoNodeStatus => {
            json!({"node": "n", "classes": ["BGP"], "updatePeriodSeconds": 10})
        }
        Kind::HostEndpoint => json!({"node": "n", "interfaceName": "eth0"}),
        Kind::KubeControllersConfiguration => json!({"controllers": {}}),
        _ => json!({}),
    }
}

/// Runs every check that needs only one caller, each on an empty store.
///
/// # Panics
/// When the store does not do what it must.
pub async fn check<S: Store>(values: Values, empty: impl Fn() -> S) {
    values_are_kept_exactly(values, empty()).await;
    create_refuses_what_is_there(values, empty()).await;
    update_compares_and_swaps(values, empty()).await;
    delete_compares_where_asked(values, empty()).await;
    revisions_grow(values, empty()).await;
    lists_are_ordered_and_prefixes_end_at_a_slash(values, empty()).await;
    every_key_is_found_by_its_prefixes(values, empty()).await;
    changes_come_in_order(values, empty()).await;
    a_cursor_from_elsewhere_is_refused(values, empty()).await;
    wait_returns_when_something_happened(values, empty()).await;
}

async fn put<S: Store>(store: &S, key: &Key, value: &str) -> Entry {
    store.create(key, value).await.expect("create of a new key")
}

async fn values_are_kept_exactly<S: Store>(values: Values, store: S) {
    let long = match values {
        Values::Texts => 1 << 20,
        // An object's annotations may have 256 KiB.
        Values::Objects => 1 << 17,
    };
    let texts = [
        "{\"b\": 1,\n \"a\":  [1.0, 1e400, -0, \"\\u00e9 é \\u0000\"]}",
        "",
        "{\"long\":\"\"}",
        &format!("\"{}\"", "x".repeat(long)),
    ];
    for (i, text) in texts.iter().enumerate() {
        let key = values.key(&format!("n{i}"));
        let written = values.put(&store, &key, text).await;
        assert_eq!(
            &values.carried(&written.value),
            text,
            "the entry that create returns"
        );
        let read = store.get(&key).await.expect("get").expect("the entry");
        assert_eq!(read, written, "what get returns after create");
        let updated = store
            .update(&key, &values.carry(&key, "{}"), written.revision)
            .await
            .expect("update");
        assert_eq!(
            store.get(&key).await.expect("get"),
            Some(updated),
            "what get returns after update"
        );
    }
    assert_eq!(store.get(&values.key("absent")).await, Ok(None));
}

async fn create_refuses_what_is_there<S: Store>(values: Values, store: S) {
    let key = values.key("a");
    let first = values.put(&store, &key, "1").await;
    assert_eq!(
        store.create(&key, &values.carry(&key, "2")).await,
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

async fn update_compares_and_swaps<S: Store>(values: Values, store: S) {
    let key = values.key("a");
    assert_eq!(
        store.update(&key, &values.carry(&key, "2"), 1).await,
        Err(StoreError::NotFound(key.clone()))
    );
    let first = values.put(&store, &key, "1").await;
    let second = store
        .update(&key, &values.carry(&key, "2"), first.revision)
        .await
        .expect("update");
    assert!(second.revision > first.revision);
    for stale in [first.revision, second.revision + 1, 0] {
        assert_eq!(
            store.update(&key, &values.carry(&key, "3"), stale).await,
            Err(StoreError::Conflict(key.clone())),
            "update with revision {stale}"
        );
    }
    assert_eq!(store.get(&key).await, Ok(Some(second)));
}

async fn delete_compares_where_asked<S: Store>(values: Values, store: S) {
    let key = values.key("a");
    for expected in [None, Some(1)] {
        assert_eq!(
            store.delete(&key, expected).await,
            Err(StoreError::NotFound(key.clone()))
        );
    }
    let first = values.put(&store, &key, "1").await;
    assert_eq!(
        store.delete(&key, Some(first.revision + 1)).await,
        Err(StoreError::Conflict(key.clone()))
    );
    assert_eq!(
        store.delete(&key, Some(first.revision)).await,
        Ok(first.clone())
    );
    assert_eq!(store.get(&key).await, Ok(None));
    let again = values.put(&store, &key, "2").await;
    assert!(
        again.revision > first.revision + 1,
        "a delete takes a revision too"
    );
    assert_eq!(store.delete(&key, None).await, Ok(again));
}

async fn revisions_grow<S: Store>(values: Values, store: S) {
    let start = store.list(&KeyPrefix::All).await.expect("list").revision;
    let a = values.put(&store, &values.key("a"), "1").await;
    let b = values.put(&store, &values.key("b"), "1").await;
    let c = store
        .update(
            &values.key("a"),
            &values.carry(&values.key("a"), "2"),
            a.revision,
        )
        .await
        .expect("update");
    // A store that others write to as well has revisions in between.
    let revisions = [start, a.revision, b.revision, c.revision];
    assert!(revisions.is_sorted_by(|x, y| x < y), "{revisions:?}");
    let before = store.list(&KeyPrefix::All).await.expect("list").revision;
    assert!(before >= c.revision);
    store.delete(&values.key("b"), None).await.expect("delete");
    let end = store.list(&KeyPrefix::All).await.expect("list").revision;
    assert!(end > before, "a delete takes a revision too");
}

async fn lists_are_ordered_and_prefixes_end_at_a_slash<S: Store>(values: Values, store: S) {
    let wep = |namespace: &str, name: &str| Key::in_namespace(values.namespaced(), namespace, name);
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
        values.key("b"),
        values.key("a-b"),
        values.key("a"),
        values.key("a.b"),
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
    let written = BTreeSet::from(keys.clone());
    let mut last = 0;
    for key in &keys {
        last = values.put(&store, key, &key.path()).await.revision;
    }
    let listed = async |prefix: KeyPrefix| {
        let listing = store.list(&prefix).await.expect("list");
        assert!(listing.revision >= last, "{prefix:?}");
        let paths: Vec<String> = listing.entries.iter().map(|e| e.key.path()).collect();
        assert!(paths.is_sorted(), "{prefix:?} out of order: {paths:?}");
        let ours = listing
            .entries
            .into_iter()
            .filter(|e| written.contains(&e.key));
        ours.map(|entry| {
            if values == Values::Texts || matches!(entry.key, Key::Resource { .. }) {
                assert_eq!(values.carried(&entry.value), entry.key.path());
            }
            entry.key
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(
        listed(KeyPrefix::Namespace(values.namespaced(), "a".to_string())).await,
        [wep("a", "x"), wep("a", "y")]
    );
    assert_eq!(
        listed(KeyPrefix::Kind(values.namespaced())).await,
        [wep("a", "x"), wep("a", "y"), wep("ab", "x")]
    );
    assert_eq!(
        listed(KeyPrefix::Kind(kind_of(&values.key("a")))).await,
        [
            values.key("a"),
            values.key("a-b"),
            values.key("a.b"),
            values.key("b")
        ]
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

async fn every_key_is_found_by_its_prefixes<S: Store>(values: Values, store: S) {
    for kind in Kind::ALL.iter().filter(|kind| values.writes(**kind)) {
        // Configurations that there is one of have this name.
        let name = match kind {
            Kind::IpamConfiguration => "default",
            _ => "x",
        };
        let key = Key::Resource {
            kind: *kind,
            namespace: kind.namespaced().then(|| "ns".to_string()),
            name: name.to_string(),
        };
        let entry = values.put(&store, &key, "{}").await;
        let listing = store.list(&KeyPrefix::Kind(*kind)).await.expect("list");
        let found = listing.entries.iter().filter(|e| e.key == key);
        assert_eq!(found.collect::<Vec<_>>(), [&entry], "{kind}");
        if values == Values::Texts {
            assert_eq!(listing.entries.len(), 1, "{kind}");
        }
    }
}

async fn changes_come_in_order<S: Store>(values: Values, store: S) {
    let start = store.list(&KeyPrefix::All).await.expect("list").revision;
    let none = store.changes(start).await.expect("changes");
    assert_eq!(none.changes, []);
    assert!(none.revision >= start);
    let a = values.put(&store, &values.key("a"), "1").await;
    let b = values.put(&store, &values.key("b"), "1").await;
    let a2 = store
        .update(
            &values.key("a"),
            &values.carry(&values.key("a"), "2"),
            a.revision,
        )
        .await
        .expect("update");
    store.delete(&values.key("b"), None).await.expect("delete");
    let expected = [
        Change::Put(a),
        Change::Put(b),
        Change::Put(a2.clone()),
        Change::Delete {
            key: values.key("b"),
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
        assert!(got.revision >= cursor);
        assert!(got.revision <= end || values == Values::Objects);
        let rest = store.changes(got.revision).await.expect("changes");
        assert_eq!(rest.changes, [], "all was told before {}", got.revision);
        cursor = all.get(skip).map_or(end, revision_of);
    }
}

fn kind_of(key: &Key) -> Kind {
    match key {
        Key::Resource { kind, .. } => *kind,
        other => panic!("{other} is no resource"),
    }
}

fn revision_of(change: &Change) -> u64 {
    match change {
        Change::Put(entry) => entry.revision,
        Change::Delete { revision, .. } => *revision,
    }
}

async fn a_cursor_from_elsewhere_is_refused<S: Store>(values: Values, store: S) {
    let future = values.put(&store, &values.key("a"), "1").await.revision + 1_000_000;
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

async fn wait_returns_when_something_happened<S: Store>(values: Values, store: S) {
    let start = store.list(&KeyPrefix::All).await.expect("list").revision;
    values.put(&store, &values.key("a"), "1").await;
    store.wait(start).await.expect("wait");
}

/// One of several writers: creates, updates and deletes keys of its own, and increments one counter that all share by
/// compare-and-swap. Returns how often it incremented.
///
/// # Panics
/// When the store refuses what it must not.
pub async fn write<S: Store>(values: Values, store: &S, writer: usize, rounds: usize) -> u64 {
    for round in 0..rounds {
        let own = values.key(&format!("writer-{writer}-{}", round % 3));
        let entry = values.put(store, &own, &format!("{round}")).await;
        increment(values, store, &counter(values)).await;
        store
            .update(&own, &values.carry(&own, "\"again\""), entry.revision)
            .await
            .expect("nobody else writes this key");
        if round + 3 < rounds {
            store.delete(&own, None).await.expect("it is there");
        }
    }
    rounds as u64
}

/// The key that [`write`] increments.
pub fn counter(values: Values) -> Key {
    values.key("counter")
}

/// The number that [`write`] increments, 0 before the first time.
///
/// # Panics
/// When the store fails, or there is no number.
pub async fn counted<S: Store>(values: Values, store: &S) -> u64 {
    let entry = store.get(&counter(values)).await.expect("get");
    entry.map_or(0, |e| values.carried(&e.value).parse().expect("a number"))
}

/// Adds one to the number at `key`, which begins at 1, by compare-and-swap until it succeeds. Returns the new number.
///
/// # Panics
/// When the store fails otherwise than by a conflict.
pub async fn increment<S: Store>(values: Values, store: &S, key: &Key) -> u64 {
    let value = |number: u64| values.carry(key, &number.to_string());
    loop {
        let (number, result) = match store.get(key).await.expect("get") {
            None => (1, store.create(key, &value(1)).await),
            Some(entry) => {
                let number = values
                    .carried(&entry.value)
                    .parse::<u64>()
                    .expect("a number")
                    + 1;
                (
                    number,
                    store.update(key, &value(number), entry.revision).await,
                )
            }
        };
        match result {
            Ok(_) => return number,
            Err(StoreError::Exists(_) | StoreError::Conflict(_)) => (),
            Err(error) => panic!("increment: {error}"),
        }
    }
}

/// Whether nothing is left to come of `writers` that [`write`] `rounds` each.
pub fn is_done(
    values: Values,
    writers: usize,
    rounds: usize,
) -> impl Fn(&BTreeMap<String, String>) -> bool {
    let end = (writers * rounds).to_string();
    move |seen| {
        seen.get(&counter(values).path()) == Some(&end)
            && seen.values().filter(|v| *v == "\"again\"").count() == 3 * writers
    }
}

/// What is there now, by path, of that which [`write`] writes.
///
/// # Panics
/// When the store fails.
pub async fn listed<S: Store>(values: Values, store: &S) -> (BTreeMap<String, String>, u64) {
    let prefix = match values {
        Values::Texts => KeyPrefix::All,
        Values::Objects => KeyPrefix::Kind(kind_of(&counter(values))),
    };
    let listing = store.list(&prefix).await.expect("list");
    let entries = listing.entries.into_iter();
    let seen = entries.map(|e| (e.key.path(), values.carried(&e.value)));
    (seen.collect(), listing.revision)
}

/// Follows a store from a list on, until `done` says of what it sees that it is all. The result is what a list would say.
/// Nobody but [`write`] may write to it meanwhile: then every revision is a change, unless it is a store of [`Values::Objects`], of
/// which each number of the counter is asked for instead.
///
/// # Panics
/// When a revision is missing or comes twice, or when list and changes differ in the end.
pub async fn follow<S: Store>(
    values: Values,
    store: &S,
    done: impl Fn(&BTreeMap<String, String>) -> bool,
) -> BTreeMap<String, String> {
    let (mut seen, mut cursor) = listed(values, store).await;
    let count = |seen: &BTreeMap<String, String>| -> u64 {
        let text = seen.get(&counter(values).path());
        text.map_or(0, |t| t.parse().expect("a number"))
    };
    while !done(&seen) {
        store.wait(cursor).await.expect("wait");
        let changes = store.changes(cursor).await.expect("changes");
        for change in changes.changes {
            let before = count(&seen);
            let revision = revision_of(&change);
            match change {
                Change::Put(entry) if values == Values::Objects && entry.key == counter(values) => {
                    seen.insert(entry.key.path(), values.carried(&entry.value));
                    assert_eq!(
                        count(&seen),
                        before + 1,
                        "a gap, or a number that came twice"
                    );
                }
                Change::Put(entry) if kind_of(&entry.key) == kind_of(&counter(values)) => {
                    seen.insert(entry.key.path(), values.carried(&entry.value));
                }
                Change::Delete { key, .. } if kind_of(&key) == kind_of(&counter(values)) => {
                    assert!(seen.remove(&key.path()).is_some(), "deleted twice: {key}");
                }
                // Somebody else's.
                Change::Put(_) | Change::Delete { .. } => assert_eq!(values, Values::Objects),
            }
            if values == Values::Texts {
                assert_eq!(revision, cursor + 1, "a gap, or a revision that came twice");
                cursor = revision;
            }
        }
        match values {
            Values::Texts => assert_eq!(changes.revision, cursor),
            Values::Objects => cursor = changes.revision,
        }
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
        let mut suite = pin!(check(Values::Texts, MemoryStore::new));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(suite.as_mut().poll(&mut cx), Poll::Ready(()));
    }
}
