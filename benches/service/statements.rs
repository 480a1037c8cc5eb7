//! Captures the statements of the service for single requests, from PostgreSQL's log.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use anyhow::Context;
use auditlog::grpc::pb::ListAuditLogsRequest;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::database::Database;
use crate::postgres::Server;
use crate::service::{Counting, Service};

/// Parts of statements that the service sends at times of its own, independently of requests.
const BACKGROUND: [&str; 3] = ["\"api_keys\"", "\"catalogue\"", "set_config('plan_cache_mode'"];

/// A request, the statements that the service sends for it, and the pagination of its answer.
#[derive(Serialize, Deserialize)]
pub struct Captured {
    /// An encoded `ListAuditLogsRequest`.
    pub request: Vec<u8>,
    pub statements: Vec<Sent>,
    /// An encoded `Pagination`.
    pub pagination: Vec<u8>,
}

/// A captured statement.
#[derive(Serialize, Deserialize)]
pub struct Sent {
    pub sql: String,
    /// The values of `$1` and the following parameters in PostgreSQL's text form; `None` for NULL.
    pub values: Vec<Option<String>>,
}

impl fmt::Display for Sent {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let values: Vec<_> = self.values.iter().map(|value| value.as_deref().unwrap_or("NULL")).collect();
        write!(formatter, "{} [{}]", self.sql, values.join(", "))
    }
}

/// Sends each request once, to a service of its own, and captures its statements.
pub async fn capture(
    database: &Database,
    server: &Server,
    requests: &[ListAuditLogsRequest],
) -> anyhow::Result<Vec<Captured>> {
    database.execute("ALTER DATABASE bench SET log_statement = 'all'").await?;
    let service = Service::start(database, Counting::Off)?;
    let mut client = service.client().await?;
    // The first request reads the key and the catalogue, which are then cached.
    client.list(requests.first().context("no request")?.clone()).await?;
    let mut log = File::open(server.log())?;
    let mut captured = Vec::with_capacity(requests.len());
    for request in requests {
        let begin = log.seek(SeekFrom::End(0))?;
        let answer = client.list(request.clone()).await?;
        log.seek(SeekFrom::Start(begin))?;
        let mut said = String::new();
        log.read_to_string(&mut said)?;
        captured.push(Captured {
            request: request.encode_to_vec(),
            statements: statements(&said),
            pagination: answer.pagination.unwrap_or_default().encode_to_vec(),
        });
    }
    database.execute("ALTER DATABASE bench RESET log_statement").await?;
    Ok(captured)
}

/// Parses the statements of a part of the log.
fn statements(log: &str) -> Vec<Sent> {
    let mut statements: Vec<Sent> = Vec::new();
    // A line that begins with a tab continues the previous line.
    let log = log.replace("\n\t", " ");
    for line in log.lines() {
        if let Some((_, sql)) = line.split_once("LOG:  statement: ") {
            statements.push(Sent { sql: sql.to_owned(), values: Vec::new() });
        } else if let Some((_, execution)) = line.split_once("LOG:  execute ") {
            let sql = execution.split_once(": ").map_or(execution, |(_, sql)| sql);
            statements.push(Sent { sql: sql.to_owned(), values: Vec::new() });
        } else if let Some((_, values)) = line.split_once("arameters: ")
            && let Some(last) = statements.last_mut()
        {
            last.values = values_of(values);
        }
    }
    statements.retain(|Sent { sql, .. }| !BACKGROUND.iter().any(|part| sql.contains(part)));
    statements
}

/// Parses the values of a text such as `$1 = 'a', $2 = NULL`.
fn values_of(text: &str) -> Vec<Option<String>> {
    let mut values = Vec::new();
    let mut rest = text;
    while let Some((_, value)) = rest.split_once(" = ") {
        let end = if value.starts_with('\'') { quoted_end(value) } else { value.find(',').unwrap_or(value.len()) };
        let quoted = value[..end].strip_prefix('\'').and_then(|literal| literal.strip_suffix('\''));
        values.push(quoted.map(|text| text.replace("''", "'")));
        rest = &value[end..];
    }
    values
}

/// The end of the quoted literal at the start of `text`. Two quotes inside it stand for one.
fn quoted_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut place = 1;
    while place < bytes.len() {
        match (bytes[place], bytes.get(place + 1)) {
            (b'\'', Some(b'\'')) => place += 2,
            (b'\'', _) => return place + 1,
            _ => place += 1,
        }
    }
    bytes.len()
}
