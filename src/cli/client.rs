//! Connection options, retries and error messages of the commands that call a running service.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use indicatif::ProgressBar;
use tokio::time::timeout;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::warn;

use crate::domain::{Invalid, Secret, quoted};
use crate::error::Reason;
use crate::grpc::pb::audit_log_service_client::AuditLogServiceClient;
use crate::grpc::pb::erasure_service_client::ErasureServiceClient;
use crate::grpc::pb::history_service_client::HistoryServiceClient;
use crate::grpc::pb::integrity_service_client::IntegrityServiceClient;
use crate::grpc::{self, MAX_RESPONSE};
use crate::rest::{ErrorResponse, rest_name};
use crate::retry::Backoff;

/// The deadline of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// The service sends a message of a long stream at least every 15 seconds. Without one for this long, the connection is
/// broken.
const MAX_SILENCE: Duration = Duration::from_secs(45);
/// How long a command retries while the service is unavailable, and its back-off.
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(20);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// The service to call, and the API key for it.
#[derive(Args)]
pub(super) struct ClientArgs {
    /// URL of the service: http:// or https://, and a host.
    #[arg(long, env = "AUDITLOG_ENDPOINT", hide_env_values = true, default_value = "http://127.0.0.1:8080", value_parser = endpoint, value_name = "URL")]
    pub(super) endpoint: Endpoint,
    /// API key. AUDITLOG_API_KEY_FILE may name a file with the key in its first line.
    #[arg(
        long,
        env = "AUDITLOG_API_KEY",
        hide_env_values = true,
        hide_default_value = true,
        value_name = "KEY",
        required = true
    )]
    pub(super) api_key: Secret,
}

/// Parses the URL of a service. Errors: it has a user, a path or a query, or another scheme than http and https.
pub(super) fn endpoint(url: &str) -> Result<Endpoint, Invalid> {
    let allowed = "must be http:// or https:// and a host, such as http://127.0.0.1:8080";
    if url.contains('@') {
        // The error does not quote the URL, which may hold a password.
        return Err(Invalid::new(allowed, "one with a user or a password, which gRPC does not send"));
    }
    let known = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
    let parsed = Endpoint::from_shared(url.to_owned()).ok().filter(|_| known);
    let endpoint = parsed.ok_or_else(|| Invalid::new(allowed, quoted(url)))?;
    let uri = endpoint.uri();
    match (uri.path(), uri.query()) {
        ("/" | "", None) => Ok(endpoint),
        (path, None) => Err(Invalid::new(allowed, format_args!("one with the path {}", quoted(path)))),
        _ => Err(Invalid::new(allowed, "one with a query")),
    }
}

/// A client of the audit log service. It sends the API key with each call.
pub(super) type AuditLogs = AuditLogServiceClient<Authorized>;
pub(super) type Erasures = ErasureServiceClient<Authorized>;
pub(super) type HistoryClient = HistoryServiceClient<Authorized>;
pub(super) type IntegrityClient = IntegrityServiceClient<Authorized>;
type Authorized = InterceptedService<Channel, Authorize>;

/// Adds the API key to each call.
#[derive(Clone)]
pub(super) struct Authorize(MetadataValue<Ascii>);

impl Interceptor for Authorize {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl ClientArgs {
    /// Prepares a client for entries. It connects with the first call.
    pub(super) fn connect(&self) -> anyhow::Result<AuditLogs> {
        let client = AuditLogServiceClient::new(self.channel()?);
        Ok(client.max_decoding_message_size(MAX_RESPONSE))
    }

    /// Prepares a client for erasures.
    pub(super) fn erasures(&self) -> anyhow::Result<Erasures> {
        Ok(ErasureServiceClient::new(self.channel()?))
    }

    /// Prepares a client for states, comparisons, checks of continuity and rollback plans.
    pub(super) fn history(&self) -> anyhow::Result<HistoryClient> {
        let client = HistoryServiceClient::new(self.channel()?);
        Ok(client.max_decoding_message_size(MAX_RESPONSE))
    }

    /// Prepares a client for checkpoints, proofs and the hashed entries.
    pub(super) fn integrity(&self) -> anyhow::Result<IntegrityClient> {
        let client = IntegrityServiceClient::new(self.channel()?);
        Ok(client.max_decoding_message_size(MAX_RESPONSE))
    }

    fn channel(&self) -> anyhow::Result<Authorized> {
        let mut authorization: MetadataValue<Ascii> =
            format!("Bearer {}", self.api_key.expose()).parse().context("the API key must be printable ASCII")?;
        authorization.set_sensitive(true);
        let channel = prepared(&self.endpoint)?.timeout(CALL_TIMEOUT).connect_lazy();
        Ok(InterceptedService::new(channel, Authorize(authorization)))
    }
}

/// The next message of a long stream. Errors: why the stream ended, also if it was silent for too long.
pub(super) async fn next_message<T>(messages: &mut Streaming<T>) -> Result<T, Status> {
    match timeout(MAX_SILENCE, messages.message()).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) => Err(Status::unavailable("the stream ended")),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::unavailable("nothing came for a while")),
    }
}

/// An error that explains to a person why a call to `endpoint` failed with `status`, with the names of REST.
pub(super) fn explained(status: &Status, endpoint: &Endpoint) -> anyhow::Error {
    explained_with(status, endpoint, rest_name)
}

/// Like [`explained`]. `name` returns what a person calls a gRPC field.
pub(super) fn explained_with(status: &Status, endpoint: &Endpoint, name: impl Fn(&str) -> String) -> anyhow::Error {
    if status.details().is_empty() && status.code() == Code::Unavailable {
        let mut cause: &dyn std::error::Error = status;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        return anyhow!("cannot reach the service at {}: {cause}", endpoint.uri());
    }
    anyhow!("{}", ErrorResponse::named(status, name))
}

/// Whether the service gives `reason` for the failure.
pub(super) fn is_for(status: &Status, reason: Reason) -> bool {
    grpc::status::reason(status) == Some(reason)
}

/// Retries a call while the service is unavailable or overloaded, for at most 20 seconds after the first failure. Calls
/// that change something must be safe to repeat.
pub(super) struct Retry {
    backoff: Backoff,
    progress: ProgressBar,
}

impl Retry {
    /// Reports above `progress` that a call is retried.
    pub(super) fn new(progress: &ProgressBar) -> Self {
        let backoff = Backoff::new(FIRST_BACKOFF, MAX_BACKOFF).within(OUTAGE_TIMEOUT);
        Self { backoff, progress: progress.clone() }
    }

    /// Calls until `call` succeeds, and returns the response. Errors: those of [`Retry::wait`].
    pub(super) async fn call<T, F>(mut self, call: impl Fn() -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        loop {
            match call().await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => self.wait(status).await?,
            }
        }
    }

    /// Restarts back-off and time limit after a success.
    pub(super) fn reset(&mut self) {
        self.backoff.reset();
    }

    /// Restarts the back-off, and retries without a time limit from now on.
    pub(super) fn endless(&mut self) {
        self.backoff = Backoff::new(FIRST_BACKOFF, MAX_BACKOFF);
    }

    /// Waits before the next try of a call that failed with `status`. Errors: `status`, if a retry cannot help or the
    /// time limit is over.
    pub(super) async fn wait(&mut self, status: Status) -> Result<(), Status> {
        if !may_pass(&status) {
            return Err(status);
        }
        let Some(pause) = self.backoff.next() else { return Err(status) };
        if self.backoff.taken() == 1 {
            let (code, why) = (status.code(), status.message());
            self.progress.suspend(|| tell!("the service is unavailable or busy ({code:?}: {why}); retrying"));
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Whether the same call may succeed soon. UNKNOWN is a connection that broke during a call. A timestamp ahead of the
/// server's clock is not retried: it may be years ahead. An answer that is too large stays so.
fn may_pass(status: &Status) -> bool {
    const PASSING: [Code; 5] =
        [Code::Unavailable, Code::ResourceExhausted, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown];
    let lasts = [Reason::TimestampAhead, Reason::TooManyEntries].iter().any(|reason| is_for(status, *reason));
    PASSING.contains(&status.code()) && !lasts
}

/// Sets timeouts, keepalive and TLS on `endpoint`. Warns if API keys would cross the network unencrypted.
pub(super) fn prepared(endpoint: &Endpoint) -> anyhow::Result<Endpoint> {
    let uri = endpoint.uri();
    let prepared = endpoint
        .clone()
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_while_idle(true)
        // gRPC errors and their details travel in headers.
        .http2_max_header_list_size(128 * 1024)
        .tcp_nodelay(true);
    if uri.scheme_str() == Some("https") {
        return Ok(prepared.tls_config(ClientTlsConfig::new().with_native_roots())?);
    }
    if !uri.host().is_some_and(is_this_machine) {
        warn!(endpoint = %uri, "plain HTTP to another host shows API keys and entries to the network; use https");
    }
    Ok(prepared)
}

fn is_this_machine(host: &str) -> bool {
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || host.ends_with(".localhost") || address.is_some_and(|address| address.is_loopback())
}
