//! A plain tonic server, for the designs that the service is compared with.

use auditlog::grpc::pb::audit_log_service_server::{AuditLogService, AuditLogServiceServer};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Response, Status};

use crate::say;

/// The number of connections that the service reads with.
pub const READERS: u32 = 10;

/// Serves on a free port until the process is killed. Prints the address as the service does.
pub async fn serve(service: impl AuditLogService) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say(&serde_json::json!({ "message": "listening", "address": listener.local_addr()? }).to_string());
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(Server::builder().add_service(AuditLogServiceServer::new(service)).serve_with_incoming(incoming).await?)
}

/// The answer of a method that the benchmark does not call.
pub fn not_compared<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not compared"))
}

/// The answer of a method that failed.
pub fn failed(error: anyhow::Error) -> Status {
    Status::internal(format!("{error:#}"))
}
