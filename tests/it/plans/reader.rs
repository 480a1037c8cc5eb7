//! Reads the plans of the service's statements. The statements come from the service's traces. The plans come from
//! PostgreSQL's log (auto_explain) or from SQLite's `EXPLAIN QUERY PLAN`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use serde_json::Value;
use tracing::Dispatch;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer};

use crate::support::{Backend, Database, postgres};

/// The tables whose plans are checked.
const TABLES: [&str; 7] =
    ["audit_logs", "count_state", "key_totals", "running_counts", "names", "log_tiles", "erasures"];

/// A tracing layer that records the service's statements on this thread.
#[derive(Clone, Default)]
pub struct Statements(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Statements {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with("auditlog::store")
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        event.record(&mut self.clone());
    }
}

impl Visit for Statements {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "statement" {
            self.0.lock().expect("no panic holds it").push(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// How a statement reads a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The table's alias in the statement, or its name.
    pub alias: String,
    /// The name of the index; `primary` for a primary key.
    pub index: String,
    /// The condition of the index.
    pub found_by: String,
    /// Whether the rows come in the order of the index.
    pub is_ordered: bool,
}

/// A statement and its plan.
#[derive(Debug, Clone)]
pub struct Plan {
    pub statement: String,
    pub scans: Vec<Scan>,
    /// Steps that no plan may have: full table scans, bitmaps, and sorts of a scan.
    pub faults: Vec<String>,
    /// The maximum number of rows that a node read or returned; 0 if the database does not report it.
    pub rows: i64,
    /// The plan as text from the database.
    pub text: String,
    /// PostgreSQL's planner settings that the service changes from their defaults.
    pub settings: BTreeMap<String, String>,
}

pub struct Reader {
    pub statements: Statements,
    connection: DatabaseConnection,
    /// The database's name, and the bytes of the log that were read.
    log: Option<(String, u64)>,
    /// The last plan of each statement so far.
    pub seen: BTreeMap<String, Plan>,
}

/// A second subscriber. With only one in the process, tracing caches the answer of whatever thread reaches an event
/// first. A test without a subscriber would then disable the event for all threads.
static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

impl Reader {
    /// From here on, the plans of new connections are logged. `connection` is the test's own and must be older.
    pub async fn new(database: &Database, connection: DatabaseConnection) -> Self {
        LazyLock::force(&ANOTHER);
        let log = match database.backend {
            Backend::Sqlite => None,
            Backend::Postgres => {
                let name = database.url.rsplit('/').next().expect("a name").to_owned();
                for setting in [
                    "session_preload_libraries = 'auto_explain'",
                    "auto_explain.log_min_duration = 0",
                    "auto_explain.log_format = 'json'",
                    "auto_explain.log_analyze = on",
                    "auto_explain.log_timing = off",
                    "auto_explain.log_settings = on",
                ] {
                    let set = format!("ALTER DATABASE {name} SET {setting}");
                    connection.execute_unprepared(&set).await.expect("it is set");
                }
                Some((name, std::fs::metadata(postgres::log()).expect("a log").len()))
            }
        };
        Self { statements: Statements::default(), connection, log, seen: BTreeMap::new() }
    }

    /// The plans of the statements since the last call.
    pub async fn plans(&mut self) -> Vec<Plan> {
        let statements = std::mem::take(&mut *self.statements.0.lock().expect("no panic holds it"));
        let reads = |text: &String| {
            ["SELECT", "WITH", "UPDATE audit_logs"].iter().any(|verb| text.starts_with(verb))
                && TABLES.iter().any(|name| text.contains(name))
        };
        let statements: Vec<_> = statements.into_iter().filter(reads).collect();
        let mut plans = Vec::with_capacity(statements.len());
        match self.log.take() {
            None => {
                for statement in statements {
                    plans.push(explain(&self.connection, statement).await);
                }
            }
            Some((name, mut at)) => {
                let mut logged = Vec::new();
                let begun = Instant::now();
                for statement in statements {
                    let place = loop {
                        let of = |plan: &Value| plan["Query Text"] == statement.as_str();
                        if let Some(place) = logged.iter().position(of) {
                            break place;
                        }
                        assert!(begun.elapsed() < Duration::from_secs(30), "no plan was logged for {statement}");
                        logged.extend(read_log(&name, &mut at));
                    };
                    plans.push(of_postgres(statement, &logged.swap_remove(place)));
                }
                self.log = Some((name, at));
            }
        }
        self.seen.extend(plans.iter().map(|plan| (plan.statement.clone(), plan.clone())));
        plans
    }
}

/// The plans that were logged for the database `name` after byte `at`.
fn read_log(name: &str, at: &mut u64) -> Vec<Value> {
    let mut bytes = Vec::new();
    let mut file = File::open(postgres::log()).expect("the log is there");
    file.seek(SeekFrom::Start(*at)).expect("it has that byte");
    file.read_to_end(&mut bytes).expect("it can be read");
    // Reads up to the end of the last complete message. A line that begins with a tab continues the previous one.
    let ended = bytes.windows(3).rposition(|window| window == b"\n\t}").and_then(|brace| {
        let rest = &bytes[brace + 3..];
        rest.first().filter(|byte| **byte == b'\n').map(|_| brace + 4)
    });
    let Some(ended) = ended else { return Vec::new() };
    *at += ended as u64;
    let text = String::from_utf8_lossy(&bytes[..ended]).replace("\n\t", "");
    let plan = |line: &str| {
        let (_, plan) = line
            .strip_prefix(name)?
            .strip_prefix("=LOG:  duration: ")?
            .split_once("plan:")
            .filter(|(_, plan)| plan.starts_with('{'))?;
        Some(serde_json::from_str(plan).unwrap_or_else(|error| panic!("{error}: {plan}")))
    };
    text.lines().filter_map(plan).collect()
}

fn of_postgres(statement: String, logged: &Value) -> Plan {
    let text = serde_json::to_string_pretty(&logged["Plan"]).expect("JSON");
    let settings = serde_json::from_value(logged["Settings"].clone()).unwrap_or_default();
    let mut plan = Plan { statement, scans: Vec::new(), faults: Vec::new(), rows: 0, text, settings };
    add_node(&mut plan, &logged["Plan"], "");
    plan
}

/// Plans the same statement again under the same settings, as a generic plan.
pub async fn planned_again(connection: &DatabaseConnection, plan: &Plan) -> Plan {
    let run = async |text: &str| {
        connection.execute_unprepared(text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    };
    for (name, value) in &plan.settings {
        run(&format!("SET {name} = '{value}'")).await;
    }
    // Only the driver declares the types of arrays, so an explicit cast replaces it here.
    let statement = plan.statement.replace("unnest($2)", "unnest(CAST($2 AS text[]))");
    run(&format!("PREPARE again AS {statement}")).await;
    let count = "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'again'";
    let count = Statement::from_string(DbBackend::Postgres, count);
    let count = connection.query_one_raw(count).await.expect("it is prepared").expect("a row");
    let count: i32 = count.try_get_by_index(0).expect("a number");
    let nothing = vec!["NULL"; count as usize].join(", ");
    let nothing = if count == 0 { String::new() } else { format!("({nothing})") };
    let explain = Statement::from_string(DbBackend::Postgres, format!("EXPLAIN (FORMAT JSON) EXECUTE again{nothing}"));
    let explained = connection.query_one_raw(explain).await.expect("a plan").expect("a row");
    let explained: Value = explained.try_get_by_index(0).expect("JSON");
    run("DEALLOCATE again").await;
    of_postgres(plan.statement.clone(), &explained[0])
}

/// Adds a node of a plan. If it names no table, it reads the table `alias`.
fn add_node<'n>(plan: &mut Plan, node: &'n Value, mut alias: &'n str) {
    let name = |key: &str| node[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| node[key].as_f64().unwrap_or_default();
    let read: f64 = ["Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck"].map(number).iter().sum();
    plan.rows = plan.rows.max((read * number("Actual Loops")) as i64);
    let (kind, relation, relation_alias) = (name("Node Type"), name("Relation Name"), node["Alias"].as_str());
    if TABLES.contains(&relation.as_str()) {
        match kind.as_str() {
            "Index Scan" | "Index Only Scan" => {
                let index = name("Index Name").replace(&format!("{relation}_pkey"), "primary");
                plan.scans.push(Scan { alias: name("Alias"), index, found_by: name("Index Cond"), is_ordered: true });
            }
            // A ModifyTable or Bitmap Heap Scan node gets its rows from the nodes below it.
            "ModifyTable" => {}
            "Bitmap Heap Scan" => alias = relation_alias.unwrap_or_default(),
            _ => plan.faults.push(format!("{kind} of {relation}")),
        }
    }
    if kind == "Bitmap Index Scan" {
        let index = name("Index Name");
        let index = if index.ends_with("_pkey") { "primary".to_owned() } else { index };
        plan.scans.push(Scan { alias: alias.to_owned(), index, found_by: name("Index Cond"), is_ordered: false });
    }
    for node in node["Plans"].as_array().into_iter().flatten() {
        add_node(plan, node, alias);
    }
}

async fn explain(connection: &DatabaseConnection, statement: String) -> Plan {
    let explain = Statement::from_string(DbBackend::Sqlite, format!("EXPLAIN QUERY PLAN {statement}"));
    let rows = connection.query_all_raw(explain).await.expect("a plan");
    let rows: Vec<(i32, String)> = rows
        .iter()
        .map(|row| (row.try_get("", "parent").expect("a number"), row.try_get("", "detail").expect("a text")))
        .collect();
    let text = rows.iter().map(|(parent, detail)| format!("{parent}: {detail}")).collect::<Vec<_>>().join("\n");
    let mut plan = Plan { statement, scans: Vec::new(), faults: Vec::new(), rows: 0, text, settings: BTreeMap::new() };
    for (parent, detail) in &rows {
        add_detail(&mut plan, detail);
        let reads_entries = |(of, detail): &(i32, String)| {
            of == parent && (detail.starts_with("SEARCH a ") || detail.starts_with("SEARCH audit_logs "))
        };
        if detail.starts_with("USE TEMP B-TREE") && detail.contains("ORDER BY") && rows.iter().any(reads_entries) {
            plan.faults.push("a stream is sorted".to_owned());
        }
    }
    plan
}

/// Adds a line such as `SEARCH a USING COVERING INDEX audit_logs_time (organization_id=?)`.
fn add_detail(plan: &mut Plan, detail: &str) {
    /// Aliases that may be scanned completely: the rows of a parameter, results of the statement itself, and the
    /// catalogue.
    const WHOLE: [&str; 8] = ["k", "p", "g", "counted", "state", "catalogue", "o", "CONSTANT"];
    let mut words = detail.split(' ');
    let (verb, alias) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if verb == "SCAN" && !(alias.starts_with("(subquery") || WHOLE.contains(&alias) || detail.contains("VIRTUAL TABLE"))
    {
        plan.faults.push(detail.to_owned());
    }
    let Some((_, used)) = detail.split_once(" INDEX ").filter(|_| verb == "SEARCH") else { return };
    let (index, found_by) = used.split_once(' ').unwrap_or((used, ""));
    if !(index.starts_with("sqlite_autoindex_") || TABLES.iter().any(|table| index.starts_with(table))) {
        return;
    }
    let is_primary = index.starts_with("sqlite_autoindex_");
    let index = if is_primary { "primary" } else { index }.to_owned();
    plan.scans.push(Scan { alias: alias.to_owned(), index, found_by: found_by.to_owned(), is_ordered: true });
}
