//! What must be so after every fault. The database is read with plain SQL and compared with the journal, what readers
//! saw, and what the service says; no line of the service's own storage code takes part.

mod answers;
mod log;
mod stored;

use std::collections::HashMap;

use auditlog_verify::merkle::{Hash, SigningKey};
use sea_orm::{AccessMode, DatabaseTransaction, DbBackend, IsolationLevel, TransactionTrait};

use crate::client::Client;
use crate::database::{Database, rows};
use crate::journal::{Ledger, Name};
use crate::watch::Seen;
use log::Tree;
use stored::Row;

/// Where hostile clients write. That is not in the journal; all else must be as it is for any other.
pub const BESIEGED: &str = "org_besieged";
/// Findings of one kind that are told; all are counted.
const TOLD: usize = 5;
/// Characters of each; a row may be long.
const LINE: usize = 400;

/// How thorough to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// After one of many faults: of proofs and totals, some.
    Between,
    /// At the end, when each request is answered: all of them, and nothing is left open.
    Settled,
}

/// What was found wrong, by kind.
#[derive(Debug, Default)]
pub struct Findings {
    pub lost: Vec<String>,
    pub duplicated: Vec<String>,
    pub other: Vec<String>,
}

impl Findings {
    pub fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.duplicated.is_empty() && self.other.is_empty()
    }

    /// The first of each kind, a line each.
    pub fn told(&self) -> String {
        let mut lines = Vec::new();
        for (kind, found) in [("lost", &self.lost), ("duplicated", &self.duplicated), ("wrong", &self.other)] {
            let brief = |what: &String| what.chars().take(LINE).collect::<String>();
            lines.extend(found.iter().take(TOLD).map(|what| format!("  {kind}: {}", brief(what))));
            if found.len() > TOLD {
                lines.push(format!("  {kind}: {} more", found.len() - TOLD));
            }
        }
        lines.join("\n")
    }
}

/// How much was compared.
#[derive(Debug, Default, Clone, Copy)]
pub struct Extent {
    pub stored: u64,
    pub walks: u64,
    pub checkpoints: u64,
}

/// Compares, and remembers what it has compared, since that must not change any more.
pub struct Checker {
    ledger: Ledger,
    signs: SigningKey,
    /// The writer's key, as leaves name it.
    key_id: String,
    /// The rows of the last check and the hashes of their leaves.
    known: HashMap<Name, (Row, Hash)>,
    pub extent: Extent,
}

/// An organization's row.
struct Head {
    id: String,
    log_id: String,
    head_seq: i64,
    last_recorded_at: i64,
    edge: Vec<u8>,
    root: Vec<u8>,
}

impl Checker {
    pub fn new(ledger: Ledger, signs: SigningKey, key_id: String) -> Self {
        Self { ledger, signs, key_id, known: HashMap::new(), extent: Extent::default() }
    }

    /// Checks everything. No request may be under way. Errors: it could not be checked.
    pub async fn check(
        &mut self,
        database: &Database,
        client: &Client,
        seen: &mut Seen,
        when: When,
    ) -> anyhow::Result<Findings> {
        let mut findings = Findings::default();
        // First what was seen, then the database, which must have all of that.
        let walks = std::mem::take(&mut seen.walks);
        self.ledger.catch_up()?;
        let connection = database.connect().await?;
        let backend = connection.get_database_backend();
        let snapshot = match backend {
            DbBackend::Postgres => (Some(IsolationLevel::RepeatableRead), Some(AccessMode::ReadOnly)),
            _ => (None, None),
        };
        let transaction = connection.begin_with_config(snapshot.0, snapshot.1).await?;
        let names = stored::Names::read(&transaction, backend).await?;
        let mut trees = HashMap::new();
        let mut logs = HashMap::new();
        for head in heads(&transaction, backend).await? {
            let rows = stored::read(&transaction, backend, &head.id, &names).await?;
            stored::numbered(&rows, &head, &mut findings);
            if head.id != BESIEGED {
                stored::meant(&rows, &head.id, &self.ledger, &self.key_id, &mut findings);
            }
            trees.insert(head.id.clone(), self.tree(&head, &rows, &mut findings)?);
            logs.insert(head.id.clone(), rows);
        }
        stored::whole(&logs, &self.ledger, when, &mut findings);
        log::checkpoints(&transaction, backend, &trees, &mut findings).await?;
        transaction.rollback().await?;
        log::seen(&trees, seen, &self.signs, &mut findings);
        for walk in &walks {
            answers::walk(walk, logs.get(walk.organization).map_or(&[], Vec::as_slice), &mut findings);
        }
        // A service that does not answer does not keep the rest from being told.
        let totals = answers::totals(&connection, backend, client, &logs, when, &mut findings).await;
        let proofs = answers::proofs(client, &trees, seen, when, &mut findings).await;
        let exported = match when {
            When::Settled => answers::export(client, &logs, &self.ledger, &mut findings).await,
            When::Between => Ok(()),
        };
        let failed = [totals, proofs, exported].into_iter().filter_map(Result::err);
        findings.other.extend(failed.map(|error| format!("the service says: {error:#}")));
        connection.close().await?;
        self.extent.stored = logs.values().map(|rows| rows.len() as u64).sum();
        self.extent.walks += walks.len() as u64;
        self.extent.checkpoints = seen.checkpoints.len() as u64;
        Ok(findings)
    }

    /// The tree of the leaves that the rows make. A row that is as it was has the leaf that it had.
    fn tree(&mut self, head: &Head, rows: &[Row], findings: &mut Findings) -> anyhow::Result<Tree> {
        let mut tree = Tree::new(&head.log_id);
        for row in rows {
            let name = (head.id.clone(), row.id.clone());
            let leaf = match self.known.get(&name) {
                Some((before, leaf)) if before == row => *leaf,
                Some((before, _)) => {
                    findings.other.push(format!("{}: entry {} was {before:?} and is {row:?}", head.id, row.seq));
                    row.leaf_of(&head.log_id)?
                }
                None => {
                    let leaf = row.leaf_of(&head.log_id)?;
                    self.known.insert(name, (row.clone(), leaf));
                    leaf
                }
            };
            if leaf.0.as_slice() != row.leaf_hash {
                findings.other.push(format!("{}: the leaf of entry {} is not that of its values", head.id, row.seq));
            }
            tree.append(leaf);
        }
        tree.compare(head, findings);
        Ok(tree)
    }
}

async fn heads(transaction: &DatabaseTransaction, backend: DbBackend) -> anyhow::Result<Vec<Head>> {
    let sql = "SELECT id, log_id, head_seq, last_recorded_at, edge, root FROM organizations ORDER BY id";
    let mut heads = Vec::new();
    for row in rows(transaction, backend, sql).await? {
        heads.push(Head {
            id: row.try_get_by_index(0)?,
            log_id: row.try_get_by_index(1)?,
            head_seq: row.try_get_by_index(2)?,
            last_recorded_at: row.try_get_by_index(3)?,
            edge: row.try_get_by_index(4)?,
            root: row.try_get_by_index(5)?,
        });
    }
    Ok(heads)
}
