//! The store in an SQLite file.
//!
//! Two tables: `"values"` holds what is, `log` the last revisions. A write takes SQLite's write lock, so that revisions are
//! handed out in the order of their commits; readers never wait for writers (write-ahead log).

mod error;
mod schema;
mod watch;

use std::fmt;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;

use resource::{Change, Changes, Entry, Key, KeyPrefix, Listing, Store, StoreError, StoreResult};
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};

use error::backend;
use schema::Opened;
use watch::Watch;

/// What may be set apart from the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// How many revisions the log keeps for watchers; at least 1.
    pub log_revisions: u64,
    /// How long the watch sleeps at most when it heard nothing of a write.
    pub quiet: Duration,
}

impl Default for SqliteOptions {
    fn default() -> SqliteOptions {
        SqliteOptions {
            log_revisions: 10_000,
            quiet: Duration::from_millis(500),
        }
    }
}

struct Inner {
    path: PathBuf,
    options: SqliteOptions,
    opened: Mutex<Opened>,
    watch: OnceLock<Result<Watch, String>>,
}

/// A [`Store`] in an SQLite file that any number of processes may have open. Clones share one connection.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.inner.path)
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the file, and makes it and its directory if they are not there.
    ///
    /// # Errors
    /// [`StoreError::Backend`] saying what is wrong with which file, and how to mend it.
    pub fn open(path: impl AsRef<Path>) -> StoreResult<SqliteStore> {
        SqliteStore::open_with(path, SqliteOptions::default())
    }

    /// [`SqliteStore::open`] with options.
    ///
    /// # Errors
    /// As for `open`.
    pub fn open_with(path: impl AsRef<Path>, options: SqliteOptions) -> StoreResult<SqliteStore> {
        let path = path.as_ref().to_path_buf();
        let opened = schema::open_or_make(&path)?;
        Ok(SqliteStore {
            inner: Arc::new(Inner {
                path,
                options,
                opened: Mutex::new(opened),
                watch: OnceLock::new(),
            }),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The open file; opened anew where another has taken its place, so that nobody goes on with a file that has no name.
    fn opened(&self) -> StoreResult<MutexGuard<'_, Opened>> {
        // A transaction that a panic left open was rolled back when it was dropped.
        let mut opened = self
            .inner
            .opened
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !opened.is_at(&self.inner.path) {
            *opened = schema::open(&self.inner.path)?;
        }
        Ok(opened)
    }

    /// Runs `read` on one snapshot of the file.
    fn read<T>(
        &self,
        read: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> StoreResult<T> {
        let mut opened = self.opened()?;
        let run = || -> rusqlite::Result<T> {
            let transaction = opened
                .connection
                .transaction_with_behavior(TransactionBehavior::Deferred)?;
            let value = read(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(|e| backend(&self.inner.path, "read", &e))
    }

    /// Runs `write` under the write lock; what it returns as an error is rolled back.
    fn write<T>(
        &self,
        write: impl FnOnce(&Transaction<'_>) -> Result<T, Refusal>,
    ) -> StoreResult<T> {
        let (result, wal) = {
            let mut opened = self.opened()?;
            let wal = Arc::clone(&opened.wal);
            let run = || -> Result<T, Refusal> {
                let transaction = opened
                    .connection
                    .transaction_with_behavior(TransactionBehavior::Immediate)?;
                let value = write(&transaction)?;
                transaction.commit()?;
                Ok(value)
            };
            (run(), wal)
        };
        let value = result.map_err(|refusal| match refusal {
            Refusal::Store(error) => error,
            Refusal::Sqlite(error) => backend(&self.inner.path, "write", &error),
        })?;
        // The commit is visible to all from here on; whoever was woken by its bytes may have looked too early.
        watch::announce(&self.inner.path);
        if let Some(Ok(watch)) = self.inner.watch.get() {
            watch.wake();
        }
        // Nobody waits for the lock meanwhile, and the disk flushes several writers' commits at once.
        wal.sync_data().map_err(|e| {
            StoreError::Backend(format!(
                "datastore {} was written, but not flushed to the disk: {e}; see the kernel's log",
                self.inner.path.display()
            ))
        })?;
        Ok(value)
    }

    /// Writes the value and its line in the log; the caller has checked what is there.
    fn put(&self, tx: &Transaction<'_>, key: &Key, value: &str) -> Result<Entry, Refusal> {
        let path = key.path();
        let revision = self.append(tx, &path, Some(value))?;
        tx.prepare_cached(
            "INSERT INTO \"values\" (path, value, revision) VALUES (?1, ?2, ?3)
             ON CONFLICT (path) DO UPDATE SET value = ?2, revision = ?3",
        )?
        .execute(params![path, value, revision])?;
        Ok(Entry {
            key: key.clone(),
            value: value.to_string(),
            revision: unsigned(revision),
        })
    }

    /// Adds a line to the log, cuts off what is too old, and returns the line's revision.
    fn append(
        &self,
        tx: &Transaction<'_>,
        path: &str,
        value: Option<&str>,
    ) -> rusqlite::Result<i64> {
        let revision = current_revision(tx)? + 1;
        tx.prepare_cached("INSERT INTO log (revision, path, value) VALUES (?1, ?2, ?3)")?
            .execute(params![revision, path, value])?;
        let keep = i64::try_from(self.inner.options.log_revisions.max(1)).unwrap_or(i64::MAX);
        tx.prepare_cached("DELETE FROM log WHERE revision <= ?1")?
            .execute([revision.saturating_sub(keep)])?;
        Ok(revision)
    }

    fn watch(&self) -> StoreResult<&Watch> {
        let path = &self.inner.path;
        let start = || {
            Watch::start(path, self.inner.options.quiet)
                .map_err(|e| format!("cannot watch datastore {}: no thread: {e}", path.display()))
        };
        self.inner
            .watch
            .get_or_init(start)
            .as_ref()
            .map_err(|reason| StoreError::Backend(reason.clone()))
    }
}

/// Why a write did not happen.
enum Refusal {
    Store(StoreError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Refusal {
        Refusal::Sqlite(error)
    }
}

/// SQLite's integers are signed; revisions begin at 1 and do not reach 2^63.
fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}

/// The log always keeps its last line, so that its greatest revision is the store's.
fn current_revision(tx: &Transaction<'_>) -> rusqlite::Result<i64> {
    tx.prepare_cached("SELECT coalesce(max(revision), 0) FROM log")?
        .query_row([], |row| row.get(0))
}

/// The revision and value at a path.
fn stored(tx: &Transaction<'_>, path: &str) -> rusqlite::Result<Option<(String, u64)>> {
    tx.prepare_cached("SELECT value, revision FROM \"values\" WHERE path = ?1")?
        .query_row([path], |row| Ok((row.get(0)?, unsigned(row.get(1)?))))
        .optional()
}

/// The text after every text that begins with `prefix`: all prefixes end in `/`, and `0` follows it.
fn end_of(prefix: &str) -> String {
    let mut end = prefix.strip_suffix('/').unwrap_or(prefix).to_string();
    end.push('0');
    end
}

impl Store for SqliteStore {
    async fn get(&self, key: &Key) -> StoreResult<Option<Entry>> {
        let found = self.read(|tx| stored(tx, &key.path()))?;
        Ok(found.map(|(value, revision)| Entry {
            key: key.clone(),
            value,
            revision,
        }))
    }

    async fn list(&self, prefix: &KeyPrefix) -> StoreResult<Listing> {
        self.read(|tx| {
            let mut entries = Vec::new();
            let mut statement = tx.prepare_cached(
                "SELECT path, value, revision FROM \"values\" WHERE path >= ?1 AND path < ?2 ORDER BY path",
            )?;
            for prefix in prefix.paths() {
                let mut rows = statement.query(params![prefix, end_of(&prefix)])?;
                while let Some(row) = rows.next()? {
                    // A path of a kind that this version does not know is not ours to judge.
                    if let Some(key) = Key::from_path(row.get_ref(0)?.as_str()?) {
                        entries.push(Entry {
                            key,
                            value: row.get(1)?,
                            revision: unsigned(row.get(2)?),
                        });
                    }
                }
            }
            Ok(Listing {
                entries,
                revision: unsigned(current_revision(tx)?),
            })
        })
    }

    async fn create(&self, key: &Key, value: &str) -> StoreResult<Entry> {
        self.write(|tx| match stored(tx, &key.path())? {
            Some(_) => Err(Refusal::Store(StoreError::Exists(key.clone()))),
            None => self.put(tx, key, value),
        })
    }

    async fn update(&self, key: &Key, value: &str, expected: u64) -> StoreResult<Entry> {
        self.write(|tx| match stored(tx, &key.path())? {
            None => Err(Refusal::Store(StoreError::NotFound(key.clone()))),
            Some((_, revision)) if revision != expected => {
                Err(Refusal::Store(StoreError::Conflict(key.clone())))
            }
            Some(_) => self.put(tx, key, value),
        })
    }

    async fn delete(&self, key: &Key, expected: Option<u64>) -> StoreResult<Entry> {
        self.write(|tx| {
            let path = key.path();
            let Some((value, revision)) = stored(tx, &path)? else {
                return Err(Refusal::Store(StoreError::NotFound(key.clone())));
            };
            if expected.is_some_and(|expected| expected != revision) {
                return Err(Refusal::Store(StoreError::Conflict(key.clone())));
            }
            self.append(tx, &path, None)?;
            tx.prepare_cached("DELETE FROM \"values\" WHERE path = ?1")?
                .execute([&path])?;
            Ok(Entry {
                key: key.clone(),
                value,
                revision,
            })
        })
    }

    async fn unknown_paths(&self) -> StoreResult<Vec<String>> {
        self.read(|tx| {
            let mut statement = tx.prepare_cached("SELECT path FROM \"values\" ORDER BY path")?;
            let paths = statement.query_map([], |row| row.get(0))?;
            let paths = paths.collect::<rusqlite::Result<Vec<String>>>()?;
            Ok(paths
                .into_iter()
                .filter(|p| Key::from_path(p).is_none())
                .collect())
        })
    }

    async fn changes(&self, cursor: u64) -> StoreResult<Changes> {
        self.read(|tx| {
            let current = unsigned(current_revision(tx)?);
            let first: Option<i64> = tx
                .prepare_cached("SELECT min(revision) FROM log")?
                .query_row([], |row| row.get(0))?;
            let first = first.map_or(1, unsigned);
            // A cursor from the future was read from another file that stood here before.
            if cursor > current || cursor.saturating_add(1) < first {
                return Ok(Err(StoreError::Compacted { cursor, first }));
            }
            let mut changes = Vec::new();
            let mut statement = tx.prepare_cached(
                "SELECT revision, path, value FROM log WHERE revision > ?1 ORDER BY revision",
            )?;
            let mut rows = statement.query([i64::try_from(cursor).unwrap_or(i64::MAX)])?;
            while let Some(row) = rows.next()? {
                let Some(key) = Key::from_path(row.get_ref(1)?.as_str()?) else {
                    continue;
                };
                let revision = unsigned(row.get(0)?);
                changes.push(match row.get(2)? {
                    Some(value) => Change::Put(Entry {
                        key,
                        value,
                        revision,
                    }),
                    None => Change::Delete { key, revision },
                });
            }
            Ok(Ok(Changes {
                changes,
                revision: current,
            }))
        })?
    }

    async fn wait(&self, cursor: u64) -> StoreResult<()> {
        let watch = self.watch()?;
        poll_fn(|cx| {
            // Registered before the look, so that a commit after the look finds the waker.
            watch.register(cx.waker());
            match self.read(current_revision) {
                Ok(current) if unsigned(current) == cursor => Poll::Pending,
                Ok(_) => Poll::Ready(Ok(())),
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use resource::Kind;

    use super::*;
    use crate::block_on;

    fn limit_pages(store: &SqliteStore, pages: u32) {
        let opened = store.opened().unwrap();
        opened
            .connection
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
            .unwrap();
    }

    /// A full disk refuses the write whole, says so, and the store goes on when there is space again.
    #[test]
    fn a_full_disk_is_said_and_nothing_is_half_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("selvedge.db");
        let key = Key::cluster(Kind::Node, "n");
        let big = format!("\"{}\"", "x".repeat(1 << 20));
        let store = SqliteStore::open(&file).unwrap();
        let first = block_on(store.create(&key, "1")).unwrap();
        limit_pages(&store, 20);
        let refused = block_on(store.update(&key, &big, first.revision)).unwrap_err();
        assert!(
            refused.to_string().contains("the disk is full"),
            "{refused}"
        );
        assert_eq!(block_on(store.get(&key)), Ok(Some(first.clone())));
        limit_pages(&store, 1 << 20);
        block_on(store.update(&key, &big, first.revision)).unwrap();
    }
}
