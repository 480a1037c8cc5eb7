//! Attacks beside the load, with a key that is good for one organization. The service goes on serving honest clients of
//! the same organization, who have another key, does not panic, and logs nothing of what it was sent. Its memory is
//! bounded by the scene.

use std::time::Duration;

use anyhow::ensure;

use super::Fault;
use crate::check::BESIEGED;
use crate::hostile::siege::{besiege, indiscretions, stock};
use crate::hostile::{Attack, Target};
use crate::scene::Scene;
use crate::service;

/// All is compared after so many attacks.
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
        let told = indiscretions(&log);
        ensure!(told.is_empty(), "{}: the log tells {told:?}", attack.name);
        scene.happened();
        if place % BETWEEN == BETWEEN - 1 {
            scene.check(fault.excuses()).await?;
        }
    }
    scene.check(fault.excuses()).await
}
