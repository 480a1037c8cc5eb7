//! Searches: the conditions of a filter that no index answers. Each candidate entry is read to decide.

mod canonical;
mod fold;
mod members;
mod pattern;

use std::collections::BTreeMap;

use serde_json::Value;

use self::pattern::is_readable;
use super::{ActorType, Change, Entry, Group, Identifier, JsonText, Name, TimeRange, Timestamp};

pub use self::canonical::{json_digest, json_equal};
pub(super) use self::fold::fold_case;
pub use self::members::JsonMembers;
pub use self::pattern::{FieldPattern, JsonPattern, NamePattern, TextPattern, json_or_string};

/// An entry must match every condition; an empty search matches all entries. A condition on values of an erased group
/// matches no entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Search {
    /// Types of actors: the entry has one of them.
    pub actor_types: Vec<ActorType>,
    /// Traces: the entry is part of one of them.
    pub trace_ids: Vec<Identifier>,
    /// The range of `recorded_at`.
    pub recorded: TimeRange,
    /// One single change matches it.
    pub change: ChangeSearch,
    /// The metadata has each of these keys with exactly this value.
    pub metadata: BTreeMap<String, String>,
    /// The user's name at that time.
    pub user_name: Option<NamePattern>,
    /// The user's e-mail address at that time.
    pub user_email: Option<NamePattern>,
    /// The resource's name at that time.
    pub resource_name: Option<NamePattern>,
    /// A substring of one of the entry's texts.
    pub text: Option<TextPattern>,
}

/// The conditions on a change; one change must match all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeSearch {
    /// The path of the field.
    pub field: Option<FieldPattern>,
    /// The value before. An absent value is `null`.
    pub old_value: Option<JsonPattern>,
    /// The value after. An absent value is `null`.
    pub new_value: Option<JsonPattern>,
}

/// A column of stored entries whose text can be tested for a substring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SearchColumn {
    /// The array of changes, as [`write_changes`](super::write_changes) writes it.
    Changes,
    /// The object of metadata, as `serde_json` writes it.
    Metadata,
}

/// Text that the stored columns of every matching entry contain. The database can test it before it returns an entry;
/// an entry that contains it need not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredSubstring {
    /// The column.
    pub column: SearchColumn,
    /// The text, byte for byte.
    pub text: String,
}

impl Search {
    /// Whether the search has no condition.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Sorts the values of each condition and removes duplicates, so that equal searches compare equal.
    #[must_use]
    pub fn normalized(self) -> Self {
        let Self { actor_types, trace_ids, recorded, change, metadata, user_name, user_email, resource_name, text } =
            self;
        Self {
            actor_types: distinct(actor_types),
            trace_ids: distinct(trace_ids),
            recorded,
            change,
            metadata,
            user_name,
            user_email,
            resource_name,
            text,
        }
    }

    /// Whether `entry` matches. Cheap conditions are tested first.
    pub fn matches(&self, entry: &Entry) -> bool {
        let Self { actor_types, trace_ids, recorded, change, metadata, user_name, user_email, resource_name, text } =
            self;
        let Entry { seq: _, timestamp: _, recorded_at, writer_key_id: _, erased, content } = entry;
        let readable = |group: Group| is_readable(*erased, group);
        let named = |pattern: &Option<NamePattern>, name: &Option<Name>| {
            pattern.as_ref().is_none_or(|pattern| name.as_ref().is_some_and(|name| pattern.matches(name.as_str())))
        };
        let about_actor = !metadata.is_empty() || user_name.is_some() || user_email.is_some();
        let about_content = !change.is_empty() || resource_name.is_some();
        let pairs = content.metadata.pairs();

        (actor_types.is_empty() || content.actor_type.is_some_and(|one| actor_types.contains(&one)))
            && (trace_ids.is_empty() || content.trace_id.as_ref().is_some_and(|id| trace_ids.contains(id)))
            && recorded.start().is_none_or(|start| start <= *recorded_at)
            && recorded.end().is_none_or(|end| *recorded_at < end)
            && (!about_actor || readable(Group::Actor))
            && (!about_content || readable(Group::Content))
            && metadata.iter().all(|(key, value)| pairs.get(key) == Some(value))
            && named(user_name, &content.user_name)
            && named(user_email, &content.user_email)
            && named(resource_name, &content.resource_name)
            && (change.is_empty() || content.changes.iter().any(|one| change.matches(one)))
            && text.as_ref().is_none_or(|text| text.matches(entry))
    }

    /// Substrings of the stored texts that every matching entry has: of conditions on fields and metadata. Values of
    /// changes have none, since they are stored as their writers wrote them. They are short, because the time of a
    /// search in the database may grow with the length of both texts.
    pub fn required_substrings(&self) -> Vec<RequiredSubstring> {
        let ChangeSearch { field, old_value: _, new_value: _ } = &self.change;
        let field = field.iter().map(|field| {
            let (beginning, is_whole) = field.beginning();
            let mut text = format!("\"field\":{}", json_string(beginning));
            if !is_whole {
                // The closing quote: the path goes on.
                text.pop();
            }
            RequiredSubstring { column: SearchColumn::Changes, text: shortened(text) }
        });
        let pairs = self.metadata.iter().map(|(key, value)| {
            let text = format!("{}:{}", json_string(key), json_string(value));
            RequiredSubstring { column: SearchColumn::Metadata, text: shortened(text) }
        });
        field.chain(pairs).collect()
    }

    /// The parts of a digest: as many for each search, each with any number of values. Different normalized searches
    /// have different parts. [`Filter::digest`](super::Filter::digest) puts the numbers and lengths before them.
    pub fn digest_parts(&self) -> [Vec<Vec<u8>>; 12] {
        let Self { actor_types, trace_ids, recorded, change, metadata, user_name, user_email, resource_name, text } =
            self;
        let ChangeSearch { field, old_value, new_value } = change;
        let bytes = |text: &str| text.as_bytes().to_vec();
        let time =
            |time: Option<Timestamp>| time.iter().map(|time| time.micros().to_be_bytes().to_vec()).collect::<Vec<_>>();
        let json = |pattern: &Option<JsonPattern>| {
            pattern.iter().map(|pattern| bytes(pattern.canonical())).collect::<Vec<_>>()
        };
        let name = |pattern: &Option<NamePattern>| pattern.as_ref().map(NamePattern::digest_values).unwrap_or_default();
        [
            actor_types.iter().map(|one| ActorType::code(Some(*one)).to_be_bytes().to_vec()).collect(),
            trace_ids.iter().map(|id| bytes(id.as_str())).collect(),
            time(recorded.start()),
            time(recorded.end()),
            field.as_ref().map(FieldPattern::digest_values).unwrap_or_default(),
            json(old_value),
            json(new_value),
            metadata.iter().flat_map(|(key, value)| [bytes(key), bytes(value)]).collect(),
            name(user_name),
            name(user_email),
            name(resource_name),
            text.iter().map(|text| bytes(text.folded())).collect(),
        ]
    }
}

impl ChangeSearch {
    /// Whether there is no condition on a change.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether `change` matches.
    pub fn matches(&self, change: &Change) -> bool {
        let Self { field, old_value, new_value } = self;
        let Change { field: own_field, old_value: own_old, new_value: own_new } = change;
        let equal = |pattern: &Option<JsonPattern>, value: &JsonText| {
            pattern.as_ref().is_none_or(|pattern| pattern.matches(value))
        };
        field.as_ref().is_none_or(|field| field.matches(own_field))
            && equal(old_value, own_old)
            && equal(new_value, own_new)
    }
}

/// Sorts `values` and removes duplicates.
pub(super) fn distinct<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort_unstable();
    values.dedup();
    values
}

/// The beginning of `text`.
fn shortened(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(64));
    text
}

/// `text` as the store writes it in JSON.
fn json_string(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
