//! The value that a field has, put together from the writes at, above and below it.

use crate::domain::JsonText;
use crate::history::fields::{HeldField, HeldFields};
use crate::history::json::{JsonWalker, assembled};
use crate::history::paths::{beginnings, rest_below};
use crate::history::values::{HeldValue, ValueId, ValueWalker};

/// The bytes of JSON that one reader reads. Fields after that are unknown, so that a plan with many fields within large
/// values ends in time.
const MAX_READ_BYTES: usize = 32 * 1024 * 1024;

/// The value of a field.
#[derive(Debug)]
pub(super) enum FoundValue {
    /// Its last write.
    Written(ValueId),
    /// The last write with parts that were written since, or a part of the last write above.
    Assembled(JsonText),
}

/// Finds the values of fields, of all resources of a plan.
#[derive(Debug)]
pub struct FieldReader {
    walker: ValueWalker,
}

impl Default for FieldReader {
    fn default() -> Self {
        Self { walker: ValueWalker::with_allowance(MAX_READ_BYTES) }
    }
}

impl FieldReader {
    /// Begins with the fields of another resource.
    pub(super) fn begin_resource(&mut self) {
        self.walker.forget();
    }

    /// The value of the field `path`. `None` if it is unknown: no write shows it, or a part of it cannot be set or found.
    pub(super) fn value_at(&mut self, fields: &HeldFields, path: &str) -> Option<FoundValue> {
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
                JsonText::stored(self.walker.walk(field.value, whole, rest)?.to_owned())
            }
        };
        Some(FoundValue::Assembled(value))
    }

    /// The value of the field `name` with the parts that were written since.
    fn assembled(&mut self, fields: &HeldFields, name: &str, field: &HeldField) -> Option<JsonText> {
        let HeldValue::Known(whole) = fields.values.get(field.value)? else { return None };
        let (mut parts, mut levels, mut bytes) = (Vec::new(), 1, whole.as_str().len());
        for (below, field) in fields.below(name) {
            let HeldValue::Known(part) = fields.values.get(field.value)? else { return None };
            let rest = rest_below(name, below)?;
            levels = levels.max(1 + rest.matches('.').count());
            bytes += rest.len() + part.as_str().len();
            self.walker.take(0)?;
            parts.push((rest, part));
        }
        // Each level of objects is read once more.
        self.walker.take(bytes.saturating_mul(levels))?;
        assembled(whole, parts)
    }

    /// Whether all that is known above `path` is an object, so that it can be set. `null` is none unless `creates`.
    pub(super) fn has_room(&mut self, fields: &HeldFields, path: &str, creates: bool) -> bool {
        let is_object = |json: &JsonText| json.as_str().starts_with('{') || creates && *json == JsonText::null();
        let Some((name, _)) = fields.nearest(path).filter(|(name, _)| ***name != *path) else { return true };
        let from_nearest = beginnings(path).filter(|beginning| beginning.len() >= name.len());
        from_nearest.into_iter().all(|beginning| match self.value_at(fields, beginning) {
            Some(FoundValue::Assembled(json)) => is_object(&json),
            Some(FoundValue::Written(id)) => match fields.values.get(id) {
                Some(HeldValue::Known(json)) => is_object(json),
                Some(HeldValue::LeftOut(_)) | None => true,
            },
            None => true,
        })
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
        match FieldReader::default().value_at(&fields, path)? {
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
        let mut reader = FieldReader { walker: ValueWalker::with_allowance(10) };
        let mut is_known = |path: &str| reader.value_at(&fields, path).is_some();
        // Parts of a value that was read already take nothing.
        assert_eq!(["a.b", "a.x", "c.b", "a.b", "c"].map(&mut is_known), [true, true, false, false, true]);
    }
}
