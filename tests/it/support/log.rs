//! Checkpoints that the test itself signs, and clients of the integrity service.

use std::sync::Arc;

use auditlog::domain::hex;
use auditlog::grpc::pb::integrity_service_client::IntegrityServiceClient;
use auditlog::ingest::{LoadRecordKeys, RecordKeys};
use auditlog::store::Store;
use auditlog_verify::merkle::{Checkpoint, Hash, KeyName, ProofRequest, SigningKey, VerifierKey, sign};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sea_orm::{ConnectionTrait, Database as Connections};
use tonic::transport::Channel;

use super::ingest::organization;
use super::{Backend, Database, Service};

/// The log name that tests use.
pub const LOG_NAME: &str = "audit.example.com";

fn signing_key() -> SigningKey {
    SigningKey::from_seed(&[7; 32]).expect("32 bytes")
}

/// Signs erasure records with the key that signs the checkpoints.
pub fn record_keys() -> LoadRecordKeys {
    Arc::new(|log_id, _| Ok(RecordKeys { origin: verifier_key(log_id).name().clone(), keys: vec![signing_key()] }))
}

/// The key that verifies the checkpoints of a log.
pub fn verifier_key(log_id: &str) -> VerifierKey {
    signing_key().verifier(KeyName::parse(format!("{LOG_NAME}/{log_id}")).expect("a name"))
}

/// A signed checkpoint of a tree, and the key that verifies it.
pub fn signed(log_id: &str, size: u64, root: Hash) -> (VerifierKey, String) {
    let verifier = verifier_key(log_id);
    let origin = verifier.name().clone();
    let text = Checkpoint { origin: origin.clone(), size, root }.text();
    let note = sign(&text, &origin, &[&signing_key()]);
    (verifier, note)
}

/// Signs a checkpoint of the log at `size` and stores it as the only one.
pub async fn sign_at(database: &Database, service: &Service, name: &str, size: u64) {
    sign_in(database, &service.store, name, size).await;
}

/// Like [`sign_at`], for the log in `store`. Returns the key that verifies the checkpoint.
pub async fn sign_in(database: &Database, store: &Store, name: &str, size: u64) -> VerifierKey {
    let log_id = store.log_head(&organization(name)).await.expect("read").expect("a log").log_id;
    let question = ProofRequest::root(size).expect("a size");
    let tiles = store.tiles(&organization(name), &question.tiles(), size).await.expect("read");
    let root = question.answer(&tiles).expect("whole tiles")[0];
    let (verifier, note) = signed(&log_id, size, root);
    let bytes = |bytes: &[u8]| literal(database, bytes);
    let text = verifier.text();
    let encoded = text.splitn(3, '+').nth(2).expect("a key");
    // Skips the algorithm byte.
    let public = bytes(&STANDARD.decode(encoded).expect("base64")[1..]);
    let connection = Connections::connect(&database.url).await.expect("the database accepts");
    for statement in [
        format!("DELETE FROM checkpoints WHERE organization_id = '{name}'"),
        format!("INSERT INTO checkpoints VALUES ('{name}', {size}, {}, '{note}', 0)", bytes(&root.0)),
        format!("INSERT INTO log_keys VALUES ('{name}', {public}, 0) ON CONFLICT DO NOTHING"),
    ] {
        connection.execute_unprepared(&statement).await.expect("it runs");
    }
    connection.close().await.expect("it closes");
    verifier
}

/// `bytes` as a SQL literal.
pub fn literal(database: &Database, bytes: &[u8]) -> String {
    match database.backend {
        Backend::Sqlite => format!("x'{}'", hex(bytes)),
        Backend::Postgres => format!("decode('{}', 'hex')", hex(bytes)),
    }
}

/// A gRPC client without an API key.
pub async fn verifier(service: &Service) -> IntegrityServiceClient<Channel> {
    IntegrityServiceClient::connect(service.url("")).await.expect("the service accepts")
}
