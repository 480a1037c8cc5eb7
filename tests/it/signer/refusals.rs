//! Logs that the signer refuses to sign, while all other logs continue.

use auditlog::domain::hex;
use auditlog_verify::merkle::{CompactRange, Hash};

use super::*;
use crate::support::administration::{SERVICE, allow, kinds, recorded, refuse};
use crate::support::database::execute;
use crate::support::process::create_key;

/// A copy of `database`, like a backup. The database must not be in use.
async fn backup(database: &Database) -> Database {
    let mut copy = Database::fresh(database.backend).await.expect("a database");
    match database.backend {
        Backend::Sqlite => {
            let path = |database: &Database| database.url.trim_start_matches("sqlite://").to_owned();
            std::fs::copy(path(database), path(&copy)).expect("a copy");
        }
        Backend::Postgres => {
            let (server, name) = database.url.rsplit_once('/').expect("a name");
            let administration =
                Database { url: format!("{server}/postgres"), ..Database::fresh(database.backend).await.expect("one") };
            execute(&administration, &format!("CREATE DATABASE {name}_backup TEMPLATE {name}")).await;
            copy.url = format!("{}_backup", database.url);
        }
    }
    copy
}

fn bytes(database: &Database, hex: &str) -> String {
    match database.backend {
        Backend::Sqlite => format!("x'{hex}'"),
        Backend::Postgres => format!("decode('{hex}', 'hex')"),
    }
}

/// Copies the tables, so that they can be restored.
async fn keep(database: &Database) {
    for table in ["organizations", "audit_logs", "log_tiles", "checkpoints"] {
        execute(database, &format!("DROP TABLE IF EXISTS kept_{table}")).await;
        execute(database, &format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await;
    }
}

async fn put_back(database: &Database, tables: &[&str]) {
    for table in tables {
        execute(database, &format!("DELETE FROM {table}")).await;
        execute(database, &format!("INSERT INTO {table} SELECT * FROM kept_{table}")).await;
    }
}

const TABLES: [&str; 4] = ["organizations", "audit_logs", "log_tiles", "checkpoints"];

/// Statements that overwrite the log from entry 257 to `signed`, which was signed. The signer reads only some tiles for
/// the roots of `signed` entries and of all entries, and these stay correct. The tiles in between contradict each
/// other.
async fn forged(database: &Database, store: &Store, signed: usize) -> Vec<String> {
    let entries = store.hashed_entries(&organization("org"), 0, i64::MAX, 10_000).await.expect("read");
    let mut leaves: Vec<_> = entries.into_iter().map(|sealed| sealed.leaf).collect();
    leaves[256..signed].iter_mut().for_each(|leaf| *leaf = Hash::of_node(*leaf, *leaf));
    let mut edge = CompactRange::default();
    let completed = leaves.iter().flat_map(|leaf| edge.append(*leaf)).collect::<Vec<_>>();
    let row: Vec<_> = completed.iter().filter(|node| node.tile().level == 1).flat_map(|node| node.hash.0).collect();
    let blob = |of: &[u8]| bytes(database, &hex(of));
    let mut statements: Vec<_> = (257..=signed)
        .map(|seq| format!("UPDATE audit_logs SET leaf_hash = {} WHERE seq = {seq}", blob(&leaves[seq - 1].0)))
        .collect();
    statements.push(format!("UPDATE log_tiles SET hashes = {} WHERE level = 1", blob(&row)));
    statements.push(format!(
        "UPDATE organizations SET edge = {}, root = {}",
        blob(&edge.bytes()),
        blob(&edge.root().0)
    ));
    statements
}

on_every_database! {
    async fn contradictory_tiles_do_not_lead_to_two_signed_histories(database: &Database) {
        let (store, key_file) = (database.store().await, new_key(database, "key"));
        let ingest = start(&store, Clock::system());
        append(&ingest, "org", 0, 505).await;
        let task = Task::start(&store, &ingest, &key_file);
        let before = signed_up_to(&store, "org", 505).await;
        task.end().await;
        append(&ingest, "org", 505, 95).await;
        keep(database).await;
        execute(database, &forged(database, &store, 505).await.join(";")).await;
        let mut task = Task::start(&store, &ingest, &key_file);
        task.says(false).await;
        assert_eq!(signed(&store, "org").await, Some(before));
        put_back(database, &TABLES).await;
        signed_up_to(&store, "org", 600).await;
        task.end().await;
    }

    async fn a_restored_database_is_not_signed_until_that_is_acknowledged(database: &Database) {
        let key_file = new_key(database, "key");
        let api_key = create_key(&database.url, &["--organization", "org", "--scope", "read", "--scope", "write"]);
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        let service = serve(database, &key_file);
        append(&ingest, "org", 0, 5).await;
        signed_up_to(&store, "org", 5).await;
        signed_up_to(&store, SERVICE, 1).await;
        assert_eq!(service.terminate(), Some(0));
        drop(ingest);
        store.close().await;
        let yesterdays = backup(database).await;
        let store = database.store().await;
        let ingest = start(&store, Clock::system());
        let service = serve(database, &key_file);
        append(&ingest, "org", 5, 5).await;
        let given_up = signed_up_to(&store, "org", 10).await;
        drop(service);

        let store = yesterdays.store().await;
        let service = serve(&yesterdays, &key_file);
        let line = logged_line(&service, "it was signed with 10 entries and has 5");
        assert!(line.contains("acknowledge-rollback"), "{line}");
        assert_eq!((health(&service.url(""), "").await, health(&service.url(""), PROOFS).await), (SERVING, NOT_SERVING));
        // Longer than the signed size, with different entries.
        let http = reqwest::Client::new();
        for number in 0..8 {
            let body = serde_json::json!({"auditLogs": [{"id": format!("new_{number}"), "resourceType": "rule", "resourceId": "r", "action": "created", "userId": "u"}]});
            let written = http.post(service.url("/v1/org/audit-logs")).bearer_auth(&api_key).json(&body).send().await;
            assert_eq!(written.expect("an answer").status().as_u16(), 201);
        }
        logged_line(&service, "its first 10 entries are not those that were signed");
        assert_eq!(signed(&store, "org").await.expect("the old one").size, 5);

        let (key_file, url) = (key_file.to_str().expect("UTF-8"), yesterdays.url.as_str());
        let environment = [("AUDITLOG_SIGNING_KEY", key_file), ("AUDITLOG_LOG_NAME", LOG_NAME), ("AUDITLOG_DATABASE_URL", url)];
        let acknowledge = |arguments: &[&str]| ran(&[&["signing-key", "acknowledge-rollback"], arguments].concat(), &environment);
        let unsure = acknowledge(&["--all"]);
        assert_eq!(unsure.0, Some(2), "{unsure:?}");
        assert!(unsure.1.contains(&format!("signed, according to the state file: 10 entries, root {}", given_up.root)), "{unsure:?}");
        assert!(unsure.1.contains("in the database now: 13 entries"), "{unsure:?}");
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(health(&service.url(""), PROOFS).await, NOT_SERVING);
        let (code, _, stderr) = acknowledge(&["--organization", "org", "--yes"]);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains("a rollback is acknowledged"), "{stderr}");
        assert_eq!(kinds(&store).await, ["key-created", "rollback-acknowledged"]);
        signed_up_to(&store, "org", 13).await;
        until("it serves proofs", async || (health(&service.url(""), PROOFS).await == SERVING).then_some(())).await;
        assert!(acknowledge(&["--all", "--yes"]).2.contains("nothing to give up"));
    }

    async fn an_inconsistent_log_is_not_signed(database: &Database) {
        let (store, key_file) = (database.store().await, new_key(database, "key"));
        let ingest = start(&store, Clock::system());
        append(&ingest, "org", 0, 290).await;
        let zeros = bytes(database, &"00".repeat(32));
        let as_long = match database.backend {
            Backend::Sqlite => "zeroblob(length(edge))",
            Backend::Postgres => "decode(repeat('00', length(edge)), 'hex')",
        };
        let cases = [
            format!("UPDATE organizations SET edge = {as_long}"),
            format!("UPDATE organizations SET root = {zeros}"),
            format!("UPDATE organizations SET edge = {zeros}"),
            format!("UPDATE log_tiles SET hashes = {zeros} WHERE level = 1"),
            "DELETE FROM log_tiles WHERE level = 1".to_owned(),
            format!("UPDATE audit_logs SET leaf_hash = {zeros} WHERE seq = 270"),
            format!("UPDATE audit_logs SET leaf_hash = {zeros} WHERE seq = (SELECT head_seq FROM organizations)"),
            "DELETE FROM audit_logs WHERE seq = 280".to_owned(),
            "DELETE FROM audit_logs WHERE seq = (SELECT head_seq FROM organizations)".to_owned(),
            "UPDATE organizations SET head_seq = head_seq - 2".to_owned(),
            "UPDATE organizations SET head_seq = head_seq + 1".to_owned(),
            "UPDATE organizations SET log_id = 'ffffffffffffffffffffffffffffffff'".to_owned(),
            "DELETE FROM organizations".to_owned(),
            format!("UPDATE checkpoints SET root = {zeros}"),
            "UPDATE checkpoints SET size = size + 1000".to_owned(),
            "UPDATE checkpoints SET note = 'other.example.com/log'".to_owned(),
        ];
        let mut size = 290;
        for case in cases {
            let task = Task::start(&store, &ingest, &key_file);
            signed_up_to(&store, "org", size).await;
            task.end().await;
            append(&ingest, "org", size, 1).await;
            size += 1;
            keep(database).await;
            execute(database, &case).await;
            let before = signed(&store, "org").await;
            let mut task = Task::start(&store, &ingest, &key_file);
            task.says(false).await;
            assert_eq!(signed(&store, "org").await, before, "{case}");
            task.end().await;
            put_back(database, &TABLES).await;
            let mut task = Task::start(&store, &ingest, &key_file);
            task.says(true).await;
            assert_eq!(signed(&store, "org").await.map(|one| one.size), Some(size), "{case}");
            task.end().await;
        }
    }

    async fn the_state_file_suffices_and_the_database_alone_does_not(database: &Database) {
        let (store, key_file) = (database.store().await, new_key(database, "key"));
        let state = database.directory.path().join("key.state");
        let ingest = start(&store, Clock::system());
        append(&ingest, "org", 0, 20).await;
        keep(database).await;
        append(&ingest, "org", 20, 20).await;
        let mut task = Task::start(&store, &ingest, &key_file);
        signed_up_to(&store, "org", 40).await;
        task.says(true).await;
        task.end().await;
        let remembered = std::fs::read(&state).expect("it remembers");
        // Keeps the state file but restores an older log.
        put_back(database, &["organizations", "audit_logs"]).await;
        execute(database, "DELETE FROM checkpoints").await;
        let mut task = Task::start(&store, &ingest, &key_file);
        task.says(false).await;
        task.end().await;
        assert_eq!(std::fs::read(&state).expect("it is there"), remembered);
        // Without both, nothing shows that a checkpoint was ever signed.
        std::fs::remove_file(&state).expect("it is lost");
        let mut task = Task::start(&store, &ingest, &key_file);
        task.says(true).await;
        task.end().await;
        let checkpoint = signed(&store, "org").await.expect("a checkpoint");
        assert_eq!(checkpoint.size, 20);
        assert!(std::fs::read_to_string(&state).expect("it is there").contains(" 20 "));
        // With only the database, the signer stops, although nothing contradicts it.
        std::fs::remove_file(&state).expect("it is lost");
        append(&ingest, "org", 40, 1).await;
        let mut task = Task::start(&store, &ingest, &key_file);
        task.says(false).await;
        task.end().await;
        assert!(!state.exists());
        assert_eq!(signed(&store, "org").await, Some(checkpoint));
    }

    async fn a_lost_state_file_stops_signing_until_the_database_is_trusted(database: &Database) {
        let (store, key_file) = (database.store().await, new_key(database, "key"));
        let state = database.directory.path().join("key.state");
        let ingest = start(&store, Clock::system());
        for name in ["org_a", "org_b"] {
            append(&ingest, name, 0, 5).await;
        }
        let service = serve(database, &key_file);
        let before = [signed_up_to(&store, "org_a", 5).await, signed_up_to(&store, "org_b", 5).await];
        std::fs::remove_file(&state).expect("it is lost");
        let line = logged_line(&service, "the file beside the key that remembers what was signed is not there");
        assert!(line.contains("acknowledge-rollback --all") && line.contains("key.state"), "{line}");
        append(&ingest, "org_a", 5, 1).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(signed(&store, "org_a").await.as_ref(), Some(&before[0]));
        assert_eq!(health(&service.url(""), PROOFS).await, NOT_SERVING);

        let environment = [("AUDITLOG_SIGNING_KEY", key_file.to_str().expect("UTF-8")), ("AUDITLOG_LOG_NAME", LOG_NAME), ("AUDITLOG_DATABASE_URL", &database.url)];
        let acknowledge = |arguments: &[&str]| ran(&[&["signing-key", "acknowledge-rollback"], arguments].concat(), &environment);
        let (code, _, stderr) = acknowledge(&["--organization", "org_a", "--yes"]);
        assert!(code == Some(1) && stderr.contains("give --all"), "{stderr}");
        assert!(!state.exists());
        let (code, shown, stderr) = acknowledge(&["--all", "--yes"]);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(shown.contains(&format!("signed, according to the database: 5 entries, root {}", before[0].root)), "{shown}");
        assert!(stderr.contains("the signed state in the database is accepted") && !stderr.contains("given up"), "{stderr}");
        for (kind, facts) in recorded(&store).await {
            let (findings, state) = (&facts[2].1, &facts[3].1);
            assert_eq!((kind.as_str(), findings.as_str(), state.as_str()), ("rollback-acknowledged", "[\"state_missing\"]", "null"));
        }
        assert_eq!(kinds(&store).await.len(), 2, "one for each log");
        let after = signed_up_to(&store, "org_a", 6).await;
        check_extends(&store, "org_a", &before[0]).await;
        assert_eq!((after.size, signed(&store, "org_b").await.as_ref()), (6, Some(&before[1])));
        until("it serves proofs", async || (health(&service.url(""), PROOFS).await == SERVING).then_some(())).await;
    }

    async fn another_key_or_log_name_does_not_sign_until_acknowledged(database: &Database) {
        let (store, key_file, other) = (database.store().await, new_key(database, "key"), new_key(database, "other"));
        let ingest = start(&store, Clock::system());
        append(&ingest, "org", 0, 2).await;
        let task = Task::start(&store, &ingest, &key_file);
        let before = signed_up_to(&store, "org", 2).await;
        task.end().await;
        append(&ingest, "org", 2, 1).await;
        let mut task = Task::start(&store, &ingest, &other);
        task.says(false).await;
        assert_eq!(signed(&store, "org").await.as_ref(), Some(&before));
        let environment = [("AUDITLOG_SIGNING_KEY", other.to_str().expect("UTF-8")), ("AUDITLOG_LOG_NAME", LOG_NAME), ("AUDITLOG_DATABASE_URL", &database.url)];
        let acknowledge = || ran(&["signing-key", "acknowledge-rollback", "--all", "--yes"], &environment);
        // An acknowledgement that cannot be recorded gives nothing up.
        let remembered = || std::fs::read(database.directory.path().join("other.state")).expect("it remembers");
        let state = remembered();
        refuse(database, "audit_logs").await;
        let (code, _, stderr) = acknowledge();
        assert_eq!(code, Some(1), "{stderr}");
        assert_eq!((remembered(), signed(&store, "org").await.as_ref()), (state, Some(&before)));
        allow(database, "audit_logs").await;
        let head = store.log_head(&organization("org")).await.expect("read").expect("a log");
        let (code, shown, stderr) = acknowledge();
        assert_eq!(code, Some(0), "{stderr}");
        assert!(shown.contains("none of the keys that it was signed with is in the key file"), "{shown}");
        let quoted = |text: String| format!("\"{text}\"");
        let facts = [
            ("organization", quoted("org".to_owned())),
            ("log", quoted(head.log_id)),
            ("findings", "[\"foreign_key\"]".to_owned()),
            ("stateFile", "null".to_owned()),
            ("checkpoint", quoted(format!("2 {}", before.root))),
            ("head", quoted(format!("3 {}", head.root))),
        ];
        let facts = facts.map(|(field, json)| (field.to_owned(), json)).to_vec();
        assert_eq!(recorded(&store).await, [("rollback-acknowledged".to_owned(), facts)]);
        // The log records the change itself.
        let checkpoint = signed_up_to(&store, "org", 4).await;
        task.says(true).await;
        let keys = CheckpointKeys::load(&other).expect("a key");
        check_note(&checkpoint, &[verifier(&store, "org", keys.main().signing()).await]);
        assert_eq!(store.log_keys(&organization("org")).await.expect("read").iter().map(|key| key.seq).collect::<Vec<_>>(), [0, 4]);
        task.end().await;
    }
}
