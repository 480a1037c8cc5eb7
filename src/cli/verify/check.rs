//! One verification: entries and tiles from a service through the verifier, up to a signed checkpoint.

use std::collections::BTreeMap;

use anyhow::Context;
use futures_util::{StreamExt, stream};
use indicatif::{HumanCount, ProgressBar};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic_types::StatusExt;

use super::disclosed::disclosed_entry;
use super::source::{Source, checkpoint_backoff, claimed_size, hashes, is_damaged};
use super::state::State;
use crate::error::Error;
use crate::grpc::pb;
use crate::retry::Backoff;
use auditlog_verify::log::{
    DisclosedEntry, ErasedGroups, Evidence, Kind, LogReplay, Removal, Row, TileCheck, Trust, Untrusted, VerifiedPrefix,
    Violation, first_bad,
};
use auditlog_verify::merkle::{Checkpoint, CompactRange, Hash, verify_consistency, verify_inclusion};

/// Rows of hashes that wait for their tiles, and tiles that are asked for at once.
const ROWS: usize = 16;
const TILES: usize = 4;
/// Of entries that are not signed, no more are counted.
const MANY: u64 = 10_000;

/// What a verification found.
pub(super) struct Checked {
    /// What is wrong; `None` if nothing is.
    pub(super) violation: Option<Violation>,
    /// The id of the entry that is wrong.
    pub(super) id: Option<String>,
    /// The entries that were read.
    pub(super) read: u64,
    /// The groups that are gone and have a record.
    pub(super) erased: ErasedGroups,
    /// The entries after the checkpoint, which are not signed.
    pub(super) unsigned: Option<(u64, u64)>,
    /// Whether groups are gone whose records may be among these.
    pub(super) lacks_records: bool,
    /// What to remember; `None` without a signed checkpoint.
    pub(super) state: Option<State>,
}

impl Checked {
    fn early(violation: Violation) -> Self {
        let (erased, unsigned, lacks_records, state) = (ErasedGroups::default(), None, false, None);
        Self { violation: Some(violation), id: None, read: 0, erased, unsigned, lacks_records, state }
    }
}

/// How far a walk has come.
struct Walked {
    /// The checkpoint that was reached.
    note: String,
    checkpoint: Checkpoint,
    /// Why it ended before, or what is wrong after it.
    ended: Option<Violation>,
    /// The entries after it, which are not signed.
    unsigned: Option<(u64, u64)>,
}

/// What follows a checkpoint.
struct Rest {
    /// The last entry, or so many after the checkpoint that no more were looked at.
    last: u64,
    /// One that the service has not written so.
    bad: Option<Violation>,
}

pub(super) struct Check<'a> {
    pub(super) source: Source,
    pub(super) trust: Trust,
    /// What is remembered.
    pub(super) state: Option<&'a State>,
    /// Only what is new since.
    pub(super) since_last: bool,
    pub(super) progress: ProgressBar,
    /// Called with each group that was properly erased.
    pub(super) on_removal: &'a dyn Fn(Removal),
}

impl Check<'_> {
    pub(super) async fn run(self) -> anyhow::Result<Checked> {
        let note = match self.source.checkpoint().await? {
            Some(note) => note,
            None => return Ok(Checked::early(self.without_checkpoint()?)),
        };
        let checkpoint = match self.trust.open(&note) {
            Ok(checkpoint) => checkpoint,
            Err(why) => return Ok(Checked::early(self.untrusted(&note, &why))),
        };
        if let Some(violation) = self.against_remembered(&checkpoint) {
            return Ok(Checked::early(violation));
        }
        let is_consistent = self.is_consistent(&checkpoint).await?;
        let seen = self.state.map(|state| state.remembered.edge.clone());
        let known = match self.state {
            Some(state) if self.since_last => state.remembered.clone(),
            _ => VerifiedPrefix::nothing(),
        };
        let begun_at = known.edge.size();
        let comparison = TileCheck::new(&known.edge, seen.as_ref());
        let mut tiles = Tiles::start(self.source.clone(), comparison);
        let mut walk = LogReplay::new(&self.trust, &self.source.organization, known, seen);
        let Walked { note, checkpoint, ended, unsigned } = self.walk(note, checkpoint, &mut walk, &mut tiles).await?;
        tiles.send(walk.last_rows()).await;
        let comparison = tiles.finish().await?;
        let goes_on = unsigned.is_some();
        let evidence = Evidence { checkpoint: &checkpoint, walk: &walk, ended, goes_on, comparison: &comparison };
        let again = self.again(&evidence).await?;
        let inconsistent = || {
            let why = "all entries are right, and the proof that they extend what was seen before is not".to_owned();
            Violation::of_log(Kind::Tiles, why)
        };
        let violation = match !is_consistent && evidence.is_unexplained() && self.proves(&checkpoint, begun_at).await? {
            true => Some(forked(begun_at)),
            false => first_bad(&evidence, &again).or_else(|| (!is_consistent).then(inconsistent)),
        };
        let named = violation.as_ref().and_then(|violation| violation.entries).filter(|(first, last)| first == last);
        let id = named.and_then(|(seq, _)| again.get(&seq)).map(|told| told.id.clone());
        let trust = self.trust.after(&note, walk.introduced());
        let (read, erased) = (walk.edge().size() - begun_at, walk.erased());
        let state = Some(State { trust, note, checkpoint, remembered: walk.remembered() });
        let lacks_records = walk.lacks_records();
        Ok(Checked { violation, id, read, erased, unsigned, lacks_records, state })
    }

    /// That a checkpoint was there before. Errors: none was.
    fn without_checkpoint(&self) -> anyhow::Result<Violation> {
        let seen = self.state.ok_or(Error::CheckpointNotFound)?.checkpoint.size;
        Ok(Violation::of_log(
            Kind::RolledBack,
            format!("there is no checkpoint, and there was one of {seen} entries before"),
        ))
    }

    /// What is wrong with `note`, which is not to be believed because of `why`.
    fn untrusted(&self, note: &str, why: &Untrusted) -> Violation {
        let seen = self.state.map(|state| state.checkpoint.size);
        match (why, claimed_size(note), seen) {
            (Untrusted::Stranger(..), Ok(size), Some(seen)) if size < seen => {
                let mut violation = rolled_back(size, seen);
                violation.why.push_str(&format!("; and {why}"));
                violation
            }
            _ => Violation::of_log(Kind::Unsigned, why.to_string()),
        }
    }

    /// Whether `checkpoint` can follow the remembered one at all.
    fn against_remembered(&self, checkpoint: &Checkpoint) -> Option<Violation> {
        let seen = &self.state?.checkpoint;
        if checkpoint.size < seen.size {
            return Some(rolled_back(checkpoint.size, seen.size));
        }
        let is_other = checkpoint.size == seen.size && checkpoint.root != seen.root;
        let why = || format!("the checkpoint of {} entries has another root than before", seen.size);
        is_other.then(|| Violation::of_log(Kind::Forked, why()))
    }

    /// Whether the service proves that `checkpoint` extends the remembered one.
    async fn is_consistent(&self, checkpoint: &Checkpoint) -> anyhow::Result<bool> {
        let Some(Checkpoint { origin: _, size, root }) = self.state.map(|state| &state.checkpoint) else {
            return Ok(true);
        };
        let Some(proof) = self.source.consistency(*size, checkpoint.size).await? else { return Ok(false) };
        Ok(verify_consistency(*size, *root, &proof, checkpoint.size, checkpoint.root).is_ok())
    }

    /// Whether the service proves that the entry after the first `begun_at`, as it is now, is in the tree of
    /// `checkpoint`. The path takes in all of the tree, so that what was read is as it was signed.
    async fn proves(&self, checkpoint: &Checkpoint, begun_at: u64) -> anyhow::Result<bool> {
        if begun_at == 0 || begun_at == checkpoint.size {
            return Ok(false);
        }
        let told = self.source.entry(begun_at as i64 + 1).await?.and_then(|entry| disclosed_entry(entry).ok());
        let Some(told) = told else { return Ok(false) };
        let Some(data) = told.leaf_data(self.trust.log_id()) else { return Ok(false) };
        let proof = self.source.inclusion(&told.id, checkpoint.size).await;
        // A service that cannot make it proves nothing.
        let proof = proof.ok().flatten().and_then(|proof| hashes(&proof.hashes));
        let proves = |proof: Vec<Hash>| verify_inclusion(&data, begun_at, &proof, checkpoint.size, checkpoint.root);
        Ok(proof.is_some_and(|proof| proves(proof).is_ok()))
    }

    /// Walks up to `checkpoint`; and on to a later one, if there are entries after it, or groups are missing whose records
    /// these may be.
    async fn walk(
        &self,
        mut note: String,
        mut checkpoint: Checkpoint,
        walk: &mut LogReplay,
        tiles: &mut Tiles,
    ) -> anyhow::Result<Walked> {
        // What is there after the first one, and the looks for its checkpoint.
        let mut rest = None;
        loop {
            let ended = self.walk_to(checkpoint.size, walk, tiles).await?;
            let edge: &CompactRange = walk.edge();
            if ended.is_some() || edge.root() != checkpoint.root {
                return Ok(Walked { note, checkpoint, ended, unsigned: None });
            }
            let (Rest { last, bad }, mut looks) = match rest.take() {
                Some(known) => known,
                None => (self.rest(checkpoint.size).await?, checkpoint_backoff()),
            };
            if (last > checkpoint.size || walk.lacks_records())
                && let Some(later) = self.later(&checkpoint, &mut looks).await?
            {
                (note, checkpoint) = later;
                rest = Some((Rest { last, bad }, looks));
                continue;
            }
            let unsigned = (last > checkpoint.size).then_some((checkpoint.size + 1, last));
            return Ok(Walked { note, checkpoint, ended: bad, unsigned });
        }
    }

    /// What is there after the first `size` entries.
    async fn rest(&self, size: u64) -> anyhow::Result<Rest> {
        let mut retry = self.source.retry();
        let mut last = size;
        loop {
            let read = async {
                let Some(mut stream) = self.source.stream(last as i64, 0).await? else { return Ok(()) };
                while let Some(piece) = stream.message().await? {
                    let seq = piece.entries.last().and_then(|entry| u64::try_from(entry.sequence).ok());
                    last = seq.map_or(last, |seq| seq.max(last));
                    if last - size >= MANY {
                        break;
                    }
                }
                Ok(())
            };
            match read.await {
                Ok(()) => return Ok(Rest { last, bad: None }),
                Err(status) if is_damaged(&status) => {
                    return Ok(Rest { last, bad: Some(bad_entry(&status, last + 1)) });
                }
                Err(status) => retry.wait(status).await.map_err(|status| self.source.explained(&status))?,
            }
        }
    }

    /// A checkpoint that has more than `checkpoint`, if one comes before `looks` end.
    async fn later(
        &self,
        checkpoint: &Checkpoint,
        looks: &mut Backoff,
    ) -> anyhow::Result<Option<(String, Checkpoint)>> {
        self.progress.set_message("waiting for the next checkpoint");
        loop {
            // Looked at once more after the end, since the service may have been away until then.
            let pause = looks.next();
            let note = self.source.checkpoint().await?;
            let later = note.and_then(|note| Some((self.trust.open(&note).ok()?, note)));
            if let Some((opened, note)) = later.filter(|(later, _)| later.size > checkpoint.size) {
                return Ok(Some((note, opened)));
            }
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Ok(None),
            }
        }
    }

    /// Takes entries up to the number `size`.
    async fn walk_to(&self, size: u64, walk: &mut LogReplay, tiles: &mut Tiles) -> anyhow::Result<Option<Violation>> {
        self.progress.set_length(size);
        let mut retry = self.source.retry();
        while walk.edge().size() < size {
            let before = walk.next();
            match self.stream(size, walk, tiles).await {
                Ok(Some(violation)) => return Ok(Some(violation)),
                Ok(None) => return Ok((walk.edge().size() < size).then(|| walk.truncated(size))),
                // All entries before it have come.
                Err(status) if is_damaged(&status) => return Ok(Some(walk.damaged(status.message()))),
                Err(status) => {
                    if walk.next() > before {
                        retry.reset();
                    }
                    let told = |status| {
                        let at = walk.next() - 1;
                        self.source.explained(&status).context(format!("the entries after {at} cannot be read"))
                    };
                    retry.wait(status).await.map_err(told)?;
                }
            }
        }
        Ok(None)
    }

    /// The same in one stream. Errors: it broke.
    async fn stream(
        &self,
        size: u64,
        walk: &mut LogReplay,
        tiles: &mut Tiles,
    ) -> Result<Option<Violation>, tonic::Status> {
        let after = walk.next() - 1;
        // Numbers are signed, so that no size is beyond them.
        let Some(mut stream) = self.source.stream(after, size as i64 - after).await? else { return Ok(None) };
        while let Some(piece) = stream.message().await? {
            for entry in piece.entries {
                if let Err(violation) = self.take(entry, walk) {
                    return Ok(Some(violation));
                }
            }
            tiles.send(walk.rows()).await;
            let done = walk.edge().size();
            self.progress.set_position(done);
            self.progress.set_message(format!("{} entries", HumanCount(done)));
        }
        Ok(None)
    }

    fn take(&self, entry: pb::LogEntry, walk: &mut LogReplay) -> Result<(), Violation> {
        let (seq, leaf) = (entry.sequence, Hash::of_bytes(&entry.leaf_hash).unwrap_or_else(|_| Hash::of_nothing()));
        match disclosed_entry(entry) {
            Ok(told) => walk.entry(&told)?.into_iter().for_each(self.on_removal),
            Err(why) => walk.unreadable(seq, leaf, &why)?,
        }
        Ok(())
    }

    /// The suspects, read once more.
    async fn again(&self, evidence: &Evidence<'_>) -> anyhow::Result<BTreeMap<i64, DisclosedEntry>> {
        let mut again = BTreeMap::new();
        for seq in evidence.suspects() {
            if let Some(told) = self.source.entry(seq).await?.and_then(|entry| disclosed_entry(entry).ok()) {
                again.insert(seq, told);
            }
        }
        Ok(again)
    }
}

fn rolled_back(size: u64, seen: u64) -> Violation {
    Violation::of_log(Kind::RolledBack, format!("the checkpoint has {size} entries, and it had {seen} before"))
}

/// The entry that the service says it has not written so.
fn bad_entry(status: &Status, next: u64) -> Violation {
    let metadata = status.get_details_error_info().map(|info| info.metadata).unwrap_or_default();
    let seq = metadata.get("sequence").and_then(|seq| seq.parse().ok()).filter(|seq| *seq > 0);
    let kind =
        if metadata.get("fault").is_some_and(|fault| fault == "after_end") { Kind::Added } else { Kind::Changed };
    let seq = seq.unwrap_or(next as i64);
    Violation { kind, entries: Some((seq, seq)), why: format!("the service says: {}", status.message()) }
}

/// All that was read is as it was signed, and what was read before it is not.
fn forked(seen: u64) -> Violation {
    let why = "it is not as when the log was verified before, though what follows is as it was signed";
    Violation { kind: Kind::Forked, entries: Some((1, seen as i64)), why: why.to_owned() }
}

/// Compares rows with their tiles, beside the walk.
struct Tiles {
    rows: mpsc::Sender<Row>,
    comparing: JoinHandle<anyhow::Result<TileCheck>>,
}

impl Tiles {
    fn start(source: Source, mut comparison: TileCheck) -> Self {
        let (rows, received) = mpsc::channel(ROWS);
        let comparing = tokio::spawn(async move {
            let received = stream::unfold(received, |mut received| async { Some((received.recv().await?, received)) });
            let fetched = received.map(|row: Row| {
                let source = source.clone();
                async move { (source.tile(row.path()).await, row) }
            });
            let mut fetched = std::pin::pin!(fetched.buffered(TILES));
            while let Some((stored, row)) = fetched.next().await {
                comparison.take(&row, stored?.as_deref());
            }
            Ok(comparison)
        });
        Self { rows, comparing }
    }

    /// Waits while many are waiting.
    async fn send(&self, rows: Vec<Row>) {
        for row in rows {
            // Where the comparison has failed, its end tells why.
            let _ = self.rows.send(row).await;
        }
    }

    async fn finish(self) -> anyhow::Result<TileCheck> {
        drop(self.rows);
        self.comparing.await?.context("the tiles of the log cannot be read")
    }
}
