//! HTTP: the protocols of one port, the layers around them (metrics, deadlines, the log of refused access), and the
//! viewer.

mod deadline;
pub(super) mod early_refusal;
pub(super) mod protocols;
pub(super) mod reflection;
mod request_metrics;
mod security;
pub(super) mod viewer;

use axum::extract::Request;
use http::Method;

/// Whether `request` writes entries, over REST or gRPC.
fn is_write(request: &Request) -> bool {
    let path = request.uri().path();
    request.method() == Method::POST && (path.ends_with("/WriteAuditLogs") || path.ends_with("/audit-logs"))
}

/// Whether `request` erases values. REST has no erasures.
fn is_erasure(request: &Request) -> bool {
    request.method() == Method::POST && request.uri().path().ends_with("/EraseAuditLogs")
}
