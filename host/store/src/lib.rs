//! The backends of [`resource::Store`]: SQLite in a file, for one machine or for several processes that share it; etcd v3.
//!
//! [`open`] takes a [`Config`] (a `calicoctl.cfg`, or the environment; none means SQLite at its production path) and
//! gives an [`AnyStore`]. A program without an async runtime drives its calls with [`block_on`]: SQLite's are short and
//! synchronous inside their async functions, etcd's are done by a background thread that wakes the caller. A thread of the
//! store's, started at its first use, also wakes those who are in [`resource::Store::wait`].
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
mod etcd;
mod kept;
mod kubernetes;
mod runtime;
mod secret;
mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;
mod tls;

pub use any::{AnyStore, open};
pub use block_on::block_on;
pub use config::{
    Config, ConfigError, DEFAULT_CONFIG_FILE, DEFAULT_SQLITE_PATH, Datastore, in_context,
};
pub use etcd::{Endpoint, EtcdOptions, EtcdStore};
pub use kubernetes::{Exec, KubernetesOptions, KubernetesStore, Login, Token};
pub use secret::Secret;
pub use sqlite::{SqliteOptions, SqliteStore};
pub use tls::Pem;
