//! An audit log service. Modules use only those below them, which a test holds them to:
//!
//! ```text
//! cli                        one file a subcommand
//! app, config                bind, assemble, drain; where options come from
//! rest                       HTTP and JSON to the calls of gRPC, and their answers back
//! grpc                       decode, call, encode; errors to statuses
//! access, catalogue,         what the service can do: keys, names, writes, proofs, reads,
//! ingest, integrity, query,  counts, signed checkpoints; they never use each other
//! marks, signer
//! store                      the database; the only place that names sea-orm
//! error                      the one error enum, and the table of what each surface calls an error
//! limits                     bytes that requests and responses hold, and permits of keys
//! metrics                    what operators watch
//! telemetry                  logs: what is logged, where to, and how often
//! files                      files that are written whole, for their owner alone
//! retry                      pauses between the tries of what failed
//! deadline                   when something is due
//! domain                     plain data and pure functions
//! ```
//!
//! Leaves, trees, proofs and the verifier of logs are the crate `auditlog-verify` in `verify/`, which any module may use.

#[cfg(all(feature = "positive-controls", not(debug_assertions)))]
compile_error!("the feature `positive-controls` loses what it acknowledges, on purpose: it is for debug builds alone");

pub mod access;
pub mod app;
pub mod catalogue;
pub mod cli;
pub mod config;
pub mod deadline;
pub mod domain;
pub mod error;
pub mod files;
pub mod grpc;
pub mod ingest;
pub mod integrity;
pub mod limits;
pub mod marks;
pub mod metrics;
pub mod query;
pub mod rest;
pub mod retry;
pub mod signer;
pub mod store;
pub mod telemetry;
