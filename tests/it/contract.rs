//! Sends the same requests, valid and invalid, to REST of the service, REST of a gateway, and gRPC. Entries, totals,
//! cursors and codes must be the same.

use auditlog::access::Scope;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::support::json::least;
use crate::support::surfaces::{Ask, Surfaces, code};
use crate::support::trail::{self, ORGANIZATION};
use crate::support::{Backend, Database, Service, on_every_database, run, say};

/// Random reads on each database, each followed by up to two cursor pages.
const READS: usize = 300;

/// Values from the trail, values without entries, and invalid values.
fn value(random: &mut StdRng, name: &str) -> String {
    let entry: Value = serde_json::from_str(trail::lines().choose(random).expect("lines")).expect("JSON");
    let own = |key: &str| entry[key].as_str().expect("a string").to_owned();
    let odd: &[&str] = match name {
        "resourceType" => &["rules", "", "thread", "RULE"],
        "action" => &["create", "", "shared"],
        "startDate" | "endDate" => &["2019", "yesterday", "2018-02-30", "2018-06-01", "2019-01-01T00:00:00 01:00"],
        "limit" => &["0", "1", "100", "101", "-1", "ten", "+5", "1.0"],
        "offset" => &["0", "-1", "80402", "80403", "9223372036854775807", "9223372036854775808", "x"],
        "cursor" => &["", "x", "AQAAAAAAAAAB"],
        _ => &["", "nobody", "a\0b", "é", "x y"],
    };
    match name {
        _ if random.random_bool(0.12) => (*odd.choose(random).expect("values")).to_owned(),
        "resourceType" | "resourceId" | "action" | "userId" => own(name),
        "startDate" | "endDate" => own("timestamp")[..*[10, 20].choose(random).expect("lengths")].to_owned(),
        "limit" => random.random_range(1..=100).to_string(),
        "offset" => random.random_range(0..2_000).to_string(),
        _ => "x".to_owned(),
    }
}

fn path(random: &mut StdRng) -> String {
    const NAMES: [&str; 10] = [
        "resourceType",
        "resourceId",
        "action",
        "userId",
        "startDate",
        "endDate",
        "limit",
        "offset",
        "action",
        "userId",
    ];
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut query: Vec<_> = Vec::new();
    for _ in 0..random.random_range(0..5) {
        let name = if random.random_bool(0.03) { "cursor" } else { *NAMES.choose(random).expect("names") };
        let name = if random.random_bool(0.02) { "resourcetype" } else { name };
        query.push(format!("{name}={}", encode(&value(random, name))));
    }
    let base = match random.random_range(0..10) {
        0 => format!("/v1/{ORGANIZATION}/audit-logs/{}", encode(&value(random, "userId"))),
        1 => {
            let entry: Value = serde_json::from_str(trail::lines().choose(random).expect("lines")).expect("JSON");
            format!("/v1/{ORGANIZATION}/audit-logs/{}", entry["id"].as_str().expect("an id"))
        }
        2 | 3 => {
            let segments = ["assistants", "threads", "vector-stores", "rules", "mcp-configurations", "users", "rule"];
            let segment = segments.choose(random).expect("segments");
            format!("/v1/{segment}/{}/history", encode(&value(random, "resourceId")))
        }
        4 => "/v1/org_none/audit-logs".to_owned(),
        _ => format!("/v1/{ORGANIZATION}/audit-logs"),
    };
    if query.is_empty() { base } else { format!("{base}?{}", query.join("&")) }
}

/// Compares the surfaces. Returns the code and the cursor of the next page.
async fn compare(surfaces: &Surfaces, path: &str, key: &str) -> (String, Option<String>) {
    let answer = surfaces.rest(&Ask::get(path, key)).await;
    match surfaces.grpc(path, key).await {
        Some(Ok(page)) => assert_eq!((answer.status, &answer.text), (200, &page), "{path}"),
        Some(Err(code)) => assert_eq!(answer.code(), code, "{path}: {}", answer.text),
        // If gRPC cannot express the request, REST must refuse it.
        None => assert!((400..=404).contains(&answer.status), "{path}: {}", answer.text),
    }
    let cursor = answer.body()["pagination"]["nextCursor"].as_str().map(str::to_owned);
    (answer.code(), cursor)
}

fn reads(backend: Backend) {
    run(async {
        let Some(database) = trail::database(backend).await else {
            return;
        };
        let surfaces = Surfaces::start(Service::start(database).await).await;
        let service = &surfaces.service;
        let reader = service.key(Some(ORGANIZATION), &[Scope::Read]).await;
        let keys = [
            reader.clone(),
            service.key(Some("org_other"), &[Scope::Read]).await,
            service.key(Some(ORGANIZATION), &[Scope::Write]).await,
            service.key(None, &[Scope::Read]).await,
            "al_nonsense".to_owned(),
        ];
        let mut random = StdRng::seed_from_u64(7);
        let mut codes = std::collections::BTreeMap::<String, usize>::new();
        for _ in 0..READS {
            let key = if random.random_bool(0.8) { &reader } else { keys.choose(&mut random).expect("keys") };
            let mut path = path(&mut random);
            for _ in 0..3 {
                let (code, cursor) = compare(&surfaces, &path, key).await;
                *codes.entry(code).or_default() += 1;
                let Some(cursor) = cursor else { break };
                let (base, query) = path.split_once('?').unwrap_or((&path, ""));
                let kept = query.split('&').filter(|pair| {
                    !pair.is_empty() && !["offset=", "cursor="].iter().any(|name| pair.starts_with(name))
                });
                let query: Vec<_> = kept.map(str::to_owned).chain([format!("cursor={cursor}")]).collect();
                path = format!("{base}?{}", query.join("&"));
            }
        }
        say(&format!("{backend:?}: the surfaces agree; codes {codes:?}"));
        for code in [
            "ok",
            "invalid_parameter",
            "unknown_parameter",
            "organization_not_found",
            "audit_log_not_found",
            "route_not_found",
            "insufficient_permissions",
            "invalid_api_key",
        ] {
            assert!(codes.contains_key(code), "no request was answered {code}: {codes:?}");
        }
    });
}

#[test]
fn reads_are_answered_alike_on_every_surface_sqlite() {
    reads(Backend::Sqlite);
}

#[test]
fn reads_are_answered_alike_on_every_surface_postgres() {
    reads(Backend::Postgres);
}

on_every_database! {
    async fn writes_are_answered_alike_on_every_surface(database: &Database) {
        let surfaces = Surfaces::start(Service::start(database).await).await;
        let service = &surfaces.service;
        let writer = service.key(None, &[Scope::Read, Scope::Write]).await;
        let keys = [
            writer.clone(), service.key(Some("org_other"), &[Scope::Write]).await,
            service.key(Some("org_w"), &[Scope::Read]).await, "al_nonsense".to_owned(),
        ];
        let mut random = StdRng::seed_from_u64(11);
        let mut codes = std::collections::BTreeMap::<String, usize>::new();
        for number in 0..100 {
            let key = if random.random_bool(0.8) { &writer } else { keys.choose(&mut random).expect("keys") };
            let mut entries: Vec<_> = (0..random.random_range(1..4)).map(|_| least(&format!("log_{}", random.random_range(0..120)))).collect();
            let last = entries.len() - 1;
            match random.random_range(0..12) {
                0 => entries[last]["userName"] = json!(format!("User {number}")),
                1 => entries[last]["action"] = json!("made"),
                2 => entries[last]["id"] = json!("bad id"),
                3 => entries[last]["timestamp"] = json!("2025-01-20T10:30:00.1234567Z"),
                4 => entries.clear(),
                5 => entries[last]["changes"] = json!([{"field": "f", "oldValue": null, "newValue": [1, {"a": 2}]}]),
                _ => {}
            }
            let body = serde_json::to_vec(&json!({"auditLogs": entries})).expect("JSON");
            // The first call writes and the others replay, so `replayed` may differ.
            let grpc = surfaces.grpc_write("org_w", key, &body).await.expect("a request");
            let answer = surfaces.rest(&Ask::post("/v1/org_w/audit-logs", key, body)).await;
            *codes.entry(answer.code()).or_default() += 1;
            match grpc {
                Ok(mut written) => {
                    for one in written["auditLogs"].as_array_mut().expect("entries") {
                        one["replayed"] = json!(true);
                    }
                    assert_eq!((answer.status, answer.body()), (201, written));
                }
                Err(status) => assert_eq!(answer.code(), code(status), "{}", answer.text),
            }
        }
        say(&format!("{:?}: the surfaces agree; codes {codes:?}", database.backend));
        for code in ["ok", "invalid_parameter", "id_conflict", "organization_not_found", "insufficient_permissions", "invalid_api_key"] {
            assert!(codes.contains_key(code), "no request was answered {code}: {codes:?}");
        }
    }
}
