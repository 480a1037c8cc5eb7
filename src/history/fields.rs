//! The fields of one life of a resource, as its writes leave them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::paths::{above, below};
use super::values::{HeldValue, HeldValues, ValueId, name_bytes};
use super::{EntryRef, ShownValue, TooManyFields};
use crate::domain::JsonText;

/// The first erased entry after a write. All writes between two erased entries share it.
#[derive(Debug, Clone, Default)]
pub(super) struct NextErased(Arc<OnceLock<Arc<EntryRef>>>);

impl NextErased {
    /// With `entry` as the erased one.
    pub fn of(entry: &Arc<EntryRef>) -> Self {
        Self(Arc::new(OnceLock::from(Arc::clone(entry))))
    }

    /// `None` if no entry after the write was erased.
    pub fn get(&self) -> Option<&Arc<EntryRef>> {
        self.0.get()
    }

    fn set(&self, entry: &Arc<EntryRef>) {
        self.0.get_or_init(|| Arc::clone(entry));
    }
}

/// A field and its last write.
#[derive(Debug)]
pub(super) struct HeldField {
    /// The value, among those of [`HeldFields::values`].
    pub value: ValueId,
    /// The entry that the value comes from.
    pub source: Arc<EntryRef>,
    /// Whether the field may have changed since.
    pub next_erased: NextErased,
    /// Whether a field below was written since.
    pub is_partial: bool,
}

/// The last write of each field. A write removes all fields below, so a field is older than the fields below it, and
/// partial if there are any.
#[derive(Debug, Default)]
pub(super) struct HeldFields {
    fields: BTreeMap<Arc<str>, HeldField>,
    /// The values of the fields. The owner may hold others, which share the limits.
    pub values: HeldValues,
    next_erased: NextErased,
}

impl HeldFields {
    /// Notes that the changes of `entry` are unknown.
    pub fn erase(&mut self, entry: &Arc<EntryRef>) {
        std::mem::take(&mut self.next_erased).set(entry);
    }

    /// The next erased entry, for a write at this moment.
    pub fn next_erased(&self) -> NextErased {
        self.next_erased.clone()
    }

    /// Writes a field. Errors: its name does not fit.
    pub fn write(&mut self, path: &str, value: &JsonText, source: &Arc<EntryRef>) -> Result<(), TooManyFields> {
        self.overwrite(path);
        let name = match self.fields.remove_entry(path) {
            Some((name, old)) => {
                self.values.release(old.value);
                name
            }
            None => self.values.hold_name(path)?,
        };
        let value = self.values.hold(&name, HeldValue::Known(value.clone()));
        let next_erased = self.next_erased();
        self.fields.insert(name, HeldField { value, source: Arc::clone(source), next_erased, is_partial: false });
        Ok(())
    }

    /// Writes a field with a value that is held already. Its owner holds the name.
    pub fn put(&mut self, name: &Arc<str>, value: ValueId, source: &Arc<EntryRef>) {
        self.overwrite(name);
        let next_erased = self.next_erased();
        let field = HeldField { value, source: Arc::clone(source), next_erased, is_partial: false };
        if let Some(old) = self.fields.insert(Arc::clone(name), field) {
            self.values.release(old.value);
        }
    }

    /// Adds a field that is not there, with a value from a later entry, and returns its name. Other fields stay as they
    /// are. `erased` is the erased entry that makes it uncertain. Errors: the name does not fit.
    pub fn infer(
        &mut self,
        path: &str,
        value: &JsonText,
        source: &Arc<EntryRef>,
        (erased, is_partial): (NextErased, bool),
    ) -> Result<Arc<str>, TooManyFields> {
        let name = self.values.hold_name(path)?;
        let value = self.values.hold(&name, HeldValue::Known(value.clone()));
        let field = HeldField { value, source: Arc::clone(source), next_erased: erased, is_partial };
        self.fields.insert(Arc::clone(&name), field);
        Ok(name)
    }

    /// Notes that `path` is written: the fields above become partial.
    pub fn mark_partial(&mut self, path: &str) {
        // Those above the nearest one are partial already.
        let nearest = above(&self.fields, path).next().map(|(name, _)| Arc::clone(name));
        if let Some(name) = nearest
            && let Some(field) = self.fields.get_mut(&name)
        {
            field.is_partial = true;
        }
    }

    fn overwrite(&mut self, path: &str) {
        let overwritten: Vec<_> = below(&self.fields, path).map(|(name, _)| Arc::clone(name)).collect();
        for name in overwritten {
            if let Some(field) = self.fields.remove(&name) {
                self.values.release(field.value);
                self.values.release_name_bytes(name_bytes(&name));
            }
        }
        self.mark_partial(path);
    }

    /// Whether the field is there.
    pub fn has(&self, path: &str) -> bool {
        self.fields.contains_key(path)
    }

    /// The field, or the nearest one above it, with its name.
    pub fn nearest(&self, path: &str) -> Option<(&Arc<str>, &HeldField)> {
        self.fields.get_key_value(path).or_else(|| above(&self.fields, path).next())
    }

    /// The fields below, by name.
    pub fn below(&self, path: &str) -> impl Iterator<Item = (&Arc<str>, &HeldField)> {
        below(&self.fields, path)
    }

    /// The names of the fields that no erased entry may have changed since.
    pub fn names_without_erasure(&self) -> impl Iterator<Item = Arc<str>> {
        let known = self.fields.iter().filter(|(_, field)| field.next_erased.get().is_none());
        known.map(|(name, _)| Arc::clone(name))
    }

    /// Removes all fields.
    pub fn clear(&mut self) {
        for field in std::mem::take(&mut self.fields).into_values() {
            self.values.release(field.value);
        }
    }

    /// The fields with their values, by name.
    pub fn into_fields(self) -> impl Iterator<Item = (Arc<str>, HeldField, ShownValue)> {
        let Self { fields, mut values, next_erased: _ } = self;
        fields.into_iter().filter_map(move |(name, field)| {
            let value = values.release(field.value)?;
            Some((name, field, value.into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::MAX_NAME_BYTES;
    use crate::history::fixtures::{json, update};

    fn source(seq: i64) -> Arc<EntryRef> {
        EntryRef::of(&update(seq, &[]))
    }

    fn written(paths: &[&str]) -> HeldFields {
        let mut fields = HeldFields::default();
        for (seq, path) in (1..).zip(paths) {
            fields.write(path, &json("1"), &source(seq)).expect("few fields");
        }
        fields
    }

    /// The names, with a star if the field is partial.
    fn names(fields: HeldFields) -> String {
        let shown =
            fields.into_fields().map(|(name, field, _)| format!("{name}{}", ["", "*"][usize::from(field.is_partial)]));
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_write_removes_the_fields_below_and_makes_those_above_partial() {
        assert_eq!(names(written(&["a", "a.b", "ab", "a.b.c", "d"])), "a* a.b* a.b.c ab d");
        assert_eq!(names(written(&["a", "a.b", "ab", "a.b.c", "a"])), "a ab");
        assert_eq!(names(written(&["a.b.c", "a.b", "a.x", "a.b.d"])), "a.b* a.b.d a.x");
        assert_eq!(names(written(&["a", "a.b", "a.b"])), "a* a.b");
        assert_eq!(names(written(&["", ".b", "a.", "a..c", "a"])), "* .b a");
    }

    #[test]
    fn names_that_were_overwritten_take_no_bytes() {
        let mut fields = HeldFields::default();
        let long = format!("a.{}", "n".repeat(MAX_NAME_BYTES - 2 - 256));
        let mut write = |path: &str| fields.write(path, &json("1"), &source(1));
        assert_eq!(write(&long), Ok(()));
        assert_eq!(write(&long), Ok(()));
        assert_eq!(write("b"), Err(TooManyFields));
        assert_eq!((write("a"), write("b")), (Ok(()), Ok(())));
    }

    #[test]
    fn writes_know_the_first_erased_entry_after_them() {
        let mut fields = written(&["a"]);
        fields.erase(&source(2));
        fields.write("b", &json("1"), &source(3)).expect("few fields");
        fields.erase(&source(4));
        fields.erase(&source(5));
        fields.write("c", &json("1"), &source(6)).expect("few fields");
        let erased = |path: &str| {
            let (_, field) = fields.nearest(path).expect(path);
            field.next_erased.get().map(|entry| entry.seq)
        };
        assert_eq!((erased("a"), erased("b"), erased("c")), (Some(2), Some(4), None));
    }
}
