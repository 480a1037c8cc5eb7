//! The data: the same for the same size, skewed as real trails are. Entries come in the order in which they were
//! recorded; a few are late by up to a year.

use auditlog::domain::{Change, JsonText, Timestamp};
use auditlog::grpc::pb;
use auditlog_verify::merkle::{Hash, Leaf, Salts, Values, group_hashes};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sea_orm::Value;

/// The default catalogue, in the order of its codes, with what share of the entries each has.
pub const TYPES: [(&str, f64); 7] = [
    ("assistant", 0.40),
    ("thread", 0.30),
    ("vector_store", 0.12),
    ("rule", 0.09),
    ("mcp_configuration", 0.05),
    ("user", 0.03),
    ("organization", 0.01),
];
pub const ACTIONS: [(&str, f64); 6] =
    [("created", 0.20), ("updated", 0.45), ("deleted", 0.06), ("accessed", 0.24), ("shared", 0.03), ("archived", 0.02)];
/// The combinations that nearly never occur: of type and action, and of the hottest user and action.
pub const RARE_LEAF: (usize, usize) = (6, 5);
pub const RARE_OF_HOTTEST: usize = 2;
/// How many of these occur all the same.
const RARELY: f64 = 0.002;

pub const ORGANIZATIONS: Skew = Skew { ranks: 1_000, first: 0.30 };
pub const USERS: Skew = Skew { ranks: 10_000, first: 0.10 };
/// Of each type in each organization.
pub const RESOURCES: Skew = Skew { ranks: 20_000, first: 0.07 };

const SECOND: i64 = 1_000_000;
/// 2023-01-01, in the past wherever this runs.
pub const BEGIN: i64 = 1_672_531_200 * SECOND;
/// Two years.
pub const SPAN: i64 = 730 * 86_400 * SECOND;
const SEED: u64 = 0x6175_6469_746c_6f67;

/// How much later than they happened entries are recorded.
#[derive(Clone, Copy)]
pub struct Delays {
    /// The most microseconds of all but the late.
    jitter: i64,
    /// The share that tells of anything up to a year before.
    late: f64,
}

impl Delays {
    /// Each as soon as it happened.
    pub const IN_ORDER: Self = Self { jitter: 0, late: 0.0 };
    /// By a few seconds.
    pub const JITTER: Self = Self { jitter: 5 * SECOND, late: 0.0 };
    /// The same, and one in a hundred late.
    pub const MIXED: Self = Self { late: 0.01, ..Self::JITTER };
}

const YEAR: i64 = 365 * 86_400 * SECOND;

pub const COLUMNS: [&str; 18] = [
    "organization_id",
    "seq",
    "id",
    "timestamp",
    "recorded_at",
    "resource_type",
    "resource_id",
    "resource_name",
    "action",
    "user_id",
    "user_name",
    "user_email",
    "changes",
    "metadata",
    "trace_id",
    "writer_key_id",
    "salts",
    "leaf_hash",
];

/// The key that wrote what is loaded.
const WRITER: &str = "bench";

/// Ranks of which the first has a share of its own and the others follow Zipf's law.
pub struct Skew {
    pub ranks: u32,
    pub first: f64,
}

impl Skew {
    /// A rank, 0 the most frequent.
    pub fn draw(&self, random: &mut StdRng) -> u32 {
        // The whole part of a log-uniform number n has the probability ln(1 + 1/n) / ln(ranks + 1): Zipf's law.
        let end = f64::from(self.ranks + 1);
        let of_first = 2f64.ln() / end.ln();
        if random.random_bool(((self.first - of_first) / (1.0 - of_first)).max(0.0)) {
            return 0;
        }
        let drawn = end.powf(random.random::<f64>());
        // Between 1 and `ranks`.
        (drawn as u32).clamp(1, self.ranks) - 1
    }
}

/// A random number generator of its own for each purpose, the same in each run.
pub fn random(purpose: u64) -> StdRng {
    StdRng::seed_from_u64(SEED ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// An index into `shares`, by its share.
fn by_share(shares: &[(&str, f64)], random: &mut StdRng) -> usize {
    let mut left = random.random::<f64>();
    let found = shares.iter().position(|(_, share)| {
        left -= share;
        left < 0.0
    });
    found.unwrap_or(0)
}

/// What a filter may ask for, drawn as often as it occurs.
pub struct Subject {
    pub resource_type: usize,
    pub action: usize,
    pub resource: u32,
    pub user: u32,
}

impl Subject {
    pub fn draw(random: &mut StdRng) -> Self {
        let (user, resource) = (USERS.draw(random), RESOURCES.draw(random));
        let (mut resource_type, mut action) = (by_share(&TYPES, random), by_share(&ACTIONS, random));
        if (resource_type, action) == RARE_LEAF && !random.random_bool(RARELY) {
            resource_type = 0;
        }
        if user == 0 && action == RARE_OF_HOTTEST && !random.random_bool(RARELY) {
            action = 1;
        }
        Self { resource_type, action, resource, user }
    }

    pub fn resource_id(&self) -> String {
        resource_id(self.resource_type, self.resource)
    }

    pub fn user_id(&self) -> String {
        user_id(self.user)
    }
}

pub fn organization_id(rank: u32) -> String {
    format!("org_{rank:04}")
}

pub fn log_id(rank: u32) -> String {
    format!("{rank:032x}")
}

pub fn user_id(rank: u32) -> String {
    format!("uid_{:012x}", scattered(rank))
}

/// Threads and vector stores share their ids, so that an id without a type may mean several.
pub fn resource_id(resource_type: usize, rank: u32) -> String {
    let prefix = ["asst", "res", "res", "rule", "mcp", "usr", "org"][resource_type];
    format!("{prefix}_{:012x}", scattered(rank))
}

/// Neighbours in rank are none in an index.
fn scattered(rank: u32) -> u64 {
    u64::from(rank + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

/// An entry, before it becomes a row or a message.
pub struct Entry {
    pub organization: u32,
    pub seq: i64,
    id: u128,
    timestamp: i64,
    pub recorded_at: i64,
    subject: Subject,
    numbers: [u16; 4],
}

/// What binds an entry to its log.
pub struct Seal {
    salts: Vec<u8>,
    pub leaf: Hash,
}

impl Seal {
    /// For entries that nobody verifies.
    pub fn none() -> Self {
        Self { salts: vec![0; 48], leaf: Hash::of_nothing() }
    }
}

/// All entries of a database, in the order of their recording.
pub struct Data {
    random: StdRng,
    heads: Vec<i64>,
    made: u64,
    rows: u64,
}

impl Data {
    pub fn new(rows: u64) -> Self {
        Self { random: random(0), heads: vec![0; ORGANIZATIONS.ranks as usize], made: 0, rows }
    }
}

impl Iterator for Data {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        if self.made == self.rows {
            return None;
        }
        let recorded_at = BEGIN + (i128::from(SPAN) * i128::from(self.made) / i128::from(self.rows)) as i64;
        self.made += 1;
        let organization = ORGANIZATIONS.draw(&mut self.random);
        let head = &mut self.heads[organization as usize];
        *head += 1;
        Some(Entry::draw(organization, *head, recorded_at, Delays::MIXED, &mut self.random))
    }
}

impl Entry {
    /// An entry that is recorded at a time.
    pub fn draw(organization: u32, seq: i64, recorded_at: i64, delays: Delays, random: &mut StdRng) -> Self {
        let Delays { jitter, late } = delays;
        let delay = if random.random_bool(late) { YEAR } else { jitter };
        Self {
            organization,
            seq,
            id: random.random(),
            timestamp: recorded_at - random.random_range(0..=delay),
            recorded_at,
            subject: Subject::draw(random),
            numbers: random.random(),
        }
    }

    fn id(&self) -> String {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        // As a UUIDv7 would: the time first, so that ids grow.
        let bits = (u128::from(self.recorded_at as u64 / 1_000) << 80) | (self.id >> 48);
        let digit = |place: u32| char::from(DIGITS[(bits >> (5 * place)) as usize & 31]);
        format!("log_{}", (0..26).rev().map(digit).collect::<String>())
    }

    fn changes(&self) -> [(&'static str, String, String); 3] {
        let [a, b, c, d] = self.numbers;
        [
            ("temperature", format!("0.{a}"), format!("0.{b}")),
            ("tools.webSearch", (a % 2 == 0).to_string(), (a % 2 == 1).to_string()),
            ("instructions", format!("\"Answer in {c} words.\""), format!("\"Answer in {d} words, and say why.\"")),
        ]
    }

    fn metadata(&self) -> [(&'static str, String); 2] {
        let [a, b, ..] = self.numbers.map(|number| number % 256);
        [("ipAddress", format!("10.0.{a}.{b}")), ("source", "web_ui".to_owned())]
    }

    fn names(&self) -> [String; 3] {
        let Subject { resource, user, .. } = self.subject;
        [format!("Resource number {resource}"), format!("User Number {user}"), format!("user.{user}@example.com")]
    }

    /// What binds it to the log of its organization.
    pub fn seal(&self) -> Seal {
        let salts = Salts::parse(&[self.id.to_be_bytes(); 3].concat()).expect("three salts");
        let [resource_name, user_name, user_email] = self.names();
        let json = |text: String| JsonText::parse(&text).expect("JSON");
        let change = |(field, old, new): (&str, _, _)| Change {
            field: field.to_owned(),
            old_value: json(old),
            new_value: json(new),
        };
        let (changes, metadata) = (self.changes().map(change), self.metadata());
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let (resource_id, user_id, trace_id) = (self.subject.resource_id(), self.subject.user_id(), self.trace_id());
        let facts = Values::Facts {
            timestamp: Timestamp::saturating(self.timestamp),
            resource_type: TYPES[self.subject.resource_type].0,
            resource_id: &resource_id,
            action: ACTIONS[self.subject.action].0,
            user_id: &user_id,
            trace_id: Some(&trace_id),
        };
        let actor = Values::Actor { user_name: Some(&user_name), user_email: Some(&user_email), metadata: &metadata };
        let content = Values::Content { resource_name: Some(&resource_name), changes: &changes };
        let leaf = Leaf {
            log_id: &log_id(self.organization),
            seq: self.seq,
            id: &self.id(),
            recorded_at: Timestamp::saturating(self.recorded_at),
            writer: WRITER,
            groups: group_hashes(&[facts, actor, content], &salts),
        };
        Seal { leaf: Hash::of_leaf(&leaf.data()), salts: salts.bytes().to_vec() }
    }

    fn trace_id(&self) -> String {
        format!("{:032x}", self.id)
    }

    /// Its row, in the order of `COLUMNS`. No value holds what COPY would have escaped.
    pub fn row(&self, seal: &Seal) -> [Value; COLUMNS.len()] {
        let changes = self
            .changes()
            .map(|(field, old, new)| format!(r#"{{"field":"{field}","oldValue":{old},"newValue":{new}}}"#));
        let metadata = self.metadata().map(|(key, value)| format!(r#""{key}":"{value}""#));
        let [resource_name, user_name, user_email] = self.names();
        [
            organization_id(self.organization).into(),
            self.seq.into(),
            self.id().into(),
            self.timestamp.into(),
            self.recorded_at.into(),
            (self.subject.resource_type as i64).into(),
            self.subject.resource_id().into(),
            resource_name.into(),
            (self.subject.action as i64).into(),
            self.subject.user_id().into(),
            user_name.into(),
            user_email.into(),
            format!("[{}]", changes.join(",")).into(),
            format!("{{{}}}", metadata.join(",")).into(),
            self.trace_id().into(),
            WRITER.into(),
            seal.salts.clone().into(),
            seal.leaf.0.as_slice().into(),
        ]
    }

    /// The message that writes it.
    pub fn input(&self) -> pb::AuditLogInput {
        let change = |(field, old, new): (&str, _, _)| pb::Change {
            field: field.to_owned(),
            old_value_json: Some(old),
            new_value_json: Some(new),
        };
        let [resource_name, user_name, user_email] = self.names();
        pb::AuditLogInput {
            id: self.id(),
            timestamp: Some(time(self.timestamp)),
            resource_type: TYPES[self.subject.resource_type].0.to_owned(),
            resource_id: self.subject.resource_id(),
            resource_name,
            action: ACTIONS[self.subject.action].0.to_owned(),
            user_id: self.subject.user_id(),
            user_name,
            user_email,
            changes: self.changes().map(change).into(),
            metadata: self.metadata().map(|(key, value)| (key.to_owned(), value)).into(),
            trace_id: self.trace_id(),
        }
    }
}

/// Microseconds as the contract has them.
pub fn time(micros: i64) -> prost_types::Timestamp {
    let (seconds, nanos) = Timestamp::saturating(micros).parts();
    prost_types::Timestamp { seconds, nanos }
}
