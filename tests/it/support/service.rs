//! The service inside the test's process, on real sockets.

use std::time::Duration;

use auditlog::access::{NewKey, Scope, create_key};
use auditlog::app::{self, Options, Running, ServiceParts, Serving};
use auditlog::domain::{Clock, OrganizationId, Random};
use auditlog::grpc::pb::audit_log_service_client::AuditLogServiceClient;
use auditlog::grpc::pb::erasure_service_client::ErasureServiceClient;
use auditlog::grpc::pb::history_service_client::HistoryServiceClient;
use auditlog::grpc::pb::{AuditLogInput, Change, ExportAuditLogsRequest, WriteAuditLogsRequest};
use auditlog::ingest::QueueLimits;
use auditlog::store::Store;
use serde_json::Value;
use tonic::transport::Channel;

use super::Database;

/// A running service, its store, and an HTTP client.
pub struct Service {
    pub running: Running,
    pub store: Store,
    pub http: reqwest::Client,
    clock: Clock,
    random: Random,
}

/// The answer of a REST call.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub text: String,
}

pub fn options() -> Options {
    Options {
        serving: serving(),
        rest: true,
        running_counts: true,
        continuity_checks: None,
        queue: QueueLimits { entries: 20_000, bytes: 64 * 1024 * 1024 },
        reads: 256,
        rate: std::num::NonZeroU32::new(1_000_000).expect("not 0"),
        signing: None,
    }
}

pub fn serving() -> Serving {
    Serving {
        listen: "127.0.0.1:0".to_owned(),
        metrics_listen: Some("127.0.0.1:0".to_owned()),
        request_timeout: Duration::from_secs(30),
        drain_delay: Duration::ZERO,
        drain_limit: Duration::from_secs(5),
        cors_origins: Vec::new(),
        viewer: true,
        limits: auditlog::app::Limits::default(),
    }
}

impl Service {
    pub async fn start(database: &Database) -> Self {
        Self::start_with(database, Clock::system(), options()).await
    }

    pub async fn start_with(database: &Database, clock: Clock, options: Options) -> Self {
        let store = database.store().await;
        let random = Random::system();
        let parts = ServiceParts { store: store.clone(), clock: clock.clone(), random: random.clone() };
        let running = app::start(parts, options).await.expect("the service starts");
        Self { running, store, http: reqwest::Client::new(), clock, random }
    }

    /// Creates an API key, and its organization if needed. `None` makes a service-wide key.
    pub async fn key(&self, organization: Option<&str>, scopes: &[Scope]) -> String {
        let organization = organization.map(|id| OrganizationId::parse(id).expect("an id"));
        if let Some(organization) = &organization {
            let log_id = self.random.hex::<16>();
            self.store.create_organization(organization, &log_id, self.clock.now()).await.expect("it is made");
        }
        let new = NewKey { name: None, organization, scopes: scopes.iter().copied().collect(), expires_at: None };
        let key = create_key(&self.store, &self.clock, &self.random, new).await;
        key.expect("the key is made").expose().to_owned()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.address)
    }

    pub async fn get(&self, path: &str, key: &str) -> Answer {
        self.send(self.http.get(self.url(path)).bearer_auth(key)).await
    }

    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.send(self.http.post(self.url(path)).bearer_auth(key).json(body)).await
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("the service answers");
        let status = response.status().as_u16();
        let text = response.text().await.expect("the answer is text");
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, body, text }
    }

    /// A gRPC client without an API key.
    pub async fn grpc(&self) -> AuditLogServiceClient<Channel> {
        let client = AuditLogServiceClient::connect(self.url("")).await.expect("the service accepts");
        client.max_decoding_message_size(auditlog::grpc::MAX_RESPONSE).max_encoding_message_size(64 * 1024 * 1024)
    }

    /// A gRPC client of the erasure service, without an API key.
    pub async fn erasures(&self) -> ErasureServiceClient<Channel> {
        ErasureServiceClient::connect(self.url("")).await.expect("the service accepts")
    }

    /// A gRPC client of the history service, without an API key.
    pub async fn histories(&self) -> HistoryServiceClient<Channel> {
        let client = HistoryServiceClient::connect(self.url("")).await.expect("the service accepts");
        client.max_decoding_message_size(auditlog::grpc::MAX_RESPONSE)
    }

    pub async fn stop(self) {
        self.running.stop().await.expect("the service stops");
    }
}

/// `message` with an API key.
pub fn with_key<T>(message: T, key: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().expect("ASCII"));
    request
}

pub fn all(organization: &str) -> ExportAuditLogsRequest {
    ExportAuditLogsRequest { organization_id: organization.to_owned(), ..Default::default() }
}

/// Writes entries close to the size limit in one request.
pub async fn write_large(service: &Service, key: &str, numbers: std::ops::Range<usize>) {
    let value = format!("\"{}\"", "x".repeat(250 * 1024));
    let audit_logs = numbers.map(|number| AuditLogInput {
        id: format!("log_{number}"),
        resource_type: "rule".to_owned(),
        resource_id: "rule_1".to_owned(),
        action: "created".to_owned(),
        user_id: "uid_1".to_owned(),
        changes: vec![Change { new_value_json: Some(value.clone()), ..Default::default() }],
        ..Default::default()
    });
    let request = WriteAuditLogsRequest { organization_id: "org_a".to_owned(), audit_logs: audit_logs.collect() };
    service.grpc().await.write_audit_logs(with_key(request, key)).await.expect("written");
}

/// A well-formed key that does not exist.
pub fn made_up(number: u32) -> String {
    let body = format!("{number:012}_{}", "x".repeat(43));
    let crc = crc32fast::hash(body.as_bytes());
    let checksum: String = (0..6)
        .rev()
        .map(|place| char::from(auditlog::domain::BASE62[(crc / 62u32.pow(place) % 62) as usize]))
        .collect();
    format!("al_{body}{checksum}")
}
