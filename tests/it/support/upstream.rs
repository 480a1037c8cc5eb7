//! A gRPC service behind a gateway. It records each call and returns the errors that a test gives it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use auditlog::grpc::pb;
use auditlog::grpc::pb::audit_log_service_server::{AuditLogService, AuditLogServiceServer};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

type Outcome<T> = Result<Response<T>, Status>;

/// The recorded part of a call.
pub struct Seen {
    pub metadata: MetadataMap,
    /// The ids of a write's entries.
    pub ids: Vec<String>,
}

/// Clones share the recorded calls and the errors.
#[derive(Clone, Default)]
pub struct Upstream {
    seen: Arc<Mutex<Vec<Seen>>>,
    failures: Arc<Mutex<VecDeque<Status>>>,
}

impl Upstream {
    /// Serves on its own port until the test ends. Each of the first calls gets one of `failures`.
    pub async fn start(failures: impl IntoIterator<Item = Status>) -> (Self, String) {
        let upstream = Self { failures: Arc::new(Mutex::new(failures.into_iter().collect())), ..Self::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let service = AuditLogServiceServer::new(upstream.clone());
        let serving = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
        (upstream, url)
    }

    /// The calls since the last call of this function.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().expect("no panic"))
    }

    fn called<T>(&self, request: &Request<T>, ids: Vec<String>) -> Result<(), Status> {
        self.seen.lock().expect("no panic").push(Seen { metadata: request.metadata().clone(), ids });
        self.failures.lock().expect("no panic").pop_front().map_or(Ok(()), Err)
    }
}

#[tonic::async_trait]
impl AuditLogService for Upstream {
    async fn list_audit_logs(&self, request: Request<pb::ListAuditLogsRequest>) -> Outcome<pb::ListAuditLogsResponse> {
        self.called(&request, Vec::new())?;
        Ok(Response::new(pb::ListAuditLogsResponse::default()))
    }

    async fn get_resource_history(
        &self,
        request: Request<pb::GetResourceHistoryRequest>,
    ) -> Outcome<pb::GetResourceHistoryResponse> {
        self.called(&request, Vec::new())?;
        Ok(Response::new(pb::GetResourceHistoryResponse::default()))
    }

    async fn get_audit_log(&self, request: Request<pb::GetAuditLogRequest>) -> Outcome<pb::GetAuditLogResponse> {
        self.called(&request, Vec::new())?;
        Ok(Response::new(pb::GetAuditLogResponse::default()))
    }

    async fn list_audit_logs_around(
        &self,
        request: Request<pb::ListAuditLogsAroundRequest>,
    ) -> Outcome<pb::ListAuditLogsAroundResponse> {
        self.called(&request, Vec::new())?;
        Ok(Response::new(pb::ListAuditLogsAroundResponse::default()))
    }

    async fn count_audit_logs(
        &self,
        request: Request<pb::CountAuditLogsRequest>,
    ) -> Outcome<pb::CountAuditLogsResponse> {
        self.called(&request, Vec::new())?;
        Ok(Response::new(pb::CountAuditLogsResponse::default()))
    }

    async fn write_audit_logs(
        &self,
        request: Request<pb::WriteAuditLogsRequest>,
    ) -> Outcome<pb::WriteAuditLogsResponse> {
        let ids: Vec<_> = request.get_ref().audit_logs.iter().map(|entry| entry.id.clone()).collect();
        self.called(&request, ids.clone())?;
        let audit_logs = ids.into_iter().map(|id| pb::WrittenAuditLog { id, ..Default::default() }).collect();
        Ok(Response::new(pb::WriteAuditLogsResponse { audit_logs }))
    }

    type ExportAuditLogsStream = Pin<Box<dyn Stream<Item = Result<pb::ExportAuditLogsResponse, Status>> + Send>>;

    async fn export_audit_logs(&self, _: Request<pb::ExportAuditLogsRequest>) -> Outcome<Self::ExportAuditLogsStream> {
        Err(Status::unimplemented("no gateway exports"))
    }

    type FollowAuditLogsStream = Pin<Box<dyn Stream<Item = Result<pb::FollowAuditLogsResponse, Status>> + Send>>;

    async fn follow_audit_logs(
        &self,
        request: Request<pb::FollowAuditLogsRequest>,
    ) -> Outcome<Self::FollowAuditLogsStream> {
        self.called(&request, Vec::new())?;
        let nothing: Self::FollowAuditLogsStream = Box::pin(tokio_stream::empty());
        Ok(Response::new(nothing))
    }
}
