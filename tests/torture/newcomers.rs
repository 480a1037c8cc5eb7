//! Honest clients that open a new connection for every call, as after a restart. They list over REST with one key after
//! the other, or watch the health.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::honest::{self, Served, TIMEOUT};
use crate::hostile::Target;

const CLIENTS: usize = 2;
const REST: Duration = Duration::from_millis(100);

/// The call that the clients make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    List,
    WatchHealth,
}

/// The running clients.
pub struct Newcomers {
    ending: Arc<AtomicBool>,
    clients: JoinSet<Served>,
}

impl Newcomers {
    /// Calls `target` with each of `keys` in turn instead of the target's own key.
    pub fn start(target: &Target, keys: &[String], call: Call) -> Self {
        let (ending, mut clients) = (Arc::<AtomicBool>::default(), JoinSet::new());
        for client in 0..CLIENTS {
            let (target, ending) = (target.clone(), Arc::clone(&ending));
            // Each client starts at a different key, so two clients never use the same unused key at once.
            let keys: Vec<_> = keys.iter().skip(client).step_by(CLIENTS).chain(keys).cloned().collect();
            clients.spawn(async move {
                let mut served = Served::default();
                for key in keys.into_iter().cycle() {
                    if ending.load(Ordering::Relaxed) {
                        break;
                    }
                    let asked = Instant::now();
                    let answered = match call {
                        Call::List => list(&target, &key).await,
                        Call::WatchHealth => watch(&target).await,
                    };
                    served.note(asked, answered);
                    tokio::time::sleep(REST).await;
                }
                served
            });
        }
        Self { ending, clients }
    }

    pub async fn stop(mut self) -> Served {
        honest::end(&self.ending, &mut self.clients).await
    }
}

async fn list(target: &Target, key: &str) -> Result<(), String> {
    let url = format!("http://{}/v1/{}/audit-logs?limit=1", target.address, target.organization);
    let http = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(|error| causes(&error))?;
    let answer = http.get(url).bearer_auth(key).send().await.map_err(|error| causes(&error))?;
    let status = answer.status();
    let body = answer.text().await.map_err(|error| causes(&error))?;
    if status.is_success() { Ok(()) } else { Err(format!("{status}: {body}")) }
}

async fn watch(target: &Target) -> Result<(), String> {
    let endpoint = Endpoint::from_shared(format!("http://{}", target.address)).expect("an address");
    let channel = endpoint.connect_timeout(TIMEOUT).timeout(TIMEOUT).connect().await;
    let mut health = HealthClient::new(channel.map_err(|error| causes(&error))?);
    let describe = |status: tonic::Status| format!("{:?}: {}", status.code(), status.message());
    let mut statuses = health.watch(HealthCheckRequest::default()).await.map_err(describe)?.into_inner();
    let status = tokio::time::timeout(TIMEOUT, statuses.message()).await.map_err(|_| "no status".to_owned())?;
    status.map_err(describe)?.map(drop).ok_or_else(|| "the stream ended".to_owned())
}

/// The root cause of an error, without the addresses that its outer messages contain.
fn causes(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
