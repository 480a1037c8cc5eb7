//! Validation errors, and the rule for entry ids.

use std::fmt;

/// Why a value is not valid: the allowed values, and the value received.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    /// `allowed` describes the allowed values, for example `must be 1 to 256 bytes`.
    pub fn new(allowed: impl fmt::Display, got: impl fmt::Display) -> Self {
        Self(format!("{allowed}, got {got}"))
    }
}

/// `text` for an error message: quoted, escaped, and cut to 64 characters.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{:?}… ({} bytes)", &text[..end], text.len()),
        None => format!("{text:?}"),
    }
}

/// Errors: not 1 to 128 bytes of `[A-Za-z0-9_.:-]`.
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
