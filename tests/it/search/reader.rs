//! Asks for pages and exports, and compares them with what brute force finds.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use auditlog::domain::{Catalogue, Offset, OrganizationId, Seq};
use auditlog::grpc::pb::ListAuditLogsRequest;
use auditlog::grpc::wire;
use auditlog::query::{Page, Query, Start};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::asked::Asked;
use super::model::{ErasedAt, Log, Row};
use crate::support::erasure::ORG;
use crate::support::ingest::{catalogue, organization};
use crate::support::surfaces::list;

/// How many pages of a walk are read after the first one.
const WALK: usize = 4;
const LIMITS: [usize; 8] = [1, 2, 3, 7, 20, 50, 99, 100];

/// An entry that matches, unless it was erased before it was read.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    /// Microseconds and number, by which lists are sorted.
    position: (i64, Seq),
    /// Whether no erasure can have come before the read.
    is_sure: bool,
}

/// The numbers of requests of a reader.
#[derive(Default)]
pub struct Tally {
    pub asked: usize,
    pub pages: usize,
    pub exports: usize,
    /// Entries of first pages.
    pub found: usize,
    /// Pairs of parameters of one search, and those of searches with a match.
    pub pairs: BTreeSet<[String; 2]>,
    pub matched: BTreeSet<[String; 2]>,
}

impl Tally {
    pub fn plus(mut self, other: Self) -> Self {
        let Self { asked, pages, exports, found, pairs, matched } = other;
        self.asked += asked;
        self.pages += pages;
        self.exports += exports;
        self.found += found;
        self.pairs.extend(pairs);
        self.matched.extend(matched);
        self
    }
}

/// Asks the service's query layer, with requests as gRPC has them.
pub struct Reader<'a> {
    log: &'a Log,
    query: Query,
    organization: OrganizationId,
    catalogue: Arc<Catalogue>,
    random: StdRng,
    /// Newest first.
    rows: Vec<Arc<Row>>,
    heads: Vec<(usize, Seq)>,
    erased: BTreeMap<Seq, ErasedAt>,
    pub tally: Tally,
}

impl<'a> Reader<'a> {
    pub fn new(log: &'a Log, seed: u64) -> Self {
        Self {
            log,
            query: Query::new(log.store.clone()),
            organization: organization(ORG),
            catalogue: catalogue(),
            random: StdRng::seed_from_u64(seed),
            rows: Vec::new(),
            heads: Vec::new(),
            erased: BTreeMap::new(),
            tally: Tally::default(),
        }
    }

    async fn refresh(&mut self) {
        let log = self.log;
        let known = log.known().await;
        let is_new = known.rows.len() > self.rows.len();
        self.rows.extend(known.rows[self.rows.len()..].iter().cloned());
        self.heads.clone_from(&known.heads);
        self.erased.clone_from(&known.erased);
        drop(known);
        if is_new {
            self.rows.sort_by_key(|row| Reverse((row.time, row.seq)));
        }
    }

    /// A random search of what is known now.
    pub async fn search(&mut self) -> Asked {
        self.refresh().await;
        Asked::random(&mut self.random, &self.rows)
    }

    /// A random limit.
    pub fn limit(&mut self) -> usize {
        *LIMITS.choose(&mut self.random).expect("limits")
    }

    /// The entries that match at some time after the step `first`, newest first.
    fn candidates(&self, asked: &Asked, first: usize) -> Vec<Candidate> {
        let candidate = |row: &Arc<Row>| {
            let erased_at = self.erased.get(&row.seq).copied().unwrap_or_default();
            let then = erased_at.map(|step| step.is_some_and(|step| step <= first));
            let now = erased_at.map(|step| step.is_some());
            let is_sure = || then == now || asked.matches(row, now);
            asked.matches(row, then).then(|| Candidate { position: (row.time, row.seq), is_sure: is_sure() })
        };
        self.rows.iter().filter_map(candidate).collect()
    }

    /// The numbers of the entries that match now, newest first.
    pub fn expected(&self, asked: &Asked) -> Vec<Seq> {
        self.candidates(asked, usize::MAX).iter().map(|one| one.position.1).collect()
    }

    /// The heads at which the log stood at some time after the step `first`.
    fn heads_from(&self, first: usize) -> Vec<Seq> {
        let before = self.heads.partition_point(|(step, _)| *step <= first);
        self.heads[before.saturating_sub(1)..].iter().map(|(_, head)| *head).collect()
    }

    async fn page(&mut self, asked: &Asked, start: Start, limit: usize) -> Page {
        let request = list(&asked.query).expect("a request of gRPC");
        let request = ListAuditLogsRequest { limit: i32::try_from(limit).ok(), ..request };
        let (filter, _, limit) = wire::listing(request, &self.catalogue).expect("a filter");
        let page = self.query.list("key", &self.organization, &filter, start, limit).await;
        self.tally.pages += 1;
        page.unwrap_or_else(|error| panic!("{asked:?}: {}", error.with_causes()))
    }

    /// An offset at an end or in the middle of a list of `total` entries.
    fn offset(&mut self, total: usize, limit: usize) -> usize {
        let edges = [0, 0, 0, 1, total / 2, total.saturating_sub(limit), total.saturating_sub(1), total, total + 1];
        *edges.choose(&mut self.random).expect("offsets")
    }

    /// Asks for a page, and follows its cursor.
    pub async fn ask(&mut self) {
        let asked = self.search().await;
        let (limit, total) = (self.limit(), self.expected(&asked).len());
        let (offset, first) = (self.offset(total, limit), self.log.steps());
        let start = Start::Offset(Offset::parse(i64::try_from(offset).ok()).expect("an offset"));
        let page = self.page(&asked, start, limit).await;
        self.refresh().await;
        let candidates = self.candidates(&asked, first);
        let (all, mut heads) = (self.heads_from(first), self.heads_from(first));
        heads.retain(|head| is_first_page(&page, &up_to(&candidates, *head), offset, limit));
        assert!(!heads.is_empty(), "{asked:?} from {offset}: {} at none of {all:?}", described(&page, &candidates));
        self.count(&asked, &page, !candidates.is_empty());
        self.walk(&asked, page, heads).await;
    }

    /// Follows the cursor of `page` with other limits. The walk began at one of `heads`.
    async fn walk(&mut self, asked: &Asked, mut page: Page, mut heads: Vec<Seq>) {
        for _ in 0..WALK {
            let Some(cursor) = page.next_cursor.take() else { return };
            let last = page.entries.last().map(|entry| (entry.timestamp.micros(), entry.seq)).expect("it has entries");
            let walked = Walked { total: page.total, offset: page.offset + page.entries.len() as i64, last };
            let (limit, first) = (self.limit(), self.log.steps());
            page = self.page(asked, Start::Cursor(cursor), limit).await;
            self.refresh().await;
            let candidates = self.candidates(asked, first);
            heads.retain(|head| walked.is_next_page(&page, &up_to(&candidates, *head), limit));
            assert!(!heads.is_empty(), "{asked:?} after {walked:?}: {}", described(&page, &candidates));
        }
    }

    fn count(&mut self, asked: &Asked, page: &Page, is_matched: bool) {
        self.tally.asked += 1;
        self.tally.found += page.entries.len();
        let parameters: Vec<_> = asked.parameters().into_iter().collect();
        for (place, one) in parameters.iter().enumerate() {
            let pairs = parameters[..place].iter().map(|other| [other.clone(), one.clone()]);
            let pairs: Vec<_> = pairs.collect();
            if is_matched {
                self.tally.matched.extend(pairs.iter().cloned());
            }
            self.tally.pairs.extend(pairs);
        }
    }

    /// Exports all matching entries after a random number.
    pub async fn export(&mut self) {
        let asked = self.search().await;
        let after =
            if self.random.random_bool(0.5) { 0 } else { self.rows.choose(&mut self.random).expect("rows").seq };
        let first = self.log.steps();
        let request = list(&asked.query).expect("a request of gRPC");
        let (filter, _, _) = wire::listing(request, &self.catalogue).expect("a filter");
        let export = self.query.export("key", self.organization.clone(), filter, after, None).await;
        let mut export = export.unwrap_or_else(|error| panic!("{asked:?}: {}", error.with_causes()));
        let (mut numbers, mut head) = (Vec::new(), 0);
        while let Some(piece) = export.next().await.expect("a piece") {
            numbers.extend(piece.entries.iter().map(|entry| entry.seq));
            head = piece.head;
        }
        self.refresh().await;
        let mut candidates = up_to(&self.candidates(&asked, first), head);
        candidates.retain(|one| one.position.1 > after);
        candidates.sort_by_key(|one| one.position.1);
        let rest = rest_after(&candidates, &numbers);
        let is_whole = rest.is_some_and(|rest| !rest.iter().any(|one| one.is_sure));
        assert!(self.heads_from(first).contains(&head), "{asked:?}: the log never ended at {head}");
        assert!(is_whole, "{asked:?} after {after} to {head}: {numbers:?} of {candidates:?}");
        self.tally.exports += 1;
    }
}

fn up_to(candidates: &[Candidate], head: Seq) -> Vec<Candidate> {
    candidates.iter().copied().filter(|one| one.position.1 <= head).collect()
}

/// The candidates after the entries with these numbers. `None` if the numbers leave out a sure one or have another.
fn rest_after<'c>(candidates: &'c [Candidate], numbers: &[Seq]) -> Option<&'c [Candidate]> {
    let mut rest = candidates;
    for number in numbers {
        let place = rest.iter().position(|one| one.position.1 == *number)?;
        if rest[..place].iter().any(|one| one.is_sure) {
            return None;
        }
        rest = &rest[place + 1..];
    }
    Some(rest)
}

/// How many of `candidates` match: the sure ones, and some of the others.
fn matching(candidates: &[Candidate]) -> RangeInclusive<i64> {
    let sure = candidates.iter().filter(|one| one.is_sure).count();
    sure as i64..=candidates.len() as i64
}

fn numbers(page: &Page) -> Vec<Seq> {
    page.entries.iter().map(|entry| entry.seq).collect()
}

/// Whether the page says where it is, and has a cursor exactly if entries follow.
fn is_placed(page: &Page, offset: i64, limit: usize) -> bool {
    let count = page.entries.len();
    let is_followed = offset.saturating_add(count as i64) < page.total && count == limit;
    page.offset == offset && usize::from(page.limit.get()) == limit && page.next_cursor.is_some() == is_followed
}

/// Whether `page` is the one from `offset` on of a list of `candidates`.
fn is_first_page(page: &Page, candidates: &[Candidate], offset: usize, limit: usize) -> bool {
    let (offset, numbers) = (offset as i64, numbers(page));
    let count = numbers.len() as i64;
    let expected = (page.total - offset).clamp(0, limit as i64);
    if !matching(candidates).contains(&page.total) || count != expected || !is_placed(page, offset, limit) {
        return false;
    }
    let Some(first) = numbers.first() else { return true };
    let Some(place) = candidates.iter().position(|one| one.position.1 == *first) else { return false };
    let rest = rest_after(&candidates[place..], &numbers);
    matching(&candidates[..place]).contains(&offset)
        && rest.is_some_and(|rest| matching(rest).contains(&(page.total - offset - count)))
}

/// The state of a walk before a page.
#[derive(Debug)]
struct Walked {
    total: i64,
    offset: i64,
    /// The position of the last entry.
    last: (i64, Seq),
}

impl Walked {
    /// Whether `page` is the next one of a walk through `candidates`. It may be short only if no more entries match.
    fn is_next_page(&self, page: &Page, candidates: &[Candidate], limit: usize) -> bool {
        let Self { total, offset, last } = self;
        let above = candidates.partition_point(|one| one.position >= *last);
        let expected = (total - offset).min(limit as i64);
        let count = page.entries.len() as i64;
        let is_full = |rest: &[Candidate]| match count.cmp(&expected) {
            Ordering::Less => !rest.iter().any(|one| one.is_sure),
            Ordering::Equal => true,
            Ordering::Greater => false,
        };
        page.total == *total
            && is_placed(page, *offset, limit)
            && rest_after(&candidates[above..], &numbers(page)).is_some_and(is_full)
    }
}

fn described(page: &Page, candidates: &[Candidate]) -> String {
    let Page { total, limit, offset, next_cursor, .. } = page;
    let (numbers, is_followed) = (numbers(page), next_cursor.is_some());
    format!(
        "total {total}, limit {limit:?}, offset {offset}, followed {is_followed}, entries {numbers:?} of {candidates:?}"
    )
}
