//! The catalogue: types are added and removed while services run, and codes and paths never change.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use auditlog::access::Scope;
use auditlog::domain::{CatalogueKind, CatalogueName, Clock, PathSegment, Random};
use auditlog::grpc::pb::ExportAuditLogsRequest;
use auditlog::store::{Addition, Removal, Store};
use serde_json::{Value, json};

use crate::support::database::execute;
use crate::support::json::least;
use crate::support::process::{auditlog, create_key, ran, text};
use crate::support::service::with_key;
use crate::support::{Backend, Database, Process, Service, on_every_database};

const BOTH: [Scope; 2] = [Scope::Read, Scope::Write];
const DEFAULTS: &str = "resource_type\tassistant\tassistants\nresource_type\tthread\tthreads\nresource_type\tvector_store\tvector-stores\n\
                        resource_type\trule\trules\nresource_type\tmcp_configuration\tmcp-configurations\nresource_type\tuser\t-\n\
                        resource_type\torganization\t-\n";
const ACTIONS: &str = "action\tcreated\t-\naction\tupdated\t-\naction\tdeleted\t-\naction\taccessed\t-\naction\tshared\t-\naction\tarchived\t-\n";

fn name(name: &str) -> CatalogueName {
    CatalogueName::parse(name).expect("a name")
}

async fn add(store: &Store, added: &str, segment: Option<&str>) -> Addition {
    let segment = segment.map(|segment| PathSegment::parse(segment).expect("a segment"));
    let (kind, now, random) = (CatalogueKind::ResourceType, Clock::system().now(), Random::system());
    store.add_to_catalogue(kind, &name(added), segment.as_ref(), now, &random).await.expect("an answer")
}

async fn remove(store: &Store, removed: &str) -> Removal {
    let (kind, now, random) = (CatalogueKind::ResourceType, Clock::system().now(), Random::system());
    store.remove_from_catalogue(kind, &name(removed), now, &random).await.expect("an answer")
}

async fn code(store: &Store, named: &str) -> i16 {
    let catalogue = store.catalogue().await.expect("the catalogue");
    catalogue.resource_types.iter().find(|one| one.name.as_str() == named).expect("it is there").code.0
}

fn of_type(id: &str, resource_type: &str) -> Value {
    let mut entry = least(id);
    entry["resourceType"] = json!(resource_type);
    entry
}

/// Runs `auditlog catalogue`.
fn catalogue(database: &Database, arguments: &[&str]) -> (Option<i32>, String, String) {
    // The tests' database has reduced durability, which causes a warning.
    let environment = [("AUDITLOG_DATABASE_URL", database.url.as_str()), ("AUDITLOG_LOG", "error")];
    ran(&[&["catalogue"], arguments].concat(), &environment)
}

/// Repeats `ask` until an answer has `status`. Returns the time it took and the answer's text.
async fn until_status(status: u16, ask: impl AsyncFn() -> reqwest::Response) -> (Duration, String) {
    let begun = Instant::now();
    loop {
        let answer = ask().await;
        if answer.status().as_u16() == status || begun.elapsed() > Duration::from_secs(8) {
            assert_eq!(answer.status().as_u16(), status, "after {:?}", begun.elapsed());
            return (begun.elapsed(), answer.text().await.expect("text"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The maximum delay of a change: the five seconds of the contract, plus time for a busy machine.
const LATE: Duration = Duration::from_millis(7_500);

on_every_database! {
    async fn an_added_or_removed_type_takes_effect_within_seconds(database: &Database) {
        let key = create_key(&database.url, &["--organization", "org_a", "--scope", "read", "--scope", "write"]);
        let service = Process::serve(&database.url);
        let http = reqwest::Client::new();
        let write = async |id: &str| {
            let request = http.post(service.url("/v1/org_a/audit-logs")).bearer_auth(&key);
            request.json(&json!({"auditLogs": [of_type(id, "webhook")]})).send().await.expect("an answer")
        };
        let history = async || http.get(service.url("/v1/webhooks/rule_1/history")).bearer_auth(&key).send().await.expect("an answer");
        let refused = write("log_1").await;
        assert_eq!(refused.status().as_u16(), 400);
        assert_eq!(history().await.status().as_u16(), 404);
        let (code, stdout, stderr) = catalogue(database, &["add", "resource-type", "webhook", "--history", "webhooks"]);
        assert_eq!((code, stdout.as_str()), (Some(0), ""));
        assert_eq!(stderr, "Added resource type webhook. Services notice within 5 seconds.\n");
        let (elapsed, empty) = until_status(200, history).await;
        assert!(elapsed < LATE && empty.contains("\"total\":0"), "{elapsed:?}");
        // Uses an id that is never written, so the type stays unused.
        let known = http.get(service.url("/v1/org_a/audit-logs?resourceType=webhook")).bearer_auth(&key).send().await.expect("an answer");
        assert_eq!(known.status().as_u16(), 200);
        let removed = catalogue(database, &["remove", "resource-type", "webhook"]).2;
        assert_eq!(removed, "Waiting 6 seconds until running services have noticed …\nRemoved resource type webhook.\n");
        let gone = history().await;
        assert_eq!(gone.status().as_u16(), 404, "all have noticed");
        let body = gone.text().await.expect("text");
        assert!(!body.contains("webhooks,"), "{body}");
        let refused = write("log_1").await;
        assert_eq!(refused.status().as_u16(), 400);
        let body = refused.text().await.expect("text");
        assert!(body.contains("must be one of assistant, thread, vector_store, rule, mcp_configuration, user, organization, got"), "{body}");
        assert_eq!(catalogue(database, &["list"]).1, format!("{DEFAULTS}{ACTIONS}"));
        assert_eq!(catalogue(database, &["add", "resource-type", "webhook"]).0, Some(0));
        let (elapsed, _) = until_status(201, async || write("log_1").await).await;
        assert!(elapsed < LATE, "{elapsed:?}");
        assert_eq!(catalogue(database, &["list"]).1, format!("{DEFAULTS}resource_type\twebhook\t-\n{ACTIONS}"));
    }

    async fn a_replica_with_a_cached_catalogue_shows_a_new_type_at_once(database: &Database) {
        let mut replicas = Vec::new();
        for _ in 0..5 {
            replicas.push(Service::start(database).await);
        }
        let key = replicas[0].key(Some("org_a"), &BOTH).await;
        for replica in &replicas {
            assert_eq!(replica.get("/v1/org_a/audit-logs", &key).await.status, 200);
        }
        assert_eq!(add(&replicas[0].store, "webhook", Some("webhooks")).await, Addition::Added);
        let writer = Service::start(database).await;
        let mut entry = of_type("log_1", "webhook");
        entry["resourceId"] = json!("hook_1");
        let written = writer.post("/v1/org_a/audit-logs", &key, &json!({"auditLogs": [entry]})).await;
        assert_eq!(written.status, 201, "{}", written.text);
        // Each request goes to a replica that has not been asked since the change.
        for (replica, path) in replicas.iter().zip(["audit-logs", "audit-logs?resourceId=hook_1", "audit-logs?resourceId=hook_1&limit=1&offset=1"]) {
            let answer = replica.get(&format!("/v1/org_a/{path}"), &key).await;
            assert_eq!((answer.status, &answer.body["pagination"]["total"]), (200, &json!(1)), "{path}: {}", answer.text);
            assert!(path.contains("offset") || answer.body["auditLogs"][0]["resourceType"] == "webhook", "{}", answer.text);
        }
        let one = replicas[3].get("/v1/org_a/audit-logs/log_1", &key).await;
        assert_eq!((one.status, &one.body["resourceType"]), (200, &json!("webhook")), "{}", one.text);
        let all = ExportAuditLogsRequest { organization_id: "org_a".to_owned(), ..Default::default() };
        let mut stream = replicas[4].grpc().await.export_audit_logs(with_key(all, &key)).await.expect("it begins").into_inner();
        assert_eq!(stream.message().await.expect("a message").expect("a piece").audit_logs[0].resource_type, "webhook");
    }

    async fn a_used_type_cannot_be_removed_and_codes_are_never_reused(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(None, &BOTH).await;
        for organization in ["org_a", "org_b"] {
            let written = service.post(&format!("/v1/{organization}/audit-logs"), &key, &json!({"auditLogs": [least("log_1")]})).await;
            assert_eq!(written.status, 201);
        }
        for (added, expected) in [("webhook", 7), ("gadget", 8)] {
            assert_eq!(add(&service.store, added, Some(&format!("{added}s"))).await, Addition::Added);
            assert_eq!(code(&service.store, added).await, expected);
        }
        // Like a write that was in progress during the removal.
        execute(database, "UPDATE audit_logs SET resource_type = 7 WHERE organization_id = 'org_b'").await;
        assert_eq!(remove(&service.store, "webhook").await, Removal::Used("org_b".to_owned()));
        let (code_of, _, stderr) = catalogue(database, &["remove", "resource-type", "webhook"]);
        assert_eq!((code_of, stderr.as_str()), (Some(1), "error: webhook is in use: organization org_b has entries of it, and entries are never deleted\n"));
        execute(database, "UPDATE audit_logs SET resource_type = 3 WHERE organization_id = 'org_b'").await;
        assert_eq!(remove(&service.store, "webhook").await, Removal::Removed(PathSegment::parse("webhooks").ok()));
        let (code_of, _, stderr) = catalogue(database, &["remove", "resource-type", "webhook"]);
        assert_eq!((code_of, stderr.as_str()), (Some(1), "error: the resource type must be one of assistant, thread, vector_store, rule, mcp_configuration, user, organization, gadget, got \"webhook\"\n"));
        execute(database, "UPDATE audit_logs SET resource_type = 7 WHERE organization_id = 'org_b'").await;
        let fresh = Service::start(database).await;
        let path = "/v1/org_b/audit-logs/log_1";
        assert_eq!(fresh.get(path, &key).await.body["resourceType"], "webhook", "what it was called is not forgotten");
        let filtered = fresh.get("/v1/org_b/audit-logs?resourceId=rule_1", &key).await;
        assert_eq!(filtered.body["pagination"]["total"], 1, "nor is it left out of a total");
        let asked = fresh.get("/v1/org_b/audit-logs?resourceType=webhook", &key).await;
        assert_eq!(asked.body["pagination"]["total"], 1, "and readers may ask for it: {}", asked.text);
        let refused = fresh.post("/v1/org_b/audit-logs", &key, &json!({"auditLogs": [of_type("log_2", "webhook")]})).await;
        assert_eq!(refused.status, 400, "writers may not: {}", refused.text);
        assert_eq!(add(&service.store, "sprocket", None).await, Addition::Added);
        assert_eq!(add(&service.store, "webhook", None).await, Addition::Added);
        assert_eq!((code(&service.store, "webhook").await, code(&service.store, "sprocket").await), (7, 9));
        assert_eq!(Service::start(database).await.get(path, &key).await.body["resourceType"], "webhook");
    }

    async fn actions_are_added_used_and_removed_like_types(database: &Database) {
        let key = create_key(&database.url, &["--organization", "org_a", "--scope", "read", "--scope", "write"]);
        let (code, _, stderr) = catalogue(database, &["add", "action", "user.login"]);
        assert_eq!((code, stderr.as_str()), (Some(0), "Added action user.login. Services notice within 5 seconds.\n"));
        let (code, _, stderr) = catalogue(database, &["add", "action", "user.login"]);
        assert_eq!((code, stderr.as_str()), (Some(0), "Action user.login already exists.\n"));
        assert_eq!(catalogue(database, &["add", "action", "never:used-1"]).0, Some(0));
        let listed = format!("{DEFAULTS}{ACTIONS}action\tuser.login\t-\naction\tnever:used-1\t-\n");
        assert_eq!(catalogue(database, &["list"]).1, listed);
        let service = Service::start(database).await;
        let with_action = |id: &str, action: &str| {
            let mut entry = least(id);
            entry["action"] = json!(action);
            json!({"auditLogs": [entry]})
        };
        for (id, action) in [("log_1", "user.login"), ("log_2", "created"), ("log_3", "user.login")] {
            let written = service.post("/v1/org_a/audit-logs", &key, &with_action(id, action)).await;
            assert_eq!(written.status, 201, "{}", written.text);
        }
        let found = service.get("/v1/org_a/audit-logs?action=user.login", &key).await;
        assert_eq!((&found.body["pagination"]["total"], &found.body["auditLogs"][0]["action"]), (&json!(2), &json!("user.login")), "{}", found.text);
        let refused = service.post("/v1/org_a/audit-logs", &key, &with_action("log_4", "user_login")).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text.contains("archived, user.login, never:used-1, got \\\"user_login\\\"; did you mean user.login?"), "{}", refused.text);
        let (code, _, stderr) = catalogue(database, &["remove", "action", "user.login"]);
        assert_eq!((code, stderr.as_str()), (Some(1), "error: user.login is in use: organization org_a has entries of it, and entries are never deleted\n"));
        let (code, _, stderr) = catalogue(database, &["remove", "action", "user.logout"]);
        assert!(code == Some(1) && stderr.contains("error: the action must be one of created, "), "{stderr}");
        let (code, _, stderr) = catalogue(database, &["remove", "action", "never:used-1"]);
        assert_eq!((code, stderr.as_str()), (Some(0), "Waiting 6 seconds until running services have noticed …\nRemoved action never:used-1.\n"));
        let refused = service.post("/v1/org_a/audit-logs", &key, &with_action("log_5", "never:used-1")).await;
        assert_eq!(refused.status, 400, "all have noticed");
        let removed = service.get("/v1/org_a/audit-logs?action=never:used-1", &key).await;
        assert_eq!((removed.status, &removed.body["pagination"]["total"]), (200, &json!(0)), "a reader may still ask");
        let (kind, now, random) = (CatalogueKind::Action, Clock::system().now(), Random::system());
        let added = service.store.add_to_catalogue(kind, &name("next"), None, now, &random).await;
        assert_eq!(added.expect("an answer"), Addition::Added);
        let actions = service.store.catalogue().await.expect("the catalogue").actions;
        let codes: Vec<_> = actions.iter().map(|one| (one.name.as_str(), one.code.0)).skip(6).collect();
        assert_eq!(codes, [("user.login", 6), ("never:used-1", 7), ("next", 8)], "codes are not used again");
    }

    async fn a_history_path_belongs_to_one_type_and_never_changes(database: &Database) {
        let _ = database.store().await;
        for (arguments, exit, expected) in [
            (&["add", "resource-type", "webhook"][..], 0, "Added resource type webhook."),
            (&["add", "resource-type", "webhook"], 0, "Resource type webhook already exists."),
            (&["add", "resource-type", "webhook", "--history", "rules"], 1, "error: the history path belongs to rule; choose another --history"),
            (&["add", "resource-type", "webhook", "--history", "webhooks"], 0, "Added the history path of webhook."),
            (&["add", "resource-type", "webhook", "--history", "webhooks"], 0, "Resource type webhook already exists."),
            (&["add", "resource-type", "webhook"], 0, "Resource type webhook already exists."),
            (&["add", "resource-type", "webhook", "--history", "hooks"], 1, "error: webhook already has histories at /v1/webhooks/{id}/history, and clients may use that path"),
            (&["add", "resource-type", "rule", "--history", "regulations"], 1, "error: rule already has histories at /v1/rules/{id}/history"),
            (&["add", "resource-type", "gadget", "--history", "webhooks"], 1, "error: the history path belongs to webhook"),
            (&["add", "resource-type", "user", "--history", "users"], 0, "Added the history path of user."),
            (&["add", "resource-type", "Gadget"], 2, "must be a letter and then at most 63 of a-z 0-9 _ . : -"),
            (&["add", "resource-type", "9gadget"], 2, "must be a letter"),
            (&["add", "resource-type", ""], 2, "must be a letter"),
            (&["add", "resource-type", "gadget", "--history", "a/b"], 2, "must be a letter and then at most 63 of a-z 0-9 -"),
            (&["remove", "resource-type", "gadget"], 1, "error: the resource type must be one of assistant, "),
            (&["remove", "resource-type", "web_hooks"], 1, "got \"web_hooks\"; did you mean webhook?"),
        ] {
            let (code, stdout, stderr) = catalogue(database, arguments);
            assert_eq!((code, stdout.as_str()), (Some(exit), ""), "{arguments:?}: {stderr}");
            assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
        }
        let listed = DEFAULTS.replace("user\t-", "user\tusers");
        assert_eq!(catalogue(database, &["list"]).1, format!("{listed}resource_type\twebhook\twebhooks\n{ACTIONS}"));
        let long = "a".repeat(65);
        assert_eq!(catalogue(database, &["add", "resource-type", &long]).0, Some(2));
        assert_eq!(catalogue(database, &["add", "resource-type", &long[1..]]).0, Some(0));
    }

    async fn types_added_concurrently_get_unique_codes_up_to_the_limit(database: &Database) {
        let store = database.store().await;
        let adding = (0..8).map(|task| {
            // With its own connections, like another process.
            async move {
                let store = database.store().await;
                for number in 0..4 {
                    assert_eq!(add(&store, &format!("type_{task}_{number}"), None).await, Addition::Added);
                    let same = add(&store, &format!("same_{number}"), Some("same")).await;
                    assert!(number > 0 || [Addition::Added, Addition::Known].contains(&same), "{same:?}");
                    assert!(number == 0 || same == Addition::PathTaken("same_0".to_owned()), "{same:?}");
                }
            }
        });
        futures::future::join_all(adding).await;
        let codes = async || {
            let types = store.catalogue().await.expect("the catalogue").resource_types;
            types.iter().map(|one| one.code.0).collect::<Vec<_>>()
        };
        assert_eq!(codes().await, (0..7 + 8 * 4 + 1).collect::<Vec<_>>());
        for number in codes().await.len()..1_000 {
            assert_eq!(add(&store, &format!("more_{number}"), None).await, Addition::Added);
        }
        assert_eq!(remove(&store, "more_200").await, Removal::Removed(None));
        assert_eq!(add(&store, "too_many", None).await, Addition::Full(1_000));
        let (code, _, stderr) = catalogue(database, &["add", "resource-type", "too_many"]);
        assert_eq!((code, stderr.as_str()), (Some(1), "error: 1000 resource types are the maximum, and removed ones count\n"));
        assert_eq!(add(&store, "more_200", None).await, Addition::Added, "it has its place");
        assert_eq!(codes().await.into_iter().collect::<BTreeSet<_>>().len(), 1_000);
    }

    async fn a_type_that_is_used_while_it_is_removed_stays(database: &Database) {
        let service = Service::start(database).await;
        let key = service.key(Some("org_a"), &BOTH).await;
        for (added, path) in [("webhook", "webhooks"), ("gadget", "gadgets")] {
            assert_eq!(add(&service.store, added, Some(path)).await, Addition::Added);
        }
        // For the next five seconds, this service has both in its cache.
        let write = async |entry: serde_json::Value| service.post("/v1/org_a/audit-logs", &key, &json!({"auditLogs": [entry]})).await.status;
        assert_eq!(write(least("log_0")).await, 201);
        let removing = ["webhook", "gadget"].map(|removed| {
            let mut command = auditlog();
            command.args(["catalogue", "remove", "resource-type", removed]).env("AUDITLOG_DATABASE_URL", &database.url);
            command.stderr(std::process::Stdio::piped()).spawn().expect("it starts")
        });
        let removed = async || {
            let types = service.store.catalogue().await.expect("it is read").resource_types;
            types.iter().filter(|one| one.is_removed).count()
        };
        while removed().await < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(write(of_type("log_1", "webhook")).await, 201, "it has not noticed");
        let [webhook, gadget] = removing.map(|command| command.wait_with_output().expect("it ends"));
        let stderr = text(&webhook.stderr);
        assert_eq!(webhook.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("it was used during the removal, and stays: webhook is in use: organization org_a"), "{stderr}");
        assert_eq!(gadget.status.code(), Some(0), "{}", text(&gadget.stderr));
        let listed = catalogue(database, &["list"]).1;
        assert!(listed.contains("webhook\twebhooks") && !listed.contains("gadget"), "{listed}");
        assert_eq!(write(of_type("log_2", "gadget")).await, 400, "it has noticed");
    }
}
