//! PostgreSQL's processes end: SIGKILL to all of them, SIGKILL to one, after which the server restarts itself, or a
//! shutdown by an administrator. The service keeps running and must recover.

use anyhow::Context;
use rand::seq::IndexedRandom;

use super::Fault;
use crate::database::number;
use crate::scene::Scene;
use crate::service::signal_all;

const ROUNDS: u32 = 6;

pub async fn run(scene: &mut Scene) -> anyhow::Result<()> {
    for round in 0..ROUNDS {
        scene.load_runs().await?;
        scene.wait(50..500).await;
        match round % 3 {
            0 => scene.database.server()?.kill()?,
            1 => scene.database.server()?.stop("INT")?,
            _ => kill_one(scene).await?,
        }
        scene.happened();
        scene.wait(0..1_000).await;
        scene.database.server()?.start_again()?;
        scene.check(Fault::Postgres.excuses()).await?;
    }
    Ok(())
}

/// Sends SIGKILL to the backend process of one of the service's connections, as the out-of-memory killer does.
async fn kill_one(scene: &mut Scene) -> anyhow::Result<()> {
    let session = scene.database.connect().await?;
    let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'auditlog' ORDER BY pid";
    let all = crate::database::rows(&session, sea_orm::DbBackend::Postgres, sql).await?;
    let victim: i32 = all.choose(&mut scene.random).context("the service has connections")?.try_get_by_index(0)?;
    signal_all("KILL", &[victim.unsigned_abs()])?;
    // This session ends too: the server restarts, because its shared memory may be damaged.
    while number(&session, sea_orm::DbBackend::Postgres, "SELECT 1").await.is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(())
}
