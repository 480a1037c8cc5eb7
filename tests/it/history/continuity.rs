//! `CheckContinuity`: the breaks of one resource and of an organization, and checks that go on.

use auditlog::grpc::pb::{CheckContinuityRequest, CheckContinuityResponse, ContinuityBreak};

use super::{ORG, Started, assistant, change, entry};
use crate::support::service::with_key;
use crate::support::{Backend, Database, on_every_database};

fn whole_check() -> CheckContinuityRequest {
    CheckContinuityRequest { organization_id: ORG.to_owned(), ..Default::default() }
}

impl Started {
    /// The messages of a check, which must end well.
    pub(super) async fn checked(&self, request: CheckContinuityRequest) -> Vec<CheckContinuityResponse> {
        let stream = self.service.histories().await.check_continuity(with_key(request, &self.key)).await;
        let (mut stream, mut messages) = (stream.expect("it begins").into_inner(), Vec::new());
        while let Some(message) = stream.message().await.expect("a message") {
            messages.push(message);
        }
        let (last, others) = messages.split_last().expect("a message");
        assert!(last.complete && last.resume_token.is_empty() && !last.summary.is_empty(), "{last:?}");
        assert!(others.iter().all(|message| !message.complete && message.summary.is_empty()));
        messages
    }
}

fn breaks(messages: &[CheckContinuityResponse]) -> Vec<&ContinuityBreak> {
    messages.iter().flat_map(|message| &message.breaks).collect()
}

/// Resource, later entry and class of each break.
fn shown(messages: &[CheckContinuityResponse]) -> Vec<(String, i64, String)> {
    let shown = |found: &&ContinuityBreak| {
        let later = found.later.as_ref().expect("an entry").sequence;
        (format!("{} {}", found.resource_type, found.resource_id), later, found.class.clone())
    };
    breaks(messages).iter().map(shown).collect()
}

/// A thread whose entries came late, and a rule that something else changed.
fn broken() -> Vec<auditlog::grpc::pb::AuditLogInput> {
    let title =
        |id, time, old, new| entry(id, "thread th_1", "updated", "uid_1", time, vec![change("title", old, new)]);
    let rule = |id, time, old, new| entry(id, "rule r_1", "updated", "uid_2", time, vec![change("limit", old, new)]);
    vec![
        title("t_1", "10:00:00", "\"a\"", "\"b\""),
        title("t_2", "12:00:00", "\"b\"", "\"c\""),
        title("t_3", "11:00:00", "\"c\"", "\"d\""),
        rule("r_1", "10:00:00", "1", "2"),
        rule("r_2", "11:00:00", "3", "4"),
    ]
}

on_every_database! {
    async fn breaks_have_their_class_and_their_reason(database: &Database) {
        let started = Started::with(database, [assistant(), broken()].concat()).await;
        let messages = started.checked(whole_check()).await;
        let order = || "order".to_owned();
        assert_eq!(shown(&messages), [
            ("thread th_1".to_owned(), 7, order()), ("thread th_1".to_owned(), 6, order()),
            ("rule r_1".to_owned(), 9, "unexplained".to_owned()),
        ]);
        let last = messages.last().expect("a message");
        assert_eq!((last.resources, last.entries, last.compared, last.as_of_sequence), (3, 9, 4, 9));
        assert_eq!((last.break_count, last.order_break_count, last.not_comparable), (3, 2, 0));
        let summary = "Checked 9 entries of 3 resources up to sequence 9: 3 breaks in 4 comparisons of values. Late entries \
                       explain 2 of them.";
        assert_eq!(last.summary, summary);
        let found = breaks(&messages)[2];
        assert_eq!((found.written_json.as_deref(), found.found_json.as_deref()), (Some("2"), Some("3")));
        let explained = "uid_2 set limit to 2 at 2025-01-20T10:00:00Z, but uid_2 found 3 at 2025-01-20T11:00:00Z. Something \
                         changed the field outside of the log, an entry is missing, or an old value is wrong.";
        assert_eq!(found.explanation, explained);
        for (resource_type, resource_id, count, resources) in [("rule", "r_1", 1, 1), ("assistant", "asst_1", 0, 1), ("rule", "none", 0, 0)] {
            let one = CheckContinuityRequest { resource_type: resource_type.to_owned(), resource_id: resource_id.to_owned(), ..whole_check() };
            let messages = started.checked(one).await;
            assert_eq!(breaks(&messages).len(), count, "{resource_type} {resource_id}");
            assert_eq!(messages.last().map(|last| last.resources), Some(resources), "{resource_type} {resource_id}");
        }
        started.service.stop().await;
    }

    async fn the_next_check_reports_only_what_came_since(database: &Database) {
        let started = Started::with(database, [assistant(), broken()].concat()).await;
        let head = started.checked(whole_check()).await.last().expect("a message").as_of_sequence;
        let since = CheckContinuityRequest { after_sequence: head, ..whole_check() };
        let messages = started.checked(since.clone()).await;
        assert_eq!((breaks(&messages).len(), messages[0].resources, messages[0].entries), (0, 0, 0));
        started.write(vec![
            entry("r_3", "rule r_1", "updated", "uid_2", "12:00:00", vec![change("limit", "5", "6")]),
            entry("r_4", "rule r_2", "updated", "uid_2", "12:00:00", vec![change("limit", "5", "6")]),
        ]).await;
        // The rule is read whole, and its break of before is not repeated.
        let messages = started.checked(since).await;
        assert_eq!(shown(&messages), [("rule r_1".to_owned(), 10, "unexplained".to_owned())]);
        let last = messages.last().expect("a message");
        assert_eq!((last.resources, last.entries, last.as_of_sequence), (2, 4, 11));
        // An entry that comes late makes a break with one that was there before.
        let late = entry("r_5", "rule r_1", "updated", "uid_2", "10:30:00", vec![change("limit", "2", "9")]);
        started.write(vec![late]).await;
        let messages = started.checked(CheckContinuityRequest { after_sequence: 11, ..whole_check() }).await;
        assert_eq!(shown(&messages), [("rule r_1".to_owned(), 9, "unexplained".to_owned())]);
        let earlier = breaks(&messages)[0].earlier.as_ref().map(|earlier| earlier.sequence);
        assert_eq!(earlier, Some(12));
        started.service.stop().await;
    }

    async fn an_interrupted_check_goes_on_where_it_was(database: &Database) {
        let large = |letter: &str| format!("\"{}\"", letter.repeat(200 * 1024));
        let resource = |number: usize| format!("{} res_{number}", ["assistant", "rule"][number % 2]);
        let two = |number: usize| {
            let about = |part: usize, time, change| {
                entry(&format!("log_{number}_{part}"), &resource(number), "updated", "uid_1", time, vec![change])
            };
            [about(1, "10:00:00", change("text", "null", &large("x"))), about(2, "11:00:00", change("text", &large("y"), "null"))]
        };
        let started = Started::with(database, Vec::new()).await;
        for number in 0..16 {
            started.write(two(number).to_vec()).await;
        }
        for after_sequence in [0, 1] {
            let request = CheckContinuityRequest { after_sequence, ..whole_check() };
            let messages = started.checked(request.clone()).await;
            let (all, last) = (shown(&messages), messages.last().expect("a message"));
            assert_eq!((all.len(), last.break_count, last.resources, last.entries), (16, 16, 16, 32));
            let mut tokens = 0;
            for (place, message) in messages.iter().enumerate().filter(|(_, message)| !message.resume_token.is_empty()) {
                let request = CheckContinuityRequest { resume_token: message.resume_token.clone(), ..request.clone() };
                let rest = started.checked(request).await;
                let got = shown(&messages[..=place]);
                assert_eq!([got, shown(&rest)].concat(), all, "after message {place}");
                let (rest, last) = (rest.last().expect("a message"), messages.last().expect("a message"));
                assert_eq!((rest.break_count, rest.resources, rest.entries, &rest.summary), (16, 16, 32, &last.summary));
                tokens += 1;
            }
            assert!(tokens >= 2, "{tokens} tokens in {} messages", messages.len());
            let token = messages.iter().map(|message| message.resume_token.clone()).find(|token| !token.is_empty());
            let foreign = CheckContinuityRequest { after_sequence: after_sequence + 1, resume_token: token.expect("a token"), ..whole_check() };
            let status = started.service.histories().await.check_continuity(with_key(foreign, &started.key)).await;
            let message = "resume_token: must come with the other fields of the check that it continues";
            assert_eq!(status.map(|_| ()).expect_err("refused").message(), message);
        }
        started.service.stop().await;
    }
}
