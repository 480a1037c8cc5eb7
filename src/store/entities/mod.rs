//! The tables as sea-orm entities. Private to the store; `audit_log` converts its rows to entries and back.

pub(super) mod api_key;
pub(super) mod audit_log;
pub(super) mod catalogue;
pub(super) mod checkpoint;
pub(super) mod count_state;
pub(super) mod erasure;
pub(super) mod key_total;
pub(super) mod log_key;
pub(super) mod log_tile;
pub(super) mod name;
pub(super) mod organization;
pub(super) mod running_count;
pub(super) mod secret;
