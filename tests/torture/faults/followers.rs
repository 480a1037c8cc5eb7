//! Followers of two organizations. Some are killed with SIGKILL and continue from their files, with another service;
//! others must resume by themselves. The services and PostgreSQL are killed, too. In the end, the file of each follower
//! must equal an export, byte for byte.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use super::Fault;
use crate::database::Database;
use crate::follower::{Follower, difference};
use crate::scene::Scene;
use crate::service::COMES_BACK;

const ROUNDS: usize = 6;
const LOOKS: Duration = Duration::from_millis(50);
/// The organization of a follower, without and with a filter.
const SELECTIONS: [&[&str]; 2] = [
    &["--organization", "org_hot"],
    &["--organization", "org_a", "--action", "created", "--action", "updated", "--action", "deleted"],
];

/// The process that a round takes away for a while.
#[derive(Clone, Copy)]
enum Victim {
    Service(usize),
    /// PostgreSQL ends by this signal.
    Postgres(&'static str),
}

impl Victim {
    /// PostgreSQL and the services in turn.
    fn of_round(round: usize, scene: &Scene) -> Self {
        match (&scene.database, round % 4) {
            (Database::Postgres(_), 1) => Self::Postgres("KILL"),
            (Database::Postgres(_), 3) => Self::Postgres("INT"),
            _ => Self::Service(round / 2 % scene.services.len()),
        }
    }

    fn end(self, scene: &mut Scene) -> anyhow::Result<()> {
        match self {
            Self::Service(place) => scene.services[place].kill(),
            Self::Postgres(signal) => scene.database.server()?.stop(signal),
        }
    }

    async fn restart(self, scene: &mut Scene) -> anyhow::Result<()> {
        match self {
            Self::Service(place) => scene.services[place].restart().await,
            Self::Postgres(_) => scene.database.server()?.start_again(),
        }
    }
}

pub async fn run(scene: &mut Scene) -> anyhow::Result<()> {
    let (mut killed, mut steady) = (start(scene, "killed").await?, start(scene, "steady").await?);
    for round in 0..ROUNDS {
        scene.load_runs().await?;
        scene.wait(50..500).await;
        let victim = Victim::of_round(round, scene);
        kill(&mut killed)?;
        victim.end(scene)?;
        scene.happened();
        // They try again until the victim is back.
        start_again(&mut killed, round, scene)?;
        scene.wait(0..500).await;
        victim.restart(scene).await?;
        receive(&mut killed).await?;
        receive(&mut steady).await?;
        // Entries that are written between the kill and the start must come, too.
        kill(&mut killed)?;
        scene.wait(0..200).await;
        start_again(&mut killed, round + 1, scene)?;
        receive(&mut killed).await?;
        scene.check(Fault::Followers.excuses()).await?;
    }
    // No request is in progress any more, so the log has an end.
    let paused = scene.load.shared.paused().await;
    let mut entries = 0;
    for follower in killed.iter().chain(&steady) {
        entries += equals_export(follower, &scene.services[0].address).await?;
    }
    drop(paused);
    for follower in &mut steady {
        follower.runs()?;
        ensure!(follower.has_resumed()?, "no stream of {} broke, so it did not resume", follower.name);
    }
    scene.tell(&format!("followers received {entries} entries, as exported"));
    Ok(())
}

/// Starts a follower for each selection, from the first entry.
async fn start(scene: &Scene, name: &str) -> anyhow::Result<Vec<Follower>> {
    let mut followers = Vec::new();
    for (place, selection) in SELECTIONS.into_iter().enumerate() {
        let address = &scene.services[place % scene.services.len()].address;
        let mut follower = Follower::new(format!("{name}-{place}"), selection, &scene.directory, &scene.key)?;
        // An organization exists from its first entry on.
        let begun = Instant::now();
        while follower.exported(address).unwrap_or_default().is_empty() {
            ensure!(begun.elapsed() < COMES_BACK, "there is no entry for {}", follower.name);
            tokio::time::sleep(LOOKS).await;
        }
        follower.start(address)?;
        followers.push(follower);
    }
    receive(&mut followers).await?;
    Ok(followers)
}

fn kill(followers: &mut [Follower]) -> anyhow::Result<()> {
    followers.iter_mut().try_for_each(Follower::kill)
}

/// Starts killed followers, each with the next service at every turn.
fn start_again(followers: &mut [Follower], turn: usize, scene: &Scene) -> anyhow::Result<()> {
    for (place, follower) in followers.iter_mut().enumerate() {
        follower.start(&scene.services[(place + turn) % scene.services.len()].address)?;
    }
    Ok(())
}

/// Waits until each follower has received more. Errors: one exited, or received nothing in time.
async fn receive(followers: &mut [Follower]) -> anyhow::Result<()> {
    for follower in followers {
        let (begun, before) = (Instant::now(), follower.length()?);
        while follower.length()? <= before {
            follower.runs()?;
            ensure!(begun.elapsed() < COMES_BACK, "{} received nothing within {COMES_BACK:?}", follower.name);
            tokio::time::sleep(LOOKS).await;
        }
    }
    Ok(())
}

/// Waits until the follower has received all that an export has. Returns the number of entries. Errors: it received
/// something else, or not everything in time.
async fn equals_export(follower: &Follower, address: &str) -> anyhow::Result<usize> {
    let begun = Instant::now();
    loop {
        // Read before the export, which then has all that was received.
        let received = follower.received()?;
        let exported = follower.exported(address)?;
        if received == exported {
            return Ok(received.iter().filter(|byte| **byte == b'\n').count());
        }
        if let Some(difference) = difference(&received, &exported) {
            bail!("{}: {difference}", follower.name);
        }
        let (got, all) = (received.len(), exported.len());
        ensure!(begun.elapsed() < COMES_BACK, "{}: {got} of {all} bytes came within {COMES_BACK:?}", follower.name);
        tokio::time::sleep(LOOKS).await;
    }
}
