//! Compares the output that a page shows with the actual output. `…` stands for the parts that vary: any characters
//! within a line of text or a JSON string, any lines if it is a whole line, and any elements if it is an array element.

use serde_json::Value;

const ANY: &str = "…";

/// Compares line by line.
pub fn text(documented: &str, printed: &str) -> Result<(), String> {
    let lines = |text: &str| text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    match sequence(&lines(documented), &lines(printed), &|line| line == ANY, &|line, got| string(line, got)) {
        true => Ok(()),
        false => Err(format!("it prints\n{printed}\nand not\n{documented}")),
    }
}

/// Compares one or more JSON values. Whitespace and the order of keys do not matter.
pub fn json(documented: &str, printed: &str) -> Result<(), String> {
    let values = |text: &str| {
        let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        values.collect::<Result<Vec<_>, _>>().map_err(|error| format!("{error} in\n{text}"))
    };
    let (documented, printed) = (values(documented)?, values(printed)?);
    match sequence(&documented, &printed, &is_any, &value) {
        true => Ok(()),
        false => Err(format!("it prints\n{}\nand not\n{}", pretty(&printed), pretty(&documented))),
    }
}

fn pretty(values: &[Value]) -> String {
    values.iter().map(|value| format!("{value:#}")).collect::<Vec<_>>().join("\n")
}

fn is_any(value: &Value) -> bool {
    value == ANY
}

fn value(documented: &Value, printed: &Value) -> bool {
    match (documented, printed) {
        (Value::String(documented), Value::String(printed)) => string(documented, printed),
        (Value::Array(documented), Value::Array(printed)) => sequence(documented, printed, &is_any, &value),
        (Value::Object(documented), Value::Object(printed)) => {
            documented.len() == printed.len()
                && documented.iter().all(|(key, one)| printed.get(key).is_some_and(|other| value(one, other)))
        }
        (documented, printed) => documented == printed,
    }
}

/// Whether `documented` matches `printed`. An element for which `is_any` is true matches any number of elements.
fn sequence<T>(documented: &[T], printed: &[T], is_any: &dyn Fn(&T) -> bool, equal: &dyn Fn(&T, &T) -> bool) -> bool {
    match (documented.split_first(), printed.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((first, others)), _) if is_any(first) => {
            (0..=printed.len()).any(|skipped| sequence(others, &printed[skipped..], is_any, equal))
        }
        (Some((first, others)), Some((got, rest))) => equal(first, got) && sequence(others, rest, is_any, equal),
        (Some(_), None) => false,
    }
}

fn string(documented: &str, printed: &str) -> bool {
    let mut parts = documented.split(ANY);
    let Some(mut rest) = parts.next().and_then(|first| printed.strip_prefix(first)) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn an_ellipsis_matches_any_text_and_all_else_must_be_equal() {
    for (documented, printed) in
        [("a\nb\n", "a\nb"), ("a\n…\nd", "a\nb\nc\nd"), ("a\n…", "a"), ("x … z", "x y z"), ("key al_…", "key al_123")]
    {
        assert_eq!(text(documented, printed), Ok(()));
    }
    for (documented, printed) in
        [("a", "a\nb"), ("a\n…\nd", "a\nb"), ("x … z", "x z"), ("a…b…a", "aba c"), ("", "x"), ("…a", "b")]
    {
        assert!(text(documented, printed).is_err(), "{documented:?} is not {printed:?}");
    }
    for (documented, printed) in [
        (r#"{"a":1,"b":["…"]}"#, r#"{"b":[1,2],"a":1}"#),
        (r#"{"at":"…"} {"at":"…Z"}"#, r#"{"at":"now"}{"at":"2025Z"}"#),
        (r#"["…",3]"#, "[1,2,3]"),
        ("9007199254740993", "9007199254740993"),
    ] {
        assert_eq!(json(documented, printed), Ok(()));
    }
    for (documented, printed) in [
        (r#"{"a":1}"#, r#"{"a":1,"b":2}"#),
        (r#"{"a":1,"b":2}"#, r#"{"a":1}"#),
        (r#"{"a":"…"}"#, r#"{"a":null}"#),
        ("1", "1 2"),
        ("9007199254740993", "9007199254740992"),
        ("{", "{"),
    ] {
        assert!(json(documented, printed).is_err(), "{documented} is not {printed}");
    }
}
