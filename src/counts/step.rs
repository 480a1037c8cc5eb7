//! One step: adds uncounted entries to the running counts and the index of names, in one transaction.

use std::collections::{BTreeMap, HashMap};

use super::index::{CountIndex, CountedEntry, DISTANCE};
use super::names;
use crate::domain::{COUNT_DISTANCE, CountKey, Counts, OrganizationId, Position, PositionRange, Seq};
use crate::error::Result;
use crate::store::{CountTransaction, KeyTotal, LevelPosition, RunningCount, Store, UncountedEntry};

/// The number of entries of a step: many share its costs, few keep its transaction short.
pub(super) const STEP: Seq = 10_000;

/// One in so many entries of a key without running counts starts a check whether the key has enough entries for them. A
/// check reads at most as many entries, so on average it reads one for each new entry.
const LOTTERY: u64 = COUNT_DISTANCE as u64;

/// The result of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountStep {
    /// All entries up to this number are counted now.
    Counted(Seq),
    /// Another process counts this organization.
    Taken,
}

/// Counts at most `most` entries of `organization` above the number `counted`. The head is `head` or higher.
pub(super) async fn step(
    store: &Store,
    organization: &OrganizationId,
    counted: Seq,
    head: Seq,
    most: Seq,
) -> Result<CountStep> {
    let to = head.min(counted + most);
    let entries = store.uncounted(organization, counted, to).await?;
    let (rows, mut names) = (by_key(&entries), names::names_of(&entries));
    let Some(transaction) = store.begin_counting(organization, counted).await? else { return Ok(CountStep::Taken) };
    let keys: Vec<&CountKey> = rows.keys().collect();
    let totals = transaction.totals(&keys).await?;
    let mut indexed: BTreeMap<&CountKey, Work> = BTreeMap::new();
    for (key, total) in &totals {
        if let Some((key, rows)) = rows.get_key_value(key) {
            indexed.insert(key, Work::of(total.clone(), rows.clone()));
        }
    }
    for (key, rows) in newly_counted(&transaction, &rows, &totals, counted, to).await? {
        indexed.insert(key, Work::of(KeyTotal::default(), rows));
    }
    load(&transaction, &mut indexed).await?;
    for (key, work) in &mut indexed {
        work.index.add(&work.rows)?;
        for gap in work.index.gaps(&work.blocks) {
            work.index.split(gap, &transaction.entries(key, gap, to).await?)?;
        }
    }
    let (mut changed_totals, mut changed_counts) = (Vec::new(), Vec::new());
    for (key, work) in indexed {
        changed_counts.push((key, work.changes()));
        let CountIndex { total: counts, newest, tail, .. } = work.index;
        changed_totals.push((key, KeyTotal { counts, newest, tail }));
    }
    transaction.save(changed_totals, changed_counts).await?;
    // The entries were read before the lock was taken.
    names::subtract(&mut names, &entries, &transaction.erased(to).await?);
    transaction.add_names(names).await?;
    transaction.commit(to).await?;
    Ok(CountStep::Counted(to))
}

/// A key with running counts, and the entries that the step adds to it.
struct Work {
    index: CountIndex,
    rows: Vec<CountedEntry>,
    /// The blocks that are loaded.
    blocks: Vec<PositionRange>,
    /// The running counts as they were loaded.
    before: BTreeMap<LevelPosition, Counts>,
}

impl Work {
    fn of(KeyTotal { counts, newest, tail }: KeyTotal, rows: Vec<CountedEntry>) -> Self {
        let index = CountIndex { total: counts, newest, tail, ..CountIndex::default() };
        Self { index, rows, blocks: Vec::new(), before: BTreeMap::new() }
    }

    /// Whether its rows change running counts, and not only the tail after the last one.
    fn needs_counts(&self) -> bool {
        !self.index.touched(&self.rows).is_empty()
    }

    fn running_counts(&self) -> BTreeMap<LevelPosition, Counts> {
        let level = |level: i16, counts: &BTreeMap<Position, Counts>| {
            counts.iter().map(move |(position, counts)| ((level, *position), counts.clone())).collect::<Vec<_>>()
        };
        level(0, &self.index.level0).into_iter().chain(level(1, &self.index.level1)).collect()
    }

    /// The running counts that differ from those loaded; `None` for a deleted one.
    fn changes(&self) -> BTreeMap<LevelPosition, Option<Counts>> {
        let after = self.running_counts();
        let gone = self.before.keys().filter(|key| !after.contains_key(key)).map(|key| (*key, None));
        let gone: Vec<_> = gone.collect();
        let changed = after.into_iter().filter(|(key, counts)| self.before.get(key) != Some(counts));
        changed.map(|(key, counts)| (key, Some(counts))).chain(gone).collect()
    }
}

/// Loads the running counts that rows change: first all of level 0, which show the blocks, then level 1 of these
/// blocks.
async fn load(transaction: &CountTransaction, indexed: &mut BTreeMap<&CountKey, Work>) -> Result<()> {
    let mut works: Vec<_> = indexed.iter_mut().filter(|(_, work)| work.needs_counts()).collect();
    let all: Vec<(&CountKey, PositionRange)> = works.iter().map(|(key, _)| (**key, PositionRange::ALL)).collect();
    for (place, RunningCount { position, counts }) in transaction.running_counts(&all, 0).await? {
        if let Some((_, work)) = works.get_mut(place) {
            work.index.level0.insert(position, counts);
        }
    }
    let mut spans = Vec::new();
    for (place, (key, work)) in works.iter_mut().enumerate() {
        work.blocks = work.index.touched(&work.rows);
        spans.extend(work.blocks.iter().map(|block| (place, (**key, *block))));
    }
    let (owners, spans): (Vec<_>, Vec<_>) = spans.into_iter().unzip();
    for (span, RunningCount { position, counts }) in transaction.running_counts(&spans, 1).await? {
        if let Some((_, work)) = owners.get(span).and_then(|place| works.get_mut(*place)) {
            work.index.level1.insert(position, counts);
        }
    }
    for (_, work) in works {
        work.before = work.running_counts();
    }
    Ok(())
}

/// The entries of each key, in order.
fn by_key(entries: &[UncountedEntry]) -> HashMap<CountKey, Vec<CountedEntry>> {
    let mut rows: HashMap<CountKey, Vec<CountedEntry>> = HashMap::new();
    for UncountedEntry { position, recorded_at: _, kind, user, resource, names: _ } in entries {
        let resource = CountKey::Resource(kind.resource_type, resource.clone());
        for key in [CountKey::Organization, CountKey::User(user.clone()), resource] {
            rows.entry(key).or_default().push((*position, *kind));
        }
    }
    rows.values_mut().for_each(|rows| rows.sort_unstable());
    rows
}

/// The keys that get running counts in this step, with all of their entries. The organization gets them in its first
/// step, whose entries are all that it has.
async fn newly_counted<'r>(
    transaction: &CountTransaction,
    rows: &'r HashMap<CountKey, Vec<CountedEntry>>,
    totals: &HashMap<CountKey, KeyTotal>,
    counted: Seq,
    to: Seq,
) -> Result<Vec<(&'r CountKey, Vec<CountedEntry>)>> {
    let mut newly = Vec::new();
    let mut drawn = Vec::new();
    for (key, rows) in rows.iter().filter(|(key, _)| !totals.contains_key(key)) {
        match counted == 0 && (*key == CountKey::Organization || rows.len() as i64 >= DISTANCE) {
            true => newly.push((key, rows.clone())),
            false if *key == CountKey::Organization || rows.iter().any(|(position, _)| is_drawn(position.seq)) => {
                drawn.push(key);
            }
            false => {}
        }
    }
    for key in transaction.with_many(&drawn, DISTANCE, to).await? {
        newly.push((key, transaction.entries(key, PositionRange::ALL, to).await?));
    }
    Ok(newly)
}

/// True for one number in [`LOTTERY`], without a pattern that writers who take turns could fall into.
fn is_drawn(seq: Seq) -> bool {
    // Multiplied by the golden ratio of 2^64, the high bits are well mixed.
    (seq.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).is_multiple_of(LOTTERY)
}
