//! All connections to PostgreSQL are cut, again and again; and settings that an administrator changes while it runs.

use std::time::Duration;

use sea_orm::{ConnectionTrait, DbBackend};

use super::Fault;
use crate::database::number;
use crate::scene::Scene;

const CUTS: u32 = 6;
/// What the server is told, so that much of what the service asks for fails.
const SETTINGS: [(&str, &str); 3] = [
    ("statement_timeout", "1"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_isolation", "serializable"),
];
const HOLDS: Duration = Duration::from_millis(1_500);

pub async fn cut(scene: &mut Scene) -> anyhow::Result<()> {
    for _ in 0..CUTS {
        scene.load_runs().await?;
        scene.wait(50..300).await;
        let session = scene.database.connect().await?;
        let cut = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'auditlog'";
        anyhow::ensure!(number(&session, DbBackend::Postgres, cut).await? > 0, "the service has connections");
        session.close().await?;
        scene.happened();
        scene.check(Fault::Connections.excuses()).await?;
    }
    Ok(())
}

pub async fn settings(scene: &mut Scene) -> anyhow::Result<()> {
    for (setting, value) in SETTINGS {
        scene.load_runs().await?;
        let session = scene.database.connect().await?;
        // For itself it keeps what there was.
        session
            .execute_unprepared(&format!("SELECT set_config('{setting}', current_setting('{setting}'), false)"))
            .await?;
        session.execute_unprepared(&format!("ALTER SYSTEM SET {setting} = '{value}'")).await?;
        session.execute_unprepared("SELECT pg_reload_conf()").await?;
        scene.happened();
        tokio::time::sleep(HOLDS).await;
        session.execute_unprepared(&format!("ALTER SYSTEM RESET {setting}")).await?;
        session.execute_unprepared("SELECT pg_reload_conf()").await?;
        session.close().await?;
        scene.check(Fault::Settings.excuses()).await?;
    }
    weaker_commits(scene).await
}

/// An administrator turns `synchronous_commit` off under a service that has checked it at its start; then the server
/// loses its memory. What was acknowledged meanwhile must be there.
async fn weaker_commits(scene: &mut Scene) -> anyhow::Result<()> {
    let session = scene.database.connect().await?;
    session.execute_unprepared("ALTER SYSTEM SET synchronous_commit = off").await?;
    session.execute_unprepared("SELECT pg_reload_conf()").await?;
    session.close().await?;
    for _ in 0..4 {
        scene.load_runs().await?;
        scene.wait(50..500).await;
        scene.database.server()?.kill()?;
        scene.happened();
        scene.database.server()?.start()?;
        scene.check(Fault::Settings.excuses()).await?;
    }
    Ok(())
}
