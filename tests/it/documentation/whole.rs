//! That the pages leave nothing out: every page is run, and every variable, code and field that there is stands
//! where a reader looks for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::blocks::{Language, file};
use super::{PAGES, pages};
use crate::support::process::{output, text};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_page_is_run() {
    let found = fs::read_dir(root().join("docs")).expect("docs is there").map(|page| page.expect("a page").path());
    let found = found.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut found: BTreeSet<_> =
        found.map(|path| path.strip_prefix(root()).expect("below").display().to_string()).collect();
    found.insert("README.md".to_owned());
    assert_eq!(found, PAGES.iter().map(|path| (*path).to_owned()).collect());
}

#[test]
fn every_language_of_a_client_is_shown() {
    let pages = pages();
    let readme = pages.iter().find(|page| page.path == "README.md").expect("the README");
    for language in [Language::Shell, Language::Python, Language::JavaScript, Language::Toml] {
        assert!(readme.blocks.iter().any(|block| block.language == language), "{language:?}");
    }
}

/// The variables that the help of each command names.
fn variables() -> BTreeSet<String> {
    fn collect(command: &[String], found: &mut BTreeSet<String>) {
        let help = output([&["help".to_owned()], command].concat(), &[]);
        let help = text(&help.stdout);
        let names = help.split(|letter: char| letter != '_' && !letter.is_ascii_uppercase());
        found.extend(names.filter(|name| name.starts_with("AUDITLOG_")).map(str::to_owned));
        let commands = help.split_once("Commands:\n").map_or("", |(_, rest)| rest);
        for line in commands.lines().take_while(|line| !line.is_empty()) {
            let name = line.strip_prefix("  ").and_then(|line| line.split(' ').next()).filter(|name| !name.is_empty());
            if let Some(name) = name.filter(|name| *name != "help") {
                collect(&[command, &[name.to_owned()]].concat(), found);
            }
        }
    }
    let mut found = BTreeSet::new();
    collect(&[], &mut found);
    found
}

#[test]
fn the_readme_has_every_variable_and_no_other() {
    let readme = file("README.md");
    let configuration = readme.split("\n## ").find(|part| part.starts_with("Configuration\n")).expect("the section");
    let names = configuration.split(|letter: char| letter != '_' && !letter.is_ascii_uppercase());
    let told: BTreeSet<_> = names.filter(|name| name.starts_with("AUDITLOG_")).map(str::to_owned).collect();
    let known = variables();
    assert!(known.len() > 20, "{known:?}");
    assert_eq!(told, known);
}

/// The string literals of `source` that are words of `letter` and `_`.
fn literals(source: &str, letter: fn(&char) -> bool) -> BTreeSet<&str> {
    let words = source.split('"').filter(|word| word.len() > 4);
    words.filter(|word| word.chars().all(|one| one == '_' || letter(&one))).collect()
}

#[test]
fn the_references_have_every_code() {
    let (envelope, status) = (file("src/rest/envelope.rs"), file("src/grpc/status.rs"));
    let lines: String = envelope.lines().filter(|line| line.contains("StatusCode::")).collect();
    let codes: BTreeSet<_> = literals(&lines, char::is_ascii_lowercase);
    let codes: Vec<_> = codes.into_iter().filter(|code| !code.ends_with("_error")).collect();
    let reasons = literals(&status, char::is_ascii_uppercase);
    assert!(codes.len() >= 19 && reasons.len() >= 15, "{codes:?} {reasons:?}");
    let (rest, grpc) = (file("docs/rest.md"), file("docs/grpc.md"));
    for code in codes {
        assert!(rest.contains(&format!("| `{code}` |")), "docs/rest.md says what {code} is");
    }
    for reason in reasons {
        assert!(grpc.contains(&format!("| `{reason}` |")), "docs/grpc.md says what {reason} is");
    }
}

#[test]
fn the_grpc_reference_has_every_call_and_field() {
    let reference = file("docs/grpc.md");
    let mut fields = 0;
    for proto in ["audit_log.proto", "audit_log_service.proto"] {
        let proto = file(&format!("proto/auditlog/v1/{proto}"));
        for line in proto.lines().map(str::trim).filter(|line| !line.starts_with("//") && line.contains(" = ")) {
            let name = line.split(" = ").next().and_then(|field| field.split(' ').next_back()).expect("a name");
            if name != "syntax" {
                assert!(reference.contains(&format!("`{name}`")), "docs/grpc.md tells of {name}");
                fields += 1;
            }
        }
        for call in proto.split("\n  rpc ").skip(1) {
            let name = call.split('(').next().expect("a name");
            assert!(reference.contains(&format!("## {name}\n")), "docs/grpc.md tells of {name}");
        }
    }
    assert!(fields > 60, "only {fields} fields were found");
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let directory = Path::new(&page.path).parent().expect("a directory");
        for target in page.text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap_or_default()) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            if path.starts_with("https://") {
                continue;
            }
            let path = if path.is_empty() { root().join(&page.path) } else { root().join(directory).join(path) };
            assert!(path.exists(), "{}: {target}", page.path);
            if !anchor.is_empty() {
                let text = fs::read_to_string(&path).expect("a page");
                let mut headings = text.lines().filter(|line| line.starts_with('#')).map(anchor_of);
                assert!(headings.any(|heading| heading == anchor), "{}: {target}", page.path);
            }
        }
    }
}

/// What a heading is called in a link.
fn anchor_of(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}
