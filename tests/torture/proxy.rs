//! A TCP proxy in front of the service that simulates network faults. It parses neither HTTP nor gRPC: bytes from the
//! client are requests, bytes from the service are answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// The network condition, which applies to all connections, open ones included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// All bytes pass.
    Fair,
    /// Every third chunk from a client is dropped, together with its connection.
    DropsRequests,
    /// Every third chunk from the service is dropped, together with its connection: requests pass, answers are lost.
    DropsAnswers,
    /// No bytes pass, and no connection closes.
    HalfOpen,
    /// One byte per second passes in each direction.
    Trickle,
}

/// One in this many chunks is dropped, so that the others pass.
const ONE_OF: u64 = 3;
const SECOND: Duration = Duration::from_secs(1);
const BUFFER: usize = 16 * 1024;

/// A proxy. Dropping it closes the listener and all connections.
pub struct Proxy {
    pub address: SocketAddr,
    weather: watch::Sender<Weather>,
    counts: Arc<Counts>,
    /// The number of times that all connections were cut.
    cuts: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    /// Chunks that arrived in the condition that drops their direction.
    met: AtomicU64,
    /// Chunks that were dropped or held back.
    hurt: AtomicU64,
}

impl Proxy {
    /// Listens on a free port and forwards to `upstream`.
    pub async fn start(upstream: String) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (weather, seen) = watch::channel(Weather::Fair);
        let (cuts, cut) = watch::channel(0);
        let counts = Arc::<Counts>::default();
        let accepting = tokio::spawn(accept(listener, upstream, seen, cut, Arc::clone(&counts)));
        Ok(Self { address, weather, counts, cuts, accepting })
    }

    /// Sets the condition. Open connections stay open and follow it.
    pub fn turn(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Closes every open connection.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many chunks were dropped or held back.
    pub fn hurt(&self) -> u64 {
        self.counts.hurt.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    upstream: String,
    weather: watch::Receiver<Weather>,
    cuts: watch::Receiver<u64>,
    counts: Arc<Counts>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (upstream, weather, counts) = (upstream.clone(), weather.clone(), Arc::clone(&counts));
        let mut cuts = cuts.clone();
        cuts.mark_unchanged();
        connections.spawn(async move {
            let Ok(service) = TcpStream::connect(upstream).await else { return };
            // Each write is sent as its own packet, as it arrived.
            let _ = client.set_nodelay(true).and_then(|()| service.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_service, to_service) = service.into_split();
            // When one direction ends, both end: the dropped halves close the sockets.
            tokio::select! {
                () = pass(from_client, to_service, Weather::DropsRequests, weather.clone(), &counts) => {}
                () = pass(from_service, to_client, Weather::DropsAnswers, weather.clone(), &counts) => {}
                _ = cuts.changed() => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Forwards bytes until one side closes or a chunk is dropped. `deadly` is the condition that drops chunks in this
/// direction.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    deadly: Weather,
    mut weather: watch::Receiver<Weather>,
    Counts { met, hurt }: &Counts,
) {
    let mut buffer = [0; BUFFER];
    loop {
        let length = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        let mut left = &buffer[..length];
        let now = *weather.borrow();
        let is_lost = now == deadly && met.fetch_add(1, Ordering::Relaxed) % ONE_OF == 0;
        if is_lost || [Weather::HalfOpen, Weather::Trickle].contains(&now) {
            hurt.fetch_add(1, Ordering::Relaxed);
        }
        if is_lost {
            return;
        }
        while !left.is_empty() {
            let now = *weather.borrow_and_update();
            let count = match now {
                Weather::HalfOpen => {
                    // The proxy is gone, so end this connection too.
                    if weather.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                Weather::Trickle => 1,
                _ => left.len(),
            };
            if to.write_all(&left[..count]).await.is_err() {
                return;
            }
            left = &left[count..];
            if now == Weather::Trickle && !left.is_empty() {
                // A change of the condition sends the rest at once.
                let _ = tokio::time::timeout(SECOND, weather.changed()).await;
            }
        }
    }
    // A half-open connection stays half-open after one side has closed.
    while *weather.borrow_and_update() == Weather::HalfOpen {
        if weather.changed().await.is_err() {
            return;
        }
    }
}
