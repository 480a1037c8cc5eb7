//! Random schedules of the queue, against the rules that it keeps.

use std::collections::{HashMap, HashSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;

use super::*;
use crate::domain::Catalogue;
use crate::ingest::waiting::Waiting;
use crate::ingest::{Batch, Written};

const LIMITS: QueueLimits = QueueLimits { entries: 2_000, bytes: 4 * 1024 * 1024 };
const ORGANIZATIONS: usize = 9;

type WriteAnswer = oneshot::Receiver<crate::error::Result<Vec<Written>>>;

/// A queue, and all that a reader of the rules knows of it.
struct QueueModel {
    queues: Queues,
    random: StdRng,
    /// The names of the writes of each organization that are not answered yet, in the order of their arrival.
    unanswered: HashMap<String, VecDeque<usize>>,
    sizes: HashMap<usize, WriteSize>,
    answers: HashMap<usize, WriteAnswer>,
    groups: Vec<Group>,
    /// For each organization with a turn, how many groups of its kind, alone or not, may be formed without it.
    ahead: HashMap<String, usize>,
    next: usize,
}

fn organization(name: &str) -> OrganizationId {
    OrganizationId::parse(name.to_owned()).expect("a name")
}

fn write(name: usize, organization_id: &str, size: WriteSize) -> (QueuedWrite, WriteAnswer) {
    let (reply, answer) = oneshot::channel();
    let (organization, key_id) = (organization(organization_id), name.to_string());
    let catalogue = Arc::new(Catalogue { resource_types: Vec::new(), actions: Vec::new() });
    let batch = Batch { organization, key_id, catalogue, entries: Vec::new() };
    (QueuedWrite { batch, prepared: Vec::new(), reply, size, _waiter: Waiting::default().begin() }, answer)
}

fn name(write: &QueuedWrite) -> usize {
    write.batch.key_id.parse().expect("the name of a write")
}

impl QueueModel {
    fn new(seed: u64, committers: usize) -> Self {
        Self {
            queues: Queues::new(LIMITS, committers),
            random: StdRng::seed_from_u64(seed),
            unanswered: HashMap::new(),
            sizes: HashMap::new(),
            answers: HashMap::new(),
            groups: Vec::new(),
            ahead: HashMap::new(),
            next: 0,
        }
    }

    fn push(&mut self) {
        // The first organization sends most.
        let number = self.random.random_range(0..2 * ORGANIZATIONS).saturating_sub(ORGANIZATIONS);
        let id = format!("o{number}");
        let entries = if self.random.random_ratio(1, 20) { 1_000 } else { self.random.random_range(1..=200) };
        let size = WriteSize { entries, bytes: entries * self.random.random_range(100..=2_000) };
        let (write, answer) = write(self.next, &id, size);
        let own = self.unanswered.entry(id.clone()).or_default();
        let sum = |names: &mut dyn Iterator<Item = &usize>| {
            names.fold(WriteSize::default(), |mut sum, name| {
                sum += self.sizes[name];
                sum
            })
        };
        let (own_size, all) = (sum(&mut own.iter()), sum(&mut self.sizes.keys()));
        let fits = |used: usize, more: usize, limit: usize| used + more.min(limit) <= limit;
        let expected = if !(fits(all.entries, entries, LIMITS.entries) && fits(all.bytes, size.bytes, LIMITS.bytes)) {
            Err(QueueFull::Whole)
        } else if !(fits(own_size.entries, entries, 1_000) && fits(own_size.bytes, size.bytes, LIMITS.bytes / 2)) {
            Err(QueueFull::Organization)
        } else {
            Ok(())
        };
        assert_eq!(self.queues.push(write), expected);
        if expected.is_ok() {
            self.unanswered.entry(id).or_default().push_back(self.next);
            self.sizes.insert(self.next, size);
            self.answers.insert(self.next, answer);
            self.next += 1;
        }
    }

    fn take(&mut self) {
        if self.groups.len() == self.queues.committers {
            return;
        }
        let waiting: HashSet<_> =
            self.queues.turns.iter().chain(&self.queues.locked).map(ToString::to_string).collect();
        let alone = self.groups.iter().filter(|group| group.lock_timeout.is_some()).count();
        let Some(group) = self.queues.take() else {
            let are_locked = waiting.iter().all(|id| self.queues.locked.contains(&organization(id)));
            assert!(waiting.is_empty() || (are_locked && alone > 0), "a free committer leaves work");
            return;
        };
        assert!(
            group.lock_timeout.is_none() || alone < (self.queues.committers / 2).max(1),
            "groups that wait leave half to others"
        );
        let mut size = WriteSize::default();
        for part in &group.parts {
            let id = part.organization.to_string();
            let in_groups = self.groups.iter().flat_map(|group| &group.parts);
            assert!(
                in_groups.into_iter().all(|other| other.organization != part.organization),
                "{id} is in two groups"
            );
            let names: Vec<_> = part.writes.iter().map(name).collect();
            let expected: Vec<_> = self.unanswered[&id].iter().take(names.len()).copied().collect();
            assert_eq!(names, expected, "writes keep their order");
            names.iter().for_each(|name| size += self.sizes[name]);
            self.ahead.remove(&id);
        }
        let writes: usize = group.parts.iter().map(|part| part.writes.len()).sum();
        assert!(writes == 1 || (size.entries <= GROUP.entries && size.bytes <= GROUP.bytes), "a group is bounded");
        let same_kind = if group.lock_timeout.is_some() { &self.queues.locked } else { &self.queues.turns };
        for id in same_kind.iter().map(ToString::to_string) {
            let ahead = self.ahead.get_mut(&id).expect("it has had a turn before");
            *ahead = ahead.checked_sub(1).expect("an organization is starved: more came first than were ahead of it");
        }
        self.groups.push(group);
    }

    fn end(&mut self) {
        if self.groups.is_empty() {
            return;
        }
        let group = self.groups.swap_remove(self.random.random_range(0..self.groups.len()));
        let number = group.number;
        let mut ended = Vec::new();
        for GroupPart { organization, writes } in group.parts {
            let answered = match self.random.random_range(0..4) {
                0 => 0,
                1 => self.random.random_range(0..=writes.len()),
                _ => writes.len(),
            };
            let own = self.unanswered.get_mut(organization.as_str()).expect("it has writes");
            let mut size = WriteSize::default();
            let mut writes = writes.into_iter();
            for write in writes.by_ref().take(answered) {
                assert_eq!(own.pop_front(), Some(name(&write)));
                size += write.size;
                self.sizes.remove(&name(&write));
                self.answers.remove(&name(&write)).expect("answered once");
            }
            ended.push(EndedPart { organization, answered: size, rest: writes.collect() });
        }
        self.queues.end(number, ended);
    }

    /// Notes how many are ahead of each organization that has got its turn.
    fn note_turns(&mut self) {
        for turns in [&self.queues.turns, &self.queues.locked] {
            for (place, organization) in turns.iter().enumerate() {
                self.ahead.entry(organization.to_string()).or_insert(place);
            }
        }
    }

    /// The caller of a waiting write goes.
    fn leave(&mut self) {
        let in_groups: HashSet<_> =
            self.groups.iter().flat_map(|group| &group.parts).flat_map(|part| &part.writes).map(name).collect();
        let Some(gone) = self.answers.keys().find(|name| !in_groups.contains(name)).copied() else { return };
        self.answers.remove(&gone);
        // It counts until its turn comes, and the model does not follow this.
        self.drain();
    }

    /// Takes and ends groups until nothing is left.
    fn drain(&mut self) {
        for _ in 0..10_000 {
            if self.queues.organizations.is_empty() {
                break;
            }
            if let Some(group) = self.queues.take() {
                self.groups.push(group);
            }
            for group in std::mem::take(&mut self.groups) {
                let number = group.number;
                let end = |GroupPart { organization, writes }| {
                    let mut answered = WriteSize::default();
                    writes.iter().for_each(|write: &QueuedWrite| answered += write.size);
                    EndedPart { organization, answered, rest: Vec::new() }
                };
                self.queues.end(number, group.parts.into_iter().map(end).collect());
            }
        }
        assert!(self.queues.organizations.is_empty(), "an organization never gets a turn");
        assert_eq!(self.queues.size, WriteSize::default(), "the queue is empty, and counts writes");
        assert!(self.queues.turns.is_empty() && self.queues.locked.is_empty() && self.queues.groups.is_empty());
        self.unanswered.clear();
        self.sizes.clear();
        self.answers.clear();
        self.ahead.clear();
    }
}

#[test]
fn every_schedule_keeps_order_and_turns_and_counts() {
    for seed in 0..60 {
        let mut model = QueueModel::new(seed, [1, 2, 4][seed as usize % 3]);
        for _ in 0..1_500 {
            match model.random.random_range(0..1_000) {
                0..500 => model.push(),
                500..750 => model.take(),
                750..998 => model.end(),
                _ => model.leave(),
            }
            model.note_turns();
        }
        model.drain();
    }
}

#[test]
fn free_committers_share_the_waiting_organizations() {
    let mut queues = Queues::new(LIMITS, 4);
    for number in 0..8 {
        let (write, answer) = write(number, &format!("o{number}"), WriteSize { entries: 1, bytes: 1 });
        queues.push(write).expect("there is room");
        // The caller stays.
        std::mem::forget(answer);
    }
    let taken: Vec<_> = std::iter::from_fn(|| queues.take()).take(4).map(|group| group.parts.len()).collect();
    assert_eq!(taken, [2, 2, 2, 2]);
}

#[tokio::test]
async fn a_closed_queue_ends_all_committers_once_it_is_empty() {
    let queue = WriteQueue::new(LIMITS, 3);
    let (write, _answer) = write(0, "o", WriteSize { entries: 1, bytes: 1 });
    queue.push(write).expect("there is room");
    let group = queue.next().await.expect("a group");
    let others: Vec<_> = (0..2)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.next().await.is_none() })
        })
        .collect();
    queue.close();
    tokio::task::yield_now().await;
    assert!(others.iter().all(|other| !other.is_finished()), "a write is not answered yet");
    let answered = WriteSize { entries: 1, bytes: 1 };
    let parts = group.parts.iter().map(|part| part.organization.clone());
    let ended = parts.map(|organization| EndedPart { organization, answered, rest: Vec::new() }).collect();
    queue.end(group.number, ended);
    assert!(queue.next().await.is_none());
    for other in others {
        assert!(other.await.expect("no panic"));
    }
}
