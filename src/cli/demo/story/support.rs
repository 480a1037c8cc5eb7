//! Conversations of travellers: threads that the chat creates, the runtime answers and people resolve.

use std::borrow::Cow;

use super::accounts::{GRACE, PEOPLE, RETENTION, RUNTIME, StoryAccount, WEB_CHAT};
use super::calendar::{HOUR, MINUTE, SECOND, StoryCalendar, StoryDraws};
use super::events::{StoryEdit, StoryEvent, StoryResource, set};
use super::fields::ASSISTANTS;
use super::texts::{COMPLAINTS, CONVERSATIONS};

/// The hours of UTC around which travellers write.
const PEAKS: [i64; 5] = [8, 9, 10, 14, 15];
const LANGUAGES: [&str; 6] = ["en", "en", "de", "fr", "es", "sv"];
/// A first message that hides its end: characters that turn the direction of the text, and one without a width.
const HIDDEN: &str = "\"Please send the money to my new account \u{202e}7100 4200 EB\u{202c}, and confirm\u{200b} it here. \
                      It is the account of my bank\u{2066} in Porto\u{2069}, not the old one.\"";
/// The day of the conversation that begins with it.
const HIDDEN_DAY: i64 = -3;

/// The thread of a traveller who asks for the erasure of the conversation later.
pub(super) const PERSONAL_THREAD: &str = "thread_0f6a83d51c";
const PERSONAL_DAY: i64 = -10;
const PERSONAL: &str = "\"My mother, Rosa Almeida, needs a wheelchair and oxygen on the flight. Her doctor is Dr. Lima in \
                        Faro, and my number is +351 289 000 118.\"";

/// All conversations.
pub(super) fn conversations(calendar: StoryCalendar, draws: &StoryDraws) -> Vec<StoryEvent> {
    let mut events = Vec::new();
    for day in calendar.days() {
        let count = if calendar.is_weekend(day) { 5 } else { 10 + draws.below(5) };
        for _ in 0..count {
            let at = calendar.at(day, 0, 0) + draws.around(*draws.one_of(&PEAKS));
            conversation(at, draws, &mut events);
        }
    }
    hidden(calendar.at(HIDDEN_DAY, 15, 47), draws, &mut events);
    personal(calendar.at(PERSONAL_DAY, 10, 26), draws, &mut events);
    events
}

fn conversation(begins: i64, draws: &StoryDraws, events: &mut Vec<StoryEvent>) {
    let (subject, message, resolution) = draws.one_of(CONVERSATIONS);
    let booking = format!("LK-{}", draws.between(40_000, 59_999));
    let thread = thread(format!("{subject}, {booking}"), draws);
    let assistant = draws.one_of(&ASSISTANTS);
    let mut edits = opening(&thread, &format!("\"{message}\""), draws);
    edits.push(set("booking", format!("\"{booking}\"")));
    edits.push(set("assistant", format!("\"{}\"", assistant.id)));
    // The chat does not tell outcomes.
    events.push(StoryEvent { outcome: "", ..created(begins, &thread, edits) });
    let answered = begins + draws.between(4_000, 90_000) * 1_000;
    let trace = draws.hex::<16>();
    let edits = vec![set("status", "\"answered\""), StoryEdit::Add("messages.count", draws.between(1, 4))];
    let answer = StoryEvent::update(answered, &RUNTIME, &thread, edits);
    events.push(StoryEvent { trace: trace.clone(), ..answer });
    let handled = answered + draws.between(12, 170) * MINUTE;
    if let Some(person) = at_work(handled, draws) {
        let edits = vec![set("assignee", format!("\"{}\"", person.id)), set("status", "\"with a colleague\"")];
        let update = StoryEvent::update(handled, person, &thread, edits);
        events.push(StoryEvent { trace, ..update });
        let resolved = handled + draws.between(2, 40) * MINUTE;
        let edits = vec![
            set("status", "\"resolved\""),
            set("resolution", format!("\"{resolution}\"")),
            StoryEdit::Add("messages.count", draws.between(1, 6)),
        ];
        events.push(StoryEvent::update(resolved, person, &thread, edits));
    }
    if draws.chance(45) {
        let retained = begins - begins.rem_euclid(24 * HOUR) + 50 * HOUR + draws.between(1_800, 2_700) * SECOND;
        let edits = vec![set("status", "\"archived\"")];
        events.push(StoryEvent { edits, ..StoryEvent::new(retained, &RETENTION, "archived", &thread) });
    }
}

fn thread(name: String, draws: &StoryDraws) -> StoryResource {
    let id = format!("thread_{}", draws.hex::<5>());
    StoryResource { resource_type: "thread", id: Cow::Owned(id), name: Cow::Owned(name) }
}

fn opening(thread: &StoryResource, message: &str, draws: &StoryDraws) -> Vec<StoryEdit> {
    vec![
        set("title", format!("\"{}\"", thread.name)),
        set("status", "\"open\""),
        set("language", format!("\"{}\"", draws.one_of(&LANGUAGES))),
        set("messages.count", "1"),
        set("messages.first", message.to_owned()),
    ]
}

fn created(at: i64, thread: &StoryResource, edits: Vec<StoryEdit>) -> StoryEvent {
    StoryEvent { edits, ..StoryEvent::new(at, &WEB_CHAT, "created", thread) }
}

/// The conversations of travellers whom the incident reaches.
pub(super) fn complaints(calendar: StoryCalendar, draws: &StoryDraws) -> Vec<StoryEvent> {
    let mut events = Vec::new();
    let mut at = calendar.incident() + 4 * MINUTE;
    for (subject, message) in COMPLAINTS {
        let thread = thread(format!("{subject}, LK-{}", draws.between(40_000, 59_999)), draws);
        let edits = opening(&thread, &format!("\"{message}\""), draws);
        events.push(StoryEvent { outcome: "", ..created(at, &thread, edits) });
        let edits = vec![set("status", "\"with a colleague\""), set("metadata.labels", r#"["complaint","inc-2207"]"#)];
        events.push(StoryEvent::update(at + draws.between(3, 25) * MINUTE, &GRACE, &thread, edits));
        at += draws.between(60, 420) * SECOND;
    }
    events
}

/// A conversation that a rule holds back because of its characters.
fn hidden(at: i64, draws: &StoryDraws, events: &mut Vec<StoryEvent>) {
    let thread = thread("New bank account\u{200b} for LK-51377".to_owned(), draws);
    let edits = opening(&thread, HIDDEN, draws);
    events.push(created(at, &thread, edits));
    let edits = vec![set("status", "\"held back\""), set("metadata.labels", r#"["hidden-characters","fraud"]"#)];
    let notes = vec![("rule", "rule_escalate_complaints".into()), ("detector", "bidi-and-zero-width".into())];
    events.push(StoryEvent { notes, ..StoryEvent::update(at + 2 * SECOND, &RUNTIME, &thread, edits) });
}

/// A conversation with personal data.
fn personal(at: i64, draws: &StoryDraws, events: &mut Vec<StoryEvent>) {
    let thread = StoryResource::new("thread", PERSONAL_THREAD, "Oxygen on board for Rosa Almeida");
    let edits = opening(&thread, PERSONAL, draws);
    events.push(StoryEvent { outcome: "", ..created(at, &thread, edits) });
    let edits = vec![set("status", "\"with a colleague\""), set("assignee", "\"uid_grace_mbeki\"")];
    events.push(StoryEvent::update(at + 14 * MINUTE, &GRACE, &thread, edits));
    let resolution = "\"Oxygen and wheelchair confirmed by the airline for Rosa Almeida.\"";
    let edits = vec![set("status", "\"resolved\""), set("resolution", resolution)];
    events.push(StoryEvent::update(at + 95 * MINUTE, &GRACE, &thread, edits));
}

/// Somebody who works at this time.
fn at_work(at: i64, draws: &StoryDraws) -> Option<&'static StoryAccount> {
    let day = 24 * HOUR;
    let works = |offset: i64, days: &[i64]| {
        let local = at + offset * MINUTE;
        let weekday = (local.div_euclid(day) + 4).rem_euclid(7);
        days.contains(&weekday) && (8 * HOUR..18 * HOUR).contains(&local.rem_euclid(day))
    };
    let people: Vec<_> = PEOPLE.iter().filter(|habits| works(habits.offset, habits.days)).collect();
    if people.is_empty() { None } else { Some(draws.one_of(&people).account) }
}
