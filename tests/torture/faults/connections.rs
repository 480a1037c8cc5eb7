//! Repeatedly cuts all connections to PostgreSQL, makes statements fail with serialization failures, and changes server
//! settings at run time.

use std::time::Duration;

use anyhow::ensure;
use sea_orm::{ConnectionTrait, DbBackend};

use super::Fault;
use crate::database::number;
use crate::scene::Scene;

const CUTS: u32 = 6;
/// Server settings that make many statements of the service fail.
const SETTINGS: [(&str, &str); 3] = [
    ("statement_timeout", "1"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_isolation", "serializable"),
];
/// Makes one insert statement in twenty fail with PostgreSQL's serialization failure, which asks for a retry. The
/// isolation levels that the service uses never cause this error by themselves. A sequence counts the statements,
/// because a rollback does not undo its increments.
const FAILS: &str = "
CREATE SEQUENCE inserts;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('inserts') % 20 = 0 THEN
        RAISE EXCEPTION 'could not serialize access' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER fail BEFORE INSERT ON audit_logs FOR EACH STATEMENT EXECUTE FUNCTION fail();
";
const SERIALIZATIONS: u32 = 3;
const HOLDS: Duration = Duration::from_millis(1_500);

pub async fn cut(scene: &mut Scene) -> anyhow::Result<()> {
    for _ in 0..CUTS {
        scene.load_runs().await?;
        scene.wait(50..300).await;
        let session = scene.database.connect().await?;
        let cut = "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'auditlog'";
        ensure!(number(&session, DbBackend::Postgres, cut).await? > 0, "the service has connections");
        session.close().await?;
        scene.happened();
        scene.check(Fault::Connections.excuses()).await?;
    }
    Ok(())
}

/// Makes transactions fail with serialization failures. No write may fail because of them.
pub async fn serialization(scene: &mut Scene) -> anyhow::Result<()> {
    let session = scene.database.connect().await?;
    for _ in 0..SERIALIZATIONS {
        scene.load_runs().await?;
        session.execute_unprepared(FAILS).await?;
        tokio::time::sleep(HOLDS).await;
        let failed = number(&session, DbBackend::Postgres, "SELECT last_value / 20 FROM inserts").await?;
        session.execute_unprepared("DROP TRIGGER fail ON audit_logs").await?;
        session.execute_unprepared("DROP FUNCTION fail; DROP SEQUENCE inserts").await?;
        scene.tell(&format!("{failed} serialization failures"));
        ensure!(failed > 0, "there was no serialization failure");
        scene.happened();
        scene.check(Fault::Serialization.excuses()).await?;
    }
    session.close().await?;
    Ok(())
}

pub async fn settings(scene: &mut Scene) -> anyhow::Result<()> {
    for (setting, value) in SETTINGS {
        scene.load_runs().await?;
        let session = scene.database.connect().await?;
        // This session keeps the old value for itself.
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

/// An administrator turns `synchronous_commit` off after the service checked it at startup. The server is then killed
/// and loses its memory. Every entry acknowledged in between must still be stored.
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
