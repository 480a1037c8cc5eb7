//! Runs the documentation against real processes: the snippets of the public API documentation, with only host and key
//! replaced, and all blocks of the README and docs/.

mod blocks;
mod exempt;
mod expected;
mod programs;
mod reader;
mod whole;

use std::path::PathBuf;
use std::process::{Command, Output};

use blocks::Page;
pub use blocks::{Language, file};
pub use reader::{PROXIES, ROLES};
use serde_json::Value;

use crate::support::process::{create_key, output, program, text};
use crate::support::{Backend, Database, Process, on_every_database};

const HOST: &str = "https://api.freddy.aitronos.com";
const SNIPPETS: [&str; 4] = ["all_logs", "by_resource_type", "by_specific_resource", "by_date_range"];

/// The code blocks of the public documentation in one language.
fn documentation(language: &str) -> Vec<String> {
    let page = file("tests/data/list-audit-logs.md");
    let fences = page.split("```").skip(1).step_by(2);
    fences.filter_map(|block| block.strip_prefix(&format!("{language}\n"))).map(|code| code.trim().to_owned()).collect()
}

/// A service with the demo's entries, and a key for it.
fn started(database: &Database) -> (Process, String) {
    let key = create_key(&database.url, &["--organization", "org_abc123", "--scope", "read", "--scope", "write"]);
    let service = Process::serve(&database.url);
    let entries = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/demo.ndjson.gz");
    let endpoint = service.url("");
    let arguments = ["import", "--strict", "--endpoint", &endpoint, entries.to_str().expect("UTF-8")];
    let imported = output(arguments, &[("AUDITLOG_API_KEY", &key)]);
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    (service, key)
}

fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Checks the output of a snippet against the demo's entries.
fn check_printed(snippet: &str, printed: &str) {
    let expected = match snippet {
        "all_logs" => "Found 402 audit logs\n",
        "by_resource_type" => "Found 48 assistant changes",
        "by_specific_resource" => {
            "2025-01-20T10:30:00Z: updated\n - temperature: 0.7 → 0.9\n - tools.webSearch: False → True\n - instructions: \
             You are a helpful assistant. → You are a helpful customer support assistant.\n"
        }
        _ => "Found 4 logs in January 2025\n",
    };
    let (printed, expected) = (printed.to_lowercase(), expected.to_lowercase());
    assert!(printed.contains(&expected), "{snippet} printed {printed}");
    if snippet == "all_logs" {
        assert_eq!(printed.lines().count(), 21, "20 entries follow");
    }
}

on_every_database! {
    async fn curl_snippets_work(database: &Database) {
        let (service, key) = started(database);
        let Some(bash) = program(&["bash"], &["-c", "curl --version"]) else { return };
        let snippets = documentation("bash");
        assert_eq!(snippets.len(), SNIPPETS.len());
        for (snippet, name) in snippets.iter().zip(SNIPPETS) {
            // The page has lost the line break after each backslash.
            let script = snippet.replace(HOST, &service.url("")).replace("\\ -H", "\\\n  -H");
            let run = Command::new(bash).args(["-c", &script]).env("FREDDY_API_KEY", &key).output().expect("it runs");
            let page: Value = serde_json::from_str(&succeeded(run)).expect("JSON");
            let total = page["pagination"]["total"].as_u64().expect("a total");
            match name {
                "all_logs" => assert_eq!((total, page["auditLogs"].as_array().map(Vec::len)), (402, Some(20))),
                "by_resource_type" => assert_eq!(total, 48),
                "by_specific_resource" => assert_eq!((total, &page["auditLogs"][0]["id"]), (1, &Value::from("log_abc123"))),
                _ => assert_eq!(total, 4),
            }
        }
    }

    async fn python_snippets_work(database: &Database) {
        let (service, key) = started(database);
        let Some(python) = program(&["python3", "/usr/bin/python3"], &["-c", "import requests"]) else { return };
        let blocks = documentation("python");
        assert_eq!(blocks.len(), SNIPPETS.len());
        for (block, name) in blocks.iter().zip(SNIPPETS) {
            // The page has lost its line breaks, without which it is not valid Python. The file restores them.
            let snippet = file(&format!("tests/data/snippets/{name}.py"));
            let squeezed = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(squeezed(&snippet), squeezed(block), "{name} is the documentation's");
            let script = format!("import os\napi_key = os.environ['KEY']\n{}", snippet.replace(HOST, &service.url("")));
            let run = Command::new(python).args(["-c", &script]).env("KEY", &key).env("PYTHONIOENCODING", "utf-8").output();
            check_printed(name, &succeeded(run.expect("it runs")));
        }
    }

    async fn javascript_snippets_work(database: &Database) {
        let (service, key) = started(database);
        let Some(node) = program(&["node", "nodejs"], &["-e", "fetch"]) else { return };
        let snippets = documentation("javascript");
        assert_eq!(snippets.len(), SNIPPETS.len());
        for (snippet, name) in snippets.iter().zip(SNIPPETS) {
            let script = format!("const apiKey = process.env.KEY; {}", snippet.replace(HOST, &service.url("")));
            let run = Command::new(node).args(["--input-type=module", "-e", &script]).env("KEY", &key).output();
            check_printed(name, &succeeded(run.expect("it runs")));
        }
    }

    async fn the_three_error_bodies_are_those_of_the_documentation(database: &Database) {
        let (service, key) = started(database);
        let writer = create_key(&database.url, &["--organization", "org_abc123", "--scope", "write"]);
        let documented: Vec<Value> = documentation("json")
            .iter()
            .filter_map(|block| block.split_once('{').filter(|(status, _)| !status.is_empty()))
            .map(|(_, body)| serde_json::from_str(&format!("{{{body}")).expect("JSON"))
            .collect();
        assert_eq!(documented.len(), 3);
        let calls = [(404, "org_none", Some(&key)), (401, "org_abc123", None), (403, "org_abc123", Some(&writer))];
        for ((status, organization, key), documented) in calls.into_iter().zip(documented) {
            let mut request = reqwest::Client::new().get(service.url(&format!("/v1/{organization}/audit-logs")));
            if let Some(key) = key {
                request = request.bearer_auth(key);
            }
            let response = request.send().await.expect("an answer");
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.json::<Value>().await.expect("JSON"), documented);
        }
    }
}

/// Defines a test for each page, on each database.
macro_rules! pages {
    ($($name:ident: $path:literal,)+) => {
        const PAGES: &[&str] = &[$($path),+];

        on_every_database! {$(
            async fn $name(database: &Database) {
                reader::read(&Page::read($path), database);
            }
        )+}
    };
}

pages! {
    the_readme_runs: "README.md",
    the_leaf_format_runs: "docs/LEAF_FORMAT.md",
    the_architecture_runs: "docs/ARCHITECTURE.md",
    the_benchmarks_run: "docs/BENCHMARKS.md",
    the_audit_log_object_runs: "docs/audit-log-object.md",
    the_client_guide_runs: "docs/client-guide.md",
    the_erasure_page_runs: "docs/erasure.md",
    finding_things_runs: "docs/finding-things.md",
    the_gateway_runs: "docs/gateway.md",
    the_grpc_reference_runs: "docs/grpc.md",
    operations_run: "docs/OPERATIONS.md",
    the_postgresql_roles_are_run_elsewhere: "docs/postgresql-roles.md",
    the_proxies_are_run_elsewhere: "docs/proxies.md",
    the_resource_histories_run: "docs/resource-histories.md",
    the_rest_reference_runs: "docs/rest.md",
    the_torture_page_is_run_by_ci: "docs/torture.md",
    the_tamper_evidence_runs: "docs/tamper-evidence.md",
    signing_runs: "docs/signing.md",
    undoing_changes_runs: "docs/undoing-changes.md",
    the_viewer_page_has_nothing_to_run: "docs/viewer.md",
    verifying_runs: "docs/verifying.md",
}

/// The blocks of a page in one language.
pub fn blocks_of(path: &str, language: Language) -> Vec<String> {
    let blocks = Page::read(path).blocks.into_iter();
    blocks.filter(|block| block.language == language).map(|block| block.code).collect()
}

fn pages() -> Vec<Page> {
    PAGES.iter().map(|path| Page::read(path)).collect()
}
