//! Records a new key of a log: an entry of the log introduces the key before its first signature.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Record;
use super::examine::Examined;
use super::keys::{CheckpointKey, CheckpointKeys};
use crate::domain::{Seq, ServiceEntry, Timestamp};
use crate::error::{Error, Result};
use crate::store::Store;
use auditlog_verify::merkle::{KeyEndorsement, SigningKey, VerifierKey};

/// Hashed into the id of the entry that introduces a log's first key.
const FIRST: &str = "auditlog/rotation/v1/first";
/// Hashed into the ids of the entries that introduce later keys.
const LATER: &str = "auditlog/rotation/v1";

/// Makes the main key one of the log's keys. A log without keys starts with the active keys; another log first records
/// the new key in an entry. `is_first` says that neither the database nor the state file has a checkpoint of the log.
/// After an interruption, the next call records nothing twice.
pub(super) async fn introduce(
    store: &Store,
    record: &Record,
    keys: &CheckpointKeys,
    log: &Examined,
    is_first: bool,
    now: Timestamp,
) -> Result<()> {
    let is_without = log.keys.is_empty();
    if is_without {
        // Also the old keys that still sign, for a process elsewhere that does not have the new key yet.
        for key in keys.active(now) {
            store.keep_log_key(&log.organization, &key.public(), 0).await?;
        }
    }
    // Earlier erasures have unsigned records. Only this entry shows that there was no key at that time.
    if is_first && store.has_erasures(&log.organization).await? {
        let key = keys.main().signing();
        write(store, record, log, FIRST, &KeyEndorsement::sign(key.verifier(log.origin.clone()), &[key])).await?;
    }
    if is_without || log.has(&keys.main().public()) {
        return Ok(());
    }
    let key = keys.main();
    let verifier = key.signing().verifier(log.origin.clone());
    // Expired keys sign too: if the service did not run during the overlap, verifiers know no newer key.
    let known = keys.all().filter(|key| log.has(&key.public()));
    let introduction = KeyEndorsement::sign(verifier, &known.map(CheckpointKey::signing).collect::<Vec<&SigningKey>>());
    let seq = write(store, record, log, LATER, &introduction).await?;
    store.keep_log_key(&log.organization, &key.public(), seq).await?;
    tracing::info!(organization = %log.organization, seq, "a new key signs this log from now on");
    Ok(())
}

/// Records an introduction. Returns the number of its entry.
async fn write(
    store: &Store,
    record: &Record,
    log: &Examined,
    which: &str,
    introduction: &KeyEndorsement,
) -> Result<Seq> {
    let values = [("verifierKey", introduction.key().text()), ("signatures", introduction.signatures().to_owned())];
    // There are no signatures if the old keys are lost.
    let present = values.iter().filter(|(_, value)| !value.is_empty());
    let changes = present.map(|(field, value)| ServiceEntry::fact(field, value.as_str())).collect();
    let catalogue = store.catalogue().await?;
    let organization = log.organization.clone();
    let uuid = uuid(which, introduction.key());
    let entry = ServiceEntry::Rotation.with_uuid(uuid, &organization, None, changes, &catalogue);
    record(organization, entry.map_err(internal)?, catalogue.into()).await
}

/// The same id for the same key and log, so that the introduction is recorded once.
fn uuid(which: &str, verifier: &VerifierKey) -> Uuid {
    let hash = Sha256::new_with_prefix(which).chain_update("\0").chain_update(verifier.text()).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn internal(error: crate::domain::Invalid) -> Error {
    Error::Internal(anyhow::Error::new(error).context("a key cannot be recorded"))
}
