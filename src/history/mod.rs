//! The history of a resource: its state at a time, the difference of two states, breaks between its changes, and a plan
//! that undoes a selection of them. Pure functions over the entries of one resource; they read no entries themselves, and
//! nothing here changes a resource.
//!
//! Entries come one after another, in the order of time and number. A fold holds fields and not entries: the values take
//! at most [`MAX_VALUE_BYTES`], and the names at most [`MAX_NAME_BYTES`].

mod comparison;
mod continuity;
mod effect;
mod fields;
mod json;
mod model;
mod paths;
mod plan;
mod state;
mod values;

pub use comparison::compare;
pub use continuity::{ContinuityFold, classify};
pub use model::{
    Basis, BreakClass, ContinuityBreak, ContinuityCounts, EntryRef, Existence, FieldDifference, FieldState, FieldValue,
    LifeActions, PlanStep, ResourceState, StepAction, StepStatus,
};
pub use plan::{PlanFold, in_order};
pub use state::StateFold;

/// The maximum number of bytes of the values that a fold holds. Beyond it, the largest values are left out.
pub const MAX_VALUE_BYTES: usize = 32 * 1024 * 1024;
/// The maximum number of bytes of the names of fields that a fold holds.
pub const MAX_NAME_BYTES: usize = 32 * 1024 * 1024;
/// The maximum number of anomalies in a state.
pub const MAX_ANOMALIES: usize = 100;

/// The fields of a resource have more names than a fold may hold, which is [`MAX_NAME_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the names of the fields of this resource take more than 32 MiB")]
pub struct TooManyFields;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
