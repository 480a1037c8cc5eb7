//! Invariants 1 to 6 of the design, with many concurrent writers, readers and replicas.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use auditlog::domain::{Clock, Entry, EntryId, Filter, Limit, NewEntry, Offset, Timestamp};
use auditlog::error::Error;
use auditlog::ingest::{Batch, Ingest, Written};
use auditlog::query::{Query, Start};
use auditlog::store::Store;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::support::ingest::{all, catalogue, entry, organization, query, start};
use crate::support::{Backend, Database, on_every_database};

const ORGANIZATIONS: [&str; 3] = ["org_a", "org_b", "org_c"];
const WRITERS: u64 = 16;
const READERS: u64 = 4;
const REPLICAS: u64 = 3;
const REQUESTS: u64 = 40;

/// The entries that a writer knows to be durable.
type Acknowledged = Vec<(&'static str, NewEntry, Written)>;

/// A clock that jumps back and forth within two seconds.
fn jittery(seed: u64) -> Clock {
    let system = Clock::system();
    let random = std::sync::Mutex::new(StdRng::seed_from_u64(seed));
    Clock::from_fn(move || {
        let jump = random.lock().expect("no panic").random_range(-1_000_000..=1_000_000);
        system.now().plus(jump)
    })
}

struct Writer {
    number: u64,
    replicas: Vec<Ingest>,
    query: Query,
    random: StdRng,
    acknowledged: Acknowledged,
    /// Ids that only appeared in refused requests.
    refused: Vec<(&'static str, EntryId)>,
}

impl Writer {
    async fn write(&self, to: &str, entries: Vec<NewEntry>) -> Result<Vec<Written>, Error> {
        self.write_by(self.number as usize + self.acknowledged.len(), to, entries).await
    }

    async fn write_by(&self, replica: usize, to: &str, entries: Vec<NewEntry>) -> Result<Vec<Written>, Error> {
        let replica = &self.replicas[replica % self.replicas.len()];
        let (organization, key_id) = (organization(to), format!("key{}", self.number));
        replica.write(Batch { organization, key_id, catalogue: catalogue(), entries }).await
    }

    /// Sends the same request to all replicas at once, like a client that retries early. One replica writes the
    /// entries; the others must return what it wrote.
    async fn write_everywhere(&self, to: &str, entries: &[NewEntry]) -> Vec<Written> {
        let tries = (0..self.replicas.len()).map(|replica| self.write_by(replica, to, entries.to_vec()));
        let outcomes: Vec<_> =
            futures::future::join_all(tries).await.into_iter().map(|one| one.expect("written")).collect();
        let first = outcomes.iter().find(|written| written.iter().any(|one| !one.replayed)).unwrap_or(&outcomes[0]);
        for (place, one) in first.iter().enumerate() {
            let same = outcomes.iter().map(|written| &written[place]);
            assert!(
                same.clone().all(|other| (other.seq, other.recorded_at) == (one.seq, one.recorded_at)),
                "{outcomes:?}"
            );
            assert!(same.filter(|other| !other.replayed).count() <= 1, "written twice: {outcomes:?}");
        }
        first.clone()
    }

    fn new_entry(&mut self, request: u64, place: u64) -> NewEntry {
        let fresh = entry(&format!("w{}_{request}_{place}", self.number), self.random.random_range(0..1_000));
        let late = Timestamp::saturating(1_700_000_000_000_000 + self.random.random_range(0..50));
        NewEntry { timestamp: self.random.random_bool(0.3).then_some(late), ..fresh }
    }

    async fn run(mut self) -> Self {
        for request in 0..REQUESTS {
            let to = *ORGANIZATIONS.choose(&mut self.random).expect("three");
            let mut entries: Vec<_> =
                (0..self.random.random_range(1..=4)).map(|place| self.new_entry(request, place)).collect();
            match self.random.random_range(0..10) {
                // A duplicate within the request.
                0 => entries.push(entries[0].clone()),
                // A retry of an older entry, together with new ones.
                1 | 2 => {
                    let known: Vec<_> = self.acknowledged.iter().filter(|(org, ..)| *org == to).collect();
                    if let Some((_, known, _)) = known.choose(&mut self.random) {
                        entries.insert(0, known.clone());
                    }
                }
                // A conflict: none of the request's entries may be stored.
                3 => {
                    if let Some((_, known, _)) = self.acknowledged.iter().find(|(org, ..)| *org == to) {
                        entries.push(entry(known.content.id.as_str(), 5_000));
                        let outcome = self.write(to, entries.clone()).await;
                        assert!(matches!(outcome, Err(Error::IdConflict(_))), "{outcome:?}");
                        entries.pop();
                        self.refused.extend(entries.into_iter().map(|entry| (to, entry.content.id.clone())));
                        continue;
                    }
                }
                _ => {}
            }
            let written = match self.random.random_bool(0.3) {
                true => self.write_everywhere(to, &entries).await,
                false => self.write(to, entries.clone()).await.expect("written"),
            };
            self.read_own(to, &written).await;
            // A retry after an unknown outcome: on another replica, and twice at once.
            if self.random.random_bool(0.3) {
                let (again, twice) = tokio::join!(self.write(to, entries.clone()), self.write(to, entries.clone()));
                for retried in [again.expect("a replay"), twice.expect("a replay")] {
                    for (first, second) in written.iter().zip(retried) {
                        assert_eq!(second, Written { replayed: true, ..first.clone() });
                    }
                }
            }
            for (entry, written) in entries.into_iter().zip(written) {
                if !written.replayed {
                    self.acknowledged.push((to, entry, written));
                }
            }
        }
        self
    }

    /// Invariant 1: an acknowledged entry is readable by everybody at once.
    async fn read_own(&self, to: &str, written: &[Written]) {
        for one in written {
            let read = self.query.get("key", &organization(to), &one.id).await.expect("acknowledged means readable");
            assert_eq!((read.seq, read.recorded_at), (one.seq, one.recorded_at));
        }
    }
}

/// A walk by cursor, with the total of its first page and the entries that it saw.
struct Walk {
    organization: &'static str,
    filter: Filter,
    /// The total that the first page reported.
    total: i64,
    seen: Vec<(Timestamp, i64)>,
}

async fn walk(query: &Query, of: &'static str, filter: Filter, random: &mut StdRng) -> Option<Walk> {
    let mut start = Start::Offset(Offset::default());
    let mut walk = Walk { organization: of, filter, total: 0, seen: Vec::new() };
    loop {
        let limit = Limit::parse(Some(random.random_range(1..=40))).expect("a limit");
        let page = match query.list("key", &organization(of), &walk.filter, start, limit).await {
            Ok(page) => page,
            Err(Error::OrganizationNotFound) => return None,
            Err(error) => panic!("{error:?}"),
        };
        walk.total = page.total;
        assert_eq!(page.offset, walk.seen.len() as i64);
        walk.seen.extend(page.entries.iter().map(|entry| (entry.timestamp, entry.seq)));
        match page.next_cursor {
            Some(cursor) => start = Start::Cursor(cursor),
            None => return Some(walk),
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..5))).await;
    }
}

/// Starts one walk after the other until `done`.
async fn read(query: Query, seed: u64, done: Arc<AtomicBool>, walks: Arc<AtomicUsize>) -> Vec<Walk> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut finished = Vec::new();
    while !done.load(Ordering::SeqCst) {
        let of = *ORGANIZATIONS.choose(&mut random).expect("three");
        let filter = match random.random_bool(0.5) {
            true => Filter::default(),
            false => {
                Filter { actions: vec![auditlog::domain::Action(1), auditlog::domain::Action(2)], ..Filter::default() }
            }
        };
        if let Some(walk) = walk(&query, of, filter, &mut random).await {
            walks.fetch_add(1, Ordering::SeqCst);
            finished.push(walk);
        } else {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    finished
}

/// Opens replicas on the same database, each with its own connections.
async fn replicas(database: &Database) -> Vec<Store> {
    let mut stores = Vec::new();
    for _ in 0..REPLICAS {
        stores.push(database.store().await);
    }
    stores
}

fn check_log(of: &str, entries: &[Entry], acknowledged: &HashMap<(&str, EntryId), (NewEntry, Written)>) {
    // Invariant 2.
    let mut in_order: Vec<_> = entries.iter().collect();
    in_order.sort_by_key(|entry| entry.seq);
    let seqs: Vec<_> = in_order.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, (1..=entries.len() as i64).collect::<Vec<_>>(), "{of}");
    assert!(in_order.is_sorted_by_key(|entry| entry.recorded_at), "{of}: recorded_at falls");
    // Invariants 3 and 6.
    for entry in entries {
        let key = (of, entry.content.id.clone());
        let (sent, written) = acknowledged.get(&key).unwrap_or_else(|| panic!("{of} has {key:?}, which nobody wrote"));
        assert_eq!(entry.content, sent.content);
        // Without a client timestamp, the service uses the writer's clock. Another replica's clock may be ahead of it.
        assert!(sent.timestamp.map_or(entry.timestamp <= written.recorded_at, |sent| entry.timestamp == sent));
        assert_eq!((entry.seq, entry.recorded_at), (written.seq, written.recorded_at));
    }
    let expected = acknowledged.keys().filter(|(organization, _)| *organization == of).count();
    assert_eq!(entries.len(), expected, "{of}: acknowledged and stored");
}

/// Invariants 4 and 5: a walk returns the entries that existed at its first page, in order, once each.
fn check_walk(walk: &Walk, entries: &[Entry]) {
    let matches = |entry: &Entry| walk.filter.actions.is_empty() || walk.filter.actions.contains(&entry.content.action);
    let (timestamp, seq) = (|entry: &Entry| entry.timestamp, |entry: &Entry| entry.seq);
    assert_eq!(walk.seen.len() as i64, walk.total, "{}: total and walked", walk.organization);
    let mut in_order: Vec<_> = entries.iter().filter(|entry| matches(entry)).map(seq).collect();
    in_order.sort_unstable();
    // By sequence number, the first `total` matching entries existed when the walk began.
    let Some(last) = (walk.total as usize).checked_sub(1).map(|place| in_order[place]) else {
        return;
    };
    let mut expected: Vec<_> = entries
        .iter()
        .filter(|entry| matches(entry) && entry.seq <= last)
        .map(|entry| (timestamp(entry), seq(entry)))
        .collect();
    expected.sort_unstable_by(|one, other| other.cmp(one));
    assert_eq!(walk.seen, expected, "{}: a walk of {}", walk.organization, walk.total);
}

on_every_database! {
    async fn invariants_hold_while_all_write_and_read(database: &Database) {
        let stores = replicas(database).await;
        let ingests: Vec<_> = stores.iter().zip(1..).map(|(store, seed)| start(store, jittery(seed))).collect();
        let (done, walks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut queries = Vec::new();
        for store in &stores {
            queries.push(query(store).await);
        }
        let readers: Vec<_> = (0..READERS)
            .map(|number| {
                let query = queries[(number % REPLICAS) as usize].clone();
                tokio::spawn(read(query, 1_000 + number, Arc::clone(&done), Arc::clone(&walks)))
            })
            .collect();
        let writers = (0..WRITERS).map(|number| {
            let query = queries[((number + 1) % REPLICAS) as usize].clone();
            let random = StdRng::seed_from_u64(number);
            let writer = Writer { number, replicas: ingests.clone(), query, random, acknowledged: Vec::new(), refused: Vec::new() };
            tokio::spawn(writer.run())
        });
        let finished = futures::future::join_all(writers).await;
        done.store(true, Ordering::SeqCst);
        let mut acknowledged = HashMap::new();
        let mut refused = Vec::new();
        for writer in finished {
            let writer = writer.expect("no panic");
            refused.extend(writer.refused);
            for (to, entry, written) in writer.acknowledged {
                acknowledged.entry((to, entry.content.id.clone())).or_insert((entry, written));
            }
        }
        let mut logs = HashMap::new();
        for of in ORGANIZATIONS {
            let entries = all(&stores[0], of).await;
            check_log(of, &entries, &acknowledged);
            logs.insert(of, entries);
        }
        assert!(refused.len() > 20, "conflicts were tried");
        for (of, id) in refused {
            assert!(logs[of].iter().all(|entry| entry.content.id != id), "{id} came in a refused request");
        }
        for reader in readers {
            for walk in reader.await.expect("no panic") {
                check_walk(&walk, &logs[walk.organization]);
            }
        }
        assert!(walks.load(Ordering::SeqCst) > 5, "readers walked");
    }
}
