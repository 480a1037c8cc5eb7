//! Attacks without a key, or with one of another organization, on what all callers share. Unlike with [`super::hostile`],
//! no honest call may fail: neither those of clients that hold a connection, nor those that come on a new one each time,
//! nor the load. Afterwards the memory comes back. Some are also made against a
//! gateway.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};

use super::Fault;
use crate::check::BESIEGED;
use crate::gauges::{self, Gauges, MEMORY};
use crate::honest::{Honest, Served};
use crate::hostile::siege::indiscretions;
use crate::hostile::{Attack, EXHAUSTION, Target};
use crate::newcomers::{Call, Newcomers};
use crate::scene::Scene;
use crate::service::{self, COMES_BACK, Gateway};

const ATTACKER: &str = "org_attacker";
/// How long an attack goes on: longer than what is not moving may hold a place.
const ATTACK: Duration = Duration::from_secs(10);
/// Honest clients come in the meantime, once the attack has all that it gets.
const HEAD_START: Duration = Duration::from_secs(3);
/// Honest calls during an attack, without which nothing is known.
const CALLS: usize = 4;
/// Keys of newcomers, of which each is used for the first time while keys are made up.
const KEYS: usize = 16;
/// What an attack may add to the memory of the process, and what of it may be left after a while. Debug builds need more
/// than others.
const MOST_MEMORY: f64 = 250e6;
const LEFT_MEMORY: f64 = 100e6;
const MEMORY_COMES_BACK: Duration = Duration::from_secs(30);

/// What is attacked.
struct Attacked {
    name: &'static str,
    /// The attacker's view.
    target: Target,
    honest: Target,
    metrics: String,
    serves_grpc: bool,
}

pub async fn run(scene: &mut Scene, fault: Fault) -> anyhow::Result<()> {
    let url = scene.database.url();
    let key = |organization: &str| {
        service::run(&["keys", "create", "--organization", organization, "--scope", "read", "--scope", "write"], &url)
    };
    let (attacker, honest) = (key(ATTACKER)?, key(BESIEGED)?);
    let gateway = Gateway::start(&scene.directory, &scene.services[0].address).await?;
    let attacked = |name, address: &str, metrics: &str, serves_grpc| {
        let target = |organization: &str, key: &str| {
            anyhow::Ok(Target { address: address.parse()?, organization: organization.to_owned(), key: key.to_owned() })
        };
        let (target, honest) = (target(ATTACKER, &attacker)?, target(BESIEGED, &honest)?);
        anyhow::Ok(Attacked { name, target, honest, metrics: metrics.to_owned(), serves_grpc })
    };
    let service = attacked("service", &scene.services[0].address, &scene.services[0].metrics, true)?;
    let gateway_attacked = attacked("gateway", &gateway.address, &gateway.metrics, false)?;
    // Before any attack. Only where keys are made up, each must be one that nobody has used yet.
    let unused = (0..KEYS).map(|_| key(BESIEGED)).collect::<anyhow::Result<Vec<_>>>()?;
    let (mut failed, mut seen) = (Vec::new(), BTreeSet::new());
    for attack in &EXHAUSTION {
        for attacked in [&service, &gateway_attacked] {
            if !attacked.serves_grpc && !attack.is_for_gateways() {
                continue;
            }
            scene.load_runs().await?;
            let name = format!("{} ({})", attack.name, attacked.name);
            let keys = if attack.name == "made_up_keys" { &unused[..] } else { std::slice::from_ref(&honest) };
            let mut told = exhaust(attack, attacked, keys).await;
            for log in [&scene.services[0].log, &gateway.log] {
                let log = std::fs::read_to_string(log)?;
                // All since the beginning; each line once.
                let new: Vec<_> =
                    indiscretions(&log).into_iter().filter(|line| seen.insert((*line).to_owned())).collect();
                if !new.is_empty() {
                    let also = told.map_or_else(|error| format!("; {error:#}"), |_| String::new());
                    told = Err(anyhow!("the log tells {new:?}{also}"));
                }
            }
            match told {
                Ok(told) => scene.tell(&format!("{name}: {told}")),
                Err(error) => {
                    scene.tell(&format!("{name}: FAILED: {error:#}"));
                    failed.push(name);
                }
            }
            scene.happened();
        }
    }
    ensure!(failed.is_empty(), "honest callers pay for {}", failed.join(", "));
    scene.check(fault.excuses()).await
}

/// Makes `attack`, with honest clients beside it. Errors: one of their calls failed, or memory does not come back.
async fn exhaust(attack: &Attack, attacked: &Attacked, keys: &[String]) -> anyhow::Result<String> {
    let Attacked { name: _, target, honest, metrics, serves_grpc } = attacked;
    let before = memory(metrics).await?;
    let watched = Gauges::watch(metrics.clone());
    let call = if attack.name == "watched_health" { Call::WatchHealth } else { Call::List };
    let staying = serves_grpc.then(|| Honest::start(honest));
    let attack = tokio::spawn((attack.run)(target.clone(), ATTACK));
    tokio::time::sleep(HEAD_START).await;
    let coming = Newcomers::start(honest, keys, call);
    let seen = attack.await.expect("an attack does not panic");
    let coming = coming.stop().await;
    let staying = match staying {
        Some(staying) => Some(staying.stop().await),
        None => None,
    };
    let served = |what: &str, served: &Served| {
        ensure!(served.failed() == 0, "{what} were refused: {served}; the attack: {seen:?}");
        ensure!(served.count() >= CALLS, "{what} were not served: {served}; the attack: {seen:?}");
        Ok(())
    };
    served("honest clients on new connections", &coming)?;
    staying.iter().try_for_each(|staying| served("honest clients on connections that they hold", staying))?;
    let begun = Instant::now();
    let mut after = memory(metrics).await?;
    while after > before + LEFT_MEMORY && begun.elapsed() < MEMORY_COMES_BACK {
        tokio::time::sleep(Duration::from_millis(200)).await;
        after = memory(metrics).await?;
    }
    let most = watched.most(MEMORY).unwrap_or_default().max(after);
    let told = format!("{:.0}/{:.0}/{:.0} MB", before / 1e6, most / 1e6, after / 1e6);
    ensure!(most <= before + MOST_MEMORY, "too much memory: {told}");
    ensure!(after <= before + LEFT_MEMORY, "memory does not come back: {told}");
    let staying = staying.map_or_else(String::new, |staying| format!("; staying: {staying}"));
    Ok(format!("{told}; coming: {coming}{staying}; attack: {}", seen.context("the attack could not be made")?))
}

/// Resident bytes, as the process at this port for metrics says. It may take its time while it is attacked.
async fn memory(metrics: &str) -> anyhow::Result<f64> {
    let begun = Instant::now();
    loop {
        if let Some(memory) = gauges::now(metrics).and_then(|now| now.get(MEMORY).copied()) {
            return Ok(memory);
        }
        ensure!(begun.elapsed() < COMES_BACK, "the process does not say what memory it holds");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
