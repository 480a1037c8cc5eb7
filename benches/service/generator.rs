//! A load generator that costs as little CPU as possible: it encodes a request once, sends it over bare HTTP/2, and
//! does not decode answers. Client and service share a machine, so the service loses whatever CPU the generator uses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use prost::Message;
use prost::bytes::{BufMut, Bytes};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;

use crate::figure::Times;
use crate::say;
use crate::service::Service;

/// The number of connections.
const CONNECTIONS: usize = 64;
/// The maximum number of calls in flight. Further calls count as unsent.
const UNDER_WAY: usize = 20_000;
/// The time that a refusal names, and that a polite client waits.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The `grpc-timeout` that a call sends, and the longer time that the generator waits for the answer.
const DEADLINE: (&str, Duration) = ("2S", Duration::from_secs(4));
/// gRPC's RESOURCE_EXHAUSTED and UNAVAILABLE, which tell a client to retry later.
const REFUSALS: [&str; 2] = ["8", "14"];

/// An encoded call that can be sent many times.
struct Call {
    head: Request<()>,
    body: Bytes,
}

/// The calls by outcome, with their latencies.
#[derive(Default)]
pub struct Tally {
    pub served: Times,
    /// Calls that were told to retry later.
    pub refused: Times,
    /// Calls with any other outcome, by status or error.
    pub failed: BTreeMap<String, usize>,
    /// Calls that were due while too many were in flight.
    pub unsent: usize,
    /// Calls that were served before the measurement ended.
    in_time: usize,
    elapsed: Duration,
}

impl Tally {
    /// Calls served per second.
    pub fn goodput(&self) -> f64 {
        self.in_time as f64 / self.elapsed.as_secs_f64()
    }

    /// Calls sent per second.
    pub fn offered(&self) -> f64 {
        (self.served.0.len() + self.refused.0.len() + self.failures()) as f64 / self.elapsed.as_secs_f64()
    }

    pub fn failures(&self) -> usize {
        self.failed.values().sum()
    }

    /// Prints progress for the user, including the failures.
    pub fn tell(&self, name: &str) {
        let Self { served, refused, failed, unsent, .. } = self;
        let [served, refused] = [served.0.len(), refused.0.len()];
        let goodput = self.goodput();
        say(&format!(
            "{name}: {goodput:.0}/s; {served} served, {refused} refused, {unsent} not sent, failed {failed:?}"
        ));
    }
}

/// Clients that call one method with the same message.
#[derive(Clone)]
pub struct Generator {
    call: Arc<Call>,
    connections: Arc<[Connection]>,
}

/// A connection, made on first use and again after it broke.
struct Connection {
    address: SocketAddr,
    sender: tokio::sync::Mutex<Option<SendRequest<Bytes>>>,
}

impl Connection {
    async fn sender(&self) -> anyhow::Result<SendRequest<Bytes>> {
        let mut held = self.sender.lock().await;
        if let Some(sender) = &*held {
            return Ok(sender.clone());
        }
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 24).enable_push(false);
        let (sender, connection) = builder.handshake(stream).await?;
        tokio::spawn(connection);
        *held = Some(sender.clone());
        Ok(sender)
    }
}

impl Generator {
    /// Prepares calls of `method` of the audit log service with `message`, by the caller with the API key `key`.
    pub fn new(service: &Service, key: &str, method: &str, message: &impl Message) -> anyhow::Result<Self> {
        let mut body = Vec::new();
        body.put_u8(0);
        body.put_u32(u32::try_from(message.encoded_len())?);
        message.encode(&mut body)?;
        let head = Request::post(format!("http://{}/auditlog.v1.AuditLogService/{method}", service.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {key}"))
            .header("grpc-timeout", DEADLINE.0)
            .body(())?;
        let connection = |_| Connection { address: service.address, sender: tokio::sync::Mutex::default() };
        let connections = (0..CONNECTIONS).map(connection).collect();
        Ok(Self { call: Arc::new(Call { head, body: body.into() }), connections })
    }

    /// A closed loop: `clients` clients that each wait for an answer before the next call, and for `pause` after a
    /// refusal. Each has its own connection, up to 64.
    pub async fn closed(&self, clients: usize, duration: Duration, pause: Duration) -> Tally {
        let rounds = Rounds::begin(duration);
        let client = async |place: usize| {
            while rounds.goes_on() {
                let asked = Instant::now();
                let answer = self.call(place).await;
                let is_refused = answer.as_ref().is_ok_and(|status| REFUSALS.contains(&status.as_str()));
                rounds.count(asked, answer);
                if is_refused {
                    tokio::time::sleep(pause).await;
                }
            }
        };
        futures::future::join_all((0..clients).map(client)).await;
        rounds.end(0)
    }

    /// An open loop: `rate` calls per second, whether earlier calls were answered or not.
    pub async fn open(&self, rate: f64, duration: Duration) -> Tally {
        let rounds = Arc::new(Rounds::begin(duration));
        let under_way = Arc::new(Semaphore::new(UNDER_WAY));
        let (mut due, mut unsent) = (0, 0);
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while rounds.goes_on() {
            ticks.tick().await;
            let now_due = (rounds.begun.elapsed().as_secs_f64() * rate) as usize;
            for place in due..now_due {
                let Ok(permit) = Arc::clone(&under_way).try_acquire_owned() else {
                    unsent += 1;
                    continue;
                };
                let (generator, rounds, asked) = (self.clone(), Arc::clone(&rounds), Instant::now());
                tokio::spawn(async move {
                    rounds.count(asked, generator.call(place).await);
                    drop(permit);
                });
            }
            due = now_due;
        }
        let all = u32::try_from(UNDER_WAY).unwrap_or(u32::MAX);
        // The semaphore is never closed, so this only waits for all calls to end.
        let _ = under_way.acquire_many(all).await;
        rounds.end(unsent)
    }

    /// The gRPC status of a call, as text.
    async fn call(&self, place: usize) -> anyhow::Result<String> {
        let connection = &self.connections[place % CONNECTIONS];
        let ended = tokio::time::timeout(DEADLINE.1, self.exchange(connection)).await;
        let ended = ended.unwrap_or_else(|_| anyhow::bail!("no answer within {:?}", DEADLINE.1));
        if ended.as_ref().is_err_and(|error| error.downcast_ref().is_none_or(is_of_connection)) {
            *connection.sender.lock().await = None;
        }
        ended
    }

    async fn exchange(&self, connection: &Connection) -> anyhow::Result<String> {
        let mut sender = connection.sender().await?.ready().await?;
        let (answer, mut body) = sender.send_request(self.call.head.clone(), false)?;
        body.send_data(self.call.body.clone(), true)?;
        let (head, mut body) = answer.await?.into_parts();
        if let Some(status) = status(&head.headers) {
            return Ok(status);
        }
        while let Some(piece) = body.data().await {
            body.flow_control().release_capacity(piece?.len())?;
        }
        let trailers = body.trailers().await?;
        trailers.as_ref().and_then(status).with_context(|| format!("HTTP {} without a status of gRPC", head.status))
    }
}

fn status(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("grpc-status")?.to_str().ok()?.to_owned())
}

/// Whether the error makes the connection unusable.
fn is_of_connection(error: &h2::Error) -> bool {
    error.is_io() || error.is_go_away()
}

/// The state of one measurement.
struct Rounds {
    begun: Instant,
    duration: Duration,
    tally: Mutex<Tally>,
}

impl Rounds {
    fn begin(duration: Duration) -> Self {
        Self { begun: Instant::now(), duration, tally: Mutex::default() }
    }

    fn goes_on(&self) -> bool {
        self.begun.elapsed() < self.duration
    }

    fn count(&self, asked: Instant, ended: anyhow::Result<String>) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        match ended {
            Ok(status) if status == "0" => {
                tally.served.0.push(asked.elapsed());
                tally.in_time += usize::from(self.goes_on());
            }
            Ok(status) if REFUSALS.contains(&status.as_str()) => tally.refused.0.push(asked.elapsed()),
            Ok(status) => *tally.failed.entry(format!("status {status}")).or_default() += 1,
            Err(error) => *tally.failed.entry(format!("{error:#}")).or_default() += 1,
        }
    }

    fn end(&self, unsent: usize) -> Tally {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        Tally { unsent, elapsed: self.duration, ..std::mem::take(&mut *tally) }
    }
}
