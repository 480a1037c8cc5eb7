//! Runs the statements of docs/postgresql-roles.md. The roles must be sufficient, no grant may be unnecessary, and
//! PostgreSQL must refuse what the roles must not do.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use auditlog::access::{NewKey, Scope, create_key};
use auditlog::counts::EntryCounter;
use auditlog::domain::{Clock, Filter, Group, Limit, Offset, Random, ResourceType, Secret};
use auditlog::error::Error;
use auditlog::ingest::{Eraser, LoadRecordKeys, RecordKeys, Target};
use auditlog::metrics::Metrics;
use auditlog::query::{Query, Start};
use auditlog::store::{SignedCheckpoint, Store};
use auditlog_verify::merkle::{KeyName, SigningKey};
use sea_orm::{ConnectionTrait, Database as Connections, DatabaseConnection};

use crate::documentation::{Language, ROLES, blocks_of};
use crate::support::check_log::check_log;
use crate::support::erasure::{both, erasure, person};
use crate::support::ingest::{entry, organization, start, write};
use crate::support::postgres::{Server, own_server};
use crate::support::process::{auditlog, ran, text};
use crate::support::{Process, run, say};

const ORG: &str = "org_a";

/// A server with the roles of the page.
struct Roles {
    server: Server,
}

impl Roles {
    /// Runs the page up to `serve`; `None` without PostgreSQL.
    async fn of_the_page() -> Option<Self> {
        let roles = Self { server: own_server()? };
        let sql = blocks_of(ROLES, Language::Sql);
        let [makes, grants] = &sql[..] else { panic!("{} blocks of SQL", sql.len()) };
        let superuser = roles.connect("postgres", "postgres").await;
        for statement in statements(makes) {
            superuser.execute_unprepared(&statement).await.expect("it runs");
        }
        let shell = blocks_of(ROLES, Language::Shell);
        roles.bash(&shell[0]);
        let owner = roles.connect("auditlog_owner", "auditlog").await;
        for statement in statements(grants) {
            owner.execute_unprepared(&statement).await.expect("it runs");
        }
        Some(roles)
    }

    fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}:any@127.0.0.1:{}/{database}", self.server.port)
    }

    fn secret(&self, role: &str) -> Secret {
        Secret::new(self.url(role, "auditlog"))
    }

    async fn connect(&self, role: &str, database: &str) -> DatabaseConnection {
        Connections::connect(self.url(role, database)).await.expect("it connects")
    }

    /// Runs a shell block of the page against this server.
    fn bash(&self, block: &str) -> String {
        let script = block.replace("@localhost/", &format!("@127.0.0.1:{}/", self.server.port));
        let binary = std::path::Path::new(env!("CARGO_BIN_EXE_auditlog")).parent().expect("a directory").to_owned();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new("bash").args(["-euc", &script]).env("PATH", path).output().expect("bash runs");
        assert!(output.status.success(), "{block}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Starts `auditlog serve` with the variables of the page's block.
    fn serve(&self) -> Process {
        let shell = blocks_of(ROLES, Language::Shell);
        let mut command = auditlog();
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        for line in shell[1].lines().filter_map(|line| line.strip_prefix("export ")) {
            let (name, url) = line.split_once('=').expect("a variable");
            command.env(name, url.replace("@localhost/", &format!("@127.0.0.1:{}/", self.server.port)));
        }
        assert!(shell[1].contains("\nauditlog serve\n"), "{}", shell[1]);
        Process::spawn(command)
    }
}

fn statements(block: &str) -> Vec<String> {
    block.split(';').map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
}

#[test]
fn the_service_works_with_the_documented_roles() {
    run(async {
        let Some(roles) = Roles::of_the_page().await else { return };
        let shell = blocks_of(ROLES, Language::Shell);
        let key =
            roles.bash(&shell[2].replace("org_abc123", ORG).replace("--scope read", "--scope read --scope write"));
        let service = roles.serve();
        let endpoint = service.url("");
        let variables = [
            ("AUDITLOG_ENDPOINT", endpoint.as_str()),
            ("AUDITLOG_API_KEY", key.trim()),
            ("AUDITLOG_ORGANIZATION", ORG),
        ];
        let imported = roles.bash(&format!(
            "seq 1 1500 | sed 's/.*/{{\"id\":\"log_&\",\"resourceType\":\"user\",\"resourceId\":\"u\",\"action\":\"updated\",\"userId\":\"u\",\"userName\":\"Ada\"}}/' \
             | AUDITLOG_ENDPOINT={endpoint} AUDITLOG_API_KEY={} auditlog import - --organization {ORG}",
            key.trim()
        ));
        assert!(imported.starts_with("1,500 written, 0 already there, 0 skipped"), "{imported}");
        let (code, erased, stderr) = ran(&["erase", "--user", "u", "--reason", "a test", "--yes"], &variables);
        assert_eq!(
            (code, erased.as_str()),
            (Some(0), "erased 3,000 groups of values of 1,500 entries, recorded as numbers 1501 to 1504\n"),
            "{stderr}"
        );
        let (code, listed, stderr) = ran(&["list", "--user-id", "u", "--limit", "1"], &variables);
        assert!(code == Some(0) && !listed.contains("Ada"), "{listed}{stderr}");
        let serve = [("AUDITLOG_DATABASE_URL", roles.url("auditlog_serve", "auditlog"))];
        let serve = [(serve[0].0, serve[0].1.as_str())];
        for arguments in [
            ["running-counts", "status"],
            ["running-counts", "update"],
            ["running-counts", "check"],
            ["running-counts", "rebuild"],
            ["running-counts", "check"],
            ["catalogue", "list"],
        ] {
            let (code, _, stderr) = ran(&arguments, &serve);
            assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        }
        for arguments in [
            &["keys", "create", "--all-organizations", "--scope", "read"][..],
            &["catalogue", "add", "resource-type", "webhook"],
            &["organizations", "create", "org_b"],
        ] {
            let (code, _, stderr) = ran(arguments, &serve);
            assert_eq!(code == Some(0), arguments[0] == "organizations", "{arguments:?}: {stderr}");
            let owner = roles.url("auditlog_owner", "auditlog");
            let (code, _, stderr) = ran(arguments, &[("AUDITLOG_DATABASE_URL", &owner)]);
            assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
        }
        assert_eq!(service.terminate(), Some(0));
    });
}

/// Statements that a role must not be able to run.
const REFUSED: [(&str, &str); 17] = [
    ("auditlog_serve", "UPDATE audit_logs SET user_name = NULL"),
    ("auditlog_serve", "UPDATE audit_logs SET erased = 6"),
    ("auditlog_serve", "DELETE FROM audit_logs"),
    ("auditlog_serve", "TRUNCATE audit_logs"),
    ("auditlog_serve", "ALTER TABLE audit_logs ADD COLUMN x int"),
    ("auditlog_serve", "INSERT INTO erasures VALUES ('org_a', 1, 1, '', 1)"),
    ("auditlog_serve", "DELETE FROM erasures"),
    ("auditlog_serve", "UPDATE organizations SET log_id = ''"),
    ("auditlog_serve", "DELETE FROM organizations"),
    ("auditlog_serve", "UPDATE api_keys SET scopes = 'read erase'"),
    ("auditlog_serve", "INSERT INTO catalogue VALUES ('action', 99, 'x')"),
    ("auditlog_erase", "UPDATE audit_logs SET user_id = 'x'"),
    ("auditlog_erase", "UPDATE audit_logs SET user_name = NULL, leaf_hash = ''"),
    ("auditlog_erase", "DELETE FROM audit_logs"),
    ("auditlog_erase", "TRUNCATE audit_logs"),
    ("auditlog_erase", "UPDATE erasures SET hash = ''"),
    ("auditlog_erase", "SELECT * FROM api_keys"),
];

#[test]
fn postgresql_refuses_what_the_roles_must_not_do() {
    run(async {
        let Some(roles) = Roles::of_the_page().await else { return };
        for (role, statement) in REFUSED {
            let connection = roles.connect(role, "auditlog").await;
            let refused = connection.execute_unprepared(statement).await.expect_err(statement).to_string();
            assert!(
                refused.contains("permission denied") || refused.contains("must be owner"),
                "{statement}: {refused}"
            );
        }
        let columns = [
            "seq",
            "id",
            "timestamp",
            "recorded_at",
            "resource_type",
            "resource_id",
            "action",
            "user_id",
            "trace_id",
            "outcome",
            "actor_type",
            "writer_key_id",
            "leaf_hash",
            "organization_id",
        ];
        let eraser = roles.connect("auditlog_erase", "auditlog").await;
        for column in columns {
            let refused = eraser.execute_unprepared(&format!("UPDATE audit_logs SET {column} = {column}")).await;
            assert!(refused.expect_err(column).to_string().contains("permission denied"), "{column}");
        }
    });
}

#[test]
fn a_service_that_may_not_erase_says_so() {
    run(async {
        let Some(roles) = Roles::of_the_page().await else { return };
        let store =
            Store::open(&roles.secret("auditlog_serve"), 2).await.expect("the schema is there, and only looked at");
        write(&start(&store, Clock::system()), ORG, vec![entry("log_1", 1)]).await.expect("written");
        let asked = || erasure(Target::Entries(vec![entry("log_1", 1).content.id.clone()]), both());
        let eraser = |store: &Store| {
            Eraser::new(
                store.clone(),
                Clock::system(),
                Random::system(),
                Duration::from_secs(9),
                None,
                &Metrics::default(),
            )
        };
        assert!(matches!(eraser(&store).erase(asked()).await, Err(Error::ErasureUnavailable(_))));
        assert!(matches!(eraser(&store).extent(&asked()).await, Err(Error::ErasureUnavailable(_))));
        let refused = store.clone().erasing_by(&roles.secret("auditlog_serve")).await.err().expect("no right");
        assert!(refused.to_string().contains("has no right to change the columns that are erased"), "{refused:#}");
        let refused = store.clone().erasing_by(&Secret::new("sqlite://x.db".to_owned())).await.err().expect("no roles");
        assert!(refused.to_string().contains("a SQLite file has no roles"), "{refused:#}");
        // Another database with the same organization id contains a different log.
        roles
            .connect("postgres", "postgres")
            .await
            .execute_unprepared("CREATE DATABASE other OWNER auditlog_owner")
            .await
            .expect("it is made");
        let other = Secret::new(roles.url("auditlog_owner", "other"));
        let others = Store::open(&other, 2).await.expect("it is made");
        write(&start(&others, Clock::system()), ORG, vec![entry("log_1", 1)]).await.expect("written");
        let crossed = store.erasing_by(&other).await.expect("it may erase");
        let refused = eraser(&crossed).erase(asked()).await.expect_err("another log");
        assert!(refused.with_causes().contains("names another database"), "{}", refused.with_causes());
        assert_eq!(check_log(&others, ORG).await, 1);
        // Without a schema, this role cannot create one.
        roles
            .connect("postgres", "postgres")
            .await
            .execute_unprepared("CREATE DATABASE empty")
            .await
            .expect("it is made");
        let refused =
            Store::open(&Secret::new(roles.url("auditlog_serve", "empty")), 2).await.err().expect("no schema");
        assert!(format!("{refused:#}").contains("`auditlog migrate` must run as the role that owns it"), "{refused:#}");
    });
}

#[test]
fn a_missing_grant_is_named_in_the_error() {
    run(async {
        let Some(roles) = Roles::of_the_page().await else { return };
        let owner = roles.connect("auditlog_owner", "auditlog").await;
        for table in [
            "seaql_migrations",
            "secrets",
            "api_keys",
            "log_tiles",
            "checkpoints",
            "log_keys",
            "erasures",
            "count_state",
            "key_totals",
            "running_counts",
            "names",
        ] {
            owner.execute_unprepared(&format!("REVOKE SELECT ON {table} FROM auditlog_serve")).await.expect("it runs");
            let refused = Store::open(&roles.secret("auditlog_serve"), 2).await.err().expect("it may not read");
            let message = format!("{refused:#}");
            let expected =
                format!("lacks the right to read table {table}; docs/postgresql-roles.md has the GRANT for it");
            assert!(message.contains(&expected) && !message.contains("migrate"), "{message}");
            owner.execute_unprepared(&format!("GRANT SELECT ON {table} TO auditlog_serve")).await.expect("it runs");
        }
        Store::open(&roles.secret("auditlog_serve"), 2).await.expect("it may again");
    });
}

/// Uses every operation of the serving and the erasing role.
async fn use_all(roles: &Roles, key: &str, round: usize) -> anyhow::Result<()> {
    let store = Store::open_existing(&roles.secret("auditlog_serve"), 2).await?;
    let store = store.erasing_by(&roles.secret("auditlog_erase")).await?;
    let now = Clock::system().now();
    let known = store.key(key).await?;
    anyhow::ensure!(known.is_some(), "the key is there");
    store.touch_key(key, now).await?;
    let ingest = start(&store, Clock::system());
    // Both complete a tile: the service with its entries, and the eraser with its record.
    let first = store.head(&organization(ORG)).await?.unwrap_or(0);
    let entries = (first..first + 256 + 255 - first % 256)
        .map(|number| person(&format!("log_{round}_{number}"), "ada", (ResourceType(5), "ada"), "x"));
    write(&ingest, ORG, entries.collect()).await?;
    let twice = write(&ingest, "org_new", vec![entry("log_1", 1), entry("log_1", 2)]).await;
    anyhow::ensure!(matches!(twice, Err(Error::IdConflict(_))), "a refused write to a new organization: {twice:?}");
    let limit = Limit::parse(Some(10)).expect("a limit");
    Query::new(store.clone())
        .list("key", &organization(ORG), &Filter::default(), Start::Offset(Offset::default()), limit)
        .await?;
    let counter = EntryCounter::new(store.clone());
    counter.discard(&organization(ORG)).await?;
    counter.count_all(&organization(ORG), |_| ()).await?;
    anyhow::ensure!(counter.check(&organization(ORG), |_| ()).await?.faults.is_empty(), "the counts are right");
    let head = store.log_head(&organization(ORG)).await?.expect("a log");
    let checkpoint = SignedCheckpoint { size: head.edge.size(), root: head.root, note: String::new(), signed_at: now };
    store.keep_checkpoints(&[(organization(ORG), checkpoint)]).await?;
    store.keep_log_key(&organization(ORG), b"a key", 0).await?;
    store.log_statuses(b"a key").await?;
    store.has_erasures(&organization(ORG)).await?;
    let keys: LoadRecordKeys = Arc::new(|log_id, _| {
        Ok(RecordKeys { origin: KeyName::parse(log_id)?, keys: vec![SigningKey::from_seed(&[7; 32])?] })
    });
    let eraser = Eraser::new(
        store.clone(),
        Clock::system(),
        Random::system(),
        Duration::from_secs(9),
        Some(keys),
        &Metrics::default(),
    );
    let ids = vec![entry(&format!("log_{round}_{first}"), 0).content.id.clone()];
    for groups in [[Group::Actor].into_iter().collect(), both()] {
        eraser.erase(erasure(Target::Entries(ids.clone()), groups)).await?;
    }
    store.close().await;
    Ok(())
}

/// Each privilege of the page, for each named column, as a GRANT and the matching REVOKE.
fn privileges() -> Vec<(String, String)> {
    let sql = blocks_of(ROLES, Language::Sql);
    let mut each = Vec::new();
    for statement in statements(&sql[1]) {
        let (what, role) = statement.strip_prefix("GRANT ").and_then(|rest| rest.split_once(" TO ")).expect("a grant");
        let (what, tables) = what.split_once(" ON ").expect("tables");
        let mut privileges = Vec::new();
        for part in what.split(", ") {
            // Splitting at commas leaves `UPDATE (a`, `b` and `c)`.
            match part.strip_prefix("UPDATE (") {
                Some(column) => privileges.push(format!("UPDATE ({})", column.trim_end_matches(')'))),
                None if part.chars().all(|letter| letter.is_ascii_uppercase()) => privileges.push(part.to_owned()),
                None => privileges.push(format!("UPDATE ({})", part.trim_end_matches(')'))),
            }
        }
        for table in tables.split(", ") {
            let on = |one: &String| {
                (format!("GRANT {one} ON {table} TO {role}"), format!("REVOKE {one} ON {table} FROM {role}"))
            };
            each.extend(privileges.iter().map(on));
        }
    }
    each
}

#[test]
fn every_documented_grant_is_needed() {
    run(async {
        let Some(roles) = Roles::of_the_page().await else { return };
        let owner = Store::open(&roles.secret("auditlog_owner"), 2).await.expect("the database opens");
        let new = NewKey { name: None, organization: None, scopes: [Scope::Read].into(), expires_at: None };
        let key = create_key(&owner, &Clock::system(), &Random::system(), new).await;
        let key = key.expect("the key is made").expose()[3..15].to_owned();
        for round in 0..4 {
            use_all(&roles, &key, round).await.expect("all of it works with all of them");
        }
        let connection = roles.connect("auditlog_owner", "auditlog").await;
        let privileges = privileges();
        assert!(privileges.len() > 50, "{privileges:?}");
        let mut round = 10;
        for (grant, revoke) in &privileges {
            round += 1;
            connection.execute_unprepared(revoke).await.expect("it runs");
            let outcome = use_all(&roles, &key, round).await;
            let refused = outcome.err().unwrap_or_else(|| panic!("nothing needs {grant}"));
            let causes = format!("{refused:#} {refused:?}");
            assert!(causes.contains("permission denied") || causes.contains("no right"), "{revoke}: {causes}");
            connection.execute_unprepared(grant).await.expect("it runs");
        }
        say(&format!("roles: {} privileges are needed, each of them", round - 10));
        use_all(&roles, &key, round + 1).await.expect("all of it works again");
        check_log(&owner, ORG).await;
    });
}
