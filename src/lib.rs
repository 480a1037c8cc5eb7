//! auditlog
pub mod access;
pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod error;
pub mod grpc;
pub mod ingest;
pub mod query;
pub mod rest;
pub mod store;
pub mod telemetry;
