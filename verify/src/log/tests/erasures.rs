//! Records of erasures, and the keys that make them trusted.

use super::*;

/// The key of the log, a second key of it, and an unknown key.
fn keys() -> [SigningKey; 3] {
    [7u8, 8, 9].map(|seed| SigningKey::from_seed(&[seed; 32]).expect("32 bytes"))
}

fn verifier(key: &SigningKey) -> VerifierKey {
    key.verifier(origin())
}

/// A log of twenty entries whose fifth entry has lost its content, and the hash of that content.
fn without_fifth() -> (Vec<DisclosedEntry>, GroupHash) {
    let mut all = entries(20);
    let (gone, hash) = without_content(&all[4]);
    all[4] = gone;
    (all, hash)
}

/// The record of that erasure, as entry `seq`, signed by `keys`.
fn recorded(seq: Seq, keys: &[&SigningKey]) -> DisclosedEntry {
    let (_, hash) = without_fifth();
    erasure_by(keys, seq, &[(5, Group::Content, hash)])
}

/// The introduction of `key` by `keys`, as entry `seq`.
fn introduced(seq: Seq, key: &SigningKey, keys: &[&SigningKey]) -> DisclosedEntry {
    let introduction = KeyEndorsement::sign(verifier(key), keys);
    let values = [("verifierKey", introduction.key().text()), ("signatures", introduction.signatures().to_owned())];
    service(seq, "rotation", values.iter().map(|(field, text)| change(field, text)).collect())
}

/// The violation that `trust` finds in that log with these entries, and the numbers of erased groups.
fn with(trust: &Trust, edits: Vec<DisclosedEntry>) -> (String, ErasedGroups) {
    let (mut all, _) = without_fifth();
    for told in edits {
        let place = told.seq as usize - 1;
        all[place] = told;
    }
    let (violation, erased) = found_by(trust, &log(&all), &all, None);
    (says(violation), erased)
}

fn verified(erased: ErasedGroups) -> (String, ErasedGroups) {
    ("verified".to_owned(), erased)
}

fn by_given() -> (String, ErasedGroups) {
    verified(ErasedGroups { given_key: 1, ..ErasedGroups::default() })
}

/// The result if entry 19 records the erasure but is not trusted.
fn refused(why: &str) -> (String, ErasedGroups) {
    let told = "removed without record: entry 5: its content is gone, and entry 19 records its erasure, and ";
    (format!("{told}{why}"), ErasedGroups { refused: 1, ..ErasedGroups::default() })
}

fn unsigned() -> (String, ErasedGroups) {
    refused("no key of the log has signed that")
}

fn strange(key: &SigningKey) -> (String, ErasedGroups) {
    let key = verifier(key).short();
    refused(&format!("is signed by {key}, which is not trusted; a former key of the log has to be given, too"))
}

#[test]
fn a_record_excuses_a_missing_group_if_a_key_of_the_log_signed_it() {
    let keys = keys();
    let [own, second, stranger] = keys.each_ref();
    assert_eq!(with(&trust(), vec![recorded(19, &[own])]), by_given());
    assert_eq!(with(&trust(), vec![recorded(19, &[own, stranger])]), by_given());
    assert_eq!(with(&trust(), vec![recorded(19, &[])]), unsigned());
    assert_eq!(with(&trust(), vec![recorded(19, &[stranger])]), strange(stranger));
    // A later signed record settles it.
    assert_eq!(with(&trust(), vec![recorded(19, &[]), recorded(20, &[own])]), by_given());
    // Signed by a key that the log introduces earlier, that was trusted before, or that was also passed in.
    let by_other = verified(ErasedGroups { other_key: 1, ..ErasedGroups::default() });
    let signed = recorded(19, &[second]);
    assert_eq!(with(&trust(), vec![signed.clone()]), strange(second));
    assert_eq!(with(&trust(), vec![introduced(10, second, &[own]), signed.clone()]), by_other);
    for no_key_of_the_log in [stranger, second] {
        let introduced = introduced(10, second, &[no_key_of_the_log]);
        assert_eq!(with(&trust(), vec![introduced, signed.clone()]), strange(second));
    }
    let former = trust().with_former([verifier(second)]).expect("a key of the log");
    assert_eq!(with(&former, vec![signed.clone()]), by_other);
    assert_eq!(with(&Trust::new([verifier(own), verifier(second)]).expect("keys"), vec![signed]), by_given());
}

#[test]
fn a_record_before_the_first_key_needs_no_signature() {
    let keys = keys();
    let [own, second, stranger] = keys.each_ref();
    let by_nobody = verified(ErasedGroups { unsigned: 1, ..ErasedGroups::default() });
    assert_eq!(with(&trust(), vec![recorded(18, &[]), introduced(19, own, &[own])]), by_nobody);
    assert_eq!(with(&trust(), vec![introduced(18, own, &[own]), recorded(19, &[])]), unsigned());
    assert_eq!(with(&trust(), vec![recorded(19, &[]), introduced(20, stranger, &[stranger])]), unsigned());
    assert_eq!(with(&trust(), vec![recorded(19, &[]), introduced(20, second, &[own])]), unsigned());
    // This excuses a missing signature, but not a wrong one.
    assert_eq!(with(&trust(), vec![recorded(19, &[stranger]), introduced(20, own, &[own])]), strange(stranger));
}

/// The violation after the changes of a signed record are edited.
fn with_edited(edit: fn(&mut Vec<Change>)) -> String {
    let (mut all, hash) = without_fifth();
    let mut record = erasure(20, &[(5, Group::Content, hash), (6, Group::Actor, GroupHash(Hash::of_nothing()))]);
    edit_changes(&mut record, edit);
    all[19] = hashed(record);
    says(found(&log(&all), &all, None))
}

#[test]
fn a_signature_is_valid_only_for_the_record_it_was_made_for() {
    assert_eq!(with_edited(|_| ()), "verified");
    let forged = "removed without record: entry 5: its content is gone, and entry 20 records its erasure, and its \
                  signature is not that of its key for what it says";
    let from_another = |changes: &mut Vec<Change>| {
        let mut other = erasure(20, &[(5, Group::Content, GroupHash(Hash::of_nothing()))]);
        edit_changes(&mut other, |others| changes[3] = others[2].clone());
    };
    assert_eq!(with_edited(|changes| changes[0] = change("reason", "another")), forged);
    assert_eq!(with_edited(|changes| changes.swap(1, 2)), forged);
    assert_eq!(with_edited(|changes| drop(changes.remove(2))), forged);
    assert_eq!(with_edited(from_another), forged);
    for malformed in [
        with_edited(|changes| changes.rotate_right(1)),
        with_edited(|changes| changes[3].new_value = json("7")),
        with_edited(|changes| changes.push(change("signatures", ""))),
    ] {
        assert!(malformed.starts_with("added: entry 20: it is no record of an erasure"), "{malformed}");
    }
}
