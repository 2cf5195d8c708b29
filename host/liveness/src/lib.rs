//! The process that drives BFD, and the owner's end of it.
//!
//! BFD inside the agent would die with it, and its neighbours would take the node for dead. So a small process has the
//! sessions ([`run`]), and it lives on when its owner (the agent, or the stand-alone speaker) is killed or replaced: the next
//! one finds it by its socket and takes it over. Its packets say so (the C bit, RFC 5880 §4.1). The owner's end is
//! [`Client`]: it starts the process when there is none, hands over the wanted sessions as a whole, and is told what changes.
//! The process ends when it is told to ([`end`]), or when nobody has claimed it for a while; either way it says AdminDown
//! first, so that no neighbour takes that for a dead path.
//!
//! Messages are JSON, one a line: [`ToLiveness`], [`FromLiveness`].
//!
//! ```no_run
//! use liveness::{Client, Launch, Wanted};
//! let client = Client::start(Launch::own("/run/example.liveness".into()), |event| println!("{event:?}"))?;
//! client.want(vec![Wanted::new([10, 20, 1, 85].into())]);
//! # Ok::<(), std::io::Error>(())
//! ```

mod client;
mod message;
mod server;
mod show;
mod sockets;

pub use client::{Client, Launch, PathEvent, end};
pub use message::{
    FromLiveness, PROTOCOL, Report, SessionChange, SessionReport, ToLiveness, Wanted,
};
pub use server::{Options, run};
pub use show::{show, table};
