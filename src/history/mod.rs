//! The history of a resource: its state at a time, the difference of two states, breaks between its changes, and a plan
//! that undoes a selection of them. The folds are pure functions over the entries of one resource; `service` and `check`
//! read these entries, and `monitor` repeats checks in the background. Nothing here changes a resource.
//!
//! Entries come one after another, in the order of time and number. A fold holds fields and not entries: the values take
//! at most [`MAX_VALUE_BYTES`], and the names at most [`MAX_NAME_BYTES`].

mod breaks;
mod check;
mod comparison;
mod continuity;
mod effect;
pub mod explanation;
mod fields;
mod json;
mod limits;
mod model;
mod monitor;
mod paths;
mod plan;
mod reader;
mod selection;
mod service;
mod state;
mod token;
mod totals;
mod values;

pub use check::{CheckScope, ContinuityCheck, ContinuityPiece, FoundBreak, MAX_LATER_ENTRIES};
pub use comparison::compare;
pub use continuity::{ContinuityFold, classify};
pub use limits::{MAX_ANSWER_BYTES, MAX_ANSWER_FIELDS, MAX_FOLDED_ENTRIES};
pub use model::{
    Basis, BreakClass, ContinuityBreak, ContinuityCounts, EntryRef, Existence, FieldDifference, FieldState,
    LifeActions, PlanStep, ResourceState, ShownValue, StepAction, StepStatus,
};
pub use monitor::ContinuityMonitor;
pub use plan::{PlanFold, in_order};
pub use selection::{MAX_PLAN_RESOURCES, RollbackSelection};
pub use service::{ComparisonAnswer, History, ResourceScope, RollbackPlan, StateAnswer, WrittenValues};
pub use state::StateFold;
pub use totals::CheckTotals;

/// The maximum number of bytes of the values that a fold holds. Beyond it, the largest values are left out.
pub const MAX_VALUE_BYTES: usize = 32 * 1024 * 1024;
/// The maximum number of bytes of the names of fields that a fold holds. Each field counts 256 bytes more.
pub const MAX_NAME_BYTES: usize = 32 * 1024 * 1024;
/// The maximum number of anomalies in a state.
pub const MAX_ANOMALIES: usize = 100;

/// A resource has more fields than a fold may hold: see [`MAX_NAME_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the fields of this resource take more than 32 MiB, not counting their values")]
pub struct TooManyFields;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
