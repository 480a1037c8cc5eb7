//! The command line: exit codes, sources of options, keys, and values that are never logged.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::process::{auditlog, create_key, ran, text};
use crate::support::{Backend, Database, Process, database, on_every_database};

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(database::temporary()).expect("a directory")
}

fn write(directory: &Path, name: &str, content: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, content).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn wrong_usage_exits_2_and_says_what_is_allowed() {
    for (arguments, expected) in [
        (&["serv"][..], "a similar subcommand exists: 'serve'"),
        (&["serve", "--rest", "maybe"], "[possible values: on, off]"),
        (&["gateway", "--upstream", "http://127.0.0.1:1", "--viewer", "maybe"], "[possible values: on, off]"),
        (&["serve", "--queue-entries", "1"], "1 is not in 1000.."),
        (&["keys", "create", "--organization", "a", "--scope", "x"], "must be read, write, verify or erase, got \"x\""),
        (&["keys", "create", "--scope", "read"], "<--organization <ORG>|--all-organizations>"),
        (&["keys", "create", "--organization", "a"], "--scope"),
        (
            &["keys", "create", "--organization", "a", "--all-organizations", "--scope", "read"],
            "cannot be used with '--all-organizations'",
        ),
        (&["keys", "create", "--organization", "", "--scope", "read"], "must be 1 to 256 bytes, got 0"),
        (&["keys", "create", "--organization", "a", "--scope", "read", "--expires-in", "soon"], "--expires-in"),
        (&["import"], "<FILE|->"),
        (&["import", "x"], "--api-key"),
        (
            &["import", "x", "--api-key", "y", "--endpoint", "nowhere"],
            "and a host, such as http://127.0.0.1:8080, got \"nowhere\"",
        ),
        (&["migrate", "--database-url", "mysql://host/db"], "must start with sqlite:// or postgres://, got \"mysql\""),
        (
            &["migrate", "--database-url", "sqlite::memory:"],
            "must start with sqlite:// or postgres://, got \"no scheme\"",
        ),
        (&["serve", "--request-timeout", "0s"], "must be a duration above 0"),
        (&["serve", "--log", "loud=quiet=x"], "must be a level (off, error, warn, info, debug, trace)"),
        (&["migrate", "--log", "verbose"], "or pairs such as auditlog=debug,sqlx=info, got \"verbose\""),
        (&["--config", "/nowhere.toml", "migrate"], "cannot read /nowhere.toml"),
        (&["gateway"], "--upstream <URL>"),
        (&["gateway", "--upstream", "127.0.0.1:8080"], "and a host, such as http://127.0.0.1:8080"),
        (&["list", "--api-key", "x"], "--organization <ORG>"),
        (&["get", "log_1", "--organization", "a"], "--api-key <KEY>"),
        (&["list", "--limit", "0"], "0 is not in 1.."),
        (&["list", "--offset=-1"], "-1 is not in 0.."),
        (&["list", "--start-date", "yesterday"], "or a date such as 2025-01-31, got \"yesterday\""),
        (
            &["list", "--api-key", "x", "--organization=a", "--start-date=2025-01-02", "--end-date=2025-01-01"],
            "--start-date must not be after --end-date",
        ),
        (
            &["history", "a", "b", "--api-key", "x", "--start-date", "2025-01-02", "--end-date", "2025-01-01"],
            "--start-date must not be after --end-date",
        ),
        (&["export", "--format", "xml"], "[possible values: ndjson, csv]"),
        (
            &["counts", "--by", "year"],
            "[possible values: minute, hour, day, week, month, action, type, outcome, user, resource]",
        ),
        (&["counts", "--top", "101"], "101 is not in 1..=100"),
    ] {
        assert_wrong_usage(arguments, expected);
    }
}

#[test]
fn wrong_usage_of_the_catalogue_exits_2_and_says_what_is_allowed() {
    for (arguments, expected) in [
        (
            &["catalogue", "add", "resource-type", "Web_Hook"][..],
            "must be a letter and then at most 63 of a-z 0-9 _ . : -, got \"Web_Hook\"",
        ),
        (&["catalogue", "add", "webhook"], "[possible values: resource-type, action]"),
        (
            &["catalogue", "add", "action", "login", "--history", "logins"],
            "--history is for resource types: an action has no histories",
        ),
        (
            &["catalogue", "add", "resource-type", "a", "--history", "web_hooks"],
            "must be a letter and then at most 63 of a-z 0-9 -, got \"web_hooks\"",
        ),
    ] {
        assert_wrong_usage(arguments, expected);
    }
}

fn assert_wrong_usage(arguments: &[&str], expected: &str) {
    let (code, _, stderr) = ran(arguments, &[]);
    assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
    assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
}

#[test]
fn a_name_of_a_key_that_does_not_suit_a_service_is_refused() {
    let create = ["keys", "create", "--all-organizations", "--scope", "read", "--name"];
    let rule = "must be a letter or digit and then at most 63 of A-Z a-z 0-9 . _ - : /";
    for (name, expected) in [
        ("billing service", format!("{rule}, got \"billing service\"")),
        ("jane@example.com", format!("{rule}, got an @; names are kept for ever and must hold nothing personal")),
        ("", "must be 1 to 64 bytes, got 0".to_owned()),
    ] {
        let (code, _, stderr) = ran(&[&create[..], &[name]].concat(), &[]);
        assert_eq!(code, Some(2), "{name}: {stderr}");
        assert!(stderr.contains(&format!("for '--name <NAME>': {expected}")), "{name}: {stderr}");
    }
}

#[test]
fn wrong_usage_shows_no_password_and_no_key() {
    let database = "postgres://u:hunter2@host/db";
    let endpoint = "http://u:hunter2@host";
    for arguments in [
        &["migrate", "--database-url", "postgrs://u:hunter2@host/db"][..],
        &["migrate", "--database-url", "hunter2"],
        &["migrate", "--database-url", "hunter2://host"],
        &["serve", "--erase-database-url=u:hunter2@host/db"],
        &["list", "--endpoint", "htp://u:hunter2@host"],
        &["list", "--endpoint", endpoint],
        &["gateway", "--upstream", "u:hunter2@host"],
        &["serve", database],
        &["serve", "--databse-url", database],
        &["serve", &format!("--databse-url={database}")],
        &["serve", "--rest", database],
        &["keys", "create", "--all-organizations", "--scope", "read", "--name", database],
        &[database],
        &["list", "al_3ZkVmSxOqL2b_hunter2"],
    ] {
        let (code, stdout, stderr) = ran(arguments, &[]);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("hunter2"), "{arguments:?}: {stderr}");
    }
    let (code, _, stderr) = ran(&["migrate"], &[("AUDITLOG_DATABASE_URL", "postgrs://u:hunter2@host/db")]);
    assert_eq!(code, Some(2));
    let expected = "invalid value '(hidden)' for '--database-url <URL>': must start with sqlite:// or postgres://, got \"postgrs\"";
    assert!(stderr.contains(expected), "{stderr}");
    let environment =
        [("AUDITLOG_ENDPOINT", endpoint), ("AUDITLOG_UPSTREAM", endpoint), ("AUDITLOG_DATABASE_URL", database)];
    for command in ["list", "health", "gateway", "serve"] {
        let (code, help, _) = ran(&[command, "--help"], &environment);
        assert_eq!(code, Some(0));
        assert!(!help.contains("hunter2"), "{help}");
    }
    let directory = directory();
    for line in [
        "database_url = postgres://u:hunter2@host/db",
        "database_url = \"postgres://u:hunter2@host/db",
        "api_key \"hunter2\"",
    ] {
        let config = write(directory.path(), "auditlog.toml", &format!("listen = \"127.0.0.1:1\"\n{line}\n"));
        let (code, _, stderr) = ran(&["migrate", "--config", &config], &[]);
        assert_eq!(code, Some(2));
        assert!(stderr.contains("auditlog.toml is not TOML: line 2, column "), "{stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
}

#[test]
fn failures_exit_1_and_name_their_cause() {
    let gone = "postgres://nobody:hunter2@127.0.0.1:1/none";
    let kept = directory();
    let not_a_database = format!("sqlite://{}", write(kept.path(), "text", "this is no database file, just text"));
    for (arguments, url, expected) in [
        (&["migrate"][..], gone, "cannot connect to PostgreSQL"),
        (&["keys", "list"], "sqlite:///nowhere/not-there.db", "cannot open sqlite:///nowhere/not-there.db"),
        (&["migrate"], "postgres://u:pass/hunter2@host/db", "the database URL cannot be read"),
        (&["migrate"], "sqlite://:memory:", "would be lost with the process"),
        (
            &["migrate"],
            "sqlite:///nowhere/at/all.db",
            "cannot open sqlite:///nowhere/at/all.db: there is no directory /nowhere/at",
        ),
        (&["migrate"], &not_a_database, "not a database"),
    ] {
        let (code, stdout, stderr) = ran(arguments, &[("AUDITLOG_DATABASE_URL", url)]);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{url}: {stderr}");
        assert!(stderr.contains(expected), "{url}: {stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
    let (code, _, stderr) = ran(&["import", "/nowhere.ndjson"], &[("AUDITLOG_API_KEY", "x")]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("cannot read /nowhere.ndjson"), "{stderr}");
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let directory = directory();
    let url = |name: &str| format!("sqlite://{}", directory.path().join(name).display());
    let config = write(
        directory.path(),
        "auditlog.toml",
        &format!("database_url = \"{}\"\ndatabase_connections = 3\n", url("file.db")),
    );
    let used = |arguments: &[&str], environment: &[(&str, &str)]| {
        let (code, _, stderr) = ran(arguments, environment);
        assert_eq!(code, Some(0), "{stderr}");
        let names = ["flag.db", "environment.db", "file.db", "secret.db"];
        let found: Vec<_> = names.into_iter().filter(|name| directory.path().join(name).exists()).collect();
        for name in &found {
            fs::remove_file(directory.path().join(name)).expect("it can go");
        }
        found
    };
    let (flag, environment) = (url("flag.db"), url("environment.db"));
    let in_environment = [("AUDITLOG_CONFIG", config.as_str()), ("AUDITLOG_DATABASE_URL", &environment)];
    assert_eq!(used(&["migrate", "--database-url", &flag], &in_environment), ["flag.db"]);
    assert_eq!(used(&["migrate"], &in_environment), ["environment.db"]);
    assert_eq!(used(&["migrate"], &in_environment[..1]), ["file.db"]);
    assert_eq!(used(&["migrate", "--config", &config], &[]), ["file.db"]);
    let secret = write(directory.path(), "secret", &format!("{}\n", url("secret.db")));
    let from_file = [("AUDITLOG_CONFIG", config.as_str()), ("AUDITLOG_DATABASE_URL_FILE", &secret)];
    assert_eq!(used(&["migrate"], &from_file), ["secret.db"], "the environment beats the file");
    let both = [("AUDITLOG_DATABASE_URL", flag.as_str()), ("AUDITLOG_DATABASE_URL_FILE", &secret)];
    let (code, _, stderr) = ran(&["migrate"], &both);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("AUDITLOG_DATABASE_URL and AUDITLOG_DATABASE_URL_FILE are both set"), "{stderr}");
}

#[test]
fn a_misspelt_option_in_the_file_is_refused() {
    let directory = directory();
    let config = write(directory.path(), "auditlog.toml", "listne = \"127.0.0.1:1\"\n");
    let (code, _, stderr) = ran(&["serve", "--config", &config], &[]);
    assert_eq!(code, Some(2));
    assert!(stderr.contains("listne is not an option; allowed: api_key, bodies_mib, "), "{stderr}");
    assert!(stderr.ends_with("; did you mean listen?\n"), "{stderr}");
}

#[test]
fn an_invalid_cors_origin_is_refused() {
    for origin in
        ["https://a.example/", "a.example", "https://", "https://a.example/path", "ftp://a.example", "", "null"]
    {
        // If the origin were accepted, the invalid address would still end the process.
        let elsewhere = ["--cors-origin", origin, "--listen", "nowhere.invalid:1"];
        let serve = ["serve", "--database-url", "sqlite:///nowhere/at/all.db"];
        let (code, _, stderr) = ran(&[&serve[..], &elsewhere].concat(), &[]);
        assert_eq!(code, Some(2), "{origin}");
        let expected = format!("must be * or an origin such as https://viewer.example.com, got {origin:?}");
        assert!(stderr.contains(&expected), "{origin}: {stderr}");
        let gateway = ["gateway", "--upstream", "http://127.0.0.1:1", "--listen", "nowhere.invalid:1"];
        let from_environment = ran(&gateway, &[("AUDITLOG_CORS_ORIGIN", origin)]);
        assert!(origin.is_empty() || from_environment.0 == Some(2), "{origin}: {from_environment:?}");
    }
}

on_every_database! {
    async fn keys_are_made_listed_and_revoked(database: &Database) {
        let environment = [("AUDITLOG_DATABASE_URL", database.url.as_str())];
        let made = ran(&["keys", "create", "--organization", "org_a", "--scope", "read", "--expires-in", "90d"], &environment);
        let key = made.1.trim_end();
        assert_eq!((made.0, made.1.lines().count(), key.len()), (Some(0), 1, 65), "{}", made.1);
        assert!(made.2.contains("Created organization org_a.") && !made.2.contains(key));
        let again = ran(&["keys", "create", "--organization", "org_a", "--scope", "write"], &environment);
        assert!(!again.2.contains("Created organization"), "{}", again.2);
        let (_, listed, _) = ran(&["keys", "list"], &environment);
        let id = &key[3..15];
        assert!(listed.lines().any(|line| line.starts_with(&format!("{id}\t-\torg_a\tread\t"))), "{listed}");
        assert!(!listed.contains(&key[16..]));
        assert_eq!(ran(&["keys", "revoke", id], &environment).0, Some(0));
        let (code, _, stderr) = ran(&["keys", "revoke", id], &environment);
        assert_eq!(code, Some(1));
        assert!(stderr.contains("auditlog keys list"), "{stderr}");
    }

    async fn keys_may_share_a_name_or_have_none(database: &Database) {
        let environment = [("AUDITLOG_DATABASE_URL", database.url.as_str())];
        let nameless = ["--organization", "org_a", "--scope", "read"];
        let named = [&nameless[..], &["--name", "eu/billing-service"]].concat();
        let keys = [&named[..], &named, &nameless].map(|arguments| create_key(&database.url, arguments));
        let (_, listed, _) = ran(&["keys", "list"], &environment);
        for (key, name) in keys.iter().zip(["eu/billing-service", "eu/billing-service", "-"]) {
            let start = format!("{}\t{name}\torg_a\tread\t", &key[3..15]);
            assert!(listed.lines().any(|line| line.starts_with(&start)), "{start}: {listed}");
        }
        for (key, name) in keys.iter().zip([" (eu/billing-service)", " (eu/billing-service)", ""]) {
            let (code, _, stderr) = ran(&["keys", "revoke", key], &environment);
            let told = format!("Revoked key {}{name}. Services notice", &key[3..15]);
            assert!(code == Some(0) && stderr.contains(&told), "{told}: {stderr}");
        }
    }

    async fn organizations_are_made_and_listed(database: &Database) {
        let environment = [("AUDITLOG_DATABASE_URL", database.url.as_str())];
        assert_eq!(ran(&["organizations", "create", "org_b"], &environment).0, Some(0));
        assert!(ran(&["organizations", "create", "org_b"], &environment).2.contains("already exists"));
        let (_, listed, _) = ran(&["organizations", "list"], &environment);
        assert!(listed.starts_with("org_b\t0\t"), "{listed}");
    }

    async fn logs_never_show_what_an_entry_says(database: &Database) {
        let key = create_key(&database.url, &["--organization", "org_a", "--scope", "read", "--scope", "write"]);
        let mut command = auditlog();
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "trace"]).env("AUDITLOG_DATABASE_URL", &database.url);
        let service = Process::spawn(command);
        let secret = "Zaphod-Beeblebrox";
        let entry = |id: &str, action: &str| json!({
            "id": id, "resourceType": "rule", "resourceId": secret, "resourceName": secret, "action": action, "userId": secret,
            "userEmail": secret, "changes": [{"field": secret, "newValue": secret}], "metadata": {"source": secret}
        });
        let http = reqwest::Client::new();
        for (entries, status) in [
            (json!([entry("log_1", "created")]), 201),
            (json!([entry("log_1", "updated")]), 409),
            (json!([entry("log_2", "made")]), 400),
            (json!([secret]), 400),
        ] {
            let request = http.post(service.url("/v1/org_a/audit-logs")).bearer_auth(&key).json(&json!({"auditLogs": entries}));
            assert_eq!(request.send().await.expect("an answer").status().as_u16(), status);
        }
        let path = service.url(&format!("/v1/org_a/audit-logs/{secret}"));
        let odd = http.post(&path).header("content-type", "application/grpc");
        odd.send().await.expect("an answer");
        let missing = http.get(&path).bearer_auth(&key).send().await.expect("an answer");
        assert_eq!(missing.status().as_u16(), 404);
        let page = http.get(service.url("/v1/org_a/audit-logs")).bearer_auth(&key).send().await.expect("an answer");
        assert!(page.text().await.expect("text").contains(secret));
        std::thread::sleep(std::time::Duration::from_millis(300));
        let lines: Vec<_> = service.log.try_iter().collect();
        assert!(lines.iter().any(|line| line.contains("answered")), "it logs");
        for line in lines {
            assert!(!line.contains(secret) && !line.contains(&key[16..]), "{line}");
        }
    }
}

#[test]
fn config_file_keys_match_the_environment_variables() {
    let mut variables = std::collections::BTreeSet::new();
    for command in ["serve", "gateway", "demo", "list", "export", "import", "health", "migrate"] {
        let (_, help, _) = ran(&[command, "--help"], &[]);
        let found = help.split("[env: AUDITLOG_").skip(1).filter_map(|rest| rest.split(['=', ']']).next());
        variables.extend(found.map(str::to_lowercase).filter(|name| name != "config"));
    }
    let directory = directory();
    let config = write(directory.path(), "auditlog.toml", "nothing = 1\n");
    let (_, _, stderr) = ran(&["migrate", "--config", &config], &[]);
    let allowed = stderr.split("allowed: ").nth(1).expect("a list").trim();
    let allowed: Vec<_> = allowed.split(';').next().expect("names").split(", ").collect();
    assert!(variables.len() > 15);
    for variable in &variables {
        assert!(allowed.contains(&variable.as_str()), "{variable} is no key: {allowed:?}");
    }
}

#[test]
fn options_from_file_and_environment_do_not_fill_arguments_of_other_commands() {
    let directory = directory();
    let config = write(directory.path(), "auditlog.toml", "organization = \"org_file\"\n");
    let url = format!("sqlite://{}", directory.path().join("test.db").display());
    let environment = [
        ("AUDITLOG_CONFIG", config.as_str()),
        ("AUDITLOG_DATABASE_URL", &url),
        ("AUDITLOG_API_KEY", "x"),
        ("AUDITLOG_ORGANIZATION", "org_environment"),
    ];
    let (code, _, stderr) = ran(&["organizations", "create"], &environment);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("<ORG>"), "{stderr}");
    assert_eq!(ran(&["organizations", "create", "org_named"], &environment).0, Some(0));
    assert_eq!(ran(&["organizations", "list"], &environment).1.split('\t').next(), Some("org_named"));
    let (code, _, stderr) = ran(&["keys", "create", "--scope", "read"], &environment);
    assert!(code == Some(2) && stderr.contains("--organization"), "{stderr}");
    let config = write(directory.path(), "other.toml", "scope = \"read\"\n");
    let (code, _, stderr) = ran(&["keys", "create", "--organization", "org_a", "--config", &config], &environment);
    assert!(code == Some(2) && stderr.contains("scope is not an option"), "{stderr}");
}

#[test]
fn a_listen_address_without_a_valid_port_is_refused() {
    for address in ["7331", "localhost", ":80", "localhost:", "localhost:99999"] {
        for command in [&["serve"][..], &["gateway", "--upstream", "http://127.0.0.1:1"], &["demo"]] {
            let (code, _, stderr) = ran(&[command, &["--listen", address]].concat(), &[]);
            assert_eq!(code, Some(2), "{command:?} {address}");
            assert!(stderr.contains("must be host:port such as 127.0.0.1:8080, got"), "{stderr}");
        }
    }
}

#[test]
fn commands_and_servers_go_on_when_standard_error_cannot_be_written() {
    let directory = directory();
    let url = format!("sqlite://{}", directory.path().join("test.db").display());
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
    for arguments in
        [&["keys", "create", "--organization", "a", "--scope", "read"][..], &["organizations", "create", "b"]]
    {
        let run =
            auditlog().args(arguments).env("AUDITLOG_DATABASE_URL", &url).stderr(full()).output().expect("it runs");
        assert_eq!(run.status.code(), Some(0), "{arguments:?}");
    }
    // If the reader of its log goes away, the service still serves and drains.
    let mut service = Process::serve(&url);
    service.log = std::sync::mpsc::channel().1;
    std::thread::sleep(std::time::Duration::from_millis(200));
    let answer = crate::support::run(async { reqwest::get(service.url("/livez")).await.expect("an answer").status() });
    assert_eq!(answer.as_u16(), 200);
    assert_eq!(service.terminate(), Some(0));
    let mut command = auditlog();
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let listen = free.to_string();
    command.args(["serve", "--listen", &listen]).env("AUDITLOG_DATABASE_URL", &url).stderr(full());
    let mut silent = command.spawn().expect("it starts");
    while std::net::TcpStream::connect(free).is_err() {
        assert!(silent.try_wait().expect("it can be asked").is_none(), "it goes on");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    std::process::Command::new("kill").arg(silent.id().to_string()).status().expect("it is told to end");
    assert_eq!(silent.wait().expect("it ends").code(), Some(0));
}

#[test]
fn help_needs_no_file() {
    let missing = [("AUDITLOG_CONFIG", "/nowhere.toml"), ("AUDITLOG_API_KEY_FILE", "/nowhere")];
    assert_eq!(ran(&["--help"], &missing).0, Some(0));
    assert_eq!(ran(&["help", "serve"], &missing).0, Some(0));
    let directory = directory();
    let url = format!("sqlite://{}", directory.path().join("test.db").display());
    let unneeded = [("AUDITLOG_API_KEY_FILE", "/nowhere"), ("AUDITLOG_DATABASE_URL", url.as_str())];
    assert_eq!(ran(&["migrate"], &unneeded).0, Some(0), "a command that takes no key reads none");
    assert_eq!(ran(&["import", "x"], &missing[1..]).0, Some(2));
}

#[test]
fn a_key_that_cannot_be_printed_is_an_error() {
    let directory = directory();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");
    let mut command = auditlog();
    command.args(["keys", "create", "--all-organizations", "--scope", "read"]).stdout(full);
    let url = format!("sqlite://{}", directory.path().join("test.db").display());
    let output = command.env("AUDITLOG_DATABASE_URL", url).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("could not be printed"), "{}", text(&output.stderr));
}
