//! Refused erasures and their errors.

use auditlog::access::Scope;
use auditlog::domain::Clock;
use auditlog::grpc::pb::EraseAuditLogsRequest;
use auditlog::grpc::pb::erase_audit_logs_request::Target as Asked;
use tonic::Code;

use super::{ORG, four, ids, request};
use crate::support::ingest::start;
use crate::support::service::with_key;
use crate::support::surfaces::shown_status;
use crate::support::{Backend, Database, Service, on_every_database};

fn bad() -> Vec<(&'static str, EraseAuditLogsRequest)> {
    let good = || request(ids(&["log_1"]), false);
    let groups = |groups: &[&str]| {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        EraseAuditLogsRequest { groups, ..good() }
    };
    let reason = |reason: &str| EraseAuditLogsRequest { reason: reason.to_owned(), ..good() };
    let user = |user: &str| request(Asked::UserId(user.to_owned()), false);
    let many: Vec<_> = (0..1_001).map(|number| format!("log_{number}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    vec![
        ("no organization", EraseAuditLogsRequest { organization_id: String::new(), ..good() }),
        ("no target", EraseAuditLogsRequest { target: None, ..good() }),
        ("no ids", request(ids(&[]), false)),
        ("1,001 ids", request(ids(&many), false)),
        ("an id that cannot be", request(ids(&["log_1", "a b"]), false)),
        ("an empty id", request(ids(&[""]), false)),
        ("an entry of the service", request(ids(&["log_1", "auditlog:erasure:1"]), false)),
        ("ids that are not there", request(ids(&["log_1", "log_none", "log_1", "log_no"]), false)),
        ("the same, only asked", request(ids(&["log_none"]), true)),
        ("an empty user", user("")),
        ("a user of 257 bytes", user(&"u".repeat(257))),
        ("a user with a line break", user("a\nb")),
        ("facts", groups(&["actor", "facts"])),
        ("a group that there is not", groups(&["Actor"])),
        ("an empty group", groups(&[""])),
        ("no reason", reason("")),
        ("a reason of 513 bytes", reason(&"é".repeat(257)[..514])),
        ("a reason of two lines", reason("because\nof it")),
        ("a reason with a NUL", reason("be\0cause")),
    ]
}

on_every_database! {
    async fn a_bad_erasure_has_its_error_and_erases_nothing(database: &Database) {
        let service = Service::start(database).await;
        four(&start(&service.store, Clock::system())).await;
        let key = service.key(Some(ORG), &[Scope::Read, Scope::Erase]).await;
        let mut erasures = service.erasures().await;
        let mut errors = String::new();
        for (name, request) in bad() {
            let status = erasures.erase_audit_logs(with_key(request, &key)).await.expect_err(name);
            errors += &format!("{name}\n{}    {}\n", shown_status(&status), status.message());
        }
        insta::assert_snapshot!("erasures", errors);
        let page = service.get(&format!("/v1/{ORG}/audit-logs"), &key).await;
        assert_eq!(page.body["pagination"]["total"], 4, "nothing is recorded");
        assert!(page.text.matches(r#""erased":[]"#).count() == 4, "nothing is erased");
        let reason = "r".repeat(512);
        let longest = EraseAuditLogsRequest { reason: reason.clone(), groups: vec!["actor".to_owned(); 3], ..request(ids(&["log_1"]), false) };
        let answer = erasures.erase_audit_logs(with_key(longest, &key)).await.expect("erased").into_inner();
        assert_eq!((answer.groups, answer.sequences), (1, vec![5]));
        service.stop().await;
    }

    async fn only_a_key_of_the_organization_with_the_scope_erases(database: &Database) {
        let service = Service::start(database).await;
        four(&start(&service.store, Clock::system())).await;
        let mut erasures = service.erasures().await;
        let all_others = [Scope::Read, Scope::Write, Scope::Verify];
        for dry_run in [true, false] {
            let asked = || request(ids(&["log_1"]), dry_run);
            let refused = erasures.erase_audit_logs(asked()).await.expect_err("no key");
            assert_eq!(refused.code(), Code::Unauthenticated);
            for (organization, scopes, code) in [
                (Some(ORG), &all_others[..], Code::PermissionDenied),
                (None, &all_others, Code::PermissionDenied),
                (Some("org_b"), &[Scope::Erase], Code::NotFound),
                (Some("org_b"), &all_others, Code::NotFound),
            ] {
                let key = service.key(organization, scopes).await;
                let refused = erasures.erase_audit_logs(with_key(asked(), &key)).await.expect_err("refused");
                assert_eq!(refused.code(), code, "{organization:?} {scopes:?}: {refused}");
            }
        }
        let wide = service.key(None, &[Scope::Erase]).await;
        let unknown = EraseAuditLogsRequest { organization_id: "org_new".to_owned(), ..request(Asked::UserId("ada".to_owned()), false) };
        let refused = erasures.erase_audit_logs(with_key(unknown, &wide)).await.expect_err("no such organization");
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
        let known: Vec<_> = service.store.organizations().await.expect("a list").into_iter().map(|one| one.id).collect();
        assert!(!known.contains(&"org_new".to_owned()), "none is made by erasing: {known:?}");
        erasures.erase_audit_logs(with_key(request(ids(&["log_1"]), false), &wide)).await.expect("erased");
        let refused = service.key(Some(ORG), &[Scope::Erase]).await;
        assert_eq!(service.get(&format!("/v1/{ORG}/audit-logs"), &refused).await.status, 403, "it reads nothing");
        service.stop().await;
    }
}
