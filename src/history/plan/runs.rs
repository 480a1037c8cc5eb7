//! The fields that a selection changed, and for each of them the facts that decide whether it can be restored.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::expected::{FieldReader, FoundValue};
use crate::domain::{Change, JsonText, Seq};
use crate::history::fields::{HeldFields, NextErased};
use crate::history::paths::{above, below, is_above, rest_below};
use crate::history::values::{HeldValue, HeldValues, ValueId, ValueWalker};
use crate::history::{EntryRef, StepStatus, TooManyFields};

/// The bytes that the facts about a field take, about. They count as bytes of its name.
const RUN_BYTES: usize = 256;

/// The selected changes of one field, which are undone together.
#[derive(Debug)]
pub(super) struct FieldRun {
    /// The old value of the earliest of them, among the values of the fields.
    pub restore: ValueId,
    /// The entry of the earliest one, and the order of its undoing among those of the entry: twice the place of the
    /// change, or one more than that of a change below which is undone after it. The highest is undone first.
    pub earliest: (Arc<EntryRef>, usize),
    /// The entry of the newest one.
    pub newest: Arc<EntryRef>,
    /// The number of their entries.
    pub entries: u64,
    /// The first erased entry after the earliest change.
    next_erased: NextErased,
    /// The first entry outside of the selection, after the earliest change, that changed a path that overlaps, and this
    /// path.
    conflict: Option<(Arc<EntryRef>, String)>,
    /// The number of these entries whose topmost paths are below, and the last one.
    writers_below: (u64, Option<Seq>),
    /// The sum of [`FieldRuns::writers`] above the field, and the number at it, before the earliest change.
    writers_before: (u64, u64),
    /// The first entry, after the earliest change, that found another value than the one written before it at a path
    /// that overlaps.
    broken: Option<Arc<EntryRef>>,
}

/// The fields that a selection changed in one life.
#[derive(Debug, Default)]
pub(super) struct FieldRuns {
    runs: BTreeMap<Arc<str>, FieldRun>,
    /// The runs without a conflict. A conflict of many fields takes them from here, so that each is visited once.
    without_conflict: BTreeMap<Arc<str>, ()>,
    /// The runs since whose earliest change no entry, selected or not, wrote a path above or below, likewise.
    without_overlap: BTreeMap<Arc<str>, ()>,
    /// The runs without a break, likewise.
    without_break: BTreeMap<Arc<str>, ()>,
    /// For each path that has runs at or below it: the number of entries outside of the selection that changed it, and
    /// no path above it. It counts for all these runs at once.
    writers: BTreeMap<Arc<str>, u64>,
    /// Reads the new values of changes, by the number of the entry and the index of the change.
    walker: ValueWalker<(Seq, usize)>,
}

impl FieldRuns {
    /// Begins with the changes of the next entry, which has so many bytes.
    pub fn begin_entry(&mut self, bytes: usize) {
        self.walker.begin_entry(bytes);
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn get(&self, path: &str) -> Option<&FieldRun> {
        self.runs.get(path)
    }

    /// The fields in the order in which they are restored: the one whose earliest change is newest comes first. With
    /// paths that overlap, only this order gives the earlier state.
    pub fn in_order(&self) -> Vec<Arc<str>> {
        let mut runs: Vec<_> = self.runs.iter().collect();
        runs.sort_by_key(|(_, run)| Reverse((run.earliest.0.position(), run.earliest.1)));
        runs.into_iter().map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Adds a change of the selection: that at `place` among the `changes` of the entry `source`, after it was written to
    /// `fields`. Errors: its name does not fit.
    pub fn add_selected(
        &mut self,
        (changes, place): (&[Change], usize),
        source: &Arc<EntryRef>,
        fields: &mut HeldFields,
    ) -> Result<(), TooManyFields> {
        let Change { field, old_value, new_value: _ } = &changes[place];
        self.add_overlap(field);
        if let Some(run) = self.runs.get_mut(field.as_str()) {
            if run.newest.seq != source.seq {
                run.newest = Arc::clone(source);
                run.entries += 1;
            }
            return Ok(());
        }
        fields.values.hold_name_bytes(RUN_BYTES)?;
        let name = fields.values.hold_name(field)?;
        let run = FieldRun {
            restore: fields.values.hold(&name, HeldValue::Known(old_value.clone())),
            earliest: (Arc::clone(source), 2 * place),
            newest: Arc::clone(source),
            entries: 1,
            next_erased: fields.next_erased(),
            conflict: None,
            writers_below: (0, None),
            writers_before: self.writers_of(field),
            broken: None,
        };
        self.without_conflict.insert(Arc::clone(&name), ());
        let apart = self.taken_apart((changes, place), source, &fields.values);
        for above in &apart {
            if let Some(above) = self.runs.get_mut(above) {
                above.earliest.1 = 2 * place + 1;
            }
        }
        if apart.is_empty() {
            self.without_overlap.insert(Arc::clone(&name), ());
        }
        self.without_break.insert(Arc::clone(&name), ());
        self.runs.insert(name, run);
        Ok(())
    }

    /// The runs above `path` that must be undone before it, although the entry `source` lists their changes before it.
    /// Some writers take objects apart: they record `edge: null → "mirror"` and `edge.version: "79" → null` in one entry.
    /// Both old values are those before the entry, so `edge` must become null before `edge.version` becomes `"79"`. Other
    /// writers record one change after the other; then the new value above has a value at `path`, or a change in between wrote below it.
    fn taken_apart(
        &mut self,
        (changes, place): (&[Change], usize),
        source: &Arc<EntryRef>,
        values: &HeldValues,
    ) -> Vec<Arc<str>> {
        let Change { field: path, old_value, new_value: _ } = &changes[place];
        if *old_value == JsonText::null() {
            return Vec::new();
        }
        let is_null = |run: &FieldRun| match values.get(run.restore) {
            Some(HeldValue::Known(json)) => *json == JsonText::null(),
            _ => false,
        };
        let runs = above(&self.runs, path).filter(|(_, run)| run.earliest.0.seq == source.seq && is_null(run));
        let names: Vec<_> = runs.map(|(name, _)| Arc::clone(name)).collect();
        // The nearest one comes first.
        let is_shown = names.first().and_then(|name| {
            let index = changes[..place].iter().rposition(|change| *change.field == **name)?;
            if changes[index..place].iter().any(|change| is_above(path, &change.field)) {
                return Some(true);
            }
            let found = self.walker.walk((source.seq, index), &changes[index].new_value, rest_below(name, path)?)?;
            Some(found != JsonText::null().as_str())
        });
        if is_shown == Some(true) { Vec::new() } else { names }
    }

    /// Adds the changes of the entry `by`, which is not selected. Errors: their names do not fit.
    pub fn add_others(
        &mut self,
        changes: &[Change],
        by: &Arc<EntryRef>,
        values: &mut HeldValues,
    ) -> Result<(), TooManyFields> {
        if self.runs.is_empty() {
            return Ok(());
        }
        for change in changes {
            self.add_overlap(&change.field);
            self.add_conflict(&change.field, by, values)?;
        }
        let paths: BTreeMap<&str, ()> = changes.iter().map(|change| (change.field.as_str(), ())).collect();
        let topmost = paths.keys().filter(|path| above(&paths, path).next().is_none());
        topmost.copied().try_for_each(|path| self.count_writer(path, by.seq, values))
    }

    /// Notes a write of `path` for the runs above and below it. What they have now may change when the write is undone.
    fn add_overlap(&mut self, path: &str) {
        let names = below(&self.without_overlap, path).chain(above(&self.without_overlap, path));
        let names: Vec<_> = names.map(|(name, ())| Arc::clone(name)).collect();
        for name in names {
            self.without_overlap.remove(&name);
        }
    }

    /// Notes the first conflict of the runs that overlap with `path`.
    fn add_conflict(&mut self, path: &str, by: &Arc<EntryRef>, values: &mut HeldValues) -> Result<(), TooManyFields> {
        let mut first = take_at_and_below(&mut self.without_conflict, path);
        for name in names_above(&self.runs, path) {
            if self.without_conflict.remove(&name).is_some() {
                first.push(name);
            }
        }
        for name in first {
            // The step has a copy of the path.
            values.hold_name_bytes(path.len())?;
            if let Some(run) = self.runs.get_mut(&name) {
                run.conflict = Some((Arc::clone(by), path.to_owned()));
            }
        }
        Ok(())
    }

    /// Counts the entry `seq`, which changed `path` and no path above it. Each run that overlaps with a path of the entry
    /// is either at or below one of these topmost paths, or above some of them.
    fn count_writer(&mut self, path: &str, seq: Seq, values: &mut HeldValues) -> Result<(), TooManyFields> {
        for name in names_above(&self.runs, path) {
            if let Some(run) = self.runs.get_mut(&name)
                && run.writers_below.1 != Some(seq)
            {
                run.writers_below = (run.writers_below.0 + 1, Some(seq));
            }
        }
        if !self.runs.contains_key(path) && below(&self.runs, path).next().is_none() {
            return Ok(());
        }
        match self.writers.get_mut(path) {
            Some(writers) => *writers += 1,
            None => {
                self.writers.insert(values.hold_name(path)?, 1);
            }
        }
        Ok(())
    }

    /// The number of writers above the field, and at it.
    fn writers_of(&self, path: &str) -> (u64, u64) {
        let above = above(&self.writers, path).map(|(_, writers)| *writers).sum::<u64>();
        (above, self.writers.get(path).copied().unwrap_or(0))
    }

    /// Notes that the entry `by` found another value at `path` than the one written before it.
    pub fn add_break(&mut self, path: &str, by: &Arc<EntryRef>) {
        let mut first = take_at_and_below(&mut self.without_break, path);
        let above = names_above(&self.runs, path).into_iter();
        first.extend(above.filter(|name| self.without_break.remove(name).is_some()));
        for name in first {
            if let Some(run) = self.runs.get_mut(&name) {
                run.broken = Some(Arc::clone(by));
            }
        }
    }

    /// The status of each field. `fields` are the present ones.
    pub fn statuses(&self, fields: &HeldFields, reader: &mut FieldReader) -> BTreeMap<Arc<str>, StepStatus> {
        let runs = self.runs.iter();
        runs.map(|(name, run)| (Arc::clone(name), self.status(name, run, fields, reader))).collect()
    }

    fn status(&self, name: &str, run: &FieldRun, fields: &HeldFields, reader: &mut FieldReader) -> StepStatus {
        if let Some(erased) = run.next_erased.get() {
            return StepStatus::Uncertain { erased: Arc::clone(erased) };
        }
        if self.without_overlap.contains_key(name) && is_restored(name, run, fields, reader) {
            return StepStatus::Noop;
        }
        if let Some((by, field)) = &run.conflict {
            let (above, here) = self.writers_of(name);
            let entries = above + here - run.writers_before.0 - run.writers_before.1 + run.writers_below.0;
            return StepStatus::Conflict { by: Arc::clone(by), field: Some(field.clone()), entries };
        }
        match &run.broken {
            Some(by) => StepStatus::Broken { by: Arc::clone(by) },
            None => StepStatus::Ready,
        }
    }
}

/// Whether the field has the value that it would get.
fn is_restored(name: &str, run: &FieldRun, fields: &HeldFields, reader: &mut FieldReader) -> bool {
    let Some(restore) = fields.values.get(run.restore) else { return false };
    reader.value_at(fields, name).is_some_and(|present| match present {
        FoundValue::Written(id) => fields.values.get(id).is_some_and(|present| present.equals(restore)),
        FoundValue::Assembled(json) => restore.is(&json),
    })
}

/// Removes `path` and the paths below it, and returns them.
fn take_at_and_below(names: &mut BTreeMap<Arc<str>, ()>, path: &str) -> Vec<Arc<str>> {
    let at = names.get_key_value(path).into_iter();
    let taken: Vec<_> = at.chain(below(names, path)).map(|(name, ())| Arc::clone(name)).collect();
    for name in &taken {
        names.remove(name);
    }
    taken
}

/// The runs above `path`.
fn names_above(runs: &BTreeMap<Arc<str>, FieldRun>, path: &str) -> Vec<Arc<str>> {
    above(runs, path).map(|(name, _)| Arc::clone(name)).collect()
}
