//! A network that drops, delays and splits the bytes between clients and the service.

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
                // The bytes that were held back never arrive. Without this cut, clients would wait until their own
                // timeout.
                proxy.cut();
            }
            proxy.turn(Weather::Fair);
            ensure!(proxy.hurt() > before, "nothing was sent while the network was {weather:?}");
            scene.happened();
            scene.check(Fault::Network.excuses()).await?;
        }
    }
    let replayed = scene.load.shared.replayed.load(Ordering::Relaxed);
    scene.tell(&format!("{replayed} entries were written although their answers were lost"));
    ensure!(replayed > 0, "no answer was lost after its commit");
    // The proxy ends here, so later requests go directly to the service.
    let direct = scene.services[0].client();
    scene.load.shared.retarget(vec![direct]);
    Ok(())
}
