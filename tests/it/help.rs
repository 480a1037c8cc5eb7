//! The help of the command line: examples, environment variables and completions.

use std::collections::BTreeSet;
use std::process::Command;

use clap::CommandFactory;

use crate::support::process::{ran, text};
use crate::support::{Backend, Database, Process, database, on_every_database};

/// Options for the connection, and options that all commands have.
const CONNECTION: [&str; 7] =
    ["api-key", "config", "database-connections", "database-url", "endpoint", "log", "organization"];
/// Commands whose `--organization` selects what they change. An environment variable must not set it.
const CHOOSING: [&str; 4] = ["import", "keys", "running-counts", "signing-key"];

/// Whether an option may come from the environment.
fn has_variable(command: &str, option: &str) -> bool {
    match (command, option) {
        ("serve" | "gateway", _) | ("signing-key", "signing-key" | "log-name") => true,
        (command, "organization") => !CHOOSING.contains(&command),
        (_, option) => CONNECTION.contains(&option),
    }
}

/// The commands without subcommands, each as its words.
fn leaves() -> Vec<Vec<String>> {
    fn below(command: &clap::Command, words: &[String], found: &mut Vec<Vec<String>>) {
        if !words.is_empty() && !command.has_subcommands() {
            found.push(words.to_vec());
        }
        for one in command.get_subcommands() {
            below(one, &[words, &[one.get_name().to_owned()]].concat(), found);
        }
    }
    let mut found = Vec::new();
    below(&auditlog::cli::Cli::command(), &[], &mut found);
    assert!(found.len() >= 18, "{found:?}");
    found
}

fn help(words: &[String]) -> String {
    let arguments: Vec<_> = words.iter().map(String::as_str).chain(["--help"]).collect();
    let (code, help, _) = ran(&arguments, &[]);
    assert_eq!(code, Some(0), "{words:?}");
    help
}

#[test]
fn every_command_has_examples() {
    for words in leaves() {
        let help = help(&words);
        let (_, examples) = help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{words:?} has none: {help}"));
        assert!(examples.contains(&format!("auditlog {}", words.join(" "))), "{words:?}: {examples}");
    }
}

#[test]
fn only_server_and_connection_options_have_environment_variables() {
    let mut with_variable = BTreeSet::new();
    for words in leaves() {
        let help = help(&words);
        let options: Vec<_> = help.split("\n      --").skip(1).collect();
        assert!(!options.is_empty(), "{help}");
        for option in options {
            let described = option.split_whitespace().collect::<Vec<_>>().join(" ");
            let name = described.split(' ').next().expect("a name");
            assert_eq!(described.contains("[env: AUDITLOG_"), has_variable(&words[0], name), "{words:?} --{described}");
            if CONNECTION.contains(&name) && described.contains("[env: AUDITLOG_") {
                with_variable.insert(name.to_owned());
            }
        }
    }
    assert_eq!(with_variable.iter().map(String::as_str).collect::<Vec<_>>(), CONNECTION, "there is no other");
}

#[test]
fn shells_complete_commands_and_options() {
    let directory = tempfile::tempdir_in(database::temporary()).expect("a directory");
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, stderr) = ran(&["completions", shell], &[]);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{shell}");
        for word in ["export", "catalogue", "resource-type", "ndjson"] {
            assert!(script.contains(word), "{shell} knows {word}");
        }
        std::fs::write(directory.path().join(shell), script).expect("a file");
    }
    let parsed = Command::new("bash").arg("-n").arg(directory.path().join("bash")).output().expect("bash runs");
    assert!(parsed.status.success() && parsed.stderr.is_empty(), "{}", text(&parsed.stderr));
    let complete = "source ./bash; COMP_WORDS=(auditlog exp); COMP_CWORD=1; _auditlog auditlog exp auditlog; echo ${COMPREPLY[@]}; \
                    COMP_WORDS=(auditlog export --form); COMP_CWORD=2; _auditlog auditlog --form export; echo ${COMPREPLY[@]}";
    let completed =
        Command::new("bash").args(["-c", complete]).current_dir(directory.path()).output().expect("bash runs");
    assert_eq!(text(&completed.stdout), "export\n--format\n", "{}", text(&completed.stderr));
    let (code, _, stderr) = ran(&["completions", "csh"], &[]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("[possible values: bash,"), "{stderr}");
}

on_every_database! {
    async fn the_health_command_reports_by_its_exit_code(database: &Database) {
        let service = Process::serve_with(&database.url, &["--listen", "127.0.0.1:0", "--drain-delay", "5s"]);
        let endpoint = service.url("");
        let health = || ran(&["health"], &[("AUDITLOG_ENDPOINT", &endpoint)]);
        assert_eq!(health(), (Some(0), "serving\n".to_owned(), String::new()));
        service.signal("TERM");
        let mut draining = health();
        for _ in 0..20 {
            if draining.0 == Some(0) {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                draining = health();
            }
        }
        assert_eq!((draining.0, draining.1.as_str()), (Some(1), ""));
        assert!(draining.2.contains(&format!("the service at {endpoint}/ is not serving: it is starting or draining")), "{}", draining.2);
        service.kill();
        let (code, stdout, stderr) = health();
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        assert!(stderr.contains(&format!("cannot reach the service at {endpoint}/: Connection refused")), "{stderr}");
        let (code, _, _) = ran(&["health", "--endpoint", "nowhere"], &[]);
        assert_eq!(code, Some(2));
    }
}
