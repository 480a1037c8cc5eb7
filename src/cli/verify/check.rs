//! One verification: entries and tiles from a service through the verifier, up to a signed checkpoint.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::{StreamExt, stream};
use indicatif::{HumanCount, ProgressBar};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::source::{Source, Tries, claimed_size, hashes, is_damaged};
use super::state::State;
use super::told::told;
use crate::error::Error;
use crate::grpc::pb;
use crate::merkle::{Checkpoint, Edge, Hash, verify_consistency, verify_inclusion};
use crate::verify::{
    Comparison, Evidence, Finding, Kind, Remembered, Removal, Row, Told, Trust, Untrusted, Walk, first_bad, log_id,
};

/// Rows of hashes that wait for their tiles, and tiles that are asked for at once.
const ROWS: usize = 16;
const TILES: usize = 4;
/// How long what was written may take to be signed for, and the wait between looks. A service signs every second.
const PATIENCE: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_millis(250);

/// What a verification found.
pub(super) struct Checked {
    /// What is wrong; `None` if nothing is.
    pub(super) finding: Option<Finding>,
    /// The id of the entry that is wrong.
    pub(super) id: Option<String>,
    /// The entries that were read.
    pub(super) read: u64,
    /// The groups that were properly erased.
    pub(super) erased: u64,
    /// What to remember; `None` without a signed checkpoint.
    pub(super) state: Option<State>,
}

impl Checked {
    fn early(finding: Finding) -> Self {
        Self { finding: Some(finding), id: None, read: 0, erased: 0, state: None }
    }
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
        if let Some(finding) = self.against_remembered(&checkpoint) {
            return Ok(Checked::early(finding));
        }
        let is_consistent = self.is_consistent(&checkpoint).await?;
        let seen = self.state.map(|state| state.remembered.edge.clone());
        let known = match self.state {
            Some(state) if self.since_last => state.remembered.clone(),
            _ => Remembered::nothing(),
        };
        let begun_at = known.edge.size();
        let comparison = Comparison::new(&known.edge, seen.as_ref());
        let mut tiles = Tiles::start(self.source.clone(), comparison);
        let mut walk = Walk::new(log_id(self.trust.origin())?, &self.source.organization, known, seen);
        let (note, checkpoint, ended) = self.walk(note, checkpoint, &mut walk, &mut tiles).await?;
        tiles.send(walk.last_rows()).await;
        let comparison = tiles.finish().await?;
        let evidence = Evidence { checkpoint: &checkpoint, walk: &walk, ended, comparison: &comparison };
        let again = self.again(&evidence).await?;
        let inconsistent = || {
            let why = "all entries are right, and the proof that they extend what was seen before is not".to_owned();
            Finding::of_log(Kind::Tiles, why)
        };
        let finding = match !is_consistent && evidence.is_unexplained() && self.proves(&checkpoint, begun_at).await? {
            true => Some(forked(begun_at)),
            false => first_bad(&evidence, &again).or_else(|| (!is_consistent).then(inconsistent)),
        };
        let named = finding.as_ref().and_then(|finding| finding.entries).filter(|(first, last)| first == last);
        let id = named.and_then(|(seq, _)| again.get(&seq)).map(|told| told.id.clone());
        let trust = self.trust.after(&note, walk.introduced());
        let (read, erased) = (walk.edge().size() - begun_at, walk.erased());
        let state = Some(State { trust, note, checkpoint, remembered: walk.remembered() });
        Ok(Checked { finding, id, read, erased, state })
    }

    /// That a checkpoint was there before. Errors: none was.
    fn without_checkpoint(&self) -> anyhow::Result<Finding> {
        let seen = self.state.ok_or(Error::CheckpointNotFound)?.checkpoint.size;
        Ok(Finding::of_log(
            Kind::RolledBack,
            format!("there is no checkpoint, and there was one of {seen} entries before"),
        ))
    }

    /// What is wrong with `note`, which is not to be believed because of `why`.
    fn untrusted(&self, note: &str, why: &Untrusted) -> Finding {
        let seen = self.state.map(|state| state.checkpoint.size);
        match (claimed_size(note), seen) {
            (Ok(size), Some(seen)) if size < seen => {
                let rolled_back = format!("the checkpoint has {size} entries, and it had {seen} before; and {why}");
                Finding::of_log(Kind::RolledBack, rolled_back)
            }
            _ => Finding::of_log(Kind::Unsigned, why.to_string()),
        }
    }

    /// Whether `checkpoint` can follow the remembered one at all.
    fn against_remembered(&self, checkpoint: &Checkpoint) -> Option<Finding> {
        let seen = &self.state?.checkpoint;
        if checkpoint.size < seen.size {
            let why = format!("the checkpoint has {} entries, and it had {} before", checkpoint.size, seen.size);
            return Some(Finding::of_log(Kind::RolledBack, why));
        }
        let is_other = checkpoint.size == seen.size && checkpoint.root != seen.root;
        let why = || format!("the checkpoint of {} entries has another root than before", seen.size);
        is_other.then(|| Finding::of_log(Kind::Forked, why()))
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
        let told = self.source.entry(begun_at as i64 + 1).await?.and_then(|entry| told(entry).ok());
        let Some(told) = told else { return Ok(false) };
        let Some(data) = told.leaf_data(log_id(self.trust.origin())?) else { return Ok(false) };
        let proof = self.source.inclusion(&told.id, checkpoint.size).await;
        // A service that cannot make it proves nothing.
        let proof = proof.ok().flatten().and_then(|proof| hashes(&proof.hashes));
        let proves = |proof: Vec<Hash>| verify_inclusion(&data, begun_at, &proof, checkpoint.size, checkpoint.root);
        Ok(proof.is_some_and(|proof| proves(proof).is_ok()))
    }

    /// Walks up to `checkpoint`; and on to a later one, if there are entries after it, or groups are missing whose records
    /// these may be. Gives the one that was reached, and why the walk ended before.
    async fn walk(
        &self,
        mut note: String,
        mut checkpoint: Checkpoint,
        walk: &mut Walk,
        tiles: &mut Tiles,
    ) -> anyhow::Result<(String, Checkpoint, Option<Finding>)> {
        // The last entry that is there, once that is known, and how long its checkpoint is waited for.
        let mut last = None;
        loop {
            let ended = self.walk_to(checkpoint.size, walk, tiles).await?;
            let edge: &Edge = walk.edge();
            if ended.is_some() || edge.root() != checkpoint.root {
                return Ok((note, checkpoint, ended));
            }
            let (last, until) = match last {
                Some(known) => known,
                None => match self.last(checkpoint.size).await? {
                    Ok(seq) => *last.insert((seq, Instant::now() + PATIENCE)),
                    Err(added) => return Ok((note, checkpoint, Some(added))),
                },
            };
            if last <= checkpoint.size && !walk.lacks_records() {
                return Ok((note, checkpoint, None));
            }
            match self.later(&checkpoint, until).await? {
                Some(later) => (note, checkpoint) = later,
                None => {
                    let unsigned = (last > checkpoint.size).then(|| unsigned(checkpoint.size, last));
                    return Ok((note, checkpoint, unsigned));
                }
            }
        }
    }

    /// The number of the last entry of the log, which has `size` at least. A finding: there is one after its end.
    async fn last(&self, size: u64) -> anyhow::Result<Result<u64, Finding>> {
        let mut tries = Tries::new();
        let mut last = size;
        loop {
            let read = async {
                let Some(mut stream) = self.source.stream(last as i64, 0).await? else { return Ok(()) };
                while let Some(piece) = stream.message().await? {
                    last = piece.entries.last().map_or(last, |entry| entry.sequence.unsigned_abs().max(last));
                }
                Ok(())
            };
            match read.await {
                Ok(()) => return Ok(Ok(last)),
                Err(status) if is_damaged(&status) => {
                    return Ok(Err(Finding::of_log(Kind::Added, status.message())));
                }
                Err(status) => tries.wait(status).await.map_err(|status| self.source.explained(&status))?,
            }
        }
    }

    /// A checkpoint that has more than `checkpoint`, if one comes in time.
    async fn later(&self, checkpoint: &Checkpoint, until: Instant) -> anyhow::Result<Option<(String, Checkpoint)>> {
        while Instant::now() < until {
            self.progress.set_message("waiting for the next checkpoint");
            tokio::time::sleep(WAIT).await;
            let Some(note) = self.source.checkpoint().await? else { continue };
            let opened = self.trust.open(&note).ok().filter(|later| later.size > checkpoint.size);
            if let Some(opened) = opened {
                return Ok(Some((note, opened)));
            }
        }
        Ok(None)
    }

    /// Takes entries up to the number `size`.
    async fn walk_to(&self, size: u64, walk: &mut Walk, tiles: &mut Tiles) -> anyhow::Result<Option<Finding>> {
        self.progress.set_length(size);
        let mut tries = Tries::new();
        while walk.edge().size() < size {
            let before = walk.next();
            match self.stream(size, walk, tiles).await {
                Ok(Some(finding)) => return Ok(Some(finding)),
                Ok(None) => return Ok((walk.edge().size() < size).then(|| walk.truncated(size))),
                // All entries before it have come.
                Err(status) if is_damaged(&status) => return Ok(Some(walk.damaged(status.message()))),
                Err(status) => {
                    if walk.next() > before {
                        tries.begin_anew();
                    }
                    let told = |status| {
                        let at = walk.next() - 1;
                        self.source.explained(&status).context(format!("the entries after {at} cannot be read"))
                    };
                    tries.wait(status).await.map_err(told)?;
                }
            }
        }
        Ok(None)
    }

    /// The same in one stream. Errors: it broke.
    async fn stream(&self, size: u64, walk: &mut Walk, tiles: &mut Tiles) -> Result<Option<Finding>, tonic::Status> {
        let after = walk.next() - 1;
        // Numbers are signed, so that no size is beyond them.
        let Some(mut stream) = self.source.stream(after, size as i64 - after).await? else { return Ok(None) };
        while let Some(piece) = stream.message().await? {
            for entry in piece.entries {
                if let Err(finding) = self.take(entry, walk) {
                    return Ok(Some(finding));
                }
            }
            tiles.send(walk.rows()).await;
            let done = walk.edge().size();
            self.progress.set_position(done);
            self.progress.set_message(format!("{} entries", HumanCount(done)));
        }
        Ok(None)
    }

    fn take(&self, entry: pb::LogEntry, walk: &mut Walk) -> Result<(), Finding> {
        let (seq, leaf) = (entry.sequence, Hash::of_bytes(&entry.leaf_hash).unwrap_or_else(|_| Hash::of_nothing()));
        match told(entry) {
            Ok(told) => walk.entry(&told)?.into_iter().for_each(self.on_removal),
            Err(why) => walk.unreadable(seq, leaf, &why)?,
        }
        Ok(())
    }

    /// The suspects, read once more.
    async fn again(&self, evidence: &Evidence<'_>) -> anyhow::Result<BTreeMap<i64, Told>> {
        let mut again = BTreeMap::new();
        for seq in evidence.suspects() {
            if let Some(told) = self.source.entry(seq).await?.and_then(|entry| told(entry).ok()) {
                again.insert(seq, told);
            }
        }
        Ok(again)
    }
}

/// Entries are there, and nothing says that they should be.
fn unsigned(size: u64, last: u64) -> Finding {
    let why = format!(
        "the checkpoint has {size} entries, and none that has more has come for {} seconds; ask who runs the service why \
         it does not sign",
        PATIENCE.as_secs()
    );
    Finding { kind: Kind::Unsigned, entries: Some((size as i64 + 1, last as i64)), why }
}

/// All that was read is as it was signed, and what was read before it is not.
fn forked(seen: u64) -> Finding {
    let why = "it is not as when the log was verified before, though what follows is as it was signed";
    Finding { kind: Kind::Forked, entries: Some((1, seen as i64)), why: why.to_owned() }
}

/// Compares rows with their tiles, beside the walk.
struct Tiles {
    rows: mpsc::Sender<Row>,
    comparing: JoinHandle<anyhow::Result<Comparison>>,
}

impl Tiles {
    fn start(source: Source, mut comparison: Comparison) -> Self {
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

    async fn finish(self) -> anyhow::Result<Comparison> {
        drop(self.rows);
        self.comparing.await?.context("the tiles of the log cannot be read")
    }
}
