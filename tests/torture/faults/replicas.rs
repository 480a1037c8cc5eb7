//! Two services on one PostgreSQL write the same organizations, each with a copy of the key and a state of its own. Each
//! is killed in turn, and the other one goes on.

use super::Fault;
use crate::scene::Scene;

const ROUNDS: usize = 6;

pub async fn run(scene: &mut Scene) -> anyhow::Result<()> {
    for round in 0..ROUNDS {
        scene.load_runs().await?;
        scene.wait(50..500).await;
        let victim = round % scene.services.len();
        scene.services[victim].kill()?;
        scene.happened();
        // While one is down, the load runs on the other.
        scene.load_runs().await?;
        scene.services[victim].restart().await?;
        scene.check(Fault::Replicas.excuses()).await?;
    }
    Ok(())
}
