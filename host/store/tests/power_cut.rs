//! A power cut keeps a beginning of the write-ahead log, whatever else: what is read afterwards is a beginning of the writes.

use std::fs;

use resource::{Change, Key, KeyPrefix, Kind, Store};
use store::{SqliteStore, block_on};

const WRITES: u64 = 60;

fn key(i: u64) -> Key {
    Key::cluster(Kind::Node, format!("n{}", i % 5))
}

/// A text of one to three pages that says which write it was.
fn value(i: u64) -> String {
    format!(
        "\"{i} {}\"",
        "x".repeat(usize::try_from(i % 3).unwrap() * 4000)
    )
}

/// Opens a copy of the file with this log; how many writes are there. All of them must be whole and none missing.
fn recovered(database: &[u8], log: &[u8]) -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("selvedge.db");
    fs::write(&path, database).unwrap();
    fs::write(directory.path().join("selvedge.db-wal"), log).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    let changes = block_on(store.changes(0)).unwrap();
    for (i, change) in (1..).zip(&changes.changes) {
        let Change::Put(entry) = change else {
            panic!("{change:?}")
        };
        assert_eq!(
            (entry.revision, &entry.key, &entry.value),
            (i, &key(i), &value(i))
        );
    }
    assert_eq!(changes.changes.len() as u64, changes.revision);
    let listing = block_on(store.list(&KeyPrefix::All)).unwrap();
    assert_eq!(listing.revision, changes.revision);
    assert_eq!(listing.entries.len() as u64, changes.revision.min(5));
    for entry in listing.entries {
        assert_eq!(
            entry.value,
            value(entry.revision),
            "the value is its revision's"
        );
    }
    // And it takes writes again, with the next revision.
    let next = block_on(store.create(&Key::cluster(Kind::Node, "new"), "1")).unwrap();
    assert_eq!(next.revision, changes.revision + 1);
    changes.revision
}

#[test]
fn a_log_that_is_cut_anywhere_is_a_beginning_of_the_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("selvedge.db");
    let store = SqliteStore::open(&path).unwrap();
    for i in 1..=WRITES {
        match block_on(store.get(&key(i))).unwrap() {
            None => block_on(store.create(&key(i), &value(i))).unwrap(),
            Some(entry) => block_on(store.update(&key(i), &value(i), entry.revision)).unwrap(),
        };
    }
    let database = fs::read(&path).unwrap();
    let log = fs::read(directory.path().join("selvedge.db-wal")).unwrap();
    assert_eq!(
        recovered(&database, &log),
        WRITES,
        "the control: nothing is cut"
    );

    // The first frames make the tables; without them the file is empty, and made anew.
    let mut seen = Vec::new();
    for cut in 1..60 {
        let at = log.len() * cut / 60;
        let short = recovered(&database, &log[..at]);
        // Beyond the cut the disk may hold anything.
        let mut torn = log.clone();
        torn[at..].fill(0xa5);
        assert_eq!(recovered(&database, &torn), short);
        seen.push(short);
    }
    assert!(seen.is_sorted(), "more log is never fewer writes: {seen:?}");
    assert!(seen.last() > seen.first());
    seen.dedup();
    assert!(
        seen.len() > 30,
        "the cuts fell between many writes: {seen:?}"
    );
}
