//! The process side of BGP: one thread with all sockets drives a [`bgp::Speaker`].
//!
//! [`spawn`] starts the thread and gives a [`Handle`]: hand it whole configurations, take
//! [`Event`]s (route changes, peer states), ask for status. It decides nothing about routes;
//! it installs nothing in the kernel. [`main_run`] is the stand-alone daemon, with its
//! configuration from a file ([`ConfigFile`]), a control socket that [`show`] asks, and routes in
//! the kernel where it is asked for them.
//!
//! ```no_run
//! let config = bgp::Config::new(64512.into(), [10, 20, 1, 84].into());
//! let handle = speaker::spawn(config)?;
//! let events = handle.take_events().expect("taken once");
//! for event in events {
//!     println!("{event:?}");
//! }
//! # Ok::<(), std::io::Error>(())
//! ```

mod bmp;
mod config_file;
mod control;
mod daemon;
mod discovery;
mod dump;
mod event_loop;
mod events;
mod handle;
mod kernel_routes;
mod link;
mod observers;
mod record;
mod replay;
mod socket;
mod task;
mod watch;

pub use config_file::ConfigFile;
pub use control::{Form, Query, show};
pub use daemon::{liveness_socket, main_run};
pub use dump::dump;
pub use events::Event;
pub use handle::{Handle, Options, PrefixCounts, Snapshot, spawn, spawn_with};
pub use replay::{Progress, Replay, replay};
