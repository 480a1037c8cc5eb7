//! The Merkle tree: rebuilt from the stored rows, and compared with the stored tree and with all stored and observed
//! checkpoints.

use std::collections::HashMap;

use auditlog_verify::merkle::{Checkpoint, CompactRange, Hash, LogName, SigningKey, open};
use sea_orm::{DatabaseTransaction, DbBackend};

use super::{Findings, Head};
use crate::database::rows;
use crate::service::LOG_NAME;
use crate::watch::Seen;

/// The Merkle tree of an organization, with its root at each size.
pub struct Tree {
    pub log_id: String,
    edge: CompactRange,
    /// The root at each size, starting with size 0.
    roots: Vec<Hash>,
}

impl Tree {
    pub fn new(log_id: &str) -> Self {
        Self { log_id: log_id.to_owned(), edge: CompactRange::default(), roots: vec![Hash::of_nothing()] }
    }

    pub fn append(&mut self, leaf: Hash) {
        let _ = self.edge.append(leaf);
        self.roots.push(self.edge.root());
    }

    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    pub fn root(&self, size: u64) -> Option<Hash> {
        self.roots.get(size as usize).copied()
    }

    /// Compares the tree with the organization's head.
    pub fn compare(&self, head: &Head, findings: &mut Findings) {
        if self.edge.bytes() != head.edge || self.edge.root().0.as_slice() != head.root {
            findings.other.push(format!("{}: root and edge do not match the {} entries", head.id, self.size()));
        }
    }

    /// Why a signed note contradicts this log, or `None`.
    fn refutes(&self, note: &str, signs: &SigningKey) -> Option<String> {
        match self.opened(note, signs) {
            Err(why) => Some(why),
            Ok(Checkpoint { size, root, .. }) => match self.root(size) {
                None => Some(format!("it has {size} entries, but the log has {}", self.size())),
                Some(own) => (own != root).then(|| format!("the root of its {size} entries is different")),
            },
        }
    }

    pub fn opened(&self, note: &str, signs: &SigningKey) -> Result<Checkpoint, String> {
        let name: LogName = LOG_NAME.parse().map_err(|error| format!("{error}"))?;
        let origin = name.origin(&self.log_id).map_err(|error| error.to_string())?;
        let text = open(note, &[signs.verifier(origin.clone())]).map_err(|error| error.to_string())?;
        let checkpoint = Checkpoint::parse(text).map_err(|error| error.to_string())?;
        if checkpoint.origin == origin { Ok(checkpoint) } else { Err("it is of another log".to_owned()) }
    }
}

/// Compares the stored checkpoints with the trees.
pub async fn checkpoints(
    transaction: &DatabaseTransaction,
    backend: DbBackend,
    trees: &HashMap<String, Tree>,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    for row in rows(transaction, backend, "SELECT organization_id, size, root FROM checkpoints").await? {
        let (of, size, root): (String, i64, Vec<u8>) =
            (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        let own = trees.get(&of).and_then(|tree| tree.root(size.unsigned_abs()));
        if own.is_none_or(|own| own.0.as_slice() != root) {
            findings.other.push(format!("{of}: the stored checkpoint of {size} entries does not match the log"));
        }
    }
    Ok(())
}

/// Compares all observed checkpoints with the trees.
pub fn seen(trees: &HashMap<String, Tree>, seen: &Seen, signs: &SigningKey, findings: &mut Findings) {
    for (of, note) in &seen.checkpoints {
        match trees.get(*of) {
            None => findings.other.push(format!("{of}: a checkpoint was seen, but the organization is gone")),
            Some(tree) => {
                if let Some(why) = tree.refutes(note, signs) {
                    findings.other.push(format!("{of}: a checkpoint was seen, but {why}"));
                }
            }
        }
    }
}
