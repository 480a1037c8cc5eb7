//! `auditlog erase`, and other commands on erased entries.

use std::process::Stdio;
use std::time::{Duration, Instant};

use auditlog::domain::{Clock, ResourceType};
use auditlog::store::Store;

use super::traces::traces;
use super::{ORG, USER, all, both, check_counts, eraser, erasure, four, of_user, person};
use crate::support::check_log::check_log;
use crate::support::database::execute;
use crate::support::ingest::{organization, start, write};
use crate::support::process::{auditlog, create_key, output, ran, text};
use crate::support::{Backend, Database, Process, on_every_database, say};

const WHY: [&str; 2] = ["--reason", "Request 4711"];

/// A service with a key of all scopes, and the environment of its clients.
fn served(database: &Database) -> (Process, [(&'static str, String); 3]) {
    let scopes = ["--scope", "read", "--scope", "write", "--scope", "erase"];
    let key = create_key(&database.url, &[&["--organization", ORG][..], &scopes].concat());
    let service = Process::serve(&database.url);
    let endpoint = service.url("");
    (service, [("AUDITLOG_ENDPOINT", endpoint), ("AUDITLOG_API_KEY", key), ("AUDITLOG_ORGANIZATION", ORG.to_owned())])
}

fn run_command(arguments: &[&str], variables: &[(&'static str, String); 3]) -> (Option<i32>, String, String) {
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    ran(arguments, &variables)
}

async fn erased(store: &Store) -> usize {
    all(store, ORG).await.iter().map(|entry| entry.erased.groups().count()).sum()
}

on_every_database! {
    async fn a_tampered_entry_is_kept_and_the_rest_is_reported_as_erased(database: &Database) {
        let store = database.store().await;
        four(&start(&store, Clock::system())).await;
        let (_service, variables) = served(database);
        execute(database, "UPDATE audit_logs SET user_name = 'Eve' WHERE id = 'log_1'").await;
        let (code, stdout, stderr) = run_command(&[&["erase"], &WHY[..], &["--user", "ada", "--yes"]].concat(), &variables);
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        let so_far = "erased 3 groups of values, left: 1 group of values of 1 entry; the rest was tampered with and stays";
        assert!(stderr.contains(so_far), "{stderr}");
        assert_eq!(erased(&store).await, 3);
    }

    async fn the_command_shows_asks_and_erases(database: &Database) {
        let store = database.store().await;
        four(&start(&store, Clock::system())).await;
        let (_service, variables) = served(database);
        let erase = |more: &[&str]| run_command(&[&["erase"], &WHY[..], more].concat(), &variables);
        let (code, stdout, _) = erase(&["--user", "ada", "--dry-run"]);
        assert_eq!((code, stdout.as_str()), (Some(0), "would erase 4 groups of values of 3 entries\n"));
        let (code, stdout, stderr) = erase(&["--user", "ada"]);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "nobody is there to be asked");
        assert!(stderr.contains("this would erase 4 groups of values of 3 entries of org_a forever; confirm with --yes"), "{stderr}");
        assert_eq!(erased(&store).await, 0);
        let (code, stdout, _) = erase(&["--entry", "log_1", "--entry", "log_4", "--groups", "content", "--yes"]);
        assert_eq!((code, stdout.as_str()), (Some(0), "erased 2 groups of values of 2 entries, recorded as number 5\n"));
        let (code, stdout, stderr) = erase(&["--user", "ada", "--yes"]);
        assert_eq!((code, stdout.as_str()), (Some(0), "erased 4 groups of values of 3 entries, recorded as numbers 6 to 7\n"));
        assert_eq!(stderr.contains("VACUUM FULL audit_logs"), database.backend == Backend::Postgres, "{stderr}");
        // Nothing is left to erase, so the command asks no confirmation.
        let (code, stdout, _) = erase(&["--user", "ada"]);
        assert_eq!((code, stdout.as_str()), (Some(0), "nothing is left to erase\n"));
        for (arguments, code, why) in [
            (&["--entry", "log_none", "--yes"][..], 1, "entries.ids[0]: there is no entry log_none"),
            (&["--entry", "auditlog:erasure:1", "--yes"], 1, "those are never erased"),
            (&["--entry", "log_1", "--groups", "facts", "--yes"], 1, "facts are never erased"),
            (&["--yes"], 2, "<--entry <ID>|--user <ID>>"),
            (&["--user", "ada", "--entry", "log_1", "--yes"], 2, "cannot be used with"),
            (&["--user", "ada", "--dry-run", "--yes"], 2, "cannot be used with"),
        ] {
            let (ended, stdout, stderr) = erase(arguments);
            assert_eq!((ended, stdout.as_str()), (Some(code), ""), "{arguments:?}: {stderr}");
            assert!(stderr.contains(why), "{arguments:?}: {stderr}");
        }
        let (code, _, stderr) = run_command(&["erase", "--user", "ada", "--yes"], &variables);
        assert!(code == Some(2) && stderr.contains("--reason"), "{stderr}");
        check_log(&store, ORG).await;
    }

    async fn an_erasure_interrupted_by_a_kill_keeps_the_log_consistent_and_can_be_repeated(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        for first in (0..12_000).step_by(500) {
            let entries = (first..first + 500).map(|number| person(&format!("log_{number}"), "ada", (USER, "ada"), "Zq_lovelace"));
            write(&ingest, ORG, entries.collect()).await.expect("written");
        }
        drop(ingest);
        let mut killed = 0;
        for _ in 0..4 {
            let (service, variables) = served(database);
            let head = store.head(&organization(ORG)).await.expect("read").expect("a head");
            let mut command = auditlog();
            command.args(["erase", "--user", "ada", "--yes"]).args(WHY).envs(variables.clone()).stdin(Stdio::null());
            let mut erasing = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
            let begun = Instant::now();
            while store.head(&organization(ORG)).await.expect("read") == Some(head) && begun.elapsed() < Duration::from_secs(20) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
            service.kill();
            erasing.kill().expect("it is killed");
            erasing.wait().expect("it ends");
            check_log(&store, ORG).await;
            killed += usize::from(erased(&store).await < 24_000);
        }
        say(&format!("{:?}: an erasure was killed {killed} times, {} groups were gone then", database.backend, erased(&store).await));
        assert!(killed > 0, "it was killed in the middle");
        let (_service, variables) = served(database);
        let (code, stdout, stderr) = run_command(&["erase", "--user", "ada", "--yes", WHY[0], WHY[1]], &variables);
        assert!(code == Some(0) && stdout.contains("recorded as numbers ") | stdout.contains("nothing is left"), "{stdout}{stderr}");
        assert_eq!(erased(&store).await, 24_000);
        check_log(&store, ORG).await;
        check_counts(&store).await;
        if database.backend == Backend::Sqlite {
            assert_eq!(traces(database, &[b"Zq_lovelace".to_vec()]).await, []);
        }
    }

    async fn read_commands_and_imports_handle_erased_entries(database: &Database) {
        let store = database.store().await;
        four(&start(&store, Clock::system())).await;
        eraser(&store).erase(erasure(of_user("ada"), both())).await.expect("erased");
        let (_service, variables) = served(database);
        let (_, entry, _) = run_command(&["get", "log_2"], &variables);
        assert!(entry.contains("erased             actor, content\n") && !entry.contains("two"), "{entry}");
        let (_, list, _) = run_command(&["list"], &variables);
        let lines: Vec<_> = list.lines().collect();
        let under = |id: &str| lines.iter().position(|line| line.ends_with(id)).and_then(|place| lines.get(place + 1)).copied();
        assert_eq!(under("log_2"), Some("    erased: actor, content"), "{list}");
        assert_eq!(under("log_1"), Some("    erased: actor"), "{list}");
        assert_eq!(under("log_4"), Some("    field_four: \"old four\" → [\"new four\"]"), "{list}");
        let (_, csv, _) = run_command(&["export", "--format", "csv"], &variables);
        assert!(csv.contains("\"log_2\"") && csv.lines().any(|line| line.starts_with("\"log_2\"") && line.ends_with("\"actor content\"")), "{csv}");
        let (_, trail, _) = run_command(&["export"], &variables);
        let line = trail.lines().find(|line| line.contains("\"log_2\"")).expect("a line");
        assert!(line.contains(r#""metadata":{"ipAddress":null,"userAgent":null,"source":null},"sequence":2,"recordedAt":""#), "{line}");
        assert!(line.contains(r#","erased":["actor","content"],"leafHash":""#), "{line}");
        // The same log already has the entries. Clients cannot write the entries of the service itself.
        let file = database.directory.path().join("trail.ndjson");
        std::fs::write(&file, &trail).expect("a file");
        let file = file.to_str().expect("UTF-8");
        let (code, stdout, stderr) = run_command(&["import", file], &variables);
        assert!(code == Some(3) && stdout.starts_with("0 written, 4 already there, 2 skipped"), "{stdout}{stderr}");
        assert!(stderr.contains("3 entries had lost values before the export; the new entries do not show that"), "{stderr}");
        assert_eq!(stderr.matches("must not start with auditlog:").count(), 2, "{stderr}");
        // Another log gets the facts and the remaining values.
        let other = create_key(&database.url, &["--organization", "org_b", "--scope", "write", "--scope", "read"]);
        let variables = [variables[0].clone(), ("AUDITLOG_API_KEY", other), ("AUDITLOG_ORGANIZATION", "org_b".to_owned())];
        let (code, stdout, stderr) = run_command(&["import", file, "--organization", "org_b"], &variables);
        assert!(code == Some(3) && stdout.starts_with("4 written, 0 already there, 2 skipped"), "{stdout}{stderr}");
        let (_, entry, _) = run_command(&["get", "log_1"], &variables);
        assert!(entry.contains("field_one") && entry.contains("userId             ada\n") && !entry.contains("userName"), "{entry}");
        // A writer must not send an erased entry.
        let body = serde_json::json!({"auditLogs": [serde_json::from_str::<serde_json::Value>(line).expect("JSON")]});
        let posted = reqwest::Client::new().post(format!("{}/v1/org_b/audit-logs", variables[0].1)).bearer_auth(&variables[1].1);
        let answer = posted.body(body.to_string()).header("content-type", "application/json").send().await.expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("text"));
        assert!(status == 400 && text.contains("auditLogs[0].erased: is only in responses; leave it out of a new entry"), "{text}");
    }

    async fn service_logs_never_show_erased_values(database: &Database) {
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        write(&ingest, ORG, vec![person("log_1", "ada", (ResourceType(3), "rule_1"), "Zq_lovelace")]).await.expect("written");
        let scopes = ["--organization", ORG, "--scope", "read", "--scope", "write", "--scope", "erase"];
        let key = create_key(&database.url, &scopes);
        let mut command = auditlog();
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "trace"]).env("AUDITLOG_DATABASE_URL", &database.url);
        let service = Process::spawn(command);
        let variables = [("AUDITLOG_ENDPOINT", service.url("")), ("AUDITLOG_API_KEY", key), ("AUDITLOG_ORGANIZATION", ORG.to_owned())];
        for arguments in [&["get", "log_1"][..], &["erase", "--entry", "log_1", WHY[0], WHY[1], "--yes"], &["erase", "--user", "ada", WHY[0], WHY[1], "--yes"], &["list"]] {
            let (code, _, stderr) = run_command(arguments, &variables);
            assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        }
        service.signal("TERM");
        let mut logged = service.said.clone();
        while let Ok(line) = service.log.recv_timeout(Duration::from_secs(10)) {
            logged.push(line);
        }
        assert!(logged.len() > 50 && logged.iter().any(|line| line.contains("\"erased\"")), "{} lines", logged.len());
        for secret in ["Zq_lovelace", variables[1].1.as_str(), "lovelace"] {
            let found = logged.iter().find(|line| line.contains(secret));
            assert_eq!(found, None, "a log tells {secret}");
        }
    }

    async fn the_type_and_action_of_the_services_own_entries_cannot_be_removed(database: &Database) {
        database.store().await.close().await;
        for (kind, name, named) in [("resource-type", "organization", "resource type"), ("action", "updated", "action")] {
            let removed = output(["catalogue", "remove", kind, name], &[("AUDITLOG_DATABASE_URL", &database.url)]);
            assert_eq!(removed.status.code(), Some(1));
            let stderr = text(&removed.stderr);
            let expected = format!("{name} cannot be removed: entries of the service itself have this {named}");
            assert!(stderr.contains(&expected), "{stderr}");
        }
        let store = database.store().await;
        four(&start(&store, Clock::system())).await;
        eraser(&store).erase(erasure(of_user("ada"), both())).await.expect("erased");
    }
}
