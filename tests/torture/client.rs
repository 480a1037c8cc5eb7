//! A client of the service, used like a real one: writes over gRPC and REST, classifies errors, and reads.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use auditlog::domain::Timestamp;
use auditlog::grpc::pb::audit_log_service_client::AuditLogServiceClient;
use auditlog::grpc::pb::integrity_service_client::IntegrityServiceClient;
use auditlog::grpc::pb::{self, WriteAuditLogsRequest};
use auditlog_verify::merkle::Hash;
use serde::Deserialize;
use serde_json::value::RawValue;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

use crate::entry::Entry;
use crate::journal::Written;

/// The time limit of a call. Longer than the service's own request deadline.
pub const TIMEOUT: Duration = Duration::from_secs(40);
const CONNECT: Duration = Duration::from_secs(2);

/// Why a call has no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// A documented error code, for example STORAGE_UNAVAILABLE.
    Code(String),
    /// The client could not connect, or the connection broke.
    Connection,
    /// The service did not answer in time.
    Silence,
    /// An error that no client should ever see.
    Strange(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => f.write_str(code),
            Self::Connection => f.write_str("connection"),
            Self::Silence => f.write_str("silence"),
            Self::Strange(what) => write!(f, "strange: {what}"),
        }
    }
}

/// The protocol of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    Rest,
}

/// A client of the service at one address.
#[derive(Clone)]
pub struct Client {
    url: String,
    key: String,
    channel: Channel,
    http: reqwest::Client,
}

impl Client {
    /// Connects on the first call and reconnects after a broken connection.
    pub fn new(url: &str, key: &str) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())?.connect_timeout(CONNECT).timeout(TIMEOUT).connect_lazy();
        let http = reqwest::Client::builder().connect_timeout(CONNECT).timeout(TIMEOUT).build()?;
        Ok(Self { url: url.to_owned(), key: key.to_owned(), channel, http })
    }

    pub fn request<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let bearer = format!("Bearer {}", self.key).parse().expect("a key is ASCII");
        request.metadata_mut().insert("authorization", bearer);
        request
    }

    pub fn audit_logs(&self) -> AuditLogServiceClient<Channel> {
        AuditLogServiceClient::new(self.channel.clone()).max_decoding_message_size(auditlog::grpc::MAX_RESPONSE)
    }

    pub fn integrity(&self) -> IntegrityServiceClient<Channel> {
        IntegrityServiceClient::new(self.channel.clone()).max_decoding_message_size(auditlog::grpc::MAX_RESPONSE)
    }

    pub async fn write(&self, by: Protocol, to: &str, entries: &[Entry]) -> Result<Vec<Written>, Trouble> {
        let written = match by {
            Protocol::Grpc => self.write_by_grpc(to, entries).await?,
            Protocol::Rest => self.write_by_rest(to, entries).await?,
        };
        let ids = |ids: &mut dyn Iterator<Item = &String>| ids.cloned().collect::<Vec<_>>();
        match ids(&mut written.iter().map(|one| &one.id)) == ids(&mut entries.iter().map(|one| &one.id)) {
            true => Ok(written),
            false => Err(Trouble::Strange("the answer is about other entries".to_owned())),
        }
    }

    async fn write_by_grpc(&self, to: &str, entries: &[Entry]) -> Result<Vec<Written>, Trouble> {
        let audit_logs = entries.iter().map(Entry::to_grpc).collect();
        let request = self.request(WriteAuditLogsRequest { organization_id: to.to_owned(), audit_logs });
        let answer = self.audit_logs().write_audit_logs(request).await.map_err(|status| trouble(&status))?;
        answer.into_inner().audit_logs.into_iter().map(of_grpc).collect()
    }

    async fn write_by_rest(&self, to: &str, entries: &[Entry]) -> Result<Vec<Written>, Trouble> {
        let logs: Vec<Box<RawValue>> = entries.iter().map(|entry| entry.to_rest().expect("an entry is JSON")).collect();
        let body = serde_json::to_string(&BTreeMap::from([("auditLogs", logs)])).expect("entries are JSON");
        let request = self
            .http
            .post(format!("{}/v1/{to}/audit-logs", self.url))
            .bearer_auth(&self.key)
            .header("content-type", "application/json")
            .body(body);
        let response = request.send().await.map_err(|error| of_reqwest(&error))?;
        let status = response.status();
        let text = response.text().await.map_err(|error| of_reqwest(&error))?;
        if status.is_success() {
            return rest_answer(&text).map_err(|error| Trouble::Strange(format!("{error}: {text}")));
        }
        #[derive(Deserialize)]
        struct Refusal {
            error: Cause,
        }
        #[derive(Deserialize)]
        struct Cause {
            code: String,
            message: String,
        }
        match serde_json::from_str(&text) {
            Ok(Refusal { error: Cause { code, message } }) => Err(service_error(code.to_uppercase(), &message)),
            Err(_) => Err(Trouble::Strange(format!("{status} without a code: {text}"))),
        }
    }

    /// Whether `/readyz` reports success.
    pub async fn is_ready(&self) -> bool {
        let asked = self.http.get(format!("{}/readyz", self.url)).timeout(CONNECT).send().await;
        asked.is_ok_and(|response| response.status().is_success())
    }
}

fn rest_answer(text: &str) -> anyhow::Result<Vec<Written>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        audit_logs: Vec<One>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct One {
        id: String,
        sequence: i64,
        recorded_at: String,
        replayed: bool,
        leaf_hash: String,
    }
    let answer: Answer = serde_json::from_str(text)?;
    let one = |One { id, sequence, recorded_at, replayed, leaf_hash }| {
        let recorded_at = Timestamp::parse(&recorded_at)?.micros();
        Ok(Written { id, seq: sequence, recorded_at, leaf: leaf_hash, replayed })
    };
    answer.audit_logs.into_iter().map(one).collect()
}

fn of_grpc(written: pb::WrittenAuditLog) -> Result<Written, Trouble> {
    let pb::WrittenAuditLog { id, sequence, recorded_at, replayed, leaf_hash } = written;
    let parts = || -> anyhow::Result<_> {
        let time = recorded_at.context("a time")?;
        let recorded_at = Timestamp::from_parts(time.seconds, time.nanos)?.micros();
        Ok(Written { id, seq: sequence, recorded_at, leaf: Hash::of_bytes(&leaf_hash)?.to_string(), replayed })
    };
    parts().map_err(|error| Trouble::Strange(format!("{error:#}")))
}

/// Classifies a failed call. Errors of the service have details; all others are connection errors.
pub fn trouble(status: &tonic::Status) -> Trouble {
    if let Some(info) = status.get_details_error_info() {
        return service_error(info.reason, status.message());
    }
    match status.code() {
        tonic::Code::Unavailable | tonic::Code::Unknown | tonic::Code::Internal => Trouble::Connection,
        tonic::Code::Cancelled if status.message().contains("Timeout") => Trouble::Silence,
        tonic::Code::Cancelled => Trouble::Connection,
        tonic::Code::DeadlineExceeded => Trouble::Silence,
        code => Trouble::Strange(format!("{code:?} without details: {}", status.message())),
    }
}

fn service_error(code: String, message: &str) -> Trouble {
    // The codes that may occur: docs/grpc.md. Any other code is a bug in the service or in this program.
    match ["OVERLOADED", "STORAGE_UNAVAILABLE", "TIMEOUT", "RATE_LIMITED"].contains(&code.as_str()) {
        true => Trouble::Code(code),
        false => Trouble::Strange(format!("{code}: {message}")),
    }
}

fn of_reqwest(error: &reqwest::Error) -> Trouble {
    if error.is_timeout() && !error.is_connect() { Trouble::Silence } else { Trouble::Connection }
}
