//! States, comparisons, checks and plans of one resource. One has many entries with as many changes as in a real trail,
//! the other a hostile shape. They are inserted directly, into a database that is deleted afterwards. The run fails if an
//! answer is wrong.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use auditlog::grpc::pb::plan_rollback_request::Selection;
use auditlog::grpc::pb::{
    CheckContinuityRequest, CompareResourceStatesRequest, GetResourceStateRequest, PlanRollbackRequest, ResourceAtTime,
};
use sea_orm::{DbBackend, Value};

use super::lists::{Costs, measure_each};
use crate::data::{BEGIN, COLUMNS, TYPES, log_id, organization_id, time};
use crate::database::Database;
use crate::figure::{Report, Target};
use crate::load::{insert_rows, settle};
use crate::postgres;
use crate::proc;
use crate::say;
use crate::service::{Client, Counting, Service};

const WARM_UP: usize = 5;
const REQUESTS: usize = 50;
/// The size that the database server is configured for.
const ROWS: u64 = 1_000_000;
/// Rows in an INSERT: of the resource with many entries, and of the hostile shape, whose rows have 50 KB each.
const PIECE: usize = 100;
const HOSTILE_PIECE: i64 = 1_000;
const SECOND: i64 = 1_000_000;

/// A resource. The entry with number N happened N seconds after the beginning of the data.
struct Subject {
    name: &'static str,
    /// The rank of its organization, which has no other entries.
    organization: u32,
    entries: i64,
    fields: i64,
    /// In all entries.
    changes: i64,
}

const LONG: Subject =
    Subject { name: "5,000 entries of 6.8 changes", organization: 0, entries: 5_000, fields: 4_000, changes: 34_000 };
const HOSTILE: Subject = Subject {
    name: "20,000 entries of 1,000 changes",
    organization: 1,
    entries: 20_000,
    fields: 1_000,
    changes: 20_000_000,
};

/// The code of its type, its id, and the code of the action of its entries.
const TYPE: usize = 3;
const ID: &str = "rule_bench";
const UPDATED: i64 = 1;

pub async fn run(backend: DbBackend, scratch: &Path, report: &mut Report) -> anyhow::Result<()> {
    let directory = postgres::directory(scratch)?;
    let database = Database::create(backend, &directory, ROWS).await?;
    let begun = Instant::now();
    load(&database).await?;
    say(&format!("{}: histories in {:.1?}", database.name(), begun.elapsed()));
    let service = Service::start(&database, Counting::Off)?;
    for call in [Call::State, Call::Comparison, Call::Check, Call::Plan] {
        call.measure(&database, &service, report).await?;
    }
    drop(service);
    for call in [Call::State, Call::Check, Call::Plan] {
        call.measure_hostile(&database, report).await?;
    }
    report.print();
    drop(database);
    // Not only at the end of the run: it takes more room than the data of other sections.
    std::fs::remove_dir_all(&directory).with_context(|| format!("cannot delete {}", directory.display()))
}

/// A question about the history of a resource.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    /// The state now.
    State,
    /// The state at half of the entries, compared with that now.
    Comparison,
    Check,
    /// A plan that undoes half of the entries.
    Plan,
}

impl Call {
    fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Comparison => "comparison",
            Self::Check => "continuity",
            Self::Plan => "rollback plan",
        }
    }

    /// Measures calls about the resource with many entries, one at a time.
    async fn measure(self, database: &Database, service: &Service, report: &mut Report) -> anyhow::Result<()> {
        self.costs(database, service, WARM_UP).await?;
        let costs = self.costs(database, service, REQUESTS).await?;
        let name = format!("{}, {}", self.name(), LONG.name);
        report.add(&name, "CPU p50", costs.cpu().p50(), "ms");
        match self {
            Self::State => report.add_for(&name, "latency p50", costs.latency.p50(), "ms", Target::AtMost(100.0)),
            _ => report.add(&name, "latency p50", costs.latency.p50(), "ms"),
        }
        report.add(&name, "latency p99", costs.latency.p99(), "ms");
        Ok(())
    }

    async fn costs(self, database: &Database, service: &Service, count: usize) -> anyhow::Result<Costs> {
        let client = service.client().await?;
        measure_each(database, service, vec![(); count], async |()| self.send(&client, &LONG).await).await
    }

    /// Sends one call about the hostile shape to a service of its own: memory that an earlier call needed may stay with
    /// its process.
    async fn measure_hostile(self, database: &Database, report: &mut Report) -> anyhow::Result<()> {
        let service = Service::start_patient(database)?;
        let client = service.client().await?;
        // The first call reads the key and the catalogue.
        let other = GetResourceStateRequest { resource_id: "other".to_owned(), ..state(&HOSTILE) };
        client.histories().get_resource_state(client.with_key(other)).await?;
        let before = proc::memory(service.id(), "VmRSS")?;
        let begun = Instant::now();
        self.send(&client, &HOSTILE).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let more = proc::memory(service.id(), "VmHWM")? - before;
        let name = format!("{}, {}", self.name(), HOSTILE.name);
        match self {
            // A check is a stream, which may take any time.
            Self::Check => report.add(&name, "", seconds, "s"),
            // The default of --request-timeout.
            _ => report.add_for(&name, "", seconds, "s", Target::AtMost(30.0)),
        }
        report.add_for(&name, "more VmRSS", more, "MB", Target::AtMost(70.0));
        Ok(())
    }

    /// Sends the call. Errors: the answer is wrong.
    async fn send(self, client: &Client, subject: &Subject) -> anyhow::Result<()> {
        let Subject { name: _, organization: _, entries, fields, changes } = *subject;
        let mut histories = client.histories();
        let numbers = match self {
            Self::State => {
                let answer = histories.get_resource_state(client.with_key(state(subject))).await?.into_inner();
                [(answer.entries, entries), (answer.fields.len() as i64, fields)]
            }
            Self::Comparison => {
                let request = client.with_key(comparison(subject));
                let answer = histories.compare_resource_states(request).await?.into_inner();
                [(answer.entries, entries), (answer.differences.len() as i64, fields)]
            }
            Self::Check => {
                let mut messages = histories.check_continuity(client.with_key(check(subject))).await?.into_inner();
                let mut last = None;
                while let Some(message) = messages.message().await? {
                    last = Some(message);
                }
                let last = last.filter(|last| last.complete).context("the check is not complete")?;
                // The first change of each field is not compared.
                [(last.compared, changes - fields), (last.break_count, 0)]
            }
            Self::Plan => {
                let answer = histories.plan_rollback(client.with_key(plan(subject))).await?.into_inner();
                let ready = answer.steps.iter().filter(|step| step.status == "ready").count() as i64;
                [(answer.selected_entries, entries - entries / 2), (ready, fields)]
            }
        };
        ensure!(numbers.iter().all(|(found, right)| found == right), "{} has the numbers {numbers:?}", self.name());
        Ok(())
    }
}

fn state(subject: &Subject) -> GetResourceStateRequest {
    GetResourceStateRequest {
        organization_id: organization_id(subject.organization),
        resource_type: TYPES[TYPE].0.to_owned(),
        resource_id: ID.to_owned(),
        ..GetResourceStateRequest::default()
    }
}

fn comparison(subject: &Subject) -> CompareResourceStatesRequest {
    let GetResourceStateRequest { organization_id, resource_type, resource_id, .. } = state(subject);
    let from = Some(half(subject));
    CompareResourceStatesRequest {
        organization_id,
        resource_type,
        resource_id,
        from,
        ..CompareResourceStatesRequest::default()
    }
}

fn check(subject: &Subject) -> CheckContinuityRequest {
    let GetResourceStateRequest { organization_id, resource_type, resource_id, .. } = state(subject);
    CheckContinuityRequest { organization_id, resource_type, resource_id, ..CheckContinuityRequest::default() }
}

fn plan(subject: &Subject) -> PlanRollbackRequest {
    let GetResourceStateRequest { organization_id, resource_type, resource_id, .. } = state(subject);
    let back = ResourceAtTime { resource_type, resource_id, at: Some(half(subject)) };
    PlanRollbackRequest { organization_id, selection: Some(Selection::Resource(back)), as_of_sequence: None }
}

/// The time of the entry in the middle.
fn half(subject: &Subject) -> prost_types::Timestamp {
    time(BEGIN + SECOND * (subject.entries / 2))
}

/// Inserts both resources. Nobody verifies their entries.
async fn load(database: &Database) -> anyhow::Result<()> {
    if database.backend() == DbBackend::Sqlite {
        database.execute("PRAGMA synchronous = OFF").await?;
    }
    for subject in [&LONG, &HOSTILE] {
        create_organization(database, subject).await?;
    }
    insert_long(database).await?;
    insert_hostile(database).await?;
    settle(database).await
}

async fn create_organization(database: &Database, subject: &Subject) -> anyhow::Result<()> {
    let Subject { organization: rank, entries, .. } = *subject;
    let (id, log_id) = (organization_id(rank), log_id(rank));
    // As many hashes as a compact range of this size has; their values do not matter.
    let (edge, root) = (zeros(database, 32 * entries.count_ones()), zeros(database, 32));
    let columns = "id, log_id, head_seq, last_recorded_at, edge, root, created_at";
    let values = format!("'{id}', '{log_id}', {entries}, {BEGIN}, {edge}, {root}, {BEGIN}");
    database.execute(&format!("INSERT INTO organizations ({columns}) VALUES ({values})")).await
}

/// So many bytes in SQL.
fn zeros(database: &Database, count: u32) -> String {
    match database.backend() {
        DbBackend::Sqlite => format!("zeroblob({count})"),
        _ => format!("decode(repeat('00', {count}), 'hex')"),
    }
}

async fn insert_long(database: &Database) -> anyhow::Result<()> {
    let (mut seqs, mut done) = (1..=LONG.entries, 0);
    while !seqs.is_empty() {
        let entry = |seq: i64| {
            // 6.8 on average.
            let count = if seq % 5 == 0 { 6 } else { 7 };
            let changes = (done..done + count).map(change).collect::<Vec<_>>().join(",");
            done += count;
            row(seq, format!("[{changes}]"))
        };
        let rows: Vec<_> = seqs.by_ref().take(PIECE).map(entry).collect();
        insert_rows(&database.connection, rows).await?;
    }
    ensure!(done == LONG.changes, "there are {done} changes");
    Ok(())
}

/// The change with this number. The fields have their turns, and each value is the number of the turn.
fn change(number: i64) -> String {
    let (field, turn) = (number % LONG.fields, number / LONG.fields);
    let old = if turn == 0 { "null".to_owned() } else { format!("\"{}\"", turn - 1) };
    let path = format!("api.Interface{field}.__compat.support.chrome_android.version_added");
    format!(r#"{{"field":"{path}","oldValue":{old},"newValue":"{turn}"}}"#)
}

/// An entry of the resource with many entries, in the order of [`COLUMNS`].
fn row(seq: i64, changes: String) -> [Value; COLUMNS.len()] {
    let time = BEGIN + SECOND * seq;
    [
        organization_id(LONG.organization).into(),
        seq.into(),
        format!("log_{seq}").into(),
        time.into(),
        time.into(),
        (TYPE as i64).into(),
        ID.into(),
        "A rule".into(),
        UPDATED.into(),
        "uid_bench".into(),
        "User".into(),
        "user@example.com".into(),
        changes.into(),
        "{}".into(),
        "trace_bench".into(),
        0i64.into(),
        0i64.into(),
        "bench".into(),
        vec![0u8; 48].into(),
        vec![0u8; 32].into(),
    ]
}

/// Each entry sets all fields to its number.
async fn insert_hostile(database: &Database) -> anyhow::Result<()> {
    let changes = (0..HOSTILE.fields).map(|field| format!(r#"{{"field":"f{field}","oldValue":#,"newValue":@}}"#));
    let changes = changes.collect::<Vec<_>>().join(",");
    let changes = format!("replace(replace('[{changes}]', '#', CAST(i - 1 AS text)), '@', CAST(i AS text))");
    let (organization, hash) = (organization_id(HOSTILE.organization), zeros(database, 32));
    let time = format!("{BEGIN} + {SECOND} * i");
    let values = format!(
        "'{organization}', i, 'log_' || CAST(i AS text), {time}, {time}, {TYPE}, '{ID}', {UPDATED}, 'uid_bench', \
         {changes}, '{{}}', 'bench', '', {hash}"
    );
    let columns = "organization_id, seq, id, timestamp, recorded_at, resource_type, resource_id, action, user_id, \
                   changes, metadata, writer_key_id, salts, leaf_hash";
    for after in (0..HOSTILE.entries).step_by(HOSTILE_PIECE as usize) {
        let to = HOSTILE.entries.min(after + HOSTILE_PIECE);
        let numbers = format!("SELECT CAST({after} AS bigint) + 1 UNION ALL SELECT i + 1 FROM n WHERE i < {to}");
        let insert =
            format!("WITH RECURSIVE n(i) AS ({numbers}) INSERT INTO audit_logs ({columns}) SELECT {values} FROM n");
        database.execute(&insert).await?;
    }
    Ok(())
}
