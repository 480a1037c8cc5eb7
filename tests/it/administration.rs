//! The log of the service: its entries are in the transactions of the acts, nobody else writes to it, and it is read and
//! verified like any other.

use auditlog::access::{self, NewKey, Scope};
use auditlog::domain::{Clock, Random};
use auditlog::error::Error;
use auditlog::grpc::pb;
use auditlog::grpc::pb::erase_audit_logs_request::Target;
use serde_json::json;
use tonic::Code;

use crate::support::administration::{Recorded, SERVICE, allow, id_of, kinds, recorded, refuse};
use crate::support::check_log::check_log;
use crate::support::database::execute;
use crate::support::ingest::organization;
use crate::support::json::least;
use crate::support::log::sign_in;
use crate::support::process::{create_key, ran};
use crate::support::service::{all, with_key};
use crate::support::{Backend, Database, Process, Service, on_every_database};

const ALL: [Scope; 4] = [Scope::Read, Scope::Write, Scope::Verify, Scope::Erase];
const WIDE: [&str; 3] = ["--all-organizations", "--scope", "read"];
const REFUSED: &str = "Only the service itself writes to organizations whose id begins with auditlog:";

/// Runs a command on `database`.
fn run(database: &Database, arguments: &[&str]) -> (Option<i32>, String, String) {
    ran(arguments, &[("AUDITLOG_DATABASE_URL", &database.url)])
}

fn record(kind: &str, facts: &[(&str, &str)]) -> Recorded {
    let owned = |(field, json): &(&str, &str)| ((*field).to_owned(), (*json).to_owned());
    (kind.to_owned(), facts.iter().map(owned).collect())
}

/// A write of one entry.
fn write(organization: &str) -> pb::WriteAuditLogsRequest {
    let input = pb::AuditLogInput {
        id: "log_1".to_owned(),
        resource_type: "rule".to_owned(),
        resource_id: "rule_1".to_owned(),
        action: "created".to_owned(),
        user_id: "uid_1".to_owned(),
        ..Default::default()
    };
    pb::WriteAuditLogsRequest { organization_id: organization.to_owned(), audit_logs: vec![input] }
}

/// An erasure in the log of the service.
fn erase() -> pb::EraseAuditLogsRequest {
    let (target, reason) = (Some(Target::UserId("system".to_owned())), "a test".to_owned());
    let organization_id = SERVICE.to_owned();
    pb::EraseAuditLogsRequest { organization_id, target, groups: Vec::new(), reason, dry_run: false }
}

on_every_database! {
    async fn each_act_leaves_one_entry_with_its_facts_and_no_secret(database: &Database) {
        let store = database.store().await;
        let done = |arguments: &[&str]| {
            let (code, _, stderr) = run(database, arguments);
            assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        };
        let refused = |arguments: &[&str]| assert_eq!(run(database, arguments).0, Some(1), "{arguments:?}");
        let of_one = ["--organization", "org_a", "--scope", "write,read", "--name", "billing", "--expires-in", "90d"];
        let named = create_key(&database.url, &of_one);
        let wide = create_key(&database.url, &["--all-organizations", "--scope", "verify"]);
        done(&["keys", "revoke", &wide]);
        refused(&["keys", "revoke", &wide]);
        refused(&["keys", "revoke", "nonsense"]);
        done(&["catalogue", "add", "action", "user.login"]);
        done(&["catalogue", "add", "action", "user.login"]);
        done(&["catalogue", "add", "resource-type", "webhook"]);
        refused(&["catalogue", "add", "resource-type", "webhook", "--history", "rules"]);
        done(&["catalogue", "add", "resource-type", "webhook", "--history", "webhooks"]);
        done(&["catalogue", "remove", "resource-type", "webhook"]);
        refused(&["catalogue", "remove", "resource-type", "webhook"]);
        refused(&["catalogue", "remove", "action", "updated"]);
        let text = |text: &str| format!("\"{text}\"");
        let expiry = store.key(id_of(&named)).await.expect("read").expect("the key").expires_at.expect("an expiry");
        let (named_id, expiry, wide_id) = (text(id_of(&named)), text(&expiry.exact()), text(id_of(&wide)));
        let of_named = [
            ("id", &*named_id),
            ("name", "\"billing\""),
            ("scopes", "[\"read\",\"write\"]"),
            ("organization", "\"org_a\""),
            ("expiresAt", &*expiry),
        ];
        let of_wide = [("id", &*wide_id), ("scopes", "[\"verify\"]"), ("organization", "null"), ("expiresAt", "null")];
        let webhook = |history| [("kind", "\"resource_type\""), ("name", "\"webhook\""), ("history", history)];
        assert_eq!(recorded(&store).await, [
            record("key-created", &of_named),
            record("key-created", &of_wide),
            record("key-revoked", &of_wide),
            record("catalogue-added", &[("kind", "\"action\""), ("name", "\"user.login\""), ("history", "null")]),
            record("catalogue-added", &webhook("null")),
            record("catalogue-added", &webhook("\"webhooks\"")),
            record("catalogue-removed", &webhook("\"webhooks\"")),
        ]);
        assert_eq!(check_log(&store, SERVICE).await, 7);
        let entries = store.hashed_entries(&organization(SERVICE), 0, i64::MAX, 10).await.expect("read");
        let shown = format!("{entries:?}");
        assert!(shown.contains(id_of(&named)) && !shown.contains("sha256"), "{shown}");
        assert!([&named, &wide].iter().all(|key| !shown.contains(&key[16..59])), "{shown}");
    }

    async fn an_act_that_cannot_be_recorded_does_not_happen(database: &Database) {
        let store = database.store().await;
        let key = create_key(&database.url, &WIDE);
        let state = async || (recorded(&store).await, store.keys().await.expect("read"), store.catalogue().await.expect("read"));
        let before = state().await;
        let create = [&["keys", "create"][..], &WIDE].concat();
        let keys = [&create[..], &["keys", "revoke", &key]];
        let catalogue = [
            &["catalogue", "add", "action", "user.login"][..],
            &["catalogue", "add", "resource-type", "user", "--history", "users"],
            &["catalogue", "remove", "action", "shared"],
        ];
        // Neither the act without its record, nor the record without its act.
        for (table, acts) in [("audit_logs", [&keys[..], &catalogue].concat()), ("api_keys", keys.to_vec()), ("catalogue", catalogue.to_vec())] {
            refuse(database, table).await;
            for arguments in acts {
                let (code, stdout, stderr) = run(database, arguments);
                assert_eq!((code, stdout.as_str()), (Some(1), ""), "{table}: {arguments:?}: {stderr}");
                assert_eq!(state().await, before, "{table}: {arguments:?}");
            }
            allow(database, table).await;
        }
        for arguments in keys {
            assert_eq!(run(database, arguments).0, Some(0), "{arguments:?}");
        }
        assert_eq!(kinds(&store).await, ["key-created", "key-created", "key-revoked"]);
        assert_eq!(check_log(&store, SERVICE).await, 3);
    }

    async fn nobody_else_writes_to_an_organization_of_the_service(database: &Database) {
        let service = Service::start(database).await;
        let wide = service.key(None, &ALL).await;
        let own = create_key(&database.url, &["--organization", SERVICE, "--scope", "read"]);
        // Somebody gives the key more scopes by SQL.
        let more = format!("UPDATE api_keys SET scopes = 'read write erase' WHERE id = '{}'", id_of(&own));
        execute(database, &more).await;
        for (key, organization) in [(&wide, SERVICE), (&wide, "auditlog:other"), (&own, SERVICE)] {
            let path = format!("/v1/{organization}/audit-logs");
            let answer = service.post(&path, key, &json!({"auditLogs": [least("log_1")]})).await;
            assert_eq!((answer.status, &answer.body["error"]["code"]), (403, &json!("insufficient_permissions")));
            assert_eq!(answer.body["error"]["message"], REFUSED, "{organization}");
            let status = service.grpc().await.write_audit_logs(with_key(write(organization), key)).await;
            let status = status.expect_err("refused");
            assert_eq!((status.code(), status.message()), (Code::PermissionDenied, REFUSED), "{organization}");
        }
        for key in [&wide, &own] {
            let status = service.erasures().await.erase_audit_logs(with_key(erase(), key)).await.expect_err("refused");
            assert_eq!((status.code(), status.message()), (Code::PermissionDenied, REFUSED));
        }
        let kept = "must be auditlog:service, or not begin with auditlog:, which the service keeps for itself";
        let scope = "scope: must be read or verify for auditlog:service, which only the service itself writes to";
        let reserved = "organizations whose id begins with auditlog: belong to the service itself";
        for (arguments, expected) in [
            (&["keys", "create", "--organization", SERVICE, "--scope", "read,write"][..], format!("{scope}, got write")),
            (&["keys", "create", "--organization", SERVICE, "--scope", "erase"], format!("{scope}, got erase")),
            (&["keys", "create", "--organization", "auditlog:other", "--scope", "read"], format!("organization: {kept}, got \"auditlog:other\"")),
            (&["organizations", "create", SERVICE], reserved.to_owned()),
            (&["organizations", "create", "auditlog:other"], reserved.to_owned()),
        ] {
            let (code, stdout, stderr) = run(database, arguments);
            assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}: {stderr}");
            assert!(stderr.contains(&expected), "{arguments:?}: {stderr}");
        }
        let new = NewKey { name: None, organization: Some(organization(SERVICE)), scopes: ALL.into(), expires_at: None };
        let made = access::create_key(&service.store, &Clock::system(), &Random::system(), new).await;
        assert!(matches!(made, Err(Error::InvalidParameter(_))), "{made:?}");
        let known: Vec<_> = service.store.organizations().await.expect("a list").into_iter().map(|one| one.id).collect();
        assert_eq!(known, [SERVICE]);
        assert_eq!(kinds(&service.store).await, ["key-created", "key-created"]);
        service.stop().await;
    }

    async fn keys_for_it_and_for_all_organizations_read_its_log(database: &Database) {
        let service = Service::start(database).await;
        let path = format!("/v1/{SERVICE}/audit-logs");
        let foreign = service.key(Some("org_a"), &ALL).await;
        assert_eq!(service.get(&path, &foreign).await.body["error"]["code"], "organization_not_found");
        let wide = service.key(None, &[Scope::Read]).await;
        let own = service.key(Some(SERVICE), &[Scope::Read]).await;
        for key in [&wide, &own] {
            let page = service.get(&format!("{path}?userId=system&resourceId={SERVICE}"), key).await;
            assert_eq!((page.status, &page.body["pagination"]["total"]), (200, &json!(3)), "{}", page.text);
            let newest = &page.body["auditLogs"][0];
            let id = newest["id"].as_str().expect("an id");
            assert!(id.starts_with("auditlog:key-created:"), "{id}");
            let facts = [
                ("id", json!(id_of(&own))),
                ("scopes", json!(["read"])),
                ("organization", json!(SERVICE)),
                ("expiresAt", json!(null)),
            ];
            let facts = facts.map(|(field, value)| json!({"field": field, "oldValue": null, "newValue": value}));
            assert_eq!(newest["changes"], json!(facts));
            assert_eq!(service.get(&format!("{path}/{id}"), key).await.body["id"], id);
            let mut export = service.grpc().await.export_audit_logs(with_key(all(SERVICE), key)).await.expect("it begins").into_inner();
            assert_eq!(export.message().await.expect("a message").expect("a piece").audit_logs.len(), 3);
        }
        service.stop().await;
    }

    async fn a_changed_or_missing_record_is_found(database: &Database) {
        let store = database.store().await;
        let key = create_key(&database.url, &["--organization", SERVICE, "--scope", "verify"]);
        for _ in 0..3 {
            create_key(&database.url, &WIDE);
        }
        let service = Process::serve(&database.url);
        let (public, endpoint) = (sign_in(database, &store, SERVICE, 4).await.text(), service.url(""));
        let verdict = || {
            let environment = [("AUDITLOG_ENDPOINT", endpoint.as_str()), ("AUDITLOG_API_KEY", &key), ("AUDITLOG_ORGANIZATION", SERVICE)];
            let (code, verdict, stderr) = ran(&["verify", "--public-key", &public], &environment);
            assert!([Some(0), Some(1)].contains(&code), "{verdict}{stderr}");
            verdict
        };
        assert!(verdict().starts_with("verified: 4 entries of "), "{}", verdict());
        let replaced = |from: &str, to: &str| {
            format!("UPDATE audit_logs SET changes = replace(changes, '{from}', '{to}') WHERE organization_id = '{SERVICE}' AND seq = 2")
        };
        execute(database, &replaced("[\"read\"]", "[\"erase\"]")).await;
        assert!(verdict().starts_with("NOT VERIFIED: changed: entry 2: "), "{}", verdict());
        execute(database, &replaced("[\"erase\"]", "[\"read\"]")).await;
        execute(database, &format!("DELETE FROM audit_logs WHERE organization_id = '{SERVICE}' AND seq = 3")).await;
        assert!(verdict().starts_with("NOT VERIFIED: missing: entry 3: "), "{}", verdict());
    }

    async fn acts_of_several_processes_at_once_have_consecutive_entries(database: &Database) {
        let store = database.store().await;
        let url = database.url.as_str();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let creating: Vec<_> = (0..8).map(|_| scope.spawn(move || create_key(url, &WIDE))).collect();
            creating.into_iter().map(|one| one.join().expect("no panic")).collect()
        });
        assert_eq!(check_log(&store, SERVICE).await, 8);
        let mut made: Vec<_> = keys.iter().map(|key| format!("\"{}\"", id_of(key))).collect();
        let mut found: Vec<_> = recorded(&store).await.into_iter().map(|(_, facts)| facts[0].1.clone()).collect();
        made.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, made);
    }

    async fn a_key_that_is_revoked_twice_at_once_is_recorded_once(database: &Database) {
        let (store, other) = (database.store().await, database.store().await);
        let (now, random) = (Clock::system().now(), Random::system());
        for revoked in 1..=5 {
            let key = create_key(&database.url, &WIDE);
            let id = id_of(&key);
            let (one, two) = tokio::join!(store.revoke_key(id, now, &random), other.revoke_key(id, now, &random));
            assert_ne!(one.expect("an answer"), two.expect("an answer"));
            let kinds = kinds(&store).await;
            assert_eq!(kinds.iter().filter(|kind| *kind == "key-revoked").count(), revoked, "{kinds:?}");
        }
        assert_eq!(check_log(&store, SERVICE).await, 10);
    }
}
