//! The difference of two states.

use std::collections::BTreeMap;

use super::{Basis, FieldDifference, FieldState, ResourceState, ShownValue};
use crate::domain::json_equal;

/// The fields that differ between two states of a resource, by name. `before` is the earlier one.
pub fn compare(before: &ResourceState, after: &ResourceState) -> Vec<FieldDifference> {
    let mut fields = BTreeMap::<&str, (Option<&FieldState>, Option<&FieldState>)>::new();
    for field in &before.fields {
        fields.entry(&field.field).or_default().0 = Some(field);
    }
    for field in &after.fields {
        fields.entry(&field.field).or_default().1 = Some(field);
    }
    let different = fields.into_iter().filter(|(_, (before, after))| !are_equal(*before, *after));
    let difference = different.map(|(field, (before, after))| FieldDifference {
        field: field.to_owned(),
        before: before.cloned(),
        after: after.cloned(),
    });
    difference.collect()
}

fn are_equal(before: Option<&FieldState>, after: Option<&FieldState>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return false };
    before.is_partial == after.is_partial
        && match (&before.value, &after.value) {
            (ShownValue::Known(before), ShownValue::Known(after)) => json_equal(before, after),
            (ShownValue::LeftOut, _) | (_, ShownValue::LeftOut) => are_of_one_write(before, after),
        }
}

/// Whether both values are from the same side of the same entry. The old value before an entry and the new value after
/// it have one source, and are different all the same.
fn are_of_one_write(before: &FieldState, after: &FieldState) -> bool {
    let is_change = matches!(
        (before.basis, after.basis),
        (Basis::Inferred, Basis::Recorded | Basis::Uncertain) | (Basis::Uncertain, Basis::Recorded)
    );
    before.source.seq == after.source.seq && !is_change
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::fixtures::{json, update};
    use crate::history::{EntryRef, Existence};

    fn field(name: &str, value: Option<&str>, seq: i64) -> FieldState {
        FieldState {
            field: name.to_owned(),
            value: value.map_or(ShownValue::LeftOut, |value| ShownValue::Known(json(value))),
            basis: Basis::Recorded,
            source: EntryRef::of(&update(seq, &[])),
            is_partial: false,
        }
    }

    fn state(fields: Vec<FieldState>) -> ResourceState {
        ResourceState { existence: Existence::Exists, since: None, fields, anomalies: Vec::new(), erased: 0 }
    }

    fn are_different(before: &FieldState, after: &FieldState) -> bool {
        !compare(&state(vec![before.clone()]), &state(vec![after.clone()])).is_empty()
    }

    #[test]
    fn fields_differ_by_value_and_not_by_text_or_source() {
        let before = vec![field("a", Some("1"), 1), field("b", Some("1"), 1), field("c", Some("1"), 1)];
        let after = vec![field("a", Some("1.0"), 2), field("b", Some("2"), 2), field("d", Some("1"), 2)];
        let difference = |field: &str, before: Option<&FieldState>, after: Option<&FieldState>| FieldDifference {
            field: field.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        };
        let expected = [
            difference("b", before.get(1), after.get(1)),
            difference("c", before.get(2), None),
            difference("d", None, after.get(2)),
        ];
        assert_eq!(compare(&state(before), &state(after)), expected);
    }

    #[test]
    fn a_field_that_became_partial_differs() {
        let whole = field("a", Some("{}"), 1);
        let partial = FieldState { is_partial: true, ..whole.clone() };
        assert!(are_different(&whole, &partial) && are_different(&partial, &whole));
        assert!(!are_different(&partial, &partial));
    }

    #[test]
    fn values_that_were_left_out_are_equal_if_they_are_of_one_write() {
        let large = field("a", None, 1);
        assert!(!are_different(&large, &large));
        assert!(!are_different(&large, &field("a", Some("1"), 1)));
        assert!(are_different(&large, &field("a", None, 2)));
        // The value before entry 1, and the value after it.
        let inferred = FieldState { basis: Basis::Inferred, ..large.clone() };
        assert!(are_different(&inferred, &large));
        assert!(!are_different(&inferred, &inferred));
    }
}
