//! String types with limits, and hints for error messages.

use std::collections::BTreeMap;
use std::fmt;

use auditlog_verify::types::{Invalid, quoted};

/// `; did you mean rule?` if one of `known` is similar to `word`, else the empty string. Letter case, `_` and `-` are
/// ignored.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    /// Below this Jaro-Winkler similarity, words are alike only by chance.
    const CLOSE: f64 = 0.87;
    /// No known word is longer, and the comparison takes as long as the words.
    const LONGEST: usize = 128;
    if word.len() > LONGEST {
        return String::new();
    }
    let plain = |word: &str| word.replace(['_', '-'], "").to_lowercase();
    let word = plain(word);
    let rated = known.into_iter().map(|known| (strsim::jaro_winkler(&word, &plain(known)), known));
    let nearest = rated.filter(|(closeness, _)| *closeness >= CLOSE).max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map_or_else(String::new, |(_, known)| format!("; did you mean {known}?"))
}

/// `bytes` as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks `text` against the type's rule.
            pub fn parse(text: impl Into<String>) -> Result<Self, Invalid> {
                let text = text.into();
                let check: fn(&str) -> Result<(), Invalid> = $check;
                check(&text)?;
                Ok(Self(text))
            }

            /// Parses `text`; empty text is `None`.
            pub fn optional(text: String) -> Result<Option<Self>, Invalid> {
                (!text.is_empty()).then(|| Self::parse(text)).transpose()
            }

            /// Restores a value from text that the database got from this type. No check.
            pub(crate) fn stored(text: String) -> Self {
                Self(text)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(super) use text_type;

/// The prefix of the ids that the service keeps for itself: those of its own entries and of its own organizations.
pub(super) const RESERVED: &str = "auditlog:";

const MAX_IDENTIFIER: usize = 256;
const MAX_NAME: usize = 512;
const MAX_API_KEY_NAME: usize = 64;

fn identifier(text: &str) -> Result<(), Invalid> {
    printable(text, MAX_IDENTIFIER)
}

fn printable(text: &str, max: usize) -> Result<(), Invalid> {
    if text.is_empty() || text.len() > max {
        return Err(Invalid::new(format_args!("must be 1 to {max} bytes"), text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::new("must be printable", quoted(text)));
    }
    Ok(())
}

/// Errors: more than `max` bytes, or NUL.
pub(super) fn no_nul(text: &str, max: usize) -> Result<(), Invalid> {
    if text.len() > max {
        return Err(Invalid::new(format_args!("must be at most {max} bytes"), text.len()));
    }
    if text.contains('\0') {
        return Err(Invalid::new("must not contain NUL", quoted(text)));
    }
    Ok(())
}

/// Checks the name of an API key. An error quotes no text with an `@`, which may be a URL with a password, and no whole
/// API key, which has 65 bytes.
fn api_key_name(text: &str) -> Result<(), Invalid> {
    let rule = format!("must be a letter or digit and then at most {} of A-Z a-z 0-9 . _ - : /", MAX_API_KEY_NAME - 1);
    if text.contains('@') {
        return Err(Invalid::new(rule, "an @; names are kept for ever and must hold nothing personal"));
    }
    if text.is_empty() || text.len() > MAX_API_KEY_NAME {
        return Err(Invalid::new(format_args!("must be 1 to {MAX_API_KEY_NAME} bytes"), text.len()));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte);
    let is_name = text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.bytes().all(allowed);
    if is_name { Ok(()) } else { Err(Invalid::new(rule, quoted(text))) }
}

text_type! {
    /// The id of an organization: 1 to 256 bytes of printable UTF-8.
    OrganizationId, identifier
}

impl OrganizationId {
    /// The organization whose log records the administration of the service.
    pub fn service() -> Self {
        Self(format!("{RESERVED}service"))
    }

    /// Whether the service keeps this id for itself. No client writes to such an organization.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with(RESERVED)
    }
}

text_type! {
    /// The id of a resource, a user or a trace: 1 to 256 bytes of printable UTF-8.
    Identifier, identifier
}

text_type! {
    /// A name or an e-mail address: at most 512 bytes, no NUL.
    Name, |text| no_nul(text, MAX_NAME)
}

text_type! {
    /// The name of an API key, for people: 1 to 64 bytes of `[A-Za-z0-9._:/-]`, with a letter or digit first. It is
    /// kept for ever.
    ApiKeyName, api_key_name
}

/// The reason for an erasure: 1 to 512 bytes of printable UTF-8. It is kept for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureReason(String);

impl ErasureReason {
    /// Errors: not 1 to 512 bytes, or not printable.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        printable(&text, MAX_NAME)?;
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The origin of an action, by REST field name, in byte order: at most 50 keys of 1 to 64 bytes, with values of at most
/// 1,024 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    const MAX_KEYS: usize = 50;
    const MAX_KEY: usize = 64;
    const MAX_VALUE: usize = 1_024;

    /// Errors: the pairs exceed the limits of [`Metadata`].
    pub fn parse(pairs: BTreeMap<String, String>) -> Result<Self, Invalid> {
        if pairs.len() > Self::MAX_KEYS {
            let allowed = format!("must have at most {} keys", Self::MAX_KEYS);
            return Err(Invalid::new(allowed, pairs.len()));
        }
        for (key, value) in &pairs {
            let about = |Invalid(why)| Invalid(format!("key {}: {why}", quoted(key)));
            if key.is_empty() {
                return Err(about(Invalid::new("must be 1 to 64 bytes", 0)));
            }
            no_nul(key, Self::MAX_KEY).map_err(about)?;
            no_nul(value, Self::MAX_VALUE).map_err(|Invalid(why)| about(Invalid(format!("value {why}"))))?;
        }
        Ok(Self(pairs))
    }

    /// Restores pairs that the database got from this type. No check.
    pub(crate) fn stored(pairs: BTreeMap<String, String>) -> Self {
        Self(pairs)
    }

    /// The pairs, in byte order of their keys.
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The bytes of all keys and values.
    pub fn size(&self) -> usize {
        self.0.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

impl From<Metadata> for BTreeMap<String, String> {
    fn from(Metadata(pairs): Metadata) -> Self {
        pairs
    }
}

/// A string that must not appear in logs: its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_organizations_with_the_prefix_of_the_service_are_reserved() {
        assert!(OrganizationId::service().is_reserved());
        assert_eq!(OrganizationId::parse("auditlog:service"), Ok(OrganizationId::service()));
        for (id, is_reserved) in
            [("auditlog:", true), ("auditlog:x", true), ("auditlog", false), ("x:auditlog:", false)]
        {
            assert_eq!(OrganizationId::parse(id).expect(id).is_reserved(), is_reserved, "{id}");
        }
    }

    #[test]
    fn names_of_api_keys_suit_services() {
        let longest = "a".repeat(64);
        for name in ["a", "7", "billing-service", "eu/prod/Billing_2:worker.1", &longest] {
            assert!(ApiKeyName::parse(name).is_ok_and(|parsed| parsed.as_str() == name), "{name}");
        }
        let refused = |name: &str| ApiKeyName::parse(name).expect_err("not a name").0;
        let rule = "must be a letter or digit and then at most 63 of A-Z a-z 0-9 . _ - : /";
        for name in ["billing service", "-", "-billing", "/billing", "(all)", "büro", "a\t", "a\n"] {
            assert_eq!(refused(name), format!("{rule}, got {name:?}"));
        }
        let address = format!("{rule}, got an @; names are kept for ever and must hold nothing personal");
        assert_eq!(refused("jane@example.com"), address);
        assert_eq!(refused(""), "must be 1 to 64 bytes, got 0");
        // The length of a whole API key.
        assert_eq!(refused(&"a".repeat(65)), "must be 1 to 64 bytes, got 65");
    }
}
