//! The plan that undoes a selection, by its definition.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::oracle_continuity::{continuity, known};
use super::oracle_json::{is_above, overlaps, rest, value, walk, with_part};
use super::oracle_lives::{OracleLog, OracleWrite};
use crate::domain::JsonText;
use crate::history::model::{ContinuityBreak, PlanStep, ShownValue, StepAction, StepStatus};

/// The steps that undo the entries for which `selected` is true.
pub(super) fn plan(log: OracleLog<'_>, selected: &[bool]) -> Vec<PlanStep> {
    let (breaks, _) = continuity(log);
    let (begin, ended) = log.life_after(log.entries.len());
    let selection = OracleSelection { log, selected, breaks: &breaks, begin, ended };
    let mut steps = match (ended, begin) {
        (Some(deletion), _) if !selected[deletion] => Vec::new(),
        (Some(deletion), Some(creation)) if selected[creation] => vec![selection.nothing_is_left(deletion)],
        (Some(deletion), _) => vec![selection.recreation(deletion)],
        (None, Some(creation)) if selected[creation] => vec![selection.deletion(creation)],
        (None, _) => selection.restorations(),
    };
    steps.extend(selection.steps_of_nothing());
    steps
}

/// How a selected entry is undone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OracleGroup {
    /// It has no effect.
    Noop,
    /// It has no inverse.
    Impossible,
    /// Its changes are erased.
    Erased,
    /// Its life has ended, and stays so.
    Ended,
    /// It deleted the resource, which this entry created again.
    Replaced(usize),
    /// The steps of the last life undo it.
    LastLife,
}

#[derive(Clone, Copy)]
struct OracleSelection<'e> {
    log: OracleLog<'e>,
    selected: &'e [bool],
    breaks: &'e [(usize, ContinuityBreak)],
    /// The entries that began and ended the last life.
    begin: Option<usize>,
    ended: Option<usize>,
}

/// The selected writes of one field in the last life.
struct OracleRun {
    field: String,
    /// The index of the first of them among the writes of the life.
    first: usize,
    /// The entries that have them.
    places: Vec<usize>,
    restore: JsonText,
    status: StepStatus,
}

impl<'e> OracleSelection<'e> {
    fn group(self, place: usize) -> OracleGroup {
        let (log, entries) = (self.log, self.log.entries.len());
        let is_last_life = log.begin_of(place) == self.begin && self.ended.is_none_or(|ended| self.selected[ended]);
        let of_life = if is_last_life { OracleGroup::LastLife } else { OracleGroup::Ended };
        if !log.has_effect(place) {
            return OracleGroup::Noop;
        }
        if log.is_anomaly(place) {
            return OracleGroup::Impossible;
        }
        if log.deletes(place) {
            return match (place..entries).find(|later| log.creates(*later)) {
                _ if log.is_after_deletion(place) => OracleGroup::Noop,
                Some(creation) if self.selected[creation] => OracleGroup::Impossible,
                Some(creation) => OracleGroup::Replaced(creation),
                None => of_life,
            };
        }
        let is_within = !log.is_after_deletion(place);
        if is_within && log.begin_of(place).is_some_and(|creation| self.selected[creation]) {
            return of_life;
        }
        let is_access = log.does(place, log.actions.accessed);
        match (log.creates(place), log.is_erased(place), log.changes(place)) {
            (true, _, _) => of_life,
            (false, true, _) => OracleGroup::Erased,
            (false, false, []) if is_access => OracleGroup::Noop,
            (false, false, []) => OracleGroup::Impossible,
            (false, false, _) => of_life,
        }
    }

    /// The selected entries of a group.
    fn places(self, group: OracleGroup) -> Vec<usize> {
        (0..self.selected.len()).filter(|place| self.selected[*place] && self.group(*place) == group).collect()
    }

    /// A step for these entries; `None` if there are none.
    fn step(self, action: StepAction, status: StepStatus, places: &[usize]) -> Option<PlanStep> {
        let undoes = (self.log.named(*places.first()?), self.log.named(*places.last()?));
        Some(PlanStep { action, status, undoes, entries: places.len() as u64 })
    }

    /// The steps for entries that no other step undoes.
    fn steps_of_nothing(self) -> Vec<PlanStep> {
        let nothing = |status, places: &[usize]| self.step(StepAction::Nothing, status, places);
        let mut steps = Vec::new();
        steps.extend(nothing(StepStatus::Noop, &self.places(OracleGroup::Noop)));
        steps.extend(nothing(StepStatus::Impossible, &self.places(OracleGroup::Impossible)));
        steps.extend(nothing(StepStatus::Noop, &self.places(OracleGroup::Ended)));
        let erased = self.places(OracleGroup::Erased);
        if let Some(first) = erased.first() {
            steps.extend(nothing(StepStatus::Uncertain { erased: self.log.named(*first) }, &erased));
        }
        for place in (0..self.selected.len()).filter(|place| self.selected[*place]) {
            if let OracleGroup::Replaced(creation) = self.group(place) {
                let status = StepStatus::Conflict { by: self.log.named(creation), field: None, entries: 1 };
                steps.extend(nothing(status, &[place]));
            }
        }
        steps
    }

    /// The step for a life that begins and ends within the selection.
    fn nothing_is_left(self, deletion: usize) -> PlanStep {
        let step = self.step(StepAction::Nothing, StepStatus::Noop, &self.last_life(deletion));
        step.expect("the deletion is selected")
    }

    /// The selected entries of the last life; `own` is the one that began or ended it.
    fn last_life(self, own: usize) -> Vec<usize> {
        let places = self.places(OracleGroup::LastLife);
        assert!(places.contains(&own), "the entry {own} is selected");
        places
    }

    /// The step that deletes the resource.
    fn deletion(self, creation: usize) -> PlanStep {
        let others: Vec<_> = self.writes().into_iter().filter(|write| !self.selected[write.place]).collect();
        let mut later = creation + 1..self.log.entries.len();
        let erased = later.find(|place| self.log.is_erased(*place) && !self.selected[*place]);
        let status = match (self.conflict(&others), erased) {
            (Some(conflict), _) => conflict,
            (None, Some(erased)) => StepStatus::Uncertain { erased: self.log.named(erased) },
            (None, None) if self.exists_before(creation) => StepStatus::Broken { by: self.log.named(creation) },
            (None, None) => StepStatus::Ready,
        };
        let writes = self.writes();
        let model = OracleModel::after(&writes);
        let end = self.log.entries.len();
        let is_certain = |field: &str| {
            let last = writes.iter().rfind(|write| write.change.field == field).expect("it was written");
            self.log.erased_in(last.place + 1..end).is_none()
        };
        let fields = model.0.keys().filter(|field| is_certain(field));
        let fields = fields.filter_map(|field| Some((field.clone(), known(&model.value(field)?)))).collect();
        self.step(StepAction::Delete { fields }, status, &self.last_life(creation)).expect("the creation is selected")
    }

    /// Whether entries show the resource before `creation`, and none deleted it.
    fn exists_before(self, creation: usize) -> bool {
        self.log.life_after(creation).1.is_none() && (0..creation).any(|place| self.log.has_effect(place))
    }

    /// The step that creates the resource again, as it was without the selected writes.
    fn recreation(self, deletion: usize) -> PlanStep {
        let (writes, runs) = (self.writes(), self.runs());
        let mut model = OracleModel::after(&writes);
        for run in &runs {
            model.write(&run.field, value(&run.restore));
        }
        let erased_since_last_write = |field: &str| {
            let last = writes.iter().rfind(|write| write.change.field == field)?;
            self.log.erased_in(last.place + 1..deletion + 1)
        };
        let (mut fields, mut unknown, mut erased) = (Vec::new(), Vec::new(), Vec::new());
        for (field, now) in &model.0 {
            let is_restored = runs.iter().any(|run| run.field == *field);
            match erased_since_last_write(field) {
                Some(place) if !is_restored => {
                    unknown.push(field.clone());
                    erased.push(place);
                }
                _ => fields.push((field.clone(), known(now))),
            }
        }
        let changed_since = self.conflict_after(deletion);
        let hindered = runs.into_iter().filter(|run| !matches!(run.status, StepStatus::Ready | StepStatus::Noop));
        let hindered = hindered.min_by(|one, other| one.field.cmp(&other.field)).map(|run| run.status);
        let uncertain = erased.into_iter().min().map(|place| StepStatus::Uncertain { erased: self.log.named(place) });
        let status = changed_since.or(hindered).or(uncertain).unwrap_or(StepStatus::Ready);
        let action = StepAction::Recreate { fields, unknown };
        self.step(action, status, &self.last_life(deletion)).expect("the deletion is selected")
    }

    /// The conflict with other entries that changed what was deleted.
    fn conflict_after(self, deletion: usize) -> Option<StepStatus> {
        let later = deletion + 1..self.log.entries.len();
        let others: Vec<_> = later.filter(|place| self.log.is_anomaly(*place) && !self.selected[*place]).collect();
        let first = *others.first()?;
        let field = self.log.changes(first).first().map(|change| change.field.clone());
        Some(StepStatus::Conflict { by: self.log.named(first), field, entries: others.len() as u64 })
    }

    /// The steps that restore fields.
    fn restorations(self) -> Vec<PlanStep> {
        let mut model = OracleModel::after(&self.writes());
        let (mut runs, mut steps) = (self.runs(), Vec::new());
        for index in 0..runs.len() {
            let expected = model.value(&runs[index].field).as_ref().map(known);
            if runs[index].status == StepStatus::Ready {
                match model.has_room(&runs[index].field, Self::is_covered(&runs, index)) {
                    true => model.write(&runs[index].field, value(&runs[index].restore)),
                    false => runs[index].status = Self::status_of_above(&runs, &runs[index].field),
                }
            }
            let (field, restore) = (runs[index].field.clone(), ShownValue::Known(runs[index].restore.clone()));
            let action = StepAction::Restore { field, restore, expected };
            steps.extend(self.step(action, runs[index].status.clone(), &runs[index].places));
        }
        steps
    }

    /// The status of a run whose field cannot be set: what is above it is undone as a whole, or else it is not.
    /// Whether the nearest run above is undone after this one.
    fn is_covered(runs: &[OracleRun], index: usize) -> bool {
        let field = &runs[index].field;
        let above = (0..runs.len()).filter(|above| is_above(&runs[*above].field, field));
        let nearest = above.max_by_key(|above| runs[*above].field.len());
        nearest.is_some_and(|above| index < above && runs[above].status == StepStatus::Ready)
    }

    fn status_of_above(runs: &[OracleRun], field: &str) -> StepStatus {
        let above = runs.iter().filter(|run| is_above(&run.field, field));
        match above.max_by_key(|run| run.field.len()).map(|run| &run.status) {
            None => StepStatus::Impossible,
            Some(StepStatus::Ready) => StepStatus::Noop,
            Some(status) => status.clone(),
        }
    }

    /// The writes of the last life.
    fn writes(self) -> Vec<OracleWrite<'e>> {
        self.log.writes().into_iter().filter(|write| write.life == self.begin).collect()
    }

    /// The runs, that with the newest first write first.
    fn runs(self) -> Vec<OracleRun> {
        let writes = self.writes();
        let selected = writes.iter().filter(|write| self.selected[write.place]);
        let fields: BTreeSet<_> = selected.map(|write| write.change.field.as_str()).collect();
        let mut runs: Vec<_> = fields.into_iter().map(|field| self.run(&writes, field)).collect();
        let order: BTreeMap<_, _> =
            runs.iter().map(|run| (run.field.clone(), self.order(&writes, &runs, run))).collect();
        runs.sort_by_key(|run| Reverse(order[&run.field]));
        runs
    }

    /// The writes above the write `first`, from `null`, that are listed before it in the same entry, although they say
    /// what was before the entry: the nearest one leaves nothing at the path, and nothing in between wrote below it.
    fn taken_apart(self, writes: &[OracleWrite<'e>], first: usize) -> Vec<usize> {
        let own = writes[first];
        let is_first = |index: usize| {
            let earlier = &writes[..index];
            !earlier.iter().any(|write| write.change.field == writes[index].change.field && self.selected[write.place])
        };
        let above = (0..first).filter(|index| {
            let write = writes[*index];
            write.place == own.place
                && is_above(&write.change.field, &own.change.field)
                && is_first(*index)
                && value(&write.change.old_value).is_null()
        });
        let above: Vec<_> = above.collect();
        let Some(nearest) = above.iter().max_by_key(|index| writes[**index].change.field.len()) else { return above };
        let nearest = &writes[*nearest].change.field;
        let is_earlier = |index: &usize| writes[*index].place == own.place && writes[*index].change.field == *nearest;
        let written = (0..first).rev().find(is_earlier).expect("the nearest one");
        let is_written_below =
            writes[written..first].iter().any(|write| is_above(&own.change.field, &write.change.field));
        let part = walk(&value(&writes[written].change.new_value), &rest(nearest, &own.change.field));
        let is_shown = is_written_below || part.is_some_and(|part| !part.is_null());
        let old = value(&own.change.old_value);
        if old.is_null() || is_shown { Vec::new() } else { above }
    }

    /// The order of undoing: the highest comes first.
    fn order(self, writes: &[OracleWrite<'e>], runs: &[OracleRun], run: &OracleRun) -> usize {
        let below = runs.iter().filter(|below| self.taken_apart(writes, below.first).contains(&run.first));
        below.map(|below| 2 * below.first + 1).max().unwrap_or(2 * run.first)
    }

    fn run(self, writes: &[OracleWrite<'e>], field: &str) -> OracleRun {
        let is_own = |write: &OracleWrite<'e>| write.change.field == field && self.selected[write.place];
        let own: Vec<_> = (0..writes.len()).filter(|index| is_own(&writes[*index])).collect();
        let places: BTreeSet<_> = own.iter().map(|index| writes[*index].place).collect();
        let first = own[0];
        OracleRun {
            field: field.to_owned(),
            first,
            places: places.into_iter().collect(),
            restore: writes[first].change.old_value.clone(),
            status: self.status(writes, first),
        }
    }

    /// Whether the field of the write `first` can be set to its old value.
    fn status(self, writes: &[OracleWrite<'e>], first: usize) -> StepStatus {
        let OracleWrite { place, life: _, change } = writes[first];
        let end = self.ended.map_or(self.log.entries.len(), |ended| ended + 1);
        if let Some(erased) = self.log.erased_in(place + 1..end) {
            return StepStatus::Uncertain { erased: self.log.named(erased) };
        }
        // The step that undoes a later overlapping write comes first, and may change the field.
        let overlaps_own = |path: &str| overlaps(path, &change.field);
        let later = writes[first + 1..].iter().map(|write| write.change.field.as_str());
        let is_covered = later.filter(|path| *path != change.field).any(overlaps_own);
        let is_covered = is_covered || !self.taken_apart(writes, first).is_empty();
        if !is_covered && OracleModel::after(writes).value(&change.field) == Some(value(&change.old_value)) {
            return StepStatus::Noop;
        }
        let others = writes.iter().filter(|write| write.place > place && !self.selected[write.place]);
        let others: Vec<_> = others.filter(|write| overlaps_own(&write.change.field)).copied().collect();
        if let Some(conflict) = self.conflict(&others) {
            return conflict;
        }
        let mut breaks = self.breaks.iter().filter(|(later, _)| place < *later && *later < end);
        match breaks.find(|(_, broken)| overlaps_own(&broken.field)) {
            Some((later, _)) => StepStatus::Broken { by: self.log.named(*later) },
            None => StepStatus::Ready,
        }
    }

    /// The conflict with these writes; `None` if there are none.
    fn conflict(self, writes: &[OracleWrite<'e>]) -> Option<StepStatus> {
        let first = writes.first()?;
        let places: BTreeSet<_> = writes.iter().map(|write| write.place).collect();
        let (by, field) = (self.log.named(first.place), Some(first.change.field.clone()));
        Some(StepStatus::Conflict { by, field, entries: places.len() as u64 })
    }
}

/// The values that are known after some writes, by path. One below another is newer, and replaces a part of it.
struct OracleModel(BTreeMap<String, Value>);

impl OracleModel {
    fn after(writes: &[OracleWrite<'_>]) -> Self {
        let mut model = Self(BTreeMap::new());
        for write in writes {
            model.write(&write.change.field, value(&write.change.new_value));
        }
        model
    }

    fn write(&mut self, field: &str, new: Value) {
        self.0.retain(|path, _| !is_above(field, path));
        self.0.insert(field.to_owned(), new);
    }

    /// Whether the values above `field`, since its own was overwritten, are objects as far as they are known. `null` is
    /// as good as an object if the field is not covered.
    fn has_room(&self, field: &str, is_covered: bool) -> bool {
        let nearest =
            self.0.keys().filter(|path| *path == field || is_above(path, field)).max_by_key(|path| path.len());
        let Some(nearest) = nearest.filter(|path| *path != field) else { return true };
        let dots = field.match_indices('.').map(|(dot, _)| &field[..dot]);
        let mut values = dots.filter(|path| path.len() >= nearest.len()).filter_map(|path| self.value(path));
        values.all(|value| value.is_object() || value.is_null() && !is_covered)
    }

    /// The value of `field` with all that was written later; `None` if the values do not show it.
    fn value(&self, field: &str) -> Option<Value> {
        let bases = self.0.iter().filter(|(path, _)| *path == field || is_above(path, field));
        let (base, whole) = bases.max_by_key(|(path, _)| path.len())?;
        let mut whole = whole.clone();
        // In the order of the map, a path comes before those below it.
        for (path, part) in self.0.iter().filter(|(path, _)| is_above(base, path)) {
            whole = with_part(whole, &rest(base, path), part.clone())?;
        }
        walk(&whole, &rest(base, field))
    }
}
