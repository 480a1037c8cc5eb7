//! Sends SIGTERM to the service under load. It must answer accepted requests and exit on its own.

use anyhow::ensure;

use super::Fault;
use crate::scene::Scene;
use crate::service::ENDS;

const ROUNDS: u32 = 5;

pub async fn run(scene: &mut Scene) -> anyhow::Result<()> {
    for _ in 0..ROUNDS {
        scene.load_runs().await?;
        scene.wait(50..500).await;
        scene.services[0].signal("TERM")?;
        let status = scene.services[0].ended(ENDS).await?;
        ensure!(status.success(), "after SIGTERM the service ended with {status}");
        scene.happened();
        scene.services[0].restart().await?;
        scene.check(Fault::Terminate.excuses()).await?;
    }
    Ok(())
}
