//! Scenarios in virtual time: the same machines as in production, a kernel made of values, faults drawn from a seed.
//!
//! A run is decided by its scenario and its seed alone: two runs of one seed are equal to the bit. Agents are the planner
//! ([`node::Node`]) and the speaker ([`bgp::Speaker`]) themselves; the store is [`resource::MemoryStore`]; IPAM runs one
//! store call at a time and may be killed between any two. After quiet, checkers compare the world with what the
//! resources say. [`Bug`]s can be planted at the seams, to show that the checkers find them.
//!
//! It does not run programs: a step that needs a real kernel is passed over, and counted.

mod bug;
mod build;
mod check;
mod cluster;
mod endpoints;
mod fault;
mod host;
mod network;
mod packet;
mod process;
mod queue;
mod random;
mod run;
mod script;
mod steps;
mod tasks;
mod tcp;
mod update;
mod world;

pub use bug::Bug;
pub use check::Violation;
pub use process::replay;
pub use run::Outcome;
pub use script::Command;
pub use steps::{CommandLine, SimReport, StepOutcome, StepReport, run};
pub use world::World;

#[cfg(test)]
mod tests;
