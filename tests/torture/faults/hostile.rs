//! Attacks during the load, with a valid key of one organization. The service must serve honest clients of the same
//! organization with another key, must not panic, and must not log any received content. The scene checks the memory
//! limit.

use std::time::Duration;

use anyhow::ensure;

use super::Fault;
use crate::check::BESIEGED;
use crate::hostile::siege::{besiege, indiscretions, stock};
use crate::hostile::{Attack, Target};
use crate::scene::Scene;
use crate::service;

/// The number of attacks between two complete checks.
const BETWEEN: usize = 9;

pub async fn run(
    scene: &mut Scene,
    fault: Fault,
    attacks: impl IntoIterator<Item = &'static Attack>,
    duration: Duration,
) -> anyhow::Result<()> {
    let create = ["keys", "create", "--organization", BESIEGED, "--scope", "read", "--scope", "write"];
    let target = |key| {
        let address = scene.services[0].address.parse()?;
        anyhow::Ok(Target { address, organization: BESIEGED.to_owned(), key })
    };
    let target_of_new_key = || target(service::run(&create, &scene.database.url())?);
    let (target, honest) = (target_of_new_key()?, target_of_new_key()?);
    stock(&target).await?;
    for (place, attack) in attacks.into_iter().enumerate() {
        scene.load_runs().await?;
        let suffered = besiege((attack.run)(target.clone(), duration), &honest, &scene.services[0].metrics).await;
        let suffered = suffered.map_err(|error| error.context(attack.name))?;
        scene.tell(&format!("{}: {suffered}", attack.name));
        let log = std::fs::read_to_string(&scene.services[0].log)?;
        let leaked = indiscretions(&log);
        ensure!(leaked.is_empty(), "{}: the log contains {leaked:?}", attack.name);
        scene.happened();
        if place % BETWEEN == BETWEEN - 1 {
            scene.check(fault.excuses()).await?;
        }
    }
    scene.check(fault.excuses()).await
}
