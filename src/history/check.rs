//! Checks the continuity of one resource, or of all resources of an organization. The check reads entries in pieces. It
//! holds one resource at a time: the values of its fields, and the breaks that are not sent yet.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::breaks::{Classification, ResourceCheck, bytes};
use super::limits::MAX_FOLD_BYTES;
use super::model::{BreakClass, ContinuityBreak, LifeActions};
use super::reader::{Turn, next_size};
use super::token::ResumeToken;
use super::totals::CheckTotals;
use crate::domain::{Identifier, OrganizationId, Position, ResourceKey, ResourceType, Seq, check_seq};
use crate::error::{AtField, Error, Result};
use crate::limits::Reservation;
use crate::store::{PieceSize, Store};

/// The maximum number of later entries whose resources are looked up. With more, all resources are read.
pub const MAX_LATER_ENTRIES: Seq = 100_000;
/// The number of later entries that a statement reads to find their resources.
const LATER_PIECE: Seq = 10_000;
/// A piece ends after this time or this number of statements, so that its reader hears of the check.
const PIECE_TIME: Duration = Duration::from_secs(1);
const PIECE_STATEMENTS: usize = 100;
/// A piece ends when its breaks have this many bytes.
const PIECE_BYTES: usize = 1024 * 1024;

/// Selects the resources and the entries of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckScope {
    /// The only resource; `None` for all resources of the organization.
    pub resource: Option<ResourceKey>,
    /// Entries with higher numbers do not count; `None` for all entries now.
    pub as_of: Option<Seq>,
    /// Only breaks with an entry after this number are reported.
    pub after: Seq,
    /// The token of an earlier piece of the same check.
    pub resume_token: Option<String>,
}

/// A break and its resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundBreak {
    /// The resource.
    pub resource: Arc<ResourceKey>,
    /// The break.
    pub found: ContinuityBreak,
    /// Whether its class is known. If not, it is [`BreakClass::Unexplained`].
    pub is_classified: bool,
}

/// The result of a part of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContinuityPiece {
    /// The breaks that were found since the last piece.
    pub breaks: Vec<FoundBreak>,
    /// The numbers so far.
    pub totals: CheckTotals,
    /// The last number that counts.
    pub as_of: Seq,
    /// Only breaks with an entry after this number are reported.
    pub after: Seq,
    /// The token to continue after this piece; `None` if breaks of the same resources follow, before the end of the
    /// first resource, after the last piece, and for a check of one resource.
    pub resume_token: Option<String>,
    /// Whether the check is complete.
    pub is_last: bool,
}

/// A check under way. It holds no database resources between pieces.
pub struct ContinuityCheck {
    store: Store,
    /// The key whose permits and bytes the check takes; `None` for a background job, which takes none.
    key_id: Option<String>,
    organization: OrganizationId,
    actions: LifeActions,
    as_of: Seq,
    after: Seq,
    source: EntrySource,
    /// The bytes of `source` at the beginning.
    source_bytes: usize,
    piece: PieceSize,
    /// The resource under way.
    current: Option<ResourceCheck>,
    /// Resources whose entries were read, and whose breaks have no class yet.
    unclassified: VecDeque<Classification>,
    /// The breaks of the next piece, and their bytes.
    ready: Vec<FoundBreak>,
    ready_bytes: usize,
    /// Of the resources whose entries were read.
    totals: CheckTotals,
    /// The last of these resources.
    last: Option<ResourceKey>,
    has_token: bool,
    is_done: bool,
    /// The bytes of the last piece and of the resource under way.
    held: Option<Reservation>,
}

/// The entries that are left to read, resource by resource.
enum EntrySource {
    /// These resources, and the position that was read in the first of them.
    Listed(VecDeque<ResourceKey>, Position),
    /// All resources of these types, and the resource and the position that were read in the first type.
    OfTypes(VecDeque<ResourceType>, Option<(Identifier, Position)>),
}

impl EntrySource {
    fn is_empty(&self) -> bool {
        match self {
            Self::Listed(resources, _) => resources.is_empty(),
            Self::OfTypes(types, _) => types.is_empty(),
        }
    }

    /// The bytes of the list of resources.
    fn bytes(&self) -> usize {
        let of = |resource: &ResourceKey| size_of::<ResourceKey>() + resource.id.as_str().len();
        match self {
            Self::Listed(resources, _) => resources.iter().map(of).sum(),
            Self::OfTypes(..) => 0,
        }
    }
}

impl ContinuityCheck {
    /// Begins a check of the log that ends at `head`. The caller holds a read permit of the key, if there is one.
    pub(super) async fn begin(
        store: Store,
        key_id: Option<&str>,
        organization: OrganizationId,
        actions: LifeActions,
        scope: CheckScope,
        head: Seq,
    ) -> Result<Self> {
        let CheckScope { resource, as_of, after, resume_token } = scope;
        let token = |text| ResumeToken::parse(text, &organization);
        let resumed = resume_token.as_deref().map(token).transpose().at("resume_token")?;
        let asked = as_of.or(resumed.as_ref().map(|token| token.as_of)).unwrap_or(head);
        let as_of = check_seq(asked, head, "the organization's last number").at("as_of_sequence")?;
        let after = check_seq(after, as_of, "where the check ends").at("after_sequence")?;
        if resumed.as_ref().is_some_and(|token| (token.as_of, token.after) != (as_of, after) || resource.is_some()) {
            return Err(Error::invalid(
                "resume_token",
                "must come with the other fields of the check that it continues",
            ));
        }
        let has_token = resource.is_none();
        let last = resumed.as_ref().map(|token| token.last.clone());
        let source = source(&store, &organization, resource, (after, as_of), last.as_ref()).await?;
        Ok(Self {
            store,
            key_id: key_id.map(str::to_owned),
            organization,
            actions,
            as_of,
            after,
            source_bytes: source.bytes(),
            source,
            piece: PieceSize::FIRST,
            current: None,
            unclassified: VecDeque::new(),
            ready: Vec::new(),
            ready_bytes: 0,
            totals: resumed.map_or_else(CheckTotals::default, |token| token.totals),
            last,
            has_token,
            is_done: false,
            held: None,
        })
    }

    /// The next piece; `None` after the last. There is at least one piece.
    pub async fn next(&mut self) -> Result<Option<ContinuityPiece>> {
        // The last piece is sent.
        let mut own = self.hold(0);
        if self.is_done {
            return Ok(None);
        }
        let begun = Instant::now();
        for _ in 0..PIECE_STATEMENTS {
            if self.ready_bytes >= PIECE_BYTES || self.is_read() || begun.elapsed() >= PIECE_TIME {
                break;
            }
            let _permit = match &self.key_id {
                Some(key_id) => Some(self.store.read_permit_of_stream(key_id, &self.organization, own).await?),
                None => None,
            };
            self.step().await?;
            own = self.hold(self.ready_bytes);
        }
        self.is_done = self.is_read();
        self.ready_bytes = 0;
        Ok(Some(ContinuityPiece {
            breaks: std::mem::take(&mut self.ready),
            totals: self.totals_so_far(),
            as_of: self.as_of,
            after: self.after,
            resume_token: self.resume_token(),
            is_last: self.is_done,
        }))
    }

    /// Whether nothing is left to read.
    fn is_read(&self) -> bool {
        self.source.is_empty() && self.unclassified.is_empty()
    }

    fn totals_so_far(&self) -> CheckTotals {
        self.current.as_ref().map_or(self.totals, |current| current.added_to(self.totals))
    }

    fn resume_token(&self) -> Option<String> {
        let is_whole = self.has_token && !self.is_done && self.unclassified.is_empty();
        let last = self.last.clone().filter(|_| is_whole)?;
        Some(ResumeToken { as_of: self.as_of, after: self.after, totals: self.totals, last }.text(&self.organization))
    }

    /// Counts the bytes of this check, and those of `breaks`, against the budget of the key, if there is one. Returns
    /// their number.
    fn hold(&mut self, breaks: usize) -> usize {
        let Some(key_id) = &self.key_id else { return 0 };
        let current = self.current.as_ref().map_or(0, ResourceCheck::bytes);
        let unclassified: usize = self.unclassified.iter().map(Classification::bytes).sum();
        // Given back first, so that no byte counts twice.
        self.held = None;
        let bytes = (current + unclassified).min(MAX_FOLD_BYTES) + self.source_bytes + breaks;
        self.held = Some(self.store.hold(key_id, bytes));
        bytes
    }

    /// Runs one statement.
    async fn step(&mut self) -> Result<()> {
        let Some(classification) = self.unclassified.front_mut() else { return self.read().await };
        if let Some(seqs) = classification.next_seqs() {
            let entries = self.store.entries_numbered(&self.organization, &seqs).await?;
            classification.begin_piece(&entries);
            let mut turn = Turn::default();
            for entry in &entries {
                classification.push(entry);
                turn.pause().await;
            }
        } else if let Some(classification) = self.unclassified.pop_front() {
            let (resource, breaks, is_classified) = classification.finish();
            self.totals.order_breaks += breaks.iter().filter(|found| found.class == BreakClass::Order).count() as u64;
            self.report(resource, breaks, is_classified);
        }
        Ok(())
    }

    /// Reads entries, and checks them.
    async fn read(&mut self) -> Result<()> {
        let limit = self.piece.entries();
        let (store, organization, as_of) = (&self.store, &self.organization, self.as_of);
        let entries = match &self.source {
            EntrySource::Listed(resources, after) => match resources.front() {
                Some(resource) => store.resource_entries(organization, resource, *after, as_of, limit as i64).await?,
                None => return Ok(()),
            },
            EntrySource::OfTypes(types, after) => match types.front() {
                Some(code) => {
                    let after = after.as_ref().map(|(id, position)| (id, *position));
                    store.entries_by_resource(organization, *code, after, as_of, limit as i64).await?
                }
                None => return Ok(()),
            },
        };
        self.piece = next_size(&entries);
        let mut turn = Turn::default();
        for entry in &entries {
            if !self.current.as_ref().is_some_and(|current| current.resource.is_of(&entry.content)) {
                self.end_resource();
            }
            let new = || ResourceCheck::new(ResourceKey::of(&entry.content), self.actions);
            self.current.get_or_insert_with(new).push(entry, self.after);
            turn.pause().await;
        }
        let last = entries.last().filter(|_| entries.len() == limit);
        if last.is_none() {
            self.end_resource();
        }
        match (&mut self.source, last) {
            (EntrySource::Listed(_, after), Some(last)) => *after = Position::of(last),
            (EntrySource::Listed(resources, after), None) => {
                resources.pop_front();
                *after = Position::START;
            }
            (EntrySource::OfTypes(_, after), Some(last)) => {
                *after = Some((last.content.resource_id.clone(), Position::of(last)));
            }
            (EntrySource::OfTypes(types, after), None) => {
                types.pop_front();
                *after = None;
            }
        }
        Ok(())
    }

    /// Ends the check of the resource under way, all of whose entries were read.
    fn end_resource(&mut self) {
        let Some(current) = self.current.take() else { return };
        self.totals = current.added_to(self.totals);
        self.totals.resources += 1;
        self.last = Some(current.resource.clone());
        match current.classification(self.actions) {
            Ok(classification) => self.unclassified.push_back(classification),
            Err((resource, breaks, is_classified)) => self.report(resource, breaks, is_classified),
        }
    }

    /// Adds the breaks of a resource to the next piece.
    fn report(&mut self, resource: ResourceKey, breaks: Vec<ContinuityBreak>, is_classified: bool) {
        let resource = Arc::new(resource);
        for found in breaks {
            self.ready_bytes += bytes(&found);
            self.ready.push(FoundBreak { resource: Arc::clone(&resource), found, is_classified });
        }
    }
}

/// The entries of a check between two numbers, after the resource `last`, which was checked already.
async fn source(
    store: &Store,
    organization: &OrganizationId,
    resource: Option<ResourceKey>,
    (after, as_of): (Seq, Seq),
    last: Option<&ResourceKey>,
) -> Result<EntrySource> {
    if let Some(resource) = resource {
        return Ok(EntrySource::Listed([resource].into(), Position::START));
    }
    if after > 0 && as_of - after <= MAX_LATER_ENTRIES {
        let mut resources = BTreeSet::new();
        let mut at = after;
        while at < as_of {
            let to = as_of.min(at + LATER_PIECE);
            let later = store.numbered_resources(organization, at, to).await?;
            resources.extend(later.into_iter().filter(|resource| last.is_none_or(|last| resource > last)));
            at = to;
            tokio::task::yield_now().await;
        }
        return Ok(EntrySource::Listed(resources.into_iter().collect(), Position::START));
    }
    let mut types: VecDeque<_> = store.snapshot().types(organization).await?.into();
    types.retain(|code| last.is_none_or(|last| *code >= last.resource_type));
    // After all entries of the last resource, if its type is not complete.
    let checked = last.filter(|last| types.front() == Some(&last.resource_type));
    Ok(EntrySource::OfTypes(types, checked.map(|last| (last.id.clone(), Position::END))))
}
