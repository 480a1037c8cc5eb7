//! Key rotation: each log records a new key once before it first signs, whatever happens in between.

use auditlog::domain::{Change, JsonText, ServiceEntry};
use auditlog::store::HashedEntry;
use auditlog_verify::log::Trust;
use auditlog_verify::merkle::KeyEndorsement;

use super::*;
use crate::support::database::execute;

const NAMES: [&str; 3] = ["org_a", "org_b", "org_c"];
const OVERLAP: Duration = Duration::from_secs(60 * 60);

fn rotate(key_file: &Path, overlap: Duration) -> CheckpointKeys {
    CheckpointKeys::rotate(key_file, &Random::system(), Clock::system().now(), overlap).expect("a new key")
}

/// The entries of a log that endorse keys: their sequence numbers and the endorsements.
async fn introduced(store: &Store, name: &str) -> Vec<(i64, KeyEndorsement)> {
    let entries = store.hashed_entries(&organization(name), 0, i64::MAX, 10_000).await.expect("read");
    let rotations = entries.into_iter().filter(|one| one.entry.content.id.as_str().starts_with("auditlog:rotation:"));
    let endorsement = |HashedEntry { entry, .. }: HashedEntry| {
        let content = &entry.content;
        assert_eq!((entry.writer_key_id.as_str(), content.user_id.as_str()), ("-", "system"));
        assert_eq!(content.resource_id.as_str(), name);
        let value = |(change, field): (&Change, &str)| -> String {
            assert_eq!((change.field.as_str(), change.old_value.as_str()), (field, "null"));
            serde_json::from_str(change.new_value.as_str()).expect("a string")
        };
        let values: Vec<_> = content.changes.iter().zip(["verifierKey", "signatures"]).map(value).collect();
        let key = VerifierKey::parse(&values[0]).expect("a key");
        (entry.seq, KeyEndorsement::new(key, values.get(1).cloned().unwrap_or_default()))
    };
    rotations.map(endorsement).collect()
}

/// Their sequence numbers and keys.
async fn recorded(store: &Store, name: &str) -> Vec<(i64, String)> {
    introduced(store, name).await.into_iter().map(|(seq, introduction)| (seq, introduction.key().text())).collect()
}

/// The number of signatures of a note.
fn signatures(checkpoint: &SignedCheckpoint) -> usize {
    checkpoint.note.lines().filter(|line| line.starts_with('—')).count()
}

on_every_database! {
    async fn a_new_key_is_recorded_before_it_signs_and_the_old_one_also_signs(database: &Database) {
        let (store, key_file) = (database.store().await, new_key(database, "key"));
        let copy = copy_key(database, &key_file);
        let ingest = start(&store, Clock::system());
        let old = CheckpointKeys::load(&key_file).expect("a key");
        for name in NAMES {
            append(&ingest, name, 0, 5).await;
        }
        let mut replicas = vec![Task::start(&store, &ingest, &key_file), Task::start(&store, &ingest, &copy)];
        for name in NAMES {
            assert_eq!(signatures(&signed_up_to(&store, name, 5).await), 1);
        }
        let new = rotate(&key_file, OVERLAP);
        std::fs::copy(&key_file, &copy).expect("a copy");
        let mut seen = Vec::new();
        for name in NAMES {
            // Also a log that gets no entries.
            let first = until("a checkpoint by two keys", async || {
                let checkpoint = signed(&store, name).await?;
                seen.push((name, checkpoint.clone()));
                (signatures(&checkpoint) == 2).then_some(checkpoint)
            }).await;
            let (old, new) = (verifier(&store, name, old.main().signing()).await, verifier(&store, name, new.main().signing()).await);
            for key in [&old, &new] {
                check_note(&first, std::slice::from_ref(key));
                assert_ne!(opened_by_go(&key.text(), &first.note), Some(false));
            }
            let [(6, introduction)] = &introduced(&store, name).await[..] else { panic!("one, and the next") };
            assert_eq!(introduction.key(), &new);
            assert!(introduction.is_signed_by(&[old]) && !introduction.is_signed_by(&[new]));
            assert_eq!(first.size, 6);
        }
        assert!(seen.iter().all(|(_, one)| signatures(one) == if one.size < 6 { 1 } else { 2 }));
        // A new log has both keys from its first checkpoint, after each replica has reread its key file.
        let mut number = 0;
        let new = until("a log that is new is signed by two keys", async || {
            let name = format!("org_new_{number}");
            number += 1;
            append(&ingest, &name, 0, 1).await;
            (signatures(&signed_up_to(&store, &name, 1).await) == 2).then_some(name)
        }).await;
        assert!(recorded(&store, &new).await.is_empty());
        for replica in &mut replicas {
            replica.says(true).await;
        }
        for name in NAMES {
            assert_eq!(check_log(&store, name).await, 6, "no replica writes it again");
        }
    }

    async fn a_key_endorsed_only_in_the_database_is_not_trusted(database: &Database) {
        let (store, key_file, foreign) = (database.store().await, new_key(database, "key"), new_key(database, "foreign"));
        let ingest = start(&store, Clock::system());
        append(&ingest, "org", 0, 3).await;
        let mut task = Task::start(&store, &ingest, &key_file);
        signed_up_to(&store, "org", 3).await;
        // An attacker with write access to the database adds an endorsement. All hashes are right, and the attacker's
        // own key signs it.
        let (own, theirs) = (CheckpointKeys::load(&key_file).expect("a key"), CheckpointKeys::load(&foreign).expect("a key"));
        let [known, unknown] = [&own, &theirs].map(|keys| keys.main().signing());
        let introduction = KeyEndorsement::sign(verifier(&store, "org", unknown).await, &[unknown]);
        let change = |field: &str, value: &str| {
            let new_value = JsonText::parse(&serde_json::Value::from(value).to_string()).expect("JSON");
            Change { field: field.to_owned(), old_value: JsonText::null(), new_value }
        };
        let changes = vec![
            change("verifierKey", &introduction.key().text()),
            change("signatures", introduction.signatures()),
        ];
        let catalogue = store.catalogue().await.expect("read");
        let entry = ServiceEntry::Rotation.about(&organization("org"), None, changes, &catalogue, &Random::system());
        recorder(ingest.clone())(organization("org"), entry.expect("an entry"), catalogue.into()).await.expect("written");
        // Signing continues: the entry exists, but nobody trusts it.
        let checkpoint = signed_up_to(&store, "org", 4).await;
        let known = verifier(&store, "org", known).await;
        check_note(&checkpoint, std::slice::from_ref(&known));
        let trust = Trust::new([known.clone()]).expect("a key");
        let introduced: Vec<_> = introduced(&store, "org").await.into_iter().map(|(_, one)| one).collect();
        assert_eq!(introduced, [introduction]);
        assert_eq!(trust.after(&checkpoint.note, &introduced).keys(), [known]);
        task.says(true).await;
        task.end().await;
    }

    async fn the_old_key_stops_at_the_end_of_the_overlap(database: &Database) {
        let (store, key_file) = (database.store().await, new_key(database, "key"));
        let ingest = start(&store, Clock::system());
        append(&ingest, "org", 0, 1).await;
        let mut task = Task::start(&store, &ingest, &key_file);
        signed_up_to(&store, "org", 1).await;
        let new = rotate(&key_file, Duration::from_secs(4));
        assert_eq!(signatures(&signed_up_to(&store, "org", 2).await), 2);
        tokio::time::sleep(Duration::from_secs(4)).await;
        append(&ingest, "org", 1, 1).await;
        let alone = signed_up_to(&store, "org", 3).await;
        assert_eq!(signatures(&alone), 1);
        check_note(&alone, &[verifier(&store, "org", new.main().signing()).await]);
        task.says(true).await;
        // The next rotation removes expired keys from the file.
        assert_eq!(rotate(&key_file, OVERLAP).all().count(), 2);
        signed_up_to(&store, "org", 4).await;
        assert_eq!(recorded(&store, "org").await.len(), 2);
    }

    async fn a_kill_between_the_steps_records_a_key_once(database: &Database) {
        let (store, key_file) = (database.store().await, new_key(database, "key"));
        let ingest = start(&store, Clock::system());
        append(&ingest, "org", 0, 3).await;
        let task = Task::start(&store, &ingest, &key_file);
        signed_up_to(&store, "org", 3).await;
        task.end().await;
        let new = rotate(&key_file, OVERLAP);
        // Like a kill after the entry, after the key, and after the state file.
        for undo in [
            "DELETE FROM log_keys WHERE seq > 0",
            "DELETE FROM checkpoints",
            "DELETE FROM log_keys WHERE seq > 0; DELETE FROM checkpoints",
        ] {
            let mut task = Task::start(&store, &ingest, &key_file);
            task.says(true).await;
            task.end().await;
            for statement in undo.split(';') {
                execute(database, statement).await;
            }
            let mut tasks = [Task::start(&store, &ingest, &key_file), Task::start(&store, &ingest, &key_file)];
            for task in &mut tasks {
                task.says(true).await;
            }
            let verifier = verifier(&store, "org", new.main().signing()).await;
            assert_eq!(recorded(&store, "org").await, [(4, verifier.text())], "{undo}");
            let known = store.log_keys(&organization("org")).await.expect("read");
            assert_eq!(known.iter().map(|key| key.seq).collect::<Vec<_>>(), [0, 4], "{undo}");
            assert_eq!(signed_up_to(&store, "org", 4).await.size, 4, "{undo}");
            for task in tasks {
                task.end().await;
            }
        }
    }
}
