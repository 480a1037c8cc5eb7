//! Clients that write without end, over gRPC and REST, to several organizations of which one is hot. Each request is
//! sent until it is answered, with the same ids and content, wherever the outcome is unknown.

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
/// The longest that a writer rests between two requests, in milliseconds.
const REST: u64 = 40;
/// How often what is acknowledged is sent once more.
const AGAIN: f64 = 0.05;

/// What all clients share.
pub struct Shared {
    pub journal: Journal,
    /// Where to send: a client that is refused by one goes on to the next.
    targets: Mutex<Vec<Client>>,
    /// Read by an attempt under way, written by whoever pauses all of them.
    turn: Arc<RwLock<()>>,
    ending: AtomicBool,
    /// Entries that were acknowledged, and requests.
    pub acknowledged: AtomicU64,
    pub requests: AtomicU64,
    /// Requests that were sent again because nobody knew what had become of them.
    pub resent: AtomicU64,
    /// Entries that were written before, of requests that were sent again since their outcome was unknown.
    pub replayed: AtomicU64,
    /// Acknowledged requests that were sent again on purpose.
    pub repeated: AtomicU64,
    troubles: Mutex<BTreeMap<String, u64>>,
    /// What no fault excuses.
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

    /// Sends what comes from now on to `targets`, for example through a proxy.
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

    /// Takes note of what went wrong.
    pub fn trouble(&self, trouble: &Trouble) {
        match trouble {
            Trouble::Strange(what) => self.strange(what.clone()),
            known => *self.troubles.lock().expect("no panic").entry(known.to_string()).or_default() += 1,
        }
    }

    pub fn strange(&self, what: String) {
        self.strange.lock().expect("no panic").push(what);
    }

    /// Whether there was such a trouble since the troubles were taken last.
    pub fn saw(&self, trouble: &str) -> bool {
        self.troubles.lock().expect("no panic").contains_key(trouble)
    }

    /// The troubles since this was asked last, and how often there was each.
    pub fn take_troubles(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut *self.troubles.lock().expect("no panic"))
    }

    pub fn take_strange(&self) -> Vec<String> {
        std::mem::take(&mut *self.strange.lock().expect("no panic"))
    }

    /// No request is under way while this is held; what is not answered goes on afterwards.
    pub async fn paused(&self) -> OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.turn).write_owned().await
    }
}

/// The writers.
pub struct Load {
    pub shared: Arc<Shared>,
    writers: JoinSet<anyhow::Result<()>>,
}

impl Load {
    /// `seed` decides what they write, and not what the scheduler makes of it.
    pub fn start(shared: Arc<Shared>, seed: u64) -> Self {
        let mut writers = JoinSet::new();
        for number in 0..WRITERS {
            let random = StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let protocol = if number % 3 == 0 { Protocol::Rest } else { Protocol::Grpc };
            writers.spawn(Writer { shared: Arc::clone(&shared), number, protocol, random, sent: 0 }.run());
        }
        Self { shared, writers }
    }

    /// Waits until `entries` more are acknowledged: the proof that load runs. Errors: they are not within `limit`.
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

    /// Ends when each request is answered. Errors: some are not within `limit`.
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
    /// Requests so far; also chooses the target.
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

    /// Writes until there is an answer; `None` if it is one that should not be.
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
                    // A service that does not know itself whether it has committed asks again, so that what was sent
                    // once may be replayed, too.
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

    /// Sends what is acknowledged once more, by the other protocol: the answer must be the same.
    async fn repeat(&mut self, to: &str, entries: &[Entry], written: Vec<Written>) {
        let _held = self.shared.turn.read().await;
        let other = if self.protocol == Protocol::Rest { Protocol::Grpc } else { Protocol::Rest };
        match self.shared.target(self.sent + 1).write(other, to, entries).await {
            Ok(again) => {
                let same = written.into_iter().map(|one| Written { replayed: true, ..one });
                self.shared.repeated.fetch_add(1, Ordering::Relaxed);
                if !same.eq(again.iter().cloned()) {
                    self.shared
                        .strange(format!("{to}: acknowledged, and answered otherwise when sent again: {again:?}"));
                }
            }
            Err(trouble) => self.shared.trouble(&trouble),
        }
    }
}
