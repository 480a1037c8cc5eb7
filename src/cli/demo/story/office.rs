//! The events beside the daily work: resources come and go, somebody joins for a few days, and an entry comes late.

use super::accounts::{AMARA, CHLOE, DANIEL, GRACE, LENA, MATEO, SOFIA, StoryAccount, YUKI};
use super::calendar::{HOUR, MINUTE, StoryCalendar};
use super::events::{StoryEvent, StoryRecording, StoryResource, set};
use super::fields::{NIGHT_DESK, PRICE_LISTS, all_fields, choices, user};

/// A rule that only the late entry and its neighbours change.
pub(super) static QUIET_HOURS: StoryResource = StoryResource::new("rule", "rule_quiet_hours", "Quiet hours");

/// Resources that people make and delete: the resource, the person, and the days of its creation and deletion. A day
/// after today means that it stays.
static DRAFTS: [(StoryResource, &StoryAccount, i64, i64); 6] = [
    (StoryResource::new("assistant", "asst_winter_campaign", "Winter Campaign"), &CHLOE, -12, -4),
    (StoryResource::new("rule", "rule_easter_hours", "Opening hours at Easter"), &GRACE, -11, 1),
    (StoryResource::new("vector_store", "vs_podcast_notes", "Podcast Notes (draft)"), &SOFIA, -9, -7),
    (StoryResource::new("mcp_configuration", "mcp_train_times", "Train Times"), &MATEO, -8, 1),
    (StoryResource::new("assistant", "asst_choir_trips", "Choir Trips"), &YUKI, -6, 1),
    (StoryResource::new("rule", "rule_loyalty_pilot", "Double miles in the pilot"), &DANIEL, -5, -1),
];

/// All of these events.
pub(super) fn events(calendar: StoryCalendar) -> Vec<StoryEvent> {
    let mut events = Vec::new();
    for (number, (resource, by, first, last)) in DRAFTS.iter().enumerate() {
        life(calendar, (resource, by), (*first, *last), number, &mut events);
    }
    for (resource, by, day) in [(&PRICE_LISTS, &SOFIA, -10), (&NIGHT_DESK, &AMARA, -7)] {
        let edits = all_fields(resource, 5);
        events.push(StoryEvent { edits, ..StoryEvent::new(calendar.at(day, 11, 24), by, "created", resource) });
    }
    events.extend(visitor(calendar));
    events.extend(late_entry(calendar));
    events
}

/// A resource from its creation to its deletion.
fn life(
    calendar: StoryCalendar,
    (resource, by): (&StoryResource, &'static StoryAccount),
    (first, last): (i64, i64),
    number: usize,
    events: &mut Vec<StoryEvent>,
) {
    let mut at = calendar.at(first, 10, 7);
    let edits = all_fields(resource, number);
    events.push(StoryEvent { edits, ..StoryEvent::new(at, by, "created", resource) });
    for (place, (field, values)) in choices(resource.resource_type).take(4).enumerate() {
        at += 2 * HOUR + 11 * MINUTE;
        let json = values[(number + place + 1) % values.len()];
        events.push(StoryEvent::update(at, by, resource, vec![set(field, json)]));
    }
    events.push(StoryEvent::new(calendar.at(last, 14, 36), by, "deleted", resource));
}

/// Somebody joins the company for a few days.
fn visitor(calendar: StoryCalendar) -> Vec<StoryEvent> {
    let account = user("uid_tom_becker", "Tom Becker");
    let edits = vec![set("email", r#""tom.becker@example.com""#), set("role", r#""editor""#)];
    let expiry = vec![set("role", r#""member""#), set("expiresAfterDays", "1")];
    vec![
        StoryEvent { edits, ..StoryEvent::new(calendar.at(-13, 8, 40), &AMARA, "created", &account) },
        StoryEvent::update(calendar.at(-9, 16, 2), &AMARA, &account, expiry),
        StoryEvent::new(calendar.at(-8, 16, 0), &AMARA, "deleted", &account),
    ]
}

/// A phone without a network sends its change hours later, with the time at which it was made.
fn late_entry(calendar: StoryCalendar) -> Vec<StoryEvent> {
    let until = |json: &'static str| vec![set("schedule.until", json)];
    let sent = StoryEvent::update(calendar.at(-3, 22, 5), &SOFIA, &QUIET_HOURS, until(r#""08:00""#));
    let notes = vec![("device", "offline since 16:48".into())];
    vec![
        StoryEvent::update(calendar.at(-3, 17, 30), &GRACE, &QUIET_HOURS, until(r#""07:30""#)),
        StoryEvent { recording: StoryRecording::Late(4 * HOUR + 55 * MINUTE), notes, ..sent },
        StoryEvent::update(calendar.at(-1, 9, 15), &LENA, &QUIET_HOURS, until(r#""08:30""#)),
    ]
}
