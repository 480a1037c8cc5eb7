//! Tampering with SQL: the verifier detects and names each change.

use std::time::Duration;

use auditlog::domain::{Clock, EntryId, ErasureReason, Group, OrganizationId, Random, Seq, entry_values};
use auditlog::ingest::{Eraser, Erasure, Target};
use auditlog::metrics::Metrics;

use super::{Verified, id};
use crate::support::log::{literal, record_keys};
use crate::support::process::ran;
use crate::support::trail::ORGANIZATION;
use crate::support::{Backend, Database, on_every_database};

const ENTRIES: usize = 1_500;
const CHANGED: &str = "what it says does not make the hash that is stored for it";
const AFTER_END: &str =
    "the service says: Entry 1501 is after the end of the log: it was added, and not by this service";
const SEALED: &str =
    "its leaf is not the one that was signed for, though the hash stored for it is that of what it says";
const TABLES: [&str; 5] = ["audit_logs", "log_tiles", "organizations", "checkpoints", "erasures"];

/// Copies all tables to new ones with the prefix `name`.
async fn keep(verified: &Verified<'_>, name: &str) {
    let statements = TABLES.map(|table| format!("CREATE TABLE {name}_{table} AS SELECT * FROM {table}"));
    verified.sql(&statements.each_ref().map(String::as_str)).await;
}

/// Restores the copied tables.
async fn restore(verified: &Verified<'_>, name: &str) {
    let statements = TABLES
        .map(|table| [format!("DELETE FROM {table}"), format!("INSERT INTO {table} SELECT * FROM {name}_{table}")]);
    verified.sql(&statements.as_flattened().iter().map(String::as_str).collect::<Vec<_>>()).await;
}

/// Increases the sequence numbers from `from` on by `by`.
fn shifted(from: Seq, by: Seq) -> [String; 2] {
    [
        format!("UPDATE audit_logs SET seq = -(seq + {by}) WHERE seq >= {from}"),
        "UPDATE audit_logs SET seq = -seq WHERE seq < 0".to_owned(),
    ]
}

/// Inserts a copy of the entry `like` as `seq`, with a new id.
fn copied(like: Seq, seq: Seq) -> String {
    let columns = "organization_id, timestamp, recorded_at, resource_type, resource_id, resource_name, action, user_id, user_name, \
                   user_email, changes, metadata, trace_id, outcome, actor_type, writer_key_id, salts, leaf_hash, \
                   erased";
    format!(
        "INSERT INTO audit_logs (seq, id, {columns}) SELECT {seq}, 'log_added', {columns} FROM audit_logs WHERE seq = {like}"
    )
}

on_every_database! {
    async fn an_edited_value_is_caught_and_named(database: &Database) {
        let verified = Verified::with(database, ENTRIES).await;
        verified.assert_verified(&[], "1,500");
        keep(&verified, "kept").await;
        for (at, edit) in [
            (700, r#"changes = '[{"field":"f","oldValue":null,"newValue":1}]'"#),
            (1, "timestamp = timestamp + 1000000"),
            (256, "user_name = 'Another'"),
            (257, "user_id = 'another'"),
            (1_280, "writer_key_id = '000000000000'"),
            (700, "recorded_at = recorded_at + 1"),
            (700, "id = 'log_another'"),
            (700, "action = 4 - action"),
            (700, "resource_id = 'another'"),
            (700, "resource_name = NULL, changes = '[]'"),
            (700, r#"metadata = '{"source":"another"}'"#),
            (700, "trace_id = 'another'"),
            (700, "outcome = 1 - outcome"),
            (700, "actor_type = 3"),
        ] {
            let named = if edit.starts_with("id =") { "log_another".to_owned() } else { id(at) };
            verified.sql(&[&format!("UPDATE audit_logs SET {edit} WHERE seq = {at}")]).await;
            verified.assert_found(&[], &format!("changed: entry {at}: {CHANGED} [{named}]"));
            verified.seal(at as Seq, at as Seq).await;
            verified.assert_found(&[], &format!("changed: entry {at}: {SEALED} [{named}]"));
            restore(&verified, "kept").await;
        }
        verified.assert_verified(&[], "1,500");
        // After the last full tile, only the state of an earlier verification helps.
        let state = verified.file("state");
        verified.assert_verified(&["--state", &state], "1,500");
        verified.sql(&["UPDATE audit_logs SET user_name = 'Another' WHERE seq = 1400"]).await;
        verified.assert_found(&[], &format!("changed: entry 1400: {CHANGED} [{}]", id(1_400)));
        verified.seal(1_400, 1_400).await;
        verified.assert_found(&[], "changed: one of the entries 1 to 1500: the entries are not those of the checkpoint, and no tile differs from them");
        verified.assert_found(&["--state", &state], "changed: one of the entries 1281 to 1408: it is not as when the log was verified before");
        restore(&verified, "kept").await;
        // Changes the leaf hash alone.
        let other = literal(database, &[7; 32]);
        verified.sql(&[&format!("UPDATE audit_logs SET leaf_hash = {other} WHERE seq = 700")]).await;
        verified.assert_found(&[], &format!("changed: entry 700: it says what was signed for, but the hash that is stored for it is another one [{}]", id(700)));
    }

    async fn a_missing_added_or_moved_entry_is_caught_and_named(database: &Database) {
        let verified = Verified::with(database, ENTRIES).await;
        let state = verified.file("state");
        verified.assert_verified(&["--state", &state], "1,500");
        keep(&verified, "kept").await;
        verified.sql(&["DELETE FROM audit_logs WHERE seq = 700"]).await;
        verified.assert_found(&[], "missing: entry 700: it is not there; 701 follows");
        let [one, two] = shifted(701, -1);
        verified.sql(&[&one, &two]).await;
        let missing = format!("missing: entry 700: it is not there; what was 701 has its number [{}]", id(701));
        verified.assert_found(&[], &missing);
        verified.seal(700, 1_499).await;
        verified.assert_found(&[], "truncated: entry 1500: the checkpoint has 1500 entries, and the log ends with 1499; tiles, \
                                    which nothing proves, differ from the entries from 700 on");
        restore(&verified, "kept").await;
        for head in [1_500, 1_499] {
            verified.sql(&["DELETE FROM audit_logs WHERE seq = 1500", &format!("UPDATE organizations SET head_seq = {head}")]).await;
            verified.assert_found(&[], "truncated: entry 1500: the checkpoint has 1500 entries, and the log ends with 1499");
            restore(&verified, "kept").await;
        }
        verified.sql(&[
            "UPDATE audit_logs SET seq = 0 WHERE seq = 700",
            "UPDATE audit_logs SET seq = 700 WHERE seq = 900",
            "UPDATE audit_logs SET seq = 900 WHERE seq = 0",
        ]).await;
        let swapped = format!("reordered: entry 700: it has exchanged places with 900 [{}]", id(900));
        verified.assert_found(&[], &swapped);
        verified.seal(700, 700).await;
        verified.seal(900, 900).await;
        verified.assert_found(&[], &swapped);
        restore(&verified, "kept").await;
        let [one, two] = shifted(700, 1);
        verified.sql(&[&one, &two, &copied(699, 700)]).await;
        let added = "added: entry 700: it was not there; what was 700 has become 701 [log_added]";
        verified.assert_found(&[], added);
        verified.seal(700, 1_501).await;
        // The state of an earlier verification proves the tiles.
        verified.assert_found(&["--state", &state], added);
        restore(&verified, "kept").await;
        // An entry added at the end is detected only as far as the database allows.
        verified.sql(&[&copied(700, 1_501)]).await;
        verified.assert_found(&["--state", &state], &format!("added: entry 1501: {AFTER_END}"));
        verified.sql(&["UPDATE organizations SET head_seq = 1501"]).await;
        verified.assert_unsigned(&["--state", &state], "1,500", "the entries 1501 to 1501 are not signed");
        restore(&verified, "kept").await;
        verified.assert_verified(&["--state", &state], "1,500");
    }

    async fn an_edited_tile_is_caught_and_named(database: &Database) {
        let verified = Verified::with(database, ENTRIES).await;
        keep(&verified, "kept").await;
        let set = |level: u8, index: u8, place: usize| {
            let bytes = match database.backend {
                Backend::Sqlite => format!("substr(hashes, 1, {}) || {} || substr(hashes, {})", 32 * place, literal(database, &[7; 32]), 32 * place + 33),
                Backend::Postgres => format!("overlay(hashes placing {} from {} for 32)", literal(database, &[7; 32]), 32 * place + 1),
            };
            // SQLite turns concatenated blobs into text.
            let bytes = if database.backend == Backend::Sqlite { format!("CAST({bytes} AS BLOB)") } else { bytes };
            format!("UPDATE log_tiles SET hashes = {bytes} WHERE level = {level} AND tile_index = {index}")
        };
        verified.sql(&[&set(0, 2, 1)]).await;
        verified.assert_found(&[], "damaged tiles: all entries are right, and tile/0/002 has another hash for entry 514");
        // If the entry is changed as well, only the tile above gives information.
        verified.sql(&["UPDATE audit_logs SET user_name = 'Another' WHERE seq = 700"]).await;
        verified.seal(700, 700).await;
        verified.assert_found(&[], "changed: one of the entries 513 to 768: the entries are not those of the checkpoint, and the tile \
                                    that would tell which was edited, too");
        restore(&verified, "kept").await;
        verified.sql(&[&set(1, 0, 3)]).await;
        verified.assert_found(&[], "damaged tiles: all entries are right, and tile/1/000.p/5 has another hash for the entries 769 to 1024");
        restore(&verified, "kept").await;
        verified.sql(&["DELETE FROM log_tiles WHERE level = 1"]).await;
        verified.assert_found(&[], "damaged tiles: all entries are right, and tile/1/000.p/5 cannot be had");
    }

    async fn values_that_are_gone_without_a_record_are_caught_and_named(database: &Database) {
        let verified = Verified::with(database, ENTRIES).await;
        let organization = auditlog::domain::OrganizationId::parse(ORGANIZATION).expect("an id");
        let sealed = verified.store.hashed_entries(&organization, 699, 700, 1).await.expect("read").remove(0);
        let catalogue = verified.store.catalogue().await.expect("read");
        let content = &sealed.entry.content;
        let names = (catalogue.resource_type_name(content.resource_type), catalogue.action_name(content.action));
        let values = entry_values(&sealed.entry, names.0.expect("a name"), names.1.expect("a name"));
        let hash = auditlog_verify::merkle::group_hashes(&values, &sealed.salts)[2].0;
        verified.sql(&["UPDATE audit_logs SET erased = 4, resource_name = NULL, changes = '[]' WHERE seq = 700"]).await;
        verified.assert_found(&[], &format!("removed without record: entry 700: its content is not there, nor the hash of it [{}]", id(700)));
        // The attacker keeps the hash, as an erasure would, but no entry records the erasure.
        let kept = format!("INSERT INTO erasures VALUES ('{ORGANIZATION}', 700, 2, {}, 1400)", literal(database, &hash.0));
        verified.sql(&[&kept]).await;
        let unrecorded = "removed without record: entry 700: its content is gone, and no later entry records with its hash that it was erased";
        verified.assert_found(&[], unrecorded);
        // An entry after the end does not hide it.
        verified.sql(&[&copied(701, 1_501)]).await;
        verified.assert_found(&[], unrecorded);
    }

    async fn an_unreadable_entry_is_caught_and_named(database: &Database) {
        let verified = Verified::with(database, 600).await;
        keep(&verified, "kept").await;
        for (at, edit) in [
            (300, "changes = 'x'".to_owned()),
            (1, format!("salts = {}", literal(database, &[]))),
            (600, format!("leaf_hash = {}", literal(database, &[]))),
            (256, format!("leaf_hash = {}", literal(database, &[7; 31]))),
            (257, "metadata = '[]'".to_owned()),
            (300, "outcome = 4".to_owned()),
            (300, "actor_type = -1".to_owned()),
        ] {
            verified.sql(&[&format!("UPDATE audit_logs SET {edit} WHERE seq = {at}")]).await;
            let why = format!("the service cannot read it: Entry {at} cannot be read: it was changed, and not by this service");
            verified.assert_found(&[], &format!("changed: entry {at}: {why}"));
            restore(&verified, "kept").await;
        }
        verified.assert_verified(&[], "600");
    }

    async fn a_rewritten_past_is_not_blamed_on_new_entries(database: &Database) {
        let verified = Verified::with(database, 1_000).await;
        let state = verified.file("state");
        verified.assert_verified(&["--state", &state], "1,000");
        keep(&verified, "yesterday").await;
        let since_last = ["--state", state.as_str(), "--since-last"];
        // Changes a new entry, while the past is unchanged.
        verified.import(1_000..ENTRIES);
        verified.sign(ENTRIES as u64).await;
        verified.sql(&["UPDATE audit_logs SET user_name = 'Another' WHERE seq = 1400"]).await;
        verified.seal(1_400, 1_400).await;
        verified.assert_found(&since_last, "changed: one of the entries 1001 to 1500: the entries are not those of the checkpoint, and no tile differs from them");
        restore(&verified, "yesterday").await;
        // Signs a different past, followed by the same entries.
        let nothing = format!(
            "UPDATE organizations SET head_seq = 0, edge = {}, root = {}",
            literal(database, &[]),
            literal(database, &auditlog_verify::merkle::Hash::of_nothing().0)
        );
        verified.sql(&["DELETE FROM audit_logs", "DELETE FROM log_tiles", "DELETE FROM checkpoints", &nothing]).await;
        verified.import(2_000..3_000);
        verified.import(1_000..ENTRIES);
        verified.sign(ENTRIES as u64).await;
        verified.assert_found(&since_last, "forked: one of the entries 1 to 1000: it is not as when the log was verified before, though what follows is as it was signed");
    }

    async fn a_restored_or_another_history_is_caught_and_named(database: &Database) {
        let verified = Verified::with(database, 1_000).await;
        let state = verified.file("state");
        keep(&verified, "yesterday").await;
        verified.import(1_000..ENTRIES);
        verified.sign(ENTRIES as u64).await;
        verified.assert_verified(&["--state", &state], "1,500");
        let remembered = std::fs::read_to_string(&state).expect("the state");
        restore(&verified, "yesterday").await;
        verified.assert_found(&["--state", &state], "rolled back: the checkpoint has 1000 entries, and it had 1500 before");
        // A different history follows, of the same length and then longer.
        verified.import(2_000..2_500);
        verified.sign(ENTRIES as u64).await;
        verified.assert_found(&["--state", &state], "forked: the checkpoint of 1500 entries has another root than before");
        verified.import(2_500..2_600);
        verified.sign(1_600).await;
        let (code, verdict) = verified.verify(&["--state", &state]);
        assert_eq!(code, Some(1));
        assert!(verdict.starts_with("NOT VERIFIED: forked: one of the entries 1 to 1024: it is not as when"), "{verdict}");
        assert_eq!(std::fs::read_to_string(&state).expect("the state"), remembered, "nothing was learnt from it");
        // Without a state, the verifier cannot detect it.
        verified.assert_verified(&[], "1,600");
        // A checkpoint that was edited with SQL.
        verified.sql(&["UPDATE checkpoints SET note = replace(note, '1600', '1500')"]).await;
        verified.assert_found(&[], "not signed: the signature of the note is not that of its key");
    }

    async fn recorded_erasures_are_counted_and_reported(database: &Database) {
        let verified = Verified::with(database, 300).await;
        let state = verified.file("state");
        verified.assert_verified(&["--state", &state], "300");
        let (one, other) = (id(7), id(260));
        let ids = [&one, &other].map(|id| EntryId::parse(id.clone()).expect("an id")).to_vec();
        let (target, groups) = (Target::Entries(ids), [Group::Actor, Group::Content].into_iter().collect());
        let reason = ErasureReason::parse("asked for".to_owned()).expect("a reason");
        let organization = OrganizationId::parse(ORGANIZATION).expect("an id");
        let erasure = Erasure { organization, target, groups, reason, key_id: "ErasersKey01".to_owned() };
        let (clock, random, patience) = (Clock::system(), Random::system(), Duration::from_secs(20));
        let keys = Some(record_keys());
        let eraser = Eraser::new(verified.store.clone(), clock, random, patience, keys, &Metrics::default());
        assert_eq!(eraser.erase(erasure).await.expect("erased").recorded, [301]);
        // The erasure record is not signed yet, and the verifier stops waiting for it.
        let may_be = "what records that values of entry 7 were erased has not come, and may be among what follows";
        verified.assert_unsigned(&[], "300", "the entries 301 to 301, which may record what was erased, are not signed");
        verified.sign(301).await;
        let public = verified.public.text();
        let (code, verdict, stderr) = verified.run(&["verify", "--public-key", &public, "--state", &state, "--verbose"]);
        assert!(code == Some(0) && verdict.ends_with("; 4 groups of values were properly erased\n"), "{verdict}");
        for (group, seq) in [("actor", 7), ("content", 7), ("actor", 260), ("content", 260)] {
            assert!(stderr.contains(&format!("properly erased: {group} of entry {seq}, by entry 301\n")), "{stderr}");
        }
        // A proof without the erased groups is valid.
        let (code, proof, stderr) = verified.run(&["prove", &one, "--public-key", &public]);
        assert_eq!(code, Some(0), "{stderr}");
        let file = verified.file("proof");
        std::fs::write(&file, proof).expect("a file");
        let (code, stdout, _) = ran(&["verify-proof", &file, "--public-key", &public], &[]);
        assert!(code == Some(0) && stdout.ends_with("\nactor: not in the proof (redacted or erased)\ncontent: not in the proof (redacted or erased)\n"), "{stdout}");
        keep(&verified, "kept").await;
        let wrong = literal(database, &[7; 32]);
        for (edit, verdict) in [
            (format!("UPDATE erasures SET hash = {wrong} WHERE seq = 7 AND group_code = 1"), format!("changed: entry 7: {CHANGED} [{one}]")),
            ("DELETE FROM erasures WHERE seq = 260".to_owned(), format!("removed without record: entry 260: its actor is not there, nor the hash of it [{other}]")),
        ] {
            verified.sql(&[&edit]).await;
            verified.assert_found(&[], &verdict);
            restore(&verified, "kept").await;
        }
        let [one, two] = shifted(100, 1);
        verified.sql(&[&one, &two, &copied(99, 100)]).await;
        verified.assert_found(&["--state", &state], &format!("added: entry 100: it was not there; what was 100 has become 101; {may_be} [log_added]"));
        restore(&verified, "kept").await;
        verified.sql(&["DELETE FROM audit_logs WHERE seq = 301"]).await;
        verified.assert_found(&[], "truncated: entry 301: the checkpoint has 301 entries, and the log ends with 300");
    }
}
