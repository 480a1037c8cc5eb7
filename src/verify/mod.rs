//! What a verifier of a log checks, and how it says what it found: docs/LEAF_FORMAT.md, "What a verifier checks". Pure:
//! whoever reads entries, tiles and checkpoints, from wherever, hands them over. Uses `merkle` and `domain`.

mod compare;
mod erasures;
mod fields;
mod finding;
mod locate;
mod proof;
mod service;
mod told;
mod trust;
mod walk;

pub use compare::{Comparison, Row, Suspect};
pub use erasures::{ErasedGroups, RecordSigner, Removal};
pub use finding::{Finding, Kind};
pub use locate::{Evidence, first_bad};
pub use proof::{Disclosed, Proof, Proved};
pub use service::Record;
pub use told::{Actor, Content, Facts, Part, Told};
pub use trust::{Trust, Untrusted, log_id};
pub use walk::{Remembered, Walk};

#[cfg(test)]
mod tests;
