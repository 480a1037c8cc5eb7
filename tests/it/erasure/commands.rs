//! `auditlog erase`.
