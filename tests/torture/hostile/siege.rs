//! Runs an attack while honest clients work, and measures both.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, ensure};
use auditlog::grpc::pb::audit_log_service_client::AuditLogServiceClient;
use auditlog::grpc::pb::{AuditLogInput, Change, WriteAuditLogsRequest};

use super::{MARK, Target};
use crate::gauges::{self, Gauges, MEMORY};
use crate::honest::{self, Honest, Served, with_key};

/// The entries that make lists large.
const STOCK: usize = 120;
const VALUE: usize = 20_000;
/// At most one honest call in this many may fail during an attack.
const SERVED: usize = 20;
/// The time after an attack in which honest calls must succeed.
const AFTER: Duration = Duration::from_millis(500);

/// The results of an attack.
pub struct Suffered {
    /// The attacker's summary.
    pub attack: String,
    pub during: Served,
    pub after: Served,
    /// Resident memory in MB: before, maximum, and after.
    pub memory: [u64; 3],
}

impl fmt::Display for Suffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attack, during, memory: [before, most, after], .. } = self;
        write!(f, "{before}/{most}/{after} MB; honest: {during}; attack: {attack}")
    }
}

/// Writes entries so large that a list of them has 2 MB.
pub async fn stock(target: &Target) -> anyhow::Result<()> {
    let mut client = AuditLogServiceClient::connect(format!("http://{}", target.address)).await?;
    let entry = |place: usize| AuditLogInput {
        id: format!("stock-{place}"),
        resource_type: "rule".to_owned(),
        resource_id: "stock".to_owned(),
        action: "created".to_owned(),
        user_id: "stock".to_owned(),
        changes: vec![Change {
            field: "text".to_owned(),
            new_value_json: Some(format!("\"{}\"", MARK.repeat(VALUE / MARK.len()))),
            old_value_json: None,
        }],
        ..Default::default()
    };
    let audit_logs = (0..STOCK).map(entry).collect();
    let request = WriteAuditLogsRequest { organization_id: target.organization.clone(), audit_logs };
    client.write_audit_logs(with_key(request, target)).await?;
    Ok(())
}

/// Runs `attack` while `honest` clients work. `metrics` is the address of the service's metrics. Errors: the service
/// cannot be reached, or does not serve the clients.
pub async fn besiege(
    attack: impl Future<Output = std::io::Result<String>>,
    honest: &Target,
    metrics: &str,
) -> anyhow::Result<Suffered> {
    let before = memory(metrics)?;
    let watched = Gauges::watch(metrics.to_owned());
    let clients = Honest::start(honest);
    let attacked = attack.await;
    let during = clients.stop().await;
    let clients = Honest::start(honest);
    tokio::time::sleep(AFTER).await;
    let after = clients.stop().await;
    let most = megabytes(watched.most(MEMORY).unwrap_or_default());
    let attack = attacked.context("the attack could not be made")?;
    let suffered = Suffered { attack, during, after, memory: [before, most, memory(metrics)?] };
    ensure!(suffered.during.count() > SERVED * suffered.during.failed(), "honest clients were not served: {suffered}");
    ensure!(suffered.after.count() > 0 && suffered.after.failed() == 0, "not served afterwards: {}", suffered.after);
    Ok(suffered)
}

/// Resident memory in MB, from the metrics endpoint at `metrics`.
fn memory(metrics: &str) -> anyhow::Result<u64> {
    let now = gauges::now(metrics).context("the metrics cannot be read")?;
    Ok(megabytes(now.get(MEMORY).copied().context("the process does not report its memory")?))
}

fn megabytes(bytes: f64) -> u64 {
    (bytes / 1e6) as u64
}

/// The log lines that report a panic or contain received content.
pub fn indiscretions(log: &str) -> Vec<&str> {
    let tells = |line: &&str| ["panicked", "panic at", MARK, honest::MARK].iter().any(|word| line.contains(word));
    log.lines().filter(tells).collect()
}
