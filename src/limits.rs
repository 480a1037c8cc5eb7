//! Limits that the whole process shares: the bytes that requests and responses hold, and the permits of each API key.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use moka::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The number of keys whose permits and bytes are tracked: more than are in use at once.
const MAX_KEYS: u64 = 10_000;

/// The part of `total` that one API key may hold: four fifths, and at least one. A runaway client leaves the rest to
/// others.
fn key_share(total: usize) -> usize {
    (total - total / 5).max(1)
}

/// A limit on bytes held at once. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    limit: usize,
    /// The budget that this one is a part of; it counts the same bytes.
    whole: Option<Arc<Budget>>,
}

/// Bytes of a [`Budget`], held until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    bytes: AtomicUsize,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit, whole: None }
    }

    /// A part of this budget with a limit of its own. Its bytes count in this budget too.
    pub fn part(&self, limit: usize) -> Self {
        Self { used: Arc::default(), limit, whole: Some(Arc::new(self.clone())) }
    }

    /// The maximum number of bytes that may be held at once.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Whether no bytes are left.
    pub fn is_spent(&self) -> bool {
        self.is_spent_beside(0)
    }

    /// Whether no bytes are left, if the caller gave back `own`.
    pub fn is_spent_beside(&self, own: usize) -> bool {
        let is_spent = self.used().saturating_sub(own) >= self.limit;
        is_spent || self.whole.as_ref().is_some_and(|whole| whole.is_spent_beside(own))
    }

    /// The number of bytes that are held.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Holds `bytes`, even beyond the limit: a finished response occupies memory already, and its work should not be
    /// lost. Later requests are refused instead.
    pub fn hold(&self, bytes: usize) -> Reservation {
        self.add(bytes);
        Reservation { budget: self.clone(), bytes: AtomicUsize::new(bytes) }
    }

    /// Holds `bytes`; `None` if fewer are left.
    pub fn try_hold(&self, bytes: usize) -> Option<Reservation> {
        let reservation = self.hold(0);
        reservation.try_grow(bytes).then_some(reservation)
    }

    fn add(&self, bytes: usize) {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.add(self.within(before + bytes) - self.within(before));
        }
    }

    fn try_add(&self, bytes: usize) -> bool {
        let room = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        if self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            return false;
        }
        let is_room = self.whole.as_ref().is_none_or(|whole| whole.try_add(bytes));
        if !is_room {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        is_room
    }

    fn give_back(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.give_back(self.within(before) - self.within(before - bytes));
        }
    }

    /// The bytes that count in the whole. Bytes beyond the limit of a part do not: one key would take the room of others.
    fn within(&self, used: usize) -> usize {
        used.min(self.limit)
    }
}

impl Reservation {
    /// Holds `bytes` more; `false` if fewer are left.
    pub fn try_grow(&self, bytes: usize) -> bool {
        let is_room = self.budget.try_add(bytes);
        self.bytes.fetch_add(if is_room { bytes } else { 0 }, Ordering::Relaxed);
        is_room
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(*self.bytes.get_mut());
    }
}

/// A budget, and the part of it that each API key may hold. Clones share them.
#[derive(Debug, Clone)]
pub struct KeyBudgets {
    /// The budget of all keys together.
    pub whole: Budget,
    parts: Cache<String, Budget>,
}

impl KeyBudgets {
    /// Each key may hold four fifths of `whole`.
    pub fn of(whole: Budget) -> Self {
        Self { whole, parts: Cache::new(MAX_KEYS) }
    }

    /// The budget of `key`. Pass only authenticated keys: invented ones would fill the cache.
    pub fn part(&self, key: &str) -> Budget {
        self.parts.get_with_by_ref(key, || self.whole.part(key_share(self.whole.limit())))
    }
}

/// A limit on the permits that each API key holds at once. Clones share it.
#[derive(Debug, Clone)]
pub struct KeyQuota {
    max: usize,
    permits: Cache<String, Arc<Semaphore>>,
}

impl KeyQuota {
    /// Each key may hold four fifths of `permits`.
    pub fn of(permits: usize) -> Self {
        Self { max: key_share(permits), permits: Cache::new(MAX_KEYS) }
    }

    /// Whether `key` holds all the permits it may.
    pub fn is_spent(&self, key: &str) -> bool {
        self.permits.get(key).is_some_and(|permits| permits.available_permits() == 0)
    }

    /// A permit for `key`; `None` if the key holds all it may. Pass only authenticated keys: invented ones would fill
    /// the cache.
    pub fn try_acquire(&self, key: &str) -> Option<OwnedSemaphorePermit> {
        let held = self.permits.get_with_by_ref(key, || Arc::new(Semaphore::new(self.max)));
        held.try_acquire_owned().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_a_reservation_releases_its_bytes() {
        let budget = Budget::new(100);
        let request = budget.hold(0);
        assert!(request.try_grow(60) && !request.try_grow(41) && request.try_grow(40));
        assert!(budget.is_spent() && budget.try_hold(1).is_none());
        let response = budget.hold(50);
        assert_eq!(budget.used(), 150);
        drop(request);
        assert!(budget.try_hold(50).is_some_and(|held| held.budget.used() == 100));
        drop(response);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn bytes_of_a_partial_budget_count_against_the_whole() {
        let whole = Budget::new(100);
        let (one, other) = (whole.part(80), whole.part(80));
        let held = one.try_hold(60).expect("room in both");
        assert!(one.try_hold(21).is_none() && other.try_hold(41).is_none());
        assert_eq!((one.used(), other.used(), whole.used()), (60, 0, 60));
        let beyond = other.hold(50);
        assert_eq!(whole.used(), 110);
        drop((held, beyond));
        assert_eq!((one.used(), other.used(), whole.used()), (0, 0, 0));
    }

    #[test]
    fn one_key_leaves_a_part_of_the_bytes_to_others() {
        let budgets = KeyBudgets::of(Budget::new(100));
        let responses = budgets.part("a").hold(80);
        assert!(budgets.part("a").is_spent() && !budgets.part("b").is_spent());
        assert!(budgets.part("a").try_hold(1).is_none());
        let beyond = budgets.part("a").hold(500);
        assert_eq!(budgets.whole.used(), 80, "what is beyond the share takes no room of others");
        assert!(!budgets.part("b").is_spent());
        let other = budgets.part("b").hold(20);
        assert!(budgets.part("b").is_spent() && budgets.part("c").is_spent(), "the whole is spent");
        drop((responses, other, beyond));
        assert!(!budgets.part("a").is_spent());
        assert_eq!((budgets.part("a").used(), budgets.whole.used()), (0, 0));
    }

    #[test]
    fn a_key_holds_no_more_than_its_quota() {
        let quota = KeyQuota::of(3);
        let held = [(); 3].map(|()| quota.try_acquire("a"));
        assert!(held.iter().all(Option::is_some) && quota.try_acquire("a").is_none());
        assert!(quota.is_spent("a") && !quota.is_spent("b"));
        assert!(quota.try_acquire("b").is_some());
        drop(held);
        assert!(quota.try_acquire("a").is_some());
    }
}
