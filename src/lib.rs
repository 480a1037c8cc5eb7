//! An audit log service. A module uses only the modules below it; a test checks this.
//!
//! ```text
//! cli                        one file per subcommand
//! app, config                bind, assemble, drain; sources of options
//! rest                       translates HTTP and JSON to gRPC calls, and their responses back
//! grpc                       decode, call, encode; errors to statuses
//! access, catalogue, counts, the capabilities: API keys, names, running counts, histories of
//! history, ingest,           resources, writes, proofs, reads, signed checkpoints; they never
//! integrity, query, signer   use each other
//! store                      the database; the only place that names sea-orm
//! error                      the one error enum, and its name and code on each surface
//! limits                     bytes that requests and responses hold, and permits of API keys
//! metrics                    what operators monitor
//! telemetry                  logs: contents, destination and rate
//! files                      files with mode 0600, written atomically
//! retry                      back-off between attempts
//! deadline                   deadlines of requests, statements and retries
//! positive_control           services that tests must find to be broken
//! domain                     plain data and pure functions
//! ```
//!
//! The crate `auditlog-verify` in `verify/` has leaves, trees, proofs and the log verifier. Any module may use it.

#[cfg(all(feature = "positive-controls", not(debug_assertions)))]
compile_error!("the feature `positive-controls` loses what it acknowledges, on purpose: it is for debug builds alone");

pub mod access;
pub mod app;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod counts;
pub mod deadline;
pub mod domain;
pub mod error;
pub mod files;
pub mod grpc;
pub mod history;
pub mod ingest;
pub mod integrity;
pub mod limits;
pub mod metrics;
mod positive_control;
pub mod query;
pub mod rest;
pub mod retry;
pub mod signer;
pub mod store;
pub mod telemetry;
