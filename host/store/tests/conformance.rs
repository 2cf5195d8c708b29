//! All backends pass the same suite.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kubernetes::Group;
use resource::conformance::{self, Values};
use resource::{Key, Kind, MemoryStore, Store, StoreError};
use store::testing::{Etcd, Kubernetes, kubernetes_skipped, skipped};
use store::{AnyStore, SqliteOptions, SqliteStore, block_on};

/// Both of the groups that Calico keeps its objects in.
const GROUPS: [Group; 2] = [Group::Crd, Group::Native];

#[test]
fn memory_conforms() {
    block_on(conformance::check(Values::Texts, MemoryStore::new));
}

#[test]
fn sqlite_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let number = AtomicUsize::new(0);
    block_on(conformance::check(Values::Texts, || {
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
    block_on(conformance::check(Values::Texts, || {
        etcd.wipe();
        etcd.store()
    }));
}

/// Writers and followers at the same time; a follower that begins in the middle sees the same end.
fn concurrently(values: Values, open: impl Fn() -> AnyStore) {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 60;
    // Followers are not joined: one that misses something would wait for ever.
    let (sender, results) = mpsc::channel();
    for _ in 0..3 {
        let (store, sender) = (open(), sender.clone());
        thread::spawn(move || {
            let done = conformance::is_done(values, WRITERS, ROUNDS);
            let seen = block_on(conformance::follow(values, &store, done));
            sender.send(seen).unwrap();
        });
    }
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = open();
            scope.spawn(move || block_on(conformance::write(values, &store, writer, ROUNDS)));
        }
    });
    let (listed, _) = block_on(conformance::listed(values, &open()));
    for _ in 0..3 {
        let seen = results.recv_timeout(Duration::from_secs(60));
        assert_eq!(seen.expect("a follower that came to the end"), listed);
    }
}

#[test]
fn memory_followers_miss_nothing() {
    let store = AnyStore::Memory(MemoryStore::new());
    concurrently(Values::Texts, || store.clone());
}

#[test]
fn sqlite_followers_miss_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("selvedge.db");
    concurrently(Values::Texts, || {
        AnyStore::Sqlite(SqliteStore::open(&path).unwrap())
    });
}

#[test]
fn sqlite_clones_miss_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = AnyStore::Sqlite(SqliteStore::open(directory.path().join("selvedge.db")).unwrap());
    concurrently(Values::Texts, || store.clone());
}

#[test]
fn etcd_followers_miss_nothing() {
    if skipped() {
        return;
    }
    let etcd = Etcd::start();
    concurrently(Values::Texts, || AnyStore::Etcd(etcd.store()));
}

#[test]
fn etcd_clones_miss_nothing() {
    if skipped() {
        return;
    }
    let etcd = Etcd::start();
    let store = AnyStore::Etcd(etcd.store());
    concurrently(Values::Texts, || store.clone());
}

/// 64 threads add to one number by compare-and-swap; none is lost.
fn count_together(values: Values, open: impl Fn() -> AnyStore) {
    const WRITERS: u64 = 64;
    const EACH: u64 = 5;
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            let store = open();
            scope.spawn(move || {
                for _ in 0..EACH {
                    block_on(conformance::increment(
                        values,
                        &store,
                        &conformance::counter(values),
                    ));
                }
            });
        }
    });
    let counted = block_on(conformance::counted(values, &open()));
    assert_eq!(counted, WRITERS * EACH);
}

#[test]
fn sixty_four_writers_of_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("selvedge.db");
    count_together(Values::Texts, || {
        AnyStore::Sqlite(SqliteStore::open(&path).unwrap())
    });
}

#[test]
fn sixty_four_writers_of_etcd() {
    if skipped() {
        return;
    }
    let etcd = Etcd::start();
    count_together(Values::Texts, || AnyStore::Etcd(etcd.store()));
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

#[test]
fn kubernetes_conforms() {
    if kubernetes_skipped() {
        return;
    }
    let kubernetes = Kubernetes::shared();
    let alone = kubernetes.emptied();
    for group in GROUPS {
        block_on(conformance::check(Values::Objects, || {
            kubernetes.wipe();
            kubernetes.store(group)
        }));
    }
    drop(alone);
}

#[test]
fn kubernetes_followers_miss_nothing() {
    if kubernetes_skipped() {
        return;
    }
    let kubernetes = Kubernetes::shared();
    let _alone = kubernetes.emptied();
    for group in GROUPS {
        concurrently(Values::Objects, || {
            AnyStore::Kubernetes(kubernetes.store(group))
        });
    }
}

#[test]
fn kubernetes_clones_miss_nothing() {
    if kubernetes_skipped() {
        return;
    }
    let kubernetes = Kubernetes::shared();
    let _alone = kubernetes.emptied();
    let store = AnyStore::Kubernetes(kubernetes.store(Group::Crd));
    concurrently(Values::Objects, || store.clone());
}

#[test]
fn sixty_four_writers_of_kubernetes() {
    if kubernetes_skipped() {
        return;
    }
    let kubernetes = Kubernetes::shared();
    let _alone = kubernetes.emptied();
    for group in GROUPS {
        count_together(Values::Objects, || {
            AnyStore::Kubernetes(kubernetes.store(group))
        });
    }
}
