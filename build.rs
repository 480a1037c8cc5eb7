//! Compiles the protobuf contract without protoc, and lists the files of the viewer.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost::Message;

const SERVICES: [&str; 4] = [
    "auditlog/v1/audit_log_service.proto",
    "auditlog/v1/erasure_service.proto",
    "auditlog/v1/history_service.proto",
    "auditlog/v1/integrity_service.proto",
];
const HEALTH: [&str; 1] = ["grpc/health/v1/health.proto"];
/// The content types of the viewer's files, by the ends of their names.
const CONTENT_TYPES: [(&str, &str); 5] = [
    ("css", "text/css; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("png", "image/png"),
    ("svg", "image/svg+xml; charset=utf-8"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=viewer");
    let viewer = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("viewer");
    let list = viewer_files(&viewer).map_err(|why| format!("{}: {why}", viewer.display()))?;
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("viewer.rs"), list)?;
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

/// A Rust expression that lists the files in `directory`: name, content type and content. Hidden files are left out.
fn viewer_files(directory: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let entries = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    files.sort();
    if !files.iter().any(|file| file.ends_with("index.html")) {
        return Err("index.html is missing".into());
    }
    let mut list = String::new();
    for file in &files {
        let name = file.file_name().and_then(OsStr::to_str).ok_or("a name is not UTF-8")?;
        if name.starts_with('.') {
            continue;
        }
        let end = name.rsplit('.').next().unwrap_or_default();
        let known = CONTENT_TYPES.iter().find(|(known, _)| *known == end);
        let (_, content_type) = known.ok_or_else(|| format!("{name} has no content type; build.rs lists them"))?;
        let path = file.to_str().ok_or("its path is not UTF-8")?;
        list += &format!("({name:?}, {content_type:?}, include_bytes!({path:?}) as &[u8]),\n");
    }
    Ok(format!("&[\n{list}]\n"))
}
