//! Running counts: read for totals and pages, and changed by the aggregator.

pub(super) mod recent;
pub(super) mod snapshot;
pub(super) mod transaction;
