//! The wiring of one node: inputs to outputs, pure.
//!
//! A [`Node`] joins what the store says (as an [`intent::Intent`]), what BGP peers say (the Loc-RIB) and what the kernel
//! has, and asks its driver for the difference. It is level-triggered: each plan is made from the present state of all
//! three. Before the store has spoken nothing is changed; routes of ours that are found at the start stay until peers
//! have sent theirs. Equal inputs give equal [`Output`]s, and an [`Input`] can be written down as JSON ([`Recorded`]).
//!
//! It does not open sockets, read clocks or touch a kernel: `host/agent` drives it, and the simulation does.
//!
//! ```
//! use node::{Input, Node, Now, Options, Output};
//! let mut node = Node::new(Options::named("node-1"));
//! node.handle(Input::Listing(Vec::new()), Now::default());
//! assert_eq!(node.poll(Now::default()), Some(Output::ReadKernel));
//! ```

mod export_filter;
mod import_filter;
mod input;
mod kernel;
mod kernel_input;
mod learned;
mod node;
mod output;
mod recording;
mod session_filter;
mod speaker_config;

pub use input::{BatchId, Input, LearntRoute, Now, Recorded, StoredChange};
pub use node::{Bfd, DNS_PORT, Health, Node, Options};
pub use output::{Names, Notice, Output};
pub use recording::{Line, ReplayError, replay};
pub use speaker_config::{PasswordFor, SpeakerConfig};
