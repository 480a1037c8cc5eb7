//! Signed checkpoints: they follow the log and never contradict each other.

mod commands;
mod faults;
mod refusals;
mod rotation;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use auditlog::app::recorder;
use auditlog::domain::{Clock, Random};
use auditlog::ingest::Ingest;
use auditlog::metrics::Metrics;
use auditlog::signer::{CheckpointKeys, Signer};
use auditlog::store::{SignedCheckpoint, Store};
use auditlog_verify::merkle::{Checkpoint, ProofRequest, SigningKey, VerifierKey, open, verify_consistency};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::proofs::opened_by_go;
use crate::support::check_log::check_log;
use crate::support::ingest::{entry, organization, start, write};
use crate::support::log::LOG_NAME;
use crate::support::process::{auditlog, ran};
use crate::support::signer::{new_key, signing};
use crate::support::until;
use crate::support::{Backend, Database, Process, on_every_database};

const PROOFS: &str = "auditlog.v1.IntegrityService";

/// Copies the key and its state, as for another machine.
fn copy_key(database: &Database, key_file: &Path) -> PathBuf {
    let copy = database.directory.path().join("copy");
    for ending in ["", ".state"] {
        let with = |path: &Path| format!("{}{ending}", path.display());
        std::fs::copy(with(key_file), with(&copy)).expect("a copy");
    }
    copy
}

/// A running signer, and whether it can sign.
struct Task {
    task: JoinHandle<()>,
    serving: watch::Receiver<bool>,
}

impl Task {
    fn start(store: &Store, ingest: &Ingest, key_file: &Path) -> Self {
        let signer = Signer::new(store.clone(), Clock::system(), signing(key_file), recorder(ingest.clone()));
        let (signer, (sender, serving)) = (signer.expect("a key"), watch::channel(false));
        let steps = async move {
            loop {
                sender.send_replace(signer.step().await.is_ok());
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        Self { task: tokio::spawn(steps), serving }
    }

    /// Waits until the signer reports `expected`, in a pass that starts after this call.
    async fn says(&mut self, expected: bool) {
        self.serving.mark_unchanged();
        let said = async { while self.serving.changed().await.is_ok() && *self.serving.borrow() != expected {} };
        let said = tokio::time::timeout(Duration::from_secs(20), said).await;
        assert!(said.is_ok(), "in vain: it says {expected}");
    }

    /// Aborts the signer, like a kill.
    async fn end(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn signed(store: &Store, name: &str) -> Option<SignedCheckpoint> {
    store.checkpoint(&organization(name)).await.expect("read")
}

/// Waits for a checkpoint of at least `size` entries.
async fn signed_up_to(store: &Store, name: &str, size: u64) -> SignedCheckpoint {
    until(&format!("a checkpoint of {size} entries"), async || signed(store, name).await.filter(|one| one.size >= size))
        .await
}

async fn log_id(store: &Store, name: &str) -> String {
    store.log_head(&organization(name)).await.expect("read").expect("a log").log_id
}

/// The verifier key of `key` for a log.
async fn verifier(store: &Store, name: &str, key: &SigningKey) -> VerifierKey {
    key.verifier(signing(Path::new("")).log_name.origin(&log_id(store, name).await).expect("an origin"))
}

async fn append(ingest: &Ingest, to: &str, from: u64, count: u64) {
    let entries = (from..from + count).map(|number| entry(&format!("log_{number}"), number)).collect();
    write(ingest, to, entries).await.expect("written");
}

/// Checks that a checkpoint is signed and matches its row.
fn check_note(checkpoint: &SignedCheckpoint, keys: &[VerifierKey]) {
    let said = Checkpoint::parse(open(&checkpoint.note, keys).expect("it is signed")).expect("a checkpoint");
    assert_eq!((said.size, said.root, &said.origin), (checkpoint.size, checkpoint.root, keys[0].name()));
}

/// Checks that the current log begins with the signed one.
async fn check_extends(store: &Store, name: &str, old: &SignedCheckpoint) {
    let head = store.log_head(&organization(name)).await.expect("read").expect("a log");
    let (size, root) = (head.edge.size(), head.root);
    let question = ProofRequest::consistency(old.size, size).expect("no smaller than what was signed");
    let tiles = store.tiles(&organization(name), &question.tiles(), size).await.expect("read");
    let proof = question.answer(&tiles).expect("whole tiles");
    assert_eq!(verify_consistency(old.size, old.root, &proof, size, root), Ok(()), "{} of {size}", old.size);
}

/// The health status of a service name; `None` if it is unknown.
async fn health(address: &str, of: &str) -> Option<i32> {
    let channel = Channel::from_shared(address.to_owned()).expect("a URL").connect().await.expect("it accepts");
    let check = HealthCheckRequest { service: of.to_owned() };
    HealthClient::new(channel).check(check).await.ok().map(|answer| answer.into_inner().status)
}

const SERVING: Option<i32> = Some(1);
const NOT_SERVING: Option<i32> = Some(2);

/// A process that signs.
fn serve(database: &Database, key_file: &Path) -> Process {
    let mut command = auditlog();
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("AUDITLOG_DATABASE_URL", &database.url);
    command.env("AUDITLOG_SIGNING_KEY", key_file).env("AUDITLOG_LOG_NAME", LOG_NAME);
    Process::spawn(command)
}

/// Waits for a log line that contains `text`.
fn logged_line(service: &Process, text: &str) -> String {
    let until = Instant::now() + Duration::from_secs(20);
    let later = std::iter::from_fn(|| service.log.recv_timeout(until.duration_since(Instant::now())).ok());
    let found = service.said.iter().cloned().chain(later).find(|line| line.contains(text));
    found.unwrap_or_else(|| panic!("in vain: {text}"))
}

on_every_database! {
    async fn checkpoints_cover_new_entries_and_verify(database: &Database) {
        let (store, key_file) = (database.store().await, new_key(database, "key"));
        let ingest = start(&store, Clock::system());
        let service = serve(database, &key_file);
        let begun = Instant::now();
        append(&ingest, "org_a", 0, 3).await;
        signed_up_to(&store, "org_a", 3).await;
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        until("it serves proofs", async || (health(&service.url(""), PROOFS).await == SERVING).then_some(())).await;
        append(&ingest, "org_a", 3, 300).await;
        append(&ingest, "org_b", 0, 1).await;
        let keys = CheckpointKeys::load(&key_file).expect("a key");
        for (name, size) in [("org_a", 303), ("org_b", 1)] {
            let checkpoint = signed_up_to(&store, name, size).await;
            let verifier = verifier(&store, name, keys.main().signing()).await;
            check_note(&checkpoint, std::slice::from_ref(&verifier));
            assert_eq!(checkpoint.root, store.log_head(&organization(name)).await.expect("read").expect("a log").root);
            assert_ne!(opened_by_go(&verifier.text(), &checkpoint.note), Some(false));
            let known = store.log_keys(&organization(name)).await.expect("read");
            assert_eq!((known.len(), known[0].seq, &known[0].public[..]), (1, 0, &keys.main().public()[..]));
        }
        assert_eq!(service.terminate(), Some(0));
    }

    async fn without_a_key_nothing_is_signed_and_all_else_works(database: &Database) {
        let store = database.store().await;
        let service = Process::serve(&database.url);
        assert!(service.said.iter().any(|line| line.contains("checkpoints are not signed")), "{:?}", service.said);
        append(&start(&store, Clock::system()), "org", 0, 3).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(signed(&store, "org").await, None);
        assert_eq!((health(&service.url(""), "").await, health(&service.url(""), PROOFS).await), (SERVING, NOT_SERVING));
    }

    async fn every_checkpoint_extends_all_earlier_ones(database: &Database) {
        const NAMES: [&str; 3] = ["org_a", "org_b", "org_c"];
        let (store, key_file) = (database.store().await, new_key(database, "key"));
        let copy = copy_key(database, &key_file);
        let ingest = start(&store, Clock::system());
        let mut replicas = [Task::start(&store, &ingest, &key_file), Task::start(&store, &ingest, &copy)];
        let begun = Instant::now();
        let writes = async {
            let mut next = 0;
            while begun.elapsed() < Duration::from_secs(6) {
                append(&ingest, NAMES[next as usize % 3], next * 1_000, 1 + next % 90).await;
                next += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let mut seen: BTreeMap<(&str, u64), SignedCheckpoint> = BTreeMap::new();
        let reads = async {
            let mut last = [0; 3];
            while begun.elapsed() < Duration::from_secs(8) {
                for (name, last) in NAMES.into_iter().zip(&mut last) {
                    let Some(checkpoint) = signed(&store, name).await else { continue };
                    assert!(checkpoint.size >= *last, "{name}: {} after {last}", checkpoint.size);
                    *last = checkpoint.size;
                    let known = seen.entry((name, checkpoint.size)).or_insert_with(|| checkpoint.clone());
                    assert_eq!((known.root, &known.note), (checkpoint.root, &checkpoint.note), "{name}");
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::join!(writes, reads);
        for replica in &mut replicas {
            replica.says(true).await;
        }
        assert!(seen.len() > 9, "{}", seen.len());
        for ((name, _), checkpoint) in &seen {
            check_extends(&store, name, checkpoint).await;
        }
        for name in NAMES {
            assert_eq!(check_log(&store, name).await, signed(&store, name).await.expect("signed").size);
        }
    }
}
