//! Erasing is a write: it takes values away, and records in the same transaction, as an entry of the same log, what is
//! gone. Much is erased in many transactions, each whole by itself, so that it may end after any of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tracing::{info, warn};

use super::log::Log;
use super::{Batch, group};
use crate::domain::{
    Catalogue, Change, Clock, Content, Entry, EntryId, Erased, Group, Identifier, JsonText, Key, MAX_CHANGES, NewEntry,
    OrganizationId, Position, Random, Reason, ResourceType, Seq, ServiceEntry,
};
use crate::error::{Error, MAX_VIOLATIONS, Result, Violation};
use crate::merkle::{Hash, Leaf, SERVICE, Values, group_hashes};
use crate::store::{Append, CommitFailed, Extent, Remains, Sealed, Store};

/// Groups that one entry records: the changes that it has room for, its reason aside.
const RECORDED: usize = MAX_CHANGES - 1;
/// Groups of one transaction, which keeps writers waiting.
const GROUPS: usize = 3 * RECORDED;
/// Bytes of the entries of one transaction; one entry may go beyond.
const BYTES: usize = 16 * 1024 * 1024;
/// Entries read at once.
const PIECE: usize = 100;
/// Entries looked for at once.
const FOUND: i64 = 3_000;
/// Tries to take what was erased out of the files. Each waits for its readers, and keeps writers waiting meanwhile.
const TRIES: u32 = 2;
/// Between them.
const PAUSE: Duration = Duration::from_millis(500);

/// What to erase, for whom, and why.
#[derive(Debug, Clone)]
pub struct Erasure {
    /// Whose log.
    pub organization: OrganizationId,
    /// Which entries.
    pub target: Target,
    /// Which of their groups.
    pub groups: Erased,
    /// Why, as the log will have it.
    pub reason: Reason,
    /// The key that asks for it.
    pub key_id: String,
}

/// Which entries lose values.
#[derive(Debug, Clone)]
pub enum Target {
    /// These.
    Entries(Vec<EntryId>),
    /// `actor` of those where this user acted, and `content` of those where the user is the resource.
    User {
        /// Who.
        id: Identifier,
        /// The type of a resource that is a user.
        resource_type: ResourceType,
    },
}

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// How much.
    pub extent: Extent,
    /// The numbers of the entries that record it.
    pub recorded: Vec<Seq>,
    /// Whether nothing is left to erase.
    pub is_complete: bool,
    /// Whether the files of the database hold no trace of it.
    pub is_purged: bool,
}

/// Erases.
#[derive(Clone)]
pub struct Eraser {
    store: Store,
    clock: Clock,
    random: Random,
    /// What a call may take before it leaves the rest to the next one.
    budget: Duration,
}

/// A run over all that an erasure is about.
struct Run {
    forgotten: Forgotten,
    begun: Instant,
    /// Entries that are not what their leaves say.
    tampered: Vec<Violation>,
}

impl Eraser {
    /// Erases in `store`. A call that takes longer than `budget` ends before all is erased.
    pub fn new(store: Store, clock: Clock, random: Random, budget: Duration) -> Self {
        Self { store, clock, random, budget }
    }

    /// How much `erasure` would erase. Errors: those of [`Eraser::erase`].
    pub async fn extent(&self, erasure: &Erasure) -> Result<Extent> {
        self.check_right().await?;
        match &erasure.target {
            Target::Entries(ids) => {
                let found = self.found(&erasure.organization, ids).await?;
                let gone = found.into_iter().map(|(_, erased)| erasure.groups.except(erased).groups().count() as i64);
                let gone = gone.filter(|groups| *groups > 0);
                Ok(gone.fold(Extent::default(), |Extent { entries, groups }, more| Extent {
                    entries: entries + 1,
                    groups: groups + more,
                }))
            }
            Target::User { id, .. } => self.extent_of_user(erasure, id).await,
        }
    }

    async fn extent_of_user(&self, erasure: &Erasure, user: &Identifier) -> Result<Extent> {
        let parts = erasure.parts();
        let mut extent = Extent::default();
        for (key, group) in &parts {
            let count = self.store.count_unerased(&erasure.organization, key, &[*group], None).await?;
            extent = Extent { entries: extent.entries + count, groups: extent.groups + count };
        }
        if let [_, (key, _)] = &parts[..] {
            // What they did to themselves is one entry with two groups.
            let both = [Group::Actor, Group::Content];
            let own = Some(user.as_str());
            extent.entries -= self.store.count_unerased(&erasure.organization, key, &both, own).await?;
        }
        Ok(extent)
    }

    /// Erases until all is erased or the time is over. It goes on to the end of its transaction if the caller goes
    /// away. Errors: `ErasureUnavailable`, `AuditLogsNotFound`, `InvalidParameter` for entries that cannot be erased,
    /// and `Tampered`, after all others are erased.
    pub async fn erase(&self, erasure: Erasure) -> Result<Forgotten> {
        self.check_right().await?;
        let eraser = self.clone();
        let run = tokio::spawn(async move { eraser.run(&erasure).await });
        run.await.map_err(|_| Error::Internal(anyhow::anyhow!("an erasure panicked")))?
    }

    async fn check_right(&self) -> Result<()> {
        if self.store.may_erase().await? { Ok(()) } else { Err(Error::ErasureUnavailable) }
    }

    async fn run(&self, erasure: &Erasure) -> Result<Forgotten> {
        let mut run = Run { forgotten: Forgotten::default(), begun: Instant::now(), tampered: Vec::new() };
        let outcome = match &erasure.target {
            Target::Entries(ids) => self.erase_entries(erasure, ids, &mut run).await,
            Target::User { .. } => self.erase_user(erasure, &mut run).await,
        };
        // Also where nothing was left to erase: whoever erased last may have been killed before this.
        let is_purged = self.purge().await;
        let (Forgotten { extent, recorded, .. }, organization) = (&run.forgotten, &erasure.organization);
        info!(%organization, key = erasure.key_id, groups = extent.groups, ?recorded, "erased");
        let (is_complete, is_purged) = (outcome?, is_purged?);
        match run.tampered.is_empty() || !is_complete {
            true => Ok(Forgotten { is_complete, is_purged, ..run.forgotten }),
            false => Err(Error::told(run.tampered, Error::Tampered)),
        }
    }

    /// `true` once all is erased.
    async fn erase_entries(&self, erasure: &Erasure, ids: &[EntryId], run: &mut Run) -> Result<bool> {
        let found = self.found(&erasure.organization, ids).await?;
        let left = found.into_iter().filter(|(_, erased)| !erasure.groups.except(*erased).is_empty());
        let left: Vec<_> = left.map(|(seq, _)| seq).collect();
        self.erase_all(erasure, &left, run).await
    }

    async fn erase_user(&self, erasure: &Erasure, run: &mut Run) -> Result<bool> {
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

    /// Erases of the entries with these numbers, in as many transactions as it takes; `false` if the time was over.
    async fn erase_all(&self, erasure: &Erasure, mut seqs: &[Seq], run: &mut Run) -> Result<bool> {
        while !seqs.is_empty() {
            if run.begun.elapsed() > self.budget && run.forgotten.extent.groups > 0 {
                return Ok(false);
            }
            seqs = &seqs[self.erase_some(erasure, seqs, run).await?..];
        }
        Ok(true)
    }

    /// One transaction. Gives how many of `seqs` it has dealt with, at least one.
    async fn erase_some(&self, erasure: &Erasure, seqs: &[Seq], run: &mut Run) -> Result<usize> {
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
        let Forgotten { extent, recorded, .. } = &mut run.forgotten;
        extent.entries += step.extent.entries;
        extent.groups += step.extent.groups;
        recorded.extend(step.recorded);
        Ok(done)
    }

    /// Everything of a transaction between its begin and its commit.
    async fn fill(&self, append: &mut Append, erasure: &Erasure, seqs: &[Seq]) -> Result<(usize, Step)> {
        let organization = &erasure.organization;
        let known = self.store.log_head(organization).await?.ok_or(Error::OrganizationNotFound)?;
        let heads = append.lock_heads(&[(organization, self.random.hex::<16>())], self.clock.now()).await?;
        let head = heads.into_iter().next().filter(|head| head.log_id == known.log_id).ok_or_else(|| {
            Error::Internal(anyhow::anyhow!("the database URL to erase by names another database than that to serve"))
        })?;
        // Now that the head is held: it names the types of all entries that there are.
        let catalogue = Arc::new(self.store.catalogue().await?);
        let mut log = Log::new(head, self.clock.now(), self.random.clone());
        let (mut step, mut remains, mut done, mut bytes) = (Step::default(), Vec::new(), 0, 0);
        for piece in seqs.chunks(PIECE) {
            let sealed = append.numbered(organization, piece).await?;
            bytes += sealed.iter().map(|sealed| sealed.entry.content.size()).sum::<usize>();
            let gone = self.take(append, erasure, (&log.head.log_id, &catalogue), sealed, &mut step).await?;
            remains.extend(gone);
            done += piece.len();
            // Each entry has at most two groups.
            if remains.len() + 2 * PIECE > GROUPS || bytes > BYTES {
                break;
            }
        }
        if remains.is_empty() {
            return Ok((done, step));
        }
        let noted = self.record(&mut log, erasure, catalogue, &remains, &mut step)?;
        append.note_remains(organization, &noted).await?;
        group::write(append, BTreeMap::from([(organization, log)])).await?;
        Ok((done, step))
    }

    /// Takes from `sealed` what they still have, and gives what remains of it.
    async fn take(
        &self,
        append: &Append,
        erasure: &Erasure,
        (log_id, catalogue): (&str, &Catalogue),
        sealed: Vec<Sealed>,
        step: &mut Step,
    ) -> Result<Vec<Remains>> {
        let partly = sealed.iter().filter(|sealed| !sealed.entry.erased.is_empty());
        let partly: Vec<_> = partly.map(|sealed| sealed.entry.seq).collect();
        let before = append.remains(&erasure.organization, &partly).await?;
        let before: HashMap<_, _> = before.into_iter().map(|remains| ((remains.seq, remains.group), remains)).collect();
        let (mut remains, mut gone) = (Vec::new(), BTreeMap::new());
        for sealed in &sealed {
            let groups = erasure.groups_of(&sealed.entry).except(sealed.entry.erased);
            if groups.is_empty() {
                continue;
            }
            match whole(sealed, log_id, catalogue, &before)? {
                Some(all) => {
                    remains.extend(all.into_iter().filter(|remains| groups.has(remains.group)));
                    gone.entry(groups.0).or_insert_with(Vec::new).push(sealed.entry.seq);
                }
                None => step.tampered.push(tampered(&sealed.entry)),
            }
        }
        for (groups, seqs) in gone {
            append.take_away(&erasure.organization, Erased(groups), &seqs).await?;
            step.extent.entries += seqs.len() as i64;
        }
        step.extent.groups += remains.len() as i64;
        remains.sort_by_key(|remains| (remains.seq, remains.group));
        Ok(remains)
    }

    /// Admits the entries that record `remains`, and gives each of them with the number of its entry.
    fn record(
        &self,
        log: &mut Log,
        erasure: &Erasure,
        catalogue: Arc<Catalogue>,
        remains: &[Remains],
        step: &mut Step,
    ) -> Result<Vec<(Remains, Seq)>> {
        let entries = remains.chunks(RECORDED).map(|recorded| self.record_of(erasure, &catalogue, recorded));
        let batch = Batch {
            organization: erasure.organization.clone(),
            key_id: SERVICE.to_owned(),
            entries: entries.collect::<Result<_>>()?,
            catalogue,
        };
        let written = log.admit(&batch)?;
        step.recorded = written.iter().map(|written| written.seq).collect();
        let by_entry = remains.chunks(RECORDED).zip(&step.recorded);
        Ok(by_entry.flat_map(|(recorded, seq)| recorded.iter().map(|remains| (*remains, *seq))).collect())
    }

    fn record_of(&self, erasure: &Erasure, catalogue: &Catalogue, recorded: &[Remains]) -> Result<NewEntry> {
        let json = |text: &str| JsonText::stored(serde_json::Value::from(text).to_string());
        let change = |field: String, new_value| Change { field, old_value: JsonText::null(), new_value };
        let reason = change("reason".to_owned(), json(erasure.reason.as_str()));
        let hashes = recorded.iter().map(|Remains { seq, group, hash }| {
            change(format!("erased.{seq}.{}", group.name()), json(&STANDARD.encode(hash.0.0)))
        });
        let changes = std::iter::once(reason).chain(hashes).collect();
        let by = Some(erasure.key_id.as_str());
        let entry = ServiceEntry::Erasure.about(&erasure.organization, by, changes, catalogue, &self.random);
        entry.map_err(|why| Error::Internal(anyhow::Error::new(why).context("the catalogue lacks a name of ours")))
    }

    /// The numbers of `ids`, and what is gone of them. Errors: some are not there, or cannot be erased.
    async fn found(&self, organization: &OrganizationId, ids: &[EntryId]) -> Result<Vec<(Seq, Erased)>> {
        let at = |place: usize, description: String| Violation { field: format!("entries.ids[{place}]"), description };
        let places = || ids.iter().enumerate();
        let service = places().filter(|(_, id)| id.is_service());
        let told = "is an entry of the service itself, and those are never erased";
        let service: Vec<_> = service.map(|(place, id)| at(place, format!("{id} {told}"))).collect();
        if !service.is_empty() {
            return Err(Error::told(service, Error::InvalidParameter));
        }
        let found = self.store.erasable(organization, ids).await?;
        let missing = places().filter(|(_, id)| !found.contains_key(*id));
        let missing: Vec<_> = missing.map(|(place, id)| at(place, format!("there is no entry {id}"))).collect();
        if !missing.is_empty() {
            return Err(Error::told(missing, Error::AuditLogsNotFound));
        }
        let mut found: Vec<_> = found.into_values().map(|erasable| (erasable.seq, erasable.erased)).collect();
        found.sort_unstable_by_key(|(seq, _)| *seq);
        Ok(found)
    }

    /// Takes what was erased out of the database's files, if they let it.
    async fn purge(&self) -> Result<bool> {
        for tried in 1..=TRIES {
            match self.store.purge().await? {
                Some(false) if tried < TRIES => tokio::time::sleep(PAUSE).await,
                Some(false) => warn!("readers keep the log of SQLite; it may hold what was erased until it is purged"),
                purged => return Ok(purged.is_some()),
            }
        }
        Ok(false)
    }
}

/// What one transaction does.
#[derive(Default)]
struct Step {
    extent: Extent,
    recorded: Vec<Seq>,
    tampered: Vec<Violation>,
}

impl Erasure {
    /// Of a user: whose entries lose which group.
    fn parts(&self) -> Vec<(Key, Group)> {
        let Target::User { id, resource_type } = &self.target else { return Vec::new() };
        let part = |group| match group {
            Group::Content => (Key::Resource(*resource_type, id.clone()), group),
            _ => (Key::User(id.clone()), group),
        };
        self.groups.groups().map(part).collect()
    }

    /// Which groups of `entry` it is about.
    fn groups_of(&self, entry: &Entry) -> Erased {
        let Content { id, user_id, resource_type, resource_id, .. } = &*entry.content;
        let is_about = |group: &Group| match (&self.target, group) {
            _ if id.is_service() => false,
            (Target::Entries(_), _) => true,
            (Target::User { id, .. }, Group::Actor) => user_id == id,
            (Target::User { id, resource_type: of_users }, _) => resource_type == of_users && resource_id == id,
        };
        self.groups.groups().filter(is_about).collect()
    }
}

/// The groups of an entry by their hashes, those that are gone already by what remains of them; `None` if they are not
/// those of its leaf.
fn whole(
    Sealed { entry, salts, leaf }: &Sealed,
    log_id: &str,
    catalogue: &Catalogue,
    before: &HashMap<(Seq, Group), Remains>,
) -> Result<Option<[Remains; 3]>> {
    let Entry { seq, timestamp: _, recorded_at, writer_key_id, erased, content } = entry;
    let unnamed = || Error::Internal(anyhow::anyhow!("an entry has a code that is not in the catalogue"));
    let resource_type = catalogue.resource_type_name(content.resource_type).ok_or_else(unnamed)?;
    let action = catalogue.action_name(content.action).ok_or_else(unnamed)?;
    let hashes = group_hashes(&Values::of(entry, resource_type, action), salts);
    let mut all = [0, 1, 2].map(|place| Remains { seq: *seq, group: Group::ALL[place], hash: hashes[place] });
    for remains in all.iter_mut().filter(|remains| erased.has(remains.group)) {
        match before.get(&(*seq, remains.group)) {
            Some(known) => *remains = *known,
            None => return Ok(None),
        }
    }
    let (seq, id, recorded_at, writer) = (*seq, content.id.as_str(), *recorded_at, writer_key_id.as_str());
    let groups = all.map(|remains| remains.hash);
    let own = Hash::of_leaf(&Leaf { log_id, seq, id, recorded_at, writer, groups }.data());
    Ok((own == *leaf).then_some(all))
}

fn tampered(entry: &Entry) -> Violation {
    let (id, seq) = (&entry.content.id, entry.seq);
    let description = format!(
        "entry {id} (number {seq}) is not what its leaf says, so it was changed in the database; it was not erased, \
         which would take away the evidence"
    );
    Violation { field: "target".to_owned(), description }
}
