//! YAML as Go's `sigs.k8s.io/yaml` reads and writes it: YAML 1.1 words, keys sorted, lists not indented.
//!
//! The scanner and the emitter are a port of libyaml, of which Go's is a port too: messages, quoting and line breaks
//! are the same.

mod plain;
mod read;
mod write;

pub use read::read;
pub use write::write;
