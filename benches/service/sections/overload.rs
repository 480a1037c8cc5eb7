//! Five times as many requests as the service can serve, from clients that neither wait nor retry.
//!
//! Service and database get one half of the cores, the generator the other half. Otherwise the result would depend on
//! how much of the machine the generator takes. The result without this division is printed beside it, without a
//! target.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use auditlog::grpc::pb::WriteAuditLogsRequest;

use crate::data::{Delays, organization_id};
use crate::database::Database;
use crate::figure::{Report, Target};
use crate::generator::{Generator, RETRY_AFTER};
use crate::proc;
use crate::requests::largest;
use crate::service::Service;
use crate::writer::Fresh;

/// The offered load, as a multiple of the capacity.
const TIMES: f64 = 5.0;
/// The client counts to try for `TRIED` each. The capacity is measured with the best one.
const CLIENTS: [usize; 3] = [16, 64, 256];
const TRIED: Duration = Duration::from_secs(3);
/// The duration of a capacity or overload measurement. It is long enough that entries are also counted in the
/// background in both.
const DURATION: Duration = Duration::from_secs(10);
/// The pause after the overload, before memory is measured again.
const REST: Duration = Duration::from_secs(3);

/// The requests of a measurement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Lists,
    /// Write requests of this many entries.
    Writes(usize),
}

/// The cores of the service and its database, and those of the generator, in the syntax of `taskset`.
struct Cores {
    service: String,
    generator: String,
    is_divided: bool,
}

/// Runs all measurements. `earlier` is the program of an earlier build, which is measured too.
pub async fn run(database: &Database, earlier: Option<&Path>, report: &mut Report) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let all = format!("0-{}", cores - 1);
    let shared = Cores { service: all.clone(), generator: all.clone(), is_divided: false };
    let half = cores / 2;
    let divided = (half > 0).then(|| Cores {
        service: format!("0-{}", half - 1),
        generator: format!("{half}-{}", cores - 1),
        is_divided: true,
    });
    // Lists come first: entries that are not counted yet make lists slower.
    let this = (database.program.as_path(), "");
    for work in [Work::Lists, Work::Writes(100), Work::Writes(1)] {
        let builds = divided.iter().flat_map(|cores| {
            [Some(this), earlier.map(|program| (program, ", earlier build"))]
                .into_iter()
                .flatten()
                .map(move |one| (one, cores))
        });
        for (build, cores) in builds.chain([(this, &shared)]) {
            pin(database, &cores.service, &cores.generator)?;
            let measured = measure(database, build, work, cores, report).await;
            pin(database, &all, &all)?;
            measured?;
        }
    }
    report.print();
    Ok(())
}

/// Pins the database and this process to their cores.
fn pin(database: &Database, database_cores: &str, own: &str) -> anyhow::Result<()> {
    if let Some(server) = &database.server {
        taskset(database_cores, server.postmaster()?)?;
    }
    taskset(own, std::process::id())
}

fn taskset(cores: &str, process: u32) -> anyhow::Result<()> {
    // It fails if a thread of the process ends meanwhile.
    for _ in 0..5 {
        let output = Command::new("taskset").args(["-a", "-c", "-p", cores, &process.to_string()]).output();
        let output = output.context("taskset, which is part of util-linux")?;
        let error = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return Ok(());
        }
        ensure!(error.contains("No such process"), "taskset failed: {error}");
    }
    bail!("taskset failed: threads of process {process} end all the time")
}

async fn measure(
    database: &Database,
    (program, build): (&Path, &str),
    work: Work,
    cores: &Cores,
    report: &mut Report,
) -> anyhow::Result<()> {
    let service = Service::start_on(program, database, &cores.service)?;
    let suffix = if cores.is_divided { build } else { ", cores shared" };
    let key = &database.key;
    let (name, generator) = match work {
        Work::Lists => ("lists of 50".to_owned(), Generator::new(&service, key, "ListAuditLogs", &largest())?),
        Work::Writes(entries) => {
            let mut audit_logs = Fresh::new(Delays::IN_ORDER).inputs(entries);
            // An empty id makes the service generate one for each entry.
            audit_logs.iter_mut().for_each(|entry| entry.id = String::new());
            let write = WriteAuditLogsRequest { organization_id: organization_id(0), audit_logs };
            let name = if entries == 1 { "single writes".to_owned() } else { format!("writes of {entries}") };
            (name, Generator::new(&service, key, "WriteAuditLogs", &write)?)
        }
    };
    // Single writes have no target: refusing one costs a tenth of the CPU of writing it.
    let is_aimed = cores.is_divided && build.is_empty() && work != Work::Writes(1);
    overload(&service, &generator, &format!("{name}{suffix}"), is_aimed, report).await
}

async fn overload(
    service: &Service,
    generator: &Generator,
    name: &str,
    is_aimed: bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    let closed = async |clients: usize, duration: Duration| {
        let tally = generator.closed(clients, duration, RETRY_AFTER).await;
        tally.tell(&format!("{name}, {clients} clients that wait for {duration:?}"));
        tally.goodput()
    };
    let (mut most_tried, mut best) = (0f64, CLIENTS[0]);
    for clients in CLIENTS {
        let tried = closed(clients, TRIED).await;
        if tried > most_tried {
            (most_tried, best) = (tried, clients);
        }
    }
    let capacity = closed(best, DURATION).await;
    let before = proc::memory(service.id(), "VmRSS")?;
    let used = || anyhow::Ok([proc::process(std::process::id())?, proc::process(service.id())?]);
    let (used_before, begun) = (used()?, Instant::now());
    let (tally, most) = tokio::join!(generator.open(TIMES * capacity, DURATION), most_memory(service.id(), DURATION));
    let (used_after, elapsed) = (used()?, begun.elapsed());
    let [of_generator, of_service] =
        std::array::from_fn(|place| (used_after[place] - used_before[place]).as_secs_f64() / elapsed.as_secs_f64());
    tally.tell(&format!("{name}, {TIMES} times its capacity"));
    tokio::time::sleep(REST).await;
    let after = proc::memory(service.id(), "VmRSS")?;
    let again = closed(best, DURATION).await;
    // The mean of the capacity before and after, because the machine's speed varies and the new entries change the
    // load.
    let around = f64::midpoint(capacity, again);

    let mut add = |measure: &str, value: f64, unit: &str, target: Option<Target>| match target.filter(|_| is_aimed) {
        Some(target) => report.add_for(name, measure, value, unit, target),
        None => report.add(name, measure, value, unit),
    };
    add("capacity before", capacity, "/s", None);
    add("capacity after", again, "/s", None);
    add("offered / before", tally.offered() / capacity, "", Some(Target::AtLeast(0.9 * TIMES)));
    add("goodput / capacity", tally.goodput() / around, "", Some(Target::AtLeast(0.7)));
    add("refused", tally.refused.0.len() as f64 / DURATION.as_secs_f64(), "/s", None);
    add("refused after p50", tally.refused.p50(), "ms", Some(Target::AtMost(50.0)));
    add("refused after p99", tally.refused.p99(), "ms", None);
    add("served after p50", tally.served.p50(), "ms", None);
    add("served after p99", tally.served.p99(), "ms", None);
    add("failed otherwise", tally.failures() as f64, "", None);
    add("memory before", before, "MB", None);
    add("memory at most", most?, "MB", None);
    add("memory after", after, "MB", None);
    add("CPU of generator", of_generator, "cores", None);
    add("CPU of service", of_service, "cores", None);
    Ok(())
}

/// The highest resident memory of a process during `duration`, in MB.
async fn most_memory(process: u32, duration: Duration) -> anyhow::Result<f64> {
    let mut most = 0f64;
    let looks = duration.as_millis() / 100;
    for _ in 0..looks {
        most = most.max(proc::memory(process, "VmRSS")?);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(most)
}
