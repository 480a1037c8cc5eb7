//! Case folding: texts that differ only in the case of letters have one folded form. No database takes part, so both
//! give the same answers.
//!
//! The tables of the standard library suffice. Lower, upper and lower case, one after the other, are equal to Unicode's
//! full case folding, except that the dotless `ı` is an `i`. The crates for it (`unicase`, `caseless`) bring tables of
//! their own and compare whole texts, while prefixes and substrings need the folded characters. Texts are not
//! normalized: `é` as one character differs from `e` with a combining accent.

use super::canonical::{JsonToken, JsonTokens, characters};
use crate::domain::JsonText;

/// `text` with its case folded: `Straße`, `STRASSE` and `STRAẞE` become `strasse`.
pub fn fold_case(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    push_folded(text, &mut folded);
    folded
}

fn push_folded(text: &str, folded: &mut String) {
    if text.is_ascii() {
        let start = folded.len();
        folded.push_str(text);
        folded[start..].make_ascii_lowercase();
    } else {
        folded.extend(folded_characters(text));
    }
}

/// The characters of [`fold_case`].
pub(super) fn folded_characters(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase).flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

/// A search for one folded text in many texts. It keeps its buffer, so that most texts cost no allocation.
pub(super) struct FoldedSearch<'p> {
    folded: &'p str,
    buffer: String,
}

impl<'p> FoldedSearch<'p> {
    pub fn new(folded: &'p str) -> Self {
        Self { folded, buffer: String::new() }
    }

    /// Whether `text` contains the searched text.
    pub fn finds_in(&mut self, text: &str) -> bool {
        if text.is_ascii() && !self.folded.is_ascii() {
            return false;
        }
        self.buffer.clear();
        push_folded(text, &mut self.buffer);
        self.buffer.contains(self.folded)
    }

    /// Whether one string, key, number, `true`, `false` or `null` of `json` contains the searched text.
    pub fn finds_in_json(&mut self, json: &JsonText) -> bool {
        let json = json.as_str();
        // Without escapes, each token is a substring of the whole: one look finds that no token can match.
        if !json.contains('\\') && !self.finds_in(json) {
            return false;
        }
        JsonTokens(json).any(|token| match token {
            JsonToken::String(raw) if raw.contains('\\') => self.finds_in_escaped(raw),
            JsonToken::String(text) | JsonToken::Scalar(text) => self.finds_in(text),
            JsonToken::Mark(_) => false,
        })
    }

    fn finds_in_escaped(&mut self, raw: &str) -> bool {
        let decoded = characters(raw).map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER));
        self.finds_in(&decoded.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_in_case_have_one_folded_form() {
        for (one, other) in [
            ("Jane DOE", "jANE doe"),
            ("STRASSE", "straße"),
            ("STRAẞE", "Straße"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("ÅNGSTRÖM", "ångström"),
            ("\u{212a}elvin", "kelvin"),
            ("ſize", "SIZE"),
            ("ﬁx", "FIX"),
            ("İ", "i\u{307}"),
            ("ISPARTA", "ısparta"),
            ("ᏣᎳᎩ", "ꮳꮃꭹ"),
            ("日本", "日本"),
        ] {
            assert_eq!(fold_case(one), fold_case(other), "{one} and {other}");
        }
        for (one, other) in [("é", "e"), ("é", "e\u{301}"), ("ä", "ae"), ("o", "ö"), ("", " ")] {
            assert_ne!(fold_case(one), fold_case(other), "{one} and {other}");
        }
        assert_eq!((fold_case("Aé\"1"), fold_case("STRAẞE")), ("aé\"1".to_owned(), "strasse".to_owned()));
    }

    #[test]
    fn each_character_folds_like_its_upper_and_lower_case() {
        for character in '\0'..'\u{3000}' {
            let folded = fold_case(&character.to_string());
            let lower: String = character.to_lowercase().collect();
            let upper: String = character.to_uppercase().collect();
            assert_eq!((fold_case(&lower), fold_case(&upper)), (folded.clone(), folded), "{character:?}");
        }
    }

    #[test]
    fn json_is_searched_in_its_decoded_strings_and_its_scalars() {
        let finds = |text: &str, json: &str| {
            let folded = fold_case(text);
            FoldedSearch::new(&folded).finds_in_json(&JsonText::parse(json).expect(json))
        };
        for (text, json) in [
            ("jane", r#""Mary Jane""#),
            ("jane", r#""\u004a\u0041ne""#),
            ("JANE", r#"{"jane":1}"#),
            ("jane", r#"{"j\u0061ne":1}"#),
            ("straße", r#"["x",{"y":["STRASSE"]}]"#),
            ("a\nb", r#""a\nb""#),
            ("c:\\temp", r#""C:\\Temp""#),
            ("😀", r#""\ud83d\ude00""#),
            ("x", r#""\ud800x""#),
            ("1e3", "[1E3]"),
            ("0.50", "0.50"),
            ("TRUE", r#"{"a":true}"#),
            ("null", "null"),
            (",", r#"["a,b",1]"#),
            ("\",\"", r#"["a\",\"b"]"#),
        ] {
            assert!(finds(text, json), "{text:?} in {json}");
        }
        for (text, json) in [
            ("jane", r#"["ja","ne"]"#),
            ("jane", r#""ja\u0000ne""#),
            ("u004a", r#""\u004a""#),
            (",", r#"["a","b"]"#),
            ("\"", r#"{"a":"b"}"#),
            ("a\":", r#"{"a":"b"}"#),
            ("[", "[[]]"),
            ("12", "[1,2]"),
            ("0.5", "5e-1"),
            ("é", r#""e""#),
            ("\\", r#""a\"b""#),
        ] {
            assert!(!finds(text, json), "{text:?} in {json}");
        }
    }
}
