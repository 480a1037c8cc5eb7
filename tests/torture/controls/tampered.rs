//! Tampers with a complete database by SQL. The checks must detect each change.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use sea_orm::ConnectionTrait;

use crate::check::When;
use crate::database::Database;
use crate::options::Backend;
use crate::report::Figures;
use crate::scene::Setting;

/// The minimum number of entries before the tampering starts.
const ENTRIES: u64 = 400;
const LIMIT: Duration = Duration::from_secs(60);
const KEPT: [&str; 3] = ["organizations", "audit_logs", "checkpoints"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lost,
    Doubled,
    Wrong,
}

/// A description, the SQL, and the kind of finding it must cause. Entry 3 of `org_hot` is in the middle of its log.
const CHANGES: [(&str, &str, Kind); 13] = [
    (
        "the last entry is taken away",
        "DELETE FROM audit_logs WHERE organization_id = 'org_hot' AND seq = (SELECT head_seq FROM organizations WHERE id = 'org_hot')",
        Kind::Lost,
    ),
    ("an entry is taken away", "DELETE FROM audit_logs WHERE organization_id = 'org_hot' AND seq = 3", Kind::Lost),
    (
        "the last entry and its trace are taken away",
        "DELETE FROM audit_logs WHERE organization_id = 'org_a' AND seq = (SELECT head_seq FROM organizations WHERE id = 'org_a'); \
         UPDATE organizations SET head_seq = head_seq - 1 WHERE id = 'org_a'",
        Kind::Lost,
    ),
    (
        "an organization is taken away",
        "DELETE FROM audit_logs WHERE organization_id = 'org_b'; DELETE FROM organizations WHERE id = 'org_b'",
        Kind::Lost,
    ),
    (
        "an entry is there twice",
        "DROP INDEX audit_logs_id; INSERT INTO audit_logs SELECT organization_id, 1000000, id, timestamp, recorded_at, resource_type, \
         resource_id, resource_name, action, user_id, user_name, user_email, changes, metadata, trace_id, outcome, \
         actor_type, writer_key_id, salts, leaf_hash, erased FROM audit_logs WHERE organization_id = 'org_hot' AND seq = 3",
        Kind::Doubled,
    ),
    (
        "a value is spelt otherwise",
        "UPDATE audit_logs SET changes = replace(changes, '1.0', '1.00') WHERE organization_id = 'org_hot'",
        Kind::Wrong,
    ),
    (
        "a name is changed",
        "UPDATE audit_logs SET user_name = 'Eve' WHERE organization_id = 'org_hot' AND seq = 3",
        Kind::Wrong,
    ),
    (
        "a time is changed",
        "UPDATE audit_logs SET timestamp = timestamp + 1 WHERE organization_id = 'org_hot' AND seq = 3",
        Kind::Wrong,
    ),
    (
        "an outcome is changed",
        "UPDATE audit_logs SET outcome = (outcome + 1) % 4 WHERE organization_id = 'org_hot' AND seq = 3",
        Kind::Wrong,
    ),
    (
        "two entries are exchanged",
        "UPDATE audit_logs SET seq = -3 WHERE organization_id = 'org_hot' AND seq = 3; \
         UPDATE audit_logs SET seq = 3 WHERE organization_id = 'org_hot' AND seq = 4; \
         UPDATE audit_logs SET seq = 4 WHERE organization_id = 'org_hot' AND seq = -3",
        Kind::Wrong,
    ),
    ("the head is behind", "UPDATE organizations SET head_seq = head_seq - 1 WHERE id = 'org_hot'", Kind::Wrong),
    (
        "the root is another one",
        "UPDATE organizations SET root = (SELECT root FROM organizations WHERE id = 'org_a') WHERE id = 'org_hot'",
        Kind::Wrong,
    ),
    (
        "the signed root is another one",
        "UPDATE checkpoints SET root = (SELECT root FROM checkpoints WHERE organization_id = 'org_a') WHERE organization_id = 'org_hot'",
        Kind::Wrong,
    ),
];

/// Returns a summary. Errors: a change was not detected.
pub async fn run(backend: Backend, scratch: &Path, seed: u64, all: &mut Vec<Figures>) -> anyhow::Result<String> {
    let mut scene = super::open("tampered", Setting::default(), backend, scratch, seed).await?;
    scene.load.acknowledges(ENTRIES, LIMIT).await?;
    // Wait until each log has a checkpoint.
    tokio::time::sleep(Duration::from_secs(3)).await;
    scene.finish(&[]).await?;
    for table in KEPT {
        execute(&scene.database, &format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await?;
    }
    let mut summary = String::new();
    for (what, sql, kind) in CHANGES {
        execute(&scene.database, sql).await.context(what)?;
        let findings = scene.examine(When::Between).await?;
        let found = match kind {
            Kind::Lost => &findings.lost,
            Kind::Doubled => &findings.duplicated,
            Kind::Wrong => &findings.other,
        };
        ensure!(!found.is_empty(), "{what}, but the harness did not find it to be {kind:?}: {}", findings.summary());
        let found: String = found[0].chars().take(150).collect();
        summary += &format!("  {what}: {found}\n");
        scene.happened();
        for table in KEPT {
            execute(&scene.database, &format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table}"))
                .await?;
        }
    }
    ensure!(scene.examine(When::Between).await?.is_empty(), "everything was restored, but a check still fails");
    scene.count();
    all.push(scene.figures.clone());
    Ok(summary.trim_end().to_owned())
}

async fn execute(database: &Database, sql: &str) -> anyhow::Result<()> {
    let connection = database.connect().await?;
    let done = connection.execute_unprepared(sql).await;
    connection.close().await?;
    done?;
    Ok(())
}
