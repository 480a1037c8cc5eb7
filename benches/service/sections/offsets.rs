//! The first page of a list against a page from its middle.

use anyhow::Context;
use auditlog::grpc::pb::{AuditLogFilter, ListAuditLogsRequest};

use super::lists::measure;
use crate::data::user_id;
use crate::database::Database;
use crate::figure::{Report, Target};
use crate::requests::{largest, list, type_name};
use crate::service::Service;

const REQUESTS: usize = 50;

pub async fn run(database: &Database, service: &Service, report: &mut Report) -> anyhow::Result<()> {
    let cases = [
        ("no filter", largest()),
        ("type", list(AuditLogFilter { resource_types: vec![type_name(0)], ..Default::default() })),
        ("hottest user", list(AuditLogFilter { user_ids: vec![user_id(0)], ..Default::default() })),
    ];
    let mut client = service.client().await?;
    for (name, first) in cases {
        let answer = client.list(first.clone()).await?;
        let total = answer.pagination.context("a list tells its place")?.total;
        let middle = ListAuditLogsRequest { offset: Some(total / 2), ..first.clone() };
        let entries = client.list(middle.clone()).await?.audit_logs.len();
        let mut p50 = [0.0; 2];
        for (p50, request) in p50.iter_mut().zip([first, middle]) {
            *p50 = measure(database, service, &mut client, vec![request; REQUESTS]).await?.latency.p50();
        }
        report.add(name, "total", total as f64, "");
        report.add(name, "offset", (total / 2) as f64, "");
        report.add_for(name, "entries of the page", entries as f64, "", Target::AtLeast(50.0));
        report.add(name, "first page p50", p50[0], "ms");
        report.add(name, "middle p50", p50[1], "ms");
        report.add_for(name, "ratio", p50[1] / p50[0], "", Target::AtMost(3.0));
    }
    report.print();
    Ok(())
}
