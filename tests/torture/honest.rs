//! Honest clients during an attack. Each alternates lists and writes on its own connection, reconnects when that
//! breaks, and records latencies and errors.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use auditlog::grpc::pb::audit_log_service_client::AuditLogServiceClient;
use auditlog::grpc::pb::{AuditLogInput, ListAuditLogsRequest, WriteAuditLogsRequest};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::hostile::Target;

/// Part of the content of every entry; must never appear in a log.
pub const MARK: &str = "honest-content-81d2";
const CLIENTS: usize = 4;
const REST: Duration = Duration::from_millis(20);
/// The time limit of a call, and of connecting.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The latencies of successful calls, and the errors with their counts.
#[derive(Default)]
pub struct Served {
    times: Vec<Duration>,
    pub failures: BTreeMap<String, usize>,
}

impl Served {
    /// Records the outcome of a call that was made at `asked`.
    pub fn note(&mut self, asked: Instant, answered: Result<(), String>) {
        match answered {
            Ok(()) => self.times.push(asked.elapsed()),
            Err(why) => *self.failures.entry(why).or_default() += 1,
        }
    }

    /// Adds the outcomes of another client.
    pub fn add(&mut self, other: Self) {
        let Self { times, failures } = other;
        self.times.extend(times);
        failures.into_iter().for_each(|(why, times)| *self.failures.entry(why).or_default() += times);
    }

    pub fn count(&self) -> usize {
        self.times.len()
    }

    pub fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    /// The nearest-rank percentile of the latencies: `share` of them are at most this long.
    pub fn percentile(&self, share: f64) -> Duration {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        let place = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [middle, high] = [0.5, 0.99].map(|share| self.percentile(share).as_secs_f64() * 1e3);
        write!(f, "{} served, {} failed, p50 {middle:.1} ms, p99 {high:.1} ms", self.count(), self.failed())?;
        if self.failures.is_empty() { Ok(()) } else { write!(f, " {:?}", self.failures) }
    }
}

/// The running clients.
pub struct Honest {
    ending: Arc<AtomicBool>,
    clients: JoinSet<Served>,
}

impl Honest {
    pub fn start(target: &Target) -> Self {
        let (ending, mut clients) = (Arc::<AtomicBool>::default(), JoinSet::new());
        for _ in 0..CLIENTS {
            clients.spawn(work(target.clone(), Arc::clone(&ending)));
        }
        Self { ending, clients }
    }

    pub async fn stop(mut self) -> Served {
        end(&self.ending, &mut self.clients).await
    }
}

/// Sets `ending`, waits for the clients to stop, and adds up their outcomes.
pub async fn end(ending: &AtomicBool, clients: &mut JoinSet<Served>) -> Served {
    ending.store(true, Ordering::Relaxed);
    let mut all = Served::default();
    while let Some(ended) = clients.join_next().await {
        all.add(ended.expect("a client does not panic"));
    }
    all
}

async fn work(target: Target, ending: Arc<AtomicBool>) -> Served {
    let mut served = Served::default();
    let mut client = connect(&target);
    for turn in 0u64.. {
        if ending.load(Ordering::Relaxed) {
            break;
        }
        let asked = Instant::now();
        let answered = if turn % 2 == 0 { list(&mut client, &target).await } else { write(&mut client, &target).await };
        served.note(asked, answered.map_err(|status| describe(&status)));
        tokio::time::sleep(REST).await;
    }
    served
}

fn describe(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// Connects on the first call and reconnects after a broken connection.
fn connect(target: &Target) -> AuditLogServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", target.address)).expect("an address");
    let channel = endpoint.connect_timeout(TIMEOUT).timeout(TIMEOUT).connect_lazy();
    AuditLogServiceClient::new(channel).max_decoding_message_size(auditlog::grpc::MAX_RESPONSE)
}

/// `message` with the target's API key.
pub fn with_key<T>(message: T, target: &Target) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {}", target.key).parse().expect("a key is ASCII"));
    request
}

async fn list(client: &mut AuditLogServiceClient<Channel>, target: &Target) -> Result<(), Status> {
    let request = ListAuditLogsRequest { organization_id: target.organization.clone(), ..Default::default() };
    client.list_audit_logs(with_key(request, target)).await?;
    Ok(())
}

async fn write(client: &mut AuditLogServiceClient<Channel>, target: &Target) -> Result<(), Status> {
    let entry = AuditLogInput {
        resource_type: "thread".to_owned(),
        resource_id: format!("{MARK}-resource"),
        action: "updated".to_owned(),
        user_id: format!("{MARK}-user"),
        user_name: MARK.to_owned(),
        ..Default::default()
    };
    let request = WriteAuditLogsRequest { organization_id: target.organization.clone(), audit_logs: vec![entry] };
    client.write_audit_logs(with_key(request, target)).await?;
    Ok(())
}
