//! `auditlog prove` and `auditlog verify-proof`: valid and forged files. A second verifier, written in Python from
//! docs/verifying.md and docs/LEAF_FORMAT.md, must agree.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use auditlog::domain::{Group, Timestamp};
use auditlog_verify::log::Proof;
use auditlog_verify::merkle::{Hash, Leaf, SaltedFields};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::{Verified, client, id};
use crate::support::log::signed;
use crate::support::process::{auditlog, program, ran, text};
use crate::support::trail::{ENTRIES as TRAIL, lines};
use crate::support::{Backend, Database, on_every_database};

const ENTRIES: usize = 600;
const ENTRY: usize = 257;

fn prove(verified: &Verified<'_>, seq: usize, redact: &str) -> String {
    let (id, key) = (id(seq), verified.public.text());
    let mut arguments = vec!["prove", &id, "--public-key", &key];
    if !redact.is_empty() {
        arguments.extend(["--redact", redact]);
    }
    let (code, proof, stderr) = verified.run(&arguments);
    assert_eq!(code, Some(0), "{stderr}");
    proof
}

/// Verifies a proof from standard input. Returns the exit code and the output.
fn verdict(proof: &[u8], key: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let mut child = auditlog()
        .args(["verify-proof", "-", "--public-key", key])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("a pipe").write_all(proof).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(text(&output.stderr), "");
    (output.status.code(), text(&output.stdout).trim_end().to_owned())
}

fn extra(proof: &str) -> Value {
    let line = proof.lines().nth(1).and_then(|line| line.strip_prefix("extra ")).expect("an extra line");
    serde_json::from_slice(&STANDARD.decode(line).expect("base64")).expect("JSON")
}

fn with_extra(proof: &str, extra: &Value) -> String {
    let line = proof.lines().nth(1).expect("a line");
    proof.replacen(line, &format!("extra {}", STANDARD.encode(extra.to_string())), 1)
}

/// `proof` with its extra data edited.
fn edited(proof: &str, edit: impl FnOnce(&mut Value)) -> String {
    let mut edited = extra(proof);
    edit(&mut edited);
    with_extra(proof, &edited)
}

/// Forged proofs, and proofs of other entries, each with a name.
fn forged(proof: &str, other: &str) -> Vec<(String, String)> {
    let lines: Vec<_> = proof.lines().collect();
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let mut forged = Vec::new();
    for (place, line) in lines.iter().enumerate() {
        let at = place + 1;
        let mut with = |name: &str, lines: Vec<&str>| forged.push((format!("line {at} {name}"), joined(&lines)));
        with("dropped", [&lines[..place], &lines[place + 1..]].concat());
        // A duplicate of the last line, a signature, is still valid.
        if at < lines.len() {
            with("twice", [&lines[..=place], &lines[place..]].concat());
        }
        with("with an end", [&lines[..place], &[&format!("{line} ")], &lines[place + 1..]].concat());
        with("with a beginning", [&lines[..place], &[&format!(" {line}")], &lines[place + 1..]].concat());
        let halfway = line.char_indices().nth(line.chars().count() / 2).map_or(0, |(at, _)| at);
        if !line.is_empty() {
            with("cut", [&lines[..place], &[&line[..halfway]], &lines[place + 1..]].concat());
            let other = if line[halfway..].starts_with('A') { "B" } else { "A" };
            let rest = line[halfway..].char_indices().nth(1).map_or("", |(at, _)| &line[halfway + at..]);
            with(
                "with another letter",
                [&lines[..place], &[&format!("{}{other}{rest}", &line[..halfway])], &lines[place + 1..]].concat(),
            );
        }
        if place > 0 {
            let mut swapped = lines.clone();
            swapped.swap(place - 1, place);
            with("exchanged with the one before", swapped);
        }
        // A line of another entry's proof.
        if let Some(theirs) = other.lines().nth(place).filter(|theirs| theirs != line) {
            with("of another proof", [&lines[..place], &[theirs], &lines[place + 1..]].concat());
        }
    }
    forged.push(("with the line ends of Windows".to_owned(), proof.replace('\n', "\r\n")));
    forged.push(("without its last line end".to_owned(), proof.trim_end().to_owned()));
    forged.push(("empty".to_owned(), String::new()));
    forged.extend(forged_extras(proof));
    forged
}

/// Proofs with a changed leaf.
fn forged_leaves(proof: &str) -> Vec<(String, String)> {
    let mut forged = Vec::new();
    let leaf = text(&STANDARD.decode(extra(proof)["leaf"].as_str().expect("base64")).expect("base64"));
    for line in leaf.lines() {
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        let other = match name {
            "seq" => "301".to_owned(),
            "log" | "id" | "writer" => value.chars().rev().collect(),
            "recorded" => value.replacen('2', "1", 1),
            "auditlog/entry/v1" => "x".to_owned(),
            _ => STANDARD.encode([7; 32]),
        };
        let changed = leaf.replacen(line, &format!("{name} {other}"), 1);
        let proof = edited(proof, |extra| extra["leaf"] = STANDARD.encode(&changed).into());
        forged.push((format!("another {name} in the leaf"), proof));
    }
    forged
}

fn forged_extras(proof: &str) -> Vec<(String, String)> {
    let mut forged = forged_leaves(proof);
    let mut with = |name: &str, edit: &dyn Fn(&mut Value)| forged.push((name.to_owned(), edited(proof, edit)));
    for group in ["facts", "actor", "content"] {
        let fields = extra(proof)["groups"][group]["fields"].as_array().expect("fields").len();
        for (salt, length) in [("another", 16), ("a short", 15)] {
            with(&format!("{salt} salt of {group}"), &|extra| {
                extra["groups"][group]["salt"] = STANDARD.encode(&[7; 16][..length]).into()
            });
        }
        with(&format!("no salt of {group}"), &|extra| {
            drop(extra["groups"][group].as_object_mut().expect("an object").remove("salt"))
        });
        with(&format!("more in {group}"), &|extra| extra["groups"][group]["more"] = 1.into());
        with(&format!("a field more in {group}"), &|extra| {
            extra["groups"][group]["fields"].as_array_mut().expect("fields").push(json!(["x", "y"]));
        });
        for place in 0..fields {
            for part in 0..2 {
                with(&format!("another part {part} of field {place} of {group}"), &|extra| {
                    let text = &mut extra["groups"][group]["fields"][place][part];
                    *text = format!("{}x", text.as_str().expect("a string")).into();
                });
                with(&format!("part {part} of field {place} of {group} is no string"), &|extra| {
                    extra["groups"][group]["fields"][place][part] = 1.into();
                });
            }
            with(&format!("without field {place} of {group}"), &|extra| {
                drop(extra["groups"][group]["fields"].as_array_mut().expect("fields").remove(place));
            });
            if place > 0 {
                with(&format!("fields {place} of {group} exchanged"), &|extra| {
                    extra["groups"][group]["fields"].as_array_mut().expect("fields").swap(place - 1, place);
                });
            }
        }
    }
    with("groups exchanged", &|extra| {
        let facts = extra["groups"]["facts"].take();
        extra["groups"]["facts"] = extra["groups"]["content"].take();
        extra["groups"]["content"] = facts;
    });
    with("another group", &|extra| extra["groups"]["other"] = json!({ "salt": "", "fields": [] }));
    with("more", &|extra| extra["more"] = 1.into());
    with("no leaf", &|extra| drop(extra.as_object_mut().expect("an object").remove("leaf")));
    with("no groups", &|extra| drop(extra.as_object_mut().expect("an object").remove("groups")));
    with("no object", &|extra| *extra = json!([1]));
    forged
}

/// Proves random entries of the trail and compares the result with the trail.
pub fn prove_some_of_the_trail(verified: &Verified<'_>) {
    let seed: u64 = std::env::var("AUDITLOG_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(17);
    let mut random = StdRng::seed_from_u64(seed);
    let key = verified.public.text();
    for place in (0..8).map(|_| random.random_range(1..=TRAIL)).chain([TRAIL]) {
        let (code, output) = verdict(prove(verified, place, "").as_bytes(), &key, &["--json"]);
        let json: Value = serde_json::from_str(&output).expect("JSON");
        let line: Value = serde_json::from_str(&lines()[place - 1]).expect("JSON");
        assert_eq!((code, &json["id"], &json["size"]), (Some(0), &line["id"], &TRAIL.into()), "{json}");
        assert_eq!(json["groups"]["facts"]["userId"], line["userId"]);
        assert_eq!(json["groups"]["content"]["changes.0.field"], line["changes"][0]["field"]);
    }
}

/// A proof with a valid leaf, tree and signature, for groups of exactly these fields.
fn made_of(groups: [&[(&str, &str)]; 3]) -> String {
    let log_id = "0123456789abcdef0123456789abcdef";
    let groups = groups.map(|fields| {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        SaltedFields { salt: [7; 16], fields }
    });
    let hashes = Group::ALL.map(|group| groups[group as usize].hash(group));
    let leaf =
        Leaf { log_id, seq: 1, id: "log_1", recorded_at: Timestamp::MIN, writer: "Key000000000", groups: hashes };
    let data = leaf.data();
    let (_, note) = signed(log_id, 1, Hash::of_leaf(&data));
    Proof { leaf: data, groups: groups.map(Some), index: 0, hashes: Vec::new(), note }.text()
}

const FACTS: [(&str, &str); 5] = [
    ("timestamp", "2025-01-20T10:30:00.000000Z"),
    ("resourceType", "rule"),
    ("resourceId", "r"),
    ("action", "updated"),
    ("userId", "u"),
];
const CHANGE: [(&str, &str); 3] =
    [("changes.0.field", ""), ("changes.0.oldValue", "null"), ("changes.0.newValue", "1")];

/// Groups that no entry can have, although their leaf is valid.
fn no_groups() -> Vec<(&'static str, String)> {
    let facts = |fields: &[(&str, &str)]| made_of([fields, &[], &[]]);
    let actor = |fields: &[(&str, &str)]| made_of([&FACTS, fields, &[]]);
    let content = |fields: &[(&str, &str)]| made_of([&FACTS, &[], fields]);
    let [a, b, c] = CHANGE;
    vec![
        ("no facts", facts(&[])),
        ("a fact missing", facts(&FACTS[..4])),
        ("a fact twice", facts(&[&FACTS[..], &FACTS[4..]].concat())),
        ("facts in another order", facts(&[FACTS[1], FACTS[0], FACTS[2], FACTS[3], FACTS[4]])),
        ("an invented fact", facts(&[&FACTS[..], &[("role", "admin")]].concat())),
        ("a time in another form", facts(&[&[("timestamp", "2025-01-20T10:30:00Z")], &FACTS[1..]].concat())),
        ("an empty trace", facts(&[&FACTS[..], &[("traceId", "")]].concat())),
        ("an empty outcome", facts(&[&FACTS[..], &[("outcome", "")]].concat())),
        ("an empty actor type", facts(&[&FACTS[..], &[("actorType", "")]].concat())),
        ("a trace after the outcome", facts(&[&FACTS[..], &[("outcome", "denied"), ("traceId", "t")]].concat())),
        ("an actor type before it", facts(&[&FACTS[..], &[("actorType", "user"), ("outcome", "denied")]].concat())),
        ("an outcome twice", facts(&[&FACTS[..], &[("outcome", "denied"), ("outcome", "denied")]].concat())),
        ("names in another order", actor(&[("userEmail", "e"), ("userName", "n")])),
        ("a name twice", actor(&[("userName", "n"), ("userName", "m")])),
        ("an empty name", actor(&[("userName", "")])),
        ("metadata twice", actor(&[("metadata.a", "1"), ("metadata.a", "2")])),
        ("metadata in another order", actor(&[("metadata.b", "1"), ("metadata.a", "2")])),
        ("a name after metadata", actor(&[("metadata.b", "1"), ("userName", "n")])),
        ("an invented value", actor(&[("x", "y")])),
        ("a fact elsewhere", actor(&[("userId", "u")])),
        ("a change without its end", content(&[a, b])),
        ("a change in another order", content(&[a, c, b])),
        ("an empty fact", facts(&[&FACTS[..4], &[("userId", "")]].concat())),
        ("a value that is NaN", content(&[a, b, ("changes.0.newValue", "NaN")])),
        ("a value 33 levels deep", content(&[a, b, ("changes.0.newValue", &("[".repeat(33) + &"]".repeat(33)))])),
        ("a value that is no JSON", content(&[a, b, ("changes.0.newValue", "x")])),
        ("a value with white space", content(&[a, b, ("changes.0.newValue", "[1, 2]")])),
        ("a change twice", content(&[a, b, c, a, b, c])),
        (
            "changes from one on",
            content(&[("changes.1.field", "f"), ("changes.1.oldValue", "1"), ("changes.1.newValue", "2")]),
        ),
        ("a name after changes", content(&[a, b, c, ("resourceName", "n")])),
        ("an invented content", content(&[("resourceName", "n"), ("more", "1")])),
    ]
}

#[test]
fn impossible_groups_are_refused_here_and_in_python() {
    let (key, _) = signed("0123456789abcdef0123456789abcdef", 1, Hash::of_nothing());
    let key = key.text();
    let [a, b, c] = CHANGE;
    let facts = [&FACTS[..], &[("traceId", "t"), ("outcome", "denied"), ("actorType", "service")]].concat();
    let outcome_only = [&FACTS[..], &[("outcome", "failure")]].concat();
    let good = made_of([
        &facts,
        &[("userName", "n"), ("userEmail", "e"), ("metadata.", ""), ("metadata.B", "1"), ("metadata.a", "2")],
        &[
            ("resourceName", "n"),
            a,
            b,
            c,
            ("changes.1.field", "f"),
            ("changes.1.oldValue", "1"),
            ("changes.1.newValue", "2"),
        ],
    ]);
    let mut proofs = vec![good, made_of([&FACTS, &[], &CHANGE]), made_of([&outcome_only, &[], &[]])];
    let is_true = proofs.len();
    for proof in &proofs {
        let (code, output) = verdict(proof.as_bytes(), &key, &[]);
        assert_eq!(code, Some(0), "{output}");
    }
    for (name, proof) in no_groups() {
        let (code, output) = verdict(proof.as_bytes(), &key, &[]);
        assert!(code == Some(1) && output.contains("no entry has"), "{name}: {output}");
        proofs.push(proof);
    }
    let directory = tempfile::tempdir().expect("a directory");
    let Some(verdicts) = by_python(&proofs, &key, directory.path()) else { return };
    assert_eq!(verdicts, (0..proofs.len()).map(|place| place < is_true).collect::<Vec<_>>());
}

/// The verdicts of the Python verifier. `None` without Python, or without openssl to check Ed25519.
fn by_python(proofs: &[String], key: &str, directory: &std::path::Path) -> Option<Vec<bool>> {
    let python = program(&["python3", "/usr/bin/python3"], &["-c", "import hashlib"])?;
    program(&["openssl"], &["list", "-public-key-algorithms"])?;
    for (number, proof) in proofs.iter().enumerate() {
        fs::write(directory.join(format!("{number}.tlog-proof")), proof).expect("a file");
    }
    let files = (0..proofs.len()).map(|number| directory.join(format!("{number}.tlog-proof")));
    let output = Command::new(python).arg("-B").arg(client("proof.py")).arg(key).args(files).output().expect("it runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    Some(text(&output.stdout).lines().map(|line| line.starts_with("verified")).collect())
}

on_every_database! {
    async fn an_entry_is_proved_offline(database: &Database) {
        let verified = Verified::with(database, ENTRIES).await;
        let key = verified.public.text();
        for seq in [1, 256, ENTRY, 300, ENTRIES] {
            let proof = prove(&verified, seq, "");
            assert!(proof.starts_with("c2sp.org/tlog-proof@v1\nextra ") && proof.contains(&format!("\nindex {}\n", seq - 1)));
            let (code, output) = verdict(proof.as_bytes(), &key, &[]);
            assert_eq!(code, Some(0), "{output}");
            let first = format!("verified: entry {seq} of {}, whose signed checkpoint has 600 entries", verified.public.name());
            assert_eq!(output.lines().next(), Some(first.as_str()));
            // The proof contains all values of the trail.
            let (code, output) = verdict(proof.as_bytes(), &key, &["--json"]);
            let json: Value = serde_json::from_str(&output).expect("JSON");
            let line: Value = serde_json::from_str(&lines()[seq - 1]).expect("JSON");
            assert_eq!((code, &json["verified"], &json["id"], &json["sequence"]), (Some(0), &true.into(), &line["id"], &seq.into()));
            assert_eq!(json["groups"]["facts"]["userId"], line["userId"]);
            assert_eq!(json["groups"]["actor"]["userName"], line["userName"]);
            assert_eq!(json["groups"]["content"]["changes.0.field"], line["changes"][0]["field"]);
        }
        let redacted = prove(&verified, ENTRY, "actor,content");
        let kept: BTreeSet<_> = extra(&redacted)["groups"].as_object().expect("groups").keys().cloned().collect();
        assert_eq!(kept, BTreeSet::from(["facts".to_owned()]));
        let (code, output) = verdict(redacted.as_bytes(), &key, &[]);
        assert_eq!(code, Some(0));
        for group in ["actor", "content"] {
            assert!(output.contains(&format!("\n{group}: not in the proof (redacted or erased)")), "{output}");
        }
        // An existing file is not overwritten.
        let (file, id) = (verified.file("proof"), id(ENTRY));
        let arguments = ["prove", &id, "--public-key", &key, "--output", &file];
        assert_eq!(verified.run(&arguments).0, Some(0));
        assert_eq!(fs::read_to_string(&file).expect("the file"), prove(&verified, ENTRY, ""));
        let (code, _, stderr) = verified.run(&arguments);
        assert!(code == Some(1) && stderr.contains("already exists; choose another --output"), "{stderr}");
        assert_eq!(ran(&["verify-proof", &file, "--public-key", &key], &[]).0, Some(0));
        let (code, _, stderr) = ran(&["verify-proof", "nowhere", "--public-key", &key], &[]);
        assert!(code == Some(3) && stderr.contains("cannot read nowhere"), "{stderr}");
        let (code, _, stderr) = ran(&["verify-proof", &file], &[]);
        assert!(code == Some(2) && stderr.contains("--public-key is required"), "{stderr}");
        let (code, _, stderr) = verified.run(&["prove", "log_none", "--public-key", &key]);
        assert!(code == Some(1) && stderr.contains("Audit log not found"), "{stderr}");
    }

    async fn a_forged_proof_is_refused_here_and_in_python(database: &Database) {
        let verified = Verified::with(database, ENTRIES).await;
        let key = verified.public.text();
        let (proof, other) = (prove(&verified, ENTRY, ""), prove(&verified, ENTRY + 2, ""));
        // A proof of the same entry in a larger tree is valid, too.
        verified.import(ENTRIES..ENTRIES + 50);
        verified.sign(ENTRIES as u64 + 50).await;
        let later = prove(&verified, ENTRY, "");
        let forged: Vec<_> = forged(&proof, &other).into_iter().chain(forged_extras(&later)).collect();
        assert!(forged.len() > 150, "{}", forged.len());
        for (name, proof) in &forged {
            let (code, output) = verdict(proof.as_bytes(), &key, &[]);
            assert!(code == Some(1) && output.starts_with("NOT VERIFIED: "), "{name}: {output}");
        }
        let mut bytes = proof.clone().into_bytes();
        bytes[40] = 0xff;
        assert_eq!(verdict(&bytes, &key, &[]).0, Some(1));
        let (code, output) = verdict(proof.replace("index ", "index 0").as_bytes(), &key, &[]);
        assert_eq!((code, output.as_str()), (Some(1), "NOT VERIFIED: line 3: must be index and a number"));
        let others = key.replace(&key[key.len() - 8..], "AAAAAAA=");
        assert_eq!(ran(&["verify-proof", "-", "--public-key", &others], &[]).0, Some(2), "no key at all");
        let mut proofs = vec![proof, other, later, prove(&verified, ENTRY, "actor,content")];
        let is_true = proofs.len();
        proofs.extend(forged.iter().map(|(_, proof)| proof.clone()));
        let Some(verdicts) = by_python(&proofs, &key, database.directory.path()) else { return };
        assert_eq!(verdicts.len(), proofs.len());
        for (place, verdict) in verdicts.into_iter().enumerate() {
            let name = place.checked_sub(is_true).map_or("a true one", |place| &forged[place].0);
            assert_eq!(verdict, place < is_true, "{name}");
        }
    }
}
