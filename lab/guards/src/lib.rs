//! Rules of the workspace that a compiler does not know, as functions over plain data.
//!
//! [`arrows`] says which folder may use which and what `core/` may not carry along; [`sources`] what a source file may
//! hold and how long it may be; [`documents`] that the documents name what exists. Each function returns what breaks its
//! rule, one line each. The tests feed them this workspace, and beside it a planted violation: a guard that finds
//! nothing must be one that can find something.
//!
//! Nothing here is used by the product. The lints that clippy knows are in the workspace's `Cargo.toml` and `clippy.toml`,
//! the rules for dependencies from outside in `deny.toml`.

pub mod arrows;
pub mod documents;
pub mod sources;
