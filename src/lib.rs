//! auditlog
pub mod access;
pub mod domain;
pub mod error;
pub mod ingest;
pub mod query;
pub mod store;
