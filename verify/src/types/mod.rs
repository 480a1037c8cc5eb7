//! The plain types of a log's entries.

mod group;
mod json;
mod text;
mod timestamp;

pub use group::{Erased, Group};
pub use json::{JsonText, MAX_DEPTH};
pub use text::{Invalid, check_entry_id, quoted};
pub use timestamp::Timestamp;

/// The number of an entry in its organization: 1, 2, 3 …
pub type Seq = i64;

/// One changed field of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path of the field. It may be empty.
    pub field: String,
    /// The value before.
    pub old_value: JsonText,
    /// The value after.
    pub new_value: JsonText,
}
