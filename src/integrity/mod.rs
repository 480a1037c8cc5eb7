//! The evidence for somebody who does not trust this service: its checkpoint, proofs, tiles, keys, and its
//! entries as they were hashed.

mod entries;

use std::collections::BTreeSet;

use crate::domain::{EntryId, Invalid, OrganizationId, Seq};
use crate::error::{AtField, Error, Result};
use crate::store::{LogHead, SignedCheckpoint, Store};
use auditlog_verify::merkle::{
    Hash, LogName, ProofRequest, Resource, TILE_WIDTH, TilePath, Tiles, VerifierKey, bundle,
};
pub use entries::{Entries, Opened};

/// Which entry is to be proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// That with this id.
    Id(EntryId),
    /// That with this number.
    Seq(Seq),
}

/// That an entry is in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inclusion {
    /// Its number.
    pub seq: Seq,
    /// The entries of the tree.
    pub size: Seq,
    /// The hash of its leaf.
    pub leaf: Hash,
    /// The proof, as RFC 6962 orders it.
    pub hashes: Vec<Hash>,
    /// The root of the tree.
    pub root: Hash,
}

/// That one tree begins with another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consistency {
    /// The entries of the later tree.
    pub second: Seq,
    /// The proof, as RFC 6962 orders it.
    pub hashes: Vec<Hash>,
}

/// Answers those who verify.
#[derive(Clone)]
pub struct Integrity {
    store: Store,
    /// The first part of each log's origin; without it nothing is signed.
    log_name: Option<LogName>,
}

impl Integrity {
    /// Reads from `store`.
    pub fn new(store: Store, log_name: Option<LogName>) -> Self {
        Self { store, log_name }
    }

    /// The last checkpoint. Errors: `CheckpointNotFound` before the first.
    pub async fn checkpoint(&self, key_id: &str, organization: &OrganizationId) -> Result<SignedCheckpoint> {
        let _permit = self.store.read_permit(key_id).await?;
        self.last(organization).await
    }

    async fn last(&self, organization: &OrganizationId) -> Result<SignedCheckpoint> {
        self.store.checkpoint(organization).await?.ok_or(Error::CheckpointNotFound)
    }

    /// That an entry is in the tree of `size` entries; without it, in that of the last checkpoint. Errors:
    /// `AuditLogNotFound`; `InvalidParameter` for a size that the log does not have or that is too small;
    /// `CheckpointNotFound` if none covers it yet.
    pub async fn inclusion(
        &self,
        key_id: &str,
        organization: &OrganizationId,
        which: &Which,
        size: Option<Seq>,
    ) -> Result<Inclusion> {
        let _permit = self.store.read_permit(key_id).await?;
        let found = match which {
            Which::Id(id) => self.store.leaf_of_id(organization, id).await?,
            Which::Seq(seq) => self.store.leaf_of_seq(organization, *seq).await?,
        };
        let (seq, leaf) = found.ok_or(Error::AuditLogNotFound)?;
        let size = match size {
            Some(size) => within(size, seq, self.head(organization).await?).at("size")?,
            None => self.covered(organization, seq).await?,
        };
        // A number counts from 1, so that an index is never below 0.
        let question = ProofRequest::inclusion(seq.unsigned_abs() - 1, size.unsigned_abs()).at("size")?;
        let tree = ProofRequest::root(size.unsigned_abs()).at("size")?;
        let tiles = self.tiles(organization, &[question, tree], size).await?;
        let root = answer(tree, &tiles)?.first().copied().ok_or_else(damaged)?;
        Ok(Inclusion { seq, size, leaf, hashes: answer(question, &tiles)?, root })
    }

    /// That the tree of `second` entries, or without it that of the last checkpoint, begins with that of `first`.
    /// Errors: `InvalidParameter` for sizes that the log does not have; `CheckpointNotFound` if none covers it yet.
    pub async fn consistency(
        &self,
        key_id: &str,
        organization: &OrganizationId,
        first: Seq,
        second: Option<Seq>,
    ) -> Result<Consistency> {
        let _permit = self.store.read_permit(key_id).await?;
        let head = self.head(organization).await?;
        let second = match second {
            Some(second) => within(second, 0, head).at("second_size")?,
            None => self.covered(organization, within(first, 0, head).at("first_size")?).await?,
        };
        let first = within(first, 0, second).at("first_size")?;
        let question = ProofRequest::consistency(first.unsigned_abs(), second.unsigned_abs()).at("first_size")?;
        let tiles = self.tiles(organization, &[question], second).await?;
        Ok(Consistency { second, hashes: answer(question, &tiles)? })
    }

    /// A tile, or a bundle of leaves. Errors: `TileNotFound` where the last checkpoint does not have so much of it.
    pub async fn tile(&self, key_id: &str, organization: &OrganizationId, path: &TilePath) -> Result<Vec<u8>> {
        let _permit = self.store.read_permit(key_id).await?;
        let checkpoint = self.store.checkpoint(organization).await?.ok_or(Error::TileNotFound)?;
        if !path.is_in(checkpoint.size) {
            return Err(Error::TileNotFound);
        }
        match path.resource {
            Resource::Tile(tile) => {
                let tiles = self.store.tiles(organization, &[tile].into(), checkpoint.size).await?;
                let hashes = tiles.get(&tile).and_then(|hashes| hashes.get(..path.width.into()));
                Ok(hashes.ok_or_else(damaged)?.iter().flat_map(|hash| hash.0).collect())
            }
            Resource::Entries(index) => {
                let LogHead { log_id, .. } = self.log(organization).await?;
                // No log has more entries than there are numbers.
                let after = (index * u64::from(TILE_WIDTH)) as Seq;
                let to = after + Seq::from(path.width);
                let mut entries = Entries::between(self.store.clone(), organization.clone(), after, to);
                let mut data = Vec::new();
                let mut width = 0;
                while let Some(piece) = entries.read().await? {
                    for opened in &piece {
                        data.extend(bundle([opened.leaf(&log_id).ok_or_else(damaged)?]));
                        width += 1;
                    }
                }
                (width == path.width).then_some(data).ok_or_else(damaged)
            }
        }
    }

    /// The keys that sign for the log, oldest first, each with the number of the entry that introduced it.
    pub async fn keys(&self, key_id: &str, organization: &OrganizationId) -> Result<Vec<(VerifierKey, Seq)>> {
        let Some(log_name) = &self.log_name else { return Ok(Vec::new()) };
        let _permit = self.store.read_permit(key_id).await?;
        let LogHead { log_id, .. } = self.log(organization).await?;
        let key = |key: crate::store::LogKey| {
            let name = log_name.origin(&log_id).map_err(internal)?;
            Ok((VerifierKey::new(name, &key.public).map_err(internal)?, key.seq))
        };
        self.store.log_keys(organization).await?.into_iter().map(key).collect()
    }

    /// Begins to read the entries numbered above `after` as they were hashed, at most `limit`, up to the last one
    /// now. Errors: `InvalidParameter` for a number that the log does not have.
    pub async fn entries(
        &self,
        key_id: &str,
        organization: OrganizationId,
        after: Seq,
        limit: Option<Seq>,
    ) -> Result<Entries> {
        let _permit = self.store.read_permit(key_id).await?;
        let head = self.head(&organization).await?;
        let after = within(after, 0, head).at("after_sequence")?;
        let store = self.store.clone();
        Ok(match limit {
            Some(limit) => Entries::between(store, organization, after, head.min(after.saturating_add(limit))),
            None => Entries::to_end(store, organization, after, head),
        })
    }

    async fn log(&self, organization: &OrganizationId) -> Result<LogHead> {
        self.store.log_head(organization).await?.ok_or(Error::OrganizationNotFound)
    }

    async fn head(&self, organization: &OrganizationId) -> Result<Seq> {
        self.store.head(organization).await?.ok_or(Error::OrganizationNotFound)
    }

    /// The size of the last checkpoint, which has the entry `seq`.
    async fn covered(&self, organization: &OrganizationId, seq: Seq) -> Result<Seq> {
        // Numbers are signed, so that no size is beyond them.
        let size = self.last(organization).await?.size as Seq;
        (seq <= size).then_some(size).ok_or(Error::CheckpointNotFound)
    }

    /// The tiles that answer `questions` in the tree of `size` entries: a few tiles for each level of tiles.
    async fn tiles(&self, organization: &OrganizationId, questions: &[ProofRequest], size: Seq) -> Result<Tiles> {
        let tiles: BTreeSet<_> = questions.iter().flat_map(ProofRequest::tiles).collect();
        self.store.tiles(organization, &tiles, size.unsigned_abs()).await
    }
}

fn within(size: Seq, least: Seq, most: Seq) -> std::result::Result<Seq, Invalid> {
    match (least..=most).contains(&size) {
        true => Ok(size),
        false => Err(Invalid::new(format_args!("must be {least} to {most}"), size)),
    }
}

fn answer(question: ProofRequest, tiles: &Tiles) -> Result<Vec<Hash>> {
    question.answer(tiles).map_err(|damaged| Error::Internal(damaged.into()))
}

fn damaged() -> Error {
    Error::Internal(anyhow::anyhow!("a part of the log is missing or damaged; `auditlog verify` names it"))
}

fn internal(error: Invalid) -> Error {
    Error::Internal(error.into())
}
