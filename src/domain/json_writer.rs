//! Writes JSON piece by piece. Values that are JSON already are copied as they are; `RawValue` would parse them once
//! more.

use serde::Serialize;

/// An object, written to the end of a text. Field names must need no escapes.
#[derive(Debug)]
pub struct ObjectWriter<'t> {
    text: &'t mut Vec<u8>,
    is_empty: bool,
}

impl<'t> ObjectWriter<'t> {
    /// Begins an object without fields.
    pub fn begin(text: &'t mut Vec<u8>) -> Self {
        text.push(b'{');
        Self { text, is_empty: true }
    }

    /// Adds a field. Errors: `value` has no JSON form, such as a map whose keys are not strings.
    pub fn field(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> serde_json::Result<()> {
        serde_json::to_writer(self.name(name), value)
    }

    /// Adds a field whose value is valid JSON already; the caller guarantees it. `None` writes `null`.
    pub fn json(&mut self, name: &str, value: Option<&str>) {
        self.name(name).extend_from_slice(value.unwrap_or("null").as_bytes());
    }

    /// Adds the name of a field. The caller appends the value to the returned text.
    pub fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::take(&mut self.is_empty) {
            self.text.push(b',');
        }
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
        self.text
    }

    /// Ends the object.
    pub fn end(self) {
        self.text.push(b'}');
    }
}

/// Writes an array; `write` writes each item.
pub fn write_array<T>(
    text: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T) -> serde_json::Result<()>,
) -> serde_json::Result<()> {
    text.push(b'[');
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            text.push(b',');
        }
        write(text, item)?;
    }
    text.push(b']');
    Ok(())
}

/// Writes the array of an entry's changes: each a field with its old and new value, which are JSON, or none for `null`.
pub fn write_changes<'c>(
    text: &mut Vec<u8>,
    changes: impl IntoIterator<Item = (&'c str, Option<&'c str>, Option<&'c str>)>,
) -> serde_json::Result<()> {
    write_array(text, changes, |text, (field, old_value, new_value)| {
        let mut change = ObjectWriter::begin(text);
        change.field("field", field)?;
        change.json("oldValue", old_value);
        change.json("newValue", new_value);
        change.end();
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_json_values_are_written_unchanged() {
        let mut text = Vec::new();
        write_array(&mut text, [None, Some("1E400"), Some(r#"{"b":1,"b":"\u0041"}"#)], |text, json| {
            let mut object = ObjectWriter::begin(text);
            object.field("text", "a \"b\"\né")?;
            object.json("raw", json);
            ObjectWriter::begin(object.name("empty")).end();
            object.end();
            Ok(())
        })
        .expect("written");
        let object = |raw: &str| format!(r#"{{"text":"a \"b\"\né","raw":{raw},"empty":{{}}}}"#);
        let objects = ["null", "1E400", r#"{"b":1,"b":"\u0041"}"#].map(object);
        assert_eq!(String::from_utf8(text).expect("UTF-8"), format!("[{}]", objects.join(",")));
        let mut empty = Vec::new();
        write_array(&mut empty, [(); 0], |_, ()| Ok(())).expect("written");
        assert_eq!(empty, b"[]");
    }
}
