//! Erasure is a write: one transaction removes values, and records this in an entry of the same log. A large erasure
//! takes many such transactions and may stop after any of them.

mod step;

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::deadline::Deadline;
use crate::domain::{
    Clock, CountKey, Entry, EntryId, Erased, ErasureReason, Group, Identifier, OrganizationId, Position, Random,
    ResourceType, Seq,
};
use crate::error::{Error, MAX_VIOLATIONS, Result, Violation};
use crate::metrics::{Counter, Metrics};
use crate::retry::Backoff;
use crate::store::{CommitFailed, ErasureCount, LogKey, Store};
use auditlog_verify::merkle::{KeyName, SigningKey};

/// The maximum number of entries that one query finds.
const FOUND: i64 = 3_000;
/// The maximum number of attempts to remove erased values from the database files. Each waits for readers, and blocks
/// writers meanwhile.
const MAX_PURGES: u32 = 2;
/// The pause between these attempts.
const PURGE_BACKOFF: Duration = Duration::from_millis(500);

const NO_RIGHT: &str = "This service has no right to erase in its database; give it AUDITLOG_ERASE_DATABASE_URL, or ask \
                        one that has it";
const NO_KEY: &str = "This log is signed, and this service has no key of it to sign the record of an erasure; give it \
                      AUDITLOG_SIGNING_KEY, or ask one that signs this log";
const UNREADABLE_KEY: &str = "This service cannot read its signing key to sign the record of an erasure; its own log \
                              says why";

/// The keys that sign a log's erasure records, and the log's origin.
pub struct RecordKeys {
    /// The origin of the log.
    pub origin: KeyName,
    /// The signing keys.
    pub keys: Vec<SigningKey>,
}

/// Loads the keys of this process that a log knows, from the log's id and the keys that it knows. If the log knows no
/// key yet, loads all keys that sign now. Errors: the keys cannot be read.
pub type LoadRecordKeys = Arc<dyn Fn(&str, &[LogKey]) -> anyhow::Result<RecordKeys> + Send + Sync>;

/// A request for an erasure.
#[derive(Debug, Clone)]
pub struct Erasure {
    /// The organization.
    pub organization: OrganizationId,
    /// The entries to erase from.
    pub target: Target,
    /// The groups to erase.
    pub groups: Erased,
    /// The reason, as the log records it.
    pub reason: ErasureReason,
    /// The id of the API key that requested the erasure.
    pub key_id: String,
}

/// The entries that lose values.
#[derive(Debug, Clone)]
pub enum Target {
    /// The entries with these ids.
    Entries(Vec<EntryId>),
    /// All entries about one user: `actor` of entries where the user acted, and `content` of entries where the user is
    /// the resource.
    User {
        /// The user's id.
        id: Identifier,
        /// The resource type of users.
        resource_type: ResourceType,
    },
}

/// The result of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErasureReport {
    /// The numbers of erased entries and groups.
    pub extent: ErasureCount,
    /// The numbers of the entries that record the erasure.
    pub recorded: Vec<Seq>,
    /// Whether nothing is left to erase.
    pub is_complete: bool,
    /// Whether the database files are free of the erased values.
    pub is_purged: bool,
}

/// Erases values.
#[derive(Clone)]
pub struct Eraser {
    store: Store,
    clock: Clock,
    random: Random,
    /// The time that one call may take. The next call goes on with the rest.
    budget: Duration,
    /// `None` in a process without keys.
    keys: Option<LoadRecordKeys>,
    erased_groups: Counter,
}

/// The progress of one call.
struct ErasureRun {
    report: ErasureReport,
    /// The time after which the rest is left to the next call.
    deadline: Deadline,
    /// Entries that do not match their leaves.
    tampered: Vec<Violation>,
}

impl Eraser {
    /// Erases in `store`, and signs the records with `keys`. A call ends after `budget`, even if not everything is
    /// erased.
    pub fn new(
        store: Store,
        clock: Clock,
        random: Random,
        budget: Duration,
        keys: Option<LoadRecordKeys>,
        metrics: &Metrics,
    ) -> Self {
        Self { store, clock, random, budget, keys, erased_groups: metrics.erased_groups() }
    }

    /// Counts what `erasure` would erase. Errors: those of [`Eraser::erase`].
    pub async fn extent(&self, erasure: &Erasure) -> Result<ErasureCount> {
        self.check_right(&erasure.organization).await?;
        match &erasure.target {
            Target::Entries(ids) => {
                let found = self.found(&erasure.organization, ids).await?;
                let gone = found.into_iter().map(|(_, erased)| erasure.groups.except(erased).groups().count() as i64);
                let gone = gone.filter(|groups| *groups > 0);
                Ok(gone.fold(ErasureCount::default(), |ErasureCount { entries, groups }, more| ErasureCount {
                    entries: entries + 1,
                    groups: groups + more,
                }))
            }
            Target::User { id, .. } => self.extent_of_user(erasure, id).await,
        }
    }

    async fn extent_of_user(&self, erasure: &Erasure, user: &Identifier) -> Result<ErasureCount> {
        let parts = erasure.parts();
        let mut extent = ErasureCount::default();
        for (key, group) in &parts {
            let count = self.store.count_unerased(&erasure.organization, key, &[*group], None).await?;
            extent = ErasureCount { entries: extent.entries + count, groups: extent.groups + count };
        }
        if let [_, (key, _)] = &parts[..] {
            // An entry that users wrote about themselves is one entry with two groups.
            let both = [Group::Actor, Group::Content];
            let own = Some(user.as_str());
            extent.entries -= self.store.count_unerased(&erasure.organization, key, &both, own).await?;
        }
        Ok(extent)
    }

    /// Erases until done or out of time. Goes on if the caller disconnects. Errors: `ErasureUnavailable`;
    /// `AuditLogsNotFound`; `InvalidParameter` for entries that cannot be erased; `Tampered`, after all other entries
    /// are erased.
    pub async fn erase(&self, erasure: Erasure) -> Result<ErasureReport> {
        self.check_right(&erasure.organization).await?;
        let eraser = self.clone();
        let run = tokio::spawn(async move { eraser.run(&erasure).await });
        run.await.map_err(|_| Error::Internal(anyhow::anyhow!("an erasure panicked")))?
    }

    async fn check_right(&self, organization: &OrganizationId) -> Result<()> {
        if !self.store.may_erase().await? {
            return Err(Error::ErasureUnavailable(NO_RIGHT));
        }
        if let Some(head) = self.store.log_head(organization).await? {
            self.record_keys(organization, &head.log_id).await?;
        }
        Ok(())
    }

    /// The keys that sign erasure records of the log `log_id`; `None` if neither the log nor this process has keys.
    /// Errors: `ErasureUnavailable`.
    async fn record_keys(&self, organization: &OrganizationId, log_id: &str) -> Result<Option<RecordKeys>> {
        let known = self.store.log_keys(organization).await?;
        let Some(load) = &self.keys else {
            // A log that was signed once has had keys, whatever became of their rows.
            let is_signed = !known.is_empty() || self.store.checkpoint(organization).await?.is_some();
            return if is_signed { Err(Error::ErasureUnavailable(NO_KEY)) } else { Ok(None) };
        };
        let found = load(log_id, &known).map_err(|error| {
            warn!(error = format!("{error:#}"), "cannot read the keys that sign erasure records");
            Error::ErasureUnavailable(UNREADABLE_KEY)
        })?;
        if found.keys.is_empty() { Err(Error::ErasureUnavailable(NO_KEY)) } else { Ok(Some(found)) }
    }

    async fn run(&self, erasure: &Erasure) -> Result<ErasureReport> {
        let deadline = Deadline::after(self.budget);
        let mut run = ErasureRun { report: ErasureReport::default(), deadline, tampered: Vec::new() };
        let outcome = match &erasure.target {
            Target::Entries(ids) => self.erase_entries(erasure, ids, &mut run).await,
            Target::User { .. } => self.erase_user(erasure, &mut run).await,
        };
        // Also if nothing was left to erase: the last call may have been killed before its purge.
        let is_purged = self.purge().await;
        let (ErasureReport { extent, recorded, .. }, organization) = (&run.report, &erasure.organization);
        info!(%organization, key = erasure.key_id, groups = extent.groups, ?recorded, "erased");
        let (is_complete, is_purged) = (outcome?, is_purged?);
        match run.tampered.is_empty() || !is_complete {
            true => Ok(ErasureReport { is_complete, is_purged, ..run.report }),
            false => Err(Error::from_violations(run.tampered, Error::Tampered)),
        }
    }

    /// Returns whether everything is erased.
    async fn erase_entries(&self, erasure: &Erasure, ids: &[EntryId], run: &mut ErasureRun) -> Result<bool> {
        let found = self.found(&erasure.organization, ids).await?;
        let left = found.into_iter().filter(|(_, erased)| !erasure.groups.except(*erased).is_empty());
        let left: Vec<_> = left.map(|(seq, _)| seq).collect();
        self.erase_all(erasure, &left, run).await
    }

    async fn erase_user(&self, erasure: &Erasure, run: &mut ErasureRun) -> Result<bool> {
        for (key, group) in erasure.parts() {
            let mut after = Position::START;
            loop {
                let found = self.store.unerased(&erasure.organization, &key, group, after, FOUND).await?;
                let Some(last) = found.last() else { break };
                after = *last;
                let seqs: Vec<_> = found.iter().map(|position| position.seq).collect();
                if !self.erase_all(erasure, &seqs, run).await? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Erases from the entries with these numbers, in as many transactions as needed; `false` if time ran out.
    async fn erase_all(&self, erasure: &Erasure, mut seqs: &[Seq], run: &mut ErasureRun) -> Result<bool> {
        while !seqs.is_empty() {
            if run.deadline.is_over() && run.report.extent.groups > 0 {
                return Ok(false);
            }
            seqs = &seqs[self.erase_some(erasure, seqs, run).await?..];
        }
        Ok(true)
    }

    /// Runs one transaction. Returns how many of `seqs` it has handled, at least one.
    async fn erase_some(&self, erasure: &Erasure, seqs: &[Seq], run: &mut ErasureRun) -> Result<usize> {
        let mut append = self.store.erase().await?;
        let (done, step) = match self.fill(&mut append, erasure, seqs).await {
            Ok(filled) => filled,
            Err(error) => {
                if let Err(second) = append.roll_back().await {
                    warn!(error = second.with_causes(), "a rollback failed");
                }
                return Err(error);
            }
        };
        let room = MAX_VIOLATIONS.saturating_sub(run.tampered.len());
        run.tampered.extend(step.tampered.into_iter().take(room));
        if step.recorded.is_empty() {
            append.roll_back().await?;
            return Ok(done);
        }
        append.commit().await.map_err(|CommitFailed(error)| error)?;
        self.erased_groups.inc_by(step.extent.groups.unsigned_abs());
        let ErasureReport { extent, recorded, .. } = &mut run.report;
        extent.entries += step.extent.entries;
        extent.groups += step.extent.groups;
        recorded.extend(step.recorded);
        Ok(done)
    }

    /// The numbers of `ids`, and their groups erased so far. Errors: some entries do not exist or cannot be erased.
    async fn found(&self, organization: &OrganizationId, ids: &[EntryId]) -> Result<Vec<(Seq, Erased)>> {
        let at = |place: usize, description: String| Violation { field: format!("entries.ids[{place}]"), description };
        let places = || ids.iter().enumerate();
        let service = places().filter(|(_, id)| id.is_service());
        let why = "is an entry of the service itself, and those are never erased";
        let service: Vec<_> = service.map(|(place, id)| at(place, format!("{id} {why}"))).collect();
        if !service.is_empty() {
            return Err(Error::from_violations(service, Error::InvalidParameter));
        }
        let found = self.store.erasable(organization, ids).await?;
        let missing = places().filter(|(_, id)| !found.contains_key(*id));
        let missing: Vec<_> = missing.map(|(place, id)| at(place, format!("there is no entry {id}"))).collect();
        if !missing.is_empty() {
            return Err(Error::from_violations(missing, Error::AuditLogsNotFound));
        }
        let mut found: Vec<_> = found.into_values().collect();
        found.sort_unstable_by_key(|(seq, _)| *seq);
        Ok(found)
    }

    /// Removes erased values from the database files, if the database supports this.
    async fn purge(&self) -> Result<bool> {
        let mut backoff = Backoff::new(PURGE_BACKOFF, PURGE_BACKOFF).at_most(MAX_PURGES - 1);
        loop {
            match (self.store.purge().await?, backoff.next()) {
                (Some(false), Some(pause)) => tokio::time::sleep(pause).await,
                (Some(false), None) => {
                    warn!("SQLite readers hold the write-ahead log; it may have erased values until it is purged");
                    return Ok(false);
                }
                (purged, _) => return Ok(purged.is_some()),
            }
        }
    }
}

impl Erasure {
    /// Each group, with the key of the entries that lose it. Empty unless the target is a user.
    fn parts(&self) -> Vec<(CountKey, Group)> {
        let Target::User { id, resource_type } = &self.target else { return Vec::new() };
        let part = |group| match group {
            Group::Content => (CountKey::Resource(*resource_type, id.clone()), group),
            Group::Facts | Group::Actor => (CountKey::User(id.clone()), group),
        };
        self.groups.groups().map(part).collect()
    }

    /// The groups of `entry` that this erasure covers. Entries of the service itself keep all.
    fn groups_of(&self, entry: &Entry) -> Erased {
        if entry.content.id.is_service() {
            return Erased::default();
        }
        match &self.target {
            Target::Entries(_) => self.groups,
            Target::User { id, resource_type } => {
                let about = entry.content.groups_about(id, *resource_type);
                self.groups.groups().filter(|group| about.has(*group)).collect()
            }
        }
    }
}
