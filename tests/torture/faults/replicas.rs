//! Two services on one PostgreSQL write to the same organizations, each with a copy of the signing key and its own
//! state file. Each is killed in turn while the other continues.

use anyhow::ensure;

use super::Fault;
use crate::scene::Scene;
use crate::service::ENDS;

const ROUNDS: usize = 6;

pub async fn run(scene: &mut Scene) -> anyhow::Result<()> {
    for round in 0..ROUNDS {
        scene.load_runs().await?;
        scene.wait(50..500).await;
        let victim = round % scene.services.len();
        scene.services[victim].kill()?;
        scene.happened();
        // The load continues on the other service.
        scene.load_runs().await?;
        scene.services[victim].restart().await?;
        scene.check(Fault::Replicas.excuses()).await?;
    }
    update(scene).await
}

/// A rolling update: each service in turn gets no new requests, exits and restarts. Clients must see no error.
async fn update(scene: &mut Scene) -> anyhow::Result<()> {
    let urls: Vec<_> = scene.services.iter().map(|service| format!("http://{}", service.address)).collect();
    let clients = urls.iter().map(|url| scene.client_at(url)).collect::<anyhow::Result<Vec<_>>>()?;
    for place in 0..clients.len() {
        let others = clients.iter().enumerate().filter(|(other, _)| *other != place);
        scene.load.shared.retarget(others.map(|(_, client)| client.clone()).collect());
        scene.load_runs().await?;
        scene.services[place].signal("TERM")?;
        let status = scene.services[place].ended(ENDS).await?;
        ensure!(status.success(), "after SIGTERM the service ended with {status}");
        scene.happened();
        scene.services[place].restart().await?;
        scene.load.shared.retarget(clients.clone());
        scene.check(&[]).await?;
    }
    Ok(())
}
