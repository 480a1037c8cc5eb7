//! PostgreSQL's processes end: all of them by SIGKILL, one of them by SIGKILL, which makes it restart itself, or all as
//! an administrator asks. The service stays, and must find its way back.

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

/// SIGKILL to the process of one of the service's connections, as when memory runs out.
async fn kill_one(scene: &mut Scene) -> anyhow::Result<()> {
    let session = scene.database.connect().await?;
    let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'auditlog' ORDER BY pid";
    let all = crate::database::rows(&session, sea_orm::DbBackend::Postgres, sql).await?;
    let victim: i32 = all.choose(&mut scene.random).context("the service has connections")?.try_get_by_index(0)?;
    signal_all("KILL", &[victim.unsigned_abs()])?;
    // This session ends as well: the server has to start anew, since its memory may be damaged.
    while number(&session, sea_orm::DbBackend::Postgres, "SELECT 1").await.is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(())
}
