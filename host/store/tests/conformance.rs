//! All backends pass the same suite.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use resource::conformance::{self, counter};
use resource::{Key, KeyPrefix, Kind, MemoryStore, Store, StoreError};
use store::testing::{Etcd, skipped};
use store::{AnyStore, SqliteOptions, SqliteStore, block_on};

#[test]
fn memory_conforms() {
    block_on(conformance::check(MemoryStore::new));
}

#[test]
fn sqlite_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let number = AtomicUsize::new(0);
    block_on(conformance::check(|| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        SqliteStore::open(directory.path().join(format!("{number}.db"))).unwrap()
    }));
}

#[test]
fn etcd_conforms() {
    if skipped() {
        return;
    }
    let etcd = Etcd::start();
    block_on(conformance::check(|| {
        etcd.wipe();
        etcd.store()
    }));
}

/// Writers and followers at the same time; a follower that begins in the middle sees the same end.
fn concurrently(open: impl Fn() -> AnyStore) {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 60;
    let end = (WRITERS * ROUNDS).to_string();
    // Followers are not joined: one that misses something would wait for ever.
    let (sender, results) = mpsc::channel();
    for _ in 0..3 {
        let (store, end, sender) = (open(), end.clone(), sender.clone());
        thread::spawn(move || {
            let done = |seen: &BTreeMap<String, String>| {
                seen.get(&counter().path()) == Some(&end)
                    && seen.values().filter(|v| *v == "\"again\"").count() == 3 * WRITERS
            };
            let seen = block_on(conformance::follow(&store, done));
            sender.send(seen).unwrap();
        });
    }
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = open();
            scope.spawn(move || block_on(conformance::write(&store, writer, ROUNDS)));
        }
    });
    let listed = block_on(open().list(&KeyPrefix::All)).unwrap().entries;
    let listed: BTreeMap<_, _> = listed
        .into_iter()
        .map(|e| (e.key.path(), e.value))
        .collect();
    for _ in 0..3 {
        let seen = results.recv_timeout(Duration::from_secs(60));
        assert_eq!(seen.expect("a follower that came to the end"), listed);
    }
}

#[test]
fn memory_followers_miss_nothing() {
    let store = AnyStore::Memory(MemoryStore::new());
    concurrently(|| store.clone());
}

#[test]
fn sqlite_followers_miss_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("selvedge.db");
    concurrently(|| AnyStore::Sqlite(SqliteStore::open(&path).unwrap()));
}

#[test]
fn sqlite_clones_miss_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = AnyStore::Sqlite(SqliteStore::open(directory.path().join("selvedge.db")).unwrap());
    concurrently(|| store.clone());
}

#[test]
fn etcd_followers_miss_nothing() {
    if skipped() {
        return;
    }
    let etcd = Etcd::start();
    concurrently(|| AnyStore::Etcd(etcd.store()));
}

#[test]
fn etcd_clones_miss_nothing() {
    if skipped() {
        return;
    }
    let etcd = Etcd::start();
    let store = AnyStore::Etcd(etcd.store());
    concurrently(|| store.clone());
}

/// 64 threads add to one number by compare-and-swap; none is lost.
fn count_together(open: impl Fn() -> AnyStore) {
    const WRITERS: u64 = 64;
    const EACH: u64 = 5;
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            let store = open();
            scope.spawn(move || {
                for _ in 0..EACH {
                    block_on(conformance::increment(&store, &counter()));
                }
            });
        }
    });
    let entry = block_on(open().get(&counter())).unwrap().unwrap();
    assert_eq!(entry.value, (WRITERS * EACH).to_string());
}

#[test]
fn sixty_four_writers_of_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("selvedge.db");
    count_together(|| AnyStore::Sqlite(SqliteStore::open(&path).unwrap()));
}

#[test]
fn sixty_four_writers_of_etcd() {
    if skipped() {
        return;
    }
    let etcd = Etcd::start();
    count_together(|| AnyStore::Etcd(etcd.store()));
}

#[test]
fn a_cursor_older_than_the_log_is_told_to_list_again() {
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteOptions {
        log_revisions: 5,
        ..SqliteOptions::default()
    };
    let path = directory.path().join("selvedge.db");
    let store = SqliteStore::open_with(&path, options).unwrap();
    let key = Key::cluster(Kind::Node, "n");
    for _ in 0..6 {
        block_on(store.create(&key, "1")).unwrap();
        block_on(store.delete(&key, None)).unwrap();
    }
    // The log has revisions 8 to 12.
    assert_eq!(
        block_on(store.changes(6)),
        Err(StoreError::Compacted {
            cursor: 6,
            first: 8
        })
    );
    assert_eq!(block_on(store.changes(7)).unwrap().changes.len(), 5);
    assert_eq!(block_on(store.changes(12)).unwrap().changes.len(), 0);
}
