//! Checks that the pages are complete: every page is tested, and every variable, code and field is documented in its
//! reference.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use auditlog::error::Reason;
use tonic::Code;

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

/// The environment variables in the help of each command.
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
    let documented: BTreeSet<_> = names.filter(|name| name.starts_with("AUDITLOG_")).map(str::to_owned).collect();
    let known = variables();
    assert!(known.len() > 20, "{known:?}");
    assert_eq!(documented, known);
}

/// Reasons that only gRPC returns. `REST_ALONE` lists those that only REST returns.
const GRPC_ALONE: [Reason; 2] = [Reason::TamperedAuditLog, Reason::ErasureUnavailable];
const REST_ALONE: [Reason; 3] = [Reason::UnknownParameter, Reason::MethodNotAllowed, Reason::UnsupportedMediaType];

fn reasons_without(others: &[Reason]) -> impl Iterator<Item = Reason> {
    Reason::ALL.iter().copied().filter(|reason| !others.contains(reason))
}

/// The name of a gRPC code, for example `NOT_FOUND`.
fn code_name(number: i32) -> String {
    let mut name = String::new();
    for letter in format!("{:?}", Code::from(number)).chars() {
        let word_begins = letter.is_ascii_uppercase() && !name.is_empty();
        name.extend(word_begins.then_some('_').into_iter().chain(letter.to_uppercase()));
    }
    name
}

/// The cells of the table in `page` that starts with `head`, each row in the order of `columns`.
fn table<const N: usize>(page: &str, head: &str, columns: [usize; N]) -> BTreeSet<[String; N]> {
    let page = file(page);
    let rows = page.lines().skip_while(|line| !line.starts_with(head)).skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        columns.map(|column| cells[column].to_owned())
    })
    .collect()
}

#[test]
fn the_references_have_every_reason_as_it_is_sent() {
    let grpc = reasons_without(&REST_ALONE).map(|reason| {
        [format!("`{}`", reason.name()), code_name(reason.grpc_code()), reason.http_status().to_string()]
    });
    assert_eq!(table("docs/grpc.md", "| reason | code |", [0, 1, 3]), grpc.collect());
    let rest = reasons_without(&GRPC_ALONE).map(|reason| {
        [format!("`{}`", reason.rest_code()), reason.http_status().to_string(), reason.rest_type().to_owned()]
    });
    assert_eq!(table("docs/rest.md", "| code | status | type |", [0, 1, 2]), rest.collect());
    for reason in Reason::ALL {
        assert_eq!(reason.name().to_lowercase(), reason.rest_code(), "the code of REST in capitals");
        assert_eq!(Reason::parse(reason.name()), Some(*reason));
    }
}

#[test]
fn the_contract_has_every_reason_and_its_code() {
    let words =
        |text: &str| text.split_whitespace().filter(|word| *word != "//").map(str::to_owned).collect::<Vec<_>>();
    let service = file("proto/auditlog/v1/audit_log_service.proto");
    let list =
        service.split_once("whose reason is one of").and_then(|(_, rest)| rest.split_once('.')).expect("a list").0;
    let listed = words(list).iter().map(|word| word.trim_end_matches(',').to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(listed, reasons_without(&REST_ALONE).map(|reason| reason.name().to_owned()).collect());
    let codes: BTreeSet<_> = (0..17).map(code_name).collect();
    let mut pairs = 0;
    for proto in [
        "audit_log.proto",
        "audit_log_service.proto",
        "erasure_service.proto",
        "history_service.proto",
        "integrity_service.proto",
    ] {
        for pair in words(&file(&format!("proto/auditlog/v1/{proto}"))).windows(2) {
            // For example `NOT_FOUND (AUDIT_LOG_NOT_FOUND)`.
            if let Some(name) = pair[1].strip_prefix('(').filter(|_| codes.contains(&pair[0])) {
                let name = name.trim_end_matches(|letter: char| letter.is_ascii_punctuation());
                let reason = Reason::parse(name).unwrap_or_else(|| panic!("{proto}: {name} is a reason"));
                assert_eq!(code_name(reason.grpc_code()), pair[0], "{proto}: {name}");
                pairs += 1;
            }
        }
    }
    assert!(pairs >= 8, "only {pairs} were found");
}

#[test]
fn the_grpc_reference_has_every_call_and_field() {
    let reference = file("docs/grpc.md");
    let mut fields = 0;
    for proto in ["audit_log.proto", "audit_log_service.proto", "history_service.proto"] {
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

/// The link anchor of a heading.
fn anchor_of(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}
