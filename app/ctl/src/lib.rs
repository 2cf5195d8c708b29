//! The commands, tables and exit codes of calicoctl 3.32.
//!
//! [`run`] is the whole program: it reads a command line, does what it says with the store, prints calicoctl's words and
//! tables and returns the exit code. As [`Persona::Calicoctl`] the output is calicoctl's byte for byte; as
//! [`Persona::Selvedge`] a failure is followed by `hint:` lines on stderr that say what to do. [`run_with`] is the same
//! with streams, clock and store given, for tests and the lab.
//!
//! What a resource may be and how it is written is in `resource`; this crate knows documents, columns and texts. It has
//! no networking of its own but the control socket that `node status` asks.
//!
//! ```no_run
//! let words = ["calicoctl", "get", "nodes", "-o", "wide"].map(Into::into).to_vec();
//! std::process::exit(ctl::run(words, ctl::Persona::Calicoctl));
//! ```

mod args;
mod bird;
mod change;
mod checksystem;
mod client;
mod cluster;
mod columns;
mod command;
mod crds;
mod decode;
mod diags;
mod documents;
mod edit;
mod get;
mod grid;
mod hint;
mod ipam;
mod migrate;
mod migrate_kubernetes;
mod names;
mod node;
mod node_run;
mod patch;
mod programs;
mod sessions;
mod tables;
mod target;
mod template;
mod usage;
mod version;
mod world;
mod yaml;

pub use command::{OpenError, Persona, is_command, run, run_with};
pub use node::OUR_GREETING;
pub use usage::{CommandLine, command_lines};
pub use version::CALICO_VERSION;
pub use world::{Failure, Random, World};
