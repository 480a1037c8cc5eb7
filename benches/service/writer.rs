//! Writes new entries through the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use auditlog::domain::Clock;
use auditlog::grpc::pb::AuditLogInput;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use crate::data::{Delays, Entry, organization_id, random};
use crate::drive::{Run, drive};
use crate::service::Service;

/// Gives each writer a different seed, so that no two writers create the same id.
static WRITERS: AtomicUsize = AtomicUsize::new(1_000);

/// Creates new entries with the current time.
pub struct Fresh {
    pub random: StdRng,
    clock: Clock,
    delays: Delays,
}

impl Fresh {
    pub fn new(delays: Delays) -> Self {
        let writer = WRITERS.fetch_add(1, Ordering::Relaxed);
        Self { random: random(writer as u64), clock: Clock::system(), delays }
    }

    /// An entry of an organization. `seq` matters only if the entry becomes a row.
    pub fn entry(&mut self, organization: u32, seq: i64) -> Entry {
        Entry::draw(organization, seq, self.clock.now().micros(), self.delays, &mut self.random)
    }

    /// Entries of organization 0, as request messages.
    pub fn inputs(&mut self, count: usize) -> Vec<AuditLogInput> {
        (0..count).map(|_| self.entry(0, 0).input()).collect()
    }
}

/// `clients` clients write requests of `size` entries for `duration`, each to an organization that `choose` returns.
pub async fn write(
    service: &Service,
    clients: usize,
    size: usize,
    duration: Duration,
    choose: impl Fn(&mut StdRng) -> u32 + Copy + Send + 'static,
) -> anyhow::Result<Run> {
    let caller = |client: crate::service::Client| {
        let mut fresh = Fresh::new(Delays::JITTER);
        move || {
            let mut client = client.clone();
            let (organization, entries) = (organization_id(choose(&mut fresh.random)), fresh.inputs(size));
            async move {
                client.write(organization, entries).await?;
                Ok(())
            }
        }
    };
    drive(duration, service.clients(clients).await?.into_iter().map(caller).collect()).await
}

/// Writes `entries` entries in batches of 100, with four clients.
pub async fn ingest(
    service: &Service,
    entries: usize,
    delays: Delays,
    choose: impl Fn(&mut StdRng) -> u32 + Copy + Send + 'static,
) -> anyhow::Result<()> {
    let left = Arc::new(AtomicUsize::new(entries / 100));
    let mut tasks = JoinSet::new();
    for mut client in service.clients(4).await? {
        let left = Arc::clone(&left);
        tasks.spawn(async move {
            let mut fresh = Fresh::new(delays);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let organization = organization_id(choose(&mut fresh.random));
                client.write(organization, fresh.inputs(100)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}
