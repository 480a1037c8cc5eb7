//! `FollowAuditLogs`: everything after a number, and then what comes, in order and exactly once.

use std::time::{Duration, Instant};

use auditlog::access::{NewKey, Scope, create_key};
use auditlog::app::{Limits, Options, Serving};
use auditlog::domain::{Clock, OrganizationId, Random};
use auditlog::grpc::pb::audit_log_service_client::AuditLogServiceClient;
use auditlog::grpc::pb::{
    AuditLogFilter, AuditLogInput, FollowAuditLogsRequest, FollowAuditLogsResponse, ListAuditLogsRequest,
    WriteAuditLogsRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use crate::support::metrics::comes_to;
use crate::support::service::{options, serving, with_key, write_large};
use crate::support::{Backend, Database, Service, TIMEOUT, on_every_database, until};

const BOTH: [Scope; 2] = [Scope::Read, Scope::Write];
/// Before the first heartbeat, and more than a busy machine needs for an entry.
const SOON: Duration = Duration::from_secs(8);
/// The time that a heartbeat may take, with a cached key.
const HEARTBEATS: Duration = Duration::from_secs(40);

type Messages = Streaming<FollowAuditLogsResponse>;

fn after(number: i64) -> FollowAuditLogsRequest {
    FollowAuditLogsRequest { organization_id: "org_a".to_owned(), after_sequence: Some(number), ..Default::default() }
}

fn from_now() -> FollowAuditLogsRequest {
    FollowAuditLogsRequest { after_sequence: None, ..after(0) }
}

fn of_action(action: &str, request: FollowAuditLogsRequest) -> FollowAuditLogsRequest {
    let filter = AuditLogFilter { actions: vec![action.to_owned()], ..Default::default() };
    FollowAuditLogsRequest { filter: Some(filter), ..request }
}

async fn begin(service: &Service, key: &str, request: FollowAuditLogsRequest) -> Result<Messages, Status> {
    service.grpc().await.follow_audit_logs(with_key(request, key)).await.map(tonic::Response::into_inner)
}

async fn next(stream: &mut Messages) -> Result<FollowAuditLogsResponse, Status> {
    let message = tokio::time::timeout(TIMEOUT, stream.message()).await.expect("a message in time");
    message.map(|message| message.expect("a follower does not end"))
}

/// Reads messages until an entry has the number `last`. Returns the numbers of all entries.
async fn up_to(stream: &mut Messages, last: i64) -> Vec<i64> {
    let (mut found, mut reached) = (Vec::new(), 0);
    while found.last() != Some(&last) {
        let FollowAuditLogsResponse { audit_logs, sequence, head_sequence, leaf_hashes: _ } =
            next(stream).await.expect("a message");
        assert!(reached <= sequence && sequence <= head_sequence, "{sequence} of {head_sequence} after {reached}");
        let numbers: Vec<_> = audit_logs.iter().map(|entry| entry.sequence).collect();
        assert!(numbers.iter().all(|number| (reached + 1..=sequence).contains(number)), "{numbers:?}");
        found.extend(numbers);
        reached = sequence;
    }
    found
}

/// The status with which the stream ends.
async fn end(stream: &mut Messages) -> Status {
    loop {
        if let Err(status) = next(stream).await {
            return status;
        }
    }
}

/// Writes `count` entries in one request.
async fn write(client: &mut AuditLogServiceClient<Channel>, key: &str, action: &str, name: &str, count: usize) {
    let entry = |number| AuditLogInput {
        id: format!("log_{name}_{number}"),
        resource_type: "rule".to_owned(),
        resource_id: "rule_1".to_owned(),
        action: action.to_owned(),
        user_id: "uid_1".to_owned(),
        ..Default::default()
    };
    let audit_logs = (0..count).map(entry).collect();
    let request = WriteAuditLogsRequest { organization_id: "org_a".to_owned(), audit_logs };
    client.write_audit_logs(with_key(request, key)).await.expect("written");
}

async fn started(database: &Database) -> (Service, String) {
    let service = Service::start(database).await;
    let key = service.key(Some("org_a"), &BOTH).await;
    (service, key)
}

/// A service that allows two requests at once, and two keys for it.
async fn limited(database: &Database, followers: usize) -> (Service, [String; 2]) {
    let limits = Limits { requests: 2, followers, ..Limits::default() };
    let options = Options { serving: Serving { limits, ..serving() }, ..options() };
    let service = Service::start_with(database, Clock::system(), options).await;
    let keys = [service.key(Some("org_a"), &BOTH).await, service.key(Some("org_a"), &BOTH).await];
    (service, keys)
}

async fn is_listed(service: &Service, key: &str) {
    let list = ListAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() };
    service.grpc().await.list_audit_logs(with_key(list, key)).await.expect("a list");
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().expect("an ErrorInfo").reason
}

/// Waits until a request was refused for `reason`.
async fn counted(service: &Service, reason: &str) {
    comes_to(service, &format!("auditlog_refusals_total{{reason={reason:?}}}"), |refusals| refusals > 0.0).await;
}

on_every_database! {
    async fn everything_comes_and_then_what_is_written_in_order_exactly_once(database: &Database) {
        const BEFORE: i64 = 700;
        const REQUESTS: usize = 40;
        let (service, key) = started(database).await;
        write(&mut service.grpc().await, &key, "created", "before", BEFORE as usize).await;
        let mut followers = Vec::new();
        for number in [0, 0, 650, BEFORE] {
            followers.push((number, begin(&service, &key, after(number)).await.expect("it begins")));
        }
        let mut writing = Vec::new();
        for writer in 0..4 {
            let (mut client, key) = (service.grpc().await, key.clone());
            writing.push(tokio::spawn(async move {
                for request in 0..REQUESTS {
                    write(&mut client, &key, "updated", &format!("{writer}_{request}"), 1 + request % 3).await;
                }
            }));
        }
        let written: usize = (0..REQUESTS).map(|request| 1 + request % 3).sum();
        let last = BEFORE + 4 * written as i64;
        for (number, mut stream) in followers {
            let found = up_to(&mut stream, last).await;
            assert!(found == (number + 1..=last).collect::<Vec<_>>(), "after {number}: {found:?}");
        }
        for writer in writing {
            writer.await.expect("no panic");
        }
        service.stop().await;
    }

    async fn an_entry_comes_soon_after_its_commit_on_each_replica(database: &Database) {
        let (service, key) = started(database).await;
        let replica = Service::start(database).await;
        let (mut client, mut streams) = (service.grpc().await, Vec::new());
        for follows in [&service, &replica] {
            let mut stream = begin(follows, &key, from_now()).await.expect("it begins");
            let first = next(&mut stream).await.expect("a message at once");
            assert_eq!((first.audit_logs.len(), first.sequence, first.head_sequence), (0, 0, 0));
            streams.push(stream);
        }
        for number in 1..=3 {
            write(&mut client, &key, "created", &format!("{number}"), 1).await;
            let begun = Instant::now();
            for stream in &mut streams {
                assert_eq!(up_to(stream, number).await, [number]);
            }
            assert!(begun.elapsed() < SOON, "no heartbeat told of it: {:?}", begun.elapsed());
        }
        drop(streams);
        service.stop().await;
        replica.stop().await;
    }

    async fn a_filter_selects_entries_and_a_heartbeat_tells_the_number_reached(database: &Database) {
        let (service, key) = started(database).await;
        let mut client = service.grpc().await;
        for (name, action, count) in [("a", "created", 5), ("b", "deleted", 2), ("c", "created", 5)] {
            write(&mut client, &key, action, name, count).await;
        }
        let mut stream = begin(&service, &key, of_action("deleted", after(0))).await.expect("it begins");
        let first = next(&mut stream).await.expect("a message");
        assert_eq!(first.audit_logs.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [6, 7]);
        assert_eq!((first.sequence, first.head_sequence), (12, 12), "the others were looked at");
        let begun = Instant::now();
        write(&mut client, &key, "created", "d", 3).await;
        let heartbeat = next(&mut stream).await.expect("a heartbeat");
        assert_eq!((heartbeat.audit_logs.len(), heartbeat.sequence, heartbeat.head_sequence), (0, 15, 15));
        assert!((Duration::from_secs(5)..HEARTBEATS).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        write(&mut client, &key, "deleted", "e", 1).await;
        assert_eq!(up_to(&mut stream, 16).await, [16]);
        drop(stream);
        service.stop().await;
    }

    async fn an_interrupted_follower_continues_where_it_was(database: &Database) {
        let (service, key) = started(database).await;
        write(&mut service.grpc().await, &key, "created", "a", 10).await;
        let (mut reached, mut found) = (0, Vec::new());
        while reached < 10 {
            let mut stream = begin(&service, &key, after(reached)).await.expect("it begins");
            let message = next(&mut stream).await.expect("a message");
            found.extend(message.audit_logs.iter().map(|entry| entry.sequence));
            assert!(message.sequence > reached, "each message advances");
            reached = message.sequence;
        }
        assert_eq!(found, (1..=10).collect::<Vec<_>>());
        let mut stream = begin(&service, &key, after(10)).await.expect("it begins");
        assert_eq!(next(&mut stream).await.expect("a message").sequence, 10);
        drop(stream);
        service.stop().await;
    }

    async fn large_entries_come_one_by_one(database: &Database) {
        let (service, key) = started(database).await;
        write_large(&service, &key, 0..8).await;
        let mut stream = begin(&service, &key, after(0)).await.expect("it begins");
        for number in 1..=8 {
            let message = next(&mut stream).await.expect("a message");
            assert_eq!((message.audit_logs.len(), message.sequence), (1, number));
        }
        drop(stream);
        service.stop().await;
    }

    async fn access_and_position_are_checked_before_a_follower_starts(database: &Database) {
        let (service, key) = started(database).await;
        let foreign = service.key(Some("org_b"), &BOTH).await;
        let (writer, wide) = (service.key(Some("org_a"), &[Scope::Write]).await, service.key(None, &BOTH).await);
        write(&mut service.grpc().await, &key, "created", "a", 3).await;
        let unknown = FollowAuditLogsRequest { organization_id: "org_none".to_owned(), ..from_now() };
        for (request, key, code, message) in [
            (after(-1), &key, Code::InvalidArgument, "after_sequence: must be 0 to 3, the organization's last number, got -1"),
            (after(4), &key, Code::InvalidArgument, "after_sequence: must be 0 to 3, the organization's last number, got 4"),
            (of_action("made", after(0)), &key, Code::InvalidArgument, "filter.actions[0]: must be one of"),
            (after(-1), &foreign, Code::NotFound, "Organization not found"),
            (unknown, &wide, Code::NotFound, "Organization not found"),
            (after(-1), &writer, Code::PermissionDenied, "Insufficient permissions to view audit logs"),
        ] {
            let status = begin(&service, key, request.clone()).await.expect_err("refused");
            assert_eq!(status.code(), code, "{request:?}: {status:?}");
            assert!(status.message().starts_with(message), "{request:?}: {status:?}");
        }
        let anonymous = service.grpc().await.follow_audit_logs(after(0)).await.expect_err("refused");
        assert_eq!(anonymous.code(), Code::Unauthenticated);
        comes_to(&service, "auditlog_followers", |followers| followers == 0.0).await;
        service.stop().await;
    }

    async fn a_follower_ends_when_its_key_is_revoked_or_expires(database: &Database) {
        let (service, revoked) = started(database).await;
        let (clock, organization) = (Clock::system(), OrganizationId::parse("org_a").expect("an id"));
        let (scopes, expires_at) = ([Scope::Read].into(), Some(clock.now().plus(3_000_000)));
        let new = NewKey { name: None, organization: Some(organization), scopes, expires_at };
        let expiring = create_key(&service.store, &clock, &Random::system(), new).await;
        let expiring = expiring.expect("a key").expose().to_owned();
        let mut streams = Vec::new();
        for key in [&revoked, &expiring] {
            let mut stream = begin(&service, key, from_now()).await.expect("it begins");
            next(&mut stream).await.expect("a message");
            streams.push(stream);
        }
        let begun = Instant::now();
        assert!(service.store.revoke_key(&revoked[3..15], clock.now(), &Random::system()).await.expect("it is revoked"));
        for (stream, expected) in streams.iter_mut().zip(["INVALID_API_KEY", "EXPIRED_API_KEY"]) {
            let status = end(stream).await;
            assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, expected), "{status:?}");
        }
        assert!(begun.elapsed() < HEARTBEATS, "{:?}", begun.elapsed());
        drop(streams);
        service.stop().await;
    }

    async fn no_entry_comes_five_seconds_after_the_key_is_revoked(database: &Database) {
        let (service, revoked) = started(database).await;
        let writer = service.key(Some("org_a"), &[Scope::Write]).await;
        let mut stream = begin(&service, &revoked, from_now()).await.expect("it begins");
        next(&mut stream).await.expect("a message");
        assert!(service.store.revoke_key(&revoked[3..15], Clock::system().now(), &Random::system()).await.expect("it is revoked"));
        tokio::time::sleep(Duration::from_millis(5_500)).await;
        write(&mut service.grpc().await, &writer, "created", "late", 1).await;
        let ended = next(&mut stream).await.expect_err("the entry is not sent");
        assert_eq!(reason(&ended), "INVALID_API_KEY");
        drop(stream);
        service.stop().await;
    }

    async fn followers_end_at_once_when_the_service_drains(database: &Database) {
        let serving = Serving { drain_limit: Duration::from_secs(40), drain_delay: Duration::from_secs(1), ..serving() };
        let service = Service::start_with(database, Clock::system(), Options { serving, ..options() }).await;
        let key = service.key(Some("org_a"), &BOTH).await;
        let mut streams = Vec::new();
        for _ in 0..20 {
            let mut stream = begin(&service, &key, from_now()).await.expect("it begins");
            next(&mut stream).await.expect("a message");
            streams.push(stream);
        }
        let begun = Instant::now();
        let stopping = tokio::spawn(service.stop());
        for stream in &mut streams {
            let status = end(stream).await;
            assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "STORAGE_UNAVAILABLE"));
            assert_eq!(status.message(), "The service is shutting down; try again");
        }
        assert!(begun.elapsed() < SOON, "no heartbeat ended them: {:?}", begun.elapsed());
        drop(streams);
        stopping.await.expect("the service stops");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    async fn the_request_timeout_does_not_end_a_follower(database: &Database) {
        let serving = Serving { request_timeout: Duration::from_secs(1), ..serving() };
        let service = Service::start_with(database, Clock::system(), Options { serving, ..options() }).await;
        let key = service.key(Some("org_a"), &BOTH).await;
        let mut stream = begin(&service, &key, from_now()).await.expect("it begins");
        tokio::time::sleep(Duration::from_secs(3)).await;
        write(&mut service.grpc().await, &key, "created", "a", 1).await;
        assert_eq!(up_to(&mut stream, 1).await, [1]);
        drop(stream);
        service.stop().await;
    }

    async fn idle_followers_hold_no_connection_and_no_permit_of_others(database: &Database) {
        // More than the ten connections, and than the two requests that the service allows.
        let (service, [key, other]) = limited(database, 60).await;
        let mut streams = Vec::new();
        for _ in 0..40 {
            let mut stream = begin(&service, &key, from_now()).await.expect("it begins");
            next(&mut stream).await.expect("a message");
            streams.push(stream);
        }
        let seen = comes_to(&service, "auditlog_followers", |followers| followers == 40.0).await;
        assert_eq!(seen.value("auditlog_reads"), Some(0.0));
        comes_to(&service, r#"auditlog_pool_connections{pool="readers",state="used"}"#, |used| used == 0.0).await;
        for key in [&key, &other] {
            is_listed(&service, key).await;
        }
        write(&mut service.grpc().await, &key, "created", "a", 1).await;
        for stream in &mut streams {
            assert_eq!(up_to(stream, 1).await, [1]);
        }
        drop(streams);
        comes_to(&service, "auditlog_followers", |followers| followers == 0.0).await;
        service.stop().await;
    }

    async fn followers_beyond_the_limit_are_refused(database: &Database) {
        let (service, [key, other]) = limited(database, 5).await;
        let mut streams = Vec::new();
        for key in [&key, &key, &key, &key, &other] {
            streams.push(begin(&service, key, from_now()).await.expect("it begins"));
        }
        let status = begin(&service, &other, from_now()).await.expect_err("refused");
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "OVERLOADED"), "{status:?}");
        assert_eq!(status.message(), "Too many followers are under way; try again after 1 s");
        counted(&service, "followers").await;
        assert_eq!(service.get("/v1/org_a/feed?wait=0s", &other).await.status, 429, "a feed is a follower");
        for key in [&key, &other] {
            is_listed(&service, key).await;
        }
        streams.pop();
        until("the permit is released", async || begin(&service, &other, from_now()).await.ok()).await;
        drop(streams);
        service.stop().await;
    }

    async fn one_key_cannot_take_all_follower_permits(database: &Database) {
        let (service, [key, other]) = limited(database, 5).await;
        let mut streams = Vec::new();
        for _ in 0..4 {
            streams.push(begin(&service, &key, from_now()).await.expect("it begins"));
        }
        let status = begin(&service, &key, from_now()).await.expect_err("refused");
        assert_eq!(status.message(), "Too many followers with this API key are under way; try again after 1 s");
        counted(&service, "followers").await;
        assert_eq!(service.get("/v1/org_a/feed?wait=0s", &key).await.status, 429);
        streams.push(begin(&service, &other, from_now()).await.expect("it begins"));
        drop(streams);
        service.stop().await;
    }
}
