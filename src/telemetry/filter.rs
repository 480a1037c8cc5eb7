//! The filter for log lines.

use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::domain::{Invalid, quoted};

/// The `tracing` target of this program's own log lines.
const OWN: &str = "auditlog";
/// Libraries that read input from peers. Some log a warning for a frame that any peer can send, so they log nothing
/// unless the filter names them.
const PROTOCOLS: [&str; 8] = ["h2", "hyper", "hyper_util", "tonic", "tower", "tower_http", "axum", "rustls"];
const ALLOWED: &str =
    "must be a level (off, error, warn, info, debug, trace), or pairs such as auditlog=debug,sqlx=info";

/// A log level for this program, and levels for named targets. Libraries log at most warnings unless they are named.
#[derive(Debug, Clone)]
pub struct LogFilter(pub(super) Targets);

impl FromStr for LogFilter {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refuse = || Invalid::new(ALLOWED, quoted(text));
        let (mut own, mut named) = (LevelFilter::INFO, Vec::new());
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                None => own = level(part).ok_or_else(refuse)?,
                Some((target, name)) if is_target(target) => named.push((target, level(name).ok_or_else(refuse)?)),
                Some(_) => return Err(refuse()),
            }
        }
        let protocols = PROTOCOLS.map(|protocol| (protocol, LevelFilter::OFF));
        let targets = Targets::new().with_default(own.min(LevelFilter::WARN)).with_target(OWN, own);
        // For one target, the last level applies.
        Ok(Self(targets.with_targets(protocols).with_targets(named)))
    }
}

fn level(name: &str) -> Option<LevelFilter> {
    // The parser also takes numbers, and no text at all.
    let is_word = name.starts_with(|first: char| first.is_ascii_alphabetic());
    name.parse().ok().filter(|_| is_word)
}

/// Whether `text` can be a module path.
fn is_target(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn filter(text: &str) -> Targets {
        text.parse::<LogFilter>().expect("a filter").0
    }

    #[test]
    fn a_level_applies_to_this_program_and_libraries_log_at_most_warnings() {
        for (text, level) in [("info", Level::INFO), ("debug", Level::DEBUG), ("TRACE", Level::TRACE)] {
            let filter = filter(text);
            assert!(filter.would_enable("auditlog::app", &level), "{text}");
            assert!(filter.would_enable("sqlx::query", &Level::WARN), "{text}");
            assert!(!filter.would_enable("sqlx::query", &Level::INFO), "{text}");
            for protocol in PROTOCOLS {
                assert!(!filter.would_enable(&format!("{protocol}::server"), &Level::ERROR), "{text}: {protocol}");
            }
        }
        assert!(!filter("error").would_enable("sqlx::query", &Level::WARN));
        assert!(!filter("off").would_enable("auditlog::app", &Level::ERROR));
    }

    #[test]
    fn a_target_that_is_named_has_its_own_level() {
        let filter = filter("debug, h2=trace,auditlog::app=error");
        assert!(filter.would_enable("h2::proto", &Level::TRACE));
        assert!(filter.would_enable("auditlog::ingest", &Level::DEBUG));
        assert!(!filter.would_enable("auditlog::app::server", &Level::WARN));
    }

    #[test]
    fn an_invalid_log_filter_is_an_error() {
        for text in ["verbose", "", "info,", "auditlog=loud", "=debug", "audit log=debug", "loud=quiet=x", "info;debug"]
        {
            let error = text.parse::<LogFilter>().expect_err(text).to_string();
            assert!(error.starts_with("must be a level (off, error, warn, info, debug, trace)"), "{error}");
        }
    }
}
