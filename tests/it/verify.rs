//! `auditlog verify` on the sample trail, unchanged and after tampering with SQL.

mod erased;
mod proof;
mod signed;
mod tampered;

use std::path::{Path, PathBuf};

use auditlog::domain::{OrganizationId, Seq, leaf_hash};
use auditlog::store::Store;
use auditlog_verify::merkle::VerifierKey;
use sea_orm::{ConnectionTrait, Database as Connections, TransactionTrait};
use serde_json::Value;

use crate::support::log::{literal, sign_in};
use crate::support::process::{create_key, ran};
use crate::support::trail::{ENTRIES, ORGANIZATION, lines};
use crate::support::{Backend, Database, Process, on_every_database, say, trail};

/// A service with a part of the trail, and the means to verify it.
pub struct Verified<'a> {
    pub database: &'a Database,
    pub store: Store,
    pub service: Process,
    pub key: String,
    /// The verifier key of the log.
    pub public: VerifierKey,
}

impl<'a> Verified<'a> {
    /// Imports the first `entries` entries of the trail and signs a checkpoint of them.
    pub async fn with(database: &'a Database, entries: usize) -> Self {
        let service = Process::serve(&database.url);
        let scopes = ["--organization", ORGANIZATION, "--scope", "write", "--scope", "verify"];
        let key = create_key(&database.url, &scopes);
        let store = database.store().await;
        import(database, &service, &key, 0..entries);
        let public = sign_in(database, &store, ORGANIZATION, entries as u64).await;
        Self { database, store, service, key, public }
    }

    pub fn run(&self, command: &[&str]) -> (Option<i32>, String, String) {
        let endpoint = self.service.url("");
        let environment = [
            ("AUDITLOG_ENDPOINT", endpoint.as_str()),
            ("AUDITLOG_API_KEY", &self.key),
            ("AUDITLOG_ORGANIZATION", ORGANIZATION),
        ];
        ran(command, &environment)
    }

    /// Runs `auditlog verify` with the log's key. Returns the exit code and the verdict.
    pub fn verify(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let key = self.public.text();
        let (code, verdict, stderr) = self.run(&[&["verify", "--public-key", &key], arguments].concat());
        assert!(code != Some(3), "{stderr}");
        (code, verdict.trim_end().to_owned())
    }

    pub fn assert_verified(&self, arguments: &[&str], entries: &str) {
        let (code, verdict) = self.verify(arguments);
        assert!(code == Some(0) && verdict.starts_with(&format!("verified: {entries} entries of ")), "{verdict}");
    }

    /// Asserts that the first `entries` entries are verified and the later ones are not signed.
    pub fn assert_unsigned(&self, arguments: &[&str], entries: &str, why: &str) {
        let key = self.public.text();
        let (code, verdict, stderr) = self.run(&[&["verify", "--public-key", &key], arguments].concat());
        assert!(verdict.starts_with(&format!("verified: {entries} entries of ")), "{verdict}");
        assert_eq!(code, Some(3), "{stderr}");
        assert!(stderr.contains(why), "{stderr}");
    }

    /// Asserts that the verification fails with this verdict.
    pub fn assert_found(&self, arguments: &[&str], verdict: &str) {
        assert_eq!(self.verify(arguments), (Some(1), format!("NOT VERIFIED: {verdict}")));
    }

    pub async fn sign(&self, size: u64) {
        sign_in(self.database, &self.store, ORGANIZATION, size).await;
    }

    pub fn import(&self, numbers: std::ops::Range<usize>) {
        import(self.database, &self.service, &self.key, numbers);
    }

    /// Runs SQL statements in one transaction.
    pub async fn sql(&self, statements: &[&str]) {
        let connection = Connections::connect(&self.database.url).await.expect("the database opens");
        let transaction = connection.begin().await.expect("it begins");
        for statement in statements {
            let done = transaction.execute_unprepared(statement).await;
            done.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        transaction.commit().await.expect("it commits");
        connection.close().await.expect("it closes");
    }

    /// Recomputes the leaf hashes of the entries `first` to `last` from their current values.
    pub async fn seal(&self, first: Seq, last: Seq) {
        let organization = OrganizationId::parse(ORGANIZATION).expect("an id");
        let log_id = self.store.log_head(&organization).await.expect("read").expect("a log").log_id;
        let catalogue = self.store.catalogue().await.expect("read");
        let statements: Vec<_> = self
            .store
            .hashed_entries(&organization, first - 1, last, u64::MAX)
            .await
            .expect("read")
            .iter()
            .map(|sealed| {
                let leaf = leaf_hash(&sealed.entry, &log_id, &catalogue, &sealed.salts).expect("names");
                let (leaf, seq) = (literal(self.database, &leaf.0), sealed.entry.seq);
                format!("UPDATE audit_logs SET leaf_hash = {leaf} WHERE seq = {seq}")
            })
            .collect();
        self.sql(&statements.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }

    pub fn file(&self, name: &str) -> String {
        self.database.directory.path().join(name).to_str().expect("UTF-8").to_owned()
    }
}

fn import(database: &Database, service: &Process, key: &str, numbers: std::ops::Range<usize>) {
    let path = database.directory.path().join("part.ndjson");
    std::fs::write(&path, lines()[numbers].join("\n") + "\n").expect("a file");
    let arguments = ["import", path.to_str().expect("UTF-8"), "--endpoint", &service.url("")];
    let imported = ran(&arguments, &[("AUDITLOG_API_KEY", key)]);
    assert_eq!(imported.0, Some(0), "{}", imported.2);
}

/// The id of the trail's entry with a sequence number.
pub fn id(seq: usize) -> String {
    let line: Value = serde_json::from_str(&lines()[seq - 1]).expect("JSON");
    line["id"].as_str().expect("an id").to_owned()
}

fn is_there(path: &str) -> bool {
    Path::new(path).exists()
}

on_every_database! {
    async fn the_whole_trail_is_verified(database: &Database) {
        let Some(trail) = trail::database(database.backend).await else { return };
        let store = trail.store().await;
        let public = sign_in(trail, &store, ORGANIZATION, ENTRIES as u64).await;
        let key = create_key(&trail.url, &["--organization", ORGANIZATION, "--scope", "verify"]);
        let service = Process::serve(&trail.url);
        let verified = Verified { database, store, service, key, public };
        let (code, verdict, stderr) = verified.run(&["verify", "--public-key", &verified.public.text()]);
        assert_eq!(code, Some(0), "{verdict}{stderr}");
        assert!(verdict.starts_with("verified: 80,403 entries of audit.example.com/"), "{verdict}");
        assert!(stderr.starts_with("80,403 entries in "), "{stderr}");
        proof::prove_some_of_the_trail(&verified);
        say(&format!("{:?}: verify of the trail: {}", database.backend, stderr.trim_end()));
    }

    async fn the_verified_state_is_saved_and_extended(database: &Database) {
        let verified = Verified::with(database, 300).await;
        let state = verified.file("state");
        let remember = ["--state", &state];
        // Without `--public-key`, the verifier has no key to trust.
        let (code, stdout, stderr) = verified.run(&["verify", "--state", &state]);
        assert_eq!((code, stdout.as_str()), (Some(3), ""));
        assert!(stderr.contains("there is no key to verify with: give --public-key"), "{stderr}");
        assert!(!is_there(&state));
        verified.assert_verified(&remember, "300");
        let first = std::fs::read_to_string(&state).expect("the state");
        // The state contains the key.
        let (code, verdict, _) = verified.run(&["verify", "--state", &state]);
        assert_eq!(code, Some(0), "{verdict}");
        verified.import(300..700);
        verified.assert_unsigned(&remember, "300", "the entries 301 to 700 are not signed");
        verified.sign(700).await;
        verified.assert_verified(&remember, "700");
        let last = std::fs::read_to_string(&state).expect("the state");
        // Starting from the first state, only the new entries are read.
        std::fs::write(&state, &first).expect("the state");
        let (code, verdict, stderr) = verified.run(&["verify", "--state", &state, "--since-last", "--json"]);
        let verdict: Value = serde_json::from_str(&verdict).expect("JSON");
        assert_eq!((code, &verdict["verified"], &verdict["size"], &verdict["read"]), (Some(0), &true.into(), &700.into(), &400.into()), "{stderr}");
        assert_eq!(std::fs::read_to_string(&state).expect("the state"), last, "the same is remembered");
        verified.assert_verified(&["--state", &state, "--since-last"], "700");
        assert_eq!(std::fs::read_dir(database.directory.path()).expect("files").filter(|file| file.as_ref().is_ok_and(|file| file.file_name().to_string_lossy().starts_with(".state"))).count(), 0);
        // A damaged state must not be treated as a first verification.
        for (from, to) in [("AAAA", "AAAB"), ("\"edge\": \"", "\"edge\": \"AAAA"), ("700\\n", "701\\n"), ("{", "")] {
            let damaged = last.replacen(from, to, 1);
            if damaged == last {
                continue;
            }
            std::fs::write(&state, damaged).expect("the state");
            let (code, stdout, stderr) = verified.run(&["verify", "--state", &state]);
            assert_eq!((code, stdout.as_str()), (Some(3), ""), "{from}");
            assert!(stderr.contains("is not a valid state file"), "{stderr}");
        }
    }

    async fn a_verification_that_cannot_run_has_its_own_exit_code(database: &Database) {
        let verified = Verified::with(database, 10).await;
        let key = verified.public.text();
        let reader = create_key(&database.url, &["--organization", ORGANIZATION, "--scope", "read"]);
        let endpoint = verified.service.url("");
        let with = |arguments: &[&str], endpoint: &str, key: &str| {
            ran(arguments, &[("AUDITLOG_ENDPOINT", endpoint), ("AUDITLOG_API_KEY", key), ("AUDITLOG_ORGANIZATION", ORGANIZATION)])
        };
        let (code, _, stderr) = with(&["verify", "--public-key", &key], &endpoint, &reader);
        assert_eq!(code, Some(3));
        assert!(stderr.contains("Insufficient permissions"), "{stderr}");
        let (code, _, stderr) = with(&["verify", "--public-key", "nonsense"], &endpoint, &verified.key);
        assert_eq!(code, Some(2));
        assert!(stderr.contains("must be a verifier key such as"), "{stderr}");
        verified.sql(&["DELETE FROM checkpoints"]).await;
        let (code, _, stderr) = with(&["verify", "--public-key", &key], &endpoint, &verified.key);
        assert_eq!(code, Some(3));
        assert!(stderr.contains("There is no such checkpoint yet"), "{stderr}");
    }
}

/// The path of a test client.
fn client(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python").join(name)
}
