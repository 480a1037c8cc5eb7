//! The entries of one organization as brute force sees them, and the writes and erasures that keep it up to date.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use auditlog::domain::{Clock, EntryId, Erased, Group, Random, Seq, Timestamp};
use auditlog::grpc::pb::{AuditLog, AuditLogInput, Change};
use auditlog::grpc::wire;
use auditlog::ingest::{Eraser, ErasureReport, Ingest, Target};
use auditlog::store::{HashedEntry, Store};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use super::values::{VALUES, fold, parsed, texts};
use crate::support::Database;
use crate::support::erasure::{ORG, both, eraser, erasure, of, of_user};
use crate::support::ingest::{catalogue, organization, start, write};

/// The parameters that may be repeated.
pub const FACTS: [&str; 7] = ["resourceType", "resourceId", "action", "userId", "outcome", "actorType", "traceId"];
/// The parameters with a name or an address.
pub const NAMES: [&str; 3] = ["userName", "userEmail", "resourceName"];

const TYPES: [&str; 4] = ["rule", "rule", "thread", "user"];
const USERS: [&str; 6] = ["ada", "bob", "cem", "dora", "é&va", "u=1+1"];
const RESOURCES: [&str; 6] = ["ada", "bob", "r1", "r2", "r3", "R1"];
const ACTIONS: [&str; 5] = ["created", "updated", "updated", "deleted", "shared"];
const PEOPLE: [&str; 12] = [
    "",
    "",
    "Jane Doe",
    "JANE DOE",
    "Jane Doering",
    "Élodie",
    "élodie",
    "Straße 1",
    "STRASSE 1",
    "İz",
    "ısparta",
    "J***@example.com",
];
const FIELDS: [&str; 14] = [
    "",
    "tools",
    "tools",
    "tools.webSearch",
    "tools.webSearch.limit",
    "tools.",
    "toolsX",
    "toolsX.y",
    "Tools.a",
    "model",
    "rules[*].on",
    "rules[1].on",
    "é.ß",
    "a\"b\\.c\n",
];
const BEGIN: i64 = 1_736_900_000_000_000;
const QUARTER: i64 = 250_000;
/// The entries of a batch before the storm.
const BATCH: usize = 40;

/// One change: its field and its values.
pub struct ChangedField {
    pub field: String,
    pub old: Value,
    pub new: Value,
}

/// An entry as a reader sees it before any erasure.
pub struct Row {
    pub id: String,
    pub seq: Seq,
    /// Microseconds since 1970, as `recorded`.
    pub time: i64,
    pub recorded: i64,
    /// The values of [`FACTS`] that the entry has.
    pub facts: BTreeMap<&'static str, String>,
    /// The values of [`NAMES`] that the entry has.
    pub names: BTreeMap<&'static str, String>,
    pub metadata: BTreeMap<String, String>,
    pub changes: Vec<ChangedField>,
    /// All texts of the groups facts, actor and content, folded.
    pub texts: [Vec<String>; 3],
}

impl Row {
    fn of(input: AuditLogInput, seq: Seq, recorded: i64) -> Self {
        let AuditLogInput {
            id,
            timestamp,
            resource_type,
            resource_id,
            resource_name,
            action,
            user_id,
            user_name,
            user_email,
            changes,
            metadata,
            trace_id,
            outcome,
            actor_type,
        } = input;
        let time = timestamp.expect("a time");
        let time = Timestamp::from_parts(time.seconds, time.nanos).expect("in range").micros();
        let mut of_facts = vec![id.clone(), resource_id.clone(), user_id.clone()];
        of_facts.extend((!trace_id.is_empty()).then(|| trace_id.clone()));
        let mut of_actor = vec![user_name.clone(), user_email.clone()];
        of_actor.extend(metadata.iter().flat_map(|(key, value)| [key.clone(), value.clone()]));
        let mut of_content = vec![resource_name.clone()];
        let mut changed = Vec::new();
        for Change { field, old_value_json, new_value_json } in changes {
            let [old, new] = [old_value_json, new_value_json].map(|json| json.unwrap_or_else(|| "null".to_owned()));
            of_content.extend([vec![field.clone()], texts(&old), texts(&new)].concat());
            changed.push(ChangedField { field, old: parsed(&old), new: parsed(&new) });
        }
        let facts = [resource_type, resource_id, action, user_id, outcome, actor_type, trace_id];
        let names = [user_name, user_email, resource_name];
        Self {
            id,
            seq,
            time,
            recorded,
            facts: FACTS.into_iter().zip(facts).filter(|(_, value)| !value.is_empty()).collect(),
            names: NAMES.into_iter().zip(names).filter(|(_, value)| !value.is_empty()).collect(),
            metadata,
            changes: changed,
            texts: [of_facts, of_actor, of_content].map(|texts| texts.iter().map(|text| fold(text)).collect()),
        }
    }

    /// The groups with values about a user.
    fn groups_about(&self, user: &str) -> Erased {
        let is = |name: &str, value: &str| self.facts.get(name).is_some_and(|own| own == value);
        let about = [
            (Group::Actor, is("userId", user)),
            (Group::Content, is("resourceType", "user") && is("resourceId", user)),
        ];
        about.into_iter().filter_map(|(group, is_about)| is_about.then_some(group)).collect()
    }

    fn is_of_service(&self) -> bool {
        self.id.starts_with("auditlog:")
    }
}

fn pick(random: &mut StdRng, texts: &[&str]) -> String {
    (*texts.choose(random).expect("texts")).to_owned()
}

/// Up to two changes. The second one often has the values of the first in the other places, so that many entries have
/// the field of one change and a value of another.
fn changes(random: &mut StdRng) -> Vec<Change> {
    let value = |random: &mut StdRng| VALUES.choose(random).expect("values").0;
    let (old, new) = (value(random), value(random));
    let (other_old, other_new) = match random.random_bool(0.6) {
        true => (new, old),
        false => (value(random), value(random)),
    };
    let written = |json: &str| (json != "null").then(|| json.to_owned());
    let mut change = |old: &str, new: &str| Change {
        field: pick(random, &FIELDS),
        old_value_json: written(old),
        new_value_json: written(new),
    };
    let mut changes = vec![change(old, new), change(other_old, other_new)];
    changes.truncate(*[0, 1, 2, 2, 2, 2].choose(random).expect("numbers"));
    changes
}

/// An entry with few different values, so that filters on them often match. Times are out of order, and often equal.
fn input(random: &mut StdRng, number: usize) -> AuditLogInput {
    let time = BEGIN + random.random_range(0..400_i64) * QUARTER + *[0_i64, 0, 1].choose(random).expect("steps");
    let pairs = [("ipAddress", &["10.0.0.1", "10.0.0.2"]), ("source", &["web_ui", ""]), ("k\"é.x", &["a\"\\é\n", "İ"])];
    let mut metadata = BTreeMap::new();
    for (key, values) in pairs {
        if random.random_bool(0.5) {
            metadata.insert(key.to_owned(), pick(random, values));
        }
    }
    AuditLogInput {
        id: format!("log_{number}"),
        timestamp: Some(wire::time(Timestamp::saturating(time))),
        resource_type: pick(random, &TYPES),
        resource_id: pick(random, &RESOURCES),
        resource_name: pick(random, &PEOPLE),
        action: pick(random, &ACTIONS),
        user_id: pick(random, &USERS),
        user_name: pick(random, &PEOPLE),
        user_email: pick(random, &PEOPLE),
        changes: changes(random),
        metadata,
        trace_id: pick(random, &["", "t1", "t2", "t3", "T1"]),
        outcome: pick(random, &["", "success", "failure", "denied"]),
        actor_type: pick(random, &["", "user", "service", "system", "anonymous"]),
    }
}

/// A stored entry of the service itself, as if a writer had sent it. It has neither names nor metadata.
fn record(entry: AuditLog) -> AuditLogInput {
    let AuditLog { id, timestamp, resource_type, resource_id, action, user_id, changes, .. } = entry;
    AuditLogInput { id, timestamp, resource_type, resource_id, action, user_id, changes, ..AuditLogInput::default() }
}

/// The steps in which the groups actor and content of an entry were erased.
pub type ErasedAt = [Option<usize>; 2];

/// The content of the log.
#[derive(Default)]
pub struct Known {
    /// By number.
    pub rows: Vec<Arc<Row>>,
    /// The last number after each commit, with the number of its step.
    pub heads: Vec<(usize, Seq)>,
    pub erased: BTreeMap<Seq, ErasedAt>,
}

/// A log that changes in steps. While a step runs, nobody else sees what is known, since only its end tells its result.
pub struct Log {
    pub store: Store,
    ingest: Ingest,
    eraser: Eraser,
    known: Mutex<Known>,
    /// The number of steps that are done.
    steps: AtomicUsize,
}

impl Log {
    /// A log with about so many entries, some of them erased.
    pub async fn begin(database: &Database, seed: u64, entries: usize) -> Self {
        let store = database.store().await;
        let (ingest, eraser) = (start(&store, Clock::system()), eraser(&store));
        let log = Self { store, ingest, eraser, known: Mutex::default(), steps: AtomicUsize::new(0) };
        let mut random = StdRng::seed_from_u64(seed);
        while log.known().await.rows.len() < entries {
            log.write(&mut random, BATCH).await;
        }
        for _ in 0..10 {
            log.erase_some(&mut random).await;
        }
        log.erase(of_user("ada"), both()).await;
        log
    }

    /// The number of steps that are certainly visible.
    pub fn steps(&self) -> usize {
        self.steps.load(Ordering::SeqCst)
    }

    /// The known entries after all steps that have begun.
    pub async fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().await
    }

    /// Writes entries in one commit.
    pub async fn write(&self, random: &mut StdRng, count: usize) {
        let mut known = self.known().await;
        let first = known.rows.len();
        let inputs: Vec<_> = (first..first + count).map(|number| input(random, number)).collect();
        let entries = wire::new_entries(inputs.clone(), &catalogue(), Timestamp::MIN, &Random::seeded(1));
        let written = write(&self.ingest, ORG, entries.expect("valid entries")).await.expect("written");
        let rows = inputs.into_iter().zip(written);
        let rows: Vec<_> =
            rows.map(|(input, written)| Row::of(input, written.seq, written.recorded_at.micros())).collect();
        let heads = rows.last().map(|row| row.seq);
        self.end_step(&mut known, rows, heads);
    }

    /// Erases groups of one or two random entries.
    pub async fn erase_some(&self, random: &mut StdRng) {
        let chosen: Vec<_> = {
            let known = self.known().await;
            (0..2).filter_map(|_| known.rows.choose(random)).map(Arc::clone).collect()
        };
        let ids = chosen.iter().filter(|row| !row.is_of_service());
        let ids: Vec<_> = ids.map(|row| EntryId::parse(row.id.as_str()).expect("an id")).collect();
        let groups = *[of(&[Group::Actor]), of(&[Group::Content]), both()].choose(random).expect("groups");
        if !ids.is_empty() {
            self.erase(Target::Entries(ids), groups).await;
        }
    }

    /// Erases `groups`. Each transaction adds one entry.
    async fn erase(&self, target: Target, groups: Erased) {
        let mut guard = self.known().await;
        let known = &mut *guard;
        let step = self.steps() + 1;
        let erased = self.eraser.erase(erasure(target.clone(), groups)).await.expect("erased");
        let ErasureReport { extent: _, recorded, is_complete, is_purged: _ } = erased;
        assert!(is_complete, "an erasure of few entries is done at once");
        for row in known.rows.iter().filter(|row| !row.is_of_service()) {
            let about = match &target {
                Target::Entries(ids) if ids.iter().any(|id| id.as_str() == row.id) => groups,
                Target::Entries(_) => Erased::default(),
                Target::User { id, resource_type: _ } => row.groups_about(id.as_str()),
            };
            for (place, group) in [Group::Actor, Group::Content].into_iter().enumerate() {
                if about.has(group) && groups.has(group) {
                    let erased_at = known.erased.entry(row.seq).or_default();
                    erased_at[place] = erased_at[place].or(Some(step));
                }
            }
        }
        let rows = self.records(&recorded).await;
        self.end_step(known, rows, recorded);
    }

    /// The entries that record an erasure.
    async fn records(&self, recorded: &[Seq]) -> Vec<Row> {
        let (Some(first), Some(last)) = (recorded.first(), recorded.last()) else { return Vec::new() };
        let hashed = self.store.hashed_entries(&organization(ORG), first - 1, *last, 100).await.expect("read");
        let row = |HashedEntry { entry, .. }: HashedEntry| {
            let (seq, recorded) = (entry.seq, entry.recorded_at.micros());
            let entry = wire::audit_log(entry, &organization(ORG), &catalogue()).expect("it has a name");
            Row::of(record(entry), seq, recorded)
        };
        hashed.into_iter().map(row).collect()
    }

    /// Adds the entries of a step, whose commits had the last numbers `heads`.
    fn end_step(&self, known: &mut Known, rows: Vec<Row>, heads: impl IntoIterator<Item = Seq>) {
        let step = self.steps() + 1;
        known.heads.extend(heads.into_iter().map(|head| (step, head)));
        for row in rows {
            assert_eq!(row.seq, known.rows.len() as Seq + 1, "nobody else writes");
            known.rows.push(Arc::new(row));
        }
        self.steps.store(step, Ordering::SeqCst);
    }
}
