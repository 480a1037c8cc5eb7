//! `auditlog verify` against a service that signs: key rotation, and erasures in between.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{id, import};
use crate::support::process::{auditlog, create_key, ran};
use crate::support::trail::ORGANIZATION;
use crate::support::{Backend, Database, Process, on_every_database};

pub const LOG_NAME: &str = "audit.example.com";

/// A service that signs, and an API key to write, verify and erase.
pub struct Signed<'a> {
    pub database: &'a Database,
    pub service: Process,
    pub key: String,
}

impl<'a> Signed<'a> {
    pub fn start(database: &'a Database) -> Self {
        let file = signing_key(database);
        let (code, _, stderr) = ran(&["signing-key", "create"], &[("AUDITLOG_SIGNING_KEY", &file)]);
        assert_eq!(code, Some(0), "{stderr}");
        let scopes = ["--scope", "write", "--scope", "verify", "--scope", "erase"];
        let key = create_key(&database.url, &[&["--organization", ORGANIZATION], &scopes[..]].concat());
        Self { database, service: serve(database), key }
    }

    pub fn run(&self, command: &[&str]) -> (Option<i32>, String, String) {
        run(&self.service.url(""), &self.key, command)
    }

    /// Repeats the verification until the checkpoint has `size` entries. Returns the verdict and standard error.
    pub async fn verified(&self, size: u64, arguments: &[&str]) -> (Value, String) {
        let begun = Instant::now();
        loop {
            let (code, verdict, stderr) = self.run(&[&["verify", "--json"], arguments].concat());
            if code == Some(0) {
                let verdict: Value = serde_json::from_str(&verdict).expect("JSON");
                if verdict["size"] == size {
                    return (verdict, stderr);
                }
            } else {
                // There is no checkpoint yet.
                assert!(code == Some(3), "{verdict}{stderr}");
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "in vain: {verdict}{stderr}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub fn import(&self, numbers: std::ops::Range<usize>) {
        import(self.database, &self.service, &self.key, numbers);
    }
}

pub fn run(endpoint: &str, key: &str, command: &[&str]) -> (Option<i32>, String, String) {
    let environment =
        [("AUDITLOG_ENDPOINT", endpoint), ("AUDITLOG_API_KEY", key), ("AUDITLOG_ORGANIZATION", ORGANIZATION)];
    ran(command, &environment)
}

/// A service that signs with the key of [`signing_key`].
pub fn serve(database: &Database) -> Process {
    let mut command = auditlog();
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("AUDITLOG_DATABASE_URL", &database.url);
    command.env("AUDITLOG_SIGNING_KEY", signing_key(database)).env("AUDITLOG_LOG_NAME", LOG_NAME);
    Process::spawn(command)
}

pub fn signing_key(database: &Database) -> String {
    database.directory.path().join("signing.key").to_str().expect("UTF-8").to_owned()
}

fn keys_in(state: &Path) -> Vec<String> {
    let state: Value = serde_json::from_str(&fs::read_to_string(state).expect("the state")).expect("JSON");
    state["keys"].as_array().expect("keys").iter().map(|key| key.as_str().expect("text").to_owned()).collect()
}

on_every_database! {
    async fn a_key_rotation_is_followed_while_the_old_key_also_signs(database: &Database) {
        let signed = Signed::start(database);
        signed.import(0..300);
        let (state, missed) = (database.directory.path().join("state"), database.directory.path().join("missed"));
        let remember = ["--state", state.to_str().expect("UTF-8")];
        let (_, stderr) = signed.verified(300, &[&remember[..], &["--trust-first-key"]].concat()).await;
        assert!(stderr.contains("trusting the key that the service reports, without any other evidence: audit.example.com/"), "{stderr}");
        fs::copy(&state, &missed).expect("a copy");
        let file = signing_key(database);
        let (code, _, stderr) = ran(&["signing-key", "rotate", "--overlap", "1d"], &[("AUDITLOG_SIGNING_KEY", &file)]);
        assert_eq!(code, Some(0), "{stderr}");
        // One more entry, which announces the new key.
        signed.verified(301, &remember).await;
        let both = keys_in(&state);
        assert_eq!((both.len(), &both[..1]), (2, &keys_in(&missed)[..]));
        // The overlap of the old key ends.
        let kept: String = fs::read_to_string(&file).expect("keys").lines().filter(|line| !line.contains(" until ")).map(|line| format!("{line}\n")).collect();
        fs::write(&file, kept).expect("the file");
        tokio::time::sleep(Duration::from_secs(4)).await;
        signed.import(300..310);
        signed.verified(311, &remember).await;
        assert_eq!(keys_in(&state), both[1..]);
        // With `--trust-first-key`, the verifier trusts the key that signs now, not the oldest one.
        let (_, stderr) = signed.verified(311, &["--trust-first-key"]).await;
        assert!(stderr.contains(&both[1]), "{stderr}");
        // A verifier that missed the rotation needs the new key from elsewhere.
        let late = ["verify", "--state", missed.to_str().expect("UTF-8")];
        let (code, verdict, _) = signed.run(&late);
        assert_eq!(code, Some(1));
        let [old, new] = [&both[0], &both[1]].map(|key| key.splitn(3, '+').take(2).collect::<Vec<_>>().join("+"));
        let strange = format!("NOT VERIFIED: not signed: it is signed by {new}, and of this log only {old} is trusted; ");
        assert!(verdict.starts_with(&strange), "{verdict}");
        let (code, verdict, _) = signed.run(&[&late[..], &["--public-key", &both[1]]].concat());
        assert_eq!(code, Some(0), "{verdict}");
        assert_eq!(keys_in(&missed), both[1..]);
    }

    async fn an_erasure_during_verification_is_no_violation(database: &Database) {
        let signed = Signed::start(database);
        signed.import(0..600);
        let state = database.directory.path().join("state");
        let remember = ["--state", state.to_str().expect("UTF-8")];
        signed.verified(600, &[&remember[..], &["--trust-first-key"]].concat()).await;
        let ids: Vec<_> = (1..=40).map(|number| id(number * 14)).collect();
        let (endpoint, key) = (signed.service.url(""), signed.key.clone());
        std::thread::scope(|scope| {
            let erasing = scope.spawn(|| {
                for id in &ids {
                    let (code, _, stderr) = run(&endpoint, &key, &["erase", "--entry", id, "--reason", "asked for", "--yes"]);
                    assert_eq!(code, Some(0), "{stderr}");
                }
            });
            while !erasing.is_finished() {
                let (code, verdict, stderr) = signed.run(&[&["verify"], &remember[..]].concat());
                assert_eq!(code, Some(0), "{verdict}{stderr}");
            }
        });
        let (verdict, _) = signed.verified(640, &remember).await;
        assert_eq!((&verdict["erased"], &verdict["erasedBy"]["givenKey"]), (&80.into(), &80.into()));
    }
}
