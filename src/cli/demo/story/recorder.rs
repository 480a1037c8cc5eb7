//! Turns events into entries, each with the values before and after it.

use std::collections::BTreeMap;

use super::accounts::StoryAccount;
use super::calendar::{StoryCalendar, StoryDraws};
use super::events::{StoryEdit, StoryEvent, StoryField, StoryRecording, StoryResource};
use crate::domain::Timestamp;
use crate::grpc::pb::{AuditLogInput, Change};
use crate::grpc::wire;

type StoryFields = BTreeMap<&'static str, StoryField>;

/// The resources that exist, and the entries so far.
pub(super) struct StoryRecorder {
    calendar: StoryCalendar,
    draws: StoryDraws,
    /// By the id of the resource.
    resources: BTreeMap<String, StoryFields>,
    entries: Vec<AuditLogInput>,
}

impl StoryRecorder {
    pub(super) fn new(calendar: StoryCalendar, draws: StoryDraws) -> Self {
        Self { calendar, draws, resources: BTreeMap::new(), entries: Vec::new() }
    }

    /// Adds a resource that is older than the log.
    pub(super) fn add_existing(&mut self, resource: &StoryResource, edits: &[StoryEdit]) {
        let mut fields = StoryFields::new();
        apply(edits, &mut fields);
        self.resources.insert(resource.id.to_string(), fields);
    }

    /// Records an event. Events must come in the order of their times. Those of resources that do not exist are left
    /// out, as are updates that change nothing and events in the future.
    pub(super) fn record(&mut self, event: &StoryEvent) {
        if !self.calendar.has(event.at) {
            return;
        }
        let is_done = event.is_done();
        let known = match self.resources.get(&*event.resource.id) {
            _ if event.action == "created" => StoryFields::new(),
            Some(fields) => fields.clone(),
            None => return,
        };
        let mut fields = known.clone();
        let changes = apply(&event.edits, &mut fields);
        if changes.is_empty() && matches!(event.action, "updated" | "shared") {
            return;
        }
        if is_done && event.action == "deleted" {
            self.resources.remove(&*event.resource.id);
        } else if is_done {
            self.resources.insert(event.resource.id.to_string(), fields);
        }
        if event.recording != StoryRecording::Never {
            let entry = self.entry(event, changes);
            self.entries.push(entry);
        }
    }

    fn entry(&self, event: &StoryEvent, changes: Vec<Change>) -> AuditLogInput {
        let StoryEvent { at, by, action, resource, edits: _, outcome, trace, notes, recording } = event;
        let StoryAccount { id: user_id, name, email, actor_type, address, agent, source } = *by;
        let StoryResource { resource_type, id: resource_id, name: resource_name } = resource;
        let late_by = match recording {
            StoryRecording::Late(micros) => *micros,
            StoryRecording::AtOnce | StoryRecording::Never => 0,
        };
        let own = [("ipAddress", *address), ("userAgent", *agent), ("source", *source)].map(owned);
        let request = ("requestId".to_owned(), format!("req_{}", self.draws.hex::<6>()));
        let notes = notes.iter().map(|(key, value)| owned((key, value)));
        AuditLogInput {
            id: format!("log_demo_{:04}", self.entries.len() + 1),
            timestamp: Some(wire::time(Timestamp::saturating(at - late_by))),
            resource_type: (*resource_type).to_owned(),
            resource_id: resource_id.to_string(),
            resource_name: resource_name.to_string(),
            action: (*action).to_owned(),
            user_id: (*user_id).to_owned(),
            user_name: (*name).to_owned(),
            user_email: (*email).to_owned(),
            changes,
            metadata: own.into_iter().chain([request]).chain(notes).collect(),
            trace_id: trace.clone(),
            outcome: (*outcome).to_owned(),
            actor_type: (*actor_type).to_owned(),
        }
    }

    /// The entries in the order in which they are written.
    pub(super) fn finish(self) -> Vec<AuditLogInput> {
        self.entries
    }
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// Applies `edits` to `fields`, and returns the changes of those that differ then.
fn apply(edits: &[StoryEdit], fields: &mut StoryFields) -> Vec<Change> {
    let mut touched: Vec<(&'static str, Option<String>)> = Vec::new();
    for edit in edits {
        let name = edit.field();
        let field = fields.entry(name).or_default();
        if !touched.iter().any(|(known, _)| *known == name) {
            touched.push((name, field.present.clone()));
        }
        field.present = edit.applied_to(field);
    }
    let mut changes = Vec::new();
    for (name, old) in touched {
        let field = fields.entry(name).or_default();
        if field.present != old {
            field.before.clone_from(&old);
            let (old_value_json, new_value_json) = (old, field.present.clone());
            changes.push(Change { field: name.to_owned(), old_value_json, new_value_json });
        }
    }
    changes
}
