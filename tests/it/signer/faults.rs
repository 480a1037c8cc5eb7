//! Kills, directories that cannot be written, and invalid files.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use auditlog::app::record_keys;
use auditlog::domain::{EntryId, Erased, Group};
use auditlog::error::Error;
use auditlog::ingest::{Eraser, Erasure, Target};
use auditlog::store::{HashedEntry, Store};
use auditlog_verify::merkle::CompactRange;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::support::database::execute;
use crate::support::database::hold_head;
use crate::support::erasure::erasure;

on_every_database! {
    async fn a_killed_signer_continues_after_a_restart(database: &Database) {
        let (store, key_file) = (database.store().await, new_key(database, "key"));
        let ingest = start(&store, Clock::system());
        let mut random = StdRng::seed_from_u64(9);
        let mut next = 0;
        for _ in 0..8 {
            let service = serve(database, &key_file);
            let begun = Instant::now();
            let life = Duration::from_millis(random.random_range(0..1_300));
            while begun.elapsed() < life {
                append(&ingest, ["org_a", "org_b"][next as usize % 2], next * 100, 1 + next % 7).await;
                next += 1;
            }
            let said: Vec<_> = service.log.try_iter().filter(|line| line.contains("stopped") || line.contains("ERROR")).collect();
            assert_eq!(said, [""; 0]);
            service.kill();
        }
        let mut task = Task::start(&store, &ingest, &key_file);
        task.says(true).await;
        for name in ["org_a", "org_b"] {
            assert_eq!(signed(&store, name).await.map(|one| one.size), Some(check_log(&store, name).await));
        }
    }

    async fn a_state_file_ahead_of_the_stored_checkpoint_is_no_rollback(database: &Database) {
        let (store, key_file) = (database.store().await, new_key(database, "key"));
        let ingest = start(&store, Clock::system());
        append(&ingest, "org", 0, 3).await;
        let task = Task::start(&store, &ingest, &key_file);
        let before = signed_up_to(&store, "org", 3).await;
        append(&ingest, "org", 3, 3).await;
        signed_up_to(&store, "org", 6).await;
        task.end().await;
        // Like a kill between the state file and the database, and one during the write of the file.
        execute(database, "DELETE FROM checkpoints").await;
        store.keep_checkpoints(&[(organization("org"), before)]).await.expect("kept");
        std::fs::write(database.directory.path().join(".key.state.a1b2c3.new"), "# What aud").expect("a file");
        let mut task = Task::start(&store, &ingest, &key_file);
        task.says(true).await;
        assert_eq!(signed(&store, "org").await.map(|one| one.size), Some(6));
    }

    async fn a_slow_replica_does_not_overwrite_a_newer_checkpoint(database: &Database) {
        let store = database.store().await;
        let checkpoint = |size: u64, note: &str| {
            let (root, signed_at) = (auditlog_verify::merkle::Hash::of_leaf(note.as_bytes()), Clock::system().now());
            (organization("org"), SignedCheckpoint { size, root, note: note.to_owned(), signed_at })
        };
        for (size, note) in [(5, "first"), (9, "last"), (7, "late"), (9, "another")] {
            store.keep_checkpoints(&[checkpoint(size, note)]).await.expect("kept or passed over");
        }
        let kept = signed(&store, "org").await.expect("a checkpoint");
        assert_eq!((kept.size, kept.note.as_str()), (9, "last"));
    }

    async fn nothing_is_signed_while_the_state_file_cannot_be_written(database: &Database) {
        let keys = database.directory.path().join("keys");
        std::fs::create_dir(&keys).expect("a directory");
        let (store, key_file) = (database.store().await, new_key(database, "keys/key"));
        let ingest = start(&store, Clock::system());
        append(&ingest, "org", 0, 3).await;
        set_mode(&keys, 0o500);
        let service = serve_by_modes(database, &key_file);
        let line = logged_line(&service, "nothing can be signed");
        assert!(line.contains("Permission denied"), "{line}");
        append(&ingest, "org", 3, 3).await;
        assert_eq!((health(&service.url(""), "").await, health(&service.url(""), PROOFS).await), (SERVING, NOT_SERVING));
        assert_eq!(signed(&store, "org").await, None);
        set_mode(&keys, 0o700);
        signed_up_to(&store, "org", 6).await;
        until("it serves proofs", async || (health(&service.url(""), PROOFS).await == SERVING).then_some(())).await;
    }

    async fn damaged_files_stop_the_signer_and_nothing_else(database: &Database) {
        let (store, key_file) = (database.store().await, new_key(database, "key"));
        let ingest = start(&store, Clock::system());
        append(&ingest, "org", 0, 3).await;
        let mut task = Task::start(&store, &ingest, &key_file);
        signed_up_to(&store, "org", 3).await;
        for name in ["key", "key.state"] {
            let path = database.directory.path().join(name);
            let whole = std::fs::read(&path).expect("it is there");
            for damage in [&b"nonsense"[..], b"\xff\xfe", &[&whole[..], b"\nx"].concat()] {
                std::fs::write(&path, damage).expect("written");
                task.says(false).await;
                std::fs::write(&path, &whole).expect("written");
                task.says(true).await;
            }
        }
        append(&ingest, "org", 3, 1).await;
        signed_up_to(&store, "org", 4).await;
    }

    async fn roots_match_the_leaves_through_writes_erasures_and_kills(database: &Database) {
        let (store, key_file) = (database.store().await, new_key(database, "key"));
        let mut random = StdRng::seed_from_u64(11);
        let mut task: Option<Task> = None;
        let mut ingest = start(&store, Clock::system());
        let (mut next, mut seen) = (0, BTreeMap::new());
        for _ in 0..80 {
            match random.random_range(0..10) {
                0..4 => {
                    let size = [1, 3, 60, 256][random.random_range(0..4)];
                    append(&ingest, "org", next, size).await;
                    next += size;
                }
                // A write whose caller gives up, and a transaction that is never committed.
                4 => {
                    let writing = append(&ingest, "org", next, 40);
                    let _ = tokio::time::timeout(Duration::from_micros(random.random_range(0..4_000)), writing).await;
                    next += 40;
                }
                5 => drop(hold_head(&store, "org").await),
                // An erasure that completes, or whose caller gives up.
                6 | 7 if next > 0 => {
                    let id = EntryId::parse(format!("log_{}", random.random_range(0..next))).expect("an id");
                    let patience = [2_000_000, random.random_range(0..4_000)][random.random_range(0..2)];
                    let erasing = erase_all(&store, &key_file, id);
                    let _ = tokio::time::timeout(Duration::from_micros(patience), erasing).await;
                }
                8 => match task.take() {
                    Some(task) => task.end().await,
                    None => task = Some(Task::start(&store, &ingest, &key_file)),
                },
                _ => {
                    ingest = start(&store, Clock::system());
                    tokio::time::sleep(Duration::from_millis(random.random_range(0..700))).await;
                }
            }
            if let Some(checkpoint) = signed(&store, "org").await {
                seen.insert(checkpoint.size, checkpoint);
            }
        }
        if let Some(task) = task {
            task.end().await;
        }
        let _task = Task::start(&store, &ingest, &key_file);
        // A write whose caller gave up may still be committed.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let size = check_log(&store, "org").await;
        let last = signed_up_to(&store, "org", size).await;
        assert_eq!(last.size, size);
        seen.insert(size, last);
        assert!(seen.len() > 3, "{:?}", seen.keys());
        let (mut edge, mut erased) = (CompactRange::default(), 0);
        for HashedEntry { entry, leaf, .. } in store.hashed_entries(&organization("org"), 0, i64::MAX, size).await.expect("read") {
            let _ = edge.append(leaf);
            erased += usize::from(entry.erased != Erased::default());
            if let Some(checkpoint) = seen.get(&edge.size()) {
                assert_eq!(checkpoint.root, edge.root(), "{}", edge.size());
            }
        }
        assert!(erased > 3, "{erased} entries lost values");
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its mode changes");
}

/// A process that signs. If it is root, it gives up the capability to ignore file modes.
fn serve_by_modes(database: &Database, key_file: &Path) -> Process {
    if std::fs::metadata(key_file).expect("a key").uid() != 0 {
        return serve(database, key_file);
    }
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-dac_override").arg(auditlog().get_program());
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("AUDITLOG_DATABASE_URL", &database.url);
    command.env("AUDITLOG_SIGNING_KEY", key_file).env("AUDITLOG_LOG_NAME", LOG_NAME);
    Process::spawn(command)
}

/// Erases the personal values of `id`, if the entry exists, and signs the record with the keys in `key_file`.
async fn erase_all(store: &Store, key_file: &Path, id: EntryId) {
    let groups = [Group::Actor, Group::Content].into_iter().collect();
    let target = Target::Entries(vec![id]);
    let keys = record_keys(signing(key_file), Clock::system());
    let patience = Duration::from_secs(20);
    let eraser =
        Eraser::new(store.clone(), Clock::system(), Random::system(), patience, Some(keys), &Metrics::default());
    match eraser.erase(Erasure { organization: organization("org"), ..erasure(target, groups) }).await {
        // The entry may be missing, because the caller of its write gave up.
        Ok(_) | Err(Error::AuditLogsNotFound(_)) => {}
        Err(error) => panic!("{error}"),
    }
}
