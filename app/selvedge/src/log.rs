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

/// As [`to_stderr`]; the function that it gives changes what is said, unless `RUST_LOG` says it.
pub fn adjustable_to_stderr(default: &str) -> impl Fn(&str) {
    let chosen = EnvFilter::try_from_default_env().ok();
    let is_fixed = chosen.is_some();
    let builder = tracing_subscriber::fmt()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_env_filter(chosen.unwrap_or_else(|| EnvFilter::new(default)))
        .with_filter_reloading();
    let handle = builder.reload_handle();
    builder.init();
    move |filter| {
        if !is_fixed && let Err(error) = handle.reload(EnvFilter::new(filter)) {
            tracing::warn!("the log stays as it is: {error}");
        }
    }
}
