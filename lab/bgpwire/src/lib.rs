//! BGP messages as the lab writes and reads them, apart from `core/bgp`, so that a fault there cannot hide behind the same
//! fault here.
//!
//! [`message`] frames, writes what a benchmark's peers say, and reads what a counting receiver must know: IPv4, fast.
//! [`tap`] reads one direction of a session and keeps what holds: both families, everything that a model of BGP
//! compares. Sessions have four-octet AS numbers. No sockets, no timers.

pub mod message;
pub mod tap;
