//! The members of a JSON object, each as it is written, so that numbers keep their text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use super::canonical::{JsonToken, JsonTokens, characters, push_character};
use super::json_string;

/// The members of a JSON object, as places in its text.
#[derive(Debug)]
pub struct JsonMembers {
    /// The places of each key, without its quotes, and of its value, in their order. A key may be there several times.
    written: Vec<(Range<usize>, Range<usize>)>,
    /// The index of the last member of each key, by its [`key_form`].
    last: BTreeMap<String, usize>,
}

impl JsonMembers {
    /// Reads the members of `json`, which must be minified. `None`: it is not an object, or it is damaged.
    pub fn parse(json: &str) -> Option<Self> {
        let mut tokens = JsonTokens(json);
        if tokens.next()? != JsonToken::Mark('{') {
            return None;
        }
        let place = |rest: &JsonTokens<'_>| json.len() - rest.0.len();
        let (mut written, mut last) = (Vec::new(), BTreeMap::new());
        loop {
            match tokens.next()? {
                JsonToken::Mark('}') => return Some(Self { written, last }),
                JsonToken::Mark(',') => {}
                JsonToken::String(key) => {
                    // Before the closing quote.
                    let key_end = place(&tokens) - 1;
                    // The colon.
                    tokens.next()?;
                    let start = place(&tokens);
                    skip_value(&mut tokens)?;
                    last.insert(written_key_form(key).into_owned(), written.len());
                    written.push((key_end - key.len()..key_end, start..place(&tokens)));
                }
                JsonToken::Scalar(_) | JsonToken::Mark(_) => return None,
            }
        }
    }

    /// The place of the value of the member `key`. Of several members with this key, the last one counts.
    pub fn get(&self, key: &str) -> Option<Range<usize>> {
        let index = self.last.get(&*key_form(key))?;
        self.written.get(*index).map(|(_, value)| value.clone())
    }

    /// Whether a key begins with `beginning`.
    pub fn has_key_with_prefix(&self, beginning: &str) -> bool {
        let beginning = key_form(beginning);
        let mut from = self.last.range::<str, _>((Bound::Included(&*beginning), Bound::<&str>::Unbounded));
        from.next().is_some_and(|(key, _)| key.starts_with(&*beginning))
    }

    /// The text of the object after `members` have got these values, which are JSON texts. New members follow the
    /// others. `json` is the text of the object.
    pub fn with(&self, json: &str, members: &BTreeMap<&str, String>) -> String {
        let mut values: Vec<&str> = self.written.iter().map(|(_, value)| &json[value.clone()]).collect();
        let mut added = Vec::new();
        for (key, value) in members {
            match self.last.get(&*key_form(key)) {
                Some(index) => values[*index] = value.as_str(),
                None => added.push(format!("{}:{value}", json_string(key))),
            }
        }
        let keys = self.written.iter().map(|(key, _)| &json[key.clone()]);
        let present = keys.zip(values).map(|(key, value)| format!("\"{key}\":{value}"));
        let members: Vec<_> = present.chain(added).collect();
        format!("{{{}}}", members.join(","))
    }
}

/// Takes the tokens of one value.
fn skip_value(tokens: &mut JsonTokens<'_>) -> Option<()> {
    let mut depth = 0usize;
    loop {
        match tokens.next()? {
            JsonToken::Mark('[' | '{') => depth += 1,
            JsonToken::Mark(']' | '}') => depth = depth.checked_sub(1)?,
            JsonToken::Mark(_) if depth == 0 => return None,
            JsonToken::String(_) | JsonToken::Scalar(_) | JsonToken::Mark(_) => {}
        }
        if depth == 0 {
            return Some(());
        }
    }
}

/// The characters of a key. Only quotes, backslashes and lone surrogates are escaped, so that equal keys have equal
/// forms, and the form of a beginning is the beginning of the form.
fn key_form(key: &str) -> Cow<'_, str> {
    if !key.contains(['"', '\\']) {
        return Cow::Borrowed(key);
    }
    let mut form = String::with_capacity(key.len() + 1);
    key.chars().for_each(|character| push_character(Ok(character), &mut form));
    Cow::Owned(form)
}

/// The [`key_form`] of a key that is written as `raw`.
fn written_key_form(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut form = String::with_capacity(raw.len());
    characters(raw).for_each(|character| push_character(character, &mut form));
    Cow::Owned(form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get<'j>(json: &'j str, key: &str) -> Option<&'j str> {
        JsonMembers::parse(json).expect(json).get(key).map(|place| &json[place])
    }

    #[test]
    fn members_are_found_by_their_decoded_keys() {
        let json = r#"{"a":1.50,"b.c":[1,{"x":"}"}],"\u0041":"\"","a":10e-1,"q\"":null,"":{},"é":"é"}"#;
        for (key, value) in [
            ("a", Some("10e-1")),
            ("b.c", Some(r#"[1,{"x":"}"}]"#)),
            ("A", Some(r#""\"""#)),
            ("q\"", Some("null")),
            ("", Some("{}")),
            ("é", Some("\"é\"")),
            ("b", None),
            ("x", None),
            (r"\u0041", None),
        ] {
            assert_eq!(get(json, key), value, "{key}");
        }
        let members = JsonMembers::parse(json).expect("an object");
        for (beginning, is_there) in [("b.", true), ("a.", false), ("q", true), ("q\"", true), ("c", false)] {
            assert_eq!(members.has_key_with_prefix(beginning), is_there, "{beginning}");
        }
    }

    #[test]
    fn a_lone_surrogate_in_a_key_is_no_character() {
        let json = r#"{"\ud800":1,"\\ud800":2}"#;
        assert_eq!((get(json, r"\ud800"), get(json, "\u{fffd}")), (Some("2"), None));
    }

    #[test]
    fn members_are_set_in_their_places_and_new_ones_follow() {
        let with = |json: &str, members: &[(&'static str, &str)]| {
            let members = members.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
            JsonMembers::parse(json).expect(json).with(json, &members)
        };
        let json = r#"{"a":1.0,"\u0062":2,"a":3}"#;
        let set = [("a", "[4]"), ("b", "null"), ("c\"", "5.0")];
        assert_eq!(with(json, &set), r#"{"a":1.0,"\u0062":null,"a":[4],"c\"":5.0}"#);
        assert_eq!((with("{}", &[]), with("{}", &[("", "1")])), ("{}".to_owned(), r#"{"":1}"#.to_owned()));
    }

    #[test]
    fn other_values_and_damaged_objects_have_no_members() {
        for json in ["", "1", "null", "[]", r#""{}""#, "{", r#"{"a"#, r#"{"a""#, r#"{"a":"#, r#"{"a":1"#, r#"{"a":[1}"#]
        {
            assert!(JsonMembers::parse(json).is_none(), "{json}");
        }
        for json in [r#"{"a":,}"#, r#"{"a":]}"#, "{1:2}", "{]"] {
            assert!(JsonMembers::parse(json).is_none(), "{json}");
        }
    }
}
