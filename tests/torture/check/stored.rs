//! The stored rows: each must match the journal, exist once, and be numbered without gaps.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Context;
use auditlog::domain::{Change, JsonText, Timestamp};
use auditlog_verify::merkle::{Hash, Leaf, Salts, Values, group_hashes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sea_orm::{DatabaseTransaction, DbBackend};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Findings, Head, When};
use crate::database::rows;
use crate::entry::{ACTOR_TYPES, Entry, OUTCOMES};
use crate::journal::{Ledger, Written};

/// A row of `audit_logs`, with names instead of catalogue codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub seq: i64,
    pub id: String,
    pub timestamp: i64,
    pub recorded_at: i64,
    pub resource_type: String,
    pub resource_id: String,
    resource_name: Option<String>,
    pub action: String,
    pub user_id: String,
    user_name: Option<String>,
    user_email: Option<String>,
    changes: String,
    metadata: String,
    trace_id: Option<String>,
    outcome: Option<String>,
    actor_type: Option<String>,
    writer_key_id: String,
    salts: Vec<u8>,
    pub leaf_hash: Vec<u8>,
}

/// The names of the catalogue, by kind and code.
pub struct Names(HashMap<(String, i16), String>);

impl Names {
    pub async fn read(transaction: &DatabaseTransaction, backend: DbBackend) -> anyhow::Result<Self> {
        let mut names = HashMap::new();
        for row in rows(transaction, backend, "SELECT kind, code, name FROM catalogue").await? {
            names.insert((row.try_get_by_index(0)?, row.try_get_by_index(1)?), row.try_get_by_index(2)?);
        }
        Ok(Self(names))
    }

    fn of(&self, kind: &str, code: i16) -> String {
        self.0.get(&(kind.to_owned(), code)).cloned().unwrap_or_else(|| format!("code {code}"))
    }
}

/// The name of a code from 1 on; `None` for 0.
fn optional_name(names: &[&str], code: i16) -> Option<String> {
    let known = usize::try_from(code).ok().and_then(|code| names.get(code.checked_sub(1)?));
    (code != 0).then(|| known.map_or_else(|| format!("code {code}"), |name| (*name).to_owned()))
}

/// All entries of an organization, by sequence number.
pub async fn read(
    transaction: &DatabaseTransaction,
    backend: DbBackend,
    organization: &str,
    names: &Names,
) -> anyhow::Result<Vec<Row>> {
    let sql = format!(
        "SELECT seq, id, timestamp, recorded_at, resource_type, resource_id, resource_name, action, user_id, user_name, \
         user_email, changes, metadata, trace_id, outcome, actor_type, writer_key_id, salts, leaf_hash FROM audit_logs \
         WHERE organization_id = '{organization}' ORDER BY seq"
    );
    let mut entries = Vec::new();
    for row in rows(transaction, backend, &sql).await? {
        entries.push(Row {
            seq: row.try_get_by_index(0)?,
            id: row.try_get_by_index(1)?,
            timestamp: row.try_get_by_index(2)?,
            recorded_at: row.try_get_by_index(3)?,
            resource_type: names.of("resource_type", row.try_get_by_index(4)?),
            resource_id: row.try_get_by_index(5)?,
            resource_name: row.try_get_by_index(6)?,
            action: names.of("action", row.try_get_by_index(7)?),
            user_id: row.try_get_by_index(8)?,
            user_name: row.try_get_by_index(9)?,
            user_email: row.try_get_by_index(10)?,
            changes: row.try_get_by_index(11)?,
            metadata: row.try_get_by_index(12)?,
            trace_id: row.try_get_by_index(13)?,
            outcome: optional_name(&OUTCOMES, row.try_get_by_index(14)?),
            actor_type: optional_name(&ACTOR_TYPES, row.try_get_by_index(15)?),
            writer_key_id: row.try_get_by_index(16)?,
            salts: row.try_get_by_index(17)?,
            leaf_hash: row.try_get_by_index(18)?,
        });
    }
    Ok(entries)
}

/// A change, as stored in the JSON column.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredChange<'a> {
    field: String,
    #[serde(borrow)]
    old_value: &'a RawValue,
    #[serde(borrow)]
    new_value: &'a RawValue,
}

impl Row {
    /// Computes the leaf hash of these values in the log `log_id`.
    pub fn leaf_of(&self, log_id: &str) -> anyhow::Result<Hash> {
        let change = |StoredChange { field, old_value, new_value }: StoredChange<'_>| {
            Ok(Change {
                field,
                old_value: JsonText::parse(old_value.get())?,
                new_value: JsonText::parse(new_value.get())?,
            })
        };
        let changes: Vec<StoredChange<'_>> = serde_json::from_str(&self.changes).context("changes")?;
        let changes = changes.into_iter().map(change).collect::<anyhow::Result<Vec<_>>>()?;
        let metadata: BTreeMap<String, String> = serde_json::from_str(&self.metadata).context("metadata")?;
        let values = [
            Values::Facts {
                timestamp: Timestamp::saturating(self.timestamp),
                resource_type: &self.resource_type,
                resource_id: &self.resource_id,
                action: &self.action,
                user_id: &self.user_id,
                trace_id: self.trace_id.as_deref(),
                outcome: self.outcome.as_deref(),
                actor_type: self.actor_type.as_deref(),
            },
            Values::Actor {
                user_name: self.user_name.as_deref(),
                user_email: self.user_email.as_deref(),
                metadata: &metadata,
            },
            Values::Content { resource_name: self.resource_name.as_deref(), changes: &changes },
        ];
        let (recorded_at, writer) = (Timestamp::saturating(self.recorded_at), self.writer_key_id.as_str());
        let groups = group_hashes(&values, &Salts::parse(&self.salts)?);
        Ok(Hash::of_leaf(&Leaf { log_id, seq: self.seq, id: &self.id, recorded_at, writer, groups }.data()))
    }

    /// The first field that differs from the `entry` in the journal.
    fn differs(&self, entry: &Entry) -> Option<&'static str> {
        let Entry { id, timestamp, resource_type, resource_id, resource_name, action, .. } = entry;
        let Entry { user_id, user_name, user_email, changes, metadata, trace_id, outcome, actor_type, .. } = entry;
        let stored: Result<Vec<StoredChange<'_>>, _> = serde_json::from_str(&self.changes);
        let are_same = stored.is_ok_and(|stored| {
            let stored = stored.iter().map(|one| (one.field.as_str(), [one.old_value.get(), one.new_value.get()]));
            stored.eq(changes.iter().map(|change| (change.field.as_str(), change.kept())))
        });
        let kept: Result<BTreeMap<String, String>, _> = serde_json::from_str(&self.metadata);
        let compared = [
            ("id", self.id == *id),
            // Without a client timestamp, the service uses its clock, which may be behind the last `recorded_at` of the
            // log.
            ("timestamp", timestamp.map_or(self.timestamp <= self.recorded_at, |sent| self.timestamp == sent)),
            ("resource_type", self.resource_type == *resource_type),
            ("resource_id", self.resource_id == *resource_id),
            ("resource_name", self.resource_name == *resource_name),
            ("action", self.action == *action),
            ("user_id", self.user_id == *user_id),
            ("user_name", self.user_name == *user_name),
            ("user_email", self.user_email == *user_email),
            ("changes", are_same),
            ("metadata", kept.is_ok_and(|kept| kept == *metadata)),
            ("trace_id", self.trace_id == *trace_id),
            ("outcome", self.outcome == *outcome),
            ("actor_type", self.actor_type == *actor_type),
        ];
        compared.into_iter().find(|(_, is_same)| !is_same).map(|(field, _)| field)
    }

    fn is_as_acknowledged(&self, written: &Written) -> bool {
        let leaf = STANDARD.encode(&self.leaf_hash);
        (self.seq, self.recorded_at, &leaf) == (written.seq, written.recorded_at, &written.leaf)
    }
}

/// Compares the entries of an organization with its head: no gap in the sequence numbers, `recorded_at` never goes
/// back, each id once.
pub fn numbered(entries: &[Row], head: &Head, findings: &mut Findings) {
    let of = &head.id;
    let (count, last) = (entries.len() as i64, entries.last());
    if entries.iter().zip(1..).any(|(row, seq)| row.seq != seq) {
        let seqs: Vec<_> =
            entries.iter().zip(1..).filter(|(row, seq)| row.seq != *seq).map(|(row, _)| row.seq).collect();
        findings.other.push(format!(
            "{of}: {count} entries are not numbered 1 to {count}; the first wrong is {:?}",
            seqs.first()
        ));
    }
    if head.head_seq != count {
        findings.other.push(format!("{of}: the head says {} but there are {count} entries", head.head_seq));
    }
    if last.is_some_and(|last| last.recorded_at != head.last_recorded_at) {
        findings.other.push(format!("{of}: the head and the last entry have different times of recording"));
    }
    if !entries.is_sorted_by_key(|row| row.recorded_at) {
        findings.other.push(format!("{of}: the time of recording goes back"));
    }
    let mut ids = HashSet::new();
    for row in entries.iter().filter(|row| !ids.insert(&row.id)) {
        findings.duplicated.push(format!("{of}: {} is stored twice", row.id));
    }
}

/// Compares the entries of an organization with the intents and acknowledgements in the journal.
pub fn meant(entries: &[Row], of: &str, ledger: &Ledger, key_id: &str, findings: &mut Findings) {
    for row in entries {
        let name = (of.to_owned(), row.id.clone());
        match ledger.intended.get(&name) {
            None => findings.other.push(format!("{of}: nobody wrote {}", row.id)),
            Some(entry) => {
                if let Some(field) = row.differs(entry) {
                    findings.other.push(format!("{of}: {} has another {field} than was written: {row:?}", row.id));
                }
            }
        }
        if ledger.acknowledged.get(&name).is_some_and(|written| !row.is_as_acknowledged(written)) {
            let written = &ledger.acknowledged[&name];
            findings.other.push(format!(
                "{of}: {written:?} was acknowledged, and stored as entry {} of {}",
                row.seq, row.recorded_at
            ));
        }
        if row.writer_key_id != key_id {
            findings.other.push(format!("{of}: {} was written by {:?}", row.id, row.writer_key_id));
        }
    }
}

/// Every acknowledged entry must be stored. At the end, every intended entry must be acknowledged.
pub fn whole(logs: &HashMap<String, Vec<Row>>, ledger: &Ledger, when: When, findings: &mut Findings) {
    let stored: HashSet<(&str, &str)> =
        logs.iter().flat_map(|(of, rows)| rows.iter().map(move |row| (of.as_str(), row.id.as_str()))).collect();
    let missing = |name: &&(String, String)| !stored.contains(&(name.0.as_str(), name.1.as_str()));
    for (of, id) in ledger.acknowledged.keys().filter(missing) {
        let written = &ledger.acknowledged[&(of.clone(), id.clone())];
        findings.lost.push(format!("{of}: {id}, acknowledged as entry {}, is not stored", written.seq));
    }
    if when == When::Settled {
        for (of, id) in ledger.intended.keys().filter(|name| !ledger.acknowledged.contains_key(*name)) {
            findings.other.push(format!("{of}: {id} was never acknowledged"));
        }
    }
}
