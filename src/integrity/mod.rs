//! Evidence for verifiers who do not trust this service: checkpoint, proofs, tiles, keys, and entries as they were
//! hashed.

mod entries;

use std::collections::BTreeSet;

use crate::domain::{EntryId, Invalid, OrganizationId, Seq};
use crate::error::{AtField, Error, Result};
use crate::store::{LogHead, SignedCheckpoint, Store};
use auditlog_verify::merkle::{
    Hash, LogName, ProofRequest, Resource, TILE_WIDTH, TilePath, Tiles, VerifierKey, bundle,
};
pub use entries::{Entries, LeafInput};

/// The entry to prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// By id.
    Id(EntryId),
    /// By number.
    Seq(Seq),
}

/// A proof that an entry is in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inclusion {
    /// The entry's number.
    pub seq: Seq,
    /// The size of the tree, in entries.
    pub size: Seq,
    /// The leaf hash of the entry.
    pub leaf: Hash,
    /// The proof, in the order of RFC 6962.
    pub hashes: Vec<Hash>,
    /// The root hash of the tree.
    pub root: Hash,
}

/// A proof that one tree is a prefix of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consistency {
    /// The size of the later tree, in entries.
    pub second: Seq,
    /// The proof, in the order of RFC 6962.
    pub hashes: Vec<Hash>,
}

/// Answers verifiers.
#[derive(Clone)]
pub struct Integrity {
    store: Store,
    /// The first part of each log's origin; `None` if this service does not sign.
    log_name: Option<LogName>,
}

impl Integrity {
    /// Reads from `store`.
    pub fn new(store: Store, log_name: Option<LogName>) -> Self {
        Self { store, log_name }
    }

    /// The last checkpoint. Errors: `CheckpointNotFound` before the first.
    pub async fn checkpoint(&self, key_id: &str, organization: &OrganizationId) -> Result<SignedCheckpoint> {
        let _permit = self.store.read_permit(key_id, organization).await?;
        self.last(organization).await
    }

    async fn last(&self, organization: &OrganizationId) -> Result<SignedCheckpoint> {
        self.store.checkpoint(organization).await?.ok_or(Error::CheckpointNotFound)
    }

    /// Proves that an entry is in the tree of `size` entries, by default the tree of the last checkpoint. Errors:
    /// `AuditLogNotFound`; `InvalidParameter` if the log does not have `size`, or `size` is too small for the entry;
    /// `CheckpointNotFound` if no checkpoint covers the entry yet.
    pub async fn inclusion(
        &self,
        key_id: &str,
        organization: &OrganizationId,
        which: &Which,
        size: Option<Seq>,
    ) -> Result<Inclusion> {
        let _permit = self.store.read_permit(key_id, organization).await?;
        let found = match which {
            Which::Id(id) => self.store.leaf_of_id(organization, id).await?,
            Which::Seq(seq) => self.store.leaf_of_seq(organization, *seq).await?,
        };
        let (seq, leaf) = found.ok_or(Error::AuditLogNotFound)?;
        let size = match size {
            Some(size) => within(size, seq, self.head(organization).await?).at("size")?,
            None => self.covered(organization, seq).await?,
        };
        // Numbers start at 1, so the index is never negative.
        let request = ProofRequest::inclusion(seq.unsigned_abs() - 1, size.unsigned_abs()).at("size")?;
        let tree = ProofRequest::root(size.unsigned_abs()).at("size")?;
        let tiles = self.tiles(organization, &[request, tree], size).await?;
        let root = answer(tree, &tiles)?.first().copied().ok_or_else(damaged)?;
        Ok(Inclusion { seq, size, leaf, hashes: answer(request, &tiles)?, root })
    }

    /// Proves that the tree of `first` entries is a prefix of the tree of `second` entries, by default the tree of the
    /// last checkpoint. Errors: `InvalidParameter` for sizes that the log does not have; `CheckpointNotFound` if no
    /// checkpoint covers `first` yet.
    pub async fn consistency(
        &self,
        key_id: &str,
        organization: &OrganizationId,
        first: Seq,
        second: Option<Seq>,
    ) -> Result<Consistency> {
        let _permit = self.store.read_permit(key_id, organization).await?;
        let head = self.head(organization).await?;
        let second = match second {
            Some(second) => within(second, 0, head).at("second_size")?,
            None => self.covered(organization, within(first, 0, head).at("first_size")?).await?,
        };
        let first = within(first, 0, second).at("first_size")?;
        let request = ProofRequest::consistency(first.unsigned_abs(), second.unsigned_abs()).at("first_size")?;
        let tiles = self.tiles(organization, &[request], second).await?;
        Ok(Consistency { second, hashes: answer(request, &tiles)? })
    }

    /// A tile, or a bundle of leaves. Errors: `TileNotFound` if the last checkpoint does not cover that much of it.
    pub async fn tile(&self, key_id: &str, organization: &OrganizationId, path: &TilePath) -> Result<Vec<u8>> {
        let _permit = self.store.read_permit(key_id, organization).await?;
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
                // The index fits: no log has more entries than there are numbers.
                let after = (index * u64::from(TILE_WIDTH)) as Seq;
                let to = after + Seq::from(path.width);
                let mut entries = Entries::between(self.store.clone(), key_id, organization.clone(), after, to);
                let mut data = Vec::new();
                let mut width = 0;
                while let Some(piece) = entries.read().await? {
                    for input in &piece {
                        data.extend(bundle([input.leaf(&log_id).ok_or_else(damaged)?]));
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
        let _permit = self.store.read_permit(key_id, organization).await?;
        let LogHead { log_id, .. } = self.log(organization).await?;
        let key = |key: crate::store::LogKey| {
            let name = log_name.origin(&log_id).map_err(internal)?;
            Ok((VerifierKey::new(name, &key.public).map_err(internal)?, key.seq))
        };
        self.store.log_keys(organization).await?.into_iter().map(key).collect()
    }

    /// Reads entries as they were hashed: at most `limit` of them, after the number `after`, up to the current end.
    /// Errors: `InvalidParameter` for a number that the log does not have.
    pub async fn entries(
        &self,
        key_id: &str,
        organization: OrganizationId,
        after: Seq,
        limit: Option<Seq>,
    ) -> Result<Entries> {
        let _permit = self.store.read_permit(key_id, &organization).await?;
        let head = self.head(&organization).await?;
        let after = within(after, 0, head).at("after_sequence")?;
        let store = self.store.clone();
        Ok(match limit {
            Some(limit) => Entries::between(store, key_id, organization, after, head.min(after.saturating_add(limit))),
            None => Entries::to_end(store, key_id, organization, after, head),
        })
    }

    /// The entry `seq` as it was hashed, and the id of its log. Errors: `AuditLogNotFound` for a number that the log does
    /// not have; `EntryDamaged`.
    pub async fn entry(&self, key_id: &str, organization: OrganizationId, seq: Seq) -> Result<(String, LeafInput)> {
        let _permit = self.store.read_permit(key_id, &organization).await?;
        let LogHead { log_id, edge, root: _ } = self.log(&organization).await?;
        if !(1..=edge.size()).contains(&seq.unsigned_abs()) {
            return Err(Error::AuditLogNotFound);
        }
        let mut entries = Entries::between(self.store.clone(), key_id, organization, seq - 1, seq);
        let piece = entries.read().await?.unwrap_or_default();
        Ok((log_id, piece.into_iter().next().ok_or(Error::AuditLogNotFound)?))
    }

    async fn log(&self, organization: &OrganizationId) -> Result<LogHead> {
        self.store.log_head(organization).await?.ok_or(Error::OrganizationNotFound)
    }

    async fn head(&self, organization: &OrganizationId) -> Result<Seq> {
        self.store.head(organization).await?.ok_or(Error::OrganizationNotFound)
    }

    /// The size of the last checkpoint. Errors: `CheckpointNotFound` if it does not cover the entry `seq`.
    async fn covered(&self, organization: &OrganizationId, seq: Seq) -> Result<Seq> {
        // Numbers are `i64`, so every size fits.
        let size = self.last(organization).await?.size as Seq;
        (seq <= size).then_some(size).ok_or(Error::CheckpointNotFound)
    }

    /// Reads the tiles that `requests` need in the tree of `size` entries: a few tiles per tile level.
    async fn tiles(&self, organization: &OrganizationId, requests: &[ProofRequest], size: Seq) -> Result<Tiles> {
        let tiles: BTreeSet<_> = requests.iter().flat_map(ProofRequest::tiles).collect();
        self.store.tiles(organization, &tiles, size.unsigned_abs()).await
    }
}

fn within(size: Seq, least: Seq, most: Seq) -> std::result::Result<Seq, Invalid> {
    match (least..=most).contains(&size) {
        true => Ok(size),
        false => Err(Invalid::new(format_args!("must be {least} to {most}"), size)),
    }
}

fn answer(request: ProofRequest, tiles: &Tiles) -> Result<Vec<Hash>> {
    request.answer(tiles).map_err(|damaged| Error::Internal(damaged.into()))
}

fn damaged() -> Error {
    Error::Internal(anyhow::anyhow!("a part of the log is missing or damaged; `auditlog verify` names it"))
}

fn internal(error: Invalid) -> Error {
    Error::Internal(error.into())
}
