//! Bidirectional Forwarding Detection (RFC 5880) as a pure machine: is the path to a neighbour alive?
//!
//! It has no clock and no sockets. A driver hands it [`Input`]s with the time, takes [`Output`]s until there are none, and
//! comes back at [`Machine::next_deadline`] at the latest. Which sessions are wanted comes as a whole. One rule is the
//! driver's: before [`Input::Timer`] it has read all that is in its sockets, each packet with the time at which it arrived, so
//! that nobody is called dead whose packets were only not read yet.
//!
//! Asynchronous mode only: no Echo, no authentication (both are refused by name); a neighbour's Demand mode is respected.
//!
//! ```
//! use bfd::{Input, Machine, Output, SessionConfig};
//! use std::time::Duration;
//! let mut machine = Machine::new(7);
//! let wanted = SessionConfig::new([10, 20, 1, 85].into());
//! machine.handle(Input::Configure(&[wanted]), Duration::ZERO);
//! machine.handle(Input::Timer, Duration::from_secs(1));
//! assert!(matches!(machine.poll(), Some(Output::Send { .. })));
//! ```

mod config;
mod machine;
mod packet;
mod session;
mod status;

pub use config::SessionConfig;
pub use machine::{Input, Machine, Output};
pub use packet::{Diagnostic, Discard, Packet, State};
pub use session::Reason;
pub use status::{Change, Status};

/// The UDP port of single-hop packets (RFC 5881 §4).
pub const SINGLE_HOP_PORT: u16 = 3784;
/// The UDP port of multihop packets (RFC 5883 §5).
pub const MULTIHOP_PORT: u16 = 4784;
/// The UDP source ports that a session may send from (RFC 5881 §4).
pub const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;
/// The TTL that single-hop packets are sent with, and must arrive with (RFC 5881 §5).
pub const TTL: u8 = 255;
