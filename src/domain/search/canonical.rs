//! A canonical form of JSON values: equal values have equal texts.

use std::collections::BTreeMap;
use std::str::Chars;

use sha2::{Digest, Sha256};

use crate::domain::{JsonText, MAX_DEPTH};

/// A part of a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonToken<'j> {
    /// The text between the quotes of a string or key, as written.
    String(&'j str),
    /// A number, `true`, `false` or `null`, as written.
    Scalar(&'j str),
    /// One of `[]{},:`.
    Mark(char),
}

/// The tokens of minified JSON. A string without an end ends them.
pub(super) struct JsonTokens<'j>(pub &'j str);

impl<'j> Iterator for JsonTokens<'j> {
    type Item = JsonToken<'j>;

    fn next(&mut self) -> Option<JsonToken<'j>> {
        let text = self.0;
        let first = text.chars().next()?;
        let (token, length) = match first {
            '"' => {
                let end = closing_quote(text)?;
                (JsonToken::String(&text[1..end]), end + 1)
            }
            '[' | ']' | '{' | '}' | ',' | ':' => (JsonToken::Mark(first), 1),
            _ => {
                let end = text.find([',', ']', '}']).unwrap_or(text.len());
                (JsonToken::Scalar(&text[..end]), end)
            }
        };
        self.0 = &text[length..];
        Some(token)
    }
}

/// The index of the quote that ends the string at the start of `json`.
fn closing_quote(json: &str) -> Option<usize> {
    let mut is_escaped = false;
    let is_end = |byte: u8| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    };
    Some(json.bytes().skip(1).position(is_end)? + 1)
}

/// The decoded characters of a [`JsonToken::String`]. `Err` is an escaped surrogate without its pair.
pub(super) fn characters(raw: &str) -> impl Iterator<Item = Result<char, u16>> {
    let mut rest = raw.chars();
    std::iter::from_fn(move || {
        let character = rest.next()?;
        if character != '\\' {
            return Some(Ok(character));
        }
        Some(match rest.next()? {
            'b' => Ok('\u{8}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'u' => unicode_escape(&mut rest),
            // One of `"`, `\` and `/`.
            itself => Ok(itself),
        })
    })
}

/// Reads the digits after `\u`. After the first half of a surrogate pair, also the escape of its second half.
fn unicode_escape(rest: &mut Chars<'_>) -> Result<char, u16> {
    let unit = code_unit(rest);
    let mut after = rest.clone();
    let is_first_half = (0xd800..0xdc00).contains(&unit);
    if is_first_half && after.next() == Some('\\') && after.next() == Some('u') {
        let pair = [unit, code_unit(&mut after)];
        if let Some(Ok(character)) = char::decode_utf16(pair).next() {
            *rest = after;
            return Ok(character);
        }
    }
    char::from_u32(u32::from(unit)).ok_or(unit)
}

fn code_unit(digits: &mut Chars<'_>) -> u16 {
    let values = digits.take(4).filter_map(|digit| digit.to_digit(16));
    values.fold(0u16, |unit, value| (unit << 4) | value as u16)
}

/// Whether two values are equal: numbers by decimal value, strings by their characters, and objects by their members in
/// any order, of which the last one of a key counts. A text that is damaged, or nests deeper than [`MAX_DEPTH`], is equal
/// only to the same text.
pub fn json_equal(one: &JsonText, other: &JsonText) -> bool {
    one == other || canonical_form(one).is_some_and(|form| canonical_form(other).is_some_and(|other| form == other))
}

/// The SHA-256 of the canonical form of `json`. Two values have the same digest if [`json_equal`] finds them equal.
pub fn json_digest(json: &JsonText) -> [u8; 32] {
    let hash = match canonical_form(json) {
        Some(form) => Sha256::new_with_prefix([0]).chain_update(form),
        None => Sha256::new_with_prefix([1]).chain_update(json.as_str()),
    };
    hash.finalize().into()
}

/// The canonical form of `json`. Numbers are equal by decimal value, strings by their characters, objects by their
/// members in any order. Of members with the same key, the last one counts.
///
/// The form is JSON only in part: its strings have control characters as they are, and escape only quotes, backslashes
/// and lone surrogates. `None`: the text is damaged, or nests deeper than [`MAX_DEPTH`].
pub(super) fn canonical_form(json: &JsonText) -> Option<String> {
    let mut tokens = JsonTokens(json.as_str());
    let mut form = String::with_capacity(json.as_str().len());
    let first = tokens.next()?;
    push_value(first, &mut tokens, MAX_DEPTH, &mut form)?;
    Some(form)
}

/// Appends the value that begins with the token `first`, and takes its other tokens from `rest`. `depth` limits the
/// recursion.
fn push_value(first: JsonToken<'_>, rest: &mut JsonTokens<'_>, depth: usize, form: &mut String) -> Option<()> {
    match first {
        JsonToken::String(raw) => push_string(raw, form),
        JsonToken::Scalar(text) if text.starts_with(['t', 'f', 'n']) => form.push_str(text),
        JsonToken::Scalar(number) => push_number(number, form),
        JsonToken::Mark('[') => push_array(rest, depth.checked_sub(1)?, form)?,
        JsonToken::Mark('{') => push_object(rest, depth.checked_sub(1)?, form)?,
        JsonToken::Mark(_) => return None,
    }
    Some(())
}

fn push_array(rest: &mut JsonTokens<'_>, depth: usize, form: &mut String) -> Option<()> {
    form.push('[');
    loop {
        match rest.next()? {
            JsonToken::Mark(']') => break,
            JsonToken::Mark(',') => form.push(','),
            item => push_value(item, rest, depth, form)?,
        }
    }
    form.push(']');
    Some(())
}

fn push_object(rest: &mut JsonTokens<'_>, depth: usize, form: &mut String) -> Option<()> {
    let mut members = BTreeMap::new();
    loop {
        match rest.next()? {
            JsonToken::Mark('}') => break,
            JsonToken::Mark(',') => {}
            JsonToken::String(raw) => {
                let (mut key, mut value) = (String::new(), String::new());
                push_string(raw, &mut key);
                // The colon.
                rest.next()?;
                let first = rest.next()?;
                push_value(first, rest, depth, &mut value)?;
                members.insert(key, value);
            }
            JsonToken::Scalar(_) | JsonToken::Mark(_) => return None,
        }
    }
    form.push('{');
    for (place, (key, value)) in members.iter().enumerate() {
        if place > 0 {
            form.push(',');
        }
        form.push_str(key);
        form.push(':');
        form.push_str(value);
    }
    form.push('}');
    Some(())
}

fn push_string(raw: &str, form: &mut String) {
    form.push('"');
    if raw.contains('\\') {
        characters(raw).for_each(|character| push_character(character, form));
    } else {
        form.push_str(raw);
    }
    form.push('"');
}

pub(super) fn push_character(character: Result<char, u16>, form: &mut String) {
    match character {
        Ok(special @ ('"' | '\\')) => form.extend(['\\', special]),
        Ok(plain) => form.push(plain),
        // A `String` cannot hold it. No other character has this form, since a backslash is always escaped.
        Err(surrogate) => form.push_str(&format!("\\u{surrogate:04x}")),
    }
}

/// Appends `number` as its significant digits and a power of ten, such as `-12e-1`; zero as `0`.
fn push_number(number: &str, form: &mut String) {
    let (sign, magnitude) = number.strip_prefix('-').map_or(("", number), |magnitude| ("-", magnitude));
    let (mantissa, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let without_end = digits.trim_end_matches('0');
    let significant = without_end.trim_start_matches('0');
    if significant.is_empty() {
        form.push('0');
        return;
    }
    let shift = (digits.len() - without_end.len()) as i64 - fraction.len() as i64;
    form.push_str(sign);
    form.push_str(significant);
    form.push('e');
    form.push_str(&plus(exponent, shift));
}

/// `exponent` plus `shift`, in decimal. An exponent has any number of digits; the time is linear in it.
fn plus(exponent: &str, shift: i64) -> String {
    /// Any number of so many digits is an `i64`, also after a shift.
    const MAX_DIGITS: usize = 18;
    let (sign, magnitude) = match exponent.strip_prefix('-') {
        Some(magnitude) => (-1, magnitude),
        None => (1, exponent.strip_prefix('+').unwrap_or(exponent)),
    };
    let magnitude = magnitude.trim_start_matches('0');
    if magnitude.len() <= MAX_DIGITS {
        // Without digits, it is zero.
        return (sign * magnitude.parse::<i64>().unwrap_or(0) + shift).to_string();
    }
    let mut digits = magnitude.as_bytes().to_vec();
    let mut carry = sign * shift;
    for digit in digits.iter_mut().rev() {
        let sum = i64::from(digit.wrapping_sub(b'0')) + carry;
        *digit = b'0' + sum.rem_euclid(10) as u8;
        carry = sum.div_euclid(10);
    }
    // A magnitude of more than 18 digits is larger than the shift: the sign stays, and at most 1 is carried.
    let sign = if sign < 0 { "-" } else { "" };
    let digits: String = digits.into_iter().map(char::from).collect();
    match carry {
        0 => format!("{sign}{}", digits.trim_start_matches('0')),
        _ => format!("{sign}1{digits}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(json: &str) -> String {
        canonical_form(&JsonText::parse(json).expect(json)).expect(json)
    }

    /// Checks that the values of one list are equal, and different from those of all other lists.
    fn assert_equal_within(lists: &[&[&str]]) {
        for (place, list) in lists.iter().enumerate() {
            for json in *list {
                assert_eq!(form(json), form(list[0]), "{json} and {}", list[0]);
            }
            for other in &lists[..place] {
                assert_ne!(form(list[0]), form(other[0]), "{} and {}", list[0], other[0]);
            }
        }
    }

    #[test]
    fn numbers_are_equal_by_decimal_value() {
        assert_equal_within(&[
            &["1", "1.0", "1e0", "10e-1", "0.1E+1", "1000e-3", "1.000E00", "0.0001e+04"],
            &["-1", "-1.0", "-0.01e2"],
            &["0", "-0", "0.0", "-0.000", "0e99", "0E-400000000", "-0.0e+1"],
            &["10", "1e1", "10.0", "0.1e2"],
            &["0.5", "5e-1", "0.50"],
            &["101", "1.01e2"],
            &["9007199254740992"],
            &["9007199254740993", "9007199254740993.0", "9.007199254740993e15"],
            &["0.1", "1e-1"],
            &["0.1000000000000000055511151231257827"],
            &["1e400000000", "10e399999999"],
            &["1e400000001"],
            &["1e-400000000"],
            &["\"1\""],
        ]);
        assert_eq!((form("-120.50").as_str(), form("1200").as_str(), form("-0.0").as_str()), ("-1205e-1", "12e2", "0"));
    }

    #[test]
    fn exponents_have_any_number_of_digits() {
        for digits in [17, 18, 19, 300, 100_000] {
            let (nines, zeros) = ("9".repeat(digits), "0".repeat(digits));
            let after = format!("1{}1", &zeros[1..]);
            let equal = [
                [format!("10e{nines}"), format!("1e1{zeros}")],
                [format!("0.1e1{zeros}"), format!("1e+00{nines}")],
                [format!("0.1e{after}"), format!("1E1{zeros}")],
                [format!("10e-1{zeros}"), format!("1e-{nines}")],
                [format!("0.1e-{nines}"), format!("1e-1{zeros}")],
                [format!("-0.1e-1{zeros}"), format!("-1e-{after}")],
                [format!("0e{nines}"), "0".to_owned()],
            ];
            for [one, other] in &equal {
                assert!(form(one) == form(other), "{digits} digits: {one:.40} and {other:.40}");
            }
            assert_ne!(form(&format!("1e{nines}")), form(&format!("1e-{nines}")));
        }
    }

    #[test]
    fn strings_are_equal_by_their_characters() {
        assert_equal_within(&[
            &[r#""A/b""#, r#""\u0041\/b""#, r#""\u0041\u002fb""#, r#""\u0041\u002Fb""#],
            &[r#""😀""#, r#""\ud83d\ude00""#, r#""\uD83D\uDE00""#],
            &[r#""\n\t\r\b\f""#, r#""\u000a\u0009\u000d\u0008\u000c""#],
            &[r#""\"""#, r#""\u0022""#],
            &[r#""\\""#, r#""\u005c""#],
            &[r#""\\\"""#],
            &[r#""\\u0041""#, r#""\u005cu0041""#],
            &[r#""""#],
            &[r#""a""#],
            // A lone surrogate, as entries from before the check may have.
            &[r#""\ud800""#, r#""\uD800""#],
            &[r#""\ud83d\u0041""#, r#""\ud83dA""#],
            &[r#""\ud83d\ud83d\ude00""#, r#""\ud83d😀""#],
            &[r#""\ude00\ud83d""#],
            &[r#""\\ud800""#],
            &[r#""null""#],
            &["null"],
            &["true"],
            &["false"],
        ]);
    }

    #[test]
    fn objects_are_equal_in_any_order_and_arrays_in_theirs() {
        assert_equal_within(&[
            &[r#"{"a":1,"b":[1,2]}"#, r#"{"b":[1.0,2],"a":1}"#, r#"{ "\u0062": [10e-1, 2], "a": 1 }"#],
            // The last member of a key counts.
            &[r#"{"a":2,"b":1}"#, r#"{"a":1,"b":1,"\u0061":2}"#, r#"{"b":{"c":[]},"a":2,"b":1}"#],
            &[r#"{"b":[2,1],"a":1}"#],
            &["{}"],
            &["[]"],
            &["[[]]"],
            &["[[],[]]"],
            &["[{}]"],
            &["[1,2]"],
            &["[12]"],
            &[r#"["a,b"]"#],
            &[r#"["a","b"]"#],
            &[r#"{"a":"b:c"}"#],
            &[r#"{"a:b":"c"}"#],
            &[r#"{"x":{"a":1,"b":2}}"#, r#"{"x":{"b":2,"a":1}}"#],
            &[r#"{"":""}"#],
        ]);
    }

    #[test]
    fn equal_values_have_equal_digests() {
        let deep = "[".repeat(33) + &"]".repeat(33);
        let texts = [
            "1",
            "1.0",
            "\"1\"",
            "null",
            r#"{"a":1,"b":"x"}"#,
            r#"{"b":"\u0078","a":10e-1}"#,
            "[",
            "[1",
            deep.as_str(),
        ];
        let values = texts.map(|text| JsonText::stored(text.to_owned()));
        let equal = [(0, 1), (4, 5)];
        for (place, one) in values.iter().enumerate() {
            for (other_place, other) in values.iter().enumerate() {
                let pair = (place.min(other_place), place.max(other_place));
                let is_equal = place == other_place || equal.contains(&pair);
                assert_eq!(json_equal(one, other), is_equal, "{one:?} and {other:?}");
                assert_eq!(json_digest(one) == json_digest(other), is_equal, "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn damaged_or_deep_text_has_no_form_and_never_panics() {
        let nested = |depth: usize| JsonText::stored("[".repeat(depth) + &"]".repeat(depth));
        assert!(canonical_form(&nested(32)).is_some());
        assert!(canonical_form(&nested(33)).is_none());
        assert!(canonical_form(&nested(1_000_000)).is_none());
        for damaged in ["", "\"", "\"a", "\"\\", "[", "[1", "{\"a\"", "{\"a\":", "{1:2}", "]", "{\"a\":1"] {
            assert_eq!(canonical_form(&JsonText::stored(damaged.to_owned())), None, "{damaged:?}");
        }
        for odd in ["\"\\u\"", "\"\\ud83d\\u\"", "1ex", "-", ".", "é", "1e99999999999999999999x", "\"\\ué\""] {
            canonical_form(&JsonText::stored(odd.to_owned()));
        }
    }
}
