//! Decides whether a log may be signed: it must be intact, and extend the tree signed before.

use std::collections::BTreeSet;
use std::fmt;

use super::keys::CheckpointKeys;
use super::memory::TreeHead;
use crate::domain::{Invalid, OrganizationId};
use crate::error::{Error, Result};
use crate::store::{LogHead, LogKey, LogStatus, SignedCheckpoint, Store};
use auditlog_verify::merkle::{Checkpoint, KeyName, LogName, ProofRequest, verify_consistency};

/// Why a log is not signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The signed tree is larger than the log.
    RolledBack {
        /// The size of the signed tree, in entries.
        signed: u64,
        /// The present number of entries.
        size: u64,
    },
    /// The log does not begin with the signed entries.
    Forked {
        /// The size of the signed tree, in entries.
        signed: u64,
    },
    /// The tree in the database contradicts itself.
    Damaged {
        /// The present number of entries.
        size: u64,
    },
    /// The state file, which remembers what was signed, is missing.
    StateMissing,
    /// The log is not in the database.
    Gone {
        /// The size of the signed tree, in entries.
        signed: u64,
    },
    /// The log was signed with other keys; the key file has none of them.
    ForeignKey,
    /// The log was signed under another log name.
    Renamed {
        /// The former log name.
        from: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RolledBack { signed, size } => write!(f, "it was signed with {signed} entries and has {size}"),
            Self::Forked { signed } => write!(f, "its first {signed} entries are not those that were signed"),
            Self::Damaged { size } => {
                write!(f, "the edge, the root, the tiles and the leaves of its {size} entries contradict each other")
            }
            Self::StateMissing => f.write_str("the file beside the key that remembers what was signed is not there"),
            Self::Gone { signed } => write!(f, "it was signed with {signed} entries and is not in the database"),
            Self::ForeignKey => f.write_str("none of the keys that it was signed with is in the key file"),
            Self::Renamed { from } => {
                write!(f, "it was signed as {from}, which is not the log name that is configured")
            }
        }
    }
}

impl Finding {
    /// The name in the log of the service, which never changes.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::RolledBack { .. } => "rolled_back",
            Self::Forked { .. } => "forked",
            Self::Damaged { .. } => "damaged",
            Self::StateMissing => "state_missing",
            Self::Gone { .. } => "gone",
            Self::ForeignKey => "foreign_key",
            Self::Renamed { .. } => "renamed",
        }
    }

    /// Advice for the operator.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::RolledBack { .. } | Self::Forked { .. } => {
                "find out who changed the database; bring the newer one back, or give up what was signed with \
                 `auditlog signing-key acknowledge-rollback --organization ORG`"
            }
            Self::Gone { .. } => {
                "find out who changed the database; bring the newer one back, or give up what was signed with \
                 `auditlog signing-key acknowledge-rollback --all`"
            }
            Self::StateMissing => {
                "bring it back, or copy it from another machine that signs; if it is lost, trust what the database \
                 says was signed with `auditlog signing-key acknowledge-rollback --all`"
            }
            Self::Damaged { .. } => {
                "find out who changed the database; restore an intact one, and then `auditlog signing-key \
                 acknowledge-rollback --organization ORG` if it is older"
            }
            Self::ForeignKey => {
                "bring the key file back; if it is lost, let the new key take over with `auditlog signing-key \
                 acknowledge-rollback --organization ORG`"
            }
            Self::Renamed { .. } => {
                "set AUDITLOG_LOG_NAME as it was, or give the old name up with `auditlog signing-key \
                 acknowledge-rollback --organization ORG`"
            }
        }
    }
}

/// The state of a log at one time.
pub(super) struct Examined {
    pub(super) organization: OrganizationId,
    pub(super) log_id: String,
    pub(super) origin: KeyName,
    /// The present tree head.
    pub(super) now: TreeHead,
    pub(super) keys: Vec<LogKey>,
    pub(super) checkpoint: Option<SignedCheckpoint>,
    /// Empty if the log may be signed.
    pub(super) findings: Vec<Finding>,
}

/// Examines a log; `remembered` is its tree head in the state file, read before. `None` if the log is gone.
pub(super) async fn examine(
    store: &Store,
    own_keys: &CheckpointKeys,
    log_name: &LogName,
    log: &LogStatus,
    remembered: Option<TreeHead>,
) -> Result<Option<Examined>> {
    let LogStatus { organization, log_id, .. } = log;
    // Read in this order: other processes sign too, so the signed state must be read before the present one.
    let keys = store.log_keys(organization).await?;
    let checkpoint = store.checkpoint(organization).await?;
    let Some(LogHead { log_id: current, edge, root }) = store.log_head(organization).await? else {
        return Ok(None);
    };
    let origin = log_name.origin(log_id).map_err(|error| Error::Internal(error.into()))?;
    let now = TreeHead { size: edge.size(), root };
    let of_checkpoint = checkpoint.as_ref().map(|signed| TreeHead { size: signed.size, root: signed.root });
    let signed: BTreeSet<_> = [remembered, of_checkpoint].into_iter().flatten().collect();
    let mut findings = Vec::new();
    match tree(store, organization, now, &signed).await? {
        Some(found) if edge.root() == root && current == *log_id => findings.extend(found),
        _ => findings.push(Finding::Damaged { size: now.size }),
    }
    if !keys.is_empty() && !own_keys.all().any(|own| keys.iter().any(|key| key.public == own.public())) {
        findings.push(Finding::ForeignKey);
    }
    // The first line of a note is its origin.
    let before = checkpoint.as_ref().and_then(|signed| signed.note.lines().next());
    if let Some(from) = before.filter(|before| *before != origin.as_str()) {
        let from = from.split('/').next().unwrap_or_default().to_owned();
        findings.push(Finding::Renamed { from });
    }
    let (organization, log_id) = (organization.clone(), log_id.clone());
    Ok(Some(Examined { organization, log_id, origin, now, keys, checkpoint, findings }))
}

/// The findings against signing the tree `now` after the trees `signed`, from the present tiles and leaves. `None`
/// if these are damaged or have another root.
async fn tree(
    store: &Store,
    organization: &OrganizationId,
    now: TreeHead,
    signed: &BTreeSet<TreeHead>,
) -> Result<Option<Vec<Finding>>> {
    let internal = |error: Invalid| Error::Internal(error.into());
    let whole = ProofRequest::root(now.size).map_err(internal)?;
    // Checked by proofs. Comparing the roots at both sizes is not enough: contradictory tiles can yield both roots.
    let before: Vec<_> = signed
        .iter()
        .filter(|signed| signed.size <= now.size)
        .map(|signed| Ok((signed, ProofRequest::consistency(signed.size, now.size).map_err(internal)?)))
        .collect::<Result<_>>()?;
    let needed = before.iter().map(|(_, request)| request).chain([&whole]).flat_map(ProofRequest::tiles).collect();
    let tiles = store.tiles(organization, &needed, now.size).await?;
    if whole.answer(&tiles).ok().and_then(|root| root.first().copied()) != Some(now.root) {
        return Ok(None);
    }
    let beyond = signed.iter().filter(|signed| signed.size > now.size);
    let rolled_back = |signed: &TreeHead| Finding::RolledBack { signed: signed.size, size: now.size };
    let mut findings: Vec<_> = beyond.map(rolled_back).collect();
    for (signed, request) in before {
        // Tiles that yield the root also yield the proof, unless somebody has cut a tile.
        let proof = request.answer(&tiles).unwrap_or_default();
        if verify_consistency(signed.size, signed.root, &proof, now.size, now.root).is_err() {
            findings.push(Finding::Forked { signed: signed.size });
        }
    }
    Ok(Some(findings))
}

impl Examined {
    /// The text of the checkpoint to sign.
    pub(super) fn text(&self) -> String {
        let TreeHead { size, root } = self.now;
        Checkpoint { origin: self.origin.clone(), size, root }.text()
    }

    /// Whether the log has this key.
    pub(super) fn has(&self, public: &[u8]) -> bool {
        self.keys.iter().any(|key| key.public == public)
    }
}
