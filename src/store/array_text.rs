//! Arrays as text, for PostgreSQL. The driver's arrays cannot have NULL, and it copies their elements several times.

use anyhow::anyhow;
use sea_orm::Value;

use crate::domain::hex;
use crate::error::{Error, Result};

/// The text form of an array, as PostgreSQL reads it: `{1,NULL,"a \\"b\\""}`.
pub(super) struct ArrayText(String);

impl ArrayText {
    pub(super) fn begin() -> Self {
        Self("{".to_owned())
    }

    /// Adds an element: a number, a text, bytes, or NULL. Errors: another kind of value.
    pub(super) fn push(&mut self, value: &Value) -> Result<()> {
        let Self(text) = self;
        if text.len() > 1 {
            text.push(',');
        }
        match value {
            Value::BigInt(Some(number)) => text.push_str(&number.to_string()),
            Value::SmallInt(Some(number)) => text.push_str(&number.to_string()),
            Value::String(Some(string)) => push_quoted(text, string),
            Value::Bytes(Some(bytes)) => {
                text.push_str("\"\\\\x");
                text.push_str(&hex(bytes));
                text.push('"');
            }
            Value::BigInt(None) | Value::SmallInt(None) | Value::String(None) | Value::Bytes(None) => {
                text.push_str("NULL");
            }
            _ => return Err(Error::Internal(anyhow!("an array element is no number, text or bytes"))),
        }
        Ok(())
    }

    pub(super) fn end(self) -> Value {
        let Self(mut text) = self;
        text.push('}');
        text.into()
    }
}

fn push_quoted(text: &mut String, mut rest: &str) {
    text.push('"');
    while let Some(place) = rest.find(['"', '\\']) {
        let (before, after) = rest.split_at(place);
        text.push_str(before);
        text.push('\\');
        // Both are one byte long.
        text.push_str(&after[..1]);
        rest = &after[1..];
    }
    text.push_str(rest);
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_quoted() {
        let mut array = ArrayText::begin();
        let none: Option<String> = None;
        let values: [Value; 6] =
            [1i64.into(), none.into(), "a \"b\" \\ {c,d} é".into(), "".into(), "NULL".into(), vec![0u8, 255].into()];
        values.iter().for_each(|value| array.push(value).expect("an element"));
        let text = r#"{1,NULL,"a \"b\" \\ {c,d} é","","NULL","\\x00ff"}"#;
        assert_eq!(array.end(), text.into());
    }
}
