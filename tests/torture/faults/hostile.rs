//! Attacks beside the load, with a key that is good for one organization. The service goes on serving honest clients,
//! keeps its memory bounded, does not panic, and logs nothing of what it was sent.

use std::time::Duration;

use anyhow::ensure;

use super::Fault;
use crate::hostile::siege::{besiege, indiscretions, stock};
use crate::hostile::{Attack, Target};
use crate::scene::Scene;
use crate::service;

/// Whose key the attacker has.
const ORGANIZATION: &str = "org_besieged";
/// The most that the service may hold, in MB, whatever it is sent.
const MEMORY: u64 = 700;
/// All is compared after so many attacks.
const BETWEEN: usize = 9;

pub async fn run(
    scene: &mut Scene,
    fault: Fault,
    attacks: impl IntoIterator<Item = &'static Attack>,
    duration: Duration,
) -> anyhow::Result<()> {
    let key = ["keys", "create", "--organization", ORGANIZATION, "--scope", "read", "--scope", "write"];
    let key = service::run(&key, &scene.database.url())?;
    let target = Target { address: scene.services[0].address.parse()?, organization: ORGANIZATION.to_owned(), key };
    stock(&target).await?;
    for (place, attack) in attacks.into_iter().enumerate() {
        scene.load_runs().await?;
        let suffered = besiege((attack.run)(target.clone(), duration), &target, &scene.services[0].metrics).await;
        let suffered = suffered.map_err(|error| error.context(attack.name))?;
        scene.tell(&format!("{}: {suffered}", attack.name));
        let [_, most, _] = suffered.memory;
        ensure!(most <= MEMORY, "{}: the service held {most} MB, and {MEMORY} are allowed", attack.name);
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
