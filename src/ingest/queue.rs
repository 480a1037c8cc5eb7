//! The write queue: a queue for each organization, served in turns. It forms the groups that committers commit. An
//! organization is in at most one group at a time, so its writes keep their order.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::{AddAssign, SubAssign};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{QueueLimits, QueuedWrite};
use crate::domain::OrganizationId;

/// The maximum size of a group; a single larger request is allowed.
const GROUP: WriteSize = WriteSize { entries: 500, bytes: 1024 * 1024 };
/// How long a group of a single organization waits for the lock of its head, if no other organization was locked. If
/// others were, each gets a part of this time, so that one that is free again, or new, has its turn soon.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
const MIN_LOCK_TIMEOUT: Duration = Duration::from_millis(20);
/// The part of the queue that one organization may fill: one half.
const ORGANIZATION_SHARE: usize = 2;
/// A latency measured longer ago than this says nothing about the next group.
const RECENT: Duration = Duration::from_secs(10);

/// The size of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct WriteSize {
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

/// Why a write is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueueFull {
    /// The whole queue is full.
    Whole,
    /// The queue of the write's organization is full.
    Organization,
}

/// Writes that are committed in one transaction.
pub(super) struct Group {
    pub(super) number: u64,
    /// The writes of each organization, in the order of their arrival.
    pub(super) parts: Vec<GroupPart>,
    /// How long to wait for the lock of the head, if the group has a single organization whose log was locked, or did
    /// not exist, in an earlier group. Other groups do not wait.
    pub(super) lock_timeout: Option<Duration>,
}

/// The writes of one organization in a group.
pub(super) struct GroupPart {
    pub(super) organization: OrganizationId,
    pub(super) writes: Vec<QueuedWrite>,
}

/// The writes of one organization after their group.
pub(super) struct EndedPart {
    pub(super) organization: OrganizationId,
    /// The size of the writes that are answered now.
    pub(super) answered: WriteSize,
    /// The writes to try again, alone.
    pub(super) rest: Vec<QueuedWrite>,
}

/// The queue, shared by its writers and the committers.
#[derive(Clone)]
pub(super) struct WriteQueue {
    queues: Arc<Mutex<Queues>>,
    ready: Arc<Notify>,
}

/// The state of the queue.
struct Queues {
    organizations: HashMap<OrganizationId, OrganizationQueue>,
    /// Organizations with waiting writes that are in no group, in the order of their turns.
    turns: VecDeque<OrganizationId>,
    /// Like `turns`, for organizations that were locked.
    locked: VecDeque<OrganizationId>,
    /// The groups under way.
    groups: BTreeMap<u64, GroupState>,
    /// The number of the next group.
    next: u64,
    /// Whether the last group was for an organization that was locked.
    was_alone: bool,
    /// The size of all writes, waiting or in a group.
    size: WriteSize,
    limits: QueueLimits,
    committers: usize,
    /// The moving average of the latency of groups, and when the last group ended.
    latency: Option<(Duration, Instant)>,
    is_closed: bool,
}

#[derive(Default)]
struct OrganizationQueue {
    /// The writes that are in no group.
    waiting: VecDeque<QueuedWrite>,
    /// The size of all writes, waiting or in a group.
    size: WriteSize,
    /// When the group of its oldest writes began. It stays if the organization was locked then.
    begun: Option<Instant>,
}

struct GroupState {
    begun: Instant,
    is_alone: bool,
}

impl WriteSize {
    /// Whether `more` fits beside this size. More than `limit` fits only if nothing else is there.
    fn has_room_for(self, more: Self, limit: Self) -> bool {
        let fits = |used: usize, more: usize, limit: usize| used.saturating_add(more.min(limit)) <= limit;
        fits(self.entries, more.entries, limit.entries) && fits(self.bytes, more.bytes, limit.bytes)
    }

    /// How many groups this size fills.
    fn groups(self) -> f64 {
        (self.entries as f64 / GROUP.entries as f64).max(self.bytes as f64 / GROUP.bytes as f64)
    }
}

impl AddAssign for WriteSize {
    fn add_assign(&mut self, more: Self) {
        self.entries += more.entries;
        self.bytes += more.bytes;
    }
}

impl SubAssign for WriteSize {
    fn sub_assign(&mut self, less: Self) {
        self.entries = self.entries.saturating_sub(less.entries);
        self.bytes = self.bytes.saturating_sub(less.bytes);
    }
}

impl WriteQueue {
    /// An empty queue for this number of committers.
    pub(super) fn new(limits: QueueLimits, committers: usize) -> Self {
        Self { queues: Arc::new(Mutex::new(Queues::new(limits, committers))), ready: Arc::default() }
    }

    /// Adds `write` to the queue of its organization.
    pub(super) fn push(&self, write: QueuedWrite) -> Result<(), QueueFull> {
        self.queues().push(write)?;
        // The committer that has worked last has the warmest caches.
        self.ready.notify_last();
        Ok(())
    }

    /// Whether a write of this size has room now. Without an organization, in the whole queue.
    pub(super) fn room_for(&self, organization: Option<&OrganizationId>, size: WriteSize) -> Result<(), QueueFull> {
        self.queues().room_for(organization, size)
    }

    /// Waits for the next group; `None` once the queue is closed and empty. End each group with [`Self::end`].
    pub(super) async fn next(&self) -> Option<Group> {
        loop {
            let ready = self.ready.notified();
            let (group, is_over, has_more) = {
                let mut queues = self.queues();
                let group = queues.take();
                (group, queues.is_over(), queues.has_turn())
            };
            // Each committer wakes the next one.
            if has_more || is_over {
                self.ready.notify_last();
            }
            match group {
                Some(group) => return Some(group),
                None if is_over => return None,
                None => ready.await,
            }
        }
    }

    /// Ends the group with this number.
    pub(super) fn end(&self, group: u64, parts: Vec<EndedPart>) {
        self.queues().end(group, parts);
    }

    /// The size of all writes, waiting or in a group.
    pub(super) fn size(&self) -> WriteSize {
        self.queues().size
    }

    /// How long a further write is likely to wait for its commit. Without an organization, the shortest wait of any.
    pub(super) fn expected_wait(&self, organization: Option<&OrganizationId>) -> Duration {
        self.queues().expected_wait(organization)
    }

    /// Lets committers end once the queue is empty.
    pub(super) fn close(&self) {
        self.queues().is_closed = true;
        self.ready.notify_one();
    }

    /// No code under the lock can panic.
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn new(limits: QueueLimits, committers: usize) -> Self {
        Self {
            organizations: HashMap::new(),
            turns: VecDeque::new(),
            locked: VecDeque::new(),
            groups: BTreeMap::new(),
            next: 0,
            was_alone: false,
            size: WriteSize::default(),
            limits,
            committers,
            latency: None,
            is_closed: false,
        }
    }

    fn push(&mut self, write: QueuedWrite) -> Result<(), QueueFull> {
        let (organization, size) = (&write.batch.organization, write.size);
        #[cfg(feature = "positive-controls")]
        let organization = &queue_of(organization, self.size);
        self.room_for(Some(organization), size)?;
        self.size += size;
        let queue = match self.organizations.get_mut(organization) {
            Some(queue) => queue,
            None => {
                self.turns.push_back(organization.clone());
                self.organizations.entry(organization.clone()).or_default()
            }
        };
        queue.size += size;
        queue.waiting.push_back(write);
        Ok(())
    }

    fn room_for(&self, organization: Option<&OrganizationId>, size: WriteSize) -> Result<(), QueueFull> {
        let QueueLimits { entries, bytes } = self.limits;
        if !self.size.has_room_for(size, WriteSize { entries, bytes }) {
            return Err(QueueFull::Whole);
        }
        let share = WriteSize { entries: entries / ORGANIZATION_SHARE, bytes: bytes / ORGANIZATION_SHARE };
        let own = organization.and_then(|organization| self.organizations.get(organization));
        match own.is_none_or(|own| own.size.has_room_for(size, share)) {
            true => Ok(()),
            false => Err(QueueFull::Organization),
        }
    }

    /// Forms a group: an organization that was locked, alone; or the next organizations in turn. While other committers
    /// are free, these leave them their part.
    fn take(&mut self) -> Option<Group> {
        let (mut parts, mut size) = (Vec::new(), WriteSize::default());
        // In turns, so that neither kind starves the other.
        let is_alone = self.may_try_locked() && (!self.was_alone || self.turns.is_empty());
        let free = self.committers.saturating_sub(self.groups.len()).max(1);
        let most = if is_alone { 1 } else { self.turns.len().div_ceil(free) };
        let turns = if is_alone { &mut self.locked } else { &mut self.turns };
        let lock_timeout = is_alone.then(|| (LOCK_TIMEOUT / turns.len().max(1) as u32).max(MIN_LOCK_TIMEOUT));
        let begun = Instant::now();
        while parts.len() < most
            && let Some(organization) = turns.pop_front()
        {
            let Some(queue) = self.organizations.get_mut(&organization) else { continue };
            let before = queue.size;
            let writes = queue.take(&mut size);
            self.size -=
                WriteSize { entries: before.entries - queue.size.entries, bytes: before.bytes - queue.size.bytes };
            match (writes.is_empty(), queue.waiting.is_empty()) {
                (false, _) => {
                    queue.begun.get_or_insert(begun);
                    parts.push(GroupPart { organization, writes });
                }
                // All of its callers are gone.
                (true, true) => drop(self.organizations.remove(&organization)),
                (true, false) => {
                    turns.push_front(organization);
                    break;
                }
            }
        }
        if parts.is_empty() {
            return None;
        }
        self.was_alone = is_alone;
        let number = self.next;
        self.next += 1;
        self.groups.insert(number, GroupState { begun, is_alone });
        Some(Group { number, parts, lock_timeout })
    }

    /// Whether the next group is for an organization that was locked. Such a group may wait for the lock, so it leaves
    /// half of the committers to others.
    fn may_try_locked(&self) -> bool {
        let alone = self.groups.values().filter(|group| group.is_alone).count();
        !self.locked.is_empty() && alone < (self.committers / 2).max(1)
    }

    fn has_turn(&self) -> bool {
        !self.turns.is_empty() || self.may_try_locked()
    }

    fn is_over(&self) -> bool {
        self.is_closed && self.organizations.is_empty()
    }

    fn end(&mut self, group: u64, parts: Vec<EndedPart>) {
        if let Some(GroupState { begun, is_alone: false }) = self.groups.remove(&group) {
            let took = begun.elapsed();
            let average = self.recent_latency().map_or(took, |before| before.mul_f64(0.75) + took.mul_f64(0.25));
            self.latency = Some((average, Instant::now()));
        }
        for EndedPart { organization, answered, rest } in parts {
            let Some(queue) = self.organizations.get_mut(&organization) else { continue };
            self.size -= answered;
            queue.size -= answered;
            let was_locked = !rest.is_empty();
            if !was_locked {
                queue.begun = None;
            }
            rest.into_iter().rev().for_each(|write| queue.waiting.push_front(write));
            match (queue.waiting.is_empty(), was_locked) {
                (true, _) => drop(self.organizations.remove(&organization)),
                (false, true) => self.locked.push_back(organization),
                // The torture harness must detect this: other organizations wait until this one has no more writes.
                #[cfg(feature = "positive-controls")]
                (false, false) if crate::positive_control::is("starved-queue") => self.turns.push_front(organization),
                (false, false) => self.turns.push_back(organization),
            }
        }
    }

    fn recent_latency(&self) -> Option<Duration> {
        self.latency.filter(|(_, ended)| ended.elapsed() < RECENT).map(|(took, _)| took)
    }

    fn expected_wait(&self, organization: Option<&OrganizationId>) -> Duration {
        let own = organization.and_then(|organization| self.organizations.get(organization));
        let groups = (self.size.groups() / self.committers as f64).max(own.map_or(0.0, |own| own.size.groups()));
        if groups == 0.0 {
            return Duration::ZERO;
        }
        // A committer that is free can begin at once.
        let first_free = match self.groups.len() < self.committers {
            true => Duration::ZERO,
            false => self.groups.values().map(|group| group.begun.elapsed()).min().unwrap_or_default(),
        };
        let own = own.and_then(|own| own.begun).map_or(Duration::ZERO, |begun| begun.elapsed());
        let latency = self.recent_latency().unwrap_or_default().max(first_free).max(own);
        latency.mul_f64(1.0 + groups)
    }
}

impl OrganizationQueue {
    /// Removes the writes that fit into a group, which has `size` so far. Work whose caller is gone is not started.
    fn take(&mut self, size: &mut WriteSize) -> Vec<QueuedWrite> {
        let mut writes = Vec::new();
        while let Some(write) = self.waiting.pop_front() {
            if write.reply.is_closed() {
                self.size -= write.size;
            } else if *size == WriteSize::default() || size.has_room_for(write.size, GROUP) {
                *size += write.size;
                writes.push(write);
            } else {
                self.waiting.push_front(write);
                break;
            }
        }
        writes
    }
}

/// The key of the queue for the next write. The torture harness must detect that an organization has two queues, and so
/// can be in two groups at a time.
#[cfg(feature = "positive-controls")]
fn queue_of(organization: &OrganizationId, unanswered: WriteSize) -> OrganizationId {
    match crate::positive_control::is("organization-in-two-groups") && unanswered.entries % 2 == 1 {
        true => OrganizationId::stored(format!("{organization}.second")),
        false => organization.clone(),
    }
}

#[cfg(test)]
mod tests;
