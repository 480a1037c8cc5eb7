//! A proxy before the service that does to connections what networks do. Bytes pass unread: it knows neither HTTP nor
//! gRPC. What is a request and what an answer is told by who sends.

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

/// What happens to bytes, from now on and on every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// They pass.
    Fair,
    /// Every third piece that a client sends is not passed on, and its connection is dropped.
    DropsRequests,
    /// The same of every third piece that the service sends: requests have passed, and answers are lost.
    DropsAnswers,
    /// Nothing passes, and no connection closes.
    HalfOpen,
    /// A byte passes each second, either way.
    Trickle,
}

/// Of so many pieces one is lost, so that others get through.
const ONE_OF: u64 = 3;
const SECOND: Duration = Duration::from_secs(1);
const BUFFER: usize = 16 * 1024;

/// A proxy that ends with this value, and its connections with it.
pub struct Proxy {
    pub address: SocketAddr,
    weather: watch::Sender<Weather>,
    counts: Arc<Counts>,
    /// Counts the times that all connections were cut.
    cuts: watch::Sender<u64>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    /// Pieces that came in foul weather.
    met: AtomicU64,
    /// Those that were lost, with their connections, or held back.
    hurt: AtomicU64,
}

impl Proxy {
    /// Listens on a free port, before `upstream`.
    pub async fn start(upstream: String) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (weather, seen) = watch::channel(Weather::Fair);
        let (cuts, cut) = watch::channel(0);
        let counts = Arc::<Counts>::default();
        let accepting = tokio::spawn(accept(listener, upstream, seen, cut, Arc::clone(&counts)));
        Ok(Self { address, weather, counts, cuts, accepting })
    }

    /// Connections that are open stay so, and fare as the new weather is.
    pub fn turn(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Closes every connection that is open.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many pieces were lost or held back.
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
            // Each write is a packet of its own, as it came.
            let _ = client.set_nodelay(true).and_then(|()| service.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_service, to_service) = service.into_split();
            // As soon as one direction ends, both do: dropped halves close the sockets.
            tokio::select! {
                () = pass(from_client, to_service, Weather::DropsRequests, weather.clone(), &counts) => {}
                () = pass(from_service, to_client, Weather::DropsAnswers, weather.clone(), &counts) => {}
                _ = cuts.changed() => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Passes on what comes until a side ends, or until `deadly` weather meets a piece.
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
                    // Whoever turned the weather may be gone, and this with it.
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
                // Fairer weather lets the rest pass at once.
                let _ = tokio::time::timeout(SECOND, weather.changed()).await;
            }
        }
    }
    // What is half-open stays so after one side has gone.
    while *weather.borrow_and_update() == Weather::HalfOpen {
        if weather.changed().await.is_err() {
            return;
        }
    }
}
