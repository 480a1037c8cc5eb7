//! The command for an operator whose signer has stopped: it gives up the signed state, and accepts the present one.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::ensure;

use super::examine::{Examined, Examiner, Finding};
use super::keys::Keys;
use super::memory::{SignedState, StateFile, TreeHead};
use super::{Record, Signing, rotation};
use crate::domain::{OrganizationId, Timestamp};
use crate::store::Store;

/// A log that the signer refuses.
pub struct Rollback {
    /// The organization; `None` where the log is gone.
    pub organization: Option<OrganizationId>,
    /// The log.
    pub log_id: String,
    /// Why.
    pub findings: Vec<Finding>,
    /// Its tree head in the file beside the key.
    pub in_file: Option<TreeHead>,
    /// Its tree head in the database.
    pub in_database: Option<TreeHead>,
    /// Its present tree head.
    pub now: Option<TreeHead>,
    log: Option<Examined>,
}

impl Rollback {
    /// Whether what is there is no log, so that nothing can be signed in place of what was.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| matches!(finding, Finding::Damaged { .. }))
    }

    /// Whether the log extends what the database says was signed of it, so that nothing is given up.
    pub fn is_believed(&self) -> bool {
        self.findings == [Finding::Forgotten]
    }

    /// The tree head that is remembered from now on.
    fn taken(&self) -> Option<TreeHead> {
        if self.is_believed() { self.in_database } else { self.now }
    }
}

/// The logs that the signer refuses to sign: of `organization`, or of all, those included that are gone.
pub async fn rollbacks(
    store: &Store,
    signing: &Signing,
    organization: Option<&OrganizationId>,
) -> anyhow::Result<Vec<Rollback>> {
    let keys = Keys::load(&signing.key_file)?;
    let state = StateFile::of(&signing.key_file);
    let remembered = state.read()?;
    let is_lost = remembered.is_none();
    let alone = organization.filter(|_| is_lost);
    ensure!(alone.is_none(), "{} is not there, which concerns all logs: say --all", state.path().display());
    let mut memory = remembered.unwrap_or_default();
    let mut refused = Vec::new();
    for log in store.growth(&keys.main().public()).await? {
        let in_file = memory.remove(&log.log_id);
        let is_chosen = organization.is_none_or(|chosen| *chosen == log.organization);
        if !is_chosen || (in_file.is_none() && log.signed == 0) {
            continue;
        }
        let examiner = Examiner { store, keys: &keys, log_name: &signing.log_name };
        let Some(examined) = examiner.examine(&log, in_file).await? else { continue };
        let lost = is_lost.then_some(Finding::Forgotten);
        let findings: Vec<_> = lost.into_iter().chain(examined.findings.iter().cloned()).collect();
        if findings.is_empty() {
            continue;
        }
        refused.push(Rollback {
            organization: Some(log.organization),
            log_id: log.log_id,
            findings,
            in_file,
            in_database: examined.checkpoint.as_ref().map(|signed| TreeHead { size: signed.size, root: signed.root }),
            now: Some(examined.now),
            log: Some(examined),
        });
    }
    if organization.is_none() {
        refused.extend(memory.into_iter().map(|(log_id, signed)| Rollback {
            organization: None,
            log_id,
            findings: vec![Finding::Gone { signed: signed.size }],
            in_file: Some(signed),
            in_database: None,
            now: None,
            log: None,
        }));
    }
    Ok(refused)
}

/// Gives up what was signed of these logs, so that the signer goes on with what is there. Gives those that were left
/// alone, because another process has signed them meanwhile.
pub async fn acknowledge(
    store: &Store,
    record: &Record,
    key_file: &Path,
    rollbacks: Vec<Rollback>,
    now: Timestamp,
) -> anyhow::Result<Vec<Rollback>> {
    let keys = Keys::load(key_file)?;
    let state = StateFile::of(key_file);
    // What an operator has seen, and nothing newer.
    let seen: SignedState =
        rollbacks.iter().filter_map(|rollback| Some((rollback.log_id.clone(), rollback.in_file?))).collect();
    state.create()?;
    let changes = rollbacks.iter().map(|one| (one.log_id.clone(), one.taken().filter(|taken| taken.size > 0)));
    let changed = state.change(&seen, &changes.collect::<BTreeMap<_, _>>())?;
    let (taken, left): (Vec<_>, Vec<_>) = rollbacks.into_iter().partition(|one| changed.contains(&one.log_id));
    for one in taken {
        let is_believed = one.is_believed();
        let Rollback { organization, log, in_database, findings, .. } = one;
        let Some((organization, log)) = organization.zip(log) else { continue };
        if let Some(signed) = in_database.filter(|_| !is_believed) {
            store.forget_checkpoint(&organization, signed.size).await?;
        }
        if findings.contains(&Finding::ForeignKey) {
            rotation::introduce(store, record, &keys, &log, false, now).await?;
        }
    }
    Ok(left)
}
