//! The backends of [`resource::Store`]: SQLite in a file, for one machine or for several processes that share it.
//!
//! [`open`] takes a [`Config`] (a `calicoctl.cfg`, or the environment; none means SQLite at its production path) and
//! gives an [`AnyStore`]. Calls are short and synchronous inside their async functions, so that a program without an async
//! runtime drives them with [`block_on`]. Only [`resource::Store::wait`] waits, and one background thread a store wakes it.
//!
//! This crate knows nothing of kinds or addresses; values are JSON text, kept byte for byte.
//!
//! ```no_run
//! use resource::{Key, Kind, Store};
//! let store = store::open(&store::Config::load(None)?)?;
//! let node = store::block_on(store.get(&Key::cluster(Kind::Node, "node-1")))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod any;
mod block_on;
mod config;
mod sqlite;

pub use any::{AnyStore, open};
pub use block_on::block_on;
pub use config::{Config, ConfigError, DEFAULT_CONFIG_FILE, DEFAULT_SQLITE_PATH, Datastore};
pub use sqlite::{SqliteOptions, SqliteStore};
