//! JSON as text: checked and minified, but otherwise unchanged, so that 9007199254740993, key order, escapes and
//! duplicate keys are preserved.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{Invalid, quoted};

/// The deepest nesting of a value. A scalar has depth 0, `[]` has depth 1.
pub const MAX_DEPTH: usize = 32;

/// One JSON value as minified text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonText(String);

impl JsonText {
    /// Checks and minifies one JSON value. Errors: not JSON, or deeper than [`MAX_DEPTH`].
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        serde_json::from_str::<&RawValue>(text)
            .map_err(|error| Invalid::new(format_args!("must be one JSON value ({error})"), quoted(text)))?;
        let depth = depth(text);
        if depth > MAX_DEPTH {
            return Err(Invalid::new(format_args!("must nest at most {MAX_DEPTH} deep"), depth));
        }
        Ok(Self(minified(text)))
    }

    /// Parses a value from a writer. Errors: those of [`JsonText::parse`], and a lone surrogate. Older leaves may have
    /// one.
    pub fn from_writer(text: &str) -> Result<Self, Invalid> {
        let value = Self::parse(text)?;
        match lone_surrogate(&value.0) {
            Some(string) => Err(Invalid::new("must not have a lone surrogate in a string or key", quoted(string))),
            None => Ok(value),
        }
    }

    /// `null`, which also stands for an absent value.
    pub fn null() -> Self {
        Self("null".to_owned())
    }

    /// Restores text that [`JsonText::parse`] made. No check.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<JsonText> for String {
    fn from(JsonText(text): JsonText) -> Self {
        text
    }
}

/// The bytes outside of strings, with their indexes. A string contributes only its quotes.
fn structure(json: &str) -> impl Iterator<Item = (usize, u8)> {
    let (mut inside, mut escaped) = (false, false);
    json.bytes().enumerate().filter(move |(_, byte)| match (inside, byte) {
        (true, _) if escaped => {
            escaped = false;
            false
        }
        (true, b'\\') => {
            escaped = true;
            false
        }
        (_, b'"') => {
            inside = !inside;
            true
        }
        (inside, _) => !inside,
    })
}

/// The first string or key with an escaped surrogate without its pair. `RawValue` accepts it, but jq, PostgreSQL's
/// jsonb and most other readers refuse the whole document. `json` must be valid otherwise.
fn lone_surrogate(json: &str) -> Option<&str> {
    // Fast path: nearly all values have no such escape.
    if !json.contains("\\u") {
        return None;
    }
    let mut quotes = structure(json).filter(|(_, byte)| *byte == b'"').map(|(place, _)| place);
    std::iter::from_fn(|| Some(&json[quotes.next()?..=quotes.next()?]))
        .find(|string| serde_json::from_str::<Cow<'_, str>>(string).is_err())
}

fn depth(json: &str) -> usize {
    let (mut now, mut deepest) = (0usize, 0);
    for (_, byte) in structure(json) {
        match byte {
            b'[' | b'{' => now += 1,
            b']' | b'}' => now = now.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(now);
    }
    deepest
}

fn minified(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut copied = 0;
    for (place, byte) in structure(json) {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            text.push_str(&json[copied..place]);
            copied = place + 1;
        }
    }
    text.push_str(&json[copied..]);
    text
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn kept(text: &str) -> String {
        JsonText::parse(text).expect("valid JSON").0
    }

    #[test]
    fn only_white_space_between_tokens_is_removed() {
        assert_eq!(kept(" { \"a b\" : [ 1 ,\t2 ]\r\n} "), r#"{"a b":[1,2]}"#);
        assert_eq!(kept(r#""a \" b \\""#), r#""a \" b \\""#);
        assert_eq!(kept(r#"["x\\", " y "]"#), r#"["x\\"," y "]"#);
    }

    #[test]
    fn numbers_escapes_and_duplicate_members_are_kept() {
        for text in [
            "9007199254740993",
            "1.0",
            "1E400",
            "-0",
            r#"{"b":1,"a":2,"b":3}"#,
            r#""\u0041\/""#,
            r#""\ud800""#,
            r#""\u0000""#,
            "\"\u{7f}é😀\"",
        ] {
            assert_eq!(kept(text), text);
        }
    }

    #[test]
    fn a_lone_surrogate_from_a_writer_is_refused_anywhere() {
        for text in [
            r#""\ud800""#,
            r#""\uDBFF x""#,
            r#""\udc00""#,
            r#""\ude00\ud83d""#,
            r#""\ud83d\u0041""#,
            r#""\ud83d\\ude00""#,
            r#"[1, {"a": ["ok", "\\\ud800"]}]"#,
            r#"{"\ud800": 1}"#,
        ] {
            assert!(JsonText::parse(text).is_ok(), "{text}");
            let refused = JsonText::from_writer(text).expect_err(text);
            assert!(refused.0.starts_with("must not have a lone surrogate"), "{text}: {refused}");
        }
        for text in [r#""\ud83d\ude00""#, r#"{"\uD83D\uDE00":"\\ud800"}"#, r#""\u0000""#, "1E400", r#""\uffff""#] {
            assert_eq!(JsonText::from_writer(text).expect(text).0, text);
        }
    }

    /// Random strings of pieces that look like escapes, inside of JSON structures.
    #[test]
    fn writers_may_send_exactly_what_a_strict_parser_reads() {
        const PIECES: [&str; 12] =
            [r"\\", r"\u", "d8", "00", "dc", "ff", r"\ud83d", r"\ude00", r"\u0041", r"\\u", "u", r#"\""#];
        let mut random = StdRng::seed_from_u64(9);
        let mut taken = 0;
        for _ in 0..20_000 {
            let mut string =
                || -> String { (0..random.random_range(0..5)).map(|_| PIECES[random.random_range(0..12)]).collect() };
            let text = format!(r#"{{"{}":["{}",{{"{}":null}}]}}"#, string(), string(), string());
            // `Value` decodes every string and key, which `RawValue` does not. There are no numbers, which `Value`
            // would change.
            let is_read = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            assert_eq!(JsonText::from_writer(&text).is_ok(), is_read, "{text}");
            taken += usize::from(is_read);
        }
        assert!((1_000..19_000).contains(&taken), "{taken} are taken");
    }

    #[test]
    fn invalid_json_is_refused() {
        for text in ["", "nul", "{'a':1}", "1 2", "01", "[1,]", "\"\n\"", "\"a\0b\"", "\u{feff}1"] {
            assert!(JsonText::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn depth_counts_arrays_and_objects_and_not_brackets_in_strings() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(JsonText::parse(&nested(32)).is_ok());
        let refused = JsonText::parse(&nested(33)).expect_err("33 is too deep");
        assert_eq!(refused.0, "must nest at most 32 deep, got 33");
        assert!(JsonText::parse(&format!("\"{}\"", "[".repeat(40))).is_ok());
        assert!(JsonText::parse(&nested(200_000)).is_err());
    }
}
