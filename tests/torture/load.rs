//! Clients that write continuously, over gRPC and REST, to several organizations, one of them hot. When the outcome of
//! a request is unknown, the client resends it with the same ids and content until it is answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio::task::JoinSet;

use crate::client::{Client, Protocol, Trouble};
use crate::entry::Entry;
use crate::journal::{Journal, Record, Written};

pub const ORGANIZATIONS: [&str; 4] = ["org_hot", "org_a", "org_b", "org_c"];
const WRITERS: u64 = 12;
/// The longest pause of a writer between two requests, in milliseconds.
const REST: u64 = 40;
/// The share of acknowledged requests that are sent once more.
const AGAIN: f64 = 0.05;

/// The state that all clients share.
pub struct Shared {
    pub journal: Journal,
    /// The services to send to. A client that gets an error tries the next one.
    targets: Mutex<Vec<Client>>,
    /// An attempt in progress holds the read lock. Holding the write lock pauses all clients.
    turn: Arc<RwLock<()>>,
    ending: AtomicBool,
    /// Acknowledged entries. `requests` counts acknowledged requests.
    pub acknowledged: AtomicU64,
    pub requests: AtomicU64,
    /// Attempts that repeated a request whose outcome was unknown.
    pub resent: AtomicU64,
    /// Entries that were already stored when a request with an unknown outcome was resent.
    pub replayed: AtomicU64,
    /// Acknowledged requests that were sent again on purpose.
    pub repeated: AtomicU64,
    troubles: Mutex<BTreeMap<String, u64>>,
    /// Errors that no fault excuses.
    strange: Mutex<Vec<String>>,
}

impl Shared {
    pub fn new(journal: Journal, targets: Vec<Client>) -> Self {
        Self {
            journal,
            targets: Mutex::new(targets),
            turn: Arc::default(),
            ending: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            resent: AtomicU64::new(0),
            replayed: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            troubles: Mutex::default(),
            strange: Mutex::default(),
        }
    }

    /// Sends later requests to `targets`, for example through a proxy.
    pub fn retarget(&self, targets: Vec<Client>) {
        *self.targets.lock().expect("no panic") = targets;
    }

    pub fn target(&self, turn: usize) -> Client {
        let targets = self.targets.lock().expect("no panic");
        targets[turn % targets.len()].clone()
    }

    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Counts an error; an unexpected one becomes a finding.
    pub fn trouble(&self, trouble: &Trouble) {
        match trouble {
            Trouble::Strange(what) => self.strange(what.clone()),
            known => *self.troubles.lock().expect("no panic").entry(known.to_string()).or_default() += 1,
        }
    }

    pub fn strange(&self, what: String) {
        self.strange.lock().expect("no panic").push(what);
    }

    /// Whether clients saw this error since the last [`Self::take_troubles`].
    pub fn saw(&self, trouble: &str) -> bool {
        self.troubles.lock().expect("no panic").contains_key(trouble)
    }

    /// Takes the errors since the last call, with the count of each.
    pub fn take_troubles(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut *self.troubles.lock().expect("no panic"))
    }

    pub fn take_strange(&self) -> Vec<String> {
        std::mem::take(&mut *self.strange.lock().expect("no panic"))
    }

    /// Pauses all clients. No request is in progress while the guard is held; unanswered requests continue afterwards.
    pub async fn paused(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.turn).write_owned().await
    }
}

/// The running writers.
pub struct Load {
    pub shared: Arc<Shared>,
    writers: JoinSet<anyhow::Result<()>>,
}

impl Load {
    /// `seed` decides the content of the requests, but not how the scheduler interleaves them.
    pub fn start(shared: Arc<Shared>, seed: u64) -> Self {
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let random = StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let protocol = if number % 3 == 0 { Protocol::Rest } else { Protocol::Grpc };
            writers.spawn(Writer { shared: Arc::clone(&shared), number, protocol, random, sent: 0 }.run());
        }
        Self { shared, writers }
    }

    /// Waits until `entries` more entries are acknowledged, which proves that the load makes progress. Errors: they are
    /// not acknowledged within `limit`.
    pub async fn acknowledges(&self, entries: u64, limit: Duration) -> anyhow::Result<()> {
        let (begun, before) = (Instant::now(), self.shared.acknowledged.load(Ordering::Relaxed));
        loop {
            let done = self.shared.acknowledged.load(Ordering::Relaxed) - before;
            if done >= entries {
                return Ok(());
            }
            if begun.elapsed() > limit {
                let troubles = self.shared.take_troubles();
                bail!("{done} of {entries} entries were acknowledged within {limit:?}; {troubles:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until every request is answered. Errors: some are not answered within `limit`.
    pub async fn settle(&mut self, limit: Duration) -> anyhow::Result<()> {
        self.shared.end();
        let all = async {
            while let Some(ended) = self.writers.join_next().await {
                ended.context("a writer panicked")??;
            }
            Ok(())
        };
        tokio::time::timeout(limit, all).await.context("not every request was answered in the end")?
    }
}

struct Writer {
    shared: Arc<Shared>,
    number: u64,
    protocol: Protocol,
    random: StdRng,
    /// Requests so far. Also selects the target.
    sent: usize,
}

impl Writer {
    async fn run(mut self) -> anyhow::Result<()> {
        while !self.shared.is_ending() {
            self.sent += 1;
            let hot = self.random.random_bool(0.5);
            let to = ORGANIZATIONS[if hot { 0 } else { self.random.random_range(1..ORGANIZATIONS.len()) }];
            let entries = self.entries();
            if let Some(written) = self.write(to, &entries).await? {
                self.shared.requests.fetch_add(1, Ordering::Relaxed);
                self.shared.acknowledged.fetch_add(written.len() as u64, Ordering::Relaxed);
                if self.random.random_bool(AGAIN) {
                    self.repeat(to, &entries, written).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(self.random.random_range(0..REST))).await;
        }
        Ok(())
    }

    fn entries(&mut self) -> Vec<Entry> {
        let count = match self.random.random_range(0..20) {
            0..14 => 1,
            14..19 => self.random.random_range(2..10),
            _ => self.random.random_range(10..60),
        };
        let id = |place| format!("t{}.{}:{place}", self.number, self.sent);
        let ids: Vec<_> = (0..count).map(id).collect();
        ids.into_iter().map(|id| Entry::random(id, &mut self.random)).collect()
    }

    /// Sends a request until it is answered. `None` after an unexpected error.
    async fn write(&mut self, to: &str, entries: &[Entry]) -> anyhow::Result<Option<Vec<Written>>> {
        let mut turn = self.sent;
        let organization = to.to_owned();
        let mut intent = Some(Record::Intent { organization: organization.clone(), entries: entries.to_vec() });
        loop {
            let held = self.shared.turn.read().await;
            if let Some(intent) = intent.take() {
                self.shared.journal.write(&intent).await?;
            } else {
                self.shared.resent.fetch_add(1, Ordering::Relaxed);
            }
            match self.shared.target(turn).write(self.protocol, to, entries).await {
                Ok(written) => {
                    // The service also retries a commit of its own whose outcome it does not know, so even the first
                    // attempt may return replayed entries.
                    if turn > self.sent {
                        let replayed = written.iter().filter(|one| one.replayed).count();
                        self.shared.replayed.fetch_add(replayed as u64, Ordering::Relaxed);
                    }
                    let acknowledged = Record::Acknowledged { organization, written: written.clone() };
                    self.shared.journal.write(&acknowledged).await?;
                    return Ok(Some(written));
                }
                Err(trouble) => {
                    self.shared.trouble(&trouble);
                    if matches!(trouble, Trouble::Strange(_)) {
                        return Ok(None);
                    }
                }
            }
            drop(held);
            turn += 1;
            tokio::time::sleep(Duration::from_millis(self.random.random_range(20..80))).await;
        }
    }

    /// Sends an acknowledged request once more over the other protocol. The answer must be the same.
    async fn repeat(&mut self, to: &str, entries: &[Entry], written: Vec<Written>) {
        let _held = self.shared.turn.read().await;
        let other = if self.protocol == Protocol::Rest { Protocol::Grpc } else { Protocol::Rest };
        match self.shared.target(self.sent + 1).write(other, to, entries).await {
            Ok(again) => {
                let same = written.into_iter().map(|one| Written { replayed: true, ..one });
                self.shared.repeated.fetch_add(1, Ordering::Relaxed);
                if !same.eq(again.iter().cloned()) {
                    self.shared
                        .strange(format!("{to}: acknowledged, but answered differently when sent again: {again:?}"));
                }
            }
            Err(trouble) => self.shared.trouble(&trouble),
        }
    }
}
