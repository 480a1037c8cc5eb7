//! For an operator whose signer has stopped: lists the logs that it refuses, and accepts their present state.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::ensure;

use super::examine::{Examined, Finding, examine};
use super::keys::CheckpointKeys;
use super::memory::{SignedState, StateFile, TreeHead};
use super::{Record, Signing, rotation};
use crate::domain::{Change, OrganizationId, Random, ServiceEntry, Timestamp};
use crate::store::Store;

/// A log that the signer refuses to sign.
pub struct Rollback {
    /// The organization; `None` if the log is gone.
    pub organization: Option<OrganizationId>,
    /// The id of the log.
    pub log_id: String,
    /// The reasons.
    pub findings: Vec<Finding>,
    /// The tree head of the log in the state file beside the key.
    pub in_file: Option<TreeHead>,
    /// The tree head of the log's checkpoint in the database.
    pub in_database: Option<TreeHead>,
    /// The present tree head of the log; `None` if the log is gone.
    pub now: Option<TreeHead>,
    log: Option<Examined>,
}

impl Rollback {
    /// Whether the stored log contradicts itself, so that it cannot be signed in any state.
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| matches!(finding, Finding::Damaged { .. }))
    }

    /// Whether only the state file is missing: the log extends its checkpoint in the database, so nothing is given up.
    pub fn is_believed(&self) -> bool {
        self.findings == [Finding::StateMissing]
    }

    /// The tree head that the state file gets.
    fn taken(&self) -> Option<TreeHead> {
        if self.is_believed() { self.in_database } else { self.now }
    }

    /// The facts that the log of the service records, in the order of docs/LEAF_FORMAT.md.
    fn facts(&self) -> Vec<Change> {
        let Self { organization, log_id, findings, in_file, in_database, now, log: _ } = self;
        let head = |head: &Option<TreeHead>| head.map(|TreeHead { size, root }| format!("{size} {root}"));
        vec![
            ServiceEntry::fact("organization", organization.as_ref().map(OrganizationId::as_str)),
            ServiceEntry::fact("log", log_id.as_str()),
            ServiceEntry::fact("findings", findings.iter().map(Finding::name).collect::<Vec<_>>()),
            ServiceEntry::fact("stateFile", head(in_file)),
            ServiceEntry::fact("checkpoint", head(in_database)),
            ServiceEntry::fact("head", head(now)),
        ]
    }
}

/// The logs that the signer refuses to sign: that of `organization`, or all, including logs that are gone.
pub async fn rollbacks(
    store: &Store,
    signing: &Signing,
    organization: Option<&OrganizationId>,
) -> anyhow::Result<Vec<Rollback>> {
    let keys = CheckpointKeys::load(&signing.key_file)?;
    let state = StateFile::of(&signing.key_file);
    let remembered = state.read()?;
    let is_lost = remembered.is_none();
    let alone = organization.filter(|_| is_lost);
    ensure!(alone.is_none(), "{} is missing, which affects all logs; give --all", state.path().display());
    let mut memory = remembered.unwrap_or_default();
    let mut refused = Vec::new();
    for log in store.log_statuses(&keys.main().public()).await? {
        let in_file = memory.remove(&log.log_id);
        let is_chosen = organization.is_none_or(|chosen| *chosen == log.organization);
        if !is_chosen || (in_file.is_none() && log.signed == 0) {
            continue;
        }
        let Some(examined) = examine(store, &keys, &signing.log_name, &log, in_file).await? else { continue };
        let lost = is_lost.then_some(Finding::StateMissing);
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

/// Gives up the signed state of these logs, so that the signer goes on from their present state, and records that in the
/// log of the service. Returns the logs left unchanged because another process has signed them meanwhile.
pub async fn acknowledge(
    store: &Store,
    record: &Record,
    key_file: &Path,
    rollbacks: Vec<Rollback>,
    now: Timestamp,
    random: &Random,
) -> anyhow::Result<Vec<Rollback>> {
    let keys = CheckpointKeys::load(key_file)?;
    let state = StateFile::of(key_file);
    // Only the state that the operator has seen may be replaced.
    let seen: SignedState =
        rollbacks.iter().filter_map(|rollback| Some((rollback.log_id.clone(), rollback.in_file?))).collect();
    state.create()?;
    let locked = state.lock()?;
    let (taken, left): (Vec<_>, Vec<_>) = rollbacks.into_iter().partition(|one| locked.has_seen(&seen, &one.log_id));
    if taken.is_empty() {
        return Ok(left);
    }
    // Recorded before anything changes: if the process is killed in between, nothing is given up without a record. The
    // checkpoint is deleted last: a log with neither a checkpoint nor a head in the file looks as if never signed.
    store.record_rollbacks(taken.iter().map(Rollback::facts).collect(), now, random).await?;
    let changes = taken.iter().map(|one| (one.log_id.clone(), one.taken().filter(|taken| taken.size > 0)));
    locked.write(&changes.collect::<BTreeMap<_, _>>())?;
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
