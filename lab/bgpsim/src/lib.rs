//! Random topologies of BGP speakers in virtual time, against a slow, obvious reference model.
//!
//! A seed gives a topology, a script of faults and changes, and the order of everything that
//! could happen in more than one order. The speakers are the real machine of `core/bgp`; the wire
//! between them is [`world::World`], which also reads what each peer is told, with a decoder of
//! its own ([`bgpwire::tap`]). After quiet, [`check`] compares Loc-RIBs, reports and what was told with
//! [`model`], which knows the RFCs and nothing of the machine. [`bug`] plants faults that must be
//! found. Not here: the kernel, and the cluster around a speaker (`lab/sim`).
//!
//! ```
//! let report = bgpsim::run::run(1, None, false);
//! assert_eq!(report.failure, None);
//! ```

pub mod bug;
pub mod check;
pub mod model;
pub mod random;
pub mod run;
pub mod script;
pub mod topology;
pub mod world;
