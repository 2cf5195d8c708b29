//! SQLite's errors in the operator's words: what, where, how to mend it.

use std::path::Path;

use resource::StoreError;
use rusqlite::{Error, ErrorCode};

/// The error of `action` ("open", "read", "write") on the file.
pub(super) fn backend(path: &Path, action: &str, error: &Error) -> StoreError {
    let mend = match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen) => {
            "check that its directory exists and may be written by this user, or name another file with SELVEDGE_SQLITE_PATH"
        }
        Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            "the file and its directory must be writable for this user (run as root, or mend owner and mode)"
        }
        Some(ErrorCode::DiskFull) => "the disk is full: free some space; nothing was changed",
        Some(ErrorCode::NotADatabase) => {
            "the file is something else than a datastore: move it away, or name another file with SELVEDGE_SQLITE_PATH"
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            "the file is damaged: stop all programs that use it and restore it from a copy"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process holds the datastore's lock: find it with `fuser`, and try again"
        }
        Some(ErrorCode::SystemIoFailure) => {
            "the disk refused: see the kernel's log; nothing was changed"
        }
        _ => "nothing was changed",
    };
    StoreError::Backend(format!(
        "cannot {action} datastore {}: {error}; {mend}",
        path.display()
    ))
}
