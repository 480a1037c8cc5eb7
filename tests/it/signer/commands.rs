//! `auditlog signing-key`, and what `serve` says of its options.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::support::database::temporary;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(temporary()).expect("a directory")
}

#[test]
fn a_key_is_made_once_shown_and_exchanged() {
    let directory = directory();
    let path = directory.path().join("key");
    let file = path.to_str().expect("UTF-8");
    let command = |words: &[&str]| ran(&[&["signing-key"], words].concat(), &[("AUDITLOG_SIGNING_KEY", file)]);
    let (code, _, told) = command(&["rotate", "--overlap", "90d"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("there is no signing key"), "{told}");
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0, "nothing is left there");
    let (code, public, told) = command(&["create"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(public.starts_with("ed25519\t") && public.ends_with("\t-\n"), "{public}");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let secret = std::fs::read_to_string(&path).expect("text");
    let (code, _, told) = command(&["create"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("is there already; a key is never overwritten"), "{told}");
    assert_eq!(std::fs::read_to_string(&path).expect("text"), secret);
    assert_eq!(command(&["show"]).1, public);
    let (code, both, _) = command(&["rotate", "--overlap", "90d"]);
    assert_eq!((code, both.lines().count()), (Some(0), 2));
    let former = both.lines().nth(1).expect("the former");
    assert!(former.starts_with(public.trim_end_matches("-\n")) && former.ends_with('Z'), "{both}");
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(command(&["show"]).1, both);
    // Whoever handles an incident may be root, and the service is not.
    if std::fs::metadata(&path).expect("it is there").uid() == 0 {
        std::os::unix::fs::chown(&path, Some(4711), Some(4712)).expect("root may");
        assert_eq!(command(&["rotate", "--overlap", "90d"]).0, Some(0));
        for name in ["key", "key.lock"] {
            let found = std::fs::metadata(directory.path().join(name)).expect("it is there");
            assert_eq!((found.uid(), found.gid()), (4711, 4712), "{name}");
        }
    }
    assert_eq!(command(&["rotate", "--overlap", "999999d"]).0, Some(0));
    assert_eq!(command(&["rotate", "--overlap", "99999999d"]).0, Some(1));
    assert_eq!(command(&["acknowledge-rollback"]).0, Some(2));
}

#[test]
fn a_key_file_that_is_none_is_refused_without_its_text() {
    let directory = directory();
    let path = directory.path().join("key");
    let seed = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U=";
    let url = format!("sqlite://{}", directory.path().join("test.db").display());
    let environment = [
        ("AUDITLOG_SIGNING_KEY", path.to_str().expect("UTF-8")),
        ("AUDITLOG_LOG_NAME", LOG_NAME),
        ("AUDITLOG_DATABASE_URL", &url),
    ];
    let serve = || ran(&["serve", "--listen", "127.0.0.1:0"], &environment);
    let (code, _, told) = serve();
    assert_eq!(code, Some(1));
    assert!(told.contains("there is no signing key") && told.contains("signing-key create"), "{told}");
    for (text, told) in [
        (String::new(), "must have one key without `until`, the one that signs, got none"),
        (format!("ed25519 {seed} until 2030-01-01T00:00:00Z\n"), "got none"),
        (format!("ed25519 {seed}\ned25519 {seed}\n"), "got several"),
        (format!("ed25519 {seed}{seed}\n"), "line 1 must be `ed25519 SEED`"),
        (format!("# mine\n\nml-dsa-44 {seed}\n"), "line 3 must be `ed25519 SEED`"),
        (format!("ed25519 {seed} until tomorrow\n"), "line 1 must be `ed25519 SEED`"),
        (format!("-----BEGIN PRIVATE KEY-----\n{seed}\n"), "line 1 must be `ed25519 SEED`"),
    ] {
        std::fs::write(&path, &text).expect("a file");
        let (code, shown, said) = serve();
        assert_eq!((code, shown.as_str()), (Some(1), ""), "{text}");
        assert!(said.contains(told), "{text}: {said}");
        assert!(!said.contains("c2Vj"), "{said}");
    }
}

#[test]
fn a_key_needs_a_name_and_a_name_a_key() {
    for (arguments, told) in [
        (["--signing-key", "x"], "--signing-key needs a --log-name NAME, or neither"),
        (["--log-name", "audit.example.com"], "--log-name needs a --signing-key FILE, or neither"),
        (["--log-name", "https://audit.example.com"], "must be a DNS name in lower case, without scheme"),
    ] {
        let (code, _, said) =
            ran(&[&["serve", "--database-url", "sqlite:///nowhere/x.db"], &arguments[..]].concat(), &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(told), "{said}");
    }
}

on_every_database! {
    async fn verifier_keys_are_shown_and_a_key_that_others_can_read_is_told(database: &Database) {
        let (store, key_file) = (database.store().await, new_key(database, "key"));
        let ingest = start(&store, Clock::system());
        append(&ingest, "org_a", 0, 1).await;
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o644)).expect("it changes");
        let file = key_file.to_str().expect("UTF-8");
        let environment = [("AUDITLOG_SIGNING_KEY", file), ("AUDITLOG_LOG_NAME", LOG_NAME), ("AUDITLOG_DATABASE_URL", &database.url)];
        let show = || ran(&["signing-key", "show"], &environment).1;
        let keys = Keys::load(&key_file).expect("a key");
        let expected = verifier(&store, "org_a", keys.main().signing()).await.text();
        assert_eq!(show(), format!("org_a\t{expected}\t-\n"));
        let service = serve(database, &key_file);
        assert!(service.said.iter().any(|line| line.contains("others than its owner can read")), "{:?}", service.said);
        signed_up_to(&store, "org_a", 1).await;
        assert_eq!(show(), format!("org_a\t{expected}\t0\n"));
        // One that only the database names is told, and not printed.
        append(&ingest, "org_b", 0, 1).await;
        store.keep_log_key(&organization("org_a"), &[7; 32], 1).await.expect("kept");
        let (code, shown, told) = ran(&["signing-key", "show", "--organization", "org_a"], &environment);
        assert_eq!((code, shown), (Some(0), format!("org_a\t{expected}\t0\n")));
        assert!(told.contains("introduced by entry 1, is not in the key file"), "{told}");
        assert_eq!(ran(&["signing-key", "show", "--organization", "org_x"], &environment).0, Some(1));
    }
}
