//! One transaction of an erasure. Under the lock of the head, values are hashed, compared with their leaf, removed, and
//! recorded.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Eraser, Erasure, RecordKeys};
use crate::domain::{
    Catalogue, Change, Entry, Erased, Group, IndexedName, JsonText, MAX_CHANGES, NewEntry, Seq, ServiceEntry,
    entry_leaf, entry_values,
};
use crate::error::{Error, Result, Violation};
use crate::ingest::Batch;
use crate::ingest::log::{self, Log};
use crate::store::{Append, ErasedGroupHash, ErasureCount, HashedEntry};
use auditlog_verify::merkle::{ErasureRecord, Hash, SERVICE, SigningKey, erased_field, group_hashes};

/// The number of groups that one entry records: one change each, minus the changes for the reason and the signatures.
const RECORDED: usize = MAX_CHANGES - 2;
/// The maximum number of groups of one transaction, which blocks writers.
const GROUPS: usize = 3 * RECORDED;
/// A transaction takes no further piece once its entries have more bytes than this.
const BYTES: usize = 16 * 1024 * 1024;
/// The number of entries read at once.
const PIECE: usize = 100;

/// The work of one transaction.
#[derive(Default)]
pub(super) struct Step {
    pub(super) extent: ErasureCount,
    pub(super) recorded: Vec<Seq>,
    pub(super) tampered: Vec<Violation>,
    /// The erased names, with the numbers of their entries.
    names: Vec<(Seq, IndexedName)>,
}

impl Eraser {
    /// Does the work of a transaction, between its begin and its commit. Returns how many of `seqs` it has handled.
    pub(super) async fn fill(&self, append: &mut Append, erasure: &Erasure, seqs: &[Seq]) -> Result<(usize, Step)> {
        let organization = &erasure.organization;
        let known = self.store.log_head(organization).await?.ok_or(Error::OrganizationNotFound)?;
        let head = append.wait_for_head(organization, &self.random.hex::<16>(), self.clock.now()).await?;
        if head.log_id != known.log_id {
            let other = "the database URL to erase by names another database than that to serve";
            return Err(Error::Internal(anyhow::anyhow!(other)));
        }
        // Read under the lock, so that it names the types of all entries.
        let catalogue = Arc::new(self.store.catalogue().await?);
        // Also read under the lock: once a key is one of the log's, all later records are signed.
        let keys = self.record_keys(organization, &head.log_id).await?;
        let mut log = Log::new(head, self.clock.now());
        let (mut step, mut hashes, mut done, mut bytes) = (Step::default(), Vec::new(), 0, 0);
        for piece in seqs.chunks(PIECE) {
            let mut entries = Vec::with_capacity(piece.len());
            for read in append.numbered(organization, piece).await? {
                match read {
                    Ok(hashed) => entries.push(hashed),
                    Err(seq) => step.tampered.push(unreadable(seq)),
                }
            }
            bytes += entries.iter().map(|hashed| hashed.entry.content.size()).sum::<usize>();
            let gone = self.take(append, erasure, (&log.head.log_id, &catalogue), entries, &mut step).await?;
            hashes.extend(gone);
            done += piece.len();
            // Each entry has at most two groups to erase.
            if hashes.len() + 2 * PIECE > GROUPS || bytes > BYTES {
                break;
            }
        }
        if hashes.is_empty() {
            return Ok((done, step));
        }
        let recorded = self.record(&mut log, erasure, catalogue, keys.as_ref(), &hashes, &mut step)?;
        append.keep_erased_hashes(organization, &recorded).await?;
        append.remove_names(organization, std::mem::take(&mut step.names)).await?;
        log::write(append, BTreeMap::from([(organization, log)])).await?;
        Ok((done, step))
    }

    /// Erases the values of `entries` that are left, and returns the hashes of their groups.
    async fn take(
        &self,
        append: &Append,
        erasure: &Erasure,
        (log_id, catalogue): (&str, &Catalogue),
        entries: Vec<HashedEntry>,
        step: &mut Step,
    ) -> Result<Vec<ErasedGroupHash>> {
        let partly = entries.iter().filter(|hashed| !hashed.entry.erased.is_empty());
        let partly: Vec<_> = partly.map(|hashed| hashed.entry.seq).collect();
        let before = append.erased_hashes(&erasure.organization, &partly).await?;
        let before: HashMap<_, _> = before.into_iter().map(|hash| ((hash.seq, hash.group), hash)).collect();
        let (mut hashes, mut gone) = (Vec::new(), BTreeMap::new());
        for hashed in &entries {
            let groups = erasure.groups_of(&hashed.entry).except(hashed.entry.erased);
            if groups.is_empty() {
                continue;
            }
            match whole(hashed, log_id, catalogue, &before) {
                Some(all) => {
                    hashes.extend(all.into_iter().filter(|hash| groups.has(hash.group)));
                    let names = IndexedName::of(&hashed.entry.content, groups).into_iter();
                    step.names.extend(names.map(|name| (hashed.entry.seq, name)));
                    gone.entry(groups.0).or_insert_with(Vec::new).push(hashed.entry.seq);
                }
                None => step.tampered.push(tampered(&hashed.entry)),
            }
        }
        for (groups, seqs) in gone {
            append.erase_values(&erasure.organization, Erased(groups), &seqs).await?;
            step.extent.entries += seqs.len() as i64;
        }
        step.extent.groups += hashes.len() as i64;
        hashes.sort_by_key(|hash| (hash.seq, hash.group));
        Ok(hashes)
    }

    /// Admits the entries that record the erased `hashes`. Returns each hash with the number of its recording entry.
    fn record(
        &self,
        log: &mut Log,
        erasure: &Erasure,
        catalogue: Arc<Catalogue>,
        keys: Option<&RecordKeys>,
        hashes: &[ErasedGroupHash],
        step: &mut Step,
    ) -> Result<Vec<(ErasedGroupHash, Seq)>> {
        let entries = hashes.chunks(RECORDED).map(|recorded| self.record_of(erasure, &catalogue, keys, recorded));
        let batch = Batch {
            organization: erasure.organization.clone(),
            key_id: SERVICE.to_owned(),
            entries: entries.collect::<Result<_>>()?,
            catalogue,
        };
        let written = log.admit(&batch, &log::prepare(&batch, &self.random)?)?;
        step.recorded = written.iter().map(|written| written.seq).collect();
        let by_entry = hashes.chunks(RECORDED).zip(&step.recorded);
        Ok(by_entry.flat_map(|(recorded, seq)| recorded.iter().map(|hash| (*hash, *seq))).collect())
    }

    /// The entry that records `recorded`, signed by `keys`.
    fn record_of(
        &self,
        erasure: &Erasure,
        catalogue: &Catalogue,
        keys: Option<&RecordKeys>,
        recorded: &[ErasedGroupHash],
    ) -> Result<NewEntry> {
        let json = |text: &str| JsonText::stored(serde_json::Value::from(text).to_string());
        let change =
            |field: &str, new_value| Change { field: field.to_owned(), old_value: JsonText::null(), new_value };
        let reason = change("reason", json(erasure.reason.as_str()));
        let hashes = recorded
            .iter()
            .map(|ErasedGroupHash { seq, group, hash }| change(&erased_field(*seq, *group), json(&hash.0.to_string())));
        let changes = std::iter::once(reason.clone()).chain(hashes).collect();
        let by = Some(erasure.key_id.as_str());
        let entry = ServiceEntry::Erasure.about(&erasure.organization, by, changes, catalogue, &self.random);
        let mut entry = entry
            .map_err(|why| Error::Internal(anyhow::Error::new(why).context("the catalogue lacks a name of ours")))?;
        if let Some(RecordKeys { origin, keys }) = keys {
            let content = Arc::make_mut(&mut entry.content);
            let record = ErasureRecord {
                id: content.id.as_str().to_owned(),
                user_id: content.user_id.as_str().to_owned(),
                reason: reason.new_value.as_str().to_owned(),
                groups: recorded.iter().map(|ErasedGroupHash { seq, group, hash }| (*seq, *group, *hash)).collect(),
            };
            let signatures = record.sign(origin, &keys.iter().collect::<Vec<&SigningKey>>());
            content.changes.push(change("signatures", json(&signatures)));
        }
        Ok(entry)
    }
}

/// The group hashes of an entry; groups erased before contribute their stored hashes. `None` if the hashes do not match
/// the leaf, or if the type or action has no name, so that no leaf can exist.
fn whole(
    HashedEntry { entry, salts, leaf }: &HashedEntry,
    log_id: &str,
    catalogue: &Catalogue,
    before: &HashMap<(Seq, Group), ErasedGroupHash>,
) -> Option<[ErasedGroupHash; 3]> {
    let resource_type = catalogue.resource_type_name(entry.content.resource_type)?;
    let action = catalogue.action_name(entry.content.action)?;
    let hashes = group_hashes(&entry_values(entry, resource_type, action), salts);
    let mut all =
        [0, 1, 2].map(|place| ErasedGroupHash { seq: entry.seq, group: Group::ALL[place], hash: hashes[place] });
    for hash in all.iter_mut().filter(|hash| entry.erased.has(hash.group)) {
        *hash = *before.get(&(entry.seq, hash.group))?;
    }
    let own = Hash::of_leaf(&entry_leaf(entry, log_id, all.map(|hash| hash.hash)).data());
    (own == *leaf).then_some(all)
}

fn unreadable(seq: Seq) -> Violation {
    let description = format!(
        "entry number {seq} cannot be read, so it was changed in the database; it was not erased, which would take away \
         the evidence"
    );
    Violation { field: "target".to_owned(), description }
}

fn tampered(entry: &Entry) -> Violation {
    let (id, seq) = (&entry.content.id, entry.seq);
    let description = format!(
        "entry {id} (number {seq}) is not what its leaf says, so it was changed in the database; it was not erased, \
         which would take away the evidence"
    );
    Violation { field: "target".to_owned(), description }
}
