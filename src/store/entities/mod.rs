//! The tables as sea-orm sees them. Private to the store; `rows` turns them into the domain's types.

pub(super) mod api_key;
pub(super) mod audit_log;
pub(super) mod catalogue;
pub(super) mod checkpoint;
pub(super) mod count_key;
pub(super) mod count_mark;
pub(super) mod count_state;
pub(super) mod erasure;
pub(super) mod log_key;
pub(super) mod log_tile;
pub(super) mod organization;
pub(super) mod secret;
