//! The log of the long-running commands.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// One line an event on stderr, as `RUST_LOG` says, else as `default` does; `RUST_LOG=agent=debug` shows each kernel operation.
pub fn to_stderr(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
