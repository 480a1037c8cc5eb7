//! Checks the order of the modules in `src/lib.rs`: a module uses only modules below it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// From top to bottom. A module may use only modules of later groups.
const LAYERS: [&[&str]; 14] = [
    &["cli"],
    &["app", "config"],
    &["rest"],
    &["grpc"],
    &["access", "catalogue", "counts", "history", "ingest", "integrity", "query", "signer"],
    &["store"],
    &["error"],
    &["limits"],
    &["metrics"],
    &["telemetry"],
    &["files"],
    &["retry"],
    &["deadline"],
    &["positive_control"],
];
/// Below all groups.
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

/// The modules that a source names after `crate::`, also within braces.
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

/// The names of the types that a source defines, without its tests. Associated types have one name by design.
fn types(source: &str) -> impl Iterator<Item = &str> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub") || word.ends_with(')'));
        let is_type = match words.next()? {
            "struct" | "enum" | "trait" | "union" => true,
            keyword => keyword == "type" && !line.starts_with(' '),
        };
        let name = words.next()?.split(|letter: char| !letter.is_alphanumeric()).next()?;
        // A macro that defines types has a variable there.
        (is_type && !name.is_empty()).then_some(name)
    })
}

#[test]
fn no_two_types_have_one_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // The tables of sea-orm are all `Model` and `Column` to their macros.
    let own = sources(&root).into_iter().filter(|path| !path.starts_with(root.join("store/entities")));
    let mut defined: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in own {
        let source = fs::read_to_string(&path).expect("a source file");
        for name in types(&source) {
            if let Some(other) = defined.insert(name.to_owned(), path.clone()) {
                panic!("{name} is a type of {} and of {}", other.display(), path.display());
            }
        }
    }
    assert!(defined.len() > 200, "only {} types were found", defined.len());
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
fn lower_layers_use_no_protocol_crates() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let below = [
        "domain",
        "metrics",
        "error.rs",
        "limits.rs",
        "retry.rs",
        "deadline.rs",
        "files.rs",
        "store",
        "counts",
        "history",
        "query",
        "ingest",
        "integrity",
        "signer",
    ];
    let below = below.map(|name| root.join(name));
    let files = below.iter().flat_map(|path| if path.is_file() { vec![path.clone()] } else { sources(path) });
    for path in files {
        let source = fs::read_to_string(&path).expect("a source file");
        for protocol in ["tonic::", "axum::", "prost::", "http::"] {
            assert!(!source.contains(protocol), "{} names {protocol}", path.display());
        }
    }
}
