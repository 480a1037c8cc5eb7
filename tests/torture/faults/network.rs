//! A network that loses, holds back and tears apart what clients and the service send each other.

use std::sync::atomic::Ordering;

use anyhow::ensure;

use super::Fault;
use crate::proxy::{Proxy, Weather};
use crate::scene::Scene;

const ROUNDS: u32 = 5;
const FOUL: [Weather; 4] = [Weather::DropsRequests, Weather::DropsAnswers, Weather::HalfOpen, Weather::Trickle];

pub async fn run(scene: &mut Scene) -> anyhow::Result<()> {
    let proxy = Proxy::start(scene.services[0].address.clone()).await?;
    let client = scene.client_at(&format!("http://{}", proxy.address))?;
    scene.load.shared.retarget(vec![client]);
    for _ in 0..ROUNDS {
        for weather in FOUL {
            scene.load_runs().await?;
            let before = proxy.hurt();
            proxy.turn(weather);
            scene.wait(500..1_500).await;
            if weather == Weather::HalfOpen {
                // What was held back never comes. Without this, clients would wait for it as long as they can.
                proxy.cut();
            }
            proxy.turn(Weather::Fair);
            ensure!(proxy.hurt() > before, "nothing was sent while the network was {weather:?}");
            scene.happened();
            scene.check(Fault::Network.excuses()).await?;
        }
    }
    let replayed = scene.load.shared.replayed.load(Ordering::Relaxed);
    scene.tell(&format!("{replayed} entries were written, and their answers lost"));
    ensure!(replayed > 0, "no answer was lost after its commit");
    // The proxy ends here, and what is sent from now on needs another way.
    let direct = scene.services[0].client();
    scene.load.shared.retarget(vec![direct]);
    Ok(())
}
