//! Write bodies: some that violate a rule, each with a name, and some exactly at the limits.

use serde_json::{Value, json};

use crate::support::json::least;

type Named = Vec<(String, Vec<u8>)>;

/// An entry with some fields replaced.
fn with(fields: &Value) -> Value {
    let mut entry = least("log_1");
    for (name, value) in fields.as_object().expect("fields") {
        entry[name] = value.clone();
    }
    entry
}

pub fn body(entries: &[Value]) -> Vec<u8> {
    serde_json::to_vec(&json!({"auditLogs": entries})).expect("JSON")
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

/// An entry with these JSON members added verbatim.
fn raw(members: &str) -> Vec<u8> {
    format!(r#"{{"auditLogs":[{{"id":"log_1","resourceType":"rule","resourceId":"r","action":"created","userId":"u",{members}}}]}}"#).into_bytes()
}

/// All invalid bodies.
pub fn bad() -> Named {
    [shapes(), types_and_lengths(), fields(), members()].concat()
}

/// Bodies that are invalid as a whole.
fn shapes() -> Named {
    let mut bodies: Named = Vec::new();
    for text in [
        "",
        "nonsense",
        "null",
        "[]",
        "{}",
        "7",
        r#"{"auditLogs":{}}"#,
        r#"{"auditLogs":null}"#,
        r#"{"auditLogs":[]}"#,
        r#"{"auditLogs":[1]}"#,
        r#"{"auditLogs":[{}]}"#,
        r#"{"auditLogs":[["log_1","org_a",null,"rule","r",null,"created","u",null,null,null,null,null]]}"#,
        r#"[[]]"#,
        r#"{"auditLogs":[]}x"#,
        r#"{"auditLogs":[],"auditLogs":[]}"#,
        r#"{"auditlogs":[]}"#,
        r#"{"auditLogs":[],"more":1}"#,
        "\u{feff}{\"auditLogs\":[]}",
        r#"{"auditLogs":[{"id":"#,
        "{'auditLogs':[]}",
        r#"{"auditLogs":[{}],}"#,
    ] {
        bodies.push((text.to_owned(), text.into()));
    }
    bodies.push(("a byte that is no UTF-8".to_owned(), b"{\"auditLogs\":[\xff]}".to_vec()));
    bodies.push(("200,000 brackets".to_owned(), "[".repeat(200_000).into_bytes()));
    bodies.push(("200,000 brackets within".to_owned(), format!(r#"{{"auditLogs":{}}}"#, nested(200_000)).into_bytes()));
    let empty = vec!["{}"; 130_000].join(",");
    bodies.push(("130,000 empty objects".to_owned(), format!(r#"{{"auditLogs":[{empty}]}}"#).into_bytes()));
    let changes = vec!["{}"; 130_000].join(",");
    bodies.push(("130,000 empty changes".to_owned(), raw(&format!(r#""changes":[{changes}]"#))));
    bodies.push((
        "1,001 entries".to_owned(),
        body(&(0..1_001).map(|id| least(&format!("log_{id}"))).collect::<Vec<_>>()),
    ));
    bodies
}

/// Each field of an entry: missing, of another type, too long, or with forbidden characters.
fn types_and_lengths() -> Named {
    let mut bodies = Named::new();
    for name in ["resourceType", "resourceId", "action", "userId"] {
        let mut entry = least("log_1");
        entry.as_object_mut().expect("an object").remove(name);
        bodies.push((format!("without {name}"), body(&[entry])));
        for value in [json!(null), json!(""), json!(7), json!(["x"])] {
            bodies.push((format!("{name} {value}"), body(&[with(&json!({name: value}))])));
        }
    }
    let optional = ["id", "timestamp", "resourceName", "userName", "userEmail", "traceId", "outcome", "actorType"];
    for name in optional.into_iter().chain(["organizationId"]) {
        for value in [json!(7), json!(true), json!({})] {
            bodies.push((format!("{name} {value}"), body(&[with(&json!({name: value}))])));
        }
    }
    for (name, length) in [
        ("id", 129),
        ("resourceId", 257),
        ("userId", 257),
        ("traceId", 257),
        ("resourceName", 513),
        ("userName", 513),
        ("userEmail", 513),
        ("organizationId", 257),
    ] {
        bodies.push((format!("{name} of {length} bytes"), body(&[with(&json!({name: "x".repeat(length)}))])));
    }
    for name in ["id", "resourceId", "userId", "traceId", "resourceName", "userName", "userEmail"] {
        bodies.push((format!("{name} with NUL"), body(&[with(&json!({name: "a\0b"}))])));
        let half = body(&[with(&json!({name: "HALF"}))]);
        let half = String::from_utf8(half).expect("UTF-8").replace("HALF", r"\ud800");
        bodies.push((format!("{name} with half a surrogate"), half.into_bytes()));
    }
    bodies
}

/// Entries with invalid values.
fn fields() -> Named {
    let cases = [
        ("an id with a blank", json!({"id": "a b"})),
        ("an id of the service", json!({"id": "auditlog:erasure:1"})),
        ("a control character in an id", json!({"resourceId": "a\u{7}b"})),
        ("a misspelt type", json!({"resourceType": "rules"})),
        ("a misspelt action", json!({"action": "create"})),
        ("a misspelt outcome", json!({"outcome": "sucess"})),
        ("a misspelt actor type", json!({"actorType": "users"})),
        ("another organization", json!({"organizationId": "org_b"})),
        ("a date without time", json!({"timestamp": "2025-01-20"})),
        ("a time without offset", json!({"timestamp": "2025-01-20T10:30:00"})),
        ("the year 0", json!({"timestamp": "0000-01-20T10:30:00Z"})),
        ("the year 10000", json!({"timestamp": "10000-01-20T10:30:00Z"})),
        ("five minutes and a microsecond ahead", json!({"timestamp": "2026-01-01T00:05:00.000001Z"})),
        ("changes that are no array", json!({"changes": {}})),
        ("a change that is no object", json!({"changes": [7]})),
        ("a change that is an array", json!({"changes": [["f", 1, 2]]})),
        ("a change without field", json!({"changes": [{"newValue": 1}]})),
        ("a field that is no string", json!({"changes": [{"field": 7}]})),
        ("a field with NUL", json!({"changes": [{"field": "a\0b"}]})),
        ("a change with more", json!({"changes": [{"field": "f", "newvalue": 1}]})),
        ("1,001 changes", json!({"changes": vec![json!({"field": "f"}); 1_001]})),
        ("metadata that is no object", json!({"metadata": []})),
        ("a metadata value that is no string", json!({"metadata": {"a": 1}})),
        (
            "51 metadata keys",
            json!({"metadata": (0..51).map(|key| (format!("k{key}"), json!(""))).collect::<serde_json::Map<_, _>>()}),
        ),
        ("an empty metadata key", json!({"metadata": {"": "x"}})),
        ("a metadata key of 65 bytes", json!({"metadata": {"k".repeat(65): "x"}})),
        ("a metadata value of 1,025 bytes", json!({"metadata": {"k": "x".repeat(1_025)}})),
        ("NUL in a metadata key", json!({"metadata": {"a\0b": "x"}})),
        ("NUL in a metadata value", json!({"metadata": {"k": "a\0b"}})),
        ("an entry of more than 256 KiB", json!({"changes": [{"field": "x".repeat(256 * 1024)}]})),
        ("an unknown field", json!({"userid": "u"})),
    ];
    cases.into_iter().map(|(name, fields)| (name.to_owned(), body(&[with(&fields)]))).collect()
}

/// Members that serde_json would not write.
fn members() -> Named {
    let mut bodies = Named::new();
    for (name, members) in [
        ("a field twice", r#""userId":"u""#),
        ("an optional field twice", r#""userName":"a","userName":"b""#),
        ("a metadata key twice", r#""metadata":{"a":"1","a":"2"}"#),
        ("a change's field twice", r#""changes":[{"field":"f","field":"g"}]"#),
        ("half a surrogate in a metadata value", r#""metadata":{"a":"\udc00"}"#),
        ("half a surrogate in a field", r#""changes":[{"field":"\ud800"}]"#),
        ("half a surrogate in a value", r#""changes":[{"field":"f","newValue":["a","\ud800"]}]"#),
        ("half a surrogate in a key of a value", r#""changes":[{"field":"f","oldValue":{"\ud83dx":1}}]"#),
        ("a value that is no JSON", r#""changes":[{"field":"f","newValue":01}]"#),
        ("a value with a NUL byte", "\"changes\":[{\"field\":\"f\",\"newValue\":\"a\0b\"}]"),
    ] {
        bodies.push((name.to_owned(), raw(members)));
    }
    let deep = format!(r#""changes":[{{"field":"f","newValue":{}}}]"#, nested(33));
    bodies.push(("a value 33 deep".to_owned(), raw(&deep)));
    bodies.push((
        "a good entry before a bad one".to_owned(),
        body(&[least("log_1"), with(&json!({"id": "log_2", "action": "made"}))]),
    ));
    bodies.push((
        "ten bad entries, of which eight are reported".to_owned(),
        body(&vec![with(&json!({"action": "made"})); 10]),
    ));
    bodies.push((
        "one id twice with other content".to_owned(),
        body(&[least("log_1"), with(&json!({"userName": "else"}))]),
    ));
    bodies
}

/// Entries at their limits, which must be accepted.
pub fn good() -> Vec<Vec<u8>> {
    let fields = json!({
        "id": "i".repeat(128), "resourceId": "r".repeat(256), "userId": "é".repeat(128), "traceId": "t".repeat(256),
        "resourceName": "n".repeat(512), "userName": "\u{1b}\n", "userEmail": "", "timestamp": "2026-01-01T00:05:00Z", "organizationId": "org_a",
        "outcome": "denied", "actorType": "anonymous",
        "metadata": (0..50).map(|key| (format!("{key:064}"), json!("v".repeat(1_024)))).collect::<serde_json::Map<_, _>>(),
        "changes": vec![json!({"field": "", "oldValue": null}); 1_000],
    });
    let id =
        |id: &str, members: &str| String::from_utf8(raw(members)).expect("UTF-8").replace("log_1", id).into_bytes();
    // The rest is its other strings and two values of four bytes.
    let largest = 256 * 1024 - "log_large".len() - "rule_1".len() - "uid_1".len() - 2 * "null".len();
    let mut whole = body(&[least("log_padded")]);
    whole.resize(4 * 1024 * 1024, b' ');
    vec![
        body(&[with(&fields)]),
        body(&[with(&json!({"id": "log_large", "changes": [{"field": "x".repeat(largest)}]}))]),
        body(&(0..1_000).map(|id| least(&format!("log_many_{id}"))).collect::<Vec<_>>()),
        id("log_deep", &format!(r#""changes":[{{"field":"f","newValue":{}}}]"#, nested(32))),
        id("log_kept", r#""changes":[{"field":"f","oldValue":{"a":1,"a":2},"newValue":"\ud83d\ude00\u0000"}]"#),
        id("log_null", r#""userName":null,"metadata":{"a":null},"changes":null,"timestamp":"0001-01-01T00:00:00Z""#),
        whole,
    ]
}
