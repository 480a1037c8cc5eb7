//! Attacks on resources that all callers share, without a key or with a key of another organization. Unlike with
//! [`super::hostile`], no honest call may fail: not those of clients with an open connection, not those on a new
//! connection each, and not the load. Memory must be released afterwards. Some attacks also run against a gateway.

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
/// How long an attack lasts: longer than a stalled request may hold a permit.
const ATTACK: Duration = Duration::from_secs(10);
/// Honest clients connect after this time, when the attack holds all it can get.
const HEAD_START: Duration = Duration::from_secs(3);
/// The minimum number of honest calls during an attack; with fewer, the result means nothing.
const CALLS: usize = 4;
/// Unused keys for new clients. Each is used for the first time while the attack sends made-up keys.
const KEYS: usize = 16;
/// The memory that an attack may add to the process, and the part that may remain 30 seconds later, in bytes. Debug
/// builds need more than release builds.
const MOST_MEMORY: f64 = 250e6;
const LEFT_MEMORY: f64 = 100e6;
const MEMORY_COMES_BACK: Duration = Duration::from_secs(30);

/// A process under attack.
struct Attacked {
    name: &'static str,
    /// The address, with the attacker's organization and key.
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
    // Created before any attack. Only `made_up_keys` needs a key that was never used.
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
            let mut outcome = exhaust(attack, attacked, keys).await;
            for log in [&scene.services[0].log, &gateway.log] {
                let log = std::fs::read_to_string(log)?;
                // The whole log; each line is reported once.
                let new: Vec<_> =
                    indiscretions(&log).into_iter().filter(|line| seen.insert((*line).to_owned())).collect();
                if !new.is_empty() {
                    let also = outcome.map_or_else(|error| format!("; {error:#}"), |_| String::new());
                    outcome = Err(anyhow!("the log contains {new:?}{also}"));
                }
            }
            match outcome {
                Ok(outcome) => scene.tell(&format!("{name}: {outcome}")),
                Err(error) => {
                    scene.tell(&format!("{name}: FAILED: {error:#}"));
                    failed.push(name);
                }
            }
            scene.happened();
        }
    }
    ensure!(failed.is_empty(), "honest calls failed during {}", failed.join(", "));
    scene.check(fault.excuses()).await
}

/// Runs `attack` while honest clients work. Errors: an honest call failed, or the memory is not released.
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
    let usage = format!("{:.0}/{:.0}/{:.0} MB", before / 1e6, most / 1e6, after / 1e6);
    ensure!(most <= before + MOST_MEMORY, "too much memory: {usage}");
    ensure!(after <= before + LEFT_MEMORY, "memory is not released: {usage}");
    let staying = staying.map_or_else(String::new, |staying| format!("; staying: {staying}"));
    Ok(format!("{usage}; coming: {coming}{staying}; attack: {}", seen.context("the attack could not be made")?))
}

/// Resident memory in bytes, from the metrics endpoint at `metrics`. Retries, because a process under attack may answer
/// late.
async fn memory(metrics: &str) -> anyhow::Result<f64> {
    let begun = Instant::now();
    loop {
        if let Some(memory) = gauges::now(metrics).and_then(|now| now.get(MEMORY).copied()) {
            return Ok(memory);
        }
        ensure!(begun.elapsed() < COMES_BACK, "the process does not report its memory");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
