//! BGP messages as the lab writes and reads them, apart from `core/bgp`, so that a fault there cannot hide behind the same
//! fault here.
//!
//! [`message`] frames, writes what a benchmark's peers say, and reads what a counting receiver must know: IPv4, fast.
//! [`tap`] reads one direction of a session and keeps what holds; [`say`] writes a [`tap::Route`]: both families, path
//! identifiers, everything that a model of BGP compares. Sessions have four-octet AS numbers. No sockets, no timers.
//!
//! ```
//! use bgpwire::{say, tap::{Route, Tap}};
//! let (prefix, route) = ("fd00:7::/64".parse()?, Route { next_hop: Some("fd09::1".parse()?), ..Route::default() });
//! let (mut octets, mut tap) = (Vec::new(), Tap::default());
//! say::announce(&mut octets, &route, prefix, None);
//! tap.read(&octets).expect("well formed");
//! assert_eq!(tap.told[&(prefix, 0)], route);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod message;
pub mod say;
pub mod tap;
