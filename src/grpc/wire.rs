//! Converts protobuf messages to domain types and back. Each conversion destructures its argument, so that a new field
//! breaks the build.

use std::sync::Arc;

use prost::Message;

use super::pb;
use crate::domain::{
    ActorType, Catalogue, Change, ChangeSearch, Content, Entry, EntryId, FieldPattern, Filter, Identifier, Invalid,
    JsonPattern, JsonText, Limit, MAX_CHANGES, MAX_VALUES, Metadata, Minutes, Name, NamePattern, NewEntry, Offset,
    OrganizationId, Outcome, Random, Search, Seq, TextPattern, TimeRange, Timestamp, quoted,
};
use crate::error::{AtField, Error, MAX_VIOLATIONS, Result};
use crate::ingest::Written;
use crate::query::{ExportPiece, Page, Start};

/// The maximum number of entries of one write.
const MAX_ENTRIES: usize = 1_000;
/// The maximum number of ids of entries in one request.
const MAX_IDS: usize = 1_000;
/// The maximum number of bytes of an export message. A single larger entry is allowed.
pub const MAX_PIECE: usize = 1024 * 1024;
/// The maximum number of bytes of a follower's message. A single larger entry is allowed. tonic keeps the buffer of the
/// last messages of a stream, so a follower that waits holds about four times as much.
const MAX_FOLLOWED: usize = 16 * 1024;

/// Decodes the filter, the start of the page, and the page size.
pub fn listing(request: pb::ListAuditLogsRequest, catalogue: &Catalogue) -> Result<(Filter, Start, Limit)> {
    let pb::ListAuditLogsRequest { organization_id: _, filter, limit, offset, cursor } = request;
    let filter = audit_log_filter(filter.unwrap_or_default(), catalogue)?;
    let (start, limit) = page_request(limit, offset, cursor)?;
    Ok((filter, start, limit))
}

/// Like [`listing`], for one resource. Errors: also a filter that selects resources.
pub fn history(request: pb::GetResourceHistoryRequest, catalogue: &Catalogue) -> Result<(Filter, Start, Limit)> {
    let pb::GetResourceHistoryRequest {
        organization_id: _,
        resource_type,
        path_segment,
        resource_id,
        filter,
        limit,
        offset,
        cursor,
    } = request;
    let resource_type = match (resource_type, path_segment) {
        (resource_type, segment) if segment.is_empty() => resource_type,
        (resource_type, segment) if resource_type.is_empty() => {
            catalogue.with_path_segment(&segment).map_err(Error::NoSuchHistory)?.to_owned()
        }
        _ => return Err(Error::invalid("path_segment", "must not come together with resource_type")),
    };
    let resource_type = catalogue.resource_type(&resource_type).at("resource_type")?;
    let resource_id = Identifier::parse(resource_id).at("resource_id")?;
    let message = filter.unwrap_or_default();
    let selected = [("filter.resource_types", &message.resource_types), ("filter.resource_ids", &message.resource_ids)];
    if let Some((field, values)) = selected.into_iter().find(|(_, values)| !values.is_empty()) {
        let description = format!("must be empty in a history, which is of one resource, got {}", values.len());
        return Err(Error::invalid(field, description));
    }
    let filter = audit_log_filter(message, catalogue)?;
    let filter = Filter { resource_types: vec![resource_type], resource_ids: vec![resource_id], ..filter };
    let (start, limit) = page_request(limit, offset, cursor)?;
    Ok((filter, start, limit))
}

/// Decodes the request for the entries around an entry: its id, the distance, the cursor, and the page size.
pub fn around(request: pb::ListAuditLogsAroundRequest) -> Result<(EntryId, Minutes, Option<String>, Limit)> {
    let pb::ListAuditLogsAroundRequest { organization_id: _, id, minutes, limit, cursor } = request;
    let (id, minutes) = (EntryId::parse(id).at("id")?, Minutes::parse(minutes).at("minutes")?);
    Ok((id, minutes, cursor, Limit::parse(limit).at("limit")?))
}

/// Decodes an export: its filter, the number after which it starts, and the last number.
pub fn export(request: pb::ExportAuditLogsRequest, catalogue: &Catalogue) -> Result<(Filter, Seq, Option<Seq>)> {
    let pb::ExportAuditLogsRequest { organization_id: _, filter, after_sequence, through_sequence } = request;
    Ok((audit_log_filter(filter.unwrap_or_default(), catalogue)?, after_sequence, through_sequence))
}

/// Decodes a follower: its filter, and the number after which it starts.
pub fn follow(request: pb::FollowAuditLogsRequest, catalogue: &Catalogue) -> Result<(Filter, Option<Seq>)> {
    let pb::FollowAuditLogsRequest { organization_id: _, filter, after_sequence } = request;
    Ok((audit_log_filter(filter.unwrap_or_default(), catalogue)?, after_sequence))
}

/// Decodes and normalizes the filter in the field `filter` of a request.
pub(super) fn audit_log_filter(message: pb::AuditLogFilter, catalogue: &Catalogue) -> Result<Filter> {
    let pb::AuditLogFilter {
        resource_types,
        resource_ids,
        actions,
        user_ids,
        start_time,
        end_time,
        outcomes,
        actor_types,
        trace_ids,
        recorded_start_time,
        recorded_end_time,
        change,
        metadata,
        user_name,
        user_email,
        resource_name,
        text,
    } = message;
    let name = |field: &str, text: Option<String>| {
        text.map(|text| NamePattern::parse(&text)).transpose().at(format!("filter.{field}"))
    };
    let filter = Filter {
        resource_types: values("filter.resource_types", resource_types, |name| catalogue.resource_type(&name))?,
        resource_ids: values("filter.resource_ids", resource_ids, Identifier::parse)?,
        actions: values("filter.actions", actions, |name| catalogue.action(&name))?,
        outcomes: values("filter.outcomes", outcomes, |name| Outcome::parse(&name))?,
        user_ids: values("filter.user_ids", user_ids, Identifier::parse)?,
        time: time_range(["filter.start_time", "filter.end_time"], start_time, end_time)?,
        search: Search {
            actor_types: values("filter.actor_types", actor_types, |name| ActorType::parse(&name))?,
            trace_ids: values("filter.trace_ids", trace_ids, Identifier::parse)?,
            recorded: time_range(
                ["filter.recorded_start_time", "filter.recorded_end_time"],
                recorded_start_time,
                recorded_end_time,
            )?,
            change: change_search(change.unwrap_or_default())?,
            metadata: Metadata::parse(metadata).at("filter.metadata")?.into(),
            user_name: name("user_name", user_name)?,
            user_email: name("user_email", user_email)?,
            resource_name: name("resource_name", resource_name)?,
            text: text.map(|text| TextPattern::parse(&text)).transpose().at("filter.text")?,
        },
    }
    .normalized();
    filter.check_pairs().at("filter.user_ids")?;
    Ok(filter)
}

/// Decodes a range of times, whose fields have these names.
pub(super) fn time_range(
    fields: [&str; 2],
    start: Option<prost_types::Timestamp>,
    end: Option<prost_types::Timestamp>,
) -> Result<TimeRange> {
    let start = start.map(timestamp).transpose().at(fields[0])?;
    let end = end.map(timestamp).transpose().at(fields[1])?;
    TimeRange::parse(start, end).at(fields[0])
}

fn change_search(message: pb::ChangeFilter) -> Result<ChangeSearch> {
    let pb::ChangeFilter { field, old_value_json, new_value_json } = message;
    let json = |name: &str, text: Option<String>| {
        text.map(|text| JsonPattern::parse(&text)).transpose().at(format!("filter.change.{name}"))
    };
    Ok(ChangeSearch {
        field: field.map(|field| FieldPattern::parse(&field)).transpose().at("filter.change.field")?,
        old_value: json("old_value_json", old_value_json)?,
        new_value: json("new_value_json", new_value_json)?,
    })
}

/// Decodes the start of a page and the page size.
fn page_request(limit: Option<i32>, offset: Option<i64>, cursor: Option<String>) -> Result<(Start, Limit)> {
    let limit = Limit::parse(limit).at("limit")?;
    let start = match (offset, cursor) {
        (Some(_), Some(_)) => return Err(Error::invalid("cursor", "must not come together with offset")),
        (None, Some(cursor)) => Start::Cursor(cursor),
        (offset, None) => Start::Offset(Offset::parse(offset).at("offset")?),
    };
    Ok((start, limit))
}

/// Decodes the values of a repeated field, at most 100.
pub(super) fn values<T>(
    field: &str,
    values: Vec<String>,
    parse: impl Fn(String) -> std::result::Result<T, Invalid>,
) -> Result<Vec<T>> {
    if values.len() > MAX_VALUES {
        let description = format!("must be given at most {MAX_VALUES} times, got {}", values.len());
        return Err(Error::invalid(field, description));
    }
    let parsed = values.into_iter().enumerate().map(|(place, value)| parse(value).at(format!("{field}[{place}]")));
    parsed.collect()
}

/// Decodes an instant.
pub(super) fn timestamp(time: prost_types::Timestamp) -> std::result::Result<Timestamp, Invalid> {
    let prost_types::Timestamp { seconds, nanos } = time;
    Timestamp::from_parts(seconds, nanos)
}

/// Checks the number of entries in one write: 1 to 1,000.
pub fn check_count(entries: usize) -> std::result::Result<(), Invalid> {
    match (1..=MAX_ENTRIES).contains(&entries) {
        true => Ok(()),
        false => Err(Invalid::new(format_args!("must have 1 to {MAX_ENTRIES} entries"), entries)),
    }
}

/// Checks the number of ids in one request: 1 to 1,000.
pub fn check_ids(ids: usize) -> std::result::Result<(), Invalid> {
    match (1..=MAX_IDS).contains(&ids) {
        true => Ok(()),
        false => Err(Invalid::new(format_args!("must have 1 to {MAX_IDS} ids"), ids)),
    }
}

/// Decodes the ids in the field `entries`.
pub(super) fn entry_ids(message: pb::EntryIds) -> Result<Vec<EntryId>> {
    let pb::EntryIds { ids } = message;
    check_ids(ids.len()).at("entries.ids")?;
    let ids = ids.into_iter().enumerate();
    ids.map(|(place, id)| EntryId::parse(id).at(format!("entries.ids[{place}]"))).collect()
}

/// Checks the number of changes of one entry: at most 1,000.
pub fn check_changes(changes: usize) -> std::result::Result<(), Invalid> {
    match changes > MAX_CHANGES {
        true => Err(Invalid::new(format_args!("must be at most {MAX_CHANGES}"), changes)),
        false => Ok(()),
    }
}

/// Decodes entries to write, received at `now`. Errors name up to eight violations. The check for timestamps too far
/// ahead depends on stored entries, so it happens at the write.
pub fn new_entries(
    inputs: Vec<pb::AuditLogInput>,
    catalogue: &Catalogue,
    now: Timestamp,
    random: &Random,
) -> Result<Vec<NewEntry>> {
    check_count(inputs.len()).at("audit_logs")?;
    let (mut entries, mut violations) = (Vec::with_capacity(inputs.len()), Vec::new());
    for (place, input) in inputs.into_iter().enumerate() {
        match new_entry(input, FieldPath::of("audit_logs").item(place), catalogue, now, random) {
            Ok(entry) => entries.push(entry),
            Err(Error::InvalidParameter(found)) => violations.extend(found),
            Err(error) => return Err(error),
        }
        if violations.len() >= MAX_VIOLATIONS {
            break;
        }
    }
    match violations.is_empty() {
        true => Ok(entries),
        false => Err(Error::from_violations(violations, Error::InvalidParameter)),
    }
}

fn new_entry(
    input: pb::AuditLogInput,
    path: FieldPath<'_>,
    catalogue: &Catalogue,
    now: Timestamp,
    random: &Random,
) -> Result<NewEntry> {
    let pb::AuditLogInput {
        id,
        timestamp: time,
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
    let at = |field: &'static str| path.field(field);
    let id = match id.is_empty() {
        true => EntryId::generate(now, random),
        false => EntryId::from_writer(id).at(at("id"))?,
    };
    let content = Content {
        id,
        resource_type: required(&resource_type, |name| catalogue.new_resource_type(name)).at(at("resource_type"))?,
        resource_id: required(&resource_id, Identifier::parse).at(at("resource_id"))?,
        resource_name: Name::optional(resource_name).at(at("resource_name"))?,
        action: required(&action, |name| catalogue.new_action(name)).at(at("action"))?,
        user_id: required(&user_id, Identifier::parse).at(at("user_id"))?,
        user_name: Name::optional(user_name).at(at("user_name"))?,
        user_email: Name::optional(user_email).at(at("user_email"))?,
        changes: new_changes(changes, at("changes"))?,
        metadata: Metadata::parse(metadata).at(at("metadata"))?,
        trace_id: Identifier::optional(trace_id).at(at("trace_id"))?,
        outcome: Outcome::optional(&outcome).at(at("outcome"))?,
        actor_type: ActorType::optional(&actor_type).at(at("actor_type"))?,
    };
    content.check_size().at(path)?;
    let timestamp = time.map(timestamp).transpose().at(at("timestamp"))?;
    Ok(NewEntry { timestamp, content: Arc::new(content) })
}

/// The path of a field in a request. It becomes a text only for an error, and most values have none.
#[derive(Clone, Copy)]
struct FieldPath<'p> {
    parent: Option<&'p FieldPath<'p>>,
    name: &'static str,
    /// The index, if the field is repeated.
    place: Option<usize>,
}

impl<'p> FieldPath<'p> {
    fn of(name: &'static str) -> Self {
        Self { parent: None, name, place: None }
    }

    fn item(self, place: usize) -> Self {
        Self { place: Some(place), ..self }
    }

    fn field(&'p self, name: &'static str) -> Self {
        Self { parent: Some(self), name, place: None }
    }
}

impl From<FieldPath<'_>> for String {
    fn from(FieldPath { parent, name, place }: FieldPath<'_>) -> Self {
        let parent = parent.map_or_else(String::new, |parent| String::from(*parent) + ".");
        let place = place.map_or_else(String::new, |place| format!("[{place}]"));
        parent + name + &place
    }
}

/// A field that a writer must fill. Protobuf does not distinguish an empty string from an absent one.
fn required<'a, T>(
    text: &'a str,
    parse: impl Fn(&'a str) -> std::result::Result<T, Invalid>,
) -> std::result::Result<T, Invalid> {
    if text.is_empty() { Err(Invalid("is required".to_owned())) } else { parse(text) }
}

fn new_changes(changes: Vec<pb::Change>, path: FieldPath<'_>) -> Result<Vec<Change>> {
    check_changes(changes.len()).at(path)?;
    let value = |json: Option<String>| json.map_or_else(|| Ok(JsonText::null()), |json| JsonText::from_writer(&json));
    let change = |(place, change): (usize, pb::Change)| {
        let pb::Change { field, old_value_json, new_value_json } = change;
        let path = path.item(place);
        let at = |field: &'static str| path.field(field);
        if field.contains('\0') {
            return Err(Invalid::new("must not contain NUL", quoted(&field))).at(at("field"));
        }
        let old_value = value(old_value_json).at(at("old_value_json"))?;
        let new_value = value(new_value_json).at(at("new_value_json"))?;
        Ok(Change { field, old_value, new_value })
    };
    changes.into_iter().enumerate().map(change).collect()
}

/// Encodes the result of writing one entry.
pub fn written(written: Written) -> pb::WrittenAuditLog {
    let Written { id, seq, recorded_at, leaf, replayed } = written;
    let (id, recorded_at) = (id.into(), Some(time(recorded_at)));
    pb::WrittenAuditLog { id, sequence: seq, recorded_at, replayed, leaf_hash: leaf.0.to_vec() }
}

/// Encodes a page and its position.
pub fn page(
    page: Page,
    organization: &OrganizationId,
    catalogue: &Catalogue,
) -> Result<(Vec<pb::AuditLog>, pb::Pagination)> {
    let Page { entries, total, limit, offset, next_cursor } = page;
    let pagination =
        pb::Pagination { total, limit: i32::from(limit.get()), offset, has_more: next_cursor.is_some(), next_cursor };
    let entries: Result<Vec<_>> = entries.into_iter().map(|entry| audit_log(entry, organization, catalogue)).collect();
    Ok((entries?, pagination))
}

/// Encodes a piece of an export, in messages of at most `max_bytes`, unless one entry is larger.
pub fn pieces(
    piece: ExportPiece,
    organization: &OrganizationId,
    catalogue: &Catalogue,
    max_bytes: usize,
) -> Result<Vec<pb::ExportAuditLogsResponse>> {
    let ExportPiece { entries, leaves, sequence, head } = piece;
    let entries: Result<Vec<_>> = entries.into_iter().map(|entry| audit_log(entry, organization, catalogue)).collect();
    let mut leaves = leaves.into_iter();
    let message = |audit_logs: Vec<pb::AuditLog>| {
        let sequence = audit_logs.last().map_or(sequence, |last| last.sequence);
        let leaf_hashes = leaves.by_ref().take(audit_logs.len()).map(|leaf| leaf.0.to_vec()).collect();
        pb::ExportAuditLogsResponse { audit_logs, sequence, head_sequence: head, leaf_hashes }
    };
    let mut messages: Vec<_> = portions(entries?, max_bytes).map(message).collect();
    if let Some(last) = messages.last_mut() {
        last.sequence = sequence;
    }
    Ok(messages)
}

/// Encodes a piece of a follower.
pub fn followed(
    piece: ExportPiece,
    organization: &OrganizationId,
    catalogue: &Catalogue,
) -> Result<Vec<pb::FollowAuditLogsResponse>> {
    let message = |message: pb::ExportAuditLogsResponse| {
        let pb::ExportAuditLogsResponse { audit_logs, sequence, head_sequence, leaf_hashes } = message;
        pb::FollowAuditLogsResponse { audit_logs, sequence, head_sequence, leaf_hashes }
    };
    Ok(pieces(piece, organization, catalogue, MAX_FOLLOWED)?.into_iter().map(message).collect())
}

/// Splits `entries` into messages of at most `max_bytes`, at least one. A single larger entry is allowed. Takes entries
/// only when the next message is asked for.
pub(super) fn portions<M: Message>(
    entries: impl IntoIterator<Item = M>,
    max_bytes: usize,
) -> impl Iterator<Item = Vec<M>> {
    let mut entries = entries.into_iter().map(|entry| (entry.encoded_len(), entry)).peekable();
    let mut is_first = true;
    std::iter::from_fn(move || {
        let (mut portion, mut bytes) = (Vec::new(), 0);
        while let Some((length, entry)) =
            entries.next_if(|(length, _)| portion.is_empty() || bytes + length <= max_bytes)
        {
            bytes += length;
            portion.push(entry);
        }
        (std::mem::take(&mut is_first) || !portion.is_empty()).then_some(portion)
    })
}

/// Encodes an entry for readers.
pub fn audit_log(entry: Entry, organization: &OrganizationId, catalogue: &Catalogue) -> Result<pb::AuditLog> {
    let Entry { seq, timestamp, recorded_at, writer_key_id: _, erased, content } = entry;
    let Content {
        id,
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
    } = Arc::unwrap_or_clone(content);
    Ok(pb::AuditLog {
        id: id.into(),
        organization_id: organization.to_string(),
        sequence: seq,
        timestamp: Some(time(timestamp)),
        recorded_at: Some(time(recorded_at)),
        resource_type: catalogue.resource_type_name(resource_type).ok_or_else(unnamed)?.to_owned(),
        resource_id: resource_id.into(),
        resource_name: resource_name.map(Into::into),
        action: catalogue.action_name(action).ok_or_else(unnamed)?.to_owned(),
        user_id: user_id.into(),
        user_name: user_name.map(Into::into),
        user_email: user_email.map(Into::into),
        changes: changes.into_iter().map(change).collect(),
        metadata: metadata.into(),
        trace_id: trace_id.map(Into::into),
        erased: erased.groups().map(|group| group.name().to_owned()).collect(),
        outcome: outcome.map(|outcome| outcome.name().to_owned()),
        actor_type: actor_type.map(|actor| actor.name().to_owned()),
    })
}

/// The error for a code that has no name.
pub(super) fn unnamed() -> Error {
    Error::Internal(anyhow::anyhow!("an entry has a code that is not in the catalogue"))
}

/// Encodes a change.
fn change(change: Change) -> pb::Change {
    let Change { field, old_value, new_value } = change;
    let json = |value: JsonText| (value != JsonText::null()).then(|| value.into());
    pb::Change { field, old_value_json: json(old_value), new_value_json: json(new_value) }
}

/// Encodes an instant.
pub fn time(time: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = time.parts();
    prost_types::Timestamp { seconds, nanos }
}
