//! Only erasure records that a key of the log has signed are trusted, whatever somebody writes to the database.

use std::time::Duration;

use auditlog::app::record_keys;
use auditlog::domain::{Clock, ErasureReason, Group, Random, Seq, entry_values, leaf_hash};
use auditlog::ingest::{Eraser, Erasure, Target};
use auditlog::metrics::Metrics;
use auditlog::signer::{CheckpointKeys, Signing};
use auditlog::store::{HashedEntry, Store};
use auditlog_verify::merkle::{ErasureRecord, GroupHash, SigningKey, VerifierKey, group_hashes};
use serde_json::{Value, json};

use super::signed::{LOG_NAME, Signed, run, serve, signing_key};
use super::{id, import};
use crate::support::database::execute;
use crate::support::ingest::{organization, start, write};
use crate::support::log::literal;
use crate::support::process::{create_key, ran};
use crate::support::trail::ORGANIZATION;
use crate::support::{Backend, Database, Process, on_every_database};

const WHY: [&str; 3] = ["--reason", "asked for", "--yes"];

/// An attacker who can write to the database and knows all of its content.
struct Forger<'a> {
    database: &'a Database,
    store: Store,
}

/// A change of an entry, with a new value only.
fn change(field: &str, text: &str) -> Value {
    json!({ "field": field, "oldValue": null, "newValue": text })
}

impl<'a> Forger<'a> {
    async fn of(database: &'a Database) -> Self {
        Self { database, store: database.store().await }
    }

    async fn sql(&self, statement: &str) {
        execute(self.database, statement).await;
    }

    async fn entry(&self, seq: Seq) -> HashedEntry {
        self.store.hashed_entries(&organization(ORGANIZATION), seq - 1, seq, 1).await.expect("read").remove(0)
    }

    /// The names and new values of an entry's changes.
    async fn changes(&self, seq: Seq) -> Vec<(String, String)> {
        let sealed = self.entry(seq).await;
        let text = |json: &str| serde_json::from_str(json).expect("a string");
        let changes = sealed.entry.content.changes.iter();
        changes.map(|change| (change.field.clone(), text(change.new_value.as_str()))).collect()
    }

    async fn log_id(&self) -> String {
        self.store.log_head(&organization(ORGANIZATION)).await.expect("read").expect("a log").log_id
    }

    /// The verifier key of `key` in this log.
    async fn verifier(&self, key: &SigningKey) -> VerifierKey {
        let name: auditlog_verify::merkle::LogName = LOG_NAME.parse().expect("a name");
        key.verifier(name.origin(&self.log_id().await).expect("an origin"))
    }

    /// The hash of an entry's content.
    async fn content_hash(&self, seq: Seq) -> GroupHash {
        let HashedEntry { entry, salts, leaf: _ } = self.entry(seq).await;
        let catalogue = self.store.catalogue().await.expect("read");
        let resource_type = catalogue.resource_type_name(entry.content.resource_type).expect("a name");
        let action = catalogue.action_name(entry.content.action).expect("a name");
        group_hashes(&entry_values(&entry, resource_type, action), &salts)[2]
    }

    /// Removes the content of `victim` like an erasure, and appends a record with `changes` and an id that ends with
    /// `id`. The record is otherwise a copy of the entry `like`. Hashes, tree and head are made consistent.
    async fn forge(&self, victim: Seq, hash: GroupHash, like: Seq, id: &str, changes: &[Value]) -> Seq {
        let head = self.store.log_head(&organization(ORGANIZATION)).await.expect("read").expect("a log");
        let seq = head.edge.size() as Seq + 1;
        let salts = self.entry(victim).await.salts;
        let without = [salts.of(Group::Facts).as_slice(), salts.of(Group::Actor), &[0; 16]].concat();
        let changes = Value::from(changes.to_vec()).to_string().replace('\'', "''");
        let last = "(SELECT MAX(recorded_at) FROM audit_logs)";
        let same = "organization_id, resource_type, resource_id, resource_name, action, user_name, \
                    user_email, metadata, trace_id, outcome, actor_type, writer_key_id, salts, leaf_hash, erased";
        for statement in [
            format!(
                "UPDATE audit_logs SET erased = 4, resource_name = NULL, changes = '[]', salts = {} \
                 WHERE organization_id = '{ORGANIZATION}' AND seq = {victim}",
                literal(self.database, &without)
            ),
            format!(
                "INSERT INTO erasures VALUES ('{ORGANIZATION}', {victim}, 2, {}, {seq})",
                literal(self.database, &hash.0.0)
            ),
            format!(
                "INSERT INTO audit_logs (seq, id, user_id, changes, timestamp, recorded_at, {same}) SELECT {seq}, \
                 'auditlog:erasure:0194858f-5b6a-7cc3-8f5e-{id}', 'key:AnotherKey01', '{changes}', {last}, {last}, {same} \
                 FROM audit_logs WHERE organization_id = '{ORGANIZATION}' AND seq = {like}"
            ),
        ] {
            self.sql(&statement).await;
        }
        self.seal(seq).await;
        seq
    }

    /// The erasure record that [`Forger::attack`] writes for `victim`.
    async fn record(&self, victim: Seq, id: &str) -> ErasureRecord {
        ErasureRecord {
            id: format!("auditlog:erasure:0194858f-5b6a-7cc3-8f5e-{id}"),
            user_id: "key:AnotherKey01".to_owned(),
            reason: "\"asked for\"".to_owned(),
            groups: vec![(victim, Group::Content, self.content_hash(victim).await)],
        }
    }

    /// Forges the erasure of `victim` with these signature lines, and waits until the service has signed the tree.
    async fn attack(&self, victim: Seq, like: Seq, id: &str, lines: Option<&str>) {
        let hash = self.content_hash(victim).await;
        let erased = change(&format!("erased.{victim}.content"), &hash.0.to_string());
        let changes = [change("reason", "asked for"), erased].into_iter();
        let changes: Vec<_> = changes.chain(lines.map(|lines| change("signatures", lines))).collect();
        self.signed(self.forge(victim, hash, like, id, &changes).await).await;
    }

    /// Recomputes the hash of the last entry, and the tree that ends with it.
    async fn seal(&self, seq: Seq) {
        let HashedEntry { entry, salts, .. } = self.entry(seq).await;
        let catalogue = self.store.catalogue().await.expect("read");
        let leaf = leaf_hash(&entry, &self.log_id().await, &catalogue, &salts).expect("names");
        let leaves = self.store.hashed_entries(&organization(ORGANIZATION), 0, seq - 1, 1_000).await.expect("read");
        let mut edge = auditlog_verify::merkle::CompactRange::default();
        for leaf in leaves.into_iter().map(|sealed| sealed.leaf).chain([leaf]) {
            let _ = edge.append(leaf);
        }
        let [leaf, edge, root] =
            [&leaf.0[..], &edge.bytes(), &edge.root().0].map(|bytes| literal(self.database, bytes));
        let entry = format!("organization_id = '{ORGANIZATION}' AND seq = {seq}");
        self.sql(&format!("UPDATE audit_logs SET leaf_hash = {leaf} WHERE {entry}")).await;
        // The service signs other logs too, and would stop if their heads were wrong.
        let head = format!("head_seq = {seq}, edge = {edge}, root = {root}");
        self.sql(&format!("UPDATE organizations SET {head} WHERE id = '{ORGANIZATION}'")).await;
    }

    /// Waits until the service has signed a tree that contains the entry `seq`.
    async fn signed(&self, seq: Seq) {
        crate::support::until("the forged tree is signed", async || {
            let checkpoint = self.store.checkpoint(&organization(ORGANIZATION)).await.expect("read");
            checkpoint.filter(|signed| signed.size >= seq as u64)
        })
        .await;
    }
}

/// The signing keys of the test's service.
fn own_keys(database: &Database) -> CheckpointKeys {
    CheckpointKeys::load(signing_key(database).as_ref()).expect("a key")
}

/// An eraser in this process, with the keys of the test's service.
fn eraser(database: &Database, store: &Store) -> Eraser {
    let signing = Signing { key_file: signing_key(database).into(), log_name: LOG_NAME.parse().expect("a name") };
    let keys = record_keys(signing, Clock::system());
    let patience = Duration::from_secs(20);
    Eraser::new(store.clone(), Clock::system(), Random::system(), patience, Some(keys), &Metrics::default())
}

fn verdict(signed: &Signed<'_>, arguments: &[&str]) -> (Option<i32>, Value) {
    let (code, verdict, stderr) = signed.run(&[&["verify", "--json"], arguments].concat());
    (code, serde_json::from_str(&verdict).unwrap_or_else(|_| panic!("{verdict}{stderr}")))
}

/// Asserts that `victim` is found to be removed, because of `why` in its record.
fn assert_removed(signed: &Signed<'_>, key: &str, victim: Seq, refused: u64, why: &str) {
    let (code, found) = verdict(signed, &["--public-key", key]);
    assert_eq!(
        (code, &found["verified"], &found["kind"]),
        (Some(1), &false.into(), &"removed without record".into()),
        "{found}"
    );
    assert_eq!((&found["firstEntry"], &found["erasedBy"]["refused"]), (&victim.into(), &refused.into()), "{found}");
    let message = found["message"].as_str().expect("text");
    assert!(message.starts_with("its content is gone, and ") && message.contains(why), "{message}");
}

on_every_database! {
    async fn an_erasure_recorded_by_sql_is_refused(database: &Database) {
        let signed = Signed::start(database);
        signed.import(0..8);
        let forger = Forger::of(database).await;
        forger.signed(8).await;
        let erased = signed.run(&[&["erase", "--entry", &id(8)], &WHY[..]].concat());
        assert_eq!(erased.0, Some(0), "{}", erased.2);
        let public = forger.verifier(own_keys(database).main().signing()).await;
        let key = public.text();
        forger.signed(9).await;
        let (code, found) = verdict(&signed, &["--public-key", &key]);
        let counts = json!({ "givenKey": 2, "otherKey": 0, "unsigned": 0, "refused": 0 });
        assert_eq!((code, &found["erased"], &found["erasedBy"]), (Some(0), &2.into(), &counts));
        let (honest, stranger) = (forger.changes(9).await, SigningKey::from_seed(&[9; 32]).expect("32 bytes"));
        assert_eq!(honest.iter().map(|(field, _)| field.as_str()).collect::<Vec<_>>(), ["reason", "erased.8.actor", "erased.8.content", "signatures"]);
        // Each attack uses an earlier entry, so that the verifier finds it first.
        forger.attack(7, 9, "000000000001", None).await;
        assert_removed(&signed, &key, 7, 1, "entry 10 records its erasure, and no key of the log has signed that");
        // The signature of another record.
        let is_forged = "its signature is not that of its key for what it says";
        forger.attack(6, 9, "000000000002", Some(&honest[3].1)).await;
        assert_removed(&signed, &key, 6, 2, is_forged);
        // All changes of another record, and one more.
        let hash = forger.content_hash(5).await;
        let mut all: Vec<_> = honest.iter().map(|(field, text)| change(field, text)).collect();
        all.insert(3, change("erased.5.content", &hash.0.to_string()));
        forger.signed(forger.forge(5, hash, 9, "000000000003", &all).await).await;
        assert_removed(&signed, &key, 5, 3, is_forged);
        // The attacker's own key, under the log's name.
        let lines = forger.record(4, "000000000004").await.sign(public.name(), &[&stranger]);
        forger.attack(4, 9, "000000000004", Some(&lines)).await;
        let by = format!("is signed by {}, which is not trusted", forger.verifier(&stranger).await.short());
        assert_removed(&signed, &key, 4, 4, &by);
        // Makes the database claim that the log has no keys and no checkpoints.
        forger.sql("DELETE FROM log_keys").await;
        forger.sql("DELETE FROM checkpoints").await;
        forger.attack(3, 9, "000000000005", None).await;
        assert_removed(&signed, &key, 3, 5, "no key of the log has signed that");
        // The same record, signed by the service's key for another log.
        let elsewhere = LOG_NAME.parse::<auditlog_verify::merkle::LogName>().expect("a name").origin(&"0".repeat(32)).expect("one");
        let lines = forger.record(2, "000000000006").await.sign(&elsewhere, &[own_keys(database).main().signing()]);
        forger.attack(2, 9, "000000000006", Some(&lines)).await;
        assert_removed(&signed, &key, 2, 6, "which is not trusted");
    }

    async fn a_signed_record_edited_before_its_checkpoint_is_refused(database: &Database) {
        let signed = Signed::start(database);
        signed.import(0..8);
        let forger = Forger::of(database).await;
        forger.signed(8).await;
        let key = forger.verifier(own_keys(database).main().signing()).await.text();
        let Signed { service, key: api_key, .. } = signed;
        service.kill();
        let erase = |entry: usize| {
            let ids = vec![auditlog::domain::EntryId::parse(id(entry)).expect("an id")];
            let groups = [Group::Actor, Group::Content].into_iter().collect();
            let reason = ErasureReason::parse("asked for".to_owned()).expect("a reason");
            let (organization, key_id) = (organization(ORGANIZATION), "ErasersKey01".to_owned());
            Erasure { organization, target: Target::Entries(ids), groups, reason, key_id }
        };
        let eraser = eraser(database, &forger.store);
        for (entry, (from, to)) in [
            (7, ("asked for", "never asked")),
            (6, ("key:ErasersKey01", "key:AnotherKey01")),
            (5, ("erased.5.", "erased.4.")),
        ] {
            let recorded = eraser.erase(erase(entry)).await.expect("erased").recorded;
            let [seq] = recorded[..] else { panic!("{recorded:?}") };
            for column in ["changes", "user_id"] {
                forger.sql(&format!("UPDATE audit_logs SET {column} = replace({column}, '{from}', '{to}') WHERE seq = {seq}")).await;
            }
            forger.seal(seq).await;
        }
        let signed = Signed { database, service: serve(database), key: api_key };
        forger.signed(11).await;
        // After the last edit, no record names entry 5.
        let (code, found) = verdict(&signed, &["--public-key", &key]);
        assert_eq!((code, &found["kind"], &found["firstEntry"]), (Some(1), &"removed without record".into(), &5.into()), "{found}");
        assert!(found["message"].as_str().is_some_and(|why| why.contains("no later entry records with its hash")), "{found}");
        assert_eq!((&found["erased"], &found["erasedBy"]["refused"]), (&0.into(), &4.into()));
    }

    async fn a_record_is_signed_by_all_keys_of_the_log_that_the_service_holds(database: &Database) {
        let signed = Signed::start(database);
        signed.import(0..8);
        let forger = Forger::of(database).await;
        forger.signed(8).await;
        let state = database.directory.path().join("state");
        let remember = ["--state", state.to_str().expect("UTF-8")];
        let old = forger.verifier(own_keys(database).main().signing()).await.text();
        let erase = |entry: usize| {
            let (code, _, stderr) = signed.run(&[&["erase", "--entry", &id(entry), "--groups", "content"], &WHY[..]].concat());
            assert_eq!(code, Some(0), "{stderr}");
        };
        erase(1);
        forger.signed(9).await;
        let file = signing_key(database);
        let rotated = ran(&["signing-key", "rotate", "--overlap", "1d"], &[("AUDITLOG_SIGNING_KEY", &file)]);
        assert_eq!(rotated.0, Some(0), "{}", rotated.2);
        let new = forger.verifier(own_keys(database).main().signing()).await.text();
        forger.signed(10).await;
        erase(2);
        forger.signed(11).await;
        let lines = forger.changes(11).await.pop().expect("signatures");
        assert_eq!((lines.0.as_str(), lines.1.lines().count()), ("signatures", 2));
        let counts = |given: u64, other: u64| json!({ "givenKey": given, "otherKey": other, "unsigned": 0, "refused": 0 });
        for keys in [vec!["--public-key", &old], vec!["--public-key", &old, "--public-key", &new]] {
            let (code, found) = verdict(&signed, &keys);
            assert_eq!((code, &found["erasedBy"]), (Some(0), &counts(2, 0)), "{found}");
        }
        let (code, found) = verdict(&signed, &[&["--public-key", &old], &remember[..]].concat());
        assert_eq!(code, Some(0), "{found}");
        // A verifier with only the new key learns that the old one is missing, and can then be given both.
        let (code, found) = verdict(&signed, &["--public-key", &new]);
        assert_eq!((code, &found["kind"], &found["firstEntry"]), (Some(1), &"removed without record".into(), &1.into()), "{found}");
        assert!(found["message"].as_str().is_some_and(|why| why.contains("a former key of the log has to be given, too")), "{found}");
        // After the old key is gone, a state still remembers it. So does a verifier that trusts the first key.
        let keys = std::fs::read_to_string(&file).expect("keys");
        let kept: String = keys.lines().filter(|line| !line.contains(" until ")).map(|line| format!("{line}\n")).collect();
        std::fs::write(&file, kept).expect("the file");
        tokio::time::sleep(Duration::from_secs(3)).await;
        erase(3);
        forger.signed(12).await;
        let lines = forger.changes(12).await.pop().expect("signatures");
        assert_eq!(lines.1.lines().count(), 1);
        for _ in 0..2 {
            let (code, found) = verdict(&signed, &remember);
            assert_eq!((code, &found["erased"]), (Some(0), &3.into()), "{found}");
        }
        let written: Value = serde_json::from_str(&std::fs::read_to_string(&state).expect("a state")).expect("JSON");
        assert_eq!((&written["keys"], &written["formerKeys"]), (&json!([new]), &json!([old])));
        let (code, found) = verdict(&signed, &remember);
        assert_eq!((code, &found["erasedBy"]), (Some(0), &counts(2, 1)));
        let (code, found) = verdict(&signed, &["--trust-first-key"]);
        assert_eq!((code, &found["erasedBy"]), (Some(0), &counts(2, 1)), "{found}");
        // The same in the text output.
        let (_, stdout, listed) = signed.run(&[&["verify", "--verbose"], &remember[..]].concat());
        assert!(stdout.contains("; 3 groups of values were properly erased, 1 with records signed by another key of the log"), "{stdout}");
        assert!(listed.contains("properly erased: content of entry 1, by entry 9, signed by another key of the log\n"), "{listed}");
    }

    async fn erasures_before_the_first_key_are_reported_as_unsigned(database: &Database) {
        let service = Process::serve(&database.url);
        let scopes = ["--organization", ORGANIZATION, "--scope", "write", "--scope", "verify", "--scope", "erase"];
        let key = create_key(&database.url, &scopes);
        import(database, &service, &key, 0..5);
        let erase = |service: &Process, entry: usize| {
            run(&service.url(""), &key, &[&["erase", "--entry", &id(entry)], &WHY[..]].concat())
        };
        assert_eq!(erase(&service, 1).0, Some(0));
        let forger = Forger::of(database).await;
        assert_eq!(forger.changes(6).await.len(), 3, "a log without keys has records without signatures");
        // With keys but before the first checkpoint, the record is signed by the key that will sign the checkpoint.
        let file = signing_key(database);
        let (code, _, stderr) = ran(&["signing-key", "create"], &[("AUDITLOG_SIGNING_KEY", &file)]);
        assert_eq!(code, Some(0), "{stderr}");
        let reason = ErasureReason::parse("asked for".to_owned()).expect("a reason");
        let target = Target::Entries(vec![auditlog::domain::EntryId::parse(id(2)).expect("an id")]);
        let groups = [Group::Actor].into_iter().collect();
        let early = Erasure { organization: organization(ORGANIZATION), target, groups, reason, key_id: "K".to_owned() };
        eraser(database, &forger.store).erase(early).await.expect("erased");
        assert_eq!(forger.changes(7).await.last().expect("one").0, "signatures");
        let signing = serve(database);
        let signed = Signed { database, service: signing, key: key.clone() };
        forger.signed(8).await;
        let first = forger.changes(8).await;
        assert_eq!(first[0], ("verifierKey".to_owned(), forger.verifier(own_keys(database).main().signing()).await.text()));
        let counts = json!({ "givenKey": 1, "otherKey": 0, "unsigned": 2, "refused": 0 });
        let (code, found) = verdict(&signed, &["--public-key", &first[0].1]);
        assert_eq!((code, &found["erasedBy"], &found["size"]), (Some(0), &counts, &8.into()), "{found}");
        let (_, stdout, _) = signed.run(&["verify", "--public-key", &first[0].1]);
        assert!(stdout.contains("; 3 groups of values were properly erased, 2 with records not signed, before the log had keys"), "{stdout}");
        // A service without a key refuses to erase, whatever the database says about keys.
        for is_told in [true, false] {
            if !is_told {
                forger.sql("DELETE FROM log_keys").await;
            }
            for dry in [&["--dry-run"][..], &["--yes"]] {
                let asked = ["erase", "--entry", &id(3), "--reason", "asked for"];
                let (code, _, stderr) = run(&service.url(""), &key, &[&asked[..], dry].concat());
                assert_eq!(code, Some(1), "{stderr}");
                assert!(stderr.contains("This log is signed, and this service has no key of it"), "{stderr}");
            }
        }
        // From now on, a record needs a signature, even if the database lists no keys of the log.
        forger.sql("DELETE FROM checkpoints").await;
        forger.attack(4, 6, "000000000001", None).await;
        assert_removed(&signed, &first[0].1, 4, 1, "no key of the log has signed that");
        assert_eq!(forger.store.log_head(&organization(ORGANIZATION)).await.expect("read").expect("a log").edge.size(), 9, "no key is first twice");
    }

    async fn each_of_several_records_is_signed(database: &Database) {
        let signed = Signed::start(database);
        let forger = Forger::of(database).await;
        let ingest = start(&forger.store, Clock::system());
        for first in (0..1_100).step_by(550) {
            let user = auditlog::domain::ResourceType(5);
            let entries = (first..first + 550).map(|number| crate::support::erasure::person(&format!("log_{number}"), "ada", (user, "ada"), "x"));
            write(&ingest, ORGANIZATION, entries.collect()).await.expect("written");
        }
        let (code, stdout, stderr) = signed.run(&[&["erase", "--user", "ada"], &WHY[..]].concat());
        assert!(code == Some(0) && stdout.contains("recorded as numbers 1101 to 1103"), "{stdout}{stderr}");
        forger.signed(1_103).await;
        for seq in 1_101..=1_103 {
            let changes = forger.changes(seq).await;
            assert!(changes.len() <= 1_000 && changes.last().is_some_and(|(field, _)| field == "signatures"), "{}", changes.len());
        }
        let key = forger.verifier(own_keys(database).main().signing()).await.text();
        let (code, found) = verdict(&signed, &["--public-key", &key]);
        assert_eq!((code, &found["erasedBy"]["givenKey"]), (Some(0), &2_200.into()), "{found}");
    }
}
