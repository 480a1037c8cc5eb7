//! The commands that a test cannot run as documented. Each has a reason and a check that replaces it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::blocks::{Block, Language, file};
use super::pages;
use crate::support::process::{output, text};

/// A command that is left out of its block.
struct Exempt {
    page: &'static str,
    command: &'static str,
    /// Why a test cannot run the command.
    because: &'static str,
    verify: fn(),
}

const COMMANDS: [Exempt; 10] = [
    Exempt {
        page: "README.md",
        command: "cargo run --release -- demo",
        because: "it builds the release profile, for minutes; tests/it/demo.rs runs the demo itself",
        verify: || {
            assert_eq!(binaries(), ["auditlog"], "`cargo run` has one binary to run");
            assert!(output(["help", "demo"], &[]).status.success());
        },
    },
    Exempt {
        page: "README.md",
        command: "cargo test --workspace",
        because: "it is the command that runs this test",
        verify: || {
            let ci = file(".ci/run");
            assert!(ci.lines().any(|line| line.starts_with("cargo test --workspace ")), ".ci/run runs it");
        },
    },
    Exempt {
        page: "README.md",
        command: "cargo install --path .",
        because: "it builds the release profile and writes to the home directory",
        verify: || assert_eq!(binaries(), ["auditlog"], "what it installs"),
    },
    Exempt {
        page: "docs/BENCHMARKS.md",
        command: "cargo bench --bench service -- --rows 1M",
        because: "it builds the release profile and measures for minutes",
        verify: || assert_eq!(targets("bench"), ["service"], "what it runs"),
    },
    Exempt {
        page: "docs/BENCHMARKS.md",
        command: "cargo bench --bench service -- --rows 10M --compare target/bench/1M.json",
        because: "it measures for half an hour, and compares with a run before",
        verify: || assert_eq!(targets("bench"), ["service"], "what it runs"),
    },
    Exempt {
        page: "docs/BENCHMARKS.md",
        command: "cargo bench --bench service -- --only earlier --earlier /path/to/auditlog",
        because: "it needs a program of an earlier build",
        verify: || assert_eq!(targets("bench"), ["service"], "what it runs"),
    },
    Exempt {
        page: "docs/BENCHMARKS.md",
        command: "cargo bench --bench service -- --rows 100k --only overload",
        because: "it builds the release profile and measures for minutes",
        verify: || assert_eq!(targets("bench"), ["service"], "what it runs"),
    },
    Exempt {
        page: "docs/BENCHMARKS.md",
        command: "cargo bench --bench service -- --rows 100k --only history",
        because: "it builds the release profile and measures for minutes",
        verify: || assert_eq!(targets("bench"), ["service"], "what it runs"),
    },
    Exempt {
        page: "docs/torture.md",
        command: "cargo test --test torture",
        because: "it takes minutes, and needs a machine for itself",
        verify: || {
            let full = file(".ci/full");
            assert!(
                full.lines().any(|line| line.starts_with("cargo test --locked --test torture -- ")),
                ".ci/full runs it"
            )
        },
    },
    Exempt {
        page: "docs/torture.md",
        command: "cargo test --test torture --features positive-controls -- --controls",
        because: "it builds with another feature",
        verify: || {
            let command = "cargo test --locked --test torture --features positive-controls -- --controls";
            assert!(file(".ci/full").lines().any(|line| line == command), ".ci/full runs it");
        },
    },
];

/// Blocks of `text` that show a diagram and not an output, each identified by one of its lines.
const DIAGRAMS: [(&str, &str); 4] = [
    ("docs/ARCHITECTURE.md", "┌─ rest ── translates"),
    ("docs/LEAF_FORMAT.md", "log-id   = 32 hex digits"),
    ("docs/LEAF_FORMAT.md", "for each field of the group that is present"),
    ("docs/LEAF_FORMAT.md", "for each change that records a group"),
];

fn binaries() -> Vec<String> {
    targets("bin")
}

/// The names of all targets of one kind in the workspace.
fn targets(kind: &str) -> Vec<String> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages").iter();
    let targets = packages.flat_map(|package| package["targets"].as_array().expect("targets"));
    let of_kind = targets.filter(|target| target["kind"][0] == kind);
    of_kind.map(|target| target["name"].as_str().expect("a name").to_owned()).collect()
}

/// Containers need a daemon, which CI does not have.
fn is_compose(line: &str) -> bool {
    line.starts_with("docker compose ")
}

/// Whether the test skips `line` of `page`.
pub fn command(page: &str, line: &str) -> bool {
    let line = line.trim();
    let named = |exempt: &Exempt| exempt.page == page && without_comment(line) == exempt.command;
    COMMANDS.iter().any(named) || is_compose(line)
}

/// Whether `block` of `page` is a diagram.
pub fn diagram(page: &str, block: &Block) -> bool {
    let named = |(at, line): &(&str, &str)| *at == page && block.code.contains(line);
    block.language == Language::Text && DIAGRAMS.iter().any(named)
}

fn without_comment(line: &str) -> &str {
    line.split(" #").next().unwrap_or_default().trim_end()
}

#[test]
fn commands_that_no_test_can_run_are_verified_otherwise() {
    let pages = pages();
    let lines = |path: &str| {
        let page = pages.iter().find(|page| page.path == path).expect("the page is there");
        page.blocks.iter().flat_map(|block| block.code.lines()).map(str::trim).collect::<Vec<_>>()
    };
    for Exempt { page, command, because, verify } in COMMANDS {
        let uses = lines(page).iter().filter(|line| without_comment(line) == command).count();
        assert_eq!(uses, 1, "{page} has {command}, which is exempt because {because}");
        verify();
    }
    for (page, line) in DIAGRAMS {
        assert_eq!(lines(page).iter().filter(|known| known.contains(line)).count(), 1, "{page} has {line}");
    }
    for page in &pages {
        for line in lines(&page.path).into_iter().filter(|line| is_compose(line)) {
            composed(&page.path, line);
        }
    }
}

/// Checks that the file and the subcommand in `line` exist.
fn composed(page: &str, line: &str) {
    let words: Vec<_> = without_comment(line).split_whitespace().collect();
    let after = |word: &str| words.iter().position(|known| *known == word).and_then(|place| words.get(place + 1));
    let compose = after("-f").copied().unwrap_or("docker-compose.yml");
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(compose).exists(), "{page}: {compose}, which {line} needs");
    // `auditlog` may be the service, the command, or the service followed by the command.
    let word = words.iter().skip_while(|word| **word != "auditlog").find(|word| **word != "auditlog");
    if let Some(subcommand) = word.filter(|word| !word.starts_with('-')) {
        let known = output(["help", subcommand], &[]);
        assert!(known.status.success(), "{page}: {line}: {}", text(&known.stderr));
    }
}
