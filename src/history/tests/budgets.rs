//! The limits of what a fold holds.

use std::sync::Arc;

use super::entries::{ACTIONS, UPDATED, plain_content, stored_entry};
use crate::domain::{Change, Entry, EntryId, Identifier, JsonText, Seq, Timestamp};
use crate::history::comparison::compare;
use crate::history::model::{Basis, EntryRef, Existence, FieldState, ResourceState, ShownValue};
use crate::history::state::StateFold;
use crate::history::{MAX_NAME_BYTES, MAX_VALUE_BYTES};

fn written(seq: Seq, field: &str, new_value: JsonText) -> Entry {
    let change = Change { field: field.to_owned(), old_value: JsonText::null(), new_value };
    stored_entry(seq, seq, plain_content(seq, UPDATED, vec![change]))
}

/// A string whose text has this many bytes.
fn string(length: usize) -> JsonText {
    JsonText::stored(format!("\"{}\"", "x".repeat(length - 2)))
}

#[test]
fn the_largest_values_are_left_out() {
    let mut fold = StateFold::new(ACTIONS, Timestamp::END, Vec::new());
    let half = MAX_VALUE_BYTES / 2;
    let values = [("a", half - 100), ("b", half + 90), ("c", 20), ("d", 30)];
    for (seq, (field, length)) in (1..).zip(values) {
        fold.push(&written(seq, field, string(length))).expect("few fields");
    }
    let fields = fold.finish().fields;
    let left_out: Vec<_> =
        fields.iter().filter(|field| field.value == ShownValue::LeftOut).map(|field| field.field.as_str()).collect();
    assert_eq!((fields.len(), left_out), (4, vec!["b"]));
}

#[test]
fn too_many_names_are_an_error() {
    let mut fold = StateFold::new(ACTIONS, Timestamp::END, Vec::new());
    fold.push(&written(1, &"a".repeat(MAX_NAME_BYTES / 2 - 256), JsonText::null())).expect("half of the limit");
    let error = fold.push(&written(2, &"b".repeat(MAX_NAME_BYTES / 2 - 255), JsonText::null())).expect_err("too many");
    assert_eq!(error.to_string(), "the fields of this resource take more than 32 MiB, not counting their values");
}

/// A resource with the field `a`, whose value is left out.
fn with_large_field(seq: Seq) -> ResourceState {
    let (id, user_id) = (EntryId::stored(format!("e{seq}")), Identifier::stored("u1".to_owned()));
    let source = Arc::new(EntryRef { seq, id, timestamp: Timestamp::saturating(seq), user_id });
    let (field, value) = ("a".to_owned(), ShownValue::LeftOut);
    let fields = vec![FieldState { field, value, basis: Basis::Recorded, source, is_partial: false }];
    ResourceState { existence: Existence::Exists, since: None, fields, anomalies: Vec::new(), erased: 0 }
}

#[test]
fn values_that_are_left_out_are_equal_if_they_come_from_one_entry() {
    let (one, other) = (with_large_field(1), with_large_field(2));
    assert!(compare(&one, &with_large_field(1)).is_empty());
    let differences = compare(&one, &other);
    assert_eq!(differences.len(), 1);
    assert_eq!(differences[0].before.as_ref(), one.fields.first());
    assert_eq!(differences[0].after.as_ref(), other.fields.first());
}
