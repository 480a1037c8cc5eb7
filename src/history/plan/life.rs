//! A life of a resource in a plan: its fields, and the selected changes of it.

use std::sync::Arc;

use super::conflicts::OtherEntries;
use super::expected::{FieldReader, FoundValue};
use super::runs::FieldRuns;
use super::selected::SelectedEntries;
use crate::domain::{Change, Entry};
use crate::history::continuity::check_write;
use crate::history::effect::{LifeEvent, changes, is_erased};
use crate::history::fields::HeldFields;
use crate::history::values::{HeldValue, ValueWalker};
use crate::history::{EntryRef, PlanStep, StepAction, StepStatus, TooManyFields};

/// The last life of a resource so far.
#[derive(Debug, Default)]
pub(super) struct PlannedLife {
    /// Whether the entry that began it is selected. Then it is undone as a whole, and fields are not needed.
    is_creation_selected: bool,
    /// The entry that began it although the life before had not ended.
    begun_within: Option<Arc<EntryRef>>,
    has_entries: bool,
    /// The entry that ended it, and whether that is selected.
    deletion: Option<(Arc<EntryRef>, bool)>,
    /// The selected entries that created it or changed fields, without the deletion.
    selected: SelectedEntries,
    fields: HeldFields,
    walker: ValueWalker,
    runs: FieldRuns,
    /// Entries outside of the selection that changed what a selected creation began.
    others: Option<OtherEntries>,
    /// The first one whose changes were erased.
    erased_other: Option<Arc<EntryRef>>,
    /// Entries outside of the selection that changed the resource after it was deleted.
    anomalies: Option<OtherEntries>,
}

impl PlannedLife {
    /// Adds the next entry of the life. Errors: the names of its fields do not fit.
    pub fn push(
        &mut self,
        entry: &Entry,
        event: LifeEvent,
        source: &Arc<EntryRef>,
        is_selected: bool,
    ) -> Result<(), TooManyFields> {
        let changes = changes(entry);
        self.has_entries = true;
        match event {
            LifeEvent::Begins => self.is_creation_selected = is_selected,
            LifeEvent::Ends => self.deletion = Some((Arc::clone(source), is_selected)),
            LifeEvent::Continues | LifeEvent::Follows => {}
        }
        let has_effect = self.is_creation_selected || !changes.is_empty();
        let is_undone = event == LifeEvent::Begins || event != LifeEvent::Ends && has_effect;
        if is_selected && is_undone {
            self.selected.add(source);
        }
        if self.is_creation_selected {
            if !is_selected {
                self.add_other(entry, source);
            }
            return Ok(());
        }
        if is_erased(entry) {
            self.fields.erase(source);
        }
        self.walker.begin_entry();
        self.runs.begin_entry();
        self.write(changes, source)?;
        if !is_selected {
            return self.runs.add_others(changes, source, &mut self.fields.values);
        }
        let mut places = 0..changes.len();
        places.try_for_each(|place| self.runs.add_selected((changes, place), source, &mut self.fields))
    }

    /// Writes the changes of the entry `source`, and notes its breaks for the changes that were selected before it.
    fn write(&mut self, changes: &[Change], source: &Arc<EntryRef>) -> Result<(), TooManyFields> {
        for change in changes {
            if !self.runs.is_empty() {
                let check = check_write(&self.fields, &mut self.walker, change, source);
                if !check.breaks.is_empty() {
                    self.runs.add_break(&change.field, source);
                }
            }
            self.fields.write(&change.field, &change.new_value, source)?;
        }
        Ok(())
    }

    fn add_other(&mut self, entry: &Entry, source: &Arc<EntryRef>) {
        if let Some(change) = changes(entry).first() {
            OtherEntries::add(&mut self.others, source, &change.field);
        }
        if is_erased(entry) {
            self.erased_other.get_or_insert_with(|| Arc::clone(source));
        }
    }

    /// Adds an entry after the deletion that is not selected, and changed `field`.
    pub fn add_anomaly(&mut self, source: &Arc<EntryRef>, field: &str) {
        OtherEntries::add(&mut self.anomalies, source, field);
    }

    /// The life that `created` begins after this one.
    pub fn next(&self, created: &Arc<EntryRef>) -> Self {
        let is_within = self.has_entries && self.deletion.is_none();
        Self { begun_within: is_within.then(|| Arc::clone(created)), ..Self::default() }
    }

    /// Whether the selection has the entry that began this life. Then it is undone as a whole.
    pub fn is_creation_selected(&self) -> bool {
        self.is_creation_selected
    }

    /// The selected entries of a life that another one follows, and then its deletion, if that is selected.
    pub fn into_selected(self) -> (SelectedEntries, Option<Arc<EntryRef>>) {
        let deletion = self.deletion.filter(|(_, is_selected)| *is_selected);
        (self.selected, deletion.map(|(entry, _)| entry))
    }

    /// The steps of the last life, in the order in which they are applied. Selected entries that have none, because the
    /// life has ended, are added to `ended`.
    pub fn finish(mut self, ended: &mut SelectedEntries) -> Vec<PlanStep> {
        let step = match self.deletion.take() {
            None if !self.is_creation_selected => return self.into_restores(),
            None => self.into_delete(),
            Some((_, false)) => {
                ended.append(self.selected);
                None
            }
            Some((deleted, true)) => {
                self.selected.add(&deleted);
                match self.is_creation_selected {
                    // The selection created and deleted it.
                    true => self.selected.into_step(StepAction::Nothing, StepStatus::Noop),
                    false => self.into_recreation(),
                }
            }
        };
        step.into_iter().collect()
    }

    fn into_delete(self) -> Option<PlanStep> {
        let conflict = self.others.map(OtherEntries::into_status);
        let uncertain = self.erased_other.map(|erased| StepStatus::Uncertain { erased });
        // The resource may have existed before.
        let broken = self.begun_within.map(|by| StepStatus::Broken { by });
        self.selected.into_step(StepAction::Delete, conflict.or(uncertain).or(broken).unwrap_or(StepStatus::Ready))
    }

    fn into_recreation(mut self) -> Option<PlanStep> {
        let is_problem = |status: &StepStatus| !matches!(status, StepStatus::Ready | StepStatus::Noop);
        let of_field = self.runs.statuses(&self.fields).into_values().find(is_problem);
        let of_anomalies = self.anomalies.take().map(OtherEntries::into_status);
        for name in self.runs.in_order() {
            if let Some(run) = self.runs.get(&name) {
                self.fields.put(&name, run.restore, &run.earliest.0);
            }
        }
        let (mut fields, mut unknown, mut first) = (Vec::new(), Vec::new(), None::<Arc<EntryRef>>);
        for (name, field, value) in self.fields.into_fields() {
            match field.next_erased.get() {
                None => fields.push((name.to_string(), value)),
                Some(erased) => {
                    unknown.push(name.to_string());
                    if first.as_ref().is_none_or(|first| erased.position() < first.position()) {
                        first = Some(Arc::clone(erased));
                    }
                }
            }
        }
        let of_unknown = first.map(|erased| StepStatus::Uncertain { erased });
        let status = of_anomalies.or(of_field).or(of_unknown).unwrap_or(StepStatus::Ready);
        self.selected.into_step(StepAction::Recreate { fields, unknown }, status)
    }

    /// Restores the fields one after another, as far as the steps are ready, to find the value that each expects.
    fn into_restores(mut self) -> Vec<PlanStep> {
        let mut statuses = self.runs.statuses(&self.fields);
        let mut reader = FieldReader::new();
        let mut planned = Vec::new();
        for name in self.runs.in_order() {
            let Some((run, status)) = self.runs.get(&name).zip(statuses.remove(&name)) else { continue };
            let expected = reader.value_at(&self.fields, &name).map(|found| match found {
                FoundValue::Written(id) => {
                    self.fields.values.share(id);
                    id
                }
                FoundValue::Assembled(json) => self.fields.values.hold(&name, HeldValue::Known(json)),
            });
            if status == StepStatus::Ready {
                self.fields.values.share(run.restore);
                self.fields.put(&name, run.restore, &run.earliest.0);
            }
            planned.push((name, run, status, expected));
        }
        self.fields.clear();
        let values = &mut self.fields.values;
        let steps = planned.into_iter().filter_map(|(name, run, status, expected)| {
            let restore = values.release(run.restore)?.into();
            let expected = expected.and_then(|id| values.release(id)).map(Into::into);
            Some(PlanStep {
                action: StepAction::Restore { field: name.to_string(), restore, expected },
                status,
                undoes: (Arc::clone(&run.earliest.0), Arc::clone(&run.newest)),
                entries: run.entries,
            })
        });
        steps.collect()
    }
}
