//! JSON as text: checked, without insignificant white space, and otherwise untouched, so that
//! 9007199254740993, key order, escapes and duplicate keys survive.

use serde_json::value::RawValue;

use super::{Invalid, quoted};

/// The deepest nesting of a value: a scalar is 0, `[]` is 1.
pub const MAX_DEPTH: usize = 32;

/// One JSON value as minified text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonText(String);

impl JsonText {
    /// Takes one JSON value. Errors: not JSON, or deeper than [`MAX_DEPTH`].
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        serde_json::from_str::<&RawValue>(text)
            .map_err(|error| Invalid::new(format_args!("must be one JSON value ({error})"), quoted(text)))?;
        let depth = depth(text);
        if depth > MAX_DEPTH {
            return Err(Invalid::new(format_args!("must nest at most {MAX_DEPTH} deep"), depth));
        }
        Ok(Self(minified(text)))
    }

    /// `null`, which an absent value is too.
    pub fn null() -> Self {
        Self("null".to_owned())
    }

    /// Takes back text that [`JsonText::parse`] made.
    pub(crate) fn stored(text: String) -> Self {
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

/// The bytes outside of strings, with their places; a string shows only its quotes.
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
    use super::*;

    fn kept(text: &str) -> String {
        JsonText::parse(text).expect("valid JSON").0
    }

    #[test]
    fn only_white_space_between_tokens_goes() {
        assert_eq!(kept(" { \"a b\" : [ 1 ,\t2 ]\r\n} "), r#"{"a b":[1,2]}"#);
        assert_eq!(kept(r#""a \" b \\""#), r#""a \" b \\""#);
        assert_eq!(kept(r#"["x\\", " y "]"#), r#"["x\\"," y "]"#);
    }

    #[test]
    fn what_other_parsers_lose_is_kept() {
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
    fn what_is_not_json_is_refused() {
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
