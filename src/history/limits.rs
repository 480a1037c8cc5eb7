//! The limits of one call: the entries that it reads, and the size of its answer.

use std::cmp::Reverse;

use super::TooManyFields;
use super::model::{PlanStep, ShownValue, StepAction};
use crate::domain::{Entry, ResourceKey};
use crate::error::{Error, Result};
use crate::limits::Reservation;
use crate::store::Store;

/// The maximum number of entries that one call reads.
pub const MAX_FOLDED_ENTRIES: u64 = 100_000;
/// The maximum number of fields of an answer. The codec of this service's clients takes no longer lists.
pub const MAX_ANSWER_FIELDS: usize = 10_000;
/// The maximum number of bytes of the values of an answer. With the rest of it, they fit into a message.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// The maximum number of characters of a value or a name in a sentence.
pub(super) const MAX_QUOTED_CHARACTERS: usize = 64;
/// The maximum number of bytes that a fold holds: the values and the names of its fields.
pub(super) const MAX_FOLD_BYTES: usize = super::MAX_VALUE_BYTES + super::MAX_NAME_BYTES;

/// The entries that a call has read. Their bytes count against the budget of the key until the call ends.
pub(super) struct FoldBudget<'a> {
    store: &'a Store,
    key_id: &'a str,
    entries: u64,
    bytes: usize,
    max_bytes: usize,
    held: Option<Reservation>,
}

impl<'a> FoldBudget<'a> {
    /// A budget of a call that has so many folds at once.
    pub(super) fn new(store: &'a Store, key_id: &'a str, folds: usize) -> Self {
        Self { store, key_id, entries: 0, bytes: 0, max_bytes: folds * MAX_FOLD_BYTES, held: None }
    }

    /// Counts entries that were read. Errors: `TooManyEntries`, which ends with `advice`.
    pub(super) fn add(&mut self, entries: &[Entry], advice: &str) -> Result<()> {
        self.entries += entries.len() as u64;
        self.bytes += entries.iter().map(|entry| entry.content.size()).sum::<usize>();
        if self.entries > MAX_FOLDED_ENTRIES {
            let limit = format!("The call would read more than {MAX_FOLDED_ENTRIES} entries");
            return Err(Error::TooManyEntries(format!("{limit}: {advice}")));
        }
        // Given back first: the reservation counts all bytes so far.
        self.held = None;
        self.held = Some(self.store.hold(self.key_id, self.bytes.min(self.max_bytes)));
        Ok(())
    }

    /// The number of entries so far.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }
}

/// The error for a fold whose fields have too many names.
pub(super) fn too_many_fields(error: TooManyFields) -> Error {
    Error::TooManyEntries(format!("The answer is too large: {error}"))
}

/// Checks the number of fields of an answer, which a reader can narrow by prefixes.
pub(super) fn check_fields(fields: usize) -> Result<()> {
    match fields > MAX_ANSWER_FIELDS {
        true => Err(Error::TooManyEntries(format!(
            "The answer would have {fields} fields, and may have at most {MAX_ANSWER_FIELDS}: ask for some of them"
        ))),
        false => Ok(()),
    }
}

/// The number of bytes of a value; 0 if it is left out.
pub(super) fn size(value: &ShownValue) -> usize {
    match value {
        ShownValue::Known(json) => json.as_str().len(),
        ShownValue::LeftOut => 0,
    }
}

/// The first characters of a JSON text, for a sentence.
pub(super) fn shortened(json: &str) -> String {
    match json.char_indices().nth(MAX_QUOTED_CHARACTERS) {
        Some((end, _)) => format!("{}…", &json[..end]),
        None => json.to_owned(),
    }
}

/// Leaves out the largest values until all others together have at most [`MAX_ANSWER_BYTES`].
pub(super) fn leave_out_largest<'v>(values: impl Iterator<Item = &'v mut ShownValue>) {
    let mut values: Vec<_> = values.map(|value| (size(value), value)).collect();
    let mut bytes: usize = values.iter().map(|(size, _)| *size).sum();
    if bytes <= MAX_ANSWER_BYTES {
        return;
    }
    values.sort_by_key(|(size, _)| Reverse(*size));
    for (size, value) in values {
        if bytes <= MAX_ANSWER_BYTES {
            break;
        }
        *value = ShownValue::LeftOut;
        bytes -= size;
    }
}

/// The steps of a plan, within the limits of an answer.
#[derive(Default)]
pub(super) struct PlanSteps {
    steps: Vec<(ResourceKey, PlanStep)>,
    fields: usize,
    name_bytes: usize,
}

impl PlanSteps {
    /// Adds the steps of a resource. Errors: `TooManyEntries`.
    pub(super) fn add(&mut self, resource: &ResourceKey, steps: Vec<PlanStep>) -> Result<()> {
        for step in steps {
            let (fields, name_bytes) = names(&step);
            self.fields += fields.max(1);
            self.name_bytes += name_bytes;
            self.steps.push((resource.clone(), step));
        }
        if self.fields > MAX_ANSWER_FIELDS || self.name_bytes > MAX_ANSWER_BYTES {
            return Err(Error::TooManyEntries(format!(
                "The plan would have more than {MAX_ANSWER_FIELDS} fields, or more than {MAX_ANSWER_BYTES} bytes of \
                 their names: select fewer entries"
            )));
        }
        leave_out_largest(self.steps.iter_mut().flat_map(|(_, step)| values(step)));
        Ok(())
    }

    /// All steps, in the order in which they were added.
    pub(super) fn into_steps(self) -> Vec<(ResourceKey, PlanStep)> {
        self.steps
    }
}

/// The number of fields that a step names, and the bytes of their names.
fn names(step: &PlanStep) -> (usize, usize) {
    let length = |total: usize, name: &String| total + name.len();
    match &step.action {
        StepAction::Restore { field, restore: _, expected: _ } => (1, field.len()),
        StepAction::Recreate { fields, unknown } => {
            let known = fields.iter().map(|(name, _)| name).fold(0, length);
            (fields.len() + unknown.len(), unknown.iter().fold(known, length))
        }
        StepAction::Delete { fields } => (fields.len(), fields.iter().map(|(name, _)| name).fold(0, length)),
        StepAction::Nothing => (0, 0),
    }
}

/// The values of a step.
fn values(step: &mut PlanStep) -> Vec<&mut ShownValue> {
    match &mut step.action {
        StepAction::Restore { field: _, restore, expected } => std::iter::once(restore).chain(expected).collect(),
        StepAction::Delete { fields } | StepAction::Recreate { fields, unknown: _ } => {
            fields.iter_mut().map(|(_, value)| value).collect()
        }
        StepAction::Nothing => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::JsonText;

    #[test]
    fn the_largest_values_are_left_out_until_the_rest_fits() {
        let value = |bytes: usize| ShownValue::Known(JsonText::stored("1".repeat(bytes)));
        let sizes = [MAX_ANSWER_BYTES / 2, 10, MAX_ANSWER_BYTES / 2 + 1, MAX_ANSWER_BYTES / 4];
        let mut values = sizes.map(value);
        leave_out_largest(values.iter_mut());
        assert_eq!(values.each_ref().map(size), [MAX_ANSWER_BYTES / 2, 10, 0, MAX_ANSWER_BYTES / 4]);
        let kept = values.clone();
        leave_out_largest(values.iter_mut());
        assert_eq!(values, kept);
    }
}
