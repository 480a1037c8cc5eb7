//! Random searches, as the parameters of REST, and what they mean.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use auditlog::domain::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::Value;

use super::model::{ChangedField, FACTS, NAMES, Row};
use super::values::{fold, recased, same, spelled};

/// How often a search has a condition, and how often the value of a condition is that of the entry to find.
const ASKED: f64 = 0.16;
const OWN: f64 = 0.85;
/// Texts that few entries have, and some that only the JSON of an entry has.
const ODD_TEXTS: [&str; 10] = ["null", "\"", "\\", "\n", "É", "S", "tools.", ":", "[true", "no such text"];

/// A search and its meaning, computed without the service's code.
#[derive(Debug, Default)]
pub struct Asked {
    /// The parameters, without limit, offset and cursor.
    pub query: Vec<(String, String)>,
    /// By parameter. The entry has one of the values.
    any: BTreeMap<&'static str, BTreeSet<String>>,
    /// The range of times: the first microsecond, and the first one after it.
    time: [Option<i64>; 2],
    recorded: [Option<i64>; 2],
    /// A path, and whether it is the beginning of the paths that match.
    field: Option<(String, bool)>,
    old: Option<Value>,
    new: Option<Value>,
    metadata: BTreeMap<String, String>,
    /// By parameter: a name, or a beginning and a star.
    names: BTreeMap<&'static str, String>,
    /// Folded.
    text: Option<String>,
}

impl Asked {
    /// Asks mostly for the values of one of `rows`, so that it has a match although it has several conditions.
    pub fn random(random: &mut StdRng, rows: &[Arc<Row>]) -> Self {
        let mut asked = Self::default();
        let target = rows.choose(random).expect("rows");
        for name in FACTS {
            if random.random_bool(ASKED) {
                asked.ask_fact(random, rows, target, name);
            }
        }
        asked.ask_time(random, target.time);
        asked.ask_search(random, rows, target, target.recorded);
        asked
    }

    /// Asks for what no index finds, mostly for the values of `target`, which was recorded at `recorded`.
    pub fn ask_search(&mut self, random: &mut StdRng, rows: &[Arc<Row>], target: &Row, recorded: i64) {
        self.ask_recorded(random, recorded);
        self.ask_change(random, target);
        for (key, value) in target.metadata.iter().filter(|(_, value)| !value.is_empty()) {
            if random.random_bool(ASKED) {
                let value = if random.random_bool(OWN) { value } else { key };
                self.metadata.insert(key.clone(), value.clone());
                self.ask(format!("metadata.{key}"), value);
            }
        }
        for name in NAMES {
            let of = if random.random_bool(OWN) { target } else { rows.choose(random).expect("rows") };
            if random.random_bool(ASKED)
                && let Some(own) = of.names.get(name)
            {
                let pattern = pattern(random, own);
                self.ask(name, &pattern);
                self.names.insert(name, pattern);
            }
        }
        if random.random_bool(ASKED) {
            let text = text(random, target);
            self.ask("text", &text);
            self.text = Some(fold(&text));
        }
    }

    fn ask(&mut self, name: impl Into<String>, value: &str) {
        self.query.push((name.into(), value.to_owned()));
    }

    /// Asks for one value of a fact or for several.
    fn ask_fact(&mut self, random: &mut StdRng, rows: &[Arc<Row>], target: &Row, name: &'static str) {
        let own = target.facts.get(name).filter(|_| random.random_bool(OWN));
        let more = *[0, 0, 0, 1, 3].choose(random).expect("numbers");
        let others = (0..more).filter_map(|_| rows.choose(random)?.facts.get(name));
        let values: Vec<_> = own.into_iter().chain(others).cloned().collect();
        for value in values {
            self.ask(name, &value);
            self.any.entry(name).or_default().insert(value);
        }
    }

    /// Asks for a range of times with ends at or near `time`.
    fn ask_time(&mut self, random: &mut StdRng, time: i64) {
        let [from, to] = ends(random, time);
        // `endDate` includes the microsecond that it names.
        self.time = [from, to.map(|to| to + 1)];
        self.ask_ends([("startDate", from), ("endDate", to)]);
    }

    /// Asks for entries that were recorded at or near `recorded`.
    fn ask_recorded(&mut self, random: &mut StdRng, recorded: i64) {
        let [after, before] = ends(random, recorded);
        // `recordedBefore` does not include the microsecond that it names.
        let before = before.map(|before| before + 1);
        self.recorded = [after, before];
        self.ask_ends([("recordedAfter", after), ("recordedBefore", before)]);
    }

    fn ask_ends(&mut self, ends: [(&str, Option<i64>); 2]) {
        for (name, end) in ends {
            if let Some(end) = end {
                self.ask(name, &exact(end));
            }
        }
    }

    /// Asks for a field and values of a change. If they are of different changes, the entry must not match by them.
    fn ask_change(&mut self, random: &mut StdRng, target: &Row) {
        let Some(change) = target.changes.choose(random) else { return };
        let mut of = || match random.random_bool(0.75) {
            true => change,
            false => target.changes.choose(random).unwrap_or(change),
        };
        let [field, old, new] = [of(), of(), of()];
        if random.random_bool(2.0 * ASKED) && !field.field.is_empty() {
            self.ask_field(random, &field.field);
        }
        if random.random_bool(ASKED) {
            self.ask("changes.oldValue", &spelled(random, &old.old));
            self.old = Some(old.old.clone());
        }
        if random.random_bool(ASKED) {
            self.ask("changes.newValue", &spelled(random, &new.new));
            self.new = Some(new.new.clone());
        }
    }

    /// Asks for `field`, or for all fields below a part of it.
    fn ask_field(&mut self, random: &mut StdRng, field: &str) {
        let dots: Vec<_> = field.match_indices('.').map(|(dot, _)| dot).collect();
        let above = dots.choose(random).filter(|_| random.random_bool(0.6)).map(|dot| &field[..=*dot]);
        self.ask_path(above.unwrap_or(field), above.is_some());
    }

    /// Asks for the field `path`, or for all fields that begin with it.
    pub fn ask_path(&mut self, path: &str, is_beginning: bool) {
        let star = if is_beginning { "*" } else { "" };
        self.ask("changes.field", &format!("{}{star}", path.replace('*', r"\*")));
        self.field = Some((path.to_owned(), is_beginning));
    }

    /// Whether `row` matches, of which the groups actor and content are erased or not.
    pub fn matches(&self, row: &Row, is_erased: [bool; 2]) -> bool {
        self.any.iter().all(|(name, values)| row.facts.get(name).is_some_and(|own| values.contains(own)))
            && within(self.time, row.time)
            && self.is_recorded(row.recorded)
            && self.has_content(row, is_erased)
    }

    /// Whether an entry that was recorded at `recorded` can match.
    pub fn is_recorded(&self, recorded: i64) -> bool {
        within(self.recorded, recorded)
    }

    /// The parameters with a name, and whether the name of `row` matches each.
    pub fn named<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = (&'static str, bool)> + 'a {
        let matches = |name, pattern: &str| row.names.get(name).is_some_and(|own| has_name(own, pattern));
        self.names.iter().map(move |(name, pattern)| (*name, matches(*name, pattern)))
    }

    /// Whether the names, metadata, changes and texts of `row` match, of which the groups actor and content are erased
    /// or not.
    pub fn has_content(&self, row: &Row, is_erased: [bool; 2]) -> bool {
        let [is_actor_erased, is_content_erased] = is_erased;
        let is_named = |(name, pattern): (&&'static str, &String)| {
            let is_erased = if *name == "resourceName" { is_content_erased } else { is_actor_erased };
            !is_erased && row.names.get(name).is_some_and(|own| has_name(own, pattern))
        };
        let has_pair = |(key, value): (&String, &String)| !is_actor_erased && row.metadata.get(key) == Some(value);
        self.names.iter().all(is_named)
            && self.metadata.iter().all(has_pair)
            && self.has_change(row, is_content_erased)
            && self.text.as_ref().is_none_or(|text| has_text(row, is_erased, text))
    }

    /// Whether one change of `row` has the field and both values.
    fn has_change(&self, row: &Row, is_erased: bool) -> bool {
        let Self { field, old, new, .. } = self;
        if field.is_none() && old.is_none() && new.is_none() {
            return true;
        }
        let has_field = |own: &str| {
            field.as_ref().is_none_or(|(path, is_beginning)| match is_beginning {
                true => own.starts_with(path.as_str()),
                false => own == path,
            })
        };
        let has_value = |value: &Option<Value>, own: &Value| value.as_ref().is_none_or(|value| same(value, own));
        let is_wanted = |ChangedField { field, old: own_old, new: own_new }: &ChangedField| {
            has_field(field) && has_value(old, own_old) && has_value(new, own_new)
        };
        !is_erased && row.changes.iter().any(is_wanted)
    }

    /// The parameters, each once; those of metadata without their keys.
    pub fn parameters(&self) -> BTreeSet<String> {
        let name = |name: &String| if name.starts_with("metadata.") { "metadata".to_owned() } else { name.clone() };
        self.query.iter().map(|(parameter, _)| name(parameter)).collect()
    }
}

/// Parameters as the query of a URL.
pub fn encoded<N: AsRef<str>, V: AsRef<str>>(query: &[(N, V)]) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let pairs = query.iter().map(|(name, value)| format!("{}={}", encode(name.as_ref()), encode(value.as_ref())));
    pairs.collect::<Vec<_>>().join("&")
}

/// The ends of a range at or near `time`, each of which is asked for or not.
fn ends(random: &mut StdRng, time: i64) -> [Option<i64>; 2] {
    let mut ends = [time; 2].map(|time| {
        let near = *[0, 0, 1, -1, 1_000_000, -1_000_000, 30_000_000].choose(random).expect("steps");
        time + near
    });
    ends.sort_unstable();
    ends.map(|end| Some(end).filter(|_| random.random_bool(ASKED)))
}

/// Whether `time` is in the range from the first end to before the second.
fn within([from, to]: [Option<i64>; 2], time: i64) -> bool {
    from.is_none_or(|from| from <= time) && to.is_none_or(|to| time < to)
}

/// An instant with all six digits, so that it covers one microsecond.
fn exact(micros: i64) -> String {
    let fraction = micros.rem_euclid(1_000_000);
    let second = Timestamp::saturating(micros - fraction).to_string();
    format!("{}.{fraction:06}Z", second.trim_end_matches('Z'))
}

/// `name` in any letter case, or a beginning of it with a star.
fn pattern(random: &mut StdRng, name: &str) -> String {
    if random.random_bool(0.5) {
        return recased(random, name);
    }
    let length = random.random_range(1..=name.chars().count());
    let beginning: String = name.chars().take(length).collect();
    format!("{}*", recased(random, &beginning))
}

fn has_name(name: &str, pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => fold(name).starts_with(&fold(beginning)),
        None => fold(name) == fold(pattern),
    }
}

/// A part of a text of `target`, in any letter case.
fn text(random: &mut StdRng, target: &Row) -> String {
    let texts: Vec<_> = target.texts.iter().flatten().filter(|text| !text.is_empty()).collect();
    let letters: Vec<char> = texts.choose(random).expect("an id").chars().collect();
    if random.random_bool(0.2) {
        return (*ODD_TEXTS.choose(random).expect("texts")).to_owned();
    }
    let start = random.random_range(0..letters.len());
    let end = letters.len().min(start + random.random_range(1..8));
    let part: String = letters[start..end].iter().collect();
    recased(random, &part)
}

fn has_text(row: &Row, [is_actor_erased, is_content_erased]: [bool; 2], text: &str) -> bool {
    let [of_facts, of_actor, of_content] = &row.texts;
    let finds = |texts: &[String]| texts.iter().any(|own| own.contains(text));
    finds(of_facts) || !is_actor_erased && finds(of_actor) || !is_content_erased && finds(of_content)
}
