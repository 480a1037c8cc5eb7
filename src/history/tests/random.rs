//! Random logs of one resource: few paths that overlap, few times, entries that come late, mistakes and erasures.

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value};

use super::document::{changed, found, has_place_for};
use super::entries::{
    ACCESSED, ACTIONS, CREATED, DELETED, SHARED, UPDATED, plain_content, service_id, stored_entry, without,
};
use crate::domain::{Action, Change, Content, Entry, Erased, Group, Identifier, JsonText, Outcome, Seq};
use crate::history::model::LifeActions;

/// Paths that come more often stand here twice.
const PATHS: [&str; 12] = ["a", "a", "a.b", "a.b", "a.b.c", "a.b.x", "a..c", "a.", "", ".b", "b", "b"];
const KEYS: [&str; 4] = ["b", "c", "", "x"];
/// Each hides the object member that a path seems to name.
const DOTTED_KEYS: [&str; 2] = ["b.c", ".c"];
const MAX_ENTRIES: usize = 14;
const FIRST_TIME: i64 = 10;

/// A log of one resource.
pub(super) struct RandomLog {
    pub actions: LifeActions,
    /// In order.
    pub entries: Vec<Entry>,
    /// The document before each entry and after the last one. Only those of a consistent log are in order.
    pub documents: Vec<Value>,
}

/// The ways in which a log differs from what happened to its resource.
#[derive(Clone, Copy, Default)]
struct LogFaults {
    /// Some old values are wrong.
    mistakes: bool,
    /// Some entries are erased.
    erasures: bool,
    /// Some entries have no effect.
    refusals: bool,
    /// Some entries are recorded late.
    late: bool,
    /// Some keys contain dots, some paths lead through scalars, and some entries change what is deleted.
    odd: bool,
}

impl LogFaults {
    fn random(random: &mut StdRng) -> Self {
        let mut coin = || random.random_bool(0.5);
        Self { mistakes: coin(), erasures: coin(), refusals: coin(), late: coin(), odd: coin() }
    }
}

impl RandomLog {
    /// A log with any faults.
    pub fn any(random: &mut StdRng) -> Self {
        let faults = LogFaults::random(random);
        let log = LogGenerator::new(random, faults).log();
        let actions = match random.random_range(0..60) {
            0 => LifeActions { created: None, ..ACTIONS },
            1 => LifeActions { deleted: None, ..ACTIONS },
            2 => LifeActions { accessed: None, ..ACTIONS },
            _ => ACTIONS,
        };
        Self { actions, ..log }
    }

    /// A log that has all that happened to its resource, and nothing else.
    pub fn consistent(random: &mut StdRng) -> Self {
        LogGenerator::new(random, LogFaults::default()).log()
    }

    /// A time from before the first entry to after the last one, in microseconds.
    pub fn time(&self, random: &mut StdRng) -> i64 {
        let last = self.entries.last().map_or(FIRST_TIME, |entry| entry.timestamp.micros());
        random.random_range(FIRST_TIME - 1..=last + 1)
    }
}

struct LogGenerator<'r> {
    random: &'r mut StdRng,
    faults: LogFaults,
    /// Whether the resource is created and deleted within the log.
    has_lives: bool,
    /// Whether the log begins with a creation.
    is_new: bool,
    is_deleted: bool,
    document: Value,
    /// Paths with values that they had. Some values come again.
    earlier: Vec<(String, Value)>,
}

impl<'r> LogGenerator<'r> {
    fn new(random: &'r mut StdRng, faults: LogFaults) -> Self {
        let (has_lives, is_new) = (random.random_bool(0.5), random.random_bool(0.4));
        let (is_deleted, earlier) = (false, Vec::new());
        let mut generator = Self { random, faults, has_lives, is_new, is_deleted, document: Value::Null, earlier };
        for path in ["a", "b", ""] {
            let value = generator.value(2);
            generator.document = changed(std::mem::take(&mut generator.document), path, value);
        }
        generator
    }

    fn log(mut self) -> RandomLog {
        let length = self.random.random_range(1..=MAX_ENTRIES);
        let (mut entries, mut documents, mut time) = (Vec::new(), Vec::new(), FIRST_TIME);
        for seq in self.seqs(length) {
            documents.push(self.document.clone());
            let step: i64 = self.random.random_range(0..2);
            time += step;
            entries.push(self.entry(seq, time));
        }
        documents.push(self.document);
        entries.sort_by_key(|entry: &Entry| (entry.timestamp, entry.seq));
        RandomLog { actions: ACTIONS, entries, documents }
    }

    /// The numbers of the entries, in the order in which they happen.
    fn seqs(&mut self, length: usize) -> Vec<Seq> {
        let mut seqs: Vec<Seq> = (1..).take(length).collect();
        let moves = if self.faults.late { self.random.random_range(1..4) } else { 0 };
        for _ in 0..moves {
            let seq = seqs.remove(self.random.random_range(0..length));
            seqs.insert(self.random.random_range(0..length), seq);
        }
        seqs
    }

    fn entry(&mut self, seq: Seq, time: i64) -> Entry {
        let (action, outcome) = (self.action(), self.outcome());
        let is_service = self.faults.refusals && self.random.random_bool(0.07);
        let is_ignored = is_service || matches!(outcome, Some(Outcome::Failure | Outcome::Denied));
        let document = self.document.clone();
        if action == CREATED {
            self.document = Value::Object(Map::new());
        }
        let changes = self.changes(action);
        if is_ignored {
            self.document = document;
        } else if action == CREATED || action == DELETED {
            self.is_deleted = action == DELETED;
        }
        let user = if self.random.random_bool(0.6) { "u1" } else { "u2" };
        let plain = plain_content(seq, action, changes);
        let content = Content {
            id: if is_service { service_id(seq) } else { plain.id.clone() },
            user_id: Identifier::stored(user.to_owned()),
            outcome,
            ..plain
        };
        without(&stored_entry(seq, time, content), self.erasure())
    }

    fn action(&mut self) -> Action {
        let is_created_again = self.is_deleted && (!self.faults.odd || self.random.random_bool(0.4));
        if std::mem::take(&mut self.is_new) || is_created_again {
            return CREATED;
        }
        match self.random.random_range(0..100) {
            0..8 if self.has_lives => CREATED,
            8..18 if self.has_lives => DELETED,
            18..26 => ACCESSED,
            26..32 => SHARED,
            _ => UPDATED,
        }
    }

    fn outcome(&mut self) -> Option<Outcome> {
        match self.random.random_range(0..20) {
            0 if self.faults.refusals => Some(Outcome::Failure),
            1 if self.faults.refusals => Some(Outcome::Denied),
            2..10 => Some(Outcome::Success),
            _ => None,
        }
    }

    fn erasure(&mut self) -> Erased {
        let none = Erased::default();
        match self.random.random_range(0..24) {
            0 | 1 if self.faults.erasures => none.with(Group::Content),
            2 | 3 if self.faults.erasures => none.with(Group::Actor),
            4 if self.faults.erasures => none.with(Group::Actor).with(Group::Content),
            _ => none,
        }
    }

    fn changes(&mut self, action: Action) -> Vec<Change> {
        let without_changes = if action == UPDATED { 0.06 } else { 0.55 };
        let count = if self.random.random_bool(without_changes) { 0 } else { self.random.random_range(1..4) };
        (0..count).map(|_| self.change()).collect()
    }

    fn change(&mut self) -> Change {
        let is_possible = |path: &str| self.faults.odd || has_place_for(&self.document, path);
        let paths: Vec<&str> = PATHS.into_iter().filter(|path| is_possible(path)).collect();
        let field = paths[self.random.random_range(0..paths.len())];
        let now = found(&self.document, field);
        let is_mistaken = self.faults.mistakes && self.random.random_bool(0.12);
        let old = if is_mistaken { self.value(1) } else { now.clone() };
        let new = self.new_value(field);
        self.document = changed(std::mem::take(&mut self.document), field, new.clone());
        self.earlier.push((field.to_owned(), now));
        Change { field: field.to_owned(), old_value: self.json(&old), new_value: self.json(&new) }
    }

    fn new_value(&mut self, field: &str) -> Value {
        let again: Vec<&Value> =
            self.earlier.iter().filter(|(path, _)| path == field).map(|(_, value)| value).collect();
        if !again.is_empty() && self.random.random_bool(0.3) {
            return again[self.random.random_range(0..again.len())].clone();
        }
        self.value(2)
    }

    /// A value whose objects nest at most `depth` deep.
    fn value(&mut self, depth: u32) -> Value {
        if depth == 0 || self.random.random_bool(0.45) {
            return match self.random.random_range(0..8) {
                0 | 1 => Value::Null,
                2..=4 => Value::from(self.random.random_range(0..3i64)),
                5 | 6 => Value::from("x"),
                _ => Value::Array(vec![Value::from(1i64)]),
            };
        }
        let mut members = Map::new();
        for key in KEYS {
            if self.random.random_bool(0.45) {
                members.insert(key.to_owned(), self.value(depth - 1));
            }
        }
        for key in DOTTED_KEYS {
            if self.faults.odd && self.random.random_bool(0.15) {
                members.insert(key.to_owned(), self.value(0));
            }
        }
        Value::Object(members)
    }

    fn json(&mut self, value: &Value) -> JsonText {
        let text = spelling(self.random, value);
        JsonText::parse(&text).expect("JSON")
    }
}

/// One of the many texts of `value`.
fn spelling(random: &mut StdRng, value: &Value) -> String {
    match value {
        Value::Number(number) => match random.random_range(0..6) {
            0 => format!("{number}.0"),
            1 => format!("{number}e0"),
            2 => format!("{number}.00E+0"),
            _ => number.to_string(),
        },
        Value::String(text) if text == "x" && random.random_bool(0.3) => r#""\u0078""#.to_owned(),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| spelling(random, item)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            if random.random_bool(0.5) {
                members.reverse();
            }
            let mut texts = Vec::new();
            for (key, member) in members {
                let key = Value::from(key.as_str());
                // Of two members with the same key, the last one counts.
                if random.random_bool(0.05) {
                    texts.push(format!("{key}:[9]"));
                }
                texts.push(format!("{key}:{}", spelling(random, member)));
            }
            format!("{{{}}}", texts.join(","))
        }
        scalar => scalar.to_string(),
    }
}
