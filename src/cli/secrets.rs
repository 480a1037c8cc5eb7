//! Keeps secrets out of usage errors: clap quotes the arguments that it rejects.

use clap::error::{ContextKind, ContextValue};

/// Options whose value is a secret.
const SECRETS: [&str; 3] = ["--api-key", "--database-url", "--erase-database-url"];
/// The text in place of a hidden value.
const HIDDEN: &str = "(hidden)";

/// Hides all values in `error` that may be a password or an API key.
pub(super) fn without_secrets(mut error: clap::Error) -> clap::Error {
    let is_of_secret = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) => SECRETS.iter().any(|secret| option.split(' ').next() == Some(secret)),
        _ => false,
    };
    let is_hidden = |(kind, value): &(ContextKind, &ContextValue)| match value {
        ContextValue::String(text) => (*kind == ContextKind::InvalidValue && is_of_secret) || may_be_secret(text),
        _ => false,
    };
    let hidden: Vec<_> = error.context().filter(is_hidden).map(|(kind, _)| kind).collect();
    for kind in hidden {
        error.insert(kind, ContextValue::String(HIDDEN.to_owned()));
        // The suggestion would repeat the value.
        error.remove(ContextKind::Suggested);
    }
    error
}

/// Whether an argument looks like a URL with a password or like an API key.
fn may_be_secret(text: &str) -> bool {
    text.contains('@') || text.contains("password=") || text.starts_with("al_")
}
