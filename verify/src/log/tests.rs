//! Tests with logs in memory, valid and tampered with.

mod administration;
mod erasures;

use std::collections::BTreeMap;

use super::*;
use crate::merkle::{
    Checkpoint, CompactRange, ErasureRecord, Fields, GroupHash, Hash, KeyEndorsement, KeyName, Leaf, SaltedFields,
    SigningKey, TileId, Values, VerifierKey, sign,
};
use crate::types::{Change, Group, JsonText, Seq, Timestamp};

const LOG: &str = "0123456789abcdef0123456789abcdef";
const ORGANIZATION: &str = "org_a";

fn json(text: &str) -> JsonText {
    JsonText::parse(text).expect("JSON")
}

fn entry(seq: Seq) -> DisclosedEntry {
    // Salts differ between entries and between groups.
    let salt = |group: Group| (u128::from(group as u8) << 64 | seq as u128).to_be_bytes();
    let facts = Values::Facts {
        timestamp: Timestamp::saturating(seq * 1_000),
        resource_type: "rule",
        resource_id: &format!("r{}", seq % 7),
        action: "updated",
        user_id: "u",
        trace_id: None,
        outcome: None,
        actor_type: None,
    };
    let actor = Values::Actor { user_name: Some("Name"), user_email: None, metadata: &BTreeMap::new() };
    let change = Change { field: "f".to_owned(), old_value: json("1"), new_value: json("[2]") };
    let content = Values::Content { resource_name: None, changes: &[change] };
    hashed(DisclosedEntry {
        seq,
        id: format!("log_{seq}"),
        recorded_at: Timestamp::saturating(seq),
        writer: "key".to_owned(),
        leaf: Hash::of_nothing(),
        groups: [facts, actor, content]
            .map(|values| DisclosedGroup::Fields(SaltedFields::new(&values, salt(values.group())))),
    })
}

fn fields(told: &mut DisclosedEntry, group: Group) -> &mut Fields {
    let DisclosedGroup::Fields(SaltedFields { fields, .. }) = &mut told.groups[group as usize] else { unreachable!() };
    fields
}

/// Sets the value of a field. Adds the field after all others if it is not there.
fn set(told: &mut DisclosedEntry, group: Group, name: &str, value: &str) {
    let fields = fields(told, group);
    match fields.iter_mut().find(|(own, _)| own == name) {
        Some((_, own)) => value.clone_into(own),
        None => fields.push((name.to_owned(), value.to_owned())),
    }
}

fn edit_changes(told: &mut DisclosedEntry, edit: impl FnOnce(&mut Vec<Change>)) {
    let fields = fields(told, Group::Content);
    let change = |[(_, field), (_, old), (_, new)]: &[(String, String); 3]| Change {
        field: field.clone(),
        old_value: json(old),
        new_value: json(new),
    };
    let mut changes = fields.as_chunks().0.iter().map(change).collect();
    edit(&mut changes);
    *fields = SaltedFields::new(&Values::Content { resource_name: None, changes: &changes }, [0; 16]).fields;
}

/// Sets the leaf hash that matches the values.
fn hashed(mut told: DisclosedEntry) -> DisclosedEntry {
    told.leaf = told.leaf_as(LOG, told.seq).expect("a leaf");
    told
}

/// A service entry.
fn service(seq: Seq, kind: &str, changes: Vec<Change>) -> DisclosedEntry {
    let mut told = entry(seq);
    told.id = format!("auditlog:{kind}:67e55044-10b1-426f-9247-bb680e5fe0c8");
    told.writer = "-".to_owned();
    let recorded_at = told.recorded_at.exact();
    for (name, value) in [
        ("timestamp", recorded_at.as_str()),
        ("resourceType", "organization"),
        ("resourceId", ORGANIZATION),
        ("userId", "system"),
    ] {
        set(&mut told, Group::Facts, name, value);
    }
    fields(&mut told, Group::Actor).clear();
    edit_changes(&mut told, |own| *own = changes);
    hashed(told)
}

fn change(field: &str, text: &str) -> Change {
    Change { field: field.to_owned(), old_value: JsonText::null(), new_value: json(&format!("{text:?}")) }
}

/// The record of an erasure, signed by the log's key.
fn erasure(seq: Seq, erased: &[(Seq, Group, GroupHash)]) -> DisclosedEntry {
    erasure_by(&[&key()], seq, erased)
}

/// The record of an erasure, signed by `keys`.
fn erasure_by(keys: &[&SigningKey], seq: Seq, erased: &[(Seq, Group, GroupHash)]) -> DisclosedEntry {
    let hashes = erased
        .iter()
        .map(|(seq, group, GroupHash(hash))| change(&format!("erased.{seq}.{}", group.name()), &hash.to_string()));
    let changes: Vec<_> = std::iter::once(change("reason", "asked for")).chain(hashes).collect();
    let unsigned = service(seq, "erasure", changes.clone());
    let record = ErasureRecord {
        id: unsigned.id.clone(),
        user_id: "system".to_owned(),
        reason: "\"asked for\"".to_owned(),
        groups: erased.to_vec(),
    };
    let lines = record.sign(&origin(), keys);
    let signatures = (!keys.is_empty()).then(|| change("signatures", &lines));
    service(seq, "erasure", changes.into_iter().chain(signatures).collect())
}

/// `told` without the values of its content, and the hash of that group.
fn without_content(told: &DisclosedEntry) -> (DisclosedEntry, GroupHash) {
    let (hash, mut told) = (told.hash(Group::Content).expect("told"), told.clone());
    told.groups[Group::Content as usize] = DisclosedGroup::Hash(hash);
    (told, hash)
}

/// The tiles and the checkpoint of a signed log.
struct Log {
    tiles: BTreeMap<TileId, Vec<Hash>>,
    checkpoint: Checkpoint,
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32]).expect("32 bytes")
}

fn origin() -> KeyName {
    KeyName::parse(format!("audit.example.com/{LOG}")).expect("a name")
}

fn log(entries: &[DisclosedEntry]) -> Log {
    let (mut tiles, mut edge) = (BTreeMap::new(), CompactRange::default());
    for (index, told) in (0..).zip(entries) {
        tiles.entry(TileId { level: 0, index: index >> 8 }).or_insert_with(Vec::new).push(told.leaf);
        for completed in edge.append(told.leaf) {
            tiles.entry(completed.tile()).or_insert_with(Vec::new).push(completed.hash);
        }
    }
    Log { tiles, checkpoint: Checkpoint { origin: origin(), size: edge.size(), root: edge.root() } }
}

fn trust() -> Trust {
    Trust::new([key().verifier(origin())]).expect("a key")
}

/// The violation that a verifier finds if it reads `entries` in place of the signed log `log`.
fn found(log: &Log, entries: &[DisclosedEntry], seen: Option<CompactRange>) -> Option<Violation> {
    let (violation, _) = found_by(&trust(), log, entries, seen);
    violation
}

/// Like [`found`], for a verifier with other keys. Also returns the numbers of erased groups.
fn found_by(
    trust: &Trust,
    log: &Log,
    entries: &[DisclosedEntry],
    seen: Option<CompactRange>,
) -> (Option<Violation>, ErasedGroups) {
    let mut replay = LogReplay::new(trust, ORGANIZATION, VerifiedPrefix::nothing(), seen.clone());
    let mut comparison = TileCheck::new(&CompactRange::default(), seen.as_ref());
    let mut ended = None;
    let take = |rows: Vec<Row>, comparison: &mut TileCheck| {
        for row in rows {
            comparison.take(&row, log.tiles.get(&row.tile).map(Vec::as_slice));
        }
    };
    for told in entries.iter().take(log.checkpoint.size as usize) {
        if let Err(violation) = replay.entry(told) {
            ended = Some(violation);
            break;
        }
        take(replay.rows(), &mut comparison);
    }
    take(replay.last_rows(), &mut comparison);
    if ended.is_none() && replay.edge().size() < log.checkpoint.size {
        ended = Some(replay.truncated(log.checkpoint.size));
    }
    let evidence =
        Evidence { checkpoint: &log.checkpoint, replay: &replay, ended, goes_on: false, comparison: &comparison };
    let again: BTreeMap<_, _> = evidence
        .suspects()
        .into_iter()
        .filter_map(|seq| Some((seq, entries.iter().find(|told| told.seq == seq)?.clone())))
        .collect();
    (first_bad(&evidence, &again), replay.erased())
}

fn entries(count: Seq) -> Vec<DisclosedEntry> {
    (1..=count).map(entry).collect()
}

fn says(violation: Option<Violation>) -> String {
    violation.map_or_else(|| "verified".to_owned(), |violation| violation.to_string())
}

/// `told` with another user name, and with its old leaf hash.
fn renamed(told: &DisclosedEntry) -> DisclosedEntry {
    let mut told = told.clone();
    set(&mut told, Group::Actor, "userName", "Another");
    told
}

#[test]
fn a_true_log_is_verified_at_each_size() {
    let all = entries(700);
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 513, 700] {
        let all = &all[..size];
        assert_eq!(says(found(&log(all), all, None)), "verified", "{size}");
        let seen = log_edge(&all[..size / 2]);
        assert_eq!(says(found(&log(all), all, Some(seen))), "verified", "{size}");
    }
}

fn log_edge(entries: &[DisclosedEntry]) -> CompactRange {
    let mut edge = CompactRange::default();
    for told in entries {
        let _ = edge.append(told.leaf);
    }
    edge
}

#[test]
fn the_first_bad_entry_is_named_with_and_without_new_hashes() {
    let all = entries(600);
    let signed = log(&all);
    for at in [1, 255, 256, 257, 400, 512] {
        let place = at as usize - 1;
        let mut told = all.clone();
        told[place] = renamed(&all[place]);
        let why = "what it says does not make the hash that is stored for it";
        assert_eq!(says(found(&signed, &told, None)), format!("changed: entry {at}: {why}"));
        told[place] = hashed(told[place].clone());
        let why = "its leaf is not the one that was signed for, though the hash stored for it is that of what it says";
        assert_eq!(says(found(&signed, &told, None)), format!("changed: entry {at}: {why}"));
        // Later bad entries make no difference.
        told[599] = renamed(&all[599]);
        assert_eq!(says(found(&signed, &told, None)), format!("changed: entry {at}: {why}"));
        told[place] = DisclosedEntry { leaf: all[0].leaf, ..all[place].clone() };
        let why = "it says what was signed for, but the hash that is stored for it is another one";
        let expected = format!("changed: entry {at}: {why}");
        assert!(at == 1 || says(found(&signed, &told, None)) == expected, "{at}");
    }
}

/// `entries` with their positions as numbers; with new leaf hashes if `anew`.
fn renumbered(mut entries: Vec<DisclosedEntry>, anew: bool) -> Vec<DisclosedEntry> {
    for (seq, told) in (1..).zip(&mut entries) {
        told.seq = seq;
        if anew {
            *told = hashed(told.clone());
        }
    }
    entries
}

#[test]
fn swapped_added_and_missing_entries_are_named_with_and_without_new_hashes() {
    let all = entries(600);
    let signed = log(&all);
    for anew in [false, true] {
        let mut swapped = all.clone();
        swapped.swap(9, 299);
        let swapped = renumbered(swapped, anew);
        assert_eq!(says(found(&signed, &swapped, None)), "reordered: entry 10: it has exchanged places with 300");
        let mut added = all.clone();
        added.insert(299, entry(1_000));
        let added = renumbered(added, anew);
        let says_added = says(found(&signed, &added, None));
        assert_eq!(says_added, "added: entry 300: it was not there; what was 300 has become 301", "{anew}");
        let mut missing = all.clone();
        missing.remove(299);
        let seen = Some(log_edge(&all[..520]));
        let missing = renumbered(missing, anew);
        let expected = "missing: entry 300: it is not there; what was 301 has its number";
        assert_eq!(says(found(&signed, &missing, seen)), expected, "{anew}");
        if anew {
            let mut signed = log(&all);
            signed.tiles.remove(&TileId { level: 0, index: 2 });
            let expected = "truncated: entry 600: the checkpoint has 600 entries, and the log ends with 599; tiles, which \
                            nothing proves, differ from the entries from 300 on";
            assert_eq!(says(found(&signed, &missing, None)), expected);
        }
    }
    let mut gap = all.clone();
    gap.drain(299..302);
    assert_eq!(
        says(found(&signed, &gap, None)),
        "missing: entry 300: it is not there, nor are 2 after it; 303 follows"
    );
    let told = says(found(&signed, &all[..598], None));
    assert_eq!(told, "truncated: entry 599: the checkpoint has 600 entries, and the log ends with 598");
}

#[test]
fn edited_tiles_widen_the_reported_range_of_entries() {
    let all = entries(600);
    let mut signed = log(&all);
    let mut told = all.clone();
    told[299] = hashed(renamed(&all[299]));
    let tile = TileId { level: 0, index: 1 };
    signed.tiles.get_mut(&tile).expect("a tile")[299 - 256] = told[299].leaf;
    let expected = "changed: one of the entries 257 to 512: the entries are not those of the checkpoint, and the tile \
                    that would tell which was edited, too";
    assert_eq!(says(found(&signed, &told, None)), expected);
    // A differing hash in such a tile proves nothing about its entry.
    signed.tiles.get_mut(&tile).expect("a tile")[309 - 256] = all[0].leaf;
    assert_eq!(says(found(&signed, &told, None)), expected);
    // All tiles match the changed entry.
    signed.tiles = log(&told).tiles;
    let expected = "changed: one of the entries 1 to 600: the entries are not those of the checkpoint, and no tile \
                    differs from them";
    assert_eq!(says(found(&signed, &told, None)), expected);
    let seen = Some(log_edge(&all[..290]));
    assert_eq!(says(found(&signed, &told, seen)), expected.replace("1 to", "291 to"));
    let seen = Some(log_edge(&all[..400]));
    let expected = "changed: one of the entries 257 to 384: it is not as when the log was verified before";
    assert_eq!(says(found(&signed, &told, seen)), expected);
    // The entries are right, but a tile is not.
    assert_eq!(
        says(found(&Log { tiles: signed.tiles, ..log(&all) }, &all, None)),
        "damaged tiles: all entries are right, and tile/0/001 has another hash for entry 300"
    );
}

#[test]
fn another_history_is_a_fork() {
    let all = entries(300);
    let other: Vec<_> =
        all.iter().map(|told| if told.seq == 130 { hashed(renamed(told)) } else { told.clone() }).collect();
    let told = says(found(&log(&other), &other, Some(log_edge(&all[..200]))));
    assert!(told.starts_with("forked: one of the entries 129 to 192: it is not as when"), "{told}");
}

#[test]
fn only_a_later_record_with_that_hash_excuses_a_missing_group() {
    let mut all = entries(20);
    let (gone, hash) = without_content(&all[4]);
    all[4] = gone;
    let removed = "removed without record: entry 5: its content is gone, and no later entry records with its hash that it was erased";
    assert_eq!(says(found(&log(&all), &all, None)), removed);
    let with = |place: usize, record: DisclosedEntry| {
        let mut all = all.clone();
        all[place] = record;
        says(found(&log(&all), &all, None))
    };
    let records = |seq: Seq, group: Group, hash: GroupHash| erasure(20, &[(seq, group, hash)]);
    assert_eq!(with(19, records(5, Group::Content, hash)), "verified");
    let other = GroupHash(Hash::of_nothing());
    for record in [
        records(5, Group::Content, other),
        records(5, Group::Actor, hash),
        records(6, Group::Content, hash),
        hashed(DisclosedEntry { id: "log_x".to_owned(), writer: "key".to_owned(), ..records(5, Group::Content, hash) }),
    ] {
        assert_eq!(with(19, record), removed);
    }
    // A record of a later entry, and a record that was changed.
    assert!(with(2, erasure(3, &[(5, Group::Content, hash)])).contains("it is no record of an erasure"));
    // The changed record is the bad entry, not the entry whose values it recorded.
    let record = records(5, Group::Content, hash);
    let (gone, _) = without_content(&record);
    for (told, kind) in [(DisclosedEntry { writer: "key".to_owned(), ..record }, "changed"), (gone, "added")] {
        let found = with(19, told);
        assert!(found.starts_with(&format!("{kind}: entry 20: ")), "{found}");
        assert!(
            found.ends_with(
                "; what records that values of entry 5 were erased has not come, and may be among what follows"
            ),
            "{found}"
        );
    }
    let facts = entry(5).hash(Group::Facts).expect("told");
    let mut all = entries(20);
    all[4].groups[Group::Facts as usize] = DisclosedGroup::Hash(facts);
    all[19] = records(5, Group::Facts, facts);
    let told = says(found(&log(&all), &all, None));
    assert_eq!(told, "removed without record: entry 5: its facts are not there, which are never erased");
    let mut all = entries(20);
    all[4].groups[Group::Actor as usize] = DisclosedGroup::Nothing;
    let told = says(found(&log(&all), &all, None));
    assert_eq!(told, "removed without record: entry 5: its actor is not there, nor the hash of it");
}

#[test]
fn entries_of_the_service_have_one_shape() {
    let verifier = key().verifier(origin()).text();
    let rotation = service(3, "rotation", vec![change("verifierKey", &verifier), change("signatures", "— name AAAA")]);
    let with = |told: DisclosedEntry| {
        let mut all = entries(5);
        all[2] = hashed(told);
        says(found(&log(&all), &all, None))
    };
    assert_eq!(with(rotation.clone()), "verified");
    // Without signatures, if the earlier keys were lost.
    assert_eq!(with(service(3, "rotation", vec![change("verifierKey", &verifier)])), "verified");
    let edited = |group: Group, name: &str, value: &str| {
        let mut told = rotation.clone();
        set(&mut told, group, name, value);
        with(told)
    };
    let mut named = rotation.clone();
    fields(&mut named, Group::Content).insert(0, ("resourceName".to_owned(), "n".to_owned()));
    let named = with(named);
    let changed = |edit: fn(&mut Vec<Change>)| {
        let mut told = rotation.clone();
        edit_changes(&mut told, edit);
        with(told)
    };
    for (told, why) in [
        (
            with(DisclosedEntry { writer: "key".to_owned(), ..rotation.clone() }),
            "an id of the service and the writer key",
        ),
        (with(DisclosedEntry { id: "log_x".to_owned(), ..rotation.clone() }), "no id of the service"),
        (
            with(DisclosedEntry { id: "auditlog:other:1".to_owned(), ..rotation.clone() }),
            "of a kind that this version does not know",
        ),
        (
            with(DisclosedEntry { id: "auditlog:rotation:1".to_owned(), ..rotation.clone() }),
            "of a kind that this version does not know",
        ),
        (edited(Group::Facts, "resourceId", "org_b"), "not about the organization"),
        (edited(Group::Facts, "action", "created"), "not about the organization"),
        (edited(Group::Facts, "timestamp", "2025-01-20T10:30:00.000000Z"), "its time is not that of recording"),
        (edited(Group::Facts, "userId", "u"), "its user is neither"),
        (edited(Group::Facts, "traceId", "t"), "values beside its changes"),
        (edited(Group::Facts, "outcome", "success"), "values beside its changes"),
        (edited(Group::Facts, "actorType", "system"), "values beside its changes"),
        (edited(Group::Actor, "userName", "n"), "values beside its changes"),
        (edited(Group::Actor, "metadata.a", ""), "values beside its changes"),
        (edited(Group::Content, "changes.0.oldValue", "1"), "an old value"),
        (named, "values beside its changes"),
        (edited(Group::Content, "changes.0.newValue", "1"), "no record of a new key"),
        (changed(|changes| changes.clear()), "no record of a new key"),
        (changed(|changes| changes.reverse()), "no record of a new key"),
        (changed(|changes| changes[1].field.clear()), "no record of a new key"),
        (changed(|changes| changes.push(change("signatures", ""))), "no record of a new key"),
    ] {
        assert!(told.starts_with("added: entry 3: it ") && told.contains(why), "{told}, {why}");
    }
}

#[test]
fn fields_that_no_entry_has_are_found_though_their_leaf_is_right() {
    let verifier = key().verifier(origin()).text();
    type Edit = fn(&mut Fields);
    let edits: [(Group, Edit, &str); 4] = [
        (
            Group::Actor,
            |fields| fields.push(("role".to_owned(), "admin".to_owned())),
            "actor has \"role\" where no entry has it",
        ),
        (Group::Facts, |fields| fields.swap(2, 3), "facts has \"action\" where no entry has it"),
        (Group::Content, |fields| drop(fields.pop()), "content has its end where no entry has it"),
        (
            Group::Content,
            |fields| fields[2].1.push(' '),
            "content has a value of \"changes.0.newValue\" that no entry has",
        ),
    ];
    for told in [entry(3), service(3, "rotation", vec![change("verifierKey", &verifier)])] {
        for (group, edit, why) in &edits {
            let (mut all, mut told) = (entries(5), told.clone());
            edit(fields(&mut told, *group));
            all[2] = hashed(told);
            let expected = format!("changed: entry 3: it has what no entry has: {why}");
            assert_eq!(says(found(&log(&all), &all, None)), expected);
        }
    }
}

#[test]
fn times_of_recording_do_not_decrease() {
    let mut all = entries(5);
    all[3] = hashed(DisclosedEntry { recorded_at: Timestamp::saturating(2), ..all[3].clone() });
    let told = says(found(&log(&all), &all, None));
    assert!(told.starts_with("reordered: entry 4: it was recorded at 1970-01-01T00:00:00.000002Z, before"), "{told}");
}

#[test]
fn a_new_key_is_trusted_if_an_earlier_key_signed_it() {
    let keys = [7u8, 8, 9].map(|seed| SigningKey::from_seed(&[seed; 32]).expect("32 bytes"));
    let [first, second, third] = keys.each_ref().map(|key| key.verifier(origin()));
    let signed = log(&entries(3)).checkpoint;
    let note = |by: &[&SigningKey]| sign(&signed.text(), &origin(), by);
    let trust = Trust::new([first.clone()]).expect("a key");
    assert!(trust.open(&note(&[&keys[0]])).is_ok() && trust.open(&note(&[&keys[0], &keys[1]])).is_ok());
    assert!(trust.open(&note(&[&keys[1]])).is_err());
    let by = |key: &VerifierKey, by: usize| KeyEndorsement::sign(key.clone(), &[&keys[by]]);
    let both = trust.after(&note(&[&keys[0], &keys[1]]), &[by(&second, 0)]);
    assert_eq!(both.keys(), [first.clone(), second.clone()]);
    let later = both.after(&note(&[&keys[1]]), &[by(&second, 0), by(&third, 1)]);
    assert_eq!((later.keys(), later.former()), (&[second.clone(), third.clone()][..], &[first.clone()][..]));
    assert!(later.open(&note(&[&keys[0]])).is_err() && later.open(&note(&[&keys[2]])).is_ok());
    // Signed by itself, by nobody, by an unknown key, or for another log; below, by a key that is no longer trusted.
    let elsewhere = keys[1].verifier(KeyName::parse("other.example.com/x").expect("a name"));
    let unsigned = KeyEndorsement::sign(second.clone(), &[]);
    for introduced in
        [&[by(&second, 1)][..], &[unsigned], &[by(&second, 2)], &[by(&elsewhere, 0)], &[by(&elsewhere, 1)]]
    {
        assert_eq!(trust.after(&note(&[&keys[0]]), introduced).keys(), std::slice::from_ref(&first));
    }
    let fourth = SigningKey::from_seed(&[10; 32]).expect("32 bytes").verifier(origin());
    assert_eq!(later.after(&note(&[&keys[1]]), &[by(&fourth, 0)]), later);
    assert!(
        Trust::new([first, elsewhere.clone()]).is_err() && Trust::new([elsewhere]).is_err() && Trust::new([]).is_err()
    );
    let other = Checkpoint { origin: KeyName::parse("audit.example.com/other").expect("a name"), ..signed };
    let refused = trust.open(&sign(&other.text(), &origin(), &[&keys[0]]));
    assert!(matches!(refused, Err(Untrusted::Origin(..))), "{refused:?}");
}

#[test]
fn a_leaf_of_another_log_or_position_proves_nothing() {
    let trust = Trust::new([key().verifier(origin())]).expect("a key");
    let told = entry(1);
    let groups = Group::ALL.map(|group| told.hash(group).expect("told"));
    let recorded_at = told.recorded_at;
    let right = Leaf { log_id: LOG, seq: 1, id: "log_1", recorded_at, writer: "key", groups };
    // A log with only this leaf, signed by the right key.
    let proved = |leaf: &Leaf<'_>| {
        let data = leaf.data();
        let text = Checkpoint { origin: origin(), size: 1, root: Hash::of_leaf(&data) }.text();
        let note = sign(&text, &origin(), &[&key()]);
        let proof = Proof { leaf: data, ..Proof::new(&told, LOG, &[], Vec::new(), note).expect("a leaf") };
        assert_eq!(Proof::parse(&proof.text()).map(|read| read.text()), Ok(proof.text()));
        proof.verify(&trust).map_err(|why| why.0)
    };
    assert!(proved(&right).is_ok_and(|proved| proved.seq == 1 && proved.groups.iter().all(|(_, told)| told.is_some())));
    let other = GroupHash(Hash::of_nothing());
    for (leaf, why) in [
        (Leaf { log_id: "fedcba9876543210fedcba9876543210", ..right.clone() }, "the leaf must be of the log of audit"),
        (Leaf { seq: 2, ..right.clone() }, "index 0 is that of entry 1, got the leaf of entry 2"),
        (Leaf { writer: "-", ..right.clone() }, "must have its id and its writer"),
        (Leaf { id: "auditlog:x", ..right.clone() }, "must have its id and its writer"),
        (
            Leaf { groups: [groups[0], other, groups[2]], ..right.clone() },
            "the values of actor are not those of the leaf",
        ),
    ] {
        let refused = proved(&leaf);
        assert!(refused.as_ref().is_err_and(|told| told.contains(why)), "{refused:?}, {why}");
    }
}
