//! The viewer in Chromium: `tests/viewer/browser` runs against a real process with the real trail. The unit tests of its
//! modules run in Node.js. `.ci/install` installs both.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::log::LOG_NAME;
use crate::support::process::{AUDITLOG, create_key, output, program, text, without_variables};
use crate::support::signer::new_key;
use crate::support::trail::{self, ORGANIZATION};
use crate::support::{Backend, Database, Process, on_every_database, say};

/// The entries of the trail that the smoke test imports. The whole suite has all of them.
const SMOKE_ENTRIES: usize = 12_000;

/// Node.js, if it understands the modules of the viewer, which no `package.json` describes.
const UNDERSTANDS_MODULES: &str = "import('./viewer/json.js')";
/// Node.js, if the packages of the suite are installed too.
const HAS_PACKAGES: &str = "import('./viewer/json.js').then(() => ['playwright-core', 'axe-core'].map(\
    (name) => require.resolve(name, { paths: ['tests/viewer'] })))";

/// Whether to run the whole suite, and not its smoke test.
fn is_whole() -> bool {
    let asked = std::env::var("AUDITLOG_TEST_BROWSER").unwrap_or_default();
    assert!(["", "full"].contains(&asked.as_str()), "AUDITLOG_TEST_BROWSER must be full or unset, got {asked}");
    asked == "full"
}

/// The file to import: the whole trail, or its beginning.
fn trail_of(database: &Database, is_whole: bool) -> PathBuf {
    if is_whole {
        return trail::path();
    }
    let beginning = database.directory.path().join("trail.ndjson");
    fs::write(&beginning, trail::lines()[..SMOKE_ENTRIES].join("\n")).expect("a file");
    beginning
}

/// A service that signs its logs, and the environment that `tests/viewer/browser/support.mjs` describes.
fn scene(database: &Database, is_whole: bool) -> (Process, Vec<(&'static str, String)>) {
    let key = create_key(&database.url, &["--organization", ORGANIZATION, "--scope", "read,verify"]);
    let writer_key = create_key(&database.url, &["--all-organizations", "--scope", "read,write,verify"]);
    let key_file = new_key(database, "log.key");
    let signing = ["--signing-key", key_file.to_str().expect("UTF-8"), "--log-name", LOG_NAME];
    let service = Process::serve_with(&database.url, &[&["--listen", "127.0.0.1:0"][..], &signing[..]].concat());
    let trail = trail_of(database, is_whole);
    let import = ["import", "--strict", "--endpoint", &service.url(""), trail.to_str().expect("UTF-8")];
    let imported = output(import, &[("AUDITLOG_API_KEY", &writer_key)]);
    assert!(imported.status.success(), "{}", text(&imported.stderr));
    let show = [&["signing-key", "show", "--organization", ORGANIZATION][..], &signing[..]].concat();
    let shown = output(show, &[("AUDITLOG_DATABASE_URL", &database.url)]);
    let verifier_key = text(&shown.stdout).split('\t').nth(1).expect("a verifier key").to_owned();
    let suite = if is_whole { "full" } else { "smoke" };
    let environment = vec![
        ("VIEWER_URL", service.url("")),
        ("VIEWER_ORGANIZATION", ORGANIZATION.to_owned()),
        ("VIEWER_KEY", key),
        ("VIEWER_WRITER_KEY", writer_key),
        ("VIEWER_VERIFIER_KEY", verifier_key),
        ("AUDITLOG", AUDITLOG.to_owned()),
        ("AUDITLOG_DATABASE_URL", database.url.clone()),
        ("SUITE", suite.to_owned()),
    ];
    (service, environment)
}

on_every_database! {
    async fn the_viewer_works_in_a_browser(database: &Database) {
        let Some(node) = program(&["node", "nodejs"], &["-e", HAS_PACKAGES]) else { return };
        let Some(chromium) = program(&["/usr/bin/chromium"], &["--version"]) else { return };
        let (_service, environment) = scene(database, is_whole());
        let failures = format!("{}/viewer-{:?}", env!("CARGO_TARGET_TMPDIR"), database.backend);
        let suite = without_variables(node)
            .args(["--test-reporter=tap", "tests/viewer/browser/suite.mjs"])
            .envs(environment)
            .env("CHROMIUM", chromium)
            .env("VIEWER_FAILURES", &failures)
            .output()
            .expect("it runs");
        let printed = text(&suite.stdout);
        assert!(suite.status.success(), "{printed}{}\npictures are in {failures}", text(&suite.stderr));
        for figure in printed.lines().filter_map(|line| line.strip_prefix("# figure: ")) {
            say(&format!("the viewer on {:?}: {figure}", database.backend));
        }
    }
}

#[test]
fn the_modules_of_the_viewer_pass_their_unit_tests() {
    let Some(node) = program(&["node", "nodejs"], &["-e", UNDERSTANDS_MODULES]) else { return };
    let files = fs::read_dir("tests/viewer/unit").expect("the tests are there");
    let files = files.map(|file| file.expect("a file").path());
    let tested = Command::new(node).arg("--test").args(files).output().expect("it runs");
    assert!(tested.status.success(), "{}{}", text(&tested.stdout), text(&tested.stderr));
}
