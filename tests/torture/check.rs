//! The checks after every fault. They read the database with plain SQL and compare it with the journal, the walks and
//! checkpoints of the readers, and the answers of the service. They use no storage code of the service.

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

/// The organization that hostile clients write to. Its entries are not in the journal; all other checks apply to it
/// too.
pub const BESIEGED: &str = "org_besieged";
/// The organization whose entries only the service writes. They are not in the journal either.
const SERVICE: &str = "auditlog:service";
/// The maximum number of findings of one kind to print. All are counted.
const TOLD: usize = 5;
/// The maximum length of a printed finding, in characters; a row may be long.
const LINE: usize = 400;

/// The scope of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// After one of many faults: only some proofs and totals.
    Between,
    /// At the end, when each request is answered: all proofs and totals, and every request is acknowledged.
    Settled,
}

/// Failed checks, by kind.
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

    /// The first findings of each kind, one a line.
    pub fn summary(&self) -> String {
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

/// The number of items compared.
#[derive(Debug, Default, Clone, Copy)]
pub struct Extent {
    pub stored: u64,
    pub walks: u64,
    pub checkpoints: u64,
}

/// Runs the checks. Keeps the rows of earlier checks, because a stored row must never change.
pub struct Checker {
    ledger: Ledger,
    signs: SigningKey,
    /// The id of the writers' API key, as in a leaf.
    key_id: String,
    /// The rows seen so far, with their leaf hashes.
    known: HashMap<Name, (Row, Hash)>,
    pub extent: Extent,
}

/// The row of an organization.
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

    /// Runs all checks. No request may be in progress. Errors: the check itself failed.
    pub async fn check(
        &mut self,
        database: &Database,
        client: &Client,
        seen: &mut Seen,
        when: When,
    ) -> anyhow::Result<Findings> {
        let mut findings = Findings::default();
        // Take the readers' results before reading the database, which must contain all of them.
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
            if is_in_journal(&head.id) {
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
        // An error of the service must not hide the other findings.
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

    /// Builds the tree from the rows. An unchanged row keeps the leaf hash that was computed before.
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
                findings.other.push(format!("{}: the leaf of entry {} does not match its values", head.id, row.seq));
            }
            tree.append(leaf);
        }
        tree.compare(head, findings);
        Ok(tree)
    }
}

/// Whether the journal has all writes to this organization.
fn is_in_journal(organization: &str) -> bool {
    ![BESIEGED, SERVICE].contains(&organization)
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
