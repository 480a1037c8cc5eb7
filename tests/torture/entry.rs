//! Random entries with values that parsers tend to change. Each value is kept twice: as sent, and as the service must
//! return it. The expected form is computed here, without the service's code.

use std::collections::BTreeMap;

use auditlog::domain::Timestamp;
use auditlog::grpc::pb;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The resource types and actions of the default catalogue.
pub const RESOURCE_TYPES: [&str; 5] = ["assistant", "thread", "vector_store", "rule", "mcp_configuration"];
pub const ACTIONS: [&str; 6] = ["created", "updated", "deleted", "accessed", "shared", "archived"];
/// The outcomes and the types of actors in the order of their codes, from 1 on. The code 0 is an absent value.
pub const OUTCOMES: [&str; 3] = ["success", "failure", "denied"];
pub const ACTOR_TYPES: [&str; 4] = ["user", "service", "system", "anonymous"];
pub const USERS: u32 = 40;
pub const RESOURCES: u32 = 60;
/// The number of different timestamps that clients send. It is small, so that many entries share a timestamp.
const MOMENTS: i64 = 2_000;
const FIRST_MOMENT: i64 = 1_600_000_000_000_000;

/// An entry to write, as stored in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub id: String,
    /// Microseconds since 1970. `None` uses the time of recording.
    pub timestamp: Option<i64>,
    pub resource_type: String,
    pub resource_id: String,
    pub resource_name: Option<String>,
    pub action: String,
    pub user_id: String,
    pub user_name: Option<String>,
    pub user_email: Option<String>,
    pub changes: Vec<Change>,
    pub metadata: BTreeMap<String, String>,
    pub trace_id: Option<String>,
    pub outcome: Option<String>,
    pub actor_type: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub field: String,
    pub old: Option<Json>,
    pub new: Option<Json>,
}

/// A JSON value as sent, and as it must be returned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Json {
    pub sent: String,
    pub kept: String,
}

impl Change {
    /// The old and new value that must be returned: an absent value equals null.
    pub fn kept(&self) -> [&str; 2] {
        [&self.old, &self.new].map(|value| value.as_ref().map_or("null", |json| &json.kept))
    }
}

impl Entry {
    pub fn random(id: String, random: &mut StdRng) -> Self {
        let text = |random: &mut StdRng| random.random_bool(0.6).then(|| name(random));
        let one_of = |names: &[&str], random: &mut StdRng| {
            random.random_bool(0.6).then(|| (*names.choose(random).expect("some")).to_owned())
        };
        let changes = match random.random_range(0..10) {
            0 => 0,
            9 => random.random_range(10..30),
            _ => random.random_range(1..4),
        };
        let metadata = (0..random.random_range(0..4)).map(|place| (format!("key.{place}"), name(random)));
        let metadata: BTreeMap<_, _> = metadata.collect();
        Self {
            id,
            timestamp: random.random_bool(0.3).then(|| FIRST_MOMENT + random.random_range(0..MOMENTS)),
            resource_type: (*RESOURCE_TYPES.choose(random).expect("some")).to_owned(),
            resource_id: format!("res_{}", skewed(RESOURCES, random)),
            resource_name: text(random),
            action: (*ACTIONS.choose(random).expect("some")).to_owned(),
            user_id: format!("uid_{}", skewed(USERS, random)),
            user_name: text(random),
            user_email: text(random),
            changes: (0..changes).map(|_| Change::random(random)).collect(),
            metadata,
            trace_id: random.random_bool(0.5).then(|| format!("trace-{:016x}", random.next_u64())),
            outcome: one_of(&OUTCOMES, random),
            actor_type: one_of(&ACTOR_TYPES, random),
        }
    }

    pub fn to_grpc(&self) -> pb::AuditLogInput {
        let Self { id, timestamp, resource_type, resource_id, resource_name, action, user_id, .. } = self.clone();
        let Self { user_name, user_email, changes, metadata, trace_id, outcome, actor_type, .. } = self.clone();
        let timestamp = timestamp.map(|micros| {
            let (seconds, nanos) = Timestamp::saturating(micros).parts();
            prost_types::Timestamp { seconds, nanos }
        });
        let changes = changes.into_iter().map(|Change { field, old, new }| pb::Change {
            field,
            old_value_json: old.map(|json| json.sent),
            new_value_json: new.map(|json| json.sent),
        });
        pb::AuditLogInput {
            id,
            timestamp,
            resource_type,
            resource_id,
            resource_name: resource_name.unwrap_or_default(),
            action,
            user_id,
            user_name: user_name.unwrap_or_default(),
            user_email: user_email.unwrap_or_default(),
            changes: changes.collect(),
            metadata: metadata.into_iter().collect(),
            trace_id: trace_id.unwrap_or_default(),
            outcome: outcome.unwrap_or_default(),
            actor_type: actor_type.unwrap_or_default(),
        }
    }

    /// The entry as a JSON object for REST.
    pub fn to_rest(&self) -> serde_json::Result<Box<RawValue>> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            timestamp: Option<String>,
            resource_type: &'a str,
            resource_id: &'a str,
            resource_name: Option<&'a str>,
            action: &'a str,
            user_id: &'a str,
            user_name: Option<&'a str>,
            user_email: Option<&'a str>,
            changes: Vec<ChangeBody<'a>>,
            metadata: &'a BTreeMap<String, String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            trace_id: Option<&'a str>,
            outcome: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            actor_type: Option<&'a str>,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct ChangeBody<'a> {
            field: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            old_value: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            new_value: Option<&'a RawValue>,
        }
        fn raw(json: Option<&Json>) -> serde_json::Result<Option<&RawValue>> {
            json.map(|json| serde_json::from_str(&json.sent)).transpose()
        }
        fn body(Change { field, old, new }: &Change) -> serde_json::Result<ChangeBody<'_>> {
            Ok(ChangeBody { field, old_value: raw(old.as_ref())?, new_value: raw(new.as_ref())? })
        }
        let body = Body {
            id: &self.id,
            timestamp: self.timestamp.map(|micros| Timestamp::saturating(micros).exact()),
            resource_type: &self.resource_type,
            resource_id: &self.resource_id,
            resource_name: self.resource_name.as_deref(),
            action: &self.action,
            user_id: &self.user_id,
            user_name: self.user_name.as_deref(),
            user_email: self.user_email.as_deref(),
            changes: self.changes.iter().map(body).collect::<serde_json::Result<_>>()?,
            metadata: &self.metadata,
            trace_id: self.trace_id.as_deref(),
            outcome: self.outcome.as_deref(),
            actor_type: self.actor_type.as_deref(),
        };
        serde_json::value::to_raw_value(&body)
    }
}

impl Change {
    fn random(random: &mut StdRng) -> Self {
        let field = ["temperature", "tools.webSearch", "", "naïve \u{1f600} \"field\"\n"].choose(random).expect("some");
        let mut value = || random.random_bool(0.8).then(|| Json::random(random));
        Self { field: (*field).to_owned(), old: value(), new: value() }
    }
}

/// Values that parsers tend to change: numbers beyond a double, different spellings of numbers and strings, escaped
/// surrogate pairs, an escaped NUL.
const SCALARS: [&str; 20] = [
    "null",
    "true",
    "9007199254740993",
    "-9223372036854775809",
    "340282366920938463463374607431768211457",
    "0.1000000000000000055511151231257827",
    "1.0",
    "1.10",
    "-0",
    "1E400",
    "2e-7",
    r#""""#,
    r#""\u0041\/\u00e9""#,
    r#""\uD83D\uDE00 \\ud800""#,
    r#""\u0000""#,
    r#""\ud83d\ude00 \b\f\n""#,
    "\"\u{7f}é😀\u{2028}\"",
    r#"" two  spaces ""#,
    r#""{\"not\": [an, object]}""#,
    r#""<script>&amp;""#,
];

impl Json {
    fn random(random: &mut StdRng) -> Self {
        let mut tokens = Vec::new();
        push_value(&mut tokens, 0, random);
        let spaced = random.random_bool(0.3);
        let mut sent = String::new();
        for token in &tokens {
            sent.push_str(token);
            if spaced {
                sent.push_str(["", " ", "\n\t"].choose(random).expect("some"));
            }
        }
        Self { sent, kept: tokens.concat() }
    }
}

fn push_value(tokens: &mut Vec<String>, depth: usize, random: &mut StdRng) {
    let mut push = |token: &str| tokens.push(token.to_owned());
    match random.random_range(0..12) {
        // Keys in random order, possibly twice.
        0 | 1 if depth < 4 => {
            push("{");
            for place in 0..random.random_range(0..4) {
                let key = ["z", "a", "\\u0061", "é", ""].choose(random).expect("some");
                let comma = if place > 0 { "," } else { "" };
                tokens.extend([comma.to_owned(), format!("\"{key}\""), ":".to_owned()]);
                push_value(tokens, depth + 1, random);
            }
            tokens.push("}".to_owned());
        }
        2 if depth < 4 => {
            push("[");
            for place in 0..random.random_range(0..4) {
                tokens.push(if place > 0 { "," } else { "" }.to_owned());
                push_value(tokens, depth + 1, random);
            }
            tokens.push("]".to_owned());
        }
        // The maximum nesting depth.
        3 if depth == 0 && random.random_bool(0.2) => {
            (0..32).for_each(|_| push("["));
            (0..32).for_each(|_| push("]"));
        }
        4 if depth == 0 && random.random_bool(0.1) => push(&format!("\"{}\"", "long ".repeat(2_000))),
        5..8 => push(&random.random::<u64>().to_string()),
        _ => push(SCALARS.choose(random).expect("some")),
    }
}

fn name(random: &mut StdRng) -> String {
    const NAMES: [&str; 5] = ["Ada", "名前 🦀", "line\nbreak \"quoted\" \\", "e\u{301} is not \u{e9}", " spaced "];
    format!("{}{}", NAMES.choose(random).expect("some"), random.random_range(0..1_000))
}

/// A number below `count`; small numbers are the most likely.
fn skewed(count: u32, random: &mut StdRng) -> u32 {
    let most = random.random_range(0..count);
    random.random_range(0..=most)
}
