//! Opening the file: its directory, settings and tables.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use resource::{StoreError, StoreResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::error::backend;

/// "SLVG": `file` shows it, and another program's database is told from ours.
const APPLICATION_ID: i32 = 0x534c_5647;
/// The layout of the tables.
const VERSION: i32 = 1;
/// How long a call waits for the lock of another process before it gives up.
const BUSY: Duration = Duration::from_secs(10);

const TABLES: &str = "
    CREATE TABLE \"values\" (
        path TEXT PRIMARY KEY NOT NULL,
        value TEXT NOT NULL,
        revision INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE log (
        revision INTEGER PRIMARY KEY NOT NULL,
        path TEXT NOT NULL,
        value TEXT
    ) STRICT;
";

/// An open file.
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// The write-ahead log, to be flushed after a commit. It carries no locks, so that it may be opened beside SQLite.
    pub(super) wal: Arc<File>,
    /// The file that stood at the path.
    identity: Option<Identity>,
}

impl Opened {
    /// Whether the file at the path is still the one that is open.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        self.identity == identity(path)
    }
}

/// Which file it is, whatever its name.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|_| (0, 0))
}

/// The path of the write-ahead log.
pub(super) fn wal_path(path: &Path) -> PathBuf {
    let mut wal = path.as_os_str().to_os_string();
    wal.push("-wal");
    PathBuf::from(wal)
}

/// Opens the file for reading and writing; makes it where it is not there.
pub(super) fn open_or_make(path: &Path) -> StoreResult<Opened> {
    make_file(path).map_err(|e| {
        StoreError::Backend(format!(
            "cannot create datastore {}: {e}; check that this user may write there (run as root), \
             or name another file with SELVEDGE_SQLITE_PATH",
            path.display()
        ))
    })?;
    open(path)
}

/// Opens the file, which must be there.
pub(super) fn open(path: &Path) -> StoreResult<Opened> {
    let identity = identity(path);
    if identity.is_none() {
        return Err(StoreError::Backend(format!(
            "datastore {} was removed while in use: put it back, or run any command to begin with an empty one",
            path.display()
        )));
    }
    let connection = connect(path)?;
    let wal = File::open(wal_path(path)).map_err(|e| {
        StoreError::Backend(format!(
            "cannot open the write-ahead log of datastore {}: {e}",
            path.display()
        ))
    })?;
    Ok(Opened {
        connection,
        wal: Arc::new(wal),
        identity,
    })
}

fn connect(path: &Path) -> StoreResult<Connection> {
    let mut connection = Connection::open(path).map_err(|e| backend(path, "open", &e))?;
    let until = Instant::now() + BUSY;
    loop {
        match prepare(&mut connection) {
            Ok(Ok(())) => return Ok(connection),
            Ok(Err(reason)) => {
                return Err(StoreError::Backend(format!(
                    "cannot open datastore {}: {reason}",
                    path.display()
                )));
            }
            // The change to WAL is refused at once, without the busy handler, when another process makes it too.
            Err(e)
                if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < until =>
            {
                thread::sleep(Duration::from_millis(1));
            }
            Err(e) => return Err(backend(path, "open", &e)),
        }
    }
}

/// Makes an empty file that only its owner may read (it holds passwords of BGP sessions), and its directory.
///
/// An existing file is not touched: to open and close it here would drop the locks that this process already has on it
/// (POSIX locks belong to the process and end with the first close).
fn make_file(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        fs::create_dir_all(directory)?;
        // The names of file and directory are to survive a power cut too. Not all systems can flush a directory.
        for directory in directory.ancestors().take(2) {
            if let Ok(open) = File::open(directory) {
                let _ = open.sync_all();
            }
        }
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

/// Settings of the connection, and the tables where they are not there; the inner error is a refusal.
fn prepare(connection: &mut Connection) -> rusqlite::Result<Result<(), String>> {
    connection.busy_handler(Some(wait_for_lock))?;
    // The write-ahead log stays when the last process closes: no work at the end of a short command, and a watch on it holds.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Before anything is written: another program's file stays as it is.
    // In one snapshot: another process may be making the tables just now.
    let before = {
        let snapshot = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
        known(&snapshot)?
    };
    let ours = match before {
        Some(Err(reason)) => return Ok(Err(reason)),
        Some(Ok(())) => true,
        None => false,
    };
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // SQLite flushes around checkpoints only; each commit is flushed by the store, outside the lock.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", 8 << 20)?;
    if ours {
        return Ok(Ok(()));
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Some(answer) = known(&transaction)? {
        return Ok(answer);
    }
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(Ok(()))
}

/// Whether the file is ours; `None` for an empty one. Three reads, so they need a transaction.
fn known(connection: &Transaction<'_>) -> rusqlite::Result<Option<Result<(), String>>> {
    let id: i32 = connection.pragma_query_value(None, "application_id", |r| r.get(0))?;
    let version: i32 = connection.pragma_query_value(None, "user_version", |r| r.get(0))?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    Ok(match (id, version) {
        (APPLICATION_ID, VERSION) => Some(Ok(())),
        (APPLICATION_ID, _) => Some(Err(format!(
            "it has layout {version}, and this version knows layout {VERSION}: use the version that wrote it"
        ))),
        (0, 0) if tables == 0 => None,
        _ => Some(Err(
            "it is the SQLite database of another program: move it away, or name another file with SELVEDGE_SQLITE_PATH"
                .to_string(),
        )),
    })
}

/// Called by SQLite for the `count`th time in one wait. Steps are short at first: a commit takes well under a millisecond
/// of work and one flush, and SQLite's own steps (up to 100 ms) leave the lock idle most of the time.
fn wait_for_lock(count: i32) -> bool {
    const SHORT: i32 = 50;
    const STEP: Duration = Duration::from_micros(200);
    const LONG_STEP: Duration = Duration::from_millis(2);
    let step = if count < SHORT { STEP } else { LONG_STEP };
    let waited = STEP * SHORT.min(count).unsigned_abs()
        + LONG_STEP * count.saturating_sub(SHORT).max(0).unsigned_abs();
    if waited >= BUSY {
        return false;
    }
    thread::sleep(step);
    true
}
