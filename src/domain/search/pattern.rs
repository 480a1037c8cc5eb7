//! Patterns: what a condition of a search compares with one value of an entry.

use serde_json::value::RawValue;

use super::canonical::{JsonToken, JsonTokens, canonical_form};
use super::fold::{FoldedSearch, fold_case, folded_characters};
use crate::domain::text::no_nul;
use crate::domain::{Change, Content, Entry, Erased, Group, Identifier, Invalid, JsonText, Name, quoted};

const MAX_FIELD: usize = 1_024;
const MAX_JSON: usize = 16 * 1_024;
const MAX_NAME: usize = 512;
const MAX_TEXT: usize = 256;

fn check_length(text: &str, min: usize, max: usize) -> Result<(), Invalid> {
    if (min..=max).contains(&text.len()) {
        return Ok(());
    }
    Err(Invalid::new(format_args!("must be {min} to {max} bytes"), text.len()))
}

/// The field of a change: its exact path, or all paths below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPattern {
    /// The path, or the beginning of paths, which then ends with a dot.
    path: String,
    is_prefix: bool,
}

impl FieldPattern {
    /// Reads the path of a field. `tools.*` means all paths that begin with `tools.`, without `tools` itself. Other
    /// stars are errors, so that no reader takes them for a wildcard; `\*` is a star of the path itself. The empty text
    /// is the empty path. Errors: more than 1,024 bytes, NUL, or a star elsewhere.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        no_nul(text, MAX_FIELD)?;
        let misplaced = || {
            let rule = r"must be a path, or a path and then .* for everything below it, with \* for a star of the path";
            Invalid::new(rule, quoted(text))
        };
        let mut path = String::with_capacity(text.len());
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            match character {
                '\\' if characters.next_if_eq(&'*').is_some() => path.push('*'),
                '*' if characters.peek().is_none() && path.ends_with('.') => return Ok(Self { path, is_prefix: true }),
                '*' => return Err(misplaced()),
                itself => path.push(itself),
            }
        }
        Ok(Self { path, is_prefix: false })
    }

    /// Whether the path `field` matches.
    pub fn matches(&self, field: &str) -> bool {
        let Self { path, is_prefix } = self;
        if *is_prefix { field.starts_with(path.as_str()) } else { field == path }
    }

    /// The beginning that all matching paths have, and whether it is the whole path.
    pub(super) fn beginning(&self) -> (&str, bool) {
        let Self { path, is_prefix } = self;
        (path.as_str(), !is_prefix)
    }

    /// The values that tell patterns apart.
    pub(super) fn digest_values(&self) -> Vec<Vec<u8>> {
        let Self { path, is_prefix } = self;
        vec![vec![u8::from(*is_prefix)], path.as_bytes().to_vec()]
    }
}

/// The JSON value that a reader means by `text`. Text that is not JSON is a string: `admin` and `"admin"` are the same,
/// `true` is the boolean and `"true"` is the string.
pub fn json_or_string(text: &str) -> String {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(json) => json.get().to_owned(),
        Err(_) => serde_json::Value::from(text).to_string(),
    }
}

/// A value of a change, compared as a JSON value: numbers by decimal value, strings by their decoded characters, and
/// objects by their members in any order, of which the last one of a key counts. 1, 1.0 and 10e-1 are equal;
/// 9007199254740993 and 9007199254740992 are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPattern {
    canonical: String,
    /// The longest string in `canonical`, with its quotes; empty if there is none. An equal value without escapes
    /// contains it.
    longest_string: String,
}

impl JsonPattern {
    /// Reads a JSON value. Errors: not JSON, more than 16 KiB, or deeper than [`MAX_DEPTH`](crate::domain::MAX_DEPTH).
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        check_length(text, 0, MAX_JSON)?;
        let canonical = canonical_form(&JsonText::parse(text)?);
        canonical.map(Self::of).ok_or_else(|| Invalid::new("must be one JSON value", quoted(text)))
    }

    fn of(canonical: String) -> Self {
        let strings = JsonTokens(&canonical).filter_map(|token| match token {
            JsonToken::String(raw) => Some(raw),
            JsonToken::Scalar(_) | JsonToken::Mark(_) => None,
        });
        let longest = strings.max_by_key(|raw| raw.len());
        let longest_string = longest.map_or_else(String::new, |raw| format!("\"{raw}\""));
        Self { canonical, longest_string }
    }

    /// Whether `value` is equal. Most other values are rejected without their canonical form.
    pub fn matches(&self, value: &JsonText) -> bool {
        let Self { canonical, longest_string } = self;
        let json = value.as_str();
        let own_type = value_type(json);
        if own_type != value_type(canonical) {
            return false;
        }
        match (own_type, json.contains('\\')) {
            // These are canonical as they are.
            (Some(b't' | b'f' | b'n'), _) | (Some(b'"'), false) => json == canonical,
            (_, false) if !json.contains(longest_string.as_str()) => false,
            _ => canonical_form(value).is_some_and(|form| form == *canonical),
        }
    }

    pub(super) fn canonical(&self) -> &str {
        &self.canonical
    }
}

/// The first byte of a value, which tells its type; for all numbers `0`.
fn value_type(json: &str) -> Option<u8> {
    let first = json.bytes().next()?;
    let is_number = first == b'-' || first.is_ascii_digit();
    Some(if is_number { b'0' } else { first })
}

/// A name or e-mail address, without regard to case: the whole, or its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    /// See [`fold_case`].
    folded: String,
    is_prefix: bool,
}

impl NamePattern {
    /// Reads a name. A `*` at the end makes it a prefix; a star elsewhere is a star of the name, as in a masked e-mail
    /// address. Errors: not 1 to 512 bytes, NUL, or a `*` alone.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        check_length(text, 1, MAX_NAME)?;
        no_nul(text, MAX_NAME)?;
        match text.strip_suffix('*') {
            Some("") => Err(Invalid::new("must have at least one character before the final *", quoted(text))),
            Some(prefix) => Ok(Self { folded: fold_case(prefix), is_prefix: true }),
            None => Ok(Self { folded: fold_case(text), is_prefix: false }),
        }
    }

    /// Whether `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        let Self { folded, is_prefix } = self;
        let mut own = folded.chars();
        for character in folded_characters(name) {
            match own.next() {
                Some(expected) if expected == character => {}
                Some(_) => return false,
                None => return *is_prefix,
            }
        }
        own.next().is_none()
    }

    /// The whole name or its beginning, with its case folded, and whether it is the beginning.
    pub fn folded(&self) -> (&str, bool) {
        let Self { folded, is_prefix } = self;
        (folded, *is_prefix)
    }

    /// The values that tell patterns apart.
    pub(super) fn digest_values(&self) -> Vec<Vec<u8>> {
        let Self { folded, is_prefix } = self;
        vec![vec![u8::from(*is_prefix)], folded.as_bytes().to_vec()]
    }
}

/// A substring of an entry's texts, without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPattern {
    /// See [`fold_case`].
    folded: String,
}

impl TextPattern {
    /// Errors: not 1 to 256 bytes.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        check_length(text, 1, MAX_TEXT)?;
        Ok(Self { folded: fold_case(text) })
    }

    /// Whether one text of `entry` contains the pattern: its id, the id and name of the resource, the id, name and
    /// e-mail address of the user, the trace id, the keys and values of the metadata, and the changes.
    ///
    /// In a change, these are the path of the field, and each string, key, number, `true`, `false` and `null` of both
    /// values. Strings and keys are decoded, so that an escape does not hide a character. Numbers are searched as they
    /// are written, as readers see them. Texts of erased groups are not searched.
    pub fn matches(&self, entry: &Entry) -> bool {
        let Entry { seq: _, timestamp: _, recorded_at: _, writer_key_id: _, erased, content } = entry;
        let Content {
            id,
            resource_type: _,
            resource_id,
            resource_name,
            action: _,
            user_id,
            user_name,
            user_email,
            changes,
            metadata,
            trace_id,
            outcome: _,
            actor_type: _,
        } = &**content;
        let mut search = FoldedSearch::new(&self.folded);
        let facts = [id.as_str(), resource_id.as_str(), user_id.as_str()];
        let mut facts = facts.into_iter().chain(trace_id.as_ref().map(Identifier::as_str));
        let pairs = metadata.pairs().iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
        let mut actor = [user_name, user_email].into_iter().flatten().map(Name::as_str).chain(pairs);
        facts.any(|text| search.finds_in(text))
            || is_readable(*erased, Group::Actor) && actor.any(|text| search.finds_in(text))
            || is_readable(*erased, Group::Content)
                && (resource_name.as_ref().is_some_and(|name| search.finds_in(name.as_str()))
                    || changes.iter().any(|change| finds_in_change(&mut search, change)))
    }

    pub(super) fn folded(&self) -> &str {
        &self.folded
    }
}

fn finds_in_change(search: &mut FoldedSearch<'_>, change: &Change) -> bool {
    let Change { field, old_value, new_value } = change;
    search.finds_in(field) || search.finds_in_json(old_value) || search.finds_in_json(new_value)
}

/// Whether the values of `group` are compared. The store returns entries without their erased values; the flag decides
/// all the same, so that no absent value can match.
pub(super) fn is_readable(erased: Erased, group: Group) -> bool {
    !erased.has(group)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn refused<T: std::fmt::Debug>(parsed: Result<T, Invalid>) -> String {
        parsed.expect_err("not a pattern").0
    }

    fn meant(text: &str) -> Result<JsonPattern, Invalid> {
        JsonPattern::parse(&json_or_string(text))
    }

    /// One to four of `pieces` in random order.
    fn pieces<'a>(random: &mut StdRng, pieces: &[&'a str]) -> Vec<&'a str> {
        (0..random.random_range(1..5)).map(|_| pieces[random.random_range(0..pieces.len())]).collect()
    }

    #[test]
    fn a_field_is_a_path_or_all_paths_below_one() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("tools", &["tools"], &["tools.webSearch", "Tools", "tool", ""]),
            ("tools.*", &["tools.webSearch", "tools.a.b", "tools."], &["tools", "toolsX", "toolsX.y", "a.tools.b"]),
            ("a.b.*", &["a.b.c"], &["a.b", "a.c", "a.bc", "a.b\\c"]),
            (".*", &[".a"], &["a", "", "a.b"]),
            ("", &[""], &["a"]),
            (r"a.\*", &["a.*"], &["a.b", r"a.\*"]),
            (r"a.\*.*", &["a.*.b"], &["a.b.c", "a.*"]),
            (r"rules[\*].x", &["rules[*].x"], &["rules[1].x"]),
            (r"\\*", &[r"\*"], &["*"]),
            (r"a\b\", &[r"a\b\"], &["ab"]),
        ];
        for &(text, matching, others) in cases {
            let pattern = FieldPattern::parse(text).expect(text);
            for field in matching {
                assert!(pattern.matches(field), "{text} matches {field:?}");
            }
            for field in others {
                assert!(!pattern.matches(field), "{text} does not match {field:?}");
            }
        }
        let rule = r"must be a path, or a path and then .* for everything below it, with \* for a star of the path";
        for text in ["*", "tools*", "*.a", "a.*.b", "tools.**", "a.*.*", "a[*]"] {
            assert_eq!(refused(FieldPattern::parse(text)), format!("{rule}, got {text:?}"));
        }
        assert!(FieldPattern::parse(&"a".repeat(1_024)).is_ok());
        assert_eq!(refused(FieldPattern::parse(&"a".repeat(1_025))), "must be at most 1024 bytes, got 1025");
        assert!(refused(FieldPattern::parse("a\0")).starts_with("must not contain NUL"));
    }

    #[test]
    fn fields_match_as_their_segments_do() {
        let mut random = StdRng::seed_from_u64(1);
        let mut matching = 0;
        for _ in 0..20_000 {
            let [path, field] = [0, 0].map(|_| pieces(&mut random, &["", "a", "b", "ab"]).join("."));
            let below = FieldPattern::parse(&format!("{path}.*")).expect(&path);
            let (above, segments): (Vec<_>, Vec<_>) = (path.split('.').collect(), field.split('.').collect());
            let is_below = segments.len() > above.len() && segments[..above.len()] == above[..];
            assert_eq!(below.matches(&field), is_below, "{path}.* and {field}");
            assert_eq!(FieldPattern::parse(&path).expect(&path).matches(&field), path == field, "{path} and {field}");
            matching += usize::from(is_below);
        }
        assert!(matching > 500, "{matching} match");
    }

    #[test]
    fn text_that_is_not_json_is_a_string() {
        for (text, json) in [
            ("admin", r#""admin""#),
            (r#""admin""#, r#""\u0061dmin""#),
            ("true", "true"),
            (r#""true""#, r#""true""#),
            ("TRUE", r#""TRUE""#),
            (" 1.50 ", "15e-1"),
            ("01", r#""01""#),
            ("+1", r#""+1""#),
            ("NaN", r#""NaN""#),
            ("", r#""""#),
            (" a ", r#"" a ""#),
            ("{a", r#""{a""#),
            ("\"a", r#""\"a""#),
            (r"\u0041", r#""\\u0041""#),
            ("{\"b\": 1, \"a\": 2}", r#"{"a":2,"b":1}"#),
        ] {
            assert_eq!(meant(text), JsonPattern::parse(json), "{text}");
        }
        assert_ne!(meant("true"), meant("\"true\""));
        assert!(refused(JsonPattern::parse("admin")).starts_with("must be one JSON value"));
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(meant(&nested(32)).is_ok());
        assert_eq!(refused(meant(&nested(33))), "must nest at most 32 deep, got 33");
        assert_eq!(refused(meant(&nested(8_000))), "must nest at most 32 deep, got 8000");
        assert_eq!(refused(meant(&"a".repeat(16_385))), "must be 0 to 16384 bytes, got 16387");
    }

    #[test]
    fn values_that_are_equal_match() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("1", &["1", "1.0", "10e-1"], &["-1", "10", "\"1\"", "[1]", "true"]),
            ("-0", &["0", "0.0e7", "-0"], &["1", "null"]),
            ("admin", &[r#""admin""#, r#""\u0061dmin""#], &[r#""Admin""#, r#""admin ""#, r#"["admin"]"#]),
            ("a\"b\\", &[r#""a\"b\\""#, r#""a\u0022b\u005c""#], &[r#""a""#, r#""ab""#]),
            ("null", &["null"], &["\"null\"", "false", "0"]),
            (r#"{"a":[1,"x"],"b":{}}"#, &[r#"{"b":{},"a":[1.0,"\u0078"]}"#], &[r#"{"b":{},"a":[1,"y"]}"#, "{}"]),
            (r#"{"\"":1}"#, &[r#"{"\u0022":1e0}"#], &[r#"{"a":1}"#]),
            ("[]", &["[]"], &["[[]]", "{}", "[1]"]),
        ];
        for &(text, matching, others) in cases {
            let pattern = meant(text).expect(text);
            let matches = |json: &str| pattern.matches(&JsonText::parse(json).expect(json));
            for json in matching {
                assert!(matches(json), "{text} matches {json}");
            }
            for json in others {
                assert!(!matches(json), "{text} does not match {json}");
            }
        }
    }

    #[test]
    fn names_match_without_regard_to_case() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("jane doe", &["Jane Doe", "JANE DOE"], &["Jane Does", "Jane", "", " Jane Doe"]),
            ("Jane*", &["jane", "JANE DOE"], &["Jan", "Mary Jane", ""]),
            ("STRASSE*", &["Straße 1", "straSSe"], &["Strase"]),
            ("m*x", &["M*X"], &["max", "mx"]),
            ("J***@example.com", &["j***@example.com"], &["jane@example.com"]),
            ("a**", &["A*", "a*b"], &["ab", "a"]),
            (r"CORP\*", &[r"corp\jane"], &["corp", "corp*"]),
        ];
        for &(text, matching, others) in cases {
            let pattern = NamePattern::parse(text).expect(text);
            for name in matching {
                assert!(pattern.matches(name), "{text} matches {name:?}");
            }
            for name in others {
                assert!(!pattern.matches(name), "{text} does not match {name:?}");
            }
        }
        let alone = "must have at least one character before the final *, got \"*\"";
        assert_eq!(refused(NamePattern::parse("*")), alone);
        assert_eq!(refused(NamePattern::parse("")), "must be 1 to 512 bytes, got 0");
        assert_eq!(refused(NamePattern::parse(&"a".repeat(513))), "must be 1 to 512 bytes, got 513");
        assert!(refused(NamePattern::parse("a\0*")).starts_with("must not contain NUL"));
    }

    #[test]
    fn names_match_as_their_folded_forms_do() {
        let mut random = StdRng::seed_from_u64(2);
        let mut matching = 0;
        for _ in 0..20_000 {
            let [text, name] = [0, 0].map(|_| pieces(&mut random, &["a", "A", "ß", "s", "SS", "ẞ"]).concat());
            let (folded, own) = (fold_case(&text), fold_case(&name));
            let whole = NamePattern::parse(&text).expect(&text);
            let prefix = NamePattern::parse(&format!("{text}*")).expect(&text);
            assert_eq!(whole.matches(&name), own == folded, "{text} and {name}");
            assert_eq!(prefix.matches(&name), own.starts_with(&folded), "{text}* and {name}");
            matching += usize::from(own == folded);
        }
        assert!(matching > 500, "{matching} match");
    }

    #[test]
    fn a_searched_text_has_1_to_256_bytes() {
        assert_eq!(refused(TextPattern::parse("")), "must be 1 to 256 bytes, got 0");
        assert!(TextPattern::parse(&"a".repeat(256)).is_ok());
        assert_eq!(refused(TextPattern::parse(&"a".repeat(257))), "must be 1 to 256 bytes, got 257");
    }
}
