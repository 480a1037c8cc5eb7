//! The integration tests, one module an operation. One binary, since a second would double the build.

mod access;
mod bad_input;
mod cli;
mod clients;
mod concurrency;
mod contract;
mod demo;
mod documentation;
mod grpc;
mod import;
mod ingest;
mod isolation;
mod layers;
mod rest;
mod schema;
mod support;
mod trail;
