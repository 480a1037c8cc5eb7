//! The schema, and the tables that operators change: API keys, catalogue, organizations and secrets.

pub(super) mod catalogue;
pub(super) mod keys;
pub(super) mod organizations;
pub(super) mod schema;
pub(super) mod secrets;
