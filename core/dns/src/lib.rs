//! The cluster's DNS zone as a pure machine.
//!
//! [`Zone`] holds what a [`service::Table`] says by name, as Kubernetes' DNS-based service discovery 1.1.0 wants it:
//! addresses, SRV, PTR, CNAME, `dns-version`, pods. [`Server::answer`] turns the bytes of a query into the bytes of an
//! answer; [`Server::handle`] also says why, and tells a forwarder which names are not ours.
//!
//! It has no sockets, no clock and no cache, follows no name out of its zones, and signs nothing. Over TCP the two
//! length bytes (RFC 1035 §4.2.2) are the caller's.
//!
//! ```
//! let config = dns::ZoneConfig { domain: "datateam.local".into(), ..dns::ZoneConfig::default() };
//! let zone = dns::Zone::build(&config, &service::Table::default())?;
//! let server = dns::Server::new(zone);
//! assert_eq!(server.answer(b"too short", dns::Transport::Udp), None);
//! # Ok::<(), dns::ZoneError>(())
//! ```

mod lookup;
mod name;
mod query;
mod record;
mod reverse;
mod server;
mod writer;
mod zone;

pub use name::{Name, NameError};
pub use query::Malformed;
pub use server::{Dropped, Outcome, Refused, Reply, Server, Transport};
pub use zone::{Pods, Zone, ZoneConfig, ZoneError};
