//! The state of a resource at a time and the difference of two states, by their definitions. No entry of the trail is
//! erased, and each was done.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use auditlog::grpc::pb::ResourceField;

use super::resources::PastEntry;
use super::values::{are_equal, beginnings, overlap};

/// A field whose value is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KnownField<'a> {
    pub field: &'a str,
    /// The JSON text.
    pub value: &'a str,
    pub basis: &'a str,
    /// The number of the entry that the value comes from.
    pub source: i64,
    pub is_partial: bool,
}

/// A resource at a time.
pub struct KnownState<'a> {
    pub existence: &'a str,
    /// The number of the entry that began or ended its life.
    pub since: Option<i64>,
    pub fields: BTreeMap<&'a str, KnownField<'a>>,
}

/// A field that differs: as it was at the earlier and at the later time.
pub type Difference<'a> = (Option<KnownField<'a>>, Option<KnownField<'a>>);

impl<'a> KnownField<'a> {
    /// The field of an answer.
    pub fn answered(field: &'a ResourceField) -> Self {
        let ResourceField { field, value_json, left_out: _, basis, source, partial, explanation: _ } = field;
        let source = source.as_ref().expect("a source").sequence;
        Self { field, value: value_json.as_deref().unwrap_or("left out"), basis, source, is_partial: *partial }
    }
}

impl<'a> KnownState<'a> {
    /// The state at `time`, in microseconds. `entries` are those of the resource, in order; with `prefixes`, only fields
    /// that overlap with one of them are listed.
    pub fn at(entries: &[&'a PastEntry], time: i64, prefixes: &[String]) -> Self {
        let (past, future) = entries.split_at(entries.partition_point(|entry| entry.time <= time));
        let begin = past.iter().rposition(|entry| entry.action == "created");
        let life = &past[begin.unwrap_or(0)..];
        let deletion = life.iter().find(|entry| entry.action == "deleted");
        let existence = match deletion {
            _ if past.is_empty() => "unknown",
            Some(_) => "deleted",
            None => "exists",
        };
        let since = deletion.or(begin.map(|begin| &past[begin])).map(|entry| entry.seq);
        let mut fields = BTreeMap::new();
        if deletion.is_none() {
            add_recorded(life, &mut fields);
            add_inferred(future, &mut fields);
        }
        let is_listed = |field: &str| prefixes.is_empty() || prefixes.iter().any(|prefix| overlap(prefix, field));
        fields.retain(|field, _| is_listed(field));
        Self { existence, since, fields }
    }
}

/// The writes between the time of a state and the write that is looked at.
#[derive(Default)]
struct PassedWrites<'a> {
    paths: HashSet<&'a str>,
    /// All paths above these.
    above: HashSet<&'a str>,
}

impl<'a> PassedWrites<'a> {
    /// Passes a write of `path`, and returns whether its value is partial at the time: a write below it was passed before.
    /// `None` if its value is not that of the time: a write at or above it was passed before.
    fn pass(&mut self, path: &'a str) -> Option<bool> {
        let is_hidden = self.paths.contains(path) || beginnings(path).any(|above| self.paths.contains(above));
        let is_partial = self.above.contains(path);
        if self.paths.insert(path) {
            self.above.extend(beginnings(path));
        }
        (!is_hidden).then_some(is_partial)
    }
}

/// Adds the fields that `life` wrote, from the newest write to the oldest.
fn add_recorded<'a>(life: &[&'a PastEntry], fields: &mut BTreeMap<&'a str, KnownField<'a>>) {
    let mut passed = PassedWrites::default();
    for entry in life.iter().copied().rev() {
        for change in entry.changes.iter().rev() {
            let field: &'a str = &change.field;
            if let Some(is_partial) = passed.pass(field) {
                let (value, basis, source) = (change.new_json(), "recorded", entry.seq);
                fields.insert(field, KnownField { field, value, basis, source, is_partial });
            }
        }
    }
}

/// Adds the other fields that the entries after the time found, as long as the life lasts.
fn add_inferred<'a>(future: &[&'a PastEntry], fields: &mut BTreeMap<&'a str, KnownField<'a>>) {
    let mut passed = PassedWrites::default();
    for entry in future.iter().copied().take_while(|entry| entry.action != "created") {
        for change in &entry.changes {
            let field: &'a str = &change.field;
            if let Some(is_partial) = passed.pass(field) {
                let (value, basis, source) = (change.old_json(), "inferred", entry.seq);
                fields.entry(field).or_insert(KnownField { field, value, basis, source, is_partial });
            }
        }
        if entry.action == "deleted" {
            break;
        }
    }
}

/// The fields that differ between two states, by name.
pub fn differences<'a>(before: &KnownState<'a>, after: &KnownState<'a>) -> Vec<Difference<'a>> {
    let names: BTreeSet<_> = before.fields.keys().chain(after.fields.keys()).copied().collect();
    let pairs = names.into_iter().map(|name| (before.fields.get(name).copied(), after.fields.get(name).copied()));
    pairs.filter(|pair| !is_same(pair)).collect()
}

fn is_same(pair: &Difference<'_>) -> bool {
    let (Some(before), Some(after)) = pair else { return false };
    before.is_partial == after.is_partial && are_equal(before.value, after.value)
}
