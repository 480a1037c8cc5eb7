//! One step of folding: entries that are not in the counts yet, into the counts.

use std::collections::{BTreeMap, HashMap};

use super::ladder::{Counted, DISTANCE, Ladder};
use crate::domain::{Counts, Key, OrganizationId, Position, PositionRange, Seq};
use crate::error::Result;
use crate::store::{Fold, Mark, Rung, Store, Unfolded, Whole};

/// Entries of a step: many share what a step costs, few keep a transaction short.
pub(super) const STEP: Seq = 10_000;

/// Of so many entries of a key without marks, one makes us look whether it has enough for them.
const LOTTERY: u64 = 1_024;

/// The result of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Counts reach up to this number now.
    Folded(Seq),
    /// Another folder is at work.
    Taken,
}

/// Folds at most `most` entries of `organization`, whose counts reach up to `folded` and whose head is at least
/// `head`.
pub(super) async fn step(
    store: &Store,
    organization: &OrganizationId,
    folded: Seq,
    head: Seq,
    most: Seq,
) -> Result<Step> {
    let to = head.min(folded + most);
    let entries = store.unfolded(organization, folded, to).await?;
    let rows = by_key(entries);
    let Some(fold) = store.fold(organization, folded).await? else { return Ok(Step::Taken) };
    let keys: Vec<&Key> = rows.keys().collect();
    let wholes = fold.wholes(&keys).await?;
    let mut marked: BTreeMap<&Key, Work> = BTreeMap::new();
    for (key, whole) in &wholes {
        if let Some((key, rows)) = rows.get_key_value(key) {
            marked.insert(key, Work::of(whole.clone(), rows.clone()));
        }
    }
    for (key, rows) in newly_marked(&fold, &rows, &wholes, folded, to).await? {
        marked.insert(key, Work::of(Whole::default(), rows));
    }
    load(&fold, &mut marked).await?;
    for (key, work) in &mut marked {
        work.ladder.fold(&work.rows)?;
        for gap in work.ladder.gaps(&work.blocks) {
            work.ladder.split(gap, &fold.entries(key, gap, to).await?)?;
        }
    }
    let (mut changed_wholes, mut changed_marks) = (Vec::new(), Vec::new());
    for (key, work) in marked {
        changed_marks.push((key, work.changes()));
        let Ladder { whole: counts, newest, tail, .. } = work.ladder;
        changed_wholes.push((key, Whole { counts, newest, tail }));
    }
    fold.save(changed_wholes, changed_marks).await?;
    fold.commit(to).await?;
    Ok(Step::Folded(to))
}

/// A key that has marks, and what the step adds to it.
struct Work {
    ladder: Ladder,
    rows: Vec<Counted>,
    /// The blocks that are loaded.
    blocks: Vec<PositionRange>,
    /// The marks as they were loaded.
    before: BTreeMap<Rung, Counts>,
}

impl Work {
    fn of(Whole { counts, newest, tail }: Whole, rows: Vec<Counted>) -> Self {
        let ladder = Ladder { whole: counts, newest, tail, ..Ladder::default() };
        Self { ladder, rows, blocks: Vec::new(), before: BTreeMap::new() }
    }

    /// Whether its rows do more than to lengthen its tail.
    fn needs_marks(&self) -> bool {
        !self.ladder.touched(&self.rows).is_empty()
    }

    fn rungs(&self) -> BTreeMap<Rung, Counts> {
        let level = |level: i16, marks: &BTreeMap<Position, Counts>| {
            marks.iter().map(move |(position, counts)| ((level, *position), counts.clone())).collect::<Vec<_>>()
        };
        level(0, &self.ladder.supers).into_iter().chain(level(1, &self.ladder.inner)).collect()
    }

    /// The marks that are not as they were loaded; `None` for those that are gone.
    fn changes(&self) -> BTreeMap<Rung, Option<Counts>> {
        let after = self.rungs();
        let gone = self.before.keys().filter(|rung| !after.contains_key(rung)).map(|rung| (*rung, None));
        let gone: Vec<_> = gone.collect();
        let changed = after.into_iter().filter(|(rung, counts)| self.before.get(rung) != Some(counts));
        changed.map(|(rung, counts)| (rung, Some(counts))).chain(gone).collect()
    }
}

/// Loads the marks that rows change: first all super marks, which tell the blocks, then those of the blocks.
async fn load(fold: &Fold, marked: &mut BTreeMap<&Key, Work>) -> Result<()> {
    let mut works: Vec<_> = marked.iter_mut().filter(|(_, work)| work.needs_marks()).collect();
    let all: Vec<(&Key, PositionRange)> = works.iter().map(|(key, _)| (**key, PositionRange::ALL)).collect();
    for (place, Mark { position, counts }) in fold.marks(&all, 0).await? {
        if let Some((_, work)) = works.get_mut(place) {
            work.ladder.supers.insert(position, counts);
        }
    }
    let mut spans = Vec::new();
    for (place, (key, work)) in works.iter_mut().enumerate() {
        work.blocks = work.ladder.touched(&work.rows);
        spans.extend(work.blocks.iter().map(|block| (place, (**key, *block))));
    }
    let (owners, spans): (Vec<_>, Vec<_>) = spans.into_iter().unzip();
    for (span, Mark { position, counts }) in fold.marks(&spans, 1).await? {
        if let Some((_, work)) = owners.get(span).and_then(|place| works.get_mut(*place)) {
            work.ladder.inner.insert(position, counts);
        }
    }
    for (_, work) in works {
        work.before = work.rungs();
    }
    Ok(())
}

/// The entries of each key, in order.
fn by_key(entries: Vec<Unfolded>) -> HashMap<Key, Vec<Counted>> {
    let mut rows: HashMap<Key, Vec<Counted>> = HashMap::new();
    for Unfolded { position, recorded_at: _, leaf, user, resource } in entries {
        for key in [Key::Organization, Key::User(user), Key::Resource(leaf.0, resource)] {
            rows.entry(key).or_default().push((position, leaf));
        }
    }
    rows.values_mut().for_each(|rows| rows.sort_unstable());
    rows
}

/// The keys that get marks in this step, with all of their entries. The organization has them from its first step
/// on, when all its entries are those of the step.
async fn newly_marked<'r>(
    fold: &Fold,
    rows: &'r HashMap<Key, Vec<Counted>>,
    wholes: &HashMap<Key, Whole>,
    folded: Seq,
    to: Seq,
) -> Result<Vec<(&'r Key, Vec<Counted>)>> {
    let mut newly = Vec::new();
    let mut drawn = Vec::new();
    for (key, rows) in rows.iter().filter(|(key, _)| !wholes.contains_key(key)) {
        match folded == 0 && (*key == Key::Organization || rows.len() as i64 >= DISTANCE) {
            true => newly.push((key, rows.clone())),
            false if *key == Key::Organization || rows.iter().any(|(position, _)| is_drawn(position.seq)) => {
                drawn.push(key);
            }
            false => {}
        }
    }
    for key in fold.with_many(&drawn, DISTANCE, to).await? {
        newly.push((key, fold.entries(key, PositionRange::ALL, to).await?));
    }
    Ok(newly)
}

/// One number of [`LOTTERY`], without a pattern that writers who take turns could fall into.
fn is_drawn(seq: Seq) -> bool {
    // Multiplied by the golden ratio of 2^64, the high bits are well mixed.
    (seq.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).is_multiple_of(LOTTERY)
}
