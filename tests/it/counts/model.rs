//! The entries of one organization as brute force sees them, and writers who keep it up to date.

use std::sync::{Arc, Mutex};

use auditlog::domain::{
    Action, ActorType, Content, Entry, EntryId, Erased, Identifier, Metadata, OrganizationId, Outcome, ResourceType,
    Seq, Timestamp,
};
use auditlog::store::{Append, HashedEntry, Head, Store};
use auditlog_verify::merkle::{Hash, Salts};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::support::database::LOCK_TIMEOUT;

pub const ORGANIZATION: &str = "org";
/// Users, by name `u0` and so on; the first are far the busiest.
pub const USERS: u8 = 40;
/// Ids of resources, `r0` and so on. Most are of one type, and all are of several.
pub const RESOURCES: u8 = 30;
pub const TYPES: u8 = 3;
/// The last type of the catalogue beside them, which a few entries have: a filter of actions alone must look there,
/// too.
pub const LAST_TYPE: u8 = 6;
pub const ACTIONS: u8 = 3;
/// An action beside them that one entry of some hundreds has, so that a frequent user's are far apart.
pub const RARE: u8 = 4;

const BEGIN: i64 = 1_700_000_000_000_000;
const SECOND: i64 = 1_000_000;
const YEAR: i64 = 365 * 86_400 * SECOND;

/// The fields of an entry that a request can filter or sort by. Rows sort as in lists, but oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Microseconds.
    pub time: i64,
    pub seq: Seq,
    pub user: u8,
    pub resource: u8,
    pub kind: u8,
    pub action: u8,
    pub outcome: Option<Outcome>,
}

/// How the times of a batch lie.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// Three entries have the same time.
    Ascending,
    Jittered,
    /// One time for all.
    Tied,
    /// Each by up to a year.
    Late,
    /// Together in one of a few places of the last year.
    Crowded,
    /// The newest first, and all before what there was.
    Descending,
}

pub const ORDERS: [Order; 6] =
    [Order::Ascending, Order::Jittered, Order::Tied, Order::Late, Order::Crowded, Order::Descending];

/// All entries of an organization, and the heads at which its log stood or will stand.
pub struct Log {
    pub organization: OrganizationId,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By number. A batch comes before it is committed.
    rows: Vec<Row>,
    heads: Vec<Seq>,
    /// How many of the heads are committed.
    committed: usize,
}

impl Log {
    pub fn of(organization: &str) -> Self {
        let organization = OrganizationId::parse(organization).expect("an id");
        Self { organization, inner: Mutex::default() }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic")
    }

    /// The rows numbered above `after`, in the order of their numbers.
    pub fn rows_after(&self, after: usize) -> Vec<Row> {
        self.inner().rows[after..].to_vec()
    }

    /// The place of the last head that is certainly committed.
    pub fn last_committed(&self) -> usize {
        self.inner().committed.saturating_sub(1)
    }

    /// The heads from that of `place` on.
    pub fn heads_from(&self, place: usize) -> Vec<Seq> {
        self.inner().heads[place..].to_vec()
    }

    pub fn len(&self) -> usize {
        self.inner().rows.len()
    }

    /// Writes a batch, with others who write.
    pub async fn write(&self, store: &Store, random: &mut StdRng, order: Order, count: usize) {
        self.write_rows(store, count, |head| batch(random, order, head, count)).await;
    }

    /// Writes the `count` entries that `rows` makes, whose numbers begin after the head that it is given.
    pub async fn write_rows(&self, store: &Store, count: usize, rows: impl FnOnce(Seq) -> Vec<Row>) {
        let (mut append, Head { seq: head, mut edge, .. }) = loop {
            match self.locked(store).await {
                Ok(locked) => break locked,
                // A counter on a slow machine holds SQLite's lock for longer than writers wait.
                Err(error) => tracing::debug!(error = error.with_causes(), "once more"),
            }
        };
        let entries: Vec<_> = {
            // Only one task at a time can hold the lock of the head, so no other task can assign numbers now.
            let mut inner = self.inner();
            assert_eq!(inner.rows.len() as Seq, head);
            let rows = rows(head);
            let entries = rows.iter().map(|row| (&self.organization, sealed(row))).collect();
            inner.rows.extend(rows);
            inner.heads.push(head + count as Seq);
            entries
        };
        append.insert(&entries).await.expect("inserted");
        entries.iter().for_each(|(_, sealed)| drop(edge.append(sealed.leaf)));
        append.move_heads(&[(&self.organization, Timestamp::MIN, &edge)]).await.expect("moved");
        append.commit().await.expect("committed");
        let mut inner = self.inner();
        let place = inner.heads.iter().position(|one| *one == head + count as Seq).expect("pushed above");
        inner.committed = inner.committed.max(place + 1);
    }
    async fn locked(&self, store: &Store) -> auditlog::error::Result<(Append, Head)> {
        let append = store.append().await?;
        let head = append.lock_head(&self.organization, "00", Timestamp::MIN, LOCK_TIMEOUT).await?;
        Ok((append, head.expect("it is locked")))
    }
}

/// The newest time of a log of so many entries, if all came in order.
fn clock(seq: Seq) -> i64 {
    BEGIN + seq / 3 * SECOND
}

fn batch(random: &mut StdRng, order: Order, head: Seq, count: usize) -> Vec<Row> {
    let now = clock(head);
    let spot = BEGIN + random.random_range(-3..=3) * 1_000 * SECOND;
    let row = |seq: Seq| {
        let time = match order {
            Order::Ascending => clock(seq),
            Order::Jittered => clock(seq) + random.random_range(-300..=300) * SECOND / 10,
            Order::Tied => now,
            Order::Late => now - random.random_range(0..=YEAR / SECOND) * SECOND,
            Order::Crowded => spot + random.random_range(0..=5),
            Order::Descending => BEGIN - seq * SECOND,
        };
        let resource = zipf(random, RESOURCES);
        let kind = match random.random_ratio(1, 50) {
            true => LAST_TYPE,
            false => (resource + u8::from(random.random_bool(0.1))) % TYPES,
        };
        let action = if random.random_ratio(1, 400) { RARE } else { zipf(random, ACTIONS) };
        let outcome = Outcome::ALL.get(usize::from(zipf(random, 6))).copied();
        Row { time, seq, user: zipf(random, USERS), resource, kind, action, outcome }
    };
    (head + 1..=head + count as Seq).map(row).collect()
}

/// A number below `count`; 0 is the most frequent.
pub fn zipf(random: &mut StdRng, count: u8) -> u8 {
    let drawn = (f64::from(count) + 1.0).powf(random.random::<f64>());
    (drawn as u8).clamp(1, count) - 1
}

/// Nobody verifies it.
fn sealed(row: &Row) -> HashedEntry {
    HashedEntry { entry: entry(row), salts: Salts::parse(&[0; 48]).expect("three"), leaf: Hash::of_nothing() }
}

/// The type of actor of the entry `seq`.
pub fn actor_type(seq: Seq) -> Option<ActorType> {
    ActorType::ALL.get((seq % 5) as usize).copied()
}

fn entry(row: &Row) -> Entry {
    let Row { time, seq, user, resource, kind, action, outcome } = *row;
    let content = Content {
        id: EntryId::parse(format!("log_{seq}")).expect("an id"),
        resource_type: ResourceType(i16::from(kind)),
        resource_id: Identifier::parse(format!("r{resource}")).expect("an id"),
        resource_name: None,
        action: Action(i16::from(action)),
        user_id: Identifier::parse(format!("u{user}")).expect("an id"),
        user_name: None,
        user_email: None,
        changes: Vec::new(),
        metadata: Metadata::default(),
        trace_id: None,
        outcome,
        actor_type: actor_type(seq),
    };
    let writer_key_id = "key".to_owned();
    let content = Arc::new(content);
    let (timestamp, recorded_at, erased) = (Timestamp::saturating(time), Timestamp::MIN, Erased::default());
    Entry { seq, timestamp, recorded_at, writer_key_id, erased, content }
}
