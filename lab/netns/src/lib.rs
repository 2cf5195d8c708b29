//! The lab: a scenario's hosts as network namespaces on the real kernel, with real daemons and real peers.
//!
//! Works as root and, in a user namespace, as an ordinary user. Nothing leaves the namespaces and nothing stays behind:
//! every process of a lab lives under one PID namespace, and ending its first process ends them all.
//!
//! ```text
//!     caller ── pipe ── keeper ── switch (PID 1 of the lab; bridges, one per LAN)
//!                                   ├── host (PID 1 of its own; net, mount, UTS, IPC)
//!                                   └── host ...
//! ```
//!
//! The caller holds the lab by the pipe: when it ends, however it ends, so does the lab; `up` and `--keep` let go of it.
//! The keeper removes the state directory afterwards. Entering a host is [`join`], from outside, by setns(2).
//!
//! Main types: [`Plan`], [`State`], [`Lab`], [`Runner`]. What it does not do: read scenario files (crate `scenario`),
//! or run them without a kernel (crate `sim`).

mod bring_up;
mod host;
mod join;
mod keeper;
mod lab;
mod picture;
mod plan;
mod pod;
pub mod probe;
mod report;
mod root;
mod run;
mod state;
mod status;
mod switch;

pub use bring_up::{Refused, up};
pub use host::host;
pub use join::{Join, LabChoice, join};
pub use keeper::keeper;
pub use lab::{Lab, Output, at_switch};
pub use picture::picture;
pub use plan::{HostPlan, NicPlan, Plan, PodPlan};
pub use report::{Report, StepReport, opening};
pub use run::{Runner, Show};
pub use state::{Record, State};
pub use status::status;
pub use switch::switch;

/// Where programs are looked for on every host; the lab's own binary comes first.
pub const PATH: &str =
    "/opt/selvedge/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
