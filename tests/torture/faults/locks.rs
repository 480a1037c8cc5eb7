//! Another session holds a lock that the service needs: a head, a whole table, or SQLite's write lock. Or it locks two
//! heads in the wrong order, which causes a deadlock.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use auditlog::grpc::pb::ListAuditLogsRequest;
use sea_orm::{ConnectionTrait, DbBackend};

use super::Fault;
use crate::database::number;
use crate::scene::Scene;

const HEAD: &str = "SELECT id FROM organizations WHERE id = 'org_hot' FOR UPDATE";
const TABLE: &str = "LOCK TABLE audit_logs IN ACCESS EXCLUSIVE MODE";
/// Longer than one lock wait of the service: 10 s on PostgreSQL, 5 s on SQLite.
const LONG: Duration = Duration::from_millis(11_000);
const LONG_SQLITE: Duration = Duration::from_millis(6_500);
const BRIEF: Duration = Duration::from_millis(1_500);
/// The time limit of a list while writers are blocked.
const READS: Duration = Duration::from_secs(10);
const DEADLOCKS: u32 = 6;
const GATHERS: Duration = Duration::from_millis(300);

pub async fn held(scene: &mut Scene) -> anyhow::Result<()> {
    for (statement, holds) in [(HEAD, BRIEF), (TABLE, BRIEF), (HEAD, LONG)] {
        scene.load_runs().await?;
        let session = scene.database.connect().await?;
        session.execute_unprepared("BEGIN").await?;
        session.execute_unprepared(statement).await?;
        let begun = Instant::now();
        if statement == HEAD {
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

/// The service locks heads in the order of their ids. Another session locks the last head first and then the first
/// head. PostgreSQL must end one of the two transactions. The test makes it end the service's transaction; no write may
/// fail because of that.
pub async fn deadlocks(scene: &mut Scene) -> anyhow::Result<()> {
    let (first, second) = (scene.database.connect().await?, scene.database.connect().await?);
    second.execute_unprepared("SET deadlock_timeout = '20s'").await?;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    let before = number(&first, DbBackend::Postgres, deadlocks).await?;
    for _ in 0..DEADLOCKS {
        scene.load_runs().await?;
        // While one group waits for the hot head, all clients queue behind it. The next group then needs all heads.
        first.execute_unprepared("BEGIN").await?;
        first.execute_unprepared(HEAD).await?;
        tokio::time::sleep(GATHERS).await;
        second.execute_unprepared("BEGIN").await?;
        let release = async {
            tokio::time::sleep(GATHERS).await;
            first.execute_unprepared("ROLLBACK").await
        };
        // This session gets the hot head next, after the group that already waits for it.
        let (taken, released) = tokio::join!(second.execute_unprepared(HEAD), release);
        taken?;
        released?;
        waits(&first).await?;
        // If PostgreSQL ends this session's wait instead, the next round tries again.
        let _ = second.execute_unprepared("SELECT id FROM organizations WHERE id = 'org_a' FOR UPDATE").await;
        second.execute_unprepared("ROLLBACK").await?;
        scene.happened();
        scene.check(Fault::Deadlocks.excuses()).await?;
    }
    tokio::time::sleep(BRIEF).await;
    let happened = number(&first, DbBackend::Postgres, deadlocks).await? - before;
    first.close().await?;
    second.close().await?;
    scene.tell(&format!("{happened} deadlocks"));
    ensure!(happened > 0, "there was no deadlock");
    Ok(())
}

/// Waits until a writer of the service waits for a lock.
async fn waits(session: &impl ConnectionTrait) -> anyhow::Result<()> {
    let waiting =
        "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = 'auditlog' AND wait_event_type = 'Lock'";
    let begun = Instant::now();
    while number(session, DbBackend::Postgres, waiting).await? == 0 {
        ensure!(begun.elapsed() < READS, "no writer waits for the head");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
