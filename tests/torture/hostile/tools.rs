//! Attacks with external tools: h2load, which sends as many requests as it can, and slowhttptest, which is slow in four
//! ways.

use std::io;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use auditlog::grpc::pb::{ListAuditLogsRequest, WriteAuditLogsRequest};
use prost::Message;

use super::Target;
use super::frames::prefixed;
use super::messages::entry;

/// The connections that slowhttptest opens, more than the service allows. `RATE` is how many it opens per second.
const CONNECTIONS: &str = "1500";
const RATE: &str = "400";

/// Whether `program` is on the PATH.
pub fn is_installed(program: &str) -> bool {
    Command::new("which").arg(program).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

async fn run(program: &'static str, arguments: Vec<String>) -> io::Result<Output> {
    let run = move || Command::new(program).args(arguments).stdin(Stdio::null()).output();
    tokio::task::spawn_blocking(run).await.expect("a thread does not panic")
}

/// Calls `method` with `message` from 100 connections with 50 streams each.
async fn h2load(target: &Target, duration: Duration, method: &str, message: &impl Message) -> io::Result<String> {
    let directory = tempfile::tempdir()?;
    let body = directory.path().join("body");
    std::fs::write(&body, prefixed(&message.encode_to_vec()))?;
    let seconds = duration.as_secs().max(1).to_string();
    let url = format!("http://{}/auditlog.v1.AuditLogService/{method}", target.address);
    let bearer = format!("authorization: Bearer {}", target.key);
    let headers = ["-H", "content-type: application/grpc", "-H", "te: trailers", "-H", &bearer];
    let load = ["-c", "100", "-m", "50", "-D", &seconds, "-d", body.to_str().expect("UTF-8"), &url];
    let arguments = headers.iter().chain(&load).map(|&argument| argument.to_owned()).collect();
    told_by_h2load(run("h2load", arguments).await?)
}

fn told_by_h2load(output: Output) -> io::Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| ["finished in", "requests: ", "status codes: "].iter().any(|word| line.starts_with(word)))
        .collect();
    Ok(lines.join("; "))
}

/// As many lists as possible.
pub async fn h2load_lists(target: Target, duration: Duration) -> io::Result<String> {
    let message = ListAuditLogsRequest { organization_id: target.organization.clone(), ..Default::default() };
    h2load(&target, duration, "ListAuditLogs", &message).await
}

/// As many writes as possible.
pub async fn h2load_writes(target: Target, duration: Duration) -> io::Result<String> {
    let message = WriteAuditLogsRequest { organization_id: target.organization.clone(), audit_logs: vec![entry()] };
    h2load(&target, duration, "WriteAuditLogs", &message).await
}

/// Lists over HTTP/1 from 500 connections.
pub async fn h2load_http1(target: Target, duration: Duration) -> io::Result<String> {
    let url = format!("http://{}/v1/{}/audit-logs?limit=10", target.address, target.organization);
    let bearer = format!("authorization: Bearer {}", target.key);
    let seconds = duration.as_secs().max(1).to_string();
    let arguments = ["--h1", "-c", "500", "-D", &seconds, "-H", &bearer, &url].map(str::to_owned).to_vec();
    told_by_h2load(run("h2load", arguments).await?)
}

/// Runs slowhttptest with the options in `mode`.
async fn slowhttptest(target: &Target, duration: Duration, verb: &str, mode: &[&str]) -> io::Result<String> {
    let url = format!("http://{}/v1/{}/audit-logs", target.address, target.organization);
    // slowhttptest has no option for a key, so the Accept header carries a second header.
    let accept = format!("*/*\r\nAuthorization: Bearer {}", target.key);
    let seconds = duration.as_secs().max(1).to_string();
    let common = ["-c", CONNECTIONS, "-r", RATE, "-l", &seconds, "-p", "5", "-t", verb, "-m", &accept, "-u", &url];
    let output = run("slowhttptest", mode.iter().chain(&common).map(|&argument| argument.to_owned()).collect()).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // The last value of each figure, without terminal colours.
    let last = |name: &str| {
        let line = text.lines().rfind(|line| line.contains(name)).and_then(|line| line.split_once(name))?.1;
        let word =
            line.split(|letter: char| !letter.is_alphanumeric()).rfind(|word| !word.is_empty() && !word.ends_with('m'));
        Some(word.unwrap_or_default().to_owned())
    };
    let lines = ["connected:", "error:", "closed:", "service available:"]
        .map(|name| format!("{name} {}", last(name).unwrap_or_default()));
    Ok(lines.join(", "))
}

/// Slow headers.
pub async fn slowhttptest_headers(target: Target, duration: Duration) -> io::Result<String> {
    slowhttptest(&target, duration, "GET", &["-H", "-i", "1", "-x", "24"]).await
}

/// Slow bodies.
pub async fn slowhttptest_bodies(target: Target, duration: Duration) -> io::Result<String> {
    slowhttptest(&target, duration, "POST", &["-B", "-i", "1", "-s", "8192", "-x", "10", "-f", "application/json"])
        .await
}

/// Slow readers, with small windows and several requests per connection.
pub async fn slowhttptest_reads(target: Target, duration: Duration) -> io::Result<String> {
    slowhttptest(&target, duration, "GET", &["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-k", "3"]).await
}

/// Thousands of overlapping ranges.
pub async fn slowhttptest_ranges(target: Target, duration: Duration) -> io::Result<String> {
    slowhttptest(&target, duration, "HEAD", &["-R", "-a", "10", "-b", "3000"]).await
}
