//! Kills the service with SIGKILL under load.

use super::Fault;
use crate::scene::Scene;

const KILLS: u32 = 20;

pub async fn run(scene: &mut Scene) -> anyhow::Result<()> {
    for _ in 0..KILLS {
        scene.load_runs().await?;
        scene.wait(50..500).await;
        scene.services[0].kill()?;
        scene.happened();
        if scene.chance(0.3) {
            // Clients cannot connect for a while.
            scene.wait(0..300).await;
        }
        scene.services[0].restart().await?;
        scene.check(Fault::Kill.excuses()).await?;
    }
    Ok(())
}
