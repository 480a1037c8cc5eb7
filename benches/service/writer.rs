//! Entries of now, written through the service.

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

/// Makes the seed of each writer another, so that no two make the same id.
static WRITERS: AtomicUsize = AtomicUsize::new(1_000);

/// Makes entries that nobody has made yet.
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

    /// An entry of an organization, with the number `seq` where a row needs one.
    pub fn entry(&mut self, organization: u32, seq: i64) -> Entry {
        Entry::draw(organization, seq, self.clock.now().micros(), self.delays, &mut self.random)
    }

    /// Entries of organization 0, as they are sent.
    pub fn inputs(&mut self, count: usize) -> Vec<AuditLogInput> {
        (0..count).map(|_| self.entry(0, 0).input()).collect()
    }
}

/// `clients` write requests of `size` entries for so long, each to an organization that `choose` names.
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

/// Writes so many entries in batches of 100, four at a time.
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
