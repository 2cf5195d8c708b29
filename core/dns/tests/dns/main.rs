//! The server through its one boundary, and what its bytes say by a second decoder.

mod cluster;
mod decode;
mod properties;
mod wire;
mod zone;
