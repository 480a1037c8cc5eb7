//! Looks for new breaks of continuity in all organizations. It remembers one number for each organization, in memory:
//! the entries up to this number are checked, or were there when it first met the organization.

use std::collections::HashMap;

use tracing::{debug, warn};

use super::check::{CheckScope, ContinuityCheck, ContinuityPiece};
use super::model::{BreakClass, LifeActions};
use super::totals::CheckTotals;
use crate::domain::{OrganizationId, Seq};
use crate::error::Result;
use crate::metrics::BreakCounters;
use crate::store::Store;

/// The number of organizations whose heads one statement reads.
const HEADS_PIECE: usize = 1_000;
/// The maximum number of organizations that are remembered, with some 100 bytes each. Further ones are not checked.
const MAX_ORGANIZATIONS: usize = 1_000_000;
/// The maximum number of breaks that one step logs. A last line has the number of the others.
const MAX_LOGGED: usize = 10;

/// Checks the entries that come to all organizations, and counts and logs their breaks. Takes no read permits.
pub struct ContinuityMonitor {
    store: Store,
    counters: BreakCounters,
    checked: CheckedNumbers,
}

impl ContinuityMonitor {
    /// Checks the organizations of `store`. The entries that they have at the first step count as checked.
    pub fn new(store: Store, counters: BreakCounters) -> Self {
        let checked = CheckedNumbers { seqs: HashMap::new(), max: MAX_ORGANIZATIONS, has_begun: false };
        Self { store, counters, checked }
    }

    /// Checks what came to each organization since the last step. Counts and logs the breaks of an organization when its
    /// check ends; if it fails, the next step repeats it. Errors: the first of all organizations; the others are checked
    /// nevertheless.
    pub async fn step(&mut self) -> Result<()> {
        let catalogue = self.store.catalogue().await;
        let catalogue = catalogue.map_err(|error| error.clone_with_context("the catalogue cannot be read"))?;
        let mut log = BreakLog::default();
        let outcome = self.check_all(LifeActions::of(&catalogue), &mut log).await;
        log.end();
        outcome
    }

    async fn check_all(&mut self, actions: LifeActions, log: &mut BreakLog) -> Result<()> {
        let (mut outcome, mut seen) = (Ok(()), 0);
        let mut last: Option<OrganizationId> = None;
        loop {
            let heads = self.store.heads(last.as_ref(), HEADS_PIECE as i64).await;
            let heads = heads.map_err(|error| error.clone_with_context("the organizations cannot be read"))?;
            seen += heads.len();
            for (organization, head) in &heads {
                let checked = self.check_new(organization, *head, actions, log).await;
                outcome = outcome.and(checked);
            }
            if heads.len() < HEADS_PIECE {
                break;
            }
            last = heads.into_iter().next_back().map(|(organization, _)| organization);
        }
        self.checked.has_begun = true;
        let unchecked = seen.saturating_sub(self.checked.seqs.len());
        if unchecked > 0 {
            warn!(unchecked, "the continuity of some organizations is not checked, because there are too many");
        }
        outcome
    }

    /// Checks what came to `organization`, whose log ends at `head`.
    async fn check_new(
        &mut self,
        organization: &OrganizationId,
        head: Seq,
        actions: LifeActions,
        log: &mut BreakLog,
    ) -> Result<()> {
        let Some(after) = self.checked.after(organization, head) else { return Ok(()) };
        let found = self.new_breaks(organization, (after, head), actions).await.map_err(|error| {
            error.clone_with_context(&format!("the continuity of {organization} cannot be checked"))
        })?;
        // Nothing waits from here on, so a drain cannot separate these.
        let NewBreaks { totals, unexplained: listed } = found;
        debug!(%organization, after, head, ?totals, "checked the continuity");
        let unexplained = totals.breaks.saturating_sub(totals.order_breaks);
        self.counters.found(totals.order_breaks, unexplained);
        log.add(organization, &listed, unexplained);
        self.checked.set(organization, head);
        Ok(())
    }

    /// The breaks that have an entry with a number after the first one, up to the second one.
    async fn new_breaks(
        &self,
        organization: &OrganizationId,
        (after, head): (Seq, Seq),
        actions: LifeActions,
    ) -> Result<NewBreaks> {
        let (store, organization) = (self.store.clone(), organization.clone());
        let scope = CheckScope { resource: None, as_of: None, after, resume_token: None };
        let mut check = ContinuityCheck::begin(store, None, organization, actions, scope, head).await?;
        let mut found = NewBreaks::default();
        while let Some(piece) = check.next().await? {
            found.add(&piece);
        }
        Ok(found)
    }
}

/// The number up to which each organization is checked.
struct CheckedNumbers {
    seqs: HashMap<OrganizationId, Seq>,
    /// The maximum number of organizations.
    max: usize,
    /// Whether the first step has ended. An organization that is met later is new.
    has_begun: bool,
}

impl CheckedNumbers {
    /// The number after which to check `organization`, whose log ends at `head`; `None` if there is nothing to check.
    /// Only later entries count in the first step, and if the database was restored to an earlier state.
    fn after(&mut self, organization: &OrganizationId, head: Seq) -> Option<Seq> {
        match self.seqs.get_mut(organization) {
            Some(checked) if *checked < head => Some(*checked),
            Some(checked) => {
                *checked = head;
                None
            }
            None => {
                let from = if self.has_begun { 0 } else { head };
                if self.seqs.len() == self.max {
                    return None;
                }
                self.seqs.insert(organization.clone(), from);
                (from < head).then_some(from)
            }
        }
    }

    /// Records that `organization`, which is known, is checked up to `seq`.
    fn set(&mut self, organization: &OrganizationId, seq: Seq) {
        if let Some(checked) = self.seqs.get_mut(organization) {
            *checked = seq;
        }
    }
}

/// The result of the check of an organization.
#[derive(Default)]
struct NewBreaks {
    totals: CheckTotals,
    /// The numbers of the earlier and the later entry of unexplained breaks, at most [`MAX_LOGGED`].
    unexplained: Vec<(Seq, Seq)>,
}

impl NewBreaks {
    fn add(&mut self, piece: &ContinuityPiece) {
        self.totals = piece.totals;
        let room = MAX_LOGGED - self.unexplained.len();
        let breaks = piece.breaks.iter().map(|found| &found.found);
        let unexplained = breaks.filter(|found| found.class == BreakClass::Unexplained);
        self.unexplained.extend(unexplained.map(|found| (found.earlier.seq, found.later.seq)).take(room));
    }
}

/// The log of one step. Its lines name organizations and numbers of entries, and nothing of their content: a value, the
/// path of a field, and the id of a resource may be personal.
#[derive(Default)]
struct BreakLog {
    lines: usize,
    left_out: u64,
}

impl BreakLog {
    /// Logs the unexplained breaks of an organization, while there is room. `listed` has the first ones of them, by the
    /// numbers of their entries.
    fn add(&mut self, organization: &OrganizationId, listed: &[(Seq, Seq)], unexplained: u64) {
        let shown = listed.len().min(MAX_LOGGED - self.lines);
        for (earlier, later) in listed.iter().take(shown) {
            warn!(%organization, earlier, later, "a change found another value than the one written before it");
        }
        self.lines += shown;
        self.left_out += unexplained - shown as u64;
    }

    /// Logs the number of the breaks that had no room.
    fn end(self) {
        if self.left_out > 0 {
            warn!(breaks = self.left_out, "more changes found another value than the one written before");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_is_checked_once_and_those_of_before_are_not() {
        let [one, other, third] = ["a", "b", "c"].map(|id| OrganizationId::parse(id).expect("an id"));
        let mut checked = CheckedNumbers { seqs: HashMap::new(), max: 2, has_begun: false };
        assert_eq!((checked.after(&one, 7), checked.after(&other, 0)), (None, None), "what it finds is not new");
        assert_eq!((checked.after(&one, 9), checked.after(&other, 2)), (Some(7), Some(0)));
        assert_eq!(checked.after(&one, 9), Some(7), "the check of before failed");
        checked.set(&one, 9);
        assert_eq!((checked.after(&one, 9), checked.after(&one, 10)), (None, Some(9)));
        assert_eq!((checked.after(&one, 4), checked.after(&one, 5)), (None, Some(4)), "an older database was restored");
        assert_eq!((checked.after(&third, 1), checked.after(&third, 2)), (None, None), "there are too many");
        assert_eq!(checked.seqs.len(), 2);
    }
}
