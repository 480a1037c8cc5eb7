//! Captures the service's statements from PostgreSQL's log and measures how often pgbench can run them.

use std::fmt;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use auditlog::grpc::pb::ListAuditLogsRequest;

use crate::database::Database;
use crate::postgres::Server;
use crate::service::{Counting, Service};

/// The settings of the service's connections that matter here, except for the plan cache mode.
const OPTIONS: &str = "-c enable_bitmapscan=off -c jit=off -c max_parallel_workers_per_gather=0";

/// Whether PostgreSQL keeps the plan of a prepared statement, as for the service, or plans again for each value.
#[derive(Debug, Clone, Copy)]
pub enum Plans {
    Kept,
    Anew,
}

/// A captured statement.
pub struct Sent {
    sql: String,
    /// The literals of `$1` and the following parameters.
    values: Vec<String>,
}

impl fmt::Display for Sent {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{} [{}]", self.sql, self.values.join(", "))
    }
}

/// The statements that the service sends for each request.
pub async fn capture(
    database: &Database,
    server: &Server,
    requests: &[ListAuditLogsRequest],
) -> anyhow::Result<Vec<Vec<Sent>>> {
    database.execute("ALTER DATABASE bench SET log_statement = 'all'").await?;
    let service = Service::start(database, Counting::Off)?;
    let mut client = service.client().await?;
    // The first request reads the key and the catalogue, which are then cached.
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
            last.values = literals(values);
        }
    }
    // The service reloads keys and the catalogue every few seconds, independently of the requests.
    statements.retain(|Sent { sql, .. }| !sql.contains("\"api_keys\"") && !sql.contains("\"catalogue\""));
    statements
}

/// Parses the literals of a text such as `$1 = 'a', $2 = NULL`.
fn literals(text: &str) -> Vec<String> {
    let mut literals = Vec::new();
    let mut rest = text;
    while let Some((_, value)) = rest.split_once(" = ") {
        let end = if value.starts_with('\'') { quoted_end(value) } else { value.find(',').unwrap_or(value.len()) };
        literals.push(value[..end].to_owned());
        rest = &value[end..];
    }
    literals
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

impl Sent {
    /// The line of the pgbench script, in which `$1` becomes the variable `{prefix}_1`. The variable is a parameter for
    /// pgbench as it was for the service, so PostgreSQL plans both alike.
    fn line(&self, prefix: &str) -> String {
        let mut pieces = self.sql.split('$');
        let mut line = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let digits = piece.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(piece.len());
            let place = piece[..digits].parse::<usize>().ok().and_then(|place| place.checked_sub(1));
            match place.and_then(|place| self.values.get(place)) {
                Some(literal) if literal.starts_with('\'') => line.push_str(&format!(":{prefix}_{}", &piece[..digits])),
                Some(literal) => line.push_str(literal),
                None => line.push_str(&format!("${}", &piece[..digits])),
            }
            line.push_str(&piece[digits..]);
        }
        line + ";\n"
    }

    /// The values of the variables, for the pgbench command line.
    fn variables(&self, prefix: &str) -> impl Iterator<Item = String> {
        self.values.iter().zip(1..).filter_map(move |(literal, place)| {
            let value = literal.strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "'");
            Some(format!("{prefix}_{place}={value}"))
        })
    }
}

/// Requests per second when `clients` connections run the statements of random requests.
pub fn run(
    server: &Server,
    requests: &[Vec<Sent>],
    plans: Plans,
    (clients, duration): (usize, Duration),
    scratch: &Path,
) -> anyhow::Result<f64> {
    let mode = match plans {
        Plans::Kept => "force_generic_plan",
        Plans::Anew => "force_custom_plan",
    };
    let mut command = Command::new(server.programs.join("pgbench"));
    let (port, clients, seconds) = (server.port.to_string(), clients.to_string(), duration.as_secs().to_string());
    command.args(["-n", "-M", "prepared", "-h", "127.0.0.1", "-U", "postgres", "-j", "2"]);
    command.args(["-p", &port, "-c", &clients, "-T", &seconds]);
    for (place, statements) in requests.iter().enumerate() {
        let file = scratch.join(format!("request-{place}.sql"));
        let mut script = String::new();
        for (number, statement) in statements.iter().enumerate() {
            let prefix = format!("r{place}_s{number}");
            script.push_str(&statement.line(&prefix));
            for variable in statement.variables(&prefix) {
                command.args(["-D", &variable]);
            }
        }
        fs::write(&file, script)?;
        command.arg("-f").arg(file);
    }
    let output = command.arg("bench").env("PGOPTIONS", format!("-c plan_cache_mode={mode} {OPTIONS}")).output()?;
    let [said, error] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.success() && !error.contains("aborted"), "pgbench failed: {error}");
    let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")).context("pgbench printed no rate")?;
    Ok(rate.split(' ').next().unwrap_or_default().parse()?)
}
