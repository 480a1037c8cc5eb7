//! Checks the leaf format against golden vectors, and against a Python implementation that was written only from
//! docs/LEAF_FORMAT.md.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use auditlog::domain::{Change, Group, JsonText, Random, Timestamp, hex};
use auditlog_verify::merkle::{
    ErasureRecord, GroupHash, Hash, KeyEndorsement, KeyName, Leaf, Salts, Values, VerifierKey,
};
use serde::{Deserialize, Serialize};

use crate::support::process::{program, text};

/// An entry as a verifier gets it: the values that the service returned, the salts, and the hashes of erased groups.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VectorEntry {
    log_id: String,
    sequence: i64,
    id: String,
    recorded_at: String,
    writer: String,
    timestamp: String,
    resource_type: String,
    resource_id: String,
    resource_name: Option<String>,
    action: String,
    user_id: String,
    user_name: Option<String>,
    user_email: Option<String>,
    changes: Vec<VectorChange>,
    metadata: BTreeMap<String, String>,
    trace_id: Option<String>,
    outcome: Option<String>,
    actor_type: Option<String>,
    /// In hex, for the groups that are not erased.
    salts: BTreeMap<String, String>,
    /// The hashes of the erased groups.
    erased: BTreeMap<String, String>,
    /// The origin of the log, for a record that keys have signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// The verifier keys that the verifier knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    verifier_keys: Vec<String>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VectorChange {
    field: String,
    old_value_json: String,
    new_value_json: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Computed {
    groups: Vec<String>,
    leaf_data: String,
    leaf_hash: String,
    signed_text: Option<String>,
    #[serde(default)]
    signed_by: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Vector {
    case: String,
    entry: VectorEntry,
    expected: Computed,
}

/// The results of this project for an entry.
fn computed(entry: &VectorEntry) -> Computed {
    let json = |text: &str| JsonText::parse(text).expect("JSON");
    let change = |change: &VectorChange| Change {
        field: change.field.clone(),
        old_value: json(&change.old_value_json),
        new_value: json(&change.new_value_json),
    };
    let changes: Vec<_> = entry.changes.iter().map(change).collect();
    let values = [
        Values::Facts {
            timestamp: Timestamp::parse(&entry.timestamp).expect("a time"),
            resource_type: &entry.resource_type,
            resource_id: &entry.resource_id,
            action: &entry.action,
            user_id: &entry.user_id,
            trace_id: entry.trace_id.as_deref(),
            outcome: entry.outcome.as_deref(),
            actor_type: entry.actor_type.as_deref(),
        },
        Values::Actor {
            user_name: entry.user_name.as_deref(),
            user_email: entry.user_email.as_deref(),
            metadata: &entry.metadata,
        },
        Values::Content { resource_name: entry.resource_name.as_deref(), changes: &changes },
    ];
    let groups = values.map(|values| match entry.erased.get(values.group().name()) {
        Some(hash) => GroupHash(Hash::parse(hash).expect("a hash")),
        None => {
            let salt = u128::from_str_radix(&entry.salts[values.group().name()], 16).expect("hex");
            values.hash(&salt.to_be_bytes())
        }
    });
    let recorded_at = Timestamp::parse(&entry.recorded_at).expect("a time");
    let VectorEntry { log_id, sequence, id, writer, .. } = entry;
    let leaf = Leaf { log_id, seq: *sequence, id, recorded_at, writer, groups };
    let data = leaf.data();
    assert_eq!(Leaf::parse(&data), Ok(leaf));
    let (signed_text, signed_by) = signatures(entry).unzip();
    Computed {
        groups: groups.map(|GroupHash(hash)| hash.to_string()).to_vec(),
        leaf_hash: Hash::of_leaf(&data).to_string(),
        leaf_data: text(&data),
        signed_text,
        signed_by: signed_by.unwrap_or_default(),
    }
}

/// The signed text, and the keys that signed it. `None` for an entry without signatures.
fn signatures(entry: &VectorEntry) -> Option<(String, Vec<String>)> {
    let origin = KeyName::parse(entry.origin.clone()?).expect("a name");
    let new = |field: &str| {
        let change = entry.changes.iter().find(|change| change.field == field).expect("it is there");
        serde_json::from_str::<String>(&change.new_value_json).expect("a string")
    };
    let keys = entry.verifier_keys.iter().map(|key| VerifierKey::parse(key).expect("a key"));
    if entry.id.starts_with("auditlog:rotation:") {
        let key = VerifierKey::parse(&new("verifierKey")).expect("a key");
        let introduction = KeyEndorsement::new(key, new("signatures"));
        let text = format!("auditlog/rotation/v1\n{}\n", introduction.key().text());
        let by = keys.filter(|key| introduction.is_signed_by(std::slice::from_ref(key))).map(|key| key.text());
        return Some((text, by.collect()));
    }
    let group = |change: &VectorChange| {
        let (seq, group) = change.field.strip_prefix("erased.")?.split_once('.')?;
        let hash = GroupHash(Hash::parse(&new(&change.field)).expect("a hash"));
        Some((seq.parse().expect("a number"), Group::parse(group).expect("a group"), hash))
    };
    let record = ErasureRecord {
        id: entry.id.clone(),
        user_id: entry.user_id.clone(),
        reason: entry.changes[0].new_value_json.clone(),
        groups: entry.changes.iter().filter_map(group).collect(),
    };
    let lines = new("signatures");
    let signed = |key: &VerifierKey| record.check(&origin, &lines, std::slice::from_ref(key)).is_ok();
    Some((record.text(&origin), keys.filter(signed).map(|key| key.text()).collect()))
}

/// The leaf hash of an entry in the shape of the vectors. Fails on another shape.
pub fn leaf_hash(entry: &str) -> String {
    computed(&serde_json::from_str(entry).expect("the shape of a vector")).leaf_hash
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../vectors/leaf.json")).expect("the vectors are JSON")
}

/// The results of the Python implementation; `None` without Python.
fn computed_by_python(entries: &[VectorEntry]) -> Option<Vec<Computed>> {
    let output = run_python(entries)?;
    assert!(output.status.success(), "leaf.py fails: {}", text(&output.stderr));
    Some(text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

/// Runs the Python implementation on `entries`; `None` without Python.
fn run_python(entries: &[VectorEntry]) -> Option<Output> {
    let python = program(&["python3", "/usr/bin/python3"], &["-c", "import hashlib"])?;
    let mut child = Command::new(python)
        .args(["-B", "tests/clients/python/leaf.py"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut input = child.stdin.take().expect("a pipe");
    let lines: Vec<_> = entries.iter().map(|entry| serde_json::to_string(entry).expect("JSON")).collect();
    // Write in a thread, because neither pipe can hold all data.
    let writer = std::thread::spawn(move || input.write_all((lines.join("\n") + "\n").as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads all");
    Some(output)
}

#[test]
fn the_golden_vectors_hold() {
    for Vector { case, entry, expected } in vectors() {
        assert_eq!(computed(&entry), expected, "{case}");
    }
}

#[test]
fn the_page_quotes_the_vectors() {
    let page = super::documentation::file("docs/LEAF_FORMAT.md");
    for Vector { case, expected, .. } in vectors() {
        assert!(page.contains(&format!("| {case} | `{}` |", expected.leaf_hash)), "{case}");
    }
}

#[test]
fn an_implementation_from_the_page_alone_gives_the_vectors() {
    let (entries, expected): (Vec<_>, Vec<_>) = vectors().into_iter().map(|one| (one.entry, one.expected)).unzip();
    let Some(computed) = computed_by_python(&entries) else { return };
    assert_eq!(computed, expected);
}

#[test]
fn an_implementation_from_the_page_alone_refuses_records_of_administration_with_other_facts() {
    let records: Vec<_> = vectors().into_iter().filter(|one| one.entry.resource_id == "auditlog:service").collect();
    assert_eq!(records.len(), 5);
    type Edit = fn(&mut VectorEntry);
    let edits: [(&str, Edit); 5] = [
        ("another order", |entry| entry.changes.reverse()),
        ("a fact less", |entry| drop(entry.changes.pop())),
        ("a fact twice", |entry| entry.changes.push(entry.changes[0].clone())),
        ("a fact of another form", |entry| entry.changes[0].new_value_json = "7".to_owned()),
        ("another organization", |entry| entry.resource_id = "org_abc123".to_owned()),
    ];
    for Vector { case, entry, .. } in records {
        for (what, edit) in edits {
            let mut edited = entry.clone();
            edit(&mut edited);
            let Some(output) = run_python(&[edited]) else { return };
            assert!(!output.status.success() && output.stdout.is_empty(), "{case}: {what}");
        }
    }
}

#[test]
fn an_implementation_from_the_page_alone_gives_the_same_leaves() {
    let random = Random::seeded(6962);
    let entries: Vec<_> = (1..=200).map(|sequence| drawn(&random, sequence)).collect();
    let Some(by_python) = computed_by_python(&entries) else { return };
    assert_eq!(by_python.len(), entries.len());
    for (entry, by_python) in entries.iter().zip(by_python) {
        assert_eq!(by_python, computed(entry), "{entry:?}");
    }
}

/// A random number below `bound`.
fn below(random: &Random, bound: u64) -> u64 {
    u64::from_be_bytes(random.bytes()) % bound
}

/// Random text with pieces that are easily mishandled.
fn drawn_text(random: &Random, least: u64) -> String {
    const PIECES: [&str; 20] = [
        "a",
        "Z",
        "0",
        ".",
        " ",
        "\n",
        "\r\n",
        "\t",
        "\"",
        "\\",
        "/",
        "metadata.",
        "\u{7f}",
        "é",
        "e\u{301}",
        "ß",
        "\u{2028}",
        "\u{ffff}",
        "😀",
        "\u{feff}",
    ];
    let pieces = least + below(random, 5);
    (0..pieces).map(|_| PIECES[below(random, 20) as usize]).collect()
}

fn drawn_json(random: &Random) -> String {
    let string = serde_json::to_string(&drawn_text(random, 0)).expect("JSON");
    match below(random, 6) {
        0 => "null".to_owned(),
        1 => format!("{}.0", below(random, u64::MAX)),
        2 => string,
        3 => format!("{{{string}:1,{string}:[2,{string}]}}"),
        4 => r#""\u0000\ud800\/""#.to_owned(),
        _ => "-1E+400".to_owned(),
    }
}

fn drawn_time(random: &Random) -> Timestamp {
    let years = below(random, 9_998 * 31_556_952_000_000);
    // A third of the times have no fraction.
    let micros = if below(random, 3) == 0 { years / 1_000_000 * 1_000_000 } else { years };
    Timestamp::MIN.plus(i64::try_from(micros).expect("it fits"))
}

fn drawn(random: &Random, sequence: i64) -> VectorEntry {
    let optional = |random: &Random| (below(random, 2) == 0).then(|| drawn_text(random, 1));
    let salts = Salts::from_bytes(random.bytes());
    let mut entry = VectorEntry {
        log_id: random.hex::<16>(),
        sequence,
        id: random.base62(1 + below(random, 128) as usize),
        recorded_at: drawn_time(random).to_string(),
        writer: if below(random, 5) == 0 { "-".to_owned() } else { random.base62(12) },
        timestamp: drawn_time(random).to_string(),
        resource_type: "rule".to_owned(),
        resource_id: drawn_text(random, 1),
        resource_name: optional(random),
        action: "updated".to_owned(),
        user_id: drawn_text(random, 1),
        user_name: optional(random),
        user_email: optional(random),
        changes: Vec::new(),
        metadata: (0..below(random, 8)).map(|_| (drawn_text(random, 1), drawn_text(random, 0))).collect(),
        trace_id: optional(random),
        outcome: optional(random),
        actor_type: optional(random),
        salts: Group::ALL.map(|group| (group.name().to_owned(), hex(salts.of(group)))).into(),
        erased: BTreeMap::new(),
        origin: None,
        verifier_keys: Vec::new(),
    };
    for _ in 0..below(random, 13) {
        let [old_value_json, new_value_json] = [drawn_json(random), drawn_json(random)];
        entry.changes.push(VectorChange { field: drawn_text(random, 0), old_value_json, new_value_json });
    }
    if below(random, 4) == 0 {
        // The erased values stay in the input, where they must make no difference.
        for group in Group::ALL.into_iter().filter(|_| below(random, 2) == 0) {
            entry.salts.remove(group.name());
            entry.erased.insert(group.name().to_owned(), Hash(random.bytes()).to_string());
        }
    }
    entry
}
