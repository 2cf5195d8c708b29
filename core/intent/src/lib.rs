//! From resources to what one node has to do.
//!
//! [`Resources`] holds what the store says, kept up to date change by change; [`compute`] turns it into the [`Intent`]
//! of one node: BGP sessions, originated prefixes and export rules, pools, blocks, workloads, tunnels, names. It is a
//! function of the resources alone: equal resources give an equal intent, whatever the way that led there. What
//! cannot be done is listed as a [`Refusal`] with a [`Reason`], and the rest stands.
//!
//! It does not know BGP messages (`bgp`), kernel objects (`dataplane`) or how addresses are allocated (`ipam`).
//!
//! ```
//! let resources = intent::Resources::default();
//! let intent = intent::compute(&resources, "node-1");
//! assert_eq!(intent.refusals[0].reason, intent::Reason::NodeMissing);
//! ```

mod advertisements;
mod cluster;
mod compute;
mod export;
mod filter;
mod names;
mod peer_rule;
mod policies;
mod pools;
mod reason;
mod resources;
mod secret;
mod service_routes;
mod sessions;

pub use cluster::{BGP_PORT, Cluster, DEFAULT_AS, NodeView, parse_address};
pub use compute::{
    BgpIntent, Environment, Intent, LogSeverity, Tunnel, Workload, compute, compute_in,
};
pub use export::ExportRule;
pub use filter::{Community, FilterOperation, FilterRule, Prefixes, SessionFilters};
pub use names::{DNS_ANNOTATION, DNS_DOMAIN_ANNOTATION, DnsService, Names};
pub use policies::{DynamicNeighbours, Imports, Over, PrefixLimit};
pub use pools::Pool;
pub use reason::{Reason, Refusal};
pub use resources::{NamespacedName, Part, Resources};
pub use secret::SecretKey;
pub use sessions::{NextHop, NodePath, Session, SessionKind};
