//! The answers about the history of a resource. docs/undoing-changes.md explains them to users.

use std::sync::Arc;

use crate::domain::{Action, Catalogue, EntryId, Identifier, JsonText, Seq, Timestamp};

/// The actions that begin and end the life of a resource; `None` if the catalogue does not have the action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifeActions {
    /// `created`.
    pub created: Option<Action>,
    /// `deleted`.
    pub deleted: Option<Action>,
    /// `accessed`, which changes nothing even if the entry has no outcome.
    pub accessed: Option<Action>,
}

impl LifeActions {
    /// The actions of `catalogue` with these names, also removed ones.
    pub fn of(catalogue: &Catalogue) -> Self {
        let [created, deleted, accessed] = ["created", "deleted", "accessed"].map(|name| catalogue.action(name).ok());
        Self { created, deleted, accessed }
    }
}

/// The entry that a fact comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRef {
    /// Its number.
    pub seq: Seq,
    /// Its id.
    pub id: EntryId,
    /// When the action happened.
    pub timestamp: Timestamp,
    /// The user who acted.
    pub user_id: Identifier,
}

/// A value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShownValue {
    /// The value. An absent value is `null`.
    Known(JsonText),
    /// The value was left out: the fold would hold more than [`MAX_VALUE_BYTES`](super::MAX_VALUE_BYTES), or the answer
    /// would have more than [`MAX_ANSWER_BYTES`](super::MAX_ANSWER_BYTES) of values. A state, a difference and a break
    /// name the entry that has it.
    LeftOut,
}

/// Whether a resource exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existence {
    /// It has entries, and was not deleted since it was last created.
    Exists,
    /// Its deletion was the last of its creations and deletions.
    Deleted,
    /// There is no entry about it so far.
    Unknown,
}

/// A resource at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceState {
    /// Whether it exists.
    pub existence: Existence,
    /// The entry that began or ended its present life; `None` without such an entry.
    pub since: Option<Arc<EntryRef>>,
    /// The known fields, by name. Empty if the resource is deleted.
    pub fields: Vec<FieldState>,
    /// Entries up to that time that changed the resource after it was deleted, in order; at most
    /// [`MAX_ANOMALIES`](super::MAX_ANOMALIES).
    pub anomalies: Vec<Arc<EntryRef>>,
    /// The number of entries up to that time whose changes were erased, in all lives.
    pub erased: u64,
}

/// A field at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldState {
    /// The path of the field.
    pub field: String,
    /// The value.
    pub value: ShownValue,
    /// Where the value comes from.
    pub basis: Basis,
    /// The entry that the value comes from.
    pub source: Arc<EntryRef>,
    /// Whether fields below this one were written after the value was. The values of these fields, which are listed if
    /// they are known, replace parts of this value.
    pub is_partial: bool,
}

/// Where the value of a field comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The last change up to that time.
    Recorded,
    /// The old value of the first change after that time.
    Inferred,
    /// One of the two. An entry in between was erased, and may have changed the field.
    Uncertain,
}

/// A field that differs between two times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldDifference {
    /// The path of the field.
    pub field: String,
    /// The field at the earlier time; `None` if it is unknown then, or the resource is deleted.
    pub before: Option<FieldState>,
    /// The field at the later time; `None` if it is unknown then, or the resource is deleted.
    pub after: Option<FieldState>,
}

/// A change whose old value is not the value that was written before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContinuityBreak {
    /// The path of the field in the later entry.
    pub field: String,
    /// The path of the field in the earlier entry: the same, one above it, or one below it.
    pub earlier_field: String,
    /// The entry that wrote the value before.
    pub earlier: Arc<EntryRef>,
    /// The entry whose old value differs.
    pub later: Arc<EntryRef>,
    /// The value of the longer of the two paths, as the earlier entry wrote it.
    pub written: ShownValue,
    /// The value of the same path, as the later entry found it.
    pub found: ShownValue,
    /// Why there is a break.
    pub class: BreakClass,
}

/// Why there is a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakClass {
    /// In the order in which the entries were recorded there is no break: an entry came late, or a writer's clock is
    /// wrong.
    Order,
    /// Something changed the field outside of the log, an entry is missing, or an old value is wrong.
    Unexplained,
}

/// The numbers of entries and pairs that a check of continuity has compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContinuityCounts {
    /// Entries that were read.
    pub entries: u64,
    /// Pairs of consecutive writes whose values were compared.
    pub compared: u64,
    /// Pairs of writes whose paths contain each other, and whose values do not show the common part.
    pub not_comparable: u64,
}

/// A step that undoes entries of a selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanStep {
    /// The change that the step makes.
    pub action: StepAction,
    /// Whether it can be applied.
    pub status: StepStatus,
    /// The entries of the selection that the step undoes, the oldest and the newest.
    pub undoes: (Arc<EntryRef>, Arc<EntryRef>),
    /// The number of these entries.
    pub entries: u64,
}

/// The change that a step makes to its resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepAction {
    /// Sets a field.
    Restore {
        /// The path of the field.
        field: String,
        /// The value to set.
        restore: ShownValue,
        /// The value that the field has when the step is applied in order. `None` if it is unknown.
        expected: Option<ShownValue>,
    },
    /// Deletes the resource, which the selection created.
    Delete {
        /// The known fields that it has when the step is applied, with their values, by name.
        fields: Vec<(String, ShownValue)>,
    },
    /// Creates the resource, which the selection deleted.
    Recreate {
        /// The fields that it had, with their values, by name.
        fields: Vec<(String, ShownValue)>,
        /// The fields that it had, whose values are unknown, by name.
        unknown: Vec<String>,
    },
    /// Does nothing: the entries have no inverse, or changed nothing.
    Nothing,
}

/// Whether a step can be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepStatus {
    /// It can be applied.
    Ready,
    /// It has no effect: the resource is already as the step would make it, the entries changed nothing, or they
    /// changed an earlier life of the resource.
    Noop,
    /// An entry outside of the selection changed the same later, and the step would undo that, too. Or such an entry
    /// created the resource again, so its deletion cannot be undone.
    Conflict {
        /// The first of these entries.
        by: Arc<EntryRef>,
        /// The path that it changed; `None` if it created or deleted the resource.
        field: Option<String>,
        /// The number of these entries.
        entries: u64,
    },
    /// An entry was erased that may have changed the same.
    Uncertain {
        /// The first of these entries.
        erased: Arc<EntryRef>,
    },
    /// The log does not show all changes of the field, or the step deletes a resource that may have existed before.
    Broken {
        /// The entry that found another value than the one written before it, or that created the resource.
        by: Arc<EntryRef>,
    },
    /// The entries do not say what they changed, changed a deleted resource, or deleted one that the selection created
    /// again.
    Impossible,
}
