//! The schema, and the tables that operators change: API keys, catalogue, organizations and secrets. Changes of keys and
//! of the catalogue are recorded in the log of the service.

pub(super) mod catalogue;
pub(super) mod keys;
pub(super) mod organizations;
mod records;
pub(super) mod schema;
pub(super) mod secrets;
