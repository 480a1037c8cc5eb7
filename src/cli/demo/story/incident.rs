//! The incident: at noon, a service with the configuration for tests changes what it should not. People notice, and
//! repair a part of it by hand.

use std::borrow::Cow;

use super::accounts::{AMARA, GRACE, LENA, NOAH, OLIVER, PRIYA, RAVI, ROLLOUT};
use super::calendar::{MINUTE, SECOND, StoryCalendar};
use super::events::{StoryEdit, StoryEvent, StoryRecording, StoryResource, set};
use super::fields::{ASSISTANTS, COMPANY, MCP_CONFIGURATIONS, NIGHT_DESK, PRICE_LISTS, VECTOR_STORES, user};
use super::texts::GOOD;

const TRACE: &str = "5b2e8f14c07d4a6d9e31f7a8b2c4d605";
const TICKET: &str = "INC-2207";
/// The temperature of the configuration for tests.
const HOT: &str = "1.9";
/// The sources of the configuration.
pub(super) const PRODUCTION: &str = r#""https://config.example.com/assistants/production.json""#;
const STAGING: &str = r#""https://config.example.com/assistants/staging.json""#;

/// All events of the incident.
pub(super) fn events(calendar: StoryCalendar) -> Vec<StoryEvent> {
    let noon = calendar.incident();
    let source = vec![set("rollout.source", STAGING)];
    let mut events = vec![StoryEvent::update(noon - 19 * MINUTE, &OLIVER, &COMPANY, source)];
    events.extend(rollout(noon).into_iter().map(|mut event| {
        event.trace = TRACE.to_owned();
        event.notes.extend([("configuration", "assistants/staging.json".into()), ("run", "rollout-1187".into())]);
        event
    }));
    let outside = vec![set("temperature", "0.4")];
    let outside = StoryEvent::update(noon + 150 * SECOND, &RAVI, &ASSISTANTS[2], outside);
    events.push(StoryEvent { recording: StoryRecording::Never, ..outside });
    events.extend(repairs(noon).into_iter().map(|event| {
        let notes = vec![("ticket", Cow::Borrowed(TICKET))];
        StoryEvent { notes, ..event }
    }));
    events
}

/// The actions of the service.
fn rollout(noon: i64) -> Vec<StoryEvent> {
    let mut events = Vec::new();
    let mut at = noon + 240_000;
    for (number, assistant) in ASSISTANTS.iter().enumerate() {
        let sentences = if number % 3 == 0 { [0, 1, 3] } else { [1, 2, 3] };
        let mut edits = vec![set("temperature", HOT)];
        edits.extend(sentences.map(|sentence| StoryEdit::Reword { sentence, variant: GOOD }));
        events.push(StoryEvent::update(at, &ROLLOUT, assistant, edits));
        at += 3_870_000 + 130_000 * i64::from(number % 4 == 1);
    }
    let edits = vec![set("temperature", HOT)];
    let failed = StoryEvent::update(at, &ROLLOUT, &NIGHT_DESK, edits);
    let notes = vec![("error", "the profile night-desk is not a part of the configuration".into())];
    events.push(StoryEvent { outcome: "failure", notes, ..failed });
    let edits = vec![set("permissions.public", "true"), set("permissions.viewers", r#"["everyone"]"#)];
    let shared = StoryEvent::new(at + 4 * SECOND, &ROLLOUT, "shared", &MCP_CONFIGURATIONS[1]);
    events.push(StoryEvent { edits, ..shared });
    events.push(StoryEvent::new(at + 9 * SECOND, &ROLLOUT, "deleted", &PRICE_LISTS));
    for (place, store) in (0..).zip(&VECTOR_STORES[..3]) {
        let event = StoryEvent::new(at + (13 + 2 * place) * SECOND, &ROLLOUT, "deleted", store);
        let notes = vec![("reason", "the store is locked against deletion".into())];
        events.push(StoryEvent { outcome: "denied", notes, ..event });
    }
    let rule = StoryResource::new("rule", "rule_test_answers", "Answers for tests");
    let edits = vec![
        set("status", r#""active""#),
        set("priority", "1"),
        set("condition", r#""true""#),
        set("message", r#""This is a test. Your booking is TEST-0001.""#),
    ];
    events.push(StoryEvent { edits, ..StoryEvent::new(at + 24 * SECOND, &ROLLOUT, "created", &rule) });
    // The service did not hear that its first attempt had succeeded.
    let again = vec![set("temperature", HOT)];
    events.push(StoryEvent::update(noon + 185 * SECOND, &ROLLOUT, &ASSISTANTS[2], again));
    events
}

/// How people notice and repair. Some steps set a field back exactly, some only in part.
fn repairs(noon: i64) -> Vec<StoryEvent> {
    let after = |minutes: i64| noon + minutes * MINUTE + 21 * SECOND;
    let [booking, refunds, _, loyalty, ..] = &ASSISTANTS;
    let service = user(ROLLOUT.id, ROLLOUT.name);
    let mut events: Vec<_> = [refunds, booking, loyalty]
        .into_iter()
        .zip([9, 10, 12])
        .map(|(assistant, minutes)| StoryEvent::new(after(minutes), &GRACE, "accessed", assistant))
        .collect();
    let reworded = [1, 3].map(|sentence| StoryEdit::Reword { sentence, variant: 0 });
    events.extend([
        StoryEvent::update(after(18), &LENA, refunds, vec![StoryEdit::Restore("temperature")]),
        StoryEvent::update(after(22), &LENA, refunds, reworded.to_vec()),
        StoryEvent::update(after(25), &NOAH, booking, vec![set("temperature", "0.6")]),
        StoryEvent::update(after(31), &OLIVER, &MCP_CONFIGURATIONS[1], vec![StoryEdit::Restore("permissions.viewers")]),
        StoryEvent::update(
            after(33),
            &AMARA,
            &COMPANY,
            vec![set("rollout.paused", "true"), StoryEdit::Restore("rollout.source")],
        ),
        StoryEvent::update(after(35), &AMARA, &service, vec![set("status", r#""suspended""#)]),
        StoryEvent::update(after(41), &PRIYA, loyalty, vec![StoryEdit::Restore("instructions")]),
    ]);
    events
}
