//! Compiles the protobuf contract without protoc.

use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

const SERVICES: [&str; 4] = [
    "auditlog/v1/audit_log_service.proto",
    "auditlog/v1/erasure_service.proto",
    "auditlog/v1/history_service.proto",
    "auditlog/v1/integrity_service.proto",
];
const HEALTH: [&str; 1] = ["grpc/health/v1/health.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    for (protos, package) in [(&SERVICES[..], "auditlog.v1"), (&HEALTH[..], "grpc.health.v1")] {
        let descriptors = protox::compile(protos, ["proto"])?;
        // Reflection serves this file.
        let file = PathBuf::from(env::var("OUT_DIR")?).join(format!("{package}.binpb"));
        fs::write(file, descriptors.encode_to_vec())?;
        let code = tonic_prost_build::configure().btree_map(".");
        code.codec_path("crate::grpc::codec::Codec").compile_fds(descriptors)?;
    }
    Ok(())
}
