//! The verification of a log: docs/LEAF_FORMAT.md, "What a verifier checks". The caller reads entries, tiles and
//! checkpoints from any source, and passes them in. Uses `merkle` and `types`.

mod administration;
mod disclosed;
mod erasures;
mod locate;
mod proof;
mod replay;
mod service_record;
mod tile_check;
mod trust;
mod violation;

pub use disclosed::{DisclosedEntry, DisclosedGroup};
pub use erasures::{ErasedGroups, RecordSigner, Removal};
pub use locate::{Evidence, first_bad};
pub use proof::{Proof, Proved};
pub use replay::{LogReplay, VerifiedPrefix};
pub use service_record::Record;
pub use tile_check::{Row, Suspect, TileCheck};
pub use trust::{Trust, Untrusted, log_id};
pub use violation::{Kind, Violation};

#[cfg(test)]
mod tests;
