//! The check of one resource. The first pass reads its entries in the order of time, and finds the breaks. The second
//! one reads them in the order of their numbers, and finds the class of each break.

use std::collections::HashSet;

use super::continuity::{ContinuityFold, classify};
use super::limits::{MAX_ANSWER_BYTES, MAX_FOLDED_ENTRIES, size};
use super::model::{ContinuityBreak, ContinuityCounts, LifeActions, ShownValue};
use super::reader::next_size;
use super::totals::CheckTotals;
use crate::domain::{Entry, ResourceKey, Seq};
use crate::store::PieceSize;

/// The maximum number of breaks of a resource that are listed.
const MAX_LISTED: usize = 10_000;
/// The maximum number of bytes of these breaks.
const MAX_LISTED_BYTES: usize = MAX_ANSWER_BYTES;
/// The bytes of a break beside its values and paths: two entries, and the rest.
const BREAK_BYTES: usize = 1_024;

/// A resource, its breaks, and whether their classes are known.
pub(super) type ClassifiedBreaks = (ResourceKey, Vec<ContinuityBreak>, bool);

/// The approximate size of a break in memory and in a message, in bytes.
pub(super) fn bytes(found: &ContinuityBreak) -> usize {
    frame_bytes(found) + size(&found.written) + size(&found.found)
}

/// The bytes of a break without its values.
fn frame_bytes(found: &ContinuityBreak) -> usize {
    BREAK_BYTES + found.field.len() + found.earlier_field.len()
}

/// A resource whose entries are being read in the order of time.
pub(super) struct ResourceCheck {
    pub(super) resource: ResourceKey,
    /// `None` once the check was given up.
    fold: Option<ContinuityFold>,
    counts: ContinuityCounts,
    /// The number of entries, and their bytes.
    entries: u64,
    entry_bytes: usize,
    breaks: Vec<ContinuityBreak>,
    break_bytes: usize,
    /// The number of breaks, also of those that are not listed.
    found: u64,
    /// The numbers of the entries; `None` if there are too many.
    seqs: Option<Vec<Seq>>,
}

impl ResourceCheck {
    pub(super) fn new(resource: ResourceKey, actions: LifeActions) -> Self {
        Self {
            resource,
            fold: Some(ContinuityFold::new(actions)),
            counts: ContinuityCounts::default(),
            entries: 0,
            entry_bytes: 0,
            breaks: Vec::new(),
            break_bytes: 0,
            found: 0,
            seqs: Some(Vec::new()),
        }
    }

    /// Checks the next entry. Breaks whose entries both have numbers up to `after` are ignored.
    pub(super) fn push(&mut self, entry: &Entry, after: Seq) {
        self.entries += 1;
        self.entry_bytes = self.entry_bytes.saturating_add(entry.content.size());
        match &mut self.seqs {
            Some(seqs) if (seqs.len() as u64) < MAX_FOLDED_ENTRIES => seqs.push(entry.seq),
            _ => self.seqs = None,
        }
        let Some(fold) = &mut self.fold else { return };
        let Ok(breaks) = fold.push(entry) else {
            self.fold = None;
            return;
        };
        self.counts = fold.counts();
        for found in breaks.into_iter().filter(|found| found.later.seq.max(found.earlier.seq) > after) {
            self.list(found);
        }
    }

    /// Adds a break, with its values if there is room.
    fn list(&mut self, found: ContinuityBreak) {
        self.found += 1;
        let (frame, whole) = (self.break_bytes + frame_bytes(&found), self.break_bytes + bytes(&found));
        if self.breaks.len() >= MAX_LISTED || frame > MAX_LISTED_BYTES {
            return;
        }
        if whole <= MAX_LISTED_BYTES {
            self.break_bytes = whole;
            self.breaks.push(found);
        } else {
            self.break_bytes = frame;
            let (written, found_value) = (ShownValue::LeftOut, ShownValue::LeftOut);
            self.breaks.push(ContinuityBreak { written, found: found_value, ..found });
        }
    }

    /// An approximate upper limit of the bytes that the check holds.
    pub(super) fn bytes(&self) -> usize {
        self.entry_bytes.saturating_add(self.break_bytes)
    }

    /// Adds the numbers of this resource to `totals`, without counting the resource itself.
    pub(super) fn added_to(&self, totals: CheckTotals) -> CheckTotals {
        let CheckTotals { resources, entries, compared, not_comparable, breaks, order_breaks, unchecked } = totals;
        CheckTotals {
            resources,
            entries: entries + self.entries,
            compared: compared + self.counts.compared,
            not_comparable: not_comparable + self.counts.not_comparable,
            breaks: breaks + self.found,
            order_breaks,
            unchecked: unchecked + u64::from(self.fold.is_none()),
        }
    }

    /// Begins to read the entries again, in the order of their numbers, to find the class of each break. Errors: the
    /// breaks, if this is not needed or not possible.
    pub(super) fn classification(self, actions: LifeActions) -> Result<Classification, ClassifiedBreaks> {
        let Self { resource, fold, breaks, break_bytes, seqs, .. } = self;
        let is_in_order = fold.as_ref().is_some_and(ContinuityFold::is_in_recorded_order);
        match (fold, seqs) {
            _ if is_in_order || breaks.is_empty() => Err((resource, breaks, true)),
            (Some(_), Some(seqs)) => Ok(Classification::new(resource, breaks, break_bytes, seqs, actions)),
            (None, _) | (_, None) => Err((resource, breaks, false)),
        }
    }
}

/// A resource whose entries are read again, in the order of their numbers.
pub(super) struct Classification {
    resource: ResourceKey,
    breaks: Vec<ContinuityBreak>,
    break_bytes: usize,
    entry_bytes: usize,
    /// `None` once the check was given up.
    fold: Option<ContinuityFold>,
    /// The numbers of the entries that are left to read, from the highest to the lowest.
    seqs: Vec<Seq>,
    piece: PieceSize,
    /// The number of the later entry and the field of each break.
    listed: HashSet<(Seq, String)>,
    /// The members of `listed` that are breaks in this order, too.
    remaining: HashSet<(Seq, String)>,
}

impl Classification {
    fn new(
        resource: ResourceKey,
        breaks: Vec<ContinuityBreak>,
        break_bytes: usize,
        mut seqs: Vec<Seq>,
        actions: LifeActions,
    ) -> Self {
        seqs.sort_unstable_by_key(|seq| std::cmp::Reverse(*seq));
        let listed = breaks.iter().map(|found| (found.later.seq, found.field.clone())).collect();
        let (fold, remaining) = (Some(ContinuityFold::new(actions)), HashSet::new());
        Self { resource, breaks, break_bytes, entry_bytes: 0, fold, seqs, piece: PieceSize::FIRST, listed, remaining }
    }

    /// The numbers of the entries to read next; `None` if none are left.
    pub(super) fn next_seqs(&mut self) -> Option<Vec<Seq>> {
        let left = self.seqs.len().saturating_sub(self.piece.entries());
        let mut seqs = self.seqs.split_off(left);
        seqs.reverse();
        (self.fold.is_some() && !seqs.is_empty()).then_some(seqs)
    }

    /// Begins with the next entries.
    pub(super) fn begin_piece(&mut self, entries: &[Entry]) {
        self.piece = next_size(entries);
    }

    /// Checks the next entry.
    pub(super) fn push(&mut self, entry: &Entry) {
        self.entry_bytes = self.entry_bytes.saturating_add(entry.content.size());
        let Some(fold) = &mut self.fold else { return };
        let Ok(breaks) = fold.push(entry) else {
            self.fold = None;
            return;
        };
        let found = breaks.into_iter().map(|found| (found.later.seq, found.field));
        self.remaining.extend(found.filter(|found| self.listed.contains(found)));
    }

    /// An approximate upper limit of the bytes that the check holds.
    pub(super) fn bytes(&self) -> usize {
        self.entry_bytes.saturating_add(2 * self.break_bytes)
    }

    /// The breaks with their classes.
    pub(super) fn finish(self) -> ClassifiedBreaks {
        let Self { resource, mut breaks, fold, remaining, .. } = self;
        let is_classified = fold.is_some();
        if is_classified {
            classify(&mut breaks, &remaining);
        }
        (resource, breaks, is_classified)
    }
}
