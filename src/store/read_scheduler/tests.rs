//! Compares the schedule with a model that computes each rule anew from a list of all reads, and drops waiting reads.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// Some readers have the same key, others the same organization.
fn reader(number: usize) -> Reader {
    let organization = OrganizationId::parse(format!("org_{}", number / 2)).expect("an id");
    Reader { key_id: format!("al_{}", number % 2), organization }
}

struct ModelRead {
    /// Its place in `ScheduleModel::readers`.
    reader: usize,
    number: u64,
    /// `None` if the read got a connection as it came.
    granted: Option<oneshot::Receiver<()>>,
    begun: Option<Instant>,
    left: Option<Instant>,
}

impl ModelRead {
    fn is_waiting(&self) -> bool {
        self.begun.is_none() && self.left.is_none()
    }

    fn is_running(&self) -> bool {
        self.begun.is_some() && self.left.is_none()
    }

    /// Whether the last event gave it a connection.
    fn is_granted(&mut self) -> bool {
        self.is_waiting() && self.granted.as_mut().is_none_or(|granted| granted.try_recv().is_ok())
    }
}

struct ScheduleModel {
    schedule: Schedule,
    readers: Vec<Arc<Reader>>,
    /// In order of arrival.
    reads: Vec<ModelRead>,
    /// Reads that waited and were then granted.
    granted_later: usize,
    /// Events after which a connection was free and a reader waited that had its half.
    kept_free: usize,
}

impl ScheduleModel {
    fn new(connections: usize, readers: usize) -> Self {
        let readers = (0..readers).map(|number| Arc::new(reader(number))).collect();
        Self { schedule: Schedule::new(connections), readers, reads: Vec::new(), granted_later: 0, kept_free: 0 }
    }

    fn reads_of(&self, reader: usize) -> impl Iterator<Item = &ModelRead> {
        self.reads.iter().filter(move |read| read.reader == reader)
    }

    /// Sums the connection time of all reads, each second halved for every five seconds of its age.
    fn used(&self, reader: usize, now: Instant) -> f64 {
        let weight = |moment: Instant| (-now.duration_since(moment).as_secs_f64() / 5.0).exp2();
        let time = |read: &ModelRead| Some(weight(read.left.unwrap_or(now)) - weight(read.begun?));
        self.reads_of(reader).filter_map(time).sum::<f64>() * 5.0 / LN_2
    }

    fn is_known(&self, reader: usize, now: Instant) -> bool {
        self.reads_of(reader).any(|read| read.left.is_none()) || self.used(reader, now) > 0.001
    }

    fn running(&self) -> usize {
        self.reads.iter().filter(|read| read.is_running()).count()
    }

    fn may_start(&self, reader: usize, now: Instant) -> bool {
        let connections = self.schedule.connections;
        let is_alone = (0..self.readers.len()).all(|other| other == reader || !self.is_known(other, now));
        let max = if is_alone { connections } else { connections.div_ceil(2) };
        self.running() < connections && self.reads_of(reader).filter(|read| read.is_running()).count() < max
    }

    /// The waiting readers that may start a read: their use, and the place of their first waiting read.
    fn eligible(&self, now: Instant) -> Vec<(f64, usize)> {
        let first = |reader: usize| self.reads.iter().position(|read| read.reader == reader && read.is_waiting());
        let readers = (0..self.readers.len()).filter(|reader| self.may_start(*reader, now));
        readers.filter_map(|reader| Some((self.used(reader, now), first(reader)?))).collect()
    }

    /// Checks the grants of an event: each went to the first read of the reader that had used the least, and no
    /// connection stays free for which a reader waits that may have it.
    fn check_grants(&mut self, now: Instant) {
        let places = self.reads.iter_mut().enumerate();
        let mut granted: BTreeSet<usize> =
            places.filter_map(|(place, read)| read.is_granted().then_some(place)).collect();
        loop {
            let eligible = self.eligible(now);
            let Some(least) = eligible.iter().map(|(used, _)| *used).min_by(f64::total_cmp) else { break };
            let next = match least == 0.0 {
                // Readers that used nothing are exactly equal.
                true => eligible.iter().filter(|(used, _)| *used == 0.0).map(|(_, place)| *place).min(),
                // Equal ones may differ by the rounding of the model.
                false => {
                    let equal = eligible.iter().filter(|(used, _)| *used <= least + 1e-9);
                    equal.map(|(_, place)| *place).find(|place| granted.contains(place))
                }
            };
            let next = next.expect("the reader that used the least gets the free connection");
            assert!(granted.remove(&next), "read {next} gets the free connection");
            self.reads[next].begun = Some(now);
            self.granted_later += usize::from(self.reads[next].granted.is_some());
        }
        assert!(granted.is_empty(), "the reads {granted:?} have connections out of order");
        let running = self.running();
        assert!(running <= self.schedule.connections && running == self.schedule.running);
        let is_kept_free = running < self.schedule.connections && self.reads.iter().any(ModelRead::is_waiting);
        self.kept_free += usize::from(is_kept_free);
    }

    /// Removes the reads of readers that are no longer known, so that these begin at zero again.
    fn forget(&mut self, now: Instant) {
        let known: Vec<bool> = (0..self.readers.len()).map(|reader| self.is_known(reader, now)).collect();
        self.reads.retain(|read| known[read.reader]);
    }

    fn arrive(&mut self, reader: usize, now: Instant) {
        self.forget(now);
        let (number, granted) = self.schedule.arrive(&self.readers[reader], now);
        self.reads.push(ModelRead { reader, number, granted, begun: None, left: None });
        self.check_grants(now);
    }

    /// Ends a random read, which runs or waits. Returns whether there was one.
    fn leave(&mut self, random: &mut StdRng, now: Instant) -> bool {
        self.forget(now);
        // More reads wait than run, and only the end of a running one makes a connection free.
        let is_of_running = random.random_bool(0.5) && self.running() > 0;
        let may_end = |read: &ModelRead| read.is_running() || (read.is_waiting() && !is_of_running);
        let places: Vec<usize> = (0..self.reads.len()).filter(|place| may_end(&self.reads[*place])).collect();
        if places.is_empty() {
            return false;
        }
        let read = &mut self.reads[places[random.random_range(0..places.len())]];
        read.left = Some(now);
        self.schedule.leave(&self.readers[read.reader], read.number, now);
        self.check_grants(now);
        true
    }
}

/// The time to the next event: none, that of a list, that of a slow read, or long enough to be forgotten.
fn pause(random: &mut StdRng) -> Duration {
    let micros: u64 = match random.random_range(0..10) {
        0..=2 => 0,
        3..=5 => random.random_range(1..2_000),
        6..=8 => random.random_range(1..3_000_000),
        _ => random.random_range(1..100_000_000),
    };
    Duration::from_micros(micros)
}

#[test]
fn each_free_connection_goes_to_the_waiting_reader_that_used_the_least() {
    let mut random = StdRng::seed_from_u64(9);
    let (mut granted_later, mut kept_free) = (0, 0);
    for _ in 0..60 {
        let mut now = Instant::now();
        let mut model = ScheduleModel::new(random.random_range(1..=7), random.random_range(1..=5));
        for _ in 0..150 {
            now += pause(&mut random);
            if random.random_bool(0.6) {
                let reader = random.random_range(0..model.readers.len());
                model.arrive(reader, now);
            } else {
                model.leave(&mut random, now);
            }
        }
        while model.leave(&mut random, now) {
            now += pause(&mut random);
        }
        granted_later += model.granted_later;
        kept_free += model.kept_free;
        // All readers are forgotten, so this one is alone, and all connections are back.
        now += Duration::from_secs(3_600);
        let ScheduleModel { mut schedule, readers, .. } = model;
        for _ in 0..schedule.connections {
            assert!(schedule.arrive(&readers[0], now).1.is_none(), "a connection is lost");
        }
        assert!(schedule.arrive(&readers[0], now).1.is_some(), "there is one connection too many");
        assert_eq!((schedule.readers.len(), schedule.idle.len(), schedule.queues.len()), (1, 0, 1));
    }
    assert!(granted_later > 500 && kept_free > 100, "{granted_later} grants to waiting reads, {kept_free} kept free");
}

fn acquire_now(scheduler: &ReadScheduler, number: usize) -> ScheduledRead {
    let read = scheduler.acquire(reader(number)).now_or_never().expect("a connection is free");
    read.expect("it is granted")
}

#[test]
fn a_read_that_stops_waiting_leaves_its_place_to_the_next() {
    let scheduler = ReadScheduler::new(1);
    let running = acquire_now(&scheduler, 0);
    let [mut first, mut second] = [1, 2].map(|number| Box::pin(scheduler.acquire(reader(number))));
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    drop(first);
    drop(running);
    assert!(second.as_mut().now_or_never().is_some(), "the connection went to a read that no longer waits");
}

#[test]
fn a_read_that_is_dropped_before_it_learns_of_its_connection_gives_it_back() {
    let scheduler = ReadScheduler::new(1);
    let running = acquire_now(&scheduler, 0);
    let mut waiting = Box::pin(scheduler.acquire(reader(1)));
    assert!(waiting.as_mut().now_or_never().is_none());
    drop(running);
    assert!(scheduler.acquire(reader(2)).now_or_never().is_none(), "the waiting read has the connection");
    drop(waiting);
    acquire_now(&scheduler, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_connection_is_lost_or_given_twice_while_callers_go() {
    let scheduler = ReadScheduler::new(3);
    let running = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for number in 0..12 {
        let (scheduler, running) = (scheduler.clone(), Arc::clone(&running));
        tasks.push(tokio::spawn(async move {
            for round in 0..100 {
                let limit = Duration::from_millis((number + round) % 4);
                let wait = scheduler.acquire(reader(number as usize % 4));
                let Ok(read) = tokio::time::timeout(limit, wait).await else { continue };
                let read = read.expect("it is granted");
                assert!(running.fetch_add(1, Ordering::SeqCst) < 3, "a connection has two reads");
                tokio::time::sleep(Duration::from_millis(round % 2)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                drop(read);
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let schedule = scheduler.lock();
    assert_eq!((schedule.running, schedule.queues.len()), (0, 0));
}
