//! `auditlog signing-key`, and the signing options of `serve`.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::process::{Command, Stdio};

use super::*;
use crate::support::database::temporary;
use crate::support::process::text;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(temporary()).expect("a directory")
}

#[test]
fn a_key_is_created_once_shown_and_rotated() {
    let directory = directory();
    let path = directory.path().join("key");
    let file = path.to_str().expect("UTF-8");
    let command = |words: &[&str]| ran(&[&["signing-key"], words].concat(), &[("AUDITLOG_SIGNING_KEY", file)]);
    let (code, _, stderr) = command(&["rotate", "--overlap", "90d"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("there is no signing key"), "{stderr}");
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0, "nothing is left there");
    let (code, public, stderr) = command(&["create"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(public.starts_with("ed25519\t") && public.ends_with("\t-\n"), "{public}");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let secret = std::fs::read_to_string(&path).expect("text");
    assert!(secret.starts_with("# Keys that sign checkpoints of auditlog, secret: "), "{secret}");
    let (code, _, stderr) = command(&["create"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("already exists; a key is never overwritten"), "{stderr}");
    assert_eq!(std::fs::read_to_string(&path).expect("text"), secret);
    assert_eq!(command(&["show"]).1, public);
    let (code, both, _) = command(&["rotate", "--overlap", "90d"]);
    assert_eq!((code, both.lines().count()), (Some(0), 2));
    let former = both.lines().nth(1).expect("the former");
    assert!(former.starts_with(public.trim_end_matches("-\n")) && former.ends_with('Z'), "{both}");
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    assert_eq!(command(&["show"]).1, both);
    assert_eq!(command(&["rotate", "--overlap", "999999d"]).0, Some(0));
    assert_eq!(command(&["rotate", "--overlap", "99999999d"]).0, Some(1));
    assert_eq!(command(&["acknowledge-rollback"]).0, Some(2));
}

/// The commands that write a file beside the key.
const WRITING: [&[&str]; 3] = [
    &["signing-key", "create"],
    &["signing-key", "rotate", "--overlap", "90d"],
    &["signing-key", "acknowledge-rollback", "--all", "--yes"],
];

/// A directory for a key, with a file `secret` beside it. Both belong to the user who runs the test.
struct Linked {
    directory: tempfile::TempDir,
    environment: [(&'static str, String); 3],
}

impl Linked {
    fn new() -> Self {
        let directory = directory();
        std::fs::create_dir(directory.path().join("keys")).expect("a directory");
        std::fs::write(directory.path().join("secret"), "secret").expect("a file");
        std::fs::set_permissions(directory.path().join("secret"), std::fs::Permissions::from_mode(0o600)).expect("set");
        let url = format!("sqlite://{}", directory.path().join("test.db").display());
        let key = directory.path().join("keys/key").display().to_string();
        let environment =
            [("AUDITLOG_SIGNING_KEY", key), ("AUDITLOG_DATABASE_URL", url), ("AUDITLOG_LOG_NAME", LOG_NAME.to_owned())];
        let linked = Self { directory, environment };
        assert_eq!(linked.run(&["migrate"]).0, Some(0));
        linked
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let environment = self.environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        let (code, _, stderr) = ran(arguments, &environment);
        (code, stderr)
    }

    fn keys(&self) -> std::path::PathBuf {
        self.directory.path().join("keys")
    }

    /// Replaces a file beside the key with a link to the secret.
    fn link(&self, name: &str) {
        let _ = std::fs::remove_file(self.keys().join(name));
        symlink(self.directory.path().join("secret"), self.keys().join(name)).expect("a link");
    }

    fn assert_secret(&self) {
        let secret = self.directory.path().join("secret");
        let found = std::fs::metadata(&secret).expect("it is there");
        let own = std::fs::metadata(self.directory.path()).expect("it is there").uid();
        assert_eq!((found.uid(), found.permissions().mode() & 0o777), (own, 0o600));
        assert_eq!(std::fs::read_to_string(&secret).expect("text"), "secret");
    }
}

#[test]
fn no_link_beside_a_key_is_followed() {
    let linked = Linked::new();
    for name in ["key.new", "key.state.new"] {
        linked.link(name);
    }
    for arguments in &WRITING[..2] {
        linked.link("key.lock");
        let (code, stderr) = linked.run(arguments);
        assert_eq!(code, Some(1), "{stderr}");
        assert!(stderr.contains("key.lock: it is a symbolic link, and links are not followed"), "{stderr}");
        linked.assert_secret();
        std::fs::remove_file(linked.keys().join("key.lock")).expect("removed");
        let (code, stderr) = linked.run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        linked.assert_secret();
    }
    for (name, arguments) in [("key.state", WRITING[2]), ("key", WRITING[1])] {
        let kept = std::fs::read(linked.keys().join(name)).expect("a file");
        linked.link(name);
        let (code, stderr) = linked.run(arguments);
        assert_eq!(code, Some(1), "{name}");
        assert!(!stderr.contains("secret\n"), "{stderr}");
        linked.assert_secret();
        std::fs::remove_file(linked.keys().join(name)).expect("removed");
        std::fs::write(linked.keys().join(name), kept).expect("put back");
    }
}

#[test]
fn root_writes_nothing_beside_the_key_of_another_user_and_names_the_command() {
    const USER: u32 = 4711;
    let linked = Linked::new();
    if std::fs::metadata(linked.directory.path()).expect("it is there").uid() != 0 {
        return;
    }
    std::fs::set_permissions(linked.directory.path(), std::fs::Permissions::from_mode(0o755)).expect("root may");
    chown(linked.keys(), Some(USER), Some(USER)).expect("root may");
    let as_user = |script: &str, arguments: &[&str]| {
        let program = auditlog();
        let mut command = Command::new("setpriv");
        let user = ["--reuid=4711", "--regid=4711", "--clear-groups", "sh", "-c", script];
        command.args(user).arg(program.get_program()).args(arguments).current_dir(linked.keys());
        let output = command.envs(linked.environment.clone()).stdin(Stdio::null()).output().expect("it runs");
        (output.status.code(), text(&output.stderr))
    };
    let plant = "for name in key.lock key.new key.state.new; do ln -s ../secret $name || exit 1; done";
    assert_eq!(as_user(plant, &[]), (Some(0), String::new()));
    let assert_refused = |arguments: &[&str], named: &str| {
        let (code, stderr) = linked.run(arguments);
        assert_eq!(code, Some(1), "{stderr}");
        let own = format!("belongs to user 4711, so root writes nothing there; run `sudo -u '#4711' auditlog {named}");
        assert!(stderr.contains(&own), "{arguments:?}: {stderr}");
        linked.assert_secret();
    };
    assert_refused(WRITING[0], "signing-key create --signing-key ");
    // The same command succeeds when the user runs it and no link is in its way.
    assert_eq!(as_user("rm key.lock && exec \"$0\" \"$@\"", WRITING[0]).0, Some(0));
    assert_eq!(as_user("ln -sf ../secret key.lock", &[]).0, Some(0));
    assert_refused(WRITING[1], "signing-key rotate --signing-key ");
    assert_refused(WRITING[2], "signing-key acknowledge-rollback --signing-key ");
    assert_refused(&["serve", "--listen", "127.0.0.1:0"], "serve …`");
    // The same if only the file belongs to another user.
    chown(linked.keys(), Some(0), Some(0)).expect("root may");
    assert_refused(WRITING[1], "signing-key rotate --signing-key ");
    chown(linked.keys(), Some(USER), Some(USER)).expect("root may");
    let (code, stderr) = as_user("rm key.lock && exec \"$0\" \"$@\"", WRITING[1]);
    assert_eq!(code, Some(0), "{stderr}");
    linked.assert_secret();
}

#[test]
fn an_invalid_key_file_is_refused_without_showing_its_text() {
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
    let (code, _, stderr) = serve();
    assert_eq!(code, Some(1));
    assert!(stderr.contains("there is no signing key") && stderr.contains("signing-key create"), "{stderr}");
    for (text, expected) in [
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
        assert!(said.contains(expected), "{text}: {said}");
        assert!(!said.contains("c2Vj"), "{said}");
    }
}

#[test]
fn signing_key_and_log_name_require_each_other() {
    for (arguments, expected) in [
        (["--signing-key", "x"], "--signing-key needs --log-name NAME; give both or neither"),
        (["--log-name", "audit.example.com"], "--log-name needs --signing-key FILE; give both or neither"),
        (["--log-name", "https://audit.example.com"], "must be a DNS name in lower case, without scheme"),
    ] {
        let (code, _, said) =
            ran(&[&["serve", "--database-url", "sqlite:///nowhere/x.db"], &arguments[..]].concat(), &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}

on_every_database! {
    async fn verifier_keys_are_shown_and_a_key_file_readable_by_others_is_reported(database: &Database) {
        let (store, key_file) = (database.store().await, new_key(database, "key"));
        let ingest = start(&store, Clock::system());
        append(&ingest, "org_a", 0, 1).await;
        std::fs::set_permissions(&key_file, std::fs::Permissions::from_mode(0o644)).expect("it changes");
        let file = key_file.to_str().expect("UTF-8");
        let environment = [("AUDITLOG_SIGNING_KEY", file), ("AUDITLOG_LOG_NAME", LOG_NAME), ("AUDITLOG_DATABASE_URL", &database.url)];
        let show = || ran(&["signing-key", "show"], &environment).1;
        let keys = CheckpointKeys::load(&key_file).expect("a key");
        let expected = verifier(&store, "org_a", keys.main().signing()).await.text();
        assert_eq!(show(), format!("org_a\t{expected}\t-\n"));
        let service = serve(database, &key_file);
        assert!(service.said.iter().any(|line| line.contains("users other than its owner can read")), "{:?}", service.said);
        signed_up_to(&store, "org_a", 1).await;
        assert_eq!(show(), format!("org_a\t{expected}\t0\n"));
        // A key that exists only in the database causes a message, but is not printed.
        append(&ingest, "org_b", 0, 1).await;
        store.keep_log_key(&organization("org_a"), &[7; 32], 1).await.expect("kept");
        let (code, shown, stderr) = ran(&["signing-key", "show", "--organization", "org_a"], &environment);
        assert_eq!((code, shown), (Some(0), format!("org_a\t{expected}\t0\n")));
        assert!(stderr.contains("introduced by entry 1, is not in the key file"), "{stderr}");
        assert_eq!(ran(&["signing-key", "show", "--organization", "org_x"], &environment).0, Some(1));
    }
}
