//! The statements that the service sends, taken from PostgreSQL's log, and how often pgbench runs them.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use auditlog::grpc::pb::ListAuditLogsRequest;

use crate::database::Database;
use crate::postgres::Server;
use crate::service::{Folder, Service};

/// What the service sets for its connections and what matters here.
const OPTIONS: &str = "-c plan_cache_mode=force_custom_plan -c max_parallel_workers_per_gather=0";

/// The statements of each request, with their values in place.
pub async fn capture(
    database: &Database,
    server: &Server,
    requests: &[ListAuditLogsRequest],
) -> anyhow::Result<Vec<Vec<String>>> {
    database.execute("ALTER DATABASE bench SET log_statement = 'all'").await?;
    let service = Service::start(database, Folder::Off)?;
    let mut client = service.client().await?;
    // The key and the catalogue are read now and then, not by each request.
    client.list(requests.first().context("no request")?.clone()).await?;
    let mut log = fs::File::open(server.log())?;
    let mut captured = Vec::with_capacity(requests.len());
    for request in requests {
        let begin = log.seek(SeekFrom::End(0))?;
        client.list(request.clone()).await?;
        log.seek(SeekFrom::Start(begin))?;
        let mut said = String::new();
        log.read_to_string(&mut said)?;
        captured.push(statements(&said));
    }
    database.execute("ALTER DATABASE bench RESET log_statement").await?;
    Ok(captured)
}

/// The statements in a piece of the log.
fn statements(log: &str) -> Vec<String> {
    let mut statements: Vec<String> = Vec::new();
    // A line that begins with a tab goes on with the one before.
    let log = log.replace("\n\t", " ");
    for line in log.lines() {
        if let Some((_, sql)) = line.split_once("LOG:  statement: ") {
            statements.push(sql.to_owned());
        } else if let Some((_, execution)) = line.split_once("LOG:  execute ") {
            statements.push(execution.split_once(": ").map_or(execution, |(_, sql)| sql).to_owned());
        } else if let Some((_, values)) = line.split_once("arameters: ")
            && let Some(last) = statements.last_mut()
        {
            *last = filled(last, &parameters(values));
        }
    }
    // The whole catalogue is read every few seconds, as keys are; a list may ask for its number of types.
    statements.retain(|sql| !sql.contains("\"api_keys\"") && !sql.contains("\"catalogue\""));
    statements
}

/// The literals of `$1 = 'a', $2 = NULL`.
fn parameters(text: &str) -> Vec<String> {
    let mut literals = Vec::new();
    let mut rest = text;
    while let Some((_, value)) = rest.split_once(" = ") {
        let end = if value.starts_with('\'') { quoted_end(value) } else { value.find(',').unwrap_or(value.len()) };
        literals.push(without_colons(&value[..end]));
        rest = &value[end..];
    }
    literals
}

/// The same value without what pgbench takes for a variable.
fn without_colons(literal: &str) -> String {
    match literal.contains(':') {
        true => format!("E{}", literal.replace('\\', r"\\").replace(':', r"\x3a")),
        false => literal.to_owned(),
    }
}

/// Where the literal that `text` begins with ends; two quotes are one inside it.
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

/// `sql` with a literal for each `$n`.
fn filled(sql: &str, literals: &[String]) -> String {
    let mut pieces = sql.split('$');
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let digits = piece.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(piece.len());
        let literal = piece[..digits].parse::<usize>().ok().and_then(|place| literals.get(place.checked_sub(1)?));
        match literal {
            Some(literal) => filled.push_str(literal),
            None => filled.push_str(&format!("${}", &piece[..digits])),
        }
        filled.push_str(&piece[digits..]);
    }
    filled
}

/// Requests a second, if `clients` connections run the statements of random requests.
pub fn run(
    server: &Server,
    requests: &[Vec<String>],
    clients: usize,
    duration: Duration,
    scratch: &Path,
) -> anyhow::Result<f64> {
    let mut command = Command::new(server.programs.join("pgbench"));
    let (port, clients, seconds) = (server.port.to_string(), clients.to_string(), duration.as_secs().to_string());
    command.args(["-n", "-M", "prepared", "-h", "127.0.0.1", "-U", "postgres", "-j", "2"]);
    command.args(["-p", &port, "-c", &clients, "-T", &seconds]);
    for (place, statements) in requests.iter().enumerate() {
        let file = scratch.join(format!("request-{place}.sql"));
        fs::write(&file, statements.iter().map(|sql| format!("{sql};\n")).collect::<String>())?;
        command.arg("-f").arg(file);
    }
    let output = command.arg("bench").env("PGOPTIONS", OPTIONS).output()?;
    let [said, error] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.success() && !error.contains("aborted"), "pgbench failed: {error}");
    let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")).context("pgbench told no rate")?;
    Ok(rate.split(' ').next().unwrap_or_default().parse()?)
}
