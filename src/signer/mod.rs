//! Signs checkpoints of logs that have grown. Each checkpoint is a committed tree head that extends the last one
//! signed. The database and a state file beside the key both store the last one. If a log does not extend it, nothing
//! is signed until an operator has decided.

mod acknowledge;
mod examine;
mod files;
mod keys;
mod memory;
mod rotation;

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tracing::{error, info, warn};

use crate::domain::{Catalogue, Clock, NewEntry, OrganizationId, Seq};
use crate::error::{Error, Result};
use crate::files::check_owner;
use crate::store::{LogStatus, SignedCheckpoint, Store};
use auditlog_verify::merkle::{LogName, SigningKey, sign};
use examine::{Examined, examine};
use memory::{SignedState, StateFile};

pub use acknowledge::{Rollback, acknowledge, rollbacks};
pub use examine::Finding;
pub use keys::{CheckpointKey, CheckpointKeys};
pub use memory::TreeHead;

/// The maximum number of findings logged at once.
const MAX_LOGGED: usize = 10;

/// The key file, and the log name to sign under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// The file of the signing keys.
    pub key_file: PathBuf,
    /// The first part of each log's origin.
    pub log_name: LogName,
}

/// Writes a service entry and returns its number. If the entry exists already, returns its present number.
pub type Record =
    Box<dyn Fn(OrganizationId, NewEntry, Arc<Catalogue>) -> BoxFuture<'static, Result<Seq>> + Send + Sync>;

/// Signs the logs of one database.
pub struct Signer {
    store: Store,
    clock: Clock,
    signing: Signing,
    record: Record,
}

/// Why a step signed nothing.
pub enum SignerStopped {
    /// Logs that may not be signed, at least one, each with the reason.
    Refused(Vec<(String, Finding)>),
    /// Logs were signed before, and this state file, which has their last tree heads, is missing.
    StateMissing(PathBuf),
    /// The key file or the state file cannot be used.
    Files(anyhow::Error),
    /// The database does not answer. A retry may succeed.
    Storage(Error),
    /// A bug in this service, or a damaged database.
    Internal(Error),
}

impl From<Error> for SignerStopped {
    fn from(error: Error) -> Self {
        match error {
            Error::StorageUnavailable(_)
            | Error::Overloaded(_)
            | Error::Timeout
            | Error::WriteTimeout
            | Error::Draining => Self::Storage(error),
            lasting => Self::Internal(lasting),
        }
    }
}

impl From<anyhow::Error> for SignerStopped {
    fn from(error: anyhow::Error) -> Self {
        Self::Files(error)
    }
}

impl Signer {
    /// Reads the keys of `signing`, so that a wrong file fails at startup. Errors: the file cannot be read; the process
    /// is root, and the file or its directory belongs to another user.
    pub fn new(store: Store, clock: Clock, signing: Signing, record: Record) -> anyhow::Result<Self> {
        let Signing { key_file, log_name } = &signing;
        check_owner(key_file, "serve …")?;
        CheckpointKeys::load(key_file)?;
        let file = key_file.display();
        if keys::is_exposed(key_file) {
            warn!(%file, "users other than its owner can read or write the signing key; run chmod 600");
        }
        info!(%file, %log_name, "signing checkpoints");
        Ok(Self { store, clock, signing, record })
    }

    /// Signs all logs that have grown, unless one of them may not be signed. Returns how many.
    pub async fn step(&self) -> std::result::Result<usize, SignerStopped> {
        let keys = CheckpointKeys::load(&self.signing.key_file)?;
        let state = StateFile::of(&self.signing.key_file);
        // Read before the logs: other processes may sign with the same file.
        let memory = {
            let state = state.clone();
            blocking(move || state.read()).await?
        };
        let logs = self.store.log_statuses(&keys.main().public()).await?;
        let memory = match memory {
            Some(memory) => memory,
            None if logs.iter().any(|log| log.signed > 0) => {
                return Err(SignerStopped::StateMissing(state.path().to_owned()));
            }
            None => {
                let state = state.clone();
                blocking(move || state.create()).await?;
                SignedState::new()
            }
        };
        let examined = self.examine_all(&keys, &memory, &logs).await?;
        let mut signed = Vec::with_capacity(examined.len());
        for examined in examined {
            signed.extend(self.signed(&keys, &memory, examined).await?);
        }
        if signed.is_empty() {
            return Ok(0);
        }
        let changes: BTreeMap<_, _> =
            signed.iter().map(|(examined, _)| (examined.log_id.clone(), Some(examined.now))).collect();
        // The state file first: restoring a database does not roll it back.
        let remembered = blocking(move || state.change(&memory, changes)).await?;
        let kept = signed.into_iter().filter(|(examined, _)| remembered.contains(&examined.log_id));
        let kept: Vec<_> = kept.map(|(examined, checkpoint)| (examined.organization, checkpoint)).collect();
        self.store.keep_checkpoints(&kept).await?;
        Ok(kept.len())
    }

    /// The logs to sign. Errors: a log that has grown or is in the state file may not be signed.
    async fn examine_all(
        &self,
        keys: &CheckpointKeys,
        memory: &SignedState,
        logs: &[LogStatus],
    ) -> std::result::Result<Vec<Examined>, SignerStopped> {
        let mut refused = Vec::new();
        let mut examined = Vec::new();
        let mut gone: BTreeMap<_, _> = memory.iter().collect();
        for log in logs {
            let remembered = gone.remove(&log.log_id).copied();
            let in_file = remembered.map_or(0, |remembered| remembered.size);
            // A log is also examined if the state file was lost, or if the database was restored and has not grown
            // since.
            let is_signed = log.signed == log.size && in_file == log.size && (log.has_key || log.size == 0);
            if is_signed {
                continue;
            }
            let looked = match examine(&self.store, keys, &self.signing.log_name, log, remembered).await {
                Err(Error::Internal(cause)) => {
                    warn!(organization = %log.organization, error = format!("{cause:#}"), "a log cannot be read");
                    refused.push((log.organization.to_string(), Finding::Damaged { size: log.size }));
                    continue;
                }
                looked => looked?,
            };
            match looked {
                Some(one) if one.findings.is_empty() => examined.push(one),
                Some(Examined { findings, .. }) => {
                    refused.extend(findings.into_iter().map(|finding| (log.organization.to_string(), finding)));
                }
                None => refused.extend(remembered.map(|signed| gone_log(&log.log_id, signed))),
            }
        }
        refused.extend(gone.into_iter().map(|(log_id, signed)| gone_log(log_id, *signed)));
        if refused.is_empty() { Ok(examined) } else { Err(SignerStopped::Refused(refused)) }
    }

    /// The checkpoint of a log, after its keys are recorded in it. `None`: the next step tries again.
    async fn signed(
        &self,
        keys: &CheckpointKeys,
        memory: &SignedState,
        mut examined: Examined,
    ) -> std::result::Result<Option<(Examined, SignedCheckpoint)>, SignerStopped> {
        let now = self.clock.now();
        let is_first = examined.checkpoint.is_none() && !memory.contains_key(&examined.log_id);
        if is_first || !examined.has(&keys.main().public()) {
            rotation::introduce(&self.store, &self.record, keys, &examined, is_first, now).await?;
            let Examined { organization, log_id, .. } = examined;
            let size = examined.now.size;
            let log = LogStatus { organization, log_id, size, signed: 0, has_key: true };
            // The log has one more entry now. The new key may sign it, but not the log before it.
            let remembered = memory.get(&log.log_id).copied();
            let again = examine(&self.store, keys, &self.signing.log_name, &log, remembered).await?;
            match again.filter(|again| again.findings.is_empty()) {
                Some(again) => examined = again,
                None => return Ok(None),
            }
        }
        let TreeHead { size, root } = examined.now;
        let signers: Vec<&SigningKey> = keys
            .active(now)
            .filter(|own| {
                let known = examined.keys.iter().find(|key| key.public == own.public());
                known.is_some_and(|key| key.seq.unsigned_abs() <= size)
            })
            .map(CheckpointKey::signing)
            .collect();
        if signers.is_empty() {
            return Ok(None);
        }
        let note = sign(&examined.text(), &examined.origin, &signers);
        Ok(Some((examined, SignedCheckpoint { size, root, note, signed_at: now })))
    }
}

fn gone_log(log_id: &str, signed: TreeHead) -> (String, Finding) {
    (format!("log {log_id}"), Finding::Gone { signed: signed.size })
}

impl SignerStopped {
    /// Whether a later step may succeed without an operator.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Storage(_))
    }

    /// Logs the reason, and what an operator can do.
    pub fn log(&self) {
        match self {
            Self::Refused(refused) => {
                for (log, finding) in refused.iter().take(MAX_LOGGED) {
                    error!(log, %finding, advice = finding.advice(), "signing has stopped: a log may not be signed");
                }
                if refused.len() > MAX_LOGGED {
                    error!(others = refused.len() - MAX_LOGGED, "signing has stopped: further logs may not be signed");
                }
            }
            Self::StateMissing(file) => error!(
                file = %file.display(),
                finding = %Finding::StateMissing,
                advice = Finding::StateMissing.advice(),
                "signing has stopped: the last signed tree heads are unknown"
            ),
            Self::Storage(error) => warn!(error = error.with_causes(), "signing failed; trying again"),
            Self::Files(_) | Self::Internal(_) => {
                error!(error = %self, "nothing can be signed; writes and reads go on")
            }
        }
    }
}

impl Display for SignerStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.iter().try_for_each(|(log, finding)| writeln!(f, "{log}: {finding}")),
            Self::StateMissing(file) => write!(f, "{}: {}", file.display(), Finding::StateMissing),
            Self::Files(error) => write!(f, "{error:#}"),
            Self::Storage(error) | Self::Internal(error) => f.write_str(&error.with_causes()),
        }
    }
}

/// Runs file operations on a thread for blocking work.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await?
}
