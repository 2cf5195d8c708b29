//! What one node runs: watches, kernel, DNS sockets, timers.
//!
//! [`run`] is `selvedge node run`: it takes the node's lock, writes what a start writes into the store ([`startup`]), and
//! then drives a [`node::Node`] with the store's changes, the speaker's routes and the kernel's state until it is told to
//! stop. What blocks (store, kernel, speaker) has threads; sockets, timers and signals are one tokio thread's. It decides
//! nothing about routes or rules.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let env = std::env::vars().collect();
//! let config = agent::AgentConfig::read(agent::Flags::default(), &env, "node-1")?;
//! agent::run(&config, &store::Config::load(None)?)
//! # }
//! ```

pub mod autodetect;
mod bird_socket;
mod collector;
pub mod config;
mod control;
mod event;
mod files;
mod identity;
mod kernel_threads;
mod lock;
mod names;
mod recorder;
mod report;
mod run;
mod secrets;
mod session_report;
pub mod startup;
mod status_report;
mod store_watch;
mod tunnel;

pub use bird_socket::{View, answer};
pub use config::{AgentConfig, Flags, Paths};
pub use intent::LogSeverity;
pub use lock::Lock;
pub use run::{HEALTH_FILE, LIVENESS_SOCKET, run, run_with};
