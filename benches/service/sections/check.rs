//! Compares a random sample of pages and totals with plain SQL.

use anyhow::ensure;
use auditlog::grpc::pb::{ListAuditLogsRequest, Pagination};
use rand::RngExt;

use crate::data::random;
use crate::database::Database;
use crate::figure::{Report, Target};
use crate::requests::{SHAPES, condition};
use crate::say;
use crate::service::{Client, Service};

const SAMPLE: usize = 300;

/// Compares the whole sample, then fails if any answer differed. `salt` selects the sample.
pub async fn run(database: &Database, service: &Service, report: &mut Report, salt: u64) -> anyhow::Result<()> {
    let (mut client, mut random) = (service.client().await?, random(100 + salt));
    let mut differ = 0;
    for place in 0..SAMPLE {
        let shape = SHAPES[place % SHAPES.len()];
        let mut request = shape.request(random.random_bool(0.5), &mut random);
        // Several alternative values for each filter.
        let mut filter = request.filter.unwrap_or_default();
        while random.random_bool(0.2) {
            let other = shape.request(false, &mut random).filter.unwrap_or_default();
            add(&mut filter.user_ids, other.user_ids);
            add(&mut filter.actions, other.actions);
            if filter.resource_ids.is_empty() {
                add(&mut filter.resource_types, other.resource_types);
            }
        }
        request.filter = Some(filter);
        let total: i64 =
            database.value(&format!("SELECT COUNT(*) FROM audit_logs WHERE {}", condition(&request))).await?;
        let limit = [1, 50, 100][random.random_range(0..3)];
        // The first entries, the last ones, just beyond the last, or any others.
        let offset = match random.random_range(0..4) {
            0 => 0,
            1 => (total - i64::from(limit)).max(0),
            2 => total,
            _ => random.random_range(0..=total),
        };
        request.limit = Some(limit);
        request.offset = Some(offset);
        differ += usize::from(!agrees(database, &mut client, request, total).await?);
    }
    report.add("requests compared with plain SQL", "", SAMPLE as f64, "");
    report.add_for("answers that differed", "", differ as f64, "", Target::AtMost(0.0));
    report.print();
    ensure!(differ == 0, "{differ} answers differed from plain SQL");
    Ok(())
}

fn add(values: &mut Vec<String>, more: Vec<String>) {
    values.extend(more);
    values.sort();
    values.dedup();
}

async fn agrees(
    database: &Database,
    client: &mut Client,
    request: ListAuditLogsRequest,
    total: i64,
) -> anyhow::Result<bool> {
    let (limit, offset) = (request.limit.unwrap_or(50), request.offset.unwrap_or(0));
    let sql = format!(
        "SELECT seq FROM audit_logs WHERE {} ORDER BY timestamp DESC, seq DESC LIMIT {limit} OFFSET {offset}",
        condition(&request)
    );
    let expected: Vec<i64> = database.column(&sql).await?;
    let answer = client.list(request).await?;
    let Pagination { total: told, .. } = answer.pagination.unwrap_or_default();
    let found: Vec<i64> = answer.audit_logs.iter().map(|entry| entry.sequence).collect();
    let agrees = told == total && found == expected;
    if !agrees {
        say(&format!("DIFFERS: {sql}\n  expected total {total}, got {told}\n  {expected:?}\n  {found:?}"));
    }
    Ok(agrees)
}
