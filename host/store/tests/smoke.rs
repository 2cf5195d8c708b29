//! Opening, and that what is written is there.

use resource::{Key, KeyPrefix, Kind, Store, StoreError};
use store::{SqliteStore, block_on};

#[test]
fn a_new_file_is_made_with_its_directory_and_keeps_values() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/selvedge.db");
    let key = Key::cluster(Kind::Node, "node-1");
    {
        let store = SqliteStore::open(&path).unwrap();
        let entry = block_on(store.create(&key, "{\"a\": 1}")).unwrap();
        assert_eq!(entry.revision, 1);
    }
    let store = SqliteStore::open(&path).unwrap();
    let listing = block_on(store.list(&KeyPrefix::All)).unwrap();
    assert_eq!((listing.revision, listing.entries.len()), (1, 1));
    assert_eq!(listing.entries[0].value, "{\"a\": 1}");
    let waiter = {
        let store = store.clone();
        std::thread::spawn(move || block_on(store.wait(1)))
    };
    let other = SqliteStore::open(&path).unwrap();
    block_on(other.delete(&key, Some(1))).unwrap();
    waiter.join().unwrap().unwrap();
    assert_eq!(block_on(store.changes(1)).unwrap().revision, 2);
}

#[cfg(unix)]
#[test]
fn another_file_in_the_place_of_an_open_one_is_taken_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store/selvedge.db");
    let key = Key::cluster(Kind::Node, "node-1");
    let store = SqliteStore::open(&path).unwrap();
    for _ in 0..3 {
        block_on(store.create(&key, "1")).unwrap();
        block_on(store.delete(&key, None)).unwrap();
    }
    let waiter = {
        let store = store.clone();
        std::thread::spawn(move || {
            // Woken, told that the file is gone or that the cursor is another's, and it lists again until the new value is there.
            loop {
                let _ = block_on(store.wait(6));
                if let Ok(Some(entry)) = block_on(store.get(&key)) {
                    return (entry, block_on(store.changes(6)));
                }
                std::thread::yield_now();
            }
        })
    };
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let refused = block_on(store.list(&KeyPrefix::All))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("was removed while in use"), "{refused}");
    assert!(!path.exists(), "nobody but an opener makes a new one");
    let new = SqliteStore::open(&path).unwrap();
    block_on(new.create(&Key::cluster(Kind::Node, "node-1"), "2")).unwrap();
    let (entry, changes) = waiter.join().unwrap();
    assert_eq!((entry.value.as_str(), entry.revision), ("2", 1));
    assert_eq!(
        changes,
        Err(StoreError::Compacted {
            cursor: 6,
            first: 1
        })
    );
}

#[test]
fn many_make_the_same_file_at_once() {
    // In memory where there is such a place: a new file is flushed several times, and here only the order matters.
    let memory = std::path::Path::new("/dev/shm");
    let directory = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    for round in 0..200 {
        let path = directory.path().join(format!("{round}/selvedge.db"));
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    start.wait();
                    SqliteStore::open(&path).unwrap();
                });
            }
        });
    }
}
