//! An assistant that is worth undoing. One trace of an experiment has changes that can be undone, one that somebody
//! built upon, one that somebody has set back, and one between whose parts something changed outside of the log.

use super::accounts::{AMARA, CHLOE, GRACE, LENA, MATEO, NOAH, PRIYA, RAVI, SOFIA, StoryAccount, YUKI};
use super::calendar::StoryCalendar;
use super::events::{StoryEdit, StoryEvent, StoryRecording, StoryResource, set};
use super::fields::all_fields;

static CONCIERGE: StoryResource = StoryResource::new("assistant", "asst_travel_concierge", "Travel Concierge");
/// The trace of the experiment.
const TRACE: &str = "7d1f0c52e8a94b6fa3c05d2b9e41f870";
const EXPERIMENT_DAY: i64 = -5;

/// An edit of the concierge: day, hour, minute, person, field and JSON text.
type PlannedEdit = (i64, i64, i64, &'static StoryAccount, &'static str, &'static str);

/// The edits beside the experiment.
static EDITS: [PlannedEdit; 30] = [
    (-13, 10, 2, &LENA, "description", r#""Answers questions about a journey, before and while it happens.""#),
    (-13, 14, 40, &LENA, "voice.greeting", r#""Hello! Where are you going?""#),
    (-13, 15, 8, &NOAH, "limits", r#"{"perTraveller":{"messages":40,"days":1},"perMinute":120}"#),
    (-12, 8, 55, &YUKI, "voice.greeting", r#""Hello, and welcome to Larkfield. Where are you going?""#),
    (-12, 9, 31, &SOFIA, "knowledge.sources", r#"["https://guides.example.com/cities"]"#),
    (
        -12,
        13,
        12,
        &SOFIA,
        "knowledge.sources",
        r#"["https://guides.example.com/cities","https://guides.example.com/airports"]"#,
    ),
    (-12, 15, 50, &LENA, "description", r#""Answers questions about a journey, before, while and after it happens.""#),
    (-11, 9, 17, &CHLOE, "schedule", r#"{"monday":["07:00","22:00"],"sunday":["09:00","18:00"]}"#),
    (-11, 14, 5, &NOAH, "limits", r#"{"perTraveller":{"messages":60,"days":1},"perMinute":120}"#),
    (-11, 16, 29, &PRIYA, "fallback", r#"{"assistant":"asst_booking","after":{"failures":3,"seconds":20}}"#),
    (-10, 10, 44, &LENA, "voice.style", r#"{"pace":"normal","pitch":0,"words":["please","gladly"]}"#),
    (-10, 13, 2, &MATEO, "metadata.externalId", "9007199254740992"),
    (-10, 13, 9, &MATEO, "metadata.externalId", "9007199254740993"),
    (-9, 8, 38, &SOFIA, "schedule", r#"{"monday":["07:00","22:00"],"sunday":["08:00","20:00"]}"#),
    (-9, 11, 21, &GRACE, "fallback", r#"{"assistant":"asst_refund_desk","after":{"failures":3,"seconds":20}}"#),
    (-9, 15, 33, &LENA, "voice.greeting", r#""Hello, and welcome to Larkfield. Where are you, and where to next?""#),
    (
        -8,
        9,
        6,
        &SOFIA,
        "knowledge.sources",
        concat!(
            r#"["https://guides.example.com/cities?edition=spring","https://guides.example.com/airports","#,
            r#""https://guides.example.com/trains"]"#
        ),
    ),
    (-8, 14, 14, &NOAH, "limits", r#"{"perTraveller":{"messages":60,"days":1},"perMinute":240,"burst":30}"#),
    (
        -7,
        10,
        48,
        &CHLOE,
        "description",
        r#""Answers all questions about a journey, before, while and after it happens.""#,
    ),
    (-7, 16, 1, &PRIYA, "fallback", r#"{"assistant":"asst_refund_desk","after":{"failures":2,"seconds":12}}"#),
    (-6, 9, 25, &LENA, "voice.style", r#"{"pace":"calm","pitch":0,"words":["please","gladly","of course"]}"#),
    (-6, 13, 37, &RAVI, "metadata.owner", r#"{"team":"journeys","onCall":"uid_ravi_patel"}"#),
    (-4, 8, 52, &SOFIA, "schedule", r#"{"monday":["06:00","23:00"],"sunday":["08:00","20:00"],"holidays":[]}"#),
    (
        -4,
        15,
        19,
        &AMARA,
        "metadata.owner",
        r#"{"team":"journeys","onCall":"uid_grace_mbeki","phone":"+44 20 7946 0018"}"#,
    ),
    (-3, 10, 11, &LENA, "voice.greeting", r#""Welcome to Larkfield. Where are you, and where to next?""#),
    (
        -3,
        14,
        56,
        &NOAH,
        "evaluation",
        concat!(
            r#"{"run":"eval-311","score":0.874,"cases":412,"failed":[{"case":"stopover-visa","expected":"ask","got":"answer"},"#,
            r#"{"case":"guide-dog","expected":"hand over","got":"answer"},"#,
            r#"{"case":"lost-suitcase","expected":"ask","got":"hand over"}],"#,
            r#""latency":{"p50":0.84,"p95":2.31,"p99":4.9},"report":"https://eval.example.com/runs/311"}"#
        ),
    ),
    (
        -2,
        9,
        33,
        &GRACE,
        "fallback",
        r#"{"assistant":"asst_refund_desk","after":{"failures":2,"seconds":12},"notify":true}"#,
    ),
    (-1, 9, 8, &CHLOE, "description", r#""Answers all questions about a journey: before, during and after it.""#),
    (-1, 10, 27, &NOAH, "limits", r#"{"perTraveller":{"messages":80,"days":1},"perMinute":240,"burst":30}"#),
    (
        -1,
        11,
        2,
        &NOAH,
        "evaluation",
        concat!(
            r#"{"run":"eval-324","score":0.91,"cases":412,"failed":[{"case":"guide-dog","expected":"hand over","got":"answer"},"#,
            r#"{"case":"lost-suitcase","expected":"ask","got":"apology"}],"#,
            r#""latency":{"p50":0.79,"p95":2.02,"p99":3.7},"report":"https://eval.example.com/runs/324"}"#
        ),
    ),
];

/// All events of the assistant.
pub(super) fn events(calendar: StoryCalendar) -> Vec<StoryEvent> {
    let edits = all_fields(&CONCIERGE, 3);
    let mut events =
        vec![StoryEvent { edits, ..StoryEvent::new(calendar.at(-13, 9, 12), &LENA, "created", &CONCIERGE) }];
    events.extend(EDITS.iter().map(|(day, hour, minute, by, field, json)| {
        StoryEvent::update(calendar.at(*day, *hour, *minute), by, &CONCIERGE, vec![set(field, *json)])
    }));
    events.extend(experiment(calendar));
    events.extend(afterwards(calendar));
    events
}

/// The experiment of an afternoon.
fn experiment(calendar: StoryCalendar) -> Vec<StoryEvent> {
    let at = |minute| calendar.at(EXPERIMENT_DAY, 14, minute);
    let functions = concat!(
        r#"[{"name":"find_booking","description":"Finds a booking.","parameters":{"reference":"string"}},"#,
        r#"{"name":"suggest_detour","description":"Suggests a place nearby.","#,
        r#""parameters":{"near":"string","hours":{"type":"number","maximum":4}},"timeoutSeconds":6}]"#
    );
    let steps = [
        (2, vec![set("temperature", "1.0")]),
        (5, vec![StoryEdit::Reword { sentence: 0, variant: 2 }, StoryEdit::Reword { sentence: 4, variant: 2 }]),
        (9, vec![set("tools.webSearch", "false")]),
        (14, vec![set("tools.functions", functions)]),
        (20, vec![set("maxOutputTokens", "16384"), set("metadata.labels", r#"["experiment","travel"]"#)]),
        (31, vec![set("model", r#""lark-5-nightly""#)]),
        (47, vec![set("temperature", "1.2")]),
    ];
    let mut events: Vec<_> = steps
        .into_iter()
        .map(|(minute, edits)| {
            let notes = vec![("experiment", "warmer-concierge".into())];
            let event = StoryEvent::update(at(minute), &NOAH, &CONCIERGE, edits);
            StoryEvent { trace: TRACE.to_owned(), notes, ..event }
        })
        .collect();
    let outside = StoryEvent::update(at(38), &RAVI, &CONCIERGE, vec![set("temperature", "0.95")]);
    events.push(StoryEvent { recording: StoryRecording::Never, ..outside });
    events
}

/// Somebody builds upon one change, and sets another one back.
fn afterwards(calendar: StoryCalendar) -> Vec<StoryEvent> {
    let at = |hour, minute| calendar.at(EXPERIMENT_DAY + 1, hour, minute);
    vec![
        StoryEvent::new(at(9, 40), &PRIYA, "accessed", &CONCIERGE),
        StoryEvent::update(at(9, 44), &PRIYA, &CONCIERGE, vec![StoryEdit::Restore("tools.webSearch")]),
        StoryEvent::update(at(16, 8), &CHLOE, &CONCIERGE, vec![StoryEdit::Reword { sentence: 3, variant: 2 }]),
    ]
}
