//! The generated data: the same for each size, and skewed like real audit logs. Entries are ordered by recording time.
//! A few have a timestamp up to a year before that.

use auditlog::domain::{Change, JsonText, Timestamp};
use auditlog::grpc::pb;
use auditlog_verify::merkle::{Hash, Leaf, Salts, Values, group_hashes};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sea_orm::Value;

/// The default catalogue in the order of its codes, with each item's share of the entries.
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
/// The outcomes and the types of actors, likewise. Code 0 is an absent value.
pub const OUTCOMES: [(&str, f64); 4] = [("", 0.50), ("success", 0.44), ("failure", 0.04), ("denied", 0.02)];
pub const ACTOR_TYPES: [(&str, f64); 5] =
    [("", 0.50), ("user", 0.35), ("service", 0.10), ("system", 0.04), ("anonymous", 0.01)];
/// Combinations that almost never occur: of a type and an action, and of an action and the hottest user.
pub const RARE_LEAF: (usize, usize) = (6, 5);
pub const RARE_OF_HOTTEST: usize = 2;
/// The share of these combinations that is kept.
const RARELY: f64 = 0.002;

pub const ORGANIZATIONS: Skew = Skew { ranks: 1_000, first: 0.30 };
pub const USERS: Skew = Skew { ranks: 10_000, first: 0.10 };
/// The resources of each type in each organization.
pub const RESOURCES: Skew = Skew { ranks: 20_000, first: 0.07 };

const SECOND: i64 = 1_000_000;
/// 2023-01-01, before any time at which this program runs.
pub const BEGIN: i64 = 1_672_531_200 * SECOND;
/// Two years, in microseconds.
pub const SPAN: i64 = 730 * 86_400 * SECOND;
const SEED: u64 = 0x6175_6469_746c_6f67;

/// How long after its timestamp an entry is recorded.
#[derive(Clone, Copy)]
pub struct Delays {
    /// The maximum delay of entries that are not late, in microseconds.
    jitter: i64,
    /// The share of entries that are up to a year late.
    late: f64,
}

impl Delays {
    /// No delay.
    pub const IN_ORDER: Self = Self { jitter: 0, late: 0.0 };
    /// Up to five seconds of delay.
    pub const JITTER: Self = Self { jitter: 5 * SECOND, late: 0.0 };
    /// Up to five seconds of delay, and 1 % of the entries up to a year late.
    pub const MIXED: Self = Self { late: 0.01, ..Self::JITTER };
}

const YEAR: i64 = 365 * 86_400 * SECOND;

pub const COLUMNS: [&str; 20] = [
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
    "outcome",
    "actor_type",
    "writer_key_id",
    "salts",
    "leaf_hash",
];

/// The id of the API key that wrote the loaded entries.
const WRITER: &str = "bench";

/// A rank distribution: the first rank has a fixed share, the others follow Zipf's law.
pub struct Skew {
    pub ranks: u32,
    pub first: f64,
}

impl Skew {
    /// Draws a rank; 0 is the most frequent.
    pub fn draw(&self, random: &mut StdRng) -> u32 {
        // The integer part of a log-uniform number equals n with probability ln(1 + 1/n) / ln(ranks + 1), which is
        // Zipf's law.
        let end = f64::from(self.ranks + 1);
        let of_first = 2f64.ln() / end.ln();
        if random.random_bool(((self.first - of_first) / (1.0 - of_first)).max(0.0)) {
            return 0;
        }
        let drawn = end.powf(random.random::<f64>());
        // Keeps rounding from leaving the range 1 to `ranks`.
        (drawn as u32).clamp(1, self.ranks) - 1
    }
}

/// A separate random number generator for each purpose. Its sequence is the same in each run.
pub fn random(purpose: u64) -> StdRng {
    StdRng::seed_from_u64(SEED ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// The index into `shares`, weighted by share, for `drawn` from 0 to 1.
fn by_share(shares: &[(&str, f64)], drawn: f64) -> usize {
    let mut left = drawn;
    let found = shares.iter().position(|(_, share)| {
        left -= share;
        left < 0.0
    });
    found.unwrap_or(0)
}

/// The values that a filter may select, drawn as often as they occur.
pub struct Subject {
    pub resource_type: usize,
    pub action: usize,
    pub resource: u32,
    pub user: u32,
}

impl Subject {
    pub fn draw(random: &mut StdRng) -> Self {
        let (user, resource) = (USERS.draw(random), RESOURCES.draw(random));
        let (mut resource_type, mut action) = (by_share(&TYPES, random.random()), by_share(&ACTIONS, random.random()));
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

/// The id of a resource. Threads and vector stores share their ids, so an id without a type may match both.
pub fn resource_id(resource_type: usize, rank: u32) -> String {
    let prefix = ["asst", "res", "res", "rule", "mcp", "usr", "org"][resource_type];
    format!("{prefix}_{:012x}", scattered(rank))
}

/// Spreads the ranks, so that neighbouring ranks are not neighbours in an index.
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

/// The salts and the leaf hash of an entry.
pub struct Seal {
    salts: Vec<u8>,
    pub leaf: Hash,
}

impl Seal {
    /// Placeholder values for entries that are never verified.
    pub fn none() -> Self {
        Self { salts: vec![0; 48], leaf: Hash::of_nothing() }
    }
}

/// All entries of a database, in recording order.
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
    /// A random entry with the given recording time, in microseconds.
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
        // Like a UUIDv7: the time comes first, so ids increase.
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

    /// The codes of the outcome and of the type of actor.
    fn outcome_and_actor_type(&self) -> [usize; 2] {
        let [.., c, d] = self.numbers.map(|number| f64::from(number) / 65_536.0);
        [by_share(&OUTCOMES, c), by_share(&ACTOR_TYPES, d)]
    }

    /// Computes the salts and the leaf hash of the entry in its organization's log.
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
        let [outcome, actor_type] = self.outcome_and_actor_type();
        let optional = |name: &'static str| (!name.is_empty()).then_some(name);
        let facts = Values::Facts {
            timestamp: Timestamp::saturating(self.timestamp),
            resource_type: TYPES[self.subject.resource_type].0,
            resource_id: &resource_id,
            action: ACTIONS[self.subject.action].0,
            user_id: &user_id,
            trace_id: Some(&trace_id),
            outcome: optional(OUTCOMES[outcome].0),
            actor_type: optional(ACTOR_TYPES[actor_type].0),
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

    /// The row of the entry, in the order of `COLUMNS`. No value contains a character that COPY would escape.
    pub fn row(&self, seal: &Seal) -> [Value; COLUMNS.len()] {
        let changes = self
            .changes()
            .map(|(field, old, new)| format!(r#"{{"field":"{field}","oldValue":{old},"newValue":{new}}}"#));
        let metadata = self.metadata().map(|(key, value)| format!(r#""{key}":"{value}""#));
        let [resource_name, user_name, user_email] = self.names();
        let [outcome, actor_type] = self.outcome_and_actor_type();
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
            (outcome as i64).into(),
            (actor_type as i64).into(),
            WRITER.into(),
            seal.salts.clone().into(),
            seal.leaf.0.as_slice().into(),
        ]
    }

    /// The message that writes the entry.
    pub fn input(&self) -> pb::AuditLogInput {
        let change = |(field, old, new): (&str, _, _)| pb::Change {
            field: field.to_owned(),
            old_value_json: Some(old),
            new_value_json: Some(new),
        };
        let [resource_name, user_name, user_email] = self.names();
        let [outcome, actor_type] = self.outcome_and_actor_type();
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
            outcome: OUTCOMES[outcome].0.to_owned(),
            actor_type: ACTOR_TYPES[actor_type].0.to_owned(),
        }
    }
}

/// A timestamp in microseconds as the message of the contract.
pub fn time(micros: i64) -> prost_types::Timestamp {
    let (seconds, nanos) = Timestamp::saturating(micros).parts();
    prost_types::Timestamp { seconds, nanos }
}
