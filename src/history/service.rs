//! Answers questions about the history of resources: reads their entries from the store, and folds them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::check::{CheckScope, ContinuityCheck};
use super::comparison::compare;
use super::limits::{FoldBudget, PlanSteps, check_fields, leave_out_largest, shortened, too_many_fields};
use super::model::{
    EntryRef, Existence, FieldDifference, LifeActions, PlanStep, ResourceState, StepAction, StepStatus,
};
use super::plan::{FieldReader, PlanFold, in_order};
use super::reader::{ResourceReader, Turn};
use super::selection::{ResolvedSelection, RollbackSelection};
use super::state::StateFold;
use crate::domain::{OrganizationId, ResourceKey, Seq, Timestamp, check_seq};
use crate::error::{AtField, Error, Result};
use crate::store::Store;

const FEWER_ENTRIES: &str = "ask for the state as of a lower sequence";
const FEWER_SELECTED: &str = "select entries of fewer resources";
/// The maximum number of entries whose values explanations mention.
const MAX_QUOTED_ENTRIES: usize = 1_000;
/// The number of entries that are read at once for that. An entry has at most 256 KiB.
const QUOTED_PIECE: usize = 20;

/// Answers questions about the history of resources.
#[derive(Clone)]
pub struct History {
    store: Store,
}

/// The resource that a question is about, the entries that count, and the fields to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceScope {
    /// The resource.
    pub resource: ResourceKey,
    /// Entries with higher numbers do not count; `None` for all entries now.
    pub as_of: Option<Seq>,
    /// Only fields that overlap with one of these paths; empty for all fields.
    pub prefixes: Vec<String>,
}

/// A resource at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateAnswer {
    /// The last number that counts.
    pub as_of: Seq,
    /// The number of entries that were read.
    pub entries: u64,
    /// The state.
    pub state: ResourceState,
}

/// The difference between a resource at two times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparisonAnswer {
    /// The last number that counts.
    pub as_of: Seq,
    /// The number of entries that were read.
    pub entries: u64,
    /// Whether the resource exists at the earlier and at the later time.
    pub existence: [Existence; 2],
    /// The entry that began or ended its life at the later time; `None` without such an entry.
    pub since: Option<Arc<EntryRef>>,
    /// The fields that differ, by name.
    pub differences: Vec<FieldDifference>,
    /// Entries up to the later time that changed the resource after it was deleted, at most
    /// [`MAX_ANOMALIES`](super::MAX_ANOMALIES).
    pub anomalies: Vec<Arc<EntryRef>>,
    /// The number of entries between the times whose changes were erased.
    pub erased: u64,
}

/// How to undo the entries of a selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollbackPlan {
    /// The last number that counts.
    pub as_of: Seq,
    /// The number of entries that were read.
    pub entries: u64,
    /// The number of them that are selected.
    pub selected: u64,
    /// The number of resources that have selected entries.
    pub resources: u64,
    /// The steps, in the order in which they are applied.
    pub steps: Vec<(ResourceKey, PlanStep)>,
    /// Values that entries wrote, for explanations.
    pub written: WrittenValues,
}

/// Shortened values that entries wrote, by the number of the entry and the path of the field.
pub type WrittenValues = HashMap<(Seq, String), String>;

impl History {
    /// Reads from `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The resource of `scope`, by its entries with timestamps before `before`. Errors: `OrganizationNotFound`;
    /// `InvalidParameter` for a number that the log does not have; `TooManyEntries`.
    pub async fn state(
        &self,
        key_id: &str,
        organization: &OrganizationId,
        actions: LifeActions,
        scope: ResourceScope,
        before: Timestamp,
    ) -> Result<StateAnswer> {
        let [(as_of, entries, mut state)] = self.states(key_id, organization, actions, scope, [before]).await?;
        check_fields(state.fields.len())?;
        leave_out_largest(state.fields.iter_mut().map(|field| &mut field.value));
        Ok(StateAnswer { as_of, entries, state })
    }

    /// Compares the resource of `scope` by its entries before one time with that by its entries before a later one.
    /// Errors: as for [`Self::state`].
    pub async fn compare(
        &self,
        key_id: &str,
        organization: &OrganizationId,
        actions: LifeActions,
        scope: ResourceScope,
        before: [Timestamp; 2],
    ) -> Result<ComparisonAnswer> {
        let [(_, _, earlier), (as_of, entries, later)] =
            self.states(key_id, organization, actions, scope, before).await?;
        let mut differences = compare(&earlier, &later);
        check_fields(differences.len())?;
        let sides = differences.iter_mut().flat_map(|found| found.before.iter_mut().chain(found.after.iter_mut()));
        leave_out_largest(sides.map(|side| &mut side.value));
        let ResourceState { existence, since, fields: _, anomalies, erased } = later;
        let erased = erased.saturating_sub(earlier.erased);
        let existence = [earlier.existence, existence];
        Ok(ComparisonAnswer { as_of, entries, existence, since, differences, anomalies, erased })
    }

    /// The states of one resource before several times, by reading its entries once. Each comes with the last number
    /// that counts, and the number of entries.
    async fn states<const N: usize>(
        &self,
        key_id: &str,
        organization: &OrganizationId,
        actions: LifeActions,
        scope: ResourceScope,
        before: [Timestamp; N],
    ) -> Result<[(Seq, u64, ResourceState); N]> {
        let _permit = self.store.read_permit(key_id, organization).await?;
        let ResourceScope { resource, as_of, prefixes } = scope;
        let as_of = self.as_of(organization, as_of).await?;
        let mut folds = before.map(|before| StateFold::new(actions, before, prefixes.clone()));
        let mut budget = FoldBudget::new(&self.store, key_id, N);
        let mut entries = ResourceReader::new(&self.store, organization, &resource, as_of);
        while !folds.iter().all(StateFold::is_over)
            && let Some(piece) = entries.next().await?
        {
            budget.add(&piece, FEWER_ENTRIES)?;
            let mut turn = Turn::default();
            for entry in &piece {
                for fold in &mut folds {
                    fold.push(entry).map_err(too_many_fields)?;
                }
                turn.pause().await;
            }
        }
        Ok(folds.map(|fold| (as_of, budget.entries(), fold.finish())))
    }

    /// Plans how to undo the entries of `selection`. Errors: `OrganizationNotFound`; `AuditLogsNotFound`;
    /// `InvalidParameter` for a number or an entry that does not count; `TooManyEntries`.
    pub async fn plan(
        &self,
        key_id: &str,
        organization: &OrganizationId,
        actions: LifeActions,
        selection: &RollbackSelection,
        as_of: Option<Seq>,
    ) -> Result<RollbackPlan> {
        let _permit = self.store.read_permit(key_id, organization).await?;
        let as_of = self.as_of(organization, as_of).await?;
        let selected = ResolvedSelection::find(&self.store, organization, selection, as_of).await?;
        let (mut budget, mut steps) = (FoldBudget::new(&self.store, key_id, 1), PlanSteps::default());
        let mut reader = FieldReader::default();
        let (mut selected_entries, mut resources) = (0, 0);
        for resource in &selected.resources {
            let (mut fold, mut selected_here) = (PlanFold::new(actions), 0);
            let mut entries = ResourceReader::new(&self.store, organization, resource, as_of);
            while let Some(piece) = entries.next().await? {
                budget.add(&piece, FEWER_SELECTED)?;
                let mut turn = Turn::default();
                for entry in &piece {
                    let is_selected = selected.has(entry);
                    selected_here += u64::from(is_selected);
                    fold.push(entry, is_selected).map_err(too_many_fields)?;
                    turn.pause().await;
                }
            }
            if selected_here > 0 {
                (selected_entries, resources) = (selected_entries + selected_here, resources + 1);
                steps.add(resource, fold.finish(&mut reader))?;
            }
        }
        let steps = in_order(steps.into_steps());
        let written = self.written(organization, &steps).await?;
        Ok(RollbackPlan { as_of, entries: budget.entries(), selected: selected_entries, resources, steps, written })
    }

    /// Starts to check the continuity of a resource, or of all resources. Errors: `OrganizationNotFound`;
    /// `InvalidParameter` for a number that the log does not have, or a token of another check.
    pub async fn check(
        &self,
        key_id: &str,
        organization: OrganizationId,
        actions: LifeActions,
        scope: CheckScope,
    ) -> Result<ContinuityCheck> {
        let _permit = self.store.read_permit(key_id, &organization).await?;
        let head = self.store.head(&organization).await?.ok_or(Error::OrganizationNotFound)?;
        ContinuityCheck::begin(self.store.clone(), Some(key_id), organization, actions, scope, head).await
    }

    /// The last number that counts.
    async fn as_of(&self, organization: &OrganizationId, asked: Option<Seq>) -> Result<Seq> {
        let head = self.store.head(organization).await?.ok_or(Error::OrganizationNotFound)?;
        check_seq(asked.unwrap_or(head), head, "the organization's last number").at("as_of_sequence")
    }

    /// The values that the explanations of conflicts mention: those of the undone entries and of the later ones.
    async fn written(&self, organization: &OrganizationId, steps: &[(ResourceKey, PlanStep)]) -> Result<WrittenValues> {
        let mut asked: BTreeMap<Seq, BTreeSet<&str>> = BTreeMap::new();
        for (seq, field) in steps.iter().filter_map(|(_, step)| conflict(step)).flatten() {
            if asked.len() == MAX_QUOTED_ENTRIES && !asked.contains_key(&seq) {
                break;
            }
            asked.entry(seq).or_default().insert(field);
        }
        let (seqs, mut written): (Vec<_>, _) = (asked.keys().copied().collect(), WrittenValues::new());
        for seqs in seqs.chunks(QUOTED_PIECE) {
            for entry in self.store.entries_numbered(organization, seqs).await? {
                let fields = asked.get(&entry.seq).into_iter().flatten();
                for field in fields {
                    // The last one counts.
                    let change = entry.content.changes.iter().rev().find(|change| change.field == **field);
                    if let Some(change) = change {
                        let value = shortened(change.new_value.as_str());
                        written.insert((entry.seq, (*field).to_owned()), value);
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(written)
    }
}

/// The entries and fields of a conflict: the first entry that the step undoes, and the first one that changed the same
/// later. `None` for other steps.
fn conflict(step: &PlanStep) -> Option<[(Seq, &str); 2]> {
    match (&step.action, &step.status) {
        (StepAction::Restore { field, .. }, StepStatus::Conflict { by, field: Some(later), entries: _ }) => {
            Some([(step.undoes.0.seq, field.as_str()), (by.seq, later.as_str())])
        }
        _ => None,
    }
}
