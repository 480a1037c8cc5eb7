//! A key that is new to a log: an entry of the log says so before the key first signs it.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Record;
use super::examine::Examined;
use super::keys::{Key, Keys};
use crate::domain::{Change, JsonText, Seq, ServiceEntry, Timestamp};
use crate::error::{Error, Result};
use crate::store::Store;
use auditlog_verify::merkle::{KeyEndorsement, SigningKey, VerifierKey};

/// The parts of the ids of entries: that of a first key, and those of the keys after it.
const FIRST: &str = "auditlog/rotation/v1/first";
const LATER: &str = "auditlog/rotation/v1";

/// Makes the key that signs one of the log's keys: those of a log without any begin with it, and others record it first.
/// `is_first` says that neither the database nor the file beside the key knows of a checkpoint of it.
/// A process that ends in between leaves nothing that the next try would do twice.
pub(super) async fn introduce(
    store: &Store,
    record: &Record,
    keys: &Keys,
    log: &Examined,
    is_first: bool,
    now: Timestamp,
) -> Result<()> {
    let is_without = log.keys.is_empty();
    if is_without {
        // Also those that sign along, for a process elsewhere that does not have the new one yet.
        for key in keys.active(now) {
            store.keep_log_key(&log.organization, &key.public(), 0).await?;
        }
    }
    // Erasures of before are recorded without a signature. Nobody else can say that there was no key then.
    if is_first && store.has_erasures(&log.organization).await? {
        let key = keys.main().signing();
        write(store, record, log, FIRST, &KeyEndorsement::sign(key.verifier(log.origin.clone()), &[key])).await?;
    }
    if is_without || log.has(&keys.main().public()) {
        return Ok(());
    }
    let key = keys.main();
    let verifier = key.signing().verifier(log.origin.clone());
    // Also by those that no longer sign: where the service did not run meanwhile, nobody knows a newer one.
    let known = keys.all().filter(|key| log.has(&key.public()));
    let introduction = KeyEndorsement::sign(verifier, &known.map(Key::signing).collect::<Vec<&SigningKey>>());
    let seq = write(store, record, log, LATER, &introduction).await?;
    store.keep_log_key(&log.organization, &key.public(), seq).await?;
    tracing::info!(organization = %log.organization, seq, "a new key signs this log from now on");
    Ok(())
}

/// Records an introduction, and gives the number of its entry.
async fn write(
    store: &Store,
    record: &Record,
    log: &Examined,
    which: &str,
    introduction: &KeyEndorsement,
) -> Result<Seq> {
    let values = [("verifierKey", introduction.key().text()), ("signatures", introduction.signatures().to_owned())];
    // Of a key that was lost there are none.
    let told = values.iter().filter(|(_, value)| !value.is_empty());
    let changes = told.map(|(field, value)| change(field, value)).collect::<Result<_>>()?;
    let catalogue = store.catalogue().await?;
    let organization = log.organization.clone();
    let uuid = uuid(which, introduction.key());
    let entry = ServiceEntry::Rotation.with_uuid(uuid, &organization, None, changes, &catalogue);
    record(organization, entry.map_err(internal)?, catalogue.into()).await
}

fn change(field: &str, value: &str) -> Result<Change> {
    let new_value = JsonText::parse(&serde_json::Value::from(value).to_string()).map_err(internal)?;
    Ok(Change { field: field.to_owned(), old_value: JsonText::null(), new_value })
}

/// The same for the same key of the same log, so that it is recorded once.
fn uuid(which: &str, verifier: &VerifierKey) -> Uuid {
    let hash = Sha256::new_with_prefix(which).chain_update("\0").chain_update(verifier.text()).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn internal(error: crate::domain::Invalid) -> Error {
    Error::Internal(anyhow::Error::new(error).context("a key cannot be recorded"))
}
