//! Cursors in a real etcd's revision log: keys of others, old revisions, compaction, what was restored.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use resource::{Change, Key, KeyPrefix, Kind, Store, StoreError};
use store::testing::{Etcd, EtcdArgs, skipped};
use store::{Endpoint, EtcdOptions, EtcdStore, block_on};

mod symptoms;
use symptoms::explained;

const PATIENCE: Duration = Duration::from_secs(60);

fn node(name: impl Into<String>) -> Key {
    Key::cluster(Kind::Node, name)
}

/// Tries until it succeeds; a write that was not answered may have been done.
fn eventually<T>(mut attempt: impl FnMut() -> Result<T, StoreError>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn keys_of_others_and_values_of_any_kind() {
    if skipped() {
        return;
    }
    let etcd = Etcd::start();
    let store = etcd.store();
    let start = block_on(store.list(&KeyPrefix::All)).unwrap().revision;
    etcd.ctl(&["put", "/calico/felix/v2/no-region/host/n/status", "{}"]);
    etcd.ctl(&["put", "/registry/pods/a", "b"]);
    etcd.ctl(&[
        "put",
        "/calico/resources/v3/projectcalico.org/nodesx/a",
        "{}",
    ]);
    let listing = block_on(store.list(&KeyPrefix::All)).unwrap();
    assert_eq!(listing.entries, []);
    assert_eq!(listing.revision, start + 3);
    assert_eq!(
        block_on(store.unknown_paths()).unwrap(),
        [
            "/calico/felix/v2/no-region/host/n/status",
            "/calico/resources/v3/projectcalico.org/nodesx/a"
        ]
    );
    // The newest revisions touched nothing of ours, and nobody waits for them.
    for cursor in [start, start + 1, listing.revision] {
        let told = block_on(store.changes(cursor)).unwrap();
        assert_eq!(told.changes, []);
        assert!(told.revision >= cursor && told.revision <= listing.revision);
    }
    // A prefix ends at a slash.
    etcd.ctl(&["put", &node("a").path(), "not JSON"]);
    let read = block_on(store.get(&node("a"))).unwrap().unwrap();
    assert_eq!(read.value, "not JSON");
    assert_eq!(
        block_on(store.changes(start)).unwrap().changes,
        [Change::Put(read.clone())]
    );
    block_on(store.update(&node("a"), "{}", read.revision)).unwrap();

    let large = "x".repeat(2 << 20);
    let error = block_on(store.create(&node("large"), &large)).unwrap_err();
    let text = explained(&error.to_string());
    assert!(text.contains("larger than etcd takes"), "{text}");
    let entry = |value: String| resource::Entry {
        key: node("large"),
        value,
        revision: 0,
    };
    assert!(store.cannot_hold(&entry(large)).is_some());
    let fits = entry("x".repeat((3 << 19) - 1024));
    assert_eq!(store.cannot_hold(&fits), None);
    block_on(store.create(&fits.key, &fits.value)).unwrap();
}

/// Our two prefixes are watched apart; what they tell is in order, or the follower lists again.
#[test]
fn changes_under_both_prefixes() {
    if skipped() {
        return;
    }
    let etcd = Etcd::start();
    let writer = etcd.store();
    let reader = etcd.store();
    let service = |i: usize| Key::in_namespace(Kind::Service, "n", format!("s{i}"));
    let mut cursor = block_on(reader.list(&KeyPrefix::All)).unwrap().revision;
    let mut seen = BTreeSet::new();
    const ROUNDS: usize = 300;
    let writing = thread::spawn(move || {
        for i in 0..ROUNDS {
            block_on(writer.create(&service(i), "{}")).unwrap();
            block_on(writer.create(&node(format!("n{i}")), "{}")).unwrap();
        }
    });
    while seen.len() < 2 * ROUNDS {
        block_on(reader.wait(cursor)).unwrap();
        match block_on(reader.changes(cursor)) {
            Ok(told) => {
                let mut last = cursor;
                for change in told.changes {
                    let Change::Put(entry) = change else {
                        panic!("{change:?}")
                    };
                    assert!(entry.revision > last);
                    last = entry.revision;
                    assert!(seen.insert(entry.key.path()), "{} twice", entry.key);
                }
                cursor = told.revision;
            }
            Err(StoreError::Compacted { .. }) => {
                let listing = block_on(reader.list(&KeyPrefix::All)).unwrap();
                cursor = listing.revision;
                seen = listing.entries.into_iter().map(|e| e.key.path()).collect();
            }
            Err(error) => panic!("{error}"),
        }
    }
    writing.join().unwrap();
}

#[test]
fn a_watch_from_an_old_revision_and_from_one_that_was_compacted() {
    if skipped() {
        return;
    }
    let etcd = Etcd::start();
    let store = etcd.store();
    let start = block_on(store.list(&KeyPrefix::All)).unwrap().revision;
    for i in 0..50 {
        block_on(store.create(&node(format!("n{i}")), "{}")).unwrap();
    }
    let late = etcd.store();
    let newest = block_on(late.list(&KeyPrefix::All)).unwrap().revision;
    assert_eq!(block_on(late.changes(newest - 5)).unwrap().changes.len(), 5);
    // Farther back than the stream began.
    assert_eq!(block_on(late.changes(start)).unwrap().changes.len(), 50);
    assert_eq!(block_on(late.changes(newest - 5)).unwrap().changes.len(), 5);

    etcd.ctl(&["compact", &(start + 20).to_string()]);
    // The log of a process that follows already has it still.
    assert_eq!(block_on(late.changes(start)).unwrap().changes.len(), 50);
    let fresh = etcd.store();
    block_on(fresh.list(&KeyPrefix::All)).unwrap();
    let compacted = |cursor: u64| match block_on(fresh.changes(cursor)) {
        Err(StoreError::Compacted { cursor: of, first }) => {
            assert_eq!(of, cursor);
            first
        }
        other => panic!("changes after {cursor}: {other:?}"),
    };
    assert_eq!(compacted(start), start + 20);
    block_on(fresh.wait(start)).unwrap();
    assert_eq!(compacted(start + 10), start + 20);
    let kept = block_on(fresh.changes(start + 19)).unwrap();
    assert_eq!(kept.changes.len(), 31);
    assert_eq!(kept.revision, newest);
}

/// A member that is stopped for a while, and compacted meanwhile: its followers are told to list again.
#[test]
fn compaction_under_a_watch_that_was_interrupted() {
    if skipped() {
        return;
    }
    let mut etcd = Etcd::start_with(3, &EtcdArgs::default());
    let only = |member: usize, etcd: &Etcd| EtcdOptions {
        endpoints: vec![Endpoint::parse(&etcd.endpoint(member)).unwrap()],
        ..etcd.options()
    };
    let reader = EtcdStore::open(only(0, &etcd)).unwrap();
    let writer = EtcdStore::open(only(1, &etcd)).unwrap();
    let cursor = block_on(reader.list(&KeyPrefix::All)).unwrap().revision;
    let entry = block_on(writer.create(&node("before"), "{}")).unwrap();
    block_on(reader.wait(cursor)).unwrap();
    assert_eq!(
        block_on(reader.changes(cursor)).unwrap().changes,
        [Change::Put(entry.clone())]
    );
    etcd.kill(0);
    block_on(reader.wait(entry.revision)).unwrap_err();
    let mut last = 0;
    for i in 0..30 {
        // The leader may have been the one that was killed.
        last = eventually(|| block_on(writer.create(&node(format!("n{i}")), "{}"))).revision;
    }
    Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args([
            "--endpoints",
            &etcd.endpoint(1),
            "compact",
            &last.to_string(),
        ])
        .output()
        .unwrap();
    etcd.restart(0);
    let told = eventually(|| match block_on(reader.changes(entry.revision)) {
        Err(error @ StoreError::Compacted { .. }) => Ok(error),
        // The member says so a moment after the watch was opened.
        Ok(told) if told.changes.is_empty() => Err(StoreError::Backend("not told".to_string())),
        Ok(told) => panic!("what was compacted was told: {told:?}"),
        Err(error) => Err(error),
    });
    assert_eq!(
        told,
        StoreError::Compacted {
            cursor: entry.revision,
            first: last
        }
    );
    let listing = block_on(reader.list(&KeyPrefix::All)).unwrap();
    assert_eq!(listing.entries.len(), 31);
    let next = block_on(writer.create(&node("after"), "{}")).unwrap();
    block_on(reader.wait(listing.revision)).unwrap();
    assert_eq!(
        block_on(reader.changes(listing.revision)).unwrap().changes,
        [Change::Put(next)]
    );
}

/// Somebody restores a snapshot under a running follower.
#[test]
fn an_older_state_in_the_place_of_the_one_before() {
    if skipped() {
        return;
    }
    let mut etcd = Etcd::start();
    let store = etcd.store();
    block_on(store.create(&node("kept"), "{}")).unwrap();
    let away = tempfile::tempdir().unwrap();
    let snapshot = away.path().join("snapshot");
    etcd.ctl(&["snapshot", "save", snapshot.to_str().unwrap()]);
    let mut last = 0;
    for i in 0..20 {
        last = block_on(store.create(&node(format!("lost-{i}")), "{}"))
            .unwrap()
            .revision;
    }
    let cursor = block_on(store.changes(last - 1)).unwrap().revision;
    assert_eq!(cursor, last);

    // Two kinds of restoring: the log is shorter than the cursor, or has grown beyond it by other writes.
    for grows in [false, true] {
        etcd.kill(0);
        std::fs::remove_dir_all(etcd.data(0)).unwrap();
        restore(&etcd, &snapshot);
        if grows {
            // Unseen by the follower: it is stopped by a member that is not there.
            etcd.restart(0);
            let other = etcd.store();
            for i in 0..40 {
                block_on(other.create(&node(format!("new-{grows}-{i}")), "{}")).unwrap();
            }
        } else {
            etcd.restart(0);
        }
        let told = eventually(|| match block_on(store.changes(cursor)) {
            Err(error @ StoreError::Compacted { .. }) => Ok(error),
            Ok(changes) => panic!("another log was told as a continuation: {changes:?}"),
            Err(error) => Err(error),
        });
        assert!(told.to_string().contains("list again"), "{told}");
        block_on(store.wait(cursor)).unwrap();
        let listing = block_on(store.list(&KeyPrefix::All)).unwrap();
        let expected = if grows { 41 } else { 1 };
        assert_eq!(listing.entries.len(), expected);
        let mut revision = listing.revision;
        // Up to the same cursor again.
        while revision < cursor {
            revision = block_on(store.create(&node(format!("again-{grows}-{revision}")), "{}"))
                .unwrap()
                .revision;
        }
        let told = block_on(store.changes(listing.revision)).unwrap();
        assert_eq!(told.revision, revision.max(listing.revision));
    }
}

/// Puts a snapshot where a member's data was.
fn restore(etcd: &Etcd, snapshot: &std::path::Path) {
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["snapshot", "restore"])
        .arg(snapshot)
        .args(etcd.restore_words(0))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}
