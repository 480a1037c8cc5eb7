//! An attack with honest clients beside it, and what became of service and clients.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, ensure};
use auditlog::grpc::pb::audit_log_service_client::AuditLogServiceClient;
use auditlog::grpc::pb::{AuditLogInput, Change, WriteAuditLogsRequest};

use super::{MARK, Target};
use crate::gauges::{self, Gauges, MEMORY};
use crate::honest::{self, Honest, Served, with_key};

/// Entries that make lists large.
const STOCK: usize = 120;
const VALUE: usize = 20_000;
/// Of so many calls of honest clients during an attack, one may fail.
const SERVED: usize = 20;
/// A service that has survived serves so many calls again.
const AFTER: Duration = Duration::from_millis(500);

/// What an attack did.
pub struct Suffered {
    /// What the attacker saw.
    pub attack: String,
    pub during: Served,
    pub after: Served,
    /// Resident memory in MB: before, at most, and after.
    pub memory: [u64; 3],
}

impl fmt::Display for Suffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { attack, during, memory: [before, most, after], .. } = self;
        write!(f, "{before}/{most}/{after} MB; honest: {during}; attack: {attack}")
    }
}

/// Gives the organization entries so large that a list of them is two megabytes.
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

/// Lets `attack` happen to the service whose metrics are at `metrics`, beside `honest` clients. Errors: it cannot be
/// reached, or does not serve them.
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

/// Resident memory in MB, as the service at this port for metrics says.
fn memory(metrics: &str) -> anyhow::Result<u64> {
    let now = gauges::now(metrics).context("the service does not say how it is")?;
    Ok(megabytes(now.get(MEMORY).copied().context("it does not say what memory it holds")?))
}

fn megabytes(bytes: f64) -> u64 {
    (bytes / 1e6) as u64
}

/// Lines of a log that tell of a panic, or quote what was sent.
pub fn indiscretions(log: &str) -> Vec<&str> {
    let tells = |line: &&str| ["panicked", "panic at", MARK, honest::MARK].iter().any(|word| line.contains(word));
    log.lines().filter(tells).collect()
}
