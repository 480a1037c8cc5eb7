//! The naive design behind the same contract, with the same table, indexes and connection counts. Each entry has its
//! own transaction, which locks the organization's row from numbering to commit. Lists use `COUNT(*)` and `OFFSET`. It
//! checks no API key.

use auditlog::domain::Clock;
use auditlog::grpc::pb;
use auditlog::grpc::pb::audit_log_service_server::AuditLogService;
use futures::stream::Empty;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, QueryResult,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait, Value,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tonic::{Request, Response, Status};

use crate::bare::{self, READERS, failed, not_compared};
use crate::data::{ACTIONS, ACTOR_TYPES, COLUMNS, OUTCOMES, TYPES, time};
use crate::requests::condition;

/// The number of connections that the service writes with.
const WRITERS: u32 = 3;

/// Serves until the process is killed.
pub async fn serve(url: &str) -> anyhow::Result<()> {
    let connect = async |connections| {
        let mut options = ConnectOptions::new(url);
        options.max_connections(connections).test_before_acquire(false).sqlx_logging(false);
        Database::connect(options).await
    };
    let (readers, writers) = match url.starts_with("sqlite") {
        true => (connect(READERS).await?, connect(1).await?),
        // One pool, so that a writer may use every connection.
        false => {
            let all = connect(READERS + WRITERS).await?;
            (all.clone(), all)
        }
    };
    bare::serve(Naive { readers, writers, clock: Clock::system() }).await
}

struct Naive {
    readers: DatabaseConnection,
    writers: DatabaseConnection,
    clock: Clock,
}

/// A change, as stored in the column `changes`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    field: String,
    old_value: Box<RawValue>,
    new_value: Box<RawValue>,
}

impl Naive {
    async fn write(&self, organization: &str, entry: pb::AuditLogInput) -> anyhow::Result<pb::WrittenAuditLog> {
        let backend = self.writers.get_database_backend();
        let (lock, mode) = match backend {
            DbBackend::Sqlite => ("", Some(SqliteTransactionMode::Immediate)),
            _ => (" FOR UPDATE", None),
        };
        let options = TransactionOptions { sqlite_transaction_mode: mode, ..TransactionOptions::default() };
        let transaction = self.writers.begin_with_options(options).await?;
        let head = format!("SELECT head_seq FROM organizations WHERE id = $1{lock}");
        let head = Statement::from_sql_and_values(backend, head, [organization.into()]);
        let head = transaction.query_one_raw(head).await?.ok_or_else(|| anyhow::anyhow!("no such organization"))?;
        let sequence = head.try_get_by_index::<i64>(0)? + 1;
        let now = self.clock.now().micros();
        let id = entry.id.clone();
        let places: Vec<_> = (1..=COLUMNS.len()).map(|place| format!("${place}")).collect();
        let sql = format!("INSERT INTO audit_logs ({}) VALUES ({})", COLUMNS.join(", "), places.join(", "));
        let row = row(organization, sequence, now, entry)?;
        transaction.execute_raw(Statement::from_sql_and_values(backend, sql, row)).await?;
        let sql = "UPDATE organizations SET head_seq = $1, last_recorded_at = $2 WHERE id = $3";
        let values = [sequence.into(), now.into(), organization.into()];
        transaction.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        transaction.commit().await?;
        Ok(pb::WrittenAuditLog { id, sequence, recorded_at: Some(time(now)), replayed: false, leaf_hash: Vec::new() })
    }

    async fn list(&self, request: pb::ListAuditLogsRequest) -> anyhow::Result<pb::ListAuditLogsResponse> {
        let backend = self.readers.get_database_backend();
        let (condition, limit) = (condition(&request), request.limit.unwrap_or(50));
        let offset = request.offset.unwrap_or(0);
        let count = format!("SELECT COUNT(*) FROM audit_logs WHERE {condition}");
        let count = self.readers.query_one_raw(Statement::from_string(backend, count)).await?;
        let total = count.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or(0);
        let page = format!(
            "SELECT {} FROM audit_logs WHERE {condition} ORDER BY timestamp DESC, seq DESC LIMIT {limit} OFFSET {offset}",
            COLUMNS.join(", ")
        );
        let rows = self.readers.query_all_raw(Statement::from_string(backend, page)).await?;
        let audit_logs = rows.iter().map(entry).collect::<anyhow::Result<Vec<_>>>()?;
        let has_more = offset + (audit_logs.len() as i64) < total;
        let pagination = pb::Pagination { total, limit, offset, has_more, next_cursor: None };
        Ok(pb::ListAuditLogsResponse { audit_logs, pagination: Some(pagination) })
    }
}

fn row(
    organization: &str,
    sequence: i64,
    now: i64,
    entry: pb::AuditLogInput,
) -> anyhow::Result<[Value; COLUMNS.len()]> {
    let code =
        |names: &[(&str, f64)], name: &str| names.iter().position(|(known, _)| *known == name).unwrap_or(0) as i64;
    let value = |json: Option<String>| RawValue::from_string(json.unwrap_or_else(|| "null".to_owned()));
    let change = |pb::Change { field, old_value_json, new_value_json }| {
        Ok(Change { field, old_value: value(old_value_json)?, new_value: value(new_value_json)? })
    };
    let changes = entry.changes.into_iter().map(change).collect::<serde_json::Result<Vec<_>>>()?;
    let timestamp = entry.timestamp.map_or(now, |time| time.seconds * 1_000_000 + i64::from(time.nanos / 1_000));
    Ok([
        organization.into(),
        sequence.into(),
        entry.id.into(),
        timestamp.into(),
        now.into(),
        code(&TYPES, &entry.resource_type).into(),
        entry.resource_id.into(),
        entry.resource_name.into(),
        code(&ACTIONS, &entry.action).into(),
        entry.user_id.into(),
        entry.user_name.into(),
        entry.user_email.into(),
        serde_json::to_string(&changes)?.into(),
        serde_json::to_string(&entry.metadata)?.into(),
        entry.trace_id.into(),
        code(&OUTCOMES, &entry.outcome).into(),
        code(&ACTOR_TYPES, &entry.actor_type).into(),
        "naive".into(),
        Vec::<u8>::new().into(),
        Vec::<u8>::new().into(),
    ])
}

fn entry(row: &QueryResult) -> anyhow::Result<pb::AuditLog> {
    let text = |place| row.try_get_by_index::<String>(place);
    let name = |names: &[(&str, f64)], place| -> Result<String, DbErr> {
        Ok(names[row.try_get_by_index::<i16>(place)? as usize].0.to_owned())
    };
    let optional = |names: &[(&str, f64)], place| name(names, place).map(|name| (!name.is_empty()).then_some(name));
    let change = |Change { field, old_value, new_value }| pb::Change {
        field,
        old_value_json: Some(old_value.get().to_owned()),
        new_value_json: Some(new_value.get().to_owned()),
    };
    Ok(pb::AuditLog {
        organization_id: text(0)?,
        sequence: row.try_get_by_index(1)?,
        id: text(2)?,
        timestamp: Some(time(row.try_get_by_index(3)?)),
        recorded_at: Some(time(row.try_get_by_index(4)?)),
        resource_type: name(&TYPES, 5)?,
        resource_id: text(6)?,
        resource_name: Some(text(7)?),
        action: name(&ACTIONS, 8)?,
        user_id: text(9)?,
        user_name: Some(text(10)?),
        user_email: Some(text(11)?),
        changes: serde_json::from_str::<Vec<Change>>(&text(12)?)?.into_iter().map(change).collect(),
        metadata: serde_json::from_str(&text(13)?)?,
        trace_id: Some(text(14)?),
        outcome: optional(&OUTCOMES, 15)?,
        actor_type: optional(&ACTOR_TYPES, 16)?,
        erased: Vec::new(),
    })
}

#[tonic::async_trait]
impl AuditLogService for Naive {
    async fn list_audit_logs(
        &self,
        request: Request<pb::ListAuditLogsRequest>,
    ) -> Result<Response<pb::ListAuditLogsResponse>, Status> {
        self.list(request.into_inner()).await.map(Response::new).map_err(failed)
    }

    async fn write_audit_logs(
        &self,
        request: Request<pb::WriteAuditLogsRequest>,
    ) -> Result<Response<pb::WriteAuditLogsResponse>, Status> {
        let pb::WriteAuditLogsRequest { organization_id, audit_logs: entries } = request.into_inner();
        let mut audit_logs = Vec::with_capacity(entries.len());
        for entry in entries {
            audit_logs.push(self.write(&organization_id, entry).await.map_err(failed)?);
        }
        Ok(Response::new(pb::WriteAuditLogsResponse { audit_logs }))
    }

    async fn get_resource_history(
        &self,
        _: Request<pb::GetResourceHistoryRequest>,
    ) -> Result<Response<pb::GetResourceHistoryResponse>, Status> {
        not_compared()
    }

    async fn count_audit_logs(
        &self,
        _: Request<pb::CountAuditLogsRequest>,
    ) -> Result<Response<pb::CountAuditLogsResponse>, Status> {
        not_compared()
    }

    async fn list_audit_logs_around(
        &self,
        _: Request<pb::ListAuditLogsAroundRequest>,
    ) -> Result<Response<pb::ListAuditLogsAroundResponse>, Status> {
        not_compared()
    }

    async fn get_audit_log(
        &self,
        _: Request<pb::GetAuditLogRequest>,
    ) -> Result<Response<pb::GetAuditLogResponse>, Status> {
        not_compared()
    }

    type ExportAuditLogsStream = Empty<Result<pb::ExportAuditLogsResponse, Status>>;

    async fn export_audit_logs(
        &self,
        _: Request<pb::ExportAuditLogsRequest>,
    ) -> Result<Response<Self::ExportAuditLogsStream>, Status> {
        not_compared()
    }

    type FollowAuditLogsStream = Empty<Result<pb::FollowAuditLogsResponse, Status>>;

    async fn follow_audit_logs(
        &self,
        _: Request<pb::FollowAuditLogsRequest>,
    ) -> Result<Response<Self::FollowAuditLogsStream>, Status> {
        not_compared()
    }
}
