//! The log of an invented company, Larkfield Travel, in the two weeks before now. Each page of the viewer has something
//! to show: a rhythm of people and jobs, an incident to review, an assistant that is worth undoing. The entries are the
//! same at each start of a day, except that their times are relative to it and end now.

mod accounts;
mod calendar;
mod concierge;
mod events;
mod fields;
mod incident;
mod office;
mod recorder;
mod support;
mod texts;
mod work;

use crate::domain::Timestamp;
use crate::grpc::pb::AuditLogInput;
use accounts::{PEOPLE, ROLLOUT};
use calendar::{StoryCalendar, StoryDraws};
use events::{StoryEdit, StoryResource, set};
use fields::{ASSISTANTS, COMPANY, MCP_CONFIGURATIONS, RULES, VECTOR_STORES, all_fields, user};
use recorder::StoryRecorder;

/// The ids of those `entries` whose values a traveller wants to be erased.
pub(super) fn to_erase(entries: &[AuditLogInput]) -> Vec<String> {
    let personal = entries.iter().filter(|entry| entry.resource_id == support::PERSONAL_THREAD);
    personal.map(|entry| entry.id.clone()).collect()
}

/// The entries of the two weeks before `now`, in the order in which they are written.
pub(super) fn entries(now: Timestamp) -> Vec<AuditLogInput> {
    let (calendar, draws) = (StoryCalendar::new(now), StoryDraws::new());
    let mut recorder = StoryRecorder::new(calendar, draws.clone());
    for (resource, edits) in existing() {
        recorder.add_existing(&resource, &edits);
    }
    let mut events = [
        work::of_people(calendar, &draws),
        work::of_nights(calendar, &draws),
        work::of_strangers(calendar, &draws),
        support::conversations(calendar, &draws),
        support::complaints(calendar, &draws),
        office::events(calendar),
        concierge::events(calendar),
        incident::events(calendar),
    ]
    .concat();
    events.sort_by_key(|event| event.at);
    for event in &events {
        recorder.record(event);
    }
    recorder.finish()
}

/// The resources that are older than the log, with their fields.
fn existing() -> Vec<(StoryResource, Vec<StoryEdit>)> {
    let people = PEOPLE.iter().map(|habits| user(habits.account.id, habits.account.name));
    let tables = [&ASSISTANTS[..], &VECTOR_STORES, &RULES, &MCP_CONFIGURATIONS].concat();
    let resources = tables.into_iter().chain(people);
    let with_fields = |(number, resource)| {
        let edits = all_fields(&resource, number);
        (resource, edits)
    };
    let mut existing: Vec<_> = resources.enumerate().map(with_fields).collect();
    let mut company = all_fields(&COMPANY, 0);
    company.extend([set("rollout.source", incident::PRODUCTION), set("rollout.paused", "false")]);
    existing.push((COMPANY.clone(), company));
    existing.push((user(ROLLOUT.id, ROLLOUT.name), vec![set("status", r#""active""#)]));
    existing.push((office::QUIET_HOURS.clone(), vec![set("schedule.until", r#""07:00""#)]));
    existing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Vec<AuditLogInput> {
        entries(Timestamp::parse(time).expect("a time"))
    }

    #[test]
    fn a_later_time_of_a_day_only_adds_entries() {
        let (noon, evening) = (at("2025-01-22T12:00:00Z"), at("2025-01-22T23:00:00Z"));
        assert_eq!(noon, at("2025-01-22T12:00:00Z"));
        assert_eq!(noon[..], evening[..noon.len()]);
        assert!(noon.len() > 1_000 && noon.len() < evening.len());
    }

    #[test]
    fn every_value_is_json() {
        for change in at("2025-01-22T12:00:00Z").iter().flat_map(|entry| &entry.changes) {
            for json in [&change.old_value_json, &change.new_value_json].into_iter().flatten() {
                let parsed: Result<serde_json::Value, _> = serde_json::from_str(json);
                assert!(parsed.is_ok(), "{}: {json}", change.field);
            }
        }
    }

    #[test]
    fn no_variant_of_a_sentence_contains_another() {
        let all: Vec<_> = texts::SENTENCES.iter().flatten().collect();
        for one in &all {
            assert_eq!(all.iter().filter(|other| other.contains(**one)).count(), 1, "{one}");
        }
    }
}
