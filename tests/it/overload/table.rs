//! Checks the table of limits in docs/OPERATIONS.md: each row has a test, and each option has the documented default.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::process::ran;

/// The test of each limit: a function in tests/it.
const TESTED: [(&str, &str); 31] = [
    ("open connections", "a_flood_of_connections_closes_no_connection_in_use"),
    ("time to the first request", "connections_without_a_request_are_closed_and_others_are_served"),
    ("time to a request's head, and between requests over HTTP/1", "an_incomplete_request_head_closes_the_connection"),
    ("time without a request over HTTP/2", "idle_connections_are_closed_gracefully"),
    ("age of a connection", "old_connections_are_closed_gracefully_after_their_open_requests"),
    (
        "time for a peer to acknowledge what it was sent",
        "clients_that_read_nothing_are_disconnected_and_others_are_served",
    ),
    (
        "time for a peer to take a piece of a response",
        "clients_that_read_nothing_are_disconnected_and_others_are_served",
    ),
    ("HTTP/2 streams of a connection", "streams_beyond_the_limit_of_a_connection_are_refused"),
    (
        "HTTP/2 streams of a connection that the peer resets before they are looked at, and those reset for its faults",
        "others_are_served_during_floods_of_http2_frames",
    ),
    ("a request's head", "a_head_that_is_too_large_is_refused"),
    ("headers of a request", "a_head_that_is_too_large_is_refused"),
    ("a request's body", "a_body_that_is_too_large_is_refused"),
    ("pace of a request's body", "a_stalled_body_times_out_and_closes_the_connection"),
    ("requests under way", "requests_beyond_the_limit_are_refused_at_once_on_every_surface"),
    ("requests under way with one API key", "one_key_cannot_take_all_request_permits"),
    ("followers: streams of FollowAuditLogs, and feeds", "followers_beyond_the_limit_are_refused"),
    ("followers with one API key", "one_key_cannot_take_all_follower_permits"),
    (
        "streams without an API key on one connection: health Watch, reflection",
        "streams_without_a_key_are_limited_per_connection",
    ),
    (
        "calls without a key on one connection, these streams among them",
        "streams_without_a_key_are_limited_per_connection",
    ),
    ("reads that run or wait", "reads_beyond_the_waiting_limit_are_refused_at_once"),
    ("reads of one API key that run or wait", "one_key_cannot_take_all_read_permits"),
    (
        "unknown keys looked up at once, and those of one connection",
        "unknown_keys_take_no_database_connections_from_others",
    ),
    ("bytes of requests and responses, heads of requests included", "bodies_beyond_the_budget_are_refused"),
    ("bytes of requests and responses with one API key", "one_key_cannot_take_all_response_bytes"),
    ("entries that wait to be written", "queue_gauges_count_the_waiting_entries_and_bytes"),
    ("bytes of entries that wait", "writes_beyond_the_byte_limit_of_the_queue_are_refused"),
    ("entries and bytes of one organization that wait", "one_organization_can_fill_half_of_the_queue"),
    ("time that the writes ahead of one take", "a_write_that_would_be_late_is_refused"),
    ("timestamp of a new entry ahead of the server", "entries_too_far_ahead_are_counted_as_refused"),
    ("requests a second of a key", "a_key_beyond_its_rate_limit_is_refused_and_others_are_not"),
    (
        "time of a request, and of each of its statements that read",
        "read_statements_time_out_for_requests_and_not_for_jobs",
    ),
];

/// The cells of each row: limit, default, option, effect beyond the limit, reason.
fn rows() -> Vec<[String; 5]> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md");
    let page = fs::read_to_string(page).expect("the page");
    let section =
        page.split("## Limits").nth(1).expect("a section").split("\n## ").next().expect("its text").to_owned();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect::<Vec<_>>();
    rows.map(|line| cells(line).try_into().expect("five cells")).collect()
}

fn sources(directory: &Path) -> String {
    let entries = fs::read_dir(directory).expect("the tests").map(|entry| entry.expect("an entry").path());
    let text = |path: std::path::PathBuf| match path.is_dir() {
        true => sources(&path),
        false => fs::read_to_string(path).unwrap_or_default(),
    };
    entries.map(text).collect()
}

#[test]
fn each_limit_of_the_table_has_a_test() {
    let documented: Vec<_> = rows().into_iter().map(|[limit, ..]| limit).collect();
    assert_eq!(documented, TESTED.map(|(limit, _)| limit));
    let tests = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it"));
    for ([.., reason], (limit, test)) in rows().into_iter().zip(TESTED) {
        let found = tests.split(&format!("fn {test}(")).nth(1);
        let text = found.unwrap_or_else(|| panic!("{limit}: there is no test {test}"));
        let text = text.split("fn ").next().expect("up to the next");
        assert!(
            text.contains(&format!("{reason:?}")) || reason.is_empty(),
            "{limit}: {test} does not look at {reason}"
        );
    }
}

#[test]
fn each_option_of_the_table_has_its_default() {
    let (_, help, _) = ran(&["serve", "--help"], &[]);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut documented = BTreeSet::new();
    for [limit, default, option, ..] in rows().into_iter().filter(|[_, _, option, ..]| !option.is_empty()) {
        let text = help.split(&format!("{option} <")).nth(1).unwrap_or_else(|| panic!("{limit}: there is no {option}"));
        let actual = text.split("[default: ").nth(1).and_then(|rest| rest.split(']').next()).expect("a default");
        assert_eq!(actual, default.trim_end_matches(" MiB"), "{limit}");
        documented.insert(option);
    }
    // The options that set a limit, by their names.
    let options = help.split_whitespace().filter(|word| word.starts_with("--"));
    let bounds =
        options.filter(|word| ["--max", "--queue", "--bodies", "--rate"].iter().any(|name| word.starts_with(name)));
    for option in bounds {
        assert!(documented.contains(option.trim_end_matches(&[',', '.', ';'][..])), "{option} is not in the table");
    }
}

#[test]
fn each_reason_of_a_refusal_is_in_the_table() {
    let source =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/metrics/mod.rs")).expect("the source");
    let reasons = source.split("pub enum Refusal {").nth(1).expect("the reasons").split('}').next().expect("an end");
    let named = reasons.lines().map(str::trim).filter_map(|line| line.strip_suffix(','));
    let documented: BTreeSet<_> =
        rows().into_iter().map(|[.., reason]| reason).filter(|reason| !reason.is_empty()).collect();
    assert_eq!(named.map(str::to_owned).collect::<BTreeSet<_>>(), documented);
}
