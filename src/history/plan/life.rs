//! A life of a resource in a plan: its fields, and the selected changes of it.

use std::collections::HashSet;
use std::sync::Arc;

use super::conflicts::OtherEntries;
use super::expected::{FieldReader, FoundValue};
use super::runs::FieldRuns;
use super::selected::SelectedEntries;
use crate::domain::{Change, Entry};
use crate::history::continuity::{check_write, fitting_before};
use crate::history::effect::{LifeEvent, changes, is_erased};
use crate::history::fields::HeldFields;
use crate::history::paths::above;
use crate::history::values::{HeldValue, ValueWalker};
use crate::history::{EntryRef, PlanStep, ShownValue, StepAction, StepStatus, TooManyFields};

/// The last life of a resource so far.
#[derive(Debug, Default)]
pub(super) struct PlannedLife {
    /// Whether the entry that began it is selected. Then it is undone as a whole.
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
        if is_erased(entry) {
            self.fields.erase(source);
        }
        if self.is_creation_selected {
            if !is_selected {
                self.add_other(entry, source);
            }
            return changes.iter().try_for_each(|change| self.fields.write(&change.field, &change.new_value, source));
        }
        self.walker.begin_entry(entry.content.size());
        self.runs.begin_entry(entry.content.size());
        self.write(changes, source)?;
        if !is_selected {
            return self.runs.add_others(changes, source, &mut self.fields.values);
        }
        let mut places = 0..changes.len();
        places.try_for_each(|place| self.runs.add_selected((changes, place), source, &mut self.fields))
    }

    /// Writes the changes of the entry `source`, and notes its breaks for the changes that were selected before it.
    fn write(&mut self, changes: &[Change], source: &Arc<EntryRef>) -> Result<(), TooManyFields> {
        let fitting = match self.runs.is_empty() {
            true => HashSet::new(),
            false => fitting_before(&self.fields, &mut self.walker, changes, source),
        };
        for (index, change) in changes.iter().enumerate() {
            if !self.runs.is_empty() {
                let mut check = check_write(&self.fields, &mut self.walker, change, source);
                check.allow(fitting.contains(&index));
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
    pub fn finish(mut self, ended: &mut SelectedEntries, reader: &mut FieldReader) -> Vec<PlanStep> {
        let step = match self.deletion.take() {
            None if !self.is_creation_selected => return self.into_restores(reader),
            None => self.into_delete(reader),
            Some((_, false)) => {
                ended.append(self.selected);
                None
            }
            Some((deleted, true)) => {
                self.selected.add(&deleted);
                match self.is_creation_selected {
                    // The selection created and deleted it.
                    true => self.selected.into_step(StepAction::Nothing, StepStatus::Noop),
                    false => self.into_recreation(reader),
                }
            }
        };
        step.into_iter().collect()
    }

    fn into_delete(self, reader: &mut FieldReader) -> Option<PlanStep> {
        let names: Vec<_> = self.fields.names_without_erasure().collect();
        let present = names.into_iter().filter_map(|name| Some((name.to_string(), self.shown(&name, reader)?)));
        let fields = present.collect();
        let conflict = self.others.map(OtherEntries::into_status);
        let uncertain = self.erased_other.map(|erased| StepStatus::Uncertain { erased });
        // The resource may have existed before.
        let broken = self.begun_within.map(|by| StepStatus::Broken { by });
        self.selected
            .into_step(StepAction::Delete { fields }, conflict.or(uncertain).or(broken).unwrap_or(StepStatus::Ready))
    }

    /// The value of a field with the parts that were written since.
    fn shown(&self, name: &str, reader: &mut FieldReader) -> Option<ShownValue> {
        Some(match reader.value_at(&self.fields, name)? {
            FoundValue::Written(id) => self.fields.values.get(id)?.clone().into(),
            FoundValue::Assembled(json) => ShownValue::Known(json),
        })
    }

    fn into_recreation(mut self, reader: &mut FieldReader) -> Option<PlanStep> {
        let is_problem = |status: &StepStatus| !matches!(status, StepStatus::Ready | StepStatus::Noop);
        let of_field = self.runs.statuses(&self.fields, reader).into_values().find(is_problem);
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
    fn into_restores(mut self, reader: &mut FieldReader) -> Vec<PlanStep> {
        let mut statuses = self.runs.statuses(&self.fields, reader);
        let (mut planned, mut restored) = (Vec::new(), HashSet::new());
        for name in self.runs.in_order() {
            let Some((run, status)) = self.runs.get(&name).zip(statuses.get(&name).cloned()) else { continue };
            let above = above(&statuses, &name).next();
            // A step above that comes later sets the whole value back, so that nothing must be created for this one.
            let covering = above.filter(|(above, status)| !restored.contains(*above) && **status == StepStatus::Ready);
            let has_room = reader.has_room(&self.fields, &name, covering.is_none());
            let status = match (status, above) {
                (StepStatus::Ready, _) if has_room => StepStatus::Ready,
                (StepStatus::Ready, Some((_, StepStatus::Ready))) => StepStatus::Noop,
                (StepStatus::Ready, Some((_, status))) => status.clone(),
                (StepStatus::Ready, None) => StepStatus::Impossible,
                (status, _) => status,
            };
            statuses.insert(Arc::clone(&name), status.clone());
            restored.insert(Arc::clone(&name));
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
