//! What others see of a BGP speaker, as octets: BMP messages (RFC 7854), MRT records (RFC 6396, RFC 8050), and MRT files
//! played again.
//!
//! Pure: it turns what [`bgp::Speaker`] shows ([`bgp::RibSlice`], [`bgp::SessionView`]) into
//! octets, and files into UPDATEs. It opens no file and no connection.
//!
//! ```
//! use monitor::mrt;
//! let mut out = Vec::new();
//! let index = mrt::PeerIndex::new([10, 20, 1, 81].into(), 64512, &[]);
//! index.write(0, &mut out);
//! let first = mrt::Records::new(&out).next().unwrap().unwrap();
//! assert!(matches!(first, mrt::Record::PeerIndexTable(_)));
//! ```

mod as_path;
pub mod bmp;
pub mod mrt;
mod mrt_read;
pub mod replay;
mod update;
