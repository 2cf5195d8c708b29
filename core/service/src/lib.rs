//! From a Service's address and port to its backends.
//!
//! [`Table::build`] joins Services with their EndpointSlices: each [`Frontend`] (cluster address, protocol, port) gets
//! the backends that take traffic now, in a stable order, and each Service its names' data for `dns`. What cannot be
//! used is left out with a [`Refusal`] that says why; the rest of the table stands.
//!
//! It does not allocate cluster addresses, does not watch anything and does not know nftables: `dataplane` turns the
//! table into kernel objects, `dns` into a zone, `sim` asks [`Table::select`] what the kernel's map would answer.
//!
//! ```
//! let table = service::Table::build(&[], &[]);
//! assert!(table.addresses().is_empty() && table.refusals().is_empty());
//! ```

mod build;
mod refusal;
mod table;

pub use refusal::{Reason, Refusal};
pub use table::{
    Affinity, Backend, Diff, Frontend, HeadlessEndpoint, NamedPort, Names, Port, Protocol,
    ServiceName, Table, Unserved,
};
