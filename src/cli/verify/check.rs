//! One verification: replays entries and compares tiles of a service, up to a signed checkpoint.

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

/// The maximum number of rows of hashes that wait for their tiles, and of tiles that are requested at once.
const ROWS: usize = 16;
const TILES: usize = 4;
/// Unsigned entries are counted up to about this number.
const MANY: u64 = 10_000;

/// The result of a verification.
pub(super) struct Checked {
    /// The first violation; `None` if there is none.
    pub(super) violation: Option<Violation>,
    /// The id of the bad entry, if the violation names one entry and it can be read.
    pub(super) id: Option<String>,
    /// The number of entries that were read.
    pub(super) read: u64,
    /// The erased groups with a record.
    pub(super) erased: ErasedGroups,
    /// The first and the last entry after the checkpoint. They are not signed.
    pub(super) unsigned: Option<(u64, u64)>,
    /// Whether groups are missing whose records may be among the unsigned entries.
    pub(super) lacks_records: bool,
    /// The state to remember; `None` without a signed checkpoint.
    pub(super) state: Option<State>,
}

impl Checked {
    fn early(violation: Violation) -> Self {
        let (erased, unsigned, lacks_records, state) = (ErasedGroups::default(), None, false, None);
        Self { violation: Some(violation), id: None, read: 0, erased, unsigned, lacks_records, state }
    }
}

/// The result of a replay.
struct Replayed {
    /// The last checkpoint that the replay reached.
    note: String,
    checkpoint: Checkpoint,
    /// The violation that ended the replay before the checkpoint, or one after the checkpoint.
    ended: Option<Violation>,
    /// The first and the last entry after the checkpoint. They are not signed.
    unsigned: Option<(u64, u64)>,
}

/// The entries after a checkpoint.
struct Rest {
    /// The number of the last entry, or of the entry at which counting stopped.
    last: u64,
    /// An entry that the service reports as damaged or added.
    bad: Option<Violation>,
}

pub(super) struct Check<'a> {
    pub(super) source: Source,
    pub(super) trust: Trust,
    /// The remembered state.
    pub(super) state: Option<&'a State>,
    /// Whether to read only the entries after the remembered ones.
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
        let mut replay = LogReplay::new(&self.trust, &self.source.organization, known, seen);
        let Replayed { note, checkpoint, ended, unsigned } =
            self.replay(note, checkpoint, &mut replay, &mut tiles).await?;
        tiles.send(replay.last_rows()).await;
        let comparison = tiles.finish().await?;
        let goes_on = unsigned.is_some();
        let evidence = Evidence { checkpoint: &checkpoint, replay: &replay, ended, goes_on, comparison: &comparison };
        let again = self.again(&evidence).await?;
        let inconsistent = || {
            let why = "all entries are right, but the proof that they extend the log verified before is not".to_owned();
            Violation::of_log(Kind::Tiles, why)
        };
        let violation = match !is_consistent && evidence.is_unexplained() && self.proves(&checkpoint, begun_at).await? {
            true => Some(forked(begun_at)),
            false => first_bad(&evidence, &again).or_else(|| (!is_consistent).then(inconsistent)),
        };
        let named = violation.as_ref().and_then(|violation| violation.entries).filter(|(first, last)| first == last);
        let id = named.and_then(|(seq, _)| again.get(&seq)).map(|entry| entry.id.clone());
        let trust = self.trust.after(&note, replay.introduced());
        let (read, erased) = (replay.edge().size() - begun_at, replay.erased());
        let state = Some(State { trust, note, checkpoint, remembered: replay.remembered() });
        let lacks_records = replay.lacks_records();
        Ok(Checked { violation, id, read, erased, unsigned, lacks_records, state })
    }

    /// The violation of a log that had a checkpoint before and has none now. Errors: `CheckpointNotFound`, if none is
    /// remembered.
    fn without_checkpoint(&self) -> anyhow::Result<Violation> {
        let seen = self.state.ok_or(Error::CheckpointNotFound)?.checkpoint.size;
        Ok(Violation::of_log(
            Kind::RolledBack,
            format!("there is no checkpoint, but there was one of {seen} entries before"),
        ))
    }

    /// The violation of a log whose checkpoint `note` is not trusted because of `why`.
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

    /// The violation if `checkpoint` cannot extend the remembered one.
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

    /// Whether the service proves that the entry after the first `begun_at` entries, as it is now, is in the tree of
    /// `checkpoint`. The service makes the proof from all entries that it stores, so a valid proof means that these are
    /// the signed ones.
    async fn proves(&self, checkpoint: &Checkpoint, begun_at: u64) -> anyhow::Result<bool> {
        if begun_at == 0 || begun_at == checkpoint.size {
            return Ok(false);
        }
        let entry = self.source.entry(begun_at as i64 + 1).await?.and_then(|entry| disclosed_entry(entry).ok());
        let Some(entry) = entry else { return Ok(false) };
        let Some(data) = entry.leaf_data(self.trust.log_id()) else { return Ok(false) };
        let proof = self.source.inclusion(&entry.id, checkpoint.size).await;
        // If the service cannot make the proof, the entry is not proven.
        let proof = proof.ok().flatten().and_then(|proof| hashes(&proof.hashes));
        let proves = |proof: Vec<Hash>| verify_inclusion(&data, begun_at, &proof, checkpoint.size, checkpoint.root);
        Ok(proof.is_some_and(|proof| proves(proof).is_ok()))
    }

    /// Replays up to `checkpoint`. Continues to a later one if entries follow, or if the records of missing groups may
    /// follow.
    async fn replay(
        &self,
        mut note: String,
        mut checkpoint: Checkpoint,
        replay: &mut LogReplay,
        tiles: &mut Tiles,
    ) -> anyhow::Result<Replayed> {
        // The entries after the first checkpoint, and the back-off of the polls for a later checkpoint.
        let mut rest = None;
        loop {
            let ended = self.replay_to(checkpoint.size, replay, tiles).await?;
            let edge: &CompactRange = replay.edge();
            if ended.is_some() || edge.root() != checkpoint.root {
                return Ok(Replayed { note, checkpoint, ended, unsigned: None });
            }
            let (Rest { last, bad }, mut polls) = match rest.take() {
                Some(known) => known,
                None => (self.rest(checkpoint.size).await?, checkpoint_backoff()),
            };
            if (last > checkpoint.size || replay.lacks_records())
                && let Some(later) = self.later(&checkpoint, &mut polls).await?
            {
                (note, checkpoint) = later;
                rest = Some((Rest { last, bad }, polls));
                continue;
            }
            let unsigned = (last > checkpoint.size).then_some((checkpoint.size + 1, last));
            return Ok(Replayed { note, checkpoint, ended: bad, unsigned });
        }
    }

    /// Finds the end of the log after the first `size` entries.
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

    /// Polls for a checkpoint with more entries than `checkpoint`; `None` if there is none when `polls` ends.
    async fn later(
        &self,
        checkpoint: &Checkpoint,
        polls: &mut Backoff,
    ) -> anyhow::Result<Option<(String, Checkpoint)>> {
        self.progress.set_message("waiting for the next checkpoint");
        loop {
            // One more try follows the last pause, because the service may have been unavailable until then.
            let pause = polls.next();
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

    /// Replays entries up to the number `size`. Returns the violation that ends the replay, if there is one.
    async fn replay_to(
        &self,
        size: u64,
        replay: &mut LogReplay,
        tiles: &mut Tiles,
    ) -> anyhow::Result<Option<Violation>> {
        self.progress.set_length(size);
        let mut retry = self.source.retry();
        while replay.edge().size() < size {
            let before = replay.next();
            match self.stream(size, replay, tiles).await {
                Ok(Some(violation)) => return Ok(Some(violation)),
                Ok(None) => return Ok((replay.edge().size() < size).then(|| replay.truncated(size))),
                // The stream has sent all entries before the damaged one.
                Err(status) if is_damaged(&status) => return Ok(Some(replay.damaged(status.message()))),
                Err(status) => {
                    if replay.next() > before {
                        retry.reset();
                    }
                    let explained = |status| {
                        let at = replay.next() - 1;
                        self.source.explained(&status).context(format!("the entries after {at} cannot be read"))
                    };
                    retry.wait(status).await.map_err(explained)?;
                }
            }
        }
        Ok(None)
    }

    /// Replays entries up to the number `size` from one stream. Errors: the stream broke.
    async fn stream(
        &self,
        size: u64,
        replay: &mut LogReplay,
        tiles: &mut Tiles,
    ) -> Result<Option<Violation>, tonic::Status> {
        let after = replay.next() - 1;
        // Sequence numbers are `i64`, so no size is above them.
        let Some(mut stream) = self.source.stream(after, size as i64 - after).await? else { return Ok(None) };
        while let Some(piece) = stream.message().await? {
            for entry in piece.entries {
                if let Err(violation) = self.take(entry, replay) {
                    return Ok(Some(violation));
                }
            }
            tiles.send(replay.rows()).await;
            let done = replay.edge().size();
            self.progress.set_position(done);
            self.progress.set_message(format!("{} entries", HumanCount(done)));
        }
        Ok(None)
    }

    fn take(&self, entry: pb::LogEntry, replay: &mut LogReplay) -> Result<(), Violation> {
        let (seq, leaf) = (entry.sequence, Hash::of_bytes(&entry.leaf_hash).unwrap_or_else(|_| Hash::of_nothing()));
        match disclosed_entry(entry) {
            Ok(entry) => replay.entry(&entry)?.into_iter().for_each(self.on_removal),
            Err(why) => replay.unreadable(seq, leaf, &why)?,
        }
        Ok(())
    }

    /// Reads the suspect entries again.
    async fn again(&self, evidence: &Evidence<'_>) -> anyhow::Result<BTreeMap<i64, DisclosedEntry>> {
        let mut again = BTreeMap::new();
        for seq in evidence.suspects() {
            if let Some(entry) = self.source.entry(seq).await?.and_then(|entry| disclosed_entry(entry).ok()) {
                again.insert(seq, entry);
            }
        }
        Ok(again)
    }
}

fn rolled_back(size: u64, seen: u64) -> Violation {
    Violation::of_log(Kind::RolledBack, format!("the checkpoint has {size} entries, and it had {seen} before"))
}

/// The violation of an entry that the service reports as damaged or added.
fn bad_entry(status: &Status, next: u64) -> Violation {
    let metadata = status.get_details_error_info().map(|info| info.metadata).unwrap_or_default();
    let seq = metadata.get("sequence").and_then(|seq| seq.parse().ok()).filter(|seq| *seq > 0);
    let kind =
        if metadata.get("fault").is_some_and(|fault| fault == "after_end") { Kind::Added } else { Kind::Changed };
    let seq = seq.unwrap_or(next as i64);
    Violation { kind, entries: Some((seq, seq)), why: format!("the service says: {}", status.message()) }
}

/// The entries that were read are as they were signed, but the remembered ones before them are not.
fn forked(seen: u64) -> Violation {
    let why = "it is not as when the log was verified before, though what follows is as it was signed";
    Violation { kind: Kind::Forked, entries: Some((1, seen as i64)), why: why.to_owned() }
}

/// Compares rows of hashes with their tiles, concurrently with the replay.
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

    /// Queues rows to compare. Waits while the queue is full.
    async fn send(&self, rows: Vec<Row>) {
        for row in rows {
            // If the comparison has failed, `finish` returns its error.
            let _ = self.rows.send(row).await;
        }
    }

    async fn finish(self) -> anyhow::Result<TileCheck> {
        drop(self.rows);
        self.comparing.await?.context("the tiles of the log cannot be read")
    }
}
