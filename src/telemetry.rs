//! Logs: to standard error, for people on a terminal and as JSON elsewhere. Never an entry's content.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Starts to log what `filter` lets through, such as `info` or `auditlog=debug,warn`.
pub fn init(filter: &str) -> anyhow::Result<()> {
    let allowed = "the log filter must be a level (error, warn, info, debug, trace) or pairs such as auditlog=debug";
    let filter = EnvFilter::try_new(filter).with_context(|| format!("{allowed}, got {filter:?}"))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match stderr().is_terminal() {
        true => log.init(),
        false => log.json().flatten_event(true).init(),
    }
    Ok(())
}
