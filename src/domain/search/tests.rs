//! Searches of entries, compared with naive searches.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::fold::FoldedSearch;
use super::fold::fold_case;
use super::*;
use crate::domain::{Action, Content, EntryId, Erased, Metadata, ResourceType, write_changes};

fn change(field: &str, old_value: &str, new_value: &str) -> Change {
    let json = |text: &str| JsonText::parse(text).expect(text);
    Change { field: field.to_owned(), old_value: json(old_value), new_value: json(new_value) }
}

fn metadata(pairs: &[(&str, &str)]) -> Metadata {
    let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Metadata::parse(pairs.collect()).expect("metadata")
}

fn content() -> Content {
    let id = |text: &str| Identifier::parse(text).expect(text);
    let name = |text: &str| Some(Name::parse(text).expect(text));
    Content {
        id: EntryId::parse("log_1").expect("an id"),
        resource_type: ResourceType(1),
        resource_id: id("asst_7"),
        resource_name: name("Support bot"),
        action: Action(2),
        user_id: id("u-42"),
        user_name: name("Jane Doe"),
        user_email: name("Jane.Doe@Example.com"),
        changes: vec![
            change("tools.webSearch", "false", "true"),
            change("model", r#""m-1""#, r#""M\u0061x""#),
            change("limits", "null", r#"{"rpm":60,"tpm":[1,2.50]}"#),
        ],
        metadata: metadata(&[("ipAddress", "10.0.0.1"), ("userAgent", "curl \"8\"")]),
        trace_id: Some(id("trace-9")),
        outcome: None,
        actor_type: Some(ActorType::User),
    }
}

fn entry(content: Content) -> Entry {
    Entry {
        seq: 3,
        timestamp: Timestamp::saturating(1_000),
        recorded_at: Timestamp::saturating(2_000),
        writer_key_id: "writer".to_owned(),
        erased: Erased::default(),
        content: Arc::new(content),
    }
}

/// The search with these conditions. They have the names of REST; the times are microseconds.
fn parsed(conditions: &[(&str, &str)]) -> Search {
    let mut search = Search::default();
    for &(condition, text) in conditions {
        let name = || Some(NamePattern::parse(text).expect(text));
        let json = || Some(JsonPattern::parse(&json_or_string(text)).expect(text));
        let time = || Some(Timestamp::saturating(text.parse().expect(text)));
        let range = |start, end| TimeRange::parse(start, end).expect(text);
        match condition {
            "actorType" => search.actor_types.push(ActorType::parse(text).expect(text)),
            "traceId" => search.trace_ids.push(Identifier::parse(text).expect(text)),
            "recordedAfter" => search.recorded = range(time(), search.recorded.end()),
            "recordedBefore" => search.recorded = range(search.recorded.start(), time()),
            "changes.field" => search.change.field = Some(FieldPattern::parse(text).expect(text)),
            "changes.oldValue" => search.change.old_value = json(),
            "changes.newValue" => search.change.new_value = json(),
            "userName" => search.user_name = name(),
            "userEmail" => search.user_email = name(),
            "resourceName" => search.resource_name = name(),
            "text" => search.text = Some(TextPattern::parse(text).expect(text)),
            metadata => {
                let key = metadata.strip_prefix("metadata.").expect(metadata);
                search.metadata.insert(key.to_owned(), text.to_owned());
            }
        }
    }
    search.normalized()
}

fn has(entry: &Entry, conditions: &[(&str, &str)]) -> bool {
    parsed(conditions).matches(entry)
}

/// The text of `column` as the store writes it.
fn stored(entry: &Entry, column: SearchColumn) -> String {
    match column {
        SearchColumn::Changes => {
            let changes = entry.content.changes.iter().map(|change| {
                (change.field.as_str(), Some(change.old_value.as_str()), Some(change.new_value.as_str()))
            });
            let mut text = Vec::new();
            write_changes(&mut text, changes).expect("written");
            String::from_utf8(text).expect("UTF-8")
        }
        SearchColumn::Metadata => serde_json::to_string(entry.content.metadata.pairs()).expect("JSON"),
    }
}

#[test]
fn each_condition_selects_entries() {
    let entry = entry(content());
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("actorType", &["user"], &["service", "anonymous"]),
        ("traceId", &["trace-9"], &["trace-8", "TRACE-9"]),
        ("recordedAfter", &["2000", "1999"], &["2001"]),
        ("recordedBefore", &["2001"], &["2000", "1000"]),
        ("changes.field", &["model", "tools.*"], &["tools", "Model", "model.*"]),
        ("changes.oldValue", &["m-1", "null", "false"], &["true", "M-1", "\"null\""]),
        ("changes.newValue", &["Max", r#"{"tpm":[1.0,25e-1],"rpm":6e1}"#], &["max", "{}", "60"]),
        ("metadata.ipAddress", &["10.0.0.1"], &["10.0.0.*", "10.0.0"]),
        ("metadata.userAgent", &["curl \"8\""], &["Curl \"8\"", ""]),
        ("metadata.useragent", &[], &["curl \"8\"", ""]),
        ("userName", &["JANE DOE", "jane*"], &["doe", "jane"]),
        ("userEmail", &["jane.doe@example.com", "JANE.*"], &["jane@example.com"]),
        ("resourceName", &["support BOT"], &["bot", "asst_7"]),
        (
            "text",
            &["LOG_1", "asst", "port B", "U-42", "jane d", "@example", "e-9", "useragent", "L \"8", "websearch", "m-1"],
            &["writer", "janedoe", "1000", "u0061", "success"],
        ),
        ("text", &["MAX", "RPM", "2.50", "60", "TRUE", "null"], &["2.5,", "\"rpm\"", "maxx", "[1"]),
    ];
    for &(condition, matching, others) in cases {
        for text in matching {
            assert!(has(&entry, &[(condition, text)]), "{condition}={text}");
        }
        for text in others {
            assert!(!has(&entry, &[(condition, text)]), "{condition}={text}");
        }
    }
    assert!(has(&entry, &[]) && parsed(&[]).is_empty() && !parsed(&[("text", "a")]).is_empty());
}

#[test]
fn several_types_or_traces_mean_any_of_them() {
    let entry = entry(content());
    assert!(has(&entry, &[("actorType", "service"), ("actorType", "user"), ("traceId", "t"), ("traceId", "trace-9")]));
    assert!(!has(&entry, &[("actorType", "service"), ("actorType", "user"), ("traceId", "t")]));
    let without = self::entry(Content { trace_id: None, actor_type: None, user_name: None, ..content() });
    for condition in [("actorType", "user"), ("traceId", "trace-9"), ("userName", "jane*")] {
        assert!(!has(&without, &[condition]), "{condition:?}");
    }
    let types = [("actorType", "system"), ("actorType", "user"), ("actorType", "system")];
    assert_eq!(parsed(&types).actor_types, [ActorType::User, ActorType::System]);
}

#[test]
fn one_single_change_has_the_field_and_both_values() {
    let entry = entry(content());
    let field = |field, value| has(&entry, &[("changes.field", field), ("changes.newValue", value)]);
    assert!(field("model", "Max") && field("tools.*", "true"));
    assert!(!field("model", "true") && !field("tools.*", "Max"));
    let values = |old, new| has(&entry, &[("changes.oldValue", old), ("changes.newValue", new)]);
    assert!(values("m-1", "Max") && values("false", "true"));
    assert!(!values("m-1", "true") && !values("null", "Max"));
    // An entry without changes has none that matches, not even one without a value.
    let unchanged = self::entry(Content { changes: Vec::new(), ..content() });
    assert!(!has(&unchanged, &[("changes.oldValue", "null")]));
}

#[test]
fn erased_values_never_match() {
    let actor = [
        ("metadata.ipAddress", "10.0.0.1"),
        ("userName", "jane*"),
        ("userEmail", "jane*"),
        ("text", "jane"),
        ("text", "10.0.0.1"),
        ("text", "useragent"),
    ];
    let about_content = [
        ("changes.field", "model"),
        ("changes.oldValue", "null"),
        ("changes.newValue", "true"),
        ("resourceName", "support*"),
        ("text", "support"),
        ("text", "websearch"),
        ("text", "max"),
        ("text", "null"),
    ];
    let facts = [("text", "asst_7"), ("text", "u-42"), ("text", "trace"), ("text", "log_1"), ("traceId", "trace-9")];
    let whole = entry(content());
    for erased in 0..8 {
        let erased = Erased(erased);
        // Once as it is read, and once with values that are still there.
        let read = Entry { erased, content: Arc::new(whole.content.without(erased)), ..whole.clone() };
        let flagged = Entry { erased, ..whole.clone() };
        for entry in [read, flagged] {
            for condition in actor {
                assert_eq!(has(&entry, &[condition]), !erased.has(Group::Actor), "{condition:?} of {erased:?}");
            }
            for condition in about_content {
                assert_eq!(has(&entry, &[condition]), !erased.has(Group::Content), "{condition:?} of {erased:?}");
            }
            for condition in facts {
                assert!(has(&entry, &[condition]), "{condition:?} of {erased:?}");
            }
        }
    }
}

/// The bytes that [`Filter::digest`](crate::domain::Filter::digest) takes.
fn digested(search: &Search) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in search.digest_parts() {
        bytes.extend((part.len() as u64).to_be_bytes());
        for value in part {
            bytes.extend((value.len() as u64).to_be_bytes());
            bytes.extend(value);
        }
    }
    bytes
}

#[test]
fn different_searches_have_different_digests() {
    let different: &[&[(&str, &str)]] = &[
        &[],
        &[("actorType", "user")],
        &[("actorType", "service")],
        &[("actorType", "user"), ("actorType", "service")],
        &[("traceId", "ab")],
        &[("traceId", "a"), ("traceId", "b")],
        &[("recordedAfter", "5")],
        &[("recordedBefore", "5")],
        &[("changes.field", "a.*")],
        &[("changes.field", "a.")],
        &[("changes.field", "a")],
        &[("changes.field", "")],
        &[("changes.oldValue", "1")],
        &[("changes.newValue", "1")],
        &[("changes.newValue", "\"1\"")],
        &[("metadata.a", "b")],
        &[("metadata.b", "a")],
        &[("metadata.a", "b"), ("metadata.c", "d")],
        &[("metadata.ab", "")],
        &[("userName", "jane")],
        &[("userName", "jane*")],
        &[("userEmail", "jane")],
        &[("resourceName", "jane")],
        &[("text", "jane")],
    ];
    let digests: BTreeSet<_> = different.iter().map(|conditions| digested(&parsed(conditions))).collect();
    assert_eq!(digests.len(), different.len());
    let equal: &[[&[(&str, &str)]; 2]] = &[
        [&[("actorType", "user"), ("actorType", "user")], &[("actorType", "user")]],
        [&[("traceId", "b"), ("traceId", "a")], &[("traceId", "a"), ("traceId", "b")]],
        [&[("changes.oldValue", "1.0")], &[("changes.oldValue", "10e-1")]],
        [&[("userName", "JANE")], &[("userName", "jane")]],
    ];
    for [one, other] in equal {
        assert_eq!(parsed(one), parsed(other), "{one:?}");
        assert_eq!(digested(&parsed(one)), digested(&parsed(other)), "{one:?}");
    }
}

#[test]
fn required_substrings_are_written_as_the_store_writes_them() {
    let texts = |conditions: &[(&str, &str)]| -> Vec<(SearchColumn, String)> {
        let required = parsed(conditions).required_substrings();
        required.into_iter().map(|RequiredSubstring { column, text }| (column, text)).collect()
    };
    let field = |pattern, text: &str| {
        assert_eq!(texts(&[("changes.field", pattern)]), [(SearchColumn::Changes, text.to_owned())]);
    };
    field("model", r#""field":"model""#);
    field("tools.*", r#""field":"tools."#);
    field("a\"\\é\n.*", r#""field":"a\"\\é\n."#);
    field("", r#""field":"""#);
    let pairs = [("metadata.b", "x\ty"), ("metadata.a\"", "")];
    let expected = [r#""a\"":"""#, r#""b":"x\ty""#].map(|text| (SearchColumn::Metadata, text.to_owned()));
    assert_eq!(texts(&pairs), expected);
    assert!(texts(&[("changes.oldValue", "1"), ("userName", "a"), ("text", "b"), ("traceId", "c")]).is_empty());
}

/// An entry made of few different values, so that conditions on them often match.
fn random_entry(random: &mut StdRng) -> Entry {
    const FIELDS: [&str; 8] = ["", "a", "a.b", "a.b.c", "ab.c", "a.", "a\"\\.b\n", "a.*"];
    const VALUES: [&str; 7] = ["1", "1.0", "null", "\"a\"", r#""\u0061""#, r#"{"field":"a"}"#, "[true]"];
    const TEXTS: [&str; 5] = ["a", "A b", "ß", "a\"\\", "é\n"];
    let mut choose = |texts: &[&'static str]| texts[random.random_range(0..texts.len())];
    let name = |text: &str| (!text.starts_with('A')).then(|| Name::parse(text).expect(text));
    let changes = [0, 0, 0].map(|_| change(choose(&FIELDS), choose(&VALUES), choose(&VALUES)));
    let pairs = [(choose(&["a", "b\""]), choose(&TEXTS)), (choose(&["a", "c"]), choose(&TEXTS))];
    let written = Content {
        resource_name: name(choose(&TEXTS)),
        user_name: name(choose(&TEXTS)),
        user_email: name(choose(&TEXTS)),
        changes: changes.to_vec(),
        metadata: metadata(&pairs),
        trace_id: Some(Identifier::parse(choose(&["a", "b"])).expect("an id")),
        actor_type: ActorType::optional(choose(&["", "user"])).expect("a type"),
        ..content()
    };
    let erased = if random.random_bool(0.1) { Erased(random.random_range(0..8)) } else { Erased::default() };
    Entry { erased, ..entry(written) }
}

/// An entry matches if each condition alone does, and, for those on changes, if one of its changes alone does.
#[test]
fn conditions_combine_and_their_substrings_are_in_each_matching_entry() {
    const CONDITIONS: [(&str, &[&str]); 12] = [
        ("actorType", &["user", "service"]),
        ("traceId", &["a", "b"]),
        ("recordedAfter", &["0", "3000"]),
        ("changes.field", &["a", "a.*", "a.b", "a\"\\.*", r"a.\*", "", ".*"]),
        ("changes.oldValue", &["1", "a", "null", r#"{"field":"a"}"#]),
        ("changes.newValue", &["1", "a", "null", "[true]"]),
        ("metadata.a", &["a", "é\n"]),
        ("metadata.b\"", &["a\"\\", "ß"]),
        ("userName", &["a*", "SS"]),
        ("userEmail", &["É*", "a"]),
        ("resourceName", &["a*", "ẞ"]),
        ("text", &["ss", "field", "e", "\"", "1.0"]),
    ];
    let mut random = StdRng::seed_from_u64(3);
    let (mut matching, mut required) = (0, 0);
    for _ in 0..5_000 {
        let entry = random_entry(&mut random);
        let mut conditions = CONDITIONS.to_vec();
        conditions.retain(|_| random.random_bool(0.15));
        let conditions: Vec<(&str, &str)> = conditions
            .into_iter()
            .map(|(condition, texts)| (condition, texts[random.random_range(0..texts.len())]))
            .collect();
        let (on_changes, others): (Vec<_>, Vec<_>) =
            conditions.iter().copied().partition(|(condition, _)| condition.starts_with("changes."));
        let one_change_matches = || {
            entry.content.changes.iter().any(|change| {
                let content = Content { changes: vec![change.clone()], ..(*entry.content).clone() };
                let single = Entry { content: Arc::new(content), ..entry.clone() };
                on_changes.iter().all(|condition| has(&single, &[*condition]))
            })
        };
        let expected = others.iter().all(|condition| has(&entry, &[*condition]))
            && (on_changes.is_empty() || one_change_matches());
        let search = parsed(&conditions);
        assert_eq!(search.matches(&entry), expected, "{conditions:?} of {entry:?}");
        if expected {
            matching += usize::from(!conditions.is_empty());
            for RequiredSubstring { column, text } in search.required_substrings() {
                let stored = stored(&entry, column);
                assert!(stored.contains(&text), "{conditions:?} needs {text} in {stored}");
                required += 1;
            }
        }
    }
    assert!(matching > 300 && required > 50, "{matching} match, {required} substrings are required");
}

/// A random value. Its numbers are thousandths, so that they compare exactly.
fn random_value(random: &mut StdRng, depth: u8) -> Value {
    const THOUSANDTHS: [i64; 8] = [0, 1, -1, 500, 1_000, -1_000, 10_000, 12_340];
    let kinds = if depth == 0 { 3 } else { 5 };
    match random.random_range(0..kinds) {
        0 => Value::from(THOUSANDTHS[random.random_range(0..8)]),
        1 => Value::from(random_string(random)),
        2 => [Value::Null, Value::Bool(true), Value::Bool(false)][random.random_range(0..3)].clone(),
        3 => (0..random.random_range(0..3)).map(|_| random_value(random, depth - 1)).collect(),
        _ => {
            let members = 0..random.random_range(0..4);
            members.map(|_| (random_string(random), random_value(random, depth - 1))).collect()
        }
    }
}

fn random_string(random: &mut StdRng) -> String {
    const CHARACTERS: [char; 7] = ['a', 'B', 'ß', '"', '\\', '\n', '😀'];
    (0..random.random_range(0..3)).map(|_| CHARACTERS[random.random_range(0..7)]).collect()
}

/// `value` with another value in one place; sometimes the same again.
fn changed(random: &mut StdRng, value: &Value) -> Value {
    match value.clone() {
        Value::Array(mut items) if !items.is_empty() => {
            let place = random.random_range(0..items.len());
            items[place] = changed(random, &items[place]);
            Value::Array(items)
        }
        Value::Object(mut members) if !members.is_empty() => {
            let place = random.random_range(0..members.len());
            if let Some(member) = members.values_mut().nth(place) {
                *member = changed(random, member);
            }
            Value::Object(members)
        }
        _ => random_value(random, 1),
    }
}

/// A random way to write `value`. Adds the texts that readers see: strings, keys, and other scalars as written.
fn written(random: &mut StdRng, value: &Value, texts: &mut Vec<String>) -> String {
    match value {
        Value::Null | Value::Bool(_) => {
            texts.push(value.to_string());
            value.to_string()
        }
        Value::Number(thousandths) => {
            let number = written_number(random, thousandths.as_i64().expect("a whole number"));
            texts.push(number.clone());
            number
        }
        Value::String(text) => {
            texts.push(text.clone());
            written_string(random, text)
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| written(random, item, texts)).collect();
            format!("[{}]", items.join(" ,"))
        }
        Value::Object(members) => {
            let mut left: Vec<_> = members.iter().collect();
            let mut members = Vec::new();
            while !left.is_empty() {
                let (key, value) = left.swap_remove(random.random_range(0..left.len()));
                // A member with the same key before it does not count.
                let other = random.random_bool(0.2).then(|| random_value(random, 0));
                for value in other.iter().chain([value]) {
                    texts.push(key.clone());
                    let key = written_string(random, key);
                    members.push(format!("{key} : {}", written(random, value, texts)));
                }
            }
            format!("{{{}}}", members.join(", "))
        }
    }
}

fn written_number(random: &mut StdRng, thousandths: i64) -> String {
    let (sign, magnitude) = (if thousandths < 0 { "-" } else { "" }, thousandths.abs());
    match random.random_range(0..4) {
        0 => format!("{thousandths}e-3"),
        1 => format!("{thousandths}.00E-03"),
        2 => format!("{sign}{}.{:03}", magnitude / 1_000, magnitude % 1_000),
        _ => format!("{sign}0.{magnitude:06}e+3"),
    }
}

fn written_string(random: &mut StdRng, text: &str) -> String {
    let mut written = String::from("\"");
    for character in text.chars() {
        if !matches!(character, '"' | '\\' | '\n') && random.random_bool(0.6) {
            written.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                written.push_str(&format!("\\u{unit:04X}"));
            }
        }
    }
    written.push('"');
    written
}

#[test]
fn json_values_match_if_they_mean_the_same() {
    let mut random = StdRng::seed_from_u64(4);
    let mut equal = 0;
    for _ in 0..10_000 {
        let value = random_value(&mut random, 3);
        let other = changed(&mut random, &value);
        let [pattern, again, other_text] =
            [&value, &value, &other].map(|value| written(&mut random, value, &mut Vec::new()));
        let json = |text: &str| JsonText::parse(text).expect(text);
        let parsed = JsonPattern::parse(&json_or_string(&pattern)).expect(&pattern);
        assert!(parsed.matches(&json(&again)), "{pattern} is {again}");
        assert_eq!(parsed.matches(&json(&other_text)), value == other, "{pattern} and {other_text}");
        assert_eq!(Ok(&parsed) == JsonPattern::parse(&other_text).as_ref(), value == other);
        equal += usize::from(value == other);
    }
    assert!((100..5_000).contains(&equal), "{equal} are equal");
}

#[test]
fn json_is_searched_text_by_text() {
    const SEARCHED: [&str; 12] = ["a", "b", "AB", "ss", "ß", "\"", "\\", "\n", "😀a", "e-", "00", "u"];
    let mut random = StdRng::seed_from_u64(5);
    let mut found = 0;
    for _ in 0..10_000 {
        let mut texts = Vec::new();
        let value = random_value(&mut random, 2);
        let json = JsonText::parse(&written(&mut random, &value, &mut texts)).expect("JSON");
        let folded = fold_case(SEARCHED[random.random_range(0..12)]);
        let expected = texts.iter().any(|text| fold_case(text).contains(&folded));
        assert_eq!(FoldedSearch::new(&folded).finds_in_json(&json), expected, "{folded:?} in {}", json.as_str());
        found += usize::from(expected);
    }
    assert!((500..9_500).contains(&found), "{found} are found");
}
