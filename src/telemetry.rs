//! Logs: to standard error, for people on a terminal and as JSON elsewhere. Never an entry's content.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Starts to log what `filter` lets through, such as `info` or `auditlog=debug,warn`.
pub fn init(filter: &str) -> anyhow::Result<()> {
    let allowed = "the log filter must be a level (error, warn, info, debug, trace) or pairs such as auditlog=debug";
    // What the database drivers say at each start is not worth a line, unless asked for.
    let filter = EnvFilter::try_new(format!("sqlx=warn,sea_orm_migration=warn,{filter}"))
        .with_context(|| format!("{allowed}, got {filter:?}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    // What cannot be logged is lost, and the service goes on: telling of it would fail as well, and panic.
    let log = log.log_internal_errors(false);
    match stderr().is_terminal() {
        true => log.init(),
        false => log.json().flatten_event(true).init(),
    }
    // The message of a panic may quote what it panicked on, so that only its place is logged.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panicked");
    }));
    Ok(())
}
