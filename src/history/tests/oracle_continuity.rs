//! The check of continuity, by its definition.

use serde_json::Value;

use super::oracle_json::{is_above, overlaps, rest, value, walk};
use super::oracle_lives::{OracleLog, OracleWrite};
use crate::domain::{Change, JsonText};
use crate::history::model::{BreakClass, ContinuityBreak, ContinuityCounts, ShownValue};

/// The breaks in the order of `log`, each with the index of its later entry. All are unexplained so far.
pub(super) fn continuity(log: OracleLog<'_>) -> (Vec<(usize, ContinuityBreak)>, ContinuityCounts) {
    let writes = log.writes();
    let mut counts = ContinuityCounts { entries: log.entries.len() as u64, compared: 0, not_comparable: 0 };
    let mut breaks = Vec::new();
    for (index, later) in writes.iter().enumerate() {
        for earlier in predecessors(&writes[..index], later) {
            if log.erased_in(earlier.place + 1..later.place).is_some() {
                continue;
            }
            let Some((written, found)) = compared_values(earlier.change, later.change) else {
                counts.not_comparable += 1;
                continue;
            };
            counts.compared += 1;
            let is_excused = earlier.place == later.place && fits_before(log, &writes[..index], later);
            if written != found && !is_excused {
                let broken = ContinuityBreak {
                    field: later.change.field.clone(),
                    earlier_field: earlier.change.field.clone(),
                    earlier: log.named(earlier.place),
                    later: log.named(later.place),
                    written: known(&written),
                    found: known(&found),
                    class: BreakClass::Unexplained,
                };
                breaks.push((later.place, broken));
            }
        }
    }
    (breaks, counts)
}

/// Whether `later` is not the first write of its entry to overlapping paths, and its old value fits what was there before
/// the entry. `earlier` has all writes before it.
fn fits_before(log: OracleLog<'_>, earlier: &[OracleWrite<'_>], later: &OracleWrite<'_>) -> bool {
    let field = &later.change.field;
    let begin = earlier.iter().position(|write| write.place == later.place).expect("one of the same entry");
    let (before, own) = earlier.split_at(begin);
    let is_related = |path: &str| is_above(path, field) || is_above(field, path);
    own.iter().any(|write| is_related(&write.change.field))
        && predecessors(before, later).into_iter().all(|known| {
            let is_erased = log.erased_in(known.place + 1..later.place).is_some();
            let values = compared_values(known.change, later.change);
            is_erased || values.is_none_or(|(written, found)| written == found)
        })
}

/// `value` as a part of an answer.
pub(super) fn known(value: &Value) -> ShownValue {
    ShownValue::Known(JsonText::stored(value.to_string()))
}

/// The writes before `later` that its old value shows: those below it since the last one that is equal or above, except
/// those that another of them replaced or changed since; if there are none, the one that is equal or above.
fn predecessors<'w, 'e>(writes: &'w [OracleWrite<'e>], later: &OracleWrite<'e>) -> Vec<&'w OracleWrite<'e>> {
    let field = later.change.field.as_str();
    let earlier: Vec<_> = writes.iter().filter(|write| write.life == later.life).collect();
    let whole = earlier.iter().rposition(|write| {
        let path = write.change.field.as_str();
        path == field || is_above(path, field)
    });
    let since = &earlier[whole.map_or(0, |index| index + 1)..];
    let below: Vec<_> = since.iter().copied().filter(|write| is_above(field, &write.change.field)).collect();
    let is_last = |index: usize| {
        let path = below[index].change.field.as_str();
        !below[index + 1..].iter().any(|write| overlaps(path, &write.change.field))
    };
    let last: Vec<_> = (0..below.len()).filter(|index| is_last(*index)).map(|index| below[index]).collect();
    if last.is_empty() { whole.map(|index| earlier[index]).into_iter().collect() } else { last }
}

/// The value of the longer path as the earlier change wrote it and as the later one found it; `None` if the other value
/// does not show it, or is `null` above a value.
fn compared_values(earlier: &Change, later: &Change) -> Option<(Value, Value)> {
    let (written, found) = (value(&earlier.new_value), value(&later.old_value));
    if is_above(&later.field, &earlier.field) {
        if found.is_null() && !written.is_null() {
            return None;
        }
        let part = walk(&found, &rest(&later.field, &earlier.field))?;
        return Some((written, part));
    }
    let part = walk(&written, &rest(&earlier.field, &later.field))?;
    Some((part, found))
}

/// The breaks with their classes.
pub(super) fn classified(log: OracleLog<'_>) -> Vec<ContinuityBreak> {
    let mut recorded = log.entries.to_vec();
    recorded.sort_by_key(|entry| entry.seq);
    let (remaining, _) = continuity(OracleLog { actions: log.actions, entries: &recorded });
    let remains = |broken: &ContinuityBreak| {
        remaining.iter().any(|(_, other)| other.later.seq == broken.later.seq && other.field == broken.field)
    };
    let classify = |broken: ContinuityBreak| {
        let class = if remains(&broken) { BreakClass::Unexplained } else { BreakClass::Order };
        ContinuityBreak { class, ..broken }
    };
    continuity(log).0.into_iter().map(|(_, broken)| classify(broken)).collect()
}
