//! Finds the first bad entry and what happened to it, as precisely as the evidence allows.

use std::collections::BTreeMap;

use super::disclosed::DisclosedEntry;
use super::{Kind, LogReplay, Suspect, TileCheck, Violation};
use crate::merkle::{Checkpoint, Hash, TILE_HEIGHT};
use crate::types::Seq;

/// How far from its place an entry is searched.
const NEAR: Seq = 16;

/// Everything known of a log after a replay.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// The signed checkpoint.
    pub checkpoint: &'a Checkpoint,
    /// The replay.
    pub replay: &'a LogReplay,
    /// Why the replay ended before the end of the checkpoint.
    pub ended: Option<Violation>,
    /// Whether unsigned entries follow, which may have missing erasure records.
    pub goes_on: bool,
    /// The comparison of the tiles.
    pub comparison: &'a TileCheck,
}

impl Evidence<'_> {
    /// The numbers of the entries to read again for [`first_bad`].
    pub fn suspects(&self) -> Vec<Seq> {
        let bad = self.replay.bad().iter().filter_map(|(violation, _)| Some(violation.entries?.0));
        let mut numbers: Vec<_> = self.comparison.suspects().iter().map(|suspect| suspect.seq).chain(bad).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    fn is_signed_for(&self) -> bool {
        let edge = self.replay.edge();
        (edge.size(), edge.root()) == (self.checkpoint.size, self.checkpoint.root)
    }

    /// Whether the entries do not make the signed tree, although no entry seems bad so far.
    pub fn is_unexplained(&self) -> bool {
        !self.is_signed_for() && self.of_replay().is_none() && self.comparison.suspects().is_empty()
    }

    /// The first violation of the replay itself.
    fn of_replay(&self) -> Option<(&Violation, Option<Hash>)> {
        let bad = self.replay.bad().first().map(|(violation, stored)| (violation, Some(*stored)));
        bad.or_else(|| self.ended.as_ref().map(|violation| (violation, None)))
    }

    /// The first entry that is not in the signed tree, with the hash in the tree, as far as tiles prove it.
    fn out_of_tree(&self) -> Option<Suspect> {
        let (size, root) = (self.checkpoint.size, self.checkpoint.root);
        let proven = self.comparison.proven(size, root);
        let suspects = self.comparison.suspects();
        let first = suspects.first().filter(|suspect| suspect.seq as u64 <= proven);
        first.copied().or_else(|| {
            let (block, is_exact) = self.comparison.differing_block(size, root)?;
            let within = |suspect: &&Suspect| (suspect.seq as u64 - 1) >> TILE_HEIGHT == block;
            suspects.iter().find(within).filter(|_| is_exact).copied()
        })
    }

    /// Adds a hint about earlier entries to `violation`. The hint comes from tiles that nothing proves.
    fn with_hint(&self, mut violation: Violation) -> Violation {
        let earlier = self.comparison.suspects().first().filter(|suspect| suspect.seq < start(&violation));
        if let Some(Suspect { seq, .. }) = earlier {
            violation.why.push_str(&format!("; tiles, which nothing proves, differ from the entries from {seq} on"));
        }
        violation
    }

    /// The range of entries that has the first entry outside of the signed tree, and how this is known.
    fn range(&self) -> Violation {
        let (size, root) = (self.checkpoint.size, self.checkpoint.root);
        let end = size as Seq;
        let among = |first: Seq, last: Seq, why: &str| Violation {
            kind: Kind::Changed,
            entries: Some((first, last)),
            why: format!("the entries are not those of the checkpoint, {why}"),
        };
        if let Some((block, _)) = self.comparison.differing_block(size, root) {
            let (first, last) = ((block << TILE_HEIGHT) as Seq + 1, ((block + 1) << TILE_HEIGHT) as Seq);
            return among(first, last.min(end), "and the tile that would tell which was edited, too");
        }
        let seen = self.replay.passed();
        match self.comparison.suspects().first() {
            Some(Suspect { seq, .. }) => {
                let why = format!("and the tiles are not, either; the first that differs from them is {seq}");
                among(seen + 1, end, &why)
            }
            None if self.comparison.first().is_some() => {
                among(seen + 1, end, "and tiles that would tell which are not there")
            }
            None => among(seen + 1, end, "and no tile differs from them"),
        }
    }
}

/// The first violation, if any. `entries` are those of [`Evidence::suspects`], read again.
pub fn first_bad(evidence: &Evidence<'_>, entries: &BTreeMap<Seq, DisclosedEntry>) -> Option<Violation> {
    let Evidence { checkpoint, replay, ended: _, goes_on, comparison } = evidence;
    let last = checkpoint.size as Seq;
    let own = evidence.of_replay().map(|(violation, stored)| explained(evidence, entries, violation, stored));
    if evidence.is_signed_for() {
        let fork = replay.fork().map(|entries| {
            let size = checkpoint.size;
            let why = format!(
                "it is not as when the log was verified before; the checkpoint of {size} entries is of another history"
            );
            Violation { kind: Kind::Forked, entries: Some(entries), why }
        });
        let tiles = || {
            comparison.first().map(|why| Violation::of_log(Kind::Tiles, format!("all entries are right, and {why}")))
        };
        // A violation after the checkpoint's end does not explain a missing record within it.
        let (after, own) = if own.as_ref().is_some_and(|own| start(own) > last) { (own, None) } else { (None, own) };
        return fork.or_else(|| with_unrecorded(own, replay.unrecorded(*goes_on))).or(after).or_else(tiles);
    }
    if let Some(suspect) = evidence.out_of_tree() {
        let found = of_suspect(evidence, entries, suspect);
        return with_unrecorded(first_of(Some(found), own), replay.unrecorded(false));
    }
    let unseen = replay.fork().map(|entries| {
        let why = "it is not as when the log was verified before".to_owned();
        Violation { kind: Kind::Changed, entries: Some(entries), why }
    });
    match (unseen, own) {
        (Some(unseen), Some(own)) if end(&unseen) < start(&own) => Some(unseen),
        (_, Some(own)) => Some(evidence.with_hint(own)),
        (unseen, None) => unseen.or_else(|| Some(evidence.range())),
    }
}

/// Returns `found`, or else `unrecorded`: values that are gone without a record. If the bad entry in `found` comes
/// after these values, it may have been their record; `found` then says so.
fn with_unrecorded(found: Option<Violation>, unrecorded: Option<Violation>) -> Option<Violation> {
    match (found, unrecorded) {
        (Some(mut found), Some(unrecorded)) => {
            let seq = start(&unrecorded);
            if seq < start(&found) {
                found.why.push_str(&format!(
                    "; what records that values of entry {seq} were erased has not come, and may be among what follows"
                ));
            }
            Some(found)
        }
        (found, unrecorded) => found.or(unrecorded),
    }
}

/// The violation about the earlier entry.
fn first_of(one: Option<Violation>, other: Option<Violation>) -> Option<Violation> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if start(&other) < start(&one) { other } else { one }),
        (one, other) => one.or(other),
    }
}

fn end(violation: &Violation) -> Seq {
    violation.entries.map_or(0, |(_, last)| last)
}

fn start(violation: &Violation) -> Seq {
    violation.entries.map_or(0, |(first, _)| first)
}

/// Adds to a `violation` of the replay where its entry comes from, if this can be known.
fn explained(
    evidence: &Evidence<'_>,
    entries: &BTreeMap<Seq, DisclosedEntry>,
    violation: &Violation,
    stored: Option<Hash>,
) -> Violation {
    let known = (violation.entries, stored);
    let (Some((seq, _)), Some(stored)) = known else { return violation.clone() };
    if violation.kind != Kind::Changed {
        return violation.clone();
    }
    let Some(entry) = entries.get(&seq) else { return violation.clone() };
    moved(evidence, entries, entry, seq, stored).unwrap_or_else(|| violation.clone())
}

/// The violation for an entry that is not in the tree.
fn of_suspect(evidence: &Evidence<'_>, entries: &BTreeMap<Seq, DisclosedEntry>, suspect: Suspect) -> Violation {
    let Suspect { seq, in_tree } = suspect;
    let changed = |why: &str| Violation::of_entry(Kind::Changed, seq, why);
    let Some(entry) = entries.get(&seq) else {
        return changed("its leaf is not the one that was signed for");
    };
    if entry.leaf_as(evidence.replay.log_id(), seq) == Some(in_tree) {
        return changed("it says what was signed for, but the hash that is stored for it is another one");
    }
    let moved = moved(evidence, entries, entry, seq, in_tree);
    let stored = match entry.leaf_as(evidence.replay.log_id(), seq) == Some(entry.leaf) {
        true => "its leaf is not the one that was signed for, though the hash stored for it is that of what it says",
        false => "neither what it says nor the hash stored for it is what was signed for",
    };
    moved.unwrap_or_else(|| changed(stored))
}

/// Checks whether entries have moved. `entry` is the entry now at `seq`; `due` is the hash that should be there.
fn moved(
    evidence: &Evidence<'_>,
    entries: &BTreeMap<Seq, DisclosedEntry>,
    entry: &DisclosedEntry,
    seq: Seq,
    due: Hash,
) -> Option<Violation> {
    let log_id = evidence.replay.log_id();
    let in_tree = |seq: Seq| evidence.comparison.suspects().iter().find(|one| one.seq == seq).map(|one| one.in_tree);
    let stored = |seq: Seq| entries.get(&seq).map(|entry| entry.leaf);
    let is_due = |entry: &DisclosedEntry, at: Seq| {
        let leaf = entry.leaf_as(log_id, at);
        leaf.is_some() && (leaf == in_tree(at) || leaf == stored(at) || leaf == Some(entry.leaf))
    };
    // `origin` is the former number of the entry now at `seq`. `own` is the present number of the entry that belongs at
    // `seq`.
    let near = (seq - NEAR..=seq + NEAR).chain(entries.keys().copied()).filter(|at| *at >= 1 && *at != seq);
    let origin = { near }.find(|at| is_due(entry, *at));
    let own = entries.iter().find(|(at, other)| {
        let leaf = other.leaf_as(log_id, seq);
        **at != seq && leaf.is_some() && (leaf == Some(due) || leaf == Some(other.leaf))
    });
    match (origin, own.map(|(at, _)| *at)) {
        (Some(origin), Some(own)) if origin == own => {
            Some(Violation::of_entry(Kind::Reordered, seq, format!("it has exchanged places with {origin}")))
        }
        (Some(origin), None) if origin > seq => Some(Violation {
            kind: Kind::Missing,
            entries: Some((seq, seq)),
            why: format!("it is not there; what was {origin} has its number"),
        }),
        (None, Some(own)) if own > seq => {
            Some(Violation::of_entry(Kind::Added, seq, format!("it was not there; what was {seq} has become {own}")))
        }
        (Some(origin), _) => Some(Violation::of_entry(Kind::Reordered, seq, format!("it was {origin}"))),
        (None, Some(own)) => Some(Violation::of_entry(Kind::Reordered, seq, format!("it has become {own}"))),
        (None, None) => None,
    }
}
