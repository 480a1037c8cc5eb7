//! The ceiling of lists: a bare tonic handler over tokio-postgres. For requests that were captured before, it runs the
//! same statements as the service and encodes the same answer. It checks no key, parses no filter, computes no total
//! and limits nothing. So the share of its rate that the service reaches shows the cost of all that.

mod entry;
mod parameter;
mod pool;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use auditlog::grpc::pb;
use auditlog::grpc::pb::audit_log_service_server::AuditLogService;
use futures::stream::Empty;
use prost::Message;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Column, Statement};
use tonic::{Request, Response, Status};

use crate::bare::{self, failed, not_compared};
use crate::statements::{Captured, Sent};
use parameter::Parameter;
use pool::Pool;

/// Serves the requests in the file `requests` until the process is killed.
pub async fn serve(url: &str, requests: &Path) -> anyhow::Result<()> {
    let requests: Vec<Captured> = serde_json::from_slice(&fs::read(requests)?)?;
    let mut texts: Vec<_> = requests.iter().flat_map(|one| &one.statements).map(|sent| sent.sql.clone()).collect();
    texts.sort();
    texts.dedup();
    let pool = Pool::connect(url, &texts).await?;
    let answer = |captured: &Captured| {
        let answer = Answer::new(captured, &texts, pool.statements())?;
        anyhow::Ok((captured.request.clone(), answer))
    };
    let answers = requests.iter().map(answer).collect::<anyhow::Result<_>>()?;
    bare::serve(Ceiling { pool, answers }).await
}

struct Ceiling {
    pool: Pool,
    /// How to answer each request, by its encoded message.
    answers: HashMap<Vec<u8>, Answer>,
}

struct Answer {
    steps: Vec<Step>,
    pagination: pb::Pagination,
}

/// A statement with its parameters.
struct Step {
    /// The index of the statement among those of a connection.
    statement: usize,
    parameters: Vec<Parameter>,
    /// Whether its rows are the entries of the answer.
    is_page: bool,
}

impl Answer {
    fn new(captured: &Captured, texts: &[String], statements: &[Statement]) -> anyhow::Result<Self> {
        let Captured { request: _, statements: sent, pagination } = captured;
        let steps = sent.iter().map(|sent| Step::new(sent, texts, statements)).collect::<anyhow::Result<_>>()?;
        Ok(Self { steps, pagination: pb::Pagination::decode(pagination.as_slice())? })
    }
}

impl Step {
    fn new(sent: &Sent, texts: &[String], statements: &[Statement]) -> anyhow::Result<Self> {
        let Sent { sql, values } = sent;
        let place = texts.binary_search(sql).ok().context("a statement that is not prepared")?;
        let statement = &statements[place];
        let types = statement.params();
        ensure!(types.len() == values.len(), "{sql} needs {} parameters, got {}", types.len(), values.len());
        let parameters = types.iter().zip(values).map(|(kind, value)| parameter::parse(kind, value.as_deref()));
        let parameters = parameters.collect::<anyhow::Result<Vec<_>>>().with_context(|| sql.clone())?;
        let is_page = statement.columns().iter().map(Column::name).eq(entry::COLUMNS);
        Ok(Self { statement: place, parameters, is_page })
    }
}

impl Ceiling {
    async fn list(&self, request: &pb::ListAuditLogsRequest) -> anyhow::Result<pb::ListAuditLogsResponse> {
        let answer = self.answers.get(&request.encode_to_vec()).context("this request was not captured")?;
        let connection = self.pool.acquire().await?;
        let mut page = Vec::new();
        for Step { statement, parameters, is_page } in &answer.steps {
            let parameters: Vec<&(dyn ToSql + Sync)> =
                parameters.iter().map(|parameter| &**parameter as &(dyn ToSql + Sync)).collect();
            let rows = connection.client.query(&connection.statements[*statement], &parameters).await?;
            if *is_page {
                page = rows;
            }
        }
        drop(connection);
        let audit_logs = page.iter().map(entry::decode).collect::<anyhow::Result<_>>()?;
        Ok(pb::ListAuditLogsResponse { audit_logs, pagination: Some(answer.pagination.clone()) })
    }
}

#[tonic::async_trait]
impl AuditLogService for Ceiling {
    async fn list_audit_logs(
        &self,
        request: Request<pb::ListAuditLogsRequest>,
    ) -> Result<Response<pb::ListAuditLogsResponse>, Status> {
        let request = request.into_inner();
        self.list(&request).await.map(Response::new).map_err(failed)
    }

    async fn write_audit_logs(
        &self,
        _: Request<pb::WriteAuditLogsRequest>,
    ) -> Result<Response<pb::WriteAuditLogsResponse>, Status> {
        not_compared()
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
