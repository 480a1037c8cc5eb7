//! Another session holds a lock that the service needs: a head, a whole table, or SQLite's write lock. Or it locks two
//! heads that a group of the service needs too.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use auditlog::grpc::pb::ListAuditLogsRequest;
use sea_orm::{ConnectionTrait, DbBackend};

use super::Fault;
use super::queue::Backlog;
use crate::database::number;
use crate::load::ORGANIZATIONS;
use crate::scene::Scene;

const TABLE: &str = "LOCK TABLE audit_logs IN ACCESS EXCLUSIVE MODE";
/// Longer than one lock wait of the service: 10 s on PostgreSQL, 5 s on SQLite.
const LONG: Duration = Duration::from_millis(11_000);
const LONG_SQLITE: Duration = Duration::from_millis(6_500);
const BRIEF: Duration = Duration::from_millis(1_500);
/// The time limit of a list while writers are blocked.
const READS: Duration = Duration::from_secs(10);
const DEADLOCKS: u32 = 4;
/// The organizations whose heads both the service and another session need.
const CROSSED: [&str; 2] = ["org_y", "org_z"];
/// Entries of a write that takes longer than one of a single entry.
const LARGE: usize = 300;
const GATHERS: Duration = Duration::from_millis(300);

pub async fn held(scene: &mut Scene) -> anyhow::Result<()> {
    let hot = head(ORGANIZATIONS[0]);
    for (statement, holds) in [(hot.as_str(), BRIEF), (TABLE, BRIEF), (hot.as_str(), LONG)] {
        scene.load_runs().await?;
        let session = scene.database.connect().await?;
        session.execute_unprepared("BEGIN").await?;
        session.execute_unprepared(statement).await?;
        let begun = Instant::now();
        if statement != TABLE {
            reads_go_on(scene).await?;
        }
        tokio::time::sleep(holds.saturating_sub(begun.elapsed())).await;
        session.execute_unprepared("ROLLBACK").await?;
        session.close().await?;
        scene.happened();
        scene.check(Fault::Locks.excuses()).await?;
    }
    Ok(())
}

pub async fn busy(scene: &mut Scene) -> anyhow::Result<()> {
    for holds in [BRIEF, LONG_SQLITE] {
        scene.load_runs().await?;
        let session = scene.database.connect().await?;
        session.execute_unprepared("BEGIN IMMEDIATE").await?;
        let begun = Instant::now();
        reads_go_on(scene).await?;
        tokio::time::sleep(holds.saturating_sub(begun.elapsed())).await;
        session.execute_unprepared("ROLLBACK").await?;
        session.close().await?;
        scene.happened();
        scene.check(Fault::Busy.excuses()).await?;
    }
    Ok(())
}

/// Checks that blocked writers do not block a reader.
async fn reads_go_on(scene: &Scene) -> anyhow::Result<()> {
    let client = scene.services[0].client();
    let request = ListAuditLogsRequest { organization_id: "org_hot".to_owned(), ..Default::default() };
    let asked = async { client.audit_logs().list_audit_logs(client.request(request)).await };
    tokio::time::timeout(READS, asked).await.context("a list waits for writers")??;
    Ok(())
}

/// Another session locks two heads in the order of their ids, while a group of the service has both in the other order.
/// The service waits for a head only if it holds no other, so there is no deadlock, and no write fails.
pub async fn deadlocks(scene: &mut Scene) -> anyhow::Result<()> {
    let mut backlog = Backlog::new(scene);
    for organization in CROSSED {
        backlog.create(organization).await?;
    }
    for _ in 0..DEADLOCKS {
        scene.load_runs().await?;
        let paused = scene.load.shared.paused().await;
        cross(scene, &mut backlog).await?;
        drop(paused);
        scene.happened();
        scene.check(Fault::Deadlocks.excuses()).await?;
    }
    Ok(())
}

async fn cross(scene: &Scene, backlog: &mut Backlog) -> anyhow::Result<()> {
    let (blocker, other) = (scene.database.connect().await?, scene.database.connect().await?);
    // PostgreSQL must end the transaction of the service if there is a deadlock.
    other.execute_unprepared("SET deadlock_timeout = '20s'").await?;
    other.execute_unprepared("BEGIN").await?;
    let [first, second] = CROSSED;
    other.execute_unprepared(&head(first)).await?;
    blocker.execute_unprepared("BEGIN; LOCK TABLE audit_logs IN SHARE MODE").await?;
    // Every committer has a group that waits for the table. The first one to be free takes both other organizations;
    // the larger writes make sure that it is the only one.
    let mut writes = Vec::new();
    for (place, organization) in ORGANIZATIONS.into_iter().enumerate() {
        writes.push(backlog.send(organization, if place == 0 { 1 } else { LARGE }).await?);
    }
    tokio::time::sleep(GATHERS).await;
    writes.push(backlog.send(second, 1).await?);
    writes.push(backlog.send(first, 1).await?);
    blocker.execute_unprepared("ROLLBACK").await?;
    waits(&blocker).await?;
    other.execute_unprepared(&head(second)).await?;
    other.execute_unprepared("ROLLBACK").await?;
    for write in writes {
        backlog.answer(write).await?;
    }
    blocker.close().await?;
    other.close().await?;
    Ok(())
}

/// Waits until a writer of the service waits for a head.
async fn waits(session: &impl ConnectionTrait) -> anyhow::Result<()> {
    let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'auditlog' \
                   AND wait_event_type = 'Lock' AND wait_event <> 'relation'";
    let begun = Instant::now();
    while number(session, DbBackend::Postgres, waiting).await? == 0 {
        ensure!(begun.elapsed() < READS, "no writer waits for the head");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Locks the head of `organization`.
fn head(organization: &str) -> String {
    format!("SELECT id FROM organizations WHERE id = '{organization}' FOR UPDATE")
}
