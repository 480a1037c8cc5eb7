//! Records of administration, and the log that has them.

use super::*;

const SERVICE: &str = "auditlog:service";
const ROOT: &str = "JvrsJYTMI3ABfKXiSFpbXKa+Eiyk1A/KlrQYKEZUZgE=";

/// A change with this JSON text as its new value.
fn fact(field: &str, text: &str) -> Change {
    Change { field: field.to_owned(), old_value: JsonText::null(), new_value: json(text) }
}

fn facts(facts: &[(&str, &str)]) -> Vec<Change> {
    facts.iter().map(|(field, text)| fact(field, text)).collect()
}

/// The first entry of the log of `organization`.
fn record(organization: &str, kind: &str, changes: Vec<Change>) -> DisclosedEntry {
    let mut told = service(1, kind, changes);
    set(&mut told, Group::Facts, "resourceId", organization);
    hashed(told)
}

/// The verdict of a verifier on a log of `organization` with this entry alone.
fn verdict(organization: &str, told: &DisclosedEntry) -> String {
    let mut replay = LogReplay::new(&trust(), organization, VerifiedPrefix::nothing(), None);
    replay.entry(told).expect("it is the next entry");
    says(replay.bad().first().map(|(violation, _)| violation.clone()))
}

fn key() -> Vec<Change> {
    facts(&[
        ("id", "\"0Ab1Cd2Ef3Gh\""),
        ("name", "\"billing-service\""),
        ("scopes", "[\"read\",\"write\"]"),
        ("organization", "\"org_abc123\""),
        ("expiresAt", "\"2025-04-20T10:30:00.000000Z\""),
    ])
}

fn wide_key() -> Vec<Change> {
    facts(&[("id", "\"0Ab1Cd2Ef3Gh\""), ("scopes", "[\"read\"]"), ("organization", "null"), ("expiresAt", "null")])
}

fn resource_type() -> Vec<Change> {
    facts(&[("kind", "\"resource_type\""), ("name", "\"webhook\""), ("history", "\"webhooks\"")])
}

fn action() -> Vec<Change> {
    facts(&[("kind", "\"action\""), ("name", "\"user.login\""), ("history", "null")])
}

fn rollback() -> Vec<Change> {
    let [signed, now] = [10, 5].map(|size| format!("\"{size} {ROOT}\""));
    facts(&[
        ("organization", "\"org_abc123\""),
        ("log", &format!("\"{LOG}\"")),
        ("findings", "[\"rolled_back\"]"),
        ("stateFile", &signed),
        ("checkpoint", "null"),
        ("head", &now),
    ])
}

fn records() -> Vec<(&'static str, Vec<Change>)> {
    vec![
        ("key-created", key()),
        ("key-created", wide_key()),
        ("key-revoked", key()),
        ("key-revoked", wide_key()),
        ("catalogue-added", resource_type()),
        ("catalogue-added", action()),
        ("catalogue-removed", resource_type()),
        ("catalogue-removed", action()),
        ("rollback-acknowledged", rollback()),
    ]
}

#[test]
fn administration_is_recorded_in_the_log_of_the_service_alone() {
    for (kind, changes) in records() {
        assert_eq!(verdict(SERVICE, &record(SERVICE, kind, changes.clone())), "verified", "{kind}");
        let elsewhere = verdict(ORGANIZATION, &record(ORGANIZATION, kind, changes.clone()));
        let expected = "added: entry 1: it records administration, as only the log of auditlog:service does";
        assert_eq!(elsewhere, expected, "{kind}");
        let another = verdict(SERVICE, &record(ORGANIZATION, kind, changes));
        assert!(another.contains("it is not about the organization"), "{kind}: {another}");
    }
    let rotation = vec![change("verifierKey", &super::key().verifier(origin()).text())];
    assert_eq!(verdict(SERVICE, &record(SERVICE, "rotation", rotation)), "verified");
    let unknown = verdict(SERVICE, &record(SERVICE, "key-renamed", key()));
    assert!(unknown.contains("of a kind that this version does not know"), "{unknown}");
}

#[test]
fn a_record_of_administration_has_its_facts_in_their_order_alone() {
    for (kind, changes) in records() {
        let assert_refused = |changes: Vec<Change>| {
            let told = verdict(SERVICE, &record(SERVICE, kind, changes.clone()));
            assert_eq!(told, format!("added: entry 1: it is no record of the kind {kind}"), "{changes:?}");
        };
        for place in 0..changes.len() {
            let mut without = changes.clone();
            let gone = without.remove(place);
            // Only the name of a key may be missing.
            if gone.field != "name" || kind.starts_with("catalogue") {
                assert_refused(without);
            }
            assert_refused([&changes[..=place], &changes[place..]].concat());
            let mut swapped = changes.clone();
            swapped.rotate_left(1);
            assert_refused(swapped);
        }
        assert_refused([changes, vec![fact("by", "\"root\"")]].concat());
    }
}

#[test]
fn each_fact_of_administration_has_one_form() {
    let cases: [(&str, Vec<Change>, &str, &[&str]); 10] = [
        ("key-created", key(), "id", &["null", "7", "\"\"", "\"a b\"", "[\"a\"]"]),
        ("key-created", key(), "name", &["null", "7", "\"\""]),
        ("key-revoked", key(), "scopes", &["null", "\"read\"", "[7]", "[\"\"]", "{}"]),
        ("key-created", key(), "organization", &["7", "\"\"", "[]"]),
        (
            "key-created",
            key(),
            "expiresAt",
            &["7", "\"soon\"", "\"2025-04-20T10:30:00Z\"", "\"2025-04-20T12:30:00.000000+02:00\""],
        ),
        ("catalogue-added", action(), "kind", &["null", "\"actor_type\"", "1"]),
        ("catalogue-removed", action(), "name", &["null", "\"\""]),
        ("catalogue-added", resource_type(), "history", &["7", "\"\""]),
        ("rollback-acknowledged", rollback(), "log", &["null", "\"0123\"", "7"]),
        (
            "rollback-acknowledged",
            rollback(),
            "stateFile",
            &["10", "\"10\"", "\"-1 JvrsJYTMI3ABfKXiSFpbXKa+Eiyk1A/KlrQYKEZUZgE=\"", "\"10 abc\""],
        ),
    ];
    for (kind, changes, field, values) in cases {
        for value in values {
            let mut changes = changes.clone();
            let change = changes.iter_mut().find(|change| change.field == field).expect("it is there");
            change.new_value = json(value);
            let told = verdict(SERVICE, &record(SERVICE, kind, changes));
            assert_eq!(told, format!("added: entry 1: it is no record of the kind {kind}"), "{field}: {value}");
        }
    }
}

#[test]
fn only_the_service_writes_to_its_log() {
    let why = "added: entry 1: it is no entry of the service, which alone writes to this log";
    assert_eq!(verdict(SERVICE, &entry(1)), why);
    assert_eq!(verdict(ORGANIZATION, &entry(1)), "verified");
}
