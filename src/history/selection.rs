//! The entries that a rollback plan undoes: their resources, and the test of an entry.

use std::collections::{BTreeSet, HashSet};

use super::limits::MAX_FOLDED_ENTRIES;
use crate::domain::{
    Entry, EntryId, Identifier, Invalid, OrganizationId, PositionRange, ResourceKey, Seq, TimeRange, Timestamp,
};
use crate::error::{Error, MAX_VIOLATIONS, Result, Violation};
use crate::store::{IndexScan, Store};

/// The maximum number of resources of a plan.
pub const MAX_PLAN_RESOURCES: usize = 1_000;
/// The number of entries that a statement reads to find their resources.
const SCANNED: usize = 1_000;

/// The entries to undo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RollbackSelection {
    /// These entries, at least one.
    Entries(Vec<EntryId>),
    /// All entries of a resource after a time.
    Resource {
        /// The resource.
        resource: ResourceKey,
        /// Entries with later timestamps are undone.
        at: Timestamp,
    },
    /// All entries of a user within a time window.
    User {
        /// The user.
        user: Identifier,
        /// The window.
        window: TimeRange,
    },
    /// All entries of a trace.
    Trace(Identifier),
}

/// A selection whose resources are known.
pub(super) struct ResolvedSelection<'s> {
    selection: &'s RollbackSelection,
    /// The resources that have selected entries, and maybe others.
    pub(super) resources: BTreeSet<ResourceKey>,
    /// The numbers of entries that are selected by id.
    seqs: HashSet<Seq>,
}

impl<'s> ResolvedSelection<'s> {
    /// Finds the resources of `selection` among the entries up to `as_of`. The caller holds a read permit. Errors:
    /// `AuditLogsNotFound`; `InvalidParameter` for an entry after `as_of`; `TooManyEntries`.
    pub(super) async fn find(
        store: &Store,
        organization: &OrganizationId,
        selection: &'s RollbackSelection,
        as_of: Seq,
    ) -> Result<Self> {
        let mut seqs = HashSet::new();
        let resources = match selection {
            RollbackSelection::Entries(ids) => {
                let mut resources = BTreeSet::new();
                for (seq, resource) in of_ids(store, organization, ids, as_of).await? {
                    seqs.insert(seq);
                    resources.insert(resource);
                }
                resources
            }
            RollbackSelection::Resource { resource, at: _ } => BTreeSet::from([resource.clone()]),
            RollbackSelection::User { user, window } => {
                let scan = IndexScan::Users(vec![user.clone()]);
                scanned(store, organization, &scan, PositionRange::from(*window), as_of).await?
            }
            RollbackSelection::Trace(trace) => {
                let scan = IndexScan::Traces(vec![trace.clone()]);
                scanned(store, organization, &scan, PositionRange::ALL, as_of).await?
            }
        };
        Ok(Self { selection, resources, seqs })
    }

    /// Whether `entry`, which is of one of the resources, is selected.
    pub(super) fn has(&self, entry: &Entry) -> bool {
        match self.selection {
            RollbackSelection::Entries(_) => self.seqs.contains(&entry.seq),
            RollbackSelection::Resource { resource: _, at } => entry.timestamp > *at,
            RollbackSelection::User { user, window } => {
                let is_after_start = window.start().is_none_or(|start| start <= entry.timestamp);
                let is_before_end = window.end().is_none_or(|end| entry.timestamp < end);
                entry.content.user_id == *user && is_after_start && is_before_end
            }
            RollbackSelection::Trace(trace) => entry.content.trace_id.as_ref() == Some(trace),
        }
    }
}

/// The number and the resource of each entry of `ids`.
async fn of_ids(
    store: &Store,
    organization: &OrganizationId,
    ids: &[EntryId],
    as_of: Seq,
) -> Result<Vec<(Seq, ResourceKey)>> {
    let found = store.resources_of_ids(organization, ids).await?;
    let (mut entries, mut missing) = (Vec::with_capacity(ids.len()), Vec::new());
    for (place, id) in ids.iter().enumerate() {
        let field = format!("entries.ids[{place}]");
        match found.get(id) {
            Some((seq, resource)) if *seq <= as_of => entries.push((*seq, resource.clone())),
            Some((seq, _)) => {
                let allowed = format!("must be an entry up to sequence {as_of}");
                let Invalid(description) = Invalid::new(allowed, format_args!("one with sequence {seq}"));
                return Err(Error::invalid(field, description));
            }
            None if missing.len() < MAX_VIOLATIONS => {
                missing.push(Violation { field, description: format!("there is no entry {id}") });
            }
            None => break,
        }
    }
    match missing.is_empty() {
        true => Ok(entries),
        false => Err(Error::from_violations(missing, Error::AuditLogsNotFound)),
    }
}

/// The resources of the entries that `scan` finds within `span`.
async fn scanned(
    store: &Store,
    organization: &OrganizationId,
    scan: &IndexScan,
    mut span: PositionRange,
    as_of: Seq,
) -> Result<BTreeSet<ResourceKey>> {
    let (mut resources, mut entries) = (BTreeSet::new(), 0);
    loop {
        let found = store.stream_resources(organization, scan, span, as_of, SCANNED as i64).await?;
        entries += found.len() as u64;
        let is_last = found.len() < SCANNED;
        if let Some((position, _)) = found.last() {
            span.after = *position;
        }
        resources.extend(found.into_iter().map(|(_, resource)| resource));
        check(entries, resources.len())?;
        if is_last {
            return Ok(resources);
        }
        tokio::task::yield_now().await;
    }
}

/// Checks how many entries and resources are selected.
fn check(entries: u64, resources: usize) -> Result<()> {
    let limit = if entries > MAX_FOLDED_ENTRIES {
        format!("{MAX_FOLDED_ENTRIES} entries")
    } else if resources > MAX_PLAN_RESOURCES {
        format!("{MAX_PLAN_RESOURCES} resources")
    } else {
        return Ok(());
    };
    let advice = "select fewer, by a shorter time window, a single resource, or the ids of entries";
    Err(Error::TooManyEntries(format!("The selection has more than {limit}: {advice}")))
}
