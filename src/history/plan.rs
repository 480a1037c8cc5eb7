//! A plan that undoes a selection of the entries of a resource. It describes steps, and applies none.

mod conflicts;
mod expected;
mod life;
mod runs;
mod selected;

use std::cmp::Reverse;
use std::sync::Arc;

use super::effect::{LifeEvent, LifeTracker, changes, is_erased};
use super::{EntryRef, LifeActions, PlanStep, StepAction, StepStatus, TooManyFields};
use crate::domain::{Entry, Position};
pub use expected::FieldReader;
use life::PlannedLife;
use selected::SelectedEntries;

/// Folds the entries of a resource, some of which are selected, into the steps that undo these.
#[derive(Debug)]
pub struct PlanFold {
    actions: LifeActions,
    tracker: LifeTracker,
    /// The last life so far.
    life: PlannedLife,
    /// Selected entries that changed nothing.
    without_effect: SelectedEntries,
    /// Selected entries that do not say what they changed, or that have no inverse.
    impossible: SelectedEntries,
    /// Selected entries whose changes were erased.
    erased: SelectedEntries,
    /// Selected entries of lives that are over.
    ended: SelectedEntries,
    /// The steps of selected deletions after which the resource was created again. The answer has one for each.
    recreated: Vec<PlanStep>,
}

impl PlanFold {
    /// Without entries.
    pub fn new(actions: LifeActions) -> Self {
        Self {
            actions,
            tracker: LifeTracker::new(actions),
            life: PlannedLife::default(),
            without_effect: SelectedEntries::default(),
            impossible: SelectedEntries::default(),
            erased: SelectedEntries::default(),
            ended: SelectedEntries::default(),
            recreated: Vec::new(),
        }
    }

    /// Adds the next entry of the resource. Errors: there are too many fields.
    pub fn push(&mut self, entry: &Entry, is_selected: bool) -> Result<(), TooManyFields> {
        let event = self.tracker.next(entry);
        let source = EntryRef::of(entry);
        match event {
            None => {
                if is_selected {
                    self.without_effect.add(&source);
                }
            }
            Some(LifeEvent::Follows) => self.push_after_deletion(entry, &source, is_selected),
            Some(event) => {
                if event == LifeEvent::Begins {
                    self.end_life(&source, is_selected);
                }
                self.life.push(entry, event, &source, is_selected)?;
                // A step that deletes the resource undoes all of its selected entries.
                let is_undone = self.life.is_creation_selected();
                if is_selected && event == LifeEvent::Continues && changes(entry).is_empty() && !is_undone {
                    self.add_without_changes(entry, &source);
                }
            }
        }
        Ok(())
    }

    /// The steps, in the order in which they are applied. The reader is that of the whole plan.
    pub fn finish(self, reader: &mut FieldReader) -> Vec<PlanStep> {
        reader.begin_resource();
        let Self { actions: _, tracker: _, life, without_effect, impossible, erased, mut ended, recreated } = self;
        let mut steps = life.finish(&mut ended, reader);
        let erased = erased.oldest().cloned().map(|oldest| (erased, StepStatus::Uncertain { erased: oldest }));
        let groups = [
            Some((without_effect, StepStatus::Noop)),
            Some((impossible, StepStatus::Impossible)),
            erased,
            Some((ended, StepStatus::Noop)),
        ];
        let groups = groups.into_iter().flatten();
        steps.extend(groups.filter_map(|(entries, status)| entries.into_step(StepAction::Nothing, status)));
        steps.extend(recreated);
        steps
    }

    /// Adds an entry after the end of the last life.
    fn push_after_deletion(&mut self, entry: &Entry, source: &Arc<EntryRef>, is_selected: bool) {
        match (changes(entry).first(), is_selected) {
            (Some(_), true) => self.impossible.add(source),
            (Some(change), false) => self.life.add_anomaly(source, &change.field),
            (None, true) => self.add_without_changes(entry, source),
            (None, false) => {}
        }
    }

    /// Adds a selected entry that neither begins nor ends a life, and has no changes.
    fn add_without_changes(&mut self, entry: &Entry, source: &Arc<EntryRef>) {
        let action = Some(entry.content.action);
        let group = if action == self.actions.deleted {
            // The resource was deleted before.
            &mut self.without_effect
        } else if is_erased(entry) {
            &mut self.erased
        } else if action == self.actions.accessed {
            &mut self.without_effect
        } else {
            &mut self.impossible
        };
        group.add(source);
    }

    /// Ends the last life, because `created` begins another.
    fn end_life(&mut self, created: &Arc<EntryRef>, is_selected: bool) {
        let next = self.life.next(created);
        let (selected, deleted) = std::mem::replace(&mut self.life, next).into_selected();
        self.ended.append(selected);
        let Some(deleted) = deleted else { return };
        if is_selected {
            self.impossible.add(&deleted);
            return;
        }
        self.recreated.push(PlanStep {
            action: StepAction::Nothing,
            status: StepStatus::Conflict { by: Arc::clone(created), field: None, entries: 1 },
            undoes: (Arc::clone(&deleted), deleted),
            entries: 1,
        });
    }
}

/// Sorts the steps of several resources into the order in which they are applied: recreations, then fields from the
/// newest change to the oldest, then deletions. Each step has its resource; the steps of one are in the order of
/// [`PlanFold::finish`].
pub fn in_order<R: Ord>(mut steps: Vec<(R, PlanStep)>) -> Vec<(R, PlanStep)> {
    // The sort is stable: the order of changes within one entry stays as the fold has made it.
    steps.sort_by(|(resource, step), (other_resource, other)| {
        rank(step).cmp(&rank(other)).then_with(|| resource.cmp(other_resource))
    });
    steps
}

fn rank(step: &PlanStep) -> (u8, Reverse<Option<Position>>) {
    let (oldest, newest) = &step.undoes;
    match step.action {
        StepAction::Recreate { .. } => (0, Reverse(Some(newest.position()))),
        StepAction::Restore { .. } => (1, Reverse(Some(oldest.position()))),
        StepAction::Delete { .. } => (2, Reverse(None)),
        StepAction::Nothing => (3, Reverse(None)),
    }
}

#[cfg(test)]
mod tests;
