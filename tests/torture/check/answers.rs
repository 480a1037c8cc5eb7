//! The answers of the service: walks, totals, proofs, and an export of the whole log.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use auditlog::grpc::pb::{
    AuditLog, AuditLogFilter, ExportAuditLogsRequest, GetCheckpointRequest, GetConsistencyProofRequest,
    ListAuditLogsRequest,
};
use auditlog_verify::merkle::{Hash, verify_consistency};
use sea_orm::{ConnectionTrait, DbBackend};

use super::log::Tree;
use super::stored::Row;
use super::{Findings, When, is_in_journal};
use crate::client::Client;
use crate::database::number;
use crate::entry::Entry;
use crate::journal::Ledger;
use crate::service::COMES_BACK;
use crate::watch::{Seen, Walk};

/// The maximum number of proofs per organization after one of many faults.
const SOME: usize = 5;

/// The interval between two requests for a checkpoint.
const LOOKS: Duration = Duration::from_millis(50);

/// A walk must return every entry that existed at its first page, newest first, exactly once.
pub fn walk(walk: &Walk, entries: &[Row], findings: &mut Findings) {
    let matches = |row: &&Row| walk.action.is_none_or(|action| row.action == action);
    let total = usize::try_from(walk.total).unwrap_or(usize::MAX);
    // By sequence number, the first `total` matching entries existed when the walk began.
    let mut expected: Vec<_> = entries.iter().filter(matches).take(total).map(|row| (row.timestamp, row.seq)).collect();
    expected.sort_unstable_by(|one, other| other.cmp(one));
    if walk.seen != expected {
        let (of, action, pages) = (walk.organization, walk.action, walk.interrupted);
        let (saw, there) = (walk.seen.len(), expected.len());
        let first = walk.seen.iter().zip(&expected).find(|(one, other)| one != other);
        findings.other.push(format!(
            "{of}: a walk of {action:?} with {pages} pages asked for again saw {saw} entries, but the total was {total}, and \
             {there} are stored; the first difference is {first:?}"
        ));
    }
}

/// A filter for the API, and the same condition in SQL.
struct Filter {
    message: AuditLogFilter,
    sql: String,
}

fn filters(rows: &[Row], when: When) -> Vec<Filter> {
    let filter = |message, sql: String| Filter { message, sql };
    let all = AuditLogFilter::default;
    let mut filters = vec![filter(all(), String::new())];
    let Some(row) = rows.get(rows.len() / 2) else { return filters };
    let (user, resource) = (row.user_id.clone(), row.resource_id.clone());
    let quoted = |text: &str| text.replace('\'', "''");
    let of_user = format!("user_id = '{}'", quoted(&user));
    let of_resource = format!("resource_id = '{}'", quoted(&resource));
    let (action, resource_type) = (code("action", &row.action), code("resource_type", &row.resource_type));
    let users = vec![user];
    filters.push(filter(AuditLogFilter { user_ids: users.clone(), ..all() }, of_user.clone()));
    filters.push(filter(AuditLogFilter { actions: vec![row.action.clone()], ..all() }, action.clone()));
    if when == When::Between {
        return filters;
    }
    let types = vec![row.resource_type.clone()];
    filters.push(filter(AuditLogFilter { resource_types: types.clone(), ..all() }, resource_type.clone()));
    filters.push(filter(AuditLogFilter { resource_ids: vec![resource.clone()], ..all() }, of_resource.clone()));
    let message = AuditLogFilter { resource_types: types, resource_ids: vec![resource], ..all() };
    filters.push(filter(message, format!("{resource_type} AND {of_resource}")));
    let message = AuditLogFilter { user_ids: users, actions: vec![row.action.clone()], ..all() };
    filters.push(filter(message, format!("{of_user} AND {action}")));
    let (seconds, micros) = (row.timestamp.div_euclid(1_000_000), row.timestamp.div_euclid(1_000_000) * 1_000_000);
    let start_time = Some(prost_types::Timestamp { seconds, nanos: 0 });
    filters.push(filter(AuditLogFilter { start_time, ..all() }, format!("timestamp >= {micros}")));
    filters
}

fn code(kind: &str, name: &str) -> String {
    let column = kind;
    format!("{column} = (SELECT code FROM catalogue WHERE kind = '{kind}' AND name = '{name}')")
}

/// The totals of the service must equal `SELECT COUNT(*)`.
pub async fn totals(
    connection: &impl ConnectionTrait,
    backend: DbBackend,
    client: &Client,
    logs: &HashMap<String, Vec<Row>>,
    when: When,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    for (of, rows) in logs {
        for Filter { message, sql } in filters(rows, when) {
            let and = if sql.is_empty() { String::new() } else { format!(" AND {sql}") };
            let count = format!("SELECT COUNT(*) FROM audit_logs WHERE organization_id = '{of}'{and}");
            let before = number(connection, backend, &count).await?;
            let (organization_id, filter) = (of.clone(), Some(message));
            let request = ListAuditLogsRequest { organization_id, filter, limit: Some(1), ..Default::default() };
            let answer = client.audit_logs().list_audit_logs(client.request(request)).await.context("a list")?;
            let total = answer.into_inner().pagination.context("a page")?.total;
            // A request whose client gave up may still be committed in between.
            let after = number(connection, backend, &count).await?;
            if !(before..=after).contains(&total) {
                findings
                    .other
                    .push(format!("{of}: the total where {sql:?} is {total}, but there are {before} to {after}"));
            }
        }
    }
    Ok(())
}

/// The last checkpoint of each log must extend all earlier ones, by the service's own consistency proofs. At the end it
/// must cover all entries.
pub async fn proofs(
    client: &Client,
    trees: &HashMap<String, Tree>,
    seen: &Seen,
    when: When,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    for (of, tree) in trees {
        let notes = seen.checkpoints.iter().filter(|(organization, _)| organization == of);
        let mut earlier: Vec<_> = notes.filter_map(|(_, note)| size_and_root(note)).collect();
        earlier.sort_unstable();
        let expected = if when == When::Settled { tree.size() } else { 0 };
        let last = signed(client, of, expected).await?;
        let size = last.map_or(0, |(size, _)| size);
        if size < expected {
            findings
                .other
                .push(format!("{of}: {expected} entries, and {COMES_BACK:?} later {size} of them are signed"));
        }
        let Some(last) = last else {
            if let Some((size, _)) = earlier.last() {
                findings.other.push(format!("{of}: the checkpoint of {size} entries was seen, but now there is none"));
            }
            continue;
        };
        let count = if when == When::Settled { earlier.len() } else { SOME };
        for (size, root) in earlier.into_iter().rev().take(count) {
            let (first_size, second_size) = (size as i64, Some(last.0 as i64));
            let message = GetConsistencyProofRequest { organization_id: of.clone(), first_size, second_size };
            let proof = client.integrity().get_consistency_proof(client.request(message)).await;
            let hashes = proof.context("a consistency proof")?.into_inner().hashes;
            let hashes = hashes.iter().map(|hash| Hash::of_bytes(hash)).collect::<Result<Vec<_>, _>>()?;
            if verify_consistency(size, root, &hashes, last.0, last.1).is_err() {
                findings.other.push(format!("{of}: the checkpoint of {} does not extend that of {size}", last.0));
            }
        }
        if tree.root(last.0).is_some_and(|own| own != last.1) {
            findings.other.push(format!("{of}: the last checkpoint does not match the log"));
        }
    }
    Ok(())
}

/// The last checkpoint of a log, once it covers `entries` entries. After [`COMES_BACK`], returns the last one even if
/// it is smaller.
async fn signed(client: &Client, of: &str, entries: u64) -> anyhow::Result<Option<(u64, Hash)>> {
    let begun = Instant::now();
    loop {
        let last = checkpoint(client, of).await?;
        if last.map_or(0, |(size, _)| size) >= entries || begun.elapsed() > COMES_BACK {
            return Ok(last);
        }
        tokio::time::sleep(LOOKS).await;
    }
}

/// Size and root of the last checkpoint of a log.
async fn checkpoint(client: &Client, of: &str) -> anyhow::Result<Option<(u64, Hash)>> {
    let asked = client.request(GetCheckpointRequest { organization_id: of.to_owned() });
    match client.integrity().get_checkpoint(asked).await {
        Ok(answer) => size_and_root(&answer.into_inner().checkpoint).context("a checkpoint is three lines").map(Some),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(status).context("a checkpoint"),
    }
}

fn size_and_root(note: &str) -> Option<(u64, Hash)> {
    let mut lines = note.lines().skip(1);
    Some((lines.next()?.parse().ok()?, Hash::parse(lines.next()?).ok()?))
}

/// An export must return each entry as it was written, with its leaf hash. Skips organizations whose writes are not in the journal.
pub async fn export(
    client: &Client,
    logs: &HashMap<String, Vec<Row>>,
    ledger: &Ledger,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    for (of, rows) in logs.iter().filter(|(of, _)| is_in_journal(of)) {
        let message = ExportAuditLogsRequest { organization_id: of.clone(), ..Default::default() };
        let mut pieces = client.audit_logs().export_audit_logs(client.request(message)).await?.into_inner();
        let mut read = 0;
        while let Some(piece) = pieces.message().await? {
            for (log, leaf) in piece.audit_logs.into_iter().zip(piece.leaf_hashes) {
                let is_leaf = rows.get(read as usize).is_some_and(|row| row.leaf_hash == leaf);
                read += 1;
                let entry = ledger.intended.get(&(of.clone(), log.id.clone()));
                if log.sequence != read || !is_leaf || !entry.is_some_and(|entry| is_same(&log, entry)) {
                    findings.other.push(format!("{of}: entry {read} is exported as {log:?}"));
                }
            }
        }
        if read != rows.len() as i64 {
            findings.other.push(format!("{of}: {read} of {} entries are exported", rows.len()));
        }
    }
    Ok(())
}

fn is_same(log: &AuditLog, entry: &Entry) -> bool {
    let Entry { id, timestamp: _, resource_type, resource_id, resource_name, action, .. } = entry;
    let Entry { user_id, user_name, user_email, changes, metadata, trace_id, outcome, actor_type, .. } = entry;
    let values = log.changes.iter().map(|change| {
        let text = |value: &'_ Option<String>| value.clone().unwrap_or_else(|| "null".to_owned());
        (change.field.clone(), [text(&change.old_value_json), text(&change.new_value_json)])
    });
    let expected = changes.iter().map(|change| (change.field.clone(), change.kept().map(str::to_owned)));
    let strings = [
        (&log.id, id),
        (&log.resource_type, resource_type),
        (&log.resource_id, resource_id),
        (&log.action, action),
        (&log.user_id, user_id),
    ];
    let options = [
        (&log.resource_name, resource_name),
        (&log.user_name, user_name),
        (&log.user_email, user_email),
        (&log.trace_id, trace_id),
        (&log.outcome, outcome),
        (&log.actor_type, actor_type),
    ];
    strings.iter().all(|(one, other)| one == other)
        && options.iter().all(|(one, other)| one == other)
        && values.eq(expected)
        && log.metadata.iter().collect::<std::collections::BTreeMap<_, _>>() == metadata.iter().collect()
}
