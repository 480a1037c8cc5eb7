//! The JSON values and the letters that the entries are made of, and when two of them are equal.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::Value;

/// JSON values as writers write them, each with its strings, keys, numbers and words in the order of the text.
pub const VALUES: &[(&str, &[&str])] = &[
    ("1", &["1"]),
    ("1.0", &["1.0"]),
    ("10e-1", &["10e-1"]),
    (r#""1""#, &["1"]),
    ("-1", &["-1"]),
    ("0", &["0"]),
    ("-0.0", &["-0.0"]),
    ("0.5", &["0.5"]),
    ("5E-1", &["5E-1"]),
    ("9007199254740992", &["9007199254740992"]),
    ("9007199254740993", &["9007199254740993"]),
    ("true", &["true"]),
    (r#""true""#, &["true"]),
    ("false", &["false"]),
    ("null", &["null"]),
    (r#""null""#, &["null"]),
    (r#""admin""#, &["admin"]),
    (r#""\u0061dmin""#, &["admin"]),
    (r#""Admin""#, &["Admin"]),
    (r#""ÉTÉ \"q\" \\ \n""#, &["ÉTÉ \"q\" \\ \n"]),
    (r#""\u00c9T\u00C9 \u0022q\u0022 \u005c \u000a""#, &["ÉTÉ \"q\" \\ \n"]),
    (r#""été""#, &["été"]),
    (r#""Straße""#, &["Straße"]),
    (r#""😀""#, &["😀"]),
    (r#""\ud83d\ude00""#, &["😀"]),
    (r#"{"a":1,"b":[true,"x"]}"#, &["a", "1", "b", "true", "x"]),
    (r#"{"b":[true,"\u0078"],"a":1.0}"#, &["b", "true", "x", "a", "1.0"]),
    (r#"{"a":2,"b":[true,"x"],"a":1}"#, &["a", "2", "b", "true", "x", "a", "1"]),
    (r#"{"a":[1],"b":[true,"x"]}"#, &["a", "1", "b", "true", "x"]),
    ("{}", &[]),
    ("[]", &[]),
    ("[[]]", &[]),
    ("[1,0]", &["1", "0"]),
    ("[0,1]", &["0", "1"]),
    ("[10]", &["10"]),
];

pub fn parsed(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}

/// Whether two values are equal: numbers by value, objects in any order.
pub fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => one == other,
            _ => one.as_f64() == other.as_f64(),
        },
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has = |(key, value): (&String, &Value)| other.get(key).is_some_and(|other| same(value, other));
            one.len() == other.len() && one.iter().all(has)
        }
        _ => one == other,
    }
}

/// A text that a REST parameter may have for `value`: one of its spellings, or a string without quotes.
pub fn spelled(random: &mut StdRng, value: &Value) -> String {
    if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
        if serde_json::from_str::<Value>(text).is_err() && random.random_bool(0.3) {
            return text.to_owned();
        }
        if random.random_bool(0.2) {
            return escaped(text);
        }
    }
    let equal = VALUES.iter().map(|(json, _)| *json).filter(|json| same(&parsed(json), value));
    let equal: Vec<_> = equal.collect();
    match equal.choose(random) {
        Some(json) => (*json).to_owned(),
        None if random.random_bool(0.3) => serde_json::to_string_pretty(value).expect("JSON"),
        None => value.to_string(),
    }
}

/// `text` as a JSON string with an escape for each character.
fn escaped(text: &str) -> String {
    let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    format!("\"{units}\"")
}

/// The strings, keys, numbers and words of `json`: one of [`VALUES`], or a string.
pub fn texts(json: &str) -> Vec<String> {
    match VALUES.iter().find(|(known, _)| *known == json) {
        Some((_, texts)) => texts.iter().map(|text| (*text).to_owned()).collect(),
        None => vec![parsed(json).as_str().expect("a string").to_owned()],
    }
}

/// Adds the strings, keys, numbers and words of `value`. The numbers are those that JSON writes in one way.
pub fn add_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| add_texts(value, texts)),
        Value::Object(members) => {
            for (key, value) in members {
                texts.push(key.clone());
                add_texts(value, texts);
            }
        }
        scalar => texts.push(scalar.to_string()),
    }
}

/// `text` in one letter case. Complete for the letters that the entries have.
pub fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            'É' => folded.push('é'),
            'Å' => folded.push('å'),
            'Ū' => folded.push('ū'),
            'Σ' | 'ς' => folded.push('σ'),
            'ß' | 'ẞ' => folded.push_str("ss"),
            'İ' => folded.push_str("i\u{307}"),
            'ı' => folded.push('i'),
            other => folded.push(other.to_ascii_lowercase()),
        }
    }
    folded
}

/// `text` in capital letters, in small ones, or as it is.
pub fn recased(random: &mut StdRng, text: &str) -> String {
    match random.random_range(0..3) {
        0 => text.to_uppercase(),
        1 => text.to_lowercase(),
        _ => text.to_owned(),
    }
}
