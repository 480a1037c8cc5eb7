//! The ordinary work of people, and the jobs of every night.

use std::borrow::Cow;

use super::accounts::{NIGHT_SYNC, PEOPLE, STRANGER, StoryAccount, WorkHabits};
use super::calendar::{HOUR, MINUTE, SECOND, StoryCalendar, StoryDraws};
use super::events::{StoryEdit, StoryEvent, StoryResource, set};
use super::fields::{ASSISTANTS, COMPANY, MCP_CONFIGURATIONS, PRICE_LISTS, RULES, VECTOR_STORES, choices, user};
use super::texts::{GOOD, SENTENCES};
use crate::domain::Timestamp;

/// Fields that nobody changes in ordinary work from the incident on, so that its plan is the same at each start.
const OF_INCIDENT: [&str; 3] = ["temperature", "instructions", "permissions.viewers"];
/// The day on which a night job fails at first.
const BAD_NIGHT: i64 = -6;
/// The night in which somebody tries passwords.
const ATTACK_NIGHT: i64 = -9;

/// The work of all people.
pub(super) fn of_people(calendar: StoryCalendar, draws: &StoryDraws) -> Vec<StoryEvent> {
    let mut events = Vec::new();
    for day in calendar.days() {
        for habits in &PEOPLE {
            let is_working = habits.days.contains(&calendar.weekday(day));
            // On other days, some answer a call.
            let actions = match is_working {
                true => habits.pace / 2 + draws.below(habits.pace + 1),
                false if draws.chance(8) => 1,
                false => continue,
            };
            let day_begins = calendar.at(day, 0, 0) - habits.offset * MINUTE;
            let mut sessions = Vec::new();
            let mut left = actions;
            while left > 0 {
                let begins = day_begins + draws.around(*draws.one_of(&habits.peaks));
                let count = left.min(1 + draws.below(3));
                session(habits, (begins, count), calendar, draws, &mut events);
                sessions.push(begins);
                left -= count;
            }
            if let Some(first) = sessions.into_iter().min() {
                log_in(habits.account, first - draws.between(60, 600) * SECOND, draws, &mut events);
            }
        }
    }
    events
}

/// The person signs in, sometimes with a mistake at first.
fn log_in(account: &'static StoryAccount, at: i64, draws: &StoryDraws, events: &mut Vec<StoryEvent>) {
    let own = user(account.id, account.name);
    if draws.chance(9) {
        let failed = StoryEvent::new(at - 20 * SECOND, account, "accessed", &own);
        let notes = vec![("event", "sign_in".into()), ("reason", "wrong code of the authenticator".into())];
        events.push(StoryEvent { outcome: "failure", notes, ..failed });
    }
    let notes = vec![("event", "sign_in".into()), ("method", "sso".into())];
    events.push(StoryEvent { notes, ..StoryEvent::new(at, account, "accessed", &own) });
}

/// Some actions in one trace, often of several resources. `begins` is in microseconds since 1970.
fn session(
    habits: &WorkHabits,
    (begins, count): (i64, usize),
    calendar: StoryCalendar,
    draws: &StoryDraws,
    events: &mut Vec<StoryEvent>,
) {
    let trace = draws.hex::<16>();
    let mut at = begins;
    for _ in 0..count {
        // The first types come more often.
        let place = draws.below(habits.types.len()).min(draws.below(habits.types.len()));
        let resource = chosen(habits.types[place], draws);
        let is_after_incident = at >= calendar.incident();
        let action = action(at, habits.account, &resource, is_after_incident, draws);
        events.push(StoryEvent { trace: trace.clone(), ..action });
        at += draws.between(15_000, 240_000) * 1_000;
    }
}

fn chosen(resource_type: &str, draws: &StoryDraws) -> StoryResource {
    match resource_type {
        "assistant" => draws.one_of(&ASSISTANTS).clone(),
        "vector_store" => draws.one_of(&VECTOR_STORES).clone(),
        "rule" => draws.one_of(&RULES).clone(),
        "mcp_configuration" => draws.one_of(&MCP_CONFIGURATIONS).clone(),
        "user" => {
            let account = draws.one_of(&PEOPLE).account;
            user(account.id, account.name)
        }
        _ => COMPANY.clone(),
    }
}

/// One action: mostly an update.
fn action(
    at: i64,
    by: &'static StoryAccount,
    resource: &StoryResource,
    is_after_incident: bool,
    draws: &StoryDraws,
) -> StoryEvent {
    let may_share =
        !is_after_incident && choices(resource.resource_type).any(|(field, _)| field == "permissions.viewers");
    match draws.below(100) {
        0..62 => StoryEvent::update(at, by, resource, edits(resource, is_after_incident, draws)),
        62..80 => StoryEvent::new(at, by, "accessed", resource),
        80..88 if may_share => {
            let viewers = choices(resource.resource_type).find(|(field, _)| *field == "permissions.viewers");
            let edits = viewers.map(|(field, values)| set(field, *draws.one_of(values)));
            StoryEvent { edits: edits.into_iter().collect(), ..StoryEvent::new(at, by, "shared", resource) }
        }
        88..90 if resource.resource_type == "rule" => {
            StoryEvent { edits: vec![set("status", "\"archived\"")], ..StoryEvent::new(at, by, "archived", resource) }
        }
        90..93 => {
            let notes =
                vec![("reason", Cow::from("the role editor may not delete")), ("requiredRole", "administrator".into())];
            StoryEvent { outcome: "denied", notes, ..StoryEvent::new(at, by, "deleted", resource) }
        }
        93..96 => {
            let notes = vec![("error", Cow::from("version conflict: somebody else has saved a newer version"))];
            let edits = edits(resource, is_after_incident, draws);
            StoryEvent { outcome: "failure", notes, ..StoryEvent::update(at, by, resource, edits) }
        }
        _ => {
            let ticket = format!("OPS-{}", draws.between(2040, 2180));
            let edits = edits(resource, is_after_incident, draws);
            StoryEvent { notes: vec![("ticket", ticket.into())], ..StoryEvent::update(at, by, resource, edits) }
        }
    }
}

/// One to three edits of different fields.
fn edits(resource: &StoryResource, is_after_incident: bool, draws: &StoryDraws) -> Vec<StoryEdit> {
    let is_free = |field: &str| !(is_after_incident && OF_INCIDENT.contains(&field));
    let mut fields: Vec<_> = choices(resource.resource_type).filter(|(field, _)| is_free(field)).collect();
    let mut edits = Vec::new();
    if resource.resource_type == "assistant" && is_free("instructions") && draws.chance(40) {
        edits.push(StoryEdit::Reword { sentence: draws.below(SENTENCES.len()), variant: draws.below(GOOD) });
    }
    for _ in 0..1 + draws.below(3) {
        if !fields.is_empty() {
            let (field, values) = fields.swap_remove(draws.below(fields.len()));
            edits.push(set(field, *draws.one_of(values)));
        }
    }
    edits
}

/// The synchronization of the vector stores, each night in one trace. One night it fails, and is repeated.
pub(super) fn of_nights(calendar: StoryCalendar, draws: &StoryDraws) -> Vec<StoryEvent> {
    let mut events = Vec::new();
    for day in calendar.days() {
        let begins = calendar.at(day, 1, 30) + draws.between(0, 90_000) * 1_000;
        let is_bad = day == BAD_NIGHT;
        synchronize(begins, is_bad, draws, &mut events);
        if is_bad {
            synchronize(begins + 2 * HOUR, false, draws, &mut events);
        }
    }
    events
}

fn synchronize(begins: i64, fails: bool, draws: &StoryDraws, events: &mut Vec<StoryEvent>) {
    let trace = draws.hex::<16>();
    let mut at = begins;
    for (place, store) in VECTOR_STORES.iter().chain([&PRICE_LISTS]).enumerate() {
        at += draws.between(20_000, 200_000) * 1_000;
        let edits = vec![
            StoryEdit::Add("files.count", draws.between(-2, 9)),
            StoryEdit::Add("files.bytes", draws.between(-40_000, 900_000)),
            set("synchronizedAt", format!("\"{}\"", Timestamp::saturating(at))),
        ];
        let event = StoryEvent { trace: trace.clone(), ..StoryEvent::update(at, &NIGHT_SYNC, store, edits) };
        let notes = vec![("job", "nightly"), ("error", "content.example.com did not answer within 30 s")];
        let is_failed = fails && place >= 2;
        let notes = notes.into_iter().filter(|(key, _)| is_failed || *key != "error");
        let notes = notes.map(|(key, value)| (key, value.into())).collect();
        events.push(StoryEvent { outcome: if is_failed { "failure" } else { "success" }, notes, ..event });
    }
}

/// Somebody without an account tries passwords, and gives up.
pub(super) fn of_strangers(calendar: StoryCalendar, draws: &StoryDraws) -> Vec<StoryEvent> {
    let mut at = calendar.at(ATTACK_NIGHT, 3, 12);
    let mut events = Vec::new();
    for attempt in 0..24 {
        let account = PEOPLE[attempt % 3].account;
        let outcome = if attempt < 18 { "failure" } else { "denied" };
        let reason = if attempt < 18 { "wrong password" } else { "too many attempts from this address" };
        let notes = vec![("event", "sign_in".into()), ("reason", reason.into())];
        let event = StoryEvent::new(at, &STRANGER, "accessed", &user(account.id, account.name));
        events.push(StoryEvent { outcome, notes, ..event });
        at += draws.between(1_500, 9_000) * 1_000;
    }
    events
}
