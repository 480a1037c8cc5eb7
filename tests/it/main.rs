//! The integration tests, one module an operation. One binary, since a second would double the build.

mod access;
mod bad_input;
mod catalogue;
mod cli;
mod clients;
mod concurrency;
mod contract;
mod cors;
mod demo;
mod documentation;
mod export;
mod gateway;
mod grpc;
mod help;
mod import;
mod ingest;
mod isolation;
mod layers;
mod output;
mod plans;
mod read;
mod rest;
mod schema;
mod stream;
mod support;
mod trail;
