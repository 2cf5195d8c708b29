//! A real etcd whose leader is lost, and many objects.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use resource::{Change, Key, KeyPrefix, Kind, Store, StoreError};
use store::testing::{Etcd, EtcdArgs, skipped};
use store::{EtcdStore, block_on};

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

/// The leader is killed amid writes, five times over: what was acknowledged is there, and a follower was told of all.
#[test]
fn a_leader_lost_amid_writes() {
    if skipped() {
        return;
    }
    let mut etcd = Etcd::start_with(3, &EtcdArgs::default());
    let follower = etcd.store();
    let start = eventually(|| block_on(follower.list(&KeyPrefix::All))).revision;
    let stop = AtomicBool::new(false);
    let acknowledged = AtomicU64::new(0);
    let (say, told) = mpsc::channel();
    // Not joined: one that misses something would wait for ever.
    thread::spawn(move || follow(&follower, start, &say));
    let written: Vec<BTreeMap<String, String>> = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (store, stop, acknowledged) = (etcd.store(), &stop, &acknowledged);
                scope.spawn(move || {
                    let mut written = BTreeMap::new();
                    for i in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let key = node(format!("w{writer}-{i}"));
                        // One that has no answer is not acknowledged; the next has a key of its own.
                        match block_on(store.create(&key, &format!("{i}"))) {
                            Ok(_) => {
                                acknowledged.fetch_add(1, Ordering::Relaxed);
                                written.insert(key.path(), format!("{i}"));
                            }
                            Err(StoreError::Backend(text)) => drop(explained(&text)),
                            Err(error) => panic!("{error}"),
                        }
                    }
                    written
                })
            })
            .collect();
        for _ in 0..5 {
            let before = acknowledged.load(Ordering::Relaxed);
            let leader = leader(&etcd);
            etcd.kill(leader);
            eventually(
                || match acknowledged.load(Ordering::Relaxed) > before + 200 {
                    true => Ok(()),
                    false => Err(StoreError::Backend(
                        "no writes after the leader's end".to_string(),
                    )),
                },
            );
            etcd.restart(leader);
        }
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    let store = etcd.store();
    let done = eventually(|| block_on(store.create(&node("done"), "{}")));
    let listing = block_on(store.list(&KeyPrefix::All)).unwrap();
    let there: BTreeMap<String, String> = listing
        .entries
        .iter()
        .map(|e| (e.key.path(), e.value.clone()))
        .collect();
    let all: usize = written.iter().map(BTreeMap::len).sum();
    assert!(all > 1000, "{all}");
    for (path, value) in written.into_iter().flatten() {
        assert_eq!(there.get(&path), Some(&value), "{path}");
    }
    let told: BTreeMap<String, String> = told
        .recv_timeout(PATIENCE)
        .expect("a follower that came to the end");
    assert_eq!(told, there);
    assert!(listing.revision >= done.revision);
}

fn follow(store: &EtcdStore, start: u64, say: &mpsc::Sender<BTreeMap<String, String>>) {
    let mut cursor = start;
    let mut seen = BTreeMap::new();
    while !seen.contains_key(&node("done").path()) {
        // Without a majority nothing can be read for a moment.
        let told = match block_on(store.wait(cursor)).and_then(|()| block_on(store.changes(cursor)))
        {
            Ok(told) => told,
            Err(StoreError::Backend(_)) => {
                thread::park_timeout(Duration::from_millis(20));
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        for change in told.changes {
            let Change::Put(entry) = change else {
                panic!("{change:?}")
            };
            assert!(entry.revision > cursor);
            let before = seen.insert(entry.key.path(), entry.value);
            assert_eq!(before, None, "{} was told twice", entry.key);
        }
        cursor = told.revision;
    }
    let _ = say.send(seen);
}

fn leader(etcd: &Etcd) -> usize {
    let is_leader = |member: &usize| {
        let output = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &etcd.endpoint(*member), "endpoint", "status"])
            .output()
            .unwrap();
        // URL, id, version, size, is leader, ...
        String::from_utf8_lossy(&output.stdout).split(", ").nth(4) == Some("true")
    };
    eventually(|| {
        (0..3)
            .find(is_leader)
            .ok_or_else(|| StoreError::Backend("no leader".to_string()))
    })
}

#[test]
fn ten_thousand_objects() {
    if skipped() {
        return;
    }
    const OBJECTS: usize = 10_000;
    let etcd = Etcd::start();
    let store = etcd.store();
    let start = block_on(store.list(&KeyPrefix::All)).unwrap().revision;
    let value = format!("{{\"kind\":\"Node\",\"filler\":\"{}\"}}", "x".repeat(400));
    thread::scope(|scope| {
        for part in 0..16 {
            let (store, value) = (store.clone(), &value);
            scope.spawn(move || {
                for i in (part..OBJECTS).step_by(16) {
                    block_on(store.create(&node(format!("n{i:05}")), value)).unwrap();
                }
            });
        }
    });
    let fresh = etcd.store();
    let listing = block_on(fresh.list(&KeyPrefix::Kind(Kind::Node))).unwrap();
    assert_eq!(listing.entries.len(), OBJECTS);
    assert!(
        listing
            .entries
            .is_sorted_by(|a, b| a.key.path() < b.key.path())
    );
    assert!(listing.entries.iter().all(|e| e.value == value));
    let mut cursor = start;
    let mut told = 0;
    while told < OBJECTS {
        block_on(fresh.wait(cursor)).unwrap();
        let changes = block_on(fresh.changes(cursor)).unwrap();
        told += changes.changes.len();
        cursor = changes.revision;
    }
    assert_eq!(told, OBJECTS);
}
