//! Holds the modules to the order of the map in `src/lib.rs`: a module uses those below it.

use std::fs;
use std::path::{Path, PathBuf};

/// From the top. A module may use what stands in later groups, and `grpc` what stands beside `rest`.
const LAYERS: [&[&str]; 13] = [
    &["cli"],
    &["app", "config"],
    &["rest"],
    &["grpc"],
    &["access", "catalogue", "ingest", "integrity", "marks", "query", "signer"],
    &["store"],
    &["error"],
    &["limits"],
    &["metrics"],
    &["telemetry"],
    &["files"],
    &["retry"],
    &["deadline"],
];
/// Below all.
const GROUND: &str = "domain";

fn layer(module: &str) -> usize {
    let found = LAYERS.iter().position(|layer| layer.contains(&module));
    found.unwrap_or_else(|| if module == GROUND { LAYERS.len() } else { panic!("{module} has no place on the map") })
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("src is there").map(|entry| entry.expect("an entry").path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    files.into_iter().chain(directories.iter().flat_map(|directory| sources(directory))).collect()
}

/// The modules that a source names by `crate::`, also within braces.
fn used(source: &str) -> Vec<String> {
    let code: String =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut used = Vec::new();
    for (place, _) in code.match_indices("crate::") {
        let rest = &code[place + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default().split(',').collect(),
            None => vec![rest],
        };
        used.extend(names.into_iter().map(|name| {
            name.trim().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect::<String>()
        }));
    }
    used
}

#[test]
fn modules_use_only_what_is_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for path in sources(&root) {
        let own = path.strip_prefix(&root).expect("below src").components().next().expect("a name");
        let own = own.as_os_str().to_str().expect("UTF-8").trim_end_matches(".rs").to_owned();
        if own == "main" || own == "lib" {
            continue;
        }
        let source = fs::read_to_string(&path).expect("a source file");
        for other in used(&source).into_iter().filter(|other| *other != own) {
            assert!(layer(&own) < layer(&other), "{} uses crate::{other}, which is not below {own}", path.display());
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} uses were found");
}

#[test]
fn only_the_store_names_sea_orm() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&root).into_iter().filter(|path| !path.starts_with(root.join("store"))) {
        let source = fs::read_to_string(&path).expect("a source file");
        assert!(!source.contains("sea_orm::"), "{} names sea_orm", path.display());
    }
}

#[test]
fn what_lies_below_knows_no_protocol() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let below = ["domain", "metrics", "error.rs", "store", "query", "ingest", "integrity", "signer"];
    let below = below.map(|name| root.join(name));
    let files = below.iter().flat_map(|path| if path.is_file() { vec![path.clone()] } else { sources(path) });
    for path in files {
        let source = fs::read_to_string(&path).expect("a source file");
        for protocol in ["tonic::", "axum::", "prost::", "http::"] {
            assert!(!source.contains(protocol), "{} names {protocol}", path.display());
        }
    }
}
