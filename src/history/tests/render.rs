//! Answers and logs as short texts, in which equal values are equal.

use super::entries::NAMES;
use super::oracle_json::value;
use crate::domain::{Change, Entry, Group, JsonText, Outcome};
use crate::history::model::{
    Basis, BreakClass, ContinuityBreak, ContinuityCounts, EntryRef, Existence, FieldDifference, FieldState, PlanStep,
    ResourceState, ShownValue, StepAction, StepStatus,
};

/// Writes answers about these entries.
pub(super) struct HistoryPrinter<'e>(pub &'e [Entry]);

fn path(field: &str) -> &str {
    if field.is_empty() { "''" } else { field }
}

fn json(text: &JsonText) -> String {
    value(text).to_string()
}

fn text(value: &ShownValue) -> String {
    match value {
        ShownValue::Known(text) => json(text),
        ShownValue::LeftOut => "left out".to_owned(),
    }
}

impl HistoryPrinter<'_> {
    /// `#7` for the entry with this number. One that is not exactly as in the log is shown with all it has.
    fn entry(&self, named: &EntryRef) -> String {
        let EntryRef { seq, id, timestamp, user_id } = named;
        let is_exact = |entry: &Entry| {
            let content = &entry.content;
            entry.seq == *seq && content.id == *id && entry.timestamp == *timestamp && content.user_id == *user_id
        };
        if self.0.iter().any(is_exact) { format!("#{seq}") } else { format!("{named:?}") }
    }

    pub fn state(&self, state: &ResourceState) -> Vec<String> {
        let ResourceState { existence, since, fields, anomalies, erased } = state;
        let existence = match existence {
            Existence::Exists => "exists",
            Existence::Deleted => "deleted",
            Existence::Unknown => "unknown",
        };
        let mut lines = vec![match since {
            Some(since) => format!("{existence} since {}", self.entry(since)),
            None => existence.to_owned(),
        }];
        lines.extend((*erased > 0).then(|| format!("{erased} erased")));
        lines.extend(fields.iter().map(|field| format!("{} = {}", path(&field.field), self.field(field))));
        lines.extend(anomalies.iter().map(|anomaly| format!("anomaly {}", self.entry(anomaly))));
        lines
    }

    fn field(&self, state: &FieldState) -> String {
        let FieldState { field: _, value, basis, source, is_partial } = state;
        let basis = match basis {
            Basis::Recorded => "recorded",
            Basis::Inferred => "inferred",
            Basis::Uncertain => "uncertain",
        };
        let partial = if *is_partial { " partial" } else { "" };
        format!("{} {basis} {}{partial}", text(value), self.entry(source))
    }

    pub fn differences(&self, differences: &[FieldDifference]) -> Vec<String> {
        let side = |state: &Option<FieldState>| state.as_ref().map_or_else(|| "none".to_owned(), |one| self.field(one));
        let difference = |FieldDifference { field, before, after }: &FieldDifference| {
            format!("{}: {} -> {}", path(field), side(before), side(after))
        };
        differences.iter().map(difference).collect()
    }

    /// The breaks, sorted: those of one entry have no order.
    pub fn breaks(&self, breaks: &[ContinuityBreak]) -> Vec<String> {
        let mut lines: Vec<_> = breaks.iter().map(|broken| self.broken(broken)).collect();
        lines.sort();
        lines
    }

    fn broken(&self, broken: &ContinuityBreak) -> String {
        let ContinuityBreak { field, earlier_field, earlier, later, written, found, class } = broken;
        let class = match class {
            BreakClass::Order => "order",
            BreakClass::Unexplained => "unexplained",
        };
        let (earlier, later) = (self.entry(earlier), self.entry(later));
        let (field, earlier_field) = (path(field), path(earlier_field));
        let (written, found) = (text(written), text(found));
        format!("{field} of {later} found {found}, {earlier_field} of {earlier} wrote {written}: {class}")
    }

    /// The steps in their order; those at the end that do nothing are sorted, since they have no order.
    pub fn steps(&self, steps: &[PlanStep]) -> Vec<String> {
        let mut lines: Vec<_> = steps.iter().map(|step| self.step(step)).collect();
        let end = lines.iter().rposition(|line| !line.starts_with("nothing")).map_or(0, |last| last + 1);
        lines[end..].sort();
        lines
    }

    fn step(&self, step: &PlanStep) -> String {
        let PlanStep { action, status, undoes: (first, last), entries } = step;
        let action = match action {
            StepAction::Restore { field, restore, expected } => {
                let expected = expected.as_ref().map_or_else(|| "unknown".to_owned(), text);
                format!("restore {} = {}, expected {expected}", path(field), text(restore))
            }
            StepAction::Delete { fields } => format!("delete: {}", known(fields).join(", ")),
            StepAction::Recreate { fields, unknown } => {
                let unknown = unknown.iter().map(|field| format!("{} unknown", path(field)));
                format!("recreate {}", known(fields).into_iter().chain(unknown).collect::<Vec<_>>().join(", "))
            }
            StepAction::Nothing => "nothing".to_owned(),
        };
        let (first, last) = (self.entry(first), self.entry(last));
        format!("{action}: {}; undoes {first}..{last}, {entries} entries", self.status(status))
    }

    fn status(&self, status: &StepStatus) -> String {
        match status {
            StepStatus::Ready => "ready".to_owned(),
            StepStatus::Noop => "noop".to_owned(),
            StepStatus::Conflict { by, field, entries } => {
                let field = field.as_ref().map_or_else(String::new, |field| format!(" on {}", path(field)));
                format!("conflict with {}{field}, {entries} entries", self.entry(by))
            }
            StepStatus::Uncertain { erased } => format!("uncertain since {}", self.entry(erased)),
            StepStatus::Broken { by } => format!("broken at {}", self.entry(by)),
            StepStatus::Impossible => "impossible".to_owned(),
        }
    }

    /// The log, a line for each entry, with a star at those that are selected.
    pub fn log(&self, selected: &[bool]) -> Vec<String> {
        let mark = |index: usize| if selected.get(index) == Some(&true) { "*" } else { " " };
        self.0.iter().enumerate().map(|(index, entry)| format!("{}{}", mark(index), line(entry))).collect()
    }
}

fn known(fields: &[(String, ShownValue)]) -> Vec<String> {
    fields.iter().map(|(field, value)| format!("{} = {}", path(field), text(value))).collect()
}

pub(super) fn counts(counts: ContinuityCounts) -> String {
    let ContinuityCounts { entries, compared, not_comparable } = counts;
    format!("{entries} entries, {compared} compared, {not_comparable} not comparable")
}

fn line(entry: &Entry) -> String {
    let content = &entry.content;
    let action = NAMES.iter().find(|(action, _)| *action == content.action).map_or("?", |(_, name)| *name);
    let outcome = content.outcome.map_or("", Outcome::name);
    let service = if content.id.is_service() { " service" } else { "" };
    let erased: Vec<_> = entry.erased.groups().map(Group::name).collect();
    let changes: Vec<_> = content.changes.iter().map(changed).collect();
    let (seq, time, user) = (entry.seq, entry.timestamp.micros(), &content.user_id);
    let (erased, changes) = (erased.join(" "), changes.join("; "));
    format!("#{seq} @{time} {user} {action} {outcome}{service} erased [{erased}] | {changes}")
}

fn changed(change: &Change) -> String {
    let Change { field, old_value, new_value } = change;
    format!("{}: {} -> {}", path(field), old_value.as_str(), new_value.as_str())
}
