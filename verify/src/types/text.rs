//! Errors of values, and the rule of entry ids.

use std::fmt;

/// The reason why a value is not valid: what is allowed, and what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    /// `allowed` says what is allowed, for example `must be 1 to 256 bytes`.
    pub fn new(allowed: impl fmt::Display, got: impl fmt::Display) -> Self {
        Self(format!("{allowed}, got {got}"))
    }
}

/// `text` as an error shows it: quoted, escaped, and cut to 64 characters.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{:?}… ({} bytes)", &text[..end], text.len()),
        None => format!("{text:?}"),
    }
}

/// Checks the id of an entry. Errors: it is not 1 to 128 bytes of `[A-Za-z0-9_.:-]`.
pub fn check_entry_id(text: &str) -> Result<(), Invalid> {
    const MAX: usize = 128;
    if text.is_empty() || text.len() > MAX {
        return Err(Invalid::new(format_args!("must be 1 to {MAX} bytes"), text.len()));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    if !text.bytes().all(allowed) {
        return Err(Invalid::new("must be of A-Z a-z 0-9 _ . : -", quoted(text)));
    }
    Ok(())
}
