//! A key that is new to a log: an entry of the log says so before the key first signs it.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Record;
use super::examine::Examined;
use super::keys::{Key, Keys};
use crate::domain::{Change, JsonText, ServiceEntry, Timestamp};
use crate::error::{Error, Result};
use crate::merkle::{Introduction, SigningKey, VerifierKey};
use crate::store::Store;

/// Makes the key that signs one of the log's keys: those of a log without any begin with it, and others record it first.
/// A process that ends in between leaves nothing that the next try would do twice.
pub(super) async fn introduce(
    store: &Store,
    record: &Record,
    keys: &Keys,
    log: &Examined,
    now: Timestamp,
) -> Result<()> {
    if log.keys.is_empty() {
        // Also those that sign along, for a process elsewhere that does not have the new one yet.
        for key in keys.active(now) {
            store.keep_log_key(&log.organization, &key.public(), 0).await?;
        }
        return Ok(());
    }
    let key = keys.main();
    let verifier = key.signing().verifier(log.origin.clone());
    // Also by those that no longer sign: where the service did not run meanwhile, nobody knows a newer one.
    let known = keys.all().filter(|key| log.has(&key.public()));
    let introduction = Introduction::sign(verifier.clone(), &known.map(Key::signing).collect::<Vec<&SigningKey>>());
    let values = [("verifierKey", verifier.text()), ("signatures", introduction.signatures().to_owned())];
    // Of a key that was lost there are none.
    let told = values.iter().filter(|(_, value)| !value.is_empty());
    let changes = told.map(|(field, value)| change(field, value)).collect::<Result<_>>()?;
    let catalogue = store.catalogue().await?;
    let organization = log.organization.clone();
    let entry = ServiceEntry::Rotation.with_uuid(uuid(&verifier), &organization, None, changes, &catalogue);
    let seq = record(organization, entry.map_err(internal)?, catalogue.into()).await?;
    store.keep_log_key(&log.organization, &key.public(), seq).await?;
    tracing::info!(organization = %log.organization, seq, "a new key signs this log from now on");
    Ok(())
}

fn change(field: &str, value: &str) -> Result<Change> {
    let new_value = JsonText::parse(&serde_json::Value::from(value).to_string()).map_err(internal)?;
    Ok(Change { field: field.to_owned(), old_value: JsonText::null(), new_value })
}

/// The same for the same key of the same log, so that it is recorded once.
fn uuid(verifier: &VerifierKey) -> Uuid {
    let hash = Sha256::new_with_prefix("auditlog/rotation/v1\0").chain_update(verifier.text()).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn internal(error: crate::domain::Invalid) -> Error {
    Error::Internal(anyhow::Error::new(error).context("a key cannot be recorded"))
}
