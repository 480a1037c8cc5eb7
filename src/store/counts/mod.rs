//! Running counts: read for totals and pages, and changed by the counting job.

pub(super) mod edges;
mod names;
pub(super) mod recent;
pub(super) mod snapshot;
pub(super) mod transaction;
