//! The value that a field has, put together from the writes at, above and below it.

use crate::domain::JsonText;
use crate::history::fields::{HeldField, HeldFields};
use crate::history::json::{JsonWalker, assembled};
use crate::history::paths::rest_below;
use crate::history::values::{HeldValue, ValueId, ValueWalker};

/// The bytes of JSON that one reader reads. Fields after that are unknown, so that a plan with many fields within one
/// large value ends in time.
const MAX_READ_BYTES: usize = 64 * 1024 * 1024;

/// The value of a field.
#[derive(Debug)]
pub(super) enum FoundValue {
    /// Its last write.
    Written(ValueId),
    /// The last write with parts that were written since, or a part of the last write above.
    Assembled(JsonText),
}

/// Finds the values of fields.
#[derive(Debug)]
pub(super) struct FieldReader {
    /// The bytes that it may still read.
    allowance: usize,
    walker: ValueWalker,
}

impl FieldReader {
    pub fn new() -> Self {
        Self { allowance: MAX_READ_BYTES, walker: ValueWalker::with_allowance(MAX_READ_BYTES) }
    }

    /// The value of the field `path`. `None` if it is unknown: no write shows it, or a part of it cannot be set or found.
    pub fn value_at(&mut self, fields: &HeldFields, path: &str) -> Option<FoundValue> {
        let (name, field) = fields.nearest(path)?;
        let value = match (rest_below(name, path), field.is_partial) {
            (None, false) => return Some(FoundValue::Written(field.value)),
            (None, true) => self.assembled(fields, name, field)?,
            (Some(rest), true) => {
                let whole = self.assembled(fields, name, field)?;
                JsonText::stored(JsonWalker::default().walk(&whole, rest)?.to_owned())
            }
            (Some(rest), false) => {
                let HeldValue::Known(whole) = fields.values.get(field.value)? else { return None };
                if !self.walker.knows(&field.value) {
                    self.take(whole)?;
                }
                JsonText::stored(self.walker.walk(field.value, whole, rest)?.to_owned())
            }
        };
        Some(FoundValue::Assembled(value))
    }

    /// The value of the field `name` with the parts that were written since.
    fn assembled(&mut self, fields: &HeldFields, name: &str, field: &HeldField) -> Option<JsonText> {
        let HeldValue::Known(whole) = fields.values.get(field.value)? else { return None };
        self.take(whole)?;
        let mut parts = Vec::new();
        for (below, field) in fields.below(name) {
            let HeldValue::Known(part) = fields.values.get(field.value)? else { return None };
            self.take(part)?;
            parts.push((rest_below(name, below)?, part));
        }
        assembled(whole, parts)
    }

    fn take(&mut self, json: &JsonText) -> Option<()> {
        /// The time for a value without bytes, in bytes.
        const VALUE: usize = 64;
        self.allowance = self.allowance.checked_sub(json.as_str().len() + VALUE)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::EntryRef;
    use crate::history::fixtures::{json, update};

    fn written(writes: &[(&str, &str)]) -> HeldFields {
        let mut fields = HeldFields::default();
        for (path, value) in writes {
            fields.write(path, &json(value), &EntryRef::of(&update(1, &[]))).expect("few fields");
        }
        fields
    }

    /// The value at `path` after the writes.
    fn value(writes: &[(&str, &str)], path: &str) -> Option<String> {
        let fields = written(writes);
        match FieldReader::new().value_at(&fields, path)? {
            FoundValue::Assembled(json) => Some(json.into()),
            FoundValue::Written(id) => match fields.values.get(id)? {
                HeldValue::Known(json) => Some(json.as_str().to_owned()),
                HeldValue::LeftOut(_) => panic!("few bytes"),
            },
        }
    }

    #[test]
    fn a_value_has_the_parts_that_were_written_since() {
        let writes = [("a", r#"{"b":{"c":1.0},"d":2}"#), ("a.b", r#"{"c":1.50}"#), ("a.b.e", "3"), ("f", "4")];
        for (path, found) in [
            ("a", Some(r#"{"b":{"c":1.50,"e":3},"d":2}"#)),
            ("a.b", Some(r#"{"c":1.50,"e":3}"#)),
            ("a.b.e", Some("3")),
            ("a.b.c", Some("1.50")),
            ("a.d", Some("2")),
            ("a.x", Some("null")),
            ("a.d.x", None),
            ("f", Some("4")),
            ("f.g", None),
            ("g", None),
        ] {
            assert_eq!(value(&writes, path).as_deref(), found, "{path}");
        }
    }

    #[test]
    fn a_part_that_cannot_be_set_makes_the_whole_unknown() {
        for whole in ["[1]", "1", r#"{"b.c":1}"#] {
            let writes = [("a", whole), ("a.b", "2")];
            assert_eq!((value(&writes, "a"), value(&writes, "a.x")), (None, None), "{whole}");
            assert_eq!(value(&writes, "a.b").as_deref(), Some("2"), "{whole}");
        }
        assert_eq!(value(&[("a", "{}"), ("a.b.c", "1")], "a.b").as_deref(), Some(r#"{"c":1}"#));
    }

    #[test]
    fn the_bytes_that_are_read_are_limited() {
        let fields = written(&[("a", r#"{"b":1}"#), ("c", r#"{"b":1}"#)]);
        let mut reader = FieldReader { allowance: 100, walker: ValueWalker::default() };
        let mut is_known = |path: &str| reader.value_at(&fields, path).is_some();
        // Parts of the value that was read last take nothing.
        assert_eq!(["a.b", "c.b", "a.b", "a.x", "c"].map(&mut is_known), [true, false, true, true, true]);
        assert_eq!(reader.allowance, 29);
    }
}
