//! The state of a resource and the comparison of two states, by their definitions.

use std::collections::BTreeSet;

use super::oracle_json::{is_above, overlaps, value};
use super::oracle_lives::{OracleLog, OracleWrite};
use crate::domain::Timestamp;
use crate::history::MAX_ANOMALIES;
use crate::history::model::{Basis, Existence, FieldDifference, FieldState, ResourceState, ShownValue};

/// The resource just before `before`.
pub(super) fn state(log: OracleLog<'_>, before: Timestamp, prefixes: &[String]) -> ResourceState {
    let end = log.entries.iter().filter(|entry| entry.timestamp < before).count();
    let (begin, ended) = log.life_after(end);
    let existence = match ended {
        _ if !(0..end).any(|place| log.has_effect(place)) => Existence::Unknown,
        Some(_) => Existence::Deleted,
        None => Existence::Exists,
    };
    let writes: Vec<_> = log.writes().into_iter().filter(|write| write.life == begin).collect();
    let paths: BTreeSet<_> = writes.iter().map(|write| write.change.field.as_str()).collect();
    let listed = paths.into_iter().filter(|path| ended.is_none() && is_listed(path, prefixes));
    let known = |path| recorded(log, &writes, end, path).or_else(|| inferred(log, &writes, end, path));
    let anomalies = (0..end).filter(|place| log.is_anomaly(*place)).take(MAX_ANOMALIES);
    let is_counted = |place: &usize| {
        let is_within = log.creates(*place) || !log.is_after_deletion(*place) && !log.deletes(*place);
        log.is_erased(*place) && is_within
    };
    ResourceState {
        existence,
        since: ended.or(begin).map(|place| log.named(place)),
        fields: listed.filter_map(known).collect(),
        anomalies: anomalies.map(|place| log.named(place)).collect(),
        erased: (0..end).filter(is_counted).count() as u64,
    }
}

fn is_listed(path: &str, prefixes: &[String]) -> bool {
    prefixes.is_empty() || prefixes.iter().any(|prefix| overlaps(prefix, path))
}

/// The field as the last write before `end` set it, unless a write above replaced it since. `writes` are those of the
/// life.
fn recorded(log: OracleLog<'_>, writes: &[OracleWrite<'_>], end: usize, field: &str) -> Option<FieldState> {
    let past: Vec<_> = writes.iter().filter(|write| write.place < end).collect();
    let last = past.iter().rposition(|write| write.change.field == field)?;
    let (OracleWrite { place, life: _, change }, later) = (past[last], &past[last + 1..]);
    if later.iter().any(|write| is_above(&write.change.field, field)) {
        return None;
    }
    let is_uncertain = log.erased_in(place + 1..end).is_some();
    Some(FieldState {
        field: field.to_owned(),
        value: ShownValue::Known(change.new_value.clone()),
        basis: if is_uncertain { Basis::Uncertain } else { Basis::Recorded },
        source: log.named(*place),
        is_partial: later.iter().any(|write| is_above(field, &write.change.field)),
    })
}

/// The field as the first write from `end` on found it, unless a write above came before.
fn inferred(log: OracleLog<'_>, writes: &[OracleWrite<'_>], end: usize, field: &str) -> Option<FieldState> {
    let future: Vec<_> = writes.iter().filter(|write| write.place >= end).collect();
    let first = future.iter().position(|write| write.change.field == field)?;
    let (OracleWrite { place, life: _, change }, earlier) = (future[first], &future[..first]);
    if earlier.iter().any(|write| is_above(&write.change.field, field)) {
        return None;
    }
    let is_uncertain = log.erased_in(end..*place).is_some();
    Some(FieldState {
        field: field.to_owned(),
        value: ShownValue::Known(change.old_value.clone()),
        basis: if is_uncertain { Basis::Uncertain } else { Basis::Inferred },
        source: log.named(*place),
        is_partial: earlier.iter().any(|write| is_above(field, &write.change.field)),
    })
}

/// The fields that differ, by name.
pub(super) fn differences(before: &ResourceState, after: &ResourceState) -> Vec<FieldDifference> {
    let of = |state: &ResourceState, name: &str| state.fields.iter().find(|field| field.field == name).cloned();
    let names: BTreeSet<_> = before.fields.iter().chain(&after.fields).map(|field| field.field.clone()).collect();
    let pairs = names.into_iter().map(|field| {
        let (before, after) = (of(before, &field), of(after, &field));
        FieldDifference { field, before, after }
    });
    pairs.filter(|pair| !is_same(pair.before.as_ref(), pair.after.as_ref())).collect()
}

fn is_same(before: Option<&FieldState>, after: Option<&FieldState>) -> bool {
    let (Some(before), Some(after)) = (before, after) else {
        return false;
    };
    let is_equal = match (&before.value, &after.value) {
        (ShownValue::Known(one), ShownValue::Known(other)) => value(one) == value(other),
        (ShownValue::LeftOut, _) | (_, ShownValue::LeftOut) => before.source.seq == after.source.seq,
    };
    is_equal && before.is_partial == after.is_partial
}
